"""Bedrock's lists: filters, order and pages, whose members are alike but not the same in each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from awsllm.server.account.pages import paged
from awsllm.types import JsonObject

_PAGE = 100  # rows without maxResults


def page(
    request: JsonObject,
    rows: Iterable[JsonObject],
    member: str,
    *,
    time: str = "creationTime",
    equal: Mapping[str, str] | None = None,
) -> JsonObject:
    """The response with the rows that a List request wants under ``member``, the newest first unless it says otherwise.

    ``time`` is the member of a row that it is ordered by and bounded by (``creationTimeAfter``, ``submitTimeBefore``).
    ``equal`` maps members of the request to those of a row: one that ends in Contains is a part of its value.
    """
    kept = [row for row in rows if _is_wanted(request, row, time, equal or {})]
    kept.sort(key=lambda row: row.get(time) or 0.0)
    if request.get("sortOrder", "Descending") == "Descending":
        kept.reverse()
    shown, more = paged(kept, request.get("nextToken"), request.get("maxResults", _PAGE))
    return {member: shown, **more}


def _is_wanted(request: JsonObject, row: JsonObject, time: str, equal: Mapping[str, str]) -> bool:
    moment = _written(row.get(time) or 0.0)
    for name, value in request.items():
        if name.endswith(("TimeAfter", "createdAfter")) and not moment > _written(value):
            return False
        if name.endswith(("TimeBefore", "createdBefore")) and not moment < _written(value):
            return False
        if name in equal and not _matches(name, value, row.get(equal[name])):
            return False
    return True


def _written(moment: float) -> int:
    """A time in milliseconds, as responses write it: what a caller was shown is not after itself."""
    return round(moment * 1_000_000) // 1000


def _matches(name: str, wanted: Any, value: Any) -> bool:
    return str(wanted).lower() in str(value or "").lower() if name.endswith("Contains") else wanted == value
