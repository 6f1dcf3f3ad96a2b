"""Errors as the Messages API writes them, whole and inside a stream. ``wire.server_errors`` reads them."""

from __future__ import annotations

from awsllm.errors import (
    AccessDeniedError,
    AwsllmError,
    ModelNotFoundError,
    ModelNotReadyError,
    ModelTimeoutError,
    RequestError,
    ThrottlingError,
)
from awsllm.types import JsonObject
from awsllm.wire.body import Payload
from awsllm.wire.payloads import write

_ERRORS: tuple[tuple[type[AwsllmError], int, str], ...] = (  # the first class that fits
    (AccessDeniedError, 403, "permission_error"),
    (ModelNotFoundError, 404, "not_found_error"),
    (RequestError, 400, "invalid_request_error"),
    (ThrottlingError, 429, "rate_limit_error"),
    (ModelNotReadyError, 529, "overloaded_error"),
    (ModelTimeoutError, 504, "timeout_error"),
    (AwsllmError, 500, "api_error"),
)


def encode_error(error: AwsllmError) -> tuple[int, JsonObject]:
    """Status and body."""
    _, status, kind = next(row for row in _ERRORS if isinstance(error, row[0]))
    return status, {"type": "error", "error": {"type": kind, "message": error.message}}


def error_payload(error: AwsllmError) -> tuple[int, Payload]:
    """The same over a payload: ``Body.encode_error``."""
    status, wire = encode_error(error)
    return status, write(wire)
