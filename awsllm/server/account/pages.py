"""Pages of lists: each but the last has a token, which says where the next begins."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from awsllm.server.account.refusals import invalid
from awsllm.types import JsonObject

_TOKEN = re.compile(r"from-([0-9]{1,9})")


def paged(
    rows: Sequence[Any], token: str | None, size: int, *, member: str = "nextToken"
) -> tuple[list[Any], JsonObject]:
    """The page of ``rows`` that begins at ``token``, and ``{member: token of the next}`` if there is one."""
    found = _TOKEN.fullmatch(token or "from-0")
    if found is None:
        raise invalid(f"The {member} is invalid.")
    start = int(found[1])
    end = start + size
    return list(rows[start:end]), {member: f"from-{end}"} if end < len(rows) else {}
