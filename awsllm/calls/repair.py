"""A request that the service refused, made such as its message asks for.

``find_fix`` finds the row of ``models.repairs`` that the message matches, and ``fixed`` applies it: what comes back is
another request and the words that tell of it, or the same one, where there is nothing to change. A fix is kept for the
model, and applied to its later requests before they are sent. Pure, on neutral values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import msgspec
from msgspec.structs import replace

from awsllm.errors import RequestError
from awsllm.models.repairs import REPAIRS
from awsllm.types import (
    CachePoint,
    ConverseRequest,
    InferenceConfig,
    Message,
    OutputConfig,
    Reasoning,
    Text,
    ToolResult,
)


class Fix(msgspec.Struct, frozen=True):
    """An action and how far it goes: a limit, a field; empty where it needs none. ``once``: it is for one request."""

    action: str
    argument: str = ""
    once: bool = False


def find_fix(error: RequestError) -> Fix | None:
    """What mends a request that was answered with ``error``, if that is known."""
    for row in REPAIRS:
        if found := re.search(row.pattern, error.message, re.IGNORECASE | re.DOTALL):
            return Fix(row.action, found[1] if found.re.groups and found[1] else "", row.once)
    return None


def fixed(request: ConverseRequest, fixes: Iterable[Fix]) -> tuple[ConverseRequest, tuple[str, ...]]:
    """The request with the fixes applied that change anything of it, and what each did."""
    notes: list[str] = []
    for fix in fixes:
        mended = _ACTIONS[fix.action][0](request, fix.argument)
        if mended is not request:
            request = mended
            notes.append(f"repaired, since the model refuses it: {_ACTIONS[fix.action][1].format(fix.argument)}")
    return request, tuple(notes)


# --- what each action does; the same request where there is nothing to change ----------------------------------------


def _no_tool_choice(request: ConverseRequest, _: str) -> ConverseRequest:
    return request if request.tool_choice is None else replace(request, tool_choice=None)


_KNOBS: dict[str, tuple[str, object]] = {
    "temperature": ("temperature", None),
    "topp": ("top_p", None),
    "stopsequences": ("stop_sequences", ()),
}


def _no_field(request: ConverseRequest, field: str) -> ConverseRequest:
    name, unset = _KNOBS[field.lower()]
    return _knob(request, name, unset)


def _knob(request: ConverseRequest, name: str, value: object) -> ConverseRequest:
    config: InferenceConfig = request.inference_config
    if getattr(config, name) == value:
        return request
    return replace(request, inference_config=replace(config, **{name: value}))


def _at_most_tokens(request: ConverseRequest, limit: str) -> ConverseRequest:
    wanted = request.inference_config.max_tokens
    return request if wanted is None or wanted <= int(limit) else _knob(request, "max_tokens", int(limit))


def _adaptive_thinking(request: ConverseRequest, _: str) -> ConverseRequest:
    thinking = (request.extra or {}).get("thinking")
    if not isinstance(thinking, dict) or thinking.get("type") != "enabled":
        return request
    return replace(request, extra={**(request.extra or {}), "thinking": {"type": "adaptive"}})


def _no_effort(request: ConverseRequest, _: str) -> ConverseRequest:
    config = request.output_config
    if config is None or config.effort is None:
        return request
    rest = replace(config, effort=None)
    return replace(request, output_config=None if rest == OutputConfig() else rest)


def _no_thinking(request: ConverseRequest, _: str) -> ConverseRequest:
    """Only of a conversation that ends with results: there the model wants the thought before its calls, which is
    lost. The next question may be thought about again."""
    last = request.messages[-1].content if request.messages else ()
    if "thinking" not in (request.extra or {}) or not any(isinstance(block, ToolResult) for block in last):
        return request
    rest = {name: value for name, value in (request.extra or {}).items() if name != "thinking"}
    return replace(request, extra=rest or None)


def _no_bad_thinking(request: ConverseRequest, _: str) -> ConverseRequest:
    return _no_thinking(_without(request, Reasoning), "")


def _no_old_thinking(request: ConverseRequest, _: str) -> ConverseRequest:
    return _without(request, Reasoning)


def _no_cache_points(request: ConverseRequest, _: str) -> ConverseRequest:
    request = _without(request, CachePoint)
    system = tuple(block for block in request.system if not isinstance(block, CachePoint))
    tools = tuple(tool for tool in request.tools if not isinstance(tool, CachePoint))
    if len(system) == len(request.system) and len(tools) == len(request.tools):
        return request
    return replace(request, system=system, tools=tools)


def _without(request: ConverseRequest, kind: type) -> ConverseRequest:
    """The request without blocks of a kind. A turn that held nothing else keeps a word, since none may be empty."""
    if not any(isinstance(block, kind) for message in request.messages for block in message.content):
        return request
    from awsllm.wire.converse.history import NO_OUTPUT

    turns = []
    for message in request.messages:
        content = tuple(block for block in message.content if not isinstance(block, kind))
        turns.append(replace(message, content=content or (Text(NO_OUTPUT),)))
    return replace(request, messages=tuple(turns))


def _system_in_turn(request: ConverseRequest, _: str) -> ConverseRequest:
    """The system prompt's texts before the words of the first user turn."""
    texts = tuple(block for block in request.system if isinstance(block, Text))
    if not request.system or not request.messages or request.messages[0].role != "user":
        return request
    first, *rest = request.messages
    return replace(request, system=(), messages=(replace(first, content=texts + first.content), *rest))


