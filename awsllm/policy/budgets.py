"""Budgets: what a part of a program may spend. A call that might spend more than is left is refused before it is sent.

What a call may cost at most is taken from every budget that it is under (``estimates`` says how much that is), and what
it has not used is given back when it is over. So calls in flight can never spend more together than is left. Of a call
that failed after it may have run (a timeout, a cut stream), nothing is given back: whether it is paid for is not known.

A budget holds for what runs within its ``with``: contextvars carry it into asyncio tasks, ``asyncio.to_thread`` and the
threads that run tools. Other threads know nothing of contexts, so a thread that has no budget of its own is under those
that another thread has open at this client, unless they say ``threads=False``.

Sums are whole numbers of trillionths of a dollar: what is given back is exactly what was taken.
"""

from __future__ import annotations

import math
import threading
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, TypedDict

from awsllm.errors import BudgetExceededError, ConfigurationError
from awsllm.types import Value

if TYPE_CHECKING:
    from awsllm.policy.database import Database

_UNIT = 10**12  # a dollar
_SCHEMA = """
CREATE TABLE IF NOT EXISTS budgets (
    name TEXT PRIMARY KEY, usd_spent INTEGER NOT NULL, usd_reserved INTEGER NOT NULL, tokens_spent INTEGER NOT NULL,
    tokens_reserved INTEGER NOT NULL, calls INTEGER NOT NULL, unknown INTEGER NOT NULL
) WITHOUT ROWID;
"""
_COLUMNS = "usd_spent, usd_reserved, tokens_spent, tokens_reserved, calls, unknown"


class BudgetOptions(TypedDict, total=False):
    """What a budget takes beside its limits.

    unknown: what becomes of a call of which nobody can say what it may cost, as its model has no known price: "refuse",
        the default, or "warn", which makes it uncounted and says so in the response's warnings.
    file: an SQLite file in which the budget is counted, so that processes share it and a restart forgets nothing.
    name: its name there, "budget" by default.
    threads: whether it holds for calls of other threads that have no budget of their own; True by default. Give False
        where every thread serves somebody else.
    """

    unknown: str
    file: str | Path | None
    name: str
    threads: bool


class Spending(Value, frozen=True, kw_only=True):
    """What a budget counts: dollars in trillionths. ``unknown`` calls are not in the sums."""

    usd_spent: int = 0
    usd_reserved: int = 0
    tokens_spent: int = 0
    tokens_reserved: int = 0
    calls: int = 0
    unknown: int = 0


class Purse(Protocol):
    """Where a budget counts."""

    def take(self, usd: int, tokens: int, limits: tuple[int | None, int | None]) -> Spending | None:
        """Reserve; where that would pass a limit nothing is taken, and what stands in the way is returned."""

    def settle(self, usd: tuple[int, int], tokens: tuple[int, int]) -> None:
        """Of each pair, what was reserved is free again, and what was spent is spent."""

    def pass_unknown(self) -> None:
        """A call was made that cannot be counted."""

    def read(self) -> Spending: ...


