"""Typed output: what is asked of each kind of model, how answers are read, checked and mended."""

from __future__ import annotations

import datetime
import enum
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import jsonschema
import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

import awsllm
from awsllm.errors import OutputValidationError, UnsupportedError, ValidationError
from awsllm.models.profiles import Profile, profile
from awsllm.testing.scripted import ScriptedBackend
from awsllm.tools.function import function_tool
from awsllm.tools.schema.judge import violations
from awsllm.tools.typed import InvalidOutput, json_values, output_spec, typed_loop
from awsllm.types import (
    ConverseRequest,
    ConverseResponse,
    JsonSchema,
    Message,
    OutputConfig,
    Reasoning,
    Text,
    ToolChoice,
    ToolResult,
    ToolSpec,
    ToolUse,
    Usage,
)
from tests.support.schemas import GOOD, JSON, Invoice, Line, Node, Point
from tests.support.tools import drive


class Person(TypedDict):
    name: str
    age: NotRequired[int]


class Color(enum.Enum):
    RED = "red"


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    due: datetime.date


NATIVE = profile("bedrock", "anthropic.claude-sonnet-4-5-20250929-v1:0")
FORCED = profile("bedrock", "amazon.nova-lite-v1:0")
ANY = profile("bedrock", "mistral.mistral-large-2407-v1:0")
OFFERED = profile("bedrock", "meta.llama3-1-8b-instruct-v1:0")
PROMPTED = profile("bedrock", "mistral.mistral-7b-instruct-v0:2")
LOCAL = profile("local", "smollm2-135m-instruct")
REQUEST = ConverseRequest(model="m", messages=(Message.user("The invoice?"),))
BAD = {"number": "", "due": "soon"}
INVOICE = Invoice(number="7", due=datetime.date(2026, 1, 2), lines=[Line(text="tea", price=3)])


def lookup(key: str) -> str:
    """Look it up."""
    return f"value of {key}"


LOOKUP = function_tool(lookup)
WITH_TOOL = msgspec.structs.replace(REQUEST, tools=(LOOKUP.spec,))


def reply(*blocks: Any, stop: str | None = None) -> ConverseResponse:
    calls = any(isinstance(block, ToolUse) for block in blocks)
    return ConverseResponse(
        message=Message.assistant(*blocks),
        stop_reason=stop or ("tool_use" if calls else "end_turn"),
        usage=Usage(input_tokens=10, output_tokens=2, total_tokens=12),
    )


def text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def use(name: str, value: Any, id: str = "t1") -> ToolUse:
    return ToolUse(id=id, name=name, input=value)


def ask(
    output_type: Any, can: Profile, *replies: ConverseResponse, request: ConverseRequest = REQUEST, max_turns: int = 10
) -> tuple[ConverseResponse, list[ConverseRequest]]:
    functions = {"lookup": LOOKUP} if LOOKUP.spec in request.tools else {}
    return drive(typed_loop(request, output_spec(output_type), can, functions, max_turns), replies)


# --- specifications --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output_type", "value", "expected"),
    [
        (Invoice, GOOD, INVOICE),
        (Point, {"x": 1}, Point(1)),
        (Person, {"name": "Ann"}, {"name": "Ann"}),
        (list[Point], [{"x": 1, "y": 2}], [Point(1, 2)]),
        (list[Person], [{"name": "Ann", "age": 3}], [{"name": "Ann", "age": 3}]),
        (Person | None, None, None),
        (Invoice | Point, {"x": 1}, Point(1)),
        (Literal["yes", "no"], "yes", "yes"),
        (Annotated[int, pydantic.Field(ge=3)], 4, 4),
        (Color, "red", Color.RED),
        (int, 3, 3),
        (str, "three", "three"),
        (bool, True, True),
        (dict[str, int], {"a": 1}, {"a": 1}),
        (tuple[int, str], [1, "a"], (1, "a")),
        (Strict, {"due": "2026-01-02"}, Strict(due=datetime.date(2026, 1, 2))),
        (Node, {"children": [{}]}, Node(children=[Node()])),
        ({"type": "object", "properties": {"a": {"type": "integer"}}}, {"a": 1}, {"a": 1}),
        ({"type": "array", "items": {"type": "integer"}}, [1], [1]),
    ],
    ids=str,
)
def test_a_type_gives_its_object(output_type: Any, value: Any, expected: Any) -> None:
    spec = output_spec(output_type)
    assert spec.schema["type"] == "object"
    sent = {"value": value} if spec.wrapped else value
    assert not list(violations(sent, spec.schema, spec.schema))
    jsonschema.Draft202012Validator.check_schema(spec.schema)
    assert spec.validate(value) == expected
    response, _ = ask(output_type, LOCAL, reply(text(sent)))
    assert response.output == expected


