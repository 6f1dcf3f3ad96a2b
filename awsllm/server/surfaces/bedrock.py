"""Bedrock's runtime, spoken by the server: Converse, ConverseStream, CountTokens, and InvokeModel for Titan embeddings.

Facts of the wire stand in botocore's service model (``bedrock-runtime``) and in replies of the real service: error
types as a header with a URL after a colon, event payloads with sorted keys and a random ``p`` that hides the size of
a token, exceptions inside a stream named in lower camel case.
"""

from __future__ import annotations

import secrets
import string
import time
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec.structs import replace

from awsllm.calls.checks import check_as_service
from awsllm.errors import AwsllmError, ServerError, StreamError, ValidationError
from awsllm.server.shapes import check
from awsllm.server.surfaces.catalog import check_chat_model, invoke_body
from awsllm.server.surfaces.vectors import resize
from awsllm.server.work import Ask, Incoming, Reply, Stream, Work
from awsllm.types import (
    ConverseRequest,
    ConverseResponse,
    EmbedRequest,
    EmbedResponse,
    JsonObject,
    MessageStop,
    Metadata,
    StreamEvent,
    Unknown,
    Usage,
)
from awsllm.wire.body import Context, Payload, Settings
from awsllm.wire.converse import (
    decode_count_tokens_request,
    decode_request,
    encode_error,
    encode_error_frame,
    encode_event,
    encode_response,
)
from awsllm.wire.eventstream import encode_event_frame

SERVICE = "bedrock-runtime"
_JSON = {"Content-Type": "application/json"}
_EVENT_STREAM = {"Content-Type": "application/vnd.amazon.eventstream"}
_ERROR_NAMESPACE = "http://internal.amazon.com/coral/com.amazon.bedrock/"
_PADDING = string.ascii_letters + string.digits
_MAX_DEPTH = 100


def plan(operation: str, model: str, incoming: Incoming) -> Work:
    """What ``operation`` on ``model`` asks for. Raises the ``AwsllmError`` that Bedrock would answer with."""
    return OPERATIONS[operation](model, incoming)


def failure(error: AwsllmError) -> Reply:
    """``error`` as a reply."""
    status, kind, body = encode_error(error)
    headers = {**_JSON, "x-amzn-ErrorType": f"{kind}:{_ERROR_NAMESPACE}"}
    return Reply(status, headers, msgspec.json.encode(body))


def _converse(model: str, incoming: Incoming) -> Work:
    request = _conversation("Converse", model, incoming)
    started = time.perf_counter()

    def encode(response: ConverseResponse) -> Reply:
        timed = response if response.latency_ms is not None else replace(response, latency_ms=_milliseconds(started))
        return Reply(200, _JSON, msgspec.json.encode(encode_response(timed)))

    return Ask(request, encode)


def _converse_stream(model: str, incoming: Incoming) -> Work:
    return Stream(_conversation("ConverseStream", model, incoming), _EVENT_STREAM, EventFrames())


def _count_tokens(model: str, incoming: Incoming) -> Work:
    wire = read_json(incoming.body)
    check(SERVICE, "CountTokens", {**wire, "modelId": model})
    check_chat_model(model)
    if "converse" not in wire["input"]:
        raise ValidationError(
            "CountTokens is served here for the input converse, not invokeModel.",
            code="ValidationException",
            status=400,
        )
    request = decode_count_tokens_request(model, wire)
    check_as_service(request.converse)
    return Ask(request, lambda count: Reply(200, _JSON, msgspec.json.encode({"inputTokens": count})))


def _invoke_model(model: str, incoming: Incoming) -> Work:
    check(SERVICE, "InvokeModel", {"modelId": model})
    body, started = invoke_body(model), time.perf_counter()
    read_json(incoming.body)
    request, _ = body.read(model, Payload(incoming.body), Settings())
    codec, context = body.codec(type(request)), Context(request=request)

    def encode(response: Any) -> Reply:
        headers = {**_JSON, **_invocation_headers(response, started)}
        return Reply(200, headers, codec.encode_response(response, context).body)

    if isinstance(request, EmbedRequest):
        return _embed(request, encode)
    return Ask(request, encode)


def _embed(request: EmbedRequest, encode: Callable[[EmbedResponse], Reply]) -> Work:
    """The model gives vectors of its own size; they are brought to the one that was asked for."""
    if "binary" in (request.extra or {}).get("embeddingTypes", ()):
        raise ValidationError("embeddingTypes: only float is served here", code="ValidationException", status=400)

    def resized(response: EmbedResponse) -> Reply:
        size, normalize = request.dimensions, request.normalize is not False
        if size is not None:
            vectors = [resize(vector, size, normalize=normalize) for vector in response.vectors]
            response = replace(response, vectors=vectors)
        return encode(response)

    return Ask(EmbedRequest(model=request.model, texts=request.texts), resized)


def _invocation_headers(response: Any, started: float) -> dict[str, str]:
    usage = getattr(response, "usage", Usage())
    return {
        "X-Amzn-Bedrock-Input-Token-Count": str(usage.input_tokens or 0),
        "X-Amzn-Bedrock-Invocation-Latency": str(_milliseconds(started)),
    }


OPERATIONS: dict[str, Callable[[str, Incoming], Work]] = {
    "converse": _converse,
    "converse-stream": _converse_stream,
    "count-tokens": _count_tokens,
    "invoke": _invoke_model,
}


class EventFrames:
    """ConverseStream's events as frames."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._complete = False

    def event(self, event: StreamEvent) -> bytes:
        match event:
            case Unknown():
                return b""  # newer than this version: SDKs skip what they do not know, and so may the server
            case MessageStop():
                self._complete = True
            case Metadata(latency_ms=None):
                event = replace(event, latency_ms=_milliseconds(self._started))
        kind, payload = encode_event(event)
        return encode_event_frame(kind, msgspec.json.encode({**payload, "p": _padding()}, order="sorted"))

    def end(self) -> bytes:
        if not self._complete:
            raise StreamError("the model's stream ended before its message did")
        return b""

    def failure(self, error: Exception) -> bytes:
        return encode_error_frame(error if isinstance(error, AwsllmError) else ServerError("internal failure"))


def read_json(body: bytes) -> JsonObject:
    """A request's body: one JSON object, not nested beyond reason. Raises ``ValidationError``."""
    try:
        wire = msgspec.json.decode(body or b"{}")
    except (ValueError, RecursionError) as error:  # broken JSON, bytes that are no UTF-8, nested too deeply
        raise ValidationError(f"Malformed input request: {error}", code="ValidationException", status=400) from error
    if not isinstance(wire, dict):
        raise ValidationError("Malformed input request: a JSON object is expected", code="ValidationException")
    _check_depth(wire)
    return wire


def _check_depth(wire: JsonObject) -> None:
    level: list[Any] = [wire]
    for _ in range(_MAX_DEPTH):
        children = [child for node in level for child in (node.values() if isinstance(node, dict) else node)]
        level = [child for child in children if isinstance(child, (dict, list))]
        if not level:
            return
    raise ValidationError(
        f"Malformed input request: nested more than {_MAX_DEPTH} levels deep", code="ValidationException", status=400
    )


def _conversation(operation: str, model: str, incoming: Incoming) -> ConverseRequest:
    wire = read_json(incoming.body)
    check(SERVICE, operation, {**wire, "modelId": model})
    check_chat_model(model)
    request = decode_request(model, wire)
    check_as_service(request)
    return request


def _padding() -> str:
    return _PADDING[: 2 + secrets.randbelow(60)]


def _milliseconds(since: float) -> int:
    return round(1000 * (time.perf_counter() - since))
