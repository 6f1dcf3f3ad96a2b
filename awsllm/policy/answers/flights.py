"""Equal calls that are made at once are one: the first is made, the others wait for what it gets.

A call whose maker fails for a reason of its own (its deadline, a throttle) is made by the next in the queue; what the
request itself is refused for is told to all. A stream has no maker: whoever needs the next event and does not find it
among those that have come fetches it for all, so that nobody waits for a slow reader, and one that leaves takes nothing
from the others. It is closed when the last has left.
"""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from awsllm.backend import Attempt
from awsllm.errors import AwsllmError, ModelTimeoutError, RequestError
from awsllm.stream import interrupted_by

E = TypeVar("E")

_forks = [0]
"""How often this process is a fork of one that had loaded this."""


def _in_child() -> None:
    _forks[0] += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


class Flight:
    """One call that others wait for."""

    # For most nobody waits: what is not set costs a call nothing.
    has_landed = False
    over: threading.Event | None = None
    """For those who wait; made for the first of them."""
    response: Any = None
    refusal: RequestError | None = None

    def wait(self, attempt: Attempt) -> Any:
        """What the maker got; None: nothing, and the next is to make it. Raises the refusal."""
        if self.over is not None and not self.over.wait(attempt.remaining()):
            raise late()
        if self.refusal is not None:
            raise told_again(self.refusal)
        return self.response


class Flights:
    """The calls that are being made, and the streams that are open. A process that was forked has its own: whoever
    makes the others is not in it, and would be waited for in vain."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._forks = _forks[0]
        self.landed: bytes | None = None
        """The key of the last call that is over, of which each call has an object of its own: while that stays, no
        answer has come that another one made."""
        self._lock = threading.Lock()
        self._calls: dict[bytes, Flight] = {}
        self._streams: dict[bytes, SharedStream[Any]] = {}

    def board(self, key: bytes) -> tuple[Flight, bool]:
        """The flight of a key, and whether it is the caller's to make."""
        if self._forks != _forks[0]:
            self._begin()
        own = Flight()
        flight = self._calls.setdefault(key, own)  # one step: the lock is for those who wait
        if flight is own:
            return flight, True
        with self._lock:
            if flight.over is None:
                flight.over = threading.Event()
        if flight.has_landed:  # before its maker could see that somebody waits
            flight.over.set()
        return flight, False

    def land(self, key: bytes, flight: Flight) -> None:
        self.landed = key  # before the next of its key can board
        self._calls.pop(key, None)
        flight.has_landed = True
        if flight.over is not None:
            flight.over.set()

    def join(self, key: bytes, begin: Callable[[], Iterator[E]]) -> SharedStream[E]:
        """The open stream of a key, or a new one that ``begin`` gives."""
        if self._forks != _forks[0]:
            self._begin()
        with self._lock:
            stream = self._streams.get(key)
            if stream is None or stream.is_over:
                stream = self._streams[key] = SharedStream(begin)
            stream.readers += 1
            return stream

    def leave(self, key: bytes, stream: SharedStream[Any]) -> None:
        with self._lock:
            stream.readers -= 1
            if stream.readers:
                return
            if self._streams.get(key) is stream:
                del self._streams[key]
        stream.close()


class SharedStream(Generic[E]):
    """A stream that several read, each at its own pace."""

    def __init__(self, begin: Callable[[], Iterator[E]]) -> None:
        self.readers = 0
        self._begin = begin
        self._source: Iterator[E] | None = None
        self._lock = threading.Lock()
        self._events: list[E] = []
        self._ended = False
        self._error: Exception | None = None

    @property
    def is_over(self) -> bool:
        return self._ended or self._error is not None

    def read(self, attempt: Attempt) -> Iterator[tuple[E, bool]]:
        """Each event, and whether this reader fetched it."""
        seen = 0
        while True:
            fetched = False
            while seen == len(self._events):
                if self._ended:
                    return
                fetched = self._fetch(seen, attempt)
            yield self._events[seen], fetched
            seen += 1

    def _fetch(self, seen: int, attempt: Attempt) -> bool:
        """Have one event more than ``seen``, or the end; whether this reader fetched it."""
        due = attempt.event_deadline(first=seen == 0)
        left = -1.0 if due is None else max(0.0, Attempt(deadline=due).remaining() or 0.0)
        if not self._lock.acquire(timeout=left):
            raise late()
        try:
            if self._error is not None and seen == len(self._events):
                raise told_again(self._error)
            if self._ended or seen < len(self._events):
                return False
            self._pull()
            return True
        finally:
            self._lock.release()

    def _pull(self) -> None:
        try:
            if self._source is None:
                self._source = self._begin()
            self._events.append(next(self._source))
        except StopIteration:
            self._ended = True
        except Exception as error:
            self._error = error
            raise
        except BaseException as error:
            self._error = interrupted_by(error)
            raise

    def close(self) -> None:
        close = getattr(self._source, "close", None)
        if close is not None:
            close()


def late() -> ModelTimeoutError:
    return ModelTimeoutError("the deadline passed while an equal call was waited for")


def told_again(error: Exception) -> Exception:
    """The error for another caller: a traceback is of one thread."""
    if not isinstance(error, AwsllmError):
        return error
    again = copy.copy(error)
    again.__cause__ = error.__cause__
    return again.with_traceback(None)
