"""A circuit against its specification: hypothesis makes calls that succeed, fail, are throttled or never tell, and lets
time pass; after each step the circuit is where a plain reading of ``Breaker`` says it is."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from awsllm.errors import ConnectError, ModelTimeoutError, ServerError, ThrottlingError
from awsllm.policy.breakers import Breaker, Circuit, is_failure

FAILURES = (ServerError("down", status=503), ConnectError("no route"), ModelTimeoutError("too late"))


class CircuitMachine(RuleBasedStateMachine):
    """The specification: what happened in the window, when the circuit opened, which trial is under way."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.happened: list[tuple[float, bool]] = []
        self.opened: float | None = None
        self.trial: float | None = None
        self.numbers = {"calls": 0, "let through while open": 0}

    @initialize(
        failures=st.sampled_from([0.25, 0.5, 1.0]),
        minimum=st.integers(1, 6),
        window=st.sampled_from([5.0, 30.0]),
        open_for=st.sampled_from([1.0, 10.0, 40.0]),
    )
    def begin(self, failures: float, minimum: int, window: float, open_for: float) -> None:
        self.breaker = Breaker(failures=failures, minimum=minimum, window=window, open_for=open_for)
        self.circuit = Circuit(self.breaker, clock=lambda: self.now)

    def expected(self) -> str:
        if self.opened is None:
            return "closed"
        return "open" if self.now < self.opened + self.breaker.open_for else "half_open"

    def let_through(self) -> bool:
        """What the specification says of a call that asks now."""
        state = self.expected()
        if state != "half_open":
            return state == "closed"
        if self.trial is not None and self.now < self.trial + self.breaker.open_for:
            return False
        self.trial = self.now
        return True

    @rule(seconds=st.sampled_from([0.1, 0.9, 1.0, 4.9, 10.0, 31.0, 41.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(failure=st.sampled_from([None, *FAILURES]))
    def a_call(self, failure: Exception | None) -> None:
        """One that ends at once: it succeeds, or fails in one of the ways that count."""
        wanted = self.let_through()
        assert self.circuit.admits() == wanted
        if wanted:
            failed = failure is not None
            self.circuit.record(failed if failure is None else is_failure(failure))  # type: ignore[arg-type]
            self.recorded(failed)

    @rule()
    def a_throttled_call(self) -> None:
        before = self.expected()
        wanted = self.let_through()
        assert self.circuit.admits() == wanted
        if wanted:
            self.circuit.record(is_failure(ThrottlingError("slow down", status=429)))
            self.trial = None
        assert self.circuit.state == before  # throttling neither opens nor closes

    @rule()
    def a_call_whose_end_nobody_tells(self) -> None:
        assert self.circuit.admits() == self.let_through()

    @precondition(lambda self: self.opened is not None and self.trial is None)
    @rule(failed=st.booleans())
    def the_end_of_a_call_from_before(self, failed: bool) -> None:
        self.circuit.record(failed)  # it began before the circuit opened, and says nothing of now

    def recorded(self, failed: bool) -> None:
        if self.opened is not None:
            self.trial, self.happened = None, []
            self.opened = self.now if failed else None
            return
        self.happened = [*self.happened, (self.now, failed)]
        recent = [bad for at, bad in self.happened if at >= self.now - self.breaker.window]
        if failed and len(recent) >= self.breaker.minimum and sum(recent) >= self.breaker.failures * len(recent):
            self.opened = self.now

    @invariant()
    def it_is_where_the_specification_says(self) -> None:
        if hasattr(self, "circuit"):
            assert self.circuit.state == self.expected()

    @invariant()
    def who_must_wait_is_told_how_long(self) -> None:
        if hasattr(self, "circuit") and self.opened is not None:
            since = self.opened if self.trial is None else self.trial
            assert self.circuit.wait() == max(0.0, since + self.breaker.open_for - self.now)


CircuitMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestCircuit = CircuitMachine.TestCase
