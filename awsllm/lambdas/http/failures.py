"""What a caller is told of what went wrong: one schema, one status for each kind of it.

``{"error": {"type": …, "message": …, "request_id": …}}``. What was refused here is told in our own words, which name
the fix. Of what a service refused, a caller is told what is his own fault (his request) or concerns him (throttling):
not which role lacks which permission, nor an account's number. Of an exception that is not awsllm's, nothing but that
there was one: its text may hold anything. The log has the rest.
"""

from __future__ import annotations

import math
import re

import msgspec

from awsllm.errors import (
    AccessDeniedError,
    AwsllmError,
    ConnectError,
    ContextWindowError,
    ModelNotFoundError,
    ModelNotReadyError,
    ModelTimeoutError,
    ServerError,
    StreamError,
    ThrottlingError,
    UnsupportedError,
    ValidationError,
)
from awsllm.lambdas.http.events import FrontReply, json_reply
from awsllm.types import JsonObject, Value

TYPES = {
    400: "invalid_request",
    401: "authentication",
    403: "permission",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    408: "request_timeout",
    409: "conflict",
    413: "too_large",
    429: "throttled",
    499: "client_closed",
    502: "upstream",
    503: "not_ready",
    504: "deadline",
}
"""The statuses that handlers answer with, and what each is called in ``error.type``."""


class Refusal(AwsllmError):
    """A request that a handler itself refuses, with the status that says why and headers that help."""

    def __init__(self, status: int, message: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(message, status=status)
        self.headers = headers or {}


class Failure(Value, frozen=True):
    """What is told of an error."""

    status: int
    message: str
    headers: dict[str, str] = msgspec.field(default_factory=dict)

    @property
    def type(self) -> str:
        return TYPES[self.status]

    def to_json(self, request_id: str | None) -> JsonObject:
        return {"error": {"type": self.type, "message": self.message, "request_id": request_id}}


def failure(error: BaseException, request_id: str | None) -> FrontReply:
    """The reply that tells of ``error``."""
    told = explain(error)
    return json_reply(told.status, told.to_json(request_id), told.headers)


def unknown_event(error: AwsllmError, request_id: str | None) -> JsonObject:
    """The answer to an event of no known source: done with, and in the one shape that every HTTP front door reads."""
    reply = failure(error, request_id)
    return {
        "statusCode": reply.status,
        "headers": reply.headers,
        "body": reply.body.decode("utf-8"),
        "isBase64Encoded": False,
    }


def explain(error: BaseException) -> Failure:
    """Status, words and headers for an error. An ``AwsllmError`` that bears a service's mark (a backend, a code with a
    request id) was raised there; any other was raised here, in words meant for the caller."""
    if not isinstance(error, AwsllmError):
        return Failure(502, "the function failed; its log says why, by this request's id")
    if isinstance(error, Refusal):
        return Failure(error.status or 400, error.message, error.headers)
    if isinstance(error, StreamError) and isinstance(error.__cause__, AwsllmError):
        return explain(error.__cause__)  # why it broke says more than that it did
    status = _status(error)
    if error.backend is None and error.request_id is None and error.status in TYPES:
        status = error.status
    headers = {"retry-after": str(_wait(error))} if status in (429, 503) else {}
    return Failure(status, _FIXED.get(status) or _without_arns(error.message), headers)


_STATUS: tuple[tuple[type[AwsllmError], int], ...] = (
    (ThrottlingError, 429),
    (ModelNotReadyError, 503),
    (ModelTimeoutError, 504),
    (ConnectError, 502),
    (ServerError, 502),
    (StreamError, 502),
    (ValidationError, 400),
    (ContextWindowError, 400),
    (UnsupportedError, 400),
)
_FIXED = {502: "the model could not be asked; the function's log says why, by this request's id"}


def _status(error: AwsllmError) -> int:
    if isinstance(error, AccessDeniedError | ModelNotFoundError) and error.backend is None and error.request_id is None:
        return 403 if isinstance(error, AccessDeniedError) else 404
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 502)


def _wait(error: AwsllmError) -> int:
    return max(1, math.ceil(error.retry_after or 1))


def _without_arns(message: str) -> str:
    return re.sub(r"\barn:[\w-]+:[^\s\"',]+", "(an ARN)", message)
