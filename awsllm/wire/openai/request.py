"""Requests in the OpenAI Chat Completions format, as vLLM, SGLang, TGI and LMI take it; both directions.

A Converse turn and an OpenAI message differ in grain. A user turn may hold several tool results; OpenAI has one message
with the role ``tool`` for each, and they must stand right behind the calls, so they are written first and the rest of
the turn follows as a user message. Reading gathers them again. Text is written as a string where a turn is one text,
else as parts. Thinking goes into ``reasoning_content``, tool calls into ``tool_calls``.

What has no place in the format and changes the answer (video, a guardrail, a PDF) raises ``UnsupportedError``; what
only tunes it is named by ``warnings``. ``extra`` is merged into the body as it is.
"""

from __future__ import annotations

import binascii
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias, assert_never

import msgspec

from awsllm.errors import UnsupportedError, ValidationError
from awsllm.types import (
    Audio,
    Bytes,
    CachePoint,
    Citations,
    ContentBlock,
    ConverseRequest,
    Document,
    GuardContent,
    Image,
    InferenceConfig,
    JsonObject,
    JsonSchema,
    JsonValue,
    Message,
    OutputConfig,
    Reasoning,
    S3Location,
    SearchResult,
    SystemContentBlock,
    SystemTool,
    Text,
    Tool,
    ToolAddition,
    ToolChoice,
    ToolRemoval,
    ToolResult,
    ToolResultContent,
    ToolSpec,
    ToolUse,
    Unknown,
    Video,
)
from awsllm.wire.reading import MalformedError, objects, optional, required, strings, structures, without_none
from awsllm.wire.text.blocks import block_text, result_item_text

_SCHEMA_NAME = "answer"  # the format demands a name where Converse has none
_MIME_FORMATS = {"jpg": "jpeg"}


# --- encode ----------------------------------------------------------------------------------------------------------


def encode_request(request: ConverseRequest, *, stream: bool = False) -> JsonObject:
    """The body of one chat completion. Raises ``UnsupportedError`` for what the format cannot express.

    ``model`` is empty: who serves one model needs no name, and vLLM refuses names it does not serve (``extra`` may
    name one).
    """
    _check_expressible(request)
    config = request.inference_config
    members: JsonObject = {
        "model": "",
        "messages": list(_encode_messages(request)),
        "max_tokens": config.max_tokens,
        "temperature": config.temperature,
        "top_p": config.top_p,
        "stop": list(config.stop_sequences) or None,
        "tools": [_encode_tool(tool) for tool in request.tools if not isinstance(tool, CachePoint)] or None,
        "tool_choice": None if request.tool_choice is None else _encode_tool_choice(request.tool_choice),
        **_encode_output_config(request.output_config or OutputConfig()),
    }
    body = without_none(members, request.extra)
    if stream:
        body = {"stream_options": {"include_usage": True}, **body, "stream": True}
    return body


def _check_expressible(request: ConverseRequest) -> None:
    if request.guardrail_config is not None:
        raise UnsupportedError("guardrails: the OpenAI chat format has no place for them")
    if request.prompt_variables is not None:
        raise UnsupportedError("prompt variables: the OpenAI chat format has no place for stored prompts")
    if (request.extra or {}).get("n", 1) != 1:
        raise UnsupportedError("n: a response holds one answer; make several calls for several")


def _encode_output_config(config: OutputConfig) -> JsonObject:
    schema = config.json_schema
    if schema is None:
        return {"reasoning_effort": config.effort}
    members = {"name": schema.name or _SCHEMA_NAME, "description": schema.description, "schema": schema.schema}
    wanted = {"type": "json_schema", "json_schema": without_none({**members, "strict": True})}
    return {"reasoning_effort": config.effort, "response_format": wanted}


