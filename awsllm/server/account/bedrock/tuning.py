"""What a customisation job of Bedrock trains, offline: the local model that stands for its base, on the job's data.

Not trained on are images. How it is done is ``local_training``'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import msgspec

from awsllm.jobs.data.examples import TrainingExample, spoken, system_of
from awsllm.jobs.data.training import TrainingData
from awsllm.jobs.local.planning import LocalTraining
from awsllm.models.customizable import customizing
from awsllm.server.account.account import Region
from awsllm.server.account.bedrock.records import BedrockRecord, id_of
from awsllm.server.account.jobs import JobFailure, JobRecord, check_stopped
from awsllm.server.account.local_training import (
    MOST_ROWS,
    Lesson,
    Tuned,
    Wanted,
    data_of,
    learn,
    local_base,
    number,
    training_for,
)
from awsllm.server.account.reinforcement import Game, reinforce
from awsllm.types import ConverseRequest, JsonObject, Message, Text

TRAINED = "trained"
"""The member of a custom model's record that has the path of its weights."""
_MOST_ANSWERS = 8  # of a question, that a grader judges
_RFT_RATE = 1e-5  # to compare a job's rate with: the service's own default is not told
_MOST_ANSWER = 256  # tokens of a teacher's answer, where the job bounds none


def base_path(region: Region, base: str, further: BedrockRecord | None) -> Path | None:
    """Where the weights of the local model lie that answers ``base``; None where none does."""
    if further is not None and (path := further.request.get(TRAINED)):
        return Path(path)
    return local_base(region, id_of(base))


def tune(region: Region, job: JobRecord, base: Path, files: Mapping[str, Mapping[str, bytes]]) -> Tuned | None:
    """Train. ``files`` are the objects of the training data and of the validation data, by their URIs. Raises
    ``JobFailure``."""
    learned = data_of(files["training"], "training")
    if learned is None:
        return None
    if rft := (job.request.get("customizationConfig") or {}).get("rftConfig"):
        return reinforce(region, job, _game(region, base, learned, rft), lambda steps: _show(region, job, steps[-1]))
    if learned.form == "prompt":
        learned = _answered(region, job, learned)
    held_out = data_of(files["validation"], "validation")
    lesson = Lesson(base, learned, held_out, _training(region, job, len(learned)))
    return learn(region, job, lesson, lambda steps: _show(region, job, steps[-1]))


def _grader(rft: JsonObject) -> str:
    """The ARN of the function that judges. Raises ``JobFailure`` without one."""
    found = ((rft.get("graderConfig") or {}).get("lambdaGrader") or {}).get("lambdaArn")
    if not found:
        raise JobFailure("Reinforcement fine-tuning needs a grader: rftConfig has no lambdaGrader.")
    return str(found)


def _game(region: Region, base: Path, questions: TrainingData, rft: JsonObject) -> Game:
    given = {name: str(value) for name, value in (rft.get("hyperParameters") or {}).items()}
    wanted = Wanted(
        epochs=number(given, ("epochCount",), 1.0),
        rows=number(given, ("batchSize",), MOST_ROWS),
        rate=number(given, ("learningRate",), _RFT_RATE) / _RFT_RATE,
    )
    game = Game(base, questions, str(_grader(rft)), training_for(region, len(questions), wanted))
    return replace(
        game,
        answers=min(int(number(given, ("trainingSamplePerPrompt",), game.answers)), _MOST_ANSWERS),
        longest=min(int(number(given, ("inferenceMaxTokens",), game.longest)), _MOST_ANSWER),
    )


def _show(region: Region, job: JobRecord, last: JsonObject) -> None:
    job.shown["trainingMetrics"] = {"trainingLoss": last["loss"]}
    if last.get("evaluation_loss") is not None:
        job.shown["validationMetrics"] = [{"validationLoss": last["evaluation_loss"]}]
    job.modified = region.now()


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
            whole = (*example.turns, {"role": "assistant", "content": answer})
            yield msgspec.structs.replace(example, form="chat", turns=whole)


# --- hyperparameters -------------------------------------------------------------------------------------------------


def _training(region: Region, job: JobRecord, count: int) -> LocalTraining:
    given, takes = job.request.get("hyperParameters") or {}, customizing(id_of(job.shown["baseModelArn"]))
    rate = number(given, ("learningRateMultiplier",), 1.0)
    if takes.learning_rate:
        rate = number(given, ("learningRate",), takes.learning_rate) / takes.learning_rate
    warm_up = number(given, ("learningRateWarmupSteps",), -1.0)
    wanted = Wanted(
        epochs=number(given, ("epochCount",), takes.epochs),
        rows=number(given, ("batchSize",), MOST_ROWS),
        rate=rate,
        warm_up=None if warm_up < 0 else warm_up,
    )
    return training_for(region, count, wanted)
