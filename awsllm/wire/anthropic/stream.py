"""Replies of the Messages API as a stream of events, both ways.

    message_start, then for each block: content_block_start, content_block_delta …, content_block_stop;
    message_delta with the stop reason and the usage, message_stop. ``ping`` may stand anywhere, ``error`` ends it all.

Blocks begin as they would be written whole, empty where deltas follow. What a tool of the service gave, and redacted
thinking, come whole with their start. Counts of ``message_delta`` are cumulative and stand for those of
``message_start``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import assert_never

import msgspec

from awsllm.errors import AwsllmError, StreamError, UnsupportedError
from awsllm.types import (
    BlockDelta,
    BlockStart,
    CitationDelta,
    Citations,
    ContentBlock,
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    ImageDelta,
    ImageStart,
    JsonObject,
    JsonValue,
    MessageStart,
    MessageStop,
    Metadata,
    Reasoning,
    ReasoningDelta,
    StreamEvent,
    Text,
    TextDelta,
    ToolResult,
    ToolResultContent,
    ToolResultDelta,
    ToolResultStart,
    ToolUse,
    ToolUseDelta,
    ToolUseStart,
    Unknown,
    Usage,
)
from awsllm.wire.anthropic.blocks import decode_block, encode_block
from awsllm.wire.anthropic.citations import decode_citation, encode_citation
from awsllm.wire.anthropic.errors import encode_error
from awsllm.wire.anthropic.response import encode_stop_reason, encode_usage, readable_usage
from awsllm.wire.body import Context
from awsllm.wire.framing import encode_named_sse
from awsllm.wire.reading import MalformedError, optional, required, structure, unknown_members
from awsllm.wire.server_errors import find_error

# --- the API's events to neutral ones --------------------------------------------------------------------------------


class MessageDecoder:
    """The API's events of one message to neutral ones. A server that does not stream answers with one whole message:
    that is read, too."""

    def __init__(self, context: Context) -> None:
        self._warnings = context.warnings
        self._request_id = context.request_id
        self._usage: JsonObject = {}
        self._extra: JsonObject = {}
        self._arguments: dict[int, JsonValue] = {}  # of tool uses that came whole, unless pieces follow
        self._stop_reason: str | None = None
        self._ended = False

    def push(self, chunk: JsonValue) -> Iterator[StreamEvent]:
        """Raises the server's error if the event is one."""
        if error := find_error(chunk, request_id=self._request_id):
            raise error
        try:
            yield from self._push(chunk if isinstance(chunk, dict) else {})
        except MalformedError as cause:
            raise StreamError(f"an event cannot be read: {cause.message}", request_id=self._request_id) from cause

    def grown(self, data: bytes) -> ContentBlockDelta | None:
        """The short way of ``ChunkDecoder``. It takes exactly the members that it knows: whatever says more, or makes
        no sense, is ``push``'s."""
        try:
            growth = _GROWTH.decode(data)
        except (ValueError, RecursionError):
            return None
        delta: BlockDelta
        match growth.delta:
            case _TextGrowth(text):
                delta = TextDelta(text)
            case _ThinkingGrowth(thinking):
                delta = ReasoningDelta(text=thinking)
            case _ArgumentsGrowth(partial_json):
                if not partial_json:
                    return None
                delta = ToolUseDelta(partial_json)
        if self._arguments:
            self._arguments.pop(growth.index, None)
        return ContentBlockDelta(growth.index, delta)

    def finish(self, *, done: bool = False) -> Iterator[StreamEvent]:
        """The events left where the message was whole but for ``message_stop``. Raises ``StreamError`` where the
        answer was cut."""
        if self._stop_reason is None:
            raise StreamError("the stream ended without a stop reason: the answer was cut", request_id=self._request_id)
        yield from self._stop()

    def _push(self, chunk: JsonObject) -> Iterator[StreamEvent]:
        match chunk.get("type"):
            case "content_block_delta":
                yield from self._grow(required(chunk, "index", int), required(chunk, "delta", dict))
            case "content_block_start":
                yield from self._open(required(chunk, "index", int), required(chunk, "content_block", dict))
            case "content_block_stop":
                yield from self._close(required(chunk, "index", int))
            case "message_start":
                yield from structure(chunk, "message", self._begin)
            case "message_delta":
                self._end(chunk)
            case "message_stop":
                yield from self.finish()
            case "message":
                yield from self._whole(chunk)
            case _:  # ping, and what is newer than this version: nothing of it is the answer's
                pass

    def _begin(self, message: JsonObject) -> tuple[MessageStart]:
        self._usage = optional(message, "usage", dict) or {}
        self._extra = unknown_members(message, _MESSAGE_MEMBERS) or {}
        return (MessageStart(optional(message, "role", str) or "assistant", self._request_id),)

    def _open(self, index: int, wire: JsonObject) -> Iterator[StreamEvent]:
        block = decode_block(wire)
        if start := _start_of(block, wire):
            yield ContentBlockStart(index, start)
        for delta in _deltas_of(block):
            yield ContentBlockDelta(index, delta)
        if isinstance(block, ToolUse) and block.input:
            self._arguments[index] = block.input

    def _grow(self, index: int, wire: JsonObject) -> Iterator[StreamEvent]:
        kind = required(wire, "type", str)
        decode = _DELTAS.get(kind)
        delta = Unknown(kind, wire) if decode is None else decode(wire)
        if delta is not None:
            self._arguments.pop(index, None)
            yield ContentBlockDelta(index, delta)

    def _close(self, index: int) -> Iterator[StreamEvent]:
        if arguments := self._arguments.pop(index, None):
            yield ContentBlockDelta(index, ToolUseDelta(msgspec.json.encode(arguments).decode()))
        yield ContentBlockStop(index)

    def _end(self, chunk: JsonObject) -> None:
        delta = optional(chunk, "delta", dict) or {}
        self._stop_reason = optional(delta, "stop_reason", str) or self._stop_reason
        counts = optional(chunk, "usage", dict) or {}
        self._usage = {**self._usage, **{name: count for name, count in counts.items() if count is not None}}
        self._extra |= unknown_members(chunk, _DELTA_EVENT_MEMBERS) or {}
        self._extra |= unknown_members(delta, _DELTA_MEMBERS) or {}

    def _stop(self) -> Iterator[StreamEvent]:
        if self._ended:
            return
        self._ended = True
        yield MessageStop(self._stop_reason or "", self._extra or None)
        warnings: list[str] = []
        usage = readable_usage(self._usage, warnings)
        yield Metadata(usage=usage, warnings=(*self._warnings, *warnings))

    def _whole(self, message: JsonObject) -> Iterator[StreamEvent]:
        yield from self._begin(message)
        for index, block in enumerate(required(message, "content", list)):
            if not isinstance(block, dict):
                raise MalformedError("must be an object", f"content.{index}")
            yield from self._open(index, block)
            yield from self._close(index)
        self._stop_reason = optional(message, "stop_reason", str)
        yield from self.finish()


