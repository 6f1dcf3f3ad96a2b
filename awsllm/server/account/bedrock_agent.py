"""What the operations of bedrock-agent have in common: ids, client tokens, pages, and how the service says no.

Its errors have the statuses of their codes (API reference, "Errors"): 400, 402, 404, 409. The texts are AWS's where
they are publicly known; nothing here was compared with a real account.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from awsllm.errors import ModelNotFoundError, RequestError
from awsllm.server.account.account import Operation, Region
from awsllm.server.account.pages import paged
from awsllm.server.account.tags import Tagging
from awsllm.types import JsonObject

T = TypeVar("T")

SERVICE = "bedrock"
"""What stands in the ARNs of its resources."""
MISSING = (
    "Failed to retrieve resource because it doesn't exist. Retry your request with a different resource identifier."
)

_LETTERS = string.ascii_uppercase + string.digits
_PAGE = 10  # rows without maxResults
_NOT_SHOWN = ("clientToken", "tags")


def new_id() -> str:
    """Ten letters and digits, as all its resources have."""
    return "".join(secrets.choice(_LETTERS) for _ in range(10))


def missing(message: str) -> ModelNotFoundError:
    return ModelNotFoundError(message, code="ResourceNotFoundException", status=404)


def conflict(message: str) -> RequestError:
    return RequestError(message, code="ConflictException", status=409)


def quota_exceeded(message: str) -> RequestError:
    return RequestError(message, code="ServiceQuotaExceededException", status=402)


def shown(request: JsonObject) -> JsonObject:
    """What a Get operation shows of the request that made a resource."""
    return {name: value for name, value in request.items() if name not in _NOT_SHOWN and value is not None}


def made_before(records: Iterable[T], request: JsonObject) -> T | None:
    """What an earlier request with the same client token made: a request that is repeated makes nothing more."""
    token = request.get("clientToken")
    if token is None:
        return None
    return next((record for record in records if getattr(record, "token", None) == token), None)


def page(request: JsonObject, rows: Sequence[Any], *, most: int = 1000) -> tuple[list[Any], JsonObject]:
    """The rows that a List request wants, and ``{"nextToken": …}`` if there are more."""
    return paged(rows, request.get("nextToken"), min(int(request.get("maxResults") or _PAGE), most))


def _tags(region: Region, arn: str) -> dict[str, str] | None:
    """Those of what bedrock-agent has made; others' are left to them."""
    return region.state.tags.get(arn) if arn.split(":", 5)[-1].partition("/")[0] in _TAGGED else None


_TAGGED = ("knowledge-base", "prompt")
_TAGGING = Tagging(
    arn="resourceArn",
    keys="tagKeys",
    read=lambda request: request["tags"],
    show=lambda tags: {"tags": dict(tags)},
    too_many=lambda most: quota_exceeded(f"A resource has at most {most} tags."),
    find=_tags,
)
TAGS: Mapping[str, Operation] = {
    "TagResource": _TAGGING.add,
    "UntagResource": _TAGGING.remove,
    "ListTagsForResource": _TAGGING.list,
}
"""The operations on tags of whatever has an ARN in the account."""
