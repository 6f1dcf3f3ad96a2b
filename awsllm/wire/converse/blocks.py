"""Converse's content blocks, messages on the wire, both ways.

Encoding is a ``match`` over each union and leaves binary content as raw ``bytes`` (``msgspec.json.encode`` makes base64
of it); decoding is a table from the union's tag and takes raw bytes or base64. A variant newer than this version is
read as ``Unknown`` and cannot be written; a newer member of a known block is kept in the block's ``extra`` and
written back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import assert_never

from awsllm.errors import UnsupportedError
from awsllm.types import (
    SERVER_TOOL_USE,
    Audio,
    Bytes,
    CachePoint,
    Citation,
    CitationLocation,
    Citations,
    ContentBlock,
    Document,
    DocumentContent,
    DocumentLocation,
    DocumentSource,
    DocumentText,
    GuardContent,
    GuardImage,
    GuardText,
    Image,
    Json,
    JsonObject,
    MediaSource,
    Message,
    Reasoning,
    S3Location,
    SearchResult,
    SearchResultLocation,
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
    WebLocation,
)
from awsllm.wire.reading import (
    MalformedError,
    blob,
    member,
    optional,
    optional_structure,
    present,
    required,
    strings,
    structure,
    structures,
    union,
    unknown_members,
    without_none,
)


def unwritable(what: str, tag: str) -> UnsupportedError:
    """The error for a variant newer than this version of awsllm: readable, not writable."""
    return UnsupportedError(f"{what} {tag!r} is newer than this version of awsllm and cannot be sent")


# --- messages --------------------------------------------------------------------------------------------------------


def encode_message(message: Message) -> JsonObject:
    return {"role": message.role, "content": [encode_block(block) for block in message.content]}


def decode_message(wire: JsonObject) -> Message:
    if wire.get("content") is None:
        raise MalformedError("is required", "content")
    return Message(required(wire, "role", str), structures(wire, "content", decode_block))


def encode_block(block: ContentBlock) -> JsonObject:
    """One content block of a message. Raises ``UnsupportedError`` for ``Unknown``."""
    match block:
        case Text() | Image() | Document() | Video() | ToolUse() | ToolResult() | SearchResult():
            return _encode_common(block)
        case Audio():
            return {"audio": _encode_media(block, block.error)}
        case Reasoning():
            return {"reasoningContent": _encode_reasoning(block)}
        case Citations():
            return {"citationsContent": _encode_citations(block)}
        case ToolAddition():
            return {"toolAddition": without_none({"tool": _encode_reference(block.tool)}, block.extra)}
        case ToolRemoval():
            return {"toolRemoval": without_none({"tool": _encode_reference(block.tool)}, block.extra)}
        case CachePoint() | GuardContent():
            return encode_system_block(block)
        case Unknown(tag):
            raise unwritable("content block", tag)
        case _:
            assert_never(block)


def _encode_common(block: Text | Image | Document | Video | ToolUse | ToolResult | SearchResult) -> JsonObject:
    match block:
        case Text():
            return without_none({"text": block.text}, block.extra)
        case Image():
            return {"image": _encode_media(block, block.error)}
        case Document():
            return {"document": _encode_document(block)}
        case Video():
            return {"video": _encode_media(block, None)}
        case ToolUse():
            # Some models give other types, and none is taken back (ToolUseType of botocore's service model).
            kind = block.type if block.type == SERVER_TOOL_USE else None
            members = {"toolUseId": block.id, "name": block.name, "type": kind}
            return {"toolUse": {**without_none(members, block.extra), "input": block.input}}
        case ToolResult():
            return {"toolResult": _encode_tool_result(block)}
        case SearchResult():
            return {"searchResult": _encode_search_result(block)}
        case _:
            assert_never(block)


def decode_block(wire: JsonObject) -> ContentBlock:
    return union(wire, _BLOCKS)


def encode_system_block(block: SystemContentBlock) -> JsonObject:
    match block:
        case Text():
            return _encode_common(block)
        case CachePoint():
            return {"cachePoint": without_none({"type": block.type, "ttl": block.ttl}, block.extra)}
        case GuardContent():
            return {"guardContent": without_none(_encode_guard(block), block.extra)}
        case Unknown(tag):
            raise unwritable("system block", tag)
        case _:
            assert_never(block)


def decode_system_block(wire: JsonObject) -> SystemContentBlock:
    return union(wire, _SYSTEM_BLOCKS)


def decode_text(wire: JsonObject) -> Text:
    """The variant ``text`` of any union."""
    return Text(required(wire, "text", str))


def decode_text_union(wire: JsonObject) -> Text | Unknown:
    """A union whose only variant so far is ``text``."""
    return union(wire, _TEXT_ONLY)


def encode_text_union(item: Text | Unknown) -> JsonObject:
    if isinstance(item, Unknown):
        raise unwritable("citation content", item.tag)
    return _encode_common(item)


# --- images, documents, audio, video ---------------------------------------------------------------------------------


def encode_source(source: DocumentSource) -> JsonObject:
    match source:
        case Bytes(data):
            return {"bytes": data}
        case S3Location():
            return {"s3Location": without_none({"uri": source.uri, "bucketOwner": source.bucket_owner})}
        case DocumentText(text):
            return {"text": text}
        case DocumentContent(chunks):
            return {"content": [{"text": chunk} for chunk in chunks]}
        case Unknown(tag):
            raise unwritable("source", tag)
        case _:
            assert_never(source)


def decode_media_source(wire: JsonObject) -> MediaSource:
    return union(wire, _MEDIA_SOURCES)


def _decode_bytes(wire: JsonObject) -> Bytes:
    return Bytes(blob(wire["bytes"], "bytes"))


def _decode_s3(wire: JsonObject) -> S3Location:
    return S3Location(required(wire, "uri", str), optional(wire, "bucketOwner", str))


def _decode_document_source(wire: JsonObject) -> DocumentSource:
    return union(wire, _DOCUMENT_SOURCES)


def _decode_chunk(wire: JsonObject) -> str:
    return required(wire, "text", str)


def _encode_media(block: Image | Audio | Video, error: str | None) -> JsonObject:
    members: JsonObject = {"format": block.format, "source": encode_source(block.source)}
    if error is not None:
        members["error"] = {"message": error}
    return without_none(members, block.extra)


def decode_error_message(wire: JsonObject) -> str:
    """An ``ErrorBlock``, whose message is optional."""
    return optional(wire, "message", str) or ""


def _decode_image(wire: JsonObject) -> Image:
    source = structure(wire, "source", decode_media_source)
    error = optional_structure(wire, "error", decode_error_message)
    return Image(required(wire, "format", str), source, error, extra=unknown_members(wire, _MEDIA_MEMBERS))


def _decode_audio(wire: JsonObject) -> Audio:
    source = structure(wire, "source", decode_media_source)
    error = optional_structure(wire, "error", decode_error_message)
    return Audio(required(wire, "format", str), source, error, extra=unknown_members(wire, _MEDIA_MEMBERS))


def _decode_video(wire: JsonObject) -> Video:
    source = structure(wire, "source", decode_media_source)
    return Video(required(wire, "format", str), source, extra=unknown_members(wire, _VIDEO_MEMBERS))


def _encode_enabled(citations: bool | None) -> JsonObject | None:
    return None if citations is None else {"enabled": citations}


def _decode_enabled(wire: JsonObject) -> bool:
    return required(wire, "enabled", bool)


def _encode_document(block: Document) -> JsonObject:
    members = {
        "format": block.format,
        "name": block.name,
        "source": encode_source(block.source),
        "context": block.context,
        "citations": _encode_enabled(block.citations),
    }
    return without_none(members, block.extra)


def _decode_document(wire: JsonObject) -> Document:
    return Document(
        name=required(wire, "name", str),
        source=structure(wire, "source", _decode_document_source),
        format=optional(wire, "format", str),
        context=optional(wire, "context", str),
        citations=optional_structure(wire, "citations", _decode_enabled),
        extra=unknown_members(wire, _DOCUMENT_MEMBERS),
    )


# --- tools' requests and results -------------------------------------------------------------------------------------


def _decode_tool_use(wire: JsonObject) -> ToolUse:
    return ToolUse(
        required(wire, "toolUseId", str),
        required(wire, "name", str),
        present(wire, "input"),
        optional(wire, "type", str),
        extra=unknown_members(wire, _TOOL_USE_MEMBERS),
    )


def _encode_tool_result(block: ToolResult) -> JsonObject:
    members = {
        "toolUseId": block.tool_use_id,
        "content": [encode_tool_result_content(item) for item in block.content],
        "status": block.status,
        "type": block.type,
    }
    return without_none(members, block.extra)


def _decode_tool_result(wire: JsonObject) -> ToolResult:
    return ToolResult(
        required(wire, "toolUseId", str),
        structures(wire, "content", _decode_tool_result_content),
        optional(wire, "status", str),
        optional(wire, "type", str),
        extra=unknown_members(wire, _TOOL_RESULT_MEMBERS),
    )


def encode_tool_result_content(item: ToolResultContent) -> JsonObject:
    """One item of a tool's answer, whole or (text and JSON only) in a delta."""
    match item:
        case Json():
            return {"json": item.value, **(item.extra or {})}
        case Text() | Image() | Document() | Video() | SearchResult():
            return _encode_common(item)
        case Unknown(tag):
            raise unwritable("tool result content", tag)
        case _:
            assert_never(item)


