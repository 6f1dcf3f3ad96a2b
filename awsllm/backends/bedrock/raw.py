"""InvokeModel with the caller's own body: bytes in, bytes out."""

from __future__ import annotations

from collections.abc import Iterator

from awsllm.aws.call import Call, HttpRequest, HttpResponse, StreamCall
from awsllm.backends.bedrock.invoke import HEADER, LATENCY, counts_of, invocation_headers, whole_number
from awsllm.backends.bedrock.runtime import post, read_error
from awsllm.backends.remote import event_stream
from awsllm.errors import ValidationError
from awsllm.types import PerformanceConfig, ServiceTier
from awsllm.types.raw import InvokeModelRequest, RawChunk, RawResponse
from awsllm.wire.model_stream import ModelStreamDecoder
from awsllm.wire.reading import JSON

MAX_BODY = 25_000_000
"""Bytes that the service takes (service model, ``Body``)."""


def invoke_model_call(request: InvokeModelRequest) -> Call[RawResponse]:
    def decode(response: HttpResponse) -> RawResponse:
        counts = counts_of(response.headers)
        return RawResponse(
            body=response.body,
            content_type=response.headers.get("content-type", JSON),
            input_tokens=counts.input_tokens,
            output_tokens=counts.output_tokens,
            cache_read_input_tokens=counts.cache_read_input_tokens,
            cache_write_input_tokens=counts.cache_write_input_tokens,
            latency_ms=whole_number(response.headers.get(LATENCY)),
            headers={name: value for name, value in response.headers.items() if name.startswith(HEADER)},
            model=request.model,
            request_id=response.request_id,
        )

    return Call(_http(request, "invoke", "Accept"), decode, read_error)


def invoke_model_stream_call(request: InvokeModelRequest) -> StreamCall[RawChunk]:
    http = _http(request, "invoke-with-response-stream", "X-Amzn-Bedrock-Accept")
    return StreamCall(http, event_stream(lambda head: _Chunks(head.request_id)), read_error)


class _Chunks:
    def __init__(self, request_id: str | None) -> None:
        self._parts = ModelStreamDecoder(request_id)

    def feed(self, data: bytes) -> Iterator[RawChunk]:
        return map(RawChunk, self._parts.feed(data))

    def close(self) -> tuple[()]:
        return self._parts.close()


def _http(request: InvokeModelRequest, operation: str, accept: str) -> HttpRequest:
    if len(request.body) > MAX_BODY:
        raise ValidationError(f"the body has {len(request.body):,} bytes; InvokeModel takes at most {MAX_BODY:,}")
    latency, tier = request.latency, request.service_tier
    headers = {
        "Content-Type": request.content_type,
        accept: request.accept,
        **invocation_headers(
            request.guardrail_config,
            PerformanceConfig(latency) if latency else None,
            ServiceTier(tier) if tier else None,
            request.request_metadata,
        ),
    }
    return post(request.model, operation, request.body, headers)


CALLS = {InvokeModelRequest: invoke_model_call}
STREAMS = {InvokeModelRequest: invoke_model_stream_call}
