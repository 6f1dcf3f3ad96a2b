"""Reservations stay within the quota, and refunds are exact: hypothesis begins calls, ends them with what it likes, and
lets time pass; after each step the limiter is held against a list of all calls, and against a service that keeps the
quota in either of the ways that Bedrock may: neither ever has to refuse."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from awsllm.policy.limiting.estimating import ModelUsage
from awsllm.policy.limiting.limiter import MINUTE, Limiter, Turn
from awsllm.policy.limiting.limits import Limits
from awsllm.policy.limiting.windows import SLOTS
from awsllm.types import Usage

SLOT = MINUTE / SLOTS


@dataclass
class MadeCall:
    """A call that the limiter let through, as the service sees it."""

    turn: Turn
    began: float
    charged: int
    most: int
    given: int
    taken: int
    ended: float | None = None
    used: int = 0

    def counted(self, now: float, period: float, *, held: int) -> int:
        """What of it counts in the last ``period`` seconds: ``held`` while it is in flight; then what it used, of that
        what was charged at its start since then, the rest since its end."""
        if self.ended is None:
            return held
        early, late = min(self.used, self.charged), max(0, self.used - self.charged)
        return (early if self.began > now - period else 0) + (late if self.ended > now - period else 0)


class ReservationMachine(RuleBasedStateMachine):
    flying = Bundle("flying")

    @initialize(tokens=st.sampled_from([2_000, 20_000]), burndown=st.sampled_from([1, 5]))
    def begin(self, tokens: int, burndown: int) -> None:
        self.now = 1000.0
        self.most = tokens
        self.limiter = Limiter(Limits(tokens_per_minute=tokens), "a model", clock=lambda: self.now)
        self.usage = ModelUsage("a-model", burndown)
        self.usage.ratio = 1.0
        self.burndown = burndown
        self.calls: list[MadeCall] = []
        self.level, self.filled = float(tokens), self.now
        self.refused = 0

    def fill(self) -> None:
        self.level = min(float(self.most), self.level + (self.now - self.filled) * self.most / MINUTE)
        self.filled = self.now

    @rule(target=flying, given=st.integers(1, 900), answer=st.integers(1, 1500))
    def a_call(self, given: int, answer: int) -> MadeCall | None:
        # Of a model nothing is known of, an answer may burn all that it is allowed: that is what is taken. One that may
        # burn more than a whole minute's quota leaves some buckets empty for longer than a minute, whoever limits.
        answer = max(1, min(answer, (self.most - given) // self.burndown))
        charged, taken = given + answer, max(given + answer, given + answer * self.burndown)
        turn = self.limiter.turn(taken, charged)
        if not self.limiter.enter(turn):
            return None
        call = MadeCall(turn, self.now, charged, answer, given, turn.needs[0])
        self.fill()
        if charged > self.level:
            self.refused += 1
        self.level -= charged
        self.calls.append(call)
        return call

    @rule(call=consumes(flying), share=st.floats(0, 1))
    def it_ends(self, call: MadeCall | None, share: float) -> None:
        if call is None:
            return
        written = int(call.most * share)
        used = self.usage.used(Usage(input_tokens=call.given, output_tokens=written, total_tokens=None), call.given)
        assert used == call.given + written * self.burndown
        self.fill()
        self.level = min(float(self.most), self.level + call.charged - used)
        call.ended, call.used = self.now, used
        self.limiter.settle(call.turn, used)

    @rule(seconds=st.sampled_from([0.0, 0.1, 0.5, 7.3, 29.9, 59.9, 60.1, 200.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    def excess(self) -> int:
        """What one call may come to beyond what it is charged at its start: it holds up others, not the call itself
        where nothing else is in flight."""
        return max((call.taken - call.charged for call in self.calls), default=0)

    @invariant()
    def reservations_are_within_the_quota(self) -> None:
        for state in self.limiter.state() if hasattr(self, "limiter") else ():
            assert state["in_flight"] + state["used"] <= self.most + self.excess()

    @invariant()
    def refunds_are_exact(self) -> None:
        """What is counted is what a list of all calls says, a slot late at most."""
        for state in self.limiter.state() if hasattr(self, "limiter") else ():
            assert state["in_flight"] == sum(call.taken for call in self.calls if call.ended is None)
            least = sum(call.counted(self.now, MINUTE, held=0) for call in self.calls)
            most = sum(call.counted(self.now, MINUTE + 2 * SLOT, held=0) for call in self.calls)
            assert least <= state["used"] <= most

    @invariant()
    def the_service_never_refuses(self) -> None:
        """A bucket that fills evenly, and the last sixty seconds, in which calls in flight are charged."""
        if hasattr(self, "limiter"):
            assert self.refused == 0
            assert self.level >= -self.excess()
            window = sum(call.counted(self.now, MINUTE, held=call.charged) for call in self.calls)
            assert window <= self.most + self.excess()


ReservationMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestReservations = ReservationMachine.TestCase
