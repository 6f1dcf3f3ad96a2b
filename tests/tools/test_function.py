"""Functions as tools: their schemas, and the validation of arguments."""

from __future__ import annotations

import datetime
import functools
from typing import Any, Literal, TypedDict

import pydantic
import pytest

from awsllm.errors import UnsupportedError, ValidationError
from awsllm.tools.function import function_tool, model_tool, tool
from awsllm.types import Json, Text, ToolResult, ToolSpec
from tests.support.tools import Place, Point, run, text_of, weather


class Window(TypedDict, total=False):
    start: datetime.date


class Node(pydantic.BaseModel):
    children: list[Node] = []


# --- schemas ---------------------------------------------------------------------------------------------------------


def test_a_signature_becomes_a_schema() -> None:
    assert weather.spec == ToolSpec(
        name="weather",
        description="The weather of a city.\n\nMeasured, not guessed.",
        input_schema={
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Its name, in English."},
                "unit": {"type": "string", "enum": ["c", "f"], "default": "c"},
                "days": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": 7,
                    "default": 1,
                    "description": "How many days ahead.",
                },
            },
            "required": ["city"],
            "additionalProperties": False,
        },
    )


def test_a_decorated_function_is_still_a_function() -> None:
    assert weather("Oslo")["days"] == 1


def test_names_that_pydantic_reserves_are_taken() -> None:
    def odd(schema: str, model_config: int, copy: bool, _private: str, self_: str = "s") -> list[Any]:
        return [schema, model_config, copy, _private, self_]

    assert list(function_tool(odd).spec.input_schema["properties"]) == [
        *("schema", "model_config", "copy", "_private", "self_")
    ]
    arguments = {"schema": "a", "model_config": 2, "copy": True, "_private": "p"}
    assert run(odd, arguments).content == (Json(value={"result": ["a", 2, True, "p", "s"]}),)


def test_nested_types_arrive_as_objects() -> None:
    def visit(
        place: Place, window: Window, mode: Literal["walk", "ride"] = "walk", via: list[Point] | None = None
    ) -> str:
        assert isinstance(place, Place)
        assert isinstance(place.at, Point)
        assert via is not None
        assert via[0] == Point(1.0, 2.0)
        return f"{place.name} {window['start'].isoformat()} {mode}"

    schema = function_tool(visit).spec.input_schema
    assert "$defs" not in schema
    assert schema["properties"]["place"]["properties"]["name"] == {"type": "string", "description": "as on the map"}
    place = {"name": "Oslo", "at": {"x": 1}}
    result = run(visit, {"place": place, "window": {"start": "2026-01-02"}, "via": [{"x": 1, "y": 2}]})
    assert result == ToolResult(tool_use_id="t1", content=(Text("Oslo 2026-01-02 walk"),), status="success")


def test_a_recursive_type_keeps_its_reference() -> None:
    def count(tree: Node) -> str:
        return str(len(tree.children))

    schema = function_tool(count).spec.input_schema
    assert schema["properties"]["tree"] == {"$ref": "#/$defs/Node"}
    assert list(schema["$defs"]) == ["Node"]
    assert text_of(run(count, {"tree": {"children": [{"children": []}, {}]}})) == "2"


def test_defaults_stay_the_functions_own() -> None:
    marker = object()

    def f(a: int, b: Any = marker, c: int = pydantic.Field(7, description="lucky")) -> str:
        assert b is marker
        return f"{a} {c}"

    schema = function_tool(f).spec.input_schema
    assert schema["properties"]["c"] == {"type": "integer", "default": 7, "description": "lucky"}
    assert schema["required"] == ["a"]
    assert text_of(run(f, {"a": 1})) == "1 7"


def test_a_function_without_parameters_takes_an_empty_object() -> None:
    def now() -> str:
        return "noon"

    assert function_tool(now).spec.input_schema == {"type": "object", "properties": {}, "additionalProperties": False}
    assert text_of(run(now, {})) == "noon"
    assert text_of(run(now, None)) == "noon"


