"""The policy against scripted attempts on a clock of its own."""

from __future__ import annotations

import asyncio
import pickle
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from msgspec.structs import replace

from awsllm.backend import Attempt
from awsllm.errors import (
    AccessDeniedError,
    AwsllmError,
    ConfigurationError,
    ConnectError,
    ModelNotReadyError,
    ModelTimeoutError,
    ServerError,
    StreamError,
    ThrottlingError,
    ValidationError,
)
from awsllm.policy.attempts import Policy, deadline_after, remaining


@dataclass
class Clock:
    """Time that passes only while somebody sleeps."""

    now: float = 100.0
    sleeps: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds

    async def sleep_async(self, seconds: float) -> None:
        self.sleep(seconds)

    def policy(self, **changes: Any) -> Policy:
        return Policy(clock=self, sleep=self.sleep, sleep_async=self.sleep_async, **changes)


class Script:
    """Attempts with given outcomes, counted; the last outcome repeats."""

    def __init__(self, *outcomes: Any) -> None:
        self.outcomes = list(outcomes)
        self.deadlines: list[float | None] = []

    @property
    def attempts(self) -> int:
        return len(self.deadlines)

    def __call__(self, attempt: Attempt) -> Any:
        self.deadlines.append(attempt.deadline)
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    async def awaited(self, attempt: Attempt) -> Any:
        return self(attempt)

    def events(self, attempt: Attempt) -> Iterator[Any]:
        for event in self(attempt):
            if isinstance(event, BaseException):
                raise event
            yield event

    async def events_async(self, attempt: Attempt) -> AsyncIterator[Any]:
        for event in self.events(attempt):
            yield event


def run(policy: Policy, script: Script, timeout: float | None, *, awaited: bool) -> Any:
    if awaited:
        return asyncio.run(policy.run_async(script.awaited, timeout))
    return policy.run(script, timeout)


def collect(policy: Policy, script: Script, seen: list[Any], *, awaited: bool) -> None:
    """Put the events into ``seen`` one by one, so that those before an error are kept."""

    async def drain() -> None:
        async for event in policy.iterate_async(script.events_async):
            seen.append(event)  # noqa: PERF401

    if awaited:
        asyncio.run(drain())
    else:
        for event in policy.iterate(script.events):
            seen.append(event)  # noqa: PERF402


both = pytest.mark.parametrize("awaited", [False, True], ids=["sync", "async"])


@both
def test_a_passing_failure_is_survived(awaited: bool) -> None:
    clock, script = Clock(), Script(ServerError("a"), ConnectError("b"), "answer")
    assert run(clock.policy(), script, None, awaited=awaited) == "answer"
    assert script.attempts == 3
    assert len(clock.sleeps) == 2


@both
@pytest.mark.parametrize("most", [1, 2, 5])
def test_attempts_never_exceed_the_policy(most: int, awaited: bool) -> None:
    error = ThrottlingError("slow down", status=429)
    clock, script = Clock(), Script(error)
    with pytest.raises(ThrottlingError) as caught:
        run(clock.policy(max_attempts=most), script, None, awaited=awaited)
    assert caught.value is error
    assert script.attempts == most
    assert getattr(error, "__notes__", []) == ([f"attempts made: {most} of at most {most}"] if most > 1 else [])


@both
@pytest.mark.parametrize(
    "error", [ValidationError("400"), AccessDeniedError("403"), ModelTimeoutError("408"), StreamError("cut")]
)
def test_what_is_not_retryable_is_tried_once(error: AwsllmError, awaited: bool) -> None:
    clock, script = Clock(), Script(error, "never reached")
    with pytest.raises(type(error)):
        run(clock.policy(), script, None, awaited=awaited)
    assert script.attempts == 1
    assert not clock.sleeps


@both
def test_what_can_be_mended_gets_one_round_more_within_the_deadline(awaited: bool) -> None:
    clock, script = Clock(), Script(ServerError("a"), ValidationError("b"), ServerError("c"), "answer")
    seen: list[AwsllmError] = []

    def mend(error: AwsllmError) -> bool:
        seen.append(error)
        return isinstance(error, ValidationError)

    policy = clock.policy()
    if awaited:
        assert asyncio.run(policy.run_async(script.awaited, 60.0, mend)) == "answer"
    else:
        assert policy.run(script, 60.0, mend) == "answer"
    assert [str(error) for error in seen] == ["b"]
    assert set(script.deadlines) == {160.0}
    again = Script(ValidationError("b"))
    with pytest.raises(ValidationError):
        policy.run(again, None, mend)
    assert again.attempts == 2
    with pytest.raises(AccessDeniedError):
        policy.run(Script(AccessDeniedError("no")), None, mend)


