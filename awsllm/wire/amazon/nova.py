"""Amazon Nova 1 and 2 as they are spoken to themselves, both directions: Converse's conversation with other edges.

Messages, tools, answers and a stream's events are Converse's, and so are their codecs. What differs: ``schemaVersion``;
knobs that Converse hands through (``topK``, ``reasoningConfig``) stand in ``inferenceConfig``; documents have no place,
so their text is sent; bytes are base64 anyhow, and tokens of the cache have names of their own.
Source: docs.aws.amazon.com/nova/latest/userguide/complete-request-schema.html and invoke.html;
docs.aws.amazon.com/nova/latest/nova2-userguide/request-response-schema.html and using-invoke-api.html
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from awsllm.errors import UnsupportedError
from awsllm.types import (
    ContentBlock,
    ConverseRequest,
    ConverseResponse,
    Document,
    GuardContent,
    InferenceConfig,
    JsonObject,
    Request,
    SearchResult,
    Text,
    ToolAddition,
    ToolRemoval,
    ToolResult,
    ToolSpec,
    Usage,
)
from awsllm.wire import converse
from awsllm.wire.amazon.nova_stream import NovaDecoder, NovaEncoder, encode_usage
from awsllm.wire.amazon.titan import encode_error
from awsllm.wire.body import Body, ChunkDecoder, ChunkEncoder, Context, Payload, Settings
from awsllm.wire.converse.requests import decode_conversation, encode_conversation
from awsllm.wire.payloads import read_body, read_object, write
from awsllm.wire.reading import MalformedError, optional, strings, unknown_members, without_none
from awsllm.wire.text.blocks import block_text
from awsllm.wire.vectors import merged

_TITLE = "the format of Amazon Nova"
_SCHEMA = "messages-v1"
_REASONING = "reasoningConfig"
_KNOWN = frozenset(("schemaVersion", "system", "messages", "inferenceConfig", "toolConfig"))
_STRICT = "strict: the model's own format does not hold arguments to a schema"
_PATHS = "additional_model_response_field_paths: the model's own format has none; the whole reply is in raw"
# The first is sent; the others are read, for Nova was documented with them at its start.
_LIMITS = ("maxTokens", "max_new_tokens")
_TOP_P = ("topP", "top_p")
_CONFIG = frozenset((*_LIMITS, *_TOP_P, "temperature", "stopSequences"))


class NovaChat:
    streams = True

    def warnings(self, request: ConverseRequest, settings: Settings) -> tuple[str, ...]:
        found = (_STRICT,) if any(isinstance(tool, ToolSpec) and tool.strict for tool in request.tools) else ()
        return (*found, _PATHS) if request.additional_model_response_field_paths else found

    def encode_request(self, request: ConverseRequest, settings: Settings, *, stream: bool = False) -> Payload:
        """Whether it streams is not said in the body. ``extra`` is merged into it."""
        return write(_encode_request(request))

    def decode_response(self, payload: Payload, context: Context) -> ConverseResponse:
        """Raises the server's error if it is one, ``ServerError`` where there is no message in it."""
        wire = read_object(payload, context)
        response = converse.decode_response(wire, model=context.request.model, request_id=context.request_id)
        return replace(response, warnings=context.warnings + response.warnings)

    def stream_decoder(self, context: Context) -> ChunkDecoder:
        return NovaDecoder(context)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> tuple[ConverseRequest, bool]:
        return _decode_request(model, read_body(payload)), False

    def encode_response(self, response: ConverseResponse, context: Context) -> Payload:
        wire = converse.encode_response(replace(response, usage=Usage(), latency_ms=None))
        members = {name: wire.get(name) for name in ("output", "stopReason")}
        return write({**without_none(members), "usage": encode_usage(response.usage)})

    def stream_encoder(self, context: Context) -> ChunkEncoder:
        return NovaEncoder()


# --- requests --------------------------------------------------------------------------------------------------------


def _encode_request(request: ConverseRequest) -> JsonObject:
    _check_request(request)
    messages = tuple(replace(message, content=_writable(message.content)) for message in request.messages)
    tools = tuple(replace(tool, strict=None) if isinstance(tool, ToolSpec) else tool for tool in request.tools)
    # Not ``replace``: it would write the caller's extra as Converse does.
    conversation = ConverseRequest(
        model=request.model, messages=messages, system=request.system, tools=tools, tool_choice=request.tool_choice
    )
    wire = {"schemaVersion": _SCHEMA, **encode_conversation(conversation)}
    if config := _encode_config(request):
        wire["inferenceConfig"] = config
    extra = {name: value for name, value in (request.extra or {}).items() if name != _REASONING}
    return merged(wire, extra)