def _encode_tool(tool: Tool) -> JsonObject:
    match tool:
        case ToolSpec(name, input_schema, description, strict):
            members = {"name": name, "description": description, "parameters": input_schema, "strict": strict}
            return {"type": "function", "function": without_none(members)}
        case SystemTool(name):
            raise UnsupportedError(
                f"the tool {name!r}: the OpenAI chat format has no tools that the service itself runs"
            )
        case CachePoint() | Unknown():
            raise _unsupported("a tool of this kind")
        case _:
            assert_never(tool)


def _encode_tool_choice(choice: ToolChoice) -> JsonValue:
    if choice.type == "tool":
        return {"type": "function", "function": {"name": choice.name}}
    return {"any": "required"}.get(choice.type, choice.type)


def _encode_messages(request: ConverseRequest) -> Iterator[JsonObject]:
    if system := [part for block in request.system for part in _encode_system(block)]:
        yield {"role": "system", "content": _joined(system)}
    for index, message in enumerate(request.messages):
        if not message.content:
            raise ValidationError(f"messages.{index}: a message must have content")
        if message.role == "assistant":
            yield _encode_assistant(message)
        else:
            yield from _encode_turn(message)


def _encode_system(block: SystemContentBlock) -> list[JsonObject]:
    match block:
        case Text(text=text):
            return [_text(text)]
        case CachePoint():
            return []
        case GuardContent():
            raise _unsupported("guarded content")
        case Unknown(tag):
            raise _unsupported(f"system block {tag!r}")
        case _:
            assert_never(block)


def _encode_turn(message: Message) -> Iterator[JsonObject]:
    """The messages of a user (or later system) turn: its tool results, then the rest."""
    for block in message.content:
        if isinstance(block, ToolResult):
            parts = [part for item in block.content for part in _encode_result(item)]
            yield {"role": "tool", "tool_call_id": block.tool_use_id, "content": _joined(parts)}
    rest = (block for block in message.content if not isinstance(block, ToolResult))
    if parts := [part for block in rest for part in _encode_part(block)]:
        yield {"role": message.role, "content": _joined(parts)}


def _encode_assistant(message: Message) -> JsonObject:
    thinking = "".join(block.text for block in message.content if isinstance(block, Reasoning))
    calls = [_encode_tool_use(block) for block in message.content if isinstance(block, ToolUse)]
    rest = (block for block in message.content if not isinstance(block, (Reasoning, ToolUse)))
    parts = [part for block in rest for part in _encode_part(block)]
    wire: JsonObject = {"role": "assistant", "content": _joined(parts) if parts else None if calls else ""}
    return wire | ({"reasoning_content": thinking} if thinking else {}) | ({"tool_calls": calls} if calls else {})


def _encode_tool_use(block: ToolUse) -> JsonObject:
    return encode_tool_call(block.id, block.name, encode_arguments(block.input))


def encode_tool_call(id: str, name: str, arguments: str) -> JsonObject:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def encode_arguments(input: JsonValue) -> str:
    """Arguments as JSON text; a text is taken for arguments that did not parse."""
    return input if isinstance(input, str) else msgspec.json.encode(input).decode()


def _encode_part(block: ContentBlock) -> list[JsonObject]:
    """A block as content parts; empty where it only tunes (``warnings`` names it)."""
    match block:
        case Text(text=text):
            return [_text(text)]
        case Image():
            return [{"type": "image_url", "image_url": {"url": _data_url("image", block)}}]
        case Audio():
            return [{"type": "input_audio", "input_audio": {"data": _base64(block), "format": block.format}}]
        case Document() | SearchResult():
            return [_text(block_text(block))]
        case Citations():
            return [_text(text)] if (text := block_text(block)) else []
        case CachePoint() | Reasoning():  # an assistant's thinking is written beside its content
            return []
        case Unknown(tag):
            raise _unsupported(f"content block {tag!r}")
        case ToolUse() | ToolResult():
            raise ValidationError("tool uses belong to assistant turns, tool results to user turns")
        case Video() | GuardContent() | ToolAddition() | ToolRemoval():
            raise _unsupported(type(block).__name__)
        case _:
            assert_never(block)


