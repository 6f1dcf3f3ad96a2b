"""``flights``, awaited. The event of a stream is fetched by a task of its own: a reader that is cancelled meanwhile
takes nothing from the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, Generic, TypeVar

from awsllm.backend import Attempt
from awsllm.errors import RequestError
from awsllm.policy.answers.flights import late, told_again
from awsllm.stream import interrupted_by

E = TypeVar("E")


class AsyncFlight:
    """``Flight``, awaited."""

    def __init__(self) -> None:
        self.over = asyncio.Event()
        self.response: Any = None
        self.refusal: RequestError | None = None

    async def wait(self, attempt: Attempt) -> Any:
        try:
            async with asyncio.timeout(attempt.remaining()):
                await self.over.wait()
        except TimeoutError:
            raise late() from None
        if self.refusal is not None:
            raise told_again(self.refusal)
        return self.response


class AsyncFlights:
    """``Flights`` of one event loop."""

    def __init__(self) -> None:
        self._calls: dict[bytes, AsyncFlight] = {}
        self._streams: dict[bytes, AsyncSharedStream[Any]] = {}

    def __contains__(self, key: bytes) -> bool:
        return key in self._calls

    def board(self, key: bytes) -> tuple[AsyncFlight, bool]:
        flight = self._calls.get(key)
        if flight is not None:
            return flight, False
        flight = self._calls[key] = AsyncFlight()
        return flight, True

    def land(self, key: bytes, flight: AsyncFlight) -> None:
        del self._calls[key]
        flight.over.set()

    def join(self, key: bytes, begin: Callable[[], AsyncIterator[E]]) -> AsyncSharedStream[E]:
        stream = self._streams.get(key)
        if stream is None or stream.is_over:
            stream = self._streams[key] = AsyncSharedStream(begin)
        stream.readers += 1
        return stream

    async def leave(self, key: bytes, stream: AsyncSharedStream[Any]) -> None:
        stream.readers -= 1
        if stream.readers:
            return
        if self._streams.get(key) is stream:
            del self._streams[key]
        await stream.close()


class AsyncSharedStream(Generic[E]):
    """``SharedStream``, awaited."""

    def __init__(self, begin: Callable[[], AsyncIterator[E]]) -> None:
        self.readers = 0
        self._begin = begin
        self._source: AsyncIterator[E] | None = None
        self._pull: asyncio.Task[None] | None = None
        self._events: list[E] = []
        self._ended = False
        self._error: Exception | None = None

    @property
    def is_over(self) -> bool:
        return self._ended or self._error is not None

    async def read(self, attempt: Attempt) -> AsyncGenerator[tuple[E, bool], None]:
        seen = 0
        while True:
            fetched = False
            while seen == len(self._events):
                if self._ended:
                    return
                if self._error is not None:
                    raise told_again(self._error)
                fetched = await self._fetch(seen, attempt)
            yield self._events[seen], fetched
            seen += 1

    async def _fetch(self, seen: int, attempt: Attempt) -> bool:
        is_mine = self._pull is None
        pull = self._pull = self._pull or asyncio.ensure_future(self._next())
        due = attempt.event_deadline(first=seen == 0)
        try:
            async with asyncio.timeout(None if due is None else Attempt(deadline=due).remaining()):
                await asyncio.shield(pull)
        except TimeoutError:
            raise late() from None
        return is_mine

    async def _next(self) -> None:
        """Fetch one event; what goes wrong is kept, for nobody may be left to be told."""
        try:
            if self._source is None:
                self._source = self._begin()
            self._events.append(await anext(self._source))
        except StopAsyncIteration:
            self._ended = True
        except Exception as error:
            self._error = error
        except BaseException as error:
            self._error = interrupted_by(error)
            raise
        finally:
            self._pull = None

    async def close(self) -> None:
        if self._pull is not None:
            pull = self._pull
            pull.cancel()
            await asyncio.wait([pull])
        close = getattr(self._source, "aclose", None)
        if close is not None:
            await close()
