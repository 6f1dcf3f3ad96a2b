"""The ledger: what a client's calls used, by day, model and tags, counted in SQLite and shared by processes.

It holds sums and no prompt, so it grows with the number of days, models and sets of tags alone, unless it keeps the
service's name of each request too (``request_ids``). A call is counted when it is over, each attempt that may have run
as one; a ledger that cannot be written fails no call, and the log says so once. Days are UTC's.

Calls only note what they used; sums are written within a second (``write_behind``), many calls in one transaction. A
function of Lambda's is frozen between its invocations, with all its threads: there each call is written as it ends.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from awsllm.errors import ValidationError
from awsllm.models.prices import MOST_TOKENS, Price, plain_cost
from awsllm.policy import write_behind
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
CREATE TABLE IF NOT EXISTS requests (
    id TEXT PRIMARY KEY, day TEXT NOT NULL, model TEXT NOT NULL, tags TEXT NOT NULL, input INTEGER NOT NULL,
    output INTEGER NOT NULL, cache_read INTEGER NOT NULL, cache_write INTEGER NOT NULL, cost REAL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS requests_by_day ON requests (day);
"""
_COUNT = (
    f"INSERT INTO ledger VALUES (?, ?, ?{', ?' * len(_COUNTS)}) ON CONFLICT (day, model, tags) DO UPDATE SET "  # noqa: S608
    + ", ".join(f"{name} = {name} + excluded.{name}" for name in _COUNTS)
)
_NAME = "INSERT OR IGNORE INTO requests VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_TOKENS = ("input", "output", "cache_read", "cache_write")
_DAY = 86_400.0
_MOST_UNWRITTEN = 10_000  # ids that wait for a file that cannot be written


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


class LedgerRequest(Value, frozen=True, kw_only=True):
    """One request that was answered: ``id`` is what the service calls it; ``cost`` is None where it is not known."""

    id: str
    day: str
    model: str
    tags: dict[str, str]
    input: int
    output: int
    cache_read: int
    cache_write: int
    cost: float | None


_Note: TypeAlias = tuple[float, str, Mapping[str, str], Usage | LedgerCounts, float | Price | None, str | None]
"""When, which model, tags, what was used (or counted), what that cost or its price, and the request's id."""


