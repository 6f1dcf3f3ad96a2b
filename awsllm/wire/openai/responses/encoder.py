"""Events to events of the Responses API, numbered from 0. Each block is an item of its own.

The API says everything twice: in pieces, and whole when it is done. So the pieces of each block are gathered, and the
response at the end, with its usage, is made of what they came to.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from awsllm.errors import AwsllmError, StreamError, UnsupportedError
from awsllm.types import (
    BlockDelta,
    Citation,
    CitationDelta,
    Citations,
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    JsonObject,
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
)
from awsllm.wire.body import Context
from awsllm.wire.framing import encode_named_sse
from awsllm.wire.openai.request import encode_arguments
from awsllm.wire.openai.responses.errors import encode_failure
from awsllm.wire.openai.responses.items import TITLE, encode_annotations, parsed_arguments
from awsllm.wire.openai.responses.response import encode_item, encode_status, encode_usage, head
from awsllm.wire.text.blocks import block_text

_UNDER_WAY = "in_progress"


class _Item:
    """An item under way: its place in the response, what its id ends in, and what came of it. ``start`` is a call's."""

    def __init__(self, place: int, id: str, kind: str, start: ToolUseStart | None = None) -> None:
        self.place, self.id, self.kind, self.start = place, id, kind, start
        self.pieces: list[str] = []
        self.citations: list[Citation] = []
        self.signature: str | None = None

    def take(self, delta: BlockDelta) -> None:
        match delta:
            case TextDelta(text) | ReasoningDelta(text=str(text)) | ToolUseDelta(text):
                self.pieces.append(text)
            case ReasoningDelta(signature=str(signature)):
                self.signature = (self.signature or "") + signature
            case CitationDelta(citation):
                self.citations.append(citation)
            case _:  # newer
                pass

    @property
    def block(self) -> Text | Citations | Reasoning | ToolUse:
        """What the pieces come to."""
        text, start = "".join(self.pieces), self.start
        if start is not None:
            return ToolUse(start.id, start.name, parsed_arguments(text), start.type, extra=start.extra)
        if self.kind == "reasoning":
            return Reasoning(text, self.signature)
        return Citations((Text(text),), tuple(self.citations)) if self.citations else Text(text)


