"""Events of the Responses API to events.

An event names the item it belongs to, and in a message the part. Each part of a message, each call and each thought is
a block; blocks are numbered as they appear. What says the same thing again (``….done``, the whole response at the end)
is read only where the pieces did not come. A thought's signature, and what the service made by itself, are known once
their item is done.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TypeAlias

import msgspec

from awsllm.errors import StreamError
from awsllm.types import (
    SERVER_TOOL_USE,
    BlockDelta,
    CitationDelta,
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    JsonObject,
    JsonValue,
    MessageStart,
    MessageStop,
    Metadata,
    ReasoningDelta,
    ServiceTier,
    StreamEvent,
    TextDelta,
    ToolUseDelta,
    ToolUseStart,
)
from awsllm.wire.body import Context
from awsllm.wire.converse.foreign import CUSTOM
from awsllm.wire.openai.responses.errors import decode_failure
from awsllm.wire.openai.responses.items import (
    call_extra,
    decode_annotation,
    decode_reasoning,
)
from awsllm.wire.openai.responses.response import (
    check_status,
    decode_stop_reason,
    decode_usage,
    kept_id,
)
from awsllm.wire.reading import MalformedError, objects, optional, required
from awsllm.wire.server_errors import find_error

_Read: TypeAlias = Callable[["ResponseDecoder", JsonObject], Iterator[StreamEvent]]
_CALLS = ("function_call", CUSTOM)
_BETWEEN_THOUGHTS = "\n\n"


class _Open(msgspec.Struct):
    """A block that grows. ``told``: some of it has been; ``cited``: some of its citations; ``part`` is the part of a
    thought that it is at."""

    number: int
    told: bool = False
    cited: bool = False
    part: int = 0


class ResponseDecoder:
    """The events of one response, each pushed as the JSON object that it is."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._request_id = context.request_id
        self._next = 0
        self._open: dict[tuple[int, int], _Open] = {}  # by item and part, in the order of their numbers
        self._done: set[int] = set()  # items that are whole
        self._calls = self._started = self._ended = False

    def push(self, chunk: JsonValue) -> Iterator[StreamEvent]:
        """The events of one event. Raises the error that it reports."""
        if not isinstance(chunk, dict):
            return
        try:
            yield from self._push(chunk)
        except MalformedError as cause:
            raise StreamError(f"an event cannot be read: {cause.message}", request_id=self._request_id) from cause

    def _push(self, chunk: JsonObject) -> Iterator[StreamEvent]:
        kind = chunk.get("type")
        read = _EVENTS.get(kind) if isinstance(kind, str) else None
        if read is not None:
            yield from read(self, chunk)
        elif kind == "error":
            nested = chunk.get("error")
            raise decode_failure(nested if isinstance(nested, dict) else chunk, self._request_id)
        elif chunk.get("object") == "response":  # a server that does not stream
            yield from self._completed({"response": chunk})
        elif error := find_error(chunk, request_id=self._request_id):
            raise error

    def finish(self, *, done: bool = False) -> Iterator[StreamEvent]:
        """``done`` says nothing here: a stream is whole when its response has come to an end."""
        if not self._ended:
            raise StreamError(
                "the stream ended before its response did: the answer was cut", request_id=self._request_id
            )
        return iter(())

    # --- beginning and end -------------------------------------------------------------------------------------------

    def _begin(self) -> Iterator[StreamEvent]:
        if not self._started:
            self._started = True
            yield MessageStart("assistant", self._request_id)

    def _created(self, chunk: JsonObject) -> Iterator[StreamEvent]:
        return self._begin()

    def _failed(self, chunk: JsonObject) -> Iterator[StreamEvent]:
        check_status({"status": "failed", **required(chunk, "response", dict)}, self._context)
        return iter(())

    def _completed(self, chunk: JsonObject) -> Iterator[StreamEvent]:
        response = required(chunk, "response", dict)
        check_status(response, self._context)
        yield from self._begin()
        for index, item in enumerate(objects(response, "output")):
            if index not in self._done:  # told of at the end alone, or cut
                yield from self._item_done({"output_index": index, "item": item})
        yield from self._close(*sorted(self._open))
        yield MessageStop(decode_stop_reason(response, calls=self._calls), kept_id(response, self._context))
        tier = optional(response, "service_tier", str)
        usage = decode_usage(optional(response, "usage", dict))
        warnings = self._context.warnings
        yield Metadata(usage, service_tier=ServiceTier(tier) if tier else None, warnings=warnings)
        self._ended = True

    # --- items -------------------------------------------------------------------------------------------------------

    def _item_added(self, chunk: JsonObject) -> Iterator[StreamEvent]:
        """A call has its name from the start."""
        item = required(chunk, "item", dict)
        if item.get("type") in _CALLS:
            yield from self._begin_call(required(chunk, "output_index", int), item)

    def _begin_call(self, index: int, item: JsonObject) -> Iterator[StreamEvent]:
        self._calls = True
        kind = CUSTOM if item.get("type") == CUSTOM else None
        block = self._block(index)
        start = ToolUseStart(required(item, "call_id", str), required(item, "name", str), kind, call_extra(item))
        yield from self._begin()
        yield ContentBlockStart(block.number, start)

    def _item_done(self, chunk: JsonObject) -> Iterator[StreamEvent]:
        index, item = required(chunk, "output_index", int), required(chunk, "item", dict)
        yield from self._begin()
        match item.get("type"):
            case "message":
                for number, part in enumerate(objects(item, "content")):
                    yield from self._part_done({"output_index": index, "content_index": number, "part": part})
            case "reasoning":
                yield from self._thought_done(index, item)
            case "function_call":
                yield from self._arguments_done({"output_index": index, **item}, item)
            case "custom_tool_call":
                yield from self._input_done({"output_index": index, **item}, item)
            case kind:
                block = self._block(index)
                start = ToolUseStart(str(item.get("id") or ""), str(kind or ""), SERVER_TOOL_USE)
                yield ContentBlockStart(block.number, start)
                yield ContentBlockDelta(block.number, ToolUseDelta(msgspec.json.encode(item).decode()))
        self._done.add(index)
        yield from self._close(*sorted(key for key in self._open if key[0] == index))

    def _block(self, index: int, part: int = 0) -> _Open:
        block = self._open.get((index, part))
        if block is None:
            block = self._open[index, part] = _Open(self._next)
            self._next += 1
        return block

    def _close(self, *keys: tuple[int, int]) -> Iterator[StreamEvent]:
        for key in keys:
            yield ContentBlockStop(self._open.pop(key).number)

    def _grow(self, key: tuple[int, int], text: str, delta: Callable[[str], BlockDelta]) -> Iterator[StreamEvent]:
        if text:
            block = self._block(*key)
            block.told = True
            yield from self._begin()
            yield ContentBlockDelta(block.number, delta(text))

    # --- messages ----------------------------------------------------------------------------------------------------

    def _text(self, chunk: JsonObject) -> Iterator[StreamEvent]:
        return self._grow(_place(chunk), required(chunk, "delta", str), TextDelta)

    def _annotation(self, chunk: JsonObject) -> Iterator[StreamEvent]:
        annotation = optional(chunk, "annotation", dict)
        if annotation:
            block = self._block(*_place(chunk))
            block.cited = True
            yield from self._begin()
            yield ContentBlockDelta(block.number, CitationDelta(decode_annotation(annotation)))

    def _part_done(self, chunk: JsonObject) -> Iterator[StreamEvent]:
        """What the pieces did not tell of a part."""
        key, part = _place(chunk), optional(chunk, "part", dict) or {}
        if key not in self._open:
            yield from self._grow(key, optional(part, "text", str) or optional(part, "refusal", str) or "", TextDelta)
        if key not in self._open or not self._open[key].cited:
            for annotation in objects(part, "annotations"):
                yield from self._annotation({**chunk, "annotation": annotation})

    # --- thinking ----------------------------------------------------------------------------------------------------

    def _thought(self, chunk: JsonObject) -> Iterator[StreamEvent]:
        part = optional(chunk, "summary_index", int)
        part = optional(chunk, "content_index", int) if part is None else part
        block = self._block(required(chunk, "output_index", int))
        text = required(chunk, "delta", str)
        if part is not None and part != block.part:
            block.part, text = part, _BETWEEN_THOUGHTS + text
        return self._grow((required(chunk, "output_index", int), 0), text, _words)

    def _thought_done(self, index: int, item: JsonObject) -> Iterator[StreamEvent]:
        """The signature, and the words if they did not come in pieces."""
        whole, block = decode_reasoning(item), self._block(index)
        if not block.told:
            yield from self._grow((index, 0), whole.text, _words)
        yield ContentBlockDelta(block.number, ReasoningDelta(signature=whole.signature))

    # --- calls -------------------------------------------------------------------------------------------------------

    def _arguments(self, chunk: JsonObject) -> Iterator[StreamEvent]:
        return self._grow(_place(chunk), required(chunk, "delta", str), ToolUseDelta)

    def _arguments_done(self, chunk: JsonObject, item: JsonObject | None = None) -> Iterator[StreamEvent]:
        key = (required(chunk, "output_index", int), 0)
        if key not in self._open and item is not None:
            yield from self._begin_call(key[0], item)
        if key in self._open and not self._open[key].told:
            yield from self._grow(key, optional(chunk, "arguments", str) or "", ToolUseDelta)

    def _input(self, chunk: JsonObject) -> Iterator[StreamEvent]:
        """A text, within the JSON that the arguments are here."""
        key, piece = _place(chunk), _escaped(required(chunk, "delta", str))
        return self._grow(key, piece if self._block(*key).told else f'{{"input":"{piece}', ToolUseDelta)

    def _input_done(self, chunk: JsonObject, item: JsonObject) -> Iterator[StreamEvent]:
        key = (required(chunk, "output_index", int), 0)
        if key not in self._open:
            yield from self._begin_call(key[0], item)
        if not self._open[key].told:
            yield from self._grow(key, '{"input":"' + _escaped(required(chunk, "input", str)), ToolUseDelta)
        yield from self._grow(key, '"}', ToolUseDelta)


