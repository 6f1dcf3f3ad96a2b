"""AWS's errors on the data planes: one table from the service's code to awsllm's tree, both ways.

Sources: the error shapes of bedrock-runtime and sagemaker-runtime in botocore 1.44.5 (a test holds the table against
them), and AWS's common errors for whoever could not be authenticated. Codes are compared in folded case, because
exceptions inside a Bedrock stream are named in lower camel case (``throttlingException``). A code that the table lacks
is judged by its HTTP status.

``ValidationException`` says many things in words only, so its message is looked at too: too long a conversation, a
model that is not there, a model that needs an inference profile.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import msgspec

from awsllm.errors import (
    AccessDeniedError,
    AwsllmError,
    ConfigurationError,
    ConnectError,
    ContextWindowError,
    ModelNotFoundError,
    ModelNotReadyError,
    ModelTimeoutError,
    RequestError,
    ServerError,
    ServiceError,
    StreamError,
    ThrottlingError,
    ValidationError,
)
from awsllm.types import JsonObject, JsonValue
from awsllm.wire.eventstream import Frame


class _Row(msgspec.Struct, frozen=True):
    """``status`` is the one that the service model gives, ``retryable`` overrides the class, ``hint`` names the fix."""

    code: str
    status: int
    error: type[AwsllmError]
    retryable: bool | None = None
    hint: str = ""


_EXPIRED = "the credentials have expired: sign in again (`aws sso login`) or fetch new ones"
_UNKNOWN_KEY = (
    "the access key is not known here: check the profile, AWS_ACCESS_KEY_ID, AWS_SESSION_TOKEN and the partition"
)
_SIGNATURE = "check the secret key and this machine's clock"
_UNSIGNED = "no credentials reached the service: configure a profile, a role or environment variables"
_DEPENDENCY = (
    "look at what it depends on: the knowledge base's vector store and role, the agent's Lambda functions, the models"
)
_QUOTA = "ask for a higher quota in the Service Quotas console"

BEDROCK = (
    _Row("ValidationException", 400, ValidationError),
    _Row("AccessDeniedException", 403, AccessDeniedError),
    _Row("ResourceNotFoundException", 404, ModelNotFoundError),
    _Row("ConflictException", 400, RequestError),
    # Waiting a second does not raise an account's quota.
    _Row("ServiceQuotaExceededException", 400, ThrottlingError, False, _QUOTA),
    _Row("ThrottlingException", 429, ThrottlingError),
    _Row("ModelNotReadyException", 429, ModelNotReadyError),
    _Row("ModelTimeoutException", 408, ModelTimeoutError),
    _Row("ModelErrorException", 424, ServerError, False),
    _Row("ModelStreamErrorException", 424, ServerError),  # its documentation: "Retry your request"
    _Row("InternalServerException", 500, ServerError),
    _Row("ServiceUnavailableException", 503, ServerError),
)
SAGEMAKER = (
    _Row("ValidationError", 400, ValidationError),
    _Row("ModelError", 424, ServerError, False),
    _Row("InternalFailure", 500, ServerError),
    _Row("ServiceUnavailable", 503, ServerError),
    _Row("InternalDependencyException", 530, ServerError),
    _Row("ModelStreamError", 424, ServerError),  # inside a stream only, like the next: the model gives no status
    _Row("InternalStreamFailure", 500, ServerError),
)
AGENTS = (  # of bedrock-agent-runtime, beside BEDROCK's
    _Row("BadGatewayException", 502, ServerError),
    _Row("DependencyFailedException", 424, ServerError, False, _DEPENDENCY),
)
COMMON = (
    _Row("UnrecognizedClientException", 403, AccessDeniedError, hint=_UNKNOWN_KEY),
    _Row("InvalidClientTokenId", 403, AccessDeniedError, hint=_UNKNOWN_KEY),
    _Row("InvalidSignatureException", 403, AccessDeniedError, hint=_SIGNATURE),
    _Row("SignatureDoesNotMatch", 403, AccessDeniedError, hint=_SIGNATURE),
    _Row("RequestExpired", 400, AccessDeniedError, hint=_SIGNATURE),
    _Row("IncompleteSignature", 400, AccessDeniedError, hint=_SIGNATURE),
    _Row("IncompleteSignatureException", 400, AccessDeniedError, hint=_SIGNATURE),
    _Row("ExpiredTokenException", 403, AccessDeniedError, hint=_EXPIRED),
    _Row("ExpiredToken", 403, AccessDeniedError, hint=_EXPIRED),
    _Row("MissingAuthenticationToken", 403, AccessDeniedError, hint=_UNSIGNED),
    _Row("MissingAuthenticationTokenException", 403, AccessDeniedError, hint=_UNSIGNED),
    _Row("AccessDenied", 403, AccessDeniedError),
    _Row("NotAuthorized", 401, AccessDeniedError),
    _Row("OptInRequired", 403, AccessDeniedError),
    _Row("Throttling", 400, ThrottlingError),
    _Row("ThrottledException", 400, ThrottlingError),
    _Row("TooManyRequestsException", 429, ThrottlingError),
    _Row("RequestLimitExceeded", 503, ThrottlingError),
    _Row("SerializationException", 400, ValidationError),
    _Row("UnknownOperationException", 404, ConfigurationError, hint="is this the endpoint of the right service?"),
    _Row("InternalServerError", 500, ServerError),
    _Row("RequestTimeout", 408, ModelTimeoutError),
)
_ROWS = {row.code.lower(): row for row in (*BEDROCK, *AGENTS, *SAGEMAKER, *COMMON)}
_BEDROCK_STREAM = (
    "InternalServerException",
    "ModelStreamErrorException",
    "ValidationException",
    "ThrottlingException",
    "ServiceUnavailableException",
)

# What is known of an answer that names no code, by its status; a class of statuses stands for the rest of it.
_STATUSES: Mapping[int, type[AwsllmError]] = {
    400: ValidationError,
    401: AccessDeniedError,
    403: AccessDeniedError,
    404: ModelNotFoundError,
    408: ModelTimeoutError,
    413: ValidationError,
    422: ValidationError,
    429: ThrottlingError,
}

# Patterns in any case, compiled when the first error needs them: that would be a thirtieth of a first call.
_TOO_LONG = (
    r"(input|prompt|request) is too long"
    r"|exceeds? (the )?(model'?s? )?(maximum )?(context|input) (length|limit|window|size)"
    r"|maximum context length|context window"
    r"|number of (input )?tokens exceeds|input tokens exceeded"
    r"|too many (input )?tokens|total number of tokens in the prompt cannot exceed"
)
_NO_MODEL = (
    r"model identifier is invalid|model id(entifier)? .{0,200}(is not valid|not found|does not exist)"
    r"|endpoint .{1,200} not found|could not find endpoint"
)
_HINTS = (
    (
        r"on-demand throughput isn.t supported",
        "name an inference profile in place of the model, for example `us.` or `global.` before the id",
    ),
    (
        r"(have|has) access to the model|model access|not authorized to .{0,40}marketplace",
        "request access to the model in the Bedrock console of this region",
    ),
    (r"security token .{0,40}expired|token has expired", _EXPIRED),
)


SEARCHED = 4000
"""Characters of an error that are searched: searches can take the square of what they are given, and whoever answers
may send a lot."""


def _says(message: str, pattern: str) -> bool:
    return re.search(pattern, message[:SEARCHED], re.IGNORECASE) is not None


def error_for(code: str, message: str, *, status: int | None = None, request_id: str | None = None) -> AwsllmError:
    """The typed error for a service's code in any case. ``status`` decides where the code is unknown."""
    row = _ROWS.get(code.lower())
    kind, retryable, hint = _judge_status(status) if row is None else (row.error, row.retryable, row.hint)
    if kind is ValidationError:
        kind = _reread_validation(message)
    hint = hint or next((hint for pattern, hint in _HINTS if _says(message, pattern)), "")
    if hint == _HINTS[0][1] and (named := re.search(r"model id (\S+) with", message, re.IGNORECASE)):
        hint += f" (us.{named[1]}); client.models() lists those of the account"
    message = message or f"the service answered {row.code if row else code or 'with an error'} and no message"
    return kind(
        f"{message.rstrip('.')}; {hint}" if hint and hint not in message else message,
        code=row.code if row else code or None,
        status=status if status is not None or row is None else row.status,
        request_id=request_id,
        retryable=retryable,
    )


