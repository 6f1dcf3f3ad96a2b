"""Answers in the OpenAI Chat Completions format, whole and as chunks, embeddings and error objects; both directions.

Servers differ in small things, and all of it is read: TGI ends with ``eos_token`` or ``stop_sequence`` and gives tool
calls as one object with the arguments not as text; vLLM puts the stop string that matched into ``stop_reason``, SGLang
into ``matched_stop``; servers that call a tool because they were told to may end with ``stop``; early vLLM gives every
piece of a tool call a new id, others the same index to every call.

Chunks carry no block indices. ``ChunkDecoder`` gives them in the order in which thinking, text and tool calls appear;
text and thinking end when something else begins, tool calls when the message stops, since their pieces may alternate.
"""

from __future__ import annotations

import binascii
import struct
from base64 import b64encode
from collections.abc import Iterator
from typing import assert_never

import msgspec

from awsllm.errors import (
    AccessDeniedError,
    AwsllmError,
    ContextWindowError,
    ModelNotFoundError,
    ModelNotReadyError,
    ModelTimeoutError,
    RequestError,
    ServerError,
    StreamError,
    ThrottlingError,
    UnsupportedError,
)
from awsllm.types import (
    BlockDelta,
    CachePoint,
    Citations,
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    ConverseResponse,
    EmbedRequest,
    EmbedResponse,
    JsonObject,
    JsonValue,
    Message,
    MessageStart,
    MessageStop,
    Metadata,
    Reasoning,
    ReasoningDelta,
    StreamEvent,
    Text,
    TextDelta,
    ToolUse,
    ToolUseDelta,
    ToolUseStart,
    Unknown,
    Usage,
)
from awsllm.wire.endpoint.errors import find_error
from awsllm.wire.openai.request import (
    arguments_text,
    decode_answer,
    encode_arguments,
    encode_tool_call,
    thinking_text,
    tool_call_id,
    tool_calls,
)
from awsllm.wire.reading import MalformedError, optional, required, strings, structures, without_none

# --- why it stopped, what it used ------------------------------------------------------------------------------------

_STOP_REASONS = {
    "stop": "end_turn",
    "eos_token": "end_turn",
    "length": "max_tokens",
    "stop_sequence": "stop_sequence",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "content_filtered",
}
_FINISH_REASONS = {
    "end_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "content_filtered": "content_filter",
    "guardrail_intervened": "content_filter",
}
_USAGE = frozenset(("prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details"))


def _decode_stop_reason(choice: JsonObject, *, has_tools: bool) -> str | None:
    finish = choice.get("finish_reason")
    if not isinstance(finish, str):
        return None
    reason = _STOP_REASONS.get(finish, finish)
    matched = choice.get("stop_reason", choice.get("matched_stop"))  # a text, or the id of a token that ends a turn
    if reason != "end_turn":
        return reason
    return "tool_use" if has_tools else "stop_sequence" if isinstance(matched, str) else reason


def _encode_stop_reason(reason: str, extra: JsonObject | None) -> JsonObject:
    """``stop_reason`` is vLLM's: the stop sequence that matched, empty where the backend did not say which."""
    wire: JsonObject = {"finish_reason": _FINISH_REASONS.get(reason, reason)}
    if reason == "stop_sequence":
        wire["stop_reason"] = str((extra or {}).get("stop_sequence", ""))
    return wire


def decode_usage(wire: JsonObject | None) -> Usage:
    """Missing counts are unknown. ``prompt_tokens`` counts cached tokens in, Converse's ``input_tokens`` does not."""
    if not wire:
        return Usage()
    prompt, cached = optional(wire, "prompt_tokens", int), None
    if details := optional(wire, "prompt_tokens_details", dict):
        cached = optional(details, "cached_tokens", int)
    extra = {name: value for name, value in wire.items() if name not in _USAGE and value is not None}
    return Usage(
        input_tokens=prompt if prompt is None or cached is None else prompt - cached,
        output_tokens=optional(wire, "completion_tokens", int),
        total_tokens=optional(wire, "total_tokens", int),
        cache_read_input_tokens=cached,
        extra=extra or None,
    )


def encode_usage(usage: Usage) -> JsonObject | None:
    """None where the counts are unknown."""
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    cached = usage.cache_read_input_tokens
    prompt = usage.input_tokens + (cached or 0) + (usage.cache_write_input_tokens or 0)
    members = {
        "prompt_tokens": prompt,
        "completion_tokens": usage.output_tokens,
        "total_tokens": prompt + usage.output_tokens if usage.total_tokens is None else usage.total_tokens,
        "prompt_tokens_details": None if cached is None else {"cached_tokens": cached},
    }
    return without_none(members, usage.extra)


# --- a whole answer --------------------------------------------------------------------------------------------------


