"""How the limits of a call move, on a clock that the test sets; the transports' part is in ``test_http.py``."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from awsllm import backend
from awsllm.aws import failures
from awsllm.aws.failures import Limits
from awsllm.backend import Attempt
from awsllm.errors import ModelTimeoutError


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """``clock.now`` is what ``time.monotonic`` says."""
    clock = SimpleNamespace(now=100.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(failures, "time", clock)
    monkeypatch.setattr(backend, "time", clock)
    return clock


def test_without_limits_a_wait_is_as_long_as_the_transports_own(clock: Any) -> None:
    limits = Limits(10.0, 120.0)
    assert not limits.time_events()
    assert (limits.until, limits.left("x"), limits.seconds(120.0, "x")) == (None, None, 120.0)
    clock.now += 1e9
    assert not limits.has_passed()
    assert not limits.call_is_over()


def test_every_event_has_its_own_time(clock: Any) -> None:
    limits = Limits(10.0, 120.0, Attempt(first_event=5.0, between_events=2.0))
    assert limits.time_events()
    assert limits.left("x") == 5.0
    clock.now += 4.5
    assert limits.left("x") == 0.5  # a wait that brought no event moves nothing
    for _ in range(10):
        limits.await_event(first=False)
        assert limits.left("x") == 2.0
        clock.now += 1.5
    clock.now += 0.5
    with pytest.raises(ModelTimeoutError, match=r"x sent no event for 2 s \(between_events\)"):
        limits.left("x")
    assert not limits.call_is_over()  # it is the stream that broke off


@pytest.mark.parametrize(
    ("attempt", "first", "further"),
    [
        (Attempt(first_event=5.0), 105.0, None),
        (Attempt(between_events=2.0), None, 102.0),
        (Attempt(first_event=5.0, deadline=103.0), 103.0, 103.0),
        (Attempt(first_event=5.0, deadline=110.0), 105.0, 110.0),
        (Attempt(between_events=2.0, deadline=101.0), 101.0, 101.0),
    ],
)
def test_the_nearest_limit_counts(attempt: Attempt, first: float | None, further: float | None, clock: Any) -> None:
    limits = Limits(10.0, 120.0, attempt)
    assert limits.time_events()
    assert limits.until == first
    limits.await_event(first=False)
    assert limits.until == further


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (Attempt(first_event=5.0), r"x sent no event within 5 s \(first_event\)"),
        (Attempt(first_event=5.0, deadline=104.0), "the deadline passed before x"),
        (Attempt(deadline=105.0), "the deadline passed before x"),
    ],
)
def test_a_limit_of_the_call_is_named(attempt: Attempt, message: str, clock: Any) -> None:
    limits = Limits(10.0, 120.0, attempt)
    limits.time_events()
    clock.now += 5.0
    assert limits.call_is_over()
    with pytest.raises(ModelTimeoutError, match=message):
        limits.seconds(120.0, "x")
