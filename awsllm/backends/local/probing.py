"""What a chat template does with a conversation, found out by having it write small ones.

A template says of itself which variables it reads; what it makes of a turn only its output shows. So it is given turns
whose parts are words that stand nowhere else, and is asked which of them it wrote.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from awsllm.backends.local.dialects import Dialect, Past

if TYPE_CHECKING:
    from awsllm.engine.template import ChatTemplate

_SYSTEM, _NAME, _OTHER, _KEY, _VALUE, _GIVEN = "awsllm asks", "probe_tool", "other_tool", "probe_key", "w7x", "r9z"
_FUNCTION = {
    "name": _NAME,
    "description": "p",
    "parameters": {"type": "object", "properties": {"p": {"type": "string", "description": "p"}}, "required": ["p"]},
}
_USER = {"role": "user", "content": "x"}


def writes_system(template: ChatTemplate, *, in_parts: bool = False) -> bool:
    """Whether the template writes a system prompt. Some refuse one (Gemma's), some leave it out. ``in_parts``: what
    turns hold is a list of texts and images."""
    turns: list[dict[str, Any]] = [{"role": "system", "content": _SYSTEM}, _USER]
    if in_parts:
        turns = [{**turn, "content": [{"type": "text", "text": turn["content"]}]} for turn in turns]
    written = _render(template, turns)
    if written is not None:
        return _SYSTEM in written
    return _render(template, turns[1:]) is None  # it refuses more than a system prompt, and says so when it is used


def with_past(template: ChatTemplate, dialect: Dialect) -> Dialect:
    """The dialect with how its template takes calls that were made, and whether a turn may have several."""
    if dialect.telling not in ("template", "member"):
        return dialect
    past: Past
    for past in ("object", "text"):
        arguments: Any = {_KEY: _VALUE} if past == "object" else f'{{"{_KEY}": "{_VALUE}"}}'
        written = _render(template, _turns(_call(_NAME, arguments)))
        if written is not None and _is_told(written, dialect):
            both = _render(template, _turns(_call(_NAME, arguments), _call(_OTHER, arguments)))
            bare = _render(template, _turns(_call(_NAME, arguments), said=None))
            shorter = bare is not None and _is_told(bare, dialect) and len(bare) < len(written)
            single = dialect.single or both is None or _OTHER not in both
            return dialect._replace(past=past, single=single, wordless=shorter)
    return dialect


def _is_told(written: str, dialect: Dialect) -> bool:
    """Whether the call stands there as its model writes calls, and what it gave."""
    if _NAME not in written or _GIVEN not in written:
        return False
    if dialect.form.arguments != "json":
        return _VALUE in written
    return bool(re.search(rf'"{_KEY}"\s*:\s*"{_VALUE}"', written))


def _call(name: str, arguments: Any) -> dict[str, Any]:
    number = "000000001" if name == _NAME else "000000002"
    return {"id": number, "type": "function", "function": {"name": name, "arguments": arguments}}


def _turns(*calls: Mapping[str, Any], said: str | None = "") -> list[dict[str, Any]]:
    results = [
        {"role": "tool", "content": _GIVEN, "name": call["function"]["name"], "tool_call_id": call["id"]}
        for call in calls
    ]
    return [_USER, {"role": "assistant", "content": said, "tool_calls": list(calls)}, *results]


def _render(template: ChatTemplate, messages: list[dict[str, Any]]) -> str | None:
    """None where the template has something against the conversation."""
    from awsllm.engine.template import TemplateError

    calls = any("tool_calls" in turn for turn in messages)
    tools = [{"type": "function", "function": _FUNCTION}] if calls else None
    try:
        return template.render(messages, tools=tools)
    except TemplateError:
        return None
