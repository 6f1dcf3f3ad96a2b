"""Items of an iterator that are computed on a thread of their own, so that whoever wants the next one need not wait
longer than he likes: a stream says that it is still there while the model thinks, and ends by its deadline.

Nothing interrupts an iterator that computes. Once nobody wants its items any more it is closed as soon as it gives its
next one, which for a model's answer is the next token, or its call's own deadline.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable
from contextvars import copy_context
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_END = object()


class SilenceError(Exception):
    """No item has come in the time given."""


class Pump(Generic[T]):
    """``start`` is called on the thread, too; ``source`` is what it gave. For one reader."""

    def __init__(self, start: Callable[[], Iterable[T]]) -> None:
        self.source: Iterable[T] | None = None
        self._start = start
        self._items: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        self._closed = False
        thread = threading.Thread(target=copy_context().run, args=[self._run], name="awsllm-stream", daemon=True)
        thread.start()

    def next(self, seconds: float) -> T | None:
        """The next item; None at the end. Raises what computing it raised, and ``SilenceError``."""
        try:
            item, error = self._items.get(timeout=max(0.0, seconds))
        except queue.Empty:
            raise SilenceError from None
        if error is not None:
            raise error
        if item is _END:
            self._items.put((_END, None))  # whoever asks again is told again
            return None
        found: T = item
        return found

    def close(self) -> None:
        """Nobody wants what is still to come."""
        self._closed = True

    def _run(self) -> None:
        try:
            self.source = self._start()
            try:
                for item in self.source:
                    if self._closed:
                        return
                    self._items.put((item, None))
            finally:
                close = getattr(self.source, "close", None)
                if close is not None:
                    close()
            self._items.put((_END, None))
        except BaseException as error:
            self._items.put((None, error))
