"""A limiter lets no minute see more than its quota, wastes none of it, and lets those who wait go in a fair order."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awsllm.errors import ConfigurationError, LimitExceededError, ThrottlingError
from awsllm.policy.limiting.limiter import Limiter, Turn
from awsllm.policy.limiting.limits import Limits
from awsllm.policy.limiting.windows import SLOTS, QuotaWindow


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def limiter(clock: Clock, **limits: Any) -> Limiter:
    return Limiter(Limits(**limits), "bedrock:m", clock)


def entered(one: Limiter, tokens: int) -> Turn | None:
    turn = one.turn(tokens, tokens)
    return turn if one.enter(turn) else None


def queued(one: Limiter, tokens: int, tenant: str = "", priority: int = 0, seconds: float | None = None) -> Turn:
    turn = one.turn(tokens, tokens)
    one.queue(turn, tenant, priority, seconds)
    return turn


# --- what may be in use ----------------------------------------------------------------------------------------------


def test_what_is_used_comes_back_after_a_minute_and_what_is_not_used_at_once() -> None:
    clock = Clock()
    one = limiter(clock, tokens_per_minute=100, requests_per_minute=10)
    first = entered(one, 100)
    assert first is not None
    assert entered(one, 1) is None
    one.settle(first, 40)
    assert entered(one, 61) is None
    second = entered(one, 60)
    assert second is not None
    one.settle(second, 60)
    clock.now += 59.0
    assert entered(one, 1) is None
    clock.now += 1.0 + 60 / SLOTS
    assert entered(one, 100) is not None


def test_an_answer_that_takes_more_than_was_charged_is_counted_from_its_end() -> None:
    clock = Clock()
    one = limiter(clock, tokens_per_minute=1000)
    turn = one.turn(500, 100)
    assert one.enter(turn)
    clock.now += 30.0
    one.settle(turn, 400)
    clock.now += 31.0  # the hundred of the beginning are a minute old
    assert [state["used"] for state in one.state() if state["limit"] == "tokens_per_minute"] == [300]
    clock.now += 30.0
    assert [state["used"] for state in one.state() if state["limit"] == "tokens_per_minute"] == [0]


STEPS = st.lists(
    st.tuples(st.sampled_from(["call", "end", "fail", "wait"]), st.integers(1, 120), st.floats(0.01, 40.0)), max_size=80
)


@settings(max_examples=150, deadline=None)
@given(STEPS, st.integers(50, 200))
def test_no_minute_sees_more_than_the_quota(steps: list[tuple[str, int, float]], quota: int) -> None:
    """By a count of its own: what each call was charged when it began, and holds until it is over."""
    clock = Clock()
    one = limiter(clock, tokens_per_minute=quota, adaptive=False)
    flying: list[tuple[Turn, int]] = []
    log: list[tuple[float, int]] = []
    for what, tokens, seconds in steps:
        if what == "call":
            turn = entered(one, min(tokens, quota))
            if turn is not None:
                flying.append((turn, len(log)))
                log.append((clock.now, min(tokens, quota)))
        elif what == "wait":
            clock.now += seconds
        elif flying:
            turn, at = flying.pop(random.Random(tokens).randrange(len(flying)))
            used = 0 if what == "fail" else min(tokens, turn.charged[0])
            one.settle(turn, used)
            log[at] = (log[at][0], used)
        held = {at for _, at in flying}
        recent = sum(n for at, (began, n) in enumerate(log) if at in held or began > clock.now - 60.0)
        assert recent <= quota


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 50), min_size=5, max_size=40))
def test_refunds_are_exact(calls: list[int]) -> None:
    clock = Clock()
    one = limiter(clock, tokens_per_minute=10_000)
    turns = [entered(one, 50) for _ in calls]
    for turn, used in zip(turns, calls, strict=True):
        assert turn is not None
        clock.now += 0.3
        one.settle(turn, used)
    (state,) = (one for one in one.state() if one["limit"] == "tokens_per_minute")
    assert (state["used"], state["in_flight"]) == (sum(calls), 0)
    clock.now += 61.0
    assert one.windows[0].held == 0
    assert all(not state["used"] for state in one.state())


def test_a_steady_stream_of_calls_gets_the_whole_quota() -> None:
    clock = Clock()
    one = limiter(clock, tokens_per_minute=600)
    used = 0
    for _ in range(6000):  # ten minutes
        clock.now += 0.1
        turn = entered(one, 10)
        if turn is not None:
            one.settle(turn, 10)
            used += 10
    assert 600 * 10 * 0.97 <= used <= 600 * 11


def test_a_day_is_a_quota_too() -> None:
    clock = Clock()
    one = limiter(clock, tokens_per_day=100)
    turn = entered(one, 100)
    assert turn is not None
    one.settle(turn, 100)
    clock.now += 3600.0
    with pytest.raises(LimitExceededError, match="tokens_per_day"):
        queued(one, 1)
    clock.now += 86_400.0
    assert entered(one, 1) is not None


def test_what_is_larger_than_the_quota_is_refused_and_the_fix_named() -> None:
    one = limiter(Clock(), tokens_per_minute=100)
    with pytest.raises(LimitExceededError, match="lower it") as caught:
        one.check_size(one.turn(101, 101), "lower it")
    assert (caught.value.limit, caught.value.retry_after) == ("tokens_per_minute", None)


def test_what_may_end_larger_than_the_quota_goes_alone() -> None:
    """A call whose answer counts five times may end beyond the whole quota: Bedrock lets it begin."""
    clock = Clock()
    one = limiter(clock, tokens_per_minute=100)
    large = one.turn(500, 100)
    assert one.enter(large)
    assert entered(one, 1) is None
    one.settle(large, 450)
    assert entered(one, 1) is None


# --- who waits -------------------------------------------------------------------------------------------------------


def busy(clock: Clock, **limits: Any) -> Limiter:
    """One whose quota is spent."""
    one = limiter(clock, tokens_per_minute=100, **limits)
    turn = entered(one, 100)
    assert turn is not None
    one.settle(turn, 100)
    return one


def served(one: Limiter, clock: Clock, turns: list[Turn], seconds: int = 1200) -> list[int]:
    """The order in which waiting calls go, each over at once."""
    order: list[int] = []

    def told(number: int) -> None:
        if turns[number].granted and number not in order:
            order.append(number)

    for number, turn in enumerate(turns):
        turn.tell = partial(told, number)
    over = 0
    for _ in range(seconds):
        clock.now += 1.0
        with one._lock:
            one._let_in(clock.now)
        while over < len(order):
            one.settle(turns[order[over]], turns[order[over]].needs[-1])
            over += 1
    return order


def test_those_who_wait_go_in_their_order() -> None:
    clock = Clock()
    one = busy(clock)
    turns = [queued(one, 60) for _ in range(4)]
    assert served(one, clock, turns) == [0, 1, 2, 3]


def test_a_thousand_calls_of_one_tenant_do_not_hold_up_another() -> None:
    clock = Clock()
    one = busy(clock, max_wait=1e9)
    turns = [queued(one, 10, "crowd") for _ in range(1000)]
    turns.append(queued(one, 10, "single"))
    order = served(one, clock, turns, 70)
    assert 1000 in order[:2]


def test_tenants_get_their_weights() -> None:
    clock = Clock()
    one = busy(clock, weights={"large": 3.0}, max_wait=1e9)
    turns = [queued(one, 10, "large") for _ in range(200)] + [queued(one, 10, "small") for _ in range(200)]
    order = served(one, clock, turns, 60 * 12)
    shares = Counter("large" if number < 200 else "small" for number in order[:80])
    assert shares["large"] == pytest.approx(60, abs=2)


def test_a_higher_priority_goes_first() -> None:
    clock = Clock()
    one = busy(clock)
    turns = [queued(one, 60), queued(one, 60), queued(one, 60, priority=1)]
    assert served(one, clock, turns)[0] == 2


def test_who_cannot_be_served_in_time_is_refused_at_once() -> None:
    clock = Clock()
    one = busy(clock)
    with pytest.raises(LimitExceededError) as caught:
        queued(one, 10, seconds=5.0)
    error = caught.value
    assert error.limit == "tokens_per_minute"
    assert error.retry_after == pytest.approx(60.0, abs=1.0)
    assert not error.retryable
    assert isinstance(error, ThrottlingError)
    assert "bedrock:m is at its limit of tokens_per_minute (100)" in error.message
    assert "timeout=" in error.message
    assert one.state()[0]["waiting"] == 0
    first = queued(one, 80, seconds=61.0)
    with pytest.raises(LimitExceededError):  # the one before it takes what comes back until then
        one._share = 1.0
        queued(one, 80, seconds=61.0)
    assert not first.granted


def test_a_call_whose_time_is_over_is_told_so_and_leaves_its_place() -> None:
    clock = Clock()
    one = limiter(clock, tokens_per_minute=100)
    held = entered(one, 100)
    assert held is not None
    turn = queued(one, 50, seconds=5.0)  # what is held may come back at any time
    after = queued(one, 50)
    assert 0 < one.pause(turn) <= 5.0
    clock.now += 5.0
    with pytest.raises(LimitExceededError):
        one.pause(turn)
    one.settle(held, 50)
    assert after.granted


def test_a_place_that_is_left_is_free() -> None:
    clock = Clock()
    one = limiter(clock, tokens_per_minute=100)
    held = entered(one, 100)
    first, second = queued(one, 100), queued(one, 10)
    told: list[str] = []
    second.tell = lambda: told.append("second")
    one.leave(first)
    assert told == ["second"]  # it is the first now, and looks when it is time
    assert held is not None
    one.settle(held, 0)
    assert second.granted
    one.leave(second)  # it was cancelled before it could begin
    assert entered(one, 100) is not None


def test_would_wait_says_what_a_call_would_find() -> None:
    clock = Clock()
    one = limiter(clock, tokens_per_minute=100)
    assert one.would_wait(100) == 0.0
    turn = entered(one, 100)
    assert turn is not None
    one.settle(turn, 100)
    assert one.would_wait(10) == pytest.approx(60.0, abs=1.0)
    clock.now += 30.0
    assert one.would_wait(10) == pytest.approx(30.0, abs=1.0)


# --- what the service says -------------------------------------------------------------------------------------------


def throttle(one: Limiter, tokens: int = 10, text: str = "Too many tokens, please wait before trying again.") -> None:
    turn = one.turn(tokens, tokens)
    assert one.enter(turn)
    one.throttled(turn, ThrottlingError(text))


def allowed(one: Limiter, what: str = "tokens_per_minute") -> Any:
    return next(state["allowed"] for state in one.state() if state["limit"] == what)


def test_a_throttle_slows_and_time_speeds_up() -> None:
    clock = Clock()
    one = limiter(clock, tokens_per_minute=1000)
    turn = entered(one, 790)
    assert turn is not None
    one.settle(turn, 790)
    throttle(one)
    assert allowed(one) == 560
    clock.now += 1.0
    one.windows[0].throttled(clock.now)  # it was sent together with the other
    assert 560 <= allowed(one) <= 565
    clock.now += 60.0
    assert allowed(one) > 700
    clock.now += 60.0
    assert allowed(one) == 1000


def test_a_limit_that_is_not_known_is_learned() -> None:
    clock = Clock()
    one = limiter(clock)
    assert allowed(one) is None
    for _ in range(100):
        turn = entered(one, 100)
        assert turn is not None
        one.settle(turn, 100)
    throttle(one)
    assert allowed(one) == pytest.approx(7007, abs=1)
    assert entered(one, 100) is None
    clock.now += 61.0
    assert entered(one, 100) is not None
    calls = itertools.count()
    for _ in range(60 * 10):  # what is used of it tells whether there is more
        clock.now += 1.0
        while (turn := entered(one, 100)) is not None:
            next(calls)
            one.settle(turn, 100)
    assert allowed(one) > 10_000


def test_the_message_says_which_of_two_quotas_it_is() -> None:
    clock = Clock()
    one = limiter(clock, tokens_per_minute=1000, requests_per_minute=1000)
    throttle(one, text="Too many requests, please wait before trying again.")
    assert allowed(one, "requests_per_minute") < 1000
    assert allowed(one) == 1000


def test_a_throttle_of_what_is_not_limited_slows_what_is() -> None:
    one = limiter(Clock(), requests_per_minute=1000)
    throttle(one)
    assert allowed(one, "requests_per_minute") < 1000


def test_a_day_that_is_spent_is_waited_out() -> None:
    clock = Clock()
    one = limiter(clock, tokens_per_minute=1000)
    throttle(one, text="Too many tokens per day, please wait before trying again.")
    assert entered(one, 1) is None
    with pytest.raises(LimitExceededError):
        queued(one, 1, seconds=60.0)
    clock.now += 301.0
    assert entered(one, 1) is not None


def test_limits_that_do_not_adapt_stay() -> None:
    one = limiter(Clock(), tokens_per_minute=1000, adaptive=False)
    throttle(one)
    assert allowed(one) == 1000


def test_a_share_is_a_part() -> None:
    one = limiter(Clock(), tokens_per_minute=1000, share=0.1)
    assert entered(one, 101) is None
    assert entered(one, 100) is not None


@pytest.mark.parametrize(
    "wrong",
    [{"tokens_per_minute": 0}, {"requests_per_minute": 1.5}, {"share": 2}, {"weights": {"a": 0}}, {"max_wait": -1}],
    ids=str,
)
def test_limits_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        Limits(**wrong)


def test_a_clock_that_goes_back_forgets_nothing() -> None:
    window = QuotaWindow("tokens_per_minute", 100, 60.0)
    window.advance(1000.0)
    window.settle(1000.0, 50, 50)
    window.advance(900.0)
    assert window.used == 50


# --- what is hostile -------------------------------------------------------------------------------------------------


def test_thousands_may_wait_and_those_who_leave_are_no_load() -> None:
    """Counting who is before one is not done by looking at all of them, nor are tenants gone through for each."""
    clock = Clock()
    one = limiter(clock, requests_per_minute=10, max_wait=1e9)
    looked: list[Any] = []

    def before(key: Any) -> list[int]:
        looked.append(key)
        return [0]

    one._before = before  # type: ignore[method-assign]
    turns = [queued(one, 1, tenant=f"tenant {number}") for number in range(12_000)]
    assert not looked
    assert one._most_tenants >= 20_000
    for turn in turns[1:]:
        one.leave(turn)
    assert len(one._queue) < 200
    assert one.state()[0]["waiting"] == 0  # the first had its turn
    assert one._waiting_for == [0]


def test_what_waits_is_counted_as_it_is() -> None:
    clock = Clock()
    one = limiter(clock, tokens_per_minute=100, max_wait=1e9)
    held = entered(one, 100)
    assert held is not None
    turns = [queued(one, number) for number in (10, 20, 30)]
    assert one._waiting_for == [60]
    one.leave(turns[1])
    assert one._waiting_for == [40]
    one.settle(held, 0)
    assert one._waiting_for == [0]


def test_no_wait_is_longer_than_a_thread_can() -> None:
    one = limiter(Clock(), requests_per_minute=1, max_wait=float("inf"))
    assert entered(one, 1)
    first, second = queued(one, 1), queued(one, 1)
    for turn in (first, second):
        assert 0 < one.pause(turn) <= 3600


def test_a_service_is_not_believed_that_says_to_come_back_next_year() -> None:
    clock = Clock()
    one = limiter(clock, requests_per_minute=100)
    turn = entered(one, 1)
    assert turn is not None
    one.throttled(turn, ThrottlingError("slow down", retry_after=1e9))
    assert one.would_wait(1) <= 300


def test_a_child_of_a_fork_has_nothing_of_what_its_parent_has_in_flight() -> None:
    clock = Clock()
    one = limiter(clock, tokens_per_minute=100)
    used, held = entered(one, 30), entered(one, 70)
    assert used is not None
    assert held is not None
    one.settle(used, 30)
    queued(one, 50)
    one._lock.acquire()  # by a thread that is not there in the child
    one.forget()
    (state,) = one.state()
    assert (state["used"], state["in_flight"], state["waiting"]) == (30, 0, 0)
    assert entered(one, 70)
    one.settle(held, 70)
    assert one.state()[0]["in_flight"] >= 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 90), st.floats(0, 70), st.booleans()), max_size=40))
def test_requests_and_tokens_are_counted_without_loops_as_with_them(
    calls: list[tuple[int, int, float, bool]],
) -> None:
    """The way without loops for these two quotas does what the one for any of them does."""
    clock = Clock()
    quick = limiter(clock, requests_per_minute=8, tokens_per_minute=200)
    plain = limiter(clock, requests_per_minute=8, tokens_per_minute=200)
    plain._usual = None
    for tokens, used, seconds, is_known in calls:
        pairs = [(one, one.turn(tokens, tokens)) for one in (quick, plain)]
        granted = [one.enter(turn) for one, turn in pairs]
        assert granted[0] is granted[1]
        clock.now += seconds
        for one, turn in pairs:
            if granted[0]:
                one.settle(turn, used if is_known else None)
        assert quick.state() == plain.state()
