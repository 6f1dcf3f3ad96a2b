"""Ingestion jobs: STARTING -> IN_PROGRESS -> COMPLETE | FAILED; STOPPING -> STOPPED. What they do is in ``sync``.

A job lasts as long as the transition ``ingestion``, and does its work when that ends. A data source has one job at a
time, and so has a knowledge base; an account has five (AWS's blog, "Build and deploy an automatic sync solution for
Amazon Bedrock Knowledge Bases").
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from awsllm.server.account.account import Operation, Region
from awsllm.server.account.bedrock_agent import conflict, made_before, missing, new_id, page, quota_exceeded
from awsllm.server.account.knowledge import sync
from awsllm.server.account.knowledge.records import (
    JOBS,
    ONGOING,
    DataSourceRecord,
    IngestionJobRecord,
    find_base,
    find_source,
)
from awsllm.server.account.knowledge.sources import refuse_unready
from awsllm.server.account.refusals import invalid
from awsllm.server.account.state import Wait
from awsllm.types import JsonObject

_MOST = 5


def _start(region: Region, request: JsonObject) -> JsonObject:
    source = find_source(region, request)
    jobs = _jobs(region, source.id)
    if (before := made_before(jobs, request)) is not None:
        return {"ingestionJob": _shown(before)}
    refuse_unready(find_base(region, source.base))
    if source.status != "AVAILABLE":
        raise conflict(f"DataSource {source.id} is in the status {source.status}.")
    if source.type == "CUSTOM":
        raise invalid("A data source of type CUSTOM has no ingestion jobs: call IngestKnowledgeBaseDocuments.")
    _refuse_many(region, source)
    now = region.now()
    job = IngestionJobRecord(
        base=source.base,
        source=source.id,
        id=new_id(),
        started=now,
        modified=now,
        description=request.get("description"),
        token=request.get("clientToken"),
        wait=region.wait("ingestion"),
        statistics=dict(sync.NO_STATISTICS),
    )
    region.state.table(JOBS)[job.id] = job
    response = {"ingestionJob": _shown(job)}
    _settle(region, job, look=False)
    return response


def _refuse_many(region: Region, source: DataSourceRecord) -> None:
    running = [job for job in region.state.table(JOBS).values() if job.status in ONGOING]
    for job in running:
        _settle(region, job, look=False)
    running = [job for job in running if job.status in ONGOING]
    if busy := next((job for job in running if job.source == source.id), None):
        raise conflict(f"DataSource {source.id} has an ongoing ingestion job: {busy.id}.")
    if busy := next((job for job in running if job.base == source.base), None):
        raise conflict(f"Knowledge Base {source.base} has an ongoing ingestion job: {busy.id}.")
    if len(running) >= _MOST:
        raise quota_exceeded(f"An account has at most {_MOST} ongoing ingestion jobs.")


def _get(region: Region, request: JsonObject) -> JsonObject:
    return {"ingestionJob": _shown(_find(region, request, look=True))}


def _list(region: Region, request: JsonObject) -> JsonObject:
    jobs = _jobs(region, find_source(region, request).id)
    for one in request.get("filters") or ():
        jobs = [job for job in jobs if job.status in one["values"]]
    how = request.get("sortBy") or {}
    by_status = how.get("attribute") == "STATUS"
    jobs.sort(
        key=lambda job: (job.status, job.started) if by_status else ("", job.started),
        reverse=how.get("order", "DESCENDING") == "DESCENDING",
    )
    rows, more = page(request, [_summary(job) for job in jobs])
    return {"ingestionJobSummaries": rows, **more}


def _stop(region: Region, request: JsonObject) -> JsonObject:
    job = _find(region, request, look=False)
    if job.status not in ("STARTING", "IN_PROGRESS"):
        raise conflict(f"Ingestion job {job.id} is in the status {job.status}.")
    job.status, job.modified = "STOPPING", region.now()
    if job.wait is not None:  # else it is at its work, and sees it there
        job.wait = Wait(looks=min(1, job.wait.looks))
    response = {"ingestionJob": _shown(job)}
    _settle(region, job, look=False)
    return response


def _find(region: Region, request: JsonObject, *, look: bool) -> IngestionJobRecord:
    source = find_source(region, request)
    job: IngestionJobRecord | None = region.state.table(JOBS).get(request["ingestionJobId"])
    if job is None or job.source != source.id:
        raise missing(f"Ingestion job with id {request['ingestionJobId']} of DataSource {source.id} does not exist")
    _settle(region, job, look=look)
    return job


def _jobs(region: Region, source: str) -> list[IngestionJobRecord]:
    """Those of a data source, settled."""
    jobs = [job for job in region.state.table(JOBS).values() if job.source == source]
    for job in jobs:
        _settle(region, job, look=False)
    return jobs


def _settle(region: Region, job: IngestionJobRecord, *, look: bool) -> None:
    """End the job if its time has come. A look counts; a listing is none."""
    if job.wait is None:
        return
    if (not look and job.wait.looks > 0) or not job.wait.look(region.now()):
        job.status = "IN_PROGRESS" if look and job.status == "STARTING" else job.status
        return
    job.wait = None
    region.account.perform(job.id, partial(_finish, region, job))


def _finish(region: Region, job: IngestionJobRecord) -> None:
    """Do what the job is for, unless it was stopped, and say how it ended. Takes the lock where it needs it."""
    job.status = "IN_PROGRESS" if job.status == "STARTING" else job.status
    if job.status == "STOPPING":
        _end(region, job, "STOPPED")
    elif failure := region.account.take_failure(job.source):
        _end(region, job, "FAILED", [failure])
    else:
        try:
            sync.run(region, job)
        except sync.SyncError as error:
            _end(region, job, "FAILED", [str(error)])
        except BaseException as error:  # pytest's failures are none of Exception
            _end(region, job, "FAILED", [f"InternalServerException: {type(error).__name__}"])
            if not region.account.background:
                raise  # of a script: the test is the one to see it
        else:
            _end(region, job, "COMPLETE")


def _end(region: Region, job: IngestionJobRecord, status: str, reasons: list[str] | None = None) -> None:
    with region.account.lock:
        job.status = "STOPPED" if job.status == "STOPPING" else status
        job.reasons = job.reasons if reasons is None else reasons
        job.modified = region.now()


def _summary(job: IngestionJobRecord) -> JsonObject:
    return {
        "knowledgeBaseId": job.base,
        "dataSourceId": job.source,
        "ingestionJobId": job.id,
        "description": job.description,
        "status": job.status,
        "statistics": dict(job.statistics),
        "startedAt": job.started,
        "updatedAt": job.modified,
    }


def _shown(job: IngestionJobRecord) -> JsonObject:
    return {**_summary(job), "failureReasons": list(job.reasons) or None}


OPERATIONS: Mapping[str, Operation] = {
    "StartIngestionJob": _start,
    "GetIngestionJob": _get,
    "ListIngestionJobs": _list,
    "StopIngestionJob": _stop,
}
