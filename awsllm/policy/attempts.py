"""How a call is attempted: how often, how long apart, and until when.

One layer retries, and this is it: transports make one attempt each and botocore's own retries are not in use. What is
worth another attempt is the error's word (``error.retryable``); how long to wait is the service's word where it gave
one (``error.retry_after``), else exponential backoff with full jitter, so that clients that failed together do not
return together. A stream is attempted until its first event: once that has been handed over, nothing is sent again; nor
is what may have run, for it would be paid for twice (``resend_lost``).

An endpoint that was scaled to zero is another matter: the refused call has woken it, and minutes later it answers. Such
a call is waited out (``cold_start_timeout``), and the attempts it takes are not counted. While an endpoint wakes, one
caller asks every ten seconds, on behalf of all who call it through this policy: the others wait until that one got in.

What makes an attempt is a function that is given its limits (``backend.Attempt``): ``lambda attempt:
backend.ask(request, attempt)``. The deadline is passed down in them, so that an attempt ends by it, and no attempt or
wait begins that would reach past it: the caller gets the last error at once instead.

tenacity does the repeating. It is imported when a first attempt has failed, for a cold start does not need it.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeAlias, TypeVar

import msgspec
from msgspec.structs import force_setattr, replace

from awsllm.backend import UNLIMITED, Attempt
from awsllm.errors import AwsllmError, ConfigurationError, ModelNotReadyError, ModelTimeoutError, StreamError
from awsllm.policy.retry_budget import RetryBudget

if TYPE_CHECKING:
    from tenacity import RetryCallState

    from awsllm.policy.hedging import Hedge, Hedging
    from awsllm.types import AttemptMade

T = TypeVar("T")
Mend: TypeAlias = Callable[[AwsllmError], bool]
"""Told of the error that ended a call; says whether the call is another one now, and worth being made again."""


class Tries(Protocol):
    """What is told of each attempt of a call that took several; ``made`` are those so far."""

    made: tuple[AttemptMade, ...]

    def tried(self, error: AwsllmError | None, started: float) -> None: ...


_LOADING_FACTOR = 4.0  # a model that is being loaded takes seconds at least; a throttled one may be free sooner
_PROBE_INTERVAL = 10.0  # seconds between two requests that ask whether an endpoint is awake
_LOOK_INTERVAL = 1.0  # seconds after which who waits looks whether it is known to be
_LOST = "it may have run and be on the bill, so it was not sent again; Policy(resend_lost=True) allows that"
_MODEL_FAILED = 424  # ModelErrorException: the model itself failed on this input, and mostly will again


_NUMBERS = (
    *("max_attempts", "timeout", "base_delay", "max_delay", "max_retry_after", "cold_start_timeout"),
    *("first_event_timeout", "event_timeout", "retry_share", "retries_a_second"),
)


def deadline_after(timeout: float | None) -> float | None:
    """The instant ``timeout`` seconds from now; None stays None."""
    return None if timeout is None else time.monotonic() + timeout


def remaining(deadline: float | None) -> float | None:
    """Seconds until ``deadline``, below zero once it has passed; None stays None."""
    return None if deadline is None else deadline - time.monotonic()


class Policy(msgspec.Struct, frozen=True, repr_omit_defaults=True, dict=True):
    """How often and how long to try. ``timeout`` is for all attempts of a call together; all times are in seconds.

    The n-th wait is random between 0 and ``base_delay * 2 ** (n - 1)``, at most ``max_delay``. A service that asks for
    a longer pause than ``max_retry_after`` is not asked again. ``cold_start_timeout`` is how long to wait for what was
    scaled to zero; with 0 that is an error like others. ``first_event_timeout`` and ``event_timeout`` bound how long a
    stream may keep silent before its first event and between two. ``clock`` and the sleeps are there for tests.

    Of all calls together, retries may be the share ``retry_share``, and ``retries_a_second`` beside that
    (``retry_budget``). A request that was sent whole when its connection was lost is not sent again: the service may
    have done what it asks, and a second time is paid for again. ``resend_lost`` allows that; what is free is sent again
    in any case. ``hedge`` makes a second attempt beside one that is late (``hedging``).
    """

    max_attempts: int = 3
    timeout: float | None = None
    base_delay: float = 0.5
    max_delay: float = 20.0
    max_retry_after: float = 60.0
    cold_start_timeout: float = 600.0
    first_event_timeout: float | None = None
    event_timeout: float | None = None
    retry_share: float = 0.2
    retries_a_second: float = 10.0
    resend_lost: bool = False
    hedge: Hedge | None = None
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    sleep_async: Callable[[float], Awaitable[None]] | None = None

    def __post_init__(self) -> None:
        for name in _NUMBERS:
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
                raise ConfigurationError(f"{name} is {value!r:.40}; it is a number")
        if self.max_attempts < 1:
            raise ConfigurationError("max_attempts counts the first attempt too: give 1 or more")
        for name in ("timeout", "first_event_timeout", "event_timeout"):
            if (value := getattr(self, name)) is not None and not value > 0:
                raise ConfigurationError(f"{name} is {value!r:.40}; it is a number of seconds above 0")
        if not isinstance(self.resend_lost, bool):
            raise ConfigurationError(f"resend_lost is {self.resend_lost!r:.40}; it is True or False")
        if min(self.base_delay, self.max_delay, self.max_retry_after, self.cold_start_timeout) < 0:
            raise ConfigurationError("a delay cannot be negative")
        if min(self.retry_share, self.retries_a_second) < 0:
            raise ConfigurationError("a share of retries cannot be negative")
        if self.hedge is not None:
            from awsllm.policy.hedging import hedge_of

            force_setattr(self, "hedge", hedge_of(self.hedge))

    @property
    def _gate(self) -> _Gate:
        """When endpoints may be asked again: beside the fields, for it is no part of what the policy says. A copy has
        its own."""
        gate: _Gate = self.__dict__.setdefault("_gate", _Gate())
        return gate

    @property
    def _budget(self) -> RetryBudget:
        """The retries that are left, kept as ``_gate`` is."""
        made: RetryBudget | None = self.__dict__.get("_budget")
        return made or self.__dict__.setdefault("_budget", RetryBudget(self.retry_share, self.retries_a_second))

    @property
    def retries(self) -> RetryBudget:
        """Where a call is counted whose attempt is made outside of ``run``: a share of it may be spent on retries."""
        return self._budget

    @property
    def hedging(self) -> Hedging:
        """What is known for ``hedge``."""
        made: Hedging | None = self.__dict__.get("_hedging")
        if made is None:
            from awsllm.policy.hedging import Hedge, Hedging

            made = self.__dict__.setdefault("_hedging", Hedging(self.hedge or Hedge()))
        return made

    @property
    def for_free(self) -> Policy:
        """The same for operations that cost nothing."""
        if self.resend_lost:
            return self
        made: Policy | None = self.__dict__.get("_for_free")
        return made or self.__dict__.setdefault("_for_free", self._sharing(resend_lost=True))

    def with_attempts(self, most: int) -> Policy:
        """The same with so many attempts, of this one's retries."""
        return self._sharing(max_attempts=most)

    def pause_to_resume(self, error: AwsllmError, tries: int, deadline: float | None) -> float | None:
        """Seconds to wait before a stream that ``error`` broke in its ``tries``-th attempt is continued; None: it is
        not, for attempts, time or retries are spent, or it would be of no use."""
        if tries >= self.max_attempts or not (error.retryable or isinstance(error, StreamError)):
            return None
        if (error.retry_after or 0) > self.max_retry_after:
            return None
        from random import uniform

        most = min(self.max_delay, self.base_delay * 2 ** (tries - 1))
        pause = (error.retry_after or 0) + uniform(0, most)  # noqa: S311 - jitter is no secret
        now = self.clock()
        if (deadline is not None and now + pause >= deadline) or not self._budget.take(now):
            return None
        return pause

    def _sharing(self, **changes: Any) -> Policy:
        """A copy that has this one's gate and retries."""
        made = replace(self, **changes)
        made.__dict__.update(_gate=self._gate, _budget=self._budget)
        if self.hedge is not None:
            made.__dict__["_hedging"] = self.hedging
        return made

    def run(
        self,
        call: Callable[[Attempt], T],
        timeout: float | None = None,
        mend: Mend | None = None,
        tries: Tries | None = None,
    ) -> T:
        """What ``call`` returns. Raises its last error, with a note of the attempts made; where ``mend`` could do
        something about that error, there is one round more. ``tries`` is told of the attempts, if there are several."""
        attempt = self._attempt(timeout)
        self._budget.calls += 1
        began = time.time()
        try:
            return self._awake(call, attempt)
        except AwsllmError as error:
            first = error
        try:
            return self._insist(call, attempt, _Failed(first, began, tries))
        except AwsllmError as error:
            if mend is None or not mend(error):
                raise
        try:
            return self._awake(call, attempt)
        except AwsllmError as error:
            return self._insist(call, attempt, _Failed(error, began, tries))

    def _insist(self, call: Callable[[Attempt], T], attempt: Attempt, failed: _Failed) -> T:
        """What further attempts give, if the error is worth any."""
        if self.max_attempts == 1 or not self._is_worth_another(failed.error):
            raise failed.error
        return _Trial(self, attempt, failed).run(lambda again: self._awake(call, again))

    async def run_async(
        self,
        call: Callable[[Attempt], Awaitable[T]],
        timeout: float | None = None,
        mend: Mend | None = None,
        tries: Tries | None = None,
    ) -> T:
        """``run``, awaited."""
        attempt = self._attempt(timeout)
        self._budget.calls += 1
        began = time.time()
        try:
            return await self._awake_async(call, attempt)
        except AwsllmError as error:
            first = error
        try:
            return await self._insist_async(call, attempt, _Failed(first, began, tries))
        except AwsllmError as error:
            if mend is None or not mend(error):
                raise
        try:
            return await self._awake_async(call, attempt)
        except AwsllmError as error:
            return await self._insist_async(call, attempt, _Failed(error, began, tries))

    async def _insist_async(self, call: Callable[[Attempt], Awaitable[T]], attempt: Attempt, failed: _Failed) -> T:
        if self.max_attempts == 1 or not self._is_worth_another(failed.error):
            raise failed.error
        return await _Trial(self, attempt, failed).run_async(lambda again: self._awake_async(call, again))

    def iterate(
        self,
        call: Callable[[Attempt], Iterator[T]],
        timeout: float | None = None,
        mend: Mend | None = None,
        tries: Tries | None = None,
    ) -> Generator[T, None, None]:
        """The events of the first attempt that gives one."""

        def begin(attempt: Attempt) -> tuple[Iterator[T], list[T]]:
            events = call(attempt)
            return events, list(islice(events, 1))

        events, first = self.run(begin, timeout, mend, tries)
        try:
            yield from first
            yield from events
        finally:
            if close := getattr(events, "close", None):
                close()

    async def iterate_async(
        self,
        call: Callable[[Attempt], AsyncIterator[T]],
        timeout: float | None = None,
        mend: Mend | None = None,
        tries: Tries | None = None,
    ) -> AsyncGenerator[T, None]:
        """``iterate``, awaited."""

        async def begin(attempt: Attempt) -> tuple[AsyncIterator[T], list[T]]:
            events = call(attempt)
            try:
                return events, [await anext(events)]
            except StopAsyncIteration:
                return events, []

        events, first = await self.run_async(begin, timeout, mend, tries)
        try:
            for event in first:
                yield event
            async for event in events:
                yield event
        finally:
            if close := getattr(events, "aclose", None):
                await close()

    def limit(self, timeout: float | None) -> float | None:
        """The shorter of the policy's timeout and a call's own, in seconds; None where there is neither."""
        return min((seconds for seconds in (self.timeout, timeout) if seconds is not None), default=None)

    def _awake(self, call: Callable[[Attempt], T], attempt: Attempt) -> T:
        """One attempt, made as often as it takes to wake what was scaled to zero."""
        wait: _Wait | None = None
        while True:
            try:
                response = call(attempt)
            except AwsllmError as error:
                if not self._is_asleep(error):
                    raise
                wait = wait or _Wait(self, attempt.deadline)
                refusal = error
            else:
                if wait is not None:
                    wait.over()
                return response
            for pause in wait.pauses(refusal):
                self.sleep(pause)

    async def _awake_async(self, call: Callable[[Attempt], Awaitable[T]], attempt: Attempt) -> T:
        """``_awake``, awaited."""
        wait: _Wait | None = None
        while True:
            try:
                response = await call(attempt)
            except AwsllmError as error:
                if not self._is_asleep(error):
                    raise
                wait = wait or _Wait(self, attempt.deadline)
                refusal = error
            else:
                if wait is not None:
                    wait.over()
                return response
            for pause in wait.pauses(refusal):
                await self.sleep_awaited(pause)

    async def sleep_awaited(self, seconds: float) -> None:
        """``sleep``, awaited."""
        if self.sleep_async is not None:
            await self.sleep_async(seconds)
        else:
            import asyncio

            await asyncio.sleep(seconds)

    def _is_asleep(self, error: AwsllmError) -> bool:
        return isinstance(error, ModelNotReadyError) and error.scaled_to_zero and self.cold_start_timeout > 0

    def _is_worth_another(self, error: AwsllmError) -> bool:
        """Whether one of ``max_attempts`` may be spent; what did not wake in its time is not waited for again."""
        if not error.retryable or self._is_asleep(error):
            return False
        if error.may_have_run and not self.resend_lost:
            if _LOST not in getattr(error, "__notes__", ()):
                error.add_note(_LOST)
            return False
        return True

    def _attempt(self, timeout: float | None) -> Attempt:
        """The limits of this call's attempts; raises ModelTimeoutError if no time is left to try."""
        limit = self.limit(timeout)
        if limit is None and self.first_event_timeout is None and self.event_timeout is None:
            return UNLIMITED
        if limit is not None and limit <= 0:
            raise ModelTimeoutError("the deadline passed before the call was made")
        return Attempt(
            deadline=None if limit is None else self.clock() + limit,
            first_event=self.first_event_timeout,
            between_events=self.event_timeout,
        )