def _start_of(block: ContentBlock, wire: JsonObject) -> BlockStart | None:
    match block:
        case ToolUse():
            return ToolUseStart(block.id, block.name, block.type, block.extra)
        case ToolResult():
            return ToolResultStart(block.tool_use_id, block.type, block.status, block.extra)
        case Text() | Citations() | Reasoning():
            return None
        case _:
            return Unknown(wire["type"], wire)


def _deltas_of(block: ContentBlock) -> Iterator[BlockDelta]:
    """What a block's start says already; arguments wait, since pieces of them may follow."""
    match block:
        case Text(text):
            if text:
                yield TextDelta(text)
        case Citations(content, citations):
            yield from (TextDelta(item.text) for item in content if isinstance(item, Text))
            yield from map(CitationDelta, citations)
        case Reasoning(text, signature, redacted):
            if redacted is not None:
                yield ReasoningDelta(redacted=redacted)
            if text:
                yield ReasoningDelta(text=text)
            if signature:
                yield ReasoningDelta(signature=signature)
        case ToolResult(content=content):
            yield ToolResultDelta(content)
        case _:
            pass


def _decode_arguments(wire: JsonObject) -> ToolUseDelta | None:
    piece = required(wire, "partial_json", str)
    return ToolUseDelta(piece) if piece else None


_DELTAS: Mapping[str, Callable[[JsonObject], BlockDelta | None]] = {
    "text_delta": lambda wire: TextDelta(required(wire, "text", str)),
    "input_json_delta": _decode_arguments,
    "thinking_delta": lambda wire: ReasoningDelta(text=required(wire, "thinking", str)),
    "signature_delta": lambda wire: ReasoningDelta(signature=required(wire, "signature", str)),
    "citations_delta": lambda wire: CitationDelta(structure(wire, "citation", decode_citation)),
}


