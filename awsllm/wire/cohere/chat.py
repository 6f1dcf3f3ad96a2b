"""Cohere's Command R: one message with the history before it, tools and documents; JSON lines as its stream.

The last user turn is the ``message``, what stands before is the ``chat_history``, the system prompt the ``preamble``.
Documents are given apart; what the answer says of them comes as ``citations`` of spans of its text. A Converse block
holds text with citations as a whole, so the spans themselves are in ``raw`` only.

Tools have flat parameters, by name, type in Python's words and description. Calls have no ids: they get some by
position, and a result names its call whole. Results are given beside the message that led to the calls, as in the
published examples. Where calls followed calls, or words came with them, the history holds all that with the roles
CHATBOT and TOOL, and the message is empty.

``token_count`` and ``meta.tokens`` are what the model counted, ``meta.billed_units`` what is charged, which leaves out
the template; the former is taken first. Requests are here, answers in ``cohere_answer``.
Source: cohere-ai/cohere-aws, chat.py and examples/command_r_samples, 2024; docs.cohere.com, Chat API v1, 2024.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from awsllm.errors import AwsllmError, UnsupportedError, ValidationError
from awsllm.types import (
    CachePoint,
    ContentBlock,
    ConverseRequest,
    ConverseResponse,
    Document,
    DocumentText,
    EmbedRequest,
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
from awsllm.wire import body as formats
from awsllm.wire.body import Payload, Settings
from awsllm.wire.cohere import chat_response as cohere_answer
from awsllm.wire.endpoint.format import Asked, Format, ReplyContext
from awsllm.wire.openai.request import document_body
from awsllm.wire.payloads import read_body, read_object, reply_of, write
from awsllm.wire.reading import MalformedError, optional, required, structure, structures, without_none
from awsllm.wire.text import generated as text
from awsllm.wire.text import pieces as plain
from awsllm.wire.text.pieces import Names
from awsllm.wire.text.prompts import text_of

_NAMES = Names(max_tokens="max_tokens", temperature="temperature", top_p="p", stop_sequences="stop_sequences")
_KNOWN = _NAMES.all | {"message", "chat_history", "preamble", "tools", "tool_results", "documents", "stream"}
_ROLES = {"user": "USER", "assistant": "CHATBOT", "system": "SYSTEM"}
_OWN_ROLES = {wire: role for role, wire in _ROLES.items()}
_FLAT = "tools: parameters are sent by name, type and description; what else their schema demands was left out"


class CohereChat(Format):
    name = "cohere-chat"
    title = "the format of Cohere's Command R"
    serves = frozenset(("converse", "converse_stream"))
    tools = True

    def warnings(self, request: ConverseRequest | EmbedRequest, settings: Settings) -> tuple[str, ...]:
        if not isinstance(request, ConverseRequest):
            return ()
        found = text.warnings(request)
        is_flat = all(_is_flat(tool) for tool in request.tools if isinstance(tool, ToolSpec))
        return found if is_flat else (*found, _FLAT)

    def encode_converse(self, request: ConverseRequest, settings: Settings, *, stream: bool) -> Payload:
        text.check_form(request, self)
        if request.tool_choice is not None and request.tool_choice.type != "auto":
            raise UnsupportedError(
                f"tool_choice {request.tool_choice.type}: {self.title} leaves the choice to the model"
            )
        members = {
            **_encode_conversation(request.messages),
            "preamble": text_of(request.system) or None,
            "tools": [_encode_tool(tool) for tool in request.tools if not isinstance(tool, CachePoint)] or None,
            "documents": [document for turn in request.messages for document in _encode_documents(turn)] or None,
            **_NAMES.encode(request.inference_config, request.inference_config.stop_sequences),
        }
        return write(without_none(members, request.extra) | {"stream": stream})

    def decode_converse(self, payload: Payload, context: ReplyContext) -> ConverseResponse:
        wire = read_object(payload, context)
        with reply_of(self.title, context):
            return cohere_answer.decode_response(wire, context)

    def chunk_decoder(self, context: ReplyContext) -> formats.ChunkDecoder:
        return cohere_answer.ChunkDecoder(context)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> tuple[Asked, bool]:
        wire = read_body(payload)
        preamble = optional(wire, "preamble", str)
        request = ConverseRequest(
            model=model,
            messages=_decode_conversation(wire),
            system=(Text(preamble),) if preamble else (),
            inference_config=_NAMES.decode(wire),
            tools=structures(wire, "tools", _decode_tool),
            extra=plain.beyond(wire, _KNOWN),
        )
        return request, wire.get("stream") is True

    def encode_converse_response(self, response: ConverseResponse, asked: ReplyContext) -> Payload:
        return write(cohere_answer.encode_response(response, asked))

    def chunk_encoder(self, asked: ReplyContext) -> formats.ChunkEncoder:
        return cohere_answer.ChunkEncoder(asked)

    def encode_error(self, error: AwsllmError) -> tuple[int, Payload]:
        return plain.failed(error, lambda status, message: {"message": message})


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
_SAID = frozenset(("type", "description", "title", "default"))


def _properties(tool: ToolSpec) -> dict[str, JsonObject]:
    properties = tool.input_schema.get("properties") or {}
    return {name: schema if isinstance(schema, dict) else {} for name, schema in properties.items()}


def _is_flat(tool: ToolSpec) -> bool:
    return all(schema.keys() <= _SAID and schema.get("type") in _TYPES for schema in _properties(tool).values())


def _encode_tool(tool: Tool) -> JsonObject:
    if not isinstance(tool, ToolSpec):
        raise UnsupportedError("a tool of this kind cannot be sent to a SageMaker endpoint")
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


def _decode_tool(wire: JsonObject) -> Tool:
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


def _encode_conversation(messages: Sequence[Message]) -> JsonObject:
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
        case Text(text=text):
            return {"text": text}
        case Json(value=dict() as value):
            return value
        case Json(value=value):
            return {"value": value}
        case _:
            raise UnsupportedError(f"a tool result for Command R cannot hold {type(item).__name__}")


def _encode_documents(turn: Message) -> Iterator[JsonObject]:
    for block in turn.content:
        if isinstance(block, Document):
            yield {"title": block.name, "snippet": "\n\n".join(filter(None, (block.context, document_body(block))))}
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


def _decode_conversation(wire: JsonObject) -> tuple[Message, ...]:
    turns = _Turns()
    for turn in structures(wire, "chat_history", _identity):
        _decode_turn(turn, turns)
    message = optional(wire, "message", str)
    results = structures(wire, "tool_results", _identity)
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


def _identity(wire: JsonObject) -> JsonObject:
    return wire


def _decode_turn(wire: JsonObject, turns: _Turns) -> None:
    role = required(wire, "role", str).upper()
    if role == "TOOL":
        return turns.results(structures(wire, "tool_results", _identity))
    if role not in _OWN_ROLES:
        raise MalformedError("must be USER, CHATBOT, SYSTEM or TOOL", "role")
    text = optional(wire, "message", str) or ""
    if calls := structures(wire, "tool_calls", _identity):
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
