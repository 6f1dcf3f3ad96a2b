"""Responses of Converse, both directions. One that makes no sense is ``ServerError``: the fault is not the caller's."""

from __future__ import annotations

from awsllm.errors import ServerError
from awsllm.types import ConverseResponse, JsonObject, Usage
from awsllm.wire.converse.blocks import decode_message, encode_message
from awsllm.wire.converse.metadata import (
    decode_latency,
    decode_performance_config,
    decode_service_tier,
    decode_usage,
    encode_latency,
    encode_performance_config,
    encode_service_tier,
    encode_usage,
)
from awsllm.wire.reading import MalformedError, json_object, optional, optional_structure, structure, without_none


def encode_response(response: ConverseResponse) -> JsonObject:
    """The answer of Converse. ``stopReason`` is left out where the answer was cut."""
    members = {
        "output": {"message": encode_message(response.message)},
        "stopReason": response.stop_reason,
        "usage": encode_usage(response.usage),
        "metrics": encode_latency(response.latency_ms),
        "additionalModelResponseFields": response.extra,
        "trace": response.trace,
        "performanceConfig": encode_performance_config(response.performance_config),
        "serviceTier": encode_service_tier(response.service_tier),
    }
    return without_none(members)


def decode_response(wire: JsonObject, *, model: str | None = None, request_id: str | None = None) -> ConverseResponse:
    """The answer of Converse, with ``raw`` set to it. Raises ``ServerError`` where it is malformed."""
    try:
        message = structure(json_object(wire), "output", lambda output: structure(output, "message", decode_message))
        return ConverseResponse(
            message=message,
            stop_reason=optional(wire, "stopReason", str),
            usage=optional_structure(wire, "usage", decode_usage) or Usage(),
            latency_ms=optional_structure(wire, "metrics", decode_latency),
            extra=optional(wire, "additionalModelResponseFields", dict),
            trace=optional(wire, "trace", dict),
            performance_config=optional_structure(wire, "performanceConfig", decode_performance_config),
            service_tier=optional_structure(wire, "serviceTier", decode_service_tier),
            model=model,
            request_id=request_id,
            raw=wire,
            messages=(message,),
        )
    except MalformedError as error:
        raise unreadable(error, request_id) from error


def unreadable(error: MalformedError, request_id: str | None) -> ServerError:
    """What a malformed reply is: the service's fault, and another attempt would be answered alike."""
    message = f"the service's answer cannot be read: {error.message}"
    return ServerError(message, request_id=request_id, retryable=False)
