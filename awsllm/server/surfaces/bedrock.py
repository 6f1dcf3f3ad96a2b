"""Bedrock's runtime, spoken by the server: Converse, ConverseStream, CountTokens, and InvokeModel in the bodies of the
families.

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
from awsllm.server.surfaces.catalog import (
    check_chat_model,
    check_counted_model,
    check_prompt_request,
    invoke_body,
    is_prompt,
)
from awsllm.server.surfaces.input_tags import under_guardrail, without_config
from awsllm.server.surfaces.limits import check_limits, read_json
from awsllm.server.surfaces.vectors import resize
from awsllm.server.work import Ask, Incoming, Reply, Stream, Work
from awsllm.types import (
    ConverseRequest,
    ConverseResponse,
    CountTokensRequest,
    JsonObject,
    JsonValue,
    MessageStop,
    Metadata,
    Request,
    StreamEvent,
    Unknown,
    Usage,
)
from awsllm.types.embedding import EmbedRequest, EmbedResponse
from awsllm.wire.anthropic.body import decode_counted
from awsllm.wire.body import Body, ChunkEncoder, Context, Payload, Settings
from awsllm.wire.converse import (
    decode_count_tokens_request,
    decode_request,
    encode_error,
    encode_error_frame,
    encode_event,
    encode_response,
)
from awsllm.wire.eventstream import encode_event_frame
from awsllm.wire.framing import FramingDecoder
from awsllm.wire.model_stream import GUARDRAIL_ACTION, GUARDRAIL_TRACE, METRICS, encode_chunk
from awsllm.wire.reading import JSON, blob

SERVICE = "bedrock-runtime"
_JSON = {"Content-Type": "application/json"}
_EVENT_STREAM = {"Content-Type": "application/vnd.amazon.eventstream"}
_ERROR_NAMESPACE = "http://internal.amazon.com/coral/com.amazon.bedrock/"
_PADDING = string.ascii_letters + string.digits


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
    check_counted_model(model, incoming.family, incoming.models)
    if "invokeModel" in wire["input"]:
        request = _tokens_of_body(model, wire["input"]["invokeModel"], incoming)
    else:
        request = decode_count_tokens_request(model, wire)
        check_as_service(request.converse)
    return Ask(request, lambda count: Reply(200, _JSON, msgspec.json.encode({"inputTokens": count})))


def _tokens_of_body(model: str, wire: JsonObject, incoming: Incoming) -> CountTokensRequest:
    """``body`` is what InvokeModel would be sent, in base64."""
    payload = Payload(blob(wire.get("body"), "body"))
    body, settings = invoke_body(model, read_json(payload.body), incoming.family, incoming.models)
    if body.name == "anthropic-messages":  # what is counted needs no limit
        request: Request[Any] = decode_counted(model, payload)
    else:
        request, _ = body.read(model, payload, settings)
    if not isinstance(request, ConverseRequest):
        raise ValidationError(
            "Tokens are counted of a conversation or a prompt.", code="ValidationException", status=400
        )
    return CountTokensRequest(model=model, converse=request)


def _invoke_model(model: str, incoming: Incoming) -> Work:
    """The body of the model's family. Whether it streams is the operation's to say, never the body's."""
    request, body, settings = _read_body("InvokeModel", model, incoming)
    codec, context, started = (
        body.codec(type(request)),
        Context(request=request, settings=settings),
        time.perf_counter(),
    )

    def encode(response: Any) -> Reply:
        payload = codec.encode_response(response, context)
        if isinstance(request, ConverseRequest) and request.guardrail_config:
            guarded = {**msgspec.json.decode(payload.body), **_guarded(response.stop_reason, response.trace)}
            payload = replace(payload, body=msgspec.json.encode(guarded))
        headers = {"Content-Type": payload.content_type, **_invocation_headers(response, started)}
        return Reply(200, headers, payload.body)

    if isinstance(request, EmbedRequest) and not (incoming.models and incoming.models.remote(request)):
        return _embed(request, encode)
    return Ask(request, encode)


def _invoke_model_stream(model: str, incoming: Incoming) -> Work:
    request, body, settings = _read_body("InvokeModelWithResponseStream", model, incoming)
    if not isinstance(request, ConverseRequest) or body.chat is None or not body.chat.streams:
        raise ValidationError("The model is unsupported for streaming.", code="ValidationException", status=400)
    context = Context(request=request, settings=settings)
    headers = {**_EVENT_STREAM, "X-Amzn-Bedrock-Content-Type": "application/json"}
    is_guarded = request.guardrail_config is not None
    return Stream(request, headers, ChunkFrames(body.chat.stream_encoder(context), is_guarded=is_guarded))


