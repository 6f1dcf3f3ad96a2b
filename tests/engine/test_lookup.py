"""Guesses are computed by the kernels as single tokens are, bit by bit, and forgotten where they were wrong."""

from __future__ import annotations

import numpy as np
import pytest

from awsllm.engine.generate import Sampling
from awsllm.engine.interface import Chunk
from awsllm.engine.model import configure
from awsllm.engine.native import library, packing
from awsllm.engine.native.decoder import KernelDecoder
from awsllm.engine.scheduler import Bounds, Scheduler
from tests.engine.test_scheduler import LONG, VOCABULARY, tiny_checkpoint

pytestmark = pytest.mark.skipif(library.kernels() is None, reason="the kernels are not built here")


@pytest.fixture(scope="module")
def model() -> KernelDecoder:
    kernels = library.kernels()
    assert kernels is not None
    config, tensors = configure(tiny_checkpoint())
    return KernelDecoder(packing.packed(config, tensors), kernels)


def test_rows_of_guesses_are_those_of_single_tokens(model: KernelDecoder) -> None:
    one, several = model.new_cache(200), model.new_cache(200)
    for cache in (one, several):
        model.forward([Chunk(LONG[:64], cache)])
    tokens = [3, 50, 7, 90]
    singles = np.concatenate([model.forward([Chunk([token], one)]).copy() for token in tokens])
    together = model.forward([Chunk([3, 50, 1, 2], several, None, 4)])
    assert np.array_equal(together[:2], singles[:2])
    several.length -= 2  # the last two were guessed wrong
    assert np.array_equal(model.forward([Chunk([7, 90], several, None, 2)]), singles[2:])
    assert model.cache_bytes(200) == one.keys.nbytes + one.values.nbytes


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_an_answer_is_the_same_with_guesses(model: KernelDecoder, temperature: float) -> None:
    answers = []
    for drafts in (0, model.drafts):
        model.drafts = drafts  # type: ignore[misc]
        scheduler = Scheduler(model, Bounds(max_sequences=3))
        sampling = [Sampling(temperature=temperature, seed=n, max_tokens=80) for n in range(3)]
        prompts = [[*LONG[: 30 * n + 5], n, 5, 6, 7, n, 5, 6] for n in range(3)]
        generations = [scheduler.submit(*each) for each in zip(prompts, sampling, strict=True)]
        answers.append([list(generation) for generation in generations])
        scheduler.close()
    assert answers[0] == answers[1]
    assert max(map(max, answers[0])) < VOCABULARY