def _text_in_results(request: ConverseRequest, _: str) -> ConverseRequest:
    """What a user says beside results, as the last words of the last of them."""
    turns = tuple(map(_results_alone, request.messages))
    same = all(new is old for new, old in zip(turns, request.messages, strict=True))
    return request if same else replace(request, messages=turns)


def _results_alone(message: Message) -> Message:
    results = [block for block in message.content if isinstance(block, ToolResult)]
    texts = tuple(block for block in message.content if isinstance(block, Text))
    if not results or not texts:
        return message
    last = replace(results[-1], content=(*results[-1].content, *texts))
    others = [block for block in message.content if not isinstance(block, ToolResult | Text)]
    return replace(message, content=(*results[:-1], last, *others))


def _joined_turns(request: ConverseRequest, _: str) -> ConverseRequest:
    """Neighbouring turns of one role as one."""
    turns: list[Message] = []
    for message in request.messages:
        if turns and turns[-1].role == message.role:
            turns[-1] = replace(message, content=turns[-1].content + message.content)
        else:
            turns.append(message)
    return request if len(turns) == len(request.messages) else replace(request, messages=tuple(turns))


_ACTIONS: dict[str, tuple[Callable[[ConverseRequest, str], ConverseRequest], str]] = {
    "no_tool_choice": (_no_tool_choice, "tool_choice was left out, and the model chooses"),
    "no_top_p": (lambda request, _: _knob(request, "top_p", None), "top_p was left out"),
    "no_temperature": (lambda request, _: _knob(request, "temperature", None), "temperature was left out"),
    "no_field": (_no_field, "{} was left out"),
    "at_most_tokens": (_at_most_tokens, "max_tokens was lowered to the model's limit, {}"),
    "adaptive_thinking": (_adaptive_thinking, "it thinks adaptively, without the budget"),
    "no_effort": (_no_effort, "effort was left out"),
    "no_thinking": (_no_thinking, "this turn is answered without thinking, for the thought before its calls is lost"),
    "no_bad_thinking": (_no_bad_thinking, "thinking whose signature is missing or another's was left out"),
    "no_old_thinking": (_no_old_thinking, "the thinking of earlier turns was left out"),
    "no_cache_points": (_no_cache_points, "cache points were left out"),
    "system_in_turn": (_system_in_turn, "the system prompt was said in the first user turn"),
    "text_in_results": (_text_in_results, "texts beside tool results were put into the last of them"),
    "joined_turns": (_joined_turns, "neighbouring turns of one role were joined"),
}
