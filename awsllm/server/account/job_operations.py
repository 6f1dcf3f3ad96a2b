"""SageMaker's operations on a kind of job: created, described, stopped, listed by name."""

from __future__ import annotations

from awsllm.server.account.account import Region
from awsllm.server.account.jobs import JobRecord, Kind, begin, settle
from awsllm.server.account.jobs import stop as stop_job
from awsllm.server.account.listing import listed
from awsllm.server.account.refusals import could_not_find, invalid, not_found, refused
from awsllm.server.account.tags import tags_of
from awsllm.types import JsonObject

ELSEWHERE = "job-elsewhere"
"""The table of jobs whose model was made elsewhere: they are left alone with it."""


def create(kind: Kind, region: Region, request: JsonObject) -> JsonObject:
    name = request[f"{kind.member}Name"]
    arn = region.arn(kind.path, name)
    if name in region.state.table(kind.path):
        message = f"Job name must be unique within an AWS account and region, and a job with this name exists ({arn})"
        raise refused("ResourceInUse", message)
    wait = region.wait(kind.noun)
    job = JobRecord(name, arn, request, region.now(), wait, wait.looks)
    region.state.table(kind.path)[name] = job
    region.state.tags[arn] = tags_of(request)
    begin(kind, region, job)
    return {f"{kind.member}Arn": arn}


def describe(kind: Kind, region: Region, request: JsonObject) -> JsonObject | None:
    job = _find(kind, region, request)
    if job is None:
        return None
    settle(kind, region, job, look=True)
    requested = {member: value for member, value in job.request.items() if member != "Tags"}
    shown = {
        f"{kind.member}Arn": job.arn,
        f"{kind.member}Status": job.status,
        "SecondaryStatus": job.secondary,
        "FailureReason": job.reason,
        "CreationTime": job.created,
        f"{kind.member.removesuffix('Job')}StartTime": job.created,
        f"{kind.member.removesuffix('Job')}EndTime": job.ended,
        "SecondaryStatusTransitions": _transitions(job) if kind.stages else None,
    }
    return {**requested, **{member: value for member, value in shown.items() if value}, **job.shown}


def _transitions(job: JobRecord) -> list[JsonObject]:
    """The stages that it came through: each but the last ended when the next began."""
    ends = [one["StartTime"] for one in job.passed[1:]] + [job.ended]
    return [
        {**one, **({"EndTime": end} if end else {}), "StatusMessage": _MESSAGES.get(one["Status"], one["Status"])}
        for one, end in zip(job.passed, ends, strict=True)
    ]


_MESSAGES = {
    "Starting": "Preparing the instances for training",
    "Downloading": "Downloading input data",
    "Training": "Training image download completed. Training in progress.",
    "Uploading": "Uploading generated training model",
    "Stopping": "Stopping the training job",
    "Stopped": "Training job stopped",
    "Completed": "Training job completed",
    "Failed": "Training job failed",
}
"""What is said of each stage, as users report it."""


def stop(kind: Kind, region: Region, request: JsonObject) -> JsonObject | None:
    job = _find(kind, region, request)
    if job is None:
        return None
    settle(kind, region, job, look=False)
    if job.status != "InProgress":
        raise invalid(f"The request was rejected because the {kind.noun} job is in status {job.status}.")
    stop_job(region, job)
    settle(kind, region, job, look=False)
    return {}


def delete(kind: Kind, region: Region, request: JsonObject) -> JsonObject | None:
    """Forget a job that is over; what it wrote is kept."""
    name = request[f"{kind.member}Name"]
    job: JobRecord | None = region.state.table(kind.path).get(name)
    if job is None:
        if name in region.state.table(ELSEWHERE):
            return None
        raise not_found(f"Requested resource not found: {region.arn(kind.path, name)}")
    settle(kind, region, job, look=False)
    if job.ended is None:
        raise refused("ResourceInUse", f"The {kind.noun} job {job.arn} is {job.status}: it must have ended.")
    del region.state.table(kind.path)[name]
    region.state.tags.pop(job.arn, None)
    return {}


def list_jobs(kind: Kind, region: Region, request: JsonObject) -> JsonObject:
    jobs: list[JobRecord] = list(region.state.table(kind.path).values())
    for job in jobs:
        settle(kind, region, job, look=False)
    name, status = f"{kind.member}Name", f"{kind.member}Status"
    rows = [_row(kind, job) for job in jobs if _is_wanted(request, job)]
    page, more = listed(request, rows, name=name, status=status, ascending=kind.ascending)
    return {f"{kind.member}Summaries": page, **more}


def _is_wanted(request: JsonObject, job: JobRecord) -> bool:
    """Filters of training jobs alone: none here keeps a warm pool."""
    plan = request.get("TrainingPlanArnEquals")
    planned = (job.request.get("ResourceConfig") or {}).get("TrainingPlanArn")
    return "WarmPoolStatusEquals" not in request and plan in (None, planned)


def _row(kind: Kind, job: JobRecord) -> JsonObject:
    return {
        f"{kind.member}Name": job.name,
        f"{kind.member}Arn": job.arn,
        f"{kind.member}Status": job.status,
        "CreationTime": job.created,
        "LastModifiedTime": job.ended or job.created,
        **({f"{kind.member.removesuffix('Job')}EndTime": job.ended} if job.ended else {}),
    }


def _find(kind: Kind, region: Region, request: JsonObject) -> JobRecord | None:
    """The job, or None for one that was left to others (``ELSEWHERE``)."""
    name = request[f"{kind.member}Name"]
    job: JobRecord | None = region.state.table(kind.path).get(name)
    if job is None and name not in region.state.table(ELSEWHERE):
        raise could_not_find(f"{kind.noun} job", region.arn(kind.path, name))
    return job
