"""The plan's data as tokens, and the engine's trainer over them. Runs in the job's own process."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from awsllm.engine.errors import ModelError
from awsllm.engine.threads import import_torch
from awsllm.errors import ConfigurationError
from awsllm.jobs.data.examples import TrainingExample
from awsllm.jobs.data.written import read_local
from awsllm.jobs.local.folder import JobFolder
from awsllm.jobs.local.planning import LocalTraining, training_of
from awsllm.jobs.local.speaking import Speech
from awsllm.types import JsonObject

if TYPE_CHECKING:
    from awsllm.engine.train.objectives import Preference
    from awsllm.engine.train.recipe import TrainingRecipe
    from awsllm.engine.train.run import TrainingStep
    from awsllm.engine.train.samples import Sample

_WARM_UP = 0.05  # of the steps, where nothing is said


def train_in(folder: JobFolder, report: Callable[[JsonObject], None]) -> JsonObject:
    """Train as the folder's plan says, from its last checkpoint. Returns where the result is."""
    import_torch()
    from awsllm.engine import weights
    from awsllm.engine.model import configure
    from awsllm.engine.train.run import train

    plan = folder.plan()
    if not all(type(plan.get(name)) is of for name, of in (("base", str), ("path", str), ("training", dict))):
        raise ConfigurationError(f"{folder.path / 'plan.json'} does not say what is to be trained")
    path, training = Path(plan["path"]), training_of(plan["training"])
    config, _ = configure(weights.read(path))
    length = min(training.length, config.context)
    recipe = make_recipe(
        plan["base"],
        path,
        training,
        samples_of(folder, path, length),
    )

    def told(step: TrainingStep) -> None:
        report(asdict(step))

    made = train(folder.path, recipe, told)
    return {name: str(value) for name in ("adapter", "model") if (value := getattr(made, name)) is not None}


def samples_of(folder: JobFolder, base: Path, length: int) -> tuple[Path, Path | None]:
    """The files of samples of what is learned and of what is held out; made once. Raises ``ModelError`` where nothing
    is to be learned in the first ``length`` tokens of any."""
    found = [_sample_file(file, base, length) for file in (folder.data, folder.held_out) if file.exists()]
    return found[0], found[1] if len(found) > 1 else None


def _sample_file(data: Path, base: Path, length: int) -> Path:
    from awsllm.engine.train.sample_files import write_samples

    path = data.with_name(f"{data.stem}.tokens.jsonl")
    if not path.exists():
        write_samples(path, _told(tokenised(read_local(data.read_bytes()), base), length))
    return path


def _told(samples: Iterator[Sample | Preference], length: int) -> Iterator[Sample | Preference]:
    """The samples. Says to the log how many of them are cut before anything of them is learned."""
    count, cut = 0, 0
    for count, sample in enumerate(samples, 1):  # noqa: B007  # the last one is how many
        cut += not teaches(sample, length)
        yield sample
    if count == cut:
        raise ModelError(nothing_learned(count, length))
    if cut:
        sys.stderr.write(
            f"of {count} sequences {cut} are cut at {length} tokens, before their answers: length= is more\n"
        )


def teaches(sample: Sample | Preference, length: int) -> bool:
    """Whether anything of it is learned in its first ``length`` tokens."""
    from awsllm.engine.train.samples import Sample

    both = (sample,) if isinstance(sample, Sample) else (sample.chosen, sample.rejected)
    return all(any(each.trained[1:length]) for each in both)


def nothing_learned(count: int, length: int) -> str:
    """What is wrong with samples of which none teaches anything."""
    return (
        f"nothing is to be learned: in none of {count} sequences does an answer begin within {length} tokens; give a "
        "larger length=, as far as the model's context goes, or shorter prompts"
    )


def tokenised(examples: Sequence[TrainingExample], base: Path) -> Iterator[Sample | Preference]:
    """The examples as the model that lies at ``base`` reads them. Raises ``ModelError`` that names the line of one that
    its template refuses, and ``ValueError`` or ``OSError`` of the base itself."""
    speech = Speech(base)
    for example in examples:
        try:
            yield from speech.samples(example)
        except ValueError as error:
            raise ModelError(f"line {example.line}: {error}") from error


def make_recipe(base: str, path: Path, training: LocalTraining, samples: tuple[Path, Path | None]) -> TrainingRecipe:
    """What the engine is given."""
    learned, held_out = samples
    with learned.open("rb") as lines:
        count = sum(1 for _ in lines)
    return recipe_of(base, path, training, (str(learned), str(held_out or ""), count))


def recipe_of(base: str, path: Path, training: LocalTraining, samples: tuple[str, str, int]) -> TrainingRecipe:
    """``samples``: the files of what is learned and held out, and how many there are of the former."""
    from awsllm.engine.train.lora import Lora
    from awsllm.engine.train.recipe import Hyperparameters, TrainingRecipe
    from awsllm.engine.train.samples import Batching

    learned, held_out, count = samples
    rows, packed = training.rows or 4, training.rows is None or training.rows > 4
    epochs = 0.0 if training.steps else training.epochs or 1.0
    steps = training.steps or max(1, math.ceil(count * epochs / (rows * training.accumulation)))
    options: dict[str, Any] = {
        "steps": steps,
        "learning_rate": training.learning_rate,
        "schedule": training.schedule,
        "warm_up": math.ceil(_WARM_UP * steps) if training.warm_up is None else training.warm_up,
        "accumulation": training.accumulation,
        "evaluate_every": max(1, steps // 10) if held_out else 0,
        "save_every": training.save_every,
        "seed": training.seed,
        "precision": training.precision,
    }
    return TrainingRecipe(
        samples=learned,
        held_out=held_out,
        method=training.method or "lora",
        base=str(path),
        base_name=base,
        hyperparameters=Hyperparameters(**options),
        epochs=epochs,
        batching=Batching(rows=rows, length=training.length, packed=packed),
        lora=Lora(rank=training.rank, alpha=training.alpha or 2.0 * training.rank, dropout=training.dropout),
        checkpointed=training.checkpointed,
        within_memory=training.memory != "ignore",
        device=training.device,
        merged=training.merged,
    )
