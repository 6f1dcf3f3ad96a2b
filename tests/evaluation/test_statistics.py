"""Intervals against figures of the literature and against simulations."""

from __future__ import annotations

import math
import random

import pytest

from awsllm.evaluation import statistics


@pytest.mark.parametrize(
    ("passed", "cases", "low", "high"),
    [  # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson(passed: int, cases: int, low: float, high: float) -> None:
    found = statistics.wilson(passed, cases)
    assert [found.value, found.low, found.high] == pytest.approx([passed / cases, low, high], abs=6e-5)


def test_wilson_at_its_ends() -> None:
    assert statistics.wilson(0, 0) == statistics.Interval(0.0, 0.0, 1.0)
    assert statistics.wilson(5, 5).high == 1.0
    assert statistics.wilson(5, 5).low == pytest.approx(0.5655, abs=1e-4)


def test_a_difference_of_rates_has_a_direction() -> None:
    """Seen from the other side it is the same; pairs that agree make it narrower."""
    first, second = [1.0] * 48 + [0.0] * 2, [1.0] * 36 + [0.0] * 12 + [1.0] * 2
    found, mirrored = statistics.difference(first, second), statistics.difference(second, first)
    assert (found.value, found.low, found.high) == (-mirrored.value, -mirrored.high, -mirrored.low)
    assert found.value == pytest.approx(-0.2)
    assert found.low < -0.2 < found.high < 0
    agreeing = statistics.difference(sorted(first), sorted(second))
    assert agreeing.high - agreeing.low < found.high - found.low


def test_newcombe_holds() -> None:
    """Of 400 drawn samples with a known difference, about 95 in 100 intervals hold it."""
    draw, held = random.Random(5), 0
    for _ in range(400):
        hard = [draw.random() for _ in range(60)]
        first = [float(draw.random() < 0.2 + 0.6 * h) for h in hard]
        second = [float(draw.random() < 0.3 + 0.6 * h) for h in hard]
        found = statistics.difference(first, second)
        held += found.low <= 0.1 <= found.high
    assert held / 400 >= 0.93


def test_no_difference_seen_is_not_none_known() -> None:
    found = statistics.difference([1.0] * 10, [1.0] * 10)
    assert found.value == 0
    assert found.low < -0.2 < 0.2 < found.high
    assert found.p_value == 1


@pytest.mark.parametrize(
    ("lost", "won", "p"), [(0, 0, 1), (0, 5, 0.0625), (5, 0, 0.0625), (3, 3, 1), (1, 9, 0.0214844)]
)
def test_mcnemar(lost: int, won: int, p: float) -> None:
    assert statistics.mcnemar(lost, won) == pytest.approx(p, abs=1e-6)


def test_mcnemar_of_many() -> None:
    exact = statistics.mcnemar(460, 540)
    assert statistics.mcnemar(461, 541) == pytest.approx(exact, rel=0.05)
    assert statistics.mcnemar(0, 100_000) == 0


def test_means() -> None:
    draw = random.Random(6)
    scores = [draw.random() for _ in range(200)]
    found = statistics.mean(scores)
    middle = sum(scores) / 200
    half = 1.96 * math.sqrt(sum((one - middle) ** 2 for one in scores) / 199 / 200)
    assert found == statistics.mean(scores)  # the same figures each time
    assert [found.low, found.high] == pytest.approx([middle - half, middle + half], abs=5e-3)
    many = statistics.mean(scores * 10)
    assert 0 < many.high - many.low < found.high - found.low
    assert statistics.mean([0.5]) == statistics.Interval(0.5, 0.5, 0.5)


def test_differences_of_scores() -> None:
    draw = random.Random(7)
    first = [draw.random() for _ in range(80)]
    better = [min(1.0, one + draw.random() * 0.2) for one in first]
    found = statistics.difference(first, better)
    assert 0 < found.low < found.value < found.high < 0.2
    assert found.p_value < 0.01
    shuffled = first[1:] + first[:1]
    assert statistics.difference(first, shuffled).p_value > 0.9
    assert statistics.difference(first * 10, better * 10).p_value < 0.001  # where it is computed, not drawn
