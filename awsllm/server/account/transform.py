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
from awsllm.server.account.job_operations import ELSEWHERE, create, describe, list_jobs, stop
from awsllm.server.account.jobs import JobFailure, JobRecord, Kind, beneath, check_stopped, log, read_under, write
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
        with region.account.lock:
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
        target = f"{output['S3OutputPath'].rstrip('/')}/{beneath(uri, source)}.out"
        write(region, target, b"".join(response + glue for response in responses))
    if failures:
        raise JobFailure(
            f"AlgorithmError: {failures} of {len(found)} input objects failed. See job logs for more information"
        )


def _records(job: JobRecord, data: bytes) -> list[bytes]:
    if job.request["TransformInput"].get("SplitType") == "Line":
        return [line for line in data.splitlines() if line.strip()]
    return [data]


def _invoke(region: Region, job: JobRecord, container: Container, record: bytes) -> bytes:
    check_stopped(region, job)
    content_type = job.request["TransformInput"].get("ContentType", "application/json")
    accept = job.request["TransformOutput"].get("Accept", "application/json")
    return invoke(region.account, container, job.request["ModelName"], Payload(record, content_type, accept)).body


TRANSFORM = Kind("transform", "transform-job", _transform, member="TransformJob", group="/aws/sagemaker/TransformJobs")

OPERATIONS: Mapping[str, Operation] = {
    "CreateTransformJob": _create_transform,
    "DescribeTransformJob": partial(describe, TRANSFORM),
    "StopTransformJob": partial(stop, TRANSFORM),
    "ListTransformJobs": partial(list_jobs, TRANSFORM),
}
