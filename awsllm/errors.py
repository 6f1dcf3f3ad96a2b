"""What can go wrong, as one tree.

    AwsllmError                         every instance: code, status, request_id, retryable, retry_after, backend, model
    ├── ConfigurationError              no region or credentials, a bad model reference, a missing extra
    ├── RequestError                    the caller's fault; sending it again changes nothing
    │   ├── ValidationError             the request is malformed or out of bounds
    │   ├── AccessDeniedError           who calls may not
    │   ├── ModelNotFoundError          no such model, endpoint or profile here
    │   ├── ContextWindowError          too many tokens for the model
    │   ├── UnsupportedError            the model or backend cannot express what was asked
    │   ├── OutputValidationError       the answer did not fit the type asked for, repair round included
    │   └── EulaNotAcceptedError        a licence must be accepted first; carries ``url``
    ├── ServiceError                    not the caller's fault
    │   ├── ThrottlingError             too many requests or tokens
    │   │   └── LimitExceededError      by limits of the client's own; nothing was sent
    │   ├── ModelNotReadyError          the model is loading or scaled to zero
    │   ├── ModelTimeoutError           no answer in time, or the deadline passed
    │   ├── CircuitOpenError            nobody was asked: all that could answer failed too often lately
    │   ├── ConnectError                the service could not be reached
    │   └── ServerError                 the service or the model's container failed
    ├── BudgetExceededError             the call might use more than is left of a budget; nothing was sent
    ├── StreamError                     a stream broke after it began; carries ``partial``
    └── DeploymentError                 carries ``reason`` and ``log_stream``

Codecs and transports raise them with what they know; whoever knows more adds it with ``annotate``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from awsllm.types import AttemptMade, ConverseResponse, Message, Usage


class AwsllmError(Exception):
    """Base of every error that awsllm raises on purpose.

    ``code`` is the service's own word (``ThrottlingException``), ``status`` the HTTP status, ``retry_after`` the
    seconds the service asked to wait; each None where there is none. ``messages`` holds the turns that a tool loop had
    finished before the error; ``partial`` what had come of an answer: of an embedding that takes several calls, the
    vectors of those that succeeded, whose ``segments`` say which inputs they are of. ``usage`` and ``cost`` (US
    dollars) are what the finished turns took; None where there are none, or it is not known.

    ``call`` and ``finished`` are for who tries again: which of a request's several calls failed, and what the others
    gave (``backend.Finished``). ``may_have_run`` says that the request had reached the service when the error struck:
    what it asked for may have been done, and be on the bill. ``attempts`` are the tries of a call that took several, or
    that went to a group of models; ``waited`` the seconds that the last one waited for the client's own limits.
    """

    retryable = False
    partial: Any = None
    usage: Usage | None = None
    cost: float | None = None
    call: int | None = None
    finished: Any = None
    may_have_run = False
    attempts: tuple[AttemptMade, ...] = ()
    waited: float = 0.0

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
        retryable: bool | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.status = status
        self.request_id = request_id
        self.retry_after = retry_after
        self.backend: str | None = None
        self.model: str | None = None
        self.messages: tuple[Message, ...] = ()
        if retryable is not None:
            self.retryable = retryable

    def annotate(
        self, *, backend: str | None = None, model: str | None = None, request_id: str | None = None
    ) -> AwsllmError:
        """Say where the error happened and in which call, unless that is known already."""
        self.backend = self.backend or backend
        self.model = self.model or model
        self.request_id = self.request_id or request_id
        return self

    def __str__(self) -> str:
        where = f"{self.backend}:{self.model}: " if self.backend and self.model else ""
        known = [f"code {self.code}"] if self.code else []
        known += [f"status {self.status}"] if self.status else []
        known += [f"request {self.request_id}"] if self.request_id else []
        return f"{where}{self.message}" + (f" ({', '.join(known)})" if known else "")


class ConfigurationError(AwsllmError):
    """No region or credentials, a bad model reference, a missing extra."""


class RequestError(AwsllmError):
    """The caller's fault; sending it again changes nothing."""


class ValidationError(RequestError):
    """The request is malformed or out of bounds."""


class AccessDeniedError(RequestError):
    """Who calls may not do this, or the credentials are wrong or expired."""


class ModelNotFoundError(RequestError):
    """No such model, endpoint or profile here."""


class ContextWindowError(RequestError):
    """The conversation has more tokens than the model takes."""


class UnsupportedError(RequestError):
    """The model or backend cannot express what was asked; raised before anything is sent."""


class OutputValidationError(RequestError):
    """The answer did not fit the type asked for, the repair round included; ``response`` is the last answer."""

    response: ConverseResponse | None = None


class EulaNotAcceptedError(RequestError):
    """A licence must be accepted first."""

    url: str | None = None


class ServiceError(AwsllmError):
    """Not the caller's fault."""

    retryable = True


class ThrottlingError(ServiceError):
    """Too many requests or tokens."""


class LimitExceededError(ThrottlingError):
    """A call could not be made in its time within the client's own limits, so it was not sent. ``limit`` names the one
    that it would have broken (tokens_per_minute …); ``retry_after`` says in how many seconds it could be made, None
    where it never can."""

    retryable = False
    limit: str | None = None


class ModelNotReadyError(ServiceError):
    """The model is loading or scaled to zero. ``scaled_to_zero``: no copy of it runs; the call has asked for one, which
    takes minutes."""

    scaled_to_zero = False


class ModelTimeoutError(ServiceError):
    """No answer in time, or the deadline passed."""

    retryable = False
    may_have_run = True


class CircuitOpenError(ServiceError):
    """Nobody was asked: every model that could answer has failed too often lately. ``retry_after`` says in how many
    seconds one is tried again."""

    retryable = False


class ConnectError(ServiceError):
    """The service could not be reached, so nothing was sent."""


class ServerError(ServiceError):
    """The service or the model's container failed."""


class BudgetExceededError(AwsllmError):
    """A call might use more than is left of a budget, so it was not made. ``wanted`` and ``left`` are in ``unit``,
    which is usd or tokens; ``wanted`` is None where nobody can say what the call may use."""

    unit = "usd"
    wanted: float | None = None
    left: float | None = None


class StreamError(AwsllmError):
    """A stream broke after it began. ``partial`` is what arrived until then; ``__cause__`` is why, where that is
    known."""

    may_have_run = True
    partial: ConverseResponse | None = None


class DeploymentError(AwsllmError):
    """A deployment failed."""

    reason: str | None = None
    log_stream: str | None = None


def is_own(error: BaseException) -> bool:
    """Whether awsllm raised it, so that what it says may be told: of a foreign exception nobody knows whose words it
    has. The engine's errors are awsllm's too, and no ``AwsllmError``: it imports nothing of the rest."""
    return type(error).__module__.partition(".")[0] == "awsllm"


def reason_of(error: BaseException) -> str:
    """Why something failed, in awsllm's words or the system's; of a foreign exception the kind alone."""
    if isinstance(error, AwsllmError):
        return error.message
    if is_own(error):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror} ({error.filename})" if error.filename else error.strerror
    return type(error).__name__
