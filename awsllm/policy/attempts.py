"""How a call is attempted: how often, how long apart, and until when.

One layer retries, and this is it: transports make one attempt each and botocore's own retries are not in use. What is
worth another attempt is the error's word (``error.retryable``); how long to wait is the service's word where it gave
one (``error.retry_after``), else exponential backoff with full jitter, so that clients that failed together do not
return together. A stream is attempted until its first event: once that has been handed over, nothing is sent again.

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
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, TypeVar

import msgspec
from msgspec.structs import replace

from awsllm.backend import UNLIMITED, Attempt
from awsllm.errors import AwsllmError, ConfigurationError, ModelNotReadyError, ModelTimeoutError

if TYPE_CHECKING:
    from tenacity import RetryCallState

T = TypeVar("T")
Mend: TypeAlias = Callable[[AwsllmError], bool]
"""Told of the error that ended a call; says whether the call is another one now, and worth being made again."""

_LOADING_FACTOR = 4.0  # a model that is being loaded takes seconds at least; a throttled one may be free sooner
_PROBE_INTERVAL = 10.0  # seconds between two requests that ask whether an endpoint is awake
_LOOK_INTERVAL = 1.0  # seconds after which who waits looks whether it is known to be
_MODEL_FAILED = 424  # ModelErrorException: the model itself failed on this input, and mostly will again


_NUMBERS = (
    *("max_attempts", "timeout", "base_delay", "max_delay", "max_retry_after", "cold_start_timeout"),
    *("first_event_timeout", "event_timeout"),
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
    """

    max_attempts: int = 3
    timeout: float | None = None
    base_delay: float = 0.5
    max_delay: float = 20.0
    max_retry_after: float = 60.0
    cold_start_timeout: float = 600.0
    first_event_timeout: float | None = None
    event_timeout: float | None = None
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
        if min(self.base_delay, self.max_delay, self.max_retry_after, self.cold_start_timeout) < 0:
            raise ConfigurationError("a delay cannot be negative")

    @property
    def _gate(self) -> _Gate:
        """When endpoints may be asked again: beside the fields, for it is no part of what the policy says. A copy has
        its own."""
        gate: _Gate = self.__dict__.setdefault("_gate", _Gate())
        return gate

    def run(self, call: Callable[[Attempt], T], timeout: float | None = None, mend: Mend | None = None) -> T:
        """What ``call`` returns. Raises its last error, with a note of the attempts made; where ``mend`` could do
        something about that error, there is one round more."""
        attempt = self._attempt(timeout)
        try:
            return self._awake(call, attempt)
        except AwsllmError as error:
            first = error
        try:
            return self._insist(call, attempt, first)
        except AwsllmError as error:
            if mend is None or not mend(error):
                raise
        try:
            return self._awake(call, attempt)
        except AwsllmError as error:
            return self._insist(call, attempt, error)

    def _insist(self, call: Callable[[Attempt], T], attempt: Attempt, error: AwsllmError) -> T:
        """What further attempts give, if ``error`` is worth any."""
        if self.max_attempts == 1 or not self._is_worth_another(error):
            raise error
        return _Trial(self, attempt, error).run(lambda again: self._awake(call, again))

    async def run_async(
        self, call: Callable[[Attempt], Awaitable[T]], timeout: float | None = None, mend: Mend | None = None
    ) -> T:
        """``run``, awaited."""
        attempt = self._attempt(timeout)
        try:
            return await self._awake_async(call, attempt)
        except AwsllmError as error:
            first = error
        try:
            return await self._insist_async(call, attempt, first)
        except AwsllmError as error:
            if mend is None or not mend(error):
                raise
        try:
            return await self._awake_async(call, attempt)
        except AwsllmError as error:
            return await self._insist_async(call, attempt, error)

    async def _insist_async(self, call: Callable[[Attempt], Awaitable[T]], attempt: Attempt, error: AwsllmError) -> T:
        if self.max_attempts == 1 or not self._is_worth_another(error):
            raise error
        return await _Trial(self, attempt, error).run_async(lambda again: self._awake_async(call, again))

    def iterate(
        self, call: Callable[[Attempt], Iterator[T]], timeout: float | None = None, mend: Mend | None = None
    ) -> Iterator[T]:
        """The events of the first attempt that gives one."""

        def begin(attempt: Attempt) -> tuple[Iterator[T], list[T]]:
            events = call(attempt)
            return events, list(islice(events, 1))

        events, first = self.run(begin, timeout, mend)
        try:
            yield from first
            yield from events
        finally:
            if close := getattr(events, "close", None):
                close()

    async def iterate_async(
        self, call: Callable[[Attempt], AsyncIterator[T]], timeout: float | None = None, mend: Mend | None = None
    ) -> AsyncGenerator[T, None]:
        """``iterate``, awaited."""

        async def begin(attempt: Attempt) -> tuple[AsyncIterator[T], list[T]]:
            events = call(attempt)
            try:
                return events, [await anext(events)]
            except StopAsyncIteration:
                return events, []

        events, first = await self.run_async(begin, timeout, mend)
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
                await self._sleep_async(pause)

    async def _sleep_async(self, seconds: float) -> None:
        if self.sleep_async is not None:
            await self.sleep_async(seconds)
        else:
            import asyncio

            await asyncio.sleep(seconds)

    def _is_asleep(self, error: AwsllmError) -> bool:
        return isinstance(error, ModelNotReadyError) and error.scaled_to_zero and self.cold_start_timeout > 0

    def _is_worth_another(self, error: AwsllmError) -> bool:
        """Whether one of ``max_attempts`` may be spent; what did not wake in its time is not waited for again."""
        return error.retryable and not self._is_asleep(error)

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


class _Trial:
    """One call whose first attempt has failed: what tenacity asks about it, and how often it was tried.

    A request may take several calls of the service (``AwsllmError.call``). Each of these has attempts of its own, and
    what the others got is kept: the next attempt is given it (``Attempt.finished``).
    """

    def __init__(self, policy: Policy, attempt: Attempt, first: AwsllmError) -> None:
        self._policy = policy
        self._attempt = attempt
        self._first: AwsllmError | None = first
        self._failures: Counter[int | None] = Counter()
        self._model_failures: Counter[int | None] = Counter()

    def run(self, attempt: Callable[[Attempt], T]) -> T:
        from tenacity import Retrying

        def again() -> T:
            self._repeat_first()
            return attempt(self._attempt)

        try:
            return Retrying(sleep=self._policy.sleep, **self._questions())(again)
        except AwsllmError as error:
            self._note(error)
            raise

    async def run_async(self, attempt: Callable[[Attempt], Awaitable[T]]) -> T:
        from tenacity import AsyncRetrying

        async def again() -> T:
            self._repeat_first()
            return await attempt(self._attempt)

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
        deadline = self._attempt.deadline
        return deadline is not None and self._policy.clock() + state.upcoming_sleep >= deadline

    def _tell(self, state: RetryCallState) -> None:
        error = _error(state)
        if error is not None:
            from awsllm import log

            log.logger("policy").info(
                "%s:%s: attempt %d of at most %d failed (%s), the next in %.1f s",
                *(error.backend, error.model, self._tries(error), self._policy.max_attempts),
                *(_kind(error), state.upcoming_sleep),
            )

    def _note(self, error: AwsllmError) -> None:
        error.add_note(f"attempts made: {self._tries(error)} of at most {self._policy.max_attempts}")

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
