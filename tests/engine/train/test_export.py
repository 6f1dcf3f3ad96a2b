"""What was trained comes back from files, for this engine, transformers and the gguf package."""

from __future__ import annotations

import json
from pathlib import Path

import gguf as judge
import pytest
import torch

from awsllm.engine import described, model
from awsllm.engine.choice import open_model
from awsllm.engine.interface import Chunk
from awsllm.engine.train import decoder
from awsllm.engine.train.decoder import Batch
from awsllm.engine.train.export import export, write_gguf
from tests.support import random_gguf, random_models, tiny_gguf
from tests.support.random_models import TOKENS


def changed(made: decoder.TrainableDecoder) -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    return {name: each.detach() + 0.05 * torch.randn_like(each) for name, each in made.named_parameters()}


def logits(made: decoder.TrainableDecoder) -> torch.Tensor:
    tokens = torch.tensor([TOKENS])
    with torch.inference_mode():
        return made.logits(made(Batch(tokens, tokens, torch.arange(len(TOKENS))[None]))[0])


FAMILIES = [
    "llama-tied",
    "qwen3",
    "gemma3",
    "smollm3",
    "granite",
    "olmo2",
    "phi3",
    "gpt2",
    "mixtral",
    "qwen3-moe",
    "gpt-oss",
]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_folder_is_read_by_transformers_and_by_the_engine(name: str, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    random_models.write(name, tmp_path / "base")
    made = decoder.load(tmp_path / "base")
    made.load_state_dict(changed(made))
    written = export(tmp_path / "base", dict(made.named_parameters()), tmp_path / "new")
    expected = logits(made)
    theirs = AutoModelForCausalLM.from_pretrained(written, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.inference_mode():
        torch.testing.assert_close(theirs(torch.tensor([TOKENS])).logits[0], expected, rtol=2e-3, atol=2e-3)
    ours = model.load(written, precision="float32")
    computed = ours.forward([Chunk(TOKENS, ours.new_cache(64))], every_token=True)
    torch.testing.assert_close(computed, expected, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("name", ["phi3", "gpt2", "mixtral", "qwen3-moe", "gpt-oss", "granite"])
def test_gguf_of_any_family_has_what_changed(name: str, tmp_path: Path) -> None:
    random_gguf.write(name, tmp_path / "base.gguf")
    made = decoder.load(tmp_path / "base.gguf")
    made.load_state_dict(changed(made))
    again = decoder.load(export(tmp_path / "base.gguf", dict(made.named_parameters()), tmp_path / "new", kind="F32"))
    torch.testing.assert_close(logits(again), logits(made), rtol=2e-3, atol=2e-3)


def test_one_expert_that_changed_changes_nothing_else(tmp_path: Path) -> None:
    random_gguf.write("mixtral", tmp_path / "base.gguf")
    made = decoder.load(tmp_path / "base.gguf")
    name = "model.layers.1.mlp.experts.2.up_proj.weight"
    value = made.get_parameter(name).detach() + 0.5
    again = decoder.load(export(tmp_path / "base.gguf", {name: value}, tmp_path / "new", kind="F32"))
    for other, parameter in again.named_parameters():
        torch.testing.assert_close(parameter, value if other == name else made.get_parameter(other), rtol=0, atol=0)


def test_mxfp4_experts_of_a_folder_become_floats(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    random_models.write_mxfp4(tmp_path / "base")
    config = described.read_object(tmp_path / "base" / "config.json")
    (tmp_path / "base" / "config.json").write_text(
        json.dumps(config | {"quantization_config": {"quant_method": "mxfp4"}})
    )
    made = decoder.load(tmp_path / "base")
    made.load_state_dict(changed(made))
    written = export(tmp_path / "base", dict(made.named_parameters()), tmp_path / "new")
    assert "quantization_config" not in described.read_object(written / "config.json")
    theirs = AutoModelForCausalLM.from_pretrained(written, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.inference_mode():
        torch.testing.assert_close(theirs(torch.tensor([TOKENS])).logits[0], logits(made), rtol=2e-3, atol=2e-3)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tiny_gguf.write(tmp_path / "base.gguf", tiny_gguf.metadata(), says=5)


def test_gguf_keeps_what_did_not_change(base: Path, tmp_path: Path) -> None:
    made = decoder.load(base)
    values = dict(made.named_parameters())
    write_gguf(base, values, tmp_path / "same.gguf")
    old, new = judge.GGUFReader(base), judge.GGUFReader(tmp_path / "same.gguf")
    assert [tensor.name for tensor in new.tensors] == [tensor.name for tensor in old.tensors]
    for one, other in zip(old.tensors, new.tensors, strict=True):
        assert one.tensor_type == other.tensor_type
        assert bytes(one.data.tobytes()) == bytes(other.data.tobytes())
    assert {n: f.contents() for n, f in new.fields.items()} == {n: f.contents() for n, f in old.fields.items()}


@pytest.mark.parametrize(("kind", "near"), [("F32", 1e-6), ("F16", 2e-3), ("Q8_0", 2e-2)])
def test_gguf_has_what_changed(base: Path, tmp_path: Path, kind: str, near: float) -> None:
    made = decoder.load(base)
    values = changed(made)
    path = export(base, values, tmp_path / "new", kind=kind)
    again = decoder.load(path)
    for name, value in again.named_parameters():
        torch.testing.assert_close(value, values[name], rtol=near, atol=near)
    made.load_state_dict(values)
    theirs = {tensor.name: tensor for tensor in judge.GGUFReader(path).tensors}
    up = judge.quants.dequantize(theirs["blk.0.ffn_up.weight"].data, theirs["blk.0.ffn_up.weight"].tensor_type)
    torch.testing.assert_close(
        torch.from_numpy(up.copy()), values["model.layers.0.mlp.up_proj.weight"], rtol=near, atol=near
    )
    opened = open_model(path, "cpu").model
    assert opened.forward([Chunk([1, 2, 3], opened.new_cache(8))]).shape[0] == 1


def test_rows_of_turned_heads_keep_gguf_s_order(tmp_path: Path) -> None:
    base = tiny_gguf.write(tmp_path / "base.gguf", tiny_gguf.metadata(), says=5)
    made = decoder.load(base)
    values = changed(made)
    write_gguf(base, values, tmp_path / "new.gguf", kind="F32")
    theirs = {tensor.name: tensor for tensor in judge.GGUFReader(tmp_path / "new.gguf").tensors}
    heads, size = tiny_gguf.HEADS, tiny_gguf.HIDDEN // tiny_gguf.HEADS
    ours = values["model.layers.0.self_attn.q_proj.weight"].view(heads, 2, size // 2, -1)
    stored = torch.from_numpy(theirs["blk.0.attn_q.weight"].data.copy()).view(heads, size // 2, 2, -1)
    torch.testing.assert_close(stored.transpose(1, 2), ours)
