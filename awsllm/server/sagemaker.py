"""SageMaker's runtime, spoken by the server: an endpoint whose container takes OpenAI's chat and embedding bodies.

The service hands the container's bytes through. What the container refuses, the caller sees as ``ModelError`` (424)
with the container's own status and body inside; a stream comes as ``PayloadPart`` events with raw bytes. Which
operation was called and what the body asks for are two things: a body without ``"stream": true`` on the streaming
operation gets its whole answer in one part, and one with it on the plain operation gets the container's server-sent
events as they are.

Facts of the wire: botocore's service model ``sagemaker-runtime``.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

import msgspec

from awsllm.errors import AccessDeniedError, AwsllmError, ModelNotReadyError, ServerError, StreamError, ValidationError
from awsllm.server.bedrock import read_json
from awsllm.server.shapes import check
from awsllm.server.work import Answer, Incoming, Reply, Stream, Vectors, Work
from awsllm.types import ConverseResponse, EmbedRequest, EmbedResponse, JsonObject, MessageStop, StreamEvent
from awsllm.wire.endpoint import openai
from awsllm.wire.endpoint.framing import DONE, encode_sse
from awsllm.wire.eventstream import encode_event_frame, encode_exception_frame

SERVICE = "sagemaker-runtime"
MAX_BODY = 6_291_456  # bytes, ``BodyBlob`` in the service model
_INVOKED = {"x-Amzn-Invoked-Production-Variant": "AllTraffic"}
_JSON = "application/json"
_SSE = "text/event-stream"


def failure(error: AwsllmError) -> Reply:
    """``error`` as a reply: the service's own, or the container's inside a ModelError."""
    body: JsonObject
    match error:
        case AccessDeniedError():
            status, kind, body = 403, "AccessDeniedException", {"Message": error.message}
        case AwsllmError(code="ValidationError"):
            status, kind, body = 400, "ValidationError", {"Message": error.message}
        case ModelNotReadyError():
            status, kind, body = 429, "ModelNotReadyException", {"Message": error.message}
        case _:
            status, kind, body = 424, "ModelError", _model_error(error)
    return Reply(status, {"Content-Type": _JSON, "x-amzn-ErrorType": kind}, msgspec.json.encode(body))


def _model_error(error: AwsllmError) -> JsonObject:
    status, container = openai.encode_error(error)
    original = msgspec.json.encode(container).decode()
    side = "client" if status < 500 else "server"
    message = f'Received {side} error ({status}) from primary with message "{original}"'
    return {"Message": message, "OriginalStatusCode": status, "OriginalMessage": original, "LogStreamArn": ""}


def _invoke(endpoint: str, incoming: Incoming) -> Work:
    wire = _read("InvokeEndpoint", endpoint, incoming)
    if "messages" not in wire and "input" in wire:
        return _embed(endpoint, wire, _whole)
    if wire.get("stream") is True:
        return _stream(endpoint, wire, {"Content-Type": _SSE}, _bare)
    return _chat(endpoint, wire, _whole)


def _invoke_with_response_stream(endpoint: str, incoming: Incoming) -> Work:
    wire = _read("InvokeEndpointWithResponseStream", endpoint, incoming)
    if "messages" not in wire and "input" in wire:
        return _embed(endpoint, wire, _in_one_part)
    if wire.get("stream") is True:
        return _stream(endpoint, wire, _stream_headers(_SSE), _part)
    return _chat(endpoint, wire, _in_one_part)


OPERATIONS: dict[str, Callable[[str, Incoming], Work]] = {
    "invocations": _invoke,
    "invocations-response-stream": _invoke_with_response_stream,
}


def _read(operation: str, endpoint: str, incoming: Incoming) -> JsonObject:
    """The container's JSON. What the service itself refuses has the code ``ValidationError``, by which ``failure``
    tells it from what the container refuses."""
    try:
        check(SERVICE, operation, {"EndpointName": endpoint, "Body": ""})
    except ValidationError as error:
        raise ValidationError(error.message, code="ValidationError", status=400) from error
    if len(incoming.body) > MAX_BODY:
        raise ValidationError(f"Body has more than {MAX_BODY} bytes", code="ValidationError", status=400)
    return read_json(incoming.body)


def _chat(endpoint: str, wire: JsonObject, write: Callable[[JsonObject], Reply]) -> Work:
    request = openai.decode_request(endpoint, wire)

    def encode(response: ConverseResponse) -> Reply:
        return write(openai.encode_response(response, id=_id(), created=int(time.time()), model=endpoint))

    return Answer(request, encode)


def _embed(endpoint: str, wire: JsonObject, write: Callable[[JsonObject], Reply]) -> Work:
    wanted = openai.decode_embed_request(endpoint, wire)
    extra = wanted.extra or {}
    form = extra.get("encoding_format", "float")
    if form not in ("float", "base64"):
        raise ValidationError("encoding_format must be float or base64")

    def encode(response: EmbedResponse) -> Reply:
        return write(openai.encode_embed_response(response, model=endpoint, encoding_format=form))

    return Vectors(EmbedRequest(model=endpoint, texts=wanted.texts, dimensions=wanted.dimensions), encode)


def _stream(endpoint: str, wire: JsonObject, headers: dict[str, str], frame: Callable[[bytes], bytes]) -> Work:
    options = wire.get("stream_options")
    with_usage = isinstance(options, dict) and options.get("include_usage") is True
    encoder = _Chunks(endpoint, frame, include_usage=with_usage)
    return Stream(openai.decode_request(endpoint, wire), {**_INVOKED, **headers}, encoder)


class _Chunks:
    """A chat completion's chunks as server-sent events, each in a frame."""

    def __init__(self, endpoint: str, frame: Callable[[bytes], bytes], *, include_usage: bool) -> None:
        self._frame = frame
        self._complete = False
        self._chunks = openai.ChunkEncoder(
            id=_id(), created=int(time.time()), model=endpoint, include_usage=include_usage
        )

    def event(self, event: StreamEvent) -> bytes:
        self._complete = self._complete or isinstance(event, MessageStop)
        return b"".join(self._frame(encode_sse(chunk)) for chunk in self._chunks.push(event))

    def end(self) -> bytes:
        if not self._complete:
            raise StreamError("the model's stream ended before its message did")
        return self._frame(DONE)

    def failure(self, error: Exception) -> bytes:
        known = error if isinstance(error, AwsllmError) else ServerError("internal failure")
        if self._frame is _bare:  # outside event streams a container can only say it in its own
            return encode_sse(openai.encode_error(known)[1])
        body = {"Message": known.message, "ErrorCode": "StreamBroken"}
        return encode_exception_frame("ModelStreamError", msgspec.json.encode(body))


def _part(data: bytes) -> bytes:
    return encode_event_frame("PayloadPart", data, "application/octet-stream")


def _bare(data: bytes) -> bytes:
    return data


def _whole(wire: JsonObject) -> Reply:
    return Reply(200, {**_INVOKED, "Content-Type": _JSON}, msgspec.json.encode(wire))


def _in_one_part(wire: JsonObject) -> Reply:
    return Reply(200, {**_INVOKED, **_stream_headers(_JSON)}, _part(msgspec.json.encode(wire)))


def _stream_headers(content_type: str) -> dict[str, str]:
    return {"Content-Type": "application/vnd.amazon.eventstream", "X-Amzn-SageMaker-Content-Type": content_type}


def _id() -> str:
    return f"chatcmpl-{secrets.token_hex(12)}"
