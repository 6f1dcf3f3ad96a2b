"""Content blocks of the Messages API, both ways.

A block is told by its member ``type``. Three things stand elsewhere than in the neutral values:

- the cache is marked on a block (``cache_control``), where Converse has a point behind it. A ``CachePoint`` therefore
  marks the block before it, and a mark is read as a block followed by a point. A block inside a tool result has no
  place for a point: its mark stays in its ``extra``;
- cited text is a text with a member ``citations``;
- what a tool of the service gave (``web_search_tool_result``, ``code_execution_tool_result`` …) is read as a
  ``ToolResult`` of that ``type``, with the content as one ``Json``: it has to be sent back as it came, encrypted
  passages included.

Redacted thinking is a text here and bytes in Converse: the text's UTF-8 (recordings of Converse decode so).

Most messages are plain text: what only documents, citations and refusals need is imported where it is used, so that a
first call does not wait for it.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar, assert_never

from awsllm.errors import UnsupportedError, ValidationError
from awsllm.types import (
    Audio,
    Bytes,
    CachePoint,
    Citations,
    ContentBlock,
    Document,
    DocumentContent,
    DocumentSource,
    DocumentText,
    GuardContent,
    Image,
    Json,
    JsonObject,
    JsonValue,
    MediaSource,
    Reasoning,
    S3Location,
    SearchResult,
    SystemContentBlock,
    Text,
    ToolAddition,
    ToolReference,
    ToolRemoval,
    ToolResult,
    ToolResultContent,
    ToolUse,
    Unknown,
    Video,
)
from awsllm.wire.reading import (
    blob,
    optional,
    optional_structure,
    present,
    required,
    structure,
    structures,
    unknown_members,
    without_none,
)

B = TypeVar("B")

_UNTITLED = "document"  # Converse demands a name, Messages no title
_PDF = "application/pdf"
_RESULT = "_tool_result"
_INVALID_JSON = "INVALID_JSON"  # the member that Anthropic's documentation of fine-grained streaming wraps it in


# --- cache marks -----------------------------------------------------------------------------------------------------


def encode_marked(blocks: Iterable[B], encode: Callable[[B], JsonObject | None]) -> list[JsonObject]:
    """Blocks, each with the mark of the cache point behind it. ``encode`` gives None for a block to leave out. Raises
    ``ValidationError`` for a point with nothing to mark."""
    wires: list[JsonObject] = []
    for block in blocks:
        if not isinstance(block, CachePoint):
            if (wire := encode(block)) is not None:
                wires.append(wire)
        elif not wires or wires[-1].get("type") in ("thinking", "redacted_thinking"):
            raise ValidationError(
                "a cache point marks the block before it, and there is none here that can be marked: put it behind a "
                "text, an image, a document, a tool use or a tool result"
            )
        else:
            wires[-1] = {**wires[-1], "cache_control": encode_cache_control(block)}
    return wires


def encode_cache_control(point: CachePoint) -> JsonObject:
    kind = "ephemeral" if point.type == "default" else point.type
    return without_none({"type": kind, "ttl": point.ttl}, point.extra)


def decode_cache_control(wire: JsonObject) -> tuple[CachePoint, ...]:
    """The point behind a block that is marked; else nothing."""
    mark = optional(wire, "cache_control", dict)
    if mark is None:
        return ()
    kind = required(mark, "type", str)
    extra = unknown_members(mark, _CACHE_CONTROL_MEMBERS)
    return (CachePoint("default" if kind == "ephemeral" else kind, optional(mark, "ttl", str), extra=extra),)


def _unmarked(wire: JsonObject) -> JsonObject:
    return {name: value for name, value in wire.items() if name != "cache_control"}


# --- blocks of a message ---------------------------------------------------------------------------------------------


def encode_content(blocks: Iterable[ContentBlock]) -> list[JsonObject]:
    """The content of a message. Raises ``UnsupportedError`` for what the dialect has no place for."""
    return encode_marked(blocks, encode_block)


def encode_block(block: ContentBlock) -> JsonObject | None:
    """One block; None for thinking that another model signed, or none: it would be refused."""
    match block:
        case Text():  # as most are
            return _encode_text(block)
        case Image() | Document() | SearchResult():
            return _encode_common(block)
        case ToolUse():
            return _encode_tool_use(block)
        case ToolResult():
            return _encode_tool_result(block)
        case Reasoning():
            return _encode_reasoning(block) if is_own_reasoning(block) else None
        case Citations():
            return _encode_citations(block)
        case ToolAddition():
            return without_none({"type": "tool_addition", "tool": _encode_reference(block.tool)}, block.extra)
        case ToolRemoval():
            return without_none({"type": "tool_removal", "tool": _encode_reference(block.tool)}, block.extra)
        case Audio() | Video() | GuardContent() | Unknown() | CachePoint():
            raise _unsupported_block(block)
        case _:
            assert_never(block)


def decode_content(wire: JsonObject) -> tuple[ContentBlock, ...]:
    """The content of a message: a string, or blocks and the cache points behind them."""
    content = wire.get("content")
    if isinstance(content, str):
        return (Text(content),)
    return tuple(block for blocks in structures(wire, "content", _decode_marked) for block in blocks)


def _decode_marked(wire: JsonObject) -> tuple[ContentBlock, ...]:
    if wire.get("cache_control") is None:
        return (decode_block(wire),)
    return (decode_block(_unmarked(wire)), *decode_cache_control(wire))


def decode_block(wire: JsonObject) -> ContentBlock:
    """One block, without its cache mark."""
    kind = required(wire, "type", str)
    if decode := _BLOCKS.get(kind):
        return decode(wire)
    if kind.endswith(_RESULT):
        return _decode_service_result(wire)
    return Unknown(kind, wire)


def encode_system(blocks: Iterable[SystemContentBlock]) -> list[JsonObject]:
    return encode_marked(blocks, _encode_system_block)


def _encode_system_block(block: SystemContentBlock) -> JsonObject:
    match block:
        case Text():
            return _encode_text(block)
        case GuardContent() | Unknown() | CachePoint():
            raise _unsupported_block(block)
        case _:
            assert_never(block)


def decode_system(wire: JsonObject) -> tuple[SystemContentBlock, ...]:
    """The member ``system``: a string, or texts and the cache points behind them."""
    system = wire.get("system")
    if isinstance(system, str):
        return (Text(system),) if system else ()
    return tuple(block for blocks in structures(wire, "system", _decode_system_block) for block in blocks)


def _decode_system_block(wire: JsonObject) -> tuple[SystemContentBlock, ...]:
    text = optional(wire, "text", str)
    if text is None:
        return (Unknown(required(wire, "type", str), wire),)
    return (Text(text, extra=unknown_members(wire, _TEXT_MEMBERS | {"cache_control"})), *decode_cache_control(wire))


def unsupported(what: str) -> UnsupportedError:
    return UnsupportedError(f"{what} cannot be sent in the Anthropic Messages format")


def _unsupported_block(block: ContentBlock | ToolResultContent, where: str = "") -> UnsupportedError:
    from awsllm.wire.text.blocks import named

    return unsupported(f"{named(block)}{where}")


# --- text, images, documents, passages -------------------------------------------------------------------------------


def _encode_common(block: Text | Image | Document | SearchResult) -> JsonObject:
    match block:
        case Text():
            return _encode_text(block)
        case Image(format, source):
            data = _image_bytes(source)
            wire = {"type": "base64", "media_type": f"image/{format}", "data": b64encode(data).decode()}
            return without_none({"type": "image", "source": wire}, block.extra)
        case Document():
            return _encode_document(block)
        case SearchResult(source, title, content, citations):
            members = {
                "type": "search_result",
                "source": source,
                "title": title,
                "content": [_text(text) for text in content],
                "citations": _encode_enabled(citations),
            }
            return without_none(members, block.extra)
        case _:
            assert_never(block)


def _encode_text(block: Text) -> JsonObject:
    wire = _text(block.text)
    return {**wire, **block.extra} if block.extra else wire


def _text(text: str) -> JsonObject:
    return {"type": "text", "text": text}


def _image_bytes(source: MediaSource) -> bytes:
    match source:
        case Bytes(data):
            return data
        case S3Location(uri):
            raise _elsewhere(uri, "an image")
        case Unknown(tag):
            raise unsupported(f"an image whose source is of the kind {tag!r}")
        case _:
            assert_never(source)


def _elsewhere(uri: str, what: str) -> UnsupportedError:
    return UnsupportedError(f"{uri}: the Anthropic Messages format takes {what} as bytes, not from S3")


def _decode_text(wire: JsonObject) -> Text | Citations:
    text = required(wire, "text", str)
    extra = unknown_members(wire, _TEXT_MEMBERS)
    if wire.get("citations") is None:
        return Text(text, extra=extra)
    from awsllm.wire.anthropic.citations import decode_citation

    if citations := structures(wire, "citations", decode_citation):
        return Citations((Text(text),) if text else (), citations, extra=extra)
    return Text(text, extra=extra)


def _encode_citations(block: Citations) -> JsonObject:
    from awsllm.wire.anthropic.citations import encode_citation

    for item in block.content:
        if isinstance(item, Unknown):
            raise unsupported(f"cited content of the kind {item.tag!r}")
    text = "".join(item.text for item in block.content if isinstance(item, Text))
    citations = [wire for citation in block.citations if (wire := encode_citation(citation))]
    return without_none({**_text(text), "citations": citations or None}, block.extra)


def _decode_image(wire: JsonObject) -> Image:
    """A source that is no bytes (``url``, ``file``) has no format; nothing is fetched on a caller's behalf."""
    extra = unknown_members(wire, _IMAGE_MEMBERS)
    source = required(wire, "source", dict)
    kind = required(source, "type", str)
    if kind != "base64":
        return Image("", Unknown(kind, source), extra=extra)
    media_type, data = structure(wire, "source", _decode_base64)
    return Image(media_type.removeprefix("image/"), Bytes(data), extra=extra)


