"""Chat by InvokeModel, in the bodies that the families of models speak (``wire.invoke``).

What Converse says in its body, InvokeModel says in headers: guardrail, trace, latency, tier, metadata. Of an answer the
service tells the token counts in headers and, of a stream, in its last chunk; they count where the body itself tells
none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import msgspec
from msgspec.structs import replace

from awsllm.aws.call import Call, HttpResponse, StreamCall
from awsllm.backends.bedrock.runtime import post, read_error
from awsllm.backends.payloads import read_by
from awsllm.backends.remote import event_stream, writable
from awsllm.errors import StreamError, UnsupportedError
from awsllm.models.profiles import profile
from awsllm.types import (
    ContentBlockDelta,
    ConverseRequest,
    ConverseResponse,
    GuardrailConfig,
    JsonObject,
    JsonValue,
    MessageStop,
    Metadata,
    PerformanceConfig,
    ServiceTier,
    StreamEvent,
    Usage,
)
from awsllm.wire import invoke
from awsllm.wire.body import Chat, ChunkDecoder, Context, Payload, Settings
from awsllm.wire.model_stream import GUARDRAIL_ACTION, GUARDRAIL_TRACE, METRICS, ModelStreamDecoder

HEADER = "x-amzn-bedrock-"
LATENCY = f"{HEADER}invocation-latency"
_PERFORMANCE = f"{HEADER}performanceconfig-latency"
_TIER = f"{HEADER}service-tier"
_TOKENS_IN = f"{HEADER}input-token-count"
_TOKENS_OUT = f"{HEADER}output-token-count"
_CACHE_READ = f"{HEADER}cache-read-input-token-count"
_CACHE_WRITTEN = f"{HEADER}cache-write-input-token-count"
GUARDRAIL_CONFIG = "amazon-bedrock-guardrailConfig"
GUARDRAIL_MODES = {"sync": "SYNCHRONOUS", "async": "ASYNCHRONOUS"}


def converse_call(request: ConverseRequest) -> Call[ConverseResponse]:
    chat, payload, context = _prepared(request, stream=False)
    read = read_by(chat, context)

    def decode(response: HttpResponse) -> ConverseResponse:
        return invoked(read(response), response)

    http = post(request.model, "invoke", payload.body, _headers(request, payload, "Accept"))
    return Call(http, decode, read_error)


def converse_stream_call(request: ConverseRequest) -> StreamCall[StreamEvent]:
    chat, payload, context = _prepared(request, stream=True)

    def decoder(head: HttpResponse) -> BodyStreamDecoder:
        return BodyStreamDecoder(chat.stream_decoder(replace(context, request_id=head.request_id)), head)

    headers = _headers(request, payload, "X-Amzn-Bedrock-Accept")
    http = post(request.model, "invoke-with-response-stream", payload.body, headers)
    return StreamCall(http, event_stream(decoder), read_error)


def encode_body(request: ConverseRequest) -> bytes:
    """The body that the model is sent, for CountTokens and batch jobs."""
    _, payload, _ = _prepared(request, stream=False)
    return payload.body


def decode_body(request: ConverseRequest, body: bytes) -> ConverseResponse:
    """What a model answered to ``encode_body``'s, as batch jobs write it: without the headers of a reply."""
    chat, _, context = _prepared(request, stream=False)
    return chat.decode_response(Payload(body), context)


def _prepared(request: ConverseRequest, *, stream: bool) -> tuple[Chat, Payload, Context]:
    """Who reads the answer, what is sent, and what reading needs."""
    chat, settings = _chat(request.model, request.family)
    if stream and not chat.streams:
        raise UnsupportedError(f"converse_stream is not possible with {request.model}: its body has no streams")
    bare = _without_headers(request)
    with writable():
        payload = chat.encode_request(bare, settings, stream=stream)
    if stream and request.guardrail_config is not None:
        payload = _guarded(payload, request.guardrail_config.stream_processing_mode)
    return chat, payload, Context(request=bare, settings=settings, warnings=chat.warnings(bare, settings))


@lru_cache(maxsize=512)  # as of the profiles that it is made of
def _chat(model: str, family: str | None) -> tuple[Chat, Settings]:
    body = invoke.body_of(model, family)
    if body.chat is None:
        raise UnsupportedError(f"converse is not possible with {model}, which speaks {body.title}")
    return body.chat, Settings(prompt=profile("bedrock", model, family).invoke_prompt)


def _without_headers(request: ConverseRequest) -> ConverseRequest:
    """The request without what goes into headers: no body has a place for it."""
    if (request.guardrail_config, request.performance_config, request.service_tier, request.request_metadata) == _NONE:
        return request  # as it nearly always is, and a copy costs
    return replace(request, guardrail_config=None, performance_config=None, service_tier=None, request_metadata=None)


_NONE = (None, None, None, None)


