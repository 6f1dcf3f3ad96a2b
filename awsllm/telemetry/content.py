"""Content as OpenTelemetry's conventions write it: messages of a role and parts (gen-ai-input-messages.json and
gen-ai-output-messages.json of github.com/open-telemetry/semantic-conventions-genai, read 2026-11-27).

It leaves the program only where its owner asks for that, and each text of it goes through ``redact`` before, and
without credentials. The bytes of images and documents do not leave at all: a part tells their kind and how many there
are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import msgspec

from awsllm.policy.redaction import without_credentials, without_numbers
from awsllm.types import (
    Audio,
    Bytes,
    Citations,
    ConverseRequest,
    ConverseResponse,
    Document,
    Image,
    Json,
    Message,
    Reasoning,
    Text,
    ToolResult,
    ToolSpec,
    ToolUse,
    Video,
)

Redact: TypeAlias = Callable[[str], str]

_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_call",
    "content_filtered": "content_filter",
    "guardrail_intervened": "content_filter",
}
_MODALITIES: dict[Any, str] = {Image: "image", Document: "document", Video: "video", Audio: "audio"}


class TelemetryContent:
    """How content is written. None: it is withheld, for ``redact`` raised."""

    def __init__(self, redact: Redact | None) -> None:
        self._redact: Redact = without_credentials
        if redact is not None:
            self._redact = lambda text: without_credentials(redact(text))

    def instructions(self, request: ConverseRequest) -> Any:
        return self._clean(parts(request.system))

    def input(self, request: ConverseRequest) -> Any:
        return self._clean([message(turn) for turn in request.messages])

    def output(self, response: ConverseResponse) -> Any:
        reason = response.stop_reason or "error"
        return self._clean([{**message(response.message), "finish_reason": _FINISH.get(reason, reason)}])

    def definitions(self, request: ConverseRequest) -> Any:
        tools = [tool for tool in request.tools if isinstance(tool, ToolSpec)]
        described = [{"name": x.name, "description": x.description, "parameters": x.input_schema} for x in tools]
        return self._clean([{"type": "function", **tool} for tool in described])

    def value(self, value: Any) -> Any:
        """Any JSON value."""
        return self._clean(value)

    def result(self, result: ToolResult) -> Any:
        return self._clean(parts(result.content))

    def _clean(self, value: Any) -> Any:
        try:
            return _redacted(value, self._redact)
        except Exception as error:  # whose text may be what was to be redacted
            from awsllm import log

            log.logger("policy").warning("content is withheld: its redaction raised %s", type(error).__name__)
            return None


def as_text(value: Any) -> str:
    """Structured content as a span's attribute has it."""
    return msgspec.json.encode(value).decode()


def message(turn: Message) -> dict[str, Any]:
    results = [block for block in turn.content if isinstance(block, ToolResult)]
    role = "tool" if results and len(results) == len(turn.content) else turn.role
    return {"role": role, "parts": parts(turn.content)}


def parts(blocks: Iterable[Any]) -> list[Any]:
    return [_part(block) for block in blocks]


def _part(block: Any) -> dict[str, Any]:
    match block:
        case Text(text):
            return {"type": "text", "content": text}
        case Citations(content):
            return {"type": "text", "content": "".join(item.text for item in content if isinstance(item, Text))}
        case Reasoning():
            return {"type": "reasoning", "content": block.text or ""}
        case ToolUse(id, name, input):
            return {"type": "tool_call", "id": id, "name": name, "arguments": input}
        case ToolResult(id, content):
            return {"type": "tool_call_response", "id": id, "response": parts(content)}
        case Json(value):
            return {"type": "json", "content": value}
        case Image() | Document() | Video() | Audio():
            return _media(block)
        case _:
            return {"type": type(block).__name__.lower()}


def _media(block: Any) -> dict[str, Any]:
    source, modality = getattr(block, "source", None), _MODALITIES[type(block)]
    if isinstance(source, Bytes):
        return {"type": "blob", "modality": modality, "content": "", "bytes": len(source.data)}
    return {"type": "uri", "modality": modality, "uri": getattr(source, "uri", "")}


_STRUCTURE = frozenset(("type", "role", "modality", "finish_reason", "id", "name"))
_FREE = frozenset(("arguments", "parameters", "content"))  # members whose JSON is the caller's own


def _redacted(value: Any, redact: Redact, *, is_free: bool = False) -> Any:
    """The value with each of its texts and long numbers redacted. Outside of what is ``is_free`` names of members stay,
    and what says which part it is."""
    if isinstance(value, str):
        clean = redact(value)
        if not isinstance(clean, str):
            raise TypeError("a redaction returns the text")
        return clean
    if isinstance(value, list | tuple):
        return [_redacted(item, redact, is_free=is_free) for item in value]
    if isinstance(value, dict):
        return {
            (_redacted(str(name), redact) if is_free else name): item
            if not is_free and name in _STRUCTURE and isinstance(item, str)
            else _redacted(item, redact, is_free=is_free or name in _FREE)
            for name, item in value.items()
        }
    if is_free and type(value) is int:
        return without_numbers(value, redact)
    return value
