"""Bedrock's asynchronous invocations, offline: StartAsyncInvoke, GetAsyncInvoke and ListAsyncInvokes.

An invocation needs an account, which remembers it, and S3, where its files appear, under the names that the model's
own files have. Vectors are the model's that answers for the account (``async_embeddings``). A video is a script's, and
no model runs: a black one of the length that was asked for (``scripted_video``). ``manifest.json``, whose content is
not documented, says who made them. ``plane.transitions["async-invoke"]`` says how long one is InProgress,
``plane.fail(MODEL_ID, reason)`` lets the next of that model fail.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

import msgspec

from awsllm.aws.iam import partition
from awsllm.errors import AwsllmError, UnsupportedError, ValidationError
from awsllm.server.account.bedrock.records import new_id
from awsllm.server.account.jobs import objects
from awsllm.server.account.refusals import refused
from awsllm.server.account.state import Wait, kept
from awsllm.server.shapes import check
from awsllm.server.surfaces import async_embeddings
from awsllm.server.surfaces.bedrock import SERVICE, failure
from awsllm.server.surfaces.catalog import invoke_body
from awsllm.server.surfaces.limits import read_json
from awsllm.server.surfaces.scripted_video import mp4
from awsllm.server.work import Incoming, Reply
from awsllm.types import JsonObject, Request
from awsllm.types.embedding import EmbedRequest
from awsllm.types.media import VideoRequest
from awsllm.wire.body import Payload
from awsllm.wire.images.videos import OUTPUT
from awsllm.wire.reading import JSON

if TYPE_CHECKING:
    from awsllm.server.account.account import Region

PATH = "/async-invoke"
_KIND = "async-invoke"
_PAGE = 1000
_NO_BUCKET = "Invalid S3 credentials or bucket: the service cannot write to the output location."
_SHOT = 6  # seconds, Nova Reel's
_LENGTHS = {"nova-reel": _SHOT, "luma-ray": 5}
"""Seconds of a video whose request does not say."""


def is_async_invoke(incoming: Incoming) -> bool:
    return incoming.path == PATH or incoming.path.startswith(f"{PATH}/")


def unserved() -> UnsupportedError:
    """What a server says that has no account."""
    return UnsupportedError(
        "asynchronous invocations write their answers to S3, which this server does not reach; in tests, "
        "awsllm.testing.mock_aws answers them and writes to its S3",
        code="ValidationException",
        status=400,
    )


@kept
@dataclass(slots=True)
class InvocationRecord:
    """One invocation. ``request`` is the wire's, ``neutral`` the video that it asks for; None: vectors."""

    arn: str
    model_arn: str
    request: JsonObject
    neutral: VideoRequest | None
    body: str
    created: float
    wait: Wait
    status: str = "InProgress"
    ended: float | None = None
    reason: str | None = None

    @property
    def place(self) -> str:
        uri: str = self.request["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"]
        return f"{uri.rstrip('/')}/{self.arn.rpartition('/')[2]}"


def answer(region: Region, incoming: Incoming, seen: Callable[[Request[Any]], None]) -> Reply:
    """The reply to a request to ``region``. ``seen`` is given what an invocation asks of its model."""
    try:
        with region.account.lock:
            wire = _perform(region, incoming, seen)
            return Reply(200, {"Content-Type": JSON}, msgspec.json.encode(wire))
    except AwsllmError as error:
        return failure(error)


def _perform(region: Region, incoming: Incoming, seen: Callable[[Request[Any]], None]) -> JsonObject:
    label = unquote(incoming.path.removeprefix(PATH).removeprefix("/"))
    match incoming.method, bool(label):
        case "POST", False:
            name, request = "StartAsyncInvoke", read_json(incoming.body)
        case "GET", True:
            name, request = "GetAsyncInvoke", {"invocationArn": label}
        case "GET", False:
            name, request = "ListAsyncInvokes", _query(incoming.query)
        case _:
            raise ValidationError("no such operation", code="ValidationException", status=400)
    if refusal := region.account.take_refusal(name):
        raise refusal
    check(SERVICE, name, request)
    if name == "StartAsyncInvoke":
        return _start(region, request, seen)
    return _get(region, label) if name == "GetAsyncInvoke" else _list(region, request)


