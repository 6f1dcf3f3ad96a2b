"""An SQLite file that threads and processes share: what is kept in it survives a fork, and is its owner's alone."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from awsllm.errors import ConfigurationError

_BUSY = 10.0  # seconds that another process may hold the database


class Database:
    """One connection a process, opened at first use. A connection must not be used on both sides of a fork, so a child
    opens its own and leaves the parent's alone."""

    def __init__(self, path: str | Path, schema: str) -> None:
        self.path = Path(path)
        self._schema = schema
        self._lock = threading.Lock()
        self._base: sqlite3.Connection | None = None
        self._process = 0
        self._inherited: list[sqlite3.Connection | None] = []  # kept, for closing one would release the parent's locks

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, for one statement that changes nothing: it waits for no writer."""
        if self._process not in (0, os.getpid()):
            self._begin_anew()
        with self._lock:
            yield self._base or self._open()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A transaction that has the database before it reads; for a file that is none, ``ConfigurationError``."""
        if self._process not in (0, os.getpid()):
            self._begin_anew()
        with self._lock:
            base = self._base or self._open()
            base.execute("BEGIN IMMEDIATE")
            try:
                yield base
            except BaseException:
                base.execute("ROLLBACK")
                raise
            base.execute("COMMIT")

    def close(self) -> None:
        with self._lock:
            if self._base is not None and self._process == os.getpid():
                self._base.close()
            self._base = None

    def _begin_anew(self) -> None:
        """In the child of a fork; the lock may have been held by a thread that is not here."""
        self._lock = threading.Lock()
        self._inherited.append(self._base)
        self._base, self._process = None, 0

    def _open(self) -> sqlite3.Connection:
        try:
            with suppress(FileExistsError):  # what is in it is nobody else's
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            base = sqlite3.connect(self.path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
            base.execute("PRAGMA journal_mode=WAL")
            base.execute("PRAGMA synchronous=NORMAL")  # a crash of the machine loses the last changes, no more
            base.executescript(self._schema)
        except (OSError, sqlite3.Error) as error:
            raise ConfigurationError(f"{self.path} cannot be used as a database: {error}") from error
        self._base, self._process = base, os.getpid()
        return base
