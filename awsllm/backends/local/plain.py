"""Tools for models that were not trained on them: told in words, shown by examples. Pure.

A model whose template knows no tools has never seen a call or a result. What it does well is to go on as it was shown,
so its prompt holds two invented calls before the conversation, each tool is one line (``name(argument: type): what it
does``), and what a call gave is not a turn of its own but part of the question that led to it:

    {question}

    Answer in a sentence, using this result: city: Paris; temperature: 21; sky: clear

with two invented answers before it and no tools beside it. Of eight tools with a question each, SmolLM2-135M so tells
eight results rightly; told tools and results as a trained model is, it told one or two (and called again instead, or
went on in braces). Without the examples it told five: it must have seen one number copied and one list of members put
in words.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from awsllm.backends.local.dialects import PLAIN
from awsllm.types import (
    CachePoint,
    ContentBlock,
    Json,
    JsonObject,
    JsonValue,
    Message,
    Reasoning,
    Text,
    ToolResult,
    ToolResultContent,
    ToolSpec,
    ToolUse,
)
from awsllm.wire.text.blocks import json_text, result_item_text

_LISTING = "You can call these functions:\n{functions}"
_SHAPES = {"string": '"…"', "integer": "1", "number": "1.5", "boolean": "true or false", "null": "null"}
_ANSWER, _USE = "Answer in a sentence, using", "Use"

_HEIGHT = ToolSpec(
    "get_height",
    {"type": "object", "properties": {"thing": {"type": "string"}}, "required": ["thing"]},
    "The height of a building or mountain.",
)
_REMINDER = ToolSpec(
    "set_reminder",
    {
        "type": "object",
        "properties": {"what": {"type": "string"}, "hour": {"type": "integer"}},
        "required": ["what", "hour"],
    },
    "Sets a reminder.",
)


def tools_text(tools: Sequence[ToolSpec]) -> str:
    """The tools, and before them those of the invented calls."""
    return _LISTING.format(functions="\n".join(map(_line, (_HEIGHT, _REMINDER, *tools))))


def example_calls() -> list[JsonObject]:
    """Two questions that are answered by a call, and between them one that is not."""
    return [
        *_exchange("How high is the Eiffel Tower?", _call("get_height", {"thing": "Eiffel Tower"})),
        *_exchange("Thank you!", "You are welcome!"),
        *_exchange(
            "Remind me to buy milk at six.",
            _call("set_reminder", {"what": "buy milk", "hour": 6}),
        ),
    ]


def _call(name: str, arguments: JsonObject) -> str:
    return PLAIN.form.text([ToolUse("", name, arguments)])


def example_answers() -> list[JsonObject]:
    """A number that is copied, and members that are put in words."""
    return [
        *_exchange(f"What is 3 times 1052?\n\n{_ANSWER} this result: 3156", "3 times 1052 is 3156."),
        *_exchange(
            f"When does the next bus leave?\n\n{_ANSWER} this result: line: 7; leaves: 08:10",
            "The next bus is line 7 and leaves at 08:10.",
        ),
    ]


def _exchange(question: str, answer: str) -> list[JsonObject]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


# --- results ---------------------------------------------------------------------------------------------------------


def in_words(messages: Sequence[Message], *, sentence: bool) -> list[Message]:
    """The conversation without calls and results: the question before a call goes on with what the call gave.
    ``sentence``: what the last results are for is an answer in words."""
    turns: list[Message] = []
    calls: dict[str, ToolUse] = {}
    for n, message in enumerate(messages):
        calls |= {use.id: use for use in message.tool_uses}
        results = [block for block in message.content if isinstance(block, ToolResult)]
        blocks = tuple(block for block in message.content if not isinstance(block, ToolUse | ToolResult))
        if message.tool_uses and not any(map(_says_something, blocks)):
            continue
        if results:
            lead = _ANSWER if sentence or n < len(messages) - 1 else _USE
            blocks = (Text(_results_text(results, calls, lead)), *blocks)
        if results and turns and turns[-1].role == message.role:
            turns[-1] = Message(message.role, (*turns[-1].content, *blocks))
        else:
            turns.append(Message(message.role, blocks))
    return turns


def _says_something(block: ContentBlock) -> bool:
    return bool(block.text.strip()) if isinstance(block, Text) else not isinstance(block, Reasoning | CachePoint)


def _results_text(results: Sequence[ToolResult], calls: Mapping[str, ToolUse], lead: str) -> str:
    if len(results) == 1:
        return f"{lead} this result: {_result_text(results[0])}"
    lines = [f"{lead} these results:"]
    for result in results:
        call = calls.get(result.tool_use_id)
        label = f"{call.name}({_members(call.input)}): " if call else ""
        lines.append(label + _result_text(result))
    return "\n".join(lines)


def _result_text(result: ToolResult) -> str:
    failed = "Error: " if result.status == "error" else ""
    return failed + "\n".join(_members(_value(item)) for item in result.content)


def _value(item: ToolResultContent) -> JsonValue:
    """An item of a result as a value; text that is JSON is what it says."""
    if isinstance(item, Json):
        return item.value
    text = result_item_text(item)
    if text.lstrip()[:1] not in ("{", "["):
        return text
    try:
        value: JsonValue = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value


def _members(value: JsonValue) -> str:
    """A value in words: the members of an object without braces around them, and what a function that gave no object is
    wrapped in (``tools.loop.result_content``) without its name."""
    if isinstance(value, dict):
        if list(value) == ["result"]:
            return _members(value["result"])
        return "; ".join(f"{name}: {_words(item)}" for name, item in value.items())
    return _words(value)


def _words(value: JsonValue) -> str:
    match value:
        case str():
            return value
        case dict():
            return f"{{{_members(value)}}}"
        case list():
            return ", ".join(map(_words, value))
        case _:
            return json_text(value)


# --- descriptions ----------------------------------------------------------------------------------------------------


def _line(tool: ToolSpec) -> str:
    """``name(argument: type, …): description``; an argument that may be left out has a question mark."""
    schema = tool.input_schema
    required, properties = schema.get("required") or (), schema.get("properties") or {}
    arguments = [
        f"{name}{'' if name in required else '?'}: {_type(part)}{_described(part)}" for name, part in properties.items()
    ]
    return f"{tool.name}({', '.join(arguments)})" + (f": {tool.description}" if tool.description else "")


def shape(schema: Any) -> str | None:
    """What JSON that satisfies the schema looks like, as ``{"name": "…", "size": 1 or null}``; None where that is not
    to be shown."""
    match schema:
        case {"const": value}:
            return json_text(value)
        case {"enum": [_, *_] as values}:
            return " or ".join(map(json_text, values))
        case {"anyOf": [_, *_] as parts} | {"oneOf": [_, *_] as parts}:
            return _all_of(map(shape, parts), " or ")
        case {"type": "object", "properties": {**properties}} if properties:
            shapes = (
                None if (inner := shape(part)) is None else f"{json_text(name)}: {inner}"
                for name, part in properties.items()
            )
            members = _all_of(shapes, ", ")
            return None if members is None else f"{{{members}}}"
        case {"type": "array", "items": items}:
            inner = shape(items)
            return None if inner is None else f"[{inner}, …]"
        case {"type": str(name)}:
            return _SHAPES.get(name)
        case {"type": [_, *_] as names}:
            return _all_of((shape({**schema, "type": name}) for name in names), " or ")
        case _:
            return None


def _all_of(shapes: Iterable[str | None], between: str) -> str | None:
    known = list(shapes)
    return None if None in known else between.join(filter(None, known))


def _described(schema: Any) -> str:
    return f" ({schema['description']})" if isinstance(schema, dict) and "description" in schema else ""


def _type(schema: Any) -> str:
    """What an argument may be, in words where it is simple, as its schema where not."""
    match schema:
        case {"enum": [*values]}:
            return " or ".join(map(_words, values))
        case {"type": "array", "items": dict(items)}:
            return f"list of {_type(items)}"
        case {"type": str(name)} if name != "object":
            return name
        case _:
            return json_text(schema)
