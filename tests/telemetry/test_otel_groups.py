"""What groups, hedges and resumed streams look like in OpenTelemetry's spans."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

import awsllm
from awsllm.testing import AsyncScriptedBackend, Broken
from tests.telemetry.test_otel import LITE, PRO, TITAN, Seen, at_once

SONNET = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
BODY = b'{"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}'


@pytest.fixture
def seen() -> Seen:
    return Seen()


def groups(seen: Seen) -> list[Any]:
    """The groups' spans, each as a tree."""
    return [node for node in seen.tree() if node[0] == "awsllm.group"]


def test_a_group_of_an_operation_that_is_no_chat_has_a_span(seen: Seen) -> None:
    client = seen.client()
    client.embed([TITAN, "bedrock:us-west-2/amazon.titan-embed-text-v2:0"], ["a"])
    assert groups(seen) == [("awsllm.group", ("embeddings amazon.titan-embed-text-v2:0",))]


def test_so_has_an_awaited_one(seen: Seen) -> None:
    async def embed() -> None:
        backends = {"bedrock": AsyncScriptedBackend("Hello.")}
        async with awsllm.AsyncClient(region="us-east-1", backends=backends, telemetry=seen.observer()) as client:
            await client.embed([TITAN, "bedrock:us-west-2/amazon.titan-embed-text-v2:0"], ["a"])

    asyncio.run(embed())
    assert groups(seen) == [("awsllm.group", ("embeddings amazon.titan-embed-text-v2:0",))]


@pytest.mark.parametrize("grouped", [False, True])
def test_an_answer_that_was_continued_is_an_event(seen: Seen, *, grouped: bool) -> None:
    client = seen.client([Broken("one two three", after=3), " and the rest"])
    models = [f"bedrock:{SONNET}", f"bedrock:us-west-2/{SONNET}"]
    model = awsllm.Group(models, on=("timeout",)) if grouped else models[0]
    with client.converse_stream(model, "Hi", resume=True) as stream:
        assert stream.response.text.endswith("and the rest")
    events = [event.name for span in seen.spans.get_finished_spans() for event in span.events]
    assert events.count("awsllm.resume") == 1


def test_a_second_attempt_beside_a_late_one_is_an_event(seen: Seen) -> None:
    late, asked = threading.Event(), iter(range(2))

    def reply(request: Any) -> str:
        if next(asked) == 0:
            late.wait(10)
        return "Hello."

    client = seen.client(reply, policy=at_once(hedge=awsllm.Hedge(after=0.01, share=1.0)))
    try:
        assert client.converse(PRO, "Hi").text == "Hello."
    finally:
        late.set()
    assert [event.name for event in seen.one("chat").events if event.name.startswith("awsllm.")] == ["awsllm.hedge"]


def test_a_group_that_streams_bytes_has_a_span(seen: Seen) -> None:
    from awsllm.types.raw import RawChunk

    client = seen.client(lambda request: iter([RawChunk(b'{"a": 1}')]))
    for _ in client.invoke_model_stream([LITE, "bedrock:us-west-2/us.amazon.nova-lite-v1:0"], BODY):
        pass
    ((name, *inner),) = groups(seen)
    assert (name, len(inner)) == ("awsllm.group", 1)
