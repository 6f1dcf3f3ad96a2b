"""Where questions lie with their vectors and answers: in memory, in an SQLite file, in Redis.

Questions are compared within a group alone: those of which all the rest is equal. What lies in a file or in Redis is
read once: each process keeps the vectors of the groups that it last looked into, and reads only what came since. What
is found near is then fetched, and is not there if it is too old or has been driven out.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from awsllm.errors import ConfigurationError
from awsllm.policy.answers.vectors import VectorIndex
from awsllm.policy.database import Database

MOST_QUESTIONS = 1000
_OVERHEAD = 200  # bytes that a question takes beside its own, about
_MOST_LOADED = 128 * 2**20  # bytes of vectors that a process holds of a file or of Redis
_USE_IS_NOTED = 60.0
_PAGE = 500
_SCHEMA = """
CREATE TABLE IF NOT EXISTS questions (
    id INTEGER PRIMARY KEY AUTOINCREMENT, kin BLOB NOT NULL, vector BLOB NOT NULL, data BLOB NOT NULL,
    size INTEGER NOT NULL, expires REAL NOT NULL, used REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS questions_by_kin ON questions (kin, id);
CREATE INDEX IF NOT EXISTS questions_by_use ON questions (used);
CREATE INDEX IF NOT EXISTS questions_by_age ON questions (expires);
CREATE TABLE IF NOT EXISTS questions_total (id INTEGER PRIMARY KEY CHECK (id = 1), size INTEGER NOT NULL);
INSERT OR IGNORE INTO questions_total VALUES (1, 0);
CREATE TRIGGER IF NOT EXISTS questions_grown AFTER INSERT ON questions
BEGIN UPDATE questions_total SET size = size + new.size; END;
CREATE TRIGGER IF NOT EXISTS questions_shrunk AFTER DELETE ON questions
BEGIN UPDATE questions_total SET size = size - old.size; END;
"""


class QuestionStore(Protocol):
    """Safe to share between threads. ``waits``: an event loop must not wait for it. A ``vector`` is made by
    ``vectors.unit``."""

    waits: bool

    def find(self, group: bytes, vector: bytes, threshold: float) -> tuple[bytes, float] | None:
        """The answer to the nearest question, and the cosine; None where none is near enough."""

    def put(self, group: bytes, vector: bytes, data: bytes, ttl: float) -> None: ...

    def clear(self) -> None: ...

    def close(self) -> None: ...


class _Question(NamedTuple):
    group: bytes
    data: bytes
    expires: float


class MemoryQuestions:
    """The last used ones, of this process."""

    waits = False

    def __init__(self, max_entries: int = MOST_QUESTIONS, *, clock: Callable[[], float] = time.time) -> None:
        self._most, self._clock = max_entries, clock
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        self._kept: OrderedDict[int, _Question] = OrderedDict()
        self._groups: dict[bytes, tuple[VectorIndex, set[int]]] = {}
        self._next = 0

    def find(self, group: bytes, vector: bytes, threshold: float) -> tuple[bytes, float] | None:
        now = self._clock()
        with self._lock:
            if group not in self._groups:
                return None
            for cosine, number in self._groups[group][0].near(vector, threshold):
                if self._kept[number].expires > now:
                    self._kept.move_to_end(number)
                    return self._kept[number].data, cosine
                self._drop(number)
        return None

    def put(self, group: bytes, vector: bytes, data: bytes, ttl: float) -> None:
        with self._lock:
            self._next += 1
            self._kept[self._next] = _Question(group, data, self._clock() + ttl)
            index, numbers = self._groups.setdefault(group, (VectorIndex(), set()))
            index.add(self._next, vector)
            numbers.add(self._next)
            while len(self._kept) > self._most:
                self._drop(next(iter(self._kept)))

    def _drop(self, number: int) -> None:
        group = self._kept.pop(number).group
        index, numbers = self._groups[group]
        index.drop(number)
        numbers.discard(number)
        if not numbers:
            del self._groups[group]

    def __len__(self) -> int:
        return len(self._kept)

    def close(self) -> None:
        """What is in memory goes with the process."""


class _Loaded:
    """The vectors of a group that this process has read, up to ``last``."""

    def __init__(self, first: Any) -> None:
        self.index, self.last = VectorIndex(), first
        self.places: list[Any] = []  # what the store calls each

    def add(self, place: Any, vector: bytes) -> None:
        self.index.add(len(self.places), vector)
        self.places.append(place)
        self.last = place


class _Shared:
    """What stores that processes share have in common."""

    waits = True
    _first: Any = 0

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loaded: OrderedDict[bytes, _Loaded] = OrderedDict()

    def find(self, group: bytes, vector: bytes, threshold: float) -> tuple[bytes, float] | None:
        with self._lock:
            loaded = self._loaded.pop(group, None) or _Loaded(self._first)
            self._loaded[group] = loaded  # the last used one
            self._read(group, loaded)
            near = loaded.index.near(vector, threshold)
        for cosine, number in near:
            data = self._fetch(group, loaded.places[number])
            if data is not None:
                return data, cosine
            with self._lock:
                loaded.index.drop(number)
        self._forget_some()
        return None

    def _forget_some(self) -> None:
        with self._lock:
            held = sum(loaded.index.size for loaded in self._loaded.values())
            while held > _MOST_LOADED and len(self._loaded) > 1:
                held -= self._loaded.popitem(last=False)[1].index.size

    def _read(self, group: bytes, loaded: _Loaded) -> None:
        """Load what came since."""
        raise NotImplementedError

    def _fetch(self, group: bytes, place: Any) -> bytes | None:
        """The answer, if it is still there and not too old."""
        raise NotImplementedError


class SqliteQuestions(_Shared):
    """In a file that only its owner may read; the last used ones stay. It may be the file of a ``ResponseCache``."""

    def __init__(self, path: str | Path, max_bytes: int, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__()
        self._base = Database(path, _SCHEMA, private=True)
        self._base.check()
        self._most, self._clock = max_bytes, clock

    def _read(self, group: bytes, loaded: _Loaded) -> None:
        with self._base.reading() as base:
            found = base.execute("SELECT id, vector FROM questions WHERE kin = ? AND id > ?", (group, loaded.last))
            for place, vector in found:
                loaded.add(place, vector)

    def _fetch(self, group: bytes, place: Any) -> bytes | None:
        now = self._clock()
        with self._base.reading() as base:
            found = base.execute("SELECT data, expires, used FROM questions WHERE id = ?", (place,)).fetchone()
        if found is None or found[1] <= now:
            return None
        if now - found[2] > _USE_IS_NOTED:
            with self._base.transaction() as base:
                base.execute("UPDATE questions SET used = ? WHERE id = ?", (now, place))
        data: bytes = found[0]
        return data

    def put(self, group: bytes, vector: bytes, data: bytes, ttl: float) -> None:
        size = len(vector) + len(data) + _OVERHEAD
        if size > self._most:
            return
        now = self._clock()
        with self._base.transaction() as base:
            base.execute("DELETE FROM questions WHERE expires <= ?", (now,))
            while base.execute("SELECT size FROM questions_total").fetchone()[0] + size > self._most:
                oldest = "SELECT id FROM questions ORDER BY used LIMIT 16"
                base.execute(f"DELETE FROM questions WHERE id IN ({oldest})")  # noqa: S608
            base.execute(
                "INSERT INTO questions (kin, vector, data, size, expires, used) VALUES (?, ?, ?, ?, ?, ?)",
                (group, vector, data, size, now + ttl, now),
            )

    def clear(self) -> None:
        with self._base.transaction() as base:
            base.execute("DELETE FROM questions")

    def close(self) -> None:
        self._base.close()


class RedisQuestions(_Shared):
    """In Redis, a stream for each group, which takes ``max_bytes`` at most; all together are bounded by Redis itself
    (``maxmemory``). ``client`` is a ``redis.Redis``; whoever gives it closes it."""

    _first = "0"

    def __init__(self, client: Any, max_bytes: int, ttl: float, *, prefix: str = "awsllm:question:") -> None:
        super().__init__()
        self._client, self._prefix = client, prefix
        self._most, self._ttl = max_bytes, ttl
        self.is_own = False

    def _read(self, group: bytes, loaded: _Loaded) -> None:
        while True:
            found = self._client.xrange(self._name(group), min=f"({loaded.last}", count=_PAGE)
            for place, members in found:
                loaded.add(place.decode() if isinstance(place, bytes) else place, members[b"v"])
            if len(found) < _PAGE:
                return

    def _fetch(self, group: bytes, place: Any) -> bytes | None:
        if (
            int(place.partition("-")[0]) / 1000 + self._ttl <= time.time()
        ):  # its number is when it came, by Redis' clock
            return None
        found = self._client.xrange(self._name(group), min=place, max=place)
        data: bytes | None = found[0][1][b"d"] if found else None
        return data

    def put(self, group: bytes, vector: bytes, data: bytes, ttl: float) -> None:
        most = max(1, self._most // (len(vector) + len(data) + _OVERHEAD))
        name = self._name(group)
        self._client.xadd(name, {"v": vector, "d": data}, maxlen=most, approximate=True)
        self._client.pexpire(name, max(1, int(ttl * 1000)))

    def _name(self, group: bytes) -> str:
        return self._prefix + group.hex()

    def clear(self) -> None:
        for name in self._client.scan_iter(match=f"{self._prefix}*", count=1000):
            self._client.delete(name)

    def close(self) -> None:
        if self.is_own:
            self._client.close()


def question_store(place: str | Path | QuestionStore | None, most: tuple[int, int], ttl: float) -> QuestionStore:
    """``most`` are entries in memory, bytes elsewhere."""
    if place is None:
        return MemoryQuestions(most[0])
    if isinstance(place, str) and place.startswith(("redis://", "rediss://")):
        from awsllm.policy.answers.stores import redis_at

        store = RedisQuestions(redis_at(place), most[1], ttl)
        store.is_own = True
        return store
    if isinstance(place, str | Path):
        return SqliteQuestions(place, most[1])
    if not hasattr(place, "find") or not hasattr(place, "put"):
        raise ConfigurationError(
            f"place is {place!r:.40}; it is a file's path, redis://…, or a store with find and put"
        )
    return place
