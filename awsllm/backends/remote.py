"""What the backends behind an AWS service share: the transports they need, reading a response, placing an error."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing, contextmanager
from typing import Any, Protocol, TypeVar, cast

import msgspec
from msgspec.structs import replace

from awsllm.aws.call import Call, HttpResponse, StreamCall
from awsllm.backend import UNLIMITED, Attempt
from awsllm.errors import AwsllmError, ServerError, ValidationError
from awsllm.types import JsonObject, JsonValue
from awsllm.wire.body import JSON, Codec, Context, Payload

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
    """Errors that pass say where they come from. A class, for every call enters one and a generator costs three times
    as much."""

    __slots__ = ("_backend", "_model")

    def __init__(self, backend: str, model: str) -> None:
        self._backend, self._model = backend, model

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, AwsllmError):
            error.annotate(backend=self._backend, model=self._model)


@contextmanager
def writable() -> Iterator[None]:
    """What JSON cannot carry is the caller's: half a surrogate pair in a text, an object of Python's in ``extra``."""
    try:
        yield
    except (TypeError, ValueError, OverflowError, RecursionError) as cause:
        raise ValidationError(f"the request cannot be written as JSON: {cause}") from cause


def write_json(value: JsonValue) -> bytes:
    """The body of a request. Raises ``ValidationError``."""
    with writable():
        return msgspec.json.encode(value)


def read_object(response: HttpResponse) -> JsonObject:
    """The JSON object that a response carries; anything else is the service's fault."""
    try:
        return msgspec.json.decode(response.body, type=dict[str, Any])
    except (ValueError, RecursionError) as cause:
        start = response.body[:60]
        raise ServerError(
            f"the reply is not a JSON object: {start!r}", status=response.status, request_id=response.request_id
        ) from cause


def read_payload(response: HttpResponse) -> Payload:
    return Payload(response.body, response.headers.get("content-type", JSON))


def read_by(codec: Codec[Any, R], context: Context) -> Callable[[HttpResponse], R]:
    """What decodes the responses of a service that hands a body's bytes through."""

    def read(response: HttpResponse) -> R:
        return codec.decode_response(read_payload(response), replace(context, request_id=response.request_id))

    return read
