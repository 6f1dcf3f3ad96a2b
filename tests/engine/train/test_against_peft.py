"""The same model, data and seed by peft and PyTorch's own optimizer: the same losses, step by step."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from awsllm.engine.train import decoder, lora
from awsllm.engine.train.lora import Lora
from awsllm.engine.train.objectives import TextObjective
from awsllm.engine.train.run import Hyperparameters, Trainer, TrainingStep
from awsllm.engine.train.samples import Batching, Sample, batches
from tests.support import random_models

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft's, of transformers
STEPS = 12
SAMPLES = [Sample([3 + n, 50 + n, 60 + n, 70 + n, 2], [False, False, True, True, True]) for n in range(8)]
BATCHING = Batching(rows=4, length=8, packed=False)
OPTIONS = Hyperparameters(steps=STEPS, learning_rate=5e-3, schedule="constant", weight_decay=0.01, clip=1.0)


def ours(base: Path, adapter: Path, folder: Path) -> list[float]:
    model = decoder.load(base)
    lora.load(adapter, model)
    steps: list[TrainingStep] = []
    Trainer(model, OPTIONS, folder).train(TextObjective(SAMPLES, BATCHING), steps.append)
    return [step.loss for step in steps]


def theirs(base: Path, adapter: Path) -> list[float]:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    net = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="eager")
    model = PeftModel.from_pretrained(net, adapter, is_trainable=True).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):  # of the base, which GPT-2 has
            module.p = 0.0
    parameters = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=5e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.01)
    losses = []
    order = [rows for epoch in range(STEPS) for rows in batches(SAMPLES, BATCHING, 0, epoch)]
    for rows in order[:STEPS]:
        chosen = [SAMPLES[number] for [number] in rows]
        tokens = torch.tensor([list(sample.tokens) for sample in chosen])
        labels = torch.where(torch.tensor([list(sample.trained) for sample in chosen]), tokens, -100)
        loss = model(input_ids=tokens, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def check_losses(name: str, tmp_path: Path) -> None:
    """Ours are theirs, and they fall."""
    random_models.write(name, tmp_path / "base")
    torch.manual_seed(1)
    model, adapter = decoder.load(tmp_path / "base"), Lora(rank=4, alpha=8.0)
    lora.add(model, adapter)
    lora.save(tmp_path / "adapter", model, adapter, base=str(tmp_path / "base"))
    expected = theirs(tmp_path / "base", tmp_path / "adapter")
    found = ours(tmp_path / "base", tmp_path / "adapter", tmp_path / "run")
    assert found == pytest.approx(expected, rel=2e-3)
    assert found[-1] < found[0]


@pytest.mark.parametrize("name", ["llama-tied", "qwen3", "gemma3", "smollm3", "granite", "olmo2"])
def test_losses_are_those_of_peft(name: str, tmp_path: Path) -> None:
    check_losses(name, tmp_path)


def test_an_adapter_of_peft_is_read(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    random_models.write("llama", tmp_path / "base")
    net = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32)
    config = LoraConfig(
        r=4, lora_alpha=16, target_modules=["q_proj", "down_proj"], use_rslora=True, task_type="CAUSAL_LM"
    )
    wrapped = get_peft_model(net, config).eval()
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    wrapped.save_pretrained(str(tmp_path / "adapter"))
    model = decoder.load(tmp_path / "base").eval()
    lora.load(tmp_path / "adapter", model)
    tokens = torch.tensor([random_models.TOKENS])
    with torch.inference_mode():
        expected = wrapped(input_ids=tokens).logits[0]
        found = model.logits(model(decoder.Batch(tokens, tokens, torch.arange(tokens.shape[1])[None]))[0])
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"peft_type": "IA3"}, "LORA is supported"),
        ({"use_dora": True}, "use_dora is not supported"),
        ({"bias": "all"}, "biases"),
        ({"r": 0}, "rank"),
        ({"target_modules": "all-linear"}, "no list of names"),
        ({"target_modules": ["x"]}, "no linear maps called x"),
    ],
)
def test_an_adapter_that_is_not_computed_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    random_models.write("llama", tmp_path / "base")
    model = decoder.load(tmp_path / "base")
    adapter = Lora(rank=4)
    lora.add(model, adapter)
    lora.save(tmp_path / "adapter", model, adapter, base="x")
    path = tmp_path / "adapter" / lora.CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        lora.load(tmp_path / "adapter", decoder.load(tmp_path / "base"))
