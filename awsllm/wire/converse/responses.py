"""Responses of Converse, both directions.

An answer has been paid for, so one that can be read in part is: a block that makes no sense is kept as ``Unknown``, a
figure that makes none is left to ``raw``, and a warning names either. One without a message is ``ServerError``: the
fault is not the caller's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from awsllm.errors import ServerError
from awsllm.types import ContentBlock, ConverseResponse, JsonObject, JsonValue, Message, Unknown, Usage
from awsllm.wire.converse.blocks import decode_block, encode_message
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
from awsllm.wire.reading import (
    MalformedError,
    json_object,
    optional,
    optional_structure,
    required,
    structure,
    without_none,
)

T = TypeVar("T")


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
    """The answer of Converse, with ``raw`` set to it. Raises ``ServerError`` where there is no message in it."""
    warnings: list[str] = []

    def read(message: JsonObject) -> Message:
        return _decode_message(message, warnings)

    try:
        message = structure(json_object(wire), "output", lambda output: structure(output, "message", read))
        return ConverseResponse(
            message=message,
            stop_reason=optional(wire, "stopReason", str),
            usage=readable(wire, "usage", decode_usage, warnings) or Usage(),
            latency_ms=readable(wire, "metrics", decode_latency, warnings),
            extra=wire.get("additionalModelResponseFields"),
            trace=wire.get("trace"),
            performance_config=readable(wire, "performanceConfig", decode_performance_config, warnings),
            service_tier=readable(wire, "serviceTier", decode_service_tier, warnings),
            model=model,
            request_id=request_id,
            raw=wire,
            messages=(message,),
            warnings=tuple(warnings),
        )
    except MalformedError as error:
        raise unreadable(error, request_id) from error


def _decode_message(wire: JsonObject, warnings: list[str]) -> Message:
    blocks = required(wire, "content", list)
    return Message(required(wire, "role", str), tuple(_decode_block(block, warnings) for block in blocks))


def _decode_block(wire: JsonValue, warnings: list[str]) -> ContentBlock:
    try:
        return decode_block(json_object(wire))
    except MalformedError as error:
        warnings.append(f"a block of the answer cannot be read and is kept as Unknown: {error.message}")
        return unknown(wire)


def unknown(wire: JsonValue) -> Unknown:
    """A variant of a union that cannot be read, kept: by its tag where it has one, else as it came."""
    if isinstance(wire, dict) and len(wire) == 1:
        ((tag, value),) = wire.items()
        return Unknown(tag, value)
    return Unknown("", wire)


def readable(wire: JsonObject, name: str, decode: Callable[[JsonObject], T], warnings: list[str]) -> T | None:
    """A member that an answer can do without; one that makes no sense is not there, and ``warnings`` gains a line."""
    try:
        return optional_structure(wire, name, decode)
    except MalformedError as error:
        warnings.append(f"a figure of the answer cannot be read: {error.message}")
        return None


def unreadable(error: MalformedError, request_id: str | None) -> ServerError:
    """What a malformed reply is: the service's fault, and another attempt would be answered alike."""
    message = f"the service's answer cannot be read: {error.message}"
    return ServerError(message, request_id=request_id, retryable=False)