def _judge_status(status: int | None) -> tuple[type[AwsllmError], bool | None, str]:
    if status is None or status >= 500:
        return ServerError, None, ""
    if 300 <= status < 400:
        return ConfigurationError, None, "check the endpoint URL and the region"
    return _STATUSES.get(status, RequestError), None, ""


def _reread_validation(message: str) -> type[AwsllmError]:
    if _says(message, _TOO_LONG):
        return ContextWindowError
    return ModelNotFoundError if _says(message, _NO_MODEL) else ValidationError


# --- an answer that is an error --------------------------------------------------------------------------------------


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> AwsllmError:
    """The typed error in an answer that is not 2xx. Header names are in lower case. The code is looked for where
    botocore looks: the header ``x-amzn-errortype``, then ``code`` in the body, then ``__type``."""
    request_id = headers.get("x-amzn-requestid")
    fields = _json_object(body)
    if fields is None and _is_markup(headers, body):
        error = _markup_error(status, headers, body, request_id)
    else:
        error = error_for(
            _code(headers, fields or {}), _message(status, fields, body), status=status, request_id=request_id
        )
    error.retry_after = retry_after(headers)
    return error


def _json_object(body: bytes) -> JsonObject | None:
    try:
        value: JsonValue = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _code(headers: Mapping[str, str], fields: JsonObject) -> str:
    """``namespace#ThrottlingException:http://…`` is ``ThrottlingException``."""
    named = (headers.get("x-amzn-errortype"), fields.get("code"), fields.get("Code"), fields.get("__type"))
    code = next((name for name in named if isinstance(name, str) and name), "")
    return code.partition(":")[0].rpartition("#")[2].strip()


