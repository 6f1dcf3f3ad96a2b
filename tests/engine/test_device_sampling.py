"""Choosing on the device is what ``generate`` does, for all rows at once."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
import torch

from awsllm.engine import generate
from awsllm.engine.choosing import TokenChoice
from awsllm.engine.device_sampling import NONE, choose, likeliest
from awsllm.engine.generate import Sampling
from awsllm.engine.interface import Floats, Words

SIZE = 150
RAGGED = np.random.default_rng(3).normal(size=(40, SIZE)).astype(np.float32) * 3
FLAT = np.round(RAGGED)  # many tokens as likely as each other


class Given(Random):
    """A generator of one number."""

    def __init__(self, number: float) -> None:
        super().__init__(0)
        self.number = number

    def random(self) -> float:
        return self.number


def smallest_set(logits: Floats, sampling: Sampling) -> np.ndarray:
    """The weights that are drawn from, by sorting."""
    weights = np.exp((logits.astype(np.float64) - logits.max()) / sampling.temperature)
    order = np.argsort(-weights, kind="stable")
    kept = order[: sampling.top_k or None]
    before = weights[kept].cumsum() - weights[kept]
    if sampling.top_p < 1:
        kept = kept[: max(1, int((before < sampling.top_p * weights[kept].sum()).sum()))]
    chosen = np.zeros_like(weights)
    chosen[kept] = weights[kept]
    return chosen


SAMPLINGS = [
    Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
    for temperature in (0.5, 1.0, 20.0)
    for top_k in (0, 1, 7, 1000)
    for top_p in (0.0, 0.4, 0.95, 1.0)
]


@pytest.mark.parametrize("logits", [RAGGED, FLAT], ids=["ragged", "flat"])
def test_tokens_are_those_that_the_numbers_fall_on(logits: Floats) -> None:
    chance = Random(1)
    for first in range(0, len(SAMPLINGS), len(logits)):
        samplings = SAMPLINGS[first : first + len(logits)]
        numbers = [chance.random() for _ in samplings]
        choices = [TokenChoice(one, number) for one, number in zip(samplings, numbers, strict=True)]
        found = choose(torch.from_numpy(logits[: len(choices)]), choices).tolist()
        for row, sampling, number, token in zip(logits, samplings, numbers, found, strict=False):
            cumulative = smallest_set(row, sampling).cumsum()
            assert token == int(cumulative.searchsorted(number * cumulative[-1], "right")), sampling
            if sampling.top_p == 1:
                assert token == generate.sample(row, sampling, Given(number)), sampling


def test_greedy_and_drawn_rows_together() -> None:
    choices = [TokenChoice(Sampling()), None, TokenChoice(Sampling(temperature=1.0), 0.999), TokenChoice(Sampling())]
    found = choose(torch.from_numpy(RAGGED[:4]), choices).tolist()
    best = RAGGED[:4].argmax(-1).tolist()
    assert [found[0], found[1], found[3]] == [best[0], best[1], best[3]]
    assert found[2] == generate.sample(RAGGED[2], Sampling(temperature=1.0), Given(0.999))


def mask_of(*tokens: int, words: int = -(-SIZE // 32)) -> Words:
    bits = np.zeros(words * 32, bool)
    bits[list(tokens)] = True
    return np.packbits(bits, bitorder="little").view(np.int32)


def test_masks_and_what_is_left_out() -> None:
    few = mask_of(3, 31, words=1)  # a tokenizer that knows fewer tokens than the model has rows
    masks = [mask_of(3, 31, 149), few, None, mask_of(5), mask_of(5, 6), mask_of()]
    without = [None, None, None, 5, 5, None]
    logits = np.zeros((6, SIZE), np.float32)
    logits[:, 149], logits[:, 31], logits[:, 5] = 3, 2, 1
    choices = [TokenChoice(Sampling(), 0, mask, token) for mask, token in zip(masks, without, strict=True)]
    assert choose(torch.from_numpy(logits), choices).tolist() == [149, 31, 149, 5, 6, NONE]
    drawn = [
        TokenChoice(Sampling(temperature=1.0), 0.5, mask, token) for mask, token in zip(masks, without, strict=True)
    ]
    assert choose(torch.from_numpy(logits), drawn).tolist()[3:] == [5, 6, NONE]


def test_of_several_the_first_is_likeliest_and_what_is_no_number_is_none() -> None:
    logits = torch.zeros(4, 9)
    logits[0, [4, 7]] = 2.0
    logits[1, 3] = float("nan")
    logits[2] = float("-inf")
    assert likeliest(logits).tolist() == [4, NONE, NONE, 0]
    sampled = [TokenChoice(Sampling(temperature=1.0), 0.0)] * 4
    assert choose(logits, sampled).tolist() == [0, NONE, NONE, 0]
