"""What the cases of ``tests/cases`` share: models by name, tools, and a Bedrock that shows what it is sent."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3

import awsllm
from awsllm.server.moto import stubber
from awsllm.testing import MockAws
from awsllm.types import ConverseRequest, ToolUse
from tests.support.loopback import Received, Response, serving

NOVA = "bedrock:us.amazon.nova-lite-v1:0"
CLAUDE = "bedrock:us.anthropic.claude-sonnet-4-5-20250929-v1:0"
PROFILE = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123def456"
ONCE = awsllm.Policy(max_attempts=1)
REPLY: dict[str, Any] = {
    "output": {"message": {"role": "assistant", "content": [{"text": "Hi."}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 3, "outputTokens": 1, "totalTokens": 4},
    "metrics": {"latencyMs": 1},
}


@functools.cache
def boto(service: str) -> Any:
    """One for all tests: a client takes longer to make than a test to run. moto answers it while a mock is active."""
    stubber.check()
    session = boto3.Session("AKIAEXAMPLE", "made-up", region_name="us-east-1")
    return session.client(service)


def city(name: str) -> ToolUse:
    """A call of ``get_weather``."""
    return ToolUse(f"call_{name}", "get_weather", {"city": name})


def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"rain in {city}"


def last(aws: MockAws) -> ConverseRequest:
    """What the model was asked last."""
    request = aws.requests[-1]
    assert isinstance(request, ConverseRequest)
    return request


def turns(request: ConverseRequest) -> list[str]:
    return [message.role for message in request.messages]


def answering(reply: object = REPLY, status: int = 200, **headers: str) -> Response:
    return Response(json.dumps(reply).encode(), status, {"Content-Type": "application/json", **headers})


@contextmanager
def bedrock(*replies: Response) -> Iterator[tuple[str, list[Received]]]:
    """The URL of a Bedrock that gives these answers in turn, the last for ever; and what it was sent."""
    seen: list[Received] = []

    def respond(request: Received) -> Response:
        seen.append(request)
        return replies[min(len(seen), len(replies)) - 1]

    with serving(respond) as url:
        yield url, seen


@contextmanager
def asking(*replies: Response, **options: Any) -> Iterator[tuple[awsllm.Client, list[Received]]]:
    """A client of that Bedrock, and what it sent."""
    with bedrock(*replies) as (url, seen), awsllm.Client(region="us-east-1", endpoint_url=url, **options) as client:
        yield client, seen
