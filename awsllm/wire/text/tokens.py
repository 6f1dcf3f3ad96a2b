"""Texts as they stream: tokens to events (``TokenDecoder``), events to tokens (``TokenEncoder``).

TGI and LMI stream a token an object; the last object repeats the whole text and says how it ended, and without it the
answer was cut. DJL's dynamic batches stream ``outputs`` and say nothing at the end.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

from awsllm.errors import AwsllmError, StreamError
from awsllm.types import JsonObject, JsonValue, StreamEvent, Usage
from awsllm.wire.body import Context
from awsllm.wire.reading import MalformedError, optional, strings
from awsllm.wire.server_errors import find_error
from awsllm.wire.text.events import TextCollector, TextEvents
from awsllm.wire.text.generated import Generated, check_finish_reason, read_finish_reason, read_generated


class TokenDecoder:
    """Tokens, as TGI and LMI stream them, to events; whole replies and DJL's ``outputs`` are read, too.

    The object with ``generated_text`` ends the stream. Where its text goes on after the tokens, the rest is given, too.
    ``endless``: the server says nothing at the end (DJL's dynamic batches), so the end of the bytes is taken for it.
    """

    def __init__(self, context: Context, *, endless: bool = False) -> None:
        self._context = context
        self._events = TextEvents(context)
        self._endless = endless
        self._seen: list[str] = []
        self._tokens = 0
        self._stopped = False

    def push(self, chunk: JsonValue) -> Iterator[StreamEvent]:
        if error := find_error(chunk, request_id=self._context.request_id):
            raise error
        try:
            for item in chunk if isinstance(chunk, list) else (chunk,):
                yield from self._push(item if isinstance(item, dict) else {})
        except MalformedError as cause:
            message = f"a chunk cannot be read: {cause.message}"
            raise StreamError(message, request_id=self._context.request_id) from cause

    def finish(self, *, done: bool = False) -> Iterator[StreamEvent]:
        if self._stopped:
            return
        if not (self._events.started and (done or self._endless)):
            message = "the stream ended without its last object: the answer was cut"
            raise StreamError(message, request_id=self._context.request_id)
        yield from self._stop(Generated(""))

    def _push(self, chunk: JsonObject) -> Iterator[StreamEvent]:
        if self._stopped:
            return
        check_finish_reason(read_finish_reason(optional(chunk, "details", dict) or {}), self._context)
        if (token := optional(chunk, "token", dict)) is not None:
            self._tokens += token.get("id") != -1  # the id of the token that stands in for an error
            special = optional(token, "special", bool) or optional(token, "special_token", bool)
            yield from self._grow("" if special else optional(token, "text", str) or "")
        for piece in strings(chunk, "outputs")[:1]:
            yield from self._grow(piece)
        if chunk.get("generated_text") is not None:
            whole, seen = read_generated(chunk), "".join(self._seen)
            if whole.text.startswith(seen):
                yield from self._grow(whole.text[len(seen) :])
            yield from self._stop(whole)

    def _grow(self, piece: str) -> Iterator[StreamEvent]:
        self._seen.append(piece)
        yield from self._events.piece(piece)

    def _stop(self, whole: Generated) -> Iterator[StreamEvent]:
        """The end; where the server tells no count of the output, the tokens that came are counted."""
        self._stopped = True
        usage = whole.usage
        if usage.output_tokens is None and self._tokens:
            usage = Usage(usage.input_tokens, self._tokens, estimated=True)
        yield from self._events.stop(whole.finish_reason, usage)


class TokenEncoder(ABC):
    """The events of an answer to tokens, the last of which carries the whole text and how it ended.

    A piece of text counts as one token; ids are places, since events carry none. A token is held back until another
    follows it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._collected = TextCollector(context)
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
        """How the server tells of an error after its stream began."""

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
