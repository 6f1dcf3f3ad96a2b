"""Training beside transformers and peft: tokens a second and memory, the same model and rows, in pairs.

    python -m benchmarks.training [--hidden 256] [--layers 6] [--rows 8] [--length 128] [--rounds 5] [--method lora]

A Llama of random weights is made for it. Each side runs in a process of its own, in turns, so that a change of the
machine's speed meets both; figures are medians of the steps after the first. CPU is user + system time of a step, which
is what can be compared on a busy machine. Memory is the largest that the process had.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from awsllm.engine.train import decoder, lora, scratch
from awsllm.engine.train.decoder import Batch
from awsllm.engine.train.lora import Lora

SIDES = ("awsllm", "peft")
RANK = 16
ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}
"""Threads sleep while they wait, for both: spinning ones take 30 times as long where others use the processors."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("hidden", 256), ("layers", 6), ("rows", 8), ("length", 128), ("rounds", 5), ("steps", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--method", choices=("lora", "full"), default="lora")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--base", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.side:
        sys.stdout.write(json.dumps(measure(asked)) + "\n")
        return
    found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        make(base, asked)
        for _ in range(asked.rounds):
            for side in SIDES:
                command = [sys.executable, "-m", "benchmarks.training", *sys.argv[1:], "--side", side, "--base", folder]
                told = subprocess.run(command, capture_output=True, text=True, check=True, env=ENVIRONMENT).stdout
                found[side].append(json.loads(told.splitlines()[-1]))
    tokens = asked.rows * asked.length
    for side, rounds in found.items():
        seconds, cpu, peak = (statistics.median(one[key] for one in rounds) for key in ("seconds", "cpu", "peak"))
        sys.stdout.write(
            f"{side:8} {tokens / seconds:9,.0f} tokens/s {1e3 * cpu / tokens:8.3f} ms CPU a token "
            f"{peak / 1e6:8,.0f} MB at most, loss {rounds[0]['loss']:.4f}\n"
        )
    ratios = [mine["cpu"] / theirs["cpu"] for mine, theirs in zip(found["awsllm"], found["peft"], strict=True)]
    sys.stdout.write(f"CPU beside peft's, pair by pair: {statistics.median(ratios):.2f}\n")


def make(base: Path, asked: argparse.Namespace) -> None:
    tokenizer = scratch.new_tokenizer(["a"], 300)
    size = scratch.Size(hidden=asked.hidden, layers=asked.layers, heads=asked.hidden // 64 or 1, key_heads=1)
    described = size.described(asked.vocabulary)
    scratch.save(base, scratch.new_decoder(described), described, tokenizer)


def measure(asked: argparse.Namespace) -> dict[str, float]:
    torch.manual_seed(0)
    tokens = torch.randint(0, asked.vocabulary, (asked.rows, asked.length))
    loss, parameters = (_ours if asked.side == "awsllm" else _theirs)(asked, tokens)
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=asked.side == "awsllm")
    seconds, cpu, first = [], [], 0.0
    for number in range(asked.steps + 1):
        began, used = time.perf_counter(), time.process_time()
        value = loss()
        value.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        first = first or value.item()
        if number:
            seconds.append(time.perf_counter() - began)
            cpu.append(time.process_time() - used)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": statistics.median(seconds), "cpu": statistics.median(cpu), "peak": peak, "loss": first}


def _ours(asked: argparse.Namespace, tokens: torch.Tensor) -> tuple[Callable[[], Any], list[torch.nn.Parameter]]:
    model = decoder.load(asked.base).train()
    if asked.method == "lora":
        lora.add(model, Lora(rank=RANK))
    batch = Batch(tokens, tokens, torch.arange(asked.length).expand(asked.rows, -1))
    parameters = [each for each in model.parameters() if each.requires_grad]
    return lambda: -model.log_probabilities(batch).sum() / batch.trained, parameters


def _theirs(asked: argparse.Namespace, tokens: torch.Tensor) -> tuple[Callable[[], Any], list[torch.nn.Parameter]]:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(asked.base, dtype=torch.float32)
    if asked.method == "lora":
        targets = sorted(lora.ALL)
        model = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=32, target_modules=targets, task_type="CAUSAL_LM"))
    model.train()
    parameters = [each for each in model.parameters() if each.requires_grad]
    return lambda: model(input_ids=tokens, labels=tokens, use_cache=False).loss, parameters


if __name__ == "__main__":
    main()
