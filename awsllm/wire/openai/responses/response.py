"""Whole responses of the Responses API, both ways."""

from __future__ import annotations

from typing import Any

from awsllm.errors import UnsupportedError
from awsllm.types import (
    SERVER_TOOL_USE,
    CachePoint,
    Citations,
    ContentBlock,
    ConverseRequest,
    ConverseResponse,
    JsonObject,
    Message,
    Reasoning,
    ServiceTier,
    Text,
    ToolUse,
    Usage,
)
from awsllm.wire.body import Context
from awsllm.wire.openai.responses.errors import decode_failure
from awsllm.wire.openai.responses.items import TITLE, decode_output, encode_call, encode_output, encode_reasoning
from awsllm.wire.openai.responses.request import encode_request
from awsllm.wire.reading import elements, optional, required, without_none

_INCOMPLETE = {"max_output_tokens": "max_tokens", "content_filter": "content_filtered"}
_REASONS = {
    "max_tokens": "max_output_tokens",
    "model_context_window_exceeded": "max_output_tokens",
    "content_filtered": "content_filter",
    "guardrail_intervened": "content_filter",
}
_USAGE = frozenset(("input_tokens", "output_tokens", "total_tokens", "input_tokens_details"))

# --- why it stopped, what it used ------------------------------------------------------------------------------------


def decode_stop_reason(wire: JsonObject, *, calls: bool) -> str:
    """``calls``: a tool of the caller's is asked for. One that is answered in the background has not stopped: its
    status (queued, in_progress) stands for the reason."""
    status = optional(wire, "status", str) or "completed"
    if status == "incomplete":
        reason = optional(optional(wire, "incomplete_details", dict) or {}, "reason", str)
        return _INCOMPLETE.get(reason or "", reason or status)
    if status != "completed":
        return status
    return "tool_use" if calls else "end_turn"


def encode_status(stop_reason: str | None) -> tuple[str, JsonObject | None]:
    """The status, and why it is incomplete."""
    reason = _REASONS.get(stop_reason or "")
    return ("completed", None) if reason is None else ("incomplete", {"reason": reason})


def decode_usage(wire: JsonObject | None) -> Usage:
    """``input_tokens`` counts cached tokens in, Converse's does not."""
    if not wire:
        return Usage()
    total_in = optional(wire, "input_tokens", int)
    details = optional(wire, "input_tokens_details", dict) or {}
    read, written = optional(details, "cached_tokens", int), optional(details, "cache_write_tokens", int)
    extra = {name: value for name, value in wire.items() if name not in _USAGE and value is not None}
    return Usage(
        input_tokens=None if total_in is None else total_in - (read or 0) - (written or 0),
        output_tokens=optional(wire, "output_tokens", int),
        total_tokens=optional(wire, "total_tokens", int),
        cache_read_input_tokens=read,
        cache_write_input_tokens=written,
        extra=extra or None,
    )


def encode_usage(usage: Usage) -> JsonObject | None:
    """None where the counts are unknown."""
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    read, written = usage.cache_read_input_tokens or 0, usage.cache_write_input_tokens or 0
    total_in = usage.input_tokens + read + written
    return {
        "input_tokens": total_in,
        "input_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": total_in + usage.output_tokens if usage.total_tokens is None else usage.total_tokens,
        **(usage.extra or {}),
    }


# --- a whole answer --------------------------------------------------------------------------------------------------


def decode_response(wire: JsonObject, context: Context) -> ConverseResponse:
    """Raises the error that a failed response carries, and ``MalformedError``."""
    check_status(wire, context)
    outputs = elements(required(wire, "output", list), "output", decode_output)
    answer = Message("assistant", tuple(block for blocks in outputs for block in blocks))
    tier = optional(wire, "service_tier", str)
    return ConverseResponse(
        message=answer,
        stop_reason=decode_stop_reason(wire, calls=any(map(is_callers, answer.tool_uses))),
        usage=decode_usage(optional(wire, "usage", dict)),
        extra=kept_id(wire, context),
        service_tier=ServiceTier(tier) if tier else None,
        model=context.request.model,
        request_id=context.request_id,
        warnings=context.warnings,
        raw=wire,
        messages=(answer,),
    )