def _decode_tool_result_content(wire: JsonObject) -> ToolResultContent:
    return Json(None) if wire == _JSON_NULL else union(wire, _TOOL_RESULT_CONTENT)


def decode_tool_result_delta(wire: JsonObject) -> Text | Json | Unknown:
    return Json(None) if wire == _JSON_NULL else union(wire, _TOOL_RESULT_DELTA)


def _decode_json(wire: JsonObject) -> Json:
    return Json(wire["json"])


def _encode_search_result(block: SearchResult) -> JsonObject:
    members = {
        "source": block.source,
        "title": block.title,
        "content": [{"text": text} for text in block.content],
        "citations": _encode_enabled(block.citations),
    }
    return without_none(members, block.extra)


def _decode_search_result(wire: JsonObject) -> SearchResult:
    return SearchResult(
        required(wire, "source", str),
        required(wire, "title", str),
        structures(wire, "content", _decode_chunk),
        optional_structure(wire, "citations", _decode_enabled),
        extra=unknown_members(wire, _SEARCH_RESULT_MEMBERS),
    )


# --- thinking, guardrails, cache points ------------------------------------------------------------------------------


def _encode_reasoning(block: Reasoning) -> JsonObject:
    if block.redacted is not None:
        return {"redactedContent": block.redacted, **(block.extra or {})}
    return {"reasoningText": without_none({"text": block.text, "signature": block.signature}, block.extra)}


