"""A budget that is counted in Redis, so that machines share it.

A script reserves and another settles, each in one step of Redis'. Sums are whole numbers there too (HINCRBY); only the
comparison with the limit is one of floats, which are exact up to 9,007 dollars and beyond that off by less than a
millionth of a cent. A Redis that does not answer lets no call through: nobody can say whether the budget holds it.
"""

from __future__ import annotations

from typing import Any

from awsllm.errors import ConfigurationError, ConnectError
from awsllm.policy.answers.stores import redis_at
from awsllm.policy.purses import Spending

MOST = 9 * 10**18
"""The largest sum that Redis counts, in trillionths of a dollar: nine million dollars."""

_PREFIX = "awsllm:budget:"
_COLUMNS = Spending.__struct_fields__
_TAKE = """
local now = redis.call('HMGET', KEYS[1], 'usd_spent', 'usd_reserved', 'tokens_spent', 'tokens_reserved')
local function sum(a, b, more) return (tonumber(now[a]) or 0) + (tonumber(now[b]) or 0) + tonumber(more) end
if ARGV[3] ~= '' and sum(1, 2, ARGV[1]) > tonumber(ARGV[3]) then return 0 end
if ARGV[4] ~= '' and sum(3, 4, ARGV[2]) > tonumber(ARGV[4]) then return 0 end
redis.call('HINCRBY', KEYS[1], 'usd_reserved', ARGV[1])
redis.call('HINCRBY', KEYS[1], 'tokens_reserved', ARGV[2])
redis.call('HINCRBY', KEYS[1], 'calls', 1)
return 1
"""
_ADD = """
for i = 1, #ARGV, 2 do redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1]) end
return 1
"""


class RedisPurse:
    """A ``Purse``; ``client`` is a ``redis.Redis``."""

    waits = True

    def __init__(self, client: Any, name: str) -> None:
        self._client, self._key = client, _PREFIX + name

    @classmethod
    def at(cls, url: str, name: str) -> RedisPurse:
        return cls(redis_at(url), name)

    def take(self, usd: int, tokens: int, limits: tuple[int | None, int | None]) -> Spending | None:
        if usd > MOST or tokens > MOST or any(limit is not None and limit > MOST for limit in limits):
            raise ConfigurationError("a budget in Redis is of nine million dollars at most")
        bounds = ("" if limit is None else limit for limit in limits)
        return None if self._run(_TAKE, usd, tokens, *bounds) else self.read()

    def settle(self, usd: tuple[int, int], tokens: tuple[int, int]) -> None:
        changes = ("usd_reserved", -usd[0], "usd_spent", usd[1])
        try:
            self._run(_ADD, *changes, "tokens_reserved", -tokens[0], "tokens_spent", tokens[1])
        except ConnectError as error:  # the call is over; what it had reserved stays taken
            from awsllm import log

            log.logger("policy").warning("a budget keeps what a call had reserved: %s", error.message)

    def pass_unknown(self) -> None:
        self._run(_ADD, "calls", 1, "unknown", 1)

    def read(self) -> Spending:
        found = self._asked(lambda: self._client.hmget(self._key, _COLUMNS))
        return Spending(**{name: int(value or 0) for name, value in zip(_COLUMNS, found, strict=True)})

    def _run(self, script: str, *arguments: Any) -> Any:
        return self._asked(lambda: self._client.eval(script, 1, self._key, *arguments))

    def _asked(self, ask: Any) -> Any:
        try:
            return ask()
        except Exception as error:
            raise ConnectError(f"the budget's Redis does not answer: {type(error).__name__}") from error