def test_a_specification_is_named_for_its_type() -> None:
    assert (output_spec(Invoice).name, output_spec(Invoice).description) == ("Invoice", "What is owed.")
    assert output_spec(list[int]).name == "final_answer"
    assert output_spec({"type": "object", "title": "A strange title!"}).name == "A_strange_title"
    assert output_spec(output_spec(Invoice)) is output_spec(Invoice)


@pytest.mark.parametrize(
    ("output_type", "kind", "hint"),
    [
        ("Invoice", ValidationError, "output_type is a type or a JSON schema"),
        ([Invoice], ValidationError, "output_type is a type or a JSON schema"),
        (lookup, ValidationError, "output_type is a type or a JSON schema"),
        (5, UnsupportedError, "cannot be expressed in JSON schema"),
        (INVOICE, UnsupportedError, "cannot be expressed in JSON schema"),
        (pytest.MonkeyPatch, UnsupportedError, "MonkeyPatch cannot be expressed in JSON schema"),
        ({"type": "objct"}, UnsupportedError, "the schema has the type 'objct'"),
        ({"properties": {"a": {"if": {}}}}, UnsupportedError, "the schema's a says 'if'"),
        ({"$ref": "https://example.com/schema"}, UnsupportedError, "outside of the schema"),
        ({"$ref": "#/$defs/nowhere"}, UnsupportedError, "which is not in the schema"),
    ],
)
def test_what_cannot_be_expressed_is_named(output_type: Any, kind: type[Exception], hint: str) -> None:
    with pytest.raises(kind) as caught:
        output_spec(output_type)
    assert hint in str(caught.value)


# --- asking ----------------------------------------------------------------------------------------------------------


def test_a_native_model_is_given_the_schema_within_the_services_subset() -> None:
    _, (request,) = ask(Invoice, NATIVE, reply(text(GOOD)))
    assert request.output_config is not None
    assert request.output_config.json_schema == JsonSchema(
        schema={
            "type": "object",
            "description": "What is owed.",
            "properties": {
                "number": {"type": "string", "description": "as printed (minLength 1)"},
                "due": {"type": "string", "format": "date"},
                "lines": {
                    "type": "array",
                    "default": [],
                    "items": {
                        "type": "object",
                        "properties": {
                            "text": {"type": "string"},
                            "price": {"type": "number", "description": "(minimum 0)"},
                        },
                        "required": ["text", "price"],
                        "additionalProperties": False,
                    },
                },
            },
            "required": ["number", "due"],
            "additionalProperties": False,
        },
        name="Invoice",
        description="What is owed.",
    )
    assert request.tools == ()


def test_the_callers_effort_is_kept() -> None:
    request = msgspec.structs.replace(REQUEST, output_config=OutputConfig(effort="low"))
    _, (sent,) = ask(Point, NATIVE, reply('{"x": 1}'), request=request)
    assert sent.output_config is not None
    assert (sent.output_config.effort, sent.output_config.json_schema is not None) == ("low", True)


def test_a_local_model_decodes_under_the_schema_as_it_is() -> None:
    _, (request,) = ask(Invoice, LOCAL, reply(text(GOOD)))
    assert request.output_config is not None
    assert request.output_config.json_schema is not None
    assert request.output_config.json_schema.schema == output_spec(Invoice).schema


def test_a_callers_schema_is_asked_by_tidied_and_judged_by_as_it_was() -> None:
    level = {"type": ["string", "null"], "enum": ["low", None], "title": "Level"}
    schema = {
        "type": "object",
        "properties": {"sure": {"allOf": [{"$ref": "#/definitions/level"}]}},
        "definitions": {"level": level},
    }
    response, (request,) = ask(schema, NATIVE, reply('{"sure": null}'))
    assert response.output == {"sure": None}
    sent = request.output_config.json_schema.schema
    assert sent["properties"] == {"sure": {"anyOf": [{"type": "string", "enum": ["low"]}, {"type": "null"}]}}
    _, (request,) = ask(schema, FORCED, reply(use("final_answer", {"sure": "low", "beside": 1})))
    assert request.tools[0].input_schema == {
        "type": "object",
        "properties": sent["properties"],
        "additionalProperties": False,
    }