def _guarded(payload: Payload, mode: str | None) -> Payload:
    """The payload of a stream, and how its guardrail shall go along with it."""
    if mode is None:
        return payload
    wire = {
        **msgspec.json.decode(payload.body),
        GUARDRAIL_CONFIG: {"streamProcessingMode": GUARDRAIL_MODES.get(mode, mode)},
    }
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
    named: dict[str, str | None] = {}
    if guardrail is not None:
        named["X-Amzn-Bedrock-GuardrailIdentifier"] = guardrail.guardrail_identifier
        named["X-Amzn-Bedrock-GuardrailVersion"] = guardrail.guardrail_version
        named["X-Amzn-Bedrock-Trace"] = guardrail.trace.upper() if guardrail.trace else None
    if performance is not None:
        named["X-Amzn-Bedrock-PerformanceConfig-Latency"] = performance.latency
    if tier is not None:
        named["X-Amzn-Bedrock-Service-Tier"] = tier.type
    if metadata:
        named["X-Amzn-Bedrock-Request-Metadata"] = msgspec.json.encode(metadata).decode()
    return {name: value for name, value in named.items() if value is not None}


def invoked(response: ConverseResponse, http: HttpResponse) -> ConverseResponse:
    """The response with what the service itself says of the invocation."""
    wire, headers = response.raw or {}, http.headers
    changes: dict[str, Any] = {"latency_ms": response.latency_ms or whole_number(headers.get(LATENCY))}
    if not _is_counted(response.usage):
        changes["usage"] = with_counts(response.usage, counts_of(headers))
    if performance := headers.get(_PERFORMANCE):
        changes["performance_config"] = PerformanceConfig(performance)
    if tier := headers.get(_TIER):
        changes["service_tier"] = ServiceTier(tier)
    if GUARDRAIL_TRACE in wire:
        changes["trace"] = wire[GUARDRAIL_TRACE]
    if wire.get(GUARDRAIL_ACTION) == "INTERVENED":
        changes["stop_reason"] = "guardrail_intervened"
    return replace(response, **changes)


# --- what the service counts -----------------------------------------------------------------------------------------


def counts_of(headers: Mapping[str, str]) -> Usage:
    """The token counts in the headers of a reply (names in lower case)."""
    return Usage(
        input_tokens=whole_number(headers.get(_TOKENS_IN)),
        output_tokens=whole_number(headers.get(_TOKENS_OUT)),
        cache_read_input_tokens=whole_number(headers.get(_CACHE_READ)),
        cache_write_input_tokens=whole_number(headers.get(_CACHE_WRITTEN)),
    )


def with_counts(usage: Usage, counts: Usage) -> Usage:
    """The usage with counts in place of what it does not know, or only estimates."""
    if _is_counted(usage):
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


def _is_counted(usage: Usage) -> bool:
    """Whether the body itself told the counts."""
    return usage.input_tokens is not None and usage.output_tokens is not None and not usage.estimated


def whole_number(value: JsonValue) -> int | None:
    """A count that the service writes as a number or as a text; None for anything else."""
    try:
        return int(value) if isinstance(value, int | str) and not isinstance(value, bool) else None
    except ValueError:
        return None


_VALUE = msgspec.json.Decoder()  # made once, for each chunk
_SERVICE = b"amazon-bedrock-"
"""What begins each name under which the service adds to a chunk."""


def _not_read(part: bytes) -> None:
    """``ChunkDecoder.grown`` of a body without it."""


class BodyStreamDecoder:
    """The chunks of one InvokeModelWithResponseStream reply to events, by the body's own decoder."""

    def __init__(self, chunks: ChunkDecoder, head: HttpResponse) -> None:
        self._parts = ModelStreamDecoder(head.request_id)
        self._chunks = chunks
        self._grown: Callable[[bytes], StreamEvent | None] = getattr(chunks, "grown", _not_read)
        self._counts = counts_of(head.headers)
        self._latency: int | None = None
        self._trace: JsonValue = None
        self._intervened = False

    def feed(self, data: bytes) -> Iterator[StreamEvent]:
        for part in self._parts.feed(data):
            if event := self._grown(part):  # most chunks: no more than a piece of the answer, with nothing to complete
                yield event
            else:
                yield from self._events(part)

    def close(self) -> Iterator[StreamEvent]:
        self._parts.close()
        yield from map(self._completed, self._chunks.finish(done=True))

    def _events(self, part: bytes) -> Iterator[StreamEvent]:
        try:
            value: JsonValue = _VALUE.decode(part)
        except (ValueError, RecursionError) as cause:
            raise StreamError(f"a chunk of the stream is no JSON but {len(part):,} bytes") from cause
        if _SERVICE in part and isinstance(value, dict):  # a search of the bytes is cheaper than looking up each name
            self._read(value)
        for event in self._chunks.push(value):
            yield event if type(event) is ContentBlockDelta else self._completed(event)

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
        self._trace = value.pop(GUARDRAIL_TRACE, self._trace)
        self._intervened = value.pop(GUARDRAIL_ACTION, None) == "INTERVENED" or self._intervened

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
