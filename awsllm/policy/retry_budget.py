"""How many retries a client may make of all its calls together, so that a service that is down is not asked three times
as often as one that is up.

Each call adds a share of a retry, and each second a few, whatever is called; both are worth something for ten seconds.
The numbers are Finagle's (``RetryBudget``): a fifth of the calls, and ten a second.
"""

from __future__ import annotations

import threading

_LIVES = 10.0  # seconds


class RetryBudget:
    """What is left. ``calls`` is counted up by whoever makes one, without a lock: a count that two threads lose to each
    other is no harm. Safe to share between threads."""

    def __init__(self, share: float, a_second: float) -> None:
        self.calls = 0
        self._share, self._a_second = share, a_second
        self._balance = self._reserve = a_second * _LIVES
        self._seen = 0
        self._recent = 0.0  # calls of the last seconds, as far as is known
        self._at: float | None = None
        self._lock = threading.Lock()

    def take(self, now: float) -> bool:
        """Whether one more retry may be made; then it is taken."""
        with self._lock:
            passed = 0.0 if self._at is None else max(0.0, now - self._at)
            made = float(self.calls - self._seen)
            self._at, self._seen = now, self.calls
            if passed > _LIVES:  # calls came evenly, for all that is known; those of long ago count no more
                made *= _LIVES / passed
            self._recent = self._recent * max(0.0, 1 - passed / _LIVES) + made
            most = self._reserve + self._share * self._recent
            self._balance = min(most, self._balance + self._a_second * passed + self._share * made)
            if self._balance < 1:
                return False
            self._balance -= 1
            return True
