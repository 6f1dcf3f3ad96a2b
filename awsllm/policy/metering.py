"""A backend whose calls are counted: taken from budgets before they are made, written to a ledger when they are over.

What a failed call may have used is known from its error: one that was refused, or never reached the service, used
nothing; of one that timed out, broke off, or was left by its reader, nobody knows, and its budgets keep what it had
reserved.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from typing import Any, TypeVar

from msgspec.structs import replace

from awsllm.backend import UNLIMITED, AsyncBackend, Attempt, Backend
from awsllm.errors import (
    AwsllmError,
    ConfigurationError,
    ConnectError,
    ModelNotReadyError,
    ModelTimeoutError,
    RequestError,
    ServiceError,
    ThrottlingError,
)
from awsllm.models.knowledge import Knowledge
from awsllm.models.references import Reference
from awsllm.policy.budgets import CallBudget, Held
from awsllm.policy.estimates import most_used
from awsllm.policy.tags import with_metadata
from awsllm.policy.usage_ledger import LedgerCounts, UsageLedger
from awsllm.types import CacheHit, ConverseResponse, CountTokensRequest, Message, Metadata, Request, Streamed, Usage

E = TypeVar("E")
R = TypeVar("R")

_UNUSED = (RequestError, ConfigurationError, ThrottlingError, ModelNotReadyError, ConnectError)
_NOTHING = Message("assistant", ())
UNCOUNTED = "a budget could not count this call: nobody can say what it may use (unknown='warn')"


class CallMeter:
    """Where the calls of one model by one caller are counted."""

    def __init__(
        self,
        reference: Reference,
        prices: Knowledge,
        budgets: tuple[CallBudget, ...],
        ledger: UsageLedger | None,
        tags: Mapping[str, str],
    ) -> None:
        self._reference, self._prices = reference, prices
        self._budgets, self._ledger, self._tags = budgets, ledger, tags

    def tagged(self, request: R) -> R:
        """The request as it is sent."""
        if not self._tags or self._reference.scheme != "bedrock":
            return request
        return with_metadata(request, self._tags)

    def begin(self, request: Request[Any]) -> MeteredCall:
        """Take what the call may use of every budget. Raises ``BudgetExceededError``, and then nothing is taken."""
        if not self._budgets:
            return MeteredCall(self, request, (), uncounted=False)
        price = self._prices.price(self._reference, request.family)
        wanted = most_used(request, price, is_local=self._reference.scheme == "local")
        held: list[Held] = []
        uncounted = False
        try:
            for budget in self._budgets:
                taken = budget.reserve(wanted)
                if taken is None:
                    uncounted = True
                else:
                    held.append(taken)
        except BaseException as error:
            for each in held:
                each.settle(0.0, 0)
            if isinstance(error, AwsllmError):
                error.annotate(backend=self._reference.scheme, model=self._reference.model)
            raise
        return MeteredCall(self, request, tuple(held), uncounted=uncounted)

    def cost(self, response: Any, request: Request[Any]) -> float | None:
        return self._prices.cost(self._reference, response, request)

    def write(self, counts: LedgerCounts) -> None:
        if self._ledger is not None:
            self._ledger.count(str(self._reference), self._tags, counts)

    def hit(self, hit: CacheHit) -> None:
        """A cache has answered."""
        self.write(LedgerCounts.of_hit(hit))


class MeteredCall:
    """One call, until it is over."""

    def __init__(self, meter: CallMeter, request: Request[Any], held: tuple[Held, ...], *, uncounted: bool) -> None:
        self._meter, self._request, self._held = meter, request, held
        self._uncounted = uncounted
        self._metadata: Metadata | None = None
        self._began = False

    def end(self, response: Any) -> Any:
        """The call has answered; what its caller gets."""
        usage: Usage | None = getattr(response, "usage", None)
        cost = self._meter.cost(response, self._request)
        for held in self._held:
            held.settle(cost, _tokens(usage))
        if not isinstance(self._request, CountTokensRequest):  # which is free
            self._meter.write(LedgerCounts.of_call(usage, cost))
        if self._uncounted and hasattr(response, "warnings"):
            return replace(response, warnings=(*response.warnings, UNCOUNTED))
        return response

    def saw(self, event: Any) -> Any:
        """An event of a stream, as its reader gets it."""
        self._began = True
        if isinstance(event, Metadata):
            self._metadata = event
            if self._uncounted:
                return replace(event, warnings=(*event.warnings, UNCOUNTED))
        return event

    def end_stream(self) -> None:
        """The stream has ended; only a chat's says what it used."""
        last = self._metadata or Metadata()
        response = ConverseResponse(
            message=_NOTHING,
            stop_reason=None,
            usage=last.usage,
            service_tier=last.service_tier,
            performance_config=last.performance_config,
        )
        self._uncounted = False
        self.end(response)

    def fail(self, error: BaseException) -> None:
        if self._metadata is not None:  # what was used is known all the same
            self.end_stream()
            return
        unused = not self._began and _is_unused(error)
        for held in self._held:
            held.settle(*((0.0, 0) if unused else (None, None)))
        if not unused:
            self._meter.write(LedgerCounts.of_failure())


