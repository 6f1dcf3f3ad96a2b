"""One training, from its plan to its end, whichever process carries it on.

Its folder holds all that there is of it: checkpoints (safetensors and JSON), of which the last two are kept. ``train``
goes on from the last one. What it then does is what it would have done: the order of batches follows from the seed, and
each step draws its random numbers from one of its own.
"""

from __future__ import annotations

import math
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import torch
from torch import Tensor, nn

from awsllm.engine import described, weights
from awsllm.engine.errors import ModelError, WeightsError
from awsllm.engine.model import configure
from awsllm.engine.train import decoder as decoders
from awsllm.engine.train import lora, memory, sample_files, scratch
from awsllm.engine.train.decoder import TrainableDecoder
from awsllm.engine.train.export import export
from awsllm.engine.train.files import write_json, write_tensors
from awsllm.engine.train.objectives import Objective, PreferenceObjective, TextObjective, endless
from awsllm.engine.train.recipe import Hyperparameters, TrainingRecipe
from awsllm.engine.train.samples import batches
from awsllm.engine.train.schedule import share
from awsllm.engine.weights import read_safetensors

if TYPE_CHECKING:
    from awsllm.engine.config import Config

__all__ = [
    "ALONE",
    "Crew",
    "DivergedError",
    "Hyperparameters",
    "Trained",
    "Trainer",
    "TrainingStep",
    "checkpoints",
    "train",
]

_KEPT: Final = 2  # checkpoints
_BETAS: Final = (0.9, 0.95)
_EPSILON: Final = 1e-8
_STATE, _WEIGHTS, _MOMENTS = "state.json", "weights.safetensors", "moments.safetensors"
_TRAINED: Final = "trained.json"
_BEGINNING: Final = "beginning"


class DivergedError(ArithmeticError):
    """The loss is no number any more."""


@dataclass(frozen=True, slots=True)
class TrainingStep:
    """What one step came to. ``loss`` is the mean over the predictions of the step; ``seconds`` since the last."""

    number: int
    of: int
    epoch: int
    loss: float
    learning_rate: float
    gradient: float
    tokens: int
    seconds: float
    evaluation_loss: float | None = None


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training came to. ``adapter``: a folder in peft's form; ``model``: a GGUF file or a folder, whichever the
    base was. Both stand in ``result`` of the training's folder. ``loss``: that of the last step."""

    steps: int
    loss: float
    evaluation_loss: float | None = None
    adapter: Path | None = None
    model: Path | None = None


class Crew:
    """The processes that train together: here one, alone. ``distributed`` has several."""

    number, processes = 0, 1

    def sharded(self, decoder: TrainableDecoder) -> None:
        """Give each process its part of the weights, in place."""

    def dealt(self, objective: Objective) -> Objective:
        """What of it is this process's."""
        return objective

    def together(self, total: float, count: int) -> tuple[float, int]:
        """The sums over all processes."""
        return total, count

    def whole(self, tensor: Tensor) -> Tensor:
        """All parts of a tensor. All processes ask for it."""
        return tensor.detach()

    def placed(self, value: Tensor, like: Tensor) -> Tensor:
        """This process's part of a whole tensor, as that of ``like`` is."""
        return value.to(like)

    def wait(self) -> None:
        """Until all are here."""


ALONE: Final = Crew()


def train(
    folder: Path,
    recipe: TrainingRecipe,
    report: Callable[[TrainingStep], None] = lambda step: None,
    crew: Crew = ALONE,
) -> Trained:
    """Carry the training out in ``folder``, or what is left of it; ``report`` hears of each step. One that is over is
    not begun again. Raises ``ModelError``, ``WeightsError``, ``DivergedError``, ``OSError``."""
    folder.mkdir(parents=True, exist_ok=True)
    if (found := _finished(folder)) is not None:
        return found
    base = _from_nothing(folder, recipe, crew) if recipe.method == "pretrain" else Path(recipe.base)
    checkpoint = weights.read(base)
    config, _ = configure(checkpoint)
    recipe = replace(recipe, batching=replace(recipe.batching, length=min(recipe.batching.length, config.context)))
    data = _read(folder, recipe)
    _check(data, config)
    if recipe.within_memory:
        memory.check(config, recipe, _tokens_at_once(data.learned, recipe))
    if recipe.checkpointed:
        memory.spare_heap()
    decoder = _decoder(checkpoint, recipe).to(recipe.device)
    crew.sharded(decoder)
    objective = crew.dealt(_objective(data, recipe, decoder))
    options = recipe.hyperparameters
    if recipe.epochs:
        parts = len(objective.parts(options.seed, 0))
        options = replace(options, steps=max(1, math.ceil(parts * recipe.epochs / options.accumulation)))
    trainer = Trainer(decoder, options, folder, crew)
    trainer.train(objective, report)
    learned = {name: crew.whole(each) for name, each in trainer.parameters.items()}
    if crew.number == 0:
        if crew.processes > 1:
            decoder = _decoder(checkpoint, recipe)
            decoder.load_state_dict(learned, strict=False)
        _write_result(folder, recipe, decoder, trainer)
    crew.wait()
    if (made := _finished(folder)) is None:
        raise ModelError(f"{folder} has lost its result")
    return made


