"""Strict tools: their schemas within what Bedrock compiles, and what is beyond it named."""

from typing import Any

import pytest

from awsllm.calls.strict import fit_strict_tools
from awsllm.errors import UnsupportedError
from awsllm.types import CachePoint, ConverseRequest, Message, ToolSpec

OPEN: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "string"}}}
CLOSED = {**OPEN, "additionalProperties": False, "required": []}
BOUND: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "string", "maxLength": 3}}}


def ask(*tools: Any, **members: Any) -> ConverseRequest:
    return ConverseRequest(model="m", messages=(Message.user("Hi"),), tools=tools, **members)


def test_strict_tools_are_closed_and_others_left_alone() -> None:
    lax, point = ToolSpec("lax", OPEN), CachePoint()
    request, warnings = fit_strict_tools(ask(ToolSpec("f", OPEN, strict=True), lax, point))
    assert request.tools == (ToolSpec("f", CLOSED, strict=True), lax, point)
    assert warnings == ()


def test_what_is_not_held_to_is_a_warning() -> None:
    _, warnings = fit_strict_tools(ask(ToolSpec("f", BOUND, strict=True), ToolSpec("lax", BOUND)))
    (warning,) = warnings
    assert "'f'" in warning
    assert "maxLength" in warning


def test_optional_parameters_are_counted_over_all_strict_tools() -> None:
    def tool(number: int, count: int, strict: bool | None = True) -> ToolSpec:
        members = {f"p{index}": {"type": "string"} for index in range(count)}
        return ToolSpec(f"f{number}", {"type": "object", "properties": members}, strict=strict)

    fit_strict_tools(ask(tool(1, 12), tool(2, 12), tool(3, 12, strict=None)))
    with pytest.raises(UnsupportedError, match=r"\(f1, f2\) have 25 optional parameters together"):
        fit_strict_tools(ask(tool(1, 12), tool(2, 13)))


def test_openai_s_routes_have_their_own_rules() -> None:
    request = ask(ToolSpec("f", BOUND, strict=True), api="openai")
    assert fit_strict_tools(request) == (request, ())
