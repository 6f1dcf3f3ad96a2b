"""boto3 clients of one session, which reads each service's model once: making a client is most of a short test."""

from __future__ import annotations

import functools
from typing import Any

import boto3


@functools.cache
def _session() -> Any:
    import moto  # noqa: F401  # a session that is older than it is not answered by it

    return boto3.Session()


def new_client(service: str, region: str = "us-east-1", *, secret: str = "secret", **options: Any) -> Any:  # noqa: S107
    """A client with keys that mean nothing."""
    return _session().client(service, region, aws_access_key_id="testing", aws_secret_access_key=secret, **options)
