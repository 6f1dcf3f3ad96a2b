"""A conversation as Command R takes it, written and read: message and history, tools, documents.

The last user turn is the ``message``, what stands before is the ``chat_history``. Documents are given apart.

Tools have flat parameters, by name, type in Python's words and description. Calls have no ids: they get some by
position, and a result names its call whole. Results are given beside the message that led to the calls, as in the
published examples. Where calls followed calls, or words came with them, the history holds all that with the roles
CHATBOT and TOOL, and the message is empty.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from awsllm.errors import UnsupportedError, ValidationError
from awsllm.types import (
    ContentBlock,
    Document,
    DocumentText,
    Json,
    JsonObject,
    Message,
    SearchResult,
    Text,
    Tool,
    ToolResult,
    ToolResultContent,
    ToolSpec,
    ToolUse,
)
from awsllm.wire.reading import MalformedError, objects, optional, required, structure, structures, without_none
from awsllm.wire.text.blocks import document_body, result_item_text
from awsllm.wire.text.prompts import text_of

_ROLES = {"user": "USER", "assistant": "CHATBOT", "system": "SYSTEM"}
_OWN_ROLES = {wire: role for role, wire in _ROLES.items()}

# --- tools -----------------------------------------------------------------------------------------------------------

_TYPES: Mapping[str, str] = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "array": "list",
    "object": "dict",
}
_SCHEMA_TYPES = {python: schema for schema, python in _TYPES.items()}
_FLAT_MEMBERS = frozenset(("type", "description", "title", "default"))


def _properties(tool: ToolSpec) -> dict[str, JsonObject]:
    properties = tool.input_schema.get("properties") or {}
    return {name: schema if isinstance(schema, dict) else {} for name, schema in properties.items()}


def is_flat(tool: ToolSpec) -> bool:
    """Whether name, type and description are all that the schema says of each parameter."""
    return all(schema.keys() <= _FLAT_MEMBERS and schema.get("type") in _TYPES for schema in _properties(tool).values())


def encode_tool(tool: Tool) -> JsonObject:
    if not isinstance(tool, ToolSpec):
        raise UnsupportedError("a tool of this kind cannot be sent to Command R")
    needed = tool.input_schema.get("required") or ()
    definitions = {
        name: without_none(
            {
                "description": schema.get("description"),
                "type": _TYPES.get(str(schema.get("type")), "Any"),
                "required": name in needed,
            }
        )
        for name, schema in _properties(tool).items()
    }
    return {"name": tool.name, "description": tool.description or "", "parameter_definitions": definitions}


def decode_tool(wire: JsonObject) -> Tool:
    definitions = optional(wire, "parameter_definitions", dict) or {}
    properties: JsonObject = {}
    for name in definitions:
        definition = required(definitions, name, dict)
        kind = (optional(definition, "type", str) or "").partition("[")[0].lower()
        members = {"type": _SCHEMA_TYPES.get(kind), "description": optional(definition, "description", str)}
        properties[name] = without_none(members)
    needed = [name for name, definition in definitions.items() if definition.get("required") is True]
    schema = {"type": "object", "properties": properties} | ({"required": needed} if needed else {})
    return ToolSpec(required(wire, "name", str), schema, optional(wire, "description", str) or None)


# --- the conversation, written ---------------------------------------------------------------------------------------


def encode_conversation(messages: Sequence[Message]) -> JsonObject:
    """``message``, ``chat_history`` and ``tool_results``."""
    history = list(_encode_history(messages))
    last = history.pop() if history else {"role": None}
    if last["role"] == "USER":
        return {"message": last["message"], "chat_history": history or None}
    if last["role"] != "TOOL":
        raise UnsupportedError("Command R answers a user's turn: the conversation must end with one")
    results = {"tool_results": last["tool_results"]}
    if len(history) >= 2 and history[-2]["role"] == "USER" and not history[-1]["message"]:
        return {"message": history[-2]["message"], "chat_history": history[:-2] or None, **results}
    return {"message": "", "chat_history": history, **results}


def _encode_history(messages: Sequence[Message]) -> Iterator[JsonObject]:
    calls: dict[str, ToolUse] = {}
    for message in messages:
        if results := [_encode_result(block, calls) for block in message.content if isinstance(block, ToolResult)]:
            yield {"role": "TOOL", "tool_results": results}
        uses = message.tool_uses
        rest = [b for b in message.content if not isinstance(b, (ToolResult, ToolUse, Document, SearchResult))]
        calls |= {use.id: use for use in uses}
        if uses:
            wire_calls = [_encode_call(use) for use in uses]
            yield {"role": "CHATBOT", "message": text_of(rest), "tool_calls": wire_calls}
        elif rest or not results:
            if message.role not in _ROLES:
                raise UnsupportedError(f"Command R knows no turns of the role {message.role!r}")
            yield {"role": _ROLES[message.role], "message": text_of(rest)}


def _encode_call(use: ToolUse) -> JsonObject:
    return {"name": use.name, "parameters": use.input if isinstance(use.input, dict) else {}}


def _encode_result(block: ToolResult, calls: Mapping[str, ToolUse]) -> JsonObject:
    if block.tool_use_id not in calls:
        raise ValidationError(f"the tool result {block.tool_use_id!r} answers no tool use of the conversation")
    return {"call": _encode_call(calls[block.tool_use_id]), "outputs": list(map(_encode_output, block.content))}


def _encode_output(item: ToolResultContent) -> JsonObject:
    """Outputs are objects: any other value gets a name."""
    match item:
        case Json(value=dict() as value):
            return value
        case Json(value=value):
            return {"value": value}
        case _:
            return {"text": result_item_text(item)}


def encode_documents(turn: Message) -> Iterator[JsonObject]:
    """Documents and search results of a turn, which are given apart from its message."""
    for block in turn.content:
        if isinstance(block, Document):
            yield {"title": block.name, "snippet": document_body(block)}
        elif isinstance(block, SearchResult):
            yield {"title": block.title, "snippet": "\n\n".join(block.content), "url": block.source}


# --- the conversation, read ------------------------------------------------------------------------------------------


class _Turns:
    """Messages that grow turn by turn. Calls get ids by number; a result takes the oldest call that it names."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._waiting: list[ToolUse] = []
        self._calls = 0

    def add(self, role: str, *content: ContentBlock) -> None:
        """Append a turn; what follows in a user's turn (a message after tool results) joins it."""
        if role == "user" and self.messages and self.messages[-1].role == "user":
            content = (*self.messages.pop().content, *content)
        self.messages.append(Message(role, content))

    def calls(self, wires: Sequence[JsonObject], *, text: str = "") -> None:
        uses = [
            ToolUse(id=f"call_{self._calls + at}", name=name, input=parameters)
            for at, (name, parameters) in enumerate(map(_decode_call, wires))
        ]
        self._calls += len(uses)
        self._waiting += uses
        self.add("assistant", *((Text(text),) if text else ()), *uses)

    def results(self, wires: Sequence[JsonObject]) -> None:
        self.add("user", *map(self._result, wires))

    def _result(self, wire: JsonObject) -> ToolResult:
        name, parameters = structure(wire, "call", _decode_call)
        use = next((use for use in self._waiting if (use.name, use.input) == (name, parameters)), None)
        if use is None:
            raise MalformedError(f"answers no call of {name!r} with these parameters", "tool_results")
        self._waiting.remove(use)
        return ToolResult(tool_use_id=use.id, content=structures(wire, "outputs", _decode_output))