def _decode_base64(source: JsonObject) -> tuple[str, bytes]:
    return required(source, "media_type", str), blob(required(source, "data", str), "data")


def _encode_enabled(citations: bool | None) -> JsonObject | None:
    return None if citations is None else {"enabled": citations}


def _decode_enabled(wire: JsonObject) -> bool | None:
    return optional_structure(wire, "citations", lambda citations: optional(citations, "enabled", bool))


def _encode_document(block: Document) -> JsonObject:
    members = {
        "type": "document",
        "source": _encode_document_source(block),
        "title": block.name,
        "context": block.context,
        "citations": _encode_enabled(block.citations),
    }
    return without_none(members, block.extra)


def _encode_document_source(block: Document) -> JsonObject:
    from awsllm.wire.text.blocks import TEXT_FORMATS

    match block.source:
        case DocumentText(text):
            return _plain(text)
        case DocumentContent(chunks):
            return {"type": "content", "content": [_text(chunk) for chunk in chunks]}
        case Bytes(data) if block.format == "pdf":
            return {"type": "base64", "media_type": _PDF, "data": b64encode(data).decode()}
        case Bytes(data) if block.format in TEXT_FORMATS:
            return _plain(_utf8(block.name, data))
        case Bytes():
            raise UnsupportedError(
                f"document {block.name!r} is {block.format or 'of no stated format'}; the Anthropic Messages format "
                f"takes pdf and {', '.join(TEXT_FORMATS)}: extract its text first"
            )
        case S3Location(uri):
            raise _elsewhere(uri, "a document")
        case Unknown(tag):
            raise unsupported(f"a document whose source is of the kind {tag!r}")
        case _:
            assert_never(block.source)