def decode_response(
    wire: JsonObject, *, model: str | None = None, request_id: str | None = None, warnings: tuple[str, ...] = ()
) -> ConverseResponse:
    """The first choice of a chat completion. Raises the container's error if it is one, ``ServerError`` if it is
    neither."""
    if error := find_error(wire, request_id=request_id):
        raise error
    try:
        choices = structures(wire, "choices", lambda choice: choice)
        message = required(choices[0], "message", dict) if choices else {}
        blocks = decode_answer(message)
        usage = decode_usage(optional(wire, "usage", dict))
    except MalformedError as cause:
        raise ServerError(f"not a chat completion: {cause.message}", request_id=request_id) from cause
    if not choices:
        raise ServerError(f"not a chat completion, it has no choices: {str(wire)[:200]}", request_id=request_id)
    _check_finish(choices[0])
    answer = Message("assistant", blocks)
    return ConverseResponse(
        message=answer,
        stop_reason=_decode_stop_reason(choices[0], has_tools=bool(answer.tool_uses)),
        usage=usage,
        model=model,
        request_id=request_id,
        warnings=warnings,
        raw=wire,
        messages=(answer,),
    )


def _check_finish(choice: JsonObject) -> None:
    if choice.get("finish_reason") == "error":  # LMI
        raise ServerError("the container stopped generating with an error", code="error")


def encode_response(response: ConverseResponse, *, id: str, created: int, model: str) -> JsonObject:
    """``created`` is in seconds since 1970. Raises ``UnsupportedError`` for blocks that the format cannot hold."""
    message: JsonObject = {"role": "assistant", "content": None}
    calls: list[JsonObject] = []
    for block in response.message.content:
        match block:
            case Text() | Citations():
                message["content"] = (message["content"] or "") + Message("assistant", (block,)).text
            case Reasoning(text=text):
                message["reasoning_content"] = message.get("reasoning_content", "") + text
            case ToolUse(id=call_id, name=name, input=input):
                calls.append(encode_tool_call(call_id, name, encode_arguments(input)))
            case CachePoint():
                pass
            case _:
                raise UnsupportedError(f"an answer in the OpenAI format cannot hold {type(block).__name__}")
    if calls:
        message["tool_calls"] = calls
    end = _encode_stop_reason(response.stop_reason or "end_turn", response.extra)
    return {
        "id": id,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [{"index": 0, "message": message, **end}],
        "usage": encode_usage(response.usage),
    }


# --- chunks ----------------------------------------------------------------------------------------------------------


class _Call(msgspec.Struct):
    """A tool call under way: its block, once its name is known, and the arguments that came before that."""

    id: str
    name: str = ""
    block: int | None = None
    held: str = ""