def _query(query: str) -> JsonObject:
    found: JsonObject = dict(parse_qsl(query))
    if "maxResults" in found:
        found["maxResults"] = (
            int(found["maxResults"]) if re.fullmatch("[0-9]{1,9}", found["maxResults"]) else found["maxResults"]
        )
    return found


# --- start -----------------------------------------------------------------------------------------------------------


def _start(region: Region, request: JsonObject, seen: Callable[[Request[Any]], None]) -> JsonObject:
    table, token = region.state.table(_KIND), request.get("clientRequestToken")
    for record in table.values():
        if token is not None and record.request.get("clientRequestToken") == token:
            if record.request != request:
                raise refused("ConflictException", "The client request token was used with another request.")
            return {"invocationArn": record.arn}
    record, neutral = _record(region, request)
    _check_place(region, record)
    seen(neutral)
    table[record.arn] = record
    return {"invocationArn": record.arn}


def _record(region: Region, request: JsonObject) -> tuple[InvocationRecord, Request[Any]]:
    """The record, and what the invocation asks of its model."""
    model = str(request["modelId"])
    body, settings = invoke_body(model, request["modelInput"])
    neutral: Request[Any]
    if async_embeddings.are_made_by(body.name):
        neutral = async_embeddings.asked(region, body.name, request)
    else:
        neutral, _ = body.read(model, Payload(msgspec.json.encode(request["modelInput"])), settings)
    if not isinstance(neutral, VideoRequest | EmbedRequest) or (
        isinstance(neutral, EmbedRequest) and not async_embeddings.are_made_by(body.name)
    ):
        raise ValidationError(
            "asynchronous invocation is served here for models of videos, of TwelveLabs Marengo and of Nova's "
            f"multimodal embeddings, not for {model}",
            code="ValidationException",
            status=400,
        )
    where = f"arn:{partition(region.name)}:bedrock:{region.name}"
    invocation = new_id()
    record = InvocationRecord(
        arn=f"{where}:{region.account.account_id}:{_KIND}/{invocation}",
        model_arn=model if model.startswith("arn:") else f"{where}::foundation-model/{model}",
        request=request,
        neutral=neutral if isinstance(neutral, VideoRequest) else None,
        body=body.name,
        created=region.now(),
        wait=region.wait(_KIND),
    )
    return record, neutral


def _check_place(region: Region, record: InvocationRecord) -> None:
    """Begin the folder, which tells whether the bucket is there."""
    if region.account.objects is None:
        raise unserved()
    try:
        by = "the model behind awsllm" if record.neutral is None else "a script of awsllm, no model ran"
        region.account.objects.write(f"{record.place}/manifest.json", msgspec.json.encode({"by": by}))
    except KeyError as error:
        raise ValidationError(_NO_BUCKET, code="ValidationException", status=400) from error


# --- what comes of it ------------------------------------------------------------------------------------------------


def _settle(region: Region, record: InvocationRecord) -> None:
    """End what has waited long enough; vectors are made in the background, where the account works there."""
    if record.status != "InProgress" or record.arn in region.account.running or not record.wait.look(region.now()):
        return
    if reason := region.account.take_failure(str(record.request["modelId"])):
        _end(region, record, reason=reason)
    elif record.neutral is None:
        region.account.perform(record.arn, partial(_embed, region, record))
    else:
        _end(region, record, _files(record, record.neutral))


