"""The event streams of bedrock-agent-runtime, both ways: an event's JSON is the frame's payload as it is.

None has an event that always ends it, as ConverseStream's ``messageStop`` does; where an operation cannot be whole
without an event, ``EventsDecoder`` is given its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

import msgspec

from awsllm.errors import AwsllmError, StreamError
from awsllm.types import JsonObject, Unknown
from awsllm.wire.errors import decode_frame_failure, encode_error
from awsllm.wire.eventstream import Frame, FrameDecoder, encode_exception_frame
from awsllm.wire.reading import MalformedError

E = TypeVar("E")

_PAYLOAD = msgspec.json.Decoder(JsonObject)
# What the streams' unions have in common; ModelNotReady and ServiceUnavailable are written as the nearest of them.
_EXCEPTIONS = frozenset(
    (
        *("AccessDeniedException", "BadGatewayException", "ConflictException", "DependencyFailedException"),
        *("InternalServerException", "ResourceNotFoundException", "ServiceQuotaExceededException"),
        *("ThrottlingException", "ValidationException"),
    )
)


class EventsDecoder(Generic[E]):
    """Bytes in any cuts to events, by a table of event types. ``first`` is given before the first of them.

    An exception inside the stream is raised as its typed error; whatever cannot be read, and an end without the event
    ``last``, as ``StreamError``.
    """

    def __init__(
        self,
        table: Mapping[str, Callable[[JsonObject], E]],
        request_id: str | None = None,
        *,
        first: E | None = None,
        last: str | None = None,
    ) -> None:
        self._table = table
        self._frames = FrameDecoder()
        self._request_id = request_id
        self._first = first
        self._last = last
        self._begun = False

    def feed(self, data: bytes) -> Iterator[E | Unknown]:
        for frame in self._frames.feed(data):
            event = self._event(frame)
            yield from self._beginning()
            yield event
        if self._frames.damage:
            raise self._frames.damage

    def close(self) -> Iterator[E | Unknown]:
        self._frames.close()
        if self._last is not None:
            message = f"the stream ended without {self._last}: the answer was cut"
            raise StreamError(message, request_id=self._request_id, retryable=not self._begun)
        yield from self._beginning()

    def _beginning(self) -> Iterator[E]:
        self._begun = True
        if self._first is not None:
            first, self._first = self._first, None
            yield first

    def _event(self, frame: Frame) -> E | Unknown:
        if frame.headers.get(":message-type", "event") != "event":
            raise decode_frame_failure(frame, self._request_id)
        event_type = frame.headers.get(":event-type")
        if not isinstance(event_type, str):
            raise StreamError("a frame of the stream does not say what event it is", request_id=self._request_id)
        if event_type == self._last:
            self._last = None
        try:
            payload = _PAYLOAD.decode(frame.payload)
            decode = self._table.get(event_type)
            return Unknown(event_type, payload) if decode is None else decode(payload)
        except (MalformedError, ValueError, RecursionError) as error:
            message = f"the event {event_type} cannot be read: {error}"
            raise StreamError(message, request_id=self._request_id) from error


def encode_failure(error: AwsllmError) -> bytes:
    """The frame that ends a stream with an error."""
    status, name, body = encode_error(error)
    if name not in _EXCEPTIONS:
        name = "ThrottlingException" if status == 429 else "InternalServerException"
    return encode_exception_frame(name[0].lower() + name[1:], msgspec.json.encode(body))


def text(wire: JsonObject, name: str) -> str:
    """A text that the service may leave out, which is then empty."""
    value: Any = wire.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise MalformedError("must be a string", name)
    return value