class _Gate:
    """When the endpoints that sleep may be asked again, by model. Shared by all calls of a policy, whatever thread or
    event loop they are on, so it keeps instants and a lock and waits for nothing itself."""

    def __init__(self) -> None:
        self._next: dict[str, float] = {}
        self._lock = threading.Lock()

    def close(self, model: str, now: float) -> None:
        """``model`` has refused somebody; a time that is set already stays."""
        with self._lock:
            self._next.setdefault(model, now + _PROBE_INTERVAL)

    def open(self, model: str) -> None:
        """``model`` has let somebody in."""
        with self._lock:
            self._next.pop(model, None)

    def enter(self, model: str, now: float) -> float:
        """Seconds until ``model`` may be asked. 0: now, and if it is not known to be awake, by this caller alone."""
        with self._lock:
            due = self._next.get(model)
            if due is None:
                return 0.0
            if now < due:
                return due - now
            self._next[model] = now + _PROBE_INTERVAL
            return 0.0


class _Wait:
    """One call that waits for an endpoint to wake: until when, and in what pauses."""

    def __init__(self, policy: Policy, deadline: float | None) -> None:
        self._policy = policy
        self._began = policy.clock()
        patience = self._began + policy.cold_start_timeout
        self._until = patience if deadline is None else min(patience, deadline)
        self._model = ""

    def pauses(self, refusal: AwsllmError) -> Iterator[float]:
        """Seconds to sleep, one after the other, until the next attempt is due. Raises ``refusal`` where that would be
        too late."""
        policy = self._policy
        self._model = f"{refusal.backend}:{refusal.model}"
        now = policy.clock()
        policy._gate.close(self._model, now)
        if now >= self._until:  # refusals that took long leave nothing to sleep
            self._give_up(refusal, now)
        while seconds := policy._gate.enter(self._model, now := policy.clock()):
            if now + seconds >= self._until:
                self._give_up(refusal, now)
            yield min(seconds, _LOOK_INTERVAL)

    def _give_up(self, refusal: AwsllmError, now: float) -> NoReturn:
        refusal.add_note(f"waited {now - self._began:.0f} s for it to start; see Policy.cold_start_timeout")
        raise refusal

    def over(self) -> None:
        self._policy._gate.open(self._model)


