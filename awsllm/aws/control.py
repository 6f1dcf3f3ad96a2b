"""boto3 clients, for the services that are called rarely: control planes and S3.

The data planes have their own transport (``http.py``, ``aio.py``); here boto3's own retries apply.
"""

from __future__ import annotations

from typing import Any

from awsllm.aws.session import AwsSession


def client(service: str, session: AwsSession | None = None) -> Any:
    """A boto3 client of ``service`` with the session's credentials, region and endpoints."""
    return (session or AwsSession()).boto3().client(service)
