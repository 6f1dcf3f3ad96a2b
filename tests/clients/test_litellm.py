"""litellm, on each of its roads to Bedrock and SageMaker."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import pytest

from tests.clients.conftest import Server
from tests.clients.wishes import CLAUDE, COHERE, GPT_OSS, NOVA, QUESTION, SCHEMA, TITAN, TOOL

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # or its import asks the network
litellm = pytest.importorskip("litellm")
pytestmark = pytest.mark.filterwarnings("ignore")  # theirs are theirs
TURNS = [{"role": "user", "content": QUESTION}]
TOOLS = [{"type": "function", "function": {"name": TOOL[0], "description": TOOL[1], "parameters": SCHEMA}}]
CHOICE = {"type": "function", "function": {"name": TOOL[0]}}
LLAMA = "us.meta.llama3-3-70b-instruct-v1:0"
ROADS = [
    *(f"{road}/{model}" for road in ("bedrock/converse", "bedrock/invoke") for model in (CLAUDE, NOVA, LLAMA)),
    "sagemaker_chat/any",
    "sagemaker/any",
    f"openai/{GPT_OSS}",
    f"anthropic/{CLAUDE}",
]


def options(road: str, server: Server) -> dict[str, Any]:
    common: dict[str, Any] = {"model": road, "num_retries": 0, "max_tokens": 48}
    match road.partition("/")[0]:
        case "bedrock":
            return common | {"aws_bedrock_runtime_endpoint": server.url, "aws_region_name": "us-east-1"}
        case "openai":
            return common | {"api_base": f"{server.url}/v1", "api_key": "any"}
        case "anthropic":
            return common | {"api_base": server.url, "api_key": "any"}
        case _:
            place = f"{server.url}/endpoints/any/invocations"
            return common | {"sagemaker_base_url": place, "aws_region_name": "us-east-1"}


@pytest.mark.parametrize("road", ROADS)
def test_chat_and_stream(server: Server, road: str) -> None:
    asked = options(road, server) | {"messages": TURNS}
    assert server.said(litellm.completion(**asked).choices[0].message.content)
    if road.startswith("sagemaker"):  # its stream is another address
        asked["sagemaker_base_url"] = asked["sagemaker_base_url"] + "-response-stream"
    chunks = list(litellm.completion(**asked, stream=True))
    assert server.said("".join(chunk.choices[0].delta.content or "" for chunk in chunks))


@pytest.mark.parametrize("road", [f"bedrock/converse/{CLAUDE}", f"bedrock/invoke/{CLAUDE}", "sagemaker_chat/any"])
def test_a_forced_tool_and_its_result(server: Server, road: str) -> None:
    asked = options(road, server) | {"max_tokens": 200, "tools": TOOLS}
    reply = litellm.completion(**asked, messages=TURNS, tool_choice=CHOICE).choices[0].message
    (call,) = reply.tool_calls
    assert call.function.name == "get_weather"
    assert isinstance(json.loads(call.function.arguments)["city"], str)
    result = {"role": "tool", "tool_call_id": call.id, "content": "rain"}
    answer = litellm.completion(**asked, messages=[*TURNS, reply.model_dump(exclude_none=True), result]).choices[0]
    assert answer.message.content.strip()
    assert server.words is None or "rain" in answer.message.content


def test_a_schema(server: Server) -> None:
    schema = {"name": "place", "schema": {**SCHEMA, "additionalProperties": False}, "strict": True}
    asked = options(f"bedrock/converse/{CLAUDE}", server) | {"messages": TURNS, "max_tokens": 200}
    reply = litellm.completion(**asked, response_format={"type": "json_schema", "json_schema": schema})
    assert isinstance(json.loads(reply.choices[0].message.content)["city"], str)


@pytest.mark.parametrize("model", [TITAN, COHERE])
def test_embeddings(server: Server, model: str) -> None:
    place = {"aws_bedrock_runtime_endpoint": server.url, "aws_region_name": "us-east-1"}
    data = litellm.embedding(model=f"bedrock/{model}", input=["a", "b"], **place).data
    assert [len(item["embedding"]) for item in data] == [1024, 1024]


def test_awaited(server: Server) -> None:
    asked = options(f"bedrock/converse/{CLAUDE}", server) | {"messages": TURNS}

    async def talk() -> str:
        stream = await litellm.acompletion(**asked, stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert server.said(asyncio.run(talk()))


def test_a_refusal(server: Server) -> None:
    with pytest.raises(litellm.BadRequestError):
        litellm.completion(**options("bedrock/converse/anthropic.claude-3-haiku-20240307-v1:0", server), messages=[])
