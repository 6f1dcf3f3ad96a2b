"""The thread that writes behind: a call puts what it has into a queue, and this writes several at once.

``write_behind`` says when the process ends or forks. What is in the queue at its end is written; after a fork the child
has a queue and a thread of its own, and what was in the parent's is the parent's to write. A queue that grows faster
than the disk takes it is bounded: what does not fit is not kept, which the log says once.
"""

from __future__ import annotations

import queue
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from awsllm.policy import write_behind

_MOST_WAITING = 10_000  # calls that may wait to be written
_AT_ONCE = 256  # calls of one transaction
_GATHERED = 0.05  # seconds in which calls are gathered for one
_PATIENCE = 5.0  # seconds that the end of a program may wait for the disk


class BehindWriter:
    """``write`` is given what was put, several at a time, in this writer's thread."""

    def __init__(self, write: Callable[[list[Any]], None]) -> None:
        self._write = write
        self.dropped = 0
        self.forget()
        _WRITERS.add(self)
        write_behind.watch(self)

    def forget(self) -> None:
        """Begin with an empty queue: in the child of a fork, whose parent writes what it had."""
        # SimpleQueue alone may be put into by a signal handler that interrupts a put.
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def put(self, item: Any) -> None:
        """Takes about a microsecond; never waits and never raises."""
        if self._queue.qsize() >= _MOST_WAITING:
            self._drop()
            return
        self._queue.put(item)
        if self._thread is None:
            self._start()

    def _drop(self) -> None:
        self.dropped += 1
        if self.dropped == 1:
            from awsllm import log

            log.logger("policy").warning("the call log cannot be written as fast as calls are made: it misses some")

    def _start(self) -> None:
        with self._starting:
            if self._thread is not None:
                return
            thread = threading.Thread(target=self._run, name="awsllm-call-log", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the interpreter is ending: what is put now is written by whoever flushes
                return
            self._thread = thread
        write_behind.heed_the_end()

    def flush(self, patience: float = _PATIENCE) -> bool:
        """Wait until all that was put is written; whether that was so within ``patience`` seconds."""
        if self._thread is None or not self._thread.is_alive():
            self._drain()
            return True
        done = threading.Event()
        self._queue.put(done)
        return done.wait(patience)

    def stop(self) -> None:
        """Write what there is and end the thread; another ``put`` begins one anew."""
        thread = self._thread
        self.flush()
        if thread is not None and thread.is_alive():
            self._queue.put(None)
            thread.join(_PATIENCE)
        self._thread = None
        self._drain()

    def _drain(self) -> None:
        items: list[Any] = []
        done: list[threading.Event] = []
        with suppress(queue.Empty):
            while True:
                item = self._queue.get_nowait()
                (done if isinstance(item, threading.Event) else items).append(item)
        self._write([item for item in items if item is not None])
        for each in done:
            each.set()

    def _run(self) -> None:
        while True:
            items, done, is_last = self._gathered()
            with suppress(Exception):  # it tells for itself; without this thread nothing would be written any more
                self._write(items)
            for each in done:
                each.set()
            if is_last:
                return

    def _gathered(self) -> tuple[list[Any], list[threading.Event], bool]:
        """What is there, and what comes soon after; at once, where somebody waits for it."""
        item = self._queue.get()
        items: list[Any] = []
        done: list[threading.Event] = []
        until = time.monotonic() + _GATHERED
        while True:
            if item is None:
                return items, done, True
            (done if isinstance(item, threading.Event) else items).append(item)
            if len(items) >= _AT_ONCE:
                return items, done, False
            try:
                item = self._queue.get(timeout=0 if done else max(0.0, until - time.monotonic()))
            except queue.Empty:
                return items, done, False


# --- the end of the program ------------------------------------------------------------------------------------------

_WRITERS: weakref.WeakSet[BehindWriter] = weakref.WeakSet()


def flush_all() -> None:
    """Write what any log of this process has in its queue."""
    for writer in list(_WRITERS):
        writer.flush()


write_behind.at_the_end(flush_all)  # one handler of SIGTERM for all: of two, the second would not be asked
