"""Which objects an event is about, whichever of S3's ways it came.

    S3 notification       ``Records[].s3``; keys are URL-encoded, a space is ``+``
    EventBridge           ``source: aws.s3``, ``detail-type: Object Created``; keys are as they are
    SNS                   either of them as a text in ``Records[].Sns.Message``
    SQS                   either of them, or what SNS makes of it, as a message's body (``message_notices``)
    S3 Batch Operations   ``tasks``; keys are URL-encoded, the bucket is an ARN (schema 1.0) or a name (2.0)

Sources: AmazonS3/latest/userguide, notification-content-structure, ev-events and batch-ops-invoke-lambda;
lambda/latest/dg/services-s3-batch; that keys of batches are encoded as those of notifications: S3BatchOperationEvent of
Powertools for AWS Lambda (3.37). Read 2026-11-26.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote_plus

from awsllm.lambdas.events.envelopes import sns_message, unwrapped
from awsllm.lambdas.events.s3_objects import ObjectPlace
from awsllm.types import JsonObject, JsonValue, Value


class ObjectNotice(Value, frozen=True):
    """Something has happened to an object: it is new (``created``), or anything else."""

    place: ObjectPlace
    created: bool
    event: JsonObject


class BatchTask(Value, frozen=True):
    """One object of an S3 Batch Operations job."""

    id: str
    place: ObjectPlace
    event: JsonObject


def object_notices(event: JsonValue) -> list[ObjectNotice] | None:
    """The notices in an event: none in S3's test event, None where it is of no known shape."""
    match event:
        case {"Event": "s3:TestEvent"}:
            return []
        case {"source": "aws.s3", "detail": {"bucket": {"name": str()}, "object": {"key": str()}}}:
            return [_of_eventbridge(event)]
        case {"Records": [*records]} if records:
            found = [_of_record(record) for record in records]
            return None if None in found else [notice for some in found for notice in some or ()]
        case _:
            return None


def message_notices(body: JsonValue) -> list[ObjectNotice] | None:
    """The notices in a message of SQS or SNS: SNS wraps what it passes on, unless its subscription is raw."""
    return object_notices(unwrapped(body))


def batch_tasks(event: JsonValue) -> list[BatchTask] | None:
    """The tasks of S3 Batch Operations; None where it is no such event."""
    match event:
        case {"invocationSchemaVersion": str(), "invocationId": str(), "tasks": [*tasks]}:
            return [_task(task) for task in tasks if isinstance(task, dict) and "taskId" in task]
        case _:
            return None


def _of_record(record: Any) -> list[ObjectNotice] | None:
    match record:
        case {"eventSource": "aws:s3", "s3": {"bucket": {"name": str()}, "object": {"key": str()}}}:
            return [_of_notification(record)]
        case _:
            return object_notices(sns_message(record))


def _of_notification(record: JsonObject) -> ObjectNotice:
    found = record["s3"]["object"]
    place = ObjectPlace(
        record["s3"]["bucket"]["name"],
        unquote_plus(found["key"]),
        _text(found.get("versionId")),
        _text(found.get("eTag")),
        _size(found.get("size")),
    )
    name = str(record.get("eventName", "")).removeprefix("s3:")
    return ObjectNotice(place, name.startswith("ObjectCreated:"), record)


def _of_eventbridge(event: JsonObject) -> ObjectNotice:
    detail = event["detail"]
    found = detail["object"]
    place = ObjectPlace(
        detail["bucket"]["name"],
        found["key"],
        _text(found.get("version-id")),
        _text(found.get("etag")),
        _size(found.get("size")),
    )
    return ObjectNotice(place, event.get("detail-type") == "Object Created", event)


def _task(task: JsonObject) -> BatchTask:
    bucket = task.get("s3Bucket") or str(task.get("s3BucketArn", "")).rpartition(":")[2]
    place = ObjectPlace(str(bucket), unquote_plus(str(task.get("s3Key", ""))), _text(task.get("s3VersionId")))
    return BatchTask(str(task["taskId"]), place, task)


def _text(value: Any) -> str | None:
    """A version or an ETag; buckets without versions give ``null`` or nothing."""
    return value.strip('"') if isinstance(value, str) and value not in ("", "null") else None


def _size(value: Any) -> int | None:
    return value if isinstance(value, int) else None
