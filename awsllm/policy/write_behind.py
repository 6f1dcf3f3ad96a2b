"""What is written behind the calls: gathered in memory, and written within a second by one thread for all of it.

Whoever gathers says so (``soon``) and is told to write (``flush``): within ``DELAY`` seconds, when the process ends by
itself, and when SIGTERM ends it, unless the program handles that signal itself (then it ends by itself). A process that
is killed (SIGKILL, ``os._exit``) loses what it gathered in the last second. After a fork the parent writes what it had
gathered, and the child begins with nothing (``forget``).
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Protocol

DELAY = 1.0
"""Seconds for which something may stand in memory alone."""


class Gathered(Protocol):
    """``flush`` writes what was gathered, raises nothing that matters, and may be called by several threads at once;
    ``forget`` drops it, in the child of a fork, where no other thread is left."""

    def flush(self) -> object: ...

    def forget(self) -> None: ...


class _Writer:
    """That of a process. A signal's handler may come in between any two of its steps, so that no lock is held where
    something is taken or written."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self._due: dict[int, Gathered] = {}
        self._writing: dict[int, Gathered] = {}
        self._something = threading.Event()
        self._lock = threading.Lock()
        self._is_running = False
        self.is_end_heeded = False

    def add(self, gathered: Gathered) -> None:
        self._due[id(gathered)] = gathered
        self._something.set()
        if not self._is_running:
            self._start()

    def _start(self) -> None:
        with self._lock:
            starts, self._is_running = not self._is_running, True
        if starts:
            threading.Thread(target=self._run, name="awsllm-writer", daemon=True).start()
            heed_the_end()

    def _run(self) -> None:
        while True:
            self._something.wait()
            self._something.clear()
            time.sleep(DELAY)
            self._write_due()

    def write(self) -> None:
        """Have all of it written, and wait for what the thread is at: it ends with the process."""
        self._write_due()
        for gathered in list(self._writing.values()):
            with suppress(Exception):
                gathered.flush()

    def _write_due(self) -> None:
        while self._due:
            with suppress(Exception):  # another thread took the last; each tells for itself why it could not write
                key, gathered = next(iter(self._due.items()))
                self._writing[key] = gathered  # first, so that it is in one of both at any time
                self._due.pop(key, None)
                try:
                    gathered.flush()
                finally:
                    self._writing.pop(key, None)


_watched: weakref.WeakSet[Gathered] = weakref.WeakSet()
_writer = _Writer()


def watch(gathered: Gathered) -> None:
    """Forks are survived by it. Where this is the main thread, SIGTERM is too."""
    _watched.add(gathered)
    _heed_sigterm()


def soon(gathered: Gathered) -> None:
    """It has something to write."""
    _writer.add(gathered)


def at_the_end(flush: Callable[[], object]) -> None:
    """What has a thread of its own that writes behind is asked to come to its end when this process does."""
    _others.append(flush)
    _heed_sigterm()


def now() -> None:
    """Have all of it written that this process has gathered."""
    _writer.write()
    for flush in _others:
        with suppress(Exception):
            flush()


_others: list[Callable[[], object]] = []


class WritingLock:
    """A lock that ``flush`` holds, of which a signal's handler knows whether it interrupted its holder."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()
        _holders.add(threading.get_ident())

    def __exit__(self, *_: object) -> None:
        _holders.discard(threading.get_ident())
        self._lock.release()
        if _ended_by and threading.current_thread() is threading.main_thread():
            _end(_ended_by[0])


_holders: set[int] = set()
_ended_by: list[int] = []


def _heed_sigterm() -> None:
    """Write before SIGTERM ends the process, where that is what it does; Python tells the main thread alone of it."""
    if os.name != "posix" or threading.current_thread() is not threading.main_thread():
        return
    import signal

    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        with suppress(ValueError):  # a subinterpreter may have no handlers
            signal.signal(signal.SIGTERM, _on_sigterm)


def _on_sigterm(number: int, _: FrameType | None) -> None:
    if threading.get_ident() in _holders:  # it was at writing, and must come to the end of that
        _ended_by.append(number)
        return
    _end(number)


def is_handler(handler: object) -> bool:
    """Whether it is the one of here, which writes what was gathered and then does as if there were none."""
    return handler is _on_sigterm


def _end(number: int) -> None:
    """What the signal would have done, after all is written."""
    import signal

    _ended_by.clear()
    signal.signal(number, signal.SIG_DFL)
    now()
    os.kill(os.getpid(), number)


def heed_the_end() -> None:
    """Where a thread that writes behind begins: a child of multiprocessing ends without ``atexit``, and what its parent
    had to be done at the end is not for it."""
    if not _writer.is_end_heeded and (util := sys.modules.get("multiprocessing.util")):
        _writer.is_end_heeded = True
        util.Finalize(None, now, exitpriority=10)
    _heed_sigterm()


def _in_child() -> None:
    _holders.clear()
    _ended_by.clear()
    _writer.begin()
    for gathered in list(_watched):
        gathered.forget()


atexit.register(now)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
