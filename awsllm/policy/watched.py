"""A file that is read again when it has changed, while its reader runs."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from awsllm.errors import ConfigurationError

T = TypeVar("T")

_EVERY = 1.0  # seconds between two looks


class Watched(Generic[T]):
    """What a file says. It is looked at when its value is asked for, at most once a second, so that nothing runs in
    between; a file that is gone or cannot be read is told in the log, and the value stays what it was.

    Making it reads the file, and raises ``ConfigurationError``. Safe to share between threads."""

    def __init__(
        self, path: str | Path, read: Callable[[Path], T], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.path = Path(path)
        self._read, self._clock = read, clock
        self._lock = threading.Lock()
        self._mark = self._look()
        try:
            self._value = read(self.path)
        except OSError as error:
            raise ConfigurationError(f"{self.path} cannot be read: {error.strerror or error}") from error
        self._due = clock() + _EVERY

    @property
    def value(self) -> T:
        if self._clock() >= self._due:
            self.check()
        return self._value

    def check(self, *, force: bool = False) -> None:
        """Read the file if it has changed, or in any case."""
        with self._lock:
            self._due = self._clock() + _EVERY
            mark = self._look()
            if mark == self._mark and not force:
                return
            self._mark = mark
            try:
                self._value = self._read(self.path)
            except (ConfigurationError, OSError) as error:
                self._tell("%s was changed and cannot be used, so what it said before holds: %s", self.path, error)

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _tell(self, message: str, *arguments: object) -> None:
        import logging

        logging.getLogger(__name__).warning(message, *arguments)
