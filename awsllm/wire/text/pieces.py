"""Streams of pieces of text, as servers have them that say of a piece little more than its text.

A body tells what one object of its stream says as ``Generated``; ``PieceDecoder`` makes events of such pieces, cut
where the answer ends, and ``PieceEncoder`` pieces of events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from awsllm.errors import AwsllmError, StreamError
from awsllm.types import JsonObject, JsonValue, StreamEvent, Usage
from awsllm.wire.body import Context
from awsllm.wire.reading import MalformedError
from awsllm.wire.server_errors import find_error
from awsllm.wire.text.events import TextCollector, TextEvents
from awsllm.wire.text.generated import Generated, check_finish_reason


class PieceDecoder:
    """Objects of a stream to events. ``read`` gives what an object says, None where it says nothing: its text, with
    neutral reasons to stop."""

    def __init__(self, read: Callable[[JsonObject], Generated | None], context: Context) -> None:
        self._read = read
        self._context = context
        self._events = TextEvents(context)
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
        check_finish_reason(piece.finish_reason, self._context)
        yield from self._events.piece(piece.text)
        self._reason = piece.finish_reason or self._reason
        if piece.usage != Usage():
            self._usage = _later(self._usage, piece.usage)

    def finish(self, *, done: bool = False) -> Iterator[StreamEvent]:
        if self._reason is None and not (done and self._events.started):
            message = "the stream ended without a finish reason: the answer was cut"
            raise StreamError(message, request_id=self._context.request_id)
        yield from self._events.stop(self._reason, self._usage)


def _later(before: Usage, usage: Usage) -> Usage:
    """Counts as a stream tells them: one at its beginning, one at its end, or all at once."""
    known = msgspec.structs.asdict(usage).items()
    return msgspec.structs.replace(before, **{name: count for name, count in known if count is not None})


class PieceEncoder:
    """Events to the bytes of a stream. ``write_piece`` writes a piece of text, ``write_failure`` an error, and
    ``write_end`` what ends the stream, given the whole text, the stop reason and the usage."""

    def __init__(
        self,
        write_piece: Callable[[str], bytes],
        write_end: Callable[[Generated], bytes],
        write_failure: Callable[[AwsllmError], bytes],
        context: Context,
    ) -> None:
        self._write_piece = write_piece
        self._write_end = write_end
        self._write_failure = write_failure
        self._collected = TextCollector(context)

    def event(self, event: StreamEvent) -> bytes:
        piece = self._collected.push(event)
        return self._write_piece(piece) if piece else b""

    def end(self) -> bytes:
        reason = self._collected.stopped()
        return self._write_end(Generated("".join(self._collected.text), reason, self._collected.usage))

    def failure(self, error: AwsllmError) -> bytes:
        return self._write_failure(error)
