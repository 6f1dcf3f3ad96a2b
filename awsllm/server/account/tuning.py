"""What a training job of SageMaker's learns, offline: a JumpStart model's fine-tuning, or a serverless customisation.

Which model is trained follows from the job: the base that ``ServerlessJobConfig`` names, the model package that it goes
on with, or the JumpStart model of its tags or of its ``model`` channel. Where a local model stands for it, that learns
(``local_training``). Scripts of the caller's own are not run.

JumpStart's scripts read JSON Lines beside ``template.json``, whose ``prompt`` and ``completion`` name members in braces
(docs.aws.amazon.com/sagemaker/latest/dg, jumpstart-foundation-models-fine-tuning-instruction-based, and the Llama
notebooks that it links), or plain texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from awsllm.jobs.data.training import TrainingData
from awsllm.jumpstart import names, tags
from awsllm.server.account import artifacts
from awsllm.server.account.account import Region
from awsllm.server.account.jobs import JobFailure, JobRecord, log, read_under
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
from awsllm.types import JsonObject

_RATE = 1e-4  # JumpStart's scripts' and the recipes' default for an adapter
_ARTIFACTS = ("TrainingArtifactUri", "GatedModelEnvVarUri", "TrainingModelPackageArtifactUri")
_OWN = frozenset(("code", "model"))  # channels that JumpStart's documents bring
_HELD_OUT = frozenset(("validation", "val", "eval", "test"))
_EPOCHS = ("epoch", "epochs", "num_train_epochs", "max_epochs")
_ROWS = ("per_device_train_batch_size", "batch_size", "global_batch_size")
_TEMPLATE = "template.json"


class TrainedBase(NamedTuple):
    """A model that is trained, and where its weights lie."""

    model: str
    weights: Path


def tune(region: Region, job: JobRecord) -> Tuned | None:
    """Train; None for what is not trained here. Raises ``JobFailure``."""
    base = base_of(region, job)
    if base is None:
        return None
    learned, held_out = (_data(region, job, looked_at) for looked_at in (False, True))
    if learned is None:
        return None
    given = job.request.get("HyperParameters") or {}
    wanted = Wanted(
        epochs=number(given, _EPOCHS, 1.0) or 1.0,
        rows=number(given, _ROWS, MOST_ROWS),
        rate=number(given, ("learning_rate",), _RATE) / _RATE,
        most_steps=number(given, ("max_steps",), 0) or float("inf"),
    )
    training = training_for(region, len(learned), wanted, "dpo" if learned.form == "preference" else "lora")
    if judge := (job.request.get("ServerlessJobConfig") or {}).get("EvaluatorArn"):
        game = Game(base.weights, learned, judge, training)
        longest = int(number(given, ("max_response_length",), game.longest)) or game.longest
        return reinforce(region, job, replace(game, longest=longest), _told(region, job, wanted))
    if learned.form == "prompt":
        return None
    return learn(region, job, Lesson(base.weights, learned, held_out, training), _told(region, job, wanted))


def base_of(region: Region, job: JobRecord) -> TrainedBase | None:
    """The model that the job trains; None where no local model stands for one."""
    serverless = job.request.get("ServerlessJobConfig")
    source = (job.request.get("ModelPackageConfig") or {}).get("SourceModelPackageArn")
    if source:
        found = artifacts.weights_of(region, {"ModelPackageName": source})
        if found is not None:
            return TrainedBase(source, Path(found))
    name = names.hub_content(serverless["BaseModelArn"]) if serverless else _jumpstart_model(region, job)
    weights = local_base(region, name) if name else None
    return TrainedBase(str(name), weights) if weights is not None else None


def _jumpstart_model(region: Region, job: JobRecord) -> str | None:
    tagged = region.state.tags.get(job.arn, {})
    if named := next(filter(None, map(tagged.get, tags.MODEL_TAGS)), None):
        return named
    channels = {one["ChannelName"]: one for one in job.request.get("InputDataConfig") or ()}
    uri = str((channels.get("model", {}).get("DataSource", {}).get("S3DataSource") or {}).get("S3Uri", "")).rstrip("/")
    return next(
        (
            content.name
            for content in region.account.contents
            if uri and any(one.rstrip("/") == uri for one in content.texts(region.name, _ARTIFACTS))
        ),
        None,
    )


def _told(region: Region, job: JobRecord, wanted: Wanted) -> Any:
    """What is shown and logged of each step."""

    def told(steps: list[JsonObject]) -> None:
        last = steps[-1]
        epochs = max(1, round(wanted.epochs))
        each = max(1, last["of"] // epochs)
        job.shown["ProgressInfo"] = {
            "TotalStepCountPerEpoch": each,
            "CurrentStep": (last["number"] - 1) % each + 1,
            "CurrentEpoch": min(epochs - 1, (last["number"] - 1) // each),
            "MaxEpoch": epochs,
        }
        job.modified = region.now()
        log(region, job, line_of(last))

    return told


def line_of(step: JsonObject) -> str:
    """A step as scripts log it, in words that the documents' metrics look for."""
    checked = step.get("evaluation_loss")
    seen = f" eval_loss={checked:.6f} eval_epoch_loss={checked:.6f}" if checked is not None else ""
    loss = f"{step['loss']:.6f}"
    reward = f" reward={step['reward']:.6f}" if "reward" in step else ""
    return f"step={step['number']}/{step['of']} loss={loss} train_loss={loss} train_epoch_loss={loss}{seen}{reward}"


