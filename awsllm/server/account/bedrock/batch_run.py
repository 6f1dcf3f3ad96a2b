"""What a batch inference job does: reads JSON Lines under its input, infers each record, writes beside a manifest.

A record is ``{"recordId": …, "modelInput": …}``, whose input is InvokeModel's body of the model's family, or
Converse's. Each file ``NAME.jsonl`` gives ``OUTPUT/JOB_ID/NAME.jsonl.out``, a line for each record with
``modelOutput``, or with ``error`` (``errorCode``, ``errorMessage``) in its place; ``manifest.json.out`` counts them.
What was done when a job is stopped or out of time is there. Source of these forms:
docs.aws.amazon.com/bedrock/latest/userguide, batch-inference-data and batch-inference-results, read 2026-11-26.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec

from awsllm.errors import AwsllmError, ConfigurationError, ServerError
from awsllm.server.account.account import Region
from awsllm.server.account.bedrock.records import id_of
from awsllm.server.account.bedrock.resolve import family_of
from awsllm.server.account.jobs import JobFailure, JobRecord, beneath, check_stopped, objects, write
from awsllm.server.surfaces.bedrock import failure, plan
from awsllm.server.work import Ask, Incoming
from awsllm.types import JsonObject
from awsllm.wire.reading import JSON

_SUFFIX = ".jsonl"
_LEAST, _MOST = 100, 50_000
"""Records of a job, where no quota of the account says otherwise."""
_TOKENS = {
    "inputTokenCount": ("inputTokens", "x-amzn-bedrock-input-token-count"),
    "outputTokenCount": ("outputTokens", "x-amzn-bedrock-output-token-count"),
}
"""What the manifest sums: Converse's member of usage, InvokeModel's header."""


@dataclass(slots=True)
class _Progress:
    """What has come of the job so far."""

    total: int
    succeeded: int = 0
    failed: int = 0
    tokens: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_TOKENS, 0))

    def shown(self) -> JsonObject:
        return {
            "totalRecordCount": self.total,
            "processedRecordCount": self.succeeded + self.failed,
            "successRecordCount": self.succeeded,
            "errorRecordCount": self.failed,
        }


class _OutOfTime(Exception):
    """The job's time is over."""


def run(region: Region, job: JobRecord) -> str | None:
    files = _validated(region, job)
    progress = _Progress(sum(map(len, files.values())))
    _show(region, job, progress)
    place = f"{job.request['outputDataConfig']['s3OutputDataConfig']['s3Uri'].rstrip('/')}/{id_of(job.arn)}"
    status = None
    try:
        for name, records in files.items():
            _run_file(region, job, progress, (f"{place}/{name}.out", records))
    except _OutOfTime:
        status = "PartiallyCompleted"
    finally:
        write(region, f"{place}/manifest.json.out", msgspec.json.encode({**progress.shown(), **progress.tokens}))
    return status


def _run_file(region: Region, job: JobRecord, progress: _Progress, file: tuple[str, list[JsonObject]]) -> None:
    """Infer the records of one file, given with where its answers go."""
    target, records = file
    lines: list[bytes] = []
    try:
        for record in records:
            check_stopped(region, job)
            if job.expires is not None and region.now() >= job.expires:
                raise _OutOfTime
            lines.append(msgspec.json.encode(_answer(region, job, progress, record)) + b"\n")
            _show(region, job, progress)
    finally:
        write(region, target, b"".join(lines))


def _show(region: Region, job: JobRecord, progress: _Progress) -> None:
    with region.account.lock:
        job.shown |= progress.shown()
        job.modified = region.now()


# --- what is read ----------------------------------------------------------------------------------------------------


def _validated(region: Region, job: JobRecord) -> dict[str, list[JsonObject]]:
    """The records of each file, by its name below the input. Raises ``JobFailure`` saying what is wrong with them."""
    config = job.request["inputDataConfig"]["s3InputDataConfig"]
    output = job.request["outputDataConfig"]["s3OutputDataConfig"]
    for owner in (config.get("s3BucketOwner"), output.get("s3BucketOwner")):
        if owner not in (None, region.account.account_id):
            raise JobFailure(f"Access denied: the bucket is not of the account {owner}, its expected owner.")
    with region.account.lock:
        found = {name: list(_records(name, data)) for name, data in _read(region, config["s3Uri"])}
    _check_sizes(region, job, found)
    return found


