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


class TextEvents:
    """Pieces of text to events, cut where the answer ends. ``started``: something came, if only an empty piece."""

    def __init__(self, context: Context) -> None:
        self.started = False
        self._context = context
        self._stops = Stops(context)
        self._cutter = StopCutter(self._stops)
        self._open = False

    def piece(self, text: str) -> Iterator[StreamEvent]:
        if not self.started:
            self.started = True
            yield MessageStart("assistant", self._context.request_id)
        yield from self._show(self._cutter.push(text))

    def stop(self, finish_reason: str | None, usage: Usage) -> Iterator[StreamEvent]:
        """The end, for the server's reason; ``Metadata`` comes last."""
        yield from self._show(self._cutter.rest())
        if self._open:
            yield ContentBlockStop(0)
        yield MessageStop(self._stops.reason(finish_reason, self._cutter.matched))
        yield Metadata(usage, warnings=self._context.warnings)

    def _show(self, text: str) -> Iterator[StreamEvent]:
        if text:
            self._open = True
            yield ContentBlockDelta(0, TextDelta(text))


class TextCollector:
    """What an encoder of a stream needs of its events: the pieces of text, and how the answer ended."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.reason: str | None = None
        self.usage = Usage()

    def push(self, event: StreamEvent) -> str:
        """The text that the event adds. Raises ``UnsupportedError`` for what a text cannot hold."""
        match event:
            case ContentBlockDelta(_, delta):
                piece = _delta_text(delta)
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
