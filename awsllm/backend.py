"""The protocol of every place where models run.

An operation is a request type (``types.Request``): ``ask`` answers any of them, ``stream`` those that can come as
events. A place holds a table from request type to what makes the call; a type that is not in it raises ``unsupported``.
So a new operation is a request type, its codecs, a row in each place that has it and a method of the client: what
stands between (policy, server, mocks) passes requests through untouched.

For a streamed request ``fold(stream(r))`` equals ``ask(r)``. Closing the iterator of ``stream`` stops the computation
and frees the connection. Nothing here retries: that is ``policy``'s work, and what is handed down is one ``Attempt``.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from importlib import import_module
from typing import Any, Protocol, TypeVar

from awsllm.errors import UnsupportedError
from awsllm.types import Request, Streamed, Value

R = TypeVar("R")
E = TypeVar("E")


class Finished:
    """The responses of a request's calls that need not be made, and paid for, again, by the calls' numbers. Opaque:
    what prints tracebacks with the variables of their frames shows no answers."""

    __slots__ = ("responses",)

    def __init__(self, responses: Mapping[int, Any]) -> None:
        self.responses = responses


class Stop:
    """Ends an attempt from another thread: whoever waits for a place there says how that is done."""

    __slots__ = ("_end", "called")

    def __init__(self) -> None:
        self.called = False
        self._end: Callable[[], None] | None = None

    def watch(self, end: Callable[[], None]) -> None:
        """``end`` is what ends the wait, which may be due already."""
        self._end = end
        if self.called:
            end()

    def now(self) -> None:
        self.called = True
        if self._end is not None:
            self._end()


class Attempt(Value, frozen=True, kw_only=True):
    """The limits of one attempt. ``deadline`` is an instant of ``time.monotonic()`` at which the place gives up with
    ``ModelTimeoutError``. ``first_event`` and ``between_events`` are the longest waits of a stream, in seconds: for its
    first event, and for each one after. None: no limit beside the transport's own.

    ``finished`` is what the attempts before got of a request that takes several calls; ``stop`` may end this one."""

    deadline: float | None = None
    first_event: float | None = None
    between_events: float | None = None
    finished: Finished | None = None
    stop: Stop | None = None

    def remaining(self) -> float | None:
        """Seconds until the deadline, below zero once it has passed; None without one."""
        return None if self.deadline is None else self.deadline - time.monotonic()

    def event_deadline(self, *, first: bool) -> float | None:
        """The instant by which the next event must have come, counted from now."""
        limit = self.first_event if first else self.between_events
        if limit is None:
            return self.deadline
        due = time.monotonic() + limit
        return due if self.deadline is None else min(due, self.deadline)


UNLIMITED = Attempt()


class Backend(Protocol):
    """A place where models run. Safe to share between threads."""

    def ask(self, request: Request[R], attempt: Attempt = UNLIMITED) -> R: ...

    def stream(self, request: Streamed[R, E], attempt: Attempt = UNLIMITED) -> Iterator[E]: ...

    def close(self) -> None: ...


class AsyncBackend(Protocol):
    """The same, awaited; bound to the event loop that first uses it."""

    async def ask(self, request: Request[R], attempt: Attempt = UNLIMITED) -> R: ...

    def stream(self, request: Streamed[R, E], attempt: Attempt = UNLIMITED) -> AsyncIterator[E]: ...

    async def close(self) -> None: ...


def late_row(request: Request[Any], modules: Mapping[str, str], table: str) -> Any:
    """What ``table`` has for ``request`` in the module that ``modules`` names for its operation; None: no such row. The
    module is loaded when it is first asked for, so that what most programs never use costs the others nothing."""
    module = modules.get(type(request).operation)
    return None if module is None else getattr(import_module(module), table, {}).get(type(request))


def unsupported(request: Request[Any], place: str) -> UnsupportedError:
    """What a place raises for a request type that is not in its table; names the places that have it."""
    error = UnsupportedError(
        f"{request.operation} is not possible with {place}: models; it is with {request.served_by}"
    )
    error.annotate(backend=place, model=request.model)
    return error
