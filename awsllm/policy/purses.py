"""Where a budget counts: in the process, or in an SQLite file that several share (in Redis: ``budgets_redis``)."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from awsllm.types import Value

if TYPE_CHECKING:
    from awsllm.policy.database import Database

SCHEMA = """
CREATE TABLE IF NOT EXISTS budgets (
    name TEXT PRIMARY KEY, usd_spent INTEGER NOT NULL, usd_reserved INTEGER NOT NULL, tokens_spent INTEGER NOT NULL,
    tokens_reserved INTEGER NOT NULL, calls INTEGER NOT NULL, unknown INTEGER NOT NULL
) WITHOUT ROWID;
"""
_COLUMNS = "usd_spent, usd_reserved, tokens_spent, tokens_reserved, calls, unknown"


ROUND = 0.9995  # up, but for what floats are off by
_TOGETHER = 32  # calls that are counted together

EndedUse: TypeAlias = tuple[int, int, int, int, tuple[float, ...]]
"""Trillionths of a dollar and tokens that a call had reserved, the tokens that it was given and answered, and what one
of each costs in trillionths."""


class Spending(Value, frozen=True, kw_only=True):
    """What a budget counts: dollars in trillionths. ``unknown`` calls are not in the sums."""

    usd_spent: int = 0
    usd_reserved: int = 0
    tokens_spent: int = 0
    tokens_reserved: int = 0
    calls: int = 0
    unknown: int = 0


class Purse(Protocol):
    """Where a budget counts. ``waits``: it lies behind a network, and an event loop must not wait for it."""

    waits: bool

    def take(self, usd: int, tokens: int, limits: tuple[int | None, int | None]) -> Spending | None:
        """Reserve; where that would pass a limit nothing is taken, and what stands in the way is returned."""

    def settle(self, usd: tuple[int, int], tokens: tuple[int, int]) -> None:
        """Of each pair, what was reserved is free again, and what was spent is spent."""

    def pass_unknown(self) -> None:
        """A call was made that cannot be counted."""

    def read(self) -> Spending: ...


class OwnPurse:
    """Counted in this process."""

    waits = False

    __slots__ = (
        *("ended", "_calls", "_lock", "_tokens_reserved", "_tokens_spent", "_unknown", "_usd_reserved", "_usd_spent"),
    )

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._usd_spent = self._usd_reserved = self._tokens_spent = self._tokens_reserved = 0
        self._calls = self._unknown = 0
        self.ended: deque[EndedUse] = deque()
        """Calls that are over and not counted yet: whoever reads, or finds too little, has them counted first."""

    def take(self, usd: int, tokens: int, limits: tuple[int | None, int | None]) -> Spending | None:
        most_usd, most_tokens = limits
        with self._lock:
            if len(self.ended) >= _TOGETHER:
                self._settle_ended()
            while True:
                usd_reserved, tokens_reserved = self._usd_reserved + usd, self._tokens_reserved + tokens
                if (most_usd is None or self._usd_spent + usd_reserved <= most_usd) and (
                    most_tokens is None or self._tokens_spent + tokens_reserved <= most_tokens
                ):
                    self._usd_reserved, self._tokens_reserved = usd_reserved, tokens_reserved
                    self._calls += 1
                    return None
                if not self.ended:
                    break
                self._settle_ended()
        return self.read()

    def _settle_ended(self) -> None:
        ended = self.ended
        while ended:
            usd, tokens, given, answer, rates = ended.popleft()
            self._usd_reserved -= usd
            self._usd_spent += int(given * rates[0] + answer * rates[1] + ROUND)
            self._tokens_reserved -= tokens
            self._tokens_spent += given + answer

    def settle(self, usd: tuple[int, int], tokens: tuple[int, int]) -> None:
        with self._lock:
            self._usd_reserved -= usd[0]
            self._usd_spent += usd[1]
            self._tokens_reserved -= tokens[0]
            self._tokens_spent += tokens[1]

    def pass_unknown(self) -> None:
        with self._lock:
            self._calls += 1
            self._unknown += 1

    def read(self) -> Spending:
        with self._lock:
            self._settle_ended()
            return Spending(
                usd_spent=self._usd_spent,
                usd_reserved=self._usd_reserved,
                tokens_spent=self._tokens_spent,
                tokens_reserved=self._tokens_reserved,
                calls=self._calls,
                unknown=self._unknown,
            )


class FilePurse:
    """Counted in a file. What a process had reserved when it died stays reserved: it may have been paid for."""

    waits = False

    def __init__(self, base: Database, name: str) -> None:
        self._base, self._name = base, name

    def take(self, usd: int, tokens: int, limits: tuple[int | None, int | None]) -> Spending | None:
        with self._base.transaction() as base:
            now = self._row(base)
            if not _fits(now, usd, tokens, limits):
                return now
            self._write(base, _changed(now, usd_reserved=usd, tokens_reserved=tokens, calls=1))
            return None

    def settle(self, usd: tuple[int, int], tokens: tuple[int, int]) -> None:
        with self._base.transaction() as base:
            now = self._row(base)
            changes = {"usd_reserved": -usd[0], "usd_spent": usd[1]}
            self._write(base, _changed(now, **changes, tokens_reserved=-tokens[0], tokens_spent=tokens[1]))

    def pass_unknown(self) -> None:
        with self._base.transaction() as base:
            self._write(base, _changed(self._row(base), calls=1, unknown=1))

    def read(self) -> Spending:
        with self._base.transaction() as base:
            return self._row(base)

    def _row(self, base: Any) -> Spending:
        found = base.execute(f"SELECT {_COLUMNS} FROM budgets WHERE name = ?", (self._name,)).fetchone()  # noqa: S608
        return Spending(**dict(zip(Spending.__struct_fields__, found, strict=True))) if found else Spending()

    def _write(self, base: Any, now: Spending) -> None:
        values = (self._name, *(getattr(now, name) for name in Spending.__struct_fields__))
        base.execute("INSERT OR REPLACE INTO budgets VALUES (?, ?, ?, ?, ?, ?, ?)", values)


def _fits(now: Spending, usd: int, tokens: int, limits: tuple[int | None, int | None]) -> bool:
    most_usd, most_tokens = limits
    return (most_usd is None or now.usd_spent + now.usd_reserved + usd <= most_usd) and (
        most_tokens is None or now.tokens_spent + now.tokens_reserved + tokens <= most_tokens
    )


def _changed(now: Spending, **by: int) -> Spending:
    return Spending(**{name: getattr(now, name) + by.get(name, 0) for name in Spending.__struct_fields__})