def _encode_result(item: ToolResultContent) -> list[JsonObject]:
    if isinstance(item, (Image, Video)):
        raise _unsupported(f"{type(item).__name__} in a tool result")
    return [_text(result_item_text(item))]


def _joined(parts: Sequence[JsonObject]) -> JsonValue:
    """One text is a string, which every chat template takes; more are parts."""
    if not parts:
        return ""
    return parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else list(parts)


def _text(text: str) -> JsonObject:
    return {"type": "text", "text": text}


def _data_url(kind: str, block: Image) -> str:
    return f"data:{kind}/{block.format};base64,{_base64(block)}"


def _base64(block: Image | Audio) -> str:
    match block.source:
        case Bytes(data):
            return b64encode(data).decode()
        case S3Location(uri):
            raise UnsupportedError(f"{uri}: the OpenAI chat format takes media as bytes, not from S3")
        case Unknown(tag):
            raise _unsupported(f"media source {tag!r}")
        case _:
            assert_never(block.source)


def _unsupported(what: str) -> UnsupportedError:
    return UnsupportedError(f"{what} cannot be sent in the OpenAI chat format")


# --- what could not be honoured --------------------------------------------------------------------------------------

_KNOBS = {
    "performance_config": "performance_config: the format has no such setting",
    "service_tier": "service_tier: the format has no such setting",
    "request_metadata": "request_metadata: the format has no place for it",
    "additional_model_response_field_paths": "additional_model_response_field_paths: see response.raw instead",
}
_CACHE_POINTS = "cache points: the model's server decides by itself what it caches"
_SIGNATURES = "thinking signatures and redacted thinking have no place in the format and were left out"
_CITATIONS = "citations: the format has none; documents and cited passages were sent as text"
_ERROR_STATUS = "tool results: the format cannot mark one as an error; its text was sent as it is"


BlockWarnings: TypeAlias = tuple[tuple[Callable[[ContentBlock], bool], str], ...]
"""Which blocks cannot be sent as they are, and what is said of them."""


def warnings(request: ConverseRequest) -> tuple[str, ...]:
    """What the format cannot honour of this request."""
    return warnings_of(request, _KNOBS, _CACHE_POINTS, _BLOCK_WARNINGS)


def warnings_of(
    request: ConverseRequest, knobs: Mapping[str, str], cache_points: str, of_blocks: BlockWarnings
) -> tuple[str, ...]:
    """The texts that apply to this request: by its members, by its cache points anywhere, by its blocks."""
    found = [text for name, text in knobs.items() if getattr(request, name)]
    blocks = [block for message in request.messages for block in message.content]
    if any(isinstance(block, CachePoint) for block in (*request.system, *request.tools, *blocks)):
        found.append(cache_points)
    found += (text for applies, text in of_blocks if any(map(applies, blocks)))
    return tuple(found)


_BLOCK_WARNINGS: BlockWarnings = (
    (lambda b: isinstance(b, Reasoning) and bool(b.signature or b.redacted), _SIGNATURES),
    (lambda b: isinstance(b, Citations) or (isinstance(b, (Document, SearchResult)) and bool(b.citations)), _CITATIONS),
    (lambda b: isinstance(b, ToolResult) and b.status == "error", _ERROR_STATUS),
)


# --- decode ----------------------------------------------------------------------------------------------------------

_KNOWN = frozenset(
    (
        *("model", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "stop", "tools"),
        *("tool_choice", "response_format", "reasoning_effort", "stream", "stream_options", "n"),
    )
)