def _read_body(operation: str, model: str, incoming: Incoming) -> tuple[Request[Any], Body, Settings]:
    check(SERVICE, operation, {"modelId": model})
    written, guardrail = without_config(incoming.body)
    body, settings = invoke_body(model, read_json(written), incoming.family, incoming.models)
    content_type = incoming.headers.get("content-type", JSON)
    request, _ = body.read(model, Payload(written, content_type), settings)
    if request.operation == "generate_video":
        raise ValidationError(
            "The model is invoked asynchronously: call StartAsyncInvoke.", code="ValidationException", status=400
        )
    check_limits(request)
    if isinstance(request, ConverseRequest):
        request = under_guardrail(request, incoming, guardrail)
    return request, body, settings


def _guarded(stop_reason: str | None, trace: JsonValue) -> JsonObject:
    """What InvokeModel says of a guardrail, beside the model's words."""
    action = "INTERVENED" if stop_reason == "guardrail_intervened" else "NONE"
    return {GUARDRAIL_ACTION: action, **({GUARDRAIL_TRACE: trace} if trace else {})}


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

    return Ask(EmbedRequest(model=request.model, texts=request.texts, inputs=request.inputs), resized)


def _invocation_headers(response: Any, started: float) -> dict[str, str]:
    usage = getattr(response, "usage", Usage())
    counts = {
        "X-Amzn-Bedrock-Input-Token-Count": usage.input_tokens,
        "X-Amzn-Bedrock-Output-Token-Count": usage.output_tokens,
        "X-Amzn-Bedrock-Cache-Read-Input-Token-Count": usage.cache_read_input_tokens,
        "X-Amzn-Bedrock-Cache-Write-Input-Token-Count": usage.cache_write_input_tokens,
        "X-Amzn-Bedrock-Invocation-Latency": _milliseconds(started),
    }
    return {name: str(count) for name, count in counts.items() if count is not None}


OPERATIONS: dict[str, Callable[[str, Incoming], Work]] = {
    "converse": _converse,
    "converse-stream": _converse_stream,
    "count-tokens": _count_tokens,
    "invoke": _invoke_model,
    "invoke-with-response-stream": _invoke_model_stream,
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


class ChunkFrames:
    """The stream of a body as InvokeModelWithResponseStream's chunks: each JSON value that the body's encoder writes is
    one. The last carries the service's own figures, so one is always held back."""

    def __init__(self, chunks: ChunkEncoder, *, is_guarded: bool = False) -> None:
        self._started = time.perf_counter()
        self._is_guarded = is_guarded
        self._stop_reason: str | None = None
        self._trace: JsonValue = None
        self._first: float | None = None
        self._chunks = chunks
        self._framing = FramingDecoder()
        self._held: JsonValue = None
        self._usage = Usage()

    def event(self, event: StreamEvent) -> bytes:
        if isinstance(event, Metadata):
            self._usage, self._trace = event.usage, event.trace
        elif isinstance(event, MessageStop):
            self._stop_reason = event.stop_reason
        return self._frames(self._chunks.event(event))

    def end(self) -> bytes:
        frames = self._frames(self._chunks.end())
        if isinstance(self._held, dict):
            self._held[METRICS] = self._metrics()
            self._held |= _guarded(self._stop_reason, self._trace) if self._is_guarded else {}
        return frames + self._frame(self._held)

    def failure(self, error: Exception) -> bytes:
        known = error if isinstance(error, AwsllmError) else ServerError("internal failure")
        held, self._held = self._held, None
        return self._frame(held) + encode_error_frame(known)

    def _frames(self, data: bytes) -> bytes:
        frames = b""
        for value in self._framing.feed(data) if data else ():
            if self._first is None:
                self._first = time.perf_counter()
            frames += self._frame(self._held)
            self._held = value
        return frames

    def _frame(self, value: JsonValue) -> bytes:
        return b"" if value is None else encode_chunk(msgspec.json.encode(value), _padding())

    def _metrics(self) -> JsonObject:
        first = round(1000 * ((self._first or self._started) - self._started))
        cached = {
            "cacheReadInputTokenCount": self._usage.cache_read_input_tokens,
            "cacheWriteInputTokenCount": self._usage.cache_write_input_tokens,
        }
        return {
            "inputTokenCount": self._usage.input_tokens or 0,
            "outputTokenCount": self._usage.output_tokens or 0,
            "invocationLatency": _milliseconds(self._started),
            "firstByteLatency": first,
            **{name: count for name, count in cached.items() if count is not None},
        }


def _conversation(operation: str, model: str, incoming: Incoming) -> ConverseRequest:
    wire = read_json(incoming.body)
    check(SERVICE, operation, {**wire, "modelId": model})
    if is_prompt(model):  # what it says is checked where the prompt is known
        check_prompt_request(wire)
        return decode_request(model, wire)
    check_chat_model(model, incoming.family, incoming.models)
    request = replace(decode_request(model, wire), family=incoming.family)
    check_as_service(request)
    return request


def _padding() -> str:
    return _PADDING[: 2 + secrets.randbelow(60)]


def _milliseconds(since: float) -> int:
    return round(1000 * (time.perf_counter() - since))
