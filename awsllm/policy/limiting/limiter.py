"""One quota and who is behind it: a call goes if there is enough, else it waits its turn.

Whoever waits stands in an order of his own tenant's, so that a thousand calls of one do not hold up another's single
one: each call has a number, which is that of its tenant's call before it, or of the call that went last, plus what it
takes divided by its tenant's weight; the smallest goes first (start-time fair queueing: Goyal, Vin and Cheng, 1996). A
higher priority goes before all of a lower one. Nobody overtakes the first: what is large would wait for ever.

A call is not queued that could not go before its deadline, as far as can be seen: it is refused at once.

Threads and event loops share a limiter. It waits for nothing itself: who waits is told by ``Turn.tell``, and the first
of the queue also looks again when it is told to. Every change is made under one lock, which is held for no I/O.
"""

from __future__ import annotations

import heapq
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any, TypeAlias

import msgspec

from awsllm.errors import LimitExceededError, ThrottlingError
from awsllm.policy.limiting.estimating import ModelUsage
from awsllm.policy.limiting.limits import Limits
from awsllm.policy.limiting.windows import QuotaWindow, settle_usual

MINUTE, DAY = 60.0, 86_400.0
_LONGEST_LOOK = 3600.0  # seconds: what threads may wait for at once is bounded
_LONGEST_PAUSE = 300.0  # seconds for which a service that says when to come again is believed
_LOOK = 1.0  # seconds after which the first looks again, whatever it was told
_TENANTS = 10_000
_TURNS = 64
_RECENT = 0.2
_TOGETHER = 16  # calls that are counted together
_ENDS = 64  # what was before is forgotten
_DAY_SPENT = 300.0  # seconds without calls once the service says that a day's quota is spent


EndedCall: TypeAlias = "tuple[tuple[float, int, int, int], int, int, int, ModelUsage]"
"""What a call held, the tokens that it was given and answered, those that were estimated, and whose usage that is."""


def _nobody() -> None:
    """Nobody waits."""


class Turn(msgspec.Struct, eq=False):
    """One call's place: what it takes of each window and is charged, and where it stands. Most never stand: what only
    those have that do is set then."""

    needs: tuple[int, ...]
    charged: tuple[int, ...]
    at: float = 0.0
    granted: bool = False
    left: bool = True  # it stands in no queue
    key: tuple[int, float, int] = (0, 0.0, 0)
    until: float = math.inf
    tell: Callable[[], None] = _nobody


