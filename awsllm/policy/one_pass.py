"""The budget, the limits and the ledger of a chat's call in one step before it and one after, where nothing stands in
its way: its quota and its budget have what it may use, and one rate says what it costs.

``metering`` and ``limiting.limited`` say what is counted, and do it for any call; where a look here finds more to do,
nothing is taken and the call goes through them. An untroubled call would pay for both with a dozen objects and two
dozen functions, which weigh more beside a short call than the counting itself.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

from msgspec.structs import replace

from awsllm.backend import UNLIMITED, Attempt
from awsllm.models.knowledge import cost_at
from awsllm.models.prices import MOST_TOKENS, Price
from awsllm.policy.budgets import UNIT, CallBudget, Held
from awsllm.policy.estimates import A_TURN, BYTES_A_TOKEN, Unbounded, bounds, most_used
from awsllm.policy.limiting.estimating import A_TURN as A_TURN_TAKES
from awsllm.policy.limiting.estimating import CHARACTERS_A_TOKEN, EARLY, LONG, NOTABLE, ModelUsage, estimate
from awsllm.policy.metering import CallMeter, tokens_of
from awsllm.policy.purses import ROUND, OwnPurse
from awsllm.types import ConverseRequest, ConverseResponse, Request, Streamed, Text

if TYPE_CHECKING:
    from awsllm.policy.limiting.limited import LimitedCall, LimitedModel
    from awsllm.policy.limiting.limiter import Limiter

E = TypeVar("E")
R = TypeVar("R")

_Held: TypeAlias = tuple["tuple[float, int, int, int]", int, "tuple[int, int]"]
"""What a call has taken: of its quota since when, how many requests and tokens, and what it is charged of these
(``Limiter.over``), and its prompt's tokens as characters tell; of its budget trillionths of a dollar, and tokens."""

_Rates: TypeAlias = tuple[float, float, float, int]
"""Trillionths of a dollar of a token of the prompt and of the answer, the longest prompt, and the longest answer, or
below zero where that is not known."""
_NO_QUOTA = (0.0, 0, 0, 0)
_NO_AMOUNTS = (0, 0)
_A_MILLIONTH = UNIT / 1_000_000


def fits(meter: CallMeter, budgets: tuple[CallBudget, ...], model: LimitedModel | None) -> bool:
    """Whether calls may be counted in one pass: under one budget of this process at most, and limits of its own."""
    if meter.is_local or len(budgets) > 1 or (budgets and budgets[0].own is None):
        return False
    return model is None or (model.shared is None and model.pending is None and model.limiter.is_usual)


