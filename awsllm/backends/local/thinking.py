"""How a local model is made to think: the switches that its chat template reads, and what of a request sets them. Pure.

    enable_thinking    on or off   Qwen3, SmolLM3, GLM
    thinking           on or off   Granite 3.2, DeepSeek V3.1
    reasoning_effort   how much    gpt-oss: low, medium, high

A request says it by its effort (``output_config.effort``), and before that by ``extra`` in the template's own words, or
as Claude is told: ``extra={"thinking": {"type": "disabled"}}``. What a template has no switch for is a warning.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

from awsllm.errors import ValidationError
from awsllm.types import ConverseRequest, JsonValue

SWITCHES = ("enable_thinking", "thinking")
EFFORT = "reasoning_effort"
EXTRA = frozenset((*SWITCHES, EFFORT))
"""The members of ``extra`` that are about thinking."""

_LEVELS = ("low", "medium", "high")
_NEAREST = {"none": "low", "off": "low", "minimal": "low", "xhigh": "high", "max": "high"}
_OFF = frozenset(("none", "off"))


class Switches(NamedTuple):
    """``values``: the template's variables that are set; ``warnings``: what of the request they cannot say."""

    values: dict[str, JsonValue]
    warnings: tuple[str, ...]


def switches(request: ConverseRequest, variables: Collection[str]) -> Switches:
    """``variables`` are those that the template reads."""
    effort = request.output_config.effort if request.output_config else None
    values: dict[str, JsonValue] = {}
    warnings = []
    if effort:
        values, warning = _by_effort(effort, variables)
        warnings += [warning] if warning else []
    for name, wanted in _extra(request):
        found, warning = _by_extra(name, wanted, variables)
        values |= found
        warnings += [warning] if warning else []
    return Switches(values, tuple(warnings))


def _by_effort(effort: str, variables: Collection[str]) -> tuple[dict[str, JsonValue], str]:
    switch = _switch(variables)
    if EFFORT in variables:
        level = effort if effort in _LEVELS else _NEAREST.get(effort)
        values: dict[str, JsonValue] = {EFFORT: level} if level else {}
        if switch:
            values = {switch: False} if effort in _OFF else {**values, switch: True}
        if effort in _LEVELS or (switch and effort in _OFF):
            return values, ""
        if not level:
            return {}, f"effort {effort!r} has no effect: this model knows {', '.join(_LEVELS)}"
        return values, f"effort {effort!r} is {level} for this model, which knows {', '.join(_LEVELS)}"
    if switch:
        if effort in _OFF:
            return {switch: False}, ""
        return {switch: True}, f"effort {effort!r} has this model think; how much it does not let be said"
    return {}, f"effort {effort!r} has no effect: the template of this model has no switch for thinking"


def _extra(request: ConverseRequest) -> Iterator[tuple[str, JsonValue]]:
    extra = request.extra or {}
    for name in (*SWITCHES, EFFORT):
        if name in extra:
            yield name, extra[name]


def _by_extra(name: str, wanted: JsonValue, variables: Collection[str]) -> tuple[dict[str, JsonValue], str]:
    if name == EFFORT:
        if wanted not in _LEVELS:
            raise ValidationError(f"extra {EFFORT!r} is {wanted!r:.40}, not one of {', '.join(_LEVELS)}")
        none = f"extra {EFFORT!r} has no effect: the template of this model has no such switch"
        return ({EFFORT: wanted}, "") if EFFORT in variables else ({}, none)
    match wanted:
        case bool():
            on = wanted
        case {"type": "enabled" | "adaptive" | "disabled" as kind} if name == "thinking":
            on = kind != "disabled"
        case _:
            raise ValidationError(f"extra {name!r} is {wanted!r:.40}, not True or False")
    switch = _switch(variables)
    if switch is None:
        told = name if name == "thinking" else f"extra {name!r}"  # what `thinking=` is, too
        return {}, f"{told} has no effect: the template of this model has no switch for thinking"
    budget = isinstance(wanted, dict) and "budget_tokens" in wanted
    return {switch: on}, "the budget of thinking is not honoured by local models" if budget else ""


def _switch(variables: Collection[str]) -> str | None:
    return next((name for name in SWITCHES if name in variables), None)