def _place(chunk: JsonObject) -> tuple[int, int]:
    return required(chunk, "output_index", int), optional(chunk, "content_index", int) or 0


def _words(text: str) -> ReasoningDelta:
    return ReasoningDelta(text=text)


def _escaped(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


_EVENTS: dict[str, _Read] = {
    "response.created": ResponseDecoder._created,
    "response.in_progress": ResponseDecoder._created,
    "response.completed": ResponseDecoder._completed,
    "response.incomplete": ResponseDecoder._completed,
    "response.failed": ResponseDecoder._failed,
    "response.output_item.added": ResponseDecoder._item_added,
    "response.output_item.done": ResponseDecoder._item_done,
    "response.output_text.delta": ResponseDecoder._text,
    "response.refusal.delta": ResponseDecoder._text,
    "response.output_text.annotation.added": ResponseDecoder._annotation,
    "response.reasoning_summary_text.delta": ResponseDecoder._thought,
    "response.reasoning_text.delta": ResponseDecoder._thought,
    "response.function_call_arguments.delta": ResponseDecoder._arguments,
    "response.function_call_arguments.done": ResponseDecoder._arguments_done,
    "response.custom_tool_call_input.delta": ResponseDecoder._input,
}
"""Events that say something new. All others (``response.queued``, the progress of a web search …) say that something
goes on, or say it again."""
