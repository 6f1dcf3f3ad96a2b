"""Adapters beside the kernels' maps: each sequence is computed with its own, and no bit of it depends on the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from awsllm.engine import model, weights
from awsllm.engine.errors import ModelError
from awsllm.engine.generate import Sampling
from awsllm.engine.interface import Chunk, Floats
from awsllm.engine.narrow import NotBesideError
from awsllm.engine.native import library, packing
from awsllm.engine.native.beside import KernelAdapter
from awsllm.engine.native.decoder import KernelDecoder
from awsllm.engine.scheduler import Bounds, Scheduler
from awsllm.engine.train.lora import ATTENTION, Lora
from tests.engine.test_adapters import adapter
from tests.engine.test_adapters import alone as exact
from tests.support import random_models
from tests.support.random_models import TOKENS

pytestmark = pytest.mark.skipif(library.kernels() is None, reason="no kernel for this processor, or no compiler")

ROUGH = 1.5  # how much farther than the kernels on merged weights it may be from those computed in float32


def decoder(path: Path, threads: int = 2, kernel: library.Kernels | None = None) -> KernelDecoder:
    config, tensors = model.configure(weights.read(path))
    found = kernel or library.kernels()
    assert found is not None
    return KernelDecoder(packing.packed(config, tensors), found, threads=threads)


def logits(computed: KernelDecoder, tokens: list[int], own: KernelAdapter | None = None) -> Floats:
    return computed.forward([Chunk(tokens, computed.new_cache(64, own))], every_token=True).copy()


@pytest.mark.parametrize("name", ["llama-tied", "phi4-short", "gpt2", "gemma3"])
def test_each_sequence_is_computed_with_its_own(name: str, tmp_path: Path) -> None:
    base = tmp_path / "base"
    random_models.write(name, base)
    some = frozenset(("o_proj", "down_proj"))
    folders = [
        adapter(base, tmp_path / "one", 1, Lora(rank=4)),
        adapter(base, tmp_path / "two", 2, Lora(rank=3, alpha=5.0, targets=some)),
    ]
    computed = decoder(base)
    one, two = (KernelAdapter.read(folder, computed.config) for folder in folders)
    prompts = [(TOKENS[:9], one), (TOKENS[3:20], None), (TOKENS[:12], two), (TOKENS[:1], one)]
    alone = [logits(computed, *each) for each in prompts]
    for (tokens, own), found, folder in zip(prompts[:3], alone, (folders[0], None, folders[1]), strict=False):
        place = base if folder is None else folder / "merged"
        expected, merged = exact(place, tokens).numpy(), logits(decoder(place), tokens)
        assert np.abs(found - expected).mean() < ROUGH * np.abs(merged - expected).mean() < 0.2 * expected.std()
        assert own is None or np.abs(logits(computed, tokens) - expected).mean() > 0.2 * expected.std()
    chunks = [Chunk(tokens, computed.new_cache(64, own)) for tokens, own in prompts]
    together = np.split(computed.forward(chunks, every_token=True), np.cumsum([len(each[0]) for each in prompts])[:-1])
    for found, expected in zip(together, alone, strict=True):
        np.testing.assert_array_equal(found, expected)
    for (tokens, own), expected in zip(prompts, alone, strict=True):  # token by token, and by one thread
        slow = decoder(base, threads=1)
        cache = slow.new_cache(64, own)
        np.testing.assert_array_equal(
            np.concatenate([slow.forward([Chunk([t], cache)]).copy() for t in tokens]), expected
        )


def test_weights_of_any_size_are_right(tmp_path: Path) -> None:
    """What goes in is tiny and what comes out is huge, beyond what float16 holds."""
    random_models.write("llama-tied", tmp_path / "base")
    computed = decoder(tmp_path / "base")
    config, generator = computed.config, np.random.default_rng(1)
    going_in = generator.standard_normal((3, config.hidden_size)).astype(np.float32)
    coming_out = 0.1 * generator.standard_normal((config.hidden_size, 3)).astype(np.float32)
    plain, scaled = (
        KernelAdapter(
            config,
            [{"qkv": ((32, None),), "output": ((config.hidden_size, (going_in * by, coming_out / by)),)}]
            * config.layers,
        )
        for by in (np.float32(1), np.float32(2.0**-30))
    )
    np.testing.assert_array_equal(logits(computed, TOKENS, scaled), logits(computed, TOKENS, plain))
    assert not np.allclose(logits(computed, TOKENS, plain), logits(computed, TOKENS))


def test_experts_are_not_beside_others_and_their_attention_is(tmp_path: Path) -> None:
    base = tmp_path / "base"
    random_models.write("mixtral", base)
    computed = decoder(base)
    with pytest.raises(NotBesideError, match="merge it"):
        KernelAdapter.read(adapter(base, tmp_path / "one", 1, Lora(rank=2)), computed.config)
    folder = adapter(base, tmp_path / "two", 1, Lora(rank=2, targets=ATTENTION))
    found = logits(computed, TOKENS, KernelAdapter.read(folder, computed.config))
    expected = exact(folder / "merged", TOKENS).numpy()  # a router of two minds chooses another for a little rounding
    assert np.median(np.abs(found - expected).mean(1)) < 0.1 * expected.std()
    assert np.median(np.abs(logits(computed, TOKENS) - expected).mean(1)) > 0.2 * expected.std()


def test_an_adapter_of_another_model_is_refused(tmp_path: Path) -> None:
    for name in ("llama-tied", "gpt2"):
        random_models.write(name, tmp_path / name)
    made = adapter(tmp_path / "gpt2", tmp_path / "one", 1, Lora(rank=2))
    own = KernelAdapter.read(made, decoder(tmp_path / "gpt2").config)
    with pytest.raises(ModelError, match="not one of this model"):
        decoder(tmp_path / "llama-tied").new_cache(64, own)


def test_a_scheduler_shares_prompts_within_an_adapter_alone(tmp_path: Path) -> None:
    base = tmp_path / "base"
    random_models.write("llama-tied", base)
    folders = [adapter(base, tmp_path / name, seed, Lora(rank=4)) for seed, name in enumerate(("one", "two"))]
    computed = decoder(base)
    known = [None, *(KernelAdapter.read(folder, computed.config) for folder in folders)]
    torch.manual_seed(3)
    prompt = torch.randint(0, computed.config.vocab_size, (70,)).tolist()
    scheduler = Scheduler(computed, Bounds())
    expected = []
    for own in known:
        cache = computed.new_cache(128, own)
        tokens = [int(computed.forward([Chunk(prompt, cache)])[0].argmax())]
        while len(tokens) < 12:
            tokens.append(int(computed.forward([Chunk(tokens[-1:], cache)])[0].argmax()))
        expected.append(tokens)
    assert len({tuple(tokens) for tokens in expected}) == 3
    for shared in (0, 64):
        begun = [scheduler.submit(prompt, Sampling(max_tokens=12, adapter=own)) for own in known]
        assert [list(each) for each in begun] == expected
        assert [each.cached_tokens for each in begun] == [shared] * 3
    scheduler.close()
