"""Responses in the OpenAI Chat Completions format, whole; both directions. How they stream is ``stream``'s.

Servers differ in small things, and all of it is read: TGI ends with ``eos_token`` or ``stop_sequence`` and gives tool
calls as one object with the arguments not as text; vLLM puts the stop string that matched into ``stop_reason``, SGLang
into ``matched_stop``; servers that call a tool because they were told to may end with ``stop``.
"""

from __future__ import annotations

from awsllm.errors import ServerError, UnsupportedError
from awsllm.types import (
    CachePoint,
    Citations,
    ConverseResponse,
    JsonObject,
    Message,
    Reasoning,
    Text,
    ToolUse,
    Usage,
)
from awsllm.wire.body import Context
from awsllm.wire.openai.request import decode_assistant, encode_arguments, encode_tool_call
from awsllm.wire.reading import MalformedError, objects, optional, required, shape_of, without_none

# --- why it stopped, what it used ------------------------------------------------------------------------------------

_STOP_REASONS = {
    "stop": "end_turn",
    "eos_token": "end_turn",
    "length": "max_tokens",
    "stop_sequence": "stop_sequence",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "content_filtered",
}
_FINISH_REASONS = {
    "end_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "content_filtered": "content_filter",
    "guardrail_intervened": "content_filter",
}
_USAGE = frozenset(("prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details"))


def decode_stop_reason(choice: JsonObject, *, has_tools: bool) -> str | None:
    finish = choice.get("finish_reason")
    if not isinstance(finish, str):
        return None
    reason = _STOP_REASONS.get(finish, finish)
    matched = choice.get("stop_reason", choice.get("matched_stop"))  # a text, or the id of a token that ends a turn
    if reason != "end_turn":
        return reason
    return "tool_use" if has_tools else "stop_sequence" if isinstance(matched, str) else reason


def encode_stop_reason(reason: str, extra: JsonObject | None) -> JsonObject:
    """``stop_reason`` is vLLM's: the stop sequence that matched, empty where the backend did not say which."""
    wire: JsonObject = {"finish_reason": _FINISH_REASONS.get(reason, reason)}
    if reason == "stop_sequence":
        wire["stop_reason"] = str((extra or {}).get("stop_sequence", ""))
    return wire


def decode_usage(wire: JsonObject | None) -> Usage:
    """Missing counts are unknown. ``prompt_tokens`` counts cached tokens in, Converse's ``input_tokens`` does not."""
    if not wire:
        return Usage()
    prompt, cached = optional(wire, "prompt_tokens", int), None
    if details := optional(wire, "prompt_tokens_details", dict):
        cached = optional(details, "cached_tokens", int)
    extra = {name: value for name, value in wire.items() if name not in _USAGE and value is not None}
    return Usage(
        input_tokens=prompt if prompt is None or cached is None else prompt - cached,
        output_tokens=optional(wire, "completion_tokens", int),
        total_tokens=optional(wire, "total_tokens", int),
        cache_read_input_tokens=cached,
        extra=extra or None,
    )


def encode_usage(usage: Usage) -> JsonObject | None:
    """None where the counts are unknown."""
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    cached = usage.cache_read_input_tokens
    prompt = usage.input_tokens + (cached or 0) + (usage.cache_write_input_tokens or 0)
    members = {
        "prompt_tokens": prompt,
        "completion_tokens": usage.output_tokens,
        "total_tokens": prompt + usage.output_tokens if usage.total_tokens is None else usage.total_tokens,
        "prompt_tokens_details": None if cached is None else {"cached_tokens": cached},
    }
    return without_none(members, usage.extra)


# --- a whole answer --------------------------------------------------------------------------------------------------


def decode_response(wire: JsonObject, context: Context) -> ConverseResponse:
    """The first choice of a chat completion. Raises ``ServerError`` for anything else."""
    try:
        choices = objects(wire, "choices")
        message = required(choices[0], "message", dict) if choices else {}
        blocks = decode_assistant(message)
        usage = decode_usage(optional(wire, "usage", dict))
    except MalformedError as cause:
        raise ServerError(f"not a chat completion: {cause.message}", request_id=context.request_id) from cause
    if not choices:
        shape = shape_of(wire)
        raise ServerError(f"not a chat completion, it has no choices: {shape}", request_id=context.request_id)
    check_finish(choices[0])
    answer = Message("assistant", blocks)
    return ConverseResponse(
        message=answer,
        stop_reason=decode_stop_reason(choices[0], has_tools=bool(answer.tool_uses)),
        usage=usage,
        model=context.request.model,
        request_id=context.request_id,
        warnings=context.warnings,
        raw=wire,
        messages=(answer,),
    )


def check_finish(choice: JsonObject) -> None:
    """Raises ``ServerError`` where the server says by the finish reason that it failed (LMI)."""
    if choice.get("finish_reason") == "error":
        raise ServerError("the model's server stopped generating with an error", code="error")


def encode_response(response: ConverseResponse, *, id: str, created: int, model: str) -> JsonObject:
    """``created`` is in seconds since 1970. Raises ``UnsupportedError`` for blocks that the format cannot hold."""
    message: JsonObject = {"role": "assistant", "content": None}
    calls: list[JsonObject] = []
    for block in response.message.content:
        match block:
            case Text() | Citations():
                message["content"] = (message["content"] or "") + Message("assistant", (block,)).text
            case Reasoning(text=text):
                message["reasoning_content"] = message.get("reasoning_content", "") + text
            case ToolUse(id=call_id, name=name, input=input):
                calls.append(encode_tool_call(call_id, name, encode_arguments(input)))
            case CachePoint():
                pass
            case _:
                raise UnsupportedError(f"an answer in the OpenAI format cannot hold {type(block).__name__}")
    if calls:
        message["tool_calls"] = calls
    end = encode_stop_reason(response.stop_reason or "end_turn", response.extra)
    return {
        "id": id,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [{"index": 0, "message": message, **end}],
        "usage": encode_usage(response.usage),
    }
