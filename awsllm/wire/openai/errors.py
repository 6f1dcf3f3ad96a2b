"""Errors as an OpenAI-style server writes them, and as a service writes them that hosts models behind such routes. What
model servers write in other ways, ``wire.server_errors`` reads."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

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
from awsllm.types import JsonObject, JsonValue
from awsllm.wire import errors as aws

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
    """Status and body. Its ``code`` is a text or null, which is what OpenAI's clients declare it as."""
    _, status, kind, code = next(row for row in _ERRORS if isinstance(error, row[0]))
    return status, {"error": {"message": error.message, "type": kind, "param": None, "code": code}}


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> AwsllmError:
    """The error in a reply that is not 2xx, of a service that writes both ways: AWS's in front of the route
    (signatures, quotas), OpenAI's or Anthropic's behind it. Header names are in lower case."""
    try:
        wire: JsonValue = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        wire = None
    inner = wire.get("error") if isinstance(wire, dict) else None
    if not isinstance(inner, dict):
        return aws.decode_error(status, headers, body)
    code = next((name for name in (inner.get("code"), inner.get("type")) if isinstance(name, str) and name), "")
    message = inner.get("message")
    request_id = next((headers[name] for name in REQUEST_IDS if name in headers), None)
    text = message if isinstance(message, str) else ""
    error = aws.error_for(code, text, status=status, request_id=request_id)
    if code == "context_length_exceeded":
        error = ContextWindowError(text, code=code, status=status, request_id=request_id)
    error.retry_after = aws.retry_after(headers)
    return error


REQUEST_IDS = ("x-amzn-requestid", "x-request-id", "request-id")