def is_callers(call: ToolUse) -> bool:
    """Whether a tool of the caller's is asked for, and not one that the service runs."""
    return call.type != SERVER_TOOL_USE


def check_status(wire: JsonObject, context: Context) -> None:
    if wire.get("status") == "failed":
        raise decode_failure(optional(wire, "error", dict) or {}, context.request_id)


def kept_id(wire: JsonObject, context: Context) -> JsonObject | None:
    """What names the response in a later request (``previous_response_id``), unless the service does not keep it."""
    is_kept = (context.request_as(ConverseRequest).extra or {}).get("store") is not False
    return {"id": wire["id"]} if is_kept and wire.get("id") else None


def encode_response(response: ConverseResponse, context: Context, *, id: str, created: int) -> JsonObject:
    """``created`` is in seconds since 1970."""
    items = [encode_item(block, f"{id}_{n}") for n, block in enumerate(response.message.content) if _is_told(block)]
    status, details = encode_status(response.stop_reason)
    members = {"status": status, "incomplete_details": details, "usage": encode_usage(response.usage)}
    return {**head(context, id=id, created=created), **members, "output": items}


def _is_told(block: ContentBlock) -> bool:
    return not isinstance(block, CachePoint)


def head(context: Context, *, id: str, created: int) -> JsonObject:
    """A response that has not said anything: what was asked, and what every response has."""
    request = context.request_as(ConverseRequest)
    extra = request.extra or {}
    asked: dict[str, Any] = encode_request(_without_turns(request)) if request.tools or request.output_config else {}
    return {
        "id": id,
        "object": "response",
        "created_at": created,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": "\n\n".join(block.text for block in request.system if isinstance(block, Text)) or None,
        "max_output_tokens": request.inference_config.max_tokens,
        "metadata": extra.get("metadata") or {},
        "model": request.model,
        "output": [],
        "parallel_tool_calls": extra.get("parallel_tool_calls") is not False,
        "previous_response_id": extra.get("previous_response_id"),
        "reasoning": asked.get("reasoning") or {"effort": None, "summary": None},
        "service_tier": request.service_tier.type if request.service_tier else "default",
        "store": extra.get("store") is not False,
        "temperature": request.inference_config.temperature,
        "text": {"format": {"type": "text"}, **(asked.get("text") or {})},
        "tool_choice": asked.get("tool_choice", "auto"),
        "tools": asked.get("tools", []),
        "top_p": request.inference_config.top_p,
        "truncation": "disabled",
        "usage": None,
    }


def _without_turns(request: ConverseRequest) -> ConverseRequest:
    """What is told of a request in its response: neither its turns nor what is the caller's own."""
    return ConverseRequest(
        model=request.model,
        messages=(Message.user("-"),),
        tools=request.tools,
        tool_choice=request.tool_choice,
        output_config=request.output_config,
    )


def encode_item(block: ContentBlock, id: str, status: str = "completed") -> JsonObject:
    """An item of an answer. Raises ``UnsupportedError`` for blocks that the API cannot hold."""
    match block:
        case Text() | Citations():
            content = [encode_output(block)]
            return {"type": "message", "id": f"msg_{id}", "role": "assistant", "status": status, "content": content}
        case ToolUse():
            return {"id": f"fc_{id}", "status": status, **encode_call(block)}
        case Reasoning(text=text):
            own = encode_reasoning(block)
            if own is not None:
                return {"id": f"rs_{id}", **own}
            summary = [{"type": "summary_text", "text": text}] if text else []
            return without_none({"type": "reasoning", "id": f"rs_{id}", "summary": summary})
        case _:
            raise UnsupportedError(f"an answer of {TITLE} cannot hold {type(block).__name__}")
