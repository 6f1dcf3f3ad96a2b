"""A typed output can be read while it streams."""

from __future__ import annotations

import asyncio
import datetime
from typing import Any

import pydantic
import pytest

import awsllm
from awsllm import types as t
from awsllm.testing import AsyncScriptedBackend, ScriptedBackend
from awsllm.tools.partial import lenient, partial_json

TOOL = "bedrock:us.amazon.nova-lite-v1:0"  # answers by a tool
NATIVE = "bedrock:us.anthropic.claude-sonnet-4-6"  # by text under a schema
PROMPT = "bedrock:us.deepseek.r1-v1:0"  # by text that it was asked for


class City(pydantic.BaseModel):
    name: str
    founded: datetime.date | None = None
    people: int


class Trip(pydantic.BaseModel):
    title: str
    cities: list[City]
    days: int = 3


WHOLE = {"title": "North", "cities": [{"name": "Bergen", "founded": "1070-01-01", "people": 290000}], "days": 2}
JSON = '{"title":"North","cities":[{"name":"Bergen","founded":"1070-01-01","people":290000}],"days":2}'


def events(pieces: list[str], tool: bool) -> Any:
    yield t.MessageStart("assistant")
    if tool:
        yield t.ContentBlockStart(0, t.ToolUseStart("u1", "Trip"))
    for piece in pieces:
        yield t.ContentBlockDelta(0, t.ToolUseDelta(piece) if tool else t.TextDelta(piece))
    yield t.ContentBlockStop(0)
    yield t.MessageStop("tool_use" if tool else "end_turn")
    yield t.Metadata()


def seen(model: str, text: str, output_type: Any = Trip) -> list[Any]:
    """``partial_output`` after each character."""
    backend = ScriptedBackend(lambda _: events(list(text), model == TOOL))
    stream = awsllm.Client(backends={"bedrock": backend}).converse_stream(model, "Where to?", output_type=output_type)
    found = [stream.partial_output for _ in stream]
    assert stream.partial_output == stream.response.output
    return found


@pytest.mark.parametrize("model", [TOOL, NATIVE, PROMPT])
def test_it_grows_into_the_object(model: str) -> None:
    found = seen(model, JSON if model != PROMPT else f"Here you are:\n```json\n{JSON}\n```")
    assert found[0] is None
    parts = [part for part in found if part is not None]
    assert all(isinstance(part, Trip) for part in parts)
    assert parts[-1] == Trip.model_validate(WHOLE)
    assert "Nor" in [part.title for part in parts]
    assert any(part.cities and part.cities[0].name == "Ber" and part.cities[0].people is None for part in parts)
    assert all(part.cities[0].founded in (None, datetime.date(1070, 1, 1)) for part in parts if part.cities)
    titles = [part.title or "" for part in parts]
    assert titles == sorted(titles, key=len)  # what was there stays


def test_what_is_no_object_is_read_in_its_wrapper() -> None:
    found = seen(NATIVE, '{"value":[1,2,30]}', list[int])
    assert found[0] is None
    assert [1, 2] in found
    assert found[-1] == [1, 2, 30]


def test_a_schema_gives_plain_json() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}, "required": ["b"]}
    found = seen(NATIVE, '{"a":"xy","b":1}', schema)
    assert {"a": "x"} in found
    assert found[-1] == {"a": "xy", "b": 1}


def test_the_async_stream_has_it_too() -> None:
    async def main() -> list[Any]:
        backend = AsyncScriptedBackend(lambda _: events(list(JSON), False))
        async with awsllm.AsyncClient(backends={"bedrock": backend}) as client:
            stream = client.converse_stream(NATIVE, "Where to?", output_type=Trip)
            return [stream.partial_output async for _ in stream]

    found = asyncio.run(main())
    assert found[-1] == Trip.model_validate(WHOLE)
    assert any(part is not None and part.title == "No" for part in found)


def test_a_stream_without_a_type_has_none() -> None:
    stream = awsllm.Client(backends={"bedrock": ScriptedBackend("Hi.")}).converse_stream(NATIVE, "Hello")
    assert {stream.partial_output for _ in stream} == {None}
    assert stream.partial_output is None


def test_aliases_defaults_and_unions() -> None:
    class Item(pydantic.BaseModel):
        size: int = pydantic.Field(alias="theSize")
        color: str = "red"
        city: City | None = None
        more: dict[str, City] = {}

    part = lenient(Item, {"city": {"name": "Bergen"}, "more": {"a": {"name": "Oslo"}}})
    assert (part.size, part.color, part.city.name, part.more["a"].people) == (None, "red", "Bergen", None)
    assert lenient(Item, {"theSize": 3, "city": {"na": 1}}).size == 3


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("Well", None),
        ('Well: {"a', {}),
        ('{"a":1,"b":"c', {"a": 1, "b": "c"}),
        ('{"a":1} and so on', {"a": 1}),
        ("[1,2", [1, 2]),  # which may be 20 yet
        ("{]", None),
        ("[" * 100_000, None),
    ],
)
def test_json_is_read_as_far_as_it_goes(text: str, value: Any) -> None:
    assert partial_json(text) == value