class _Failed(msgspec.Struct):
    """The error of a call's first attempt, when that was made, and who is told."""

    error: AwsllmError
    began: float
    tries: Tries | None


class _Trial:
    """One call whose first attempt has failed: what tenacity asks about it, and how often it was tried.

    A request may take several calls of the service (``AwsllmError.call``). Each of these has attempts of its own, and
    what the others got is kept: the next attempt is given it (``Attempt.finished``).
    """

    def __init__(self, policy: Policy, attempt: Attempt, failed: _Failed) -> None:
        self._policy = policy
        self._attempt = attempt
        self._first: AwsllmError | None = failed.error
        self._began, self._tries_told = failed.began, failed.tries
        self._is_spent = False
        self._failures: Counter[int | None] = Counter()
        self._model_failures: Counter[int | None] = Counter()

    def run(self, attempt: Callable[[Attempt], T]) -> T:
        from tenacity import Retrying

        def again() -> T:
            self._repeat_first()
            response = attempt(self._attempt)
            self._told(None)
            return response

        try:
            return Retrying(sleep=self._policy.sleep, **self._questions())(again)
        except AwsllmError as error:
            self._note(error)
            raise

    async def run_async(self, attempt: Callable[[Attempt], Awaitable[T]]) -> T:
        from tenacity import AsyncRetrying

        async def again() -> T:
            self._repeat_first()
            response = await attempt(self._attempt)
            self._told(None)
            return response

        questions = self._questions()
        if self._policy.sleep_async is not None:
            questions["sleep"] = self._policy.sleep_async
        try:
            return await AsyncRetrying(**questions)(again)
        except AwsllmError as error:
            self._note(error)
            raise

    def _repeat_first(self) -> None:
        """The first attempt was made before tenacity was imported, so its error is only told again."""
        first, self._first = self._first, None
        if first is not None:
            raise first
        self._began = time.time()

    def _told(self, error: AwsllmError | None) -> None:
        if self._tries_told is not None:
            self._tries_told.tried(error, self._began)

    def _questions(self) -> dict[str, Any]:
        return {
            "retry": self._is_worth_it,
            "wait": self._delay,
            "stop": self._must_stop,
            "before_sleep": self._tell,
            "reraise": True,
        }

    def _is_worth_it(self, state: RetryCallState) -> bool:
        error = _error(state)
        if error is None:
            return False
        self._told(error)
        self._failures[error.call] += 1
        self._model_failures[error.call] += error.status == _MODEL_FAILED
        if error.finished is not None:
            self._attempt = replace(self._attempt, finished=error.finished)
        return self._policy._is_worth_another(error) and self._model_failures[error.call] < 2

    def _delay(self, state: RetryCallState) -> float:
        from tenacity import wait_random, wait_random_exponential

        error, policy = _error(state), self._policy
        if error is not None and error.retry_after is not None:
            return error.retry_after + wait_random(0, policy.base_delay)(state)  # the same hint goes to many clients
        factor = _LOADING_FACTOR if isinstance(error, ModelNotReadyError) else 1.0
        state.attempt_number = self._tries(error)  # tenacity counts the failures of all calls together
        return wait_random_exponential(multiplier=policy.base_delay * factor, max=policy.max_delay)(state)

    def _must_stop(self, state: RetryCallState) -> bool:
        error = _error(state)
        if self._tries(error) >= self._policy.max_attempts:
            return True
        if error is not None and (error.retry_after or 0) > self._policy.max_retry_after:
            return True
        deadline, now = self._attempt.deadline, self._policy.clock()
        if deadline is not None and now + state.upcoming_sleep >= deadline:
            return True
        self._is_spent = not self._policy._budget.take(now)
        return self._is_spent

    def _tell(self, state: RetryCallState) -> None:
        error = _error(state)
        if error is not None:
            from awsllm import log
            from awsllm.policy import observers

            observers.retrying(error, state.upcoming_sleep)
            log.logger("policy").info(
                "%s:%s: attempt %d of at most %d failed (%s), the next in %.1f s",
                *(error.backend, error.model, self._tries(error), self._policy.max_attempts),
                *(_kind(error), state.upcoming_sleep),
            )

    def _note(self, error: AwsllmError) -> None:
        error.add_note(f"attempts made: {self._tries(error)} of at most {self._policy.max_attempts}")
        if self._is_spent:
            error.add_note("the client's retries are spent for now; see Policy.retry_share")
        if self._tries_told is not None:
            error.attempts = self._tries_told.made

    def _tries(self, error: AwsllmError | None) -> int:
        """How often the call has failed that ``error`` is of."""
        return self._failures[None if error is None else error.call]


def _kind(error: AwsllmError) -> str:
    """Which error it is, without its message, which may repeat what was sent."""
    return ", ".join(str(part) for part in (type(error).__name__, error.code, error.status) if part is not None)


def _error(state: RetryCallState) -> AwsllmError | None:
    """The failure of the last attempt, if it is one of ours."""
    error = state.outcome.exception() if state.outcome is not None else None
    return error if isinstance(error, AwsllmError) else None
