"""Requests of the Responses API, both ways.

``extra`` reaches the body untouched (``store``, ``previous_response_id``, ``include``, ``background`` …), with three
members that join the request's own: ``tools`` (those of a type of their own, such as ``web_search``), ``text`` and
``reasoning``. What is read and has no place in the neutral values is in ``extra`` in the same way.

A function's arguments are held to its schema unless the tool says otherwise, so ``strict`` is always said. An answer's
schema is held to where it is one that can be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from awsllm.errors import UnsupportedError, ValidationError
from awsllm.types import (
    CachePoint,
    Citations,
    ContentBlock,
    ConverseRequest,
    Document,
    GuardContent,
    InferenceConfig,
    JsonObject,
    JsonSchema,
    JsonValue,
    Message,
    OutputConfig,
    Reasoning,
    SearchResult,
    ServiceTier,
    SystemContentBlock,
    SystemTool,
    Text,
    Tool,
    ToolChoice,
    ToolResult,
    ToolSpec,
    ToolUse,
    Unknown,
)
from awsllm.wire.converse.foreign import CUSTOM, is_responses_thinking
from awsllm.wire.openai.request import BlockWarnings, warnings_of
from awsllm.wire.openai.responses.items import (
    TITLE,
    decode_call,
    decode_input,
    decode_part,
    decode_reasoning,
    decode_result,
    decode_service_item,
    encode_call,
    encode_input,
    encode_output,
    encode_reasoning,
    encode_result,
    unsupported,
)
from awsllm.wire.openai.schemas import is_strict
from awsllm.wire.reading import (
    MalformedError,
    elements,
    optional,
    required,
    structures,
    unknown_members,
    without_none,
)

_SCHEMA_NAME = "answer"  # the API demands a name where Converse has none
_JOINED = ("text", "reasoning")

# --- encode ----------------------------------------------------------------------------------------------------------


def encode_request(request: ConverseRequest, *, stream: bool = False) -> JsonObject:
    """The body. Raises ``UnsupportedError`` for what the API cannot express."""
    _check_expressible(request)
    config, extra = request.inference_config, dict(request.extra or {})
    output = request.output_config or OutputConfig()
    tools = extra.pop("tools", None)
    members: JsonObject = {
        "model": request.model,
        "instructions": "\n\n".join(_instructions(request.system)) or None,
        "input": [*_encode_turns(request.messages)],
        "max_output_tokens": config.max_tokens,
        "temperature": config.temperature,
        "top_p": config.top_p,
        "tools": [*_encode_tools(request.tools), *(tools if isinstance(tools, list) else [])] or None,
        "tool_choice": None if request.tool_choice is None else _encode_tool_choice(request.tool_choice),
        "text": _merged(_encode_format(output.json_schema), extra, "text"),
        "reasoning": _merged({"effort": output.effort} if output.effort else {}, extra, "reasoning"),
        "service_tier": request.service_tier.type if request.service_tier else None,
        "stream": True if stream else None,
    }
    return without_none(members, extra)


def _check_expressible(request: ConverseRequest) -> None:
    if request.guardrail_config is not None:
        raise UnsupportedError(f"guardrails: {TITLE} has no place for them")
    if request.prompt_variables is not None:
        raise UnsupportedError(f"prompt variables: {TITLE} has no place for Bedrock's stored prompts")
    if request.inference_config.stop_sequences:
        raise UnsupportedError(f"stop_sequences: {TITLE} has none; leave them out, or cut the answer yourself")


def _merged(own: JsonObject, extra: JsonObject, name: str) -> JsonObject | None:
    given = extra.pop(name, None)
    return {**own, **given} if isinstance(given, dict) else own or given


def _encode_format(schema: JsonSchema | None) -> JsonObject:
    if schema is None:
        return {}
    named = {"name": schema.name or _SCHEMA_NAME, "description": schema.description, "schema": schema.schema}
    return {"format": without_none({"type": "json_schema", **named, "strict": is_strict(schema.schema)})}


def _instructions(system: Iterable[SystemContentBlock]) -> Iterator[str]:
    for block in system:
        match block:
            case Text(text):
                yield text
            case CachePoint():
                pass
            case GuardContent():
                raise unsupported("guarded content")
            case Unknown(tag):
                raise unsupported(f"the system block {tag!r}")


def _encode_tools(tools: Iterable[Tool]) -> Iterator[JsonObject]:
    for tool in tools:
        match tool:
            case ToolSpec(name, input_schema, description, strict):
                members = {"name": name, "description": description, "parameters": input_schema}
                yield without_none({"type": "function", **members, "strict": strict is True})
            case SystemTool(name):
                yield {"type": name}
            case CachePoint():
                pass
            case Unknown(_, dict() as value) if value.get("type"):
                yield value
            case Unknown(tag):
                raise unsupported(f"a tool of the kind {tag!r}")


def _encode_tool_choice(choice: ToolChoice) -> JsonValue:
    if choice.type == "tool":
        return {"type": "function", "name": choice.name}
    return {"any": "required"}.get(choice.type, choice.type)


def _encode_turns(messages: Sequence[Message]) -> Iterator[JsonObject]:
    custom = {block.id for message in messages for block in message.tool_uses if block.type == CUSTOM}
    for index, message in enumerate(messages):
        if not message.content:
            raise ValidationError(f"messages.{index}: a message must have content")
        if message.role == "assistant":
            yield from _encode_answer(message)
        else:
            yield from _encode_turn(message, custom)


def _encode_turn(message: Message, custom: Iterable[str]) -> Iterator[JsonObject]:
    """A turn's items, in the order of its blocks: what is said between two results is a message of its own."""
    said: list[JsonObject] = []
    for block in message.content:
        if isinstance(block, CachePoint):
            continue
        if isinstance(block, Unknown) and not _is_part(block):
            item = block.value if isinstance(block.value, dict) and block.value.get("type") else None
            if item is None:
                raise unsupported(f"content block {block.tag!r}")
        elif isinstance(block, ToolResult):
            item = encode_result(block, custom)
        else:
            said.append(encode_input(block))
            continue
        yield from _said(message.role, said)
        said = []
        yield item
    yield from _said(message.role, said)


