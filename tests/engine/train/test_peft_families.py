"""Adapters of families whose projections transformers fuses, or whose experts it stacks: peft's are read, ours are
read by peft, and both learn the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from awsllm.engine import model
from awsllm.engine.interface import Chunk
from awsllm.engine.train import decoder, lora
from awsllm.engine.train.decoder import Batch
from awsllm.engine.train.lora import Lora
from tests.engine.train.test_against_peft import check_losses
from tests.support import random_gguf, random_models
from tests.support.random_models import TOKENS

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft's, of transformers
STACKS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
CONFIGS: dict[str, dict[str, Any]] = {
    "phi3": {"target_modules": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]},
    "gpt2": {"target_modules": ["c_attn", "c_proj", "c_fc"], "fan_in_fan_out": True},
    "mixtral": {"target_modules": ["q_proj", "v_proj"], "target_parameters": STACKS},
    "qwen3-moe": {"target_modules": ["q_proj"], "target_parameters": STACKS[::-1]},
    "gpt-oss": {"target_modules": ["q_proj", "o_proj"], "target_parameters": STACKS},
}


def peft_adapter(name: str, folder: Path, **config: Any) -> torch.Tensor:
    """A base and an adapter by peft; the logits that it gives."""
    from peft import LoraConfig, get_peft_model

    net = random_models.make(name)
    net.save_pretrained(folder / "base")
    torch.manual_seed(2)
    wrapped = get_peft_model(net, LoraConfig(r=3, lora_alpha=6, task_type="CAUSAL_LM", **config)).eval()
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    wrapped.save_pretrained(str(folder / "adapter"))
    return random_models.logits(wrapped)


def computed(made: decoder.TrainableDecoder) -> torch.Tensor:
    tokens = torch.tensor([TOKENS])
    with torch.inference_mode():
        return made.eval().logits(made(Batch(tokens, tokens, torch.arange(len(TOKENS))[None]))[0])


@pytest.mark.parametrize("name", CONFIGS)
def test_an_adapter_of_peft_is_computed_merged_and_written_again(name: str, tmp_path: Path) -> None:
    expected = peft_adapter(name, tmp_path, **CONFIGS[name])
    made = decoder.load(tmp_path / "base")
    read = lora.load(tmp_path / "adapter", made)
    torch.testing.assert_close(computed(made), expected, rtol=2e-3, atol=2e-3)

    lora.merge_files(tmp_path / "base", tmp_path / "adapter", tmp_path / "merged")
    whole = model.load(tmp_path / "merged", precision="float32")
    merged = whole.forward([Chunk(TOKENS, whole.new_cache(64))], every_token=True)
    torch.testing.assert_close(merged, expected, rtol=5e-3, atol=5e-3)

    lora.save(tmp_path / "again", made, read, base="x")
    first, second = (load_file(tmp_path / folder / lora.WEIGHTS) for folder in ("adapter", "again"))
    stacked = [key for key in first if ".experts." in key]  # which of two stands outside is the writer's choice
    for key in first.keys() - stacked:
        assert torch.equal(first[key], second[key])
    assert sorted(first[key].shape for key in stacked) == sorted(second[key].shape for key in stacked)


@pytest.mark.parametrize("name", CONFIGS)
def test_losses_are_those_of_peft(name: str, tmp_path: Path) -> None:
    check_losses(name, tmp_path)


@pytest.mark.parametrize("name", ["phi3", "gpt2", "mixtral", "gpt-oss"])
def test_adapters_are_merged_into_gguf(name: str, tmp_path: Path) -> None:
    peft_adapter(name, tmp_path, **CONFIGS[name])
    random_gguf.write(name, tmp_path / "base.gguf")
    lora.merge_files(tmp_path / "base", tmp_path / "adapter", tmp_path / "merged")
    lora.merge_files(tmp_path / "base.gguf", tmp_path / "adapter", tmp_path / "merged.gguf")
    expected = dict(decoder.load(tmp_path / "merged").named_parameters())
    for key, value in decoder.load(tmp_path / "merged.gguf").named_parameters():
        torch.testing.assert_close(value, expected[key], rtol=2e-2, atol=2e-2)


def test_experts_one_by_one_are_merged_and_not_trained_on(tmp_path: Path) -> None:
    """As peft wrote them where transformers had no stacks yet (before 5)."""
    peft_adapter("mixtral", tmp_path, target_modules=["q_proj"])
    tensors = load_file(tmp_path / "adapter" / lora.WEIGHTS)
    torch.manual_seed(0)
    path = "base_model.model.model.layers.1.block_sparse_moe.experts.2.w2"
    tensors |= {f"{path}.lora_A.weight": torch.randn(3, 96), f"{path}.lora_B.weight": torch.randn(64, 3)}
    save_file(tensors, tmp_path / "adapter" / lora.WEIGHTS)
    lora.merge_files(tmp_path / "base", tmp_path / "adapter", tmp_path / "merged")
    before, after = decoder.load(tmp_path / "base"), decoder.load(tmp_path / "merged")
    name = "model.layers.1.mlp.experts.2.down_proj.weight"
    change = 2 * tensors[f"{path}.lora_B.weight"] @ tensors[f"{path}.lora_A.weight"]
    torch.testing.assert_close(after.get_parameter(name), before.get_parameter(name) + change, rtol=2e-3, atol=2e-3)
    with pytest.raises(ValueError, match="merge it into its base"):
        lora.load(tmp_path / "adapter", before)


@pytest.mark.parametrize(
    ("name", "adapter", "message"),
    [
        ("phi3", Lora(targets=frozenset(("q_proj",))), "has k_proj, q_proj, v_proj in one, qkv_proj"),
        ("mixtral", Lora(targets=frozenset(("gate_proj",))), "has gate_proj, up_proj in one, gate_up_proj"),
        ("mixtral", Lora(dropout=0.1), "adapters of experts have no dropout"),
        ("gpt2", Lora(targets=frozenset(("x",))), r"no linear maps called x; there are attn\.c_attn, attn\.c_proj"),
    ],
)
def test_what_peft_cannot_hold_is_refused(name: str, adapter: Lora, message: str, tmp_path: Path) -> None:
    random_models.write(name, tmp_path)
    with pytest.raises(ValueError, match=message):
        lora.add(decoder.load(tmp_path), adapter)


def test_one_of_two_that_share_a_map_may_be_meant(tmp_path: Path) -> None:
    """GPT-2 has two ``c_proj``; Phi-3's three projections are one by any of their names."""
    random_models.write("gpt2", tmp_path / "gpt2")
    made = decoder.load(tmp_path / "gpt2")
    lora.add(made, Lora(targets=frozenset(("attn.c_proj",))))
    assert {name.rpartition(".")[2] for name, _ in lora.adapters(made)} == {"o_proj"}
    random_models.write("phi3", tmp_path / "phi3")
    made = decoder.load(tmp_path / "phi3")
    lora.add(made, Lora(targets=frozenset(("q_proj", "k_proj", "v_proj"))))
    assert len(list(lora.adapters(made))) == 3 * made.config.layers
    assert sum(".lora_A" in name for name, _ in made.named_parameters()) == made.config.layers
