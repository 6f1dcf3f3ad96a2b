"""Tags of whatever has an ARN in the account; those of ARNs that it does not hold are left to others."""

from __future__ import annotations

from collections.abc import Mapping

from awsllm.server.account.account import Operation, Region
from awsllm.server.account.refusals import invalid
from awsllm.types import JsonObject

_MOST = 50


def tags_of(request: JsonObject) -> dict[str, str]:
    """The tags that a request brings."""
    return {tag["Key"]: tag["Value"] for tag in request.get("Tags") or ()}


def _shown(tags: Mapping[str, str]) -> list[JsonObject]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _add_tags(region: Region, request: JsonObject) -> JsonObject | None:
    tags = region.state.tags.get(request["ResourceArn"])
    if tags is None:
        return None
    if len(tags | tags_of(request)) > _MOST:
        raise invalid(f"A resource has at most {_MOST} tags.")
    tags.update(tags_of(request))
    return {"Tags": _shown(tags)}


def _list_tags(region: Region, request: JsonObject) -> JsonObject | None:
    tags = region.state.tags.get(request["ResourceArn"])
    return None if tags is None else {"Tags": _shown(tags)}


def _delete_tags(region: Region, request: JsonObject) -> JsonObject | None:
    tags = region.state.tags.get(request["ResourceArn"])
    if tags is None:
        return None
    for key in request["TagKeys"]:
        tags.pop(key, None)
    return {}


OPERATIONS: Mapping[str, Operation] = {
    "AddTags": _add_tags,
    "ListTags": _list_tags,
    "DeleteTags": _delete_tags,
}
