"""Batch transform jobs: they answer each record of each object through the model's container, and write ``KEY.out``.

One record that fails fails the job, and writes nothing for its object.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from awsllm.errors import AwsllmError
from awsllm.server.account import containers
from awsllm.server.account.account import Operation, Region
from awsllm.server.account.invocations import invoke
from awsllm.server.account.jobs import (
    ELSEWHERE,
    JobFailure,
    JobRecord,
    Kind,
    create,
    describe,
    list_jobs,
    log,
    read_under,
    stop,
    write,
)
from awsllm.server.account.models import containers_of
from awsllm.server.account.refusals import invalid
from awsllm.server.account.resources import find
from awsllm.server.container import Container
from awsllm.types import JsonObject
from awsllm.wire.body import Payload


def _create_transform(region: Region, request: JsonObject) -> JsonObject | None:
    model = find(region, "model", request["ModelName"])
    if model is None:
        region.state.table(ELSEWHERE)[request["TransformJobName"]] = request
        return None
    if any("ModelDataSource" in container for container in containers_of(model)):
        raise invalid("ModelDataSource is not supported with batch transform: use ModelDataUrl.")
    return create(TRANSFORM, region, request)


def _transform(region: Region, job: JobRecord) -> None:
    uri = job.request["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"]
    found = read_under(region, uri)
    if not found:
        raise JobFailure(f"ClientError: No objects were found at {uri}")
    try:
        container = containers.of_model(region, job.request["ModelName"])
    except AwsllmError as error:
        raise JobFailure(f"AlgorithmError: {error.message}") from error
    output = job.request["TransformOutput"]
    glue = b"\n" if output.get("AssembleWith") == "Line" else b""
    failures = 0
    for source, data in found.items():
        try:
            responses = [_invoke(region, job, container, record) for record in _records(job, data)]
        except AwsllmError as error:
            failures += 1
            log(region, job, f"{source}: {error.message}")
            continue
        target = f"{output['S3OutputPath'].rstrip('/')}/{_beneath(uri, source)}.out"
        write(region, target, b"".join(response + glue for response in responses))
    if failures:
        raise JobFailure(
            f"AlgorithmError: {failures} of {len(found)} input objects failed. See job logs for more information"
        )


def _records(job: JobRecord, data: bytes) -> list[bytes]:
    if job.request["TransformInput"].get("SplitType") == "Line":
        return [line for line in data.splitlines() if line.strip()]
    return [data]


def _beneath(prefix: str, uri: str) -> str:
    """The key of an object below the prefix that was read; its name where the object itself was."""
    relative = uri.removeprefix(prefix).lstrip("/") if uri != prefix else ""
    return relative if relative and (prefix.endswith("/") or uri[len(prefix)] == "/") else uri.rpartition("/")[2]


def _invoke(region: Region, job: JobRecord, container: Container, record: bytes) -> bytes:
    content_type = job.request["TransformInput"].get("ContentType", "application/json")
    accept = job.request["TransformOutput"].get("Accept", "application/json")
    return invoke(region.account, container, job.request["ModelName"], Payload(record, content_type, accept)).body


TRANSFORM = Kind("transform", "TransformJob", "transform-job", "/aws/sagemaker/TransformJobs", _transform)

OPERATIONS: Mapping[str, Operation] = {
    "CreateTransformJob": _create_transform,
    "DescribeTransformJob": partial(describe, TRANSFORM),
    "StopTransformJob": partial(stop, TRANSFORM),
    "ListTransformJobs": partial(list_jobs, TRANSFORM),
}
