"""A clock that can be put forward, so that what takes an hour is over at once."""

from __future__ import annotations

import time
from collections.abc import Callable


def system_clock() -> float:
    """``time.time``, looked up at each call: a test may have frozen it since."""
    return time.time()


class MovableClock:
    """``base``'s seconds, and those that it was put forward by."""

    def __init__(self, base: Callable[[], float] = system_clock) -> None:
        self._base = base
        self._ahead = 0.0

    def __call__(self) -> float:
        return self._base() + self._ahead

    def advance(self, seconds: float) -> None:
        self._ahead += seconds

    def reset(self) -> None:
        self._ahead = 0.0
