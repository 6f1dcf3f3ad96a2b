"""Results as they are told: what a model took, and what is too large to be carried: written to S3, and pointed to."""

from __future__ import annotations

import hashlib

import msgspec

from awsllm.aws.session import AwsSession
from awsllm.lambdas.events.errors import PermanentError
from awsllm.lambdas.events.s3_objects import ObjectPlace, OutputPlace, S3Objects
from awsllm.types import ConverseResponse, JsonObject, JsonValue, Usage

DEFAULT_PREFIX = "awsllm/large/"


class LargeResults:
    """Where results go that do not fit. ``place`` without a bucket: nowhere, and such a result is an error."""

    def __init__(self, session: AwsSession, place: OutputPlace) -> None:
        self._objects, self._place = S3Objects(session), place

    def fit(self, value: JsonValue, limit: int, name: str) -> JsonValue:
        """The value itself where it has at most ``limit`` bytes as JSON; else ``{"location", "bytes", "etag"}`` of an
        object that is named for ``name``, so that doing it again writes it to the same place. Raises ``PermanentError``
        where there is no bucket for it, or it is no JSON value."""
        try:
            data = msgspec.json.encode(value)
        except (TypeError, ValueError, RecursionError):
            raise PermanentError("the result is no JSON value") from None
        if len(data) <= limit:
            return value
        if self._place.bucket is None:
            raise PermanentError(
                f"the result has {len(data):,} bytes, and {limit:,} at most are carried: set AWSLLM_OUTPUT_BUCKET"
            )
        key = f"{self._place.prefix}{hashlib.sha256(name.encode()).hexdigest()[:32]}.json"
        written = self._objects.write(ObjectPlace(self._place.bucket, key), data)
        return {"location": written.uri, "bytes": len(data), "etag": written.etag}


def usage_json(usage: Usage) -> JsonObject:
    """The counts that are known."""
    known = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_write_input_tokens")
    return {name: value for name in known if (value := getattr(usage, name)) is not None}


def answer_json(response: ConverseResponse) -> JsonObject:
    """What a result tells of a model's answer beside its text."""
    return {
        "model": response.model,
        "stop_reason": response.stop_reason,
        "usage": usage_json(response.usage),
        "cost": response.cost,
    }