def _read(region: Region, uri: str) -> Iterator[tuple[str, bytes]]:
    """The JSON Lines at a URI, or in the folder that it is."""
    store = objects(region)
    listed = store.list(uri)
    here = [uri] if uri in listed and not uri.endswith("/") else []
    found = here or [one for one in listed if one.startswith(uri.rstrip("/") + "/")]
    files = [one for one in found if one.endswith(_SUFFIX)]
    if not files:
        raise JobFailure(f"No {_SUFFIX} file was found at {uri}: the input must be one or more files of JSON Lines.")
    yield from ((beneath(uri, one), store.read(one)) for one in files)


def _records(name: str, data: bytes) -> Iterator[JsonObject]:
    """Its records; one without an id gets one."""
    for number, line in enumerate(data.splitlines(), 1):
        if not line.strip():
            continue
        record = _decoded(line)
        if not isinstance(record, dict) or not isinstance(record.get("modelInput"), dict):
            raise JobFailure(f"{name}, line {number}: a record is a JSON object with modelInput, which is an object.")
        if not isinstance(record.get("recordId", ""), str):
            raise JobFailure(f"{name}, line {number}: recordId is a text.")
        yield {"recordId": record.get("recordId") or f"R{number:010}", "modelInput": record["modelInput"]}


def _decoded(line: bytes) -> Any:
    try:
        return msgspec.json.decode(line)
    except (ValueError, RecursionError):
        return None


def _check_sizes(region: Region, job: JobRecord, files: dict[str, list[JsonObject]]) -> None:
    quotas = region.account.quotas
    total, least = sum(map(len, files.values())), quotas.get("batch-records-min", _LEAST)
    if total < least:
        raise JobFailure(
            f"Batch job {job.arn} contains less records ({total}) than the required minimum of: {least}. (Offline, "
            "the quota batch-records-min of the account sets it.)"
        )
    if total > (most := quotas.get("batch-records-per-job", _MOST)):
        raise JobFailure(f"Batch job {job.arn} contains more records ({total}) than the maximum of: {most}.")
    for name, records in files.items():
        if len(records) > (most := quotas.get("batch-records-per-file", _MOST)):
            raise JobFailure(f"{name} contains more records ({len(records)}) than the maximum of: {most}.")


# --- what is inferred ------------------------------------------------------------------------------------------------


def _answer(region: Region, job: JobRecord, progress: _Progress, record: JsonObject) -> JsonObject:
    """The line of one record, which is counted."""
    try:
        output, tokens = _infer(region, job, record["modelInput"])
    except ConfigurationError:
        raise  # what is missing here is not the record's fault
    except AwsllmError as error:
        progress.failed += 1
        reply = failure(error)
        message = msgspec.json.decode(reply.body).get("message", "")
        return {**record, "error": {"errorCode": reply.status, "errorMessage": message}}
    progress.succeeded += 1
    for name, count in tokens.items():
        progress.tokens[name] += count
    return {**record, "modelOutput": output}


def _infer(region: Region, job: JobRecord, model_input: JsonObject) -> tuple[JsonObject, dict[str, int]]:
    """What the runtime answers to the same body, and its tokens. No lock is held while the model computes."""
    account, model = region.account, job.request["modelId"]
    if account.backend is None:
        raise ServerError("no model answers behind this control plane")
    converse = job.request.get("modelInvocationType") == "Converse"
    body, family = msgspec.json.encode(model_input), family_of(region, model)
    incoming = Incoming("POST", "", {"content-type": JSON}, body, family=family)
    work = cast("Ask[Any]", plan("converse" if converse else "invoke", model, incoming))  # neither streams
    reply = work.encode(account.backend.ask(account.models.rename(work.request)))
    output = msgspec.json.decode(reply.body)
    usage = output.get("usage", {}) if converse else {name.lower(): value for name, value in reply.headers.items()}
    counts = {name: usage.get(members[not converse]) for name, members in _TOKENS.items()}
    return output, {name: int(count) for name, count in counts.items() if count is not None}
