"""Where answers lie: in memory, in an SQLite file, in Redis. Bytes by 32-byte keys, until they are too old or too many.

A store that fails is none: a call is then made as if nothing had been kept, and the log says so once.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from awsllm.errors import ConfigurationError
from awsllm.policy.database import Database

DAY = 86_400.0
MOST_BYTES = 64 * 2**20
_OVERHEAD = 200  # bytes that an entry takes beside its own, about
_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    key BLOB PRIMARY KEY, data BLOB NOT NULL, size INTEGER NOT NULL, expires REAL NOT NULL, used REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS by_use ON answers (used);
CREATE INDEX IF NOT EXISTS by_age ON answers (expires);
CREATE TABLE IF NOT EXISTS total (id INTEGER PRIMARY KEY CHECK (id = 1), size INTEGER NOT NULL);
INSERT OR IGNORE INTO total VALUES (1, 0);
CREATE TRIGGER IF NOT EXISTS grown AFTER INSERT ON answers BEGIN UPDATE total SET size = size + new.size; END;
CREATE TRIGGER IF NOT EXISTS shrunk AFTER DELETE ON answers BEGIN UPDATE total SET size = size - old.size; END;
"""
_USE_IS_NOTED = 60.0  # seconds between two notes that an answer was of use, so that reading seldom writes


class AnswerStore(Protocol):
    """Safe to share between threads. ``waits``: it lies behind a network, and an event loop must not wait for it."""

    waits: bool

    def get(self, key: bytes) -> bytes | None: ...

    def put(self, key: bytes, data: bytes, ttl: float) -> None: ...

    def clear(self) -> None: ...

    def close(self) -> None: ...


class MemoryAnswers:
    """The last used ones, of this process. ``max_bytes`` bounds what they take."""

    waits = False

    def __init__(self, max_bytes: int = MOST_BYTES, *, clock: Callable[[], float] = time.time) -> None:
        self._most, self._clock = max_bytes, clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()
        self.size = 0

    def get(self, key: bytes) -> bytes | None:
        with self._lock:
            data, expires = self._kept.get(key, (None, 0.0))
            if data is None:
                return None
            if expires <= self._clock():
                self._drop(key)
                return None
            self._kept.move_to_end(key)
            return data

    def put(self, key: bytes, data: bytes, ttl: float) -> None:
        if len(data) + _OVERHEAD > self._most:
            return
        with self._lock:
            if key in self._kept:
                self._drop(key)
            self._kept[key] = (data, self._clock() + ttl)
            self.size += len(data) + _OVERHEAD
            while self.size > self._most:
                self._drop(next(iter(self._kept)))

    def _drop(self, key: bytes) -> None:
        self.size -= len(self._kept.pop(key)[0]) + _OVERHEAD

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()
            self.size = 0

    def close(self) -> None:
        """What is in memory goes with the process."""


