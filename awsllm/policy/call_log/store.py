"""Where kept calls lie: an SQLite file of its owner's, which processes share.

Calls are written several in a transaction, so that a crash loses what was not yet written and no more. What is too old
goes first, then the oldest, until what is left takes no more than it may; pages that this frees are used again. What a
call takes is counted; the index gives room back late, and is made to where the file outgrows that by a quarter. Media
stand once, as long as a call has them.

Search is SQLite's full text index (FTS5) where this Python's SQLite has it, and looks through all texts where it has
not, or where the index finds nothing: it knows words and their beginnings, and not the middle of one.
"""

from __future__ import annotations

import sqlite3
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from awsllm.errors import ConfigurationError
from awsllm.policy.call_log.kept import KeptCall
from awsllm.policy.database import Database
from awsllm.types import Value

_SCHEMA = """
CREATE TABLE IF NOT EXISTS calls (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, at REAL NOT NULL, operation TEXT NOT NULL, model TEXT NOT NULL,
    outcome TEXT NOT NULL, error TEXT, duration REAL NOT NULL, first REAL, input INTEGER, output INTEGER, cost REAL,
    cached TEXT, attempts INTEGER NOT NULL, tags TEXT NOT NULL, begins TEXT NOT NULL, words TEXT NOT NULL,
    whole BLOB NOT NULL, size INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS calls_by_time ON calls (at);
CREATE TABLE IF NOT EXISTS media (hash TEXT PRIMARY KEY, data BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS call_media (
    number INTEGER NOT NULL, hash TEXT NOT NULL, PRIMARY KEY (number, hash)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS media_by_hash ON call_media (hash);
CREATE TABLE IF NOT EXISTS total (id INTEGER PRIMARY KEY CHECK (id = 1), size INTEGER NOT NULL);
INSERT OR IGNORE INTO total VALUES (1, 0);
CREATE TRIGGER IF NOT EXISTS call_kept AFTER INSERT ON calls BEGIN UPDATE total SET size = size + new.size; END;
CREATE TRIGGER IF NOT EXISTS call_gone AFTER DELETE ON calls BEGIN UPDATE total SET size = size - old.size; END;
CREATE TRIGGER IF NOT EXISTS medium_kept AFTER INSERT ON media
    BEGIN UPDATE total SET size = size + LENGTH(new.data); END;
CREATE TRIGGER IF NOT EXISTS medium_gone AFTER DELETE ON media
    BEGIN UPDATE total SET size = size - LENGTH(old.data); END;
"""
_INDEX = "CREATE VIRTUAL TABLE IF NOT EXISTS call_words USING fts5(words, content='calls', content_rowid='number')"
_COLUMNS = (
    *("id", "at", "operation", "model", "outcome", "error", "duration", "first", "input", "output", "cost", "cached"),
    *("attempts", "tags", "begins"),
)
_SLACK = 1.25  # of what is counted, what the file may take
_LEAST = 200_000  # bytes of a file that is not worth it
_OVERHEAD = 600  # bytes that a call takes beside its content, about
_OF_WORDS = 2  # bytes for each character that is searched: once as it is, and once in the index, about
_WORDS = 200_000  # characters of a call that are searched
_AT_ONCE = 64  # calls that are dropped at most before it is looked again whether that is enough
_SHORTEST_ID = 4
_LONGEST_CALL = 2**28  # bytes
_LONGEST_WORD, _MOST_WORDS = 500, 100  # of a search
_MOST_NUMBER = 2**63 - 1  # that a column holds


class CallRow(Value, frozen=True, kw_only=True):
    """A call as a list shows it: what ``KeptCall`` says of it, without content but for how its question ``begins``."""

    id: str
    at: float
    operation: str
    model: str
    outcome: str
    error: str | None = None
    duration: float = 0.0
    first: float | None = None
    input: int | None = None
    output: int | None = None
    cost: float | None = None
    cached: str | None = None
    attempts: int = 1
    tags: Mapping[str, str] = MappingProxyType({})
    begins: str = ""


class CallQuery(Value, frozen=True, kw_only=True):
    """Which calls: of models whose reference has ``model`` in it, with these tags, from ``since`` on (seconds since
    1970), those that failed alone, those that took ``slow`` seconds at least, in which ``text`` stands."""

    model: str | None = None
    tags: Mapping[str, str] = MappingProxyType({})
    since: float | None = None
    errors: bool = False
    slow: float | None = None
    text: str | None = None
    after: int = 0
    limit: int = 50


class CallEntry(Value, frozen=True, kw_only=True):
    """One call to be written: ``words`` is what a search looks at, ``media`` bytes by hash."""

    call: KeptCall
    begins: str
    words: str
    media: dict[str, bytes]


