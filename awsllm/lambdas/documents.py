"""Objects of S3, each worked on by a model as it is written, and the result written beside it.

    handler = documents_handler("bedrock:amazon.nova-lite-v1:0")              # AWSLLM_TASK says what is done
    handler = documents_handler(task=lambda source: {"words": len(source.text().split())})

Events come from S3 itself, EventBridge, SNS, SQS or S3 Batch Operations (``events.s3_events``). Of ``BUCKET/KEY`` the
result is ``KEY.json`` under AWSLLM_OUTPUT_PREFIX (``awsllm/``), in AWSLLM_OUTPUT_BUCKET or the same bucket:

    {"source": {"bucket", "key", "version", "etag", "size"}, "task", "status": "succeeded", "result", "model", "usage",
     "cost", "request_id"}                                                    or "status": "failed" with "error"

What lies there already is never worked on, so the function's own results do not call it again; so are objects that were
deleted, replaced or are folders. An object that can never be worked on (too large, empty, of no known kind, refused by
the model) has the error as its result, and is done with. Anything else that fails is delivered again by what sent it:
SQS by the message, S3, SNS and EventBridge twice more by Lambda, S3 Batch Operations by the task. An object is worked
on once, by its bucket, key, version and ETag (``events.idempotency``).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec

from awsllm.aws.rpc import Rpc
from awsllm.aws.session import AwsSession
from awsllm.errors import AwsllmError
from awsllm.lambdas import settings
from awsllm.lambdas.context import Handler, LambdaContext
from awsllm.lambdas.events.concurrency import CONCURRENCY, check_all_done, run_each
from awsllm.lambdas.events.document_tasks import DocumentTask, SourceDocument, Task, TaskAnswer, document_task
from awsllm.lambdas.events.errors import PermanentError, TransientError, is_permanent, told
from awsllm.lambdas.events.idempotency import lease_seconds, once, open_store, work_key
from awsllm.lambdas.events.queue_batches import QueueRecord, batch_answer, queue_records
from awsllm.lambdas.events.s3_events import BatchTask, ObjectNotice, batch_tasks, message_notices, object_notices
from awsllm.lambdas.events.s3_objects import ObjectContent, ObjectGoneError, ObjectPlace, S3Objects, output_place
from awsllm.lambdas.logs import log, of_error
from awsllm.lambdas.snapstart import restorable_handler
from awsllm.types import JsonObject, JsonValue

if TYPE_CHECKING:
    from awsllm.client import Client

DEFAULT_PREFIX = "awsllm/"
_MARGIN = 2.0  # seconds kept back for writing the result
_MAX_KEY = 1024  # bytes (AmazonS3/latest/userguide/object-keys.html)
_MAX_STRING = 1024
_TEXT_SUFFIXES = frozenset(("text", "log", "rst", "tex", "xml", "yaml", "yml", "jsonl", "ndjson", "tsv", "srt", "vtt"))


def documents_handler(
    model: str | None = None,
    *,
    client: Client | None = None,
    task: Task | None = None,
    concurrency: int = CONCURRENCY,
) -> Handler:
    """The handler of a bucket's objects. ``task`` is given a document and returns a JSON value; without it, the task is
    AWSLLM_TASK by ``model`` or AWSLLM_MODEL. ``concurrency`` is how many objects are worked on at once. Raises
    ``ConfigurationError``."""
    return restorable_handler(lambda: _Documents(task or document_task(model, client), concurrency).handle, client)


class _Documents:
    def __init__(self, task: Task, concurrency: int) -> None:
        session = AwsSession()
        self._task = task
        self._run: Any = {"concurrency": concurrency, "margin": _MARGIN}
        name = task.name if isinstance(task, DocumentTask) else getattr(task, "__name__", "task")
        self._name = name if name.isidentifier() else "task"  # a lambda has none
        self._limit = settings.whole("AWSLLM_MAX_OBJECT_BYTES") or 0
        self._output = output_place(DEFAULT_PREFIX)
        self._objects = S3Objects(session).connect()
        self._store = open_store(Rpc(session))

    def handle(self, event: Any, context: LambdaContext) -> JsonObject:
        if (tasks := batch_tasks(event)) is not None:
            return self._batch(event, tasks, context)
        if (records := queue_records(event)) is not None:
            return batch_answer(records, lambda record: self._message(record, context), context, **self._run)
        return self._notified(object_notices(event), context)

    # --- by what sent it ---------------------------------------------------------------------------------------------

    def _message(self, record: QueueRecord, context: LambdaContext) -> JsonValue:
        try:
            notices = message_notices(record.json())
        except AwsllmError:
            notices = None
        if notices is None:
            log("WARNING", "a message that is about no object was acknowledged", context, item=record.id)
        return [self._object(notice, context, record.timeout) for notice in notices or ()]

    def _notified(self, notices: list[ObjectNotice] | None, context: LambdaContext) -> JsonObject:
        """Of an asynchronous invocation Lambda reads whether it failed, nothing else."""
        if notices is None:
            log("WARNING", "an event that is about no object was acknowledged", context)
            return {"done": 0}
        outcomes = run_each(notices, lambda notice, left: self._object(notice, context, left), context, **self._run)
        check_all_done(outcomes, "objects", context)
        return {"done": len(notices)}

    def _batch(self, event: JsonObject, tasks: list[BatchTask], context: LambdaContext) -> JsonObject:
        outcomes = run_each(
            tasks, lambda task, left: self._one(task.place, task.event, context, left), context, **self._run
        )
        results: list[JsonObject] = []
        for task, outcome in zip(tasks, outcomes, strict=True):
            error = TransientError("no time was left") if outcome is None else outcome.error
            value = {} if outcome is None or error is not None else outcome.value
            code = "PermanentFailure" if value.get("status") in ("failed", "gone") else "Succeeded"
            if error is not None:
                log("ERROR", "an object was not worked on", context, **of_error(error))
                code, value = "TemporaryFailure", {"status": type(error).__name__}
            string = str(value.get("output") or value["status"])[:_MAX_STRING]
            results.append({"taskId": task.id, "resultCode": code, "resultString": string})
        return {
            "invocationSchemaVersion": event["invocationSchemaVersion"],
            "treatMissingKeysAs": "TemporaryFailure",
            "invocationId": event["invocationId"],
            "results": results,
        }

    # --- one object --------------------------------------------------------------------------------------------------

    def _object(self, notice: ObjectNotice, context: LambdaContext, left: float) -> JsonValue:
        if not notice.created:
            return {"status": "ignored"}
        return self._one(notice.place, notice.event, context, left)

    def _one(self, place: ObjectPlace, event: JsonObject, context: LambdaContext, left: float) -> JsonObject:
        """What became of an object: ``status`` and, where something was written, ``output``. Raises what may pass."""
        if self._output.holds(place):
            log("DEBUG", "an own result was passed over", context, item=place.uri)
            return {"status": "own result"}
        if place.key.endswith("/") and not place.size:
            return {"status": "folder"}
        try:
            content = self._objects.read(place, self._limit)
        except ObjectGoneError:
            log("WARNING", "an object is gone, or was replaced since its event", context, item=place.uri)
            return {"status": "gone"}
        except AwsllmError as error:
            if not is_permanent(error):
                raise
            return self._write_error(place, error, context)
        source = _source(content, event, left)
        found = content.place
        key = work_key(context.function_name, "s3", found.bucket, found.key, found.version, found.etag, self._name)
        done: JsonObject = once(self._store, key, lease_seconds(context), lambda: self._work(source, context)).value
        return done

    def _work(self, source: SourceDocument, context: LambdaContext) -> JsonObject:
        if not source.content:
            return self._write_error(source.place, PermanentError("the object is empty"), context)
        try:
            value = self._task(source)
        except Exception as error:
            if not is_permanent(error):
                raise
            return self._write_error(source.place, error, context)
        answer = value if isinstance(value, TaskAnswer) else TaskAnswer(result=value)
        known = {"result": answer.result, "model": answer.model, "usage": answer.usage, "cost": answer.cost}
        written = self._write(source.place, {"status": "succeeded", **known}, context)
        usage = {name: answer.usage.get(name) for name in ("input_tokens", "output_tokens")}
        members: Any = {**usage, "model": answer.model, "cost": answer.cost, "item": source.place.uri}
        log("INFO", "an object was worked on", context, **members)
        return {"status": "succeeded", "output": written}

    def _write_error(self, place: ObjectPlace, error: Exception, context: LambdaContext) -> JsonObject:
        log("WARNING", "an object can never be worked on", context, **(of_error(error) | {"item": place.uri}))
        written = self._write(place, {"status": "failed", "error": told(error)}, context)
        return {"status": "failed", "output": written}

    def _write(self, place: ObjectPlace, told_of_it: JsonObject, context: LambdaContext) -> str:
        source = {name: getattr(place, name) for name in ("bucket", "key", "version", "etag", "size")}
        head = {"source": source, "task": self._name, "request_id": context.aws_request_id}
        target = ObjectPlace(self._output.bucket or place.bucket, _result_key(self._output.prefix, place.key))
        try:
            body = msgspec.json.encode({**head, **told_of_it})
        except (TypeError, ValueError, RecursionError):
            raise TransientError("what task= returned is no JSON value") from None
        return self._objects.write(target, body).uri


def _source(content: ObjectContent, event: JsonObject, left: float) -> SourceDocument:
    return SourceDocument(
        place=content.place,
        content=content.body,
        content_type=content.content_type,
        format=_format(content),
        timeout=left,
        event=event,
    )


def _format(content: ObjectContent) -> str:
    """``pdf`` by the name, the media type, or how it begins."""
    from awsllm.calls.media import FORMATS, sniff
    from awsllm.server.account.knowledge.reading import suffix_of

    suffix = suffix_of(content.place.key)
    if suffix in FORMATS["document"] or suffix in ("json", "htm"):
        return suffix
    if suffix in _TEXT_SUFFIXES:
        return "txt"
    by_type = suffix_of("", content.content_type)
    if by_type or sniff(content.body, "image"):
        return by_type
    return sniff(content.body, "document") or ("txt" if content.content_type.startswith("text/") else "")


def _result_key(prefix: str, key: str) -> str:
    """Where the result of ``key`` lies; of one that would be too long, under a name that is made of it."""
    found = f"{prefix}{key}.json"
    return found if len(found.encode()) <= _MAX_KEY else f"{prefix}{hashlib.sha256(key.encode()).hexdigest()}.json"


def __getattr__(name: str) -> Any:
    if name != "handler":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    made = globals()["handler"] = documents_handler()
    return made
