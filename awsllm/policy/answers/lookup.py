"""What is looked up for a request, and what is kept of its answer: all of a cache but the waiting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from awsllm.backend import Attempt
from awsllm.errors import AwsllmError
from awsllm.policy.answers.claims import ClaimTurn
from awsllm.policy.answers.kept import (
    Costs,
    FoundAnswer,
    marked_events,
    marked_response,
    pack_events,
    pack_response,
    saving,
    unpack,
)
from awsllm.policy.answers.keys import is_cacheable, is_deterministic, request_key, split_question
from awsllm.policy.answers.semantic import SemanticCache
from awsllm.policy.answers.stores import ResponseCache
from awsllm.types import CacheHit, ConverseResponse, Message, Metadata, Request, StreamEvent, Value

_NOTHING = Message("assistant", ())


class AnswerLookup(Value, frozen=True):
    """Where an answer to ``request`` would be: under ``key`` where an equal one was kept, in ``group`` near
    ``question``; None: it is not looked for there."""

    request: Request[Any]
    key: bytes | None
    group: bytes | None = None
    question: str = ""


class Answers:
    """The caches of one client."""

    def __init__(self, exact: ResponseCache | None, semantic: SemanticCache | None) -> None:
        self.exact, self.semantic = exact, semantic
        self.alone = exact if exact is not None and exact.claims is None and semantic is None else None
        """The one cache that there is, of which no other process is asked whether it makes an equal call."""
        self._is_told = False

    @property
    def waits(self) -> bool:
        """Whether an event loop must not wait for the store."""
        return self.exact is not None and self.exact.store.waits

    @property
    def compares_slowly(self) -> bool:
        """The same of the questions' store."""
        return self.semantic is not None and self.semantic.store.waits

    def lookup(self, request: Request[Any], wanted: bool | None, caller: Callable[[], str]) -> AnswerLookup | None:
        """None: the call is made as if there were no caches. ``caller`` says whose answers are looked for."""
        if wanted is False or not is_cacheable(request):
            return None
        exact, semantic = self.exact, self.semantic
        key = group = None
        question = ""
        same = wanted or (semantic is None and exact is not None and exact.random) or is_deterministic(request)
        if exact is not None and (same or exact.random):
            key = request_key(request, _scope(exact.scope, caller))
        if semantic is not None and (same or semantic.random) and (split := split_question(request)):
            rest, question = split
            group = request_key(rest, _scope(semantic.scope, caller))
        if key is None and group is None:
            return None
        return AnswerLookup(request, key, group, question)

    def turn(self, lookup: AnswerLookup, attempt: Attempt, *, is_stream: bool = False) -> ClaimTurn:
        """The wait for another process that makes an equal call."""
        due = attempt.event_deadline(first=True) if is_stream else attempt.deadline
        claims = None if self.exact is None or lookup.key is None else self.exact.claims
        left = Attempt(deadline=due).remaining
        return ClaimTurn(claims, lookup.key or b"", lambda: self.find(lookup, how="shared"), left)

    def find(self, lookup: AnswerLookup, how: str = "exact") -> FoundAnswer | None:
        """What was answered to an equal request."""
        if self.exact is None or lookup.key is None:
            return None
        data = self.exact.get(lookup.key)
        found = None if data is None else unpack(data, lookup.request)
        return None if found is None else FoundAnswer(*found, CacheHit(kind=how, age=found[0].age))

    def find_near(self, lookup: AnswerLookup, vector: Sequence[float]) -> FoundAnswer | None:
        """What was answered to a question that means the same."""
        if self.semantic is None or lookup.group is None:
            return None
        near = self.semantic.find(lookup.group, vector)
        found = None if near is None else unpack(near[0], lookup.request)
        if near is None or found is None:
            return None
        return FoundAnswer(*found, CacheHit(kind="semantic", age=found[0].age, similarity=near[1]))

    def keep(self, lookup: AnswerLookup, response: Any) -> None:
        """Keep an answer that was made for an equal request."""
        if response.from_cache is None and self.exact is not None and lookup.key is not None:
            data = pack_response(lookup.request, response)
            if data is not None:
                self.exact.put(lookup.key, data)

    def keep_events(self, lookup: AnswerLookup, events: Sequence[StreamEvent]) -> None:
        if not any(isinstance(event, Metadata) and event.from_cache for event in events):
            data = pack_events(lookup.request, events)
            if data is not None and self.exact is not None and lookup.key is not None:
                self.exact.put(lookup.key, data)

    def keep_near(self, lookup: AnswerLookup, vector: Sequence[float], answer: Any) -> None:
        """Keep a response, or the events of a stream, for questions of the same meaning."""
        if self.semantic is None or lookup.group is None:
            return
        is_stream = isinstance(answer, list)
        data = (pack_events if is_stream else pack_response)(lookup.request, answer)
        if data is not None:
            self.semantic.put(lookup.group, vector, data)

    def could_not_embed(self, error: AwsllmError) -> None:
        if not self._is_told:
            self._is_told = True
            from awsllm import log

            log.logger("policy").warning("questions cannot be compared: %s; calls are made", type(error).__name__)


def shared_response(response: Any, request: Request[Any], costs: Costs) -> Any:
    """The response of an equal call, for one that has waited for it."""
    if response.from_cache is not None:
        return response
    return marked_response(response, saving(CacheHit(kind="shared"), response, request, costs))


def shared_event(event: StreamEvent, request: Request[Any], costs: Costs) -> StreamEvent:
    """An event of a stream that another call has begun."""
    if not isinstance(event, Metadata) or event.from_cache is not None:
        return event
    whole = ConverseResponse(message=_NOTHING, stop_reason=None, usage=event.usage, service_tier=event.service_tier)
    hit = saving(CacheHit(kind="shared"), whole, request, costs)
    return next(marked_events((event,), hit))


def _scope(named: str | None, caller: Callable[[], str]) -> str:
    return f"of {caller()}" if named is None else f"named {named}"
