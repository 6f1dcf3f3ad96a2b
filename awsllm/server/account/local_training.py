"""Training, offline: the local model that stands for a base learns a job's own data, whichever service runs the job.

A base that a script answers, or that has no local model behind it, is not trained, and no loss is made up. A quota of
the account (``customization-steps``) bounds the steps, for a job of a test shall end.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import BoundedSemaphore
from typing import NamedTuple, TypeAlias

import msgspec

from awsllm.errors import AwsllmError, is_own
from awsllm.jobs.data.examples import TrainingExample
from awsllm.jobs.data.training import TrainingData, TrainingDataError, read_training_data
from awsllm.jobs.data.written import local_lines
from awsllm.jobs.local.folder import JobFolder
from awsllm.jobs.local.planning import LocalMethod, LocalTraining
from awsllm.server.account.account import Region
from awsllm.server.account.jobs import JobFailure, JobRecord, check_stopped
from awsllm.store import Store
from awsllm.types import ConverseRequest, JsonObject, Message, Text

STEPS = "customization-steps"
MOST_ROWS = 4
_STEPS = 500
_RATE = 1e-3  # of a service's default, with an adapter of a small model
_RANK = 16
_LOOK = 0.2  # seconds


class Tuned(NamedTuple):
    """What a training came to. ``model`` is where the weights lie, ``adapter`` what was learned beside the base's.
    ``steps`` are its metrics, ``losses`` what is lost on what was held out."""

    model: str
    adapter: str | None
    steps: list[JsonObject]
    losses: list[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class Lesson:
    """What is learned, from which weights, and how."""

    base: Path
    learned: TrainingData
    held_out: TrainingData | None
    training: LocalTraining


Told: TypeAlias = Callable[[list[JsonObject]], None]
"""Hears of all steps so far, after each."""


def local_base(region: Region, model: str) -> Path | None:
    """Where the weights of the local model lie that answers ``model``; None where none does."""
    target = region.account.models.target(ConverseRequest(model=model, messages=(Message("user", (Text("?"),)),)))
    if target is None or target.startswith(("bedrock:", "sagemaker:", "group:")):
        return None
    return Store().path(target.removeprefix("local:"))


def folder_of(region: Region, job: JobRecord) -> Path:
    """A new folder for what a job makes: an account that was reset may have another job of the name."""
    path = region.account.folder() / f"{job.arn.rpartition('/')[2]}-{secrets.token_hex(4)}"
    path.mkdir(parents=True)
    return path


def learn(region: Region, job: JobRecord, lesson: Lesson, told: Told) -> Tuned:
    """Train. Raises ``JobFailure`` for what cannot be, ``JobStopped`` where the job was stopped."""
    folder = JobFolder(folder_of(region, job))
    folder.write(folder.data.name, local_lines(lesson.learned))
    if lesson.held_out is not None and lesson.held_out.form == lesson.learned.form:
        folder.write(folder.held_out.name, local_lines(lesson.held_out))
    base = str(lesson.base)
    folder.write_plan({"base": base, "path": base, "training": msgspec.structs.asdict(lesson.training)})
    steps: list[JsonObject] = []

    def report(step: JsonObject) -> None:
        steps.append(step)
        with region.account.lock:
            told(steps)
        check_stopped(region, job)

    with turn(lambda: check_stopped(region, job)):
        made = _train(folder, report)
    losses = [(step["number"], step["evaluation_loss"]) for step in steps if step.get("evaluation_loss") is not None]
    return Tuned(str(made["model"]), made.get("adapter"), steps, losses)


def untrained(error: ModuleNotFoundError) -> str:
    """Why a job fails where what trains is not installed: models answer without it."""
    return (
        f"The training failed: training needs {error.name}: pip install 'awsllm[local]'. (Offline, an account whose "
        "replies are scripted trains nothing, and its jobs succeed without it.)"
    )


_TURNS = BoundedSemaphore(2)
"""Of jobs that train at once: each takes a model's memory, and all of them the processors that calls are answered with.
"""


@contextmanager
def turn(check: Callable[[], None]) -> Iterator[None]:
    """Train within the block, when it is this job's turn; ``check`` raises where it shall wait no longer."""
    while not _TURNS.acquire(timeout=_LOOK):
        check()
    try:
        yield
    finally:
        _TURNS.release()


def _train(folder: JobFolder, report: Callable[[JsonObject], None]) -> JsonObject:
    from awsllm.jobs.local.training import train_in
    from awsllm.jobs.local.worker import NO_MEMORY, is_want_of_memory

    try:
        return train_in(folder, report)
    except ModuleNotFoundError as error:
        raise JobFailure(untrained(error)) from error
    except (RuntimeError, MemoryError, OSError) as error:
        if is_want_of_memory(error):
            raise JobFailure(f"The training failed: {NO_MEMORY}") from error
        raise
    except (ValueError, ArithmeticError) as error:
        if not is_own(error):
            raise
        raise JobFailure(f"The training failed: {error}") from error


def data_of(objects: Mapping[str, bytes], noun: str) -> TrainingData | None:
    """All of it as one; None where there is none, or it is not of words. Raises ``JobFailure``."""
    examples: list[TrainingExample] = []
    for name, content in objects.items():
        if b'"image-ref"' in content.lstrip().split(b"\n", 1)[0]:
            return None
        try:
            examples += read_training_data(content).examples
        except TrainingDataError as error:
            line, reason = error.faults[0]
            count = len(error.faults) - 1 + error.more
            more = f" {count} more lines are invalid." if count else ""
            raise JobFailure(f"Invalid {noun} data: line {line} of {name}: {reason}.{more}") from error
        except AwsllmError as error:
            raise JobFailure(f"Invalid {noun} data: {name}: {error.message}") from error
    if not examples:
        return None
    if len({example.form for example in examples}) > 1:
        raise JobFailure(f"Invalid {noun} data: the files have records of different forms.")
    return TrainingData(tuple(examples), examples[0].form, "the data")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A job's own hyperparameters: ``rate`` is how many times the service's default its learning rate is."""

    epochs: float
    rows: float = MOST_ROWS
    rate: float = 1.0
    warm_up: float | None = None
    most_steps: float = math.inf


def training_for(region: Region, count: int, wanted: Wanted, method: LocalMethod = "lora") -> LocalTraining:
    """How so many examples are learned. The learning rate of a job is of its own model; what is taken of it is its
    relation to the service's default."""
    rows = max(1, int(min(wanted.rows, MOST_ROWS)))
    most = min(region.account.quotas.get(STEPS, _STEPS), wanted.most_steps)
    steps = int(max(1, min(most, math.ceil(count * wanted.epochs / rows))))
    warm_up = min(int(steps // 20 if wanted.warm_up is None else wanted.warm_up), steps // 4)
    return LocalTraining(
        method=method,
        steps=steps,
        rows=rows,
        learning_rate=max(1e-8, min(_RATE * wanted.rate, 0.01)),
        warm_up=warm_up,
        rank=_RANK,
        evaluate=0.0,
    )


def number(given: Mapping[str, str], names: tuple[str, ...], default: float) -> float:
    """The first of these hyperparameters that is given and is a number."""
    for name in names:
        try:
            found = float(given[name])
        except (KeyError, ValueError):
            continue
        if math.isfinite(found) and found >= 0:
            return found
    return default
