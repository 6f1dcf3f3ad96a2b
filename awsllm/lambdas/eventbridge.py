"""The end of a batch inference job, as EventBridge tells it (``Batch Inference Job State Change``).

    handler = batch_handler(on_finished=lambda job: store(record for record in job.records()))
    handler = batch_handler(retry="passing")

Once a job is over (Completed, PartiallyCompleted, Failed, Stopped, Expired) its records are read and counted; what came
of it goes to ``on_finished``, and as ``{"job", "name", "status", "model", "message", "counts", "output", "collected",
"retry", "tokens"}`` to AWSLLM_RESULT_QUEUE. Earlier states are passed over.

With AWSLLM_OUTPUT_BUCKET all records are collected in one file there, ``ID.jsonl`` under AWSLLM_OUTPUT_PREFIX
(``awsllm/batch/``): each with its input and its output or error, and those that the job did not reach with neither.

``retry`` (AWSLLM_RETRY_RECORDS) writes the records that were not answered to a new input file, whose place is
``retry``: "passing" those that the job did not reach or whose error may pass, "all" the others too. Nothing is started:
a job costs money, and whoever is told decides. Of a job that Failed as a whole nothing is written, since its input is
at fault. The file is ``ID.retry.jsonl`` under the same prefix, in AWSLLM_OUTPUT_BUCKET or the bucket of the output.

The event's form: bedrock/latest/userguide/monitoring-eventbridge-how-it-works, read 2026-11-26. Events may come by SQS.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Literal, TypeAlias

from awsllm.aws import control
from awsllm.aws.rpc import Rpc
from awsllm.aws.session import AwsSession
from awsllm.errors import ModelNotFoundError
from awsllm.lambdas import settings
from awsllm.lambdas.context import DeadlineError, Handler, LambdaContext, seconds_left
from awsllm.lambdas.events.batch_records import BatchFiles, BatchRecord
from awsllm.lambdas.events.errors import TransientError
from awsllm.lambdas.events.idempotency import lease_seconds, once, open_store, work_key
from awsllm.lambdas.events.queue_batches import batch_answer, queue_records
from awsllm.lambdas.events.result_queue import QueueMessage, open_queue
from awsllm.lambdas.events.s3_objects import ObjectPlace, S3Objects, output_place, place_of
from awsllm.lambdas.logs import log, of_error
from awsllm.lambdas.snapstart import restorable_handler
from awsllm.types import JsonObject, JsonValue, Value

DEFAULT_PREFIX = "awsllm/batch/"
DETAIL_TYPE = "Batch Inference Job State Change"
_OVER = frozenset(("Completed", "PartiallyCompleted", "Failed", "Stopped", "Expired"))
_ARN = re.compile(r"arn:aws[a-z-]*:bedrock:[a-z0-9-]+:\d{12}:model-invocation-job/[a-z0-9]+")
_MARGIN = 2.0
_IN_MEMORY = 16 * 1024 * 1024  # bytes of a file that is written; more of it lies on the function's disk

Retry: TypeAlias = Literal["passing", "all"]


class RecordCounts(Value, frozen=True, kw_only=True):
    """Of a job's records: ``missing`` have neither output nor error."""

    total: int = 0
    succeeded: int = 0
    failed: int = 0
    missing: int = 0


class FinishedBatch(Value, frozen=True, kw_only=True):
    """A batch inference job that is over. ``message`` is the service's word on why, ``collected`` the file of all
    records, ``retry`` that of those to be tried again, ``tokens`` what the manifest says was used, ``event`` all that
    was told."""

    job: str
    name: str
    status: str
    model: str
    message: str
    counts: RecordCounts
    output: str
    collected: str | None
    retry: str | None
    tokens: JsonObject
    event: JsonObject
    files: Any = None

    def records(self) -> Iterator[BatchRecord]:
        """Every record with what came of it, read from S3 as they are asked for."""
        found: Iterator[BatchRecord] = self.files.records()
        return found

    def summary(self) -> JsonObject:
        """What the result queue is told."""
        names = ("job", "name", "status", "model", "message", "output", "collected", "retry", "tokens")
        known = {name: getattr(self, name) for name in names}
        return {**known, "counts": {name: getattr(self.counts, name) for name in RecordCounts.__struct_fields__}}


OnFinished: TypeAlias = Callable[[FinishedBatch], JsonValue]


def batch_handler(*, on_finished: OnFinished | None = None, retry: Retry | None = None) -> Handler:
    """The handler of jobs that are over. What ``on_finished`` returns is of no matter; what it raises brings the event
    again. Raises ``ConfigurationError``."""
    chosen = retry or settings.choice("AWSLLM_RETRY_RECORDS")
    return restorable_handler(lambda: _BatchEnds(on_finished, chosen).handle)