def _embed(region: Region, record: InvocationRecord) -> None:
    try:
        files = async_embeddings.files(region, record.body, record.request, record.place)
    except AwsllmError as error:
        _end(region, record, reason=error.message)
    except BaseException:  # pytest's failures are none of Exception
        _end(region, record, reason="The model failed to process the request.")
        if not region.account.background:
            raise  # of a script: the test is the one to see it
    else:
        _end(region, record, files)


def _end(
    region: Region, record: InvocationRecord, files: Iterable[tuple[str, bytes]] = (), *, reason: str | None = None
) -> None:
    with region.account.lock:
        try:
            for name, data in files:
                objects(region).write(f"{record.place}/{name}", data)
        except KeyError:
            reason = _NO_BUCKET
        record.reason, record.status = reason, "Failed" if reason else "Completed"
        record.ended = region.now()


def _files(record: InvocationRecord, request: VideoRequest) -> Iterator[tuple[str, bytes]]:
    """What a model of videos writes into its folder."""
    length = request.duration or _SHOT * len(request.shots) or _LENGTHS.get(record.body, _SHOT)
    yield OUTPUT, mp4(length)
    if record.body != "nova-reel":
        return
    shots = [f"shot_{number:04}.mp4" for number in range(1, length // _SHOT + 1)] if length > _SHOT else []
    for name in shots:
        yield name, mp4(_SHOT)
    done = [{"status": "SUCCESS", "location": f"{record.place}/{name}"} for name in (*shots, OUTPUT)]
    status = {"schemaVersion": "1.0.0", "shots": done[:-1] or done, "fullVideo": done[-1]}
    yield "video-generation-status.json", msgspec.json.encode(status)


# --- look ------------------------------------------------------------------------------------------------------------


def _get(region: Region, arn: str) -> JsonObject:
    record = region.state.table(_KIND).get(arn)
    if record is None:
        raise ValidationError("The provided invocation ARN was not found.", code="ValidationException", status=400)
    _settle(region, record)
    return _described(record)


def _described(record: InvocationRecord) -> JsonObject:
    output = dict(record.request["outputDataConfig"]["s3OutputDataConfig"], s3Uri=record.place)
    members = {
        "invocationArn": record.arn,
        "modelArn": record.model_arn,
        "clientRequestToken": record.request.get("clientRequestToken"),
        "status": record.status,
        "failureMessage": record.reason,
        "submitTime": _iso(record.created),
        "lastModifiedTime": _iso(record.ended or record.created),
        "endTime": None if record.ended is None else _iso(record.ended),
        "outputDataConfig": {"s3OutputDataConfig": output},
    }
    return {name: value for name, value in members.items() if value is not None}


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _list(region: Region, request: JsonObject) -> JsonObject:
    """The newest first unless the other order is asked for. A token is the place to go on from."""
    records = list(region.state.table(_KIND).values())
    for record in records:
        _settle(region, record)
    found = [_described(record) for record in records]
    found = [each for each in found if _is_wanted(each, request)]
    if request.get("sortOrder", "Descending") == "Descending":
        found.reverse()
    token = str(request.get("nextToken") or "0")
    if not re.fullmatch("[0-9]{1,9}", token):
        raise ValidationError("Invalid nextToken.", code="ValidationException", status=400)
    begin, size = int(token), request.get("maxResults", _PAGE)
    more = {"nextToken": str(begin + size)} if len(found) > begin + size else {}
    return {"asyncInvokeSummaries": found[begin : begin + size], **more}


def _is_wanted(described: JsonObject, request: JsonObject) -> bool:
    submitted = datetime.fromisoformat(described["submitTime"])
    after, before = (request.get(name) for name in ("submitTimeAfter", "submitTimeBefore"))
    return (
        request.get("statusEquals") in (None, described["status"])
        and (after is None or submitted > _instant(after))
        and (before is None or submitted < _instant(before))
    )


def _instant(value: str) -> datetime:
    try:
        found = datetime.fromisoformat(value)
    except ValueError as error:
        raise ValidationError("a time is written as in ISO 8601", code="ValidationException", status=400) from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)
