"""The List operations' common members: filters, order and pages."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from awsllm.server.account.pages import paged
from awsllm.types import JsonObject

_PAGE = 10  # rows without MaxResults


def listed(
    request: JsonObject, rows: Iterable[JsonObject], *, name: str, status: str | None = None, ascending: bool = False
) -> tuple[list[JsonObject], JsonObject]:
    """The page of ``rows`` that a List request wants, and ``{"NextToken": …}`` if there are more. ``name`` and
    ``status`` are the members of a row that hold them. By their times the newest are first, unless they are
    ``ascending``: botocore's service model says of each operation which is its default."""
    kept = [row for row in rows if _matches(request, row, name, status)]
    member = {"Name": name, "Status": status, name: name}.get(request.get("SortBy", ""), "CreationTime")
    usual = "Descending" if member == "CreationTime" and not ascending else "Ascending"
    descending = request.get("SortOrder", usual) == "Descending"
    kept.sort(key=lambda row: (row.get(member or name) or 0, row[name]), reverse=descending)
    return paged(kept, request.get("NextToken"), request.get("MaxResults", _PAGE), member="NextToken")


def _matches(request: JsonObject, row: JsonObject, name: str, status: str | None) -> bool:
    bounds = (
        ("CreationTimeAfter", "CreationTime", 1),
        ("CreationTimeBefore", "CreationTime", -1),
        ("LastModifiedTimeAfter", "LastModifiedTime", 1),
        ("LastModifiedTimeBefore", "LastModifiedTime", -1),
    )
    in_time = all(
        (row[member] - _seconds(request[bound])) * sign > 0 for bound, member, sign in bounds if request.get(bound)
    )
    named = str(request.get("NameContains") or "").lower() in row[name].lower()
    wanted = request.get("StatusEquals")
    return in_time and named and (wanted is None or status is None or row[status] == wanted)


def _seconds(value: str | float) -> float:
    """A timestamp of a request: seconds since 1970, or ISO 8601."""
    return datetime.fromisoformat(value).timestamp() if isinstance(value, str) else float(value)