def _decode_reasoning(wire: JsonObject) -> Reasoning | Unknown:
    reasoning = union(wire, _REASONING)
    return Unknown("reasoningContent", wire) if isinstance(reasoning, Unknown) else reasoning


def _decode_reasoning_text(wire: JsonObject) -> Reasoning:
    return Reasoning(
        required(wire, "text", str), optional(wire, "signature", str), extra=unknown_members(wire, _REASONING_MEMBERS)
    )


def _decode_redacted(wire: JsonObject) -> Reasoning:
    return Reasoning(redacted=blob(wire["redactedContent"], "redactedContent"))


def decode_cache_point(wire: JsonObject) -> CachePoint:
    return CachePoint(
        required(wire, "type", str), optional(wire, "ttl", str), extra=unknown_members(wire, _CACHE_POINT_MEMBERS)
    )


def _encode_guard(block: GuardContent) -> JsonObject:
    match block.content:
        case GuardText(text, qualifiers):
            return {"text": without_none({"text": text, "qualifiers": list(qualifiers) or None})}
        case GuardImage(format, source):
            return {"image": {"format": format, "source": encode_source(source)}}
        case Unknown(tag):
            raise unwritable("guard content", tag)
        case _:
            assert_never(block.content)


def _decode_guard(wire: JsonObject) -> GuardContent:
    return GuardContent(content=union(wire, _GUARD_CONTENT))


