"""Two processes, each with half of every weight, make the model that one makes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from awsllm.engine.train import decoder, lora, recipe
from awsllm.engine.train.recipe import Hyperparameters, TrainingRecipe
from awsllm.engine.train.run import TrainingStep, checkpoints, train
from awsllm.engine.train.sample_files import write_samples
from awsllm.engine.train.samples import Batching, Sample
from tests.support import random_models

pytestmark = pytest.mark.slow
SAMPLES = [Sample([3 + n, 50 + n, 60 + n, 70 + n, 2], [False, False, True, True, True]) for n in range(9)]


def together(folder: Path, planned: TrainingRecipe) -> list[float]:
    folder.mkdir(exist_ok=True)
    recipe.write(folder / "recipe.json", planned)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m",
               "awsllm.engine.train.distributed", str(folder)]  # fmt: skip
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    return [float(loss) for loss in re.findall(r"loss ([\d.]+)", done.stdout)]


def planned(folder: Path, method: recipe.Method) -> TrainingRecipe:
    """Of nine rows in pairs the last stands alone, so that one process has none."""
    random_models.write("llama-tied", folder / "base")
    write_samples(folder / "samples.jsonl", SAMPLES)
    return TrainingRecipe(
        method=method,
        base=str(folder / "base"),
        samples=str(folder / "samples.jsonl"),
        held_out=str(folder / "samples.jsonl"),
        batching=Batching(rows=2, length=12, packed=False),
        hyperparameters=Hyperparameters(
            steps=6, learning_rate=5e-3, save_every=3, evaluate_every=3, schedule="constant"
        ),
    )


def test_two_processes_are_as_one(tmp_path: Path) -> None:
    asked = planned(tmp_path, "full")
    steps: list[TrainingStep] = []
    alone = train(tmp_path / "alone", asked, steps.append)
    assert together(tmp_path / "two", asked) == pytest.approx([step.loss for step in steps], rel=1e-4)
    assert alone.model is not None
    expected, found = decoder.load(alone.model), decoder.load(tmp_path / "two" / "result" / "model")
    for name, value in expected.named_parameters():
        torch.testing.assert_close(found.get_parameter(name), value, rtol=2e-3, atol=2e-4)


def test_two_processes_go_on_with_what_one_began(tmp_path: Path) -> None:
    asked = planned(tmp_path, "lora")
    steps: list[TrainingStep] = []
    train(tmp_path / "alone", asked, steps.append)

    class Killed(BaseException):
        pass

    def kill(step: TrainingStep) -> None:
        if step.number == 3:
            raise Killed

    with pytest.raises(Killed):
        train(tmp_path / "two", asked, kill)
    assert [path.name for path in checkpoints(tmp_path / "two")] == ["checkpoint-00000003"]
    assert together(tmp_path / "two", asked) == pytest.approx([step.loss for step in steps[3:]], rel=1e-4)
    assert lora.read_config(tmp_path / "two" / "result" / "adapter")[0] == asked.lora
