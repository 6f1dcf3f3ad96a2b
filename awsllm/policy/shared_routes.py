"""What processes tell each other of the models of their groups: how these do, and where conversations are at home.

Each process keeps its own circuits and homes, and a call asks those alone. What is new in them is written behind the
calls, within a second, and what others have written is read with it. There a circuit is a small document:

    {"seen": {"180000000": [12, 3]}, "opened": 0, "version": 4}

``seen`` are calls and failures by the tenth of the breaker's window, of all processes together, so that a circuit may
open that no process had seen enough of by itself; ``opened`` is when it did (0: it is closed), and ``version`` counts
how often it opened and closed. Whatever a circuit does in one process it then does in all. Each makes a trial of its
own once its time is over; the first one that tells ends it for all.

A process that has called nobody for some seconds reads before it calls: a millisecond, and the only time that a call
waits for the store. A store that fails is none: processes go on with what they know themselves, and the log says so
once. Times are the store's, so that clocks of machines may differ.
"""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from awsllm.errors import AwsllmError
from awsllm.models.references import Reference
from awsllm.policy import write_behind
from awsllm.policy.breakers import Breaker, Circuit
from awsllm.types import Value

PARTS = 10
"""Of a breaker's window, in which calls are counted."""

_FRESH = 1.0  # seconds for which what was read is good
_STALE = 5.0  # seconds after which it is read before a call
_AGAIN = 30.0  # seconds after which a store that failed is asked again
_MOST_HOMES = 10_000


class CircuitNews(Value, frozen=True):
    """What a process saw of a model since it last told: calls, failures, and what its circuit did (``opened``,
    ``closed``) so many seconds ago."""

    name: str
    breaker: Breaker
    calls: int = 0
    failures: int = 0
    change: str = ""
    age: float = 0.0


class Home(Value, frozen=True):
    """Where a conversation is at home, and for how many seconds."""

    conversation: str
    reference: Reference
    seconds: float


class RoutesSeen(Value, frozen=True):
    """What a store has: of each circuit how many seconds ago it opened (None: it is closed) and its version; and the
    homes that are new since ``mark``, which is what to ask with next time."""

    circuits: dict[str, tuple[float | None, int]]
    homes: Sequence[Home]
    mark: int


class RoutesStore(Protocol):
    """Where it is kept. Safe to share between threads and processes."""

    def exchange(self, news: Sequence[CircuitNews], homes: Sequence[Home], mark: int) -> RoutesSeen:
        """Write what is new, and read what others have written."""

    def close(self) -> None: ...


class SharedTable(Value, frozen=True):
    """The table ``[shared]`` of awsllm.toml."""

    place: str


class SharedCircuit(Circuit):
    """A circuit that tells what it sees. A count that is lost to another thread's is no loss."""

    def __init__(self, name: str, breaker: Breaker, clock: Callable[[], float], tell: Callable[[bool], None]) -> None:
        super().__init__(breaker, clock)
        self.name = name
        self._tell = tell
        self._calls = self._failures = 0
        self._change, self._changed = "", 0.0
        self._version = 0

    def record(self, failed: bool | None) -> None:
        before = self.opened
        super().record(failed)
        after = self.opened
        if before != after:
            self._change, self._changed = "closed" if after is None else "opened", self._clock()
            self._calls = self._failures = 0
        elif after is None and failed is not None:
            self._calls += 1
            self._failures += failed
        else:
            return
        self._tell(bool(failed))

    def news(self) -> CircuitNews | None:
        """What is new since this was last asked."""
        calls, failures, change = self._calls, self._failures, self._change
        if not calls and not change:
            return None
        self._calls, self._failures, self._change = 0, 0, ""
        age = self._clock() - self._changed if change else 0.0
        return CircuitNews(self.name, self.breaker, calls, failures, change, age)

    def hear(self, opened: float | None, version: int) -> None:
        """How the circuit is that all share."""
        if version == self._version or self._change:  # what happened here meanwhile is told first
            return
        with self._lock:
            self._version, self._trial = version, None
            self.opened = None if opened is None else self._clock() - opened
            self._outcomes.clear()


