"""What a customisation job trains, offline: the local model that stands for its base, on the job's own data.

A base that a script answers, or that has no local model behind it, is not trained, and no loss is made up. Nor are
images, and what a grader would judge. The learning rate of a job is of its own model; what is taken of it is how many
times the service's default it is. A quota of the account (``customization-steps``) bounds the steps, for a job of a
test shall end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from awsllm.errors import AwsllmError
from awsllm.jobs.data.examples import TrainingExample, spoken, system_of
from awsllm.jobs.data.training import TrainingData, TrainingDataError, read_training_data
from awsllm.jobs.data.written import local_lines
from awsllm.jobs.local.folder import JobFolder
from awsllm.jobs.local.planning import LocalTraining
from awsllm.models.customizable import customizing
from awsllm.server.account.account import Region
from awsllm.server.account.bedrock.records import BedrockRecord, id_of
from awsllm.server.account.jobs import JobFailure, JobRecord, check_stopped
from awsllm.store import Store
from awsllm.types import ConverseRequest, JsonObject, Message, Text

TRAINED = "trained"
"""The member of a custom model's record that has the path of its weights."""
STEPS = "customization-steps"
_STEPS = 500
_RATE = 1e-3  # of the service's default, with an adapter of a small model
_ROWS, _RANK = 4, 16
_MOST_ANSWER = 256  # tokens of a teacher's answer, where the job bounds none


class Tuned(NamedTuple):
    """What a training came to. ``steps`` are its metrics, ``losses`` what is lost on each validation set."""

    model: str
    steps: list[JsonObject]
    losses: list[tuple[int, float]]


def base_path(region: Region, base: str, further: BedrockRecord | None) -> Path | None:
    """Where the weights of the local model lie that answers ``base``; None where none does."""
    if further is not None and (path := further.request.get(TRAINED)):
        return Path(path)
    target = region.account.models.target(ConverseRequest(model=id_of(base), messages=(Message("user", (Text("?"),)),)))
    if target is None or target.startswith(("bedrock:", "sagemaker:")):
        return None
    return Store().path(target.removeprefix("local:"))


def tune(region: Region, job: JobRecord, base: Path, files: Mapping[str, Mapping[str, bytes]]) -> Tuned | None:
    """Train. ``files`` are the objects of the training data and of the validation data, by their URIs. Raises
    ``JobFailure``."""
    learned = _data(files["training"], "training")
    if learned is None:
        return None
    if learned.form == "prompt":
        learned = _answered(region, job, learned)
    held_out = _data(files["validation"], "validation")
    folder = JobFolder(region.account.folder() / f"customization-{id_of(job.arn)}")
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.write(folder.data.name, local_lines(learned))
    if held_out is not None and held_out.form == learned.form:
        folder.write(folder.held_out.name, local_lines(held_out))
    training = _training(region, job, len(learned))
    folder.write_plan({"base": str(base), "path": str(base), "training": _plain(training)})
    steps: list[JsonObject] = []

    def report(step: JsonObject) -> None:
        steps.append(step)
        _show(region, job, steps)
        check_stopped(region, job)

    model = _train(folder, report)
    losses = [(step["number"], step["evaluation_loss"]) for step in steps if step.get("evaluation_loss") is not None]
    return Tuned(model, steps, losses)


def _train(folder: JobFolder, report: Callable[[JsonObject], None]) -> str:
    from awsllm.jobs.local.training import train_in

    try:
        return str(train_in(folder, report)["model"])
    except (ValueError, ArithmeticError) as error:
        if not type(error).__module__.startswith("awsllm."):
            raise
        raise JobFailure(f"The training failed: {error}") from error


def _show(region: Region, job: JobRecord, steps: Sequence[JsonObject]) -> None:
    with region.account.lock:
        last = steps[-1]
        job.shown["trainingMetrics"] = {"trainingLoss": last["loss"]}
        if last.get("evaluation_loss") is not None:
            job.shown["validationMetrics"] = [{"validationLoss": last["evaluation_loss"]}]
        job.modified = region.now()


def _plain(training: LocalTraining) -> JsonObject:
    from msgspec.structs import asdict

    return asdict(training)


# --- data ------------------------------------------------------------------------------------------------------------


def _data(objects: Mapping[str, bytes], noun: str) -> TrainingData | None:
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


def _answered(region: Region, job: JobRecord, questions: TrainingData) -> TrainingData:
    """Questions with what the teacher answers."""
    config = (job.request.get("customizationConfig") or {}).get("distillationConfig") or {}
    teacher = config.get("teacherModelConfig") or {}
    if not teacher:
        raise JobFailure("Invalid training data: the records have no answers, and there is no teacher to give them.")
    longest = teacher.get("maxResponseLengthForInference") or _MOST_ANSWER
    answered = tuple(_taught(region, job, questions, (id_of(teacher["teacherModelIdentifier"]), longest)))
    if not answered:
        raise JobFailure("The teacher model has answered none of the prompts.")
    return TrainingData(answered, "chat", questions.source)


def _taught(
    region: Region, job: JobRecord, questions: TrainingData, teacher: tuple[str, int]
) -> Iterator[TrainingExample]:
    from msgspec.structs import replace

    from awsllm.types import InferenceConfig

    account, (model, longest) = region.account, teacher
    for example in questions.examples:
        check_stopped(region, job)
        turns = tuple(Message(turn["role"], (Text(turn["content"]),)) for turn in spoken(example))
        system = (Text(told),) if (told := system_of(example)) else ()
        request = ConverseRequest(
            model=model, messages=turns, system=system, inference_config=InferenceConfig(max_tokens=longest)
        )
        if account.backend is None:
            raise JobFailure("No model answers behind this control plane.")
        answer = account.backend.ask(account.models.rename(request)).text
        if answer.strip():
            yield replace(example, form="chat", turns=(*example.turns, {"role": "assistant", "content": answer}))


# --- hyperparameters -------------------------------------------------------------------------------------------------


def _training(region: Region, job: JobRecord, count: int) -> LocalTraining:
    given, takes = job.request.get("hyperParameters") or {}, customizing(id_of(job.shown["baseModelArn"]))
    epochs, rows = _number(given, "epochCount", takes.epochs), int(min(_number(given, "batchSize", _ROWS), _ROWS))
    rate = _RATE * _number(given, "learningRateMultiplier", 1.0)
    if takes.learning_rate:
        rate = _RATE * _number(given, "learningRate", takes.learning_rate) / takes.learning_rate
    most = region.account.quotas.get(STEPS, _STEPS)
    steps = max(1, min(most, math.ceil(count * epochs / rows)))
    warm_up = min(int(_number(given, "learningRateWarmupSteps", steps // 20)), steps // 4)
    return LocalTraining(
        method="lora",
        steps=steps,
        rows=rows,
        learning_rate=min(rate, 0.01),
        warm_up=warm_up,
        rank=_RANK,
        evaluate=0.0,
    )


def _number(given: Mapping[str, str], name: str, default: float) -> float:
    try:
        return float(given.get(name, default))
    except ValueError:
        return default