def decode_request(model: str, wire: JsonObject) -> ConverseRequest:
    """The request that a chat completion's body makes. What the format has and Converse has not (``seed``, penalties,
    ``top_k``) is in ``extra``. Raises ``ValidationError`` with the path of what is malformed."""
    if optional(wire, "n", int) not in (None, 1):
        raise UnsupportedError("n: one answer a call")
    system, messages = _decode_messages(objects(wire, "messages"))
    choice = wire.get("tool_choice")
    extra = {name: value for name, value in wire.items() if name not in _KNOWN and value is not None}
    return ConverseRequest(
        model=model,
        messages=messages,
        system=system,
        inference_config=_decode_inference_config(wire),
        # "none" forbids tools; Converse says so by offering none.
        tools=() if choice == "none" else structures(wire, "tools", _decode_tool),
        tool_choice=_decode_tool_choice(choice),
        extra=extra or None,
        output_config=_decode_output_config(wire),
    )


def _decode_inference_config(wire: JsonObject) -> InferenceConfig:
    longest = optional(wire, "max_completion_tokens", int)
    stop = wire.get("stop")
    return InferenceConfig(
        max_tokens=optional(wire, "max_tokens", int) if longest is None else longest,
        temperature=optional(wire, "temperature", float),
        top_p=optional(wire, "top_p", float),
        stop_sequences=(stop,) if isinstance(stop, str) else strings(wire, "stop"),
    )


def _decode_output_config(wire: JsonObject) -> OutputConfig | None:
    effort = optional(wire, "reasoning_effort", str)
    wanted = optional(wire, "response_format", dict) or {}
    schema = None
    if wanted.get("type") == "json_schema":
        inner = required(wanted, "json_schema", dict)
        name = optional(inner, "name", str)
        schema = JsonSchema(
            required(inner, "schema", dict), None if name == _SCHEMA_NAME else name, optional(inner, "description", str)
        )
    elif wanted.get("type") == "json_object":
        schema = JsonSchema({"type": "object"})
    return None if schema is None and effort is None else OutputConfig(json_schema=schema, effort=effort)


def _decode_tool(wire: JsonObject) -> Tool:
    if wire.get("type", "function") != "function":
        raise UnsupportedError(f"a tool of the type {wire['type']!r} is not supported; use function")
    function = required(wire, "function", dict)
    return ToolSpec(
        required(function, "name", str),
        optional(function, "parameters", dict) or {"type": "object", "properties": {}},
        optional(function, "description", str),
        optional(function, "strict", bool),
    )


def _decode_tool_choice(wire: JsonValue) -> ToolChoice | None:
    if wire is None or wire == "none":
        return None
    if isinstance(wire, dict):
        return ToolChoice("tool", required(required(wire, "function", dict), "name", str))
    if wire in ("auto", "required"):
        return ToolChoice("any" if wire == "required" else "auto")
    raise MalformedError("must be auto, none, required or a function", "tool_choice")


def _decode_messages(wires: Sequence[JsonObject]) -> tuple[tuple[SystemContentBlock, ...], tuple[Message, ...]]:
    """The leading system messages, and the turns. Tool results that follow each other, and the user message behind
    them, are one turn."""
    if not wires:
        raise MalformedError("is required", "messages")
    system: list[SystemContentBlock] = []
    turns: list[tuple[str, list[ContentBlock]]] = []
    in_results = False
    for index, wire in enumerate(wires):
        try:
            role, content = _decode_message(wire)
        except MalformedError as error:
            error.under(index)
            error.under("messages")
            raise
        if role == "system" and not turns:
            system += [block for block in content if isinstance(block, Text)]
        elif in_results and role == "user":
            turns[-1][1].extend(content)
        else:
            turns.append((role, list(content)))
        in_results = wire["role"] == "tool"
    return tuple(system), tuple(Message(role, tuple(content)) for role, content in turns)


def _decode_message(wire: JsonObject) -> tuple[str, tuple[ContentBlock, ...]]:
    role = required(wire, "role", str)
    match role:
        case "system" | "developer":
            return "system", _decode_content(wire)
        case "user":
            return "user", _decode_content(wire)
        case "assistant":
            return "assistant", decode_assistant(wire)
        case "tool":
            texts = tuple(block for block in _decode_content(wire) if isinstance(block, Text))
            return "user", (ToolResult(tool_use_id=required(wire, "tool_call_id", str), content=texts),)
        case _:
            raise MalformedError("must be system, developer, user, assistant or tool", "role")


