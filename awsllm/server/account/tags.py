"""Tags of whatever has an ARN in the account; those of ARNs that it does not hold are left to others.

``Tagging`` is how a service writes them; ``OPERATIONS`` are SageMaker's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from awsllm.errors import AwsllmError
from awsllm.server.account.account import Operation, Region
from awsllm.server.account.refusals import invalid
from awsllm.types import JsonObject

MOST_TAGS = 50
"""Of one resource, in every service (docs.aws.amazon.com/bedrock/latest/userguide/tagging.html)."""


@dataclass(frozen=True, slots=True)
class Tagging:
    """The operations on tags. ``arn`` and ``keys`` are the names of their members; ``read`` gives the tags of a
    request, ``show`` the response that lists them, and ``too_many`` the refusal of more than so many. ``find`` gives
    those of an ARN, or None where it is another's."""

    arn: str
    keys: str
    read: Callable[[JsonObject], dict[str, str]]
    show: Callable[[Mapping[str, str]], JsonObject]
    too_many: Callable[[int], AwsllmError]
    find: Callable[[Region, str], dict[str, str] | None]

    def add(self, region: Region, request: JsonObject) -> JsonObject | None:
        tags = self.find(region, request[self.arn])
        if tags is None:
            return None
        added = self.read(request)
        if len(tags | added) > MOST_TAGS:
            raise self.too_many(MOST_TAGS)
        tags.update(added)
        return {}

    def remove(self, region: Region, request: JsonObject) -> JsonObject | None:
        tags = self.find(region, request[self.arn])
        if tags is None:
            return None
        for key in request[self.keys]:
            tags.pop(key, None)
        return {}

    def list(self, region: Region, request: JsonObject) -> JsonObject | None:
        tags = self.find(region, request[self.arn])
        return None if tags is None else self.show(tags)


def tags_of(request: JsonObject) -> dict[str, str]:
    """The tags that a request of SageMaker's brings."""
    return {tag["Key"]: tag["Value"] for tag in request.get("Tags") or ()}


def _of_sagemaker(region: Region, arn: str) -> dict[str, str] | None:
    """Those of SageMaker's own: Bedrock's are in the same place, and have operations and rules of their own."""
    return region.state.tags.get(arn) if arn.split(":")[2:3] == ["sagemaker"] else None


_SAGEMAKER = Tagging(
    arn="ResourceArn",
    keys="TagKeys",
    read=tags_of,
    show=lambda tags: {"Tags": [{"Key": key, "Value": value} for key, value in tags.items()]},
    too_many=lambda most: invalid(f"A resource has at most {most} tags."),
    find=_of_sagemaker,
)


def _add(region: Region, request: JsonObject) -> JsonObject | None:
    """What it has then is told."""
    added = _SAGEMAKER.add(region, request)
    return None if added is None else _SAGEMAKER.list(region, request)


OPERATIONS: Mapping[str, Operation] = {
    "AddTags": _add,
    "ListTags": _SAGEMAKER.list,
    "DeleteTags": _SAGEMAKER.remove,
}
