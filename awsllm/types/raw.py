"""Values of the raw doors: a model's or an endpoint's own bytes, with awsllm's transport, limits and errors."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from awsllm.errors import ServerError
from awsllm.types import AttemptMade, EndpointOptions, GuardrailConfig, JsonValue, Streamed, Value

_JSON = "application/json"


class RawResponse(Value, frozen=True, kw_only=True):
    """A body as it came, with what its headers say. ``input_tokens``, ``output_tokens`` and ``latency_ms`` are the
    service's own figures, None where it gives none; ``headers`` are those that only some services send, in lower
    case."""

    body: bytes
    content_type: str = _JSON
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_write_input_tokens: int | None = None
    latency_ms: int | None = None
    headers: dict[str, str] | None = None
    model: str | None = None
    request_id: str | None = None
    attempts: tuple[AttemptMade, ...] = ()

    def json(self) -> JsonValue:
        """The JSON value of the body. Raises ``ServerError`` where it is none."""
        return _value(self.body, self.request_id)


class RawChunk(Value, frozen=True):
    """One part of a body that is streamed: what a model wrote at once, or what a container's bytes were cut into."""

    data: bytes

    def json(self) -> JsonValue:
        """The JSON value of the part, which Bedrock's models write each of. Raises ``ServerError`` where it is none."""
        return _value(self.data, None)


def _value(data: bytes, request_id: str | None) -> JsonValue:
    try:
        return msgspec.json.decode(data)
    except (ValueError, RecursionError) as cause:
        raise ServerError(f"not JSON but {len(data):,} bytes of something else", request_id=request_id) from cause


class InvokeModelRequest(Streamed[RawResponse, RawChunk], frozen=True, kw_only=True):
    """InvokeModel with the caller's own body. ``guardrail_config``'s ``stream_processing_mode`` has no header: it is
    the body's to say. ``latency`` is standard or optimized, ``service_tier`` priority, default, flex or reserved."""

    operation: ClassVar[str] = "invoke_model"
    served_by: ClassVar[str] = "bedrock: models"

    body: bytes
    content_type: str = _JSON
    accept: str = _JSON
    guardrail_config: GuardrailConfig | None = None
    latency: str | None = None
    service_tier: str | None = None
    request_metadata: dict[str, str] | None = None


class InvokeEndpointRequest(Streamed[RawResponse, RawChunk], frozen=True, kw_only=True):
    """InvokeEndpoint with the caller's own body. ``endpoint`` says how the endpoint is called."""

    operation: ClassVar[str] = "invoke_endpoint"
    served_by: ClassVar[str] = "sagemaker: endpoints"

    body: bytes
    content_type: str = _JSON
    accept: str = _JSON
    endpoint: EndpointOptions | None = None