class ChunkDecoder:
    """Chunks of one chat completion to events.

    The last event, ``Metadata``, is given as soon as the usage is known. A server that tells none leaves it to
    ``finish``, at the end of the stream.
    """

    def __init__(self, *, warnings: tuple[str, ...] = (), request_id: str | None = None) -> None:
        self._warnings = warnings
        self._request_id = request_id
        self._next_block = 0
        self._open: tuple[str, int] | None = None  # the text or thinking that grows, and its block
        self._calls: dict[int, _Call] = {}  # by index; one that gave way to another of its index, by a negative number
        self._usage: JsonObject | None = None
        self._started = self._stopped = self._ended = False

    def push(self, chunk: JsonValue) -> Iterator[StreamEvent]:
        """The events of one chunk. Raises the container's error if it is one. A server that does not stream answers
        with one whole completion: that is read, too."""
        if error := find_error(chunk, request_id=self._request_id):
            raise error
        try:
            yield from self._push(chunk if isinstance(chunk, dict) else {})
        except MalformedError as cause:
            raise StreamError(f"a chunk cannot be read: {cause.message}", request_id=self._request_id) from cause

    def _push(self, chunk: JsonObject) -> Iterator[StreamEvent]:
        if usage := optional(chunk, "usage", dict):
            self._usage = usage
        for choice in structures(chunk, "choices", lambda choice: choice):
            if choice.get("index", 0) == 0 and not self._stopped:
                yield from self._choose(choice)
        if self._stopped and self._usage and not self._ended:
            yield self._metadata()

    def finish(self, *, done: bool = False) -> Iterator[StreamEvent]:
        """The events left when the stream has ended. ``done`` says that the server declared the end (``[DONE]``); a
        stream that ends without that or a finish reason raises ``StreamError``."""
        if not self._stopped:
            if not (done and self._started):
                raise StreamError(
                    "the container's stream ended without a finish reason: the answer was cut",
                    request_id=self._request_id,
                )
            yield from self._stop("tool_use" if self._calls else "end_turn")
        if not self._ended:
            yield self._metadata()

    def _metadata(self) -> Metadata:
        self._ended = True
        return Metadata(usage=decode_usage(self._usage), warnings=self._warnings)

    def _choose(self, choice: JsonObject) -> Iterator[StreamEvent]:
        if not self._started:
            self._started = True
            yield MessageStart("assistant")
        delta = optional(choice, "delta", dict) or optional(choice, "message", dict) or {}
        if thinking := thinking_text(delta):
            yield from self._grow("thinking", ReasoningDelta(text=thinking))
        if text := optional(delta, "content", str):
            yield from self._grow("text", TextDelta(text))
        for position, call in enumerate(tool_calls(delta)):
            yield from self._grow_call(call, position)
        _check_finish(choice)
        if reason := _decode_stop_reason(choice, has_tools=bool(self._calls)):
            yield from self._stop(reason)

    def _grow(self, kind: str, delta: BlockDelta) -> Iterator[StreamEvent]:
        if self._open is None or self._open[0] != kind:
            yield from self._close_open()
            self._open = (kind, self._claim_block())
        yield ContentBlockDelta(self._open[1], delta)

    def _grow_call(self, wire: JsonObject, position: int) -> Iterator[StreamEvent]:
        function = optional(wire, "function", dict) or {}
        name, arguments = optional(function, "name", str) or "", arguments_text(function)
        call = self._call(wire, position, name)
        call.name = call.name or name
        call.held += arguments
        if call.block is None and call.name:
            yield from self._close_open()
            call.block = self._claim_block()
            yield ContentBlockStart(call.block, ToolUseStart(call.id, call.name))
        if call.block is not None and call.held:
            yield ContentBlockDelta(call.block, ToolUseDelta(call.held))
            call.held = ""

    def _call(self, wire: JsonObject, position: int, name: str) -> _Call:
        """The call that a piece belongs to. A known index is another call where both a name and a new id come with it:
        some servers number every call 0, others repeat the name or make up an id for every piece."""
        index = optional(wire, "index", int)
        index = position if index is None else index
        call, given = self._calls.get(index), wire.get("id")
        if call is None or (name and given and str(given) != call.id and call.name):
            if call is not None:
                self._calls[-len(self._calls)] = call
            call = self._calls[index] = _Call(tool_call_id(wire, len(self._calls)))
        return call

    def _claim_block(self) -> int:
        self._next_block += 1
        return self._next_block - 1

    def _close_open(self) -> Iterator[StreamEvent]:
        if self._open is not None:
            yield ContentBlockStop(self._open[1])
            self._open = None

    def _stop(self, reason: str) -> Iterator[StreamEvent]:
        if any(call.block is None for call in self._calls.values()):
            raise StreamError("the container's tool call has no name", request_id=self._request_id)
        yield from self._close_open()
        for block in sorted(call.block for call in self._calls.values() if call.block is not None):
            yield ContentBlockStop(block)
        self._stopped = True
        yield MessageStop(reason)


class ChunkEncoder:
    """Events of one message to chunks. ``created`` is in seconds since 1970."""

    def __init__(self, *, id: str, created: int, model: str, include_usage: bool = False) -> None:
        self._head = {"id": id, "object": "chat.completion.chunk", "created": created, "model": model}
        self._include_usage = include_usage
        self._calls: dict[int, int] = {}  # a tool use's block to the number of its call

    def push(self, event: StreamEvent) -> list[JsonObject]:
        """The chunks of one event: one, or none where the format has nothing to say. Raises ``UnsupportedError`` for
        blocks it cannot hold."""
        match event:
            case MessageStart():
                return [self._chunk({"role": "assistant", "content": ""})]
            case ContentBlockStart(index, ToolUseStart(id, name)):
                number = self._calls[index] = len(self._calls)
                return [self._chunk({"tool_calls": [{"index": number, **encode_tool_call(id, name, "")}]})]
            case ContentBlockStart(_, start):
                raise UnsupportedError(f"a stream in the OpenAI format cannot hold {type(start).__name__}")
            case ContentBlockDelta(index, delta):
                return self._delta(index, delta)
            case MessageStop(reason, extra):
                return [self._chunk({}, _encode_stop_reason(reason, extra))]
            case Metadata(usage):
                return [{**self._head, "choices": [], "usage": encode_usage(usage)}] if self._include_usage else []
            case ContentBlockStop() | Unknown():
                return []
            case _:
                assert_never(event)

    def _delta(self, index: int, delta: BlockDelta) -> list[JsonObject]:
        match delta:
            case TextDelta(text):
                return [self._chunk({"content": text})]
            case ReasoningDelta(text=text):
                return [self._chunk({"reasoning_content": text})] if text else []
            case ToolUseDelta(input):
                return [self._chunk({"tool_calls": [{"index": self._calls[index], "function": {"arguments": input}}]})]
            case _:  # citations and whatever is newer stand beside the text
                return []

    def _chunk(self, delta: JsonObject, end: JsonObject | None = None) -> JsonObject:
        return {**self._head, "choices": [{"index": 0, "delta": delta, **(end or {"finish_reason": None})}]}


