"""Where a quota is counted that processes share: an SQLite file, Redis, a table of DynamoDB (for Lambda)."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from awsllm.errors import ConfigurationError, ServerError
from awsllm.policy.database import Database
from awsllm.policy.limiting.shared import (
    LEASE,
    LEAST_WAIT,
    LOOK,
    PATIENCE,
    SAME,
    SLOTS,
    Document,
    LimitStore,
    QueueTicket,
    QuotaAsk,
    document,
    is_ahead,
    settled,
    taken,
)

if TYPE_CHECKING:
    from awsllm.aws.dynamodb import ItemTable

_SCHEMA = "CREATE TABLE IF NOT EXISTS quotas (name TEXT PRIMARY KEY, document TEXT NOT NULL);"
_DAY = 86_400.0
_TRIES = 12
_LONGEST = 0.2  # seconds between two tries


class SqliteLimits:
    """In a file that the processes of one machine share."""

    def __init__(self, path: str, *, clock: Callable[[], float] = time.time) -> None:
        self._base, self._clock = Database(path, _SCHEMA), clock

    def take(self, name: str, asks: Sequence[QuotaAsk], lease: str, ticket: QueueTicket) -> float:
        return self._changed(name, lambda state: taken(state, asks, lease, ticket, self._clock()))

    def settle(self, name: str, lease: str, used: Sequence[tuple[str, float, int | None]]) -> None:
        self._changed(name, lambda state: settled(state, lease, used, self._clock()))

    def _changed(self, name: str, change: Callable[[Document], float]) -> float:
        with self._base.transaction() as base:
            row = base.execute("SELECT document FROM quotas WHERE name = ?", (name,)).fetchone()
            state = document(row[0] if row else None)
            result = change(state)
            base.execute("INSERT OR REPLACE INTO quotas VALUES (?, ?)", (name, json.dumps(state)))
            return result

    def read(self, name: str) -> Document:
        with self._base.reading() as base:
            row = base.execute("SELECT document FROM quotas WHERE name = ?", (name,)).fetchone()
        return document(row[0] if row else None)

    def close(self) -> None:
        self._base.close()


class DynamoLimits:
    """In a table with the partition key ``id`` (a text), and TTL on ``expires``: an item a quota.

    A change is one read and one conditional write: if the item's ``version`` is another one by then, all is done again.
    """

    def __init__(
        self,
        table: ItemTable,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._table, self._clock, self._sleep = table, clock, sleep

    def take(self, name: str, asks: Sequence[QuotaAsk], lease: str, ticket: QueueTicket) -> float:
        def change(state: Document) -> tuple[float, bool]:
            now = self._clock()
            heals, queue = is_ahead(state, asks, now), dict(state.get("queue", {}))
            seconds = taken(state, asks, lease, ticket, now)
            return seconds, heals or seconds <= 0 or queue != state["queue"]

        return self._changed(name, change)

    def settle(self, name: str, lease: str, used: Sequence[tuple[str, float, int | None]]) -> None:
        self._changed(name, lambda state: (settled(state, lease, used, self._clock()), True))

    def _changed(self, name: str, change: Callable[[Document], tuple[float, bool]]) -> float:
        from awsllm.aws.dynamodb import CONDITION_FAILED, has_conflict, refused_item
        from awsllm.aws.rpc import RefusedError

        item: dict[str, Any] | None = None
        seconds = 0.0
        for number in range(_TRIES):
            if number:
                self._sleep(random.uniform(0, min(_LONGEST, 0.002 * 2.0**number)))  # noqa: S311 -- not for secrets
            item = item or self._table.get({"id": name}) or {}
            state = document(item.get("document"))
            seconds, is_new = change(state)
            if not is_new:
                return seconds
            try:
                self._write(name, state, item.get("version"))
            except RefusedError as error:
                if error.code != CONDITION_FAILED and not has_conflict(error):
                    raise
                item = refused_item(error)
            else:
                return seconds
        if seconds > 0:  # it finds a place next time
            return seconds
        raise ServerError(f"too many processes write the quota {name} at once")

    def _write(self, name: str, state: Document, version: int | None) -> None:
        names = {"#version": "version", "#document": "document", "#expires": "expires"}
        expires = int(self._clock() + 2 * _DAY)
        values = {":version": (version or 0) + 1, ":document": json.dumps(state), ":expires": expires}
        condition = "attribute_not_exists(#version)"
        if version is not None:
            condition, values[":seen"] = "#version = :seen", version
        sets = ", ".join(f"{name} = {name.replace('#', ':')}" for name in names)
        self._table.update({"id": name}, f"SET {sets}", condition=condition, names=names, values=values)

    def read(self, name: str) -> Document:
        return document((self._table.get({"id": name}) or {}).get("document"))

    def close(self) -> None:
        self._table.close()


# ``shared.taken`` and ``shared.settled``, done at once by the server. Its clock counts, so that no two machines differ.
SCRIPT = """
local now = tonumber(ARGV[2])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end
local SLOTS, LEASE, LEAST = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local lease, rows = ARGV[6], cjson.decode(ARGV[7])
local ticket, waited = ARGV[8], tonumber(ARGV[9])
local LOOK, PATIENCE, SAME = tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12])
local read, state = pcall(cjson.decode, redis.call('GET', KEYS[1]) or '{}')
if not read or type(state) ~= 'table' then state = {} end
local used, held, queue = state.used or {}, state.held or {}, state.queue or {}
local function rounded(number) return math.floor(number * 1000 + 0.5) / 1000 end
local function slot_of(period) return math.floor(now / (period / SLOTS)) end
local function finish(entry, counts, periods)
  for what, place in pairs(entry[2]) do
    if periods[what] then
      local here, charged = slot_of(periods[what]), place[3]
      local count = counts[what] or charged
      local slots = used[what] or {}
      local parts = {{math.min(place[1], here), math.min(count, charged)}, {here, count - charged}}
      for _, part in ipairs(parts) do
        if part[2] > 0 and part[1] >= here - SLOTS then
          local key = string.format('%d', part[1])
          slots[key] = (slots[key] or 0) + part[2]
        end
      end
      used[what] = slots
    end
  end
