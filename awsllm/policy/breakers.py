"""Circuit breakers: a model that fails again and again is left alone for a while.

A circuit is closed while all is well. Once enough of the last calls have failed it opens: for ``open_for`` seconds
nobody is let through. Then it is half open: one call is let through as a trial, and what becomes of it closes the
circuit or opens it again. A throttled call is no failure: a service that throttles is alive, and waiting is the
retry's and the limiter's work.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

import msgspec

from awsllm.errors import AwsllmError, ConfigurationError, ConnectError, ModelTimeoutError, ServerError, StreamError
from awsllm.types import Value

_MODEL_FAILED = 424  # ModelErrorException: the model failed on this input, which says nothing of the next


class Breaker(Value, frozen=True, kw_only=True):
    """When a circuit opens: once the share ``failures`` of the calls of the last ``window`` seconds has failed, and
    there were at least ``minimum`` of them. It stays open for ``open_for`` seconds."""

    failures: float = 0.5
    minimum: int = 5
    window: float = 30.0
    open_for: float = 30.0

    def __post_init__(self) -> None:
        if not 0 < self.failures <= 1:
            raise ConfigurationError(f"failures is {self.failures}; it is a share, above 0 and at most 1")
        if self.minimum < 1 or self.window <= 0 or self.open_for <= 0:
            raise ConfigurationError("a breaker's minimum is at least 1, its window and open_for are above 0")


class Circuit:
    """The state of one model in one region. Safe to share between threads."""

    def __init__(self, breaker: Breaker, clock: Callable[[], float] = time.monotonic) -> None:
        self.breaker = breaker
        self._clock = clock
        self._lock = threading.Lock()
        self._outcomes: deque[tuple[float, bool]] = deque(maxlen=1000)
        self.opened: float | None = None  # since when it is not closed
        self._trial: float | None = None  # when the one call was let through that shall tell

    @property
    def state(self) -> str:
        """closed, open or half_open."""
        with self._lock:
            return self._state(self._clock())

    def _state(self, now: float) -> str:
        if self.opened is None:
            return "closed"
        return "open" if now < self.opened + self.breaker.open_for else "half_open"

    def admits(self) -> bool:
        """Whether a call may be made now. In a circuit that is half open it is the trial, which ``record`` ends; one
        whose end nobody told is forgotten after ``open_for`` seconds."""
        if self.opened is None:  # nearly always; a call that slips through beside the one that opens is no harm
            return True
        with self._lock:
            now = self._clock()
            state = self._state(now)
            if state != "half_open":
                return state == "closed"
            if self._trial is not None and now < self._trial + self.breaker.open_for:
                return False
            self._trial = now
            return True

    def wait(self) -> float:
        """Seconds until a call is let through, as far as is known."""
        with self._lock:
            now = self._clock()
            since = self.opened if self._trial is None else self._trial
            return 0.0 if since is None else max(0.0, since + self.breaker.open_for - now)

    def record(self, failed: bool | None) -> None:
        """What became of a call: it failed, it did not, or (None) it says nothing of how the model is."""
        with self._lock:
            now = self._clock()
            if failed is False and self.opened is None:  # nearly always
                self._outcomes.append((now, False))
            elif failed is None:
                self._trial = None
            elif self.opened is not None:
                self._end_trial(failed, now)
            else:
                self._outcomes.append((now, True))
                if self._is_too_much(now):
                    self.opened = now

    def _end_trial(self, failed: bool, now: float) -> None:
        if self._trial is None:  # a call that began before the circuit opened
            return
        self._trial = None
        self.opened = now if failed else None
        self._outcomes.clear()

    def _is_too_much(self, now: float) -> bool:
        while self._outcomes and self._outcomes[0][0] < now - self.breaker.window:
            self._outcomes.popleft()
        failures = sum(failed for _, failed in self._outcomes)
        return len(self._outcomes) >= self.breaker.minimum and failures >= self.breaker.failures * len(self._outcomes)


def is_failure(error: AwsllmError) -> bool | None:
    """What an error says of the model that was asked: that it is not well, that it is, or None for neither."""
    if isinstance(error, StreamError):
        cause = error.__cause__
        return is_failure(cause) if isinstance(cause, AwsllmError) else True
    if isinstance(error, ServerError):
        return None if error.status == _MODEL_FAILED else True
    return True if isinstance(error, ModelTimeoutError | ConnectError) else None


class CircuitState(msgspec.Struct, frozen=True):
    """A circuit as ``client.circuits()`` tells it."""

    model: str
    region: str | None
    state: str