def _is_unused(error: BaseException) -> bool:
    """Whether a call that ended like this has surely used nothing."""
    if isinstance(error, _UNUSED):
        return True
    return isinstance(error, ServiceError) and not isinstance(error, ModelTimeoutError) and error.status is not None


def _tokens(usage: Usage | None) -> int | None:
    if usage is None or usage.input_tokens is None:
        return None
    cached = (usage.cache_read_input_tokens or 0) + (usage.cache_write_input_tokens or 0)
    return usage.input_tokens + (usage.output_tokens or 0) + cached


class MeteredBackend:
    """A ``Backend``."""

    def __init__(self, backend: Backend, meter: CallMeter) -> None:
        self._backend, self._meter = backend, meter

    def ask(self, request: Request[R], attempt: Attempt = UNLIMITED) -> R:
        metered = self._meter.begin(request)
        try:
            response = self._backend.ask(self._meter.tagged(request), attempt)
        except BaseException as error:
            metered.fail(error)
            raise
        answer: R = metered.end(response)
        return answer

    def stream(self, request: Streamed[R, E], attempt: Attempt = UNLIMITED) -> Iterator[E]:
        metered = self._meter.begin(request)
        try:
            events = self._backend.stream(self._meter.tagged(request), attempt)
            try:
                for event in events:
                    yield metered.saw(event)
            finally:
                if close := getattr(events, "close", None):
                    close()
        except BaseException as error:  # a reader that leaves is one too
            metered.fail(error)
            raise
        metered.end_stream()

    def close(self) -> None:
        self._backend.close()


class AsyncMeteredBackend:
    """The same, awaited."""

    def __init__(self, backend: AsyncBackend, meter: CallMeter) -> None:
        self._backend, self._meter = backend, meter

    async def ask(self, request: Request[R], attempt: Attempt = UNLIMITED) -> R:
        metered = self._meter.begin(request)
        try:
            response = await self._backend.ask(self._meter.tagged(request), attempt)
        except BaseException as error:
            metered.fail(error)
            raise
        answer: R = metered.end(response)
        return answer

    async def stream(self, request: Streamed[R, E], attempt: Attempt = UNLIMITED) -> AsyncGenerator[E, None]:
        metered = self._meter.begin(request)
        try:
            events: AsyncIterator[E] = self._backend.stream(self._meter.tagged(request), attempt)
            try:
                async for event in events:
                    yield metered.saw(event)
            finally:
                if close := getattr(events, "aclose", None):
                    await close()
        except BaseException as error:
            metered.fail(error)
            raise
        metered.end_stream()

    async def close(self) -> None:
        await self._backend.close()
