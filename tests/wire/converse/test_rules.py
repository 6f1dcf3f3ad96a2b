"""What Bedrock accepts as a conversation: what the service says of a broken rule, and what a caller is told to do."""

from __future__ import annotations

from typing import Any

import pytest

from awsllm.errors import ValidationError
from awsllm.types import (
    Bytes,
    CachePoint,
    ContentBlock,
    ConverseRequest,
    Document,
    Json,
    Message,
    SystemTool,
    Text,
    ToolChoice,
    ToolResult,
    ToolSpec,
    ToolUse,
    Unknown,
)
from awsllm.wire.converse.rules import check_conversation, document_named, is_document_name, violations

WEATHER = ToolSpec("weather", {"type": "object"})
USE = ToolUse(id="t1", name="weather", input={})
RESULT = ToolResult(tool_use_id="t1", content=(Text(text="rain"),))
PDF = Document(name="a b", format="pdf", source=Bytes(b"x"))
HI = (Text(text="Hi"),)


def talk(*turns: tuple[ContentBlock, ...], tools: tuple[Any, ...] = (WEATHER,), **rest: Any) -> ConverseRequest:
    roles = ("user", "assistant") * len(turns)
    messages = tuple(Message(role, turn) for role, turn in zip(roles, turns, strict=False))
    return ConverseRequest(model="m", messages=messages, tools=tools, **rest)


def titled(name: str) -> Document:
    return Document(name=name, format="pdf", source=Bytes(b"x"))


@pytest.mark.parametrize(
    ("request_", "path", "message", "fix"),
    [
        (ConverseRequest(model="m"), "messages", "A conversation must start with a user message", "no messages: pass"),
        (
            ConverseRequest(model="m", messages=(Message.assistant("x"),)),
            "messages",
            "A conversation must start with a user mes",
            "messages[0] is the assistant's: a conversation begins with a user turn",
        ),
        (
            ConverseRequest(model="m", messages=(Message.user("a"), Message("system", HI), Message.user("b"))),
            "messages.2",
            "must alternate between user",
            "messages[0] and messages[2] are both the user's: make one turn of them",
        ),
        (
            talk((Text(text=" "),)),
            "messages.0.content.0",
            "The text field in the ContentBlock object at messages.0.content.0 is blank",
            "messages[0].content[0] is blank text: leave the block out",
        ),
        (
            talk(HI, system=(Text(text=""),)),
            "system.0",
            "The text field in the SystemContentBlock object at system.0 is blank",
            "system[0] has no text: leave system out",
        ),
        (
            talk(()),
            "messages.0",
            "The content field in the Message object at messages.0 is empty",
            "messages[0] is empty: give it some content",
        ),
        (
            talk((*HI, Unknown("hologram"))),
            "messages.0.content.1",
            "at messages.0.content.1 has the unknown type hologram",
            "messages[0].content[1] is of the kind 'hologram', which cannot be sent",
        ),
        (
            talk((PDF,)),
            "messages.0",
            "A text block must be included when using documents",
            "say beside it",
        ),
        (
            talk((*HI, PDF), HI, (*HI, PDF)),
            "messages.2.content.1",
            "Messages can't contain duplicate document names",
            "messages[2].content[1] is the second document named 'a b'",
        ),
        (
            talk((*HI, titled("a  b"))),
            "messages.0.content.1",
            "The document file name can only contain alphanumeric characters",
            "'a b' would do",
        ),
        (
            talk(HI, (USE,), (ToolResult(tool_use_id="t1", content=(titled("x.pdf"),)),)),
            "messages.2.content.0.toolResult.content.0",
            "The document file name can only contain alphanumeric characters",
            "messages[2].content[0].content[0] has the name 'x.pdf'",
        ),
        (
            talk(HI, (USE,), HI),
            "messages.2",
            "Expected toolResult blocks at messages.2.content for the following Ids: t1",
            "messages[2] lacks results of the tool calls t1 of the turn before",
        ),
        (
            talk(HI, HI, (RESULT,)),
            "messages.2",
            "exceeds the number of toolUse blocks of previous turn",
            "messages[2] has 1 tool results, and the turn before makes 0 calls",
        ),
        (
            talk(HI, (USE,), (RESULT, ToolResult(tool_use_id="t2", content=()))),
            "messages.2",
            "exceeds the number of toolUse blocks of previous turn",
            "messages[2] has 2 tool results, and the turn before makes 1 calls",
        ),
        (
            talk(HI, (USE,)),
            "messages.2",
            "Expected toolResult blocks at messages.2.content for the following Ids: t1",
            "messages[2] lacks results of the tool calls t1 of the turn before",
        ),
        (
            talk(HI, (USE, USE), (RESULT,)),
            "messages.1",
            "The toolUse blocks at messages.1.content contain duplicate Ids: t1",
            "messages[1] has two tool calls with the id t1",
        ),
        (
            talk(HI, (ToolUse(id="t1", name="weather", input="{"),), (RESULT,)),
            "messages.1.content.0",
            "The format of the value at messages.1.content.0.toolUse.input is invalid. Provide a json object",
            "the arguments of the tool call messages[1].content[0] are no JSON object but a text of 1 characters",
        ),
        (
            talk(HI, (USE,), (ToolResult(tool_use_id="t1", content=(Json([1]),)),)),
            "messages.2.content.0.toolResult.content.0",
            "messages.2.content.0.toolResult.content.0.json is invalid. Provide a json object",
            "messages[2].content[0].content[0] is JSON and no object",
        ),
        (
            talk(HI, (Text(text=" "), USE), (RESULT,)),
            "messages.1.content.0",
            "The text field in the ContentBlock object at messages.1.content.0 is blank",
            "messages[1].content[0] is blank text",
        ),
        (
            talk((Text(text=" "), CachePoint())),
            "messages.0.content.0",
            "The text field in the ContentBlock object at messages.0.content.0 is blank",
            "messages[0].content[0] is blank text",
        ),
        (
            talk(HI, (USE,), (RESULT,), tools=()),
            "messages.1.content.0",
            "The toolConfig field must be defined",
            "messages[1].content[0] is a tool call or its result, and there are no tools",
        ),
        (
            talk(HI, tools=(ToolSpec("weather", {"oneOf": []}),)),
            "toolConfig.tools.0.toolSpec",
            "The value at toolConfig.tools.0.toolSpec.inputSchema.json.type must be one of the following: object.",
            "the input schema of tool 'weather' is not a JSON schema of type object",
        ),
        (
            talk(HI, tools=(WEATHER, WEATHER)),
            "toolConfig.tools.1.toolSpec",
            "duplicate tool names",
            "two tools are named 'weather'",
        ),
        (
            talk(HI, tool_choice=ToolChoice("tool", "wether")),
            "toolConfig.toolChoice",
            "names the tool wether",
            "tool_choice names 'wether', which is none of the tools; did you mean 'weather'?",
        ),
    ],
)
def test_a_conversation_that_bedrock_refuses(request_: ConverseRequest, path: str, message: str, fix: str) -> None:
    first = next(violations(request_))
    assert first.path == path
    assert message in first.message
    assert fix in first.fix
    with pytest.raises(ValidationError) as caught:
        check_conversation(request_)
    assert caught.value.message == first.message
    assert (caught.value.code, caught.value.status) == ("ValidationException", 400)


