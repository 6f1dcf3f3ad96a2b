"""How much of the prompts a step computes beside the answers that are being generated.

A block of a prompt takes as long as many generated tokens do. So that a joining prompt does not stall the answers that
run, blocks are paid for with time: while answers run, prompts take at most ``1 - 1 / SLOWER`` of it, hence answers keep
at least ``1 / SLOWER`` of their speed. A block cannot be computed in parts, so a long one is computed at once and paid
for afterwards, by steps without any. Where nothing is generated, each step has room for several blocks.

What a step and a block take is measured as they are computed. A machine that is busy with something else makes single
measurements far too long and none too short, so that estimates fall fast and rise slowly.
"""

from __future__ import annotations

from typing import Final

SLOWER: Final = 3.0
_BLOCKS: Final = 4  # of different prompts that a step takes at most
_LONGEST: Final = 0.5  # seconds of prompts in a step: until it ends, nobody joins and nobody is told of a cancellation


class Pacing:
    """What was measured, and what follows for the next step. ``block``: tokens of a block."""

    def __init__(self, block: int) -> None:
        self._block = block
        self._step: float | None = None  # seconds of a step that has no prompts
        self._token: float | None = None  # seconds that a token of a prompt adds
        self._debt = 0.0  # seconds that prompts took and have not paid for

    def room(self, answers: int) -> int:
        """The tokens of prompts that the next step has room for beside so many answers: 0, or a block and more."""
        if not answers:
            seconds = _LONGEST
        elif self._step is None or self._debt > 0:
            return 0
        else:
            seconds = (SLOWER - 1) * self._step
        if self._token is None:
            return self._block
        return max(self._block, min(_BLOCKS * self._block, int(seconds / max(self._token, 1e-9))))

    def took(self, seconds: float, answers: int, tokens: int) -> None:
        """Note what a step took that had so many answers, and tokens of prompts."""
        if not tokens:
            self._step = _estimate(self._step, seconds)
        else:
            added = max(0.0, seconds - (self._step or 0.0))
            if tokens >= self._block:  # what every step takes would count as the few tokens' own
                self._token = _estimate(self._token, added / tokens)
            self._debt += added if self._token is None else tokens * self._token
        paid = (SLOWER - 1) * (self._step or 0.0)
        self._debt = max(0.0, self._debt - paid) if answers else 0.0


def _estimate(known: float | None, measured: float) -> float:
    if known is None:
        return measured
    return known + (measured - known) * (0.5 if measured < known else 0.1)
