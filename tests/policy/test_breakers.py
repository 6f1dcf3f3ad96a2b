"""Circuits on a clock of their own, and limits of concurrency."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from awsllm.errors import (
    AwsllmError,
    ConnectError,
    ModelTimeoutError,
    ServerError,
    StreamError,
    ThrottlingError,
    ValidationError,
)
from awsllm.policy.breakers import Breaker, Circuit, is_failure
from awsllm.policy.concurrency import Concurrency


class Circuits(RuleBasedStateMachine):
    """A circuit against what is promised of it: while it is open nobody is let through, while it is half open one."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.circuit = Circuit(Breaker(minimum=3, open_for=10, window=20), lambda: self.now)
        self.trial: float | None = None  # when one was let through whose end nobody told
        self.opened: float | None = None

    @rule(seconds=st.sampled_from([0.5, 3.0, 11.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        if self.trial is not None and self.now >= self.trial + 10:
            self.trial = None  # forgotten

    @rule(outcome=st.sampled_from([True, True, False, None]))
    def call(self, outcome: bool | None) -> None:
        state = self.circuit.state
        admitted = self.circuit.admits()
        assert admitted == (state == "closed" or (state == "half_open" and self.trial is None))
        if not admitted:
            return
        if state == "half_open":
            assert self.opened is not None
            assert self.now >= self.opened + 10
        self.circuit.record(outcome)
        after = self.circuit.state
        if state == "half_open":
            assert after == {True: "open", False: "closed", None: "half_open"}[outcome]
        if after == "open":
            assert outcome is True
            self.opened = self.now

    @rule()
    def trial_without_an_end(self) -> None:
        if self.circuit.state == "half_open" and self.circuit.admits():
            self.trial = self.now
            assert not self.circuit.admits()

    @invariant()
    def a_wait_is_known(self) -> None:
        assert 0 <= self.circuit.wait() <= 10


TestCircuits = Circuits.TestCase
TestCircuits.settings = settings(max_examples=40)


def test_it_opens_at_the_share_of_enough_calls() -> None:
    now = [0.0]
    circuit = Circuit(Breaker(failures=0.5, minimum=4, window=10), lambda: now[0])
    for failed in (True, False, True):
        circuit.record(failed)
    assert circuit.state == "closed"
    now[0] = 11  # these are over
    for failed in (True, True, True):
        circuit.record(failed)
    assert circuit.state == "closed"
    circuit.record(False)
    assert circuit.state == "closed"  # a success opens nothing
    circuit.record(True)
    assert circuit.state == "open"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ServerError("x", status=503), True),
        (ModelTimeoutError("x"), True),
        (ConnectError("x"), True),
        (StreamError("cut"), True),
        (ThrottlingError("x", status=429), None),
        (ServerError("the input is odd", status=424), None),
        (ValidationError("x"), None),
    ],
)
def test_what_an_error_says_of_a_model(error: AwsllmError, said: bool | None) -> None:
    assert is_failure(error) is said


def test_a_stream_that_broke_for_throttling_is_no_failure() -> None:
    broken = StreamError("broke")
    broken.__cause__ = ThrottlingError("slow")
    assert is_failure(broken) is None


def driven(concurrency: Concurrency, capacity: int, rounds: int) -> None:
    """A model that answers ``capacity`` calls at once in a second each, and more of them in turn."""
    for _ in range(rounds):
        inside = 0
        while concurrency.enter():
            inside += 1
        for _ in range(inside):
            concurrency.answered(max(1.0, inside / capacity))
            concurrency.leave()


def test_concurrency_follows_the_latency() -> None:
    concurrency = Concurrency("adaptive")
    driven(concurrency, capacity=50, rounds=100)
    assert 40 < concurrency.limit < 150
    before = concurrency.limit
    for _ in range(3):
        concurrency.refused()
    assert concurrency.limit < before / 3 + 1
    assert concurrency.in_flight == 0


def test_a_model_that_has_become_slow_is_not_starved() -> None:
    concurrency = Concurrency("adaptive")
    driven(concurrency, capacity=50, rounds=20)
    for _ in range(400):
        assert concurrency.enter()
        concurrency.answered(30.0)
        concurrency.leave()
    for _ in range(30):  # a busy model, whose answers take what they now take
        while concurrency.enter():
            pass
        while concurrency.in_flight:
            concurrency.answered(30.0)
            concurrency.leave()
    assert concurrency.limit > 10


def test_few_calls_move_nothing() -> None:
    concurrency = Concurrency("adaptive")
    for _ in range(100):
        assert concurrency.enter()
        concurrency.answered(1.0)
        concurrency.leave()
    assert concurrency.limit == 20


def test_a_fixed_limit_is_one() -> None:
    concurrency = Concurrency(2)
    assert [concurrency.enter() for _ in range(3)] == [True, True, False]
    concurrency.refused()
    concurrency.leave()
    assert concurrency.enter()