def _decoder(checkpoint: weights.Checkpoint, recipe: TrainingRecipe) -> TrainableDecoder:
    decoder = decoders.load(checkpoint, checkpointed=recipe.checkpointed)
    if recipe.adapts:
        torch.manual_seed(recipe.hyperparameters.seed)
        lora.add(decoder, recipe.lora)
    return decoder


def _from_nothing(folder: Path, recipe: TrainingRecipe, crew: Crew) -> Path:
    """A model that has learned nothing, with a tokenizer made of the texts; kept, as a process that goes on needs the
    same."""
    if not (where := folder / _BEGINNING).is_dir() and crew.number == 0:
        tokenizer = scratch.new_tokenizer(sample_files.read_texts(Path(recipe.samples)), recipe.vocabulary)
        described = recipe.size.described(tokenizer.get_vocab_size())
        part = where.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        scratch.save(part, scratch.new_decoder(described, recipe.hyperparameters.seed), described, tokenizer)
        part.rename(where)
    crew.wait()
    return where


class _Data(NamedTuple):
    """Samples, or of "dpo" pairs of them."""

    learned: Sequence[Any]
    held_out: Sequence[Any]


def _read(folder: Path, recipe: TrainingRecipe) -> _Data:
    read: Callable[[Path], Sequence[Any]]
    if recipe.method == "dpo":
        read = sample_files.read_preferences
    elif recipe.method == "pretrain":
        tokenizer, length = scratch.read_tokenizer(folder / _BEGINNING), recipe.batching.length

        def read(path: Path) -> Sequence[Any]:
            return list(scratch.pieces(sample_files.read_texts(path), tokenizer, length))
    else:
        read = sample_files.read_samples
    return _Data(read(Path(recipe.samples)), read(Path(recipe.held_out)) if recipe.held_out else [])


def _check(data: _Data, config: Config) -> None:
    every = chain(memory.sequences(data.learned), memory.sequences(data.held_out))
    if (largest := max((max(each.tokens, default=0) for each in every), default=0)) >= config.vocab_size:
        raise ModelError(f"the samples have token {largest}, the model {config.vocab_size}: they are another model's")


def _tokens_at_once(learned: Sequence[Any], recipe: TrainingRecipe) -> int:
    """Of the largest batch of the first epoch, with its padding; of pairs as many sequences as a batch has rows."""
    samples, batching = list(memory.sequences(learned)), recipe.batching
    if recipe.method == "dpo":
        longest = max((len(sample.tokens) for sample in samples), default=0)
        return min(max(2, batching.rows), len(samples)) * min(longest, batching.length)
    widths = [
        [sum(min(len(samples[number].tokens), batching.length) for number in row) for row in rows]
        for rows in batches(samples, batching, recipe.hyperparameters.seed, 0)
    ]
    return max((len(rows) * max(rows) for rows in widths), default=0)


def _objective(data: _Data, recipe: TrainingRecipe, decoder: TrainableDecoder) -> Objective:
    if recipe.method == "dpo":
        return PreferenceObjective(decoder, data.learned, recipe.batching, beta=recipe.beta, held_out=data.held_out)
    return TextObjective(data.learned, recipe.batching, data.held_out)


# --- results ---------------------------------------------------------------------------------------------------------


def _write_result(folder: Path, recipe: TrainingRecipe, decoder: TrainableDecoder, trainer: Trainer) -> None:
    """What was learned, whole or not at all."""
    base = Path(recipe.base) if recipe.base else folder / _BEGINNING
    if broken := next((name for name, each in decoder.named_parameters() if not bool(each.isfinite().all())), None):
        raise DivergedError(f"the last step left {broken} with what is no number: take a smaller learning rate")
    part = folder / "result.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    if recipe.adapts:
        named = recipe.base_name or str(base.resolve())
        lora.save(part / "adapter", decoder, recipe.lora, base=named)
    if recipe.merged or not recipe.adapts:
        values = {name: value.cpu() for name, value in lora.merged(decoder).items()}
        export(base, values, part / "model", kind=recipe.kind)
    write_json(part / _TRAINED, {"steps": trainer.done, **trainer.came_to})
    part.rename(folder / "result")


