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

import threading
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Self, TypedDict

import msgspec

from awsllm.errors import BudgetExceededError, ConfigurationError
from awsllm.policy.purses import ROUND, SCHEMA, FilePurse, OwnPurse, Purse, Spending
from awsllm.types import Value

UNIT = 10**12  # a dollar


class BudgetOptions(TypedDict, total=False):
    """What a budget takes beside its limits.

    unknown: what becomes of a call of which nobody can say what it may cost, as its model has no known price: "refuse",
        the default, or "warn", which makes it uncounted and says so in the response's warnings.
    file: where the budget is counted, so that processes share it and a restart forgets nothing: an SQLite file, or
        redis://…, for several machines.
    name: its name there, "budget" by default.
    threads: whether it holds for calls of other threads that have no budget of their own; True by default. Give False
        where every thread serves somebody else.
    """

    unknown: str
    file: str | Path | None
    name: str
    threads: bool


class Reserved(Value, frozen=True, gc=False):
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
    def waits(self) -> bool:
        """Whether an event loop must not wait for it."""
        return self._purse.waits

    @property
    def spent_usd(self) -> float:
        """What is spent, in US dollars; what calls in flight have reserved is not among it."""
        return self._purse.read().usd_spent / UNIT

    @property
    def spent_tokens(self) -> int:
        return self._purse.read().tokens_spent

    @property
    def left_usd(self) -> float | None:
        """What a next call may cost; None without such a limit."""
        now = self._purse.read()
        most = self._limits[0]
        return None if most is None else max(0, most - now.usd_spent - now.usd_reserved) / UNIT

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
        ENTERED.set((*ENTERED.get(), self))
        if self._threads:
            self._owner.enter(self)
        return self

    def __exit__(self, *_: object) -> None:
        held = list(ENTERED.get())
        held.reverse()
        if self in held:
            held.remove(self)
        ENTERED.set(tuple(reversed(held)))
        if self._threads:
            self._owner.leave(self)

    def is_of(self, owner: Budgets) -> bool:
        return self._owner is owner

    @property
    def own(self) -> tuple[OwnPurse, tuple[int | None, int | None]] | None:
        """Where it counts, and up to what; None where that is not in this process."""
        return (self._purse, self._limits) if type(self._purse) is OwnPurse else None

    def reserve(self, wanted: Reserved) -> Held | None:
        """Take what a call may use; None where it cannot be counted and may be made all the same. Raises
        ``BudgetExceededError``."""
        usd, tokens = wanted.usd, wanted.tokens
        if usd is None or tokens is None:
            lacks_usd = usd is None and self.usd is not None
            if lacks_usd or (tokens is None and self.tokens is not None):
                if not self.warns:
                    raise _unknown("usd" if lacks_usd else "tokens")
                self._purse.pass_unknown()
                return None
        purse, whole, most = self._purse, int(usd * UNIT + ROUND) if usd else 0, tokens or 0
        before = purse.take(whole, most, self._limits)
        if before is not None:
            raise self._refused(wanted, before)
        return Held(purse, whole, most)

    def _refused(self, wanted: Reserved, now: Spending) -> BudgetExceededError:
        most = self._limits[0]
        if most is not None and now.usd_spent + now.usd_reserved + _whole_or_zero(wanted.usd) > most:
            left = max(0, most - now.usd_spent - now.usd_reserved) / UNIT
            message = f"a call that may cost ${wanted.usd:,.6f} does not fit into what is left of ${self.usd:,.6f}"
            return _error(f"{message}: ${left:,.6f}", "usd", wanted.usd, left)
        most_tokens = self.tokens or 0
        left_tokens = max(0, most_tokens - now.tokens_spent - now.tokens_reserved)
        message = f"a call that may use {wanted.tokens:,} tokens does not fit into what is left of {most_tokens:,}"
        return _error(f"{message}: {left_tokens:,}", "tokens", wanted.tokens, left_tokens)


class Held(msgspec.Struct, gc=False):
    """What one call has taken of one budget, until it is over: trillionths of a dollar, and tokens."""

    purse: Purse
    usd: int
    tokens: int

    def settle(self, usd: float | None, tokens: int | None) -> None:
        """What was used; None: as much as was taken, since nobody knows."""
        taken, held = self.usd, self.tokens
        spent = taken if usd is None else int(usd * UNIT + ROUND)
        self.purse.settle((taken, spent), (held, held if tokens is None else tokens))


class Budgets:
    """The budgets of one client: which of them a call is under."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.opened: list[tuple[CallBudget, int]] = []
        """Those that hold for other threads too, and the threads that opened them."""

    def enter(self, budget: CallBudget) -> None:
        with self._lock:
            self.opened.append((budget, threading.get_ident()))

    def leave(self, budget: CallBudget) -> None:
        with self._lock:
            for at in range(len(self.opened) - 1, -1, -1):
                if self.opened[at][0] is budget:
                    del self.opened[at]
                    return

    def current(self) -> tuple[CallBudget, ...]:
        """Those of the context; in a thread that has none, those that other threads hold open."""
        own = ENTERED.get()
        if not own and not self.opened:
            return ()
        if len(own) != 1 or not own[0].is_of(self):
            own = tuple(dict.fromkeys(budget for budget in own if budget.is_of(self)))
        if own or not self.opened:
            return own
        here = threading.get_ident()
        with self._lock:
            return tuple(dict.fromkeys(budget for budget, thread in self.opened if thread != here))


ENTERED: ContextVar[tuple[CallBudget, ...]] = ContextVar("awsllm_budgets", default=())


def _purse(file: str | Path | None, name: str) -> Purse:
    if file is None:
        return OwnPurse()
    if isinstance(file, str) and file.startswith(("redis://", "rediss://")):
        from awsllm.policy.budgets_redis import RedisPurse

        return RedisPurse.at(file, name)
    from awsllm.policy.database import Database

    base = Database(file, SCHEMA)
    base.check()
    return FilePurse(base, name)


def _whole(usd: float) -> int:
    """In trillionths, rounded up: a rate is at least a millionth of a cent a token."""
    return int(usd * UNIT + ROUND)


def _whole_or_zero(usd: float | None) -> int:
    return 0 if usd is None else _whole(usd)


def _check(usd: Any, tokens: Any, options: BudgetOptions) -> None:
    if usd is None and tokens is None:
        raise ConfigurationError("a budget has a limit: give usd=…, tokens=… or both")
    for name, value, kinds in (("usd", usd, (int, float)), ("tokens", tokens, (int,))):
        if value is not None and (isinstance(value, bool) or not isinstance(value, kinds) or not 0 <= value < 1e9):
            number = "whole number" if kinds == (int,) else "number"
            raise ConfigurationError(f"{name} is {value!r:.40}; it is a {number} of at least 0 and below a billion")
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
