"""A training that is killed at any point of writing goes on, and ends with the very weights it would have had.

Every third point is tried; all of them were (``EVERY = 1``, 2026-11-27).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from safetensors.torch import load_file

from awsllm.engine.train import files
from awsllm.engine.train.lora import Lora
from awsllm.engine.train.recipe import Hyperparameters, TrainingRecipe
from awsllm.engine.train.run import TrainingStep, train
from awsllm.engine.train.sample_files import write_samples
from awsllm.engine.train.samples import Batching, Sample
from tests.support import random_models

STEPS = 3
EVERY = 3
WRITING = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree")
REAL = safetensors.torch.save_file


class Killed(BaseException):
    """Nothing of the trainer's runs any more, as after SIGKILL: it has no ``finally`` that writes."""


class Point:
    """Kills at the ``left``-th operation on files below ``folder``; of a safetensors file the half is written."""

    def __init__(self) -> None:
        self.left, self.folder = -1, ""

    def pass_(self) -> bool:
        self.left -= 1
        return self.left != 0

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.left > 0 and event in WRITING and self.is_meant(event, arguments) and not self.pass_():
            raise Killed

    def is_meant(self, event: str, arguments: tuple[Any, ...]) -> bool:
        if event == "open":
            return str(arguments[0]).startswith(self.folder) and "w" in str(arguments[1])
        return event in ("os.remove", "os.rmdir") or str(arguments[0]).startswith(self.folder)

    def save(self, tensors: dict[str, torch.Tensor], path: Path) -> None:
        REAL(tensors, path)
        if self.left > 0 and not self.pass_():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
            raise Killed


POINT = Point()
sys.addaudithook(POINT.hear)  # a hook stays; it hears nothing while ``left`` is not above 0


@contextmanager
def killed_at(number: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    POINT.left, POINT.folder = number, str(folder)
    with monkeypatch.context() as patched:
        patched.setattr(files, "save_file", POINT.save)
        try:
            yield
        except Killed:
            pass
        finally:
            POINT.left = -1


def interrupted(step: TrainingStep) -> None:
    if step.number == 2:  # behind a checkpoint of the same step
        raise KeyboardInterrupt


def test_killed_at_points_of_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random_models.write("llama-tied", tmp_path / "base")
    write_samples(tmp_path / "s.jsonl", [Sample([3 + n, 50 + n, 60 + n, 2], [True] * 4) for n in range(8)])
    recipe = TrainingRecipe(
        base=str(tmp_path / "base"),
        samples=str(tmp_path / "s.jsonl"),
        hyperparameters=Hyperparameters(steps=STEPS, learning_rate=5e-3, save_every=1),
        batching=Batching(rows=4, length=8),
        lora=Lora(rank=2, dropout=0.1),
        merged=False,
    )
    whole = train(tmp_path / "whole", recipe)
    assert whole.adapter is not None
    expected = load_file(whole.adapter / "adapter_model.safetensors")
    number, ended = 1 - EVERY, False
    while not ended:
        number += EVERY
        folder = tmp_path / f"run-{number}"
        with killed_at(number, folder, monkeypatch):
            try:
                train(folder, recipe, interrupted)
            except KeyboardInterrupt:
                train(folder, recipe)
            ended = True
        made = train(folder, recipe)
        assert made.adapter is not None
        found = load_file(made.adapter / "adapter_model.safetensors")
        assert all(torch.equal(found[name], value) for name, value in expected.items()), number
        assert made.loss == whole.loss
    assert number > 40