def _finished(folder: Path) -> Trained | None:
    result = folder / "result"
    if not (result / _TRAINED).is_file():
        return None
    told = described.read_object(result / _TRAINED)
    paths = [path for path in (result / "adapter", result / "model", result / "model.gguf") if path.exists()]
    adapter = next((path for path in paths if path.name == "adapter"), None)
    model = next((path for path in paths if path.name != "adapter"), None)
    return Trained(told["steps"], told["loss"], told["evaluation_loss"], adapter, model)


class Trainer:
    """A decoder, what moves its trainable parameters, and where that is kept."""

    def __init__(self, decoder: TrainableDecoder, options: Hyperparameters, folder: Path, crew: Crew = ALONE) -> None:
        self.decoder, self.options, self.folder, self.crew = decoder, options, folder, crew
        self.parameters = {name: each for name, each in decoder.named_parameters() if each.requires_grad}
        if not self.parameters:
            raise ModelError("the model has nothing to train")
        groups = _groups(self.parameters, options.weight_decay)
        self.optimizer = torch.optim.AdamW(groups, betas=_BETAS, eps=_EPSILON, fused=True)
        self.done = 0
        self.loss = math.nan
        self.evaluation_loss: float | None = None
        self._whole = True  # whether the weights are those of ``done`` steps, and no more
        self._untold: TrainingStep | None = None
        self._resume()

    def train(self, objective: Objective, report: Callable[[TrainingStep], None] = lambda step: None) -> None:
        """Make the steps that are left; ``report`` hears of each before its checkpoint, so that none is left out
        whenever the process is killed. An interruption is obeyed after a checkpoint; one amid a step leaves the last,
        and the step is made again."""
        options, began = self.options, time.monotonic()
        feed = self._feed(objective)
        try:
            while self.done < options.steps:
                parts = [next(feed) for _ in range(options.accumulation)]
                made = self._step(objective, parts)
                made = replace(made, evaluation_loss=self._evaluated(objective), seconds=time.monotonic() - began)
                began = time.monotonic()
                self._untold = None
                report(made)
                if self.done % options.save_every == 0 or self.done == options.steps:
                    self.save()
        except (KeyboardInterrupt, SystemExit):
            if self._whole:
                self.save()
                if self._untold is not None:  # it was interrupted while it was evaluated
                    report(self._untold)
            raise

    def _feed(self, objective: Objective) -> Iterator[tuple[int, Any]]:
        """Parts from where it stopped."""
        feed = endless(objective, self.options.seed)
        for _ in range(self.done * self.options.accumulation):
            next(feed)
        return feed

    def _step(self, objective: Objective, parts: Sequence[tuple[int, Any]]) -> TrainingStep:
        torch.manual_seed(self.options.seed * 1_000_003 + self.done)  # of dropout
        self.decoder.train()
        loss, count = self._gradients(objective, [part for _, part in parts])
        norm = self._move(loss)
        rate = self.optimizer.param_groups[0]["lr"]
        made = TrainingStep(self.done + 1, self.options.steps, parts[-1][0], loss, rate, norm, count, 0.0)
        self.done, self.loss, self._untold = made.number, loss, made
        self._whole = True
        return made

    def _evaluated(self, objective: Objective) -> float | None:
        """What is held out, where it is due after this step."""
        options = self.options
        due = options.evaluate_every and (self.done % options.evaluate_every == 0 or self.done == options.steps)
        found = self.evaluate(objective) if due else None
        self.evaluation_loss = self.evaluation_loss if found is None else found
        return found

    def _gradients(self, objective: Objective, parts: Sequence[Any]) -> tuple[float, int]:
        """Add up what the parts say, as one batch would: the mean loss, and over how many terms."""
        total, count = 0.0, 0
        for part in parts:
            with self._precision():
                loss, terms = objective.loss(self.decoder, part)
            if loss.requires_grad:
                loss.backward()  # type: ignore[no-untyped-call]
                total, count = total + loss.item(), count + terms
        total, count = self.crew.together(total, count)
        for parameter in self.parameters.values():
            if parameter.grad is not None:
                parameter.grad /= max(count, 1) / self.crew.processes  # of several, gradients are their mean
        return total / max(count, 1), count

    def _move(self, loss: float) -> float:
        """Make a step along the gradients; their norm before it was bounded."""
        options = self.options
        norm = float(self.crew.whole(nn.utils.clip_grad_norm_(list(self.parameters.values()), options.clip)))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise DivergedError(
                f"the loss is no number any more at step {self.done + 1}: take a smaller learning rate than "
                f"{options.learning_rate:g}, or a longer warm-up; the last checkpoint is good"
            )
        rate = options.learning_rate * share(options.schedule, self.done + 1, options.steps, options.warm_up)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self._whole = False
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    @torch.no_grad()
    def evaluate(self, objective: Objective) -> float | None:
        """The mean loss of what is held out; None where nothing is."""
        self.decoder.eval()
        total, count = 0.0, 0
        for part in objective.held_out():
            with self._precision():
                loss, terms = objective.loss(self.decoder, part)
            total, count = total + loss.item(), count + terms
        total, count = self.crew.together(total, count)
        return total / count if count else None

    def _precision(self) -> Any:
        if self.options.precision == "float32":
            return nullcontext()
        return torch.autocast(self.decoder.device.type, torch.bfloat16)

    # --- checkpoints -------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write what is needed to go on. The old ones are deleted once the new one is whole."""
        values = {name: self.crew.whole(each) for name, each in self.parameters.items()}
        moments = {name: self.crew.whole(each) for name, each in self._moments()}
        if self.crew.number == 0:
            self._write(values, moments)
        self.crew.wait()

    def _write(self, values: dict[str, Tensor], moments: dict[str, Tensor]) -> None:
        where = self.folder / f"checkpoint-{self.done:08d}"
        if where.is_dir():  # that of this very step, and whole: what is deleted here might be missed
            return
        part = where.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        write_tensors(part / _WEIGHTS, values)
        write_tensors(part / _MOMENTS, moments)
        write_json(part / _STATE, {"version": 1, "step": self.done, **self.came_to})
        part.rename(where)
        for old in checkpoints(self.folder)[:-_KEPT]:
            shutil.rmtree(old)

    @property
    def came_to(self) -> dict[str, float | None]:
        return {"loss": self.loss, "evaluation_loss": self.evaluation_loss}

    def _moments(self) -> Iterator[tuple[str, Tensor]]:
        for name, parameter in self.parameters.items():
            for moment in ("exp_avg", "exp_avg_sq"):
                if (value := self.optimizer.state[parameter].get(moment)) is not None:
                    yield f"{name}:{moment}", value

    def _resume(self) -> None:
        if (found := self._last_checkpoint()) is None:
            return
        place, state, values, moments = found
        shapes = {name: tuple(parameter.shape) for name, parameter in self.parameters.items()}
        told = {name: tuple(value.shape) for name, value in values.items()}
        odd = [name for name, value in moments.items() if tuple(value.shape) != shapes.get(name.rpartition(":")[0])]
        if told != shapes or odd:
            raise ModelError(f"{place} is a checkpoint of another training: give this one a folder of its own")
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(self.crew.placed(values[name], parameter))
                kept = {moment: moments.get(f"{name}:{moment}") for moment in ("exp_avg", "exp_avg_sq")}
                if all(value is not None for value in kept.values()):
                    step = torch.tensor(float(state["step"]), device=parameter.device)
                    held = {
                        moment: self.crew.placed(value.clone(), parameter)
                        for moment, value in kept.items()
                        if value is not None
                    }
                    self.optimizer.state[parameter] = {"step": step, **held}
        self.done = state["step"]
        self.loss, self.evaluation_loss = state.get("loss", math.nan), state.get("evaluation_loss")

    def _last_checkpoint(self) -> tuple[Path, dict[str, Any], dict[str, Tensor], dict[str, Tensor]] | None:
        """The last that can be read: its place, state, weights and moments. Such as were damaged are put aside."""
        for place in reversed(checkpoints(self.folder)):
            try:
                state = described.read_object(place / _STATE)
                if type(state.get("step")) is int:
                    values, moments = (
                        {name: stored.float() for name, stored in read_safetensors(place / name_of_file).items()}
                        for name_of_file in (_WEIGHTS, _MOMENTS)
                    )
                    return place, state, values, moments
            except (WeightsError, OSError):
                pass
            if self.crew.number == 0:
                aside = place.with_suffix(".damaged")
                shutil.rmtree(aside, ignore_errors=True)
                place.rename(aside)
        return None


def checkpoints(folder: Path) -> list[Path]:
    """The whole ones, the oldest first."""
    if not folder.is_dir():
        return []
    return sorted(each for each in folder.iterdir() if re.fullmatch(r"checkpoint-\d{8}", each.name))


def _groups(parameters: dict[str, nn.Parameter], decay: float) -> list[dict[str, Any]]:
    """Matrices are held small; norms and biases are left alone."""
    matrices = [each for each in parameters.values() if each.ndim > 1]
    others = [each for each in parameters.values() if each.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