def _is_part(block: Unknown) -> bool:
    return block.tag.startswith("input_")


def _said(role: str, parts: list[JsonObject]) -> Iterator[JsonObject]:
    """One text is a string."""
    if parts:
        first, *others = parts
        is_text = not others and first["type"].endswith("_text") and not first.get("annotations")
        yield {"type": "message", "role": role, "content": first["text"] if is_text else parts}


def _encode_answer(message: Message) -> Iterator[JsonObject]:
    """Thinking of another model is left out (``warnings`` says so)."""
    said: list[JsonObject] = []
    for block in message.content:
        match block:
            case Text() | Citations():
                said.append(encode_output(block))
                continue
            case CachePoint():
                continue
            case Reasoning():
                item = encode_reasoning(block)
                if item is None:
                    continue
            case ToolUse():
                item = encode_call(block)
            case _:
                raise unsupported(f"{type(block).__name__} in a turn of the assistant")
        yield from _said("assistant", said)
        said = []
        yield item
    yield from _said("assistant", said)


# --- what could not be honoured --------------------------------------------------------------------------------------

_KNOBS = {
    "performance_config": "performance_config: the API has no such setting",
    "request_metadata": "request_metadata: the API has no place for it; its metadata is a member of extra",
    "additional_model_response_field_paths": "additional_model_response_field_paths: see response.raw instead",
}
_CACHE_POINTS = "cache points: the API has its own, and these were left out; most models cache by themselves"
_REASONING = "thinking of another model, or without its signature, is not taken back and was left out"
_CITATIONS = "citations: documents and cited passages were sent as text"
_ERROR_STATUS = "tool results: the API cannot mark one as an error; its text was sent as it is"


def warnings(request: ConverseRequest) -> tuple[str, ...]:
    """What the API cannot honour of this request."""
    return warnings_of(request, _KNOBS, _CACHE_POINTS, _BLOCK_WARNINGS)


_BLOCK_WARNINGS: BlockWarnings = (
    (lambda block: isinstance(block, Reasoning) and not is_responses_thinking(block), _REASONING),
    (lambda block: isinstance(block, Document | SearchResult) and bool(block.citations), _CITATIONS),
    (lambda block: isinstance(block, ToolResult) and block.status == "error", _ERROR_STATUS),
)


# --- decode ----------------------------------------------------------------------------------------------------------

_KNOWN = frozenset(
    (
        *("model", "instructions", "input", "max_output_tokens", "temperature", "top_p", "tools", "tool_choice"),
        *("text", "reasoning", "service_tier", "stream", "stream_options"),
    )
)
_USER_ITEMS = ("function_call_output", f"{CUSTOM}_output")


