"""S3Objects in S3 as handlers read and write them: bounded, of the version that an event names, by boto3.

What is not there is told apart by its cause, for an event may be older than what has happened since.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from functools import cached_property
from typing import IO, Any
from urllib.parse import urlsplit

import msgspec

from awsllm.aws import control
from awsllm.aws.session import AwsSession
from awsllm.errors import AwsllmError, ConfigurationError, ValidationError
from awsllm.lambdas import settings
from awsllm.types import JsonObject, Value


class ObjectGoneError(AwsllmError):
    """There is no such object any more, or not this version of it: there is nothing to do."""


class ObjectTooLargeError(ValidationError):
    """The object is larger than this function reads."""


class ObjectPlace(Value, frozen=True):
    """An object, in one version where that is known. ``etag`` is without quotes."""

    bucket: str
    key: str
    version: str | None = None
    etag: str | None = None
    size: int | None = None

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


class ObjectContent(Value, frozen=True):
    """What was read: the place as it was found, and its bytes."""

    place: ObjectPlace
    body: bytes
    content_type: str


class OutputPlace(Value, frozen=True):
    """Where results are written: a bucket (None: that of what a result is of) and what keys begin with."""

    bucket: str | None
    prefix: str

    def holds(self, place: ObjectPlace) -> bool:
        """Whether that is, by its place, one of our own results."""
        return place.bucket == (self.bucket or place.bucket) and place.key.startswith(self.prefix)


def output_place(default_prefix: str) -> OutputPlace:
    """The environment's. Beside what they are of, results need a prefix that tells them from it."""
    bucket, prefix = settings.text("AWSLLM_OUTPUT_BUCKET"), settings.text("AWSLLM_OUTPUT_PREFIX")
    if prefix is not None and (prefix.startswith("/") or len(prefix) > 200):
        raise ConfigurationError("AWSLLM_OUTPUT_PREFIX begins with a slash or is too long: it is like results/")
    return OutputPlace(bucket, default_prefix if prefix is None else prefix)


def place_of(uri: Any) -> ObjectPlace:
    """The object at ``s3://BUCKET/KEY``. Raises ``ValidationError``."""
    parts = urlsplit(uri) if isinstance(uri, str) else None
    if parts is None or parts.scheme != "s3" or not parts.netloc or not parts.path.lstrip("/"):
        raise ValidationError("that is no place in S3: s3://BUCKET/KEY")
    return ObjectPlace(parts.netloc, uri.removeprefix(f"s3://{parts.netloc}/"))


class S3Objects:
    """S3 in one session. Safe to share between threads."""

    def __init__(self, session: AwsSession) -> None:
        self._session = session

    @cached_property
    def _s3(self) -> Any:
        return control.client("s3", self._session)

    def connect(self) -> S3Objects:
        """This, with its client made: while Lambda starts a function it has a whole CPU."""
        control.client("s3", self._session)  # kept with the session
        return self

    def read(self, place: ObjectPlace, limit: int) -> ObjectContent:
        """The object, of the version or with the ETag that ``place`` says. Raises ``ObjectGoneError`` where that is no
        longer there, ``ObjectTooLargeError`` for more than ``limit`` bytes, and S3's errors."""
        if place.size is not None and place.size > limit:
            raise _too_large(place.size, limit)
        response = self._get(place)
        size = response["ContentLength"]
        with control.translated(), closing(response["Body"]) as stream:
            if size > limit:
                raise _too_large(size, limit)
            body = stream.read(limit + 1)
        found = msgspec.structs.replace(place, etag=response["ETag"].strip('"'), size=len(body))
        return ObjectContent(found, body, response.get("ContentType") or "")

    def lines(self, place: ObjectPlace) -> Iterator[bytes]:
        """The object's lines as they come, so that its size is no matter."""
        response = self._get(place)
        with control.translated(), closing(response["Body"]) as stream:
            yield from stream.iter_lines(chunk_size=1 << 16)

    def _get(self, place: ObjectPlace) -> Any:
        which: JsonObject = {}
        if place.version is not None:
            which["VersionId"] = place.version
        elif place.etag:
            which["IfMatch"] = f'"{place.etag}"'
        try:
            with control.translated():
                return self._s3.get_object(Bucket=place.bucket, Key=place.key, **which)
        except AwsllmError as error:
            if error.status in (404, 412) and error.code != "NoSuchBucket":
                raise ObjectGoneError("the object is gone, or was replaced since the event") from error
            raise

    def beneath(self, bucket: str, prefix: str) -> list[str]:
        """The keys that begin with ``prefix``."""
        with control.translated():
            pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
            return [item["Key"] for page in pages for item in page.get("Contents", ())]

    def write(self, place: ObjectPlace, body: bytes, content_type: str = "application/json") -> ObjectPlace:
        with control.translated():
            response = self._s3.put_object(Bucket=place.bucket, Key=place.key, Body=body, ContentType=content_type)
        etag = str(response.get("ETag", "")).strip('"')
        return msgspec.structs.replace(place, etag=etag, size=len(body), version=response.get("VersionId"))

    def upload(self, place: ObjectPlace, file: IO[bytes]) -> ObjectPlace:
        """What is in ``file``, in parts where it is large."""
        file.seek(0)
        with control.translated():
            self._s3.upload_fileobj(file, place.bucket, place.key)
        return place


def _too_large(size: int, limit: int) -> ObjectTooLargeError:
    return ObjectTooLargeError(f"the object has {size:,} bytes; AWSLLM_MAX_OBJECT_BYTES is {limit:,}")
