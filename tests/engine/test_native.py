"""The kernels beside PyTorch computing the same tiles, and beside themselves: nothing changes a bit of an answer."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import torch

from awsllm.engine import formats, model, tiles, weights
from awsllm.engine.errors import ModelError
from awsllm.engine.interface import Chunk, Floats
from awsllm.engine.native import files, library, loading, packing, processors
from awsllm.engine.native.decoder import KernelDecoder
from awsllm.engine.quant import Stored
from awsllm.engine.tiles import Tiled, rounded
from awsllm.store import Store
from tests.engine.test_gguf import stored
from tests.support import random_models
from tests.support.random_models import TOKENS

pytestmark = pytest.mark.skipif(library.kernels() is None, reason="no kernel for this processor, or no compiler")

ROUGH = 0.04  # of the logits' spread: a float16 cache, and 8-bit activations that round the other way


def kernels() -> library.Kernels:
    found = library.kernels()
    assert found is not None
    return found


def decoder(path: Path, threads: int = 1, kernel: library.Kernels | None = None) -> KernelDecoder:
    config, tensors = model.configure(weights.read(path))
    return KernelDecoder(packing.packed(config, tensors), kernel or kernels(), threads=threads)


def every_logit(computed: KernelDecoder, tokens: list[int]) -> Floats:
    return computed.forward([Chunk(tokens, computed.new_cache(len(tokens)))], every_token=True).copy()


def one_by_one(computed: KernelDecoder, tokens: list[int]) -> Floats:
    cache = computed.new_cache(len(tokens))
    return np.concatenate([computed.forward([Chunk([token], cache)]).copy() for token in tokens])


@pytest.mark.parametrize("name", random_models.VARIANTS)
def test_an_architecture_is_computed_as_pytorch_computes_its_tiles(name: str, tmp_path: Path) -> None:
    random_models.write(name, tmp_path)
    tiled = model.load(tmp_path, precision="tiled")
    expected = tiled.forward([Chunk(TOKENS, tiled.new_cache(len(TOKENS)))], every_token=True).numpy()
    computed = decoder(tmp_path)
    together = every_logit(computed, TOKENS)
    rows = np.abs(together - expected).mean(1)
    # a router that was of two minds chooses another expert for a little rounding: such rows differ altogether
    typical = rows.mean() if computed.config.experts is None else np.median(rows)
    assert typical < ROUGH * expected.std()
    np.testing.assert_array_equal(one_by_one(computed, TOKENS), together)


@pytest.fixture(scope="module")
def smol() -> Iterator[KernelDecoder]:
    loaded = decoder(Store().path("smollm2-135m-instruct"), threads=2)
    yield loaded
    loaded.close()


def test_neighbours_change_no_bit(smol: KernelDecoder) -> None:
    """Nor does how a prompt is cut: any rows in any company are what they are alone."""
    neighbours_change_no_bit(smol)


def neighbours_change_no_bit(computed: KernelDecoder) -> None:
    rng = np.random.default_rng(0)
    prompts = [rng.integers(3, computed.config.vocab_size, size).tolist() for size in (1, 7, 16, 33, 70)]
    alone = [every_logit(computed, prompt) for prompt in prompts]
    caches = [computed.new_cache(len(prompt)) for prompt in prompts]
    while any(cache.length < cache.capacity for cache in caches):
        chunks, places = [], []
        for number, (prompt, cache) in enumerate(zip(prompts, caches, strict=True)):
            if cache.length < cache.capacity and rng.random() < 0.7:
                step = prompt[cache.length : cache.length + int(rng.integers(1, 20))]
                chunks.append(Chunk(step, cache))
                places.append((number, cache.length + len(step) - 1))
        if chunks:
            for (number, place), row in zip(places, computed.forward(chunks), strict=True):
                np.testing.assert_array_equal(row, alone[number][place])


def test_threads_change_no_bit(smol: KernelDecoder) -> None:
    threads_change_no_bit(smol, list(range(100, 140)))


def threads_change_no_bit(computed: KernelDecoder, prompt: list[int]) -> None:
    packed = packing.Packed(computed.config, computed._model.arrays)
    many, one = (KernelDecoder(packed, kernels(), threads=count) for count in (5, 1))
    np.testing.assert_array_equal(every_logit(many, prompt), every_logit(one, prompt))
    np.testing.assert_array_equal(one_by_one(many, prompt[:5]), every_logit(one, prompt[:5]))
    many.close()


@pytest.mark.parametrize("name", ["gemma2", "qwen3-moe-norm"])
def test_all_kernels_of_a_machine_give_the_same(name: str, tmp_path: Path) -> None:
    random_models.write(name, tmp_path)
    built, names, _ = library.built()
    assert built is not None
    found = [
        every_logit(decoder(tmp_path, kernel=library.Kernels(built, kernel, number)), TOKENS)
        for number, kernel in names
    ]
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])
    assert kernels().name == names[0][1]


@pytest.mark.parametrize("name", ["qwen3-moe-norm", "gpt-oss"])
def test_nor_do_they_in_a_mixture(name: str, tmp_path: Path) -> None:
    """Rows that want the same expert stand together there, whoever they are."""
    random_models.write(name, tmp_path)
    computed = decoder(tmp_path, threads=2)
    neighbours_change_no_bit(computed)
    threads_change_no_bit(computed, TOKENS)
    computed.close()


def test_a_thread_that_comes_late_finds_no_other_layers_experts(tmp_path: Path) -> None:
    """More threads than cores, so that some are late: what they must not look at is then another layer's."""
    random_models.write("qwen3-moe-norm", tmp_path)
    one = decoder(tmp_path)
    expected = every_logit(one, TOKENS)
    many = KernelDecoder(packing.Packed(one.config, one._model.arrays), kernels(), threads=8)
    for _ in range(40):
        cache = many.new_cache(len(TOKENS))
        for start in range(0, len(TOKENS), 4):
            rows = many.forward([Chunk(TOKENS[start : start + 4], cache)], every_token=True)
            np.testing.assert_array_equal(rows, expected[start : start + 4])
    many.close()


