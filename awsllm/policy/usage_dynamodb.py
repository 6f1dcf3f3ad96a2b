"""How much each key uses, counted in DynamoDB, for gateways of many processes (Lambda). What it may use is told by
``limits``.

The table has the partition key ``id`` (the key's) and the sort key ``period``, and TTL on ``expires``:

    now              what is left of the limits a minute, the totals of each month, and a ``version``
    2026-11-26#m     what was used of the model m on that day; kept for ``KEPT`` days

A call is admitted by one read and one conditional write: what is left is computed from the item as it was read, and
written if its ``version`` is still that one. If not, the refusal shows the item as it is, and the next try begins with
it. So no two calls take the same request, in whatever order they come. A write names its writer's token: where its
answer was lost, the item says that it was done.

When a call is over, one transaction counts it and gives back what it did not use; the same token changes nothing again.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from awsllm.aws.dynamodb import CONDITION_FAILED, ItemTable, has_conflict, refused_item
from awsllm.aws.rpc import RefusedError
from awsllm.errors import ThrottlingError
from awsllm.policy.keys import Key
from awsllm.policy.limits import Grant, Level, RateBucket, Row, Spent, check_budget, day_of, month_of, reserved, taken

T = TypeVar("T")

KEPT = 400
"""Days for which a day's use is kept: a year and a month."""

_NOW = "now"
_DAY = 86_400.0
_TRIES = 24  # of one write; each fails because another's succeeded
_MODEL = 200  # characters of a model's name: a sort key has 1024 bytes, and what a caller names must be counted
_LONGEST = 0.2  # seconds between two tries
_COUNTS = ("requests", "input", "output", "cached", "cost", "unpriced")


