"""Customisation jobs: they read and check their data, train, write their metrics' files and make a custom model.

Where a local model stands for the base, that is trained (``tuning``), and the custom model answers as it learned. Else
nothing is, and no metric is made up: the files have their columns and no rows. Forms of data and files:
docs.aws.amazon.com/bedrock/latest/userguide, model-customization-prepare and model-customization-analyze, read
2026-11-26.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from awsllm.models.customizable import customizations, customizing, hyperparameter_fault
from awsllm.models.references import is_bedrock_id
from awsllm.server.account.account import Operation, Region
from awsllm.server.account.bedrock import custom, tuning
from awsllm.server.account.bedrock.foundation import foundation, foundation_arn
from awsllm.server.account.bedrock.job_operations import (
    all_jobs,
    begin_job,
    find_job,
    new_job,
    refuse_promised,
    state_change,
    stop_job,
    times,
)
from awsllm.server.account.bedrock.pages import page
from awsllm.server.account.bedrock.records import (
    bedrock_arn,
    find,
    id_of,
    named,
    once,
    read_tags,
    refuse_full,
    refuse_taken,
)
from awsllm.server.account.jobs import JobFailure, JobRecord, Kind, check_stopped, read_under, write
from awsllm.server.account.local_training import Tuned
from awsllm.server.account.refusals import invalid
from awsllm.types import JsonObject

_FINE_TUNING = "FINE_TUNING"
_TRAINING = "training_artifacts/step_wise_training_metrics.csv"
_VALIDATION = "validation_artifacts/post_fine_tuning_validation/validation_metrics.csv"
_COLUMNS = "step_number,epoch_number,{}_loss,perplexity\n"
_FORMS: tuple[Mapping[str, type], ...] = (
    {"prompt": str, "completion": str},
    {"messages": list},
    {"input": str},
    {"image-ref": str},
    {"prompt": str},  # of distillation, whose teacher completes it
)
"""What a line of the data may have; the last two are of images and of distillation."""
_DETAILS = ("validationDetails", "dataProcessingDetails", "trainingDetails")
_STAGES = ("Validating", "Processing", "Training")


@once
def _create(region: Region, request: JsonObject) -> JsonObject:
    base = _base(region, request["baseModelIdentifier"])
    wanted = request.get("customizationType", _FINE_TUNING)
    offered = customizations(id_of(base))
    if not offered or (wanted == _FINE_TUNING and wanted not in offered):
        raise invalid(f"The provided model identifier does not support model customization of type {wanted}.")
    data = request["trainingDataConfig"]
    if ("s3Uri" in data) == ("invocationLogsConfig" in data):
        raise invalid("trainingDataConfig has either s3Uri or invocationLogsConfig.")
    _check_hyperparameters(request.get("hyperParameters") or {}, base, wanted)
    refuse_taken(region, custom.MODELS, request["customModelName"], custom.NOUN)
    refuse_promised(CUSTOMIZATION, region, "customModelName", request["customModelName"], custom.NOUN)
    read_tags(request.get("customModelTags"))
    refuse_full(region, custom.MODELS, "custom-models", "custom models")
    job = new_job(CUSTOMIZATION, region, bedrock_arn(region, f"{CUSTOMIZATION.path}/{id_of(base)}"), request)
    job.shown = {"baseModelArn": base, "customizationType": wanted}
    return begin_job(CUSTOMIZATION, region, job, request.get("jobTags"))


def _check_hyperparameters(given: Mapping[str, str], base: str, wanted: str) -> None:
    """Of a fine-tuning or further pre-training; the other ways have theirs in ``customizationConfig``."""
    bounds = customizing(id_of(base)).bounds if wanted in (_FINE_TUNING, "CONTINUED_PRE_TRAINING") else {}
    faults = filter(None, (hyperparameter_fault(name, value, bounds) for name, value in given.items()))
    if (fault := next(faults, None)) is not None:
        raise invalid(f"The hyperparameters of {id_of(base)} are not valid: {fault}.")


def _base(region: Region, identifier: str) -> str:
    """The foundation model's ARN of one, or of a custom model that is trained further."""
    if f":{custom.MODELS}/" in identifier or not (identifier.startswith("arn:") or is_bedrock_id(identifier)):
        model = find(region, custom.MODELS, identifier, "base model", look=False)
        if "baseModelArn" not in model.shown:
            raise invalid(f"The custom model {model.name!r} cannot be customized further.")
        return str(model.shown["baseModelArn"])
    foundation(identifier)
    return foundation_arn(region, id_of(identifier))


