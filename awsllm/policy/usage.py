"""How much each key uses, and what it may: counted in SQLite, so that several processes share it and a restart forgets
nothing.

Limits a minute are buckets that fill evenly: of 60 requests a minute one comes back each second. A call takes one
request, and of the tokens what it is thought to need (its body's characters by four, and the longest answer that it
allows); when it is over, what it really used is taken instead. Budgets are of a calendar month (UTC) and are looked at
before a call: one that has begun is ended and counted. What is refused costs nothing.

Every change is one transaction of its own, which takes the database before it reads, so that two calls never take the
same request.
"""

from __future__ import annotations

import math
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from awsllm.errors import ConfigurationError, ThrottlingError
from awsllm.policy.keys import Key
from awsllm.types import Value

_MINUTE = 60.0
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


class BudgetSpentError(ThrottlingError):
    """What the key may use in a month is used."""

    retryable = False


class Spent(Value, frozen=True, kw_only=True):
    """What one call used. ``input`` is without ``cached``, the tokens read from and written to a cache. ``cost`` is in
    US dollars, None where no price is known."""

    input: int = 0
    output: int = 0
    cached: int = 0
    cost: float | None = None

    @property
    def tokens(self) -> int:
        return self.input + self.output + self.cached


class Row(Value, frozen=True, kw_only=True):
    """What a key used of a model on a day (UTC). ``unpriced`` requests are those whose cost is not known."""

    key: str
    day: str
    model: str
    requests: int
    input: int
    output: int
    cached: int
    cost: float
    unpriced: int


class Level(Value, frozen=True):
    """How much of a limit a minute is left, and in how many seconds it is whole again."""

    limit: int
    remaining: int
    reset: float


class Grant(Value, frozen=True, kw_only=True):
    """A call that may be made, and what it has taken."""

    key: Key
    model: str
    reserved: float = 0.0
    requests: Level | None = None
    tokens: Level | None = None


class KeyUsage:
    """``path`` is the database; None: in memory, of this process alone. Safe to share between threads. Raises
    ``ConfigurationError`` for a file that is none."""

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
        """Take what a call needs that is thought to use so many tokens. Raises ``ThrottlingError`` with the seconds
        after which it could be made."""
        now = self._clock()
        with self._transaction() as base:
            self._check_budget(base, key, now)
            requests = self._take(base, key, "requests", key.requests_per_minute, 1.0, now)
            limit = key.tokens_per_minute
            reserved = float(min(tokens, limit)) if limit else 0.0  # a call longer than a minute's waits for all of it
            left = self._take(base, key, "tokens", limit, reserved, now)
        return Grant(key=key, model=model, reserved=reserved, requests=requests, tokens=left)

    def settle(self, grant: Grant, spent: Spent) -> None:
        """Count what the call used."""
        day = datetime.fromtimestamp(self._clock(), UTC).strftime("%Y-%m-%d")
        row = (
            *(grant.key.id, day, grant.model, spent.input, spent.output, spent.cached),
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
        """What was used since a day (``2026-11-01``), by all keys or one."""
        with self._transaction() as base:
            found = base.execute(
                "SELECT key, day, model, requests, input, output, cached, cost, unpriced FROM usage "
                "WHERE (? IS NULL OR key = ?) AND day >= ? ORDER BY key, day, model",
                (key, key, since),
            ).fetchall()
        return [Row(**dict(zip(Row.__struct_fields__, each, strict=True))) for each in found]

    def month(self, key: str) -> tuple[int, float]:
        """Tokens and dollars of this month."""
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
        level, at = found or (float(limit), now)
        level = min(float(limit), level + max(0.0, now - at) * limit / _MINUTE)
        if level < wanted - 1e-9:
            wait = (wanted - level) * _MINUTE / limit
            raise ThrottlingError(
                f"Rate limit reached: this key has {limit:,} {what} a minute. Try again in {math.ceil(wait)} s.",
                code="ThrottlingException",
                status=429,
                retry_after=wait,
            )
        level -= wanted
        base.execute("INSERT OR REPLACE INTO buckets VALUES (?, ?, ?, ?)", (key.id, what, level, now))
        return Level(limit, max(0, int(level)), (limit - level) * _MINUTE / limit)

    def _check_budget(self, base: sqlite3.Connection, key: Key, now: float) -> None:
        if key.monthly_tokens is None and key.monthly_dollars is None:
            return
        tokens, dollars = self._month(base, key.id, now)
        for used, most, what in (
            (tokens, key.monthly_tokens, "tokens"),
            (dollars, key.monthly_dollars, "dollars"),
        ):
            if most is not None and used >= most:
                raise BudgetSpentError(
                    f"The monthly budget of this key is spent: {most:,g} {what}.",
                    code="ThrottlingException",
                    status=429,
                    retry_after=_next_month(now) - now,
                )

    def _month(self, base: sqlite3.Connection, key: str, now: float) -> tuple[int, float]:
        first = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-01")
        found: Any = base.execute(
            "SELECT COALESCE(SUM(input + output + cached), 0), COALESCE(SUM(cost), 0) FROM usage "
            "WHERE key = ? AND day >= ?",
            (key, first),
        ).fetchone()
        return found[0], found[1]


def _next_month(now: float) -> float:
    today = datetime.fromtimestamp(now, UTC)
    later = today.replace(day=1, hour=0, minute=0, second=0, microsecond=0) + timedelta(days=32)
    return later.replace(day=1).timestamp()