def _check_request(request: ConverseRequest) -> None:
    """Raises ``UnsupportedError`` for what changes the answer and has no place."""
    if request.prompt_variables is not None:
        raise UnsupportedError(f"prompt_variables: a stored prompt cannot be expressed in {_TITLE}; use api='converse'")
    if request.output_config and request.output_config.json_schema:
        raise UnsupportedError(
            f"a schema for the answer cannot be expressed in {_TITLE}; give it as the schema of a tool, which this and "
            "the openai format take"
        )
    if any(isinstance(block, GuardContent) for block in request.system):
        raise UnsupportedError(f"guarded content cannot be expressed in {_TITLE}; use api='converse'")
    if stray := [message.role for message in request.messages if message.role not in ("user", "assistant")]:
        raise UnsupportedError(f"a turn of {stray[0]} cannot be expressed in {_TITLE}; give its text as system=")


def _writable(content: tuple[ContentBlock, ...]) -> tuple[ContentBlock, ...]:
    return tuple(map(_writable_block, content))


def _writable_block(block: ContentBlock) -> ContentBlock:
    """The block as the format takes it: documents and search results by their text. Raises ``UnsupportedError``."""
    match block:
        case Document() | SearchResult():
            return Text(block_text(block))
        case ToolResult(content=content) if any(isinstance(item, Document | SearchResult) for item in content):
            texts = (Text(block_text(x)) if isinstance(x, Document | SearchResult) else x for x in content)
            return replace(block, content=tuple(texts))
        case GuardContent() | ToolAddition() | ToolRemoval():
            raise UnsupportedError(f"{type(block).__name__} cannot be expressed in {_TITLE}; use api='converse'")
        case _:
            return block


def _encode_config(request: ConverseRequest) -> JsonObject:
    config, reasoning = request.inference_config, (request.extra or {}).get(_REASONING)
    effort = request.output_config.effort if request.output_config else None
    if reasoning is None and effort is not None:
        reasoning = {"type": "enabled", "maxReasoningEffort": effort}
    members = {
        _LIMITS[0]: config.max_tokens,
        "temperature": config.temperature,
        _TOP_P[0]: config.top_p,
        "stopSequences": list(config.stop_sequences) or None,
        _REASONING: reasoning,
    }
    return without_none(members)


def _decode_request(model: str, wire: JsonObject) -> ConverseRequest:
    if not optional(wire, "messages", list):
        raise MalformedError("is required", "messages")
    if (version := wire.get("schemaVersion", _SCHEMA)) != _SCHEMA:
        raise MalformedError(f"must be {_SCHEMA}, not {version!r}", "schemaVersion")
    conversation = decode_conversation({name: wire[name] for name in wire.keys() & _KNOWN})
    config = optional(wire, "inferenceConfig", dict) or {}
    extra = unknown_members(wire, _KNOWN) or {}
    own = unknown_members(config, _CONFIG) or {}
    if (reasoning := own.pop(_REASONING, None)) is not None:
        extra[_REASONING] = reasoning
    if own:
        extra["inferenceConfig"] = own
    members: dict[str, Any] = {**conversation, "extra": extra or None}
    return ConverseRequest(model=model, inference_config=_decode_config(config), **members)


def _decode_config(wire: JsonObject) -> InferenceConfig:
    limits = (optional(wire, name, int) for name in _LIMITS)
    top_p = (optional(wire, name, float) for name in _TOP_P)
    return InferenceConfig(
        max_tokens=next((value for value in limits if value is not None), None),
        temperature=optional(wire, "temperature", float),
        top_p=next((value for value in top_p if value is not None), None),
        stop_sequences=strings(wire, "stopSequences"),
    )


def _read(model: str, payload: Payload, settings: Settings) -> tuple[Request[Any], bool]:
    return _CHAT.decode_request(model, payload, settings)


_CHAT = NovaChat()

BODIES: tuple[Body, ...] = (Body("nova", _TITLE, _read, encode_error, chat=_CHAT),)
