"""Models that were not trained on tools are told of them in words, and asked in words what their calls gave."""

import json
from typing import Any

import pytest

from awsllm import types as t
from awsllm.backends.local.calls import GrammarTerms, closed, tool_grammar
from awsllm.backends.local.dialects import HERMES, PLAIN, TOLD, Dialect
from awsllm.backends.local.plain import shape
from awsllm.backends.local.prompt import chat, without_system
from awsllm.errors import UnsupportedError, ValidationError

WEATHER = t.ToolSpec(
    "get_weather",
    {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "its name"},
            "unit": {"enum": ["celsius", "fahrenheit"]},
            "days": {"type": "array", "items": {"type": "integer"}},
            "where": {"type": "object", "properties": {}},
        },
        "required": ["city"],
    },
    "The weather in a city.",
)
QUESTION = t.Message.user("How is it in Paris?")
CALL = t.ToolUse("1", "get_weather", {"city": "Paris"})


def request(*messages: t.Message, **options: Any) -> t.ConverseRequest:
    return t.ConverseRequest(model="m", messages=messages, **options)


def turns(*messages: t.Message, **options: Any) -> list[dict[str, Any]]:
    return chat(request(*messages, **options), PLAIN).messages


def result(*content: t.ToolResultContent, id: str = "1", status: str | None = None) -> t.ToolResult:
    return t.ToolResult(id, content, status=status)


def asked(*results: t.ToolResult, **options: Any) -> str:
    """The last turn, where a call of each result's id preceded."""
    calls = tuple(t.ToolUse(r.tool_use_id, "get_weather", {"city": r.tool_use_id}) for r in results)
    content: str = turns(QUESTION, t.Message("assistant", calls), t.Message("user", results), **options)[-1]["content"]
    return content


# --- before a call ---------------------------------------------------------------------------------------------------


def test_each_tool_is_a_line_and_examples_show_how_it_is_called() -> None:
    system, *examples, question = turns(QUESTION, system=(t.Text("Be brief."),), tools=(WEATHER,))
    assert system["content"].startswith("Be brief.\n\n")
    assert system["content"].splitlines()[-1] == (
        "get_weather(city: string (its name), unit?: celsius or fahrenheit, days?: list of integer, "
        'where?: {"type": "object", "properties": {}}): The weather in a city.'
    )
    assert question == {"role": "user", "content": "How is it in Paris?"}
    assert [turn["role"] for turn in examples] == ["user", "assistant"] * 3
    assert sum("<tool_call>" in turn["content"] for turn in examples) == 2
    assert all("<tool" not in turn["content"] for turn in examples if turn["role"] == "user")


def test_without_tools_nothing_is_shown() -> None:
    assert turns(QUESTION) == [{"role": "user", "content": "How is it in Paris?"}]


@pytest.mark.parametrize("schema", [{"type": "object"}, {"type": "object", "properties": None, "required": None}])
def test_a_tool_without_arguments_is_a_name(schema: dict[str, Any]) -> None:
    system, *_ = turns(QUESTION, tools=(t.ToolSpec("now", schema),))
    assert system["content"].splitlines()[-1] == "now()"


# --- after one -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ((t.Json({"city": "Paris", "temperature": 21, "clear": True}),), "city: Paris; temperature: 21; clear: true"),
        ((t.Json({"result": 42}),), "42"),
        ((t.Json({"result": [{"line": 7}, {"line": 8}]}),), "{line: 7}, {line: 8}"),
        ((t.Json({"a": {"b": None}}),), "a: {b: null}"),
        ((t.Text("21 degrees"),), "21 degrees"),
        ((t.Text('{"temperature": 21}'),), "temperature: 21"),
        ((t.Text("{not JSON"),), "{not JSON"),
        ((t.Text("one"), t.Text("two")), "one\ntwo"),
    ],
)
def test_a_result_goes_on_with_its_question_in_words(content: tuple[t.ToolResultContent, ...], expected: str) -> None:
    last = asked(result(*content), tools=(WEATHER,))
    assert last == f"How is it in Paris?\n\nAnswer in a sentence, using this result: {expected}"


def test_a_failure_and_several_results_say_what_they_are() -> None:
    assert asked(result(t.Text("no such city"), status="error")).endswith("this result: Error: no such city")
    several = asked(result(t.Json({"c": 21}), id="Paris"), result(t.Json({"result": 4}), id="Oslo"))
    assert several.splitlines()[-3:] == [
        "Answer in a sentence, using these results:",
        "get_weather(city: Paris): c: 21",
        "get_weather(city: Oslo): 4",
    ]


def test_the_answer_turn_shows_answers_and_no_tools() -> None:
    messages = turns(
        QUESTION, t.Message("assistant", (CALL,)), t.Message("user", (result(t.Text("21")),)), tools=(WEATHER,)
    )
    assert [turn["role"] for turn in messages] == ["user", "assistant"] * 2 + ["user"]
    assert not any("get_weather" in turn["content"] or "<tool" in turn["content"] for turn in messages)


def test_what_the_model_said_beside_a_call_stays_its_own_turn() -> None:
    said = t.Message("assistant", (t.Text("Let me see."), CALL))
    *_, question, answer, last = turns(QUESTION, said, t.Message("user", (result(t.Text("21")), t.Text("Be brief."))))
    assert (question["content"], answer["content"]) == ("How is it in Paris?", "Let me see.")
    assert last["content"] == "Answer in a sentence, using this result: 21\n\nBe brief."


