"""What the backends behind an AWS service share: the transports they need, reading a reply, placing an error."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, aclosing, contextmanager
from typing import Any, Protocol, TypeVar, cast

import msgspec

from awsllm.aws.call import Call, HttpResponse, StreamCall
from awsllm.errors import AwsllmError, ServerError, ValidationError
from awsllm.types import JsonObject, JsonValue

T = TypeVar("T")


class Transport(Protocol):
    """What executes calls; ``aws.http.HttpTransport`` is one."""

    def send(self, call: Call[T], *, deadline: float | None = None) -> T: ...

    def stream(self, call: StreamCall[T], *, deadline: float | None = None) -> Iterator[T]: ...

    def close(self) -> None: ...


class AsyncTransport(Protocol):
    """The same, awaited; ``aws.aio.AsyncHttpTransport`` is one. ``stream`` is an async generator."""

    async def send(self, call: Call[T], *, deadline: float | None = None) -> T: ...

    def stream(self, call: StreamCall[T], *, deadline: float | None = None) -> AsyncIterator[T]: ...

    async def close(self) -> None: ...


def closed_after(stream: AsyncIterator[T]) -> AbstractAsyncContextManager[AsyncIterator[T]]:
    """The stream, closed on leaving: unlike ``yield from``, ``async for`` does not hand a close on."""
    return aclosing(cast("AsyncGenerator[T, None]", stream))


@contextmanager
def located(backend: str, model: str) -> Iterator[None]:
    """Errors that pass say where they come from."""
    try:
        yield
    except AwsllmError as error:
        error.annotate(backend=backend, model=model)
        raise


def write_json(value: JsonValue) -> bytes:
    """The body of a request. ``ValidationError`` for what JSON cannot carry: half a surrogate pair in a text, an object
    of Python's in ``extra``."""
    try:
        return msgspec.json.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as cause:
        raise ValidationError(f"the request cannot be written as JSON: {cause}") from cause


def read_object(response: HttpResponse) -> JsonObject:
    """The JSON object that a reply carries; anything else is the service's fault."""
    try:
        return msgspec.json.decode(response.body, type=dict[str, Any])
    except (ValueError, RecursionError) as cause:
        start = response.body[:60]
        raise ServerError(
            f"the reply is not a JSON object: {start!r}", status=response.status, request_id=response.request_id
        ) from cause
