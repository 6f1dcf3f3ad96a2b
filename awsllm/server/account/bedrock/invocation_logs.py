"""The logging of invocations: its configuration, and the logs, which really appear.

Every Converse and InvokeModel, streamed or not, is written as AWS's record (schema ModelInvocationLog 1.0) into the
bucket and the log group that the region's configuration names: ``PREFIX/AWSLogs/ACCOUNT/BedrockModelInvocationLogs/
REGION/YYYY/MM/DD/HH/….json.gz``, and the stream ``aws/bedrock/modelinvocations``. Bodies are in the record where the
configuration delivers their kind; one over 100 KB is an object of its own under ``data/``, whose URI the record has. A
stream's is what was streamed: a list of InvokeModel's chunks, Converse's whole response. What is refused or fails has
an errorCode and no output.

Sources: docs.aws.amazon.com/bedrock/latest/userguide/model-invocation-logging.html (places, sizes), records as others
publish them (bedrock distillation's data formats, awslabs; docs.panther.com, AWS.BedrockModelInvocation); read
2026-11-26.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec

from awsllm.aws.iam import partition
from awsllm.errors import AwsllmError, ServerError
from awsllm.server.account.account import Operation, Region
from awsllm.server.account.bedrock.records import new_id
from awsllm.server.account.refusals import invalid
from awsllm.server.surfaces.bedrock import failure
from awsllm.server.surfaces.routes import request_id
from awsllm.server.work import Ask, Incoming, Reply, Stream, StreamEncoder, Work
from awsllm.stream import fold
from awsllm.types import JsonObject, JsonValue
from awsllm.wire.converse import encode_response
from awsllm.wire.model_stream import METRICS, ModelStreamDecoder
from awsllm.wire.reading import JSON

_TABLE = "bedrock-invocation-logging"
_STREAM = "aws/bedrock/modelinvocations"
_LARGE = 100_000
"""Bytes of a body that does not fit into a record."""
_LOGGED = {
    "converse": "Converse",
    "converse-stream": "ConverseStream",
    "invoke": "InvokeModel",
    "invoke-with-response-stream": "InvokeModelWithResponseStream",
}
_KINDS = {"embed": "embedding", "generate_image": "image", "edit_image": "image", "generate_video": "video"}
"""What a configuration calls the data of an operation; of the others it is text."""
_REQUEST_ID = "x-amzn-RequestId"
_METADATA = "x-amzn-bedrock-request-metadata"


# --- the configuration -----------------------------------------------------------------------------------------------


def _put(region: Region, request: JsonObject) -> JsonObject:
    config = request["loggingConfig"]
    if not {"s3Config", "cloudWatchConfig"} & set(config):
        raise invalid("loggingConfig has neither s3Config nor cloudWatchConfig.")
    for place in (config.get("s3Config"), (config.get("cloudWatchConfig") or {}).get("largeDataDeliveryS3Config")):
        if place is not None:
            _check_place(region, place)
    region.state.table(_TABLE)["config"] = config
    return {}


def _check_place(region: Region, place: JsonObject) -> None:
    """Write what the service itself writes there, which tells whether it can."""
    try:
        _write(region, f"{_root(region, place)}/amazon-bedrock-logs-permission-check", b"")
    except KeyError as error:
        bucket = place["bucketName"]
        message = f"Failed to validate permissions for the bucket {bucket}: the service cannot write to it."
        raise invalid(message) from error


def _get(region: Region, request: JsonObject) -> JsonObject:
    return {"loggingConfig": region.state.table(_TABLE).get("config")}


def _delete(region: Region, request: JsonObject) -> JsonObject:
    region.state.table(_TABLE).clear()
    return {}


OPERATIONS: Mapping[str, Operation] = {
    "PutModelInvocationLoggingConfiguration": _put,
    "GetModelInvocationLoggingConfiguration": _get,
    "DeleteModelInvocationLoggingConfiguration": _delete,
}


# --- what is logged --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Invocation:
    """One call of a model: what was asked, and how its log is told apart. ``kind`` is of the data."""

    operation: str
    model: str
    incoming: Incoming
    id: str
    kind: str = "text"


def logged(region: Region, incoming: Incoming, model: str, plan: Callable[[str, Incoming], Work]) -> Work:
    """What ``plan`` makes of a request, logged when it is over if the region logs. Raises what ``plan`` raises."""
    operation = _LOGGED.get(incoming.path.rpartition("/")[2]) if incoming.path.startswith("/model/") else None
    if operation is None or not region.state.table(_TABLE):
        return plan(model, incoming)
    invocation = Invocation(operation, model, incoming, request_id())
    try:
        work = plan(model, incoming)
    except AwsllmError as error:
        _failed(region, invocation, error)
        raise
    if isinstance(work, Reply):
        return work
    invocation = replace(invocation, kind=_KINDS.get(work.request.operation, "text"))
    failed = partial(_failed, region, invocation)
    if isinstance(work, Ask):
        return replace(work, encode=partial(_answered, region, invocation, work.encode), failed=failed)
    encoder = _LoggedStream(region, invocation, work.encoder)
    return Stream(work.request, {**work.headers, _REQUEST_ID: invocation.id}, encoder, failed)


def _answered(region: Region, invocation: Invocation, encode: Callable[[Any], Reply], response: Any) -> Reply:
    reply = encode(response)
    output = msgspec.json.decode(reply.body)
    usage = output.get("usage") if invocation.operation == "Converse" else None
    counts = _counts(usage) if usage else _header_counts(reply.headers)
    _log(region, invocation, {"output": (output, counts)})
    return replace(reply, headers={**reply.headers, _REQUEST_ID: invocation.id})


class _LoggedStream:
    """A stream's encoder that logs what it wrote, at the end."""

    def __init__(self, region: Region, invocation: Invocation, encoder: StreamEncoder[Any]) -> None:
        self._region, self._invocation, self._encoder = region, invocation, encoder
        self._events: list[Any] = []
        self._written: list[bytes] = []

    def event(self, event: Any) -> bytes:
        data = self._encoder.event(event)
        self._keep(event, data)
        return data

    def end(self) -> bytes:
        data = self._encoder.end()
        self._keep(None, data)
        _log(self._region, self._invocation, {"output": self._output()})
        return data

    def failure(self, error: Exception) -> bytes:
        _failed(self._region, self._invocation, error)
        return self._encoder.failure(error)

    def _keep(self, event: Any, data: bytes) -> None:
        if self._invocation.operation == "InvokeModelWithResponseStream":
            self._written.append(data)
        elif event is not None:
            self._events.append(event)

    def _output(self) -> tuple[JsonValue, JsonObject]:
        if self._events:
            output = encode_response(fold(self._events))
            return output, _counts(output["usage"])
        chunks = [msgspec.json.decode(chunk) for chunk in ModelStreamDecoder().feed(b"".join(self._written))]
        figures: JsonObject = next((chunk[METRICS] for chunk in reversed(chunks) if METRICS in chunk), {})
        return chunks, {"input": figures.get("inputTokenCount"), "output": figures.get("outputTokenCount")}


