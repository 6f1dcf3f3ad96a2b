"""boto3 clients, for the services that are called rarely: control planes and S3.

The data planes have their own transport (``http.py``, ``aio.py``); here boto3's own retries and configuration apply.
"""

from __future__ import annotations

from typing import Any


def client(service: str, *, region: str | None = None, profile: str | None = None) -> Any:
    """A boto3 client on a session of its own, so that threads never share one that is being made."""
    from boto3.session import Session

    return Session(region_name=region, profile_name=profile).client(service)
