"""What the text formats share that are neither TGI's nor LMI's: names of knobs, streams of pieces of text, and errors.
Prompts, stop sequences and whole answers are in ``text``, as for all.

A format tells what one object of its stream says as ``Generated``; ``PieceDecoder`` makes events of such pieces, cut
where the answer ends, and ``PieceEncoder`` pieces of events. ``Metadata`` comes last, when the stream has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from awsllm.errors import AwsllmError, StreamError, UnsupportedError
from awsllm.types import (
    ContentBlockDelta,
    ContentBlockStop,
    ConverseResponse,
    InferenceConfig,
    JsonObject,
    JsonValue,
    MessageStart,
    MessageStop,
    Metadata,
    StreamEvent,
    TextDelta,
    Usage,
    Value,
)
from awsllm.wire.body import Payload
from awsllm.wire.endpoint.errors import find_error
from awsllm.wire.endpoint.format import ReplyContext
from awsllm.wire.openai.response import encode_error
from awsllm.wire.payloads import write
from awsllm.wire.reading import MalformedError, optional, strings
from awsllm.wire.text.generated import Generated, StopCutter, Stops, answer_text, check_finish
from awsllm.wire.text.tokens import TextCollector

# --- requests --------------------------------------------------------------------------------------------------------


def beyond(wire: JsonObject, known: frozenset[str]) -> JsonObject | None:
    """What a body has that neutral requests have not, to be kept in ``extra``."""
    return {name: value for name, value in wire.items() if name not in known and value is not None} or None


def check_single(members: JsonObject | None, name: str) -> None:
    """Raises ``UnsupportedError`` where ``name`` asks for more than one answer."""
    if (members or {}).get(name, 1) != 1:
        raise UnsupportedError(f"{name}: a response holds one answer; make several calls for several")


# --- knobs -----------------------------------------------------------------------------------------------------------


class Names(Value, frozen=True, kw_only=True):
    """What a format calls the members of ``InferenceConfig``."""

    max_tokens: str
    temperature: str
    top_p: str
    stop_sequences: str

    def encode(self, config: InferenceConfig, stops: tuple[str, ...]) -> JsonObject:
        """The members that are set, and where the answer shall stop."""
        return {
            self.max_tokens: config.max_tokens,
            self.temperature: config.temperature,
            self.top_p: config.top_p,
            self.stop_sequences: list(stops) or None,
        }

    def decode(self, wire: JsonObject) -> InferenceConfig:
        return InferenceConfig(
            max_tokens=optional(wire, self.max_tokens, int),
            temperature=optional(wire, self.temperature, float),
            top_p=optional(wire, self.top_p, float),
            stop_sequences=strings(wire, self.stop_sequences),
        )

    @property
    def all(self) -> frozenset[str]:
        return frozenset((self.max_tokens, self.temperature, self.top_p, self.stop_sequences))


# --- responses -------------------------------------------------------------------------------------------------------


def ended(found: Generated) -> Generated:
    """A whole answer that gives no reason has ended its turn."""
    return found if found.finish_reason else msgspec.structs.replace(found, finish_reason="end_turn")


def told(answer: ConverseResponse) -> Generated:
    """The container's view of an answer. Raises ``UnsupportedError`` for what is no text."""
    return Generated(answer_text(answer), answer.stop_reason, answer.usage)


# --- streams ---------------------------------------------------------------------------------------------------------


class PieceDecoder:
    """Objects of a stream to events. ``read`` gives what an object says, None where it says nothing: its text, with
    neutral reasons to stop."""

    def __init__(self, read: Callable[[JsonObject], Generated | None], context: ReplyContext) -> None:
        self._read = read
        self._context = context
        self._stops = Stops(context)
        self._cutter = StopCutter(self._stops)
        self._started = False
        self._reason: str | None = None
        self._usage = Usage()

    def push(self, chunk: JsonValue) -> Iterator[StreamEvent]:
        if error := find_error(chunk, request_id=self._context.request_id):
            raise error
        try:
            piece = self._read(chunk) if isinstance(chunk, dict) else None
        except MalformedError as cause:
            message = f"a chunk cannot be read: {cause.message}"
            raise StreamError(message, request_id=self._context.request_id) from cause
        if piece is None:
            return
        check_finish(piece.finish_reason, self._context)
        if not self._started:
            self._started = True
            yield MessageStart("assistant")
        yield from _shown(self._cutter.push(piece.text))
        self._reason = piece.finish_reason or self._reason
        if piece.usage != Usage():
            self._usage = piece.usage

    def finish(self, *, done: bool = False) -> Iterator[StreamEvent]:
        if self._reason is None and not (done and self._started):
            raise StreamError(
                "the container's stream ended without a finish reason: the answer was cut",
                request_id=self._context.request_id,
            )
        yield from _shown(self._cutter.rest())
        yield ContentBlockStop(0)
        yield MessageStop(self._stops.reason(self._reason, self._cutter.matched))
        yield Metadata(usage=self._usage, warnings=self._context.warnings)


def _shown(text: str) -> Iterator[StreamEvent]:
    if text:
        yield ContentBlockDelta(0, TextDelta(text))


class PieceEncoder:
    """Events to the bytes of a stream. ``write_piece`` writes a piece of text, ``write_failure`` an error, and
    ``write_end`` what ends the stream, given the whole text, the stop reason and the usage."""

    def __init__(
        self,
        write_piece: Callable[[str], bytes],
        write_end: Callable[[Generated], bytes],
        write_failure: Callable[[AwsllmError], bytes],
    ) -> None:
        self._write_piece = write_piece
        self._write_end = write_end
        self._write_failure = write_failure
        self._collected = TextCollector()

    def event(self, event: StreamEvent) -> bytes:
        piece = self._collected.push(event)
        return self._write_piece(piece) if piece else b""

    def end(self) -> bytes:
        reason = self._collected.stopped()
        return self._write_end(Generated("".join(self._collected.text), reason, self._collected.usage))

    def failure(self, error: AwsllmError) -> bytes:
        return self._write_failure(error)


def line(value: JsonValue) -> bytes:
    """One value as one line."""
    return msgspec.json.encode(value) + b"\n"


# --- errors ----------------------------------------------------------------------------------------------------------


def failed(error: AwsllmError, write_body: Callable[[int, str], JsonObject]) -> tuple[int, Payload]:
    """Status and body with which a container answers. ``write_body`` takes the status and the message."""
    status, _ = encode_error(error)
    return status, write(write_body(status, error.message))
