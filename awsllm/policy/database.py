"""An SQLite file that threads and processes share: what is kept in it survives a fork, and is its owner's alone.

SQLite's locks are a process's, and what it believes of them is in memory that a child inherits: with its parent's
connection, or while a thread of its parent writes, a child takes for its own what its parent holds, waits for threads
that are not in it, and loses what it writes when the parent ends. So a fork waits until nobody writes, and closes the
connections first; each side opens its own when it needs one.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from awsllm.errors import ConfigurationError

_BUSY = 10.0  # seconds that another process may hold the database
_PATIENCE = 2.0  # seconds that a fork waits for a thread that uses one: its child may be the worse for it, not hang
_REFUSED = {
    "SQLITE_FULL": "the disk is full",
    "SQLITE_IOERR": "the disk takes no more of it",
    "SQLITE_READONLY": "it may only be read",
    "SQLITE_BUSY": "another process has it",
}
Connection = sqlite3.Connection
DatabaseError = sqlite3.Error
"""What reading raises where the file is damaged, or none of SQLite's."""


class Database:
    """One connection a process, opened at first use. What is ``private`` is not put into another user's file."""

    def __init__(self, path: str | Path, schema: str, *, private: bool = False) -> None:
        if not str(path).strip():
            raise ConfigurationError("the path of a database is empty")
        if "://" in str(path)[2:]:  # C://folder is one of Windows
            raise ConfigurationError(f"{path!s:.80} is no file's path; where this is kept is a file")
        self.path = Path(path)
        self._schema, self._private = schema, private
        self._lock = threading.Lock()
        self._base: sqlite3.Connection | None = None
        self._process = 0
        self._inherited: list[sqlite3.Connection | None] = []  # kept, for closing one would release the parent's locks
        _databases.add(self)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, for one statement that changes nothing: it waits for no writer."""
        if self._process not in (0, os.getpid()):
            self._begin_anew()
        with self._lock:
            yield self._base or self._open()

    def check(self) -> None:
        """``ConfigurationError`` for a file that is none, now and not when it is first used."""
        with self.reading():
            pass

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
                base.execute("COMMIT")
            except BaseException:
                if base.in_transaction:  # SQLite takes back by itself what a full disk kept it from
                    base.execute("ROLLBACK")
                raise

    @contextmanager
    def changing(self) -> Iterator[sqlite3.Connection]:
        """A transaction whose failure is told: a disk that does not take it is a ``ConfigurationError``."""
        try:
            with self.transaction() as base:
                yield base
        except sqlite3.Error as error:
            name = str(getattr(error, "sqlite_errorname", "SQLITE_ERROR"))  # of Python 3.11
            why = next((text for prefix, text in _REFUSED.items() if name.startswith(prefix)), name)
            raise ConfigurationError(f"{self.path} cannot be written: {why}") from error

    def close(self) -> None:
        with self._lock:
            if self._base is not None and self._process == os.getpid():
                self._base.close()
            self._base = None

    def _why(self, error: OSError | sqlite3.Error | UnicodeDecodeError) -> str:
        if self.path.is_dir():
            return "it is a folder"
        if not self.path.parent.is_dir():
            return f"there is no folder {self.path.parent}"
        return str((error.strerror if isinstance(error, OSError) else None) or error)

    def _rest(self) -> bool:
        """Have no connection, and let nobody open one; whether that could be had."""
        if not self._lock.acquire(timeout=_PATIENCE):
            return False
        if self._base is not None and self._process == os.getpid():
            self._base.close()
            self._base, self._process = None, 0
        return True

    def _go_on(self) -> None:
        self._lock.release()

    def _begin_anew(self) -> None:
        """In the child of a fork that waited in vain; the lock is held by a thread that is not here."""
        self._lock = threading.Lock()
        self._inherited.append(self._base)
        self._base, self._process = None, 0

    def _make(self) -> None:
        """The file, where there is none, behind a link too: what is in it is nobody else's. One that is there is not
        opened, for closing it would give up the locks that other connections of this process have on it."""
        with suppress(FileExistsError, PermissionError):  # it may be there to be read alone
            os.close(os.open(os.path.realpath(self.path), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        if self._private and hasattr(os, "geteuid") and os.geteuid() != 0:
            owner = os.stat(self.path).st_uid
            if owner not in (os.geteuid(), 0):
                raise ConfigurationError(f"{self.path} belongs to another user, who could read what is put into it")

    def _open(self) -> sqlite3.Connection:
        try:
            self._make()
            base = sqlite3.connect(self.path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
            base.execute("PRAGMA journal_mode=WAL")
            base.execute("PRAGMA synchronous=NORMAL")  # a crash of the machine loses the last changes, no more
            base.executescript(self._schema)
        except (OSError, sqlite3.Error, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{self.path} cannot be used as a database: {self._why(error)}") from error
        self._base, self._process = base, os.getpid()
        return base


def tables_in(path: Path) -> set[str]:
    """The names of the tables of a file that is there, which is not changed; none where it is no database."""
    try:
        if not path.is_file() or not path.stat().st_size:
            return set()
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as base:
            names = {name for (name,) in base.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except (OSError, ValueError, sqlite3.Error):  # a name that is none, half a character: told when it is opened
        return set()
    return {name for name in names if not name.startswith("sqlite_")}


# --- forks -----------------------------------------------------------------------------------------------------------

_databases: weakref.WeakSet[Database] = weakref.WeakSet()
_forking = threading.RLock()
_resting: list[Database] = []


def _before_fork() -> None:
    _forking.acquire()
    _resting.extend(each for each in list(_databases) if each._rest())


def _after_fork() -> None:
    while _resting:
        _resting.pop()._go_on()
    _forking.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
