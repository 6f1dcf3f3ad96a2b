"""The life of a job: created, in progress, stopped or ended, listed. What kinds of job do is in ``training`` and
``transform``.

A job is InProgress for as long as its transition lasts (``training``, ``transform``); what it does happens when that
ends, over objects that are really there (``Account.objects``). ``Account.fail`` works for jobs as it does for
endpoints.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from awsllm.server.account.account import Region
from awsllm.server.account.listing import listed
from awsllm.server.account.neighbours import ObjectStore
from awsllm.server.account.refusals import could_not_find, invalid, refused
from awsllm.server.account.state import Wait
from awsllm.server.account.tags import tags_of
from awsllm.types import JsonObject

ELSEWHERE = "job-elsewhere"
"""The table of jobs whose model was made elsewhere: they are left alone with it."""


class JobFailure(Exception):
    """Why a job fails, as its FailureReason says it."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How one kind of job is named on the wire, and what it does at its end (``run`` raises ``JobFailure``). ``stages``
    are its secondary statuses while it is in progress."""

    noun: str
    member: str
    path: str
    group: str
    run: Callable[[Region, JobRecord], None]
    stages: tuple[str, ...] = ()


@dataclass(slots=True)
class JobRecord:
    """``shown`` is what Describe shows beside the request. ``wait`` is None once the job has ended; ``lasts`` are its
    looks when it began."""

    kind: Kind
    name: str
    arn: str
    request: JsonObject
    created: float
    wait: Wait | None
    lasts: int
    status: str = "InProgress"
    secondary: str = ""
    reason: str | None = None
    ended: float | None = None
    shown: JsonObject = field(default_factory=dict)


# --- operations, given the kind --------------------------------------------------------------------------------------


def create(kind: Kind, region: Region, request: JsonObject) -> JsonObject:
    name = request[f"{kind.member}Name"]
    arn = region.arn(kind.path, name)
    if name in region.state.table(kind.path):
        message = f"Job name must be unique within an AWS account and region, and a job with this name exists ({arn})"
        raise refused("ResourceInUse", message)
    wait = region.wait(kind.noun)
    job = JobRecord(kind, name, arn, request, region.now(), wait, wait.looks)
    region.state.table(kind.path)[name] = job
    region.state.tags[arn] = tags_of(request)
    _settle(region, job, look=False)
    return {f"{kind.member}Arn": arn}


def describe(kind: Kind, region: Region, request: JsonObject) -> JsonObject | None:
    job = _find(kind, region, request)
    if job is None:
        return None
    _settle(region, job, look=True)
    requested = {member: value for member, value in job.request.items() if member != "Tags"}
    shown = {
        f"{kind.member}Arn": job.arn,
        f"{kind.member}Status": job.status,
        "SecondaryStatus": job.secondary,
        "FailureReason": job.reason,
        "CreationTime": job.created,
        f"{kind.member.removesuffix('Job')}StartTime": job.created,
        f"{kind.member.removesuffix('Job')}EndTime": job.ended,
    }
    return {**requested, **{member: value for member, value in shown.items() if value}, **job.shown}


def stop(kind: Kind, region: Region, request: JsonObject) -> JsonObject | None:
    job = _find(kind, region, request)
    if job is None:
        return None
    _settle(region, job, look=False)
    if job.status != "InProgress":
        raise invalid(f"The request was rejected because the {kind.noun} job is in status {job.status}.")
    job.status, job.wait = "Stopping", Wait(looks=min(1, job.lasts))
    _settle(region, job, look=False)
    return {}


def list_jobs(kind: Kind, region: Region, request: JsonObject) -> JsonObject:
    jobs: list[JobRecord] = list(region.state.table(kind.path).values())
    for job in jobs:
        _settle(region, job, look=False)
    name, status = f"{kind.member}Name", f"{kind.member}Status"
    page, more = listed(request, [_row(kind, job) for job in jobs], name=name, status=status)
    return {f"{kind.member}Summaries": page, **more}


def _row(kind: Kind, job: JobRecord) -> JsonObject:
    return {
        f"{kind.member}Name": job.name,
        f"{kind.member}Arn": job.arn,
        f"{kind.member}Status": job.status,
        "CreationTime": job.created,
        "LastModifiedTime": job.ended or job.created,
        **({f"{kind.member.removesuffix('Job')}EndTime": job.ended} if job.ended else {}),
    }


# --- how it goes on --------------------------------------------------------------------------------------------------


def _find(kind: Kind, region: Region, request: JsonObject) -> JobRecord | None:
    """The job, or None for one that was left to others (``ELSEWHERE``)."""
    name = request[f"{kind.member}Name"]
    job: JobRecord | None = region.state.table(kind.path).get(name)
    if job is None and name not in region.state.table(ELSEWHERE):
        raise could_not_find(f"{kind.noun} job", region.arn(kind.path, name))
    return job


def _settle(region: Region, job: JobRecord, *, look: bool) -> None:
    """End the job if its time has come. A look counts; a listing is none."""
    if job.wait is None:
        return
    if (not look and job.wait.looks > 0) or not job.wait.look(region.now()):
        job.secondary = _stage(job, job.wait)
        return
    job.wait = None
    if job.status == "Stopping":
        _end(region, job, "Stopped")
        return
    job.reason = region.account.take_failure(job.name) or _run(region, job)
    if job.reason:
        log(region, job, f"Error: {job.reason}")
    _end(region, job, "Failed" if job.reason else "Completed")


def _run(region: Region, job: JobRecord) -> str | None:
    """Do what the job is for. Returns why it failed, if it did."""
    try:
        job.kind.run(region, job)
    except JobFailure as failure:
        return str(failure)
    return None


def _stage(job: JobRecord, wait: Wait) -> str:
    """Which of its stages a job has come to: they share its looks evenly."""
    stages = job.kind.stages
    if stages and job.status == "Stopping":
        return "Stopping"
    seen = job.lasts - wait.looks
    return stages[min(seen * len(stages) // (job.lasts + 1), len(stages) - 1)] if stages else ""


def _end(region: Region, job: JobRecord, status: str) -> None:
    job.status, job.secondary, job.ended = status, status if job.kind.stages else "", region.now()


# --- what running jobs use -------------------------------------------------------------------------------------------


def log(region: Region, job: JobRecord, *lines: str) -> None:
    region.log(job.kind.group, f"{job.name}/algo-1-{int(job.created)}", lines)


def objects(region: Region) -> ObjectStore:
    if region.account.objects is None:
        raise JobFailure("InternalServerError: there is no S3 beside this control plane")
    return region.account.objects


def read_under(region: Region, uri: str) -> dict[str, bytes]:
    """The objects at or under a URI, by their own; placeholders of folders left out."""
    store = objects(region)
    return {one: store.read(one) for one in store.list(uri) if not one.endswith("/")}


def write(region: Region, uri: str, data: bytes) -> None:
    try:
        objects(region).write(uri, data)
    except KeyError:
        raise JobFailure(f"ClientError: cannot write {uri}: the bucket does not exist") from None
