"""OpenAI's SDK on each route that speaks its API: Chat Completions, Responses, embeddings, models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients.conftest import Server
from tests.clients.wishes import GPT_OSS, QUESTION, SCHEMA, TITAN, TOOL

openai = pytest.importorskip("openai")
pytestmark = pytest.mark.filterwarnings("ignore")  # theirs are theirs
FUNCTION = {"name": TOOL[0], "description": TOOL[1], "parameters": SCHEMA}
TURNS: Any = [{"role": "user", "content": QUESTION}]
ASKED: Any = {"model": GPT_OSS, "messages": TURNS, "max_tokens": 48}
FORCED: Any = {
    "tools": [{"type": "function", "function": FUNCTION}],
    "tool_choice": {"type": "function", "function": {"name": TOOL[0]}},
}
STRICT = {**SCHEMA, "additionalProperties": False}


@pytest.fixture(params=["/openai/v1", "/v1"])
def client(request: pytest.FixtureRequest, server: Server) -> Iterator[Any]:
    with openai.OpenAI(base_url=server.url + request.param, api_key="any", max_retries=0) as client:
        yield client


def test_chat_and_stream(client: Any, server: Server) -> None:
    whole = client.chat.completions.create(**ASKED)
    assert server.said(whole.choices[0].message.content)
    assert whole.choices[0].finish_reason in ("stop", "length")
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    plain = list(client.chat.completions.create(**ASKED, stream=True))
    assert server.said("".join(chunk.choices[0].delta.content or "" for chunk in plain))
    assert all(chunk.usage is None for chunk in plain)
    counted = list(client.chat.completions.create(**ASKED, stream=True, stream_options={"include_usage": True}))
    assert [bool(chunk.choices) for chunk in counted[-2:]] == [True, False]
    assert counted[-1].usage.completion_tokens > 0


def test_a_forced_tool_and_its_result(client: Any, server: Server) -> None:
    asked = client.chat.completions.create(**{**ASKED, "max_tokens": 200}, **FORCED).choices[0]
    (call,) = asked.message.tool_calls
    assert call.function.name == "get_weather"
    assert isinstance(json.loads(call.function.arguments)["city"], str)
    result = {"role": "tool", "tool_call_id": call.id, "content": "rain"}
    turns = [*TURNS, asked.message.model_dump(exclude_none=True), result]
    answer = client.chat.completions.create(**{**ASKED, "messages": turns}, tools=FORCED["tools"]).choices[0]
    assert answer.message.content.strip()
    assert server.words is None or "rain" in answer.message.content


def test_a_forced_tool_in_a_stream(client: Any) -> None:
    with client.chat.completions.stream(**{**ASKED, "max_tokens": 200}, **FORCED) as stream:
        for _ in stream:
            pass
        (call,) = stream.get_final_completion().choices[0].message.tool_calls
    assert isinstance(json.loads(call.function.arguments)["city"], str)


def test_a_schema(client: Any) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "place", "schema": STRICT, "strict": True}}
    reply = client.chat.completions.create(**{**ASKED, "max_tokens": 200}, response_format=wanted)
    assert isinstance(json.loads(reply.choices[0].message.content)["city"], str)


def test_parsed(client: Any) -> None:
    import pydantic

    class Place(pydantic.BaseModel):
        city: str

    reply = client.chat.completions.parse(**{**ASKED, "max_tokens": 200}, response_format=Place)
    assert isinstance(reply.choices[0].message.parsed, Place)
    response = client.responses.parse(model=GPT_OSS, input=QUESTION, max_output_tokens=200, text_format=Place)
    assert isinstance(response.output_parsed, Place)


def test_limits_of_the_answer(client: Any, server: Server) -> None:
    short = client.chat.completions.create(**{**ASKED, "max_tokens": 2})
    assert (short.choices[0].finish_reason, short.usage.completion_tokens) == ("length", 2)
    short = client.chat.completions.create(model=GPT_OSS, messages=TURNS, max_completion_tokens=2)
    assert (short.choices[0].finish_reason, short.usage.completion_tokens) == ("length", 2)
    if server.words:
        stopped = client.chat.completions.create(**ASKED, stop=[" mild"]).choices[0]
        assert (stopped.finish_reason, stopped.message.content) == ("stop", "The weather in Paris is")


def test_responses(client: Any, server: Server) -> None:
    asked: Any = {"model": GPT_OSS, "input": QUESTION, "max_output_tokens": 48}
    response = client.responses.create(**asked)
    assert server.said(response.output_text)
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    with client.responses.stream(**asked) as stream:
        events = list(stream)
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert events[-1].type in ("response.completed", "response.incomplete")  # the second where the limit cut it
    assert events[-1].response.output_text == text
    assert server.said(text)
    again = client.responses.create(**{**asked, "input": "And in Rome?"}, previous_response_id=response.id)
    assert again.output_text.strip()


def test_responses_with_a_tool(client: Any, server: Server) -> None:
    tool = {"type": "function", **FUNCTION}
    asked: Any = {"model": GPT_OSS, "tools": [tool], "max_output_tokens": 200}
    turn = {"role": "user", "content": QUESTION}
    response = client.responses.create(**asked, input=[turn], tool_choice={"type": "function", "name": TOOL[0]})
    (call,) = [item for item in response.output if item.type == "function_call"]
    assert isinstance(json.loads(call.arguments)["city"], str)
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
    answer = client.responses.create(**asked, input=[turn, call.model_dump(exclude_none=True), result])
    assert answer.output_text.strip()
    assert server.words is None or "rain" in answer.output_text


def test_embeddings(client: Any) -> None:
    """The SDK asks for base64, and for numbers when it is told to."""
    texts = ["a cat", "a dog"]
    packed = client.embeddings.create(model=TITAN, input=texts)
    plain = client.embeddings.create(model=TITAN, input=texts, encoding_format="float")
    assert [len(item.embedding) for item in packed.data] == [len(item.embedding) for item in plain.data]
    assert packed.data[1].embedding == pytest.approx(plain.data[1].embedding, abs=1e-6)
    assert packed.usage.prompt_tokens > 0
    assert len(client.embeddings.create(model=TITAN, input="a cat", dimensions=256).data[0].embedding) == 256


def test_models(client: Any) -> None:
    ids = [model.id for model in client.models.list()]
    assert GPT_OSS in ids
    assert client.models.retrieve(GPT_OSS).id == GPT_OSS


def test_refusals(client: Any) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=GPT_OSS, messages=[])
    assert refused.value.code is None or isinstance(refused.value.code, str)
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="no.such-model", messages=TURNS)
    assert unknown.value.code == "model_not_found"


def test_text_completions(client: Any, server: Server) -> None:
    reply = client.completions.create(model=GPT_OSS, prompt="Once upon a time", max_tokens=8)
    assert reply.choices[0].text.strip()
    assert reply.usage.completion_tokens <= 8
    parts = list(client.completions.create(model=GPT_OSS, prompt="Once upon a time", max_tokens=8, stream=True))
    assert "".join(part.choices[0].text for part in parts if part.choices).strip()
