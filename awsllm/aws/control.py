"""boto3 clients, for the services that are called rarely: control planes and S3.

The data planes have their own transport (``http.py``, ``aio.py``); here boto3's own retries apply, but to invocations:
each is paid for, and one whose answer was lost may have been taken. A client takes 50 ms to make, so each session's are
kept for as long as the session is. ``translated`` tells what boto3 raises as awsllm's errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from awsllm.aws.session import AwsSession
from awsllm.errors import (
    AccessDeniedError,
    AwsllmError,
    ConfigurationError,
    ConnectError,
    ModelNotFoundError,
    ModelTimeoutError,
    RequestError,
    ServerError,
    ThrottlingError,
)

_clients: WeakKeyDictionary[AwsSession, dict[str, Any]] = WeakKeyDictionary()


def client(service: str, session: AwsSession | None = None) -> Any:
    """The boto3 client of ``service`` with the session's credentials, region and endpoint URL. Safe to share."""
    session = session or AwsSession()
    made = _clients.setdefault(session, {})
    if service not in made:
        made.setdefault(service, session.boto3_client(service, _once() if service in _SENT_ONCE else None))
    return made[service]


_SENT_ONCE = {"sagemaker-runtime"}


def _once() -> Any:
    from botocore.config import Config

    return Config(retries={"total_max_attempts": 1})


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
        made.setdefault(name, session.boto3_client(service, config))
    return made[name]


@contextmanager
def translated() -> Iterator[None]:
    """Errors that boto3 raises within the block, as awsllm's."""
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, IncompleteReadError, ReadTimeoutError
    from botocore.exceptions import ConnectionError as Unconnected

    try:
        yield
    except ClientError as error:
        raise _service_error(error.response) from error
    except ReadTimeoutError as error:  # it was sent, and may have been done
        raise ModelTimeoutError(str(error)) from error
    except (HTTPClientError, IncompleteReadError, Unconnected) as error:
        raise ConnectError(str(error)) from error
    except BotoCoreError as error:
        raise ConfigurationError(str(error)) from error


# The JSON protocols answer these with HTTP 400 too.
_BY_CODE: dict[str, type[AwsllmError]] = {
    "AccessDeniedException": AccessDeniedError,
    "ThrottlingException": ThrottlingError,
}
_BY_STATUS: dict[int, type[AwsllmError]] = {401: AccessDeniedError, 403: AccessDeniedError, 404: ModelNotFoundError}


def _service_error(response: Any) -> AwsllmError:
    told, about = response.get("Error", {}), response.get("ResponseMetadata", {})
    status = about.get("HTTPStatusCode", 0)
    kind = _BY_STATUS.get(status, RequestError if status < 500 else ServerError)
    message, code = told.get("Message") or "no message", told.get("Code")
    return _BY_CODE.get(code, kind)(message, code=code, status=status or None, request_id=about.get("RequestId"))