class UsageTable:
    """A ``UsageStore``. ``sleep`` is there for tests."""

    def __init__(
        self,
        table: ItemTable,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._table, self._clock, self._sleep = table, clock, sleep

    def now(self) -> float:
        return self._clock()

    def admit(self, key: Key, model: str, tokens: int) -> Grant:
        limited = (key.requests_per_minute or key.tokens_per_minute) is not None
        if not limited:
            if key.monthly_tokens is not None or key.monthly_dollars is not None:
                check_budget(key, *_totals(self._read(key.id), self._clock()), self._clock())
            return Grant(key=key, model=model)
        state: dict[str, Any] | None = None
        token = uuid.uuid4().hex
        for _ in self._tries():
            attempt = _Admission(key, tokens, state or self._read(key.id), self._clock())
            try:
                attempt.write(self._table, token)
            except RefusedError as error:
                state = refused_item(error)
                if error.code != CONDITION_FAILED and not has_conflict(error):
                    raise
                if state is not None and state.get("token") == token:  # ours, of which the answer was lost
                    return attempt.grant(model)
            else:
                return attempt.grant(model)
        raise _crowded()

    def settle(self, grant: Grant, spent: Spent) -> None:
        now, token = self._clock(), uuid.uuid4().hex
        parts = [self._counting(grant, spent, now), self._giving_back(grant, spent, now)]
        for _ in self._tries():
            try:
                self._table.transact(parts, token)
                return
            except RefusedError as error:
                if not has_conflict(error):
                    raise
        raise _crowded()

    def rows(self, key: str | None = None, since: str = "") -> list[Row]:
        if key is None:
            found = [item for item in self._table.scan() if item["period"] != _NOW and item["period"] >= since]
        else:
            bounds = {":id": key, ":since": since or "0", ":until": _NOW}
            names = {"#id": "id", "#period": "period"}
            between = "#id = :id AND #period BETWEEN :since AND :until"
            found = [i for i in self._table.query(between, names=names, values=bounds) if i["period"] != _NOW]
        return sorted(map(_row, found), key=lambda row: (row.key, row.day, row.model))

    def month(self, key: str) -> tuple[int, float]:
        return _totals(self._read(key), self._clock())

    def close(self) -> None:
        self._table.close()

    # --- the items ---------------------------------------------------------------------------------------------------

    def _read(self, key: str) -> dict[str, Any]:
        return self._table.get({"id": key, "period": _NOW}) or {}

    def _tries(self) -> Iterator[int]:
        """So many, with longer and longer pauses of random length between them: who failed together does not come back
        together."""
        for number in range(_TRIES):
            if number:
                self._sleep(random.uniform(0, min(_LONGEST, 0.002 * 2.0**number)))  # noqa: S311 -- not for secrets
            yield number

    def _counting(self, grant: Grant, spent: Spent, now: float) -> Any:
        period = f"{day_of(now)}#{grant.model[:_MODEL]}"
        counts = (1, spent.input, spent.output, spent.cached, spent.cost or 0.0, int(spent.cost is None))
        return self._table.updating(
            {"id": grant.key.id, "period": period},
            f"SET #expires = :expires ADD {', '.join(f'#{name} :{name}' for name in _COUNTS)}",
            names={f"#{name}": name for name in (*_COUNTS, "expires")},
            values={
                **{f":{name}": count for name, count in zip(_COUNTS, counts, strict=True)},
                ":expires": int(now + KEPT * _DAY),
            },
        )

    def _giving_back(self, grant: Grant, spent: Spent, now: float) -> Any:
        """The month's totals, and what the call did not use of the tokens a minute or used beyond what it took."""
        month, added = month_of(now), ["#version :one", "#tokens :tokens", "#dollars :dollars"]
        names = {"#version": "version", "#tokens": f"tokens {month}", "#dollars": f"dollars {month}"}
        values: dict[str, Any] = {":one": 1, ":tokens": spent.tokens, ":dollars": spent.cost or 0.0}
        if grant.key.tokens_per_minute:
            added.append("#level :level")
            names["#level"], values[":level"] = "tokens level", grant.reserved - spent.tokens
        where = {"id": grant.key.id, "period": _NOW}
        return self._table.updating(where, f"ADD {', '.join(added)}", names=names, values=values)


class _Admission:
    """One try to admit a call: what the item would be, and on which it would follow. Raises ``ThrottlingError`` where
    the key may not call."""

    def __init__(self, key: Key, tokens: int, state: dict[str, Any], now: float) -> None:
        self._key, self._reserved = key, reserved(key, tokens)
        self._version = state.get("version")
        check_budget(key, *_totals(state, now), now)
        self._buckets: dict[str, RateBucket] = {}
        self._levels: dict[str, Level] = {}
        limits = (("requests", key.requests_per_minute, 1.0), ("tokens", key.tokens_per_minute, self._reserved))
        for what, limit, wanted in limits:
            if limit is not None:
                self._buckets[what], self._levels[what] = taken(what, limit, _bucket(state, what), wanted, now)

    def write(self, table: ItemTable, token: str) -> None:
        """Raises ``RefusedError`` where the item has changed since it was read."""
        names = {"#version": "version", "#token": "token"}
        values: dict[str, Any] = {":version": (self._version or 0) + 1, ":token": token}
        sets = ["#version = :version", "#token = :token"]
        for what, bucket in self._buckets.items():
            for part, value in (("level", bucket.level), ("at", bucket.at)):
                names[f"#{what}_{part}"], values[f":{what}_{part}"] = f"{what} {part}", value
                sets.append(f"#{what}_{part} = :{what}_{part}")
        condition = "attribute_not_exists(#version)"
        if self._version is not None:
            condition, values[":seen"] = "#version = :seen", self._version
        where = {"id": self._key.id, "period": _NOW}
        table.update(where, f"SET {', '.join(sets)}", condition=condition, names=names, values=values)

    def grant(self, model: str) -> Grant:
        requests, tokens = self._levels.get("requests"), self._levels.get("tokens")
        return Grant(key=self._key, model=model, reserved=self._reserved, requests=requests, tokens=tokens)


def _bucket(state: dict[str, Any], what: str) -> RateBucket | None:
    level, at = state.get(f"{what} level"), state.get(f"{what} at")
    return None if level is None or at is None else RateBucket(float(level), float(at))


def _totals(state: dict[str, Any], now: float) -> tuple[int, float]:
    """Tokens and dollars of the month."""
    month = month_of(now)
    return int(state.get(f"tokens {month}", 0)), float(state.get(f"dollars {month}", 0.0))


def _row(item: dict[str, Any]) -> Row:
    day, _, model = item["period"].partition("#")
    counts = {name: int(item[name]) for name in _COUNTS if name != "cost"}
    return Row(key=item["id"], day=day, model=model, cost=float(item["cost"]), **counts)


def _crowded() -> ThrottlingError:
    return ThrottlingError(
        "Too many calls of this key at once. Try again in a second.",
        code="ThrottlingException",
        status=429,
        retry_after=1.0,
    )
