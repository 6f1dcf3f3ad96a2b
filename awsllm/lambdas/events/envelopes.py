"""What a message comes in: JSON that may be none, and what SNS wraps it in."""

from __future__ import annotations

from typing import Any

import msgspec

from awsllm.types import JsonValue


def json_or_none(text: str | bytes) -> JsonValue:
    """The value; None for what is no JSON."""
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return None


def sns_message(record: Any) -> JsonValue:
    """What was published, of a record of SNS; None where it is none."""
    match record:
        case {"EventSource": "aws:sns", "Sns": {"Message": str(text)}}:
            return json_or_none(text)
        case _:
            return None


def unwrapped(body: JsonValue) -> JsonValue:
    """A message without SNS's envelope, which a raw subscription leaves out."""
    match body:
        case {"Type": "Notification", "Message": str(text)}:
            return json_or_none(text)
        case _:
            return body
