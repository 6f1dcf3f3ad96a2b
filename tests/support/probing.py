"""What SDKs ask of the server in its probes: a model that does what it is told, clients that make one attempt."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any

import boto3
from botocore.config import Config

from awsllm.errors import ThrottlingError
from awsllm.testing import Broken
from awsllm.types import (
    ContentBlockDelta,
    ContentBlockStop,
    ConverseRequest,
    MessageStart,
    MessageStop,
    Metadata,
    StreamEvent,
    TextDelta,
    ToolSpec,
    ToolUse,
    Usage,
)

CLAUDE = "anthropic.claude-3-haiku-20240307-v1:0"
PROFILE = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123def456"
TITAN = "amazon.titan-embed-text-v2:0"
KEY = "a-key-of-this-server"
WEATHER = {
    "toolSpec": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "inputSchema": {
            "json": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
}
FORCED: Any = {"tools": [WEATHER], "toolChoice": {"tool": {"name": "get_weather"}}}
gate = threading.Event()


def act(request: ConverseRequest) -> Any:
    """What a small model might do: call the tool it must call, else talk."""
    if request.tool_choice is not None:
        tool = next(tool for tool in request.tools if isinstance(tool, ToolSpec))
        return ToolUse(id="tooluse_1", name=tool.name, input=dict.fromkeys(tool.input_schema["required"], "Oslo"))
    match request.messages[-1].text:
        case "wait for me":
            return patient()
        case "never end":
            return endless()
        case "break":
            return Broken("one two three", after=2, error=ThrottlingError("slow down"))
        case "throttle":
            return ThrottlingError("slow down")
        case _:
            return "The sky is blue because air scatters short waves more than long ones."


async def patient() -> AsyncIterator[StreamEvent]:
    """Says one word, and the next when the test has seen the first."""
    yield MessageStart("assistant")
    yield ContentBlockDelta(0, TextDelta("first"))
    await asyncio.to_thread(gate.wait, 20)
    yield ContentBlockDelta(0, TextDelta(" second"))
    yield ContentBlockStop(0)
    yield MessageStop("end_turn")
    yield Metadata(usage=Usage(1, 2, 3))


async def endless() -> AsyncIterator[StreamEvent]:
    yield MessageStart("assistant")
    while True:
        yield ContentBlockDelta(0, TextDelta("x"))
        await asyncio.sleep(0.01)


def client(service: str, url: str, *, secret: str = KEY) -> Any:
    """A boto3 client that makes one attempt. A test closes what is in ``opened``."""
    settings = Config(retries={"total_max_attempts": 1}, read_timeout=60)
    keys = {"aws_access_key_id": "any", "aws_secret_access_key": secret}
    made = boto3.client(service, region_name="us-east-1", endpoint_url=url, config=settings, **keys)
    opened.append(made)
    return made


opened: list[Any] = []


def close_clients() -> None:
    while opened:
        opened.pop().close()


def events_of(stream: Any) -> list[dict[str, Any]]:
    """All events; the connection is closed also where one is an exception."""
    with closing(stream):
        return list(stream)


def say(text: str, role: str = "user") -> Any:
    return [{"role": role, "content": [{"text": text}]}]
