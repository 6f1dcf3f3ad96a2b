"""How many calls one model is asked at once: a fixed number, or one that follows the latency.

The limit that follows is a gradient (as in Netflix's concurrency-limits): while answers take about as long as the
quickest ones, it grows by its square root; where they take longer, it shrinks in proportion. Where it has shrunk to a
few calls and they are still slow, it is not the number of calls that makes them so, and what is quick is learned anew.
A throttled call or one that timed out takes a third of the limit away at once. What decides is the time until the first
of an answer came, where it comes in parts: the rest says how long the answer was, not how busy the model is.
"""

from __future__ import annotations

import math
import threading
from typing import Literal

MOST = 1000
_FIRST = 20.0
_FEW = 6.0
_TOLERANCE = 2.0  # how much longer than the quickest an answer may take before the limit shrinks
_SMOOTHING = 0.2
_RECENT = 0.2  # the weight of one latency among the last ones
_RELEARN = 1.05
_CUT = 2 / 3


class Concurrency:
    """Who may come in. Safe to share between threads; it waits for nothing itself."""

    def __init__(self, limit: int | Literal["adaptive"]) -> None:
        self.adapts = limit == "adaptive"
        self.limit = _FIRST if limit == "adaptive" else float(limit)
        self.in_flight = 0
        self._quickest = self._recent = 0.0
        self._lock = threading.Lock()

    def enter(self) -> bool:
        """Take a place, if there is one."""
        with self._lock:
            if self.in_flight >= int(self.limit):
                return False
            self.in_flight += 1
            return True

    def leave(self) -> None:
        with self._lock:
            self.in_flight -= 1

    def answered(self, seconds: float) -> None:
        """An answer, or its first part, came after so long."""
        if not self.adapts:
            return
        with self._lock:
            self._recent = self._recent + _RECENT * (seconds - self._recent) if self._recent else seconds
            self._quickest = min(self._quickest, seconds) if self._quickest else seconds
            gradient = max(0.5, min(1.0, _TOLERANCE * self._quickest / self._recent)) if self._recent else 1.0
            if gradient < 1 and self.limit <= _FEW:
                self._quickest *= _RELEARN
            elif self.in_flight >= self.limit / 2:  # fewer say nothing of whether more could be answered
                wanted = self.limit * gradient + math.sqrt(self.limit)
                self.limit = min(float(MOST), max(1.0, self.limit + _SMOOTHING * (wanted - self.limit)))

    def refused(self) -> None:
        """A call was throttled, or had no answer in time."""
        if self.adapts:
            with self._lock:
                self.limit = max(1.0, self.limit * _CUT)