def _counts(usage: JsonObject) -> JsonObject:
    return {
        "input": usage.get("inputTokens"),
        "output": usage.get("outputTokens"),
        "cacheRead": usage.get("cacheReadInputTokens"),
        "cacheWrite": usage.get("cacheWriteInputTokens"),
    }


def _header_counts(headers: Mapping[str, str]) -> JsonObject:
    found = {name: headers.get(f"X-Amzn-Bedrock-{name.title()}-Token-Count") for name in ("input", "output")}
    return {name: int(value) for name, value in found.items() if value is not None}


def _failed(region: Region, invocation: Invocation, error: Exception) -> None:
    known = error if isinstance(error, AwsllmError) else ServerError("internal failure")
    _log(region, invocation, {"errorCode": failure(known).headers["x-amzn-ErrorType"].partition(":")[0]})


# --- the record ------------------------------------------------------------------------------------------------------


def _log(region: Region, invocation: Invocation, outcome: JsonObject) -> None:
    """Write the log of an invocation: within its call, or in the background, where nobody waits for S3."""
    region.account.perform(f"log {new_id()}", partial(_deliver, region, invocation, outcome))


def _deliver(region: Region, invocation: Invocation, outcome: JsonObject) -> None:
    with region.account.lock:
        config = region.state.table(_TABLE).get("config")
        if config is None:
            return
        if place := config.get("s3Config"):
            with suppress(KeyError):  # a bucket that is gone since: the call is not to fail for it
                record = _record(region, invocation, outcome, _Delivery(config, place))
                name = f"{_moment(region):%Y%m%dT%H%M%S%f}Z_{new_id()}.json.gz"
                _write(region, f"{_folder(region, place)}/{name}", _packed(region, record))
        if group := config.get("cloudWatchConfig"):
            with suppress(KeyError):
                record = _record(region, invocation, outcome, _Delivery(config, group.get("largeDataDeliveryS3Config")))
                region.log(group["logGroupName"], _STREAM, [msgspec.json.encode(record).decode()])