@pytest.mark.parametrize(
    "request_",
    [
        talk(HI),
        talk((*HI, PDF)),
        talk((*HI, Text(text=" "))),
        talk(HI, (USE,), (ToolResult(tool_use_id="t1", content=(Text(text=""),)), Text(text=""))),
        talk((*HI, PDF, titled("a_b"), titled(" [c]-(1) "))),
        talk(HI, (USE,), (RESULT,)),
        talk(HI, (USE,), (*HI, RESULT), HI, HI),
        talk(HI, (ToolUse(id="t1", name="web", input={}, type="server_tool_use"),), HI),
        talk(HI, tools=(SystemTool("nova_grounding"),), tool_choice=ToolChoice("tool", "nova_grounding")),
        ConverseRequest(model="m", messages=(Message("system", HI), Message.user("a"), Message("system", HI))),
    ],
)
def test_a_conversation_that_bedrock_takes(request_: ConverseRequest) -> None:
    check_conversation(request_)


@pytest.mark.parametrize(
    ("request_", "rule"),
    [
        (ConverseRequest(model="m", messages=(Message.assistant("x"), Message.user("a"))), "first-turn"),
        (ConverseRequest(model="m", messages=(Message.user("a"), Message.user("b"))), "alternating-turns"),
    ],
)
def test_a_model_may_be_held_to_fewer_rules(request_: ConverseRequest, rule: str) -> None:
    assert [violation.rule for violation in violations(request_)] == [rule]
    check_conversation(request_, (rule,))
    with pytest.raises(ValidationError):
        check_conversation(ConverseRequest(model="m"), (rule,))


# As the service answered them: aws-samples/generative-ai-use-cases 1671, strands-agents/harness-sdk 3019.
@pytest.mark.parametrize(
    ("name", "taken"),
    [
        *((name, True) for name in ("test-name", "test(1)", "test[1]", "test name", " testname", "testname ")),
        *((name, True) for name in ("test_name", "test__name")),
        *((name, False) for name in ("a.b", "a/b", "a+b", "a:b", "a  b", "a\tb", "a\u3000b", "résumé", "", "a" * 201)),
    ],
)
def test_names_of_documents(name: str, taken: bool) -> None:
    assert is_document_name(name) == taken


def test_a_name_that_is_taken_gets_a_number() -> None:
    assert document_named(PDF, {"a"}) is PDF
    assert document_named(PDF, {"a b", "a b (2)"}).name == "a b (3)"
    assert is_document_name(document_named(titled("a" * 200), {"a" * 200}).name)