class Desk:
    def __init__(self, city: str) -> None:
        self.city = city

    @tool(name="desk_weather", description="Weather here.")
    def weather(self, days: int) -> str:
        return f"{self.city} {days}"

    def plain(self, days: int) -> str:
        return f"{self.city}! {days}"

    def __call__(self, days: int) -> str:
        return f"{self.city}? {days}"


def test_methods_lose_their_self() -> None:
    desk = Desk("Oslo")
    assert desk.weather.spec.name == "desk_weather"
    assert list(desk.weather.spec.input_schema["properties"]) == ["days"]
    assert desk.weather(2) == "Oslo 2"
    assert Desk.weather.unbound
    assert not desk.weather.unbound
    assert text_of(run(desk.plain, {"days": 3})) == "Oslo! 3"
    assert text_of(run(desk.weather, {"days": 4})) == "Oslo 4"
    assert text_of(run(desk, {"days": 5})) == "Oslo? 5"


def test_a_partial_is_called_by_its_functions_name() -> None:
    def send(to: str, text: str) -> str:
        """Send."""
        return f"{to}: {text}"

    made = function_tool(functools.partial(send, "Ann"))
    assert made.spec.name == "send"
    assert list(made.spec.input_schema["properties"]) == ["text"]


@pytest.mark.parametrize(
    ("source", "kind", "hint"),
    [
        ("def f(*rest: int) -> None: ...", ValidationError, "parameter 'rest': a model cannot fill '*rest: int'"),
        ("def f(**rest: int) -> None: ...", ValidationError, "parameter 'rest': a model cannot fill '**rest: int'"),
        ("def f(a: int, /) -> None: ...", ValidationError, "parameter 'a' is positional only"),
        ("def f(a) -> None: ...", ValidationError, "write its type, as in 'a: str'"),
        ("def f(a: 'Missing') -> None: ...", ValidationError, "name 'Missing' is not defined"),
        ("def f(ok: int, a: object.__class__) -> None: ...", UnsupportedError, "parameter 'a'"),
        ("import threading\ndef f(a: threading.Lock) -> None: ...", UnsupportedError, "parameter 'a'"),
        ("from collections.abc import Callable\ndef f(ok: int, a: Callable) -> None: ...", UnsupportedError, "'a'"),
        ("f = lambda a: a", ValidationError, "a lambda has no name"),
        ("f = 'text'", ValidationError, "'text' is not a function"),
        ("f = 3", ValidationError, "3 is not a function"),
    ],
)
def test_what_is_no_tool_says_why(source: str, kind: type[Exception], hint: str) -> None:
    scope: dict[str, Any] = {}
    exec(source, scope)  # noqa: S102
    with pytest.raises(kind) as caught:
        function_tool(scope["f"])
    assert hint in str(caught.value)


def test_a_model_is_a_specification() -> None:
    class Search(pydantic.BaseModel):
        """Look something up."""

        query: str

    spec = model_tool(Search)
    assert (spec.name, spec.description) == ("Search", "Look something up.")
    assert spec.input_schema["properties"] == {"query": {"type": "string"}}
    assert model_tool(Point).description is None
    with pytest.raises(ValidationError, match="is no tool"):
        model_tool(int)


# --- arguments and results -------------------------------------------------------------------------------------------


def test_bad_arguments_are_listed_for_the_model() -> None:
    result = run(weather, {"citty": "Oslo", "days": 9})
    assert result.status == "error"
    message = text_of(result)
    assert "city: Field required" in message
    assert "days: Input should be less than or equal to 7" in message
    assert "citty: Extra inputs are not permitted" in message
    assert "http" not in message


@pytest.mark.parametrize("arguments", ["not an object", [1], 3])
def test_arguments_that_are_no_object_are_an_error_result(arguments: Any) -> None:
    assert run(weather, arguments).status == "error"
