"""What is drawn: exactly what sorting all tokens would leave, each as often as its probability says."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awsllm.engine.generate import Sampling, looped, sample
from awsllm.engine.interface import Floats


def defined(logits: Floats, sampling: Sampling) -> dict[int, float]:
    """The tokens that may be drawn, and how likely each is, by sorting all."""
    scaled = (logits - logits.max()).astype(np.float64) / sampling.temperature
    probabilities = np.exp(scaled) / np.exp(scaled).sum()
    order = np.argsort(-probabilities, kind="stable")[: sampling.top_k or None]
    likely = probabilities[order] / probabilities[order].sum()
    kept = max(1, int(np.count_nonzero(likely.cumsum() - likely < sampling.top_p - 1e-12)))
    return dict(zip(order[:kept].tolist(), (likely[:kept] / likely[:kept].sum()).tolist(), strict=True))


class Forced(Random):
    """Numbers that a test says, and then the end."""

    def __init__(self, *numbers: float) -> None:
        super().__init__(0)
        self._numbers = iter(numbers)

    def random(self) -> float:
        return next(self._numbers)


def first_draws(logits: Floats, sampling: Sampling) -> Iterator[int]:
    """Of each token, whether it is accepted when it is drawn."""
    everything = Sampling(temperature=sampling.temperature, top_k=sampling.top_k)
    weights = np.zeros(len(logits))
    for token, probability in defined(logits, everything).items():
        weights[token] = probability
    for token in np.flatnonzero(weights > 1e-14).tolist():
        number = (weights[:token].sum() + weights[token] / 2) / weights.sum()
        try:
            assert sample(logits, sampling, Forced(number)) == token
        except StopIteration:
            continue
        yield token


@given(
    st.lists(st.sampled_from([-2.0, -0.5, 0.0, 0.5, 0.7, 3.0]), min_size=1, max_size=12),
    st.floats(0.3, 3),
    st.sampled_from([0.0, 0.1, 0.33, 0.5, 0.77, 0.95, 0.999, 1.0]),
    st.integers(0, 14),
)
@settings(max_examples=200, deadline=None)
def test_what_is_accepted_is_what_sorting_would_leave(
    values: list[float], temperature: float, top_p: float, top_k: int
) -> None:
    logits = np.array(values, np.float32)
    sampling = Sampling(temperature=temperature, top_p=top_p, top_k=top_k)
    assert list(first_draws(logits, sampling)) == sorted(defined(logits, sampling))


@pytest.mark.parametrize(
    ("spread", "sampling"),
    [
        (0.0, Sampling(temperature=1.0, top_p=0.05)),
        (0.0, Sampling(temperature=1.0, top_p=0.5, top_k=300)),
        (0.3, Sampling(temperature=0.7, top_p=0.02)),
        (2.0, Sampling(temperature=1.2, top_p=0.6, top_k=700)),
        (2.0, Sampling(temperature=1.0, top_k=3)),
    ],
)
def test_of_a_large_vocabulary_too(spread: float, sampling: Sampling) -> None:
    logits = (np.random.default_rng(3).standard_normal(1000) * spread).astype(np.float32)
    assert list(first_draws(logits, sampling)) == sorted(defined(logits, sampling))


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=1.0),
        Sampling(temperature=1.0, top_p=0.3),
        Sampling(temperature=1.0, top_p=0.6, top_k=5),
        Sampling(temperature=2.0, top_p=0.15),
        Sampling(temperature=1.0, top_k=2),
    ],
)
def test_draws_follow_the_probabilities_however_many_are_refused(sampling: Sampling) -> None:
    logits = np.log([0.05, 0.2, 0.1, 0.1, 0.2, 0.05, 0.1, 0.2]).astype(np.float32)
    generator, counts, drawn = Random(1), np.zeros(8), 4000
    for _ in range(drawn):
        counts[sample(logits, sampling, generator)] += 1
    expected = np.zeros(8)
    for token, probability in defined(logits, sampling).items():
        expected[token] = probability
    assert np.abs(counts / drawn - expected).max() < 0.03
    assert not counts[expected == 0].any()


@pytest.mark.parametrize("number", [0.0, 1 - 2**-53])
def test_the_ends_of_the_range_draw_what_is_possible(number: float) -> None:
    logits = np.full(700, -np.inf, np.float32)
    logits[[3, 300, 301]] = [0.1, 0.2, 0.3]
    assert sample(logits, Sampling(temperature=1.0), Forced(number)) == (3 if number == 0 else 301)


def test_seeds_of_either_sign_differ() -> None:
    assert len({Sampling(seed=seed).generator().random() for seed in (-1, 1, 0, 2**64 - 2, 2**63)}) == 5


@given(st.floats(0.05, 5), st.floats(0, 1), st.integers(0, 20), st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_only_likely_tokens_are_drawn(temperature: float, top_p: float, top_k: int, seed: int) -> None:
    logits = np.random.default_rng(seed).standard_normal(600, np.float32) * 3
    sampling = Sampling(temperature=temperature, top_p=top_p, top_k=top_k, seed=seed)
    token = sample(logits, sampling, sampling.generator())
    likelier = logits > logits[token]
    assert not top_k or int(likelier.sum()) < top_k
    kept = np.exp((logits - logits.max()).astype(np.float64) / temperature)
    kept /= np.sort(kept)[-top_k:].sum()
    assert top_p == 1 or not likelier.any() or float(kept[likelier].sum()) < top_p + 1e-6


@pytest.mark.parametrize("logits", [[-np.inf] * 3, [np.nan, 0.0, 1.0]])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_no_possible_token_is_an_error(logits: list[float], temperature: float) -> None:
    sampling = Sampling(temperature=temperature)
    with pytest.raises(ValueError, match="no token is possible"):
        sample(np.array(logits, np.float32), sampling, sampling.generator())


def test_tiny_temperature_is_greedy() -> None:
    sampling = Sampling(temperature=1e-30, seed=0)
    assert sample(np.array([1.0, 3.0, 2.0], np.float32), sampling, sampling.generator()) == 1


@pytest.mark.parametrize(
    "bad", [{"temperature": -1}, {"temperature": float("nan")}, {"top_p": 2}, {"top_k": -1}, {"max_tokens": 0}]
)
def test_bad_sampling_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        Sampling(**bad)


@pytest.mark.parametrize(
    ("tokens", "room", "again"),
    [
        ([7, *[1, 2] * 12], 0, 1),
        ([7, *[1, 2, 3, 4, 5, 6, 7, 8] * 3], 0, 1),
        ([7, *[1, 2] * 12, 1], 0, 2),
        ([*[1, 2] * 11, 1], 0, None),
        ([*[1, 2] * 11, 1, 1], 0, None),
        ([1, 2] * 12, 200, None),
        ([1, 2] * 13, 208, 1),
        (list(range(30)), 0, None),
    ],
)
def test_a_loop_is_known_by_its_length(tokens: list[int], room: int, again: int | None) -> None:
    assert looped(tokens, room) == again