class _TextGrowth(msgspec.Struct, tag_field="type", tag="text_delta", forbid_unknown_fields=True):
    text: str


class _ThinkingGrowth(msgspec.Struct, tag_field="type", tag="thinking_delta", forbid_unknown_fields=True):
    thinking: str


class _ArgumentsGrowth(msgspec.Struct, tag_field="type", tag="input_json_delta", forbid_unknown_fields=True):
    partial_json: str


class _Growth(msgspec.Struct, tag_field="type", tag="content_block_delta", forbid_unknown_fields=True):
    """The chunk that nearly all chunks are, read without a dict between."""

    index: int
    delta: _TextGrowth | _ThinkingGrowth | _ArgumentsGrowth


_GROWTH = msgspec.json.Decoder(_Growth)
_MESSAGE_MEMBERS = frozenset({"id", "type", "role", "model", "content", "stop_reason", "usage"})
_DELTA_EVENT_MEMBERS = frozenset({"type", "delta", "usage"})
_DELTA_MEMBERS = frozenset({"stop_reason"})


# --- neutral events to the API's -------------------------------------------------------------------------------------


class _Block:
    """A block under way: its number on the wire, its kind, and what is held back of one that has to come whole."""

    def __init__(self, number: int, kind: str, held: Reasoning | ToolResult | None = None) -> None:
        self.number = number
        self.kind = kind
        self.held = held


