"""Lean calls of AWS's JSON services, for what handlers do beside a model: one POST a call, without botocore.

The operation stands in a header and its members are the body (awsJson 1.0 and 1.1), so no service model is needed; the
few facts that differ are rows of ``_SERVICES``, which a test holds equal to botocore's models. Calls go over awsllm's
own transport: its signatures, TLS, proxies, endpoint variables, and whoever answers in AWS's place (moto).

What fails is attempted again as a client's calls are, and with it what may have been done already: a connection that
broke after a request was sent. Whoever counts something gives a token that makes that harmless.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import msgspec

from awsllm.aws import control
from awsllm.aws.call import Call, HttpRequest, HttpResponse
from awsllm.aws.http import HttpTransport
from awsllm.aws.session import AwsSession
from awsllm.backend import Attempt
from awsllm.errors import AwsllmError, ConfigurationError, RequestError, ServerError, ValidationError
from awsllm.policy.attempts import Policy
from awsllm.types import JsonObject

POLICY = Policy(
    max_attempts=4, base_delay=0.05, max_delay=2.0, max_retry_after=5.0, cold_start_timeout=0, resend_lost=True
)
"""Such a call takes milliseconds, and whoever makes one waits for it beside a model's."""

_READ_TIMEOUT = 30.0  # ReceiveMessage waits up to 20
_QUERY_ERROR = "x-amzn-query-error"
_LEAST = 0.05  # seconds that a call has in any case
_until: ContextVar[float | None] = ContextVar("awsllm_rpc_until", default=None)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """All calls that the thread makes meanwhile are over in so many seconds, whatever time they would have."""
    before = _until.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _until.reset(before)


class _JsonService(msgspec.Struct, frozen=True):
    """How a service is spoken to. ``query_codes``: it once spoke the query protocol, whose codes of errors it gives in
    a header to whoever asks (the trait awsQueryCompatible)."""

    target: str
    version: str = "1.0"
    query_codes: bool = False

    def headers(self, operation: str) -> dict[str, str]:
        asked = {"x-amzn-query-mode": "true"} if self.query_codes else {}
        return {
            "X-Amz-Target": f"{self.target}.{operation}",
            "Content-Type": f"application/x-amz-json-{self.version}",
            **asked,
        }


_SERVICES = {
    "dynamodb": _JsonService("DynamoDB_20120810"),
    "sqs": _JsonService("AmazonSQS", query_codes=True),
    "stepfunctions": _JsonService("AWSStepFunctions"),
    "secretsmanager": _JsonService("secretsmanager", "1.1"),
    "ssm": _JsonService("AmazonSSM", "1.1"),
}
"""By botocore's names of the services."""


class RefusedError(RequestError):
    """What a service refused; ``reply`` is all that it said, such as the item on which a condition failed."""

    reply: JsonObject | None = None


class Rpc:
    """Calls in the session's region with its credentials. Safe to share between threads."""

    def __init__(self, session: AwsSession, *, policy: Policy = POLICY) -> None:
        self._transport = HttpTransport(session, connect_timeout=5.0, read_timeout=_READ_TIMEOUT)
        self._policy = policy

    def call(self, service: str, operation: str, body: JsonObject, *, timeout: float | None = None) -> JsonObject:
        """What ``operation`` (as the service writes it: ``GetItem``) answers. ``timeout`` is of all attempts together,
        in seconds; ``within`` may leave less.

        Raises ``RefusedError`` and awsllm's other errors; ``code`` is the service's.
        """
        call = json_call(service, operation, body)

        def attempted(attempt: Attempt) -> JsonObject:
            try:
                return self._transport.send(call, attempt)
            except AwsllmError as error:
                error.annotate(backend=service, model=operation)
                raise

        if (until := _until.get()) is not None:
            given = self._policy.timeout if timeout is None else timeout
            left = max(until - time.monotonic(), _LEAST)
            timeout = left if given is None else min(given, left)
        return self._policy.run(attempted, timeout)

    def close(self) -> None:
        """Close idle connections; the next call opens new ones."""
        self._transport.close()


def json_call(service: str, operation: str, body: JsonObject) -> Call[JsonObject]:
    """The call as a value. Raises ``ConfigurationError`` for a service that is not known to speak so, and
    ``ValidationError`` for what JSON cannot carry."""
    spoken = _SERVICES.get(service)
    if spoken is None:
        raise ConfigurationError(f"{service} is none of the JSON services that are known: {', '.join(_SERVICES)}")
    try:
        written = msgspec.json.encode(body)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValidationError(f"{operation} cannot be written as JSON") from error
    request = HttpRequest(service, "POST", "/", spoken.headers(operation), written)
    return Call(request, _read, lambda response: _refused(response, operation))


def _read(response: HttpResponse) -> JsonObject:
    if not response.body:
        return {}
    found = _object(response.body)
    if found is None:
        raise ServerError("the reply is no JSON object", status=response.status, request_id=response.request_id)
    return found


def _refused(response: HttpResponse, operation: str) -> AwsllmError:
    """The error that a response tells of: ``__type`` is ``com.amazonaws.dynamodb.v20120810#ResourceNotFoundException``,
    sometimes with the namespace left out."""
    reply = _object(response.body) or {}
    code = str(reply.get("__type") or reply.get("code") or "").rpartition("#")[2] or None
    if _QUERY_ERROR in response.headers:
        code = response.headers[_QUERY_ERROR].partition(";")[0] or code
    message = reply.get("message") or reply.get("Message")
    said = control.Refused(response.status, code, str(message) if message else None, response.request_id)
    error = control.refusal(operation, said, RefusedError)
    if isinstance(error, RefusedError):
        error.reply = reply
    return error


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        found = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
