"""Blocks as text: one rendering, whoever it is for."""

import datetime
from typing import Any

import pytest

from awsllm.backends.local.dialects import TOLD
from awsllm.backends.local.prompt import chat
from awsllm.errors import UnsupportedError, ValidationError
from awsllm.types import (
    Audio,
    Bytes,
    CachePoint,
    Citations,
    ContentBlock,
    ConverseRequest,
    Document,
    DocumentContent,
    DocumentText,
    GuardContent,
    GuardText,
    Image,
    Json,
    Message,
    Reasoning,
    S3Location,
    SearchResult,
    Text,
    ToolAddition,
    ToolReference,
    ToolResult,
    ToolUse,
    Unknown,
    Video,
)
from awsllm.wire import endpoint
from awsllm.wire.body import Settings
from awsllm.wire.text.blocks import block_text, blocks_text, result_item_text
from awsllm.wire.text.prompts import text_of

WRITTEN: list[tuple[ContentBlock, str]] = [
    (Text(" a "), " a "),
    (Citations(content=(Text("a"), Text("b"))), "ab"),
    (CachePoint(), ""),
    (Reasoning("hm"), ""),
    (Document("d", DocumentText("one\n")), '<document name="d">\none\n\n</document>'),
    (Document("d", DocumentText("t"), context="c"), '<document name="d">\nc\n\nt\n</document>'),
    (Document("d", DocumentContent(("a", "b"))), '<document name="d">\na\n\nb\n</document>'),
    (Document("d", Bytes("käse".encode()), "md"), '<document name="d">\nkäse\n</document>'),
    (Document("d", Bytes(b"\xef\xbb\xbfa,b"), "csv"), '<document name="d">\na,b\n</document>'),
    (SearchResult("u:1", "t", ("x", "y")), '<search_result source="u:1" title="t">\nx\n\ny\n</search_result>'),
]
REFUSED: list[tuple[ContentBlock, str]] = [
    (Image("png", Bytes(b"")), "an image"),
    (Video("mp4", Bytes(b"")), "a video"),
    (Audio("mp3", Bytes(b"")), "an audio"),
    (ToolUse("1", "f", {}), "a tool use"),
    (ToolResult("1", ()), "a tool result"),
    (ToolAddition(ToolReference()), "the addition of a tool"),
    (GuardContent(GuardText("x")), "guarded content"),
    (Document("d", Bytes(b"PK"), "docx"), "'d' is docx; .*csv, html, md, txt"),
    (Document("d", Bytes(b"x")), "no stated format"),
    (Document("d", S3Location("s3://b/k"), "txt"), "s3://b/k"),
    (Document("d", Unknown("hologram")), "hologram"),
    (Unknown("hologram"), "hologram"),
]


@pytest.mark.parametrize(("block", "text"), WRITTEN)
def test_a_block_is_written(block: ContentBlock, text: str) -> None:
    assert block_text(block) == text


@pytest.mark.parametrize(("block", "words"), REFUSED)
def test_what_is_no_text_is_refused_by_name(block: ContentBlock, words: str) -> None:
    with pytest.raises(UnsupportedError, match=words):
        block_text(block)


def test_bytes_that_are_not_utf_8_are_the_callers_mistake() -> None:
    with pytest.raises(ValidationError, match="not UTF-8"):
        block_text(Document("d", Bytes(b"\xff\xfe\x00"), "txt"))


def test_values_of_tools_are_json() -> None:
    assert result_item_text(Json({"größe": [1, None]})) == '{"größe": [1, null]}'
    assert result_item_text(Json({"day": datetime.date(2026, 1, 2)})) == '{"day":"2026-01-02"}'
    assert result_item_text(Document("d", DocumentText("x"))).startswith("<document")
    with pytest.raises(UnsupportedError, match="an image"):
        result_item_text(Image("png", Bytes(b"")))


def test_blocks_stand_apart_and_cited_passages_do_not() -> None:
    assert blocks_text((Text("a"), CachePoint(), Text("b"))) == "a\n\nb"
    assert blocks_text((Text("It is "), Citations(content=(Text("blue"),)), Text("."))) == "It is blue."
    assert blocks_text((Citations(content=(Text("x"),)), Document("d", DocumentText("y")))).startswith("x\n\n<document")
    assert blocks_text(()) == ""


def test_the_format_that_takes_pictures_is_named() -> None:
    with pytest.raises(UnsupportedError, match="openai"):
        text_of((Image("png", Bytes(b"")),))


TURN = (Document("d", DocumentText("t"), context="c"), SearchResult("u:1", "t", ("x",)))


def of_the_local_model(request: ConverseRequest) -> Any:
    return chat(request, TOLD).messages[0]["content"]


def of_openai(request: ConverseRequest) -> Any:
    sent = endpoint.get("openai").codec(ConverseRequest).encode_request(request, Settings())
    return "\n\n".join(part["text"] for part in sent.json()["messages"][0]["content"])


def of_a_prompt(request: ConverseRequest) -> Any:
    return endpoint.get("tgi").codec(ConverseRequest).encode_request(request, Settings()).json()["inputs"]


@pytest.mark.parametrize("written_by", [of_the_local_model, of_openai, of_a_prompt])
def test_a_document_reads_the_same_wherever_its_model_runs(written_by: Any) -> None:
    assert written_by(ConverseRequest(model="m", messages=(Message("user", TURN),))) == blocks_text(TURN)
