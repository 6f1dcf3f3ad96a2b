"""What a streamed answer of HTTP begins with: status, headers and cookies, before the first byte of its body.

On the wire it is JSON, eight NUL bytes, and then the body as it comes ("Implementing response streaming in a custom
runtime" of the Lambda guide).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

CONTENT_TYPE = "application/vnd.awslambda.http-integration-response"
_END = b"\0" * 8


class StreamHead(NamedTuple):
    """The first item that a streaming handler yields."""

    status: int = 200
    headers: Mapping[str, str] = {}
    cookies: Sequence[str] = ()

    def encode(self) -> bytes:
        found = {"statusCode": self.status, "headers": dict(self.headers), "cookies": list(self.cookies)}
        return json.dumps(found).encode() + _END


def split_head(body: bytes) -> tuple[StreamHead, bytes] | None:
    """The head of a body and what follows it; None while the head is not whole. ``ValueError`` for what is none."""
    head, end, rest = body.partition(_END)
    if not end:
        return None
    found = json.loads(head)
    if not isinstance(found, dict):
        raise ValueError("the head of a streamed answer is an object")  # noqa: TRY004 -- as for what is no JSON
    return StreamHead(found.get("statusCode", 200), found.get("headers") or {}, tuple(found.get("cookies") or ())), rest
