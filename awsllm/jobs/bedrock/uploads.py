"""What the caller has on this machine, in S3: under a name of its content, so that it is there once."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

from awsllm.aws.control import translated
from awsllm.errors import AwsllmError, ConfigurationError
from awsllm.jobs.sagemaker import check_s3
from awsllm.jumpstart.deploy.resources import Clients, call

_S3 = "s3"


def place_of(output: str, content: bytes | str, name: str) -> str:
    """Where ``content`` (or its digest) is to stand under ``output``."""
    digest = content if isinstance(content, str) else sha256(content).hexdigest()
    return f"{check_s3('output', output).rstrip('/')}/awsllm/{digest[:32]}/{name}"


def put(clients: Clients, uri: str, content: bytes) -> None:
    """Write an object, unless one of that size is there: its name says what it holds."""
    bucket, key = _parts(uri)
    if _size(clients, bucket, key) != len(content):
        call(clients, _S3, "put_object", Bucket=bucket, Key=key, Body=content)


def put_files(clients: Clients, prefix: str, files: Iterable[Path]) -> None:
    """The same for files, each under its own name."""
    for path in files:
        bucket, key = _parts(f"{prefix.rstrip('/')}/{path.name}")
        if _size(clients, bucket, key) == path.stat().st_size:
            continue
        with translated():
            clients(_S3).upload_file(str(path), bucket, key)  # in parts, where it is large


def read_object(clients: Clients, uri: str) -> bytes:
    """Raises ``ConfigurationError`` for what is not there, and AWS's other refusals."""
    bucket, key = _parts(uri)
    if not bucket or not key:
        raise ConfigurationError(f"{uri!r:.200} names no object: s3://BUCKET/KEY")
    try:
        response = call(clients, _S3, "get_object", Bucket=bucket, Key=key)
    except AwsllmError as error:
        if error.status != 404:
            raise
        raise ConfigurationError(f"there is nothing at {uri!r:.200}: {error.message}") from error
    with translated():
        content: bytes = response["Body"].read()
    return content


def check_region(clients: Clients, uri: str, region: str) -> None:
    """Raise ``ConfigurationError`` for a bucket that is elsewhere, or is not there: a job would fail by it."""
    bucket, _ = _parts(uri)
    try:
        found = call(clients, _S3, "head_bucket", Bucket=bucket)
    except AwsllmError as error:
        if error.status == 404:
            raise ConfigurationError(f"there is no bucket {bucket}: make it in {region}, or name another") from error
        if error.status in (301, 400):  # S3 redirects to where it is
            raise ConfigurationError(f"the bucket {bucket} is not in {region}, where the job would run") from error
        return  # that it may not be asked says nothing of it
    there = found.get("BucketRegion")
    if there and there != region:
        raise ConfigurationError(f"the bucket {bucket} is in {there}, and the job would run in {region}")


def check_bucket(clients: Clients, uri: str) -> None:
    """Raise ``ConfigurationError`` for a bucket that is not there, wherever it would be."""
    bucket, _ = _parts(uri)
    try:
        call(clients, _S3, "head_bucket", Bucket=bucket)
    except AwsllmError as error:
        if error.status == 404:
            raise ConfigurationError(f"there is no bucket {bucket}: make it, or name another") from error


def _size(clients: Clients, bucket: str, key: str) -> int | None:
    with suppress(AwsllmError):
        return int(call(clients, _S3, "head_object", Bucket=bucket, Key=key)["ContentLength"])
    return None


def _parts(uri: str) -> tuple[str, str]:
    parts = urlsplit(uri)
    return parts.netloc, parts.path.lstrip("/")