class _Own:
    """Counted in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = Spending()

    def take(self, usd: int, tokens: int, limits: tuple[int | None, int | None]) -> Spending | None:
        with self._lock:
            now = self._now
            if not _fits(now, usd, tokens, limits):
                return now
            self._now = _changed(now, usd_reserved=usd, tokens_reserved=tokens, calls=1)
            return None

    def settle(self, usd: tuple[int, int], tokens: tuple[int, int]) -> None:
        with self._lock:
            self._now = _changed(
                self._now,
                usd_reserved=-usd[0],
                usd_spent=usd[1],
                tokens_reserved=-tokens[0],
                tokens_spent=tokens[1],
            )

    def pass_unknown(self) -> None:
        with self._lock:
            self._now = _changed(self._now, calls=1, unknown=1)

    def read(self) -> Spending:
        return self._now


class _InFile:
    """Counted in a file. What a process had reserved when it died stays reserved: it may have been paid for."""

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


class Reserved(Value, frozen=True):
    """What one call may use at most; None: nobody can say."""

    usd: float | None = None
    tokens: int | None = None


class CallBudget:
    """What may be spent, from ``client.budget(usd=…, tokens=…)``. Entered by ``with``, as often as one likes; what was
    spent adds up. Safe to share between threads."""

    def __init__(self, owner: Budgets, usd: float | None, tokens: int | None, options: BudgetOptions) -> None:
        _check(usd, tokens, options)
        self.usd, self.tokens = usd, tokens
        self.warns = options.get("unknown", "refuse") == "warn"
        self._owner = owner
        self._threads = options.get("threads", True)
        self._limits = (None if usd is None else _whole(usd), tokens)
        self._purse: Purse = _purse(options.get("file"), options.get("name", "budget"))

    @property
    def spent_usd(self) -> float:
        """What is spent, in US dollars; what calls in flight have reserved is not among it."""
        return self._purse.read().usd_spent / _UNIT

    @property
    def spent_tokens(self) -> int:
        return self._purse.read().tokens_spent

    @property
    def left_usd(self) -> float | None:
        """What a next call may cost; None without such a limit."""
        now = self._purse.read()
        most = self._limits[0]
        return None if most is None else max(0, most - now.usd_spent - now.usd_reserved) / _UNIT

    @property
    def left_tokens(self) -> int | None:
        now = self._purse.read()
        return None if self.tokens is None else max(0, self.tokens - now.tokens_spent - now.tokens_reserved)

    @property
    def calls(self) -> int:
        """How many requests were let through; an attempt of a retry is one."""
        return self._purse.read().calls

    @property
    def uncounted_calls(self) -> int:
        """Of those, how many could not be counted (``unknown="warn"``)."""
        return self._purse.read().unknown

    def __repr__(self) -> str:
        limits = [f"usd={self.usd}"] * (self.usd is not None) + [f"tokens={self.tokens}"] * (self.tokens is not None)
        return f"CallBudget({', '.join(limits)})"

    def __enter__(self) -> Self:
        _OPEN.set((*_OPEN.get(), self))
        if self._threads:
            self._owner.opened(self)
        return self

    def __exit__(self, *_: object) -> None:
        held = list(_OPEN.get())
        held.reverse()
        if self in held:
            held.remove(self)
        _OPEN.set(tuple(reversed(held)))
        if self._threads:
            self._owner.closed(self)

    def is_of(self, owner: Budgets) -> bool:
        return self._owner is owner

    def reserve(self, wanted: Reserved) -> Held | None:
        """Take what a call may use; None where it cannot be counted and may be made all the same. Raises
        ``BudgetExceededError``."""
        usd = None if self.usd is None else wanted.usd
        tokens = None if self.tokens is None else wanted.tokens
        if (usd is None and self.usd is not None) or (tokens is None and self.tokens is not None):
            if not self.warns:
                raise _unknown("usd" if usd is None and self.usd is not None else "tokens")
            self._purse.pass_unknown()
            return None
        held = Held(self._purse, _whole_or_zero(wanted.usd), wanted.tokens or 0)
        before = self._purse.take(held.usd, held.tokens, self._limits)
        if before is not None:
            raise self._refused(wanted, before)
        return held

    def _refused(self, wanted: Reserved, now: Spending) -> BudgetExceededError:
        most = self._limits[0]
        if most is not None and now.usd_spent + now.usd_reserved + _whole_or_zero(wanted.usd) > most:
            left = max(0, most - now.usd_spent - now.usd_reserved) / _UNIT
            message = f"a call that may cost ${wanted.usd:,.6f} does not fit into what is left of ${self.usd:,.6f}"
            return _error(f"{message}: ${left:,.6f}", "usd", wanted.usd, left)
        most_tokens = self.tokens or 0
        left_tokens = max(0, most_tokens - now.tokens_spent - now.tokens_reserved)
        message = f"a call that may use {wanted.tokens:,} tokens does not fit into what is left of {most_tokens:,}"
        return _error(f"{message}: {left_tokens:,}", "tokens", wanted.tokens, left_tokens)


class Held:
    """What one call has taken of one budget, until it is over."""

    __slots__ = ("_purse", "tokens", "usd")

    def __init__(self, purse: Purse, usd: int, tokens: int) -> None:
        self._purse, self.usd, self.tokens = purse, usd, tokens

    def settle(self, usd: float | None, tokens: int | None) -> None:
        """What was used; None: as much as was taken, since nobody knows."""
        spent = self.usd if usd is None else _whole(usd)
        self._purse.settle((self.usd, spent), (self.tokens, self.tokens if tokens is None else tokens))


class Budgets:
    """The budgets of one client: which of them a call is under."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._opened: list[tuple[CallBudget, int]] = []

    def opened(self, budget: CallBudget) -> None:
        with self._lock:
            self._opened.append((budget, threading.get_ident()))

    def closed(self, budget: CallBudget) -> None:
        with self._lock:
            for at in range(len(self._opened) - 1, -1, -1):
                if self._opened[at][0] is budget:
                    del self._opened[at]
                    return

    def current(self) -> tuple[CallBudget, ...]:
        """Those of the context; in a thread that has none, those that other threads hold open."""
        own = tuple(dict.fromkeys(budget for budget in _OPEN.get() if budget.is_of(self)))
        if own or not self._opened:
            return own
        here = threading.get_ident()
        with self._lock:
            return tuple(dict.fromkeys(budget for budget, thread in self._opened if thread != here))


_OPEN: ContextVar[tuple[CallBudget, ...]] = ContextVar("awsllm_budgets", default=())


def _purse(file: str | Path | None, name: str) -> Purse:
    if file is None:
        return _Own()
    from awsllm.policy.database import Database

    return _InFile(Database(file, _SCHEMA), name)


def _whole(usd: float) -> int:
    """In trillionths, rounded up: a rate is at least a millionth of a cent a token."""
    return math.ceil(round(usd * _UNIT, 3))


def _whole_or_zero(usd: float | None) -> int:
    return 0 if usd is None else _whole(usd)


def _check(usd: Any, tokens: Any, options: BudgetOptions) -> None:
    if usd is None and tokens is None:
        raise ConfigurationError("a budget has a limit: give usd=…, tokens=… or both")
    for name, value, kinds in (("usd", usd, (int, float)), ("tokens", tokens, (int,))):
        if value is not None and (isinstance(value, bool) or not isinstance(value, kinds) or not 0 <= value < 1e9):
            raise ConfigurationError(f"{name} is {value!r:.40}; it is a number of at least 0")
    if unknown := options.keys() - BudgetOptions.__annotations__.keys():
        raise ConfigurationError(f"a budget has no option {min(unknown)!r}")
    if options.get("unknown", "refuse") not in ("refuse", "warn"):
        raise ConfigurationError(f"unknown={options['unknown']!r:.40}: it is 'refuse' or 'warn'")


def _error(message: str, unit: str, wanted: float | None, left: float | None) -> BudgetExceededError:
    error = BudgetExceededError(f"{message}. Lower max_tokens, shorten the prompt, or give a larger budget")
    error.unit, error.wanted, error.left = unit, wanted, left
    return error


def _unknown(unit: str) -> BudgetExceededError:
    why = "cost, as its model has no known price" if unit == "usd" else "use, as its model's longest answer is unknown"
    error = BudgetExceededError(
        f"nobody can say what this call may {why}: set max_tokens, give the client prices={{…}}, or open the budget "
        'with unknown="warn"'
    )
    error.unit = unit
    return error
