"""What Bedrock's jobs of any kind do: they are kept by their ARNs, found by them, by ids and by names, and stopped."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from awsllm.server.account.account import Region
from awsllm.server.account.bedrock.records import named, read_tags, refuse_taken
from awsllm.server.account.bedrock.refusals import conflict, missing
from awsllm.server.account.jobs import JobRecord, Kind, begin, settle, stop
from awsllm.types import JsonObject


def begin_job(kind: Kind, region: Region, job: JobRecord, tags: Iterable[JsonObject] | None) -> JsonObject:
    """Keep a new job and run it when it is due. Returns the response of the operation that creates one."""
    region.state.tags[job.arn] = read_tags(tags)
    region.state.table(kind.path)[job.arn] = job
    begin(kind, region, job)
    return {"jobArn": job.arn}


def new_job(kind: Kind, region: Region, arn: str, request: JsonObject) -> JobRecord:
    """Raises Bedrock's refusal of a name that another has."""
    name = request.get("jobName") or arn
    refuse_taken(region, kind.path, name, f"{kind.noun} job")
    wait = region.wait(kind.noun)
    return JobRecord(name, arn, request, region.now(), wait, wait.looks)


def refuse_promised(kind: Kind, region: Region, member: str, name: str, noun: str) -> None:
    """Refuse a name that a job which has not ended will give to what it makes."""
    if any(job.ended is None and job.request.get(member) == name for job in region.state.table(kind.path).values()):
        raise conflict(f"A {noun} with the name {name!r} is being made in this account and region.")


def find_job(kind: Kind, region: Region, identifier: str, *, look: bool = True) -> JobRecord:
    job: JobRecord | None = named(region, kind.path, identifier)
    if job is None:
        raise missing(f"{kind.noun} job", identifier)
    settle(kind, region, job, look=look)
    return job


def all_jobs(kind: Kind, region: Region) -> list[JobRecord]:
    jobs: list[JobRecord] = list(region.state.table(kind.path).values())
    for job in jobs:
        settle(kind, region, job, look=False)
    return jobs


def stop_job(kind: Kind, region: Region, identifier: str) -> JsonObject:
    job = find_job(kind, region, identifier, look=False)
    if job.ended is not None or job.status == "Stopping":
        raise conflict(f"The {kind.noun} job {job.name!r} cannot be stopped: it is {job.status}.")
    stop(region, job)
    settle(kind, region, job, look=False)
    return {}


def state_change(noun: str, job: JobRecord, detail: JsonObject) -> JsonObject:
    """The event of a job whose state has changed, as EventBridge's PutEvents takes it. Its form:
    docs.aws.amazon.com/bedrock/latest/userguide/monitoring-eventbridge-how-it-works.html, read 2026-11-26."""
    known = {name: value for name, value in detail.items() if value is not None}
    return {
        "Source": "aws.bedrock",
        "DetailType": f"{noun} State Change",
        "Resources": [job.arn],
        "Detail": msgspec.json.encode({"version": "0.0", **known}).decode(),
    }


def times(job: JobRecord) -> JsonObject:
    """What every kind shows of when."""
    return {"creationTime": job.created, "lastModifiedTime": job.modified, "endTime": job.ended}