def test_a_stream_is_mended_before_its_first_event_only() -> None:
    policy = Clock().policy()
    script = Script([ValidationError("b")], ["one", "two"])
    assert list(policy.iterate(script.events, None, lambda _: True)) == ["one", "two"]
    begun = Script(["one", ValidationError("b")])
    with pytest.raises(ValidationError):
        list(policy.iterate(begun.events, None, lambda _: True))
    assert begun.attempts == 1


@both
def test_an_error_of_another_kind_passes_at_once(awaited: bool) -> None:
    clock, script = Clock(), Script(ServerError("first"), KeyError("bug"), "never reached")
    with pytest.raises(KeyError):
        run(clock.policy(), script, None, awaited=awaited)
    assert script.attempts == 2


@both
def test_a_failed_model_is_asked_once_more_only(awaited: bool) -> None:
    clock, script = Clock(), Script(ServerError("model failed", code="ModelErrorException", status=424))
    with pytest.raises(ServerError):
        run(clock.policy(max_attempts=9), script, None, awaited=awaited)
    assert script.attempts == 2


@both
def test_the_services_hint_is_honoured(awaited: bool) -> None:
    clock, script = Clock(), Script(ThrottlingError("wait", retry_after=7.0), "answer")
    assert run(clock.policy(base_delay=0.5), script, None, awaited=awaited) == "answer"
    assert 7.0 <= clock.sleeps[0] <= 7.5


@both
@pytest.mark.parametrize(("hint", "timeout"), [(7.0, 5.0), (61.0, None)])
def test_a_hint_past_the_deadline_or_past_patience_ends_the_call_at_once(
    hint: float, timeout: float | None, awaited: bool
) -> None:
    clock, script = Clock(), Script(ThrottlingError("wait", retry_after=hint), "never reached")
    with pytest.raises(ThrottlingError):
        run(clock.policy(), script, timeout, awaited=awaited)
    assert script.attempts == 1
    assert not clock.sleeps


@both
def test_no_attempt_begins_after_the_deadline(awaited: bool) -> None:
    clock, script = Clock(), Script(ServerError("down"))
    with pytest.raises(ServerError):
        run(clock.policy(max_attempts=1000, timeout=30.0), script, 20.0, awaited=awaited)
    assert set(script.deadlines) == {120.0}
    assert clock.now < 120.0


@both
@pytest.mark.parametrize("timeout", [0.0, -1.0])
def test_without_time_nothing_is_tried(timeout: float, awaited: bool) -> None:
    script = Script("never reached")
    with pytest.raises(ModelTimeoutError):
        run(Clock().policy(), script, timeout, awaited=awaited)
    assert script.attempts == 0


def test_jitter_is_full_and_bounded() -> None:
    random.seed(5)
    policy = Policy(max_attempts=8, base_delay=1.0, max_delay=10.0)
    waits: list[list[float]] = [[] for _ in range(7)]
    for _ in range(300):
        clock = Clock()
        with pytest.raises(ServerError):
            replace(policy, clock=clock, sleep=clock.sleep).run(Script(ServerError("down")))
        for nth, seconds in zip(waits, clock.sleeps, strict=True):
            nth.append(seconds)
    for n, nth in enumerate(waits):
        high = min(10.0, 2.0**n)
        assert 0 <= min(nth) < 0.1 * high
        assert 0.9 * high < max(nth) <= high
        assert 0.4 * high < sum(nth) / len(nth) < 0.6 * high
        assert len(set(nth)) == len(nth)


def test_a_loading_model_is_given_longer() -> None:
    random.seed(5)
    clock = Clock()
    with pytest.raises(ModelNotReadyError):
        clock.policy(max_attempts=200, base_delay=1.0, max_delay=4.0).run(Script(ModelNotReadyError("loading")))
    assert max(clock.sleeps[:1]) <= 4.0
    assert sum(clock.sleeps) / len(clock.sleeps) > 1.5


