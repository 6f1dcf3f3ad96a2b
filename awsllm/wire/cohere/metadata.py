"""Why an answer of Cohere's models stopped, and what it used.

``token_count`` and ``meta.tokens`` are what the model counted, ``meta.billed_units`` what is charged, which leaves out
the template; the former is taken first. Command tells no usage; where a server adds ``meta`` with counts they are read.
"""

from __future__ import annotations

from awsllm.errors import ServerError
from awsllm.types import JsonObject, JsonValue, Usage
from awsllm.wire.reading import optional

_STOP_REASONS = {
    "COMPLETE": "end_turn",
    "MAX_TOKENS": "max_tokens",
    "STOP_SEQUENCE": "stop_sequence",
    "ERROR_TOXIC": "content_filtered",
    "ERROR_LIMIT": "model_context_window_exceeded",
}
_FINISH_REASONS = {reason: finish for finish, reason in _STOP_REASONS.items()}


def decode_stop_reason(finish: JsonValue) -> str | None:
    """None where nothing is told. Raises ``ServerError`` where the server says that it failed."""
    if not isinstance(finish, str):
        return None
    if finish == "ERROR":
        raise ServerError("the model's server stopped generating with an error", code=finish)
    return _STOP_REASONS.get(finish, finish)


def encode_stop_reason(reason: str | None) -> str:
    return _FINISH_REASONS.get(reason or "end_turn", "COMPLETE")


def decode_usage(wire: JsonObject) -> Usage:
    """What the model counted, else what is billed. What is billed besides (search units) is in ``extra``."""
    meta = optional(wire, "meta", dict) or {}
    billed = optional(meta, "billed_units", dict) or {}
    if counted := optional(wire, "token_count", dict):
        tokens = (counted.get("prompt_tokens"), counted.get("response_tokens"))
    else:
        counted = optional(meta, "tokens", dict) or {}
        tokens = (counted.get("input_tokens"), counted.get("output_tokens"))
    bills_more = bool(counted) or not billed.keys() <= {"input_tokens", "output_tokens"}
    if not counted:
        tokens = (billed.get("input_tokens"), billed.get("output_tokens"))
    members = {"input_tokens": tokens[0], "output_tokens": tokens[1]}
    return Usage(
        input_tokens=optional(members, "input_tokens", int),
        output_tokens=optional(members, "output_tokens", int),
        extra={"billed_units": billed} if billed and bills_more else None,
    )