def test_what_a_grammar_cannot_hold_to_is_validated_afterwards() -> None:
    response, (first, _) = ask(set[int], LOCAL, reply('{"value": [1, "a"]}'), reply('{"value": [1, 1]}'))
    assert response.output == {1}
    assert first.output_config.json_schema.schema["properties"]["value"] == {
        "type": "array",
        "items": {"type": "integer"},
        "description": "(uniqueItems true)",
    }
    distinct = {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}
    response, (_, second) = ask(distinct, LOCAL, reply('{"value": [1, 1]}'), reply('{"value": [1]}'))
    assert response.output == [1]
    assert "has equal items" in second.messages[-1].text


def test_a_schema_beyond_the_service_goes_by_a_tool_and_says_so() -> None:
    response, (request,) = ask(Node, NATIVE, reply(use("Node", {"children": []})))
    assert response.output == Node()
    assert request.output_config is None
    assert request.tool_choice == ToolChoice("tool", "Node")
    assert response.warnings == (
        "structured output was asked for by a tool, since the schema is beyond the service: children: recursion or a "
        "reference elsewhere is not taken",
    )


def test_a_model_that_can_be_forced_answers_by_a_tool() -> None:
    response, (request,) = ask(Invoice, FORCED, reply(use("Invoice", GOOD)))
    assert response.output == INVOICE
    assert request.tool_choice == ToolChoice("tool", "Invoice")
    (tool,) = request.tools
    assert tool == ToolSpec(name="Invoice", input_schema=output_spec(Invoice).schema, description="What is owed.")
    assert response.message.tool_uses[0].input == GOOD
    closing = Message("user", (ToolResult(tool_use_id="t1", content=(Text("accepted"),), status="success"),))
    assert response.messages == (response.message, closing)


def test_a_model_without_named_choice_is_forced_to_any() -> None:
    _, (request,) = ask(Point, ANY, reply(use("Point", {"x": 1})))
    assert request.tool_choice == ToolChoice("any")


def test_a_model_that_cannot_be_forced_is_told() -> None:
    response, (request,) = ask(Point, OFFERED, reply(use("Point", {"x": 1})))
    assert response.output == Point(1)
    assert request.tool_choice is None
    (instruction,) = request.system
    assert isinstance(instruction, Text)
    assert "calling the tool Point" in instruction.text


@pytest.mark.parametrize("kind", ["enabled", "adaptive"])
def test_a_model_that_thinks_is_not_forced(kind: str) -> None:
    claude = profile("bedrock", "anthropic.claude-3-7-sonnet-20250219-v1:0")
    request = msgspec.structs.replace(REQUEST, extra={"thinking": {"type": kind}})
    thinking = Reasoning(text='not {"x": 9}', signature="s")
    response, (sent,) = ask(Point, claude, reply(thinking, use("Point", {"x": 1})), request=request)
    assert response.output == Point(1)
    assert sent.tool_choice is None
    assert response.messages[0].content[0] == thinking


def test_a_model_without_tools_and_system_prompt_is_asked_in_the_turn() -> None:
    response, (request,) = ask(Point, PROMPTED, reply('Sure!\n```json\n{"x": 1}\n```'))
    assert response.output == Point(1)
    assert request.system == ()
    assert request.tools == ()
    last = request.messages[-1].content[-1]
    assert isinstance(last, Text)
    assert '"properties":{"x":{"type":"integer"}' in last.text


# --- mending ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("can", [NATIVE, LOCAL, PROMPTED], ids=["native", "local", "prompted"])
def test_a_bad_text_goes_back_once(can: Profile) -> None:
    response, (first, second) = ask(Invoice, can, reply(text(BAD)), reply(text(GOOD)))
    assert response.output == INVOICE
    assert response.usage.total_tokens == 24
    assert len(response.messages) == 3
    assert second.messages == (*first.messages, *response.messages[:2])
    objection = second.messages[-1]
    assert objection.role == "user"
    assert "number: String should have at least 1 character; due: Input should be a valid date" in objection.text
    assert second.output_config == first.output_config


