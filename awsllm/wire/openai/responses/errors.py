"""Failures of a response, as the Responses API reports them once it has begun to answer: ``error`` of a response whose
status is failed, and the event ``error``. Both have a code (openai 3.57, ``ResponseError``)."""

from __future__ import annotations

from awsllm.errors import (
    AccessDeniedError,
    AwsllmError,
    ContextWindowError,
    ServerError,
    ServiceError,
    ThrottlingError,
    ValidationError,
)
from awsllm.types import JsonObject
from awsllm.wire.openai.errors import encode_error
from awsllm.wire.reading import optional

_CODES: dict[str, type[AwsllmError]] = {
    "server_error": ServerError,
    "rate_limit_exceeded": ThrottlingError,
    "context_length_exceeded": ContextWindowError,
    "data_residency_mismatch": AccessDeniedError,
    "vector_store_timeout": ServerError,
}
_WRITTEN = ((ThrottlingError, "rate_limit_exceeded"), (ServiceError, "server_error"))


def decode_failure(wire: JsonObject, request_id: str | None = None) -> AwsllmError:
    """All other codes say what is wrong with the request (``invalid_prompt``, ``image_too_large`` …)."""
    code = optional(wire, "code", str) or ""
    kind = _CODES.get(code, ValidationError if code else ServerError)
    message = optional(wire, "message", str) or "the response failed, and no reason was given"
    return kind(message, code=code or None, request_id=request_id)


def encode_failure(error: AwsllmError) -> JsonObject:
    code = next((code for kind, code in _WRITTEN if isinstance(error, kind)), None)
    code = code or encode_error(error)[1]["error"]["code"] or "invalid_prompt"
    return {"code": code, "message": error.message, "param": None}
