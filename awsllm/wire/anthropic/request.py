"""Requests of the Messages API, both ways.

``head`` of ``encode_request`` is what the place adds that carries the body: the name of the model and whether to
stream, or the version of the API. ``extra`` reaches the body untouched (``thinking``, ``top_k``, ``anthropic_beta``,
``metadata`` …), with two exceptions that AWS documents for Converse too: its ``tools`` (those of a type of their own,
such as ``bash_20250124``) join the request's, and the members of its ``output_config`` join the request's.

What is read and has no place in the neutral values is in ``extra`` in the same way, so what is read can be written.
"""

from __future__ import annotations

from collections.abc import Iterable

from awsllm.errors import UnsupportedError, ValidationError
from awsllm.types import (
    CachePoint,
    Citations,
    ContentBlock,
    ConverseRequest,
    InferenceConfig,
    JsonObject,
    JsonSchema,
    Message,
    OutputConfig,
    Reasoning,
    SystemTool,
    Tool,
    ToolChoice,
    ToolSpec,
    Unknown,
)
from awsllm.wire.anthropic.blocks import (
    decode_cache_control,
    decode_content,
    decode_system,
    encode_content,
    encode_marked,
    encode_system,
    is_own_reasoning,
    unsupported,
)
from awsllm.wire.reading import (
    MalformedError,
    elements,
    objects,
    optional,
    optional_structure,
    required,
    strings,
    unknown_members,
    without_none,
)

DEFAULT_MAX_TOKENS = 4096
"""Sent where the caller sets no limit, which the API demands: the most that every model of the API can write."""

_ROLES = ("user", "assistant", "system")


# --- encode ----------------------------------------------------------------------------------------------------------


def encode_request(request: ConverseRequest, head: JsonObject | None = None) -> JsonObject:
    """The body. Raises ``UnsupportedError`` for what the format cannot express."""
    _check_expressible(request)
    config, extra = request.inference_config, dict(request.extra or {})
    members: JsonObject = {
        **(head or {}),
        "max_tokens": max_tokens(request),
        "system": encode_system(request.system) if request.system else None,
        "messages": _encode_messages(request.messages),
        "temperature": config.temperature,
        "top_p": config.top_p,
        "stop_sequences": list(config.stop_sequences) or None,
        "tools": _encode_tools(request.tools, extra) if request.tools or extra else None,
        "tool_choice": None if request.tool_choice is None else _encode_tool_choice(request.tool_choice),
        "output_config": _encode_output_config(request.output_config, extra)
        if request.output_config or extra
        else None,
    }
    return without_none(members, extra)


def max_tokens(request: ConverseRequest) -> int:
    """The caller's limit. Without one, what is thought counts beside what is written."""
    if request.inference_config.max_tokens is not None:
        return request.inference_config.max_tokens
    thinking = (request.extra or {}).get("thinking")
    budget = thinking.get("budget_tokens") if isinstance(thinking, dict) else None
    return DEFAULT_MAX_TOKENS + (budget if isinstance(budget, int) else 0)


def _check_expressible(request: ConverseRequest) -> None:
    if request.guardrail_config is not None:
        raise UnsupportedError("guardrails: the Anthropic Messages format has no place for them")
    if request.prompt_variables is not None:
        raise UnsupportedError("prompt variables: the Anthropic Messages format has no place for stored prompts")


def _encode_messages(messages: Iterable[Message]) -> list[JsonObject]:
    """A turn of nothing but another model's thinking is left out."""
    wires: list[JsonObject] = []
    for index, message in enumerate(messages):
        if not message.content:
            raise ValidationError(f"messages.{index}: a message must have content")
        if content := encode_content(message.content):
            wires.append({"role": message.role, "content": content})
    return wires


def _encode_tool(tool: Tool) -> JsonObject:
    match tool:
        case ToolSpec(name, input_schema, description, strict):
            members = {"name": name, "description": description, "input_schema": input_schema, "strict": strict}
            return without_none(members)
        case SystemTool(name):
            raise UnsupportedError(
                f"the tool {name!r}: in the Anthropic Messages format a tool of the service has a type and settings "
                'of its own; pass it as extra={"tools": [{"type": …, "name": …}]}'
            )
        case Unknown(tag):
            raise unsupported(f"a tool of the kind {tag!r}")
        case CachePoint():  # ``encode_marked`` has them
            raise AssertionError


def _encode_tools(tools: Iterable[Tool], extra: JsonObject) -> list[JsonObject] | None:
    """The request's tools, and those of ``extra``, which lets go of them."""
    joined = extra.pop("tools", None)
    return [*encode_marked(tools, _encode_tool), *(joined if isinstance(joined, list) else ())] or None


def _encode_tool_choice(choice: ToolChoice) -> JsonObject:
    return without_none({"type": choice.type, "name": choice.name})


def _encode_output_config(config: OutputConfig | None, extra: JsonObject) -> JsonObject | None:
    wire: JsonObject = {}
    if config is not None and config.effort is not None:
        wire["effort"] = config.effort
    if config is not None and config.json_schema is not None:
        wire["format"] = {"type": "json_schema", "schema": config.json_schema.schema}
    if isinstance(extra.get("output_config"), dict):
        wire |= extra.pop("output_config")
    return wire or None


# --- what could not be honoured --------------------------------------------------------------------------------------

_KNOBS = {
    "performance_config": "performance_config: the format has no such setting",
    "service_tier": "service_tier: the format's own is a member of extra",
    "request_metadata": "request_metadata: the format has no place for it; its metadata is a member of extra",
}
_PATHS = "additional_model_response_field_paths: see response.extra and response.raw instead"
_LOSING = (Reasoning, Citations)
_REASONING = "thinking without a signature is another model's: the format refuses it, and it was left out"
_CITATIONS = "citations that say not where in this conversation they point are another model's and were left out"