@both
def test_a_stream_is_retried_until_its_first_event_only(awaited: bool) -> None:
    cut = StreamError("cut", retryable=True)
    for resends, attempts in ((True, 3), (False, 2)):  # of what has shown nothing it may have been paid for, too
        clock, script = Clock(), Script(ServerError("503"), [cut], ["a", "b", cut], ["never reached"])
        seen: list[Any] = []
        with pytest.raises(StreamError):
            collect(clock.policy(max_attempts=9, resend_lost=resends), script, seen, awaited=awaited)
        assert seen == (["a", "b"] if resends else [])
        assert script.attempts == attempts


@both
def test_a_stream_may_be_empty(awaited: bool) -> None:
    seen: list[Any] = []
    collect(Clock().policy(), Script([]), seen, awaited=awaited)
    assert seen == []


def test_closing_a_stream_closes_the_attempt() -> None:
    closed: list[bool] = []

    def attempt(limits: Attempt) -> Iterator[int]:
        try:
            yield from (1, 2, 3)
        finally:
            closed.append(True)

    events = Policy().iterate(attempt)
    assert next(events) == 1
    events.close()
    assert closed == [True]


def test_closing_an_async_stream_closes_the_attempt() -> None:
    closed: list[bool] = []

    async def attempt(limits: Attempt) -> AsyncIterator[int]:
        try:
            for n in (1, 2, 3):
                yield n
        finally:
            closed.append(True)

    async def use() -> None:
        events = Policy().iterate_async(attempt)
        assert await anext(events) == 1
        await events.aclose()
        assert closed == [True]

    asyncio.run(use())


def test_cancelling_ends_the_waiting() -> None:
    async def forever(seconds: float) -> None:
        await asyncio.Event().wait()

    async def use() -> None:
        script = Script(ServerError("down"))
        task = asyncio.create_task(Policy(sleep_async=forever).run_async(script.awaited))
        while not script.attempts:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert script.attempts == 1

    asyncio.run(use())


@pytest.mark.parametrize("wrong", [{"max_attempts": 0}, {"base_delay": -1.0}])
def test_nonsense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Policy(**wrong)


def test_deadlines_and_timeouts_convert() -> None:
    assert deadline_after(None) is None
    assert remaining(None) is None
    left = remaining(deadline_after(50.0))
    assert left is not None
    assert 0 < left <= 50.0


