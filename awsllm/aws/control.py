"""boto3 clients, for the services that are called rarely: control planes and S3.

The data planes have their own transport (``http.py``, ``aio.py``); here boto3's own retries apply. A client takes 50
ms to make, so each session's are kept for as long as the session is.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from awsllm.aws.session import AwsSession

_clients: WeakKeyDictionary[AwsSession, dict[str, Any]] = WeakKeyDictionary()


def client(service: str, session: AwsSession | None = None) -> Any:
    """The boto3 client of ``service`` with the session's credentials, region and endpoint URL. Safe to share."""
    session = session or AwsSession()
    made = _clients.setdefault(session, {})
    if service not in made:
        made.setdefault(service, session.boto3_client(service))
    return made[service]