class CallStore:
    """``max_bytes`` and ``max_age`` (seconds) bound what is kept; None keeps all of it."""

    def __init__(self, path: str | Path, max_bytes: int | None = None, max_age: float | None = None) -> None:
        self.path = Path(path)
        self._base = Database(path, _SCHEMA, private=True)
        self._most, self._oldest = max_bytes, max_age
        with self._base.transaction() as base:  # a file that is none is told now
            self._is_indexed = _make_index(base)

    # --- writing -----------------------------------------------------------------------------------------------------

    def add(self, entries: Sequence[CallEntry]) -> None:
        with self._base.transaction() as base:
            for entry in entries:
                self._insert(base, entry)
            self._bound(base)

    def _insert(self, base: sqlite3.Connection, entry: CallEntry) -> None:
        names = ", ".join((*_COLUMNS, "words", "whole", "size"))
        places = ", ".join("?" * (len(_COLUMNS) + 3))
        words = entry.words[:_WORDS]
        whole = zlib.compress(msgspec.json.encode(entry.call), 1)
        values = (*_cells(entry), words, whole, _OVERHEAD + len(whole) + _OF_WORDS * len(words))
        number = base.execute(f"INSERT INTO calls ({names}) VALUES ({places})", values).lastrowid  # noqa: S608
        if self._is_indexed:
            base.execute("INSERT INTO call_words (rowid, words) VALUES (?, ?)", (number, words))
        for digest, data in entry.media.items():
            base.execute("INSERT OR IGNORE INTO media VALUES (?, ?)", (digest, data))
            base.execute("INSERT INTO call_media VALUES (?, ?)", (number, digest))

    def prune(self, max_bytes: int | None = None, max_age: float | None = None) -> int:
        """Drop what is too old or too much, and give the room back; how many calls that were."""
        before = self._count()
        with self._base.transaction() as base:
            self._bound(base, max_bytes, max_age)
        with self._base.reading() as base:
            base.execute("VACUUM")
            base.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return before - self._count()

    def _count(self) -> int:
        with self._base.reading() as base:
            return int(base.execute("SELECT COUNT(*) FROM calls").fetchone()[0])

    def _bound(self, base: sqlite3.Connection, max_bytes: int | None = None, max_age: float | None = None) -> None:
        most = self._most if max_bytes is None else max_bytes
        age = self._oldest if max_age is None else max_age
        if age is not None:
            while self._drop(base, "at < ?", time.time() - age):
                pass
        while most is not None and _total(base) > most and self._drop(base, "1 = ?", 1):
            pass
        while most is not None and _used(base) > max(_SLACK * most, _LEAST):
            if self._is_indexed:
                base.execute("INSERT INTO call_words (call_words) VALUES ('optimize')")
            if _used(base) > _SLACK * most and not self._drop(base, "1 = ?", 1):
                break

    def _drop(self, base: sqlite3.Connection, which: str, value: float) -> bool:
        """Whether there were any."""
        count = base.execute("SELECT COUNT(*) FROM calls").fetchone()[0]
        found = base.execute(
            f"SELECT number, words FROM calls WHERE {which} ORDER BY at LIMIT {1 + min(count // 16, _AT_ONCE)}",  # noqa: S608
            (value,),
        ).fetchall()
        for number, words in found:
            if self._is_indexed:
                base.execute(
                    "INSERT INTO call_words (call_words, rowid, words) VALUES ('delete', ?, ?)", (number, words)
                )
            base.execute("DELETE FROM calls WHERE number = ?", (number,))
            hashes = base.execute("DELETE FROM call_media WHERE number = ? RETURNING hash", (number,)).fetchall()
            base.executemany(
                "DELETE FROM media WHERE hash = ?1 AND NOT EXISTS (SELECT 1 FROM call_media WHERE hash = ?1)", hashes
            )
        return bool(found)

    # --- reading -----------------------------------------------------------------------------------------------------

    def find(self, query: CallQuery) -> list[CallRow]:
        """The last of those that the query is about, the latest first."""
        rows = self._found(query, indexed=self._is_indexed)
        if not rows and query.text and self._is_indexed:
            rows = self._found(query, indexed=False)
        return [row for _, row in rows]

    def follow(self, query: CallQuery) -> tuple[int, list[CallRow]]:
        """Calls written since the number ``query.after``, the first first, and the number to go on from."""
        rows = self._found(query, indexed=False)
        return max((number for number, _ in rows), default=query.after), [row for _, row in reversed(rows)]

    def last_number(self) -> int:
        with self._base.reading() as base:
            return int(base.execute("SELECT COALESCE(MAX(number), 0) FROM calls").fetchone()[0])

    def _found(self, query: CallQuery, *, indexed: bool) -> list[tuple[int, CallRow]]:
        where, values = _conditions(query, indexed=indexed)
        names = ", ".join(("number", *_COLUMNS))
        statement = f"SELECT {names} FROM calls WHERE {' AND '.join(where)} ORDER BY at DESC, number DESC"  # noqa: S608
        rows: list[tuple[int, CallRow]] = []
        with self._base.reading() as base:
            for number, *cells in base.execute(statement, values):
                row = _row(cells)
                if all(row.tags.get(name) == value for name, value in query.tags.items()):
                    rows.append((number, row))
                    if len(rows) >= query.limit:
                        break
        return rows

    def get(self, prefix: str) -> KeptCall:
        """The one call whose id begins so. ``ConfigurationError`` where there is none, or several."""
        if len(prefix) < _SHORTEST_ID or not prefix.isalnum():
            raise ConfigurationError(f"an id has {_SHORTEST_ID} characters at least: {prefix!r:.40}")
        with self._base.reading() as base:
            found = base.execute(
                "SELECT id, whole FROM calls WHERE id >= ? AND id < ? LIMIT 4", (prefix, f"{prefix}~")
            ).fetchall()
        if not found:
            raise ConfigurationError(f"{self.path} has no call {prefix!r:.40}")
        if len(found) > 1:
            raise ConfigurationError(f"{prefix!r:.40} is several: {', '.join(row[0] for row in found)}")
        return _call(found[0][1])

    def calls(self, query: CallQuery) -> Iterator[KeptCall]:
        """Those that the query is about, whole, the first first."""
        for row in reversed(self.find(query)):
            with suppress(ConfigurationError):  # it was dropped meanwhile
                yield self.get(row.id)

    def media(self, digest: str) -> bytes | None:
        with self._base.reading() as base:
            found = base.execute("SELECT data FROM media WHERE hash = ?", (digest,)).fetchone()
        return None if found is None else bytes(found[0])

    def size(self) -> int:
        """Bytes of the file that are in use."""
        with self._base.reading() as base:
            return _used(base)

    def close(self) -> None:
        self._base.close()


