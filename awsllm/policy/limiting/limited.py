"""A backend whose calls keep to a client's own limits: what they need is taken before they are sent, what they did not
use is given back when they are over."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextlib import closing, suppress
from typing import Any, TypeVar, cast

import msgspec
from msgspec.structs import replace

from awsllm.backend import UNLIMITED, AsyncBackend, Attempt, Backend
from awsllm.errors import AwsllmError, LimitExceededError, ThrottlingError
from awsllm.models.references import Reference
from awsllm.policy.limiting.estimating import LONG, NOTABLE, ModelUsage, estimate
from awsllm.policy.limiting.limiter import MINUTE, Limiter, Turn
from awsllm.policy.limiting.shared import SharedQuota
from awsllm.policy.metering import is_unused
from awsllm.policy.tags import CallMarks
from awsllm.types import AttemptMade, ConverseResponse, Metadata, Request, Streamed, Usage

E = TypeVar("E")
R = TypeVar("R")

_UNFELT = 0.001  # seconds


class LimitedModel:
    """One model of a client and the quota that it is under. ``region`` is where it is called."""

    __slots__ = ("limiter", "pending", "reference", "region", "shared", "usage")

    def __init__(self, reference: Reference, region: str | None, limiter: Limiter, burndown: int) -> None:
        self.reference, self.region, self.limiter = reference, region, limiter
        self.usage = ModelUsage(reference.model, limiter.limits.burndown or burndown)
        self.shared: SharedQuota | None = None
        self.pending: Callable[[], None] | None = None  # what finds its quotas, which is I/O

    def would_wait(self, request: Request[Any] | None = None) -> float:
        """Seconds that a call would wait if it were made now; without the request, one such as were made lately."""
        if request is None:
            typical = int(self.usage.typical)
            return self.limiter.would_wait(typical)
        charged, taken = self.usage.needs(*estimate(request, self.usage))
        return self.limiter.would_wait(taken, charged)


class LimitedCall(msgspec.Struct, eq=False):
    """One attempt: what of it does not depend on whether it is awaited. ``given`` are the tokens of its prompt, as
    characters tell, and ``most`` is the longest answer; ``goes``: it may be sent at once."""

    model: LimitedModel
    request: Request[Any]
    turn: Turn
    given: int
    most: int
    goes: bool
    used: int | None = None
    waited: float = 0.0
    metadata: Metadata | None = None
    began: bool = False
    since: float = 0.0

    # --- until it may be sent ---

    def steps(self, attempt: Attempt, marks: CallMarks) -> Generator[float | None, float, None]:
        """What to do until it may be sent: a number is seconds to wait, or until ``turn.tell``; at None others who
        share the quota are asked (``take``), and the seconds that they say are sent back. Raises
        ``LimitExceededError``."""
        limiter, turn = self.model.limiter, self.turn
        most = attempt.remaining() if marks.waits else 0.0
        self.since = begun = limiter.clock()
        try:
            if not turn.granted:
                limiter.check_size(turn, self._fix())
                limiter.queue(turn, marks.tenant, marks.priority, most)
            while True:
                while not turn.granted and (seconds := limiter.pause(turn)):
                    yield seconds
                if self.model.shared is None or (seconds := (yield None)) <= 0:
                    break
                limiter.again(turn, seconds, most)
        except BaseException as error:
            limiter.leave(turn)
            if isinstance(error, LimitExceededError):
                error.annotate(backend=self.model.reference.scheme, model=self.model.reference.model)
                error.waited = limiter.clock() - begun
            raise
        self.waited = limiter.clock() - begun
        if self.waited < _UNFELT:
            self.waited = 0.0
        else:
            from awsllm.policy import observers

            observers.waited(self.waited)

    def take(self) -> float:
        shared = self.model.shared
        return 0.0 if shared is None else shared.take(self.turn, self.model.limiter.clock() - self.since)

    def _fix(self) -> str:
        config = getattr(self.request, "inference_config", None)
        if config is None:
            return "make it smaller"
        given = f"max_tokens={config.max_tokens:,}" if config.max_tokens else "max_tokens is not set, so the longest"
        return f"{given} takes {self.most:,} of it: set max_tokens to what the answer needs, or shorten the prompt"

    # --- once it is over ---

    @property
    def is_shared(self) -> bool:
        return self.model.shared is not None

    def settle_shared(self) -> None:
        """Tell those who share the quota what was used."""
        if self.model.shared is not None:
            self.model.shared.settle(self.turn, self.used)

    def end(self, response: Any) -> Any:
        if type(response) is not ConverseResponse:
            self._count(getattr(response, "usage", None))
            return response
        usage, model = response.usage, self.model
        used = self.used = model.usage.used(usage, self.given)
        model.limiter.settle(self.turn, used)
        notes = self.notes(usage) if self.most >= LONG else ()
        if not (self.waited or notes):
            return response
        return replace(response, warnings=(*response.warnings, *notes), attempts=(*response.attempts, *self._waits()))

    def saw(self, event: Any) -> Any:
        """An event of a stream, as its reader gets it."""
        self.began = True
        if type(event) is not Metadata:
            return event
        self.metadata = event
        notes = self.notes(event.usage)
        if not (self.waited or notes):
            return event
        return replace(event, warnings=(*event.warnings, *notes), attempts=(*event.attempts, *self._waits()))

    def end_stream(self) -> None:
        self._count(None if self.metadata is None else self.metadata.usage)

    def fail(self, error: BaseException) -> None:
        """What is surely unused comes back; of what may have run, as much is counted as it was charged."""
        if isinstance(error, AwsllmError):
            error.waited = self.waited
        if self.metadata is not None:
            self.end_stream()
        elif isinstance(error, ThrottlingError):
            self.used = None if self.began else 0
            self.model.limiter.throttled(self.turn, error, self.used)
        else:
            self.used = 0 if not self.began and is_unused(error) else None
            self.model.limiter.settle(self.turn, self.used)

    def _count(self, usage: Usage | None) -> None:
        self.used = None if usage is None else self.model.usage.used(usage, self.given)
        self.model.limiter.settle(self.turn, self.used)

    def _waits(self) -> tuple[AttemptMade, ...]:
        if not self.waited:
            return ()
        model = self.model
        return (AttemptMade(model=str(model.reference), region=model.region, started=time.time(), waited=self.waited),)

    def notes(self, usage: Usage | None) -> tuple[str, ...]:
        """What a caller must know of a reservation that is much of the quota, and much more than it needed."""
        if self.most < LONG:
            return ()
        for window, charged in zip(self.model.limiter.windows, self.turn.charged, strict=True):
            if window.limit is None or window.period != MINUTE or charged < window.limit * NOTABLE or charged < LONG:
                continue
            answer = (usage.output_tokens or 0) if usage else 0
            wanted = _round_up(max(2.0 * answer, self.model.usage.long_answer()))
            if wanted * 2 > self.most:
                return ()
            config = getattr(self.request, "inference_config", None)
            given = "max_tokens is not set" if config is None or config.max_tokens is None else "max_tokens is large"
            return (
                f"{given}: the call held {charged:,} of the {window.limit:,} {window.what} while it ran, for "
                f"{answer:,} tokens of answer; set max_tokens={wanted}",
            )
        return ()


def limited_call(model: LimitedModel, request: Request[Any]) -> LimitedCall:
    """A call that has what it takes, or is to wait for it. (A function and a struct: classes with an ``__init__`` cost
    every call as much again.)"""
    usage, limiter = model.usage, model.limiter
    given, most = estimate(request, usage)
    charged, taken = usage.needs(given, most)
    turn = limiter.turn(taken, charged)
    return LimitedCall(model, request, turn, given, most, limiter.enter(turn) and model.shared is None)


def _round_up(tokens: float) -> int:
    """To a number that one would write."""
    step = 100 if tokens <= 1000 else 500
    return max(step, math.ceil(tokens / step) * step)


class LimitedBackend:
    """A ``Backend``."""

    def __init__(self, backend: Backend, model: LimitedModel, marks: CallMarks) -> None:
        self._backend, self._model, self._marks = backend, model, marks

    def ask(self, request: Request[R], attempt: Attempt = UNLIMITED) -> R:
        model = self._model
        if request.operation == "count_tokens":  # which has quotas of its own
            return self._backend.ask(request, attempt)
        if model.pending is not None:
            model.pending()
        call = limited_call(model, request)
        if not call.goes:
            _wait(call, attempt, self._marks)
        try:
            response = self._backend.ask(request, attempt)
        except BaseException as error:
            call.fail(error)
            call.settle_shared()
            raise
        answer: R = call.end(response)
        if model.shared is not None:
            call.settle_shared()
        return answer

    def stream(self, request: Streamed[R, E], attempt: Attempt = UNLIMITED) -> Iterator[E]:
        if self._model.pending is not None:
            self._model.pending()
        call = limited_call(self._model, request)
        if not call.goes:
            _wait(call, attempt, self._marks)
        try:
            events = self._backend.stream(request, attempt)
            try:
                for event in events:
                    yield call.saw(event)
            finally:
                if close := getattr(events, "close", None):
                    close()
        except BaseException as error:  # a reader that leaves is one too
            call.fail(error)
            call.settle_shared()
            raise
        call.end_stream()
        call.settle_shared()

    def close(self) -> None:
        self._backend.close()


def _wait(call: LimitedCall, attempt: Attempt, marks: CallMarks) -> None:
    told = threading.Event()
    call.turn.tell = told.set
    steps = call.steps(attempt, marks)
    with closing(steps):
        step = next(steps, _GO)
        while step is not _GO:
            if step is None:
                step = _sent(steps, call.take())
            else:
                told.wait(cast("float", step))
                told.clear()
                step = _sent(steps, 0.0)


_GO = object()
"""What stands for the end of a call's steps."""