def _decode_guard_text(wire: JsonObject) -> GuardText:
    return GuardText(required(wire, "text", str), strings(wire, "qualifiers"))


def _decode_guard_image(wire: JsonObject) -> GuardImage:
    return GuardImage(required(wire, "format", str), structure(wire, "source", _decode_guard_source))


def _decode_guard_source(wire: JsonObject) -> Bytes | Unknown:
    return union(wire, _BYTES_ONLY)


# --- citations -------------------------------------------------------------------------------------------------------


def _encode_citations(block: Citations) -> JsonObject:
    members = {
        "content": [encode_text_union(item) for item in block.content],
        "citations": [encode_citation(citation) for citation in block.citations],
    }
    return without_none(members, block.extra)


def _decode_citations(wire: JsonObject) -> Citations:
    return Citations(
        structures(wire, "content", decode_text_union),
        structures(wire, "citations", decode_citation),
        extra=unknown_members(wire, _CITATIONS_MEMBERS),
    )


def encode_citation(citation: Citation) -> JsonObject:
    members = {
        "title": citation.title,
        "source": citation.source,
        "sourceContent": [encode_text_union(item) for item in citation.source_content] or None,
        "location": None if citation.location is None else _encode_location(citation.location),
    }
    return without_none(members, citation.extra)


def decode_citation(wire: JsonObject) -> Citation:
    return Citation(
        optional(wire, "title", str),
        optional(wire, "source", str),
        structures(wire, "sourceContent", decode_text_union),
        optional_structure(wire, "location", _decode_location),
        unknown_members(wire, _CITATION_MEMBERS),
    )


def _encode_location(location: CitationLocation) -> JsonObject:
    match location:
        case WebLocation(url, domain):
            return {"web": without_none({"url": url, "domain": domain})}
        case DocumentLocation(unit, index, start, end):
            if unit not in _DOCUMENT_UNITS:
                raise UnsupportedError(f"a document location counts in char, page or chunk, not in {unit!r}")
            return {_DOCUMENT_UNITS[unit]: without_none({"documentIndex": index, "start": start, "end": end})}
        case SearchResultLocation(index, start, end):
            return {"searchResultLocation": without_none({"searchResultIndex": index, "start": start, "end": end})}
        case Unknown(tag):
            raise unwritable("citation location", tag)
        case _:
            assert_never(location)


def _decode_location(wire: JsonObject) -> CitationLocation:
    return union(wire, _LOCATIONS)


def _decode_web(wire: JsonObject) -> WebLocation:
    return WebLocation(optional(wire, "url", str), optional(wire, "domain", str))


def _decode_search_location(wire: JsonObject) -> SearchResultLocation:
    return SearchResultLocation(
        optional(wire, "searchResultIndex", int), optional(wire, "start", int), optional(wire, "end", int)
    )


def _document_location(unit: str) -> Callable[[JsonObject], DocumentLocation]:
    def decode(wire: JsonObject) -> DocumentLocation:
        index = optional(wire, "documentIndex", int)
        return DocumentLocation(unit, index, optional(wire, "start", int), optional(wire, "end", int))

    return member(_DOCUMENT_UNITS[unit], decode)


# --- tools that come and go ------------------------------------------------------------------------------------------


def _encode_reference(tool: ToolReference) -> JsonObject:
    return without_none({"type": tool.type, "name": tool.name, "serverName": tool.server_name})


def _decode_reference(wire: JsonObject) -> ToolReference:
    return ToolReference(optional(wire, "type", str), optional(wire, "name", str), optional(wire, "serverName", str))


def _decode_addition(wire: JsonObject) -> ToolAddition:
    tool = structure(wire, "tool", _decode_reference)
    return ToolAddition(tool, extra=unknown_members(wire, _TOOL_MEMBERS))


def _decode_removal(wire: JsonObject) -> ToolRemoval:
    tool = structure(wire, "tool", _decode_reference)
    return ToolRemoval(tool, extra=unknown_members(wire, _TOOL_MEMBERS))


# --- tables: a union's tags, a structure's known members -------------------------------------------------------------

