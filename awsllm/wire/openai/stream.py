"""The OpenAI Chat Completions format as a stream of chunks, both directions.

Chunks carry no block indices. ``CompletionDecoder`` gives them in the order in which thinking, text and tool calls
appear; text and thinking end when something else begins, tool calls when the message stops, since their pieces may
alternate. Early vLLM gives every piece of a tool call a new id, others the same index to every call: both are read.

Streams are server-sent events that end with ``[DONE]``, or (LMI) JSON lines without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

import msgspec

from awsllm.errors import AwsllmError, StreamError, UnsupportedError
from awsllm.types import (
    BlockDelta,
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    ConverseRequest,
    JsonObject,
    JsonValue,
    MessageStart,
    MessageStop,
    Metadata,
    ReasoningDelta,
    StreamEvent,
    TextDelta,
    ToolUseDelta,
    ToolUseStart,
    Unknown,
)
from awsllm.wire.body import Context
from awsllm.wire.framing import DONE, encode_line, encode_sse
from awsllm.wire.openai.errors import encode_error
from awsllm.wire.openai.request import arguments_text, encode_tool_call, thinking_text, tool_call_id, tool_calls
from awsllm.wire.openai.response import (
    check_finish,
    decode_stop_reason,
    decode_usage,
    encode_stop_reason,
    encode_usage,
)
from awsllm.wire.reading import MalformedError, objects, optional
from awsllm.wire.server_errors import find_error

# --- chunks to events ------------------------------------------------------------------------------------------------


class _Call(msgspec.Struct):
    """A tool call under way: its block, once its name is known, and the arguments that came before that."""

    id: str
    name: str = ""
    block: int | None = None
    held: str = ""


class CompletionDecoder:
    """Chunks of one chat completion to events.

    The last event, ``Metadata``, is given as soon as the usage is known. A server that tells none leaves it to
    ``finish``, at the end of the stream.
    """

    def __init__(self, context: Context) -> None:
        self._warnings = context.warnings
        self._request_id = context.request_id
        self._next_block = 0
        self._open: tuple[str, int] | None = None  # the text or thinking that grows, and its block
        self._calls: dict[int, _Call] = {}  # by index; one that gave way to another of its index, by a negative number
        self._usage: JsonObject | None = None
        self._started = self._stopped = self._ended = False

    def push(self, chunk: JsonValue) -> Iterator[StreamEvent]:
        """The events of one chunk. Raises the server's error if it is one. A server that does not stream answers with
        one whole completion: that is read, too."""
        if error := find_error(chunk, request_id=self._request_id):
            raise error
        try:
            yield from self._push(chunk if isinstance(chunk, dict) else {})
        except MalformedError as cause:
            raise StreamError(f"a chunk cannot be read: {cause.message}", request_id=self._request_id) from cause

    def _push(self, chunk: JsonObject) -> Iterator[StreamEvent]:
        if usage := optional(chunk, "usage", dict):
            self._usage = usage
        for choice in objects(chunk, "choices"):
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
                    "the stream ended without a finish reason: the answer was cut",
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
            yield MessageStart("assistant", self._request_id)
        delta = optional(choice, "delta", dict) or optional(choice, "message", dict) or {}
        if thinking := thinking_text(delta):
            yield from self._grow("thinking", ReasoningDelta(text=thinking))
        if text := optional(delta, "content", str):
            yield from self._grow("text", TextDelta(text))
        for position, call in enumerate(tool_calls(delta)):
            yield from self._grow_call(call, position)
        check_finish(choice)
        if reason := decode_stop_reason(choice, has_tools=bool(self._calls)):
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
            raise StreamError("a tool call in the stream has no name", request_id=self._request_id)
        yield from self._close_open()
        for block in sorted(call.block for call in self._calls.values() if call.block is not None):
            yield ContentBlockStop(block)
        self._stopped = True
        yield MessageStop(reason)


# --- events to chunks ------------------------------------------------------------------------------------------------


class CompletionEncoder:
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
                return [self._chunk({}, encode_stop_reason(reason, extra))]
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


class FramedCompletion:
    """Events of one message to the bytes of a stream, framed as the deployment's settings say. Usage is told only where
    ``stream_options`` of the request (kept in its ``extra``) asks for it."""

    def __init__(self, context: Context, *, id: str, created: int) -> None:
        self._is_sse = context.settings.framing == "sse"
        self._complete = False
        options = (context.request_as(ConverseRequest).extra or {}).get("stream_options") or {}
        self._chunks = CompletionEncoder(
            id=id, created=created, model=context.request.model, include_usage=options.get("include_usage") is True
        )

    def event(self, event: StreamEvent) -> bytes:
        self._complete = self._complete or isinstance(event, MessageStop)
        return b"".join(map(self._frame, self._chunks.push(event)))

    def end(self) -> bytes:
        if not self._complete:
            raise StreamError("the model's stream ended before its message did")
        return DONE if self._is_sse else b""

    def failure(self, error: AwsllmError) -> bytes:
        return self._frame(encode_error(error)[1])

    def _frame(self, chunk: JsonValue) -> bytes:
        return encode_sse(chunk) if self._is_sse else encode_line(chunk)
