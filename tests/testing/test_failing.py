"""A fallback that is forced."""

from __future__ import annotations

import asyncio

import pytest

import awsllm
from awsllm.testing import AsyncScriptedBackend, ScriptedBackend, failing

GROUP = ["bedrock:first", "bedrock:second"]
POLICY = awsllm.Policy(max_attempts=1)


def test_a_model_fails_and_the_next_one_answers() -> None:
    backend = ScriptedBackend(lambda request: request.model)
    with awsllm.Client(region="us-east-1", policy=POLICY, backends={"bedrock": backend}) as client:
        with failing(client, "bedrock:first"):
            response = client.converse(GROUP, "Hi")
            assert client.converse_stream(GROUP, "Hi").response.text == "second"
            with pytest.raises(awsllm.ThrottlingError, match="by a test"):
                client.converse("bedrock:first", "Hi")
            assert client.converse("bedrock:us-west-2/first", "Hi").text == "first"
        assert response.text == "second"
        assert [made.error for made in response.attempts] == ["ThrottlingException", None]
        assert client.converse(GROUP, "Hi").text == "first"
        with failing(client, "bedrock:first", awsllm.AccessDeniedError("no"), times=1):
            with pytest.raises(awsllm.AccessDeniedError):
                client.converse(GROUP, "Hi")
            assert client.converse(GROUP, "Hi").text == "first"


def test_so_it_does_where_it_is_awaited() -> None:
    async def ask() -> None:
        backends = {"bedrock": AsyncScriptedBackend(ScriptedBackend(lambda request: request.model))}
        async with awsllm.AsyncClient(region="us-east-1", policy=POLICY, backends=backends) as client:
            with failing(client, "bedrock:first"):
                assert (await client.converse(GROUP, "Hi")).text == "second"
                assert (await client.converse_stream(GROUP, "Hi").response).text == "second"
            assert (await client.converse(GROUP, "Hi")).text == "first"

    asyncio.run(ask())