def warnings(request: ConverseRequest) -> tuple[str, ...]:
    """What the format cannot honour of this request, and what is set because it must be."""
    found: list[str] = []
    if request.performance_config or request.service_tier or request.request_metadata:
        found += [text for name, text in _KNOBS.items() if getattr(request, name)]
    paths = request.additional_model_response_field_paths
    if paths and any(path.count("/") != 1 for path in paths):
        found.append(_PATHS)
    if request.inference_config.max_tokens is None:
        found.append(f"max_tokens: not set, but the format demands it, so {max_tokens(request)} was sent")
    # One look at each block of what may be a long conversation; nearly all are of neither kind.
    if blocks := [block for message in request.messages for block in message.content if isinstance(block, _LOSING)]:
        if any(isinstance(block, Reasoning) and not is_own_reasoning(block) for block in blocks):
            found.append(_REASONING)
        if any(map(_loses_citations, blocks)):
            found.append(_CITATIONS)
    return tuple(found)


def _loses_citations(block: ContentBlock) -> bool:
    if not isinstance(block, Citations):
        return False
    from awsllm.wire.anthropic.citations import encode_citation

    return not all(map(encode_citation, block.citations))


# --- decode ----------------------------------------------------------------------------------------------------------

_KNOWN = frozenset(
    (
        *("model", "stream", "anthropic_version", "max_tokens", "system", "messages", "temperature", "top_p"),
        *("stop_sequences", "tools", "tool_choice", "output_config", "output_format"),
    )
)


def decode_request(model: str, wire: JsonObject, *, counted: bool = False) -> ConverseRequest:
    """The request that a body makes. ``counted``: its tokens shall only be counted, which takes no ``max_tokens``.
    Raises ``ValidationError`` with the path of what is malformed."""
    if not counted:
        required(wire, "max_tokens", int)
    extra = unknown_members(wire, _KNOWN) or {}
    messages = _decode_messages(wire)
    tools, choice = _decode_tools(wire, extra), _decode_tool_choice(wire, extra)
    return ConverseRequest(
        model=model,
        messages=messages,
        system=decode_system(wire),
        inference_config=InferenceConfig(
            max_tokens=optional(wire, "max_tokens", int),
            temperature=optional(wire, "temperature", float),
            top_p=optional(wire, "top_p", float),
            stop_sequences=strings(wire, "stop_sequences"),
        ),
        # "none" forbids tools; Converse says so by offering none.
        tools=() if choice is not None and choice.type == "none" else tools,
        tool_choice=None if choice is not None and choice.type == "none" else choice,
        output_config=_decode_output_config(wire, extra),
        extra=extra or None,
    )


def _decode_messages(wire: JsonObject) -> tuple[Message, ...]:
    messages = elements(required(wire, "messages", list), "messages", _decode_message)
    if not messages:
        raise MalformedError("at least one message is required", "messages")
    return messages


def _decode_message(wire: JsonObject) -> Message:
    role = required(wire, "role", str)
    if role not in _ROLES:
        raise MalformedError(f"must be {', '.join(_ROLES)}", "role")
    if wire.get("content") is None:
        raise MalformedError("is required", "content")
    return Message(role, decode_content(wire))


def _decode_tools(wire: JsonObject, extra: JsonObject) -> tuple[Tool, ...]:
    """The tools of the caller, and the cache points behind them; those of a type of their own join ``extra``."""
    tools: list[Tool] = []
    for index, tool in enumerate(objects(wire, "tools")):
        if tool.get("type") not in (None, "custom"):
            extra.setdefault("tools", []).append(tool)
            continue
        try:
            tools += (_decode_tool(tool), *decode_cache_control(tool))
        except MalformedError as error:
            error.under(index)
            error.under("tools")
            raise
    return tuple(tools)


def _decode_tool(wire: JsonObject) -> ToolSpec:
    return ToolSpec(
        required(wire, "name", str),
        required(wire, "input_schema", dict),
        optional(wire, "description", str),
        optional(wire, "strict", bool),
    )


def _decode_tool_choice(wire: JsonObject, extra: JsonObject) -> ToolChoice | None:
    """A choice that says more (``disable_parallel_tool_use``) is in ``extra`` as well, whole."""
    choice = optional_structure(
        wire, "tool_choice", lambda value: ToolChoice(required(value, "type", str), optional(value, "name", str))
    )
    if choice is not None and unknown_members(wire["tool_choice"], _CHOICE_MEMBERS):
        extra["tool_choice"] = wire["tool_choice"]
    return choice


def _decode_output_config(wire: JsonObject, extra: JsonObject) -> OutputConfig | None:
    """``output_format`` is how the schema of the answer was given while that was in beta."""
    config = optional(wire, "output_config", dict) or {}
    if more := unknown_members(config, _OUTPUT_MEMBERS):
        extra["output_config"] = more
    schema = optional_structure(config, "format", _decode_format)
    schema = schema or optional_structure(wire, "output_format", _decode_format)
    effort = optional(config, "effort", str)
    return None if schema is None and effort is None else OutputConfig(schema, effort)


def _decode_format(wire: JsonObject) -> JsonSchema:
    if required(wire, "type", str) != "json_schema":
        raise MalformedError("must be json_schema", "type")
    return JsonSchema(required(wire, "schema", dict))


_CHOICE_MEMBERS = frozenset({"type", "name"})
_OUTPUT_MEMBERS = frozenset({"effort", "format"})