class SqliteAnswers:
    """In a file that only its owner may read; processes share it, and a restart forgets nothing."""

    waits = False

    def __init__(
        self, path: str | Path, max_bytes: int = MOST_BYTES, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._base = Database(path, _SCHEMA)
        self._most, self._clock = max_bytes, clock

    def get(self, key: bytes) -> bytes | None:
        now = self._clock()
        with self._base.reading() as base:
            found = base.execute("SELECT data, expires, used FROM answers WHERE key = ?", (key,)).fetchone()
        if found is None or found[1] <= now:
            return None
        if now - found[2] > _USE_IS_NOTED:
            with self._base.transaction() as base:
                base.execute("UPDATE answers SET used = ? WHERE key = ?", (now, key))
        data: bytes = found[0]
        return data

    def put(self, key: bytes, data: bytes, ttl: float) -> None:
        size = len(data) + _OVERHEAD
        if size > self._most:
            return
        now = self._clock()
        with self._base.transaction() as base:
            base.execute("DELETE FROM answers WHERE key = ? OR expires <= ?", (key, now))
            base.execute("INSERT INTO answers VALUES (?, ?, ?, ?, ?)", (key, data, size, now + ttl, now))
            while base.execute("SELECT size FROM total").fetchone()[0] > self._most:
                base.execute(
                    "DELETE FROM answers WHERE key IN (SELECT key FROM answers WHERE key != ? ORDER BY used LIMIT 16)",
                    (key,),
                )

    def clear(self) -> None:
        with self._base.transaction() as base:
            base.execute("DELETE FROM answers")

    def close(self) -> None:
        self._base.close()


class RedisAnswers:
    """In Redis, which bounds them itself (``maxmemory``). ``client`` is a ``redis.Redis``; whoever gives it closes it.
    Needs the extra ``redis``."""

    waits = True

    def __init__(self, client: Any, prefix: str = "awsllm:answer:") -> None:
        self._client, self._prefix = client, prefix
        self._is_own = False

    @classmethod
    def at(cls, url: str) -> RedisAnswers:
        """``redis://`` or ``rediss://``."""
        try:
            import redis
        except ImportError:
            raise ConfigurationError("answers in Redis need the extra: pip install 'awsllm[redis]'") from None
        store = cls(redis.Redis.from_url(url, socket_timeout=5.0, socket_connect_timeout=5.0))
        store._is_own = True
        return store

    def get(self, key: bytes) -> bytes | None:
        found: bytes | None = self._client.get(self._prefix + key.hex())
        return found

    def put(self, key: bytes, data: bytes, ttl: float) -> None:
        self._client.set(self._prefix + key.hex(), data, px=max(1, int(ttl * 1000)))

    def clear(self) -> None:
        for name in self._client.scan_iter(match=f"{self._prefix}*", count=1000):
            self._client.delete(name)

    def close(self) -> None:
        if self._is_own:
            self._client.close()


class ResponseCache:
    """Answers to equal requests, for ``Client(response_cache=…)``. Several clients may share one.

    ``place`` is a file's path, ``redis://…``, a store of one's own (an ``AnswerStore``), or None: memory. ``ttl`` is
    how many seconds an answer is good for, ``max_bytes`` what all of them may take (Redis has its own bound).
    ``random`` keeps answers at any temperature, not at 0 alone. ``scope`` names whose answers these are: all who name
    it share them. Without, they are those of the credentials, endpoint and region that made them.
    """

    def __init__(
        self,
        place: str | Path | AnswerStore | None = None,
        *,
        ttl: float = DAY,
        max_bytes: int = MOST_BYTES,
        random: bool = False,
        scope: str | None = None,
    ) -> None:
        if not ttl > 0 or not max_bytes > 0:
            raise ConfigurationError("ttl and max_bytes are above 0")
        self.ttl, self.random, self.scope = ttl, random, scope
        self.store = _store(place, max_bytes)
        self._failed = False

    def get(self, key: bytes) -> bytes | None:
        try:
            return self.store.get(key)
        except Exception as error:
            self._tell(error)
            return None

    def put(self, key: bytes, data: bytes) -> None:
        try:
            self.store.put(key, data, self.ttl)
        except Exception as error:
            self._tell(error)

    def clear(self) -> None:
        """Forget all answers, whosesoever they are."""
        self.store.clear()

    def close(self) -> None:
        self.store.close()

    def _tell(self, error: Exception) -> None:
        if isinstance(error, ConfigurationError):  # a file that is no database: it never will be one
            raise error
        if not self._failed:
            self._failed = True
            from awsllm import log

            log.logger("policy").warning("answers cannot be kept: %s; calls are made", type(error).__name__)


def _store(place: str | Path | AnswerStore | None, max_bytes: int) -> AnswerStore:
    if place is None:
        return MemoryAnswers(max_bytes)
    if isinstance(place, str) and place.startswith(("redis://", "rediss://")):
        return RedisAnswers.at(place)
    if isinstance(place, str | Path):
        return SqliteAnswers(place, max_bytes)
    return place
