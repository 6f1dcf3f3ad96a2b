"""Training jobs: they read every channel, train what can be trained here, and write what was made.

A JumpStart model, or the base of a serverless customisation, for which a local model stands learns the job's data
(``tuning``). At its end a job writes ``S3OutputPath/NAME/output/model.tar.gz``, or the same files under
``output/model/`` without compression: the hyperparameters, what was read, and the model, which endpoints of it then
answer with. Of a serverless customisation it is the prefix, and a version of the model package group. Where nothing is
trained there is no model, and no metric is made up: metrics are those whose expression matches the job's log. Channels
in JumpStart's own buckets are not read: there are no such objects here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

import msgspec

from awsllm.jumpstart import names
from awsllm.server.account import tuning
from awsllm.server.account.account import Operation, Region
from awsllm.server.account.artifacts import ADAPTER, MERGED, files_of, remember, write_artifacts
from awsllm.server.account.job_operations import create, delete, describe, list_jobs, stop
from awsllm.server.account.jobs import JobFailure, JobRecord, Kind, log
from awsllm.server.account.local_training import Tuned
from awsllm.server.account.packages import PACKAGES, keep, lies_at, new_version
from awsllm.server.account.refusals import invalid
from awsllm.server.account.rules import check_licence
from awsllm.types import JsonObject

_DAY = 86_400  # how long a job may run that does not say (botocore's service model)
_PUBLIC_BUCKETS = re.compile(r"s3://(jumpstart-|sagemaker-sd-models-)")


def _create_training(region: Region, request: JsonObject) -> JsonObject:
    for channel in request.get("InputDataConfig") or ():
        if source := channel["DataSource"].get("S3DataSource"):
            check_licence(region, source)
    if serverless := request.get("ServerlessJobConfig"):
        _check_serverless(region, request, serverless)
    elif "TrainingImage" not in request.get("AlgorithmSpecification", {}):
        raise invalid("AlgorithmSpecification has no TrainingImage.")
    return create(TRAINING, region, {"StoppingCondition": {"MaxRuntimeInSeconds": _DAY}, **request})


def _check_serverless(region: Region, request: JsonObject, config: JsonObject) -> None:
    """The licence, and what goes with a technique."""
    if "AlgorithmSpecification" in request or "ResourceConfig" in request:
        raise invalid("AlgorithmSpecification and ResourceConfig cannot be used with ServerlessJobConfig.")
    name = names.hub_content(config["BaseModelArn"])
    gated = any(content.name == name and content.gated for content in region.account.contents)
    if gated and config.get("AcceptEula") is not True:
        raise invalid(
            f"You must accept the end-user license agreement (EULA) of the model {name}: set AcceptEula to true in "
            "ServerlessJobConfig."
        )
    technique = config.get("CustomizationTechnique")
    if technique in ("RLVR", "RLAIF") and not config.get("EvaluatorArn"):
        raise invalid(f"EvaluatorArn is required for CustomizationTechnique {technique}.")
    source = (request.get("ModelPackageConfig") or {}).get("SourceModelPackageArn")
    if source and source not in region.state.table(PACKAGES):
        raise invalid(f"ModelPackage {source} does not exist.")


def _train(region: Region, job: JobRecord) -> None:
    channels = {channel["ChannelName"]: _channel(region, channel) for channel in job.request.get("InputDataConfig", ())}
    lines = list(_training_log(job, channels))
    log(region, job, *lines)
    began = region.now()
    tuned = tuning.tune(region, job)
    lines += [tuning.line_of(step) for step in tuned.steps] if tuned else []
    closing = "Training finished" + ("" if tuned else "; nothing was learnt: this is an offline control plane")
    log(region, job, closing)
    files = {
        "hyperparameters.json": _json(job.request.get("HyperParameters") or {}),
        "training.json": _json({"job": job.name, "channels": channels}),
    }
    artifact = _write(region, job, files, tuned)
    seconds = max(1, int(region.now() - (began if tuned else job.created)))
    shown = {
        "ModelArtifacts": {"S3ModelArtifacts": artifact},
        "FinalMetricDataList": list(_metrics(job, lines, region.now()) if _specified(job) else _losses(region, tuned)),
        "TrainingTimeInSeconds": seconds,
        "BillableTimeInSeconds": seconds,
    }
    with region.account.lock:
        job.shown |= shown
        if group := (job.request.get("ModelPackageConfig") or {}).get("ModelPackageGroupArn"):
            job.shown["OutputModelPackageArn"] = _package(region, job, group, artifact)


def _write(region: Region, job: JobRecord, files: Mapping[str, bytes], tuned: Tuned | None) -> str:
    """The artifact, with the model in it where one was made. Returns its URI."""
    serverless = not _specified(job)
    made = files_of(Path(tuned.model), MERGED if serverless else "") if tuned else {}
    if tuned is not None:
        remember(region, made, tuned.model)
    beside = files_of(Path(tuned.adapter), ADAPTER) if tuned and tuned.adapter and serverless else {}
    packed = not serverless and job.request["OutputDataConfig"].get("CompressionType") != "NONE"
    return write_artifacts(region, job, {**files, **made, **beside}, packed=packed)


def _package(region: Region, job: JobRecord, group: str, artifact: str) -> str:
    """The model as a new version of a group. Returns its ARN."""
    base = (job.request.get("ServerlessJobConfig") or {}).get("BaseModelArn", "")
    made = new_version(region, group, base)
    lies_at(made, artifact)
    return keep(region, made)


def _specified(job: JobRecord) -> bool:
    """Whether the job has an image of its own; else the service chooses what runs."""
    return "ServerlessJobConfig" not in job.request


def _losses(region: Region, tuned: Tuned | None) -> Iterator[JsonObject]:
    if tuned is not None:
        yield {"MetricName": "train_loss", "Value": tuned.steps[-1]["loss"], "Timestamp": region.now()}
        if "reward" in tuned.steps[-1]:
            yield {"MetricName": "reward", "Value": tuned.steps[-1]["reward"], "Timestamp": region.now()}
        if tuned.losses:
            yield {"MetricName": "eval_loss", "Value": tuned.losses[-1][1], "Timestamp": region.now()}


def _channel(region: Region, channel: JsonObject) -> JsonObject:
    """What one channel holds. Raises what AWS says of a channel without data."""
    uri = str((channel["DataSource"].get("S3DataSource") or {}).get("S3Uri", ""))
    if _PUBLIC_BUCKETS.match(uri):
        return {"S3Uri": uri, "Read": False}
    found = tuning.channel_files(region, channel)
    name = channel["ChannelName"]
    if not found:
        raise JobFailure(
            f"ClientError: Data download failed: No objects were found at {uri} for channel {name}. Please ensure that "
            "the bucket exists, that the prefix is right and that the role can list it."
        )
    if not any(found.values()):
        raise JobFailure(f"AlgorithmError: the channel {name} has no data: every object under {uri} is empty")
    records = sum(len(data.splitlines()) for data in found.values())
    return {"S3Uri": uri, "Read": True, "Objects": len(found), "Bytes": sum(map(len, found.values())), "Lines": records}


def _training_log(job: JobRecord, channels: Mapping[str, JsonObject]) -> Iterator[str]:
    if _specified(job):
        yield f"Training image {job.request['AlgorithmSpecification']['TrainingImage']}"
    for name, value in sorted((job.request.get("HyperParameters") or {}).items()):
        yield f"hyperparameter {name}={value}"
    for name, held in channels.items():
        yield f"channel {name}: {held['Lines']} lines, {held['Bytes']} bytes" if held["Read"] else f"channel {name}"


def _metrics(job: JobRecord, lines: list[str], now: float) -> Iterator[JsonObject]:
    for metric in job.request["AlgorithmSpecification"].get("MetricDefinitions") or ():
        values = list(_values(metric["Regex"], lines))
        if values:
            yield {"MetricName": metric["Name"], "Value": values[-1], "Timestamp": now}


def _values(pattern: str, lines: list[str]) -> Iterator[float]:
    """What the first group of the caller's pattern finds that is a number."""
    with suppress(re.error):
        for line in lines:
            if (found := re.search(pattern, line)) and found.groups():
                with suppress(ValueError, TypeError):
                    yield float(found[1])


def _json(value: JsonObject) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value))


TRAINING = Kind(
    "training", "training-job", _train, ("Starting", "Downloading", "Training", "Uploading"), "Training",
    member="TrainingJob", group="/aws/sagemaker/TrainingJobs", ascending=True,
)  # fmt: skip

OPERATIONS: Mapping[str, Operation] = {
    "CreateTrainingJob": _create_training,
    "DescribeTrainingJob": partial(describe, TRAINING),
    "StopTrainingJob": partial(stop, TRAINING),
    "DeleteTrainingJob": partial(delete, TRAINING),
    "ListTrainingJobs": partial(list_jobs, TRAINING),
}
