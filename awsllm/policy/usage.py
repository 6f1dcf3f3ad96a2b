"""How much each key uses, counted in SQLite, so that several processes share it and a restart forgets nothing. What it
may use is told by ``limits``.

Every change is one transaction of its own, which takes the database before it reads, so that two calls never take the
same request.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from awsllm.errors import ConfigurationError
from awsllm.policy.keys import Key
from awsllm.policy.limits import Grant, Level, RateBucket, Row, Spent, check_budget, day_of, month_of, reserved, taken

_BUSY = 10.0  # seconds that another process may hold the database
_SCHEMA = """
CREATE TABLE IF NOT EXISTS usage (
    key TEXT NOT NULL, day TEXT NOT NULL, model TEXT NOT NULL, requests INTEGER NOT NULL, input INTEGER NOT NULL,
    output INTEGER NOT NULL, cached INTEGER NOT NULL, cost REAL NOT NULL, unpriced INTEGER NOT NULL,
    PRIMARY KEY (key, day, model)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS buckets (
    key TEXT NOT NULL, what TEXT NOT NULL, level REAL NOT NULL, at REAL NOT NULL, PRIMARY KEY (key, what)
) WITHOUT ROWID;
"""


class KeyUsage:
    """A ``UsageStore``. ``path`` is the database; None: in memory, of this process alone. Raises ``ConfigurationError``
    for a file that is none."""

    def __init__(self, path: str | Path | None = None, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        try:
            self._base = sqlite3.connect(
                path or ":memory:", timeout=_BUSY, isolation_level=None, check_same_thread=False
            )
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.execute("PRAGMA synchronous=NORMAL")  # a crash of the machine loses the last calls, no more
            self._base.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise ConfigurationError(f"usage cannot be counted in {path}: {error}") from error

    def now(self) -> float:
        return self._clock()

    def admit(self, key: Key, model: str, tokens: int) -> Grant:
        now = self._clock()
        with self._transaction() as base:
            if key.monthly_tokens is not None or key.monthly_dollars is not None:
                check_budget(key, *self._month(base, key.id, now), now)
            requests = self._take(base, key, "requests", key.requests_per_minute, 1.0, now)
            wanted = reserved(key, tokens)
            left = self._take(base, key, "tokens", key.tokens_per_minute, wanted, now)
        return Grant(key=key, model=model, reserved=wanted, requests=requests, tokens=left)

    def settle(self, grant: Grant, spent: Spent) -> None:
        row = (
            *(grant.key.id, day_of(self._clock()), grant.model, spent.input, spent.output, spent.cached),
            *(spent.cost or 0.0, int(spent.cost is None)),
        )
        with self._transaction() as base:
            base.execute(
                "INSERT INTO usage VALUES (?, ?, ?, 1, ?, ?, ?, ?, ?) ON CONFLICT (key, day, model) DO UPDATE SET "
                "requests = requests + 1, input = input + excluded.input, output = output + excluded.output, "
                "cached = cached + excluded.cached, cost = cost + excluded.cost, "
                "unpriced = unpriced + excluded.unpriced",
                row,
            )
            if grant.key.tokens_per_minute:
                base.execute(
                    "UPDATE buckets SET level = level + ? WHERE key = ? AND what = 'tokens'",
                    (grant.reserved - spent.tokens, grant.key.id),
                )

    def rows(self, key: str | None = None, since: str = "") -> list[Row]:
        with self._transaction() as base:
            found = base.execute(
                "SELECT key, day, model, requests, input, output, cached, cost, unpriced FROM usage "
                "WHERE (? IS NULL OR key = ?) AND day >= ? ORDER BY key, day, model",
                (key, key, since),
            ).fetchall()
        return [Row(**dict(zip(Row.__struct_fields__, each, strict=True))) for each in found]

    def month(self, key: str) -> tuple[int, float]:
        with self._transaction() as base:
            return self._month(base, key, self._clock())

    def close(self) -> None:
        with self._lock:
            self._base.close()

    # --- in a transaction --------------------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield self._base
            except BaseException:
                self._base.execute("ROLLBACK")
                raise
            self._base.execute("COMMIT")

    def _take(
        self, base: sqlite3.Connection, key: Key, what: str, limit: int | None, wanted: float, now: float
    ) -> Level | None:
        if limit is None:
            return None
        found = base.execute("SELECT level, at FROM buckets WHERE key = ? AND what = ?", (key.id, what)).fetchone()
        bucket, level = taken(what, limit, RateBucket(*found) if found else None, wanted, now)
        base.execute("INSERT OR REPLACE INTO buckets VALUES (?, ?, ?, ?)", (key.id, what, bucket.level, bucket.at))
        return level

    def _month(self, base: sqlite3.Connection, key: str, now: float) -> tuple[int, float]:
        found: Any = base.execute(
            "SELECT COALESCE(SUM(input + output + cached), 0), COALESCE(SUM(cost), 0) FROM usage "
            "WHERE key = ? AND day >= ?",
            (key, f"{month_of(now)}-01"),
        ).fetchone()
        return found[0], found[1]
