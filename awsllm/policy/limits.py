"""What a key may use: buckets a minute, budgets a month. Arithmetic and values; where it is counted stands elsewhere
(``usage``: SQLite, ``usage_dynamodb``: a table of DynamoDB).

Limits a minute are buckets that fill evenly: of 60 requests a minute one comes back each second. A call takes one
request, and of the tokens what it is thought to need (its body's characters by four, and the longest answer that it
allows); when it is over, what it really used is taken instead. Budgets are of a calendar month (UTC) and are looked at
before a call: one that has begun is ended and counted. What is refused costs nothing.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Protocol

from awsllm.errors import ServerError, ThrottlingError
from awsllm.policy.keys import Key
from awsllm.types import Value

_MINUTE = 60.0


class BudgetSpentError(ThrottlingError):
    """What the key may use in a month is used."""

    retryable = False


class StoppedError(ServerError):
    """Whoever runs the gateway has stopped it, or the key that calls."""

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


class UsageStore(Protocol):
    """Where it is counted what keys use. Safe to share between threads, and what it counts between processes."""

    def now(self) -> float:
        """Seconds since 1970."""

    def admit(self, key: Key, model: str, tokens: int) -> Grant:
        """Take what a call needs that is thought to use so many tokens. Raises ``ThrottlingError`` with the seconds
        after which it could be made."""

    def settle(self, grant: Grant, spent: Spent) -> None:
        """Count what the call used."""

    def rows(self, key: str | None = None, since: str = "") -> list[Row]:
        """What was used since a day (``2026-11-01``), by all keys or one."""

    def month(self, key: str) -> tuple[int, float]:
        """Tokens and dollars of this month."""

    def close(self) -> None:
        """Nothing is counted any more."""


class RateBucket(Value, frozen=True):
    """How much of a limit was left at an instant, in seconds since 1970; below zero where a call used more than it was
    thought to."""

    level: float
    at: float


def reserved(key: Key, tokens: int) -> float:
    """What a call takes of the tokens a minute: one that is longer than a minute's waits for all of them."""
    return float(min(tokens, key.tokens_per_minute)) if key.tokens_per_minute else 0.0


def taken(what: str, limit: int, bucket: RateBucket | None, wanted: float, now: float) -> tuple[RateBucket, Level]:
    """The bucket once so much is taken of it; None is one that nobody has used. Raises ``ThrottlingError`` where less
    is left."""
    level, at = (float(limit), now) if bucket is None else (bucket.level, bucket.at)
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
    # Another machine's clock may be a little ahead: what came back until then does not come back twice.
    since = at if 0 < at - now < _MINUTE else now
    return RateBucket(level, since), Level(limit, max(0, int(level)), (limit - level) * _MINUTE / limit)


def check_budget(key: Key, tokens: int, dollars: float, now: float) -> None:
    """Raise ``BudgetSpentError`` where so much of a month is all that the key may use."""
    for used, most, what in ((tokens, key.monthly_tokens, "tokens"), (dollars, key.monthly_dollars, "dollars")):
        if most is not None and used >= most:
            raise BudgetSpentError(
                f"The monthly budget of this key is spent: {most:,g} {what}.",
                code="ThrottlingException",
                status=429,
                retry_after=_next_month(now) - now,
            )


def day_of(now: float) -> str:
    """``2026-11-26``."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d")


def month_of(now: float) -> str:
    """``2026-11``."""
    return day_of(now)[:7]


def _next_month(now: float) -> float:
    today = datetime.fromtimestamp(now, UTC)
    later = today.replace(day=1, hour=0, minute=0, second=0, microsecond=0) + timedelta(days=32)
    return later.replace(day=1).timestamp()
