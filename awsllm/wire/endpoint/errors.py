"""What SageMaker and the containers behind it say when something is wrong, as awsllm's errors.

Three voices speak. The service itself has modelled errors, which ``wire.errors`` reads; two of them mean something else
than their code says (``_REREAD``). ``ModelError`` (424) wraps an answer of the container: its own status and body are
what the caller wants to know. And a container may answer 200 and put an error object in place of the answer or inside
the stream. Containers write errors in these ways:

    vLLM, SGLang   {"error": {"message", "type", "code": 400}}
    older vLLM     {"object": "error", "message", "type", "code": 400}
    TGI            {"error": "...", "error_type": "overloaded" | "validation" | "generation" | "incomplete_generation"}
    LMI            {"error": "...", "code": 424}
    LightOn        {"error_msg": "...", "status_code": 400, "request_id": "..."}
    web frameworks {"detail": "..."}, {"message": "..."} or plain text, with a status only
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from awsllm.errors import (
    AccessDeniedError,
    AwsllmError,
    ContextWindowError,
    ModelNotFoundError,
    ModelNotReadyError,
    ModelTimeoutError,
    RequestError,
    ServerError,
    ThrottlingError,
    ValidationError,
)
from awsllm.types import JsonObject, JsonValue
from awsllm.wire import errors
from awsllm.wire.eventstream import Frame

_STATUSES: Mapping[int, type[AwsllmError]] = {
    401: AccessDeniedError,
    403: AccessDeniedError,
    404: ModelNotFoundError,  # vLLM: a served model of another name
    408: ModelTimeoutError,
    429: ThrottlingError,
    503: ModelNotReadyError,
    504: ModelTimeoutError,
}
# TGI's words and OpenAI's, where the error object gives no status (TGI: router/src/server.rs).
_TYPES: Mapping[str, int] = {
    "overloaded": 429,
    "validation": 422,
    "generation": 424,
    "incomplete_generation": 500,
    "invalid_request_error": 400,
    "badrequesterror": 400,
    "notfounderror": 404,
    "rate_limit_error": 429,
    "permission_error": 403,
    "not_found_error": 404,
}
_TOO_LONG = re.compile(
    r"maximum context length|context_length_exceeded|context (length|window)"  # vLLM, OpenAI, SGLang
    r"|longer than the (maximum )?model"  # vLLM: "(length 5000) is longer than the maximum model length of 4096"
    r"|must have less than \d+ tokens|tokens \+ .max_new_tokens. must be"  # TGI
    r"|input (sequence )?(length|is too long)",  # LMI
    re.IGNORECASE,
)
# A ValidationError of the service whose text says that it is something else (reports of users; not in the model).
_REREAD = (
    (re.compile(r"has no capacity", re.IGNORECASE), ModelNotReadyError),
    (
        re.compile(r"(endpoint|inference component|variant)\b.* not found|could not find", re.IGNORECASE),
        ModelNotFoundError,
    ),
)


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> AwsllmError:
    """The error in a reply of sagemaker-runtime that is not 2xx; ``ModelError`` is unwrapped."""
    error = errors.decode_error(status, headers, body)
    if error.code == "ModelError":
        return _unwrap(error, _json_object(body))
    for pattern, kind in _REREAD:
        if error.code == "ValidationError" and pattern.search(error.message):
            reread = kind(error.message, code=error.code, status=error.status, request_id=error.request_id)
            reread.retry_after = error.retry_after
            if isinstance(reread, ModelNotReadyError):
                reread.scaled_to_zero = True
            return reread
    return error


def decode_frame_error(frame: Frame, *, request_id: str | None = None) -> AwsllmError:
    """The error in a frame that is no event. ``ModelStreamError`` says by its ``ErrorCode`` that the time was up."""
    name = frame.headers.get(":exception-type")
    if name is None:
        code, message = frame.headers.get(":error-code", ""), frame.headers.get(":error-message", "")
        return errors.error_for(str(code), str(message), request_id=request_id)
    if _json_object(frame.payload).get("ErrorCode") == "ModelInvocationTimeExceeded":
        message = _json_object(frame.payload).get("Message") or "the answer took longer than the service allows"
        return ModelTimeoutError(message, code="ModelInvocationTimeExceeded", request_id=request_id)
    return errors.decode_exception(str(name), frame.payload, request_id)


def find_error(wire: JsonValue, *, request_id: str | None = None) -> AwsllmError | None:
    """The error that a container reports in a reply or chunk with status 200; None where it reports none."""
    if not isinstance(wire, dict) or not (wire.get("error") or wire.get("error_msg") or wire.get("object") == "error"):
        return None
    found = wire["error"] if isinstance(wire.get("error"), dict) else wire
    kind = found.get("type") or found.get("error_type")
    status = found.get("code", found.get("status_code"))
    if not isinstance(status, int):
        status = _TYPES.get(str(kind).lower(), 500)
    code = kind if isinstance(kind, str) else None
    return container_error(status, _message(wire), code=code, request_id=request_id, body=str(found))


def container_error(
    status: int, message: str, *, code: str | None = None, request_id: str | None = None, body: str = ""
) -> AwsllmError:
    """The typed error for what a container answered. 429 and 503 are worth another attempt, other failures are not: the
    same request would meet the same fault. That the conversation is too long stands in words only, maybe elsewhere in
    the body."""
    kind = _STATUSES.get(status, ServerError if status >= 500 or status == 424 else ValidationError)
    if (issubclass(kind, RequestError) or kind is ServerError) and _TOO_LONG.search(body or message):
        kind = ContextWindowError
    retryable = status in (429, 503)
    return kind(message, code=code, status=status, request_id=request_id, retryable=retryable)


def _unwrap(error: AwsllmError, fields: JsonObject) -> AwsllmError:
    """The container's own failure; where its log is stands in a note."""
    status, original = fields.get("OriginalStatusCode"), fields.get("OriginalMessage")
    message = _message_of_text(original) if isinstance(original, str) else ""
    unwrapped = container_error(
        status if isinstance(status, int) else 500,
        message or error.message,
        code=error.code,
        request_id=error.request_id,
        body=original if isinstance(original, str) else "",
    )
    unwrapped.retry_after = error.retry_after
    if log := fields.get("LogStreamArn"):
        unwrapped.add_note(f"the container's log: {log}")
    return unwrapped


def _message_of_text(body: str) -> str:
    try:
        return _message(msgspec.json.decode(body)) or body
    except (ValueError, RecursionError):
        return body.strip()


def _message(wire: JsonValue) -> str:
    """The words of an error object, whichever way it is written."""
    if isinstance(wire, str):
        return wire
    if isinstance(wire, list):
        return "; ".join(filter(None, map(_message, wire)))
    if isinstance(wire, dict):
        members = (wire.get(name) for name in ("message", "error", "error_msg", "detail", "msg", "errors"))
        return next(filter(None, map(_message, members)), "")
    return ""


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (ValueError, RecursionError):
        return {}
