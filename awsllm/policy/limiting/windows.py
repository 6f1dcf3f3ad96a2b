"""What was used of one quota in the last minute or day, and what calls in flight have taken of it.

What Bedrock's quotas a minute are inside AWS does not say: a bucket that fills evenly, minutes of the clock, or the
last sixty seconds. So that none of these refuses, no sixty seconds see more than the quota here. A bucket would let
twice as much through in its first minute, and that is refused by both of the others; in the long run both give the
same. What a call takes is counted from when it began, as Bedrock deducts it, and comes back sixty seconds later; while
it is in flight it is held.

What is used is added up in slots of a 120th of the period, and a slot is forgotten when all of it is old: so a little
late and never early.

The quota may be shared with others, and may be unknown: what is ``allowed`` follows what the service says. A call that
it throttles takes three tenths of what was in use away, at most once in five seconds, and it comes back by a half per
cent a second (additive increase, multiplicative decrease).
"""

from __future__ import annotations

import math

SLOTS = 120
_CUT = 0.7
_CALM = 5.0  # seconds in which a throttle tells nothing new: calls that were sent together fail together
_RECOVERY = 0.005  # of the limit, a second
_LEAST = 0.02  # of the limit, which is left in any case


class QuotaWindow:
    """One quota; ``limit`` is None where it is not known. Who uses it holds a lock."""

    __slots__ = (
        *("_cut_at", "_grown_at", "_most", "_scale", "_slot", "_width"),
        *("allowed", "begun", "due", "held", "limit", "period", "place", "sums", "used", "what"),
    )

    def __init__(self, what: str, limit: int | None, period: float) -> None:
        self.what, self.limit, self.period = what, limit, period
        self.allowed = self._most = self._scale = math.inf if limit is None else float(limit)
        self.used = 0  # by calls that are over, within the period
        self.held = 0  # by calls in flight
        self._width = period / SLOTS
        self.sums = [0] * (SLOTS + 1)
        self._slot = self.place = 0
        self.begun, self.due = 0.0, -math.inf  # when the slot began, and when the next one does
        self._cut_at = self._grown_at = -math.inf

    def advance(self, now: float) -> None:
        """Forget what is old. Nothing is to be done before ``due``; a clock that was set back stands still."""
        here, slot = self._slot, int(now / self._width)
        if slot < here:
            return
        self._slot, self.place = slot, slot % (SLOTS + 1)
        self.begun, self.due = slot * self._width, (slot + 1) * self._width
        if self.used:
            if slot - here > SLOTS:
                self.sums = [0] * (SLOTS + 1)
                self.used = 0
            else:
                for old in range(here + 1, slot + 1):
                    place = old % (SLOTS + 1)
                    self.used -= self.sums[place]
                    self.sums[place] = 0
        if self.allowed < self._most:
            self._recover(now)

    def is_left_to(self, charged: int) -> bool:
        """Whether a call may go since nothing else is in flight: what it may come to in the end harms nobody, so what
        the service charges at its start decides. What is more than is allowed just now goes when nothing is in use."""
        if self.held:
            return False
        return self.used + charged <= self.allowed or (not self.used and charged <= self._most)

    def settle(self, at: float, charged: int, used: int) -> None:
        """A call that began at that instant is over. The service had ``charged`` it then; what it used beyond that is
        counted from now."""
        if used > charged:
            self._add(self._slot, used - charged)
            used = charged
        if used:
            self._add(self._slot if at >= self.begun else int(at / self._width), used)

    def _add(self, slot: int, amount: int) -> None:
        if self._slot - slot <= SLOTS:
            self.sums[slot % (SLOTS + 1)] += amount
            self.used += amount

    def wait(self, wanted: float, now: float, likely: float = 1.0) -> float:
        """Seconds until so much is free, if calls in flight use the share ``likely`` of what they hold, and nobody else
        takes anything."""
        held = self.held * likely
        missing = wanted - (self.allowed - self.used - held)
        if missing <= 0 or math.isinf(self.allowed):
            return 0.0
        rounds, rest = divmod(missing, max(self.allowed, 1.0))
        seconds = rounds * self.period
        for slot in range(self._slot - SLOTS, self._slot + 1):
            if rest <= 0:
                break
            rest -= self.sums[slot % (SLOTS + 1)]
            seconds = rounds * self.period + (slot + 1 + SLOTS) * self._width - now
        if rest > 0:  # it is held, and comes back when those calls are over and old
            return (rounds + 1) * self.period
        return max(0.0, seconds)

    # --- what the service says ---

    def throttled(self, now: float) -> None:
        """The service had less than is allowed here."""
        if now - self._cut_at < _CALM:
            return
        used = float(self.used + self.held)
        base = min(self.allowed, used) if used else self.allowed
        if math.isinf(base):
            return
        if math.isinf(self._scale):
            self._scale = base  # all that is known of an unknown limit
        self.allowed = max(base * _CUT, self._scale * _LEAST, 1.0)
        self._cut_at = self._grown_at = now

    def _recover(self, now: float) -> None:
        since, self._grown_at = self._grown_at, now
        if self.limit is None and self.allowed >= self._scale and self.used + self.held < self.allowed / 2:
            return  # what is not used says nothing of whether there is more
        self.allowed = min(self._most, self.allowed + max(0.0, now - since) * self._scale * _RECOVERY)


def settle_usual(windows: tuple[QuotaWindow, QuotaWindow], held: tuple[float, int, int, int], used: int | None) -> None:
    """A call that held requests and tokens a minute, and does no longer, is over: ``settle`` of both. ``held`` is since
    when, how many requests and tokens it took, and the tokens that it was charged."""
    requests, tokens = windows
    since, calls, _, charged = held
    requests.held, tokens.held = max(0, requests.held), max(0, tokens.held)  # the call may have begun before a fork
    requests.settle(since, calls, calls)
    tokens.settle(since, charged, charged if used is None else used)
