"""aiobotocore, which is boto3's half that is awaited."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.clients.conftest import Server
from tests.clients.wishes import CLAUDE, QUESTION, SCHEMA, TITAN, TOOL

aiobotocore_session = pytest.importorskip("aiobotocore.session")
pytestmark = pytest.mark.filterwarnings("ignore")  # theirs are theirs
TURNS = [{"role": "user", "content": [{"text": QUESTION}]}]
SPEC = {"toolSpec": {"name": TOOL[0], "description": TOOL[1], "inputSchema": {"json": SCHEMA}}}
LIMIT = {"maxTokens": 200}


def call(service: str, use: Callable[[Any], Awaitable[Any]]) -> Any:
    async def called() -> Any:
        async with aiobotocore_session.get_session().create_client(service) as client:
            return await use(client)

    return asyncio.run(called())


def test_converse_and_its_stream(server: Server) -> None:
    async def use(client: Any) -> None:
        whole = await client.converse(modelId=CLAUDE, messages=TURNS, inferenceConfig=LIMIT)
        assert server.said(whole["output"]["message"]["content"][0]["text"])
        reply = await client.converse_stream(modelId=CLAUDE, messages=TURNS, inferenceConfig=LIMIT)
        events = [event async for event in reply["stream"]]
        deltas = [event["contentBlockDelta"]["delta"]["text"] for event in events if "contentBlockDelta" in event]
        assert server.said("".join(deltas))
        assert events[-1]["metadata"]["usage"]["outputTokens"] > 0

    call("bedrock-runtime", use)


def test_a_forced_tool(server: Server) -> None:
    config = {"tools": [SPEC], "toolChoice": {"tool": {"name": TOOL[0]}}}

    async def use(client: Any) -> Any:
        return await client.converse(modelId=CLAUDE, messages=TURNS, toolConfig=config, inferenceConfig=LIMIT)

    reply = call("bedrock-runtime", use)
    (use_,) = [block["toolUse"] for block in reply["output"]["message"]["content"] if "toolUse" in block]
    assert (reply["stopReason"], isinstance(use_["input"]["city"], str)) == ("tool_use", True)


def test_invoke_model_and_endpoints(server: Server) -> None:
    async def embed(client: Any) -> Any:
        reply = await client.invoke_model(modelId=TITAN, body=json.dumps({"inputText": "a"}))
        return json.loads(await reply["body"].read())

    assert len(call("bedrock-runtime", embed)["embedding"]) == 1024
    body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 20}

    async def invoke(client: Any) -> Any:
        reply = await client.invoke_endpoint(EndpointName="any", Body=json.dumps(body), ContentType="application/json")
        return json.loads(await reply["Body"].read())

    assert call("sagemaker-runtime", invoke)["choices"][0]["message"]["content"]
