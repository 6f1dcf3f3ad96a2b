"""boto3 clients, for the services that are called rarely: control planes and S3.

The data planes have their own transport (``http.py``, ``aio.py``); here boto3's own retries apply, but to invocations:
each is paid for, and one whose response was lost may have been taken. A client takes 50 ms to make, so each session's
are kept for as long as the session is, and their connections are closed when it goes. ``translated`` turns what boto3
raises into awsllm's errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary, finalize

from awsllm.aws import chain
from awsllm.aws.failures import forget_locals
from awsllm.aws.session import AwsSession
from awsllm.errors import (
    AccessDeniedError,
    AwsllmError,
    ConnectError,
    ModelNotFoundError,
    ModelTimeoutError,
    RequestError,
    ServerError,
    ThrottlingError,
)

_clients: WeakKeyDictionary[AwsSession, dict[str, Any]] = WeakKeyDictionary()


_SENT_ONCE = {"sagemaker-runtime"}


def client(service: str, session: AwsSession | None = None) -> Any:
    """The boto3 client of ``service`` with the session's credentials, region and endpoint URL. Safe to share; without a
    session it is the caller's own, to be closed."""
    if session is None:
        return AwsSession().boto3_client(service, _config(service))
    made = _clients.setdefault(session, {})
    if service not in made:
        _keep(session, service, session.boto3_client(service, _config(service)))
    return made[service]


def _config(service: str) -> Any:
    if service not in _SENT_ONCE:
        return None
    from botocore.config import Config

    return Config(retries={"total_max_attempts": 1})


def _keep(session: AwsSession, name: str, made: Any) -> None:
    """Two threads may both make a client: the first wins, and the other is dropped unused."""
    if _clients[session].setdefault(name, made) is made:
        finalize(session, made.close).atexit = False


def anonymous(service: str, session: AwsSession | None = None) -> Any:
    """The same for what everybody may read: nothing is signed, no credentials are looked for, and what cannot be
    reached is given up soon."""
    from botocore import UNSIGNED
    from botocore.config import Config

    session = session or AwsSession()
    made, name = _clients.setdefault(session, {}), f"{service} unsigned"
    if name not in made:
        retries: Any = {"mode": "standard", "total_max_attempts": 2}
        config = Config(signature_version=UNSIGNED, connect_timeout=5, read_timeout=30, retries=retries)
        _keep(session, name, session.boto3_client(service, config))
    return made[name]


def brief(service: str, session: AwsSession) -> Any:
    """The same for what is asked beside a call and can be done without: given up after a few seconds, never tried
    again."""
    made, name = _clients.setdefault(session, {}), f"{service} brief"
    if name not in made:
        from botocore.config import Config

        config = Config(retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=4)
        _keep(session, name, session.boto3_client(service, config))
    return made[name]


@contextmanager
def translated() -> Iterator[None]:
    """Errors that boto3 raises within the block, as awsllm's."""
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, IncompleteReadError, ReadTimeoutError
    from botocore.exceptions import ConnectionError as Unconnected

    try:
        yield
    except ClientError as error:
        raise _service_error(error.response, error.operation_name) from error
    except ReadTimeoutError as error:  # it was sent, and may have been done
        raise ModelTimeoutError(str(error)) from error
    except (HTTPClientError, IncompleteReadError, Unconnected) as error:
        raise ConnectError(str(error)) from error
    except BotoCoreError as error:
        raise _of_chain(error) from error
    except AwsllmError:
        raise
    except Exception as error:
        if isinstance(behind := error.__context__, ClientError):  # S3's transfers raise their own, after the service's
            raise _service_error(behind.response, behind.operation_name) from error
        if not chain.is_of_chain(error):
            raise
        raise _of_chain(error) from error


def _of_chain(error: Exception) -> AwsllmError:
    """boto3 signs when it calls, so an error of a call may be one of the keys that it needs."""
    failure = chain.translate(error, topic="")
    forget_locals(error)
    return failure


# The JSON protocols send these with HTTP 400 too. Each service has its own word for throttling: those that botocore
# retries (``botocore.retries.standard``, 1.44), without those that also say that an account has too much of something.
_THROTTLED = (
    *("Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled", "RequestThrottledException"),
    *("TooManyRequestsException", "RequestLimitExceeded", "BandwidthLimitExceeded", "SlowDown"),
    *("ProvisionedThroughputExceededException", "TransactionInProgressException"),
)
_DENIED = (
    *("AccessDeniedException", "UnrecognizedClientException", "ExpiredTokenException", "InvalidSignatureException"),
    *("MissingAuthenticationTokenException", "IncompleteSignatureException"),
)
_BY_CODE: dict[str, type[AwsllmError]] = {
    **dict.fromkeys(_DENIED, AccessDeniedError),
    **dict.fromkeys(_THROTTLED, ThrottlingError),
}
_BY_STATUS: dict[int, type[AwsllmError]] = {
    401: AccessDeniedError,
    403: AccessDeniedError,
    404: ModelNotFoundError,
    429: ThrottlingError,
}


def _service_error(response: Any, operation: str) -> AwsllmError:
    fault, metadata = response.get("Error", {}), response.get("ResponseMetadata", {})
    status, request = metadata.get("HTTPStatusCode", 0), metadata.get("RequestId")
    return refusal(operation, Refused(status, fault.get("Code"), fault.get("Message"), request))


class Refused(NamedTuple):
    """What a service says of a call that it refuses, in whichever protocol."""

    status: int
    code: str | None
    message: str | None
    request_id: str | None


def refusal(operation: str, said: Refused, other: type[RequestError] = RequestError) -> AwsllmError:
    """The error that it is; ``other`` is what is no error of a kind of its own."""
    kind = _BY_CODE.get(said.code or "") or _BY_STATUS.get(said.status, other if said.status < 500 else ServerError)
    message = said.message or "no message"
    if kind is ThrottlingError:  # "Rate exceeded" is all that most services say
        message = f"{operation}: {message}"
    return kind(message, code=said.code, status=said.status or None, request_id=said.request_id)
