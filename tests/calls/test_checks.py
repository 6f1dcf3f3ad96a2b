"""What is refused before anything is sent, and how the refusal names the fix."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from awsllm.calls.checks import check_as_service, check_profile, check_request
from awsllm.errors import UnsupportedError, ValidationError
from awsllm.models.references import parse_reference
from awsllm.server.surfaces.catalog import check_chat_model
from awsllm.types import (
    Audio,
    Bytes,
    CachePoint,
    ConverseRequest,
    Document,
    DocumentText,
    Image,
    InferenceConfig,
    Message,
    S3Location,
    Text,
    ToolChoice,
    ToolResult,
    ToolSpec,
    ToolUse,
    Unknown,
    Video,
)
from tests.support.requests import request

HELLO = Message.user("Hello")
DOCUMENT = Document("report", DocumentText("x"))
USE = ToolUse("t1", "a", {})
RESULT = ToolResult("t1", (Text("x"),))


@pytest.mark.parametrize(
    "fine",
    [
        request(),
        request(Message.user("Read", DOCUMENT), Message.assistant("Yes"), Message.user("Why?")),
        request(Message("system", (Text("Be brief."),)), HELLO),
        request(Message.user("x", Image("png", S3Location("s3://b/k")))),
        request(tools=(ToolSpec(name="a-B_9", input_schema={"type": "object"}), CachePoint())),
        ConverseRequest(model="arn:aws:bedrock:us-east-1:1:prompt/p", prompt_variables={"a": "b"}),
    ],
)
def test_what_converse_takes_passes(fine: ConverseRequest) -> None:
    check_request(fine)


def spec(name: str = "a", schema: Any = None, description: str | None = None) -> ToolSpec:
    return ToolSpec(name=name, input_schema={"type": "object"} if schema is None else schema, description=description)


@pytest.mark.parametrize(
    ("bad", "hint"),
    [
        (ConverseRequest(model="m"), "no messages: pass what the user says"),
        (request(Message.assistant("Hi")), "a conversation begins with a user turn"),
        (request(Message("human", (Text("x"),))), "messages[0].role is 'human'; it is user, assistant or system"),
        (request(HELLO, Message.assistant()), "messages[1] is empty: give it some content"),
        (request(Message.user(" \n")), "messages[0].content[0] is blank text"),
        (request(system=(Text(" "),)), "system[0] has no text"),
        (request(Message.user(DOCUMENT)), "messages[0] has a document and no text: say beside it"),
        (
            request(Message.user("x", DOCUMENT), Message.assistant("Yes"), Message.user("y", DOCUMENT)),
            "second document named 'report'",
        ),
        (request(Message.user("x", Document("a.b", DocumentText("x")))), "'a b' would do"),
        (request(Message.user("x", Document("a  b", DocumentText("x")))), "'a b' would do"),
        (request(Message.user("x", Document("a", Bytes(b"x"), "rtf"))), "is of format 'rtf'; known: csv"),
        (request(Message.user("x", Document("a", Bytes(b""), "txt"))), "is an empty document"),
        (request(Message.user("x", Image("bmp", Bytes(b"BM")))), "format 'bmp'; an image is png, jpeg, gif or webp"),
        (request(Message.user("x", Image("png", Bytes(b"text")))), "bytes that are no image of a known format"),
        (
            request(HELLO, Message.user(ToolResult(tool_use_id="t", content=(Image("bmp", Bytes(b"BM")),)))),
            "messages[1].content[0].content[0] is an image of format 'bmp'",
        ),
        (request(inference_config=InferenceConfig(temperature=1.5)), "temperature is 1.5; it is between 0 and 1"),
        (request(inference_config=InferenceConfig(top_p=-0.1)), "top_p is -0.1; it is between 0 and 1"),
        (request(inference_config=InferenceConfig(max_tokens=0)), "max_tokens is 0; it is at least 1"),
        (request(tools=(spec("a b"),)), "tool name 'a b' is not taken: 1 to 64 letters"),
        (request(tools=(spec("a" * 65),)), "is not taken: 1 to 64 letters"),
        (request(tools=(spec("é"),)), "is not taken: 1 to 64 letters"),
        (request(tools=(spec(schema={"type": "string"}),)), "is not a JSON schema of type object"),
        (request(tools=(spec(schema="x"),)), "is not a JSON schema of type object"),
        (request(tools=(spec(description=" "),)), "has a blank description"),
        (request(tool_choice=ToolChoice("any")), "tool_choice needs tools"),
        (request(tools=(spec("search"),), tool_choice=ToolChoice("tool", "serch")), "did you mean 'search'?"),
        (request(tools=(spec("a"),), tool_choice=ToolChoice("tool", "zzz")), "known: a"),
        (request(tools=(spec("search"), spec("search"))), "two tools are named 'search'"),
        (request(HELLO, Message.assistant(USE), HELLO, tools=(spec("a"),)), "lacks results of the tool calls t1"),
        (
            request(HELLO, Message.assistant(USE), Message.user(RESULT)),
            "there are no tools: pass tools=[...]",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_converse_refuses_is_refused_before(bad: ConverseRequest, hint: str) -> None:
    with pytest.raises(ValidationError) as caught:
        check_request(bad)
    assert hint in caught.value.message


@pytest.mark.parametrize(
    "taken",
    [
        request(HELLO, Message.assistant(USE), HELLO, tools=(spec("a"),)),
        request(HELLO, Message.assistant(USE), Message.user(RESULT)),
    ],
)
def test_what_only_bedrock_refuses_goes_elsewhere(taken: ConverseRequest) -> None:
    check_request(taken, "local")
    check_request(taken, "sagemaker")
    with pytest.raises(ValidationError):
        check_request(taken)


def test_a_typed_output_may_bring_the_tool_that_a_history_needs() -> None:
    check_request(request(HELLO, Message.assistant(USE), Message.user(RESULT)), typed=True)


def test_neighbouring_turns_are_left_to_the_service_since_some_models_take_them() -> None:
    check_request(request(HELLO, Message.user("Again")))


def test_an_unknown_block_is_left_to_the_codec() -> None:
    check_request(request(Message.user("x", Unknown("hologram"))))


FILM = Video("mp4", Bytes(b"x"))
SOUND = Audio("wav", Bytes(b"x"))


@pytest.mark.parametrize(
    ("model", "block", "hint"),
    [
        ("anthropic.claude-sonnet-4-6", FILM, "reads no video, and messages[0].content[0] is video"),
        ("amazon.nova-micro-v1:0", FILM, "reads no video"),
        ("amazon.nova-pro-v1:0", FILM, None),
        ("amazon.nova-pro-v1:0", SOUND, "reads no audio"),
        ("mistral.voxtral-mini-3b-2507", SOUND, None),
        ("newcorp.brilliant-v1:0", SOUND, None),
    ],
)
def test_films_and_sound_go_to_models_that_read_them(model: str, block: Video | Audio, hint: str | None) -> None:
    reference = parse_reference(f"bedrock:{model}")
    asked = ConverseRequest(model=model, messages=(Message.user(block),))
    if hint is None:
        check_profile(reference, asked)
        return
    with pytest.raises(UnsupportedError, match=re.escape(hint)):
        check_profile(reference, asked)
    with pytest.raises(ValidationError, match="doesn't support the"):
        check_as_service(asked)


def test_a_family_stands_for_an_opaque_arn() -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:imported-model/abcdefghijkl"
    asked = ConverseRequest(model=arn, messages=(Message.user(Image("png", S3Location("s3://b/k"))),))
    check_profile(parse_reference(arn), asked)
    with pytest.raises(UnsupportedError, match="reads no images"):
        check_profile(parse_reference(arn), msgspec.structs.replace(asked, family="llama"))


@pytest.mark.parametrize("model", ["google.gemma-4-31b", "amazon.titan-embed-text-v2:0", "us.xai.grok-4.3"])
def test_the_server_refuses_converse_of_models_without_it(model: str) -> None:
    with pytest.raises(ValidationError, match="doesn't support the model that you provided"):
        check_chat_model(model)
    check_chat_model("us.xai.grok-4.6")