class _OnePass:
    """What both backends have. ``whole`` is the backend in which each part counts for itself, ``bare`` the one behind
    it."""

    def __init__(
        self, whole: Any, bare: Any, meter: CallMeter, budgets: tuple[CallBudget, ...], model: LimitedModel | None
    ) -> None:
        self._whole, self._bare, self._meter, self._model = whole, bare, meter, model
        own = budgets[0].own if budgets else None
        self._purse: OwnPurse | None = own[0] if own else None
        self._most = own[1] if own else (None, None)
        self._ledger = meter.ledger
        self._rates: dict[str | None, tuple[Price | None, _Rates | None]] = {}
        self._limiter: Limiter | None = None
        self._usage: ModelUsage = cast("Any", None)  # which stands beside a limiter
        self._notable = self._largest = math.inf
        if model is not None:
            self._limiter, self._usage = model.limiter, model.usage
            self._largest = model.limiter.largest or math.inf
            self._notable = max(LONG, self._largest * NOTABLE)

    def _look_up(self, request: ConverseRequest) -> tuple[Price | None, _Rates | None]:
        """The price, and the rates of nearly all calls: None where there is more to it."""
        price, rates = self._meter.price_of(request), None
        if price is not None and price.input is not None and price.output is not None and price.long_context is None:
            with suppress(Unbounded):
                window, longest = bounds(request.family or request.model)
                rates = (
                    *(price.input * _A_MILLIONTH, price.output * _A_MILLIONTH),
                    *(math.inf if window is None else window, -1 if longest is None else longest),
                )
        self._rates[request.family] = price, rates
        return price, rates

    def _begin(self, request: ConverseRequest) -> _Held | None:
        """Take what the call may use; None where it is to be counted by each part for itself."""
        if request.service_tier is not None or request.performance_config is not None:
            return None
        given, prompt = sizes(request)
        limiter, purse = self._limiter, self._purse
        amounts, quota = _NO_AMOUNTS, _NO_QUOTA
        if purse is not None:
            wanted = self._amounts(request, prompt)
            if wanted is None:
                return None
            amounts = wanted
        if limiter is not None:
            usage, most = self._usage, request.inference_config.max_tokens
            if not given:
                given, _ = estimate(request, usage)
            charged, taken = usage.needs(given, usage.longest if most is None else most)
            if taken > self._largest or (since := limiter.go(1, taken)) is None:
                return None
            quota = since, 1, taken, charged
        if purse is not None and purse.take(amounts[0], amounts[1], self._most) is not None:
            if limiter is not None:
                limiter.undo(1, taken)
            return None
        return quota, given, amounts

    def _amounts(self, request: ConverseRequest, prompt: int) -> tuple[int, int] | None:
        """What the call may use, as its budget counts it; ``prompt`` is 0 where that takes a look at more."""
        price, rates = self._rates.get(request.family) or self._look_up(request)
        most = request.inference_config.max_tokens
        if not prompt or rates is None or (most is None and rates[3] < 0):
            wanted = most_used(request, price, is_local=False)
            if wanted.usd is None or wanted.tokens is None:
                return None
            return int(wanted.usd * UNIT + ROUND) if wanted.usd else 0, wanted.tokens
        a_token, made, window, answer = rates
        if most is not None:
            answer = most
        if prompt > window:
            prompt = int(window)
        return int(prompt * a_token + answer * made + ROUND), prompt + answer

    def _end(self, request: ConverseRequest, response: ConverseResponse, held: _Held) -> ConverseResponse:
        """The call has been answered; what its caller gets."""
        usage, (quota, estimated, (units, reserved)) = response.usage, held
        given, made = usage.input_tokens or 0, usage.output_tokens or 0
        plain = (
            0 < given < MOST_TOKENS
            and 0 < made < MOST_TOKENS
            and not usage.cache_read_input_tokens
            and not usage.cache_write_input_tokens
        )
        if self._limiter is not None:
            if plain and self._usage.answers >= EARLY:  # until then each answer is much of what is known
                self._limiter.over_soon((quota, given, made, estimated, self._usage))
            else:
                self._limiter.over(quota, self._usage.used(usage, estimated))
        purse, ledger = self._purse, self._ledger
        if purse is not None or ledger is not None:
            price, rates = self._rates.get(request.family) or self._look_up(request)
            cost: float | Price | None = price
            if (
                plain
                and rates is not None
                and response.service_tier is None
                and response.performance_config is None
                and response.from_cache is None
            ):
                if purse is not None:
                    purse.ended.append((units, reserved, given, made, rates))
            else:
                cost = spent = cost_at(price, response, request)
                if purse is not None:
                    Held(purse, units, reserved).settle(spent, tokens_of(usage))
            if ledger is not None:
                ledger.count_call(self._meter.name, self._meter.tags, usage, cost, response.request_id)
        if quota[2] >= self._notable:
            notes = self._limited_call(request, held).notes(usage)
            return replace(response, warnings=(*response.warnings, *notes)) if notes else response
        return response

    def _fail(self, request: ConverseRequest, error: BaseException, held: _Held) -> None:
        """The call has given nothing whole."""
        if self._limiter is not None:
            self._limited_call(request, held).fail(error)
        self._meter.failed(error, () if self._purse is None else (Held(self._purse, *held[2]),))

    def _limited_call(self, request: ConverseRequest, held: _Held) -> LimitedCall:
        """The call as the limits know it, who are told of it."""
        from awsllm.policy.limiting.limited import LimitedCall
        from awsllm.policy.limiting.limiter import Turn

        since, calls, taken, charged = held[0]
        turn = Turn((calls, taken), (calls, charged), at=since, granted=True)
        model, most = cast("LimitedModel", self._model), request.inference_config.max_tokens
        return LimitedCall(model, request, turn, held[1], model.usage.longest if most is None else most, goes=True)


def sizes(request: ConverseRequest) -> tuple[int, int]:
    """The prompt's tokens as the limits take them, and at most (as budgets do), where it is nothing but ASCII; 0
    for what takes a look at more."""
    given, most = 0, A_TURN
    for turn in request.messages:
        given += A_TURN_TAKES
        most += A_TURN
        for block in turn.content:
            if type(block) is not Text or not (text := block.text).isascii():
                return 0, 0
            size = len(text)
            given += size // CHARACTERS_A_TOKEN + 1
            most += size // BYTES_A_TOKEN + 1
    if request.system or request.tools or request.extra or request.output_config:
        return 0, 0
    return given, most


class OnePassBackend(_OnePass):
    """A ``Backend``."""

    def ask(self, request: Request[R], attempt: Attempt = UNLIMITED) -> R:
        if type(request) is not ConverseRequest or (held := self._begin(request)) is None:
            return cast("R", self._whole.ask(request, attempt))
        sent, meter = request, self._meter
        if meter.is_tagged_alone and request.request_metadata is None and request.api is None:
            sent = replace(request, request_metadata=meter.metadata)
        elif meter.changes:
            sent = meter.sent(request)
        try:
            response = self._bare.ask(sent, attempt)
        except BaseException as error:
            self._fail(request, error, held)
            raise
        return cast("R", self._end(request, response, held))

    def stream(self, request: Streamed[R, E], attempt: Attempt = UNLIMITED) -> Any:
        return self._whole.stream(request, attempt)

    def close(self) -> None:
        self._whole.close()


class AsyncOnePassBackend(_OnePass):
    """The same, awaited."""

    async def ask(self, request: Request[R], attempt: Attempt = UNLIMITED) -> R:
        if type(request) is not ConverseRequest or (held := self._begin(request)) is None:
            return cast("R", await self._whole.ask(request, attempt))
        sent, meter = request, self._meter
        if meter.is_tagged_alone and request.request_metadata is None and request.api is None:
            sent = replace(request, request_metadata=meter.metadata)
        elif meter.changes:
            sent = meter.sent(request)
        try:
            response = await self._bare.ask(sent, attempt)
        except BaseException as error:
            self._fail(request, error, held)
            raise
        return cast("R", self._end(request, response, held))

    def stream(self, request: Streamed[R, E], attempt: Attempt = UNLIMITED) -> Any:
        return self._whole.stream(request, attempt)

    async def close(self) -> None:
        await self._whole.close()
