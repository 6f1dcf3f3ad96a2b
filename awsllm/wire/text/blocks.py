"""Content blocks as text, for whoever reads nothing else: prompts, text members of other dialects, the local model. A
block becomes text here and nowhere else, so a document reads the same wherever its model runs.

    Text, Citations        the text as it is
    Document               <document name="…">, its context, a blank line, its text, </document>
    SearchResult           <search_result source="…" title="…">, its passages, blank lines between, </search_result>
    Json                   JSON with a blank behind commas and colons, as models were trained on it
    CachePoint, Reasoning  nothing: neither is meant for a model that reads text
    all else               ``UnsupportedError``, guarded content too: no guardrail would see it

The bytes of a document are text where its format is one of ``TEXT_FORMATS``. They are read as strict UTF-8, and a byte
order mark at their beginning is no part of the text. A PDF is written by the text of its pages (``pdf``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import assert_never

import msgspec

from awsllm.errors import UnsupportedError, ValidationError
from awsllm.types import (
    Audio,
    Bytes,
    CachePoint,
    Citations,
    ContentBlock,
    Document,
    DocumentContent,
    DocumentText,
    GuardContent,
    Image,
    Json,
    JsonValue,
    Reasoning,
    S3Location,
    SearchResult,
    Text,
    ToolAddition,
    ToolRemoval,
    ToolResult,
    ToolResultContent,
    ToolUse,
    Unknown,
    Video,
)
from awsllm.wire.text.pdf import pdf_text

TEXT_FORMATS = ("csv", "html", "md", "txt")
"""The formats of documents whose bytes are text."""

_NAMES: Mapping[type[ContentBlock | ToolResultContent], str] = {
    Image: "an image",
    Video: "a video",
    Audio: "an audio",
    ToolUse: "a tool use",
    ToolResult: "a tool result",
    ToolAddition: "the addition of a tool",
    ToolRemoval: "the removal of a tool",
    GuardContent: "guarded content",
}


def named(block: ContentBlock | ToolResultContent) -> str:
    """A block that is no text in the words of an error."""
    if isinstance(block, Unknown):
        return f"a content block of the kind {block.tag!r}, newer than this version of awsllm,"
    return _NAMES.get(type(block), type(block).__name__)


def block_text(block: ContentBlock) -> str:
    """Raises ``UnsupportedError`` for what is no text."""
    match block:
        case Text(text):
            return text
        case Citations(content):
            return "".join(item.text for item in content if isinstance(item, Text))
        case Document():
            return document_text(block)
        case SearchResult():
            return search_result_text(block)
        case CachePoint() | Reasoning():
            return ""
        case Image() | Video() | Audio() | ToolUse() | ToolResult() | ToolAddition() | ToolRemoval() | GuardContent():
            raise UnsupportedError(f"{named(block)} cannot be written as text")
        case Unknown():
            raise UnsupportedError(f"{named(block)} cannot be written as text")
        case _:
            assert_never(block)


def result_item_text(item: ToolResultContent) -> str:
    """One item of a tool's result. Raises ``UnsupportedError`` for what is no text."""
    return json_text(item.value) if isinstance(item, Json) else block_text(item)


def blocks_text(blocks: Iterable[ContentBlock], write: Callable[[ContentBlock], str] = block_text) -> str:
    """Blocks as one text with a blank line between them; those without text are passed over. A cited passage is a piece
    of the text beside it, so nothing stands between those."""
    text, last = "", None
    for block in blocks:
        if part := write(block):
            text += part if last is None or _runs_on(last, block) else f"\n\n{part}"
            last = block
    return text


def _runs_on(before: ContentBlock, block: ContentBlock) -> bool:
    pair = (before, block)
    return all(isinstance(one, (Text, Citations)) for one in pair) and any(isinstance(one, Citations) for one in pair)


def document_text(document: Document) -> str:
    """A document marked with its name, so that a model can tell it from the question."""
    return f'<document name="{document.name}">\n{document_body(document)}\n</document>'


def document_body(document: Document) -> str:
    """A document's context and its text. Raises ``UnsupportedError`` where it has no text, ``ValidationError`` where
    its bytes are not UTF-8, or are a PDF that cannot be read."""
    text = _source_text(document)
    return f"{document.context}\n\n{text}" if document.context else text


def _source_text(document: Document) -> str:
    match document.source:
        case DocumentText(text):
            return text
        case DocumentContent(chunks):
            return "\n\n".join(chunks)
        case Bytes(data):
            return _decoded(document, data)
        case S3Location(uri):
            raise UnsupportedError(f"document {document.name!r}: {uri} is not fetched; pass its text or bytes")
        case Unknown(tag):
            raise UnsupportedError(f"a document source of the kind {tag!r} is newer than this version of awsllm")
        case _:
            assert_never(document.source)


def _decoded(document: Document, data: bytes) -> str:
    if document.format == "pdf":
        return pdf_text(document.name, data)
    if document.format not in TEXT_FORMATS:
        what = f"document {document.name!r} is {document.format or 'of no stated format'}"
        raise UnsupportedError(
            f"{what}; those that can be written as text are {', '.join(TEXT_FORMATS)} and pdf: extract its text first"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValidationError(f"document {document.name!r} is not UTF-8 text: {error}") from error


def search_result_text(result: SearchResult) -> str:
    """A search result marked with where it is from."""
    passages = "\n\n".join(result.content)
    return f'<search_result source="{result.source}" title="{result.title}">\n{passages}\n</search_result>'


def json_text(value: JsonValue) -> str:
    """A JSON value as a model reads it."""
    try:
        return json.dumps(value, ensure_ascii=False)
    except TypeError:  # dates, decimals and the like, written as JSON text would carry them
        return msgspec.json.encode(value).decode()