def decode_request(model: str, wire: JsonObject) -> ConverseRequest:
    """The request that a body makes. Raises ``ValidationError`` with the path of what is malformed."""
    extra = unknown_members(wire, _KNOWN) or {}
    system, messages = _decode_input(wire)
    choice, tier = wire.get("tool_choice"), optional(wire, "service_tier", str)
    given = structures(wire, "tools", _decode_tool)
    if others := [tool for tool in given if not isinstance(tool, ToolSpec)]:
        extra["tools"] = others
    tools = () if choice == "none" else tuple(tool for tool in given if isinstance(tool, ToolSpec))
    return ConverseRequest(
        model=model,
        messages=messages,
        system=(*(Text(text) for text in (optional(wire, "instructions", str),) if text), *system),
        inference_config=InferenceConfig(
            max_tokens=optional(wire, "max_output_tokens", int),
            temperature=optional(wire, "temperature", float),
            top_p=optional(wire, "top_p", float),
        ),
        tools=tools,
        tool_choice=_decode_tool_choice(choice) if tools else None,
        service_tier=ServiceTier(tier) if tier not in (None, "auto") else None,
        output_config=_decode_output_config(wire, extra),
        extra=extra or None,
    )


def _decode_input(wire: JsonObject) -> tuple[tuple[SystemContentBlock, ...], tuple[Message, ...]]:
    """The leading system messages, and the turns: neighbouring items of one side are one turn."""
    given = wire.get("input")
    if isinstance(given, str):
        return (), (Message.user(given),)
    system: list[SystemContentBlock] = []
    turns: list[tuple[str, list[ContentBlock]]] = []
    decoded = elements(optional(wire, "input", list) or [], "input", _decode_item)
    for role, content in decoded:
        if role == "system" and not turns:
            system += [block for block in content if isinstance(block, Text)]
        elif turns and turns[-1][0] == role:
            turns[-1][1].extend(content)
        elif content:
            turns.append((role, list(content)))
    if not turns:
        raise MalformedError("is required", "input")
    return tuple(system), tuple(Message(role, tuple(content)) for role, content in turns)


def _decode_item(item: JsonObject) -> tuple[str, tuple[ContentBlock, ...]]:
    """Whose turn it belongs to, and what it says there."""
    match optional(item, "type", str) or "message":
        case "message":
            return _decode_message(item)
        case "function_call" | "custom_tool_call":
            return "assistant", (decode_call(item),)
        case "reasoning":
            return "assistant", (decode_reasoning(item),)
        case kind if kind in _USER_ITEMS:
            return "user", (decode_result(item),)
        case "item_reference":
            raise UnsupportedError("item_reference: nothing is kept that it could mean; send the item itself")
        case kind if kind.endswith(("_output", "_response")):
            return "user", (Unknown(kind, item),)
        case _:
            return "assistant", (decode_service_item(item),)


def _decode_message(item: JsonObject) -> tuple[str, tuple[ContentBlock, ...]]:
    role = required(item, "role", str)
    if role not in ("user", "assistant", "system", "developer"):
        raise MalformedError("must be user, assistant, system or developer", "role")
    content = item.get("content")
    if isinstance(content, str):
        blocks: tuple[ContentBlock | None, ...] = (Text(content),) if content else ()
    elif role == "assistant":
        blocks = elements(required(item, "content", list), "content", decode_part)
    else:
        blocks = elements(required(item, "content", list), "content", decode_input)
    return "system" if role == "developer" else role, tuple(block for block in blocks if block is not None)


def _decode_tool(wire: JsonObject) -> ToolSpec | JsonObject:
    """A function; a tool of another type as it is."""
    if wire.get("type") != "function":
        return wire
    return ToolSpec(
        required(wire, "name", str),
        optional(wire, "parameters", dict) or {"type": "object", "properties": {}},
        optional(wire, "description", str),
        optional(wire, "strict", bool) or None,
    )


def _decode_tool_choice(wire: JsonValue) -> ToolChoice | None:
    match wire:
        case None | "none":
            return None
        case "auto" | "required":
            return ToolChoice("any" if wire == "required" else "auto")
        case {"type": "function"}:
            return ToolChoice("tool", required(wire, "name", str))
        case _:
            raise MalformedError("must be auto, none, required or a function", "tool_choice")


def _decode_output_config(wire: JsonObject, extra: JsonObject) -> OutputConfig | None:
    text, reasoning = (dict(optional(wire, name, dict) or {}) for name in _JOINED)
    effort = optional(reasoning, "effort", str)
    reasoning.pop("effort", None)
    wanted = text.pop("format", None)
    schema = _decode_format(wanted) if isinstance(wanted, dict) else None
    extra.update({name: rest for name, rest in zip(_JOINED, (text, reasoning), strict=True) if rest})
    return None if schema is None and effort is None else OutputConfig(json_schema=schema, effort=effort)


def _decode_format(wire: JsonObject) -> JsonSchema | None:
    match wire.get("type"):
        case "json_schema":
            name = optional(wire, "name", str)
            description = optional(wire, "description", str)
            return JsonSchema(required(wire, "schema", dict), None if name == _SCHEMA_NAME else name, description)
        case "json_object":
            return JsonSchema({"type": "object"})
        case _:
            return None
