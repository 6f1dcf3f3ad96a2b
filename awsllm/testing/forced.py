"""A model that fails because a test says so: what a fallback does is tried without an outage.

    with failing(client, "bedrock:us.amazon.nova-pro-v1:0"):
        answer = client.converse(GROUP, "Hi")     # throttled there; the others are called as ever

It is the client that fails, before anything is sent: so it works with scripts, with an offline AWS, and with AWS.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from awsllm.backend import UNLIMITED, Attempt
from awsllm.errors import AwsllmError, ConfigurationError, ThrottlingError
from awsllm.models.references import Reference, parse_reference


@contextmanager
def failing(client: Any, model: str, error: AwsllmError | None = None, times: int | None = None) -> Iterator[None]:
    """Within the block, calls of ``model`` (a reference or an alias) by ``client`` raise ``error``, a throttle unless
    it is given: all of them, or the first ``times``."""
    if error is None:
        error = ThrottlingError("made to fail by a test", code="ThrottlingException", status=429)
    if not isinstance(error, BaseException):
        raise ConfigurationError(f"error is {error!r:.40}; give an exception, such as awsllm.ServerError(…)")
    if times is not None and (type(times) is not int or times < 0):
        raise ConfigurationError(f"times is {times!r:.40}; it is a count of calls, or None for all")
    clients = (client, client._single)  # the second makes the calls of groups
    kept = client._backends
    backends = _Failing(kept, parse_reference(client._settings.one(model)), _Failure(error, times))
    backends.awaited = client._awaited
    for one in clients:
        one._backends = backends
    try:
        yield
    finally:
        for one in clients:
            one._backends = kept


class _Failure:
    """The error, and how often it is left."""

    def __init__(self, error: AwsllmError, times: int | None) -> None:
        self._error, self._left = error, times
        self._lock = threading.Lock()

    def take(self) -> AwsllmError | None:
        with self._lock:
            if self._left == 0:
                return None
            if self._left is not None:
                self._left -= 1
        return copy.copy(self._error)


class _Failing:
    """A client's backends, of which one fails for one model."""

    awaited = False

    def __init__(self, backends: Any, model: Reference, failure: _Failure) -> None:
        self._backends, self._model, self._failure = backends, model, failure

    def __getitem__(self, reference: Reference) -> Any:
        found = self._backends[reference]
        if (reference.anywhere, reference.region) != (self._model.anywhere, self._model.region):
            return found
        return (_AsyncFailingBackend if self.awaited else _FailingBackend)(found, self._failure)

    def drain(self) -> Any:
        return self._backends.drain()


class _FailingBackend:
    def __init__(self, backend: Any, failure: _Failure) -> None:
        self._backend, self._failure = backend, failure

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def ask(self, request: Any, attempt: Attempt = UNLIMITED) -> Any:
        if (error := self._failure.take()) is not None:
            raise error
        return self._backend.ask(request, attempt)

    def stream(self, request: Any, attempt: Attempt = UNLIMITED) -> Iterator[Any]:
        if (error := self._failure.take()) is not None:
            raise error
        yield from self._backend.stream(request, attempt)


class _AsyncFailingBackend(_FailingBackend):
    async def ask(self, request: Any, attempt: Attempt = UNLIMITED) -> Any:
        if (error := self._failure.take()) is not None:
            raise error
        return await self._backend.ask(request, attempt)

    async def stream(self, request: Any, attempt: Attempt = UNLIMITED) -> AsyncIterator[Any]:  # type: ignore[override]
        if (error := self._failure.take()) is not None:
            raise error
        async for event in self._backend.stream(request, attempt):
            yield event
