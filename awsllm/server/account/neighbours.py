"""What an account asks of the services beside it: S3, CloudWatch, EventBridge, Application Auto Scaling, whoever else
makes resources."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from awsllm.types import JsonObject


class ObjectStore(Protocol):
    """S3 as jobs need it. URIs are ``s3://BUCKET/KEY``."""

    def read(self, uri: str) -> bytes:
        """Raises ``KeyError`` where there is no such object."""

    def write(self, uri: str, data: bytes) -> None:
        """Raises ``KeyError`` where there is no such bucket."""

    def has_bucket(self, bucket: str) -> bool:
        """Whether there is a bucket of this name."""

    def list(self, uri: str) -> Sequence[str]:
        """The URIs of the objects under a prefix, in order."""


class Neighbours:
    """The services beside the account, which do nothing here; ``server.moto.neighbours`` are those of moto."""

    def log(self, region: str, group: str, stream: str, lines: Sequence[str]) -> None:
        """Write to CloudWatch Logs."""

    def tell(self, region: str, event: JsonObject) -> None:
        """Put an event, as PutEvents takes one, on EventBridge's default bus."""

    def wake(self, region: str, component: str) -> int:
        """How many copies a step policy adds when the component had no capacity for a request; 0 without one."""
        return 0

    def invoke(self, region: str, function: str, payload: bytes) -> bytes | None:
        """What a Lambda function answers, by its name or ARN; None where there is none, or it fails."""
        return None

    def knows(self, region: str, kind: str, name: str) -> bool:
        """Whether a model, endpoint-config or endpoint of this name was made elsewhere."""
        return False

    def summaries(self, region: str, kind: str) -> list[JsonObject]:
        """What the List operation of this kind shows of resources that were made elsewhere."""
        return []
