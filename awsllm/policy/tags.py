"""Tags: what a caller says of a call, so that its use is counted apart.

Bedrock keeps them as the request's metadata, in its invocation log, which is how AWS attributes single calls
(docs.aws.amazon.com/bedrock/latest/userguide/cost-mgmt-request-metadata.html, read 2026-11-27). Its rules hold for all
tags: at most 16, of letters, digits, spaces and a few signs, names and values of at most 256 characters (botocore's
model of bedrock-runtime, RequestMetadata).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

from msgspec.structs import replace

from awsllm.errors import ValidationError
from awsllm.types import Value

R = TypeVar("R")

MOST_TAGS = 16
_WITHOUT = ("openai", "agents")  # doors that keep no metadata
_SIGNS = r"[a-zA-Z0-9\s:_@$#=/+,\-.]"


class CallMarks(Value, frozen=True):
    """What one call says of itself to those who count and keep: its tags, and whether its answer may be a kept one
    (None: where it would be the same); and where a quota is short, whose it is, how urgent, and whether it waits."""

    tags: Mapping[str, str] | None = None
    response_cache: bool | None = None
    tenant: str = ""
    priority: int = 0
    waits: bool = True


def call_marks(options: Mapping[str, Any]) -> CallMarks:
    """The marks among a call's options. Raises ``ValidationError``."""
    wanted = options.get("response_cache")
    if wanted is not None and not isinstance(wanted, bool):
        raise ValidationError(f"response_cache is True, False or None, not a {type(wanted).__name__}")
    tenant, priority = options.get("tenant") or "", options.get("priority") or 0
    if not isinstance(tenant, str):
        raise ValidationError(f"tenant is a text, not a {type(tenant).__name__}")
    if isinstance(priority, bool) or not isinstance(priority, int):
        raise ValidationError(f"priority is {priority!r:.40}; it is a whole number")
    return CallMarks(checked_tags(options.get("tags")), wanted, tenant, priority)


def checked_tags(tags: Any) -> dict[str, str]:
    """The tags as a dict. Raises ``ValidationError``."""
    if not tags:
        return {}
    if not isinstance(tags, Mapping):
        raise ValidationError(f"tags are names and texts, not a {type(tags).__name__}")
    if len(tags) > MOST_TAGS:
        raise ValidationError(f"{len(tags)} tags: Bedrock keeps {MOST_TAGS} at most")
    for name, value in tags.items():
        if not (isinstance(name, str) and isinstance(value, str) and _named().fullmatch(name)):
            raise ValidationError(f"tag {name!r:.60}: {_RULE}")
        if not _worded().fullmatch(value):
            raise ValidationError(f"the value of tag {name!r:.60}: {_RULE}")
    return dict(tags)


_RULE = "names and values are texts of at most 256 letters, digits, spaces and : _ @ $ # = / + , - ."


@cache
def _named() -> re.Pattern[str]:
    return re.compile(f"{_SIGNS}{{1,256}}")


@cache
def _worded() -> re.Pattern[str]:
    return re.compile(f"{_SIGNS}{{0,256}}")


def metadata(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags as a request's metadata, where its caller put nothing there."""
    return dict([*tags.items()][:MOST_TAGS])


def with_metadata(request: R, tags: Mapping[str, str]) -> R:
    """The request with the tags in its metadata, where its door has a place for them; what its caller put there stays,
    and goes first."""
    if not tags:
        return request
    known: Any = request
    if "request_metadata" not in known.__struct_fields__ or getattr(known, "api", None) in _WITHOUT:
        return request
    theirs: dict[str, str] = dict(known.request_metadata or {})
    ours = [pair for pair in tags.items() if pair[0] not in theirs][: max(0, MOST_TAGS - len(theirs))]
    changed: R = replace(known, request_metadata={**theirs, **dict(ours)})
    return changed
