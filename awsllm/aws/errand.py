"""Work that nothing can stop, done where it can be left behind: looking up a name, asking a credential service.

Such work takes as long as a resolver or a program likes. Each piece of it runs on a daemon thread of its own, so that
neither a deadline nor the end of an event loop or of the process waits for it (the threads of an executor are joined).
Who wants the same thing while it is under way waits for the same thread, so that they do not pile up.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable
from contextvars import copy_context
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_running: dict[tuple[int, Hashable], _Errand[Any]] = {}


class _Errand(Generic[T]):
    """One piece of work and those who wait for it."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._waiting: list[Callable[[], None]] | None = []  # None once it is done
        self._result: T
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._result = self._work()
        except BaseException as error:
            self._error = error

    def finish(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting or [], None
        for call in waiting:
            call()

    def when_done(self, call: Callable[[], None]) -> None:
        with self._lock:
            if self._waiting is not None:
                self._waiting.append(call)
                return
        call()

    def result(self) -> T:
        """Once it is done. Each who waits is raised an error of his own, as errors are annotated on their way."""
        if self._error is None:
            return self._result
        from copy import copy

        error = copy(self._error)
        error.__cause__ = self._error.__cause__
        raise error


def _errand(work: Callable[[], T], key: Hashable) -> _Errand[T]:
    """The errand of this name that is under way in this process, or a new one."""
    name = (os.getpid(), key)
    mine: _Errand[T] = _Errand(work)
    errand = _running.setdefault(name, mine)
    if errand is mine:

        def run() -> None:
            mine.run()
            del _running[name]  # before anybody is told: who asks from now on gets a new answer
            mine.finish()

        try:
            threading.Thread(target=copy_context().run, args=(run,), name="awsllm-errand", daemon=True).start()
        except BaseException:
            del _running[name]
            raise
    return errand


def within(work: Callable[[], T], seconds: float, key: Hashable) -> T:
    """What ``work`` gives, or what it gave another who asked by the same ``key``. Raises TimeoutError when that takes
    longer than ``seconds``."""
    errand = _errand(work, key)
    done = threading.Event()
    errand.when_done(done.set)
    if not done.wait(min(seconds, threading.TIMEOUT_MAX)):
        raise TimeoutError
    return errand.result()


async def aside(work: Callable[[], T], key: Hashable) -> T:
    """``within``, awaited: until it is cancelled."""
    import asyncio
    from contextlib import suppress

    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def tell() -> None:
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(done.set)

    errand = _errand(work, key)
    errand.when_done(tell)
    await done.wait()
    return errand.result()
