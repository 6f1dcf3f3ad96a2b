"""The stream of an operation that is no chat: its events as they come, and the whole of them once they have ended."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from types import TracebackType
from typing import Generic, NoReturn, Self, TypeVar

from awsllm.errors import AwsllmError, StreamError
from awsllm.stream import broken_by, closed_early, interrupted_by

E = TypeVar("E")
R = TypeVar("R")


class _Received(Generic[E, R]):
    """What the sync and the async stream share: everything but the waiting."""

    def __init__(self, whole: Callable[[Sequence[E]], R]) -> None:
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

    def _fail(self, error: AwsllmError) -> NoReturn:
        """Remember and raise the error; once an event was seen, as a ``StreamError`` caused by it."""
        if not self._events or isinstance(error, StreamError):
            self._error = error
            raise error
        broken = broken_by(error)
        self._error = broken
        raise broken from error


class EventStream(_Received[E, R]):
    """Iterate it for its events, or read ``response``. As a context manager it closes itself, which frees the
    connection. For one thread at a time."""

    def __init__(self, events: Iterator[E], whole: Callable[[Sequence[E]], R]) -> None:
        """``whole`` makes the response of all events."""
        super().__init__(whole)
        self._source = events

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> E:
        if not self._going_on():
            raise StopIteration
        try:
            event = next(self._source)
        except StopIteration:
            self._ended = True
            raise
        except AwsllmError as error:
            self._fail(error)
        except BaseException as error:  # Ctrl-C, a cancelled task: that is no end of the answer
            self._error = interrupted_by(error)
            raise
        self._events.append(event)
        return event

    @property
    def response(self) -> R:
        """The whole response; reads what is left of the stream."""
        for _ in self:
            pass
        return self.partial

    def close(self) -> None:
        """Stop, wherever the stream is. May be called twice."""
        self._closed = True
        close = getattr(self._source, "close", None)
        if close is not None:
            close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class AsyncEventStream(_Received[E, R]):
    """``EventStream``, awaited: ``async for event in stream``; ``await`` its ``response`` and its ``close()``."""

    def __init__(self, events: AsyncIterator[E], whole: Callable[[Sequence[E]], R]) -> None:
        super().__init__(whole)
        self._source = events

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> E:
        if not self._going_on():
            raise StopAsyncIteration
        try:
            event = await anext(self._source)
        except StopAsyncIteration:
            self._ended = True
            raise
        except AwsllmError as error:
            self._fail(error)
        except BaseException as error:  # Ctrl-C, a cancelled task: that is no end of the answer
            self._error = interrupted_by(error)
            raise
        self._events.append(event)
        return event

    @property
    def response(self) -> Awaitable[R]:
        """The whole response; reads what is left of the stream."""
        return self._read()

    async def _read(self) -> R:
        async for _ in self:
            pass
        return self.partial

    async def close(self) -> None:
        """Stop, wherever the stream is. May be called twice."""
        self._closed = True
        close = getattr(self._source, "aclose", None)
        if close is not None:
            await close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
