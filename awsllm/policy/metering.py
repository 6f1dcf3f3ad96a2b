"""A backend whose calls are counted: taken from budgets before they are made, written to a ledger when they are over.

What a failed call may have used is known from its error: one that was refused, or never reached the service, used
nothing; of one that timed out, broke off, or was left by its reader, nobody knows, and its budgets keep what it had
reserved.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeAlias, TypeVar

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
from awsllm.models.knowledge import Knowledge, cost_at
from awsllm.models.prices import MOST_TOKENS, Price
from awsllm.models.references import Reference
from awsllm.policy.budgets import CallBudget, Held
from awsllm.policy.estimates import most_used
from awsllm.policy.tags import metadata, with_metadata
from awsllm.policy.usage_ledger import LedgerCounts, UsageLedger
from awsllm.types import CacheHit, ConverseRequest, ConverseResponse, Message, Metadata, Request, Streamed, Usage

Taken: TypeAlias = Sequence[Held | None]

E = TypeVar("E")
R = TypeVar("R")

_UNUSED = (RequestError, ConfigurationError, ThrottlingError, ModelNotReadyError, ConnectError)
_NOTHING = Message("assistant", ())
_NO_USAGE = Usage()
UNCOUNTED = "a budget could not count this call: nobody can say what it may use (unknown='warn')"


class CallMeter:
    """Where the calls of one model with the same tags are counted: one of a client's for all of them."""

    __slots__ = (
        *("_price", "_prices", "_profile", "_reference", "_sent_tags"),
        *("changes", "is_local", "is_tagged_alone", "ledger", "metadata", "name", "place", "tags"),
    )

    def __init__(
        self, reference: Reference, prices: Knowledge, ledger: UsageLedger | None, tags: Mapping[str, str]
    ) -> None:
        self._reference, self._prices = reference, prices
        self.ledger, self.tags = ledger, tags
        self.name, self.is_local = str(reference), reference.scheme == "local"
        self._sent_tags: Mapping[str, str] = tags if reference.scheme == "bedrock" else {}
        self.metadata = metadata(self._sent_tags)
        self._price: dict[str | None, Price | None] = {}
        self._profile: str | None = None
        self.is_tagged_alone = bool(self.metadata)
        """Whether its tags are all by which calls are sent otherwise than they were asked for."""
        self.place, self.changes = reference, bool(self._sent_tags)
        """Where calls are made, and whether they are sent otherwise than they were asked for."""

    def goes(self, place: Reference, profile: str | None) -> None:
        """Calls are made elsewhere, or as somebody else, and through a profile."""
        self.place, self._profile = place, profile
        self.changes = self.changes or profile is not None
        self.is_tagged_alone = self.is_tagged_alone and profile is None

    def sent(self, request: R) -> R:
        """The request as it is sent."""
        if self._profile is not None:
            from awsllm.policy.attribution import through

            request = through(request, self._profile)
        known: Any = request
        if type(known) is ConverseRequest and known.request_metadata is None and known.api != "openai":
            changed: Any = replace(known, request_metadata=self.metadata) if self.metadata else known
            return changed  # type: ignore[no-any-return]
        return with_metadata(request, self._sent_tags)

    def price_of(self, request: Request[Any]) -> Price | None:
        """The price is the same for all calls; an ARN's is not until its family is known."""
        family = request.family
        if family not in self._price:
            self._price[family] = self._prices.price(self._reference, family)
        return self._price[family]

    def reserve(self, request: Request[Any], budgets: tuple[CallBudget, ...]) -> Taken:
        """Take what the call may use of every budget; None is of one that cannot count it. Raises
        ``BudgetExceededError``, and then nothing is taken."""
        try:
            price = self._price[request.family]
        except KeyError:
            price = self.price_of(request)
        wanted = most_used(request, price, is_local=self.is_local)
        if len(budgets) == 1:
            try:
                return (budgets[0].reserve(wanted),)
            except AwsllmError as error:
                error.annotate(backend=self._reference.scheme, model=self._reference.model)
                raise
        held: list[Held | None] = []
        try:
            for budget in budgets:
                held.append(budget.reserve(wanted))  # noqa: PERF401 - what is taken before a refusal is given back
        except BaseException as error:
            _settle(held, 0.0, 0)
            if isinstance(error, AwsllmError):
                error.annotate(backend=self._reference.scheme, model=self._reference.model)
            raise
        return held

    def ended(self, request: Request[Any], response: Any, held: Taken) -> Any:
        """A call has answered; what its caller gets."""
        ledger = None if request.free else self.ledger
        if not held and ledger is None:  # tags alone count nothing
            return response
        usage: Usage | None = getattr(response, "usage", None)
        try:
            price = self._price[request.family]
        except KeyError:
            price = self.price_of(request)
        cost = cost_at(price, response, request, is_local=self.is_local)
        if held:
            tokens = tokens_of(usage)
            for each in held:
                if each is not None:
                    each.settle(cost, tokens)
        if ledger is not None:
            request_id = getattr(response, "request_id", None)
            ledger.count_call(self.name, self.tags, usage or _NO_USAGE, cost, request_id)
        if held and None in held and hasattr(response, "warnings"):
            return replace(response, warnings=(*response.warnings, UNCOUNTED))
        return response

    def failed(self, error: BaseException, held: Taken, *, began: bool = False) -> None:
        """A call has given nothing whole; ``began``: it has given something."""
        if not began and is_unused(error):
            _settle(held, 0.0, 0)
            return
        _settle(held, None, None)
        self.write(LedgerCounts.of_failure())

    def cost(self, response: Any, request: Request[Any]) -> float | None:
        return cost_at(self.price_of(request), response, request, is_local=self.is_local)

    def write(self, counts: LedgerCounts) -> None:
        if self.ledger is not None:
            self.ledger.count(self.name, self.tags, counts)

    def hit(self, hit: CacheHit) -> None:
        """A cache has answered."""
        self.write(LedgerCounts.of_hit(hit))


