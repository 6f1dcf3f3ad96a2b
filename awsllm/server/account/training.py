"""Training jobs: they read every channel, and write what was read.

At its end a job writes ``S3OutputPath/NAME/output/model.tar.gz``, or the same files under ``output/model/`` without
compression: the hyperparameters and what was read. No weights are trained here, and no metric is made up: metrics are
those whose expression matches the job's log. Channels in JumpStart's own buckets are not read: there are no such
objects here.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial

import msgspec

from awsllm.server.account.account import Operation, Region
from awsllm.server.account.job_operations import create, describe, list_jobs, stop
from awsllm.server.account.jobs import JobFailure, JobRecord, Kind, log, read_under, write
from awsllm.server.account.refusals import invalid
from awsllm.server.account.rules import check_licence
from awsllm.types import JsonObject

_PUBLIC_BUCKETS = re.compile(r"s3://(jumpstart-|sagemaker-sd-models-)")


def _create_training(region: Region, request: JsonObject) -> JsonObject:
    for channel in request.get("InputDataConfig") or ():
        if source := channel["DataSource"].get("S3DataSource"):
            check_licence(region, source)
    if "TrainingImage" not in request.get("AlgorithmSpecification", {}):
        raise invalid("AlgorithmSpecification has no TrainingImage.")
    return create(TRAINING, region, request)


def _train(region: Region, job: JobRecord) -> None:
    channels = {channel["ChannelName"]: _channel(region, channel) for channel in job.request.get("InputDataConfig", ())}
    lines = list(_training_log(job, channels))
    log(region, job, *lines)
    files = {
        "hyperparameters.json": _json(job.request.get("HyperParameters") or {}),
        "training.json": _json({"job": job.name, "channels": channels}),
    }
    seconds = max(1, int(region.now() - job.created))
    shown = {
        "ModelArtifacts": {"S3ModelArtifacts": _write_artifacts(region, job, files)},
        "FinalMetricDataList": list(_metrics(job, lines, region.now())),
        "TrainingTimeInSeconds": seconds,
        "BillableTimeInSeconds": seconds,
    }
    with region.account.lock:
        job.shown |= shown


def _channel(region: Region, channel: JsonObject) -> JsonObject:
    """What one channel holds. Raises what AWS says of a channel without data."""
    uri = str((channel["DataSource"].get("S3DataSource") or {}).get("S3Uri", ""))
    if _PUBLIC_BUCKETS.match(uri):
        return {"S3Uri": uri, "Read": False}
    found = read_under(region, uri)
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
    yield f"Training image {job.request['AlgorithmSpecification']['TrainingImage']}"
    for name, value in sorted((job.request.get("HyperParameters") or {}).items()):
        yield f"hyperparameter {name}={value}"
    for name, held in channels.items():
        yield f"channel {name}: {held['Lines']} lines, {held['Bytes']} bytes" if held["Read"] else f"channel {name}"
    yield "Training finished; nothing was learnt: this is an offline control plane"


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


def _write_artifacts(region: Region, job: JobRecord, files: Mapping[str, bytes]) -> str:
    """Where the artifact is: an archive, or a prefix."""
    output = job.request["OutputDataConfig"]
    base = f"{output['S3OutputPath'].rstrip('/')}/{job.name}/output"
    if output.get("CompressionType") == "NONE":
        for name, data in files.items():
            write(region, f"{base}/model/{name}", data)
        return f"{base}/model/"
    write(region, f"{base}/model.tar.gz", _archive(files))
    return f"{base}/model.tar.gz"


def _archive(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def _json(value: JsonObject) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value))


TRAINING = Kind(
    "training", "training-job", _train, ("Starting", "Downloading", "Training", "Uploading"), "Training",
    member="TrainingJob", group="/aws/sagemaker/TrainingJobs",
)  # fmt: skip

OPERATIONS: Mapping[str, Operation] = {
    "CreateTrainingJob": _create_training,
    "DescribeTrainingJob": partial(describe, TRAINING),
    "StopTrainingJob": partial(stop, TRAINING),
    "ListTrainingJobs": partial(list_jobs, TRAINING),
}