def test_a_router_that_knows_no_number_breaks_nothing(tmp_path: Path) -> None:
    """Each row still has as many experts as it shall, none of them twice."""
    random_models.write("mixtral", tmp_path)
    config, tensors = model.configure(weights.read(tmp_path))
    arrays = packing.packed(config, tensors).arrays
    alone = KernelDecoder(packing.Packed(config, arrays), kernels(), threads=1)
    expected = every_logit(alone, TOKENS)
    for bad in (0.0, np.inf, -np.inf, np.nan):
        changed = arrays | {"2.router.weight": np.full_like(arrays["2.router.weight"], bad)}
        odd = every_logit(KernelDecoder(packing.Packed(config, changed), kernels(), threads=1), TOKENS)
        assert odd.shape == expected.shape
        assert bool(np.isfinite(odd).all()) == (bad == 0)
    np.testing.assert_array_equal(every_logit(alone, TOKENS), expected)


def test_a_copied_prefix_and_one_taken_back(smol: KernelDecoder) -> None:
    tokens = list(range(200, 260))
    expected = every_logit(smol, tokens)
    whole, copy = smol.new_cache(64), smol.new_cache(80)
    smol.forward([Chunk(tokens[:50], whole)])
    copy.copy_prefix(whole, 37)
    np.testing.assert_array_equal(smol.forward([Chunk(tokens[37:], copy)])[0], expected[-1])
    copy.length = 40  # tokens that were guessed wrong are forgotten
    np.testing.assert_array_equal(smol.forward([Chunk(tokens[40:55], copy, wanted=3)]), expected[52:55])
    with pytest.raises(ValueError, match="65 tokens do not fit in a cache of 64"):
        smol.forward([Chunk(tokens[:15], whole)])


def test_vectors_stand_in_the_place_of_tokens(tmp_path: Path) -> None:
    """Also of those of a model that scales its embeddings: vectors come as they shall be."""
    random_models.write("gemma3", tmp_path)
    computed, tiled = decoder(tmp_path), model.load(tmp_path, precision="tiled")
    row = tiled.embedding.rows(torch.tensor([9]))[0] * tiled.config.embedding_scale
    rows = {1: row.numpy()}
    given = computed.forward([Chunk([3, 77, 5], computed.new_cache(3), vectors=rows)]).copy()
    np.testing.assert_array_equal(given, computed.forward([Chunk([3, 9, 5], computed.new_cache(3))]))


@pytest.mark.parametrize(("number", "bits", "error"), [(2, 4, 1e-6), (3, 4, 1e-6), (12, 4, 1e-3), (8, 8, 1e-6)])
def test_tiles_hold_what_was_stored(number: int, bits: int, error: float) -> None:
    """Q4_K's scales are products, of which float16 holds eleven bits."""
    part = stored(formats.TYPES[number], 48, 256)
    tiled, expected = Tiled([part]), part.float()
    largest = expected.view(48, -1, 32).abs().amax(-1).repeat_interleave(32, 1)
    assert bool(((tiled.weight() - expected).abs() <= largest * error).all())
    assert tiled.bits == bits


