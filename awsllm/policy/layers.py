"""What stands round the backends of a client that caches, counts, or holds to a budget or to limits; others have none
of it.

Outermost is the cache, so that what it answers costs nothing; behind it the meter, which counts what is really sent;
innermost the limits, so that only what would be sent waits for its turn. All are inside of what retries: an attempt is
looked up, reserved and counted as one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from awsllm.errors import ConfigurationError
from awsllm.models.knowledge import Knowledge
from awsllm.models.references import Reference
from awsllm.policy.answers.lookup import Answers
from awsllm.policy.answers.semantic import SemanticCache
from awsllm.policy.answers.stores import ResponseCache
from awsllm.policy.budgets import ENTERED, BudgetOptions, Budgets, CallBudget
from awsllm.policy.metering import AsyncMeteredBackend, CallMeter, MeteredBackend
from awsllm.policy.tags import CallMarks, checked_tags
from awsllm.policy.usage_ledger import UsageLedger

if TYPE_CHECKING:
    from awsllm.policy.limiting.registry import ClientLimits

T = TypeVar("T")

_NO_MARKS = CallMarks()
_MOST_METERS = 256


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
        limits: ClientLimits | None = None,
    ) -> None:
        """``options`` are the client's, and so is ``embed``, its method."""
        self.limits = limits
        if limits is not None:
            self._limited = _limited(awaited=awaited)
        self._prices, self._callers = prices, callers
        self._embed, self._awaited = embed, awaited
        self._tags = checked_tags(options.get("tags"))
        self._own: list[Any] = []
        self._ledger = self._made("ledger", options, UsageLedger)
        self._answers = self._cached(options)
        self._budgets = Budgets()
        self._attribution = _attribution(options)
        self._meters: dict[Reference, CallMeter] = {}
        self._placed: dict[int, tuple[Reference, tuple[CallBudget, ...], bool, Any]] = {}
        """By the id of a reference, which is kept: it, the budgets that were entered, whether any of these holds, and
        the backend."""
        self._counts = bool(self._ledger or self._tags)
        self._flights: Any = None if self._answers is None else _flights(awaited=awaited)

    def budget(self, usd: float | None, tokens: int | None, options: BudgetOptions) -> CallBudget:
        return CallBudget(self._budgets, usd, tokens, options)

    def around(self, backends: Any, reference: Reference, marks: CallMarks | None) -> Any:
        """The backend for one call: of a client's kind, sync or awaited. ``backends`` has those that make calls, by
        reference. Calls of a model that say nothing of themselves have the same as long as their budgets are."""
        if marks is not None:
            return self._made_for(backends, reference, marks, self._budgets.current())
        opened = ENTERED.get()
        known = self._placed.get(id(reference))
        if (
            known is not None
            and known[0] is reference
            and known[1] is opened
            and (known[2] or not self._budgets.opened)
        ):
            return known[3]
        budgets = self._budgets.current()
        placed = self._made_for(backends, reference, None, budgets)
        if self._is_to_change(reference):
            return placed
        if not budgets or budgets[0] in opened:  # else they are other threads'
            if len(self._placed) >= _MOST_METERS:
                self._placed.clear()
            self._placed[id(reference)] = (reference, opened, bool(budgets), placed)
        return placed

    def _made_for(
        self, backends: Any, reference: Reference, marks: CallMarks | None, budgets: tuple[CallBudget, ...]
    ) -> Any:
        meter = self._meter(reference, marks)
        bare = backend = backends[meter.place]
        limited = None if self.limits is None else self.limits.of(reference)
        if limited is not None:
            backend = self._limited(backend, limited, marks or _NO_MARKS)
        if budgets or self._counts or meter.changes:
            backend = (AsyncMeteredBackend if self._awaited else MeteredBackend)(backend, meter, budgets)
        if (budgets or limited is not None) and marks is None:  # made once, for many calls
            from awsllm.policy import one_pass

            if one_pass.fits(meter, budgets, limited):
                kind: Any = one_pass.AsyncOnePassBackend if self._awaited else one_pass.OnePassBackend
                backend = kind(backend, bare, meter, budgets, limited)
        if self._answers is None:
            return backend
        marks = marks or _NO_MARKS
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

    def _is_to_change(self, reference: Reference) -> bool:
        """Whether the quotas of a model are still to be asked for."""
        limited = None if self.limits is None else self.limits.of(reference)
        return limited is not None and limited.pending is not None

    def would_wait(self, reference: Reference, request: Any = None) -> float:
        """Seconds that a call would wait for the limits of its model, about, if it were made now; 0: it would not.
        Without the request it is one such as were made lately."""
        limited = None if self.limits is None else self.limits.of(reference)
        return 0.0 if limited is None else limited.would_wait(request)

    def _meter(self, reference: Reference, marks: CallMarks | None) -> CallMeter:
        if marks is not None and marks.tags:
            return self._new_meter(reference, checked_tags({**self._tags, **marks.tags}))
        meter = self._meters.get(reference)
        if meter is None:
            if len(self._meters) >= _MOST_METERS:  # a program names few models; whoever names others at will goes on
                self._meters.clear()
            meter = self._meters[reference] = self._new_meter(reference, self._tags)
        return meter

    def _new_meter(self, reference: Reference, tags: Mapping[str, str]) -> CallMeter:
        meter = CallMeter(reference, self._prices, self._ledger, tags)
        if self._attribution is not None:
            meter.goes(*self._attribution.of(reference, tags))
        return meter

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
        exact = self._made("response_cache", options, ResponseCache)
        semantic = options.get("semantic_cache")
        if semantic is not None and not isinstance(semantic, SemanticCache):
            raise ConfigurationError(f"semantic_cache is a SemanticCache, not a {type(semantic).__name__}")
        return None if exact is None and semantic is None else Answers(exact, semantic)

    def _made(self, name: str, options: Mapping[str, Any], kind: Callable[[str | Path], T]) -> T | None:
        """What a client is given by a path, which is then its own to close, or as it is."""
        given = options.get(name)
        if given is None or isinstance(given, cast("type[T]", kind)):
            return given
        if not isinstance(given, str | Path):
            raise ConfigurationError(f"{name} is {given!r:.40}; give a path or awsllm.{kind.__name__}(…)")
        made = kind(given)
        self._own.append(made)
        return made

    def close(self) -> None:
        """Close what was opened for this client alone."""
        self._placed.clear()
        for made in self._own:
            made.close()
        if self.limits is not None:
            self.limits.close()


def _limited(*, awaited: bool) -> Any:
    from awsllm.policy.limiting.limited import AsyncLimitedBackend, LimitedBackend

    return AsyncLimitedBackend if awaited else LimitedBackend


def _attribution(options: Mapping[str, Any]) -> Any:
    session_tags, profiles = options.get("session_tags"), options.get("profiles")
    if not session_tags and not profiles:
        return None
    from awsllm.policy.attribution import Attribution

    return Attribution(session_tags, profiles, has_role=options.get("role") is not None)


def _flights(*, awaited: bool) -> Any:
    if awaited:
        from awsllm.policy.answers.flights_async import AsyncFlights

        return AsyncFlights()
    from awsllm.policy.answers.flights import Flights

    return Flights()


def caller_name(*parts: str) -> str:
    """A name of a caller that tells nothing of the keys it is made of."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
