"""Jamba where it is not OpenAI's: text alone, the model's own choice of tools. AWS's published reply."""

from __future__ import annotations

import pytest

from awsllm.errors import UnsupportedError
from awsllm.types import (
    Bytes,
    ConverseRequest,
    Document,
    DocumentText,
    Image,
    JsonSchema,
    Message,
    OutputConfig,
    ToolChoice,
    ToolSpec,
    Usage,
)
from awsllm.wire import invoke
from awsllm.wire.body import Chat, Context
from tests.support.bodies import PLAIN, ask, json_lines, payload, streamed

FIND = ToolSpec("find", {"type": "object", "properties": {}})


def jamba() -> Chat:
    chat = invoke.get("jamba").chat
    assert chat is not None
    return chat


def test_a_published_reply_is_read() -> None:
    """docs.aws.amazon.com, AI21 Labs Jamba models: the members of a reply."""
    wire = {
        "id": "cmpl-524c73beb8714d878e18c3b5abd09f2a",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "The human nose can detect over 1 trillion scents."},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 11, "completion_tokens": 10, "total_tokens": 21},
    }
    response = jamba().decode_response(payload(wire), Context(request=ask()))
    assert response.text == "The human nose can detect over 1 trillion scents."
    assert (response.stop_reason, response.usage) == ("end_turn", Usage(11, 10, 21))


def test_a_stream_is_read() -> None:
    chunks = [
        {"choices": [{"index": 0, "delta": {"role": "assistant"}, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1}},
    ]
    assert streamed(jamba(), json_lines(*chunks), Context(request=ask())).text == "Hi"


def test_texts_are_one_text() -> None:
    document = Document("d", DocumentText("x"))
    request = ConverseRequest(model="ep", messages=(Message.user(document, "Why?"),))
    wire = jamba().encode_request(request, PLAIN).json()
    assert isinstance(wire, dict)
    assert wire["messages"][0]["content"] == '<document name="d">\nx\n</document>\n\nWhy?'


def test_what_it_cannot_take_is_refused() -> None:
    schema = OutputConfig(json_schema=JsonSchema({"type": "object"}))
    sees = ConverseRequest(model="ep", messages=(Message.user(Image("png", Bytes(b"x")), "What?"),))
    forced = ask(tools=(FIND,), tool_choice=ToolChoice("any"))
    for request, fix in ((ask(output_config=schema), "words"), (sees, "text alone"), (forced, "auto")):
        with pytest.raises(UnsupportedError, match=fix):
            jamba().encode_request(request, PLAIN)
    auto = jamba().encode_request(ask(tools=(FIND,), tool_choice=ToolChoice("auto")), PLAIN).json()
    assert isinstance(auto, dict)
    assert "tool_choice" not in auto
