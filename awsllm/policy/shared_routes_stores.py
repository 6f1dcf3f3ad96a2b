"""Where circuits and homes of conversations are kept that processes share: an SQLite file, or Redis."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from awsllm.errors import ConfigurationError
from awsllm.policy.database import Database
from awsllm.policy.shared_routes import (
    PARTS,
    CircuitNews,
    Home,
    RoutesSeen,
    RoutesStore,
    SharedRoutes,
    SharedTable,
    home_of,
    merge,
    opened,
)

if TYPE_CHECKING:
    from awsllm.policy.routing import GroupRoutes

_MOST = 10_000  # homes that are kept
_DAY = 86_400
_PATIENCE = 0.5  # seconds that a call may wait for it
_SCHEMA = """
CREATE TABLE IF NOT EXISTS circuits (name TEXT PRIMARY KEY, document TEXT NOT NULL, told REAL NOT NULL);
CREATE TABLE IF NOT EXISTS homes (
    number INTEGER PRIMARY KEY AUTOINCREMENT, conversation TEXT UNIQUE, reference TEXT NOT NULL, until REAL NOT NULL
);
"""


class SqliteRoutes:
    """In a file that the processes of one machine share."""

    def __init__(self, path: str | Path, *, clock: Callable[[], float] = time.time) -> None:
        self._base, self._clock = Database(path, _SCHEMA), clock

    def exchange(self, news: Sequence[CircuitNews], homes: Sequence[Home], mark: int) -> RoutesSeen:
        if news or homes:
            self._write(news, homes)
        now = self._clock()
        with self._base.reading() as base:
            circuits = base.execute("SELECT name, document FROM circuits").fetchall()
        query = "SELECT number, conversation, reference, until FROM homes WHERE number > ? ORDER BY number"
        with self._base.reading() as base:
            rows = base.execute(query, (mark,)).fetchall()
        found = [home_of(conversation, reference, until - now) for _, conversation, reference, until in rows]
        return RoutesSeen(
            {name: opened(json.loads(document), now) for name, document in circuits},
            [home for home in found if home is not None],
            rows[-1][0] if rows else mark,
        )

    def _write(self, news: Sequence[CircuitNews], homes: Sequence[Home]) -> None:
        now = self._clock()
        with self._base.transaction() as base:
            for told in news:
                row = base.execute("SELECT document FROM circuits WHERE name = ?", (told.name,)).fetchone()
                state = json.loads(row[0]) if row else {}
                merge(state, told, now)
                base.execute("INSERT OR REPLACE INTO circuits VALUES (?, ?, ?)", (told.name, json.dumps(state), now))
            rows = [(h.conversation, msgspec.json.encode(h.reference).decode(), now + h.seconds) for h in homes]
            base.executemany("INSERT OR REPLACE INTO homes (conversation, reference, until) VALUES (?, ?, ?)", rows)
            if rows:
                newest = base.execute("SELECT max(number) FROM homes").fetchone()[0]
                base.execute("DELETE FROM homes WHERE number <= ? OR until < ?", (newest - _MOST, now))
            base.execute("DELETE FROM circuits WHERE told < ?", (now - _DAY,))

    def close(self) -> None:
        self._base.close()


# ``shared_routes.merge`` and what is written beside it, in one step of the server's, by its clock.
SCRIPT = """
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end
local PARTS, MOST, DAY = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local function merge(state, news)
  if news.change ~= '' then
    state.opened = 0
    if news.change == 'opened' then state.opened = now - news.age end
    state.version = state.version + 1
    state.seen = {}
  end
  if state.opened ~= 0 or news.calls == 0 then return end
  local here, calls, failures = math.floor(now / (news.window / PARTS)), 0, 0
  local key = string.format('%d', here)
  for slot in pairs(state.seen) do if tonumber(slot) <= here - PARTS then state.seen[slot] = nil end end
  local count = state.seen[key] or {0, 0}
  state.seen[key] = {count[1] + news.calls, count[2] + news.failures}
  for _, one in pairs(state.seen) do calls = calls + one[1]; failures = failures + one[2] end
  if news.failures > 0 and calls >= news.minimum and failures >= news.share * calls then
    state.opened, state.version, state.seen = now, state.version + 1, {}
  end