def test_tenacity_is_loaded_only_after_a_failure() -> None:
    program = (
        "from awsllm.policy.attempts import Policy; import sys; Policy().run(str); assert 'tenacity' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


# --- what was scaled to zero -----------------------------------------------------------------------------------------


def asleep(model: str = "ep") -> ModelNotReadyError:
    error = ModelNotReadyError("Inference Component has no capacity", status=400)
    error.scaled_to_zero = True
    error.annotate(backend="sagemaker", model=model)
    return error


@both
def test_an_endpoint_that_wakes_is_waited_for(awaited: bool) -> None:
    clock, script = Clock(), Script(*[asleep()] * 12, "answer")
    assert run(clock.policy(max_attempts=1), script, None, awaited=awaited) == "answer"
    assert script.attempts == 13  # none of the twelve refusals counts
    assert clock.now == pytest.approx(100.0 + 12 * 10.0)


@both
def test_refusals_by_sleep_leave_the_attempts_for_others(awaited: bool) -> None:
    clock, script = Clock(), Script(asleep(), ServerError("a"), asleep(), asleep(), ThrottlingError("b"), "answer")
    assert run(clock.policy(max_attempts=3), script, None, awaited=awaited) == "answer"
    assert script.attempts == 6


@both
@pytest.mark.parametrize(("patience", "timeout", "attempts"), [(45.0, None, 5), (600.0, 45.0, 5), (5.0, None, 1)])
def test_patience_ends(patience: float, timeout: float | None, attempts: int, awaited: bool) -> None:
    clock, script = Clock(), Script(asleep())
    with pytest.raises(ModelNotReadyError) as caught:
        run(clock.policy(cold_start_timeout=patience), script, timeout, awaited=awaited)
    assert script.attempts == attempts
    assert clock.now <= 145.0
    assert "cold_start_timeout" in caught.value.__notes__[0]


@both
@pytest.mark.parametrize(("patience", "timeout"), [(60.0, None), (600.0, 60.0)])
def test_patience_ends_where_every_refusal_takes_long(patience: float, timeout: float | None, awaited: bool) -> None:
    """Then the next attempt is due at once, each time, and nothing is slept."""
    clock = Clock()

    class Slow(Script):
        def __call__(self, attempt: Attempt) -> Any:
            clock.now += 15.0
            assert self.attempts < 20
            return super().__call__(attempt)

    script = Slow(asleep())
    with pytest.raises(ModelNotReadyError) as caught:
        run(clock.policy(cold_start_timeout=patience), script, timeout, awaited=awaited)
    assert 4 <= script.attempts <= 6
    assert clock.now <= 100.0 + 15.0 + 60.0 + 15.0  # no attempt begins too late
    assert "cold_start_timeout" in caught.value.__notes__[0]


@both
def test_without_patience_it_is_an_error_like_others(awaited: bool) -> None:
    clock, script = Clock(), Script(asleep())
    with pytest.raises(ModelNotReadyError):
        run(clock.policy(cold_start_timeout=0, max_attempts=3), script, None, awaited=awaited)
    assert script.attempts == 3


def test_a_model_that_loads_is_not_asleep() -> None:
    clock, script = Clock(), Script(ModelNotReadyError("loading", status=429))
    with pytest.raises(ModelNotReadyError):
        run(clock.policy(max_attempts=2), script, None, awaited=False)
    assert script.attempts == 2


@both
def test_a_stream_waits_too(awaited: bool) -> None:
    clock, seen = Clock(), list[Any]()
    collect(clock.policy(), Script(asleep(), asleep(), ["a", "b"]), seen, awaited=awaited)
    assert seen == ["a", "b"]


def test_one_of_many_callers_asks() -> None:
    """Sixteen tasks on a loop whose sleeps are a clock's: of those that wait, one asks every ten seconds."""
    clock, asked = Clock(), list[float]()
    wake_at = 155.0

    async def sleep(seconds: float) -> None:
        until = clock.now + seconds
        while clock.now < until:
            await asyncio.sleep(0)

    async def attempt(_: Attempt) -> str:
        asked.append(clock.now)
        if clock.now < wake_at:
            raise asleep()
        return "answer"

    async def tick(tasks: list[asyncio.Task[str]]) -> None:
        while not all(task.done() for task in tasks):
            clock.now += 0.25
            for _ in range(4):
                await asyncio.sleep(0)

    async def callers() -> list[str]:
        policy = replace(clock.policy(), sleep_async=sleep)
        tasks = [asyncio.create_task(policy.run_async(attempt)) for _ in range(16)]
        await tick(tasks)
        return [task.result() for task in tasks]

    assert asyncio.run(callers()) == ["answer"] * 16
    waiting = [instant for instant in asked if 100.5 < instant < wake_at]
    assert len(waiting) <= 5
    assert all(later - earlier >= 10.0 for earlier, later in pairwise(waiting))
    assert len(asked) == 16 + len(waiting) + 16


def test_endpoints_wake_by_themselves() -> None:
    clock = Clock()
    policy = clock.policy()
    assert policy.run(Script(asleep("a"), "answer")) == "answer"
    assert policy.run(Script(asleep("b"), "answer")) == "answer"
    assert clock.now == pytest.approx(120.0)


def test_a_policy_can_be_copied() -> None:
    """Also into another process. A copy says the same, and knows by itself which endpoints sleep."""
    clock = Clock()
    policy = clock.policy(cold_start_timeout=5.0)
    with pytest.raises(ModelNotReadyError):
        policy.run(Script(asleep("a")))
    assert policy._gate.enter("sagemaker:a", clock.now) > 0
    for copy in (deepcopy(policy), replace(policy)):
        assert copy.max_attempts == policy.max_attempts
        assert copy._gate is copy._gate
        assert copy._gate.enter("sagemaker:a", clock.now) == 0
    assert pickle.loads(pickle.dumps(Policy(max_attempts=2))) == Policy(max_attempts=2)  # noqa: S301


def test_the_limits_of_a_stream_are_handed_down() -> None:
    seen: list[Attempt] = []
    policy = Policy(first_event_timeout=3.0, event_timeout=2.0)

    def events(attempt: Attempt) -> Iterator[str]:
        seen.append(attempt)
        yield "event"

    assert list(policy.iterate(events)) == ["event"]
    assert seen == [Attempt(first_event=3.0, between_events=2.0)]
