"""The life of a job: it begins, waits, runs, and ends. What kinds of job do is theirs: ``training``, ``transform``,
``bedrock``.

A job waits for as long as its transition lasts (``training``, ``transform``); then it runs, over objects that are
really there (``Account.objects``), within the call that finds it due or in the background (``Account.perform``). One
that runs looks between its records whether it was stopped (``check_stopped``). ``Account.fail`` works for jobs as it
does for endpoints.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from awsllm.server.account.account import Region
from awsllm.server.account.neighbours import ObjectStore
from awsllm.server.account.state import Wait, kept
from awsllm.types import JsonObject


class JobFailure(Exception):
    """Why a job fails, as its FailureReason says it."""


class JobStopped(Exception):
    """The job was stopped while it ran."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of job.

    ``noun`` names its transition, ``path`` its table and the resource in its ARNs. ``run`` does what it is for and
    returns the status it ends in, None for Completed; it raises ``JobFailure``. ``stages`` are its secondary statuses
    while it waits, ``working`` is the one while it runs. ``event`` is what EventBridge is told when the job begins and
    ends. ``member`` and ``group`` are what SageMaker calls it, and where its log is; ``ascending`` whether its list
    begins with the oldest.
    """

    noun: str
    path: str
    run: Callable[[Region, JobRecord], str | None]
    stages: tuple[str, ...] = ()
    working: str = ""
    event: Callable[[JobRecord], JsonObject] | None = None
    member: str = ""
    group: str = ""
    ascending: bool = False


@kept
@dataclass(slots=True)
class JobRecord:
    """``shown`` is what is shown of it beside the request. ``wait`` is None once the job has begun to run; ``lasts``
    are its looks when it was created; one that has not begun when it ``expires`` never does. ``passed`` are the stages
    that it came through, each with when it began."""

    name: str
    arn: str
    request: JsonObject
    created: float
    wait: Wait | None
    lasts: int
    status: str = "InProgress"
    secondary: str = ""
    reason: str | None = None
    modified: float = 0.0
    ended: float | None = None
    expires: float | None = None
    group: str = ""
    shown: JsonObject = field(default_factory=dict)
    passed: list[JsonObject] = field(default_factory=list)


def begin(kind: Kind, region: Region, job: JobRecord) -> None:
    """Run a new job if it need not wait."""
    job.group, job.modified = kind.group, job.created
    _tell(kind, region, job)
    settle(kind, region, job, look=False)


def stop(region: Region, job: JobRecord) -> None:
    """Stop a job that is in progress. One that runs ends after its record, one that waits at the next look."""
    job.status, job.modified = "Stopping", region.now()
    if job.arn not in region.account.running:
        job.wait = Wait(looks=min(1, job.lasts))


def check_stopped(region: Region, job: JobRecord) -> None:
    """Raise ``JobStopped`` if somebody has stopped the job that runs, or its account is over."""
    with region.account.lock:
        if job.status == "Stopping" or region.account.is_over:
            raise JobStopped


def settle(kind: Kind, region: Region, job: JobRecord, *, look: bool) -> None:
    """Run the job if its time has come. A look counts; a listing is none."""
    if job.ended is not None or job.arn in region.account.running:
        return
    if job.wait is not None:
        if job.status != "Stopping" and job.expires is not None and region.now() >= job.expires:
            _end(kind, region, job, "Expired")
            return
        if (not look and job.wait.looks > 0) or not job.wait.look(region.now()):
            _enter(kind, region, job, _stage(kind, job, job.wait))
            return
        job.wait = None
    if job.status == "Stopping":
        _end(kind, region, job, "Stopped")
        return
    _enter(kind, region, job, kind.working)
    region.account.perform(job.arn, partial(_run, kind, region, job))


def _run(kind: Kind, region: Region, job: JobRecord) -> None:
    try:
        status, reason = _outcome(kind, region, job)
    except BaseException as error:  # pytest's failures are none of Exception
        _finish(kind, region, job, "Failed", f"InternalServerError: {type(error).__name__}")
        if not region.account.background:
            raise  # of a script: the test is the one to see it, once
        return
    _finish(kind, region, job, status, reason)


def _finish(kind: Kind, region: Region, job: JobRecord, status: str, reason: str | None) -> None:
    with region.account.lock:
        if region.account.is_over:
            return
        job.reason = reason
        if reason:
            log(region, job, f"Error: {reason}")
        _end(kind, region, job, "Stopped" if job.status == "Stopping" else status)


def _outcome(kind: Kind, region: Region, job: JobRecord) -> tuple[str, str | None]:
    """What becomes of the job, and why if it fails."""
    with region.account.lock:
        reason = region.account.take_failure(job.name)
    if reason:
        return "Failed", reason
    try:
        return kind.run(region, job) or "Completed", None
    except JobStopped:
        return "Stopped", None
    except JobFailure as failure:
        return "Failed", str(failure)


def _stage(kind: Kind, job: JobRecord, wait: Wait) -> str:
    """Which of its stages a job has come to: they share its looks evenly."""
    stages = kind.stages
    if stages and job.status == "Stopping":
        return "Stopping"
    seen = job.lasts - wait.looks
    return stages[min(seen * len(stages) // (job.lasts + 1), len(stages) - 1)] if stages else ""


def _enter(kind: Kind, region: Region, job: JobRecord, stage: str) -> None:
    """Come to a stage, by way of those before it."""
    job.secondary = stage
    if not stage:
        return
    seen = [one["Status"] for one in job.passed]
    if stage in seen:  # it works after all, though its wait was told as more
        del job.passed[seen.index(stage) + 1 :]
        return
    ahead = (*kind.stages, "Completed")
    before = ahead[: ahead.index(stage)] if stage in ahead else ()
    job.passed += [{"Status": one, "StartTime": region.now()} for one in (*before, stage) if one not in seen]


def _end(kind: Kind, region: Region, job: JobRecord, status: str) -> None:
    job.status = status
    _enter(kind, region, job, status if kind.stages else "")
    job.wait, job.ended = None, region.now()
    job.modified = job.ended
    _tell(kind, region, job)


def _tell(kind: Kind, region: Region, job: JobRecord) -> None:
    if kind.event is not None:
        region.account.neighbours.tell(region.name, kind.event(job))


# --- what running jobs use -------------------------------------------------------------------------------------------


def log(region: Region, job: JobRecord, *lines: str) -> None:
    if job.group:
        region.log(job.group, f"{job.name}/algo-1-{int(job.created)}", lines)


def objects(region: Region) -> ObjectStore:
    if region.account.objects is None:
        raise JobFailure("InternalServerError: there is no S3 beside this control plane")
    return region.account.objects


def read_under(region: Region, uri: str) -> dict[str, bytes]:
    """The objects at or under a URI, by their own; placeholders of folders left out."""
    store = objects(region)
    with region.account.lock:
        return {one: store.read(one) for one in store.list(uri) if not one.endswith("/")}


def write(region: Region, uri: str, data: bytes) -> None:
    try:
        with region.account.lock:
            objects(region).write(uri, data)
    except KeyError:
        raise JobFailure(f"ClientError: cannot write {uri}: the bucket does not exist") from None


def beneath(prefix: str, uri: str) -> str:
    """The key of an object below the prefix that was read; its name where the object itself was."""
    relative = uri.removeprefix(prefix).lstrip("/") if uri != prefix else ""
    return relative if relative and (prefix.endswith("/") or uri[len(prefix)] == "/") else uri.rpartition("/")[2]