def _plain(text: str) -> JsonObject:
    return {"type": "text", "media_type": "text/plain", "data": text}


def _utf8(name: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValidationError(f"document {name!r} is not UTF-8 text: {error}") from error


def _decode_document(wire: JsonObject) -> Document:
    kind, source = structure(wire, "source", _decode_document_source)
    return Document(
        name=optional(wire, "title", str) or _UNTITLED,
        source=source,
        format=kind,
        context=optional(wire, "context", str),
        citations=_decode_enabled(wire),
        extra=unknown_members(wire, _DOCUMENT_MEMBERS),
    )


def _decode_document_source(source: JsonObject) -> tuple[str | None, DocumentSource]:
    """Format and source. Chunks that are more than texts, and sources to be fetched, are kept as they are."""
    kind = required(source, "type", str)
    if kind == "base64":
        media_type, data = _decode_base64(source)
        return media_type.rpartition("/")[2], Bytes(data)
    if kind == "text":
        return None, DocumentText(required(source, "data", str))
    if kind == "content":
        chunks = _plain_texts(source.get("content"))
        return None, Unknown(kind, source) if chunks is None else DocumentContent(chunks)
    return None, Unknown(kind, source)


def _plain_texts(content: JsonValue) -> tuple[str, ...] | None:
    """The texts of a list of nothing but texts; None for any other."""
    if isinstance(content, str):
        return (content,)
    if not isinstance(content, list):
        return None
    items = [item for item in content if isinstance(item, dict) and item.keys() <= _PLAIN_TEXT]
    texts = tuple(text for item in items if isinstance(text := item.get("text"), str))
    return texts if len(texts) == len(content) else None


def _decode_search_result(wire: JsonObject) -> SearchResult | Unknown:
    content = _plain_texts(required(wire, "content", list))
    if content is None:
        return Unknown("search_result", wire)
    return SearchResult(
        required(wire, "source", str),
        required(wire, "title", str),
        content,
        _decode_enabled(wire),
        extra=unknown_members(wire, _SEARCH_RESULT_MEMBERS),
    )


# --- tools -----------------------------------------------------------------------------------------------------------


def _encode_tool_use(block: ToolUse) -> JsonObject:
    """Arguments that did not parse are a text; the API takes objects only."""
    arguments = block.input if isinstance(block.input, dict) else {_INVALID_JSON: block.input}
    members = {"type": block.type or "tool_use", "id": block.id, "name": block.name, "input": arguments}
    return without_none(members, block.extra)


def _decode_tool_use(wire: JsonObject) -> ToolUse:
    kind = required(wire, "type", str)
    return ToolUse(
        required(wire, "id", str),
        required(wire, "name", str),
        present(wire, "input"),
        None if kind == "tool_use" else kind,
        extra=tool_use_extra(wire),
    )


def tool_use_extra(wire: JsonObject) -> JsonObject | None:
    return unknown_members(wire, _TOOL_USE_MEMBERS)


def _encode_tool_result(block: ToolResult) -> JsonObject:
    if block.type is not None and block.type != "tool_result":
        return _encode_service_result(block)
    members = {
        "type": "tool_result",
        "tool_use_id": block.tool_use_id,
        "content": [_encode_result_item(item) for item in block.content],
        "is_error": None if block.status is None else block.status == "error",
    }
    return without_none(members, block.extra)


def _encode_result_item(item: ToolResultContent) -> JsonObject:
    match item:
        case Text() | Image() | Document() | SearchResult():
            return _encode_common(item)
        case Json(value):
            from awsllm.wire.text.blocks import json_text

            return _text(json_text(value))
        case Video() | Unknown():
            raise _unsupported_block(item, " in a tool result")
        case _:
            assert_never(item)


def _decode_tool_result(wire: JsonObject) -> ToolResult:
    content = wire.get("content")
    items = (Text(content),) if isinstance(content, str) else structures(wire, "content", _decode_result_item)
    is_error = optional(wire, "is_error", bool)
    return ToolResult(
        required(wire, "tool_use_id", str),
        items,
        None if is_error is None else "error" if is_error else "success",
        extra=unknown_members(wire, _TOOL_RESULT_MEMBERS),
    )


def _decode_result_item(wire: JsonObject) -> ToolResultContent:
    block = decode_block(wire)
    if isinstance(block, (Text, Image, Document, SearchResult)):
        return block
    return Unknown(required(wire, "type", str), wire)


def _encode_service_result(block: ToolResult) -> JsonObject:
    match block.content:
        case (Json(value),):
            return without_none({"type": block.type, "tool_use_id": block.tool_use_id, "content": value}, block.extra)
        case _:
            raise unsupported(f"a tool result of the type {block.type!r} that is not one JSON value")


def _decode_service_result(wire: JsonObject) -> ToolResult:
    content = present(wire, "content")
    failed = isinstance(content, dict) and str(content.get("type")).endswith("_error")
    return ToolResult(
        required(wire, "tool_use_id", str),
        (Json(content),),
        "error" if failed else None,
        required(wire, "type", str),
        extra=unknown_members(wire, _SERVICE_RESULT_MEMBERS),
    )


def _encode_reference(tool: ToolReference) -> JsonObject:
    return without_none({"type": tool.type, "name": tool.name, "server_name": tool.server_name})


def _decode_reference(wire: JsonObject) -> ToolReference:
    return structure(
        wire,
        "tool",
        lambda tool: ToolReference(
            optional(tool, "type", str), optional(tool, "name", str), optional(tool, "server_name", str)
        ),
    )


# --- thinking --------------------------------------------------------------------------------------------------------


def is_own_reasoning(block: Reasoning) -> bool:
    """Whether it has what the API demands of thinking: a signature, or a text for data."""
    return block.signature is not None if block.redacted is None else _redacted_data(block.redacted) is not None


def _redacted_data(redacted: bytes) -> str | None:
    try:
        return redacted.decode()
    except UnicodeDecodeError:
        return None


def _encode_reasoning(block: Reasoning) -> JsonObject:
    if block.redacted is not None:
        return without_none({"type": "redacted_thinking", "data": _redacted_data(block.redacted)}, block.extra)
    members = {"type": "thinking", "thinking": block.text, "signature": block.signature}
    return without_none(members, block.extra)


def _decode_thinking(wire: JsonObject) -> Reasoning:
    extra = unknown_members(wire, _THINKING_MEMBERS)
    return Reasoning(required(wire, "thinking", str), optional(wire, "signature", str) or None, extra=extra)


def _decode_redacted(wire: JsonObject) -> Reasoning:
    extra = unknown_members(wire, _REDACTED_MEMBERS)
    return Reasoning(redacted=required(wire, "data", str).encode(), extra=extra)


# --- tables: a block's type, its known members -----------------------------------------------------------------------

_CACHE_CONTROL_MEMBERS = frozenset({"type", "ttl"})
_PLAIN_TEXT = frozenset({"type", "text"})
_TEXT_MEMBERS = frozenset({"type", "text", "citations"})
_IMAGE_MEMBERS = frozenset({"type", "source"})
_DOCUMENT_MEMBERS = frozenset({"type", "source", "title", "context", "citations"})
_SEARCH_RESULT_MEMBERS = frozenset({"type", "source", "title", "content", "citations"})
_TOOL_USE_MEMBERS = frozenset({"type", "id", "name", "input"})
_TOOL_RESULT_MEMBERS = frozenset({"type", "tool_use_id", "content", "is_error"})
_SERVICE_RESULT_MEMBERS = frozenset({"type", "tool_use_id", "content"})
_THINKING_MEMBERS = frozenset({"type", "thinking", "signature"})
_REDACTED_MEMBERS = frozenset({"type", "data"})
_CHANGE_MEMBERS = frozenset({"type", "tool"})

_BLOCKS: Mapping[str, Callable[[JsonObject], ContentBlock]] = {
    "text": _decode_text,
    "image": _decode_image,
    "document": _decode_document,
    "search_result": _decode_search_result,
    "thinking": _decode_thinking,
    "redacted_thinking": _decode_redacted,
    "tool_use": _decode_tool_use,
    "server_tool_use": _decode_tool_use,
    "mcp_tool_use": _decode_tool_use,
    "tool_result": _decode_tool_result,
    "tool_addition": lambda wire: ToolAddition(_decode_reference(wire), extra=unknown_members(wire, _CHANGE_MEMBERS)),
    "tool_removal": lambda wire: ToolRemoval(_decode_reference(wire), extra=unknown_members(wire, _CHANGE_MEMBERS)),
}
