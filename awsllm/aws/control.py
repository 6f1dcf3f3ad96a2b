"""boto3 clients, for the services that are called rarely: control planes and S3.

The data planes have their own transport (``http.py``, ``aio.py``); here boto3's own retries apply, and ``translated``
turns what boto3 raises into awsllm's errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from awsllm.aws.session import AwsSession
from awsllm.errors import (
    AccessDeniedError,
    AwsllmError,
    ConfigurationError,
    ConnectError,
    ModelNotFoundError,
    RequestError,
    ServerError,
)

_BY_STATUS: dict[int, type[AwsllmError]] = {401: AccessDeniedError, 403: AccessDeniedError, 404: ModelNotFoundError}


def client(service: str, session: AwsSession | None = None) -> Any:
    """A boto3 client of ``service`` with the session's credentials, region and endpoints."""
    return (session or AwsSession()).boto3().client(service)


@contextmanager
def translated() -> Iterator[None]:
    """Errors of boto3 raised within the block as awsllm's, which the caller's own words may then annotate."""
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

    try:
        yield
    except ClientError as error:
        raise _service_error(error.response) from error
    except HTTPClientError as error:
        raise ConnectError(str(error)) from error
    except BotoCoreError as error:
        raise ConfigurationError(str(error)) from error


def _service_error(response: dict[str, Any]) -> AwsllmError:
    told, about = response.get("Error", {}), response.get("ResponseMetadata", {})
    status = about.get("HTTPStatusCode", 0)
    kind = _BY_STATUS.get(status, RequestError if status < 500 else ServerError)
    message, code = told.get("Message") or "no message", told.get("Code")
    return kind(message, code=code, status=status or None, request_id=about.get("RequestId"))
