"""GGUF files of architectures that the engine does not compute, by llama.cpp, where llama-cpp-python is installed."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest
import torch

from awsllm.engine.errors import ModelError
from awsllm.engine.interface import Chunk
from tests.support import random_foreign
from tests.support.random_foreign import TOKENS

llamacpp = pytest.importorskip("awsllm.engine.llamacpp", exc_type=ModuleNotFoundError)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, torch.Tensor]:
    path = tmp_path_factory.mktemp("gguf") / "stablelm.gguf"
    return path, random_foreign.write_gguf(path)


def test_logits_equal_transformers_cached_and_beside_others(written: tuple[Path, torch.Tensor]) -> None:
    """As nearly as a cache in half precision lets them; what is beside it changes not a bit."""
    path, logits = written
    model = llamacpp.load(path)
    tokens = [token % logits.shape[1] for token in TOKENS]
    alone, first, second = (model.new_cache(64) for _ in range(3))
    expected = [model.forward([Chunk(tokens[:20], alone)])[0]]
    expected += [model.forward([Chunk([token], alone)])[0] for token in tokens[20:]]
    np.testing.assert_allclose(np.stack(expected), logits[19:], atol=1e-2)
    rows = [model.forward([Chunk(tokens[:20], first)])[0]]
    rows += [model.forward([Chunk([token], first), Chunk([n], second)])[0] for n, token in enumerate(tokens[20:])]
    np.testing.assert_array_equal(np.stack(rows), expected)
    assert (model.config.vocab_size, model.config.context, first.length) == (259, 512, len(tokens))


def test_a_long_prompt_is_given_in_parts(written: tuple[Path, torch.Tensor]) -> None:
    path, _ = written
    model = llamacpp.load(path)
    prompt = [n % 250 for n in range(400)]
    whole, apart = model.new_cache(512), model.new_cache(512)
    got = model.forward([Chunk(prompt, whole)])
    model.forward([Chunk(prompt[:256], apart)])
    np.testing.assert_array_equal(got, model.forward([Chunk(prompt[256:], apart)]))
    assert whole.nbytes <= model.cache_bytes(512)
    assert model.cache_bytes(512) - model.cache_bytes(511) == 2 * 2 * 2 * 8 * 2  # layers, keys and values, heads, …
    with pytest.raises(ValueError, match="600 tokens do not fit in a cache of 512"):
        model.forward([Chunk(prompt[:200], whole)])


def test_a_cache_outlives_who_made_it(written: tuple[Path, torch.Tensor]) -> None:
    model = llamacpp.load(written[0])
    cache = model.new_cache(16)
    model.forward([Chunk([1, 2], cache)])
    del model
    gc.collect()
    assert cache.nbytes > 0


def test_what_llama_cpp_does_not_load_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelError, match=r"llama\.cpp cannot load the file"):
        llamacpp.load(tmp_path / "x.gguf")
    assert capfd.readouterr().err == ""