def test_an_earlier_round_reads_as_it_was_asked() -> None:
    rounds = (QUESTION, t.Message("assistant", (CALL,)), t.Message("user", (result(t.Text("21")),)))
    first = turns(*rounds, tools=(WEATHER,))[-1]
    later = turns(*rounds, t.Message.assistant("It is 21."), t.Message.user("And tomorrow?"), tools=(WEATHER,))
    assert later[-3:] == [
        first,
        {"role": "assistant", "content": "It is 21."},
        {"role": "user", "content": "And tomorrow?"},
    ]


def test_a_typed_answer_or_a_forced_call_only_uses_the_result() -> None:
    output = t.OutputConfig(json_schema=t.JsonSchema({"type": "object"}))
    assert asked(result(t.Text("21")), output_config=output).endswith("\n\nUse this result: 21")
    forced = asked(result(t.Text("21")), tools=(WEATHER,), tool_choice=t.ToolChoice("any"))
    assert forced.endswith("\n\nUse this result: 21")


def test_a_picture_in_a_result_is_refused_with_what_can_read_it() -> None:
    with pytest.raises(UnsupportedError, match=r"an image.*bedrock:"):
        asked(result(t.Image("png", t.Bytes(b""))))


# --- typed answers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string"}, '"…"'),
        ({"type": "integer"}, "1"),
        ({"enum": ["low", "high"]}, '"low" or "high"'),
        ({"const": 3}, "3"),
        ({"anyOf": [{"type": "number"}, {"type": "null"}]}, "1.5 or null"),
        ({"type": "array", "items": {"type": "boolean"}}, "[true or false, …]"),
        (
            {"type": "object", "properties": {"a": {"type": "string", "description": "d"}, "b": {"enum": [1]}}},
            '{"a": "…", "b": 1}',
        ),
        ({"type": ["string", "null"]}, '"…" or null'),
        ({"type": "object"}, None),
        ({"$ref": "#/$defs/Node"}, None),
        ({"type": "object", "properties": {"a": {}}}, None),
        ({"anyOf": [{"type": "string"}, {}]}, None),
    ],
)
def test_a_schema_is_shown_by_its_shape_where_it_has_one(schema: dict[str, Any], expected: str | None) -> None:
    assert shape(schema) == expected
    output = t.OutputConfig(json_schema=t.JsonSchema(schema))
    system, _ = turns(QUESTION, output_config=output)
    assert system["content"].splitlines()[-1] == (expected or json.dumps(schema))
    [system, _] = chat(request(QUESTION, output_config=output), HERMES).messages
    assert system["content"].splitlines()[-1] == json.dumps(schema)


# --- the grammar -----------------------------------------------------------------------------------------------------


def grammar(*messages: t.Message, **options: Any) -> str:
    return tool_grammar(request(*messages, **options), GrammarTerms(json.dumps), PLAIN) or ""


ROUND = (QUESTION, t.Message("assistant", (CALL,)), t.Message("user", (result(t.Text("21")),)))


def test_after_a_result_only_a_sentence_may_follow_unless_a_call_is_forced() -> None:
    assert "call" not in grammar(*ROUND, tools=(WEATHER,))
    assert grammar(*ROUND) == grammar(*ROUND, tools=(WEATHER,))
    assert "<tool_call>" in grammar(*ROUND, tools=(WEATHER,), tool_choice=t.ToolChoice("any"))
    assert "<tool_call>" in (tool_grammar(request(*ROUND, tools=(WEATHER,)), GrammarTerms(json.dumps), HERMES) or "")


@pytest.mark.parametrize("choice", ["any", "auto"])
def test_several_calls_are_for_models_that_know_them_and_callers_that_allow_them(choice: str) -> None:
    def calls(dialect: Dialect, **options: Any) -> int:
        asks = request(QUESTION, tools=(WEATHER,), tool_choice=t.ToolChoice(choice), **options)
        return int("){0,3}" in (tool_grammar(asks, GrammarTerms(json.dumps), dialect) or ""))

    assert [calls(PLAIN), calls(TOLD), calls(HERMES)] == [0, 1, 1]
    assert calls(PLAIN, extra={"parallel_tool_calls": True}) == 1
    assert calls(HERMES, extra={"parallel_tool_calls": False}) == 0
    with pytest.raises(ValidationError, match="parallel_tool_calls"):
        calls(PLAIN, extra={"parallel_tool_calls": "yes"})


def test_schemas_are_closed_where_that_keeps_their_meaning() -> None:
    inner = {"type": "object", "properties": {"a": {"type": "string"}}}
    assert closed({"type": "array", "items": inner})["items"]["additionalProperties"] is False
    assert closed(inner | {"additionalProperties": True})["additionalProperties"] is True
    assert "additionalProperties" not in closed({"type": "object"})
    for composed in ({"allOf": [inner, {"properties": {"b": {}}}]}, inner | {"anyOf": [{"required": ["a"]}]}):
        assert closed(composed) == composed
    assert '"additionalProperties": false' in grammar(QUESTION, tools=(t.ToolSpec("now", {"type": "object"}),))
    assert "false" not in grammar(
        QUESTION, tools=(t.ToolSpec("now", {"type": "object", "additionalProperties": True}),)
    )


# --- templates without a system prompt -------------------------------------------------------------------------------


def test_a_system_prompt_can_stand_in_the_first_user_turn() -> None:
    system, user = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}
    answer = {"role": "assistant", "content": "Yes?"}
    assert without_system([system, user, answer]) == [{"role": "user", "content": "Be brief.\n\nHi"}, answer]
    assert without_system([system, answer]) == [{"role": "user", "content": "Be brief."}, answer]
    assert without_system([user, answer]) == [user, answer]
