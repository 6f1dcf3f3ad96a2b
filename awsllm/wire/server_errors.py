"""Errors that a model server reports in a body, in whatever way it writes them, as awsllm's errors.

A server may answer with an HTTP status and an error object, or with 200 and an error object in place of the reply or
inside the stream. These are the ways:

    vLLM, SGLang   {"error": {"message", "type", "code": 400}}
    older vLLM     {"object": "error", "message", "type", "code": 400}
    TGI            {"error": "...", "error_type": "overloaded" | "validation" | "generation" | "incomplete_generation"}
    LMI            {"error": "...", "code": 424}
    LightOn        {"error_msg": "...", "status_code": 400, "request_id": "..."}
    Anthropic      {"type": "error", "error": {"type": "overloaded_error", "message"}}
    web frameworks {"detail": "..."}, {"message": "..."} or plain text, with a status only
"""

from __future__ import annotations

import re
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
    ServerError,
    ThrottlingError,
    ValidationError,
)
from awsllm.types import JsonValue

_STATUSES: Mapping[int, type[AwsllmError]] = {
    401: AccessDeniedError,
    403: AccessDeniedError,
    404: ModelNotFoundError,  # vLLM: a served model of another name
    408: ModelTimeoutError,
    429: ThrottlingError,
    503: ModelNotReadyError,
    504: ModelTimeoutError,
    529: ThrottlingError,  # Anthropic: overloaded
}
# TGI's words, OpenAI's and Anthropic's, where the error object gives no status (TGI: router/src/server.rs).
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
    "authentication_error": 401,
    "billing_error": 403,
    "request_too_large": 413,
    "timeout_error": 504,
    "overloaded_error": 529,
}
_TOO_LONG = (
    r"maximum context length|context_length_exceeded|context (length|window)"  # vLLM, OpenAI, SGLang
    r"|longer than the (maximum )?model"  # vLLM: "(length 5000) is longer than the maximum model length of 4096"
    r"|must have less than \d+ tokens|tokens \+ .max_new_tokens. must be"  # TGI
    r"|input (sequence )?(length|is too long)"  # LMI
    r"|prompt is too long|exceed context limit"  # Anthropic
)
"""Compiled where it is looked for, in an error: compiling takes longer than loading the rest of this module."""


def find_error(wire: JsonValue, *, request_id: str | None = None) -> AwsllmError | None:
    """The error that a reply or chunk with status 200 reports; None where it reports none."""
    if not isinstance(wire, dict) or not (wire.get("error") or wire.get("error_msg") or wire.get("object") == "error"):
        return None
    found = wire["error"] if isinstance(wire.get("error"), dict) else wire
    kind = found.get("type") or found.get("error_type")
    status = found.get("code", found.get("status_code"))
    if not isinstance(status, int):
        status = _TYPES.get(str(kind).lower(), 500)
    code = kind if isinstance(kind, str) else None
    return error_for_status(status, message_of(wire), code=code, request_id=request_id, body=str(found))


def error_for_status(
    status: int, message: str, *, code: str | None = None, request_id: str | None = None, body: str = ""
) -> AwsllmError:
    """The typed error for a model server's status. 429, 503 and 529 are worth another attempt, other failures are not:
    the same request would meet the same fault. That the conversation is too long stands in words only, maybe elsewhere
    in the body."""
    kind = _STATUSES.get(status, ServerError if status >= 500 or status == 424 else ValidationError)
    if (issubclass(kind, RequestError) or kind is ServerError) and re.search(_TOO_LONG, body or message, re.IGNORECASE):
        kind = ContextWindowError
    retryable = status in (429, 503, 529)
    return kind(message, code=code, status=status, request_id=request_id, retryable=retryable)


def message_of(wire: JsonValue) -> str:
    """The words of an error object, whichever way it is written; empty where it has none."""
    if isinstance(wire, str):
        return wire
    if isinstance(wire, list):
        return "; ".join(filter(None, map(message_of, wire)))
    if isinstance(wire, dict):
        members = (wire.get(name) for name in ("message", "error", "error_msg", "detail", "msg", "errors"))
        return next(filter(None, map(message_of, members)), "")
    return ""


def message_of_body(body: str) -> str:
    """The words of an error's body that may be an error object, or plain text."""
    try:
        return message_of(msgspec.json.decode(body)) or body
    except (ValueError, RecursionError):
        return body.strip()