def decode_assistant(wire: JsonObject) -> tuple[ContentBlock, ...]:
    """The blocks of an assistant's message: thinking, text, tool uses, each only if it is there."""
    thinking = thinking_text(wire)
    blocks: list[ContentBlock] = [Reasoning(text=thinking)] if thinking else []
    blocks += (block for block in _decode_content(wire) if not isinstance(block, Text) or block.text)
    blocks += (_decode_tool_use(call, i) for i, call in enumerate(tool_calls(wire)))
    return tuple(blocks)


def thinking_text(wire: JsonObject) -> str | None:
    """The thinking of a message or delta; vLLM renamed the member."""
    return optional(wire, "reasoning_content", str) or optional(wire, "reasoning", str)


def tool_calls(wire: JsonObject) -> tuple[JsonObject, ...]:
    """The tool calls of a message or delta; early TGI gives one object in place of a list."""
    calls = wire.get("tool_calls")
    return (calls,) if isinstance(calls, dict) else objects(wire, "tool_calls")


def arguments_text(function: JsonObject) -> str:
    """The arguments' JSON text; TGI gives them as an object."""
    arguments = function.get("arguments")
    return "" if arguments is None else encode_arguments(arguments)


def _decode_tool_use(wire: JsonObject, index: int) -> ToolUse:
    function = required(wire, "function", dict)
    text = arguments_text(function)
    try:
        arguments = msgspec.json.decode(text) if text.strip() else {}
    except (ValueError, RecursionError):
        arguments = text  # as ``fold`` has it: nothing of it is lost
    return ToolUse(id=tool_call_id(wire, index), name=required(function, "name", str), input=arguments)


def tool_call_id(wire: JsonObject, index: int) -> str:
    """The call's id as text; a server that gives none gets one by position."""
    return str(wire["id"]) if wire.get("id") not in (None, "") else f"call_{index}"


def _decode_content(wire: JsonObject) -> tuple[ContentBlock, ...]:
    content = wire.get("content")
    if content is None:
        return ()
    if isinstance(content, str):
        return (Text(text=content),)
    return structures(wire, "content", _decode_part)


def _decode_part(wire: JsonObject) -> ContentBlock:
    kind = required(wire, "type", str)
    decode = _PARTS.get(kind)
    if decode is None:
        raise UnsupportedError(f"a content part of the type {kind!r} is not supported; known are {', '.join(_PARTS)}")
    return decode(wire)


def _decode_image(wire: JsonObject) -> ContentBlock:
    """Only data URLs: nothing is fetched here on a caller's behalf."""
    url = required(required(wire, "image_url", dict), "url", str)
    head, comma, data = url.partition(",")
    if not (comma and head.startswith("data:image/") and head.endswith(";base64")):
        raise UnsupportedError(
            "an image must be given as a base64 data URL (data:image/png;base64,…); "
            "`awsllm serve --fetch-urls HOST` fetches those of a user's turn from that host"
        )
    kind = head.removeprefix("data:image/").removesuffix(";base64")
    return Image(format=_MIME_FORMATS.get(kind, kind), source=Bytes(_decode_base64(data, "image_url.url")))


def _decode_audio(wire: JsonObject) -> ContentBlock:
    audio = required(wire, "input_audio", dict)
    data = _decode_base64(required(audio, "data", str), "input_audio.data")
    return Audio(format=required(audio, "format", str), source=Bytes(data))


def _decode_base64(data: str, path: str) -> bytes:
    try:
        return binascii.a2b_base64(data, strict_mode=True)
    except ValueError as cause:
        raise MalformedError("is not valid base64", path) from cause


_PARTS: Mapping[str, Callable[[JsonObject], ContentBlock]] = {
    "text": lambda wire: Text(text=required(wire, "text", str)),
    "image_url": _decode_image,
    "input_audio": _decode_audio,
}
