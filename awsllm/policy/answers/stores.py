"""Where answers lie: in memory, in an SQLite file, in Redis. Bytes by 32-byte keys, until they are too old or too many.

A store that fails is none: a call is then made as if nothing had been kept, and the log says so once.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, cast

from awsllm.errors import ConfigurationError
from awsllm.policy.answers.claims import Claims, ClaimStore
from awsllm.policy.database import Database

DAY = 86_400.0
MOST_BYTES = 64 * 2**20
_OVERHEAD = 200  # bytes that an entry takes beside its own, about
_TOGETHER, _LITTLE = 64, 16_384  # answers that memory takes in at once, and bytes of one that may wait for others
_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    key BLOB PRIMARY KEY, data BLOB NOT NULL, size INTEGER NOT NULL, expires REAL NOT NULL, used REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS by_use ON answers (used);
CREATE INDEX IF NOT EXISTS by_age ON answers (expires);
CREATE TABLE IF NOT EXISTS claims (key BLOB PRIMARY KEY, owner TEXT NOT NULL, expires REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS total (id INTEGER PRIMARY KEY CHECK (id = 1), size INTEGER NOT NULL);
INSERT OR IGNORE INTO total VALUES (1, 0);
CREATE TRIGGER IF NOT EXISTS grown AFTER INSERT ON answers BEGIN UPDATE total SET size = size + new.size; END;
CREATE TRIGGER IF NOT EXISTS shrunk AFTER DELETE ON answers BEGIN UPDATE total SET size = size - old.size; END;
"""
_USE_IS_NOTED = 60.0  # seconds between two notes that an answer was of use, so that reading seldom writes


class AnswerStore(Protocol):
    """Safe to share between threads. ``waits``: it lies behind a network, and an event loop must not wait for it. One
    that processes share may be a ``ClaimStore`` too: then equal calls of several of them are one."""

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
        self._size = 0
        self._new: dict[bytes, tuple[bytes, float]] = {}
        """What came last, until it is put in its place with others: one alone would find nothing of that at hand."""

    @property
    def size(self) -> int:
        """Bytes that all of it takes."""
        with self._lock:
            self._settle()
            return self._size

    def get(self, key: bytes) -> bytes | None:
        if key not in self._new and key not in self._kept:  # in this order: it is in one of both at any time
            return None
        with self._lock:
            self._settle()
            data, expires = self._kept.get(key, (None, 0.0))
            if data is None:
                return None
            if expires <= self._clock():
                self._drop(key)
                return None
            self._kept.move_to_end(key)
            return data

    def put(self, key: bytes, data: bytes, ttl: float) -> None:
        size, new = len(data) + _OVERHEAD, self._new
        if size > self._most:
            return
        new[key] = data, self._clock() + ttl
        if size > _LITTLE or len(new) >= _TOGETHER:
            with self._lock:
                self._settle()

    def _settle(self) -> None:
        """Put what is new in its place."""
        new, kept = self._new, self._kept
        for key in list(new):
            entry = new[key]
            if key in kept:
                self._drop(key)
            kept[key] = entry
            self._size += len(entry[0]) + _OVERHEAD
            if new[key] is entry:
                del new[key]
        while self._size > self._most:
            self._drop(next(iter(kept)))

    def _drop(self, key: bytes) -> None:
        self._size -= len(self._kept.pop(key)[0]) + _OVERHEAD

    def clear(self) -> None:
        with self._lock:
            self._new.clear()
            self._kept.clear()
            self._size = 0

    def close(self) -> None:
        """What is in memory goes with the process."""


