"""What stands round the backends of a client that caches, counts or holds to a budget; others have none of it.

Outermost is the cache, so that what it answers costs nothing; behind it the meter, which counts what is really sent.
Both are inside of what retries: an attempt is looked up, reserved and counted as one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from awsllm.errors import ConfigurationError
from awsllm.models.knowledge import Knowledge
from awsllm.models.references import Reference
from awsllm.policy.answers.lookup import Answers
from awsllm.policy.answers.semantic import SemanticCache
from awsllm.policy.answers.stores import ResponseCache
from awsllm.policy.budgets import BudgetOptions, Budgets, CallBudget
from awsllm.policy.metering import AsyncMeteredBackend, CallMeter, MeteredBackend
from awsllm.policy.tags import CallMarks, checked_tags
from awsllm.policy.usage_ledger import UsageLedger

T = TypeVar("T")

_NO_MARKS = CallMarks()


class CallerNames(Protocol):
    """Who makes the calls of a client."""

    def of(self, reference: Reference) -> str:
        """Whoever has other rights has another name, and so has another place. May read files or ask a service."""

    def is_known(self, reference: Reference) -> bool:
        """Whether ``of`` answers at once."""


class Layers:
    """Those of one client."""

    def __init__(
        self,
        prices: Knowledge,
        callers: CallerNames,
        options: Mapping[str, Any],
        embed: Any,
        *,
        awaited: bool,
    ) -> None:
        """``options`` are the client's, and so is ``embed``, its method."""
        self._prices, self._callers = prices, callers
        self._embed, self._awaited = embed, awaited
        self._tags = checked_tags(options.get("tags"))
        self._own: list[Any] = []
        self._ledger = self._made(options.get("ledger"), UsageLedger)
        self._answers = self._cached(options)
        self._budgets = Budgets()
        self._flights: Any = None if self._answers is None else _flights(awaited=awaited)

    def budget(self, usd: float | None, tokens: int | None, options: BudgetOptions) -> CallBudget:
        return CallBudget(self._budgets, usd, tokens, options)

    def around(self, backend: Any, reference: Reference, marks: CallMarks | None) -> Any:
        """The backend for one call: of a client's kind, sync or awaited."""
        marks = marks or _NO_MARKS
        meter, counts = self._meter(reference, marks)
        if counts:
            backend = (AsyncMeteredBackend if self._awaited else MeteredBackend)(backend, meter)
        if self._answers is None:
            return backend
        if not self._awaited:
            from awsllm.policy.answers.cached import CachedBackend

            cached = CachedBackend(backend, self._answers, self._flights, self._embedded, meter)
            cached.wanted, cached.caller = marks.response_cache, self._caller(reference)
            return cached
        from awsllm.policy.answers.cached_async import AsyncCachedBackend

        awaited = AsyncCachedBackend(backend, self._answers, self._flights, self._embedded_async, meter)
        awaited.wanted, awaited.caller = marks.response_cache, self._caller(reference)
        awaited.is_known = lambda: self._callers.is_known(reference)
        return awaited

    def _meter(self, reference: Reference, marks: CallMarks) -> tuple[CallMeter, bool]:
        """The meter of one call, and whether it has anything to count or to tag."""
        tags = checked_tags({**self._tags, **marks.tags}) if marks.tags else self._tags
        budgets = self._budgets.current()
        meter = CallMeter(reference, self._prices, budgets, self._ledger, tags)
        return meter, bool(budgets or self._ledger or tags)

    def _caller(self, reference: Reference) -> Callable[[], str]:
        return lambda: f"{reference.scheme} {self._callers.of(reference)}"

    def _embedded(self, text: str, seconds: float | None) -> Any:
        """The vector of a question."""
        embed = cast("SemanticCache", cast("Answers", self._answers).semantic).embed
        return self._embed(embed, [text], timeout=seconds).vectors[0] if isinstance(embed, str) else embed(text)

    async def _embedded_async(self, text: str, seconds: float | None) -> Any:
        embed = cast("SemanticCache", cast("Answers", self._answers).semantic).embed
        if isinstance(embed, str):
            return (await self._embed(embed, [text], timeout=seconds)).vectors[0]
        vector = embed(text)
        return await vector if hasattr(vector, "__await__") else vector

    def _cached(self, options: Mapping[str, Any]) -> Answers | None:
        exact = self._made(options.get("response_cache"), ResponseCache)
        semantic = options.get("semantic_cache")
        if semantic is not None and not isinstance(semantic, SemanticCache):
            raise ConfigurationError(f"semantic_cache is a SemanticCache, not a {type(semantic).__name__}")
        return None if exact is None and semantic is None else Answers(exact, semantic)

    def _made(self, given: Any, kind: Callable[[str | Path], T]) -> T | None:
        """What a client is given by a path, which is then its own to close, or as it is."""
        if given is None or isinstance(given, cast("type[T]", kind)):
            return given
        if not isinstance(given, str | Path):
            raise ConfigurationError(f"give a path or {kind.__name__}(…), not a {type(given).__name__}")
        made = kind(given)
        self._own.append(made)
        return made

    def close(self) -> None:
        """Close what was opened for this client alone."""
        for made in self._own:
            made.close()


def _flights(*, awaited: bool) -> Any:
    if awaited:
        from awsllm.policy.answers.flights_async import AsyncFlights

        return AsyncFlights()
    from awsllm.policy.answers.flights import Flights

    return Flights()


def caller_name(*parts: str) -> str:
    """A name of a caller that tells nothing of the keys it is made of."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
