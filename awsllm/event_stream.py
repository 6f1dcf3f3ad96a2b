"""The stream of an operation that is no chat: its events as they come, and the whole of them once they have ended."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Generic, NoReturn, TypeVar

from awsllm.errors import AwsllmError, StreamError
from awsllm.stream import AsyncIterated, Iterated, broken_by, closed_early, interrupted_by

E = TypeVar("E")
R = TypeVar("R")


class _Received(Generic[E, R]):
    """What the sync and the async stream share: everything but the waiting."""

    def __init__(self, events: Iterator[E] | AsyncIterator[E], whole: Callable[[Sequence[E]], R]) -> None:
        """``whole`` makes the response of all events."""
        self._source = events
        self._whole = whole
        self._events: list[E] = []
        self._ended = False
        self._closed = False
        self._error: AwsllmError | None = None

    @property
    def partial(self) -> R:
        """The response that the events so far make, whatever became of the stream."""
        return self._whole(self._events)

    def _going_on(self) -> bool:
        if self._ended:
            return False
        if self._error is not None:
            raise self._error
        if self._closed:
            raise closed_early()
        return True

    def _push(self, event: E) -> E:
        self._events.append(event)
        return event

    def _end(self) -> None:
        self._ended = True

    def _interrupted(self, error: BaseException) -> None:
        """Ctrl-C, a cancelled task: that is no end of the answer."""
        self._error = interrupted_by(error)

    def _fail(self, error: AwsllmError) -> NoReturn:
        """Remember and raise the error; once an event was seen, as a ``StreamError`` caused by it."""
        if not self._events or isinstance(error, StreamError):
            self._error = error
            raise error
        broken = broken_by(error)
        self._error = broken
        raise broken from error


class EventStream(_Received[E, R], Iterated[E, R]):
    """Iterate it for its events, or read ``response``. As a context manager it closes itself, which frees the
    connection. For one thread at a time."""


class AsyncEventStream(_Received[E, R], AsyncIterated[E, R]):
    """``EventStream``, awaited: ``async for event in stream``; ``await`` its ``response`` and its ``close()``."""
