"""What the backends behind an AWS service share: the transports they need, reading a response, placing an error."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing, contextmanager
from typing import Generic, Protocol, TypeVar, cast

import msgspec
from msgspec.structs import replace

from awsllm.aws.call import Call, HttpResponse, StreamCall, StreamDecoder
from awsllm.aws.failures import forget_locals
from awsllm.backend import UNLIMITED, Attempt
from awsllm.errors import AwsllmError, ConfigurationError, ServerError, StreamError, ValidationError
from awsllm.types import JsonObject, JsonValue, MessageStart
from awsllm.wire.eventstream import EVENT_STREAM
from awsllm.wire.reading import MalformedError

E = TypeVar("E")
R = TypeVar("R")
T = TypeVar("T")


class Transport(Protocol):
    """What executes calls; ``aws.http.HttpTransport`` is one."""

    def send(self, call: Call[T], attempt: Attempt = UNLIMITED) -> T: ...

    def stream(self, call: StreamCall[T], attempt: Attempt = UNLIMITED) -> Iterator[T]: ...

    def close(self) -> None: ...


class AsyncTransport(Protocol):
    """The same, awaited; ``aws.aio.AsyncHttpTransport`` is one. ``stream`` is an async generator."""

    async def send(self, call: Call[T], attempt: Attempt = UNLIMITED) -> T: ...

    def stream(self, call: StreamCall[T], attempt: Attempt = UNLIMITED) -> AsyncIterator[T]: ...

    async def close(self) -> None: ...


def closed_after(stream: AsyncIterator[T]) -> AbstractAsyncContextManager[AsyncIterator[T]]:
    """The stream, closed on leaving: unlike ``yield from``, ``async for`` does not hand a close on."""
    return aclosing(cast("AsyncGenerator[T, None]", stream))


class located:  # noqa: N801  # read as the statement that it makes: ``with located(…)``
    """Errors that pass say where they come from, and no more: what the frames below held (keys, prompts, answers) is
    gone. A class, for every call enters one and a generator costs three times as much."""

    __slots__ = ("_backend", "_model")

    def __init__(self, backend: str, model: str) -> None:
        self._backend, self._model = backend, model

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, AwsllmError):
            error.annotate(backend=self._backend, model=self._model)
            forget_locals(error)


_UNWRITABLE = (TypeError, ValueError, OverflowError, RecursionError)
_OBJECT = msgspec.json.Decoder(JsonObject)  # made once: msgspec.json.decode looks at the type in every call


def _unwritable(cause: Exception) -> ValidationError:
    return ValidationError(f"the request cannot be written as JSON: {cause}")


class writable:  # noqa: N801  # ``with writable()``; a class for the reason of ``located``
    """What JSON cannot carry is the caller's: half a surrogate pair in a text, an object of Python's in ``extra``."""

    __slots__ = ()

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, _UNWRITABLE):
            raise _unwritable(error) from error


def write_json(value: JsonValue) -> bytes:
    """The body of a request. Raises ``ValidationError``."""
    try:
        return msgspec.json.encode(value)
    except _UNWRITABLE as cause:
        raise _unwritable(cause) from cause


def read_object(response: HttpResponse) -> JsonObject:
    """The JSON object that a response carries; anything else is the service's fault."""
    try:
        return _OBJECT.decode(response.body)
    except (ValueError, RecursionError) as cause:
        message = f"the reply is not a JSON object but {_described(response)}"
        raise ServerError(message, status=response.status, request_id=response.request_id) from cause


def read_as(decode: Callable[[JsonObject, str | None], R]) -> Callable[[HttpResponse], R]:
    """What decodes the responses of a service whose bodies are JSON objects; ``decode`` is given the object and the id
    of the call. A malformed one is the service's fault."""

    def read(response: HttpResponse) -> R:
        try:
            return decode(read_object(response), response.request_id)
        except MalformedError as error:
            from awsllm.wire.converse.responses import unreadable

            raise unreadable(error, response.request_id) from error

    return read


def _described(response: HttpResponse) -> str:
    """What came in another form than expected: never its words, which may be a model's."""
    kind = response.headers.get("content-type") or "something of no content type"
    return f"{kind[:100]}, {len(response.body):,} bytes of it" if response.body else kind[:100]


def event_stream(
    make: Callable[[HttpResponse], StreamDecoder[E]], content_type: str = EVENT_STREAM
) -> Callable[[HttpResponse], StreamDecoder[E]]:
    """What makes the decoder of an AWS event stream, or a stream of another type, with the beginning looked after: see
    ``_Beginning``."""
    return lambda head: _Beginning(make(head), head, content_type)


class _Beginning(Generic[E]):
    """A decoder of an event stream until its first event, which is given the id of the call; from then on the decoder
    itself is fed. What cannot be read before that, and is not labelled as an event stream, says what it is."""

    def __init__(self, decoder: StreamDecoder[E], head: HttpResponse, content_type: str) -> None:
        self._decoder = decoder
        self._head = head
        self._content_type = content_type
        self._begun = False
        self.feed: Callable[[bytes], Iterable[E]] = self._feed

    def _feed(self, data: bytes) -> Iterator[E]:
        with self._named():
            events = iter(self._decoder.feed(data))
            for event in events:
                self._begun = True
                self.feed = self._decoder.feed
                yield self._identified(event)
                yield from events

    def close(self) -> Iterator[E]:
        with self._named():
            yield from self._decoder.close()

    def _identified(self, event: E) -> E:
        if isinstance(event, MessageStart) and event.request_id is None:
            return replace(event, request_id=self._head.request_id)
        return event

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except StreamError as error:
            kind = self._head.headers.get("content-type", self._content_type)
            if self._begun or kind.partition(";")[0].strip().lower() == self._content_type:
                raise
            raise _no_event_stream(self._head) from error


def _no_event_stream(head: HttpResponse) -> ConfigurationError | ServerError:
    message = f"the reply is no event stream but {_described(head)}"
    if "html" in head.headers.get("content-type", ""):
        message += ": not AWS but a proxy, a firewall or another server answered; check the endpoint URL and proxies"
        return ConfigurationError(message, status=head.status, request_id=head.request_id)
    return ServerError(message, status=head.status, request_id=head.request_id, retryable=False)