class SqliteAnswers:
    """In a file that only its owner may read; processes share it, and a restart forgets nothing."""

    waits = False

    def __init__(
        self, path: str | Path, max_bytes: int = MOST_BYTES, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._base = Database(path, _SCHEMA, private=True)
        self._base.check()
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

    def claim(self, key: bytes, owner: str, lease: float) -> bool:
        now = self._clock()
        with self._base.reading() as base:
            held = base.execute("SELECT 1 FROM claims WHERE key = ? AND expires > ?", (key, now)).fetchone()
        if held:
            return False
        with self._base.transaction() as base:
            base.execute("DELETE FROM claims WHERE expires <= ?", (now,))
            return base.execute("INSERT OR IGNORE INTO claims VALUES (?, ?, ?)", (key, owner, now + lease)).rowcount > 0

    def renew(self, key: bytes, owner: str, lease: float) -> None:
        with self._base.transaction() as base:
            expires = self._clock() + lease
            base.execute("UPDATE claims SET expires = ? WHERE key = ? AND owner = ?", (expires, key, owner))

    def release(self, key: bytes, owner: str) -> None:
        with self._base.transaction() as base:
            base.execute("DELETE FROM claims WHERE key = ? AND owner = ?", (key, owner))

    def clear(self) -> None:
        with self._base.transaction() as base:
            base.execute("DELETE FROM answers")

    def close(self) -> None:
        self._base.close()


_RENEW = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 0
"""
_RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


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
        store = cls(redis_at(url))
        store._is_own = True
        return store

    def get(self, key: bytes) -> bytes | None:
        found: bytes | None = self._client.get(self._prefix + key.hex())
        return found

    def put(self, key: bytes, data: bytes, ttl: float) -> None:
        self._client.set(self._prefix + key.hex(), data, px=max(1, int(ttl * 1000)))

    def claim(self, key: bytes, owner: str, lease: float) -> bool:
        return bool(self._client.set(self._claim(key), owner, nx=True, px=int(lease * 1000)))

    def renew(self, key: bytes, owner: str, lease: float) -> None:
        self._client.eval(_RENEW, 1, self._claim(key), owner, int(lease * 1000))

    def release(self, key: bytes, owner: str) -> None:
        self._client.eval(_RELEASE, 1, self._claim(key), owner)

    def _claim(self, key: bytes) -> str:
        return f"{self._prefix}claim:{key.hex()}"

    def clear(self) -> None:
        for name in self._client.scan_iter(match=f"{self._prefix}*", count=1000):
            self._client.delete(name)

    def close(self) -> None:
        if self._is_own:
            self._client.close()


def redis_at(url: str, seconds: float = 5.0) -> Any:
    """A client of a Redis that fails within so many seconds."""
    try:
        import redis
    except ImportError:
        raise ConfigurationError("what is kept in Redis needs the extra: pip install 'awsllm[redis]'") from None
    try:
        return redis.Redis.from_url(url, socket_timeout=seconds, socket_connect_timeout=seconds)
    except ValueError as error:  # its text may have the URL, and that a password
        raise ConfigurationError("that is no URL of a Redis, such as redis://localhost:6379/0") from error


class Fallible:
    """What uses a store that may fail: then it is as if nothing were kept, and the log says so once."""

    def __init__(self) -> None:
        self._failed = False

    def attempted(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """What the store answers; None where it fails."""
        try:
            return call(*arguments)
        except Exception as error:
            self.failed(error)
            return None

    def failed(self, error: Exception) -> None:
        """The store has: it is told, unless that ends the call."""
        if isinstance(error, ConfigurationError):  # a file that is no database: it never will be one
            raise error
        if not self._failed:
            self._failed = True
            from awsllm import log

            log.logger("policy").warning("answers cannot be kept: %s; calls are made", type(error).__name__)


class ResponseCache(Fallible):
    """Answers to equal requests, for ``Client(response_cache=…)``. Several clients may share one.

    ``place`` is a file's path, ``redis://…``, a store of one's own (an ``AnswerStore``), or None: memory. ``ttl`` is
    how many seconds an answer is good for, ``max_bytes`` what all of them may take (Redis has its own bound).
    ``random`` keeps answers at any temperature, not at 0 alone. ``scope`` names whose answers these are: all who name
    it share them. Without, they are those of the credentials, endpoint and region that made them. ``single_flight``:
    equal calls that processes with the same file or Redis make at once are one, as those of one process always are.
    """

    def __init__(
        self,
        place: str | Path | AnswerStore | None = None,
        *,
        ttl: float = DAY,
        max_bytes: int = MOST_BYTES,
        random: bool = False,
        scope: str | None = None,
        single_flight: bool = True,
    ) -> None:
        super().__init__()
        check_bounds(ttl=ttl, max_bytes=max_bytes)
        self.ttl, self.random, self.scope = ttl, random, scope
        self.store = _store(place, max_bytes)
        shares = single_flight and isinstance(self.store, ClaimStore)
        self.claims = Claims(cast("ClaimStore", self.store), self.attempted) if shares else None

    def get(self, key: bytes) -> bytes | None:
        try:
            return self.store.get(key)
        except Exception as error:
            self.failed(error)
            return None

    def put(self, key: bytes, data: bytes) -> None:
        try:
            self.store.put(key, data, self.ttl)
        except Exception as error:
            self.failed(error)

    def clear(self) -> None:
        """Forget all answers, whosesoever they are."""
        self.store.clear()

    def close(self) -> None:
        self.store.close()


def check_bounds(**bounds: Any) -> None:
    """``ConfigurationError`` for what is no number above 0."""
    for name, value in bounds.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise ConfigurationError(f"{name} is {value!r:.40}; it is a number above 0")


def _store(place: str | Path | AnswerStore | None, max_bytes: int) -> AnswerStore:
    if place is None:
        return MemoryAnswers(max_bytes)
    if isinstance(place, str) and place.startswith(("redis://", "rediss://")):
        return RedisAnswers.at(place)
    if isinstance(place, str | Path):
        return SqliteAnswers(place, max_bytes)
    if not hasattr(place, "get") or not hasattr(place, "put"):
        raise ConfigurationError(f"place is {place!r:.40}; it is a file's path, redis://…, or a store with get and put")
    return place