@pytest.mark.parametrize("can", [FORCED, ANY, OFFERED], ids=["forced", "any", "offered"])
def test_a_bad_call_goes_back_once_as_an_error_result(can: Profile) -> None:
    response, (first, second) = ask(Invoice, can, reply(use("Invoice", BAD)), reply(use("Invoice", GOOD, "t2")))
    assert response.output == INVOICE
    (result,) = second.messages[-1].content
    assert isinstance(result, ToolResult)
    assert (result.tool_use_id, result.status) == ("t1", "error")
    assert second.tool_choice == first.tool_choice
    assert [m.role for m in response.messages] == ["assistant", "user", "assistant", "user"]


def test_text_in_place_of_a_call_is_read() -> None:
    response, _ = ask(Point, OFFERED, reply('Here: {"x": 1}'))
    assert response.output == Point(1)


def test_text_without_json_is_asked_to_call() -> None:
    response, (_, second) = ask(Point, OFFERED, reply("It is one."), reply(use("Point", {"x": 1})))
    assert response.output == Point(1)
    assert "Call the tool Point." in second.messages[-1].text


@pytest.mark.parametrize("blocks", [(), (" ",)], ids=["none", "blank"])
def test_an_empty_answer_can_be_asked_again(blocks: tuple[str, ...]) -> None:
    response, (_, second) = ask(Point, NATIVE, reply(*blocks), reply('{"x": 1}'))
    assert response.output == Point(1)
    assert all(m.content and m.text.strip() for m in second.messages)


@pytest.mark.parametrize(
    ("can", "bad"),
    [(NATIVE, reply(text(BAD))), (FORCED, reply(use("Invoice", BAD))), (PROMPTED, reply("no idea"))],
    ids=["native", "forced", "prompted"],
)
def test_a_second_bad_answer_is_an_error_with_the_response(can: Profile, bad: ConverseResponse) -> None:
    with pytest.raises(OutputValidationError, match="does not fit Invoice") as caught:
        ask(Invoice, can, bad, bad)
    assert caught.value.response is not None
    assert caught.value.response.text == bad.text
    assert [call.input for call in caught.value.response.tool_uses] == [call.input for call in bad.tool_uses]
    assert caught.value.response.usage.total_tokens == 24


@pytest.mark.parametrize("stop", ["max_tokens", "guardrail_intervened", "content_filtered", "a_newer_reason"])
def test_an_answer_that_was_cut_is_not_asked_again(stop: str) -> None:
    with pytest.raises(OutputValidationError, match=stop) as caught:
        ask(Invoice, NATIVE, reply('{"number": "7", "du', stop=stop))
    assert caught.value.response is not None


# --- with tools ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("can", "choice", "answer"),
    [
        (NATIVE, None, reply('{"x": 1}')),
        (FORCED, ToolChoice("any"), reply(use("Point", {"x": 1}, "t2"))),
        (OFFERED, None, reply(use("Point", {"x": 1}, "t2"))),
        (LOCAL, None, reply('{"x": 1}')),
    ],
    ids=["native", "forced", "offered", "local"],
)
def test_tools_run_before_the_typed_answer(can: Profile, choice: ToolChoice | None, answer: ConverseResponse) -> None:
    response, sent = ask(Point, can, reply(use("lookup", {"key": "a"})), answer, request=WITH_TOOL)
    assert response.output == Point(1)
    assert [request.tool_choice for request in sent] == [choice, choice]
    assert response.usage.total_tokens == 24
    result = sent[1].messages[-1].content[0]
    assert isinstance(result, ToolResult)
    assert result.content == (Text("value of a"),)


def test_a_choice_of_the_callers_comes_first() -> None:
    request = msgspec.structs.replace(WITH_TOOL, tool_choice=ToolChoice("tool", "lookup"))
    script = [reply(use("lookup", {"key": "a"})), reply(use("Point", {"x": 1}))]
    _, sent = ask(Point, FORCED, *script, request=request)
    assert [r.tool_choice for r in sent] == [ToolChoice("tool", "lookup"), ToolChoice("any")]


