"""Anthropic's SDK: its clients for Bedrock (InvokeModel), for bedrock-mantle, and for its own API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients.conftest import Server, point
from tests.clients.wishes import CLAUDE, QUESTION, SCHEMA, TOOL

anthropic = pytest.importorskip("anthropic")
pytestmark = pytest.mark.filterwarnings("ignore")  # theirs are theirs
WEATHER: Any = {"name": TOOL[0], "description": TOOL[1], "input_schema": SCHEMA}
FORCED: Any = {"tools": [WEATHER], "tool_choice": {"type": "tool", "name": TOOL[0]}}
ASKED: Any = {"model": CLAUDE, "max_tokens": 48, "messages": [{"role": "user", "content": QUESTION}]}


def made(kind: str, url: str) -> Any:
    match kind:
        case "bedrock":
            return anthropic.AnthropicBedrock(base_url=url, aws_region="us-east-1", max_retries=0)
        case "mantle":
            root = f"{url}/anthropic"
            return anthropic.AnthropicBedrockMantle(base_url=root, aws_region="us-east-1", api_key="any", max_retries=0)
        case _:
            return anthropic.Anthropic(base_url=url, api_key="any", max_retries=0)


@pytest.fixture(params=["bedrock", "mantle", "plain"])
def client(request: pytest.FixtureRequest, server: Server) -> Iterator[Any]:
    with made(request.param, server.url) as client:
        yield client


def test_chat_and_stream(client: Any, server: Server) -> None:
    whole = client.messages.create(**ASKED)
    assert server.said(whole.content[0].text)
    assert whole.stop_reason in ("end_turn", "max_tokens")
    assert whole.usage.input_tokens > 0
    assert whole.usage.output_tokens > 0
    with client.messages.stream(**ASKED) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert server.said(text)
    assert final.content[0].text == text
    assert final.usage.output_tokens > 0


def test_a_forced_tool_and_its_result(client: Any, server: Server) -> None:
    asked = client.messages.create(**{**ASKED, "max_tokens": 200}, **FORCED)
    (use,) = [block for block in asked.content if block.type == "tool_use"]
    assert (asked.stop_reason, use.name) == ("tool_use", "get_weather")
    assert isinstance(use.input["city"], str)
    result = {"type": "tool_result", "tool_use_id": use.id, "content": [{"type": "text", "text": "rain"}]}
    turns = [*ASKED["messages"], {"role": "assistant", "content": asked.content}, {"role": "user", "content": [result]}]
    answer = client.messages.create(**{**ASKED, "messages": turns}, tools=[WEATHER])
    assert answer.content[0].text.strip()
    assert server.words is None or "rain" in answer.content[0].text


def test_a_forced_tool_in_a_stream(client: Any) -> None:
    with client.messages.stream(**{**ASKED, "max_tokens": 200}, **FORCED) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_message()
    assert "input_json" in kinds
    assert isinstance(final.content[-1].input["city"], str)


def test_a_schema(client: Any) -> None:
    wanted = {"type": "json_schema", "schema": {**SCHEMA, "additionalProperties": False}}
    model = "anthropic.claude-sonnet-4-5-20250929-v1:0"
    asked = {**ASKED, "model": model, "max_tokens": 200, "output_config": {"format": wanted}}
    assert isinstance(json.loads(client.messages.create(**asked).content[0].text)["city"], str)


def test_limits_of_the_answer(client: Any, server: Server) -> None:
    short = client.messages.create(**{**ASKED, "max_tokens": 2})
    assert (short.stop_reason, short.usage.output_tokens) == ("max_tokens", 2)
    if server.words:
        stopped = client.messages.create(**ASKED, stop_sequences=[" mild"])
        assert (stopped.stop_reason, stopped.content[0].text) == ("stop_sequence", "The weather in Paris is")
        assert stopped.stop_sequence == " mild"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bedrock", "plain"])
def test_the_prompt_cache(kind: str, local_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prefix is written by the first call and read by the next, if it has the 1,024 tokens that the model wants."""
    point(local_url, monkeypatch)
    model = f"{'us.' if kind == 'bedrock' else ''}anthropic.claude-sonnet-4-5-20250929-v1:0"
    with made(kind, local_url) as client:

        def used(text: str) -> Any:
            system = [{"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}]
            usage = client.messages.create(**{**ASKED, "model": model, "max_tokens": 1}, system=system).usage
            return usage.cache_creation_input_tokens, usage.cache_read_input_tokens

        long = " ".join(f"Rule {n} of {kind}: be brief." for n in range(200))
        (written, nothing), (again, read) = used(long), used(long)
        assert (nothing, again) == (0, 0)
        assert written == read > 1024
        assert used("Be brief.") == (0, 0)


def test_refusals(client: Any) -> None:
    with pytest.raises(anthropic.BadRequestError):
        client.messages.create(**{**ASKED, "messages": []})
    with pytest.raises((anthropic.BadRequestError, anthropic.NotFoundError)):
        client.messages.create(**{**ASKED, "model": "no.such-model"})


def test_models(scripted: Server) -> None:
    with made("plain", scripted.url) as client:
        ids = [model.id for model in client.models.list()]
    assert "anthropic.claude-sonnet-4-5-20250929-v1:0" in ids
    assert all(name.startswith("anthropic.") for name in ids)


@pytest.mark.parametrize("kind", ["mantle", "plain"])
def test_counting_tokens(kind: str, server: Server) -> None:
    with made(kind, server.url) as client:
        asked = {"model": CLAUDE, "messages": ASKED["messages"]}
        short = client.messages.count_tokens(**asked).input_tokens
        assert 0 < short < client.messages.count_tokens(**asked, tools=[WEATHER]).input_tokens