class _BatchEnds:
    def __init__(self, on_finished: OnFinished | None, retry: str | None) -> None:
        self._session = AwsSession()
        rpc = Rpc(self._session)
        self._on_finished, self._retry = on_finished, retry
        self._queue = open_queue(rpc)
        self._store = open_store(rpc)
        self._objects = S3Objects(self._session).connect()
        self._output = output_place(DEFAULT_PREFIX)

    def handle(self, event: Any, context: LambdaContext) -> JsonObject:
        records = queue_records(event)
        if records is None:
            return self._event(event, context)
        return batch_answer(records, lambda record: self._event(record.json(), context), context, margin=_MARGIN)

    def _event(self, event: JsonValue, context: LambdaContext) -> JsonObject:
        match event:
            case {"source": "aws.bedrock", "detail-type": kind, "detail": {"batchJobArn": str(arn), "status": str(to)}}:
                if kind == DETAIL_TYPE and _ARN.fullmatch(arn):
                    return self._change(arn, to, event, context)
        log("WARNING", "an event that is about no batch inference job was acknowledged", context)
        return {"status": "unknown"}

    def _change(self, arn: str, status: str, event: JsonObject, context: LambdaContext) -> JsonObject:
        if status not in _OVER:
            log("DEBUG", "a batch inference job goes on", context, item=arn)
            return {"status": status}
        key = work_key(context.function_name, "batch", arn, status)
        done: JsonObject = once(
            self._store, key, lease_seconds(context), lambda: self._finished(arn, event, context)
        ).value
        return done

    def _finished(self, arn: str, event: JsonObject, context: LambdaContext) -> JsonObject:
        try:
            with control.translated():
                job = control.client("bedrock", self._session).get_model_invocation_job(jobIdentifier=arn)
        except ModelNotFoundError as error:
            log("WARNING", "a batch inference job is gone", context, **(of_error(error) | {"item": arn}))
            return {"status": "gone"}
        files = BatchFiles(self._objects, job, lambda: _check_time(context))
        retry = self._retry if job["status"] != "Failed" else None
        with SpooledTemporaryFile(_IN_MEMORY) as everything, SpooledTemporaryFile(_IN_MEMORY) as again:
            counts = _read(files, retry, everything if self._output.bucket else None, again)
            name = arn.rpartition("/")[2]
            collected = self._written(f"{name}.jsonl", files, everything)
            left = self._written(f"{name}.retry.jsonl", files, again)
        finished = FinishedBatch(
            job=arn,
            name=str(job.get("jobName", "")),
            status=str(job["status"]),
            model=str(job.get("modelId", "")),
            message=str(job.get("message") or ""),
            counts=counts,
            output=files.output,
            collected=collected,
            retry=left,
            tokens={name: count for name, count in files.manifest().items() if name.endswith("TokenCount")},
            event=event,
            files=files,
        )
        self._tell(finished, context)
        return finished.summary()

    def _written(self, name: str, files: BatchFiles, file: IO[bytes]) -> str | None:
        """Where it lies now, None for an empty one."""
        if file.tell() == 0:
            return None
        bucket = self._output.bucket or place_of(files.output).bucket
        return self._objects.upload(ObjectPlace(bucket, f"{self._output.prefix}{name}"), file).uri

    def _tell(self, finished: FinishedBatch, context: LambdaContext) -> None:
        """Raises what makes the event come again."""
        counts = finished.counts
        log(
            "INFO" if finished.status == "Completed" else "WARNING",
            f"a batch inference job is {finished.status}",
            context,
            item=finished.job,
            count=counts.total,
            failed=counts.failed + counts.missing,
        )
        if self._on_finished is not None:
            self._on_finished(finished)
        if self._queue is not None:
            message = QueueMessage(f"{finished.job} {finished.status}", finished.summary())
            if refused := self._queue.send([message], timeout=seconds_left(context)):
                raise TransientError("the result queue did not take what was told", code=min(refused.values()))


def _read(files: BatchFiles, retry: str | None, everything: IO[bytes] | None, again: IO[bytes]) -> RecordCounts:
    """How many records came to what; ``everything`` gets them all, ``again`` those to be tried again."""
    succeeded = failed = missing = 0
    for record in files.records():
        succeeded += record.output is not None
        failed += record.error is not None
        missing += record.output is None and record.error is None
        if everything is not None:
            everything.write(record.line())
        if record.output is None and (retry == "all" or (retry == "passing" and record.may_pass)):
            again.write(BatchRecord(record.id, record.input).line())
    total = succeeded + failed + missing
    return RecordCounts(total=total, succeeded=succeeded, failed=failed, missing=missing)


def _check_time(context: LambdaContext) -> None:
    try:
        seconds_left(context, _MARGIN)
    except DeadlineError:
        raise TransientError("the job has more records than there is time for: give the function more time") from None


def __getattr__(name: str) -> Any:
    if name != "handler":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    made = globals()["handler"] = batch_handler()
    return made
