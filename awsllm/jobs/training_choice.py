"""Where a fine-tuning runs: one base or several are weighed by size, price, memory and deadline, and the reasons told.

Weights are where they are: ``local:`` is trained here, ``bedrock:`` and ``sagemaker:`` there. So whoever leaves the
choice to awsllm names several bases that would do, each where it is. What cannot be is left out: a base that cannot be
trained or whose licence forbids it, too little memory, more time than the deadline gives, more money than may be spent.
Of the others the cheapest is taken, what has no known price last; of equals the quickest, and then the first named.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from awsllm.errors import ConfigurationError
from awsllm.jobs.tuned import Where
from awsllm.types import Value

LEAST: Final[dict[str, float]] = {"bedrock": 3600.0, "sagemaker": 900.0}
"""Seconds that a job takes there at least, of any size. Both are guesses: a tutorial plans one to two hours for Nova
Micro in Bedrock (softwareletters.com, number 62, "Make a Small Model Act Big: Fine-Tune Nova Micro on Bedrock", read
2026-11-27), and SageMaker's jobs wait for a machine and fetch an image first."""


class TrainingCandidate(Value, frozen=True, kw_only=True):
    """One base, where it would be trained. ``usd`` is the most that training costs, ``seconds`` about how long it
    takes, None where that is not known; ``memory`` and ``free`` are bytes of this machine. ``obstacle`` is why it
    cannot be."""

    base: str
    where: Where
    usd: float | None = None
    seconds: float | None = None
    memory: int | None = None
    free: int | None = None
    obstacle: str = ""

    def told(self) -> str:
        price = "of unknown price" if self.usd is None else f"${self.usd:,.2f} at most" if self.usd else "for nothing"
        return f"{price}, {self.takes()}"

    def takes(self) -> str:
        """Time and memory."""
        time = "in unknown time" if self.seconds is None else f"in about {_duration(self.seconds)}"
        if self.where != "local" and self.seconds is not None:
            time = f"in {_duration(self.seconds)} at least"
        memory = f", with {_size(self.memory)} of memory" if self.memory else ""
        free = f" of the {_size(self.free)} that are free" if self.memory and self.free is not None else ""
        return f"{time}{memory}{free}"


def hindered(candidate: TrainingCandidate, deadline: float | None, most: float | None) -> str:
    """Why it cannot be; empty where it can."""
    one = candidate
    if one.obstacle:
        return one.obstacle
    if one.memory is not None and one.free is not None and one.memory > one.free:
        return f"it takes about {_size(one.memory)} of memory, and {_size(one.free)} are free"
    if deadline is not None and one.seconds is not None and one.seconds > deadline:
        at_least = "at least" if one.where != "local" else "about"
        return f"it takes {at_least} {_duration(one.seconds)}, and the deadline is in {_duration(deadline)}"
    if most is not None and one.usd is None:
        return f"its price is not known here, and ${most:,.2f} may be spent"
    if most is not None and one.usd is not None and one.usd > most:
        return f"it costs up to ${one.usd:,.2f}, and ${most:,.2f} may be spent"
    return ""


def chosen(candidates: Sequence[TrainingCandidate], deadline: float | None, most: float | None) -> tuple[int, str]:
    """Which one, and why. Raises ``ConfigurationError`` with each obstacle where none can be."""
    hindrances = [hindered(one, deadline, most) for one in candidates]
    able = [number for number, why in enumerate(hindrances) if not why]
    if not able:
        told = "; ".join(f"{one.base}: {why}" for one, why in zip(candidates, hindrances, strict=True))
        raise ConfigurationError(f"none of these can be trained: {told}" if len(candidates) > 1 else told)
    best = min(able, key=lambda number: _rank(candidates[number]))
    return best, _why(candidates, hindrances, best)


def _rank(one: TrainingCandidate) -> tuple[bool, float, bool, float]:
    return one.usd is None, one.usd or 0.0, one.seconds is None, one.seconds or 0.0


def _why(candidates: Sequence[TrainingCandidate], hindrances: Sequence[str], best: int) -> str:
    winner, others = candidates[best], []
    for number, (one, why) in enumerate(zip(candidates, hindrances, strict=True)):
        if number != best:
            others.append(f"{one.base} {f'cannot be: {why}' if why else f'would be {one.told()}'}")
    beside = f"; {'; '.join(others)}" if others else ""
    return f"{winner.base} {winner.told()}{beside}"


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= 1.5 * size or (size == 60 and seconds >= 60):
            return f"{seconds / size:.0f} {unit}{'' if round(seconds / size) == 1 else 's'}"
    return f"{seconds:.0f} second{'' if round(seconds) == 1 else 's'}"


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