def decode_conversation(wire: JsonObject) -> tuple[Message, ...]:
    turns = _Turns()
    for turn in objects(wire, "chat_history"):
        _decode_turn(turn, turns)
    message = optional(wire, "message", str)
    results = objects(wire, "tool_results")
    documents = structures(wire, "documents", _decode_document)
    if message:
        turns.add("user", *documents, Text(message))
    if results and message:
        turns.calls([required(result, "call", dict) for result in results])
    if results:
        turns.results(results)
    if documents and not message:
        turns.add("user", *documents)
    if not (message or results):
        raise MalformedError("is required", "message")
    return tuple(turns.messages)


def _decode_turn(wire: JsonObject, turns: _Turns) -> None:
    role = required(wire, "role", str).upper()
    if role == "TOOL":
        return turns.results(objects(wire, "tool_results"))
    if role not in _OWN_ROLES:
        raise MalformedError("must be USER, CHATBOT, SYSTEM or TOOL", "role")
    text = optional(wire, "message", str) or ""
    if calls := objects(wire, "tool_calls"):
        return turns.calls(calls, text=text)
    return turns.add(_OWN_ROLES[role], Text(text))


def _decode_call(wire: JsonObject) -> tuple[str, JsonObject]:
    return required(wire, "name", str), optional(wire, "parameters", dict) or {}


def _decode_output(wire: JsonObject) -> ToolResultContent:
    text = wire.get("text")
    return Text(text) if wire.keys() == {"text"} and isinstance(text, str) else Json(value=wire)


def _decode_document(wire: JsonObject) -> ContentBlock:
    """A document has whatever members its sender likes; where it has no snippet, all of them are its text."""
    title = str(wire.get("title") or wire.get("id") or "document")
    snippet = wire.get("snippet", wire.get("text"))
    text = snippet if isinstance(snippet, str) else msgspec.json.encode(wire).decode()
    if isinstance(url := wire.get("url"), str):
        return SearchResult(source=url, title=title, content=(text,))
    return Document(name=title, source=DocumentText(text), format="txt")