def test_a_tool_that_has_the_types_name_keeps_it() -> None:
    def point(x: int) -> int:
        return x

    spec = msgspec.structs.replace(function_tool(point).spec, name="Point")
    request = msgspec.structs.replace(REQUEST, tools=(spec,))
    _, (sent,) = ask(Point, FORCED, reply(use("Point_answer", {"x": 1})), request=request)
    assert [tool.name for tool in sent.tools if isinstance(tool, ToolSpec)] == ["Point", "Point_answer"]


def test_calls_beside_the_answer_are_answered_too() -> None:
    both = reply(use("lookup", {"key": "a"}, "t1"), use("Point", {"x": 1}, "t2"))
    response, _ = ask(Point, FORCED, both, request=WITH_TOOL)
    assert response.output == Point(1)
    assert [r.tool_use_id for r in response.messages[-1].content if isinstance(r, ToolResult)] == ["t1", "t2"]


def test_the_callers_own_tool_is_handed_over_without_output() -> None:
    own = ToolSpec(name="own", input_schema={"type": "object"})
    request = msgspec.structs.replace(REQUEST, tools=(own,))
    answer = reply(use("own", {}))
    response, _ = ask(Point, FORCED, answer, request=request)
    assert (response.message, response.output) == (answer.message, None)


def test_one_turn_hands_over_the_call() -> None:
    answer = reply(use("lookup", {"key": "a"}))
    response, _ = ask(Point, NATIVE, answer, request=WITH_TOOL, max_turns=1)
    assert (response.message, response.output) == (answer.message, None)


def test_tools_without_end_are_an_error() -> None:
    endless = [reply(use("lookup", {"key": "a"})) for _ in range(3)]
    with pytest.raises(OutputValidationError, match="stopped after 3 model calls"):
        ask(Point, NATIVE, *endless, request=WITH_TOOL, max_turns=3)


# --- reading text ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "values"),
    [
        ('{"a": 1}', [{"a": 1}]),
        ("3", [3]),
        ('```json\n{"a": [1]}\n```', [{"a": [1]}]),
        ('<think>maybe {x}</think> {"a": 1} and [2]', [{"a": 1}, [2]]),
        ("none", []),
        ('{"a": 1', []),
        ("", []),
        ("[" * 100_000, []),
    ],
    ids=lambda value: str(value)[:30],
)
def test_json_is_found_in_text(answer: str, values: list[Any]) -> None:
    assert list(json_values(answer)) == values


@pytest.mark.parametrize("broken", ['{"name": "root", "children": [{"name": "leaf"}],}', '[{"name": "leaf"}, {"na'])
def test_a_part_of_a_broken_value_is_no_answer(broken: str) -> None:
    assert list(json_values(broken)) == []


@pytest.mark.parametrize("answer", ['{"name": "\\ud800"}', 'So: {"name": "\\udc00"}'])
def test_half_a_surrogate_pair_does_not_fit(answer: str) -> None:
    (value,) = json_values(answer)
    with pytest.raises(InvalidOutput, match="surrogates"):
        output_spec(Node).validate(value)


@given(JSON.filter(lambda value: isinstance(value, dict | list)), st.sampled_from(["", "Sure! ", "```json\n", "} "]))
def test_any_json_is_found_behind_prose(value: Any, prose: str) -> None:
    assert next(json_values(prose + text(value))) == value


@pytest.mark.parametrize(("output_type", "text", "value"), [(list[int], "[1]", [1]), (int, "5", 5)])
def test_a_value_without_the_object_around_it_is_the_value(output_type: Any, text: str, value: Any) -> None:
    backend = ScriptedBackend([text])
    client = awsllm.Client(backends={"bedrock": backend})
    assert client.converse("bedrock:amazon.nova-lite-v1:0", "Go", output_type=output_type).output == value
    assert len(backend.requests) == 1


class Tree(pydantic.BaseModel):
    """A name and what is below it."""

    name: str
    below: list[Tree] = []


def test_a_type_that_contains_itself_is_an_object_like_any() -> None:
    spec = output_spec(Tree)
    assert (spec.name, spec.wrapped, spec.schema["type"]) == ("Tree", False, "object")
    value = {"name": "a", "below": [{"name": "b", "below": []}]}
    assert not list(violations(value, spec.schema, spec.schema))
    assert spec.validate(value) == Tree(name="a", below=[Tree(name="b")])