def _settle(held: Taken, usd: float | None, tokens: int | None) -> None:
    for each in held:
        if each is not None:
            each.settle(usd, tokens)


class _MeteredStream:
    """One stream, until it is over."""

    def __init__(self, meter: CallMeter, request: Request[Any], held: Taken) -> None:
        self._meter, self._request, self._held = meter, request, held
        self.metadata: Metadata | None = None
        self._request_id: str | None = None
        self._began = False

    def saw(self, event: Any) -> Any:
        """An event, as its reader gets it."""
        if not self._began:
            self._began = True
            self._request_id = getattr(event, "request_id", None)  # of a chat's first event
        if isinstance(event, Metadata):
            self.metadata = event
            if None in self._held:
                return replace(event, warnings=(*event.warnings, UNCOUNTED))
        return event

    def end(self) -> None:
        """The stream has ended; only a chat's says what it used."""
        last = self.metadata or Metadata()
        response = ConverseResponse(
            message=_NOTHING,
            stop_reason=None,
            usage=last.usage,
            service_tier=last.service_tier,
            performance_config=last.performance_config,
            request_id=self._request_id,
        )
        self._meter.ended(self._request, response, self._held)

    def fail(self, error: BaseException) -> None:
        if self.metadata is not None:  # what was used is known all the same
            self.end()
        else:
            self._meter.failed(error, self._held, began=self._began)


def is_unused(error: BaseException) -> bool:
    """Whether a call that ended like this has surely used nothing."""
    if isinstance(error, _UNUSED):
        return True
    return isinstance(error, ServiceError) and not isinstance(error, ModelTimeoutError) and error.status is not None


def tokens_of(usage: Usage | None) -> int | None:
    if usage is None or (given := usage.input_tokens) is None:
        return None
    cached = (usage.cache_read_input_tokens or 0) + (usage.cache_write_input_tokens or 0)
    answered = usage.output_tokens or 0
    if min(given, answered, cached) < 0 or max(given, answered, cached) >= MOST_TOKENS:  # nobody can have used that
        return None
    return given + answered + cached


