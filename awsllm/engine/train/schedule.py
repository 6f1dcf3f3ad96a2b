"""How large a step is, over a training: a warm-up, then a cosine, a line, a plateau that ends in a fall, or no end."""

from __future__ import annotations

import math
from typing import Final, Literal

Schedule = Literal["cosine", "wsd", "linear", "constant"]
SCHEDULES: Final = ("cosine", "wsd", "linear", "constant")
_FALL: Final = 0.2  # the share of the steps in which wsd (https://arxiv.org/abs/2404.06395) falls


def share(schedule: Schedule, step: int, steps: int, warm_up: int) -> float:
    """What part of the learning rate step ``step`` of ``steps`` takes, from 1 on; it never is 0."""
    if step <= warm_up:
        return step / max(warm_up, 1)
    done = (step - warm_up - 1) / max(steps - warm_up, 1)
    match schedule:
        case "cosine":
            return 0.05 + 0.95 * (1 + math.cos(math.pi * done)) / 2
        case "wsd":
            return min(1.0, max(1 - done, 1e-3) / _FALL)
        case "linear":
            return max(1 - done, 1e-3)
        case _:
            return 1.0