def _message(status: int, fields: JsonObject | None, body: bytes) -> str:
    if fields is None:
        text = body.decode("utf-8", "replace").strip()
        return f"HTTP {status}: {text[:200]}" if text else f"HTTP {status} with an empty body"
    named = (fields.get("message"), fields.get("Message"), fields.get("errorMessage"), fields.get("OriginalMessage"))
    return next((name for name in named if isinstance(name, str) and name), "")


def _is_markup(headers: Mapping[str, str], body: bytes) -> bool:
    return "html" in headers.get("content-type", "") or body.lstrip()[:1] == b"<"


def _markup_error(status: int, headers: Mapping[str, str], body: bytes, request_id: str | None) -> AwsllmError:
    """A page where an AWS service would send JSON: something else answered."""
    found = re.search(rb"<title[^>]*>([^<]{1,200})", body[:SEARCHED], re.IGNORECASE)
    title = " ".join(found[1].decode("utf-8", "replace").split())[:80] if found else ""
    known = [f"titled {title!r}"] if title else []
    known += [f"from {headers['server'][:80]!r}"] if headers.get("server") else []
    kind: type[AwsllmError] = ConfigurationError
    if status >= 500 or status in (408, 429):
        kind = _STATUSES.get(status, ServerError)
    page = " ".join(["HTTP", str(status), "with an HTML page", *known])
    message = (
        f"{page}: not AWS but a proxy, a firewall or another server answered; check the endpoint URL and proxy settings"
    )
    return kind(message, status=status, request_id=request_id)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from ``x-amz-retry-after`` (milliseconds) or ``retry-after`` (seconds or an HTTP date)."""
    if (milliseconds := _seconds(headers.get("x-amz-retry-after"))) is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _seconds(value)
    return _seconds_until(value) if value and seconds is None else seconds


def _seconds_until(date: str) -> float | None:
    """Imports where it is used: ``email`` is 20 ms of start-up that hardly any program needs."""
    from datetime import UTC, datetime
    from email.utils import parsedate_to_datetime

    try:
        instant = parsedate_to_datetime(date)
        if instant.tzinfo is None:
            instant = instant.replace(tzinfo=UTC)
        return max(0.0, (instant - datetime.now(UTC)).total_seconds())
    except (ValueError, OverflowError):  # no date, or one beyond what Python counts
        return None


def _seconds(value: str | None) -> float | None:
    try:
        number = float(value) if value is not None else -1.0
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


# --- an exception inside a stream, and the way back ------------------------------------------------------------------


def decode_frame_failure(frame: Frame, request_id: str | None = None) -> AwsllmError:
    """The typed error in a frame that is no event: ``exception`` is modelled and carries JSON; ``error`` is not and
    says it all in its headers."""
    name = frame.headers.get(":exception-type")
    if name is not None:
        return decode_exception(str(name), frame.payload, request_id)
    code, message = frame.headers.get(":error-code", ""), frame.headers.get(":error-message", "")
    return error_for(str(code), str(message), request_id=request_id)


def decode_exception(name: str, payload: bytes, request_id: str | None = None) -> AwsllmError:
    """The typed error in a frame whose ``:message-type`` is ``exception``."""
    return error_for(name, _message(200, _json_object(payload) or {}, payload), request_id=request_id)


_WRITTEN: tuple[tuple[type[AwsllmError], str], ...] = (  # the first class that fits
    (AccessDeniedError, "AccessDeniedException"),
    (ModelNotFoundError, "ResourceNotFoundException"),
    (RequestError, "ValidationException"),
    (ThrottlingError, "ThrottlingException"),
    (ModelNotReadyError, "ModelNotReadyException"),
    (ModelTimeoutError, "ModelTimeoutException"),
    (ConnectError, "ServiceUnavailableException"),
    (StreamError, "ModelStreamErrorException"),
    (ServiceError, "InternalServerException"),
)
_BEDROCK_ROWS = {row.code: row for row in BEDROCK}
_TOO_LONG_MESSAGE = "Input is too long for requested model."


def encode_error(error: AwsllmError) -> tuple[int, str, JsonObject]:
    """Status, Bedrock's error type and body. An error that carries one of Bedrock's codes keeps it; others are written
    as the code of their class."""
    name = error.code if error.code in _BEDROCK_ROWS else _type_of(error)
    message = error.message
    if isinstance(error, ContextWindowError) and not _says(message, _TOO_LONG):
        message = f"{_TOO_LONG_MESSAGE} {message}"
    return _BEDROCK_ROWS[name].status, name, {"message": message}


def _type_of(error: AwsllmError) -> str:
    return next((name for kind, name in _WRITTEN if isinstance(error, kind)), "InternalServerException")


def encode_exception(error: AwsllmError) -> tuple[str, JsonObject]:
    """Member name and body of the exception inside a ConverseStream. Only five are modelled there; SDKs lose code and
    message of any other, so the rest is written as the nearest of the five."""
    status, name, body = encode_error(error)
    if name not in _BEDROCK_STREAM:
        name = "ModelStreamErrorException" if status in (408, 424) else "ValidationException"
        name = "ThrottlingException" if status == 429 else name
    return name[0].lower() + name[1:], body