def _sent(steps: Generator[float | None, float, None], seconds: float) -> Any:
    try:
        return steps.send(seconds)
    except StopIteration:
        return _GO


class AsyncLimitedBackend:
    """The same, awaited."""

    def __init__(self, backend: AsyncBackend, model: LimitedModel, marks: CallMarks) -> None:
        self._backend, self._model, self._marks = backend, model, marks

    async def ask(self, request: Request[R], attempt: Attempt = UNLIMITED) -> R:
        if request.operation == "count_tokens":
            return await self._backend.ask(request, attempt)
        if self._model.pending is not None:
            await _found(self._model.pending)
        call = limited_call(self._model, request)
        if not call.goes:
            await _wait_async(call, attempt, self._marks)
        try:
            response = await self._backend.ask(request, attempt)
        except BaseException as error:
            call.fail(error)
            await _settled(call)
            raise
        answer: R = call.end(response)
        if self._model.shared is not None:
            await _settled(call)
        return answer

    async def stream(self, request: Streamed[R, E], attempt: Attempt = UNLIMITED) -> AsyncGenerator[E, None]:
        if self._model.pending is not None:
            await _found(self._model.pending)
        call = limited_call(self._model, request)
        if not call.goes:
            await _wait_async(call, attempt, self._marks)
        try:
            events: AsyncIterator[E] = self._backend.stream(request, attempt)
            try:
                async for event in events:
                    yield call.saw(event)
            finally:
                if close := getattr(events, "aclose", None):
                    await close()
        except BaseException as error:
            call.fail(error)
            await _settled(call)
            raise
        call.end_stream()
        await _settled(call)

    async def close(self) -> None:
        await self._backend.close()