# --- embeddings ------------------------------------------------------------------------------------------------------

_EMBED_MEMBERS = frozenset(("model", "input", "dimensions"))
_INPUT_TYPE = "input_type: the format does not tell queries from documents; put the model's own prefix into the texts"


def encode_embed_request(request: EmbedRequest) -> JsonObject:
    members = {"model": "", "input": list(request.texts), "dimensions": request.dimensions}
    return without_none(members, request.extra)


def embed_warnings(request: EmbedRequest) -> tuple[str, ...]:
    """What the format cannot honour of this request."""
    return (
        *(() if request.normalize is None else ("normalize: the container decides whether vectors are normalised",)),
        *(() if request.input_type is None else (_INPUT_TYPE,)),
    )


def decode_embed_request(model: str, wire: JsonObject) -> EmbedRequest:
    """Raises ``ValidationError`` for what is malformed. ``encoding_format`` is in ``extra``."""
    single = wire.get("input")
    texts = (single,) if isinstance(single, str) else strings(wire, "input")
    if not texts or not all(texts):
        raise MalformedError("must be a text or a list of texts that are not empty", "input")
    extra = {name: value for name, value in wire.items() if name not in _EMBED_MEMBERS and value is not None}
    return EmbedRequest(model=model, texts=texts, dimensions=optional(wire, "dimensions", int), extra=extra or None)


def decode_embed_response(wire: JsonObject, request: EmbedRequest, *, request_id: str | None = None) -> EmbedResponse:
    """Vectors in the order of the texts. Raises ``ServerError`` for a reply in another format."""
    if error := find_error(wire, request_id=request_id):
        raise error
    try:
        items = structures(wire, "data", lambda item: item)
        ordered = sorted(items, key=lambda item: required(item, "index", int)) if len(items) > 1 else list(items)
        vectors = [_decode_vector(item) for item in ordered]
        usage = decode_usage(optional(wire, "usage", dict))
    except MalformedError as cause:
        raise ServerError(f"not OpenAI-style embeddings: {cause.message}", request_id=request_id) from cause
    if len(vectors) != len(request.texts):
        message = f"the container gave {len(vectors)} OpenAI-style embeddings for {len(request.texts)} texts"
        raise ServerError(message, request_id=request_id)
    warnings = embed_warnings(request)
    return EmbedResponse(
        vectors=vectors, usage=usage, model=request.model, request_id=request_id, warnings=warnings, raw=wire
    )


def _decode_vector(item: JsonObject) -> list[float]:
    """A list of numbers, or (``encoding_format`` base64) little-endian 32-bit floats."""
    vector = item.get("embedding")
    if isinstance(vector, list):
        return vector
    try:
        data = binascii.a2b_base64(vector or "", strict_mode=True)
        return list(struct.unpack(f"<{len(data) // 4}f", data))
    except (TypeError, ValueError, struct.error) as cause:
        raise MalformedError("must be numbers or base64", "embedding") from cause


def encode_embed_response(response: EmbedResponse, *, model: str, encoding_format: str = "float") -> JsonObject:
    """``encoding_format`` is float or base64."""
    data = [
        {"object": "embedding", "index": index, "embedding": _encode_vector(vector, encoding_format)}
        for index, vector in enumerate(response.vectors)
    ]
    tokens = response.usage.input_tokens
    usage = None if tokens is None else {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": model, "usage": usage}


def _encode_vector(vector: list[float], encoding_format: str) -> JsonValue:
    return b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode() if encoding_format == "base64" else vector


# --- errors ----------------------------------------------------------------------------------------------------------

_ERRORS: tuple[tuple[type[AwsllmError], int, str, str | None], ...] = (  # the first class that fits
    (ContextWindowError, 400, "invalid_request_error", "context_length_exceeded"),
    (AccessDeniedError, 403, "permission_error", None),
    (ModelNotFoundError, 404, "not_found_error", "model_not_found"),
    (RequestError, 400, "invalid_request_error", None),
    (ThrottlingError, 429, "rate_limit_error", None),
    (ModelNotReadyError, 503, "server_error", "model_not_ready"),
    (ModelTimeoutError, 504, "server_error", "timeout"),
    (AwsllmError, 500, "server_error", None),
)


def encode_error(error: AwsllmError) -> tuple[int, JsonObject]:
    """Status and body."""
    _, status, kind, code = next(row for row in _ERRORS if isinstance(error, row[0]))
    return status, {"error": {"message": error.message, "type": kind, "param": None, "code": code or status}}
