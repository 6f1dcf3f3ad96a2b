"""InvokeModel in the bodies that the families of models speak (``wire.invoke``).

What Converse says in its body, InvokeModel says in headers: guardrail, trace, latency, tier, metadata. Of an answer the
service tells the token counts in headers and, of a stream, in its last chunk; they count where the body itself tells
none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from awsllm.aws.call import Call, HttpResponse, StreamCall
from awsllm.backends.bedrock.runtime import CallGroup, post, read_error
from awsllm.backends.remote import event_stream, read_by, writable
from awsllm.errors import StreamError, UnsupportedError
from awsllm.models.profiles import profile
from awsllm.types import (
    ConverseRequest,
    ConverseResponse,
    EmbedRequest,
    EmbedResponse,
    GuardrailConfig,
    ImageRequest,
    JsonObject,
    JsonValue,
    MessageStop,
    Metadata,
    PerformanceConfig,
    Request,
    RerankRequest,
    ServiceTier,
    StreamEvent,
    Usage,
)
from awsllm.types.media import ImageEditRequest
from awsllm.wire import invoke
from awsllm.wire.body import Body, Chat, ChunkDecoder, Context, Payload, Settings
from awsllm.wire.model_stream import METRICS, ModelStreamDecoder
from awsllm.wire.vectors import merge_embeddings, split_embedding

R = TypeVar("R")

_HEADER = "x-amzn-bedrock-"
_GUARDRAIL_ACTION = "amazon-bedrock-guardrailAction"
_TRACE = "amazon-bedrock-trace"
_GUARDRAIL_CONFIG = "amazon-bedrock-guardrailConfig"
_MODES = {"sync": "SYNCHRONOUS", "async": "ASYNCHRONOUS"}


# --- chat ------------------------------------------------------------------------------------------------------------


def converse_call(request: ConverseRequest) -> Call[ConverseResponse]:
    chat, settings = _chat(request)
    payload = _payload(request, chat, settings, stream=False)
    context = _context(request, chat, settings)
    read = read_by(chat, context)

    def decode(response: HttpResponse) -> ConverseResponse:
        return _invoked(read(response), response)

    http = post(request.model, "invoke", payload.body, _headers(request, payload, "Accept"))
    return Call(http, decode, read_error)


def converse_stream_call(request: ConverseRequest) -> StreamCall[StreamEvent]:
    chat, settings = _chat(request)
    if not chat.streams:
        raise UnsupportedError(f"converse_stream is not possible with {request.model}: its body has no streams")
    payload = _payload(request, chat, settings, stream=True)
    context = _context(request, chat, settings)

    def decoder(head: HttpResponse) -> BodyStreamDecoder:
        return BodyStreamDecoder(chat.stream_decoder(replace(context, request_id=head.request_id)), head)

    headers = _headers(request, payload, "X-Amzn-Bedrock-Accept")
    http = post(request.model, "invoke-with-response-stream", payload.body, headers)
    return StreamCall(http, event_stream(decoder), read_error)


def encode_body(request: ConverseRequest) -> bytes:
    """The body that the model is sent, for CountTokens."""
    chat, settings = _chat(request)
    return _payload(request, chat, settings, stream=False).body


def _chat(request: ConverseRequest) -> tuple[Chat, Settings]:
    body = invoke.body_of(request.model, request.family)
    if body.chat is None:
        raise UnsupportedError(f"converse is not possible with {request.model}, which speaks {body.title}")
    return body.chat, Settings(prompt=profile("bedrock", request.model, request.family).invoke_prompt)


def _without_headers(request: ConverseRequest) -> ConverseRequest:
    """The request without what goes into headers: no body has a place for it."""
    return replace(request, guardrail_config=None, performance_config=None, service_tier=None, request_metadata=None)


def _context(request: ConverseRequest, chat: Chat, settings: Settings) -> Context:
    bare = _without_headers(request)
    return Context(request=bare, settings=settings, warnings=chat.warnings(bare, settings))


def _payload(request: ConverseRequest, chat: Chat, settings: Settings, *, stream: bool) -> Payload:
    with writable():
        payload = chat.encode_request(_without_headers(request), settings, stream=stream)
    guardrail = request.guardrail_config
    mode = guardrail.stream_processing_mode if guardrail and stream else None
    if mode is None:
        return payload
    wire = {**msgspec.json.decode(payload.body), _GUARDRAIL_CONFIG: {"streamProcessingMode": _MODES.get(mode, mode)}}
    return replace(payload, body=msgspec.json.encode(wire))


def _headers(request: ConverseRequest, payload: Payload, accept: str) -> dict[str, str]:
    return {
        "Content-Type": payload.content_type,
        accept: payload.accept,
        **invocation_headers(
            request.guardrail_config, request.performance_config, request.service_tier, request.request_metadata
        ),
    }


def invocation_headers(
    guardrail: GuardrailConfig | None,
    performance: PerformanceConfig | None,
    tier: ServiceTier | None,
    metadata: Mapping[str, str] | None,
) -> dict[str, str]:
    """What Converse has members for and InvokeModel headers (botocore's service model)."""
    guardrail = guardrail or GuardrailConfig()
    named = {
        "X-Amzn-Bedrock-GuardrailIdentifier": guardrail.guardrail_identifier,
        "X-Amzn-Bedrock-GuardrailVersion": guardrail.guardrail_version,
        "X-Amzn-Bedrock-Trace": guardrail.trace.upper() if guardrail.trace else None,
        "X-Amzn-Bedrock-PerformanceConfig-Latency": performance.latency if performance else None,
        "X-Amzn-Bedrock-Service-Tier": tier.type if tier else None,
        "X-Amzn-Bedrock-Request-Metadata": msgspec.json.encode(metadata).decode() if metadata else None,
    }
    return {name: value for name, value in named.items() if value is not None}


def _invoked(response: ConverseResponse, http: HttpResponse) -> ConverseResponse:
    """The response with what the service itself says of the invocation."""
    wire, headers = response.raw or {}, http.headers
    performance, tier = headers.get(f"{_HEADER}performanceconfig-latency"), headers.get(f"{_HEADER}service-tier")
    changes: dict[str, Any] = {
        "usage": with_counts(response.usage, counts_of(headers)),
        "latency_ms": response.latency_ms or whole_number(headers.get(f"{_HEADER}invocation-latency")),
        "performance_config": PerformanceConfig(performance) if performance else response.performance_config,
        "service_tier": ServiceTier(tier) if tier else response.service_tier,
        "trace": wire.get(_TRACE, response.trace),
    }
    if wire.get(_GUARDRAIL_ACTION) == "INTERVENED":
        changes["stop_reason"] = "guardrail_intervened"
    return replace(response, **changes)


# --- what the service counts -----------------------------------------------------------------------------------------


def counts_of(headers: Mapping[str, str]) -> Usage:
    """The token counts in the headers of a reply (names in lower case)."""
    return Usage(
        input_tokens=whole_number(headers.get(f"{_HEADER}input-token-count")),
        output_tokens=whole_number(headers.get(f"{_HEADER}output-token-count")),
        cache_read_input_tokens=whole_number(headers.get(f"{_HEADER}cache-read-input-token-count")),
        cache_write_input_tokens=whole_number(headers.get(f"{_HEADER}cache-write-input-token-count")),
    )


def with_counts(usage: Usage, counts: Usage) -> Usage:
    """The usage with counts in place of what it does not know, or only estimates."""
    if usage.input_tokens is not None and usage.output_tokens is not None and not usage.estimated:
        return usage
    tokens_in = counts.input_tokens if usage.input_tokens is None or usage.estimated else usage.input_tokens
    tokens_out = counts.output_tokens if usage.output_tokens is None or usage.estimated else usage.output_tokens
    if tokens_in is None and tokens_out is None:
        return usage
    cache_read = usage.cache_read_input_tokens or counts.cache_read_input_tokens
    cache_write = usage.cache_write_input_tokens or counts.cache_write_input_tokens
    known = tokens_in is not None and tokens_out is not None
    return replace(
        usage,
        input_tokens=tokens_in,
        output_tokens=tokens_out,
        total_tokens=(tokens_in or 0) + (tokens_out or 0) + (cache_read or 0) + (cache_write or 0) if known else None,
        cache_read_input_tokens=cache_read,
        cache_write_input_tokens=cache_write,
        estimated=False,
    )


def whole_number(value: JsonValue) -> int | None:
    """A count that the service writes as a number or as a text; None for anything else."""
    try:
        return int(value) if isinstance(value, int | str) and not isinstance(value, bool) else None
    except ValueError:
        return None


class BodyStreamDecoder:
    """The chunks of one InvokeModelWithResponseStream reply to events, by the body's own decoder."""

    def __init__(self, chunks: ChunkDecoder, head: HttpResponse) -> None:
        self._parts = ModelStreamDecoder(head.request_id)
        self._chunks = chunks
        self._counts = counts_of(head.headers)
        self._latency: int | None = None
        self._trace: JsonValue = None
        self._intervened = False

    def feed(self, data: bytes) -> Iterator[StreamEvent]:
        for part in self._parts.feed(data):
            try:
                value: JsonValue = msgspec.json.decode(part)
            except (ValueError, RecursionError) as cause:
                raise StreamError(f"a chunk of the stream is no JSON but {len(part):,} bytes") from cause
            if isinstance(value, dict):
                self._read(value)
            yield from map(self._completed, self._chunks.push(value))

    def close(self) -> Iterator[StreamEvent]:
        self._parts.close()
        yield from map(self._completed, self._chunks.finish(done=True))

    def _read(self, value: JsonObject) -> None:
        """Take what is the service's out of a chunk."""
        metrics = value.pop(METRICS, None)
        if isinstance(metrics, dict):
            self._counts = Usage(
                input_tokens=whole_number(metrics.get("inputTokenCount")),
                output_tokens=whole_number(metrics.get("outputTokenCount")),
                cache_read_input_tokens=whole_number(metrics.get("cacheReadInputTokenCount")),
                cache_write_input_tokens=whole_number(metrics.get("cacheWriteInputTokenCount")),
            )
            self._latency = whole_number(metrics.get("invocationLatency"))
        self._trace = value.pop(_TRACE, self._trace)
        self._intervened = value.pop(_GUARDRAIL_ACTION, None) == "INTERVENED" or self._intervened

    def _completed(self, event: StreamEvent) -> StreamEvent:
        match event:
            case Metadata(usage, latency):
                trace = self._trace if event.trace is None else event.trace
                return replace(
                    event, usage=with_counts(usage, self._counts), latency_ms=latency or self._latency, trace=trace
                )
            case MessageStop() if self._intervened:
                return replace(event, stop_reason="guardrail_intervened")
            case _:
                return event


# --- the other operations --------------------------------------------------------------------------------------------


def body_call(request: Request[R]) -> Call[R]:
    return _call(request, invoke.body_of(request.model, request.family))


def _call(request: Request[R], body: Body) -> Call[R]:
    """InvokeModel, in the body of the model's family."""
    codec, settings = body.codec(type(request)), Settings()
    with writable():
        payload = codec.encode_request(request, settings)
    headers = {"Content-Type": payload.content_type, "Accept": payload.accept}
    context = Context(request=request, warnings=codec.warnings(request, settings))
    read = read_by(codec, context)

    def decode(response: HttpResponse) -> R:
        return _counted(read(response), response)

    return Call(post(request.model, "invoke", payload.body, headers), decode, read_error)


def _counted(response: R, http: HttpResponse) -> R:
    """The response with the tokens that the service counted, where its body counts none."""
    known: Any = response
    usage = getattr(known, "usage", None)
    counted = counts_of(http.headers).input_tokens
    if usage is None or counted is None or usage.input_tokens is not None:
        return response
    return replace(known, usage=replace(usage, input_tokens=counted, total_tokens=counted))  # type: ignore[no-any-return]


def embed_calls(request: EmbedRequest) -> CallGroup[EmbedResponse]:
    """As many calls as it takes: most families limit what one carries."""
    body = invoke.body_of(request.model, request.family)
    parts = split_embedding(request, body.embed) if body.embed else [request]
    return CallGroup(
        [_call(part, body) for part in parts], lambda responses: merge_embeddings(request, parts, responses)
    )


CALLS = {
    EmbedRequest: embed_calls,
    ImageRequest: body_call,
    ImageEditRequest: body_call,
    RerankRequest: body_call,
}