# --- what it does ----------------------------------------------------------------------------------------------------


def _customize(region: Region, job: JobRecord) -> None:
    data = job.request["trainingDataConfig"]
    source = data.get("s3Uri") or data["invocationLogsConfig"]["invocationLogSource"]["s3Uri"]
    files = {"training": _check_data(region, source, "training", is_log="s3Uri" not in data), "validation": {}}
    validators = (job.request.get("validationDataConfig") or {}).get("validators", ())
    for validator in validators:
        check_stopped(region, job)
        files["validation"] |= _check_data(region, validator["s3Uri"], "validation", is_log=False)
    tuned = _tuned(region, job, files)
    place = f"{job.request['outputDataConfig']['s3Uri'].rstrip('/')}/{CUSTOMIZATION.path}-{id_of(job.arn)}"
    write(region, f"{place}/{_TRAINING}", _metrics("training", _training_rows(tuned)))
    if validators:
        write(region, f"{place}/{_VALIDATION}", _metrics("validation", _validation_rows(tuned)))
    with region.account.lock:
        _make(region, job, tuned)


def _tuned(region: Region, job: JobRecord, files: Mapping[str, Mapping[str, bytes]]) -> Tuned | None:
    """What was trained; None where nothing is."""
    if "s3Uri" not in job.request["trainingDataConfig"]:
        return None
    further = named(region, custom.MODELS, job.request["baseModelIdentifier"])
    base = tuning.base_path(region, job.shown["baseModelArn"], further)
    return None if base is None else tuning.tune(region, job, base, files)


def _training_rows(tuned: Tuned | None) -> Iterator[tuple[int, int, float]]:
    for step in tuned.steps if tuned else ():
        yield step["number"] - 1, step["epoch"], step["loss"]


def _validation_rows(tuned: Tuned | None) -> Iterator[tuple[int, int, float]]:
    epochs = {step["number"]: step["epoch"] for step in tuned.steps} if tuned else {}
    for number, loss in tuned.losses if tuned else ():
        yield number - 1, epochs[number], loss


def _metrics(noun: str, rows: Iterable[tuple[int, int, float]]) -> bytes:
    lines = [f"{number},{epoch},{loss:.6f},{math.exp(min(loss, 700)):.6f}\n" for number, epoch, loss in rows]
    return (_COLUMNS.format(noun) + "".join(lines)).encode()


def _make(region: Region, job: JobRecord, tuned: Tuned | None) -> None:
    members = (
        "hyperParameters",
        "trainingDataConfig",
        "validationDataConfig",
        "outputDataConfig",
        "customizationConfig",
    )
    shown = {
        **job.shown,
        "jobName": job.name,
        "jobArn": job.arn,
        **{name: job.request[name] for name in members if name in job.request},
    }
    kept = {
        "modelKmsKeyArn": job.request.get("customModelKmsKeyId"),
        **({tuning.TRAINED: tuned.model} if tuned else {}),
    }
    name, tags = job.request["customModelName"], job.request.get("customModelTags")
    job.shown["outputModelArn"] = custom.make_model(region, name, kept, shown, tags)


def _check_data(region: Region, uri: str, noun: str, *, is_log: bool) -> dict[str, bytes]:
    """The objects of the data, by their URIs. Raises ``JobFailure`` saying what is wrong, without a word of them."""
    found = read_under(region, uri)
    if not found:
        raise JobFailure(f"The {noun} data at {uri} was not found. Check the S3 URI and the role's access to it.")
    if is_log:
        return {}
    records = 0
    for name, data in found.items():
        for number, line in _lines(data):
            if not _is_record(line):
                raise JobFailure(
                    f"Invalid {noun} data: line {number} of {name} is not a JSON object with prompt and completion, "
                    "with messages or with input."
                )
            records += 1
    least = region.account.quotas.get("customization-records-min", 1)
    if records < least:
        raise JobFailure(f"The {noun} data at {uri} has {records} records: at least {least} are required.")
    return found