# --- data ------------------------------------------------------------------------------------------------------------


def _data(region: Region, job: JobRecord, held_out: bool) -> TrainingData | None:
    """What the job's channels have to learn, or to look at only."""
    found: dict[str, bytes] = {}
    for channel in job.request.get("InputDataConfig") or ():
        name = channel["ChannelName"]
        if name not in _OWN and (name in _HELD_OUT) == held_out:
            found |= channel_files(region, channel)
    try:
        return data_of(dict(_lines(found)), "validation" if held_out else "training")
    except JobFailure as failure:
        raise JobFailure(f"AlgorithmError: {failure}") from failure


def channel_files(region: Region, channel: JsonObject) -> dict[str, bytes]:
    """The objects of a channel. Raises ``JobFailure`` for a data set, which is in no bucket here."""
    source = channel["DataSource"].get("S3DataSource")
    if source is None:
        raise JobFailure(f"ClientError: the channel {channel['ChannelName']} is not in S3: there is nothing else here.")
    return read_under(region, str(source["S3Uri"]))


def _lines(files: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Files as JSON Lines of forms that are known; what has no such form is left out."""
    template = next((_object(data) for name, data in files.items() if name.endswith(_TEMPLATE)), None)
    for name, data in files.items():
        if name.endswith(".txt"):
            yield name, msgspec.json.encode({"text": data.decode(errors="replace")})
        elif name.endswith((".jsonl", ".json")) and not name.endswith(_TEMPLATE):
            yield name, data if template is None else _rendered(data, template, name)


def _rendered(data: bytes, template: JsonObject, name: str) -> bytes:
    """Records as questions and answers, a line for a line."""
    lines = []
    for number_, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            lines.append(b"")
            continue
        record = _object(line)
        try:
            made = {part: _filled(str(template[part]), record) for part in ("prompt", "completion")}
        except KeyError as error:
            raise JobFailure(
                f"AlgorithmError: line {number_} of {name} lacks {str(error)[:80]}, which {_TEMPLATE} names"
            ) from None
        lines.append(msgspec.json.encode(made))
    return b"\n".join(lines)


def _filled(text: str, record: JsonObject) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: str(record[found[1]]), text)


def _object(data: bytes) -> JsonObject:
    try:
        found = msgspec.json.decode(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
