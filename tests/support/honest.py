"""A scripted model that does what a request demands, and little else: it calls the tools that it must call or that the
last turn names, with arguments that satisfy their schemas, writes JSON where a schema asks for it, and stops where it
is told to. What a client then gets wrong is the protocol's fault, not a small model's.

Values come from the last turn: numbers are the first that stands there, texts the choice that stands there, or a word.
"""

from __future__ import annotations

import json
import re
from typing import Any

from awsllm.types import (
    ConverseRequest,
    ConverseResponse,
    Image,
    JsonObject,
    Message,
    Text,
    ToolResult,
    ToolSpec,
    ToolUse,
    Usage,
)

WORDS = "The weather in Paris is mild, with rain in the evening."
_TOKEN = re.compile(r"\s*\S+")


def answer(request: ConverseRequest) -> ConverseResponse:
    """What the model says to ``request``; a token is a word."""
    if uses := _calls(request):
        return _response(request, (*uses,), "tool_use")
    text, reason = _cut(_words(request), request)
    return _response(request, (Text(text),) if text else (), reason)


def _calls(request: ConverseRequest) -> list[ToolUse]:
    """The calls that are due: what must be called, or what the last turn is about. A result has been enough."""
    tools = [tool for tool in request.tools if isinstance(tool, ToolSpec)]
    choice = request.tool_choice
    if not tools or any(isinstance(block, ToolResult) for block in _last(request)):
        return []
    text = _text(request)
    match choice.type if choice else "auto":
        case "tool":
            tools = [tool for tool in tools if choice and tool.name == choice.name]
        case "any":
            tools = _named(tools, text) or tools[:1]
        case _:
            tools = _named(tools, text)
    seen = sum(isinstance(block, ToolUse) for message in request.messages for block in message.content)
    return [
        ToolUse(id=f"tooluse_{seen + n}", name=tool.name, input=instance(tool.input_schema, text))
        for n, tool in enumerate(tools)
    ]


def _named(tools: list[ToolSpec], text: str) -> list[ToolSpec]:
    """Those whose name, or a word of it, stands in the text: ``get_weather`` is meant by "the weather in Oslo"."""
    words = set(re.findall(r"[a-z]{4,}", text.lower()))
    return [tool for tool in tools if words & set(re.findall(r"[a-z]{4,}", re.sub("[_-]", " ", tool.name.lower())))]


def _words(request: ConverseRequest) -> str:
    config = request.output_config
    if config is not None and config.json_schema is not None:
        return json.dumps(instance(config.json_schema.schema, _text(request)))
    if results := [block for block in _last(request) if isinstance(block, ToolResult)]:
        return "It is " + " and ".join(str(getattr(part, "text", None) or part) for r in results for part in r.content)
    if any(isinstance(block, Image) for block in _last(request)):
        return "A picture."
    return WORDS


def _cut(text: str, request: ConverseRequest) -> tuple[str, str]:
    config, reason = request.inference_config, "end_turn"
    found = [text.index(stop) for stop in config.stop_sequences if stop in text]
    if found:
        text, reason = text[: min(found)], "stop_sequence"
    tokens = _TOKEN.findall(text)
    if config.max_tokens is not None and len(tokens) > config.max_tokens:
        return "".join(tokens[: config.max_tokens]), "max_tokens"
    return text, reason


def _response(request: ConverseRequest, content: tuple[Any, ...], reason: str) -> ConverseResponse:
    given = max(
        1, sum(len(block.text.split()) for m in request.messages for block in m.content if hasattr(block, "text"))
    )
    made = max(1, sum(len(str(getattr(block, "text", None) or block).split()) for block in content))
    usage = Usage(input_tokens=given, output_tokens=made, total_tokens=given + made)
    stop = next((one for one in request.inference_config.stop_sequences if reason == "stop_sequence"), None)
    return ConverseResponse(
        message=Message("assistant", content),
        stop_reason=reason,
        usage=usage,
        model=request.model,
        extra={"stop_sequence": stop} if stop else None,
    )


def _last(request: ConverseRequest) -> tuple[Any, ...]:
    return request.messages[-1].content


def _text(request: ConverseRequest) -> str:
    users = [message.text for message in request.messages if message.role == "user" and message.text]
    return users[-1] if users else ""


# --- values of a schema ----------------------------------------------------------------------------------------------


def instance(schema: Any, text: str, root: Any = None, name: str = "") -> Any:
    """A value that ``schema`` accepts, optional members left out; with what ``text`` says where it says it."""
    root = schema if root is None else root
    if not isinstance(schema, dict):
        return text
    if "$ref" in schema:
        return instance(_resolved(root, schema["$ref"]), text, root, name)
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            first = next((one for one in schema[key] if one.get("type") != "null"), schema[key][0])
            return instance({**{k: v for k, v in schema.items() if k != key}, **first}, text, root, name)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return next((one for one in schema["enum"] if str(one).lower() in text.lower()), schema["enum"][0])
    kind = schema.get("type", "object" if "properties" in schema else "string")
    return _of_type(kind[0] if isinstance(kind, list) else kind, schema, text, root, name)


def _of_type(kind: str, schema: JsonObject, text: str, root: Any, name: str) -> Any:
    match kind:
        case "object":
            members = schema.get("properties", {})
            names = schema.get("required", members) or (re.findall(r"['`](\w+)['`]", text) if not members else [])
            return {member: instance(members.get(member, {}), text, root, member) for member in names}
        case "array":
            return [
                instance(schema.get("items", {}), text, root, name) for _ in range(max(1, schema.get("minItems", 1)))
            ]
        case "integer" | "number":
            found = re.search(r"-?\d+", text)
            low = schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
            return max(int(found[0]) if found else 0, low)
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return _word(schema, text, name)


def _word(schema: JsonObject, text: str, name: str) -> str:
    """What the text quotes, the name that it has (a capital within a sentence), else a word for the member."""
    if schema.get("format") == "date":
        return "2026-11-26"
    found = re.search(r"(?<=[ (])'[^']+'(?=[ ,.)])|(?<=[a-z] )[A-Z]\w+", text)
    return found[0].strip("'") if found else f"a {name or 'word'}"


def _resolved(root: Any, reference: str) -> Any:
    for part in reference.removeprefix("#/").split("/"):
        root = root[part]
    return root