class MeteredBackend:
    """A ``Backend``, for one call under ``budgets``."""

    __slots__ = ("_backend", "_budgets", "_meter")

    def __init__(self, backend: Backend, meter: CallMeter, budgets: tuple[CallBudget, ...]) -> None:
        self._backend, self._meter, self._budgets = backend, meter, budgets

    def ask(self, request: Request[R], attempt: Attempt = UNLIMITED) -> R:
        meter = self._meter
        held = meter.reserve(request, self._budgets) if self._budgets else ()
        try:
            response = self._backend.ask(meter.sent(request) if meter.changes else request, attempt)
        except BaseException as error:
            meter.failed(error, held)
            raise
        answer: R = meter.ended(request, response, held)
        return answer

    def stream(self, request: Streamed[R, E], attempt: Attempt = UNLIMITED) -> Iterator[E]:
        held = self._meter.reserve(request, self._budgets) if self._budgets else ()
        metered = _MeteredStream(self._meter, request, held)
        try:
            events = self._backend.stream(self._meter.sent(request), attempt)
            try:
                for event in events:
                    yield metered.saw(event)
            finally:
                if close := getattr(events, "close", None):
                    close()
        except BaseException as error:  # a reader that leaves is one too
            metered.fail(error)
            raise
        metered.end()

    def close(self) -> None:
        self._backend.close()


async def _reserved(meter: CallMeter, request: Request[Any], budgets: tuple[CallBudget, ...]) -> Taken:
    """``CallMeter.reserve``; budgets behind a network are asked in a thread. Who is cancelled meanwhile has taken
    nothing."""
    if not any(budget.waits for budget in budgets):
        return meter.reserve(request, budgets)
    import asyncio

    taking = asyncio.ensure_future(asyncio.to_thread(meter.reserve, request, budgets))
    try:
        return await asyncio.shield(taking)
    except asyncio.CancelledError:
        with suppress(AwsllmError):
            await _in_thread((held := await taking), _settle, held, 0.0, 0)
        raise


async def _in_thread(held: Taken, settle: Callable[..., R], *arguments: Any) -> R:
    """Settle, in a thread where a budget lies behind a network; a cancelled caller does not end that."""
    if not held or not any(each is not None and each.purse.waits for each in held):
        return settle(*arguments)
    import asyncio

    return await asyncio.shield(asyncio.to_thread(settle, *arguments))


class AsyncMeteredBackend:
    """The same, awaited."""

    __slots__ = ("_backend", "_budgets", "_meter")

    def __init__(self, backend: AsyncBackend, meter: CallMeter, budgets: tuple[CallBudget, ...]) -> None:
        self._backend, self._meter, self._budgets = backend, meter, budgets

    async def ask(self, request: Request[R], attempt: Attempt = UNLIMITED) -> R:
        meter = self._meter
        held = await _reserved(meter, request, self._budgets) if self._budgets else ()
        try:
            response = await self._backend.ask(meter.sent(request) if meter.changes else request, attempt)
        except BaseException as error:
            await _in_thread(held, meter.failed, error, held)
            raise
        answer: R = await _in_thread(held, meter.ended, request, response, held)
        return answer

    async def stream(self, request: Streamed[R, E], attempt: Attempt = UNLIMITED) -> AsyncGenerator[E, None]:
        held = await _reserved(self._meter, request, self._budgets) if self._budgets else ()
        metered = _MeteredStream(self._meter, request, held)
        try:
            events: AsyncIterator[E] = self._backend.stream(self._meter.sent(request), attempt)
            try:
                async for event in events:
                    yield metered.saw(event)
            finally:
                if close := getattr(events, "aclose", None):
                    await close()
        except BaseException as error:
            await _in_thread(held, metered.fail, error)
            raise
        await _in_thread(held, metered.end)

    async def close(self) -> None:
        await self._backend.close()
