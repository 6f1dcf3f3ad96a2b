"""moto's S3 as what can be kept: buckets, and the newest version of each object with what its reader sees."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import msgspec

_CODE = "utf-8"


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """A bucket. ``policy`` is its document."""

    name: str
    region: str
    versioning: str | None = None
    policy: str | None = None


class StoredObject(msgspec.Struct, frozen=True, kw_only=True):
    """An object without its bytes: what a HEAD shows."""

    bucket: str
    key: str
    metadata: dict[str, str] = msgspec.field(default_factory=dict)
    storage: str | None = None
    tags: dict[str, str] = msgspec.field(default_factory=dict)


def buckets() -> list[Bucket]:
    return [
        Bucket(
            name=name,
            region=bucket.region_name,
            versioning=bucket.versioning_status,
            policy=bucket.policy.decode(_CODE) if bucket.policy else None,
        )
        for name, bucket in list(s3().buckets.items())
    ]


def has(bucket: str, key: str) -> bool:
    """Whether there is such an object. moto's S3 is not loaded for it: unless somebody has, it has none."""
    if "moto.s3.models" not in sys.modules:
        return False
    found = s3().buckets.get(bucket)
    return found is not None and key in found.keys


def stored(bucket: str) -> Iterator[tuple[str, Any, Callable[[], tuple[StoredObject, bytes]]]]:
    """The objects of a bucket: of each its key, what differs after each change of it, and a function that reads it.

    Not asked for its ETag, which moto computes from the buffer that it is being written to or read from by others."""
    backend = s3()
    found = backend.buckets.get(bucket)
    for name, key in list(found.keys.items()) if found is not None else ():
        if not hasattr(type(key), "value"):  # a marker of what was deleted; of an object, to ask itself would read it
            continue
        tags = backend.tagger.get_tag_dict_for_resource(key.arn)
        stamp = (id(key), key.last_modified, key.storage_class, dict(key.metadata), tags)
        yield name, stamp, partial(_read, bucket, name, key, tags)


def _read(bucket: str, name: str, key: Any, tags: dict[str, str]) -> tuple[StoredObject, bytes]:
    metadata = {str(member): str(value) for member, value in dict(key.metadata).items()}
    described = StoredObject(bucket=bucket, key=name, metadata=metadata, storage=key.storage_class, tags=tags)
    return described, bytes(key.value)


def make_bucket(bucket: Bucket) -> None:
    backend = s3()
    if bucket.name not in backend.buckets:
        backend.create_bucket(bucket.name, bucket.region)
    made = backend.buckets[bucket.name]
    made.versioning_status = bucket.versioning
    made.policy = bucket.policy.encode(_CODE) if bucket.policy else None


def put(described: StoredObject, data: bytes) -> None:
    backend = s3()
    key = backend.put_object(
        described.bucket, described.key, data, storage=described.storage, disable_notification=True
    )
    key.set_metadata(dict(described.metadata), replace=True)
    if described.tags:
        backend.set_key_tags(key, described.tags, described.key)


def s3() -> Any:
    """moto's S3, which is one for all regions."""
    from moto.core.models import DEFAULT_ACCOUNT_ID
    from moto.s3.models import s3_backends

    return s3_backends[DEFAULT_ACCOUNT_ID]["aws"]


NOT_KEPT: Mapping[str, str] = {
    "S3": "older versions of objects, unfinished uploads, and settings of buckets other than versioning and policy",
    "the rest of AWS": "IAM, STS, SQS, DynamoDB, CloudFormation, logs, alarms, scaling …",
}
"""What of moto does not survive a restart."""
