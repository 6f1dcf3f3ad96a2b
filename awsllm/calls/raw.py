"""The raw doors before they are called: the caller's own body, checked as far as bytes can be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from awsllm.calls import content
from awsllm.calls.options import InvokeEndpointOptions, InvokeModelOptions, check_names
from awsllm.errors import ConfigurationError, ValidationError
from awsllm.models.references import Reference, parse_reference
from awsllm.types import GuardrailConfig
from awsllm.types.raw import InvokeEndpointRequest, InvokeModelRequest, RawChunk, RawResponse
from awsllm.wire.reading import JSON

RawBody: TypeAlias = bytes | bytearray | memoryview | str | Mapping[str, Any] | list[Any]
"""Bytes and texts are sent as they are, anything else as JSON."""


def prepare_invoke_model(
    model: str, body: RawBody, options: InvokeModelOptions
) -> tuple[Reference, InvokeModelRequest]:
    check_names(options, InvokeModelOptions)
    reference = parse_reference(model)
    if reference.scheme != "bedrock":
        raise ConfigurationError(f"invoke_model is InvokeModel, of bedrock: models; {reference} is none")
    metadata = options.get("request_metadata")
    return reference, InvokeModelRequest(
        model=reference.model,
        body=raw_bytes(body),
        content_type=options.get("content_type") or JSON,
        accept=options.get("accept") or JSON,
        guardrail_config=content.config(options.get("guardrail_config"), GuardrailConfig, "guardrailConfig"),
        latency=options.get("latency"),
        service_tier=options.get("service_tier"),
        request_metadata=content.metadata(metadata) if metadata else None,
    )


def prepare_invoke_endpoint(
    endpoint: str, body: RawBody, options: InvokeEndpointOptions
) -> tuple[Reference, InvokeEndpointRequest]:
    check_names(options, InvokeEndpointOptions)
    reference = parse_reference(endpoint if ":" in str(endpoint) else f"sagemaker:{endpoint}")
    if reference.scheme != "sagemaker":
        raise ConfigurationError(f"invoke_endpoint is InvokeEndpoint, of sagemaker: endpoints; {reference} is none")
    given = options.get("endpoint")
    return reference, InvokeEndpointRequest(
        model=reference.model,
        body=raw_bytes(body),
        content_type=options.get("content_type") or JSON,
        accept=options.get("accept") or "*/*",
        endpoint=content.endpoint_options(given) if given is not None else None,
    )


def raw_bytes(body: RawBody) -> bytes:
    """The bytes of a body of the caller's own. Raises ``ValidationError``."""
    match body:
        case bytes() | bytearray() | memoryview():
            return bytes(body)
        case str():
            return body.encode()
        case Mapping() | list():
            pass
        case _:
            raise ValidationError(f"a body is bytes, a text, or JSON as a dict or a list, not a {type(body).__name__}")
    try:
        return msgspec.json.encode(body)
    except (TypeError, ValueError, OverflowError, RecursionError) as cause:
        raise ValidationError(f"the body cannot be written as JSON: {cause}") from cause


def joined(chunks: Sequence[RawChunk]) -> RawResponse:
    """The whole body of a stream. Of a model that writes JSON values they stand one a line."""
    parts = [chunk.data for chunk in chunks]
    lines = all(part[:1] in (b"{", b"[") for part in parts)
    return RawResponse(body=(b"\n" if lines else b"").join(parts))
