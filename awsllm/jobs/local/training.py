"""The plan's data as tokens, and the engine's trainer over them. Runs in the job's own process."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from awsllm.engine.errors import ModelError
from awsllm.engine.threads import import_torch
from awsllm.jobs.data.examples import TrainingExample
from awsllm.jobs.data.written import read_local
from awsllm.jobs.local.folder import JobFolder
from awsllm.jobs.local.planning import LocalTraining
from awsllm.types import JsonObject

if TYPE_CHECKING:
    from awsllm.engine.tokenizer import Tokenizer
    from awsllm.engine.train.chat import Render
    from awsllm.engine.train.objectives import Preference
    from awsllm.engine.train.recipe import TrainingRecipe
    from awsllm.engine.train.run import TrainingStep
    from awsllm.engine.train.samples import Sample

_WARM_UP = 0.05  # of the steps, where nothing is said


def train_in(folder: JobFolder, report: Callable[[JsonObject], None]) -> JsonObject:
    """Train as the folder's plan says, from its last checkpoint. Returns where the result is."""
    import_torch()
    from awsllm.engine.train.run import train

    plan = folder.plan()
    recipe = make_recipe(
        plan["base"],
        Path(plan["path"]),
        msgspec.convert(plan["training"], LocalTraining),
        samples_of(folder, Path(plan["path"])),
    )

    def told(step: TrainingStep) -> None:
        report(asdict(step))

    made = train(folder.path, recipe, told)
    return {name: str(value) for name in ("adapter", "model") if (value := getattr(made, name)) is not None}


def samples_of(folder: JobFolder, base: Path) -> tuple[Path, Path | None]:
    """The files of samples of what is learned and of what is held out; made once."""
    found = [_sample_file(file, base) for file in (folder.data, folder.held_out) if file.exists()]
    return found[0], found[1] if len(found) > 1 else None


def _sample_file(data: Path, base: Path) -> Path:
    from awsllm.engine.train.sample_files import write_samples

    path = data.with_name(f"{data.stem}.tokens.jsonl")
    if not path.exists():
        write_samples(path, tokenised(read_local(data.read_bytes()), base))
    return path


def tokenised(examples: Sequence[TrainingExample], base: Path) -> Iterator[Sample | Preference]:
    """The examples as the model that lies at ``base`` reads them. Raises ``ModelError`` that names the line of one that
    its template refuses."""
    speak = _Speaker(base)
    for example in examples:
        try:
            yield from speak.samples(example)
        except ValueError as error:
            raise ModelError(f"line {example.line}: {error}") from error


class _Speaker:
    """One model's way of writing examples, which is read once for each set of tools."""

    def __init__(self, base: Path) -> None:
        from awsllm.engine.train import chat

        @cache
        def speaker(tools: bytes) -> tuple[Render, Tokenizer]:
            return chat.speaker(base, msgspec.json.decode(tools))

        self._speaker = speaker

    def samples(self, example: TrainingExample) -> Iterator[Sample | Preference]:
        from awsllm.engine.train.objectives import Preference

        if example.form == "text":
            yield self._text(example.text or "")
        elif example.form == "preference":
            chosen, rejected = (self._answered(example, answer or "") for answer in (example.chosen, example.rejected))
            yield Preference(chosen, rejected)
        else:
            yield from self._chat(example.turns, example)

    def _chat(self, turns: Sequence[JsonObject], example: TrainingExample) -> Iterator[Sample]:
        from awsllm.engine.train import chat

        render, tokenizer = self._speaker(msgspec.json.encode(example.tools))
        yield from chat.samples(turns, render, tokenizer)

    def _answered(self, example: TrainingExample, answer: str) -> Sample:
        """Of a pair one answer, and that alone is what is learned."""
        from awsllm.engine.train.samples import Sample

        turns = [*example.turns, {"role": "assistant", "content": answer}]
        last = list(self._chat(turns, example))[-1]
        start = len(last.trained)
        while start and last.trained[start - 1]:
            start -= 1
        return Sample(last.tokens, [place >= start for place in range(len(last.tokens))])

    def _text(self, text: str) -> Sample:
        from awsllm.engine.train.samples import Sample

        _, tokenizer = self._speaker(b"[]")
        tokens = [*tokenizer.encode(text, special=False), *sorted(tokenizer.eos_ids)[:1]]
        return Sample(tokens, [True] * len(tokens))


def make_recipe(base: str, path: Path, training: LocalTraining, samples: tuple[Path, Path | None]) -> TrainingRecipe:
    """What the engine is given."""
    from awsllm.engine.train.lora import Lora
    from awsllm.engine.train.recipe import Hyperparameters, TrainingRecipe
    from awsllm.engine.train.samples import Batching

    learned, held_out = samples
    with learned.open("rb") as lines:
        count = sum(1 for _ in lines)
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
    }
    return TrainingRecipe(
        samples=str(learned),
        held_out=str(held_out or ""),
        method=training.method or "lora",
        base=str(path),
        base_name=base,
        hyperparameters=Hyperparameters(**options),
        epochs=epochs,
        batching=Batching(rows=rows, length=training.length, packed=packed),
        lora=Lora(rank=training.rank, alpha=training.alpha or 2.0 * training.rank, dropout=training.dropout),
        checkpointed=training.checkpointed,
        device=training.device,
        merged=training.merged,
    )