@dataclass(frozen=True, slots=True)
class _Delivery:
    """The configuration, and where large bodies go (None: nowhere)."""

    config: JsonObject
    large: JsonObject | None

    def takes(self, kind: str) -> bool:
        """Whether bodies of the kind are delivered; they are unless the configuration says no."""
        return self.config.get(f"{kind}DataDeliveryEnabled") is not False


def _record(region: Region, invocation: Invocation, outcome: JsonObject, delivery: _Delivery) -> JsonObject:
    account = region.account.account_id
    output, counts = outcome.get("output", (None, {}))
    asked = _decoded(invocation.incoming.body)
    record = {
        "schemaType": "ModelInvocationLog",
        "schemaVersion": "1.0",
        "timestamp": f"{_moment(region):%Y-%m-%dT%H:%M:%SZ}",
        "accountId": account,
        "identity": {"arn": f"arn:{partition(region.name)}:iam::{account}:root"},
        "region": region.name,
        "requestId": invocation.id,
        "operation": invocation.operation,
        "modelId": invocation.model,
        "errorCode": outcome.get("errorCode"),
        "input": {
            "inputContentType": JSON,
            **_body(region, invocation, delivery, ("input", asked)),
            "inputTokenCount": counts.get("input"),
            "cacheReadInputTokenCount": counts.get("cacheRead"),
            "cacheWriteInputTokenCount": counts.get("cacheWrite"),
        },
        "output": None
        if output is None
        else {
            "outputContentType": JSON,
            **_body(region, invocation, delivery, ("output", output)),
            "outputTokenCount": counts.get("output"),
        },
        "requestMetadata": _metadata(invocation.incoming, asked),
    }
    return _without_none(record)


def _body(region: Region, invocation: Invocation, delivery: _Delivery, named: tuple[str, JsonValue]) -> JsonObject:
    """A body under its name, or where it was put for being large."""
    side, value = named
    if not delivery.takes(invocation.kind):
        return {}
    size = len(msgspec.json.encode(value))
    if size <= _LARGE:
        return {f"{side}BodyJson": value}
    if delivery.large is None:
        return {}
    uri = f"{_folder(region, delivery.large)}/data/{invocation.id}_{side}.json.gz"
    _write(region, uri, _packed(region, value))
    return {f"{side}BodyS3Path": uri}


def _metadata(incoming: Incoming, asked: JsonValue) -> JsonValue:
    if header := incoming.headers.get(_METADATA):
        return _decoded(header.encode())
    return asked.get("requestMetadata") if isinstance(asked, dict) else None


def _decoded(body: bytes) -> JsonValue:
    try:
        return msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return None


def _without_none(value: JsonObject) -> JsonObject:
    """A record and its two sides without the members that are not known."""
    return {
        name: {key: one for key, one in member.items() if one is not None} if name in ("input", "output") else member
        for name, member in value.items()
        if member is not None
    }


def _packed(region: Region, value: JsonValue) -> bytes:
    return gzip.compress(msgspec.json.encode(value) + b"\n", mtime=int(region.now()))


def _root(region: Region, place: JsonObject) -> str:
    prefix = str(place.get("keyPrefix") or "").strip("/")
    start = f"s3://{place['bucketName']}/{prefix}/" if prefix else f"s3://{place['bucketName']}/"
    return f"{start}AWSLogs/{region.account.account_id}/BedrockModelInvocationLogs"


def _folder(region: Region, place: JsonObject) -> str:
    return f"{_root(region, place)}/{region.name}/{_moment(region):%Y/%m/%d/%H}"


def _moment(region: Region) -> datetime:
    return datetime.fromtimestamp(region.now(), UTC)


def _write(region: Region, uri: str, data: bytes) -> None:
    if region.account.objects is None:
        raise KeyError(uri)
    region.account.objects.write(uri, data)
