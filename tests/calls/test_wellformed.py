"""Values that a caller made by hand and that are not what they are declared to be: named, not dropped, no traceback."""

from __future__ import annotations

from typing import Any

import pytest

from awsllm.calls.prepare import prepare
from awsllm.calls.wellformed import has_strays, malformed
from awsllm.errors import ValidationError
from awsllm.models.knowledge import Knowledge
from awsllm.types import (
    Audio,
    Bytes,
    Document,
    DocumentText,
    Image,
    Json,
    Message,
    S3Location,
    Text,
    ToolChoice,
    ToolResult,
    ToolSpec,
    ToolUse,
    Unknown,
)
from tests.support.requests import request

BEDROCK, LOCAL = "bedrock:us.amazon.nova-lite-v1:0", "local:smollm2-135m-instruct"
SPEC = ToolSpec("f", {"type": "object"})
PNG = Bytes(b"\x89PNG\r\n\x1a\n")


def turn(*blocks: Any) -> Message:
    return Message("user", blocks)


def result(*content: Any) -> list[Message]:
    return [Message.user("a"), Message("assistant", (ToolUse("t", "f", {}),)), turn(ToolResult("t", content))]


@pytest.mark.parametrize("model", [BEDROCK, LOCAL])
@pytest.mark.parametrize(
    ("messages", "options", "place"),
    [
        (Message("user", "secret"), {}, "messages[0].content"),  # type: ignore[arg-type]
        (Message("user", Text("secret")), {}, "messages[0].content"),  # type: ignore[arg-type]
        (Message("user", None), {}, "messages[0].content"),  # type: ignore[arg-type]
        (turn("secret"), {}, "messages[0].content[0]"),
        (turn(Text(5)), {}, "messages[0].content[0].text"),  # type: ignore[arg-type]
        (result("secret"), {"tools": [SPEC]}, "messages[2].content[0].content[0]"),
        ("Hi", {"tools": [ToolSpec("f", "secret", {})]}, "tools[0].input_schema"),  # type: ignore[arg-type]
        ("Hi", {"tools": [SPEC], "tool_choice": ToolChoice("tool", 5)}, "tool_choice.name"),  # type: ignore[arg-type]
        ("Hi", {"system": [Text(5)]}, "system[0].text"),  # type: ignore[arg-type]
    ],
)
def test_what_is_of_the_wrong_type_is_named(model: str, messages: Any, options: Any, place: str) -> None:
    with pytest.raises(ValidationError) as caught:
        prepare(model, messages, options, Knowledge())
    assert caught.value.message.startswith(f"{place} is of the wrong type: expected ")
    assert "secret" not in caught.value.message


@pytest.mark.parametrize("block", [Image("png", "cat.png"), Document("d", b"x"), Audio("mp3", b"x")])  # type: ignore[arg-type]
def test_a_source_that_is_none_is_named(block: Any) -> None:
    with pytest.raises(ValidationError, match=r"^messages\[0\]\.content\[1\]\.source is of the wrong type"):
        prepare("bedrock:nobody.knows-v1:0", turn(Text("a"), block), {}, Knowledge())


def test_what_is_well_formed_is_left_alone() -> None:
    blocks = (
        Text("a"),
        Image("png", PNG),
        Image("png", S3Location("s3://b/k")),
        Document("d", DocumentText("x")),
        Unknown("new", {}),
        ToolResult("t", (Json({}), Text("x"), Image("png", PNG), Unknown("new", {}))),
    )
    assert not has_strays([turn(*blocks)])
    assert malformed(request(turn(*blocks))) is None


def test_an_error_that_types_do_not_explain_stays_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(*_: object, **__: object) -> None:
        raise TypeError("a fault of awsllm")

    monkeypatch.setattr("awsllm.calls.prepare.check_request", check)
    with pytest.raises(TypeError, match="a fault of awsllm"):
        prepare(BEDROCK, "Hi", {}, Knowledge())