class SharedRoutes:
    """One client's part of it. ``settle`` is told of the homes that others have found."""

    def __init__(
        self,
        store: RoutesStore,
        settle: Callable[[str, Reference, float], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._settle, self._clock = store, settle, clock
        self._circuits: dict[str, SharedCircuit] = {}
        self._seen: dict[str, tuple[float | None, int]] = {}
        self._turn = write_behind.WritingLock()
        self._told = self._is_due = False
        # a function's process stands still between two calls, and writes nothing behind them
        self._stands_still = "AWS_LAMBDA_FUNCTION_NAME" in os.environ
        self._homes: deque[Home] = deque(maxlen=_MOST_HOMES)
        self.forget()
        write_behind.watch(self)

    def circuit(self, name: str, breaker: Breaker) -> SharedCircuit:
        """The circuit of a model, as others know it."""
        name = f"{name} {breaker.failures:g} {breaker.minimum} {breaker.window:g} {breaker.open_for:g}"
        made = SharedCircuit(name, breaker, self._clock, self._tell)
        if name in self._seen and self._clock() - self._heard < _STALE:
            made.hear(*self._seen[name])
        return self._circuits.setdefault(name, made)

    def settled(self, conversation: str, reference: Reference, seconds: float) -> None:
        self._homes.append(Home(conversation, reference, seconds))
        self._tell(True)

    def _tell(self, urgent: bool) -> None:
        if urgent and self._stands_still:
            self.flush()
        elif not self._is_due:
            self._is_due = True
            write_behind.soon(self)

    @property
    def is_stale(self) -> bool:
        """Whether it is to be read before a call (``flush``)."""
        return self._clock() >= self._stale

    def refresh(self) -> None:
        """A call is made: what was read a while ago is read again, behind it."""
        if self._clock() >= self._next and not self._is_due:
            self._is_due = True
            write_behind.soon(self)

    def flush(self) -> None:
        """Write what is new and read what others wrote."""
        self._is_due = False
        with self._turn:
            now = self._clock()
            self._next, self._stale = now + _FRESH, now + _STALE
            homes, self._homes = self._homes, deque(maxlen=_MOST_HOMES)
            news = [found for circuit in list(self._circuits.values()) if (found := circuit.news()) is not None]
            if now < self._failed + _AGAIN:
                return
            try:
                seen = self._store.exchange(news, tuple(homes), self._mark)
            except Exception as error:
                self._fail(error, now)
                return
            self._hear(seen, now)

    def _hear(self, seen: RoutesSeen, now: float) -> None:
        self._seen, self._mark, self._heard = seen.circuits, seen.mark, now
        for name, circuit in list(self._circuits.items()):
            if name in seen.circuits:
                circuit.hear(*seen.circuits[name])
        for home in seen.homes:
            self._settle(home.conversation, home.reference, now + home.seconds)

    def _fail(self, error: Exception, now: float) -> None:
        self._failed = now
        self._stale = now + _AGAIN
        if not self._told:
            self._told = True
            from awsllm import log

            why = error.message if isinstance(error, AwsllmError) else type(error).__name__
            text = "circuits and homes of conversations are not shared with other processes: %s; calls are made"
            log.logger("policy").warning(text, why)

    def forget(self) -> None:
        """Nothing of it was read or is to be written."""
        self._turn = write_behind.WritingLock()
        self._homes.clear()
        for circuit in self._circuits.values():
            circuit.news()
        self._is_due = False
        self._mark = 0
        self._heard = self._failed = self._next = self._stale = -math.inf

    def close(self) -> None:
        self.flush()
        self._store.close()


def merge(state: dict[str, Any], news: CircuitNews, now: float) -> None:
    """Put what a process tells into a circuit's document. ``shared_routes_stores`` does the same in Redis; a test holds
    one against the other."""
    breaker, seen = news.breaker, state.setdefault("seen", {})
    if news.change:
        state["opened"] = now - news.age if news.change == "opened" else 0
        state["version"] = state.get("version", 0) + 1
        seen.clear()
    if state.get("opened") or not news.calls:
        return
    width = breaker.window / PARTS
    here = math.floor(now / width)
    for slot in [slot for slot in seen if int(slot) <= here - PARTS]:
        del seen[slot]
    calls, failures = seen.get(str(here), (0, 0))
    seen[str(here)] = [calls + news.calls, failures + news.failures]
    calls, failures = (sum(count[place] for count in seen.values()) for place in (0, 1))
    if news.failures and calls >= breaker.minimum and failures >= breaker.failures * calls:
        state["opened"], state["version"] = now, state.get("version", 0) + 1
        seen.clear()


def opened(state: dict[str, Any], now: float) -> tuple[float | None, int]:
    """How many seconds ago a document's circuit opened, and its version."""
    at = state.get("opened") or 0
    return (max(0.0, now - at) if at else None), int(state.get("version", 0))


def home_of(conversation: str, reference: bytes | str, seconds: float) -> Home | None:
    """A home as a store has it; None where it is over, or was written by another version."""
    try:
        return Home(conversation, msgspec.json.decode(reference, type=Reference), seconds) if seconds > 0 else None
    except msgspec.MsgspecError:
        return None
