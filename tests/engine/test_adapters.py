"""Adapters beside one base, in one batch: each sequence's logits are those of its adapter merged."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from awsllm.engine import model
from awsllm.engine.adapters import AdaptedModel
from awsllm.engine.interface import Chunk
from awsllm.engine.train import decoder, lora
from awsllm.engine.train.lora import ATTENTION, Lora
from tests.support import random_models
from tests.support.random_models import TOKENS


def adapter(base: Path, folder: Path, seed: int, made: Lora) -> Path:
    wanted = decoder.load(base)
    lora.add(wanted, made)
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in wanted.named_parameters():
            if ".lora_" in name:
                parameter.copy_(0.2 * torch.randn_like(parameter))
    lora.save(folder, wanted, made, base=str(base))
    lora.merge_files(base, folder, folder / "merged")
    return folder


def alone(folder: Path, tokens: list[int]) -> torch.Tensor:
    made = model.load(folder, precision="float32")
    return made.forward([Chunk(tokens, made.new_cache(64))], every_token=True)


@pytest.mark.parametrize("name", ["llama-tied", "phi3", "phi4-short", "gpt2", "gemma3", "granite"])
def test_each_sequence_has_its_own(name: str, tmp_path: Path) -> None:
    base = tmp_path / "base"
    random_models.write(name, base)
    folders = {
        "one": adapter(base, tmp_path / "one", 1, Lora(rank=4)),
        "two": adapter(base, tmp_path / "two", 2, Lora(rank=3, alpha=5.0, targets=frozenset(("o_proj", "down_proj")))),
    }
    adapted = AdaptedModel(model.load(base, precision="float32"), folders)
    prompts = {"one": TOKENS[:9], "": TOKENS[3:20], "two": TOKENS[:12]}
    caches = {each: adapted.new_cache(64, each) for each in prompts}
    logits = adapted.compute([Chunk(prompts[each], caches[each]) for each in prompts], every_token=True)
    places = {"": base, "one": folders["one"] / "merged", "two": folders["two"] / "merged"}
    parts = logits.split([len(tokens) for tokens in prompts.values()])
    for each, found in zip(prompts, parts, strict=True):
        torch.testing.assert_close(found, alone(places[each], prompts[each]), rtol=5e-3, atol=5e-3)
    after = adapted.forward([Chunk([5], caches[each]) for each in prompts])  # and on from their caches
    for row, each in enumerate(prompts):
        expected = alone(places[each], [*prompts[each], 5])[-1]
        torch.testing.assert_close(torch.from_numpy(after[row]), expected, rtol=5e-3, atol=5e-3)


def test_what_is_not_computed_beside_others_is_refused(tmp_path: Path) -> None:
    random_models.write("mixtral", tmp_path / "base")
    made = adapter(tmp_path / "base", tmp_path / "one", 1, Lora(rank=2))
    with pytest.raises(ValueError, match="merge it"):
        AdaptedModel(model.load(tmp_path / "base"), {"one": made})
    attention = adapter(tmp_path / "base", tmp_path / "two", 1, Lora(rank=2, targets=ATTENTION))
    adapted = AdaptedModel(model.load(tmp_path / "base"), {"two": attention})
    with pytest.raises(ValueError, match="no adapter 'three'; there are two"):
        adapted.new_cache(8, "three")
