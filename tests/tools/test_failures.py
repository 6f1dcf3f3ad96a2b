"""What a model reads of a tool that raised, and what the caller gets."""

from __future__ import annotations

from typing import Any

import pytest

import awsllm
from awsllm import types as t
from awsllm.errors import ValidationError
from awsllm.testing.scripted import ScriptedBackend
from awsllm.wire.converse.history import NO_OUTPUT

CALL = t.ToolUse("1", "broken", {})


def broken() -> str:
    """Raise."""
    raise RuntimeError("boom")


def converse(*replies: Any, tool: Any = broken, **options: Any) -> tuple[awsllm.ConverseResponse, ScriptedBackend]:
    backend = ScriptedBackend(list(replies))
    client = awsllm.Client(backends={"bedrock": backend})
    return client.converse("bedrock:amazon.nova-lite-v1:0", "Go", tools=[tool], **options), backend


@pytest.mark.parametrize("handle", [lambda error: "sorry", lambda: "", str.upper])
def test_a_function_of_other_parameters_is_refused_before_anything_is_sent(handle: Any) -> None:
    with pytest.raises(ValidationError, match="the ToolUse and the exception"):
        converse("unsent", on_tool_error=handle)


@pytest.mark.parametrize("text", [None, {"a": 1}, 3])
def test_what_is_no_text_is_named(text: Any) -> None:
    with pytest.raises(ValidationError, match="on_tool_error returned a"):
        converse(CALL, "done", on_tool_error=lambda call, error: text)


def test_no_text_is_told_as_none() -> None:
    _, backend = converse(CALL, "done", on_tool_error=lambda call, error: " ")
    request = backend.requests[-1]
    assert isinstance(request, t.ConverseRequest)
    [result] = request.messages[-1].content
    assert isinstance(result, t.ToolResult)
    assert (result.content, result.status) == ((t.Text(NO_OUTPUT),), "error")


def test_results_are_kept_as_they_are_sent() -> None:
    def not_a_number() -> float:
        """Give a value that JSON has not."""
        return float("nan")

    response, backend = converse(t.ToolUse("1", "not_a_number", {}), "done", tool=not_a_number)
    request = backend.requests[-1]
    assert isinstance(request, t.ConverseRequest)
    assert request.messages[-1] == response.messages[1]
    assert t.Message.from_dict(response.messages[1].to_dict()) == response.messages[1]
