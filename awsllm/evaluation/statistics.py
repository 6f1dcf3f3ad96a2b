"""Intervals: of a pass rate, of a mean, of the difference between two models over the same cases. Pure, 95 %.

Rates have Wilson's interval, which holds for few cases and for rates of 0 and 1. Means have a percentile bootstrap.
A difference is over pairs, one of each case. Where both scores are 0 or 1 its interval is Newcombe's (1998, method 10:
Wilson's of both rates, put together by their correlation) and its p McNemar's, exact; else its interval is a bootstrap
of the differences, which holds 0 where the p of a sign flip test is above 0.05. What is drawn is drawn by a fixed seed:
the same scores give the same figures.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from awsllm.types import Value

Z = 1.959963984540054  # of a 95 % interval
_LEVEL = 0.05
_DRAWS = 2_000
_FEW = 500  # cases; beyond, the mean's distribution is normal enough to be computed
_SEED = 14


class Interval(Value, frozen=True):
    """An estimate and what it may be."""

    value: float
    low: float
    high: float


class PairedDifference(Value, frozen=True, kw_only=True):
    """How much more one of two has than the other, in the mean over ``cases`` that both have. ``p_value`` is how likely
    so large a difference is if there is none."""

    value: float
    low: float
    high: float
    p_value: float
    cases: int


def wilson(passed: int, cases: int) -> Interval:
    """The interval of a rate. Nothing is known of no cases: 0 to 1."""
    if not cases:
        return Interval(0.0, 0.0, 1.0)
    rate, square = passed / cases, Z * Z
    middle = (rate + square / (2 * cases)) / (1 + square / cases)
    half = Z / (1 + square / cases) * math.sqrt(rate * (1 - rate) / cases + square / (4 * cases * cases))
    return Interval(rate, max(0.0, min(rate, middle - half)), min(1.0, max(rate, middle + half)))


def mean(scores: Sequence[float]) -> Interval:
    """The interval of a mean; of one score it is that score alone."""
    middle = math.fsum(scores) / len(scores)
    low, high = _spread(scores)
    return Interval(middle, low, high)


def difference(first: Sequence[float], second: Sequence[float]) -> PairedDifference:
    """How much more ``second`` has than ``first``, case by case."""
    pairs = list(zip(first, second, strict=True))
    gaps = [b - a for a, b in pairs]
    middle = math.fsum(gaps) / len(gaps)
    if all(score in (0.0, 1.0) for pair in pairs for score in pair):
        low, high = _newcombe(pairs)
        p_value = mcnemar(sum(gap < 0 for gap in gaps), sum(gap > 0 for gap in gaps))
    else:
        low, high = _spread(gaps)
        p_value = _sign_flips(gaps)
        if p_value > _LEVEL:  # of few cases a bootstrap is too narrow: of one it is that one alone
            low, high = min(low, 0.0), max(high, 0.0)
    return PairedDifference(value=middle, low=low, high=high, p_value=p_value, cases=len(pairs))


def mcnemar(lost: int, won: int) -> float:
    """The exact two-sided p of so many pairs in which only the one, and only the other, passed."""
    total, fewer = lost + won, min(lost, won)
    if total > 1_000:  # where the exact sum is of very large numbers, the normal distribution is as good
        return math.erfc(max(0.0, abs(won - lost) - 1) / math.sqrt(2 * total))
    tail = sum(math.comb(total, count) for count in range(fewer + 1))
    return min(1.0, 2 * tail / (1 << total))


def _newcombe(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    both = sum(a == b == 1 for a, b in pairs)
    lost, won = sum(a > b for a, b in pairs), sum(a < b for a, b in pairs)
    cases = len(pairs)
    neither = cases - both - lost - won
    first, second = wilson(both + lost, cases), wilson(both + won, cases)
    correlation = _correlation(both, lost, won, neither)
    gap = second.value - first.value

    def joined(a: float, b: float) -> float:
        return math.sqrt(max(0.0, a * a - 2 * correlation * a * b + b * b))

    low = gap - joined(second.value - second.low, first.high - first.value)
    high = gap + joined(second.high - second.value, first.value - first.low)
    return max(-1.0, low), min(1.0, high)


def _correlation(both: int, lost: int, won: int, neither: int) -> float:
    """Of the two outcomes, with Newcombe's correction for continuity."""
    margins = (both + lost) * (won + neither) * (both + won) * (lost + neither)
    if not margins:
        return 0.0
    product = both * neither - lost * won
    if product > 0:
        return max(0.0, product - (both + lost + won + neither) / 2) / math.sqrt(margins)
    return product / math.sqrt(margins)


def _spread(values: Sequence[float]) -> tuple[float, float]:
    """A 95 % interval of the mean."""
    count = len(values)
    middle = math.fsum(values) / count
    if max(values) == min(values):
        return middle, middle
    if count > _FEW:
        half = Z * math.sqrt(math.fsum((value - middle) ** 2 for value in values) / (count - 1) / count)
        return middle - half, middle + half
    draw = random.Random(_SEED)  # noqa: S311 -- no secret: the same figures each time
    means = sorted(math.fsum(draw.choices(values, k=count)) / count for _ in range(_DRAWS))
    return means[round(0.025 * (_DRAWS - 1))], means[round(0.975 * (_DRAWS - 1))]


def _sign_flips(gaps: Sequence[float]) -> float:
    """The two-sided p of the mean, if each gap might as well have the other sign."""
    told = [gap for gap in gaps if gap]
    observed = abs(math.fsum(told)) - 1e-12
    if not told:
        return 1.0
    if len(told) > _FEW:
        return math.erfc(observed / math.sqrt(2 * math.fsum(gap * gap for gap in told)))
    draw = random.Random(_SEED)  # noqa: S311
    more = sum(abs(_flipped(told, draw.getrandbits(len(told)))) >= observed for _ in range(_DRAWS))
    return (more + 1) / (_DRAWS + 1)


def _flipped(gaps: Sequence[float], signs: int) -> float:
    return sum(gap if signs >> at & 1 else -gap for at, gap in enumerate(gaps))
