"""Chat completions as servers write them, and what they mean: cases for whole answers and for streams."""

from awsllm.types import (
    ConverseResponse,
    Message,
    Reasoning,
    ToolUse,
    Usage,
)


def call(id: str, name: str, arguments: str) -> dict[str, object]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def completion(message: dict[str, object], finish: str, usage: object = None, **choice: object) -> dict[str, object]:
    return {
        "id": "c1",
        "object": "chat.completion",
        "created": 5,
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish, **choice}],
        "usage": usage,
    }


def response(*blocks: object, stop: str = "end_turn", **members: object) -> ConverseResponse:
    message = Message.assistant(*blocks)  # type: ignore[arg-type]
    return ConverseResponse(message=message, stop_reason=stop, messages=(message,), **members)  # type: ignore[arg-type]


FIELDS = ("message", "messages", "stop_reason", "usage", "warnings")
COUNTED = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
ANSWERS = {
    "text": (
        completion({"content": "Hello"}, "stop", COUNTED),
        response("Hello", usage=Usage(10, 2, 12)),
    ),
    "usage unknown": (completion({"content": "Hello"}, "stop"), response("Hello")),
    "cached": (
        completion({"content": "Hello"}, "length", COUNTED | {"prompt_tokens_details": {"cached_tokens": 4}}),
        response("Hello", stop="max_tokens", usage=Usage(6, 2, 12, 4)),
    ),
    "more in the usage": (
        completion({"content": "x"}, "stop", COUNTED | {"completion_tokens_details": {"reasoning_tokens": 1}}),
        response("x", usage=Usage(10, 2, 12, extra={"completion_tokens_details": {"reasoning_tokens": 1}})),
    ),
    "thinking and tools": (
        completion(
            {
                "content": "One moment.",
                "reasoning_content": "Hm",
                "tool_calls": [call("a", "w", '{"city":"Köln"}'), call("b", "w", "{}")],
            },
            "tool_calls",
        ),
        response(
            Reasoning(text="Hm"),
            "One moment.",
            ToolUse(id="a", name="w", input={"city": "Köln"}),
            ToolUse(id="b", name="w", input={}),
            stop="tool_use",
        ),
    ),
    "arguments cut": (
        completion({"content": None, "tool_calls": [call("a", "w", '{"ci')]}, "length"),
        response(ToolUse(id="a", name="w", input='{"ci'), stop="max_tokens"),
    ),
    "filtered": (completion({"content": "x"}, "content_filter"), response("x", stop="content_filtered")),
    "empty": (completion({"content": None}, "stop"), response()),
    "newer reason": (completion({"content": "x"}, "repetition"), response("x", stop="repetition")),
}
READ = {
    "TGI's end": (completion({"content": "x"}, "eos_token"), response("x")),
    "TGI's stop": (completion({"content": "x"}, "stop_sequence"), response("x", stop="stop_sequence")),
    "vLLM's stop": (completion({"content": "x"}, "stop", stop_reason="END"), response("x", stop="stop_sequence")),
    "vLLM's stop token": (completion({"content": "x"}, "stop", stop_reason=128009), response("x")),
    "SGLang's stop": (completion({"content": "x"}, "stop", matched_stop="END"), response("x", stop="stop_sequence")),
    "forced tool": (
        completion({"tool_calls": [call("a", "w", "{}")]}, "stop"),
        response(ToolUse(id="a", name="w", input={}), stop="tool_use"),
    ),
    "TGI's tools": (
        completion({"tool_calls": {"id": 0, "function": {"name": "w", "arguments": {"a": 1}}}}, "eos_token"),
        response(ToolUse(id="0", name="w", input={"a": 1}), stop="tool_use"),
    ),
    "no id, no arguments": (
        completion({"tool_calls": [{"function": {"name": "w"}}]}, "tool_calls"),
        response(ToolUse(id="call_0", name="w", input={}), stop="tool_use"),
    ),
    "newer name of thinking": (
        completion({"reasoning": "Hm", "content": "x"}, "stop"),
        response(Reasoning(text="Hm"), "x"),
    ),
}