end
for _, news in ipairs(cjson.decode(ARGV[5])) do
  local found = redis.call('HGET', KEYS[1], news.name)
  local state = found and cjson.decode(found) or {seen = {}, opened = 0, version = 0}
  merge(state, news)
  redis.call('HSET', KEYS[1], news.name, cjson.encode(state))
  redis.call('EXPIRE', KEYS[1], DAY)
end
for _, home in ipairs(cjson.decode(ARGV[6])) do
  local row = cjson.encode({home[1], home[2], now + home[3]})
  local old = redis.call('HGET', KEYS[3], home[1])
  if old then redis.call('ZREM', KEYS[2], old) end
  redis.call('HSET', KEYS[3], home[1], row)
  redis.call('ZADD', KEYS[2], redis.call('INCR', KEYS[4]), row)
end
local spare = redis.call('ZCARD', KEYS[2]) - MOST
if spare > 0 then
  for _, row in ipairs(redis.call('ZRANGE', KEYS[2], 0, spare - 1)) do
    redis.call('HDEL', KEYS[3], cjson.decode(row)[1])
  end
  redis.call('ZREMRANGEBYRANK', KEYS[2], 0, spare - 1)
end
local mark = redis.call('GET', KEYS[4]) or '0'
for place = 2, 4 do redis.call('EXPIRE', KEYS[place], DAY) end
local homes = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. ARGV[7], '+inf')
return {tostring(now), mark, redis.call('HGETALL', KEYS[1]), homes}
"""


class RedisRoutes:
    """In Redis, by one script an exchange. ``client`` is a ``redis.Redis``. Needs the extra ``redis``."""

    def __init__(self, client: Any, prefix: str = "awsllm:routes", clock: Callable[[], float] | None = None) -> None:
        self._client, self._clock = client, clock
        self._keys = [f"{{{prefix}}}:{name}" for name in ("circuits", "homes", "conversations", "number")]  # one slot
        self._script = client.register_script(SCRIPT)

    @classmethod
    def at(cls, url: str) -> RedisRoutes:
        """``redis://`` or ``rediss://``."""
        from awsllm.policy.answers.stores import redis_at

        return cls(redis_at(url, _PATIENCE))

    def exchange(self, news: Sequence[CircuitNews], homes: Sequence[Home], mark: int) -> RoutesSeen:
        told = [
            {
                **{name: getattr(one, name) for name in ("name", "calls", "failures", "change", "age")},
                "share": one.breaker.failures,
                "minimum": one.breaker.minimum,
                "window": one.breaker.window,
            }
            for one in news
        ]
        settled = [[h.conversation, msgspec.json.encode(h.reference).decode(), h.seconds] for h in homes]
        given = ["" if self._clock is None else repr(self._clock()), PARTS, _MOST, _DAY]
        given += [json.dumps(told), json.dumps(settled), mark]
        at, number, circuits, rows = self._script(keys=self._keys, args=given)
        now = float(at)
        pairs = zip(circuits[::2], circuits[1::2], strict=True)
        found = [home_of(name, reference, until - now) for name, reference, until in map(json.loads, rows)]
        return RoutesSeen(
            {name.decode(): opened(json.loads(document), now) for name, document in pairs},
            [home for home in found if home is not None],
            int(number),
        )

    def close(self) -> None:
        self._client.close()


def routes_store(given: Any) -> RoutesStore:
    """That of ``Client(shared=…)``: a file's path, redis://…, or a store of one's own."""
    place = given.place if isinstance(given, SharedTable) else given
    if isinstance(place, str) and place.startswith(("redis://", "rediss://")):
        return RedisRoutes.at(place)
    if isinstance(place, str | Path):
        return SqliteRoutes(place)
    if not hasattr(place, "exchange"):
        raise ConfigurationError(f"shared is a file's path or redis://…, not a {type(place).__name__}")
    store: RoutesStore = place
    return store


def share(routes: GroupRoutes, given: Any) -> GroupRoutes:
    """The routes, which tell others what they know; not so without a place."""
    if given is not None:
        routes.shared = SharedRoutes(routes_store(given), routes.heard)
    return routes