class MessageEncoder:
    """Neutral events of one message to the API's.

    The API tells the counts of a message before it ends, neutral events after: its end waits for them. Text and
    thinking have no start among neutral events, so a block starts where a delta is of another kind than its block.
    """

    def __init__(self, *, id: str, model: str) -> None:
        self._id = id
        self._model = model
        self._open: dict[int, _Block] = {}  # by the neutral index
        self._next = 0
        self._stop: MessageStop | None = None
        self._ended = False
        self.input_tokens: int | None = None
        """Of the request, as ``message_start`` tells it; None: not known yet, and 0 there."""

    def push(self, event: StreamEvent) -> list[JsonObject]:
        """Raises ``UnsupportedError`` for blocks that the format cannot hold."""
        match event:
            case ContentBlockDelta(index, delta):
                return self._delta(index, delta)
            case ContentBlockStart(index, start):
                return self._start(index, start)
            case ContentBlockStop(index):
                return self._close(index)
            case MessageStart():
                return [self._begin()]
            case MessageStop():
                self._stop = event
                return [wire for index in list(self._open) for wire in self._close(index)]
            case Metadata(usage):
                return self._end(usage)
            case Unknown():
                return []
            case _:
                assert_never(event)

    def finish(self) -> list[JsonObject]:
        """The end where no counts came. Raises ``StreamError`` where the events were cut."""
        if self._stop is None:
            raise StreamError("the model's stream ended before its message did")
        return [] if self._ended else self._end(Usage())

    def _begin(self) -> JsonObject:
        message: JsonObject = {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": encode_usage(Usage(input_tokens=self.input_tokens)),
        }
        return {"type": "message_start", "message": message}

    def _end(self, usage: Usage) -> list[JsonObject]:
        if self._stop is None or self._ended:
            return []
        self._ended = True
        extra = self._stop.extra if isinstance(self._stop.extra, dict) else {}
        delta = {"stop_reason": encode_stop_reason(self._stop.stop_reason), "stop_sequence": None, **extra}
        return [
            {"type": "message_delta", "delta": delta, "usage": encode_usage(usage)},
            {"type": "message_stop"},
        ]

    def _start(self, index: int, start: BlockStart) -> list[JsonObject]:
        match start:
            case ToolUseStart(id, name, type, extra):
                return self._begin_block(index, "tool_use", ToolUse(id, name, {}, type, extra=extra))
            case ToolResultStart(tool_use_id, type, status, extra):
                before = self._close(index)
                held = ToolResult(tool_use_id, (), status, type, extra=extra)
                self._open[index] = _Block(self._claim(), "tool_result", held)
                return before
            case ImageStart() | Unknown():
                raise UnsupportedError(f"an answer in the Anthropic Messages format cannot hold {_title(start)}")
            case _:
                assert_never(start)

    def _delta(self, index: int, delta: BlockDelta) -> list[JsonObject]:
        match delta:
            case TextDelta(text):
                return self._grow(index, "text", {"type": "text_delta", "text": text})
            case ToolUseDelta(input):
                return self._grow(index, "tool_use", {"type": "input_json_delta", "partial_json": input})
            case ReasoningDelta():
                return self._grow_reasoning(index, delta)
            case CitationDelta(citation):
                wire = encode_citation(citation)
                return self._grow(index, "text", {"type": "citations_delta", "citation": wire}) if wire else []
            case ToolResultDelta(content):
                self._hold(index, content)
                return []
            case ImageDelta() | Unknown():
                raise UnsupportedError(f"an answer in the Anthropic Messages format cannot hold {_title(delta)}")
            case _:
                assert_never(delta)

    def _grow_reasoning(self, index: int, delta: ReasoningDelta) -> list[JsonObject]:
        if delta.redacted is not None:
            return self._hold_redacted(index, delta.redacted)
        events: list[JsonObject] = []
        if delta.text is not None:
            events += self._grow(index, "thinking", {"type": "thinking_delta", "thinking": delta.text})
        if delta.signature is not None:
            events += self._grow(index, "thinking", {"type": "signature_delta", "signature": delta.signature})
        return events

    def _grow(self, index: int, kind: str, delta: JsonObject) -> list[JsonObject]:
        block, events = self._open.get(index), []
        if block is None or block.kind != kind:
            events = self._begin_block(index, kind, _NEW[kind])
            block = self._open[index]
        events.append({"type": "content_block_delta", "index": block.number, "delta": delta})
        return events

    def _hold(self, index: int, content: tuple[ToolResultContent, ...]) -> None:
        block = self._open.get(index)
        if block is None or not isinstance(block.held, ToolResult):
            raise StreamError("a tool result in the stream has no start")
        block.held = msgspec.structs.replace(block.held, content=block.held.content + content)

    def _hold_redacted(self, index: int, data: bytes) -> list[JsonObject]:
        block = self._open.get(index)
        if block is not None and isinstance(block.held, Reasoning):
            block.held = Reasoning(redacted=(block.held.redacted or b"") + data)
            return []
        events = self._close(index)
        self._open[index] = _Block(self._claim(), "redacted_thinking", Reasoning(redacted=data))
        return events

    def _begin_block(self, index: int, kind: str, block: ContentBlock | JsonObject) -> list[JsonObject]:
        events = self._close(index)
        opened = self._open[index] = _Block(self._claim(), kind)
        return [*events, _started(opened.number, block if isinstance(block, dict) else encode_block(block))]

    def _close(self, index: int) -> list[JsonObject]:
        block = self._open.pop(index, None)
        if block is None:
            return []
        stop = {"type": "content_block_stop", "index": block.number}
        return [stop] if block.held is None else [_started(block.number, encode_block(block.held)), stop]

    def _claim(self) -> int:
        self._next += 1
        return self._next - 1


def _started(number: int, block: JsonObject | None) -> JsonObject:
    return {"type": "content_block_start", "index": number, "content_block": block}


def _title(value: BlockStart | BlockDelta) -> str:
    return f"a part of the kind {value.tag!r}" if isinstance(value, Unknown) else "an image"


_NEW: Mapping[str, ContentBlock | JsonObject] = {
    "text": Text(""),
    "tool_use": ToolUse("", "", {}),
    "thinking": {"type": "thinking", "thinking": "", "signature": ""},
}


class FramedMessage:
    """Neutral events of one message to the bytes of a stream of server-sent events, each named by its type."""

    def __init__(self, *, id: str, model: str) -> None:
        self._events = MessageEncoder(id=id, model=model)

    def counted(self, tokens: int) -> None:
        """Know how many tokens the request has. Comes before the first event."""
        self._events.input_tokens = tokens

    def event(self, event: StreamEvent) -> bytes:
        return b"".join(map(encode_named_sse, self._events.push(event)))

    def end(self) -> bytes:
        return b"".join(map(encode_named_sse, self._events.finish()))

    def failure(self, error: AwsllmError) -> bytes:
        return encode_named_sse(encode_error(error)[1])