end
local periods, wait = {}, 0
if ARGV[1] == 'take' then
  for _, ask in ipairs(rows) do
    local here, slots, ahead = slot_of(ask.period), used[ask.what] or {}, 0
    for slot, amount in pairs(slots) do
      if tonumber(slot) < here - SLOTS then slots[slot] = nil end
      if tonumber(slot) > here then slots[slot] = nil; ahead = ahead + amount end
    end
    if ahead > 0 then
      local key = string.format('%d', here)
      slots[key] = (slots[key] or 0) + ahead
    end
    used[ask.what], periods[ask.what] = slots, ask.period
  end
  for name, entry in pairs(held) do
    if entry[1] > now + LEASE then
      entry[1] = now + LEASE
      for what, place in pairs(entry[2]) do
        if periods[what] then place[1] = math.min(place[1], slot_of(periods[what])) end
      end
    end
    if entry[1] <= now then held[name] = nil; finish(entry, {}, periods) end
  end
  for name, place in pairs(queue) do if place[2] <= now or place[1] > now + SAME then queue[name] = nil end end
  local since, own, before = rounded(now - waited), queue[ticket], {}
  if own and math.abs(own[1] - since) < SAME then since = own[1] end
  for name, place in pairs(queue) do
    if name ~= ticket and (place[1] < since or (place[1] == since and name < ticket)) then
      for what, needed in pairs(place[3]) do before[what] = (before[what] or 0) + needed end
    end
  end
  for _, ask in ipairs(rows) do
    if ask.allowed and ask.allowed ~= cjson.null then
      local slots, done, order = used[ask.what], 0, {}
      for slot, amount in pairs(slots) do done = done + amount; order[#order + 1] = tonumber(slot) end
      local others = done + (before[ask.what] or 0)
      for _, entry in pairs(held) do if entry[2][ask.what] then others = others + entry[2][ask.what][2] end end
      if others > 0 and others + ask.needed > ask.allowed then
        local missing, this = done + ask.needed - ask.allowed, math.min(LOOK, ask.period)
        if missing > 0 then
          table.sort(order)
          for _, slot in ipairs(order) do
            missing = missing - slots[string.format('%d', slot)]
            if missing <= 0 then
              this = math.max(LEAST, (slot + 1 + SLOTS) * (ask.period / SLOTS) - now)
              break
            end
          end
        end
        wait = math.max(wait, this)
      end
    end
  end
  if wait == 0 then
    local places = {}
    for _, ask in ipairs(rows) do places[ask.what] = {slot_of(ask.period), ask.needed, ask.charged} end
    held[lease], queue[ticket] = {now + LEASE, places}, nil
  else
    local needs, same = {}, own and own[1] == since and own[2] > now + wait + SAME
    for _, ask in ipairs(rows) do
      needs[ask.what], same = ask.needed, same and own[3][ask.what] == ask.needed
    end
    if not same then queue[ticket] = {since, rounded(now + wait + PATIENCE), needs} end
  end
else
  local counts = {}
  for _, row in ipairs(rows) do
    periods[row[1]] = row[2]
    if row[3] ~= cjson.null then counts[row[1]] = row[3] end
  end
  local entry = held[lease]
  if entry then held[lease] = nil; finish(entry, counts, periods) end
end
redis.call('SET', KEYS[1], cjson.encode({used = used, held = held, queue = queue}), 'EX', 172800)
return tostring(wait)
"""


class RedisLimits:
    """In Redis, by one script a change. ``client`` is a ``redis.Redis``. Needs the extra ``redis``."""

    def __init__(self, client: Any, prefix: str = "awsllm:quota:", clock: Callable[[], float] | None = None) -> None:
        self._client, self._prefix, self._clock = client, prefix, clock
        self._script = client.register_script(SCRIPT)

    @classmethod
    def at(cls, url: str) -> RedisLimits:
        """``redis://`` or ``rediss://``."""
        try:
            import redis
        except ImportError:
            raise ConfigurationError("a quota in Redis needs the extra: pip install 'awsllm[redis]'") from None
        try:
            return cls(redis.Redis.from_url(url, socket_timeout=5.0, socket_connect_timeout=5.0))
        except ValueError as error:  # its text may have the URL, and that a password
            raise ConfigurationError("shared is no URL of a Redis, such as redis://localhost:6379/0") from error

    def take(self, name: str, asks: Sequence[QuotaAsk], lease: str, ticket: QueueTicket) -> float:
        rows = [{f: getattr(ask, f) for f in ask.__struct_fields__} for ask in asks]
        return float(self._run("take", name, lease, rows, ticket))

    def settle(self, name: str, lease: str, used: Sequence[tuple[str, float, int | None]]) -> None:
        self._run("settle", name, lease, list(used))

    def _run(self, what: str, name: str, lease: str, rows: list[Any], ticket: QueueTicket = QueueTicket("")) -> Any:  # noqa: B008
        now = "" if self._clock is None else repr(self._clock())
        given = [what, now, SLOTS, LEASE, LEAST_WAIT, lease, json.dumps(rows)]
        given += [ticket.name, repr(ticket.waited), LOOK, PATIENCE, SAME]
        return self._script(keys=[self._prefix + name], args=given)

    def read(self, name: str) -> Document:
        found = json.loads(self._client.get(self._prefix + name) or "{}")
        used, held = found.get("used") or {}, found.get("held") or {}  # to Lua an empty list is an empty table
        return {
            "used": {what: slots or {} for what, slots in used.items()},
            "held": held,
            "queue": found.get("queue") or {},
        }

    def close(self) -> None:
        self._client.close()


def limit_store(place: str) -> LimitStore:
    """redis://…, dynamodb:TABLE, or a file's path."""
    if place.startswith(("redis://", "rediss://")):
        return RedisLimits.at(place)
    if place.startswith("dynamodb:"):
        from awsllm.aws.dynamodb import ItemTable
        from awsllm.aws.rpc import Rpc
        from awsllm.aws.session import AwsSession

        return DynamoLimits(ItemTable(place.removeprefix("dynamodb:"), Rpc(AwsSession()), timeout=5.0))
    return SqliteLimits(place)
