"""The text of an answer as stream events, and back: what decoders and encoders of every stream of text share."""

from __future__ import annotations

from collections.abc import Iterator

from awsllm.errors import StreamError, UnsupportedError
from awsllm.types import (
    BlockDelta,
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    MessageStart,
    MessageStop,
    Metadata,
    ReasoningDelta,
    StreamEvent,
    TextDelta,
    Usage,
)
from awsllm.wire.body import Context
from awsllm.wire.text.stops import StopCutter, Stops
from awsllm.wire.text.thinking import ThinkingSplitter, marked, thinking_mark


class TextEvents:
    """Pieces of text to events, cut where the answer ends. ``started``: something came, if only an empty piece. Where
    the prompt opened the model's thinking, that is a block of its own before the text."""

    def __init__(self, context: Context) -> None:
        self.started = False
        self._context = context
        self._stops = Stops(context)
        self._cutter = StopCutter(self._stops)
        mark = thinking_mark(context)
        self._splitter = None if mark is None else ThinkingSplitter(None, mark)
        self._thinks = False
        self._block: int | None = None  # the one that grows

    def piece(self, text: str) -> Iterator[StreamEvent]:
        if not self.started:
            self.started = True
            yield MessageStart("assistant", self._context.request_id)
        yield from self._show(self._cutter.push(text))

    def stop(self, finish_reason: str | None, usage: Usage) -> Iterator[StreamEvent]:
        """The end, for the server's reason; ``Metadata`` comes last."""
        yield from self._show(self._cutter.rest())
        for is_thinking, part in self._splitter.rest() if self._splitter else ():
            yield from self._grow(part, is_thinking=is_thinking)
        if self._block is not None:
            yield ContentBlockStop(self._block)
        yield MessageStop(self._stops.reason(finish_reason, self._cutter.matched))
        yield Metadata(usage, warnings=self._context.warnings)

    def _show(self, text: str) -> Iterator[StreamEvent]:
        if self._splitter is not None:
            for is_thinking, part in self._splitter.push(text):
                yield from self._grow(part, is_thinking=is_thinking)
        elif text:
            self._block = 0
            yield ContentBlockDelta(0, TextDelta(text))

    def _grow(self, part: str, *, is_thinking: bool) -> Iterator[StreamEvent]:
        if self._block is not None and self._thinks and not is_thinking:
            yield ContentBlockStop(self._block)
            self._block += 1
        self._block, self._thinks = self._block or 0, is_thinking
        yield ContentBlockDelta(self._block, ReasoningDelta(part) if is_thinking else TextDelta(part))


class TextCollector:
    """What an encoder of a stream needs of its events: the pieces of text, and how the answer ended. Where the
    prompt opened the thinking, a mark ends it."""

    def __init__(self, context: Context) -> None:
        self._mark = thinking_mark(context)
        self.text: list[str] = []
        self.reason: str | None = None
        self.usage = Usage()

    def push(self, event: StreamEvent) -> str:
        """The text that the event adds. Raises ``UnsupportedError`` for what a text cannot hold."""
        match event:
            case ContentBlockDelta(_, delta):
                piece = _delta_text(delta)
                if self._mark is not None and isinstance(delta, TextDelta):
                    piece, self._mark = marked(self._mark) + piece, None
                self.text.append(piece)
                return piece
            case ContentBlockStart(_, start):
                raise UnsupportedError(f"an answer that is a text cannot hold {type(start).__name__}")
            case MessageStop(reason):
                self.reason = reason
            case Metadata(usage):
                self.usage = usage
            case _:
                pass
        return ""

    def stopped(self) -> str:
        """Why the answer ended. Raises ``StreamError`` where the events were cut."""
        if self.reason is None:
            raise StreamError("the answer's events ended without messageStop")
        return self.reason


def _delta_text(delta: BlockDelta) -> str:
    match delta:
        case TextDelta(text):
            return text
        case ReasoningDelta(text=text):
            return text or ""
        case _:
            return ""