class Limiter:
    """``name`` is what it is told by; ``clock`` is there for tests and simulations."""

    def __init__(self, limits: Limits, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits, self.name, self.clock = limits, name, clock
        adapts = limits.adaptive
        rows = (
            ("requests_per_minute", MINUTE, adapts and limits.tokens_per_minute is None),
            ("tokens_per_minute", MINUTE, adapts and limits.requests_per_minute is None),
            ("tokens_per_day", DAY, False),
        )
        kept = [row for row in rows if getattr(limits, row[0]) is not None or row[2]]
        self.windows = tuple(QuotaWindow(what, limits.count(what), period) for what, period, _ in kept)
        self._of_tokens = tuple(row[0] != "requests_per_minute" for row in kept)
        bounds = [w.limit for w, of_tokens in zip(self.windows, self._of_tokens, strict=True) if of_tokens and w.limit]
        self.largest = min(bounds, default=None)
        self._counts_tokens = any(self._of_tokens)
        self._usual: Any = self.windows if self._of_tokens == (False, True) else None
        """Requests and tokens a minute alone, as nearly everywhere: for these there are ways without loops."""
        self._lock = threading.Lock()
        self._queue: list[tuple[tuple[int, float, int], Turn]] = []
        self._waiting = 0
        self._waiting_for = [0] * len(self.windows)  # what all who wait are charged together
        self._numbers = count(1)
        self._went = 0.0  # the number of the call that went last
        self._last: dict[str, float] = {}
        self._most_tenants = _TENANTS
        self._paused = -math.inf
        self.ended: deque[EndedCall] = deque()
        """Calls that are over and not counted yet (``over_soon``)."""
        self._share = 0.0
        self._ends: deque[tuple[int, int]] = deque(maxlen=_ENDS)  # tokens used, and taken, of calls that are over
        self.throttles = 0

    # --- what a call takes ---

    def turn(self, tokens: int, charged: int, requests: int = 1) -> Turn:
        if self.largest is not None and tokens > self.largest:  # it takes the whole, if nothing else is in use
            tokens = max(charged, self.largest)
        if self._usual is not None:
            needs: tuple[int, ...] = (requests, tokens)
            return Turn(needs, needs if tokens == charged else (requests, charged))
        needs = tuple([tokens if of_tokens else requests for of_tokens in self._of_tokens])
        return Turn(needs, tuple([charged if of_tokens else requests for of_tokens in self._of_tokens]))

    def enter(self, turn: Turn) -> bool:
        """Take what the call needs, if it is there and nobody waits."""
        if self._usual is not None and (since := self.go(*turn.needs)) is not None:
            turn.at, turn.granted = since, True
            return True
        with self._lock:
            now = self.clock()
            return not self._queue and self._take(turn, now)

    def go(self, calls: int, wanted: int) -> float | None:
        """``enter`` without a turn, for one whose windows are the usual ones: since when it is held. None: it is not
        all there, or takes a look at more, and nothing is taken."""
        requests, tokens = self._usual
        with self._lock:
            now: float = self.clock()
            if now >= requests.due:  # their slots are the same
                requests.advance(now)
                tokens.advance(now)
                self._settle_ended(now)
            if (
                requests.used + requests.held + calls > requests.allowed
                or tokens.used + tokens.held + wanted > tokens.allowed
                or self._queue
                or now < self._paused
            ) and not self._has_room(calls, wanted, now):
                return None
            requests.held += calls
            tokens.held += wanted
            return now

    def _has_room(self, calls: int, wanted: int, now: float) -> bool:
        """Whether there is enough once those are counted that are over."""
        requests, tokens = self._usual
        if self._queue or now < self._paused or not self.ended:
            return False
        self._settle_ended(now)
        return bool(
            requests.used + requests.held + calls <= requests.allowed
            and tokens.used + tokens.held + wanted <= tokens.allowed
        )

    def undo(self, calls: int, wanted: int) -> None:
        """Give back what ``go`` took, of a call that is not made."""
        requests, tokens = self._usual
        with self._lock:
            requests.held = max(0, requests.held - calls)
            tokens.held = max(0, tokens.held - wanted)
            if self._queue:
                self._let_in(self.clock())

    def _take(self, turn: Turn, now: float) -> bool:
        if now < self._paused:
            return False
        if self.ended:
            self._settle_ended(now)
        windows = self.windows
        for window, needed, charged in zip(windows, turn.needs, turn.charged):  # noqa: B905 -- every call does this
            if now >= window.due:
                window.advance(now)
            if window.used + window.held + needed > window.allowed and not window.is_left_to(charged):
                return False
        for window, needed in zip(windows, turn.needs):  # noqa: B905
            window.held += needed
        turn.at = now
        turn.granted = True
        return True

    def check_size(self, turn: Turn, fix: str) -> None:
        """Refuse what is more than a whole quota: it never could be made."""
        for window, charged in zip(self.windows, turn.charged, strict=True):
            if window.limit is not None and charged > window.limit:
                text = f"this call takes {charged:,} of {self.name}, and the whole of {window.what} is {window.limit:,}"
                raise _exceeded(f"{text}: {fix}", window.what, None)

    # --- who waits ---

    def queue(self, turn: Turn, tenant: str, priority: int, seconds: float | None) -> None:
        """Stand in the queue for at most so long. Raises ``LimitExceededError`` where that is seen not to be enough."""
        with self._lock:
            now = self.clock()
            most = self.limits.max_wait if seconds is None else seconds
            weight = self.limits.weights.get(tenant, 1.0)
            number = max(self._went, self._last.get(tenant, 0.0)) + max(1, max(turn.needs, default=1)) / weight
            turn.until = now + most
            turn.key = (-priority, number, next(self._numbers))
            if self._expected(turn.charged, None, now) > most:  # which is known at once, and too much
                expected = self._expected(turn.charged, turn.key, now)
                if expected > most:
                    raise self._too_late(turn, expected, most)
            if len(self._last) >= self._most_tenants:
                self._last = {name: last for name, last in self._last.items() if last > self._went}
                self._most_tenants = max(_TENANTS, 2 * len(self._last))
            self._last[tenant] = number
            self._stand(turn)

    def again(self, turn: Turn, seconds: float, most: float | None) -> None:
        """Others have taken what was granted: stand where one stood, and let nobody go for so long. ``most`` is how
        long a call may wait that has not waited yet."""
        with self._lock:
            now = self.clock()
            self._give_back(turn)
            turn.granted = False
            self._paused = max(self._paused, now + seconds)
            if not turn.key[2]:
                turn.key = (turn.key[0], self._went, next(self._numbers))
                turn.until = now + (self.limits.max_wait if most is None else most)
            self._stand(turn)
            if now + seconds > turn.until:
                self._drop(turn)
                raise self._too_late(turn, seconds, max(0.0, turn.until - now))

    def pause(self, turn: Turn) -> float:
        """Seconds after which to look again; 0: the turn is granted. Raises ``LimitExceededError`` where its time is
        over."""
        with self._lock:
            now = self.clock()
            self._let_in(now, turn)
            if turn.granted:
                return 0.0
            if now >= turn.until:
                self._drop(turn)
                raise self._too_late(turn, self._expected(turn.charged, turn.key, now), 0.0)
            if self._queue[0][1] is not turn:
                return min(turn.until - now, _LONGEST_LOOK)
            wait = max(self._wait(turn, now), 0.001)
            return min(turn.until - now, wait, _LOOK if wait > MINUTE else wait)

    def leave(self, turn: Turn) -> None:
        """Whoever waited has gone."""
        with self._lock:
            if turn.granted:
                self._give_back(turn)
            elif not turn.left:
                self._drop(turn)
            self._let_in(self.clock())

    def _stand(self, turn: Turn) -> None:
        turn.left = False
        self._count(turn, 1)
        heapq.heappush(self._queue, (turn.key, turn))

    def _drop(self, turn: Turn) -> None:
        turn.left = True
        self._count(turn, -1)
        if len(self._queue) > 2 * self._waiting + _TURNS:  # those who left are no load to those who stay
            self._queue = [entry for entry in self._queue if not entry[1].left]
            heapq.heapify(self._queue)

    def _count(self, turn: Turn, change: int) -> None:
        """Somebody waits, or does no longer."""
        self._waiting += change
        for place, charged in enumerate(turn.charged):
            self._waiting_for[place] += change * charged

    def _let_in(self, now: float, asking: Turn | None = None) -> None:
        """Those for whom there is enough, in their order; whoever is first then is told to look when it is time, unless
        it is who asks."""
        queue = self._queue
        while queue:
            turn = queue[0][1]
            if not turn.left:
                if not self._take(turn, now):
                    if turn is not asking:
                        turn.tell()
                    return
                self._count(turn, -1)
                self._went = turn.key[1]
                if turn is not asking:
                    turn.tell()
            heapq.heappop(queue)

    def _wait(self, turn: Turn, now: float) -> float:
        """Seconds until the first of the queue may go, if nothing that is in flight comes back until then."""
        rows = zip(self.windows, turn.needs, turn.charged, strict=True)
        waits = [w.wait(needed if w.held else charged, now) for w, needed, charged in rows]
        return max(0.0, self._paused - now, *waits)

    def _expected(self, needs: tuple[int, ...], key: tuple[int, float, int] | None, now: float) -> float:
        """Seconds until a call could go, behind those who go before it; without ``key``, behind all."""
        self._settle_ended(now)
        for window in self.windows:
            window.advance(now)
        if self._waiting:
            ahead = self._waiting_for if key is None else self._before(key)
            likely = [self._likely if of_tokens else 1.0 for of_tokens in self._of_tokens]
            needs = tuple(int(a * share) + n for n, a, share in zip(needs, ahead, likely, strict=True))
        waits = [w.wait(needed, now, self._likely) for w, needed in zip(self.windows, needs, strict=True)]
        return max(0.0, self._paused - now, *waits)

    def _before(self, key: tuple[int, float, int]) -> list[int]:
        """What those are charged who go before."""
        ahead = [0] * len(self.windows)
        for other, turn in self._queue:
            if not turn.left and other < key:
                for place, charged in enumerate(turn.charged):
                    ahead[place] += charged
        return ahead

    def would_wait(self, tokens: int, charged: int | None = None) -> float:
        """Seconds that a call would wait, about, if it were made now; 0: it would not."""
        turn = self.turn(tokens, tokens if charged is None else charged)
        with self._lock:
            now = self.clock()
            self._settle_ended(now)
            for window, needed, charge in zip(self.windows, turn.needs, turn.charged, strict=True):
                window.advance(now)
                fits = window.used + window.held + needed <= window.allowed or window.is_left_to(charge)
                if self._queue or now < self._paused or not fits:
                    break
            else:
                return 0.0
            return max(self._expected(turn.charged, None, now), 0.001)

    # --- what became of it ---

    def settle(self, turn: Turn, tokens: int | None) -> None:
        """A call is over and used so many tokens; None: nobody knows, and what it was charged counts."""
        if self._usual is not None:
            calls, taken = turn.needs
            self.over((turn.at, calls, taken, turn.charged[1]), tokens)
            return
        with self._lock:
            now = self.clock()
            self._settle_each(turn, tokens, now)
            if tokens and self._counts_tokens:
                self._ends.append((tokens, turn.needs[-1]))
            if self._queue:
                self._let_in(now)

    def over(self, held: tuple[float, int, int, int], used: int | None) -> None:
        """``settle`` without a turn, where the windows are the usual ones. ``held`` is since when, how many requests
        and tokens it took, and the tokens that it was charged."""
        with self._lock:
            now = self.clock()
            self._over(held, used, now)
            if self._queue:
                self._let_in(now)

    def over_soon(self, end: EndedCall) -> None:
        """``over``, together with others: until then the call holds what it took, so that nobody has too much. Whoever
        waits, or finds too little, has them counted first."""
        self.ended.append(end)
        if self._queue or len(self.ended) >= _TOGETHER:  # in this order: who comes to wait looks after he is queued
            with self._lock:
                now = self.clock()
                self._settle_ended(now)
                self._let_in(now)

    def _settle_ended(self, now: float) -> None:
        ended = self.ended
        while ended:
            held, given, answer, estimated, usage = ended.popleft()
            self._over(held, usage.learn(given, answer, (given, estimated)), now)

    def _over(self, held: tuple[float, int, int, int], used: int | None, now: float) -> None:
        since, calls, taken, charged = held
        requests, tokens = self._usual
        if now >= requests.due:
            requests.advance(now)
            tokens.advance(now)
        requests.held -= calls
        tokens.held -= taken
        if used is None or used > charged or since < requests.begun or requests.held < 0 or tokens.held < 0:
            settle_usual(self._usual, held, used)
        else:
            place = requests.place
            requests.sums[place] += calls
            requests.used += calls
            tokens.sums[place] += used
            tokens.used += used
        if used:
            self._ends.append((used, taken))

    @property
    def _likely(self) -> float:
        """Of what is held, the share that is used in the end, as of the last calls: added up by those who wait, for
        nobody else asks."""
        ends = self._ends
        while ends:
            used, taken = ends.popleft()
            self._share += ((used / taken if used < taken else 1.0) - self._share) * _RECENT
        return self._share

    @property
    def is_usual(self) -> bool:
        """Whether its windows are the usual ones, so that it has ``go`` and ``over``."""
        return self._usual is not None

    def _settle_each(self, turn: Turn, used: int | None, now: float) -> None:
        for window, of_tokens, needed, charged in zip(
            self.windows, self._of_tokens, turn.needs, turn.charged, strict=True
        ):
            if now >= window.due:
                window.advance(now)
            window.held = max(0, window.held - needed)  # the call may have begun before a fork
            window.settle(turn.at, charged, charged if used is None or not of_tokens else used)

    def _give_back(self, turn: Turn) -> None:
        for window, needed in zip(self.windows, turn.needs, strict=True):
            window.held = max(0, window.held - needed)

    def forget(self) -> None:
        """In the child of a fork: what is in flight or waits is the parent's, and nobody lets go of the lock."""
        self._lock = threading.Lock()
        self._queue, self._waiting = [], 0
        self._waiting_for = [0] * len(self.windows)
        self._settle_ended(self.clock())
        for window in self.windows:
            window.held = 0

    def throttled(self, turn: Turn, error: ThrottlingError, used: int | None = 0) -> None:
        """The service refused a call that was within the limits: others use the quota, or it is smaller. ``used`` is
        what it took all the same: of a stream that had begun nobody knows (None)."""
        text = error.message.lower()
        with self._lock:
            now = self.clock()
            self._settle_ended(now)
            self.throttles += 1
            if "per day" in text:
                self._paused = max(self._paused, now + _DAY_SPENT)
            elif self.limits.adaptive:
                told = "request" in text, "token" in text
                rows = [row for row in zip(self.windows, self._of_tokens, strict=True) if row[0].period == MINUTE]
                meant = [window for window, of_tokens in rows if told[of_tokens] or not told[not of_tokens]]
                for window in meant or [window for window, _ in rows]:  # what is not limited here cannot be slowed
                    window.throttled(now)
            if error.retry_after:
                self._paused = max(self._paused, now + min(error.retry_after, _LONGEST_PAUSE))
        self.settle(turn, used)

    # --- what is told ---

    def _too_late(self, turn: Turn, expected: float, left: float) -> LimitExceededError:
        now = self.clock()
        rows = zip(self.windows, turn.charged, strict=True)
        waits = [(window.wait(charged, now), window) for window, charged in rows]
        window = max(waits, key=lambda pair: pair[0])[1]
        most = "what the service gives" if window.limit is None else f"{window.limit:,}"
        less = "" if window.what == "requests_per_minute" else "lower max_tokens, "
        text = (
            f"{self.name} is at its limit of {window.what} ({most}): a call could go in {expected:.0f} s, and this one "
            f"has {left:.0f} s. Give it more time (timeout=…), {less}or ask for a larger quota"
        )
        return _exceeded(text, window.what, expected)

    def state(self) -> tuple[Mapping[str, Any], ...]:
        """What is in use of each quota now."""
        with self._lock:
            now = self.clock()
            self._settle_ended(now)
            for window in self.windows:
                window.advance(now)
            return tuple(
                {
                    "limit": window.what,
                    "most": window.limit,
                    "allowed": None if math.isinf(window.allowed) else int(window.allowed),
                    "used": window.used,
                    "in_flight": window.held,
                    "waiting": self._waiting,
                }
                for window in self.windows
            )


def usage_of(model: str, limits: Limits, burndown: int) -> ModelUsage:
    return ModelUsage(model, limits.burndown or burndown)


def _exceeded(text: str, limit: str, seconds: float | None) -> LimitExceededError:
    error = LimitExceededError(text, code="LimitExceeded", retry_after=seconds)
    error.limit = limit
    return error