async def _wait_async(call: LimitedCall, attempt: Attempt, marks: CallMarks) -> None:
    import asyncio

    loop, told = asyncio.get_running_loop(), asyncio.Event()

    def tell() -> None:
        with suppress(RuntimeError):  # the loop is closed, and who waited is gone
            loop.call_soon_threadsafe(told.set)

    call.turn.tell = tell
    steps = call.steps(attempt, marks)
    with closing(steps):
        step = next(steps, _GO)
        while step is not _GO:
            if step is None:
                step = _sent(steps, await _taken(call))
            else:
                with suppress(TimeoutError):
                    await asyncio.wait_for(told.wait(), cast("float", step))
                told.clear()
                step = _sent(steps, 0.0)


async def _taken(call: LimitedCall) -> float:
    """``take``, in a thread. Who is cancelled meanwhile gives back what that takes all the same."""
    import asyncio

    taking = asyncio.ensure_future(asyncio.to_thread(call.take))
    try:
        return await asyncio.shield(taking)
    except asyncio.CancelledError:
        with suppress(AwsllmError):
            if await taking <= 0:
                call.used = 0
                await _settled(call)
        raise


async def _settled(call: LimitedCall) -> None:
    if call.is_shared:
        import asyncio

        await asyncio.to_thread(call.settle_shared)


async def _found(pending: Callable[[], None]) -> None:
    import asyncio

    await asyncio.to_thread(pending)
