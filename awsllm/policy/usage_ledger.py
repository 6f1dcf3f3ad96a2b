"""The ledger: what a client's calls used, by day, model and tags, counted in SQLite and shared by processes.

It holds sums and no prompt, so it grows with the number of days, models and sets of tags alone. A call is counted when
it is over, each attempt that may have run as one; a ledger that cannot be written fails no call, and the log says so
once. Days are UTC's.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from awsllm.errors import ValidationError
from awsllm.policy.database import Database
from awsllm.policy.limits import day_of
from awsllm.types import CacheHit, Usage, Value

_COUNTS = ("calls", "failed", "hits", "input", "output", "cache_read", "cache_write", "cost", "unpriced", "saved")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS ledger (
    day TEXT NOT NULL, model TEXT NOT NULL, tags TEXT NOT NULL, calls INTEGER NOT NULL, failed INTEGER NOT NULL,
    hits INTEGER NOT NULL, input INTEGER NOT NULL, output INTEGER NOT NULL, cache_read INTEGER NOT NULL,
    cache_write INTEGER NOT NULL, cost REAL NOT NULL, unpriced INTEGER NOT NULL, saved REAL NOT NULL,
    PRIMARY KEY (day, model, tags)
) WITHOUT ROWID;
"""


class LedgerCounts(Value, frozen=True, kw_only=True):
    """``calls`` were made and answered; ``failed`` may have run and given nothing whole; ``hits`` were answered from a
    cache. ``cost`` is in US dollars, without ``unpriced`` calls, of which it is not known; ``saved`` is what the hits
    would have cost, as far as that is known."""

    calls: int = 0
    failed: int = 0
    hits: int = 0
    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cost: float = 0.0
    unpriced: int = 0
    saved: float = 0.0

    @classmethod
    def of_call(cls, usage: Usage | None, cost: float | None) -> LedgerCounts:
        used = usage or Usage()
        return cls(
            calls=1,
            input=used.input_tokens or 0,
            output=used.output_tokens or 0,
            cache_read=used.cache_read_input_tokens or 0,
            cache_write=used.cache_write_input_tokens or 0,
            cost=cost or 0.0,
            unpriced=int(cost is None),
        )

    @classmethod
    def of_failure(cls) -> LedgerCounts:
        return cls(failed=1, unpriced=1)

    @classmethod
    def of_hit(cls, hit: CacheHit) -> LedgerCounts:
        return cls(hits=1, saved=hit.saved_cost or 0.0)

    def __add__(self, other: LedgerCounts) -> LedgerCounts:
        return LedgerCounts(**{name: getattr(self, name) + getattr(other, name) for name in _COUNTS})


class LedgerRow(Value, frozen=True, kw_only=True):
    """What was used on a day, of a model (a reference), with these tags."""

    day: str
    model: str
    tags: dict[str, str]
    counts: LedgerCounts


class UsageLedger:
    """``Client(ledger="usage.db")`` makes one of a path; several clients and processes may write to it."""

    def __init__(self, path: str | Path, *, clock: Callable[[], float] = time.time) -> None:
        self._base = Database(path, _SCHEMA)
        self._clock = clock
        self._failed = False
        with self._base.reading():  # a file that is none is told now
            pass

    def count(self, model: str, tags: Mapping[str, str], counts: LedgerCounts) -> None:
        row = (day_of(self._clock()), model, _tag_text(tags), *(getattr(counts, name) for name in _COUNTS))
        places = ", ".join("?" * len(row))
        sums = ", ".join(f"{name} = {name} + excluded.{name}" for name in _COUNTS)
        try:
            with self._base.transaction() as base:
                base.execute(
                    f"INSERT INTO ledger VALUES ({places}) ON CONFLICT (day, model, tags) DO UPDATE SET {sums}",  # noqa: S608
                    row,
                )
        except sqlite3.Error as error:
            self._tell(error)

    def rows(self, since: str = "", until: str = "9999", tags: Mapping[str, str] | None = None) -> list[LedgerRow]:
        """What was used from a day (``2026-11-01``) to another, both included, with these tags among its own."""
        names = ", ".join(("day", "model", "tags", *_COUNTS))
        with self._base.reading() as base:
            found = base.execute(
                f"SELECT {names} FROM ledger WHERE day >= ? AND day <= ? ORDER BY day, model, tags",  # noqa: S608
                (since, until),
            ).fetchall()
        rows = [_row(values) for values in found]
        return [row for row in rows if all(row.tags.get(name) == value for name, value in (tags or {}).items())]

    def close(self) -> None:
        self._base.close()

    def _tell(self, error: sqlite3.Error) -> None:
        if not self._failed:
            self._failed = True
            from awsllm import log

            log.logger("policy").warning("the ledger cannot be written: %s; calls are made", type(error).__name__)


def _tag_text(tags: Mapping[str, str]) -> str:
    return msgspec.json.encode(dict(tags), order="deterministic").decode()


def _row(values: Sequence[Any]) -> LedgerRow:
    day, model, tags, *counts = values
    try:
        known = msgspec.json.decode(tags, type=dict[str, str])
    except ValueError:
        known = {}
    return LedgerRow(day=day, model=model, tags=known, counts=LedgerCounts(**dict(zip(_COUNTS, counts, strict=True))))


def grouped(rows: Iterable[LedgerRow], by: Sequence[str]) -> dict[tuple[str, ...], LedgerCounts]:
    """The sums of the rows that have in common what ``by`` names: "day", "month", "model", or "tag:NAME". A row without
    the tag has "-" for it. Raises ``ValidationError`` for another name."""
    for name in by:
        if name not in ("day", "month", "model") and not name.startswith("tag:"):
            raise ValidationError(f"{name!r:.60} is none of day, month, model and tag:NAME")
    sums: dict[tuple[str, ...], LedgerCounts] = {}
    for row in rows:
        key = tuple(_named(row, name) for name in by)
        sums[key] = sums.get(key, LedgerCounts()) + row.counts
    return dict(sorted(sums.items()))


def _named(row: LedgerRow, name: str) -> str:
    match name:
        case "day":
            return row.day
        case "month":
            return row.day[:7]
        case "model":
            return row.model
        case _:
            return row.tags.get(name.removeprefix("tag:"), "-")
