"""Batch inference jobs: created, looked at, stopped. ``batch_run`` says what one does, and what of it stands in S3.

A job waits as Submitted, Validating and Scheduled, is InProgress while it infers, and ends as Completed,
PartiallyCompleted (its time was over), Failed, Stopped or Expired (it never began). ``Account.quotas`` bounds it:
``batch-records-min`` (100, as the service has it; a test that has fewer says so), ``batch-records-per-file`` and
``batch-records-per-job``.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from awsllm.models.opaque import opaque_kind
from awsllm.models.profiles import profile
from awsllm.server.account.account import Operation, Region
from awsllm.server.account.bedrock.batch_run import run
from awsllm.server.account.bedrock.job_operations import all_jobs, begin_job, find_job, new_job, state_change, stop_job
from awsllm.server.account.bedrock.pages import page
from awsllm.server.account.bedrock.records import bedrock_arn, once
from awsllm.server.account.bedrock.refusals import missing
from awsllm.server.account.bedrock.resolve import family_of
from awsllm.server.account.jobs import JobRecord, Kind
from awsllm.server.account.refusals import invalid
from awsllm.types import JsonObject

_HOUR = 3600.0
_LASTS = 24  # hours without timeoutDurationInHours


def _event(job: JobRecord) -> JsonObject:
    made = datetime.fromtimestamp(job.created, UTC)
    detail = {
        "accountId": job.arn.split(":")[4],
        "batchJobName": job.name,
        "batchJobArn": job.arn,
        "batchModelId": job.request["modelId"],
        "status": _status(job),
        "failureMessage": job.reason or "",
        "creationTime": f"{made:%b} {made.day}, {made:%Y, %I:%M:%S %p}",
    }
    return state_change("Batch Inference Job", job, detail)


def _status(job: JobRecord) -> str:
    return (job.secondary or BATCH.stages[0]) if job.status == "InProgress" else job.status


BATCH = Kind(
    "model-invocation",
    "model-invocation-job",
    run,
    stages=("Submitted", "Validating", "Scheduled", "InProgress"),
    working="InProgress",
    event=_event,
)


@once
def _create(region: Region, request: JsonObject) -> JsonObject:
    model = request["modelId"]
    if opaque_kind(model):
        if family_of(region, model) is None:
            raise missing("model", model)
    elif profile("bedrock", model).provider == "unknown":
        raise invalid("The provided model identifier is invalid.")
    job = new_job(BATCH, region, bedrock_arn(region, BATCH.path), request)
    job.expires = job.created + request.get("timeoutDurationInHours", _LASTS) * _HOUR
    return begin_job(BATCH, region, job, request.get("tags"))


def _described(job: JobRecord) -> JsonObject:
    requested = {name: value for name, value in job.request.items() if name != "tags"}
    return {
        **requested,
        "jobArn": job.arn,
        "status": _status(job),
        "message": job.reason,
        "submitTime": job.created,
        "lastModifiedTime": job.modified,
        "endTime": job.ended,
        "timeoutDurationInHours": job.request.get("timeoutDurationInHours", _LASTS),
        "jobExpirationTime": job.expires,
        "modelInvocationType": job.request.get("modelInvocationType", "InvokeModel"),
        **job.shown,
    }


def _get(region: Region, request: JsonObject) -> JsonObject:
    return _described(find_job(BATCH, region, request["jobIdentifier"]))


def _list(region: Region, request: JsonObject) -> JsonObject:
    rows = map(_described, all_jobs(BATCH, region))
    equal = {"statusEquals": "status", "nameContains": "jobName"}
    return page(request, rows, "invocationJobSummaries", time="submitTime", equal=equal)


def _stop(region: Region, request: JsonObject) -> JsonObject:
    return stop_job(BATCH, region, request["jobIdentifier"])


OPERATIONS: Mapping[str, Operation] = {
    "CreateModelInvocationJob": _create,
    "GetModelInvocationJob": _get,
    "ListModelInvocationJobs": _list,
    "StopModelInvocationJob": _stop,
}