class UsageLedger:
    """``Client(ledger="usage.db")`` makes one of a path; several clients and processes may write to it.

    ``request_ids`` keeps a row for each request that Bedrock or SageMaker answered, with the service's name of it: what
    `awsllm usage reconcile` matches AWS's logs by. That grows with every call; ``forget_requests`` ends it.
    """

    def __init__(self, path: str | Path, *, request_ids: bool = False, clock: Callable[[], float] = time.time) -> None:
        self._base = Database(path, _SCHEMA)
        self._clock, self._keeps_ids = clock, request_ids
        self._failed = False
        self._waits = "AWS_LAMBDA_FUNCTION_NAME" not in os.environ
        self._base.check()
        self.forget()
        write_behind.watch(self)

    def forget(self) -> None:
        """In the child of a fork: what was noted before it is the parent's to write."""
        self._turn = write_behind.WritingLock()
        self._notes: deque[_Note] = deque()
        self._is_due = False
        self._sums: dict[tuple[str, str, str], list[float]] = {}
        self._requests: list[tuple[Any, ...]] = []

    def count(self, model: str, tags: Mapping[str, str], counts: LedgerCounts) -> None:
        self._notes.append((self._clock(), model, tags, counts, None, None))
        self._due()

    def count_call(
        self, model: str, tags: Mapping[str, str], usage: Usage, cost: float | Price | None, request_id: str | None
    ) -> None:
        """One call that was answered; where it has its price alone to it, that may stand for the cost."""
        self._notes.append((self._clock(), model, tags, usage, cost, request_id))
        if not (self._is_due and self._waits):
            self._due()

    def _due(self) -> None:
        if not self._waits:
            self.flush()
        elif not self._is_due:
            self._is_due = True
            write_behind.soon(self)

    def flush(self) -> None:
        """Write what calls have noted. What cannot be written now is written with what comes later."""
        with self._turn:
            self._write()

    def _write(self) -> None:
        self._is_due = False  # before the notes are taken: whoever notes more meanwhile asks again
        self._add_up()
        if not self._sums:
            return
        try:
            with self._base.transaction() as base:
                base.executemany(_COUNT, [(*key, *sums) for key, sums in self._sums.items()])
                base.executemany(_NAME, self._requests)
        except sqlite3.Error as error:
            self._tell(error)
            del self._requests[:-_MOST_UNWRITTEN]
        else:
            self._sums.clear()
            self._requests.clear()

    def _add_up(self) -> None:
        """Put the notes into sums. Calls share the dict of their tags, mostly, and their day."""
        texts: dict[int, tuple[Mapping[str, str], str]] = {}
        last_model: str | None = None
        last_tags: Mapping[str, str] | None = None
        begun = ended = 0.0  # of the day
        key, sums = ("", "", ""), [0.0]
        for at, model, tags, used, cost_or_price, request_id in _taken(self._notes):
            if (
                tags is not last_tags or model is not last_model or not begun <= at < ended
            ):  # most are as the one before
                if id(tags) not in texts:
                    texts[id(tags)] = (tags, _tag_text(tags))
                last_model, last_tags = model, tags
                begun = at // _DAY * _DAY
                ended = begun + _DAY
                key = (day_of(at), model, texts[id(tags)][1])
                sums = self._sums.setdefault(key, [0] * len(_COUNTS))
            if isinstance(used, LedgerCounts):
                for place, name in enumerate(_COUNTS):
                    sums[place] += getattr(used, name)
                continue
            sums[0] += 1
            cost = plain_cost(used, cost_or_price) if isinstance(cost_or_price, Price) else cost_or_price
            given, made, tokens = used.input_tokens or 0, used.output_tokens or 0, None
            if (
                0 <= given < MOST_TOKENS
                and 0 <= made < MOST_TOKENS
                and not used.cache_read_input_tokens
                and not used.cache_write_input_tokens
                and not self._keeps_ids
            ):  # as nearly all
                sums[3] += given
                sums[4] += made
            else:
                tokens = _tokens(used)
                for place, count in enumerate(tokens, 3):
                    sums[place] += count
            if cost is None:
                sums[8] += 1
            else:
                sums[7] += cost
            if tokens is not None and request_id is not None and self._keeps_ids:
                self._requests.append((request_id, *key, *tokens, cost))

    def rows(self, since: str = "", until: str = "9999", tags: Mapping[str, str] | None = None) -> list[LedgerRow]:
        """What was used from a day (``2026-11-01``) to another, both included, with these tags among its own."""
        names = ", ".join(("day", "model", "tags", *_COUNTS))
        with self._read() as base:
            found = base.execute(
                f"SELECT {names} FROM ledger WHERE day >= ? AND day <= ? ORDER BY day, model, tags",  # noqa: S608
                (since, until),
            ).fetchall()
        rows = [_row(values) for values in found]
        return [row for row in rows if all(row.tags.get(name) == value for name, value in (tags or {}).items())]

    def requests(self, since: str = "", until: str = "9999") -> Iterator[LedgerRequest]:
        """The requests whose ids were kept, from a day to another, in the order of their ids."""
        last = ""
        while True:
            with self._read() as base:
                found = base.execute(
                    "SELECT * FROM requests WHERE day >= ? AND day <= ? AND id > ? ORDER BY id LIMIT 1000",
                    (since, until, last),
                ).fetchall()
            if not found:
                return
            for name, day, model, tags, *numbers in found:
                counts = dict(zip((*_TOKENS, "cost"), numbers, strict=True))
                yield LedgerRequest(id=name, day=day, model=model, tags=_tags(tags), **counts)
            last = found[-1][0]

    def forget_requests(self, before: str) -> int:
        """Drop the ids of the days before one, and say how many; sums stay."""
        with self._turn, self._base.transaction() as base:
            return base.execute("DELETE FROM requests WHERE day < ?", (before,)).rowcount

    @contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        """The file with all in it that this process has noted, by other ledgers over it too."""
        write_behind.now()
        with self._turn:
            self._write()
            with self._base.reading() as base:
                yield base

    def close(self) -> None:
        self.flush()
        with self._turn:
            self._base.close()

    def _tell(self, error: sqlite3.Error) -> None:
        if not self._failed:
            self._failed = True
            from awsllm import log

            log.logger("policy").warning("the ledger cannot be written: %s; calls are made", type(error).__name__)


def _tag_text(tags: Mapping[str, str]) -> str:
    return msgspec.json.encode(dict(tags), order="deterministic").decode()


def _tags(text: str) -> dict[str, str]:
    try:
        return msgspec.json.decode(text, type=dict[str, str])
    except ValueError:
        return {}


def _row(values: Sequence[Any]) -> LedgerRow:
    day, model, tags, *counts = values
    known = LedgerCounts(**dict(zip(_COUNTS, counts, strict=True)))
    return LedgerRow(day=day, model=model, tags=_tags(tags), counts=known)


def _tokens(usage: Usage) -> tuple[int, int, int, int]:
    return (
        counted(usage.input_tokens),
        counted(usage.output_tokens),
        counted(usage.cache_read_input_tokens),
        counted(usage.cache_write_input_tokens),
    )


def counted(tokens: int | None) -> int:
    """A count that no call can have is none: SQLite holds no larger ones, and a negative one would hide others."""
    return tokens if tokens and 0 < tokens < MOST_TOKENS else 0


def _taken(notes: deque[_Note]) -> Iterator[_Note]:
    """All of them, taken away; others may add some meanwhile."""
    for _ in range(len(notes)):
        yield notes.popleft()


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