@pytest.mark.parametrize(("number", "bits"), [(12, 4), (1, 8)])
def test_slices_are_converted_by_several_threads(number: int, bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [stored(formats.TYPES[number], rows, 256) for rows in (160, 80)]
    whole = Tiled(parts)
    monkeypatch.setattr(tiles, "_SLICE", 1)
    monkeypatch.setattr(tiles, "usable", lambda: 3)
    assert torch.equal(Tiled(parts).data, whole.data)
    assert whole.bits == bits


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_weights_that_are_no_numbers_are_refused(value: float) -> None:
    matrix = torch.zeros(16, 32)
    matrix[3, 5] = value
    with pytest.raises(ModelError, match="weights that are not numbers"):
        Tiled([Stored((16, 32), formats.F32, matrix.view(torch.uint8))])


def test_rows_are_padded_to_whole_tiles() -> None:
    matrix = torch.randn(21, 64)
    part = Stored((21, 64), formats.F32, matrix.view(torch.uint8))
    tiled = Tiled([part])
    assert tiled.data.shape == (2, 2, 576)
    torch.testing.assert_close(tiled(torch.ones(1, 64)), matrix.sum(1)[None], atol=0.3, rtol=0)
    torch.testing.assert_close(rounded(torch.zeros(1, 32)), torch.zeros(1, 32))


# --- what is kept ----------------------------------------------------------------------------------------------------


def candidate(path: Path) -> loading.Candidate:
    found = loading.candidate(path, path / "model.packed")
    assert found is not None
    return found


@pytest.mark.parametrize("name", ["qwen2-windows", "gpt-oss"])
def test_what_was_packed_is_found_again(name: str, tmp_path: Path) -> None:
    random_models.write(name, tmp_path)
    assert candidate(tmp_path).kept() is None
    made = candidate(tmp_path).pack(weights.read(tmp_path))
    found = candidate(tmp_path).kept()
    assert made is not None
    assert found is not None
    assert found.config == made.config
    np.testing.assert_array_equal(every_logit(found, TOKENS), every_logit(made, TOKENS))


def test_weights_are_packed_a_layer_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What was written is given up before the next is made, and the log says how far it is."""
    random_models.write("mixtral", tmp_path)
    monkeypatch.setattr(loading, "_PATIENCE", 0.0)
    held: list[packing.Arrays] = []
    append = files._append

    def watched(file: BinaryIO, part: packing.Arrays, start: int) -> Iterator[tuple[str, list[Any]]]:
        assert not any(held)
        held.append(part)
        return append(file, part, start)

    monkeypatch.setattr(files, "_append", watched)
    with caplog.at_level("INFO", "awsllm.local"):
        made = candidate(tmp_path).pack(weights.read(tmp_path))
    assert made is not None
    assert len(held) == made.config.layers + 2
    assert [record.message.rpartition(" in ")[0] for record in caplog.records] == [
        f"weights are packed for this processor: {n} of 5 parts" for n in range(1, 5)
    ]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_what_was_not_written_whole_is_not_there(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk is no reason not to compute; whoever interrupts gets what he asked for."""
    random_models.write("llama-tied", tmp_path)
    append, before = files._append, sorted(tmp_path.iterdir())
    expected = every_logit(decoder(tmp_path), TOKENS)

    def failing(file: BinaryIO, part: packing.Arrays, start: int) -> Iterator[tuple[str, list[Any]]]:
        if any(name.startswith("1.") for name in part):
            raise error
        return append(file, part, start)

    monkeypatch.setattr(files, "_append", failing)
    if isinstance(error, OSError):
        made = candidate(tmp_path).pack(weights.read(tmp_path))
        assert made is not None
        np.testing.assert_array_equal(every_logit(made, TOKENS), expected)
    else:
        with pytest.raises(KeyboardInterrupt):
            candidate(tmp_path).pack(weights.read(tmp_path))
    assert sorted(tmp_path.iterdir()) == before


def test_what_does_not_fit_in_groups_is_left_to_pytorch(tmp_path: Path) -> None:
    random_models.write("qwen3-moe", tmp_path)
    config, _ = model.configure(weights.read(tmp_path))
    assert packing.unfit(config) is None
    assert config.experts is not None
    odd = dataclasses.replace(config, experts=dataclasses.replace(config.experts, size=48))
    assert packing.unfit(odd) == "the size of an MLP 48 is no multiple of 32"


def test_a_start_from_what_is_kept_needs_no_pytorch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random_models.write("smollm3", tmp_path)
    candidate(tmp_path).pack(weights.read(tmp_path))
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in [name for name in sys.modules if name.startswith("awsllm.engine.")]:
        monkeypatch.delitem(sys.modules, name)
    fresh = importlib.import_module("awsllm.engine.native.loading")
    assert fresh.candidate(tmp_path, tmp_path / "model.packed").kept() is not None


def test_how_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3,2")
    assert processors.usable() == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert 1 <= processors.usable() <= processors.MOST