class ResponseEncoder:
    """The events of one message to those of a response. ``created`` is in seconds since 1970."""

    def __init__(self, context: Context, *, id: str, created: int) -> None:
        self._id = id
        self._head = head(context, id=id, created=created)
        self._number = -1
        self._open: dict[int, _Item] = {}
        self._done: dict[int, JsonObject] = {}  # by place
        self._stop: MessageStop | None = None
        self._metadata = Metadata()

    def push(self, event: StreamEvent) -> Iterator[JsonObject]:
        """Raises ``UnsupportedError`` for blocks that the API cannot hold."""
        match event:
            case MessageStart():
                yield self._event("created", response=self._head)
                yield self._event(_UNDER_WAY, response=self._head)
            case ContentBlockStart(index):
                yield from self._start(index, event)
            case ContentBlockDelta(index):
                yield from self._grow(index, event)
            case ContentBlockStop(index):
                yield from self._close(index)
            case MessageStop():
                self._stop = event
            case Metadata():
                self._metadata = event
            case Unknown():
                pass
            case _:
                assert_never(event)

    def finish(self) -> Iterator[JsonObject]:
        """Raises ``StreamError`` if the message did not stop."""
        if self._stop is None:
            raise StreamError("the model's stream ended before its message did")
        for index in sorted(self._open):
            yield from self._close(index)
        status, details = encode_status(self._stop.stop_reason)
        members = {"status": status, "incomplete_details": details, "usage": encode_usage(self._metadata.usage)}
        yield self._event(status, response={**self._head, **members, "output": self._output()})

    def failure(self, error: AwsllmError) -> JsonObject:
        members = {"status": "failed", "error": encode_failure(error), "output": self._output()}
        return self._event("failed", response={**self._head, **members})

    def _output(self) -> list[JsonObject]:
        return [self._done[place] for place in sorted(self._done)]

    def _event(self, event: str, **members: object) -> JsonObject:
        self._number += 1
        return {"type": f"response.{event}", "sequence_number": self._number, **members}

    def _of(self, item: _Item, kind: str, event: str, **members: object) -> JsonObject:
        """An event that names an item; ``kind`` begins the item's id."""
        return self._event(event, item_id=f"{kind}_{item.id}", output_index=item.place, **members)

    # --- an item -----------------------------------------------------------------------------------------------------

    def _start(self, index: int, event: ContentBlockStart) -> Iterator[JsonObject]:
        if not isinstance(event.start, ToolUseStart):
            raise UnsupportedError(f"a stream of {TITLE} cannot hold {type(event.start).__name__}")
        yield from self._begin(index, "function_call", event.start)

    def _begin(self, index: int, kind: str, start: ToolUseStart | None = None) -> Iterator[JsonObject]:
        place = len(self._done) + len(self._open)
        item = self._open[index] = _Item(place, f"{self._id}_{place}", kind, start)
        if start is None or start.type is None:  # what the service runs is known when it is done
            wire = {**encode_item(item.block, item.id, _UNDER_WAY), **_EMPTY[kind]}
            yield self._event("output_item.added", output_index=place, item=wire)
        if kind == "message":
            yield self._of(item, "msg", "content_part.added", content_index=0, part=_part(""))
        elif kind == "reasoning":
            yield self._of(item, "rs", "reasoning_summary_part.added", summary_index=0, part=_thought(""))

    def _grow(self, index: int, event: ContentBlockDelta) -> Iterator[JsonObject]:
        delta = event.delta
        kind = "message" if isinstance(delta, TextDelta) else "reasoning" if isinstance(delta, ReasoningDelta) else None
        if index not in self._open:
            if kind is None:  # a citation before its text, an image, or what is newer
                return
            yield from self._begin(index, kind)
        item = self._open[index]
        item.take(delta)
        match delta:
            case TextDelta(text):
                yield self._of(item, "msg", "output_text.delta", content_index=0, delta=text, logprobs=[])
            case ReasoningDelta(text=str(text)):
                yield self._of(item, "rs", "reasoning_summary_text.delta", summary_index=0, delta=text)
            case ToolUseDelta(input) if item.start is not None and item.start.type is None:
                yield self._of(item, "fc", "function_call_arguments.delta", delta=input)
            case _:
                pass

    def _close(self, index: int) -> Iterator[JsonObject]:
        item = self._open.pop(index, None)
        if item is None:
            return
        block = item.block
        match block:
            case Text() | Citations():
                yield from self._close_message(item, block)
            case Reasoning(text=text):
                yield self._of(item, "rs", "reasoning_summary_text.done", summary_index=0, text=text)
                yield self._of(item, "rs", "reasoning_summary_part.done", summary_index=0, part=_thought(text))
            case ToolUse(_, name, input, None):
                arguments = encode_arguments(input)
                yield self._of(item, "fc", "function_call_arguments.done", name=name, arguments=arguments)
            case _:
                pass
        done = self._done[item.place] = encode_item(block, item.id)
        yield self._event("output_item.done", output_index=item.place, item=done)

    def _close_message(self, item: _Item, block: Text | Citations) -> Iterator[JsonObject]:
        annotations = encode_annotations(block) if isinstance(block, Citations) else []
        for number, annotation in enumerate(annotations):
            members = {"content_index": 0, "annotation_index": number, "annotation": annotation}
            yield self._of(item, "msg", "output_text.annotation.added", **members)
        text = block_text(block)
        yield self._of(item, "msg", "output_text.done", content_index=0, text=text, logprobs=[])
        yield self._of(item, "msg", "content_part.done", content_index=0, part=_part(text, annotations))


_EMPTY: dict[str, JsonObject] = {
    "message": {"content": []},
    "reasoning": {"summary": []},
    "function_call": {"arguments": ""},
}


def _part(text: str, annotations: list[JsonObject] | None = None) -> JsonObject:
    return {"type": "output_text", "text": text, "annotations": annotations or [], "logprobs": []}


def _thought(text: str) -> JsonObject:
    return {"type": "summary_text", "text": text}


class FramedResponse:
    """Events of one message to the bytes of a stream: server-sent events that have the names of what they carry."""

    def __init__(self, context: Context, *, id: str, created: int) -> None:
        self._events = ResponseEncoder(context, id=id, created=created)

    def event(self, event: StreamEvent) -> bytes:
        return b"".join(map(encode_named_sse, self._events.push(event)))

    def end(self) -> bytes:
        return b"".join(map(encode_named_sse, self._events.finish()))

    def failure(self, error: AwsllmError) -> bytes:
        return encode_named_sse(self._events.failure(error))
