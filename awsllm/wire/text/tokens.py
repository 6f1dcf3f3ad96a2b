"""Texts as they stream from containers: tokens to events (``TokenDecoder``), events to tokens (``TokenEncoder``).

TGI and LMI stream a token an object; the last object repeats the whole text and says how it ended, and without it the
answer was cut. DJL's dynamic batches stream ``outputs`` and say nothing at the end.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

from awsllm.errors import AwsllmError, StreamError, UnsupportedError
from awsllm.types import (
    BlockDelta,
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    JsonObject,
    JsonValue,
    MessageStart,
    MessageStop,
    Metadata,
    ReasoningDelta,
    StreamEvent,
    TextDelta,
    Usage,
)
from awsllm.wire.endpoint.errors import find_error
from awsllm.wire.endpoint.format import ReplyContext
from awsllm.wire.reading import MalformedError, optional, strings
from awsllm.wire.text import generated as text


class TokenDecoder:
    """Tokens, as TGI and LMI stream them, to events; whole replies and DJL's ``outputs`` are read, too.

    The object with ``generated_text`` ends the stream. Where its text goes on after the tokens, the rest is given, too.
    ``endless``: the container says nothing at the end (DJL's dynamic batches), so the end of the bytes is taken for it.
    """

    def __init__(self, context: ReplyContext, *, endless: bool = False) -> None:
        self._context = context
        self._stops = text.Stops(context)
        self._cutter = text.StopCutter(self._stops)
        self._endless = endless
        self._seen: list[str] = []
        self._tokens = 0
        self._started = self._open = self._stopped = False

    def push(self, chunk: JsonValue) -> Iterator[StreamEvent]:
        if error := find_error(chunk, request_id=self._context.request_id):
            raise error
        try:
            for item in chunk if isinstance(chunk, list) else (chunk,):
                yield from self._push(item if isinstance(item, dict) else {})
        except MalformedError as cause:
            raise StreamError(
                f"a chunk cannot be read: {cause.message}", request_id=self._context.request_id
            ) from cause

    def finish(self, *, done: bool = False) -> Iterator[StreamEvent]:
        if self._stopped:
            return
        if not (self._started and (done or self._endless)):
            raise StreamError(
                "the container's stream ended without its last object: the answer was cut",
                request_id=self._context.request_id,
            )
        yield from self._stop(text.Generated(""))

    def _push(self, chunk: JsonObject) -> Iterator[StreamEvent]:
        if self._stopped:
            return
        text.check_finish(text.read_finish(optional(chunk, "details", dict) or {}), self._context)
        if (token := optional(chunk, "token", dict)) is not None:
            self._tokens += token.get("id") != -1
            special = optional(token, "special", bool) or optional(token, "special_token", bool)
            yield from self._grow("" if special else optional(token, "text", str) or "")
        for piece in strings(chunk, "outputs")[:1]:
            yield from self._grow(piece)
        if chunk.get("generated_text") is not None:
            yield from self._end(text.read_generated(chunk))

    def _end(self, found: text.Generated) -> Iterator[StreamEvent]:
        seen = "".join(self._seen)
        if found.text.startswith(seen):
            yield from self._grow(found.text[len(seen) :])
        yield from self._stop(found)

    def _grow(self, piece: str) -> Iterator[StreamEvent]:
        if not self._started:
            self._started = True
            yield MessageStart("assistant")
        self._seen.append(piece)
        yield from self._show(self._cutter.push(piece))

    def _show(self, piece: str) -> Iterator[StreamEvent]:
        if piece:
            self._open = True
            yield ContentBlockDelta(0, TextDelta(piece))

    def _stop(self, found: text.Generated) -> Iterator[StreamEvent]:
        yield from self._show(self._cutter.rest())
        if self._open:
            yield ContentBlockStop(0)
        self._stopped = True
        yield MessageStop(self._stops.reason(found.finish_reason, self._cutter.matched))
        yield Metadata(self._usage(found.usage), warnings=self._context.warnings)

    def _usage(self, told: Usage) -> Usage:
        if told.output_tokens is not None or not self._tokens:
            return told
        return Usage(told.input_tokens, self._tokens, estimated=True)


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


class TokenEncoder(ABC):
    """The events of an answer to tokens, the last of which carries the whole text and how it ended.

    A piece of text counts as one token; ids are places, since events carry none. A token is held back until another
    follows it."""

    def __init__(self, asked: ReplyContext) -> None:
        self._asked = asked
        self._collected = TextCollector()
        self._held: JsonObject | None = None
        self._count = 0

    def event(self, event: StreamEvent) -> bytes:
        piece = self._collected.push(event)
        return self._follow(piece) if piece else b""

    def end(self) -> bytes:
        reason = self._collected.stopped()
        last = self._ending(reason)
        sent = b"" if last is None and self._held is not None else self._follow(last or "", special=not last)
        whole = "".join(self._collected.text) + (last or "")
        details = self._details(reason, self._collected.usage)
        return sent + self._line({**(self._held or {}), "generated_text": whole, "details": details})

    @abstractmethod
    def failure(self, error: AwsllmError) -> bytes:
        """How the container tells of an error after its stream began."""

    def _follow(self, piece: str, *, special: bool = False) -> bytes:
        before = self._held
        self._count += 1
        self._held = self._token(self._count, piece, special=special)
        return self._line(self._between(before)) if before else b""

    def _ending(self, reason: str) -> str | None:
        """The text of a token behind the answer's own, empty for a special one; None: there is none."""
        return None

    def _between(self, token: JsonObject) -> JsonObject:
        """A token that is not the last."""
        return token

    @abstractmethod
    def _token(self, place: int, piece: str, *, special: bool) -> JsonObject:
        """A token as the members of a line."""

    @abstractmethod
    def _details(self, reason: str, usage: Usage) -> JsonObject:
        """How the answer ended and what it used."""

    @abstractmethod
    def _line(self, value: JsonObject) -> bytes:
        """A value as the stream's framing carries it."""