def _make_index(base: sqlite3.Connection) -> bool:
    try:
        base.execute(_INDEX)
    except sqlite3.OperationalError:  # no such module
        return False
    return True


def _total(base: sqlite3.Connection) -> int:
    return int(base.execute("SELECT size FROM total").fetchone()[0])


def _used(base: sqlite3.Connection) -> int:
    pages, free, size = (
        base.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _cells(entry: CallEntry) -> tuple[Any, ...]:
    call, usage = entry.call, entry.call.usage
    error = None if call.error is None else call.error.code or call.error.type
    read = None if usage is None or usage.input_tokens is None else _read(usage)
    return (
        *(call.id, call.at, call.operation, call.model, call.outcome, error, call.duration, call.first),
        *(_number(read), None if usage is None else _number(usage.output_tokens)),
        *(call.cost, call.cached, max(1, len(call.attempts))),
        *(msgspec.json.encode(dict(call.tags)).decode(), entry.begins),
    )


def _number(count: int | None) -> int | None:
    """A count that a service made up may be larger than what SQLite holds."""
    return None if count is None else max(-_MOST_NUMBER, min(count, _MOST_NUMBER))


def _read(usage: Any) -> int:
    return (usage.input_tokens or 0) + (usage.cache_read_input_tokens or 0) + (usage.cache_write_input_tokens or 0)


def _row(cells: Sequence[Any]) -> CallRow:
    members = dict(zip(_COLUMNS, cells, strict=True))
    try:
        members["tags"] = msgspec.json.decode(members["tags"], type=dict[str, str])
    except ValueError:
        members["tags"] = {}
    return CallRow(**members)


def _call(whole: bytes) -> KeptCall:
    try:
        return msgspec.json.decode(_inflated(whole), type=KeptCall)
    except (zlib.error, ValueError, RecursionError) as error:
        raise ConfigurationError("the call was kept by another version of awsllm, or is damaged") from error


def _inflated(whole: bytes) -> bytes:
    inflating = zlib.decompressobj()
    text = inflating.decompress(whole, _LONGEST_CALL)
    if not inflating.eof:
        raise ValueError("it is larger than any call, or cut")
    return text


def _conditions(query: CallQuery, *, indexed: bool) -> tuple[list[str], list[Any]]:
    where = ["number > ?"]
    values: list[Any] = [query.after]
    if query.model is not None:
        where.append("model LIKE ? ESCAPE '\\'")
        values.append(_like(_readable(query.model[:_LONGEST_WORD])))
    if query.since is not None:
        where.append("at >= ?")
        values.append(query.since)
    if query.errors:
        where.append("outcome = 'failed'")
    if query.slow is not None:
        where.append("duration >= ?")
        values.append(query.slow)
    words = _words(query.text or "")
    if words and indexed:
        where.append("number IN (SELECT rowid FROM call_words WHERE call_words MATCH ?)")
        values.append(" ".join('"{}"*'.format(word.replace('"', '""')) for word in words))
    for word in words if not indexed else ():
        where.append("words LIKE ? ESCAPE '\\'")
        values.append(_like(word))
    return where, values


def _words(text: str) -> list[str]:
    """What SQLite can be asked for: a NUL ends its texts, half a surrogate pair is none, and its patterns are bounded.
    A longer word is looked for by how it begins."""
    return [word[:_LONGEST_WORD] for word in _readable(text).split()[:_MOST_WORDS]]


def _readable(text: str) -> str:
    return text.encode("utf-8", "replace").decode().replace("\0", " ")


def _like(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