_MEDIA_MEMBERS = frozenset({"format", "source", "error"})
_VIDEO_MEMBERS = frozenset({"format", "source"})
_DOCUMENT_MEMBERS = frozenset({"format", "name", "source", "context", "citations"})
_TOOL_USE_MEMBERS = frozenset({"toolUseId", "name", "input", "type"})
_TOOL_RESULT_MEMBERS = frozenset({"toolUseId", "content", "status", "type"})
_SEARCH_RESULT_MEMBERS = frozenset({"source", "title", "content", "citations"})
_REASONING_MEMBERS = frozenset({"text", "signature"})
_CACHE_POINT_MEMBERS = frozenset({"type", "ttl"})
_CITATIONS_MEMBERS = frozenset({"content", "citations"})
_CITATION_MEMBERS = frozenset({"title", "source", "sourceContent", "location"})
_TOOL_MEMBERS = frozenset({"tool"})
_JSON_NULL = {"json": None}
_DOCUMENT_UNITS = {"char": "documentChar", "page": "documentPage", "chunk": "documentChunk"}

_TEXT_ONLY: Mapping[str, Callable[[JsonObject], Text]] = {"text": decode_text}
_BYTES_ONLY: Mapping[str, Callable[[JsonObject], Bytes]] = {"bytes": _decode_bytes}
_MEDIA_SOURCES: Mapping[str, Callable[[JsonObject], MediaSource]] = {
    "bytes": _decode_bytes,
    "s3Location": member("s3Location", _decode_s3),
}
_DOCUMENT_SOURCES: Mapping[str, Callable[[JsonObject], DocumentSource]] = {
    "bytes": _decode_bytes,
    "s3Location": member("s3Location", _decode_s3),
    "text": lambda wire: DocumentText(required(wire, "text", str)),
    "content": lambda wire: DocumentContent(structures(wire, "content", _decode_chunk)),
}
_GUARD_CONTENT: Mapping[str, Callable[[JsonObject], GuardText | GuardImage]] = {
    "text": member("text", _decode_guard_text),
    "image": member("image", _decode_guard_image),
}
_REASONING: Mapping[str, Callable[[JsonObject], Reasoning]] = {
    "reasoningText": member("reasoningText", _decode_reasoning_text),
    "redactedContent": _decode_redacted,
}
_LOCATIONS: Mapping[str, Callable[[JsonObject], CitationLocation]] = {
    "web": member("web", _decode_web),
    "documentChar": _document_location("char"),
    "documentPage": _document_location("page"),
    "documentChunk": _document_location("chunk"),
    "searchResultLocation": member("searchResultLocation", _decode_search_location),
}
_SYSTEM_BLOCKS: Mapping[str, Callable[[JsonObject], Text | GuardContent | CachePoint]] = {
    "text": decode_text,
    "guardContent": member("guardContent", _decode_guard),
    "cachePoint": member("cachePoint", decode_cache_point),
}
_BLOCKS: Mapping[str, Callable[[JsonObject], ContentBlock]] = {
    **_SYSTEM_BLOCKS,
    "image": member("image", _decode_image),
    "document": member("document", _decode_document),
    "video": member("video", _decode_video),
    "audio": member("audio", _decode_audio),
    "toolUse": member("toolUse", _decode_tool_use),
    "toolResult": member("toolResult", _decode_tool_result),
    "reasoningContent": member("reasoningContent", _decode_reasoning),
    "citationsContent": member("citationsContent", _decode_citations),
    "searchResult": member("searchResult", _decode_search_result),
    "toolAddition": member("toolAddition", _decode_addition),
    "toolRemoval": member("toolRemoval", _decode_removal),
}
_TOOL_RESULT_DELTA: Mapping[str, Callable[[JsonObject], Text | Json]] = {"text": decode_text, "json": _decode_json}
_TOOL_RESULT_CONTENT: Mapping[str, Callable[[JsonObject], ToolResultContent]] = {
    "text": decode_text,
    "json": _decode_json,
    "image": member("image", _decode_image),
    "document": member("document", _decode_document),
    "video": member("video", _decode_video),
    "searchResult": member("searchResult", _decode_search_result),
}
