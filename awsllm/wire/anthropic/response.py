"""Replies of the Messages API, whole, both ways. How they stream is ``stream``'s.

Stop reasons are Converse's words; ``refusal`` and ``pause_turn`` are the API's own and pass through. What a reply says
beside its message (``stop_sequence``, ``stop_details``, ``container`` …) is in the response's ``extra``, whether it
came whole or as a stream.

An answer has been paid for: a block that makes no sense is kept as ``Unknown``, and a warning names it.
"""

from __future__ import annotations

from awsllm.types import (
    CacheDetail,
    CachePoint,
    ContentBlock,
    ConverseResponse,
    JsonObject,
    JsonValue,
    Message,
    Reasoning,
    Text,
    Unknown,
    Usage,
)
from awsllm.wire.anthropic.blocks import decode_block, encode_block
from awsllm.wire.body import Context
from awsllm.wire.reading import MalformedError, optional, required, unknown_members, without_none

# --- why it stopped, what it used ------------------------------------------------------------------------------------

_STOP_REASONS = {"content_filtered": "refusal", "guardrail_intervened": "refusal"}
"""Reasons of Converse that the API has another word for."""

_TTLS = {"5m": "ephemeral_5m_input_tokens", "1h": "ephemeral_1h_input_tokens"}
_USAGE_MEMBERS = frozenset(
    {"input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "cache_creation"}
)
_REPLY_MEMBERS = frozenset({"id", "type", "role", "model", "content", "stop_reason", "usage"})


def encode_stop_reason(reason: str | None) -> str | None:
    return None if reason is None else _STOP_REASONS.get(reason, reason)


def decode_usage(wire: JsonObject) -> Usage:
    """``input_tokens`` leaves out what the cache read or wrote, as in Converse, whose total counts all."""
    tokens_in, tokens_out = optional(wire, "input_tokens", int), optional(wire, "output_tokens", int)
    written, read = optional(wire, "cache_creation_input_tokens", int), optional(wire, "cache_read_input_tokens", int)
    details = optional(wire, "cache_creation", dict)
    known = tokens_in is not None and tokens_out is not None
    return Usage(
        input_tokens=tokens_in,
        output_tokens=tokens_out,
        total_tokens=(tokens_in or 0) + (tokens_out or 0) + (written or 0) + (read or 0) if known else None,
        cache_read_input_tokens=read,
        cache_write_input_tokens=written,
        cache_details=_decode_cache_details(details) if details else (),
        extra=unknown_members(wire, _USAGE_MEMBERS),
    )


def _decode_cache_details(wire: JsonObject) -> tuple[CacheDetail, ...]:
    details = ((ttl, optional(wire, name, int)) for ttl, name in _TTLS.items())
    return tuple(CacheDetail(ttl, count) for ttl, count in details if count)


def encode_usage(usage: Usage) -> JsonObject:
    """The API's own clients demand the counts of what was read and written: an unknown one is 0 there."""
    details = {detail.ttl: detail.input_tokens for detail in usage.cache_details}
    members = {
        "input_tokens": usage.input_tokens or 0,
        "cache_creation_input_tokens": usage.cache_write_input_tokens,
        "cache_read_input_tokens": usage.cache_read_input_tokens,
        "cache_creation": {name: details.get(ttl, 0) for ttl, name in _TTLS.items()} if details else None,
        "output_tokens": usage.output_tokens or 0,
    }
    return without_none(members, usage.extra)


# --- a whole reply ---------------------------------------------------------------------------------------------------


def decode_response(wire: JsonObject, context: Context) -> ConverseResponse:
    """Raises ``MalformedError`` for what is no message."""
    warnings: list[str] = []
    blocks = [_decode_answer_block(value, warnings) for value in required(wire, "content", list)]
    message = Message(optional(wire, "role", str) or "assistant", tuple(filter(_says_something, blocks)))
    return ConverseResponse(
        message=message,
        stop_reason=optional(wire, "stop_reason", str),
        usage=readable_usage(wire.get("usage"), warnings),
        extra=unknown_members(wire, _REPLY_MEMBERS),
        model=context.request.model,
        request_id=context.request_id,
        warnings=(*context.warnings, *warnings),
        raw=wire,
        messages=(message,),
    )


def _decode_answer_block(wire: JsonValue, warnings: list[str]) -> ContentBlock:
    if not isinstance(wire, dict):
        raise MalformedError("must be an object", "content")
    try:
        return decode_block(wire)
    except MalformedError as error:
        warnings.append(f"a block of the answer cannot be read and is kept as Unknown: {error.message}")
        return Unknown(str(wire.get("type", "")), wire)


def _says_something(block: ContentBlock) -> bool:
    """Whether it is no empty text or thought, which streams do not tell of either and no request may hold."""
    return not isinstance(block, (Text, Reasoning)) or block not in _EMPTY


_EMPTY = (Text(""), Reasoning())


def readable_usage(wire: JsonValue, warnings: list[str]) -> Usage:
    """What a reply used; figures that make no sense are not there, and ``warnings`` gains a line."""
    try:
        return decode_usage(wire if type(wire) is dict else optional({"usage": wire}, "usage", dict) or {})
    except MalformedError as error:
        warnings.append(f"a figure of the answer cannot be read: {error.message}")
        return Usage()


def encode_response(response: ConverseResponse, *, id: str, model: str) -> JsonObject:
    """Raises ``UnsupportedError`` for blocks that the format cannot hold."""
    extra = response.extra if isinstance(response.extra, dict) else {}
    return {
        "id": id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [wire for block in response.message.content if (wire := encode_answer_block(block)) is not None],
        "stop_reason": encode_stop_reason(response.stop_reason),
        "stop_sequence": None,
        **extra,
        "usage": encode_usage(response.usage),
    }


def encode_answer_block(block: ContentBlock) -> JsonObject | None:
    """A block of an answer. Thinking has a signature there, be it empty; cache points stand in requests alone."""
    match block:
        case Reasoning(text=text, signature=None, redacted=None):
            return {"type": "thinking", "thinking": text, "signature": ""}
        case CachePoint():
            return None
        case _:
            return encode_block(block)
