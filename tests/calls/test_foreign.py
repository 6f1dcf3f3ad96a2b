"""A conversation that began on the Responses API goes on elsewhere."""

import pytest

from awsllm.calls.prepare import prepare
from awsllm.models.knowledge import Knowledge
from awsllm.types import SERVER_TOOL_USE, Message, Reasoning, Text, ToolResult, ToolSpec, ToolUse
from tests.support.responses import SEARCH

CLAUDE, GPT = "bedrock:us.anthropic.claude-sonnet-4-5-20250929-v1:0", "bedrock:openai.gpt-5.5"
THINKING = Reasoning("Hm", 'openai-reasoning:{"id":"rs_1","summary":[2]}')
SEARCHED = ToolUse("ws_1", "web_search_call", SEARCH, SERVER_TOOL_USE)
ANSWER = Message.assistant(THINKING, SEARCHED, "Rain.")
TURNS = [Message.user("a"), ANSWER, Message.user("b")]


def test_its_thinking_and_what_it_ran_are_for_it_alone() -> None:
    call = prepare(CLAUDE, TURNS, {}, Knowledge())
    assert call.request.messages[1] == Message.assistant("Rain.")
    assert [line.partition(" of OpenAI")[0] for line in call.warnings] == [
        "thinking",
        "what OpenAI's Responses API ran by itself is for that API alone and was left out: messages[1].content[1]",
    ]


@pytest.mark.parametrize("options", [{}, {"api": "openai"}])
def test_it_gets_all_of_it_back(options: dict[str, str]) -> None:
    call = prepare(GPT, TURNS, options, Knowledge())  # type: ignore[arg-type]
    assert call.request.messages[1] == ANSWER
    assert call.warnings == ()


def test_a_turn_of_nothing_else_says_so() -> None:
    turns = [Message.user("a"), Message.assistant(THINKING), Message.user("b")]
    assert prepare(CLAUDE, turns, {}, Knowledge()).request.messages[1] == Message.assistant("(no output)")


def test_a_custom_tool_s_call_is_a_call() -> None:
    use = ToolUse("c", "run", {"input": "x"}, "custom_tool_call")
    turns = [Message.user("a"), Message.assistant(use), Message.user(ToolResult("c", (Text("y"),)))]
    call = prepare(CLAUDE, turns, {"tools": [ToolSpec("run", {"type": "object"})]}, Knowledge())
    assert call.request.messages[1] == Message.assistant(ToolUse("c", "run", {"input": "x"}))


def test_what_is_another_model_s_stays() -> None:
    signed = Message.assistant(Reasoning("Hm", "claude=="), "x")
    assert (
        prepare(CLAUDE, [Message.user("a"), signed, Message.user("b")], {}, Knowledge()).request.messages[1] is signed
    )
