"""Interruptions at any moment of a step, and checkpoints that came to harm."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from awsllm.engine.errors import ModelError
from awsllm.engine.train.decoder import TrainableDecoder
from awsllm.engine.train.lora import Lora
from awsllm.engine.train.objectives import TextObjective
from awsllm.engine.train.recipe import TrainingRecipe
from awsllm.engine.train.run import DivergedError, Hyperparameters, Trainer, TrainingStep, checkpoints, train
from awsllm.engine.train.sample_files import write_samples
from awsllm.engine.train.samples import Batching
from tests.engine.train.test_run import SAMPLES, folder, made

__all__ = ["folder"]  # the fixture
OPTIONS = Hyperparameters(steps=4, learning_rate=3e-3, save_every=3, evaluate_every=1)


def objective() -> TextObjective:
    return TextObjective(SAMPLES, Batching(rows=2, length=12), SAMPLES[:3])


def trained(model: TrainableDecoder, path: Path, steps: dict[int, TrainingStep]) -> TrainableDecoder:
    Trainer(model, OPTIONS, path).train(objective(), lambda step: steps.update({step.number: step}))
    return model


def interrupting(trainer: Trainer, act: Callable[..., Any], at: int, *, before: bool) -> Callable[..., Any]:
    """The same, ended by SIGTERM before or behind it in step ``at``."""

    def acted(*given: Any, **named: Any) -> Any:
        number = trainer.done
        if before and number == at:
            raise SystemExit(143)
        found = act(*given, **named)
        if number == at:
            raise SystemExit(143)
        return found

    return acted


@pytest.mark.parametrize("before", [True, False], ids=["before", "behind"])
@pytest.mark.parametrize("what", ["optimizer.step", "optimizer.zero_grad", "_gradients", "_step", "evaluate", "save"])
def test_what_is_interrupted_amid_a_step_goes_on_as_if_it_had_not_been(
    folder: Path, tmp_path: Path, what: str, before: bool
) -> None:
    expected: dict[int, TrainingStep] = {}
    unbroken = trained(made(folder), tmp_path / "unbroken", expected)
    steps: dict[int, TrainingStep] = {}
    trainer = Trainer(made(folder), OPTIONS, tmp_path / "broken")
    holder, name = (trainer.optimizer, what.partition(".")[2]) if "." in what else (trainer, what)
    at = 3 if what == "save" else 2  # of the step that is under way; done counts it where it is evaluated
    setattr(holder, name, interrupting(trainer, getattr(holder, name), at, before=before))
    with pytest.raises(SystemExit):
        trainer.train(objective(), lambda step: steps.update({step.number: step}))
    again = trained(made(folder), tmp_path / "broken", steps)
    assert [step.number for step in steps.values()] == [1, 2, 3, 4]
    assert [steps[number].loss for number in expected] == [step.loss for step in expected.values()]
    for (name, one), other in zip(unbroken.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other), name


def checkpointed(folder: Path, path: Path) -> list[Path]:
    options = Hyperparameters(steps=4, learning_rate=3e-3, save_every=2)
    Trainer(made(folder), options, path).train(objective())
    return checkpoints(path)


@pytest.mark.parametrize("file", ["weights.safetensors", "moments.safetensors", "state.json"])
@pytest.mark.parametrize("size", [0, 5, 100, None])
def test_a_damaged_checkpoint_is_put_aside_for_the_one_before(
    folder: Path, tmp_path: Path, file: str, size: int | None
) -> None:
    last = checkpointed(folder, tmp_path)[-1]
    content = (last / file).read_bytes()
    (last / file).unlink() if size is None else (last / file).write_bytes(content[: min(size, len(content) - 3)])
    again = Trainer(made(folder), OPTIONS, tmp_path)
    assert again.done == 2
    again.train(objective())
    assert [each.name for each in checkpoints(tmp_path)] == ["checkpoint-00000003", "checkpoint-00000004"]
    assert Trainer(made(folder), OPTIONS, tmp_path).done == 4
    assert (tmp_path / "checkpoint-00000004.damaged").is_dir()


@pytest.mark.parametrize("file", ["weights.safetensors", "moments.safetensors"])
def test_a_checkpoint_of_other_shapes(folder: Path, tmp_path: Path, file: str) -> None:
    """Also of such as would be spread over the parameters."""
    last = checkpointed(folder, tmp_path)[-1]
    tensors = load_file(last / file)
    save_file({name: value[:1].clone() for name, value in tensors.items()}, last / file)
    with pytest.raises(ModelError, match="is a checkpoint of another training"):
        Trainer(made(folder), OPTIONS, tmp_path)


@pytest.mark.parametrize("step", ["4", None, 4.5])
def test_a_state_that_says_no_step(folder: Path, tmp_path: Path, step: object) -> None:
    last = checkpointed(folder, tmp_path)[-1]
    (last / "state.json").write_text(json.dumps({"step": step}))
    assert Trainer(made(folder), OPTIONS, tmp_path).done == 2


def test_weights_that_are_no_numbers_are_no_result(folder: Path, tmp_path: Path) -> None:
    """The loss of the last step is finite, and what it made of the weights is seen by no other."""
    write_samples(tmp_path / "samples.jsonl", SAMPLES)
    wild = Lora(rank=4, alpha=1e-3)
    recipe = TrainingRecipe(
        samples=str(tmp_path / "samples.jsonl"),
        base=str(folder),
        lora=wild,
        hyperparameters=Hyperparameters(steps=1, learning_rate=1e39),
    )
    with pytest.raises(DivergedError, match=r"left .* with what is no number"):
        train(tmp_path / "training", recipe)
    assert not (tmp_path / "training" / "result").exists()
