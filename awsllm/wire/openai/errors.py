"""Errors as an OpenAI-style server writes them. ``wire.server_errors`` reads them, as it does all servers'."""

from __future__ import annotations

from awsllm.errors import (
    AccessDeniedError,
    AwsllmError,
    ContextWindowError,
    ModelNotFoundError,
    ModelNotReadyError,
    ModelTimeoutError,
    RequestError,
    ThrottlingError,
)
from awsllm.types import JsonObject

_ERRORS: tuple[tuple[type[AwsllmError], int, str, str | None], ...] = (  # the first class that fits
    (ContextWindowError, 400, "invalid_request_error", "context_length_exceeded"),
    (AccessDeniedError, 403, "permission_error", None),
    (ModelNotFoundError, 404, "not_found_error", "model_not_found"),
    (RequestError, 400, "invalid_request_error", None),
    (ThrottlingError, 429, "rate_limit_error", None),
    (ModelNotReadyError, 503, "server_error", "model_not_ready"),
    (ModelTimeoutError, 504, "server_error", "timeout"),
    (AwsllmError, 500, "server_error", None),
)


def encode_error(error: AwsllmError) -> tuple[int, JsonObject]:
    """Status and body."""
    _, status, kind, code = next(row for row in _ERRORS if isinstance(error, row[0]))
    return status, {"error": {"message": error.message, "type": kind, "param": None, "code": code or status}}
