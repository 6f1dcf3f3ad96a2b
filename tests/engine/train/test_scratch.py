"""A model from nothing: it learns, is written, and is read by whoever reads models."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from awsllm.engine import model, text
from awsllm.engine.interface import Chunk
from awsllm.engine.train import scratch
from awsllm.engine.train.objectives import TextObjective
from awsllm.engine.train.run import Hyperparameters, Trainer, TrainingStep
from awsllm.engine.train.samples import Batching
from awsllm.engine.train.scratch import Size

TEXTS = ["The quick brown fox jumps over the lazy dog. " * 3, "A rolling stone gathers no moss, they say. " * 3] * 4


def test_it_learns_and_is_read_by_all(tmp_path: Path) -> None:
    tokenizer = scratch.new_tokenizer(TEXTS, 320)
    described = Size(hidden=64, layers=2, heads=4, context=64).described(tokenizer.get_vocab_size())
    decoder = scratch.new_decoder(described)
    samples = list(scratch.pieces(TEXTS, tokenizer, 48))
    steps: list[TrainingStep] = []
    options = Hyperparameters(steps=25, learning_rate=1e-2, weight_decay=0.1, schedule="wsd", warm_up=3)
    Trainer(decoder, options, tmp_path / "run").train(TextObjective(samples, Batching(rows=4, length=48)), steps.append)
    assert steps[0].loss == pytest.approx(torch.log(torch.tensor(float(tokenizer.get_vocab_size()))).item(), rel=0.1)
    assert steps[-1].loss < 2
    scratch.save(tmp_path / "model", decoder, described, tokenizer)
    _is_read(tmp_path / "model", decoder, tokenizer.encode("The quick brown").ids)


def _is_read(folder: Path, decoder: torch.nn.Module, tokens: list[int]) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    ours = model.load(folder, precision="float32")
    found = ours.forward([Chunk(tokens, ours.new_cache(32))], every_token=True)
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        torch.testing.assert_close(found, theirs(torch.tensor([tokens])).logits[0], rtol=1e-3, atol=1e-3)
    told = text.of_directory(folder)
    turns = [{"role": "user", "content": "Hi"}]
    rendered = AutoTokenizer.from_pretrained(folder).apply_chat_template(
        turns, tokenize=False, add_generation_prompt=True
    )
    assert rendered == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert told.tokenizer.encode("The quick") == tokens[: len(told.tokenizer.encode("The quick"))]
    assert {told.tokenizer.token_bytes(number) for number in told.tokenizer.eos_ids} == {
        b"<|im_end|>",
        b"<|endoftext|>",
    }


def test_all_text_is_learned_once() -> None:
    tokenizer = scratch.new_tokenizer(TEXTS, 300)
    samples = list(scratch.pieces(TEXTS, tokenizer, 10))
    assert "".join(tokenizer.decode(list(sample.tokens)) for sample in samples) == "".join(TEXTS)
    assert all(len(sample.tokens) <= 10 for sample in samples)
