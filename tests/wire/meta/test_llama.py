"""Llama's pictures: apart from the prompt, with a mark in it where each belongs."""

from __future__ import annotations

from base64 import b64encode

import pytest

from awsllm.errors import UnsupportedError, ValidationError
from awsllm.types import Bytes, ConverseRequest, Image, Message, S3Location
from awsllm.wire import invoke
from awsllm.wire.body import Chat, Settings
from awsllm.wire.images.pixels import encode_png
from tests.support.bodies import payload

LLAMA3 = Settings(prompt="llama3")
PNG = Image("png", Bytes(encode_png(1, [bytes(3)])))
JPEG = Image("jpeg", Bytes(b"\xff\xd8\xff"))


def llama() -> Chat:
    chat = invoke.get("llama").chat
    assert chat is not None
    return chat


def seen(*messages: Message) -> ConverseRequest:
    return ConverseRequest(model="ep", messages=messages)


def test_pictures_stand_apart_with_marks_before_the_text_of_their_turn() -> None:
    """llama.com, Llama 3.2 Vision: <|image|> stands before the text."""
    request = seen(
        Message.user(PNG, "What is this?"), Message.assistant("A cat."), Message.user(JPEG, PNG, "And these?")
    )
    sent = llama().encode_request(request, LLAMA3)
    wire = sent.json()
    assert isinstance(wire, dict)
    assert "user<|end_header_id|>\n\n<|image|>What is this?<|eot_id|>" in wire["prompt"]
    assert "user<|end_header_id|>\n\n<|image|><|image|>And these?<|eot_id|>" in wire["prompt"]
    assert wire["images"] == [b64encode(picture.source.data).decode() for picture in (PNG, JPEG, PNG)]
    assert llama().decode_request("ep", sent, LLAMA3) == (request, False)


def test_a_picture_alone_is_sent_and_read() -> None:
    request = seen(Message.user(PNG))
    assert llama().decode_request("ep", llama().encode_request(request, LLAMA3), LLAMA3) == (request, False)


def test_pictures_without_marks_stand_first() -> None:
    picture = b64encode(b"\xff\xd8\xff").decode()
    request, _ = llama().decode_request("ep", payload({"prompt": "Hi", "images": [picture]}), LLAMA3)
    assert request.messages == (Message.user(JPEG, "Hi"),)


@pytest.mark.parametrize("images", [[], ["not base64!"], [7]])
def test_marks_without_pictures_are_malformed(images: list[object]) -> None:
    with pytest.raises(ValidationError, match="images"):
        llama().decode_request("ep", payload({"prompt": "<|image|>Hi", "images": images or ["!"]}), LLAMA3)
    marked = {"prompt": "<|image|><|image|>Hi", "images": [b64encode(b"x").decode()]}
    with pytest.raises(ValidationError, match="images"):
        llama().decode_request("ep", payload(marked), LLAMA3)


@pytest.mark.parametrize("prompt", ["llama2", "llama4", None])
def test_versions_whose_marks_are_not_known_take_no_pictures(prompt: str | None) -> None:
    with pytest.raises(UnsupportedError, match="Converse"):
        llama().encode_request(seen(Message.user(PNG, "Hi")), Settings(prompt=prompt))
    with pytest.raises(UnsupportedError, match="fetch"):
        llama().encode_request(seen(Message.user(Image("png", S3Location("s3://b/k")), "Hi")), LLAMA3)