def _lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    return ((number, line) for number, line in enumerate(data.splitlines(), 1) if line.strip())


def _is_record(line: bytes) -> bool:
    try:
        record: Any = msgspec.json.decode(line)
    except (ValueError, RecursionError):
        return False
    if not isinstance(record, dict):
        return False
    fits = any(all(isinstance(record.get(name), kind) for name, kind in form.items()) for form in _FORMS)
    messages = record.get("messages", [])
    return fits and isinstance(messages, list) and all(isinstance(one, dict) and "role" in one for one in messages)


def _event(job: JobRecord) -> JsonObject:
    members = ("roleArn", "hyperParameters", "trainingDataConfig", "validationDataConfig", "outputDataConfig")
    when = {name: _iso(moment) for name, moment in times(job).items() if moment is not None}
    detail = {
        "jobName": job.name,
        "jobArn": job.arn,
        "outputModelName": job.request["customModelName"],
        "outputModelArn": job.shown.get("outputModelArn"),
        "jobStatus": job.status,
        "failureMessage": job.reason,
        **when,
        "baseModelArn": job.shown["baseModelArn"],
        **{name: job.request.get(name) for name in members},
    }
    return state_change("Model Customization Job", job, detail)


def _iso(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%dT%H:%M:%SZ}"


CUSTOMIZATION = Kind("model-customization", "model-customization-job", _customize, _STAGES, "Training", _event)


# --- what is shown ---------------------------------------------------------------------------------------------------


def _described(job: JobRecord) -> JsonObject:
    members = (
        *("clientRequestToken", "roleArn", "hyperParameters", "trainingDataConfig", "outputDataConfig"),
        *("vpcConfig", "customizationConfig"),
    )
    return {
        "jobArn": job.arn,
        "jobName": job.name,
        "outputModelName": job.request["customModelName"],
        **{name: job.request.get(name) for name in members},
        "status": job.status,
        "statusDetails": _details(job),
        "failureMessage": job.reason,
        **times(job),
        "validationDataConfig": job.request.get("validationDataConfig", {"validators": []}),
        "outputModelKmsKeyArn": job.request.get("customModelKmsKeyId"),
        **job.shown,
    }


def _details(job: JobRecord) -> JsonObject:
    """How far each part has come."""
    at = _STAGES.index(job.secondary) if job.secondary in _STAGES else len(_STAGES)
    words = [("Completed" if place < at else "InProgress" if place == at else "NotStarted") for place in range(3)]
    if job.ended is not None and job.status != "Completed":
        words[-1] = job.status
    when = {"creationTime": job.created, "lastModifiedTime": job.modified}
    return {name: {"status": word, **when} for name, word in zip(_DETAILS, words, strict=True)}


def _get(region: Region, request: JsonObject) -> JsonObject:
    return _described(find_job(CUSTOMIZATION, region, request["jobIdentifier"]))


def _list(region: Region, request: JsonObject) -> JsonObject:
    rows = [
        {
            **described,
            "customModelName": described["outputModelName"],
            "customModelArn": described.get("outputModelArn"),
        }
        for described in map(_described, all_jobs(CUSTOMIZATION, region))
    ]
    equal = {"statusEquals": "status", "nameContains": "jobName"}
    return page(request, rows, "modelCustomizationJobSummaries", equal=equal)


def _stop(region: Region, request: JsonObject) -> JsonObject:
    return stop_job(CUSTOMIZATION, region, request["jobIdentifier"])


OPERATIONS: Mapping[str, Operation] = {
    "CreateModelCustomizationJob": _create,
    "GetModelCustomizationJob": _get,
    "ListModelCustomizationJobs": _list,
    "StopModelCustomizationJob": _stop,
}
