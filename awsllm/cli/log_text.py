"""A kept call in words."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from awsllm.policy.call_log.kept import KeptCall
from awsllm.types import JsonObject

_LONGEST_VECTOR = 16
_LONGEST = 20_000  # characters of a text that are shown; --raw has all of it


def seconds(value: float | None) -> str:
    if value is None:
        return "-"
    if value < 0.01:
        return f"{1000 * value:.1f} ms"
    return f"{1000 * value:.0f} ms" if value < 1 else f"{value:.2f} s" if value < 100 else f"{value:,.0f} s"


def dollars(amount: float | None) -> str:
    """Calls cost little: six places where there would be nothing but zeros."""
    if amount is None:
        return "-"
    if 0 < amount < 0.000_000_5:
        return "<$0.000001"
    return f"${amount:,.4f}" if amount >= 0.01 or not amount else f"${amount:.6f}"


def whole(call: KeptCall) -> str:
    """Everything, for a reader: what the call was, then what was said."""
    lines = [*_head(call), ""]
    if call.request:
        lines += _told("request", _conversation, call.request)
    if isinstance(call.response, dict):
        lines += _told("response", _answer, call.response)
    elif call.response is not None:
        lines += ["response", f"  {call.response}"]
    if call.error is not None:
        lines += ["error", *_indented(f"{call.error.type}: {call.error.message}")]
    return "\n".join(lines).rstrip() + "\n"


def _told(name: str, tell: Callable[[Any], Iterator[str]], kept: Any) -> list[str]:
    """In words, or as it is where it is made otherwise than a call: another program may have written it."""
    try:
        lines = list(tell(kept))
        "".join(lines)
    except (AttributeError, KeyError, TypeError, ValueError):
        return [name, *_indented(as_json(kept))]
    except RecursionError:
        return [name, "  (nested too deeply to be shown)"]
    return lines


def _when(at: float) -> str:
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, OSError, ValueError):
        return "at no time that there is"


def _head(call: KeptCall) -> Iterator[str]:
    yield f"call {call.id}"
    yield f"  {call.outcome}  {call.operation}  {call.model}"
    first = f", the first event after {seconds(call.first)}" if call.first is not None else ""
    yield f"when    {_when(call.at)}"
    yield f"took    {seconds(call.duration)}{first}"
    if call.usage is not None:
        known = {
            "in": call.usage.input_tokens,
            "out": call.usage.output_tokens,
            "read from the cache": call.usage.cache_read_input_tokens,
            "written to the cache": call.usage.cache_write_input_tokens,
        }
        yield f"tokens  {', '.join(f'{count:,} {name}' for name, count in known.items() if count is not None) or '-'}"
    yield f"cost    {dollars(call.cost)}"
    if call.cached:
        yield f"cache   {call.cached}: nothing was asked"
    if call.tags:
        yield f"tags    {', '.join(f'{name}={value}' for name, value in call.tags.items())}"
    if call.parent:
        yield f"within  {call.parent}"
    for attempt in call.attempts:
        yield f"attempt {attempt.model}  {attempt.error or 'answered'}  {seconds(attempt.seconds)}"
    if call.redacted:
        yield "        some of it was redacted, or its media were left out"


def _conversation(request: JsonObject) -> Iterator[str]:
    rest = {name: each for name, each in request.items() if name not in ("messages", "system", "model", "tools")}
    if request.get("system"):
        yield from _turn("system", request["system"])
    tools = [tool.get("name", tool.get("kind", "?")) for tool in request.get("tools", ())]
    if tools:
        yield f"tools   {', '.join(tools)}"
    if rest:
        yield from ("request", *_indented(as_json(_brief(rest))))
    for message in request.get("messages", ()):
        yield from _turn(message["role"], message.get("content", ()))


def _answer(response: JsonObject) -> Iterator[str]:
    message = response.get("message")
    if isinstance(message, dict):
        yield from _turn(message.get("role", "assistant"), message.get("content", ()))
        if response.get("stop_reason") not in (None, "end_turn"):
            yield f"  ({response['stop_reason']})"
        for warning in response.get("warnings", ()):
            yield f"  warning: {warning}"
        return
    yield from ("response", *_indented(as_json(_brief(response))))


def _turn(role: str, blocks: Any) -> Iterator[str]:
    yield role
    for each in blocks:
        yield from _indented(block(each))


def block(value: JsonObject) -> str:
    """A content block in words."""
    match value:
        case {"kind": "text", "text": str(text)} | {"kind": "reasoning", "text": str(text)}:
            return text if value["kind"] == "text" else f"(thinks) {text}"
        case {"kind": "tool_use", "name": name, **rest}:
            return f"{name}({as_json(rest.get('input', {}), indent=None)})"
        case {"kind": "tool_result", **rest}:
            return f"result: {' '.join(block(each) for each in rest.get('content', ()))}"
        case {"kind": "image" | "document" | "video" | "audio" as kind, **rest}:
            return f"[{kind}: {_medium(rest)}]"
        case {"kind": "json", **rest}:
            return as_json(rest)
        case _:
            return as_json(value)


def _medium(block: JsonObject) -> str:
    source = block.get("source", {})
    data = source.get("bytes", source.get("data", {})) if isinstance(source, dict) else {}
    size = (
        f"{data['bytes']:,} bytes, sha256 {data['$media'][:12]}" if isinstance(data, dict) and "$media" in data else ""
    )
    return ", ".join(filter(None, (block.get("format"), block.get("name"), size))) or as_json(source, indent=None)


def _brief(value: Any) -> Any:
    """With vectors told by how they begin."""
    if isinstance(value, dict):
        return {name: _brief(each) for name, each in value.items()}
    if not isinstance(value, list):
        return value
    if len(value) > _LONGEST_VECTOR and all(isinstance(each, int | float) for each in value):
        shown = ", ".join(f"{each:.4g}" for each in value[:3])
        return f"[{shown}, … {len(value):,} numbers]"
    return [_brief(each) for each in value]


def as_json(value: Any, indent: int | None = 2) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _indented(text: str) -> list[str]:
    shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}\n… {len(text) - _LONGEST:,} characters more: --raw"
    return textwrap.indent(shown, "  ", lambda _: True).split("\n")
