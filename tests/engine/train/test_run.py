"""A training learns, goes on where it was killed as if nothing had been, and says when it cannot."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from awsllm.engine.train import decoder, lora
from awsllm.engine.train.decoder import TrainableDecoder
from awsllm.engine.train.lora import Lora
from awsllm.engine.train.objectives import Preference, PreferenceObjective, TextObjective
from awsllm.engine.train.run import DivergedError, Hyperparameters, Trainer, TrainingStep, checkpoints
from awsllm.engine.train.samples import Batching, Sample
from tests.support import random_models

SAMPLES = [Sample([3 + n, 50 + n, 60 + n, 70 + n, 2], [False, False, True, True, True]) for n in range(9)]
SMALL = Lora(rank=4)
OPTIONS = Hyperparameters(steps=6, learning_rate=3e-3, save_every=2, warm_up=1)
ROWS = Batching(rows=2, length=12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    random_models.write("llama", path)
    return path


def made(folder: Path, adapter: Lora | None = SMALL) -> TrainableDecoder:
    torch.manual_seed(1)
    found = decoder.load(folder)
    if adapter is not None:
        lora.add(found, adapter)
    return found


def run(
    model: TrainableDecoder, path: Path, options: Hyperparameters = OPTIONS, batching: Batching = ROWS
) -> list[TrainingStep]:
    steps: list[TrainingStep] = []
    Trainer(model, options, path).train(TextObjective(SAMPLES, batching, SAMPLES[:3]), steps.append)
    return steps


@pytest.mark.parametrize("adapter", [Lora(rank=4), None], ids=["lora", "full"])
def test_the_loss_falls(folder: Path, tmp_path: Path, adapter: Lora | None) -> None:
    options = Hyperparameters(steps=30, learning_rate=1e-2 if adapter else 3e-3, evaluate_every=30)
    steps = run(made(folder, adapter), tmp_path, options, Batching(rows=4, length=16))
    assert steps[-1].loss < steps[0].loss / 2
    assert steps[-1].evaluation_loss is not None
    assert steps[-1].evaluation_loss < steps[0].loss / 2


@pytest.mark.parametrize("adapter", [SMALL, None], ids=["lora", "full"])
def test_bfloat16_learns_as_float32_does(folder: Path, tmp_path: Path, adapter: Lora | None) -> None:
    found, models = {}, {}
    for precision in ("float32", "bfloat16"):
        models[precision] = made(folder, adapter)
        options = replace(OPTIONS, precision=precision, evaluate_every=6)
        found[precision] = run(models[precision], tmp_path / precision, options)
    exact, near = ([step.loss for step in steps] for steps in found.values())
    assert near != exact  # it was computed otherwise
    assert near == pytest.approx(exact, rel=0.05)
    assert found["bfloat16"][-1].evaluation_loss == pytest.approx(found["float32"][-1].evaluation_loss, rel=0.05)
    assert {each.dtype for each in models["bfloat16"].parameters()} == {torch.float32}


def test_what_was_killed_goes_on_as_if_it_had_not_been(folder: Path, tmp_path: Path) -> None:
    adapter = Lora(rank=4, dropout=0.2)
    unbroken = made(folder, adapter)
    expected = run(unbroken, tmp_path / "unbroken")

    class Killed(BaseException):
        pass

    def kill(step: TrainingStep) -> None:
        if step.number == 3:
            raise Killed  # the last checkpoint is that of step 2

    with pytest.raises(Killed):
        Trainer(made(folder, adapter), OPTIONS, tmp_path / "broken").train(TextObjective(SAMPLES, ROWS), kill)
    again = made(folder, adapter)
    rest = run(again, tmp_path / "broken")
    assert [step.number for step in rest] == [3, 4, 5, 6]
    assert [step.loss for step in rest] == [step.loss for step in expected[2:]]
    for (name, one), other in zip(unbroken.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other), name


def test_only_the_last_checkpoints_are_kept(folder: Path, tmp_path: Path) -> None:
    run(made(folder), tmp_path)
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-00000004", "checkpoint-00000006"]


def test_a_checkpoint_of_another_training_is_refused(folder: Path, tmp_path: Path) -> None:
    run(made(folder), tmp_path)
    with pytest.raises(ValueError, match="another training"):
        Trainer(made(folder, None), OPTIONS, tmp_path)


def test_a_loss_that_is_no_number_ends_it(folder: Path, tmp_path: Path) -> None:
    model = made(folder)
    with torch.no_grad():
        model.get_parameter("model.norm.weight").fill_(float("nan"))
    with pytest.raises(DivergedError, match="learning rate"):
        run(model, tmp_path)


def test_an_adapter_is_merged_and_comes_back_from_its_files(folder: Path, tmp_path: Path) -> None:
    model, adapter = made(folder), Lora(rank=4)
    run(model, tmp_path / "run")
    lora.save(tmp_path / "adapter", model, adapter, base="local:x")
    again = decoder.load(folder)
    assert lora.load(tmp_path / "adapter", again) == adapter
    plain = decoder.load(folder)
    plain.load_state_dict(lora.merged(model))
    batch = decoder.Batch(torch.tensor([[1, 2, 3]]), torch.tensor([[1, 2, 3]]), torch.tensor([[0, 1, 2]]))
    expected = model.eval().log_probabilities(batch)
    torch.testing.assert_close(again.eval().log_probabilities(batch), expected)
    torch.testing.assert_close(plain.log_probabilities(batch), expected, rtol=1e-4, atol=1e-4)


def test_packed_sequences_lose_what_they_lose_alone(folder: Path, tmp_path: Path) -> None:
    losses = []
    for packed in (True, False):
        batching = Batching(rows=9, length=64, packed=packed)
        losses.append(run(made(folder), tmp_path / str(packed), Hyperparameters(steps=1), batching)[0].loss)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_nothing_to_learn_is_told() -> None:
    with pytest.raises(ValueError, match="nothing to learn"):
        TextObjective([Sample([1, 2], [True, False])], ROWS)


@pytest.mark.parametrize("accumulation", [1, 3])
def test_a_step_over_parts_is_one_over_all_of_them(folder: Path, tmp_path: Path, accumulation: int) -> None:
    options = Hyperparameters(steps=1, accumulation=accumulation)
    rows = 9 // accumulation
    [step] = run(made(folder), tmp_path, options, Batching(rows=rows, length=5, packed=False))
    whole = Hyperparameters(steps=1)
    [expected] = run(made(folder), tmp_path / "whole", whole, Batching(rows=9, length=5, packed=False))
    assert step.loss == pytest.approx(expected.loss, rel=1e-5)
    assert step.gradient == pytest.approx(expected.gradient, rel=1e-4)


def test_what_is_preferred_becomes_likelier(folder: Path, tmp_path: Path) -> None:
    def answer(token: int) -> Sample:
        return Sample([3, 4, token, 2], [False, False, True, True])

    pairs = [Preference(answer(50), answer(60)), Preference(answer(51), answer(61))]
    model = made(folder)
    objective = PreferenceObjective(model, pairs, Batching(rows=4, length=8), held_out=pairs[:1])
    steps: list[TrainingStep] = []
    options = Hyperparameters(steps=20, learning_rate=1e-2, evaluate_every=20)
    Trainer(model, options, tmp_path).train(objective, steps.append)
    assert steps[0].loss == pytest.approx(math.log(2), rel=1e-4)  # nothing is preferred yet
    assert steps[-1].loss < 0.3
    assert steps[-1].evaluation_loss is not None
    assert steps[-1].evaluation_loss < 0.3
