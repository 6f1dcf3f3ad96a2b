"""What a training takes is told before it is begun, near to what autograd then keeps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from awsllm.engine.train import decoder, lora, memory
from awsllm.engine.train.lora import Lora
from awsllm.engine.train.recipe import TrainingRecipe
from awsllm.engine.train.run import train
from awsllm.engine.train.sample_files import write_samples
from awsllm.engine.train.samples import Batching, Sample
from tests.support import random_models

RECIPE = TrainingRecipe(samples="x", base="x", lora=Lora(rank=4), batching=Batching(rows=8, length=64))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    random_models.write("llama", path)
    return path


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("checkpointed", [False, True])
def test_activations_are_about_what_autograd_keeps(base: Path, method: str, checkpointed: bool) -> None:
    model = decoder.load(base, checkpointed=checkpointed)
    if method == "lora":
        lora.add(model, Lora(rank=4))
    tokens = torch.zeros(8, 64, dtype=torch.int64)
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        x = model.train()(decoder.Batch(tokens, tokens, torch.arange(64).expand(8, 64)))
    held = sum(size for place, size in kept.items() if place not in {p.data_ptr() for p in model.parameters()})
    recipe = replace(RECIPE, method="lora" if method == "lora" else "full", checkpointed=checkpointed)
    logits = 4 * 4 * min(512, decoder.ROWS) * model.config.vocab_size
    expected = memory.estimate(model.config, recipe, 512).activations - logits
    if checkpointed:  # a block is computed again, which is not seen here
        assert held < expected < memory.estimate(model.config, replace(recipe, checkpointed=False), 512).activations
    else:
        assert held / 1.5 < expected < held * 1.5
    assert x.requires_grad


def test_weights_gradients_and_moments_are_known(base: Path) -> None:
    config = decoder.load(base).config
    adapted, whole = memory.estimate(config, RECIPE, 1), memory.estimate(config, replace(RECIPE, method="full"), 1)
    count = sum(each.numel() for each in decoder.load(base).parameters())
    assert (whole.parameters, whole.gradients, whole.moments) == (4 * count, 4 * count, 8 * count)
    assert adapted.gradients < whole.gradients / 4
    assert adapted.parameters - whole.parameters == adapted.gradients


def test_too_little_is_told_with_what_would_help(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(memory, "free_memory", lambda device: 5_000_000)
    write_samples(tmp_path / "samples.jsonl", [Sample([n % 100] * 64, [True] * 64) for n in range(8)])
    recipe = replace(RECIPE, samples=str(tmp_path / "samples.jsonl"), base=str(base), method="full")
    with pytest.raises(ValueError, match=r"takes about [\d.]+ MB") as refused:
        train(tmp_path / "run", recipe)
    for told in ("for weights", "512 tokens at once", "5.0 MB is free", "checkpointed", "rows at once", "lora"):
        assert told in str(refused.value)


def test_what_is_free_is_known_here() -> None:
    free = memory.free_memory("cpu")
    assert free is None or free > 1_000_000
