"""Mistral's chat completion where it is not OpenAI's: reasons to stop, forced tools, ids of calls."""

from __future__ import annotations

import re
from typing import Any

import pytest

from awsllm.errors import UnsupportedError
from awsllm.types import (
    Bytes,
    ConverseRequest,
    Image,
    JsonObject,
    Message,
    Text,
    ToolChoice,
    ToolResult,
    ToolSpec,
    ToolUse,
)
from awsllm.wire import invoke
from awsllm.wire.body import Chat, Context
from tests.support.bodies import PLAIN, ask, json_lines, payload, streamed

FIND, SONG = (ToolSpec(name, {"type": "object", "properties": {}}) for name in ("find", "top_song"))


def mistral() -> Chat:
    chat = invoke.get("mistral-chat").chat
    assert chat is not None
    return chat


def sent(request: ConverseRequest) -> dict[str, Any]:
    wire = mistral().encode_request(request, PLAIN).json()
    assert isinstance(wire, dict)
    return wire


# docs.aws.amazon.com, Mistral AI chat completion: a request for a tool
CALLED: JsonObject = {
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "",
                "tool_calls": [
                    {
                        "id": "v6RMMiRlT7ygYkT4uULjtg"[:9],
                        "function": {"name": "top_song", "arguments": '{"sign": "WZPZ"}'},
                    }
                ],
            },
            "stop_reason": "tool_calls",
        }
    ]
}


@pytest.mark.parametrize(("reason", "expected"), [("stop", "end_turn"), ("length", "max_tokens"), ("newer", "newer")])
@pytest.mark.parametrize("member", ["stop_reason", "finish_reason"])
def test_the_reason_to_stop_has_either_name(member: str, reason: str, expected: str) -> None:
    wire = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, member: reason}]}
    response = mistral().decode_response(payload(wire), Context(request=ask()))
    assert (response.text, response.stop_reason, response.raw) == ("Hi", expected, wire)
    chunks = [
        {"choices": [{"index": 0, "message": {"role": "assistant", "content": "H"}, "stop_reason": None}]},
        {"choices": [{"index": 0, "message": {"role": "assistant", "content": "i"}, member: reason}]},
    ]
    streamed_response = streamed(mistral(), json_lines(*chunks), Context(request=ask()))
    assert (streamed_response.text, streamed_response.stop_reason) == ("Hi", expected)


def test_a_call_is_read() -> None:
    response = mistral().decode_response(payload(CALLED), Context(request=ask()))
    assert response.message.content == (ToolUse(id="v6RMMiRlT", name="top_song", input={"sign": "WZPZ"}),)
    assert response.stop_reason == "tool_use"


def test_one_of_all_tools_can_be_forced_and_none_of_several_by_name() -> None:
    one, both = (SONG,), (FIND, SONG)
    assert sent(ask(tools=both, tool_choice=ToolChoice("any")))["tool_choice"] == "any"
    assert sent(ask(tools=both, tool_choice=ToolChoice("auto")))["tool_choice"] == "auto"
    assert sent(ask(tools=one, tool_choice=ToolChoice("tool", "top_song")))["tool_choice"] == "any"
    with pytest.raises(UnsupportedError, match="pass that tool alone"):
        sent(ask(tools=both, tool_choice=ToolChoice("tool", "top_song")))
    request = ask(tools=both, tool_choice=ToolChoice("any"))
    assert mistral().decode_request("ep", payload(sent(request)), PLAIN) == (request, False)


def test_ids_of_another_models_calls_are_shortened_each_to_the_same() -> None:
    uses = tuple(ToolUse(id=name, name="find", input={}) for name in ("tooluse_Abc-1", "tooluse_Abc-2", "Ab3dEf6h9"))
    results = tuple(ToolResult(tool_use_id=use.id, content=(Text("x"),)) for use in uses)
    talk = (Message.user("Hi"), Message("assistant", uses), Message("user", results))
    _, called, *answered = sent(ConverseRequest(model="ep", messages=talk, tools=(FIND,)))["messages"]
    ids = [call["id"] for call in called["tool_calls"]]
    assert ids == [message["tool_call_id"] for message in answered]
    assert len(set(ids)) == 3
    assert ids[2] == "Ab3dEf6h9"
    assert all(re.fullmatch(r"[a-zA-Z0-9]{9}", short) for short in ids)
    assert called["content"] == ""
    assert called["tool_calls"][0].keys() == {"id", "function"}


def test_pixtral_sees() -> None:
    picture = Message.user(Image("png", Bytes(b"x")), "What?")
    content = sent(ConverseRequest(model="ep", messages=(picture,)))["messages"][0]["content"]
    assert content == [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,eA=="}},
        {"type": "text", "text": "What?"},
    ]
