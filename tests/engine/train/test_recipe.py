"""A training by its recipe: from files to files, whichever process carries it on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from awsllm.engine import model
from awsllm.engine.train import decoder, lora, recipe
from awsllm.engine.train.lora import Lora
from awsllm.engine.train.objectives import Preference
from awsllm.engine.train.recipe import Hyperparameters, TrainingRecipe
from awsllm.engine.train.run import TrainingStep, train
from awsllm.engine.train.sample_files import read_preferences, read_samples, write_samples
from awsllm.engine.train.samples import Batching, Sample
from awsllm.engine.train.scratch import Size
from tests.support import random_models

SAMPLES = [Sample([3 + n, 50 + n, 60 + n, 70 + n, 2], [False, False, True, True, True]) for n in range(9)]
PAIRS = [
    Preference(Sample([3, 4, n, 2], [False, False, True, True]), Sample([3, 4, n + 10, 2], [False, False, True, True]))
    for n in (50, 51)
]
OPTIONS = Hyperparameters(steps=6, learning_rate=1e-2, save_every=2)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    random_models.write("llama", path)
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "samples.jsonl"
    assert write_samples(path, SAMPLES) == len(SAMPLES)
    return path


def planned(base: Path, data: Path) -> TrainingRecipe:
    small = Batching(rows=2, length=12)
    return TrainingRecipe(samples=str(data), base=str(base), hyperparameters=OPTIONS, batching=small, lora=Lora(rank=4))


def test_an_adapter_and_a_merged_model_are_made(base: Path, data: Path, tmp_path: Path) -> None:
    steps: list[TrainingStep] = []
    made = train(tmp_path, replace(planned(base, data), base_name="local:base"), steps.append)
    assert made.adapter is not None
    assert made.model is not None
    assert (made.steps, made.loss) == (6, steps[-1].loss)
    assert steps[-1].loss < steps[0].loss
    assert lora.read_config(made.adapter)[1] == "local:base"
    beside = decoder.load(base)
    lora.load(made.adapter, beside)
    merged = decoder.load(made.model)
    for name, value in lora.merged(beside).items():
        torch.testing.assert_close(value, merged.get_parameter(name))
    model.load(made.model)


def test_a_killed_one_is_gone_on_with_and_a_finished_one_is_left(base: Path, data: Path, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def kill(step: TrainingStep) -> None:
        if step.number == 3:
            raise Killed

    expected = train(tmp_path / "unbroken", planned(base, data))
    with pytest.raises(Killed):
        train(tmp_path / "broken", planned(base, data), kill)
    steps: list[TrainingStep] = []
    found = train(tmp_path / "broken", planned(base, data), steps.append)
    assert [step.number for step in steps] == [3, 4, 5, 6]
    assert found.loss == expected.loss
    assert train(tmp_path / "broken", planned(base, data), steps.append) == found
    assert len(steps) == 4


@pytest.mark.parametrize("method", ["full", "dpo"])
def test_other_methods(base: Path, data: Path, tmp_path: Path, method: recipe.Method) -> None:
    pairs = tmp_path / "pairs.jsonl"
    write_samples(pairs, PAIRS)
    samples = pairs if method == "dpo" else data
    asked = replace(planned(base, samples), method=method, held_out=str(samples), merged=False, epochs=3)
    made = train(tmp_path / "run", replace(asked, hyperparameters=replace(OPTIONS, evaluate_every=1)))
    assert made.evaluation_loss is not None
    assert (made.adapter is None) == (method == "full")
    assert (made.model is None) == (method == "dpo")


def test_a_model_from_nothing(tmp_path: Path) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": f"A rolling stone gathers no moss, said {n}. " * 5}) + "\n"
                             for n in range(8)))  # fmt: skip
    size = Size(hidden=64, layers=2, heads=4, context=64)
    asked = TrainingRecipe(method="pretrain", samples=str(texts), size=size, vocabulary=300,
                   hyperparameters=replace(OPTIONS, steps=8), batching=Batching(rows=4, length=32))  # fmt: skip
    steps: list[TrainingStep] = []
    made = train(tmp_path / "run", asked, steps.append)
    assert made.adapter is None
    assert made.model is not None
    assert steps[-1].loss < steps[0].loss - 1
    assert model.load(made.model).config.vocab_size <= 300


def test_a_recipe_is_plain_json(base: Path, data: Path, tmp_path: Path) -> None:
    asked = replace(planned(base, data), lora=Lora(rank=3, targets=frozenset({"q_proj"})), held_out="x", epochs=1.5)
    recipe.write(tmp_path / "recipe.json", asked)
    assert recipe.read(tmp_path / "recipe.json") == asked


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "magic"}, "Invalid enum|trained by"),
        ({"base": ""}, "needs a base"),
        ({"method": "pretrain"}, "from nothing"),
        ({"epochs": -1}, "epochs"),
        ({"lora": {"rank": 0}}, "rank"),
        ({"hyperparameters": {"learning_rate": 0}}, "learning rate"),
        ({"samples": 3}, "samples"),
    ],
)
def test_what_is_no_recipe_is_refused(base: Path, data: Path, tmp_path: Path, change: object, message: str) -> None:
    path = tmp_path / "recipe.json"
    assert isinstance(change, dict)
    path.write_text(json.dumps(recipe.plain(planned(base, data)) | change))
    with pytest.raises(ValueError, match=message):
        recipe.read(path)


def test_samples_come_back_from_their_file(tmp_path: Path) -> None:
    odd = Sample([1, 2, 3, 4, 5], [True, False, True, True, False])
    write_samples(tmp_path / "samples.jsonl", [odd, Sample([], [])])
    assert read_samples(tmp_path / "samples.jsonl") == [odd, Sample([], [])]
    write_samples(tmp_path / "pairs.jsonl", PAIRS)
    assert read_preferences(tmp_path / "pairs.jsonl") == PAIRS


@pytest.mark.parametrize(
    "line",
    ["{", "[]", '{"tokens": [1]}', '{"tokens": [-1], "trained": []}', '{"tokens": [1], "trained": [[0, 2]]}',
     '{"tokens": ["a"], "trained": []}', '{"tokens": [1], "trained": [3]}'],
)  # fmt: skip
def test_a_line_that_is_no_sample_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_text('{"tokens": [1], "trained": []}\n' + line + "\n")
    with pytest.raises(ValueError, match=r"line 2 of samples\.jsonl"):
        read_samples(path)


def test_samples_of_another_tokenizer_are_refused(base: Path, tmp_path: Path) -> None:
    write_samples(tmp_path / "samples.jsonl", [Sample([1, 400, 3], [True] * 3)])
    with pytest.raises(ValueError, match="token 400, the model 128"):
        train(tmp_path / "run", planned(base, tmp_path / "samples.jsonl"))
