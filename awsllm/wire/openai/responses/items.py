"""Items of the Responses API and content blocks, one to one.

A reasoning item must be sent back as it came: its id, its encrypted content, each part of its summary. All of it but
the words stands in the block's signature, as JSON behind a mark, so that it outlives saving, loading and a tool loop;
the words are the block's text. Where a text was changed since, it is one part.

The arguments of a custom tool are a text and no JSON: they are ``{"input": …}`` here. Items that the service makes and
reads by itself (web search, code interpreter, MCP, compaction …) are server tool uses whose input is the whole item.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from typing import Any, assert_never

import msgspec

from awsllm.errors import UnsupportedError, ValidationError
from awsllm.types import (
    SERVER_TOOL_USE,
    Audio,
    Bytes,
    CachePoint,
    Citation,
    Citations,
    ContentBlock,
    Document,
    GuardContent,
    Image,
    JsonObject,
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
    WebLocation,
)
from awsllm.wire import formats
from awsllm.wire.converse.foreign import CUSTOM, SIGNED, is_responses_item, is_responses_thinking
from awsllm.wire.openai.request import encode_arguments
from awsllm.wire.reading import blob, objects, optional, required, unknown_members
from awsllm.wire.text.blocks import TEXT_FORMATS, block_text, result_item_text

TITLE = "OpenAI's Responses API"

_BETWEEN = "\n\n"
DOCUMENT_TYPES = {name: kind for name, kind in formats.DOCUMENT_TYPES.items() if name not in TEXT_FORMATS}
"""Of files that are no text."""
_SUFFIXES = {mime: suffix for suffix, mime in DOCUMENT_TYPES.items()}
_CALL_MEMBERS = frozenset(("type", "id", "call_id", "name", "arguments", "input", "status"))


def unsupported(what: str) -> UnsupportedError:
    return UnsupportedError(f"{what} cannot be sent by {TITLE}")


# --- reasoning -------------------------------------------------------------------------------------------------------


def decode_reasoning(item: JsonObject) -> Reasoning:
    """The words are the summary's, or those of the thinking itself where there is no summary."""
    kind = _reasoning_kind(item)
    texts = _reasoning_texts(item, kind)
    members = {name: value for name, value in item.items() if name != "type" and value is not None}
    members[kind] = [len(text) for text in texts]
    return Reasoning(_BETWEEN.join(texts), SIGNED + msgspec.json.encode(members).decode())


def _reasoning_kind(item: JsonObject) -> str:
    """The member that the words of a reasoning item stand in."""
    return "summary" if objects(item, "summary") or not objects(item, "content") else "content"


def _reasoning_texts(item: JsonObject, kind: str) -> list[str]:
    return [required(part, "text", str) for part in objects(item, kind)]


def encode_reasoning(block: Reasoning) -> JsonObject | None:
    """The item that the block was; None for another model's thinking."""
    if block.signature is None or not is_responses_thinking(block):
        return None
    try:
        members = msgspec.json.decode(block.signature.removeprefix(SIGNED), type=dict[str, Any])
    except (ValueError, RecursionError):
        return None
    item: JsonObject = {"type": "reasoning", "summary": [], **members}
    for kind, mark in (("summary", "summary_text"), ("content", "reasoning_text")):
        sizes = item.get(kind)
        if sizes and isinstance(sizes, list) and all(type(size) is int for size in sizes):
            item[kind] = [{"type": mark, "text": text} for text in _parts(block.text, sizes)]
    return item


def _parts(text: str, sizes: Sequence[int]) -> list[str]:
    """The text as the parts of these sizes that it was joined of; as one part where it is another text."""
    if len(text) != sum(sizes) + len(_BETWEEN) * (len(sizes) - 1):
        return [text]
    parts, at = [], 0
    for size in sizes:
        parts.append(text[at : at + size])
        at += size + len(_BETWEEN)
    return parts


# --- what a tool is asked, and answered ------------------------------------------------------------------------------


def decode_call(item: JsonObject) -> ToolUse:
    if item.get("type") == CUSTOM:
        arguments: JsonValue = {"input": required(item, "input", str)}
    else:
        arguments = parsed_arguments(optional(item, "arguments", str) or "")
    kind = CUSTOM if item.get("type") == CUSTOM else None
    return ToolUse(required(item, "call_id", str), required(item, "name", str), arguments, kind, extra=call_extra(item))


def call_extra(item: JsonObject) -> JsonObject | None:
    """Members of a call that must come back and have no place of their own (``namespace``)."""
    return unknown_members(item, _CALL_MEMBERS)


def parsed_arguments(text: str) -> JsonValue:
    """As ``fold`` has it: what is no JSON stays a text."""
    try:
        return msgspec.json.decode(text) if text.strip() else {}
    except (ValueError, RecursionError):
        return text


def decode_service_item(item: JsonObject) -> ToolUse:
    """An item that the service itself made."""
    return ToolUse(str(item.get("id") or ""), str(item.get("type") or ""), item, SERVER_TOOL_USE)


def encode_call(block: ToolUse) -> JsonObject:
    if block.type == SERVER_TOOL_USE:
        if not is_responses_item(block):
            raise unsupported(f"the server tool use {block.name!r}, which is another service's,")
        return dict(block.input)
    head = {"call_id": block.id, "name": block.name}
    if block.type == CUSTOM:
        text = block.input.get("input") if isinstance(block.input, dict) else block.input
        return {"type": CUSTOM, **head, "input": text if isinstance(text, str) else encode_arguments(text)}
    return {"type": "function_call", **head, "arguments": encode_arguments(block.input), **(block.extra or {})}


def encode_result(block: ToolResult, custom: Iterable[str]) -> JsonObject:
    """``custom`` are the ids of the calls of custom tools."""
    kind = f"{CUSTOM}_output" if block.tool_use_id in custom else "function_call_output"
    parts = [_encode_result_item(item) for item in block.content]
    output: JsonValue = parts
    if all(part["type"] == "input_text" for part in parts) and len(parts) <= 1:
        output = parts[0]["text"] if parts else ""
    return {"type": kind, "call_id": block.tool_use_id, "output": output}


def _encode_result_item(item: ToolResultContent) -> JsonObject:
    match item:
        case Image() | Document():
            return encode_input(item)
        case Unknown(_, dict() as value) if value.get("type"):
            return value
        case Unknown(tag):
            raise unsupported(f"{tag!r} in a tool result")
        case Video():
            raise unsupported("a video in a tool result")
        case _:
            return _input_text(result_item_text(item))


def decode_result(item: JsonObject) -> ToolResult:
    output = item.get("output")
    content: tuple[Any, ...] = (Text(output),) if isinstance(output, str) and output else ()
    if isinstance(output, list):
        content = tuple(decode_input(part) for part in objects(item, "output"))
    return ToolResult(required(item, "call_id", str), content)


# --- what a user says ------------------------------------------------------------------------------------------------


def encode_input(block: ContentBlock) -> JsonObject:
    """A block of the user's as a part of a message."""
    match block:
        case Text(text):
            return _input_text(text)
        case Image():
            return {"type": "input_image", "detail": "auto", "image_url": _image_url(block)}
        case Document(format=format) if format in DOCUMENT_TYPES and isinstance(block.source, Bytes):
            data = b64encode(block.source.data).decode()
            name = f"{block.name}.{format}"
            return {"type": "input_file", "filename": name, "file_data": f"data:{DOCUMENT_TYPES[format]};base64,{data}"}
        case Document() | SearchResult() | Citations():
            return _input_text(block_text(block))
        case Unknown(_, dict() as value) if value.get("type"):
            return value
        case Unknown(tag):
            raise unsupported(f"content block {tag!r}")
        case ToolUse() | ToolResult() | Reasoning() | CachePoint():
            raise ValidationError("tool uses and thinking belong to assistant turns, tool results to user turns")
        case Audio() | Video() | GuardContent() | ToolAddition() | ToolRemoval():
            raise unsupported(type(block).__name__)
        case _:
            assert_never(block)


def _input_text(text: str) -> JsonObject:
    return {"type": "input_text", "text": text}


def _image_url(block: Image) -> str:
    """bedrock-runtime takes data and s3 URLs (BerriAI/litellm 1.110, ``llms/bedrock/responses``)."""
    match block.source:
        case Bytes(data):
            return f"data:image/{block.format};base64,{b64encode(data).decode()}"
        case S3Location(uri):
            return uri
        case Unknown(tag):
            raise unsupported(f"media source {tag!r}")
        case _:
            assert_never(block.source)


def decode_input(part: JsonObject) -> Any:
    """A part of a message as a block. What only the service can read (``file_id``, an http URL) stays as it is."""
    kind = required(part, "type", str)
    match kind:
        case "input_text" | "output_text" | "text":
            return Text(required(part, "text", str))
        case "refusal":
            return Text(required(part, "refusal", str))
        case "input_image":
            return _decode_image(part)
        case "input_file":
            return _decode_file(part)
        case _:
            raise UnsupportedError(f"a content part of the type {kind!r} is not supported")


def _decode_image(part: JsonObject) -> Image | Unknown:
    url = optional(part, "image_url", str)
    if url is not None and url.startswith("s3://"):
        return Image(url.rpartition(".")[2].lower().replace("jpg", "jpeg"), S3Location(url))
    mime, data = _data_url(url, "image_url")
    if mime is None or not mime.startswith("image/"):
        return Unknown("input_image", part)
    return Image(mime.removeprefix("image/").replace("jpg", "jpeg"), Bytes(data))


def _decode_file(part: JsonObject) -> Document | Unknown:
    name = optional(part, "filename", str) or "file"
    mime, data = _data_url(optional(part, "file_data", str), "file_data")
    stem, _, suffix = name.rpartition(".")
    kind = _SUFFIXES.get(mime or "", suffix.lower())
    if mime is None or kind not in (*DOCUMENT_TYPES, *TEXT_FORMATS):
        return Unknown("input_file", part)
    return Document(stem or name, Bytes(data), kind)


def _data_url(url: str | None, path: str) -> tuple[str | None, bytes]:
    """The type and the bytes of a data URL; None for anything else."""
    head, comma, data = (url or "").partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        return None, b""
    return head.removeprefix("data:").removesuffix(";base64"), blob(data, path)


# --- what the model says ---------------------------------------------------------------------------------------------


def decode_part(part: JsonObject) -> Text | Citations | None:
    """A part of the model's message; None for one without words."""
    text = optional(part, "text", str) or optional(part, "refusal", str) or ""
    citations = tuple(decode_annotation(annotation) for annotation in objects(part, "annotations"))
    if citations:
        return Citations((Text(text),) if text else (), citations)
    return Text(text) if text else None


def decode_annotation(wire: JsonObject) -> Citation:
    """Where in the answer it stands is told by the block that it is in."""
    url = optional(wire, "url", str)
    title = optional(wire, "title", str) or optional(wire, "filename", str)
    source = url or optional(wire, "file_id", str)
    return Citation(title=title, source=source, location=WebLocation(url) if url else None)


def encode_annotations(block: Citations) -> list[JsonObject]:
    """Those that have an address, over all of the block's text."""
    size = len(block_text(block))
    return [
        {"type": "url_citation", "start_index": 0, "end_index": size, "title": citation.title or url, "url": url}
        for citation in block.citations
        if (url := _url_of(citation)) is not None
    ]


def _url_of(citation: Citation) -> str | None:
    return citation.location.url if isinstance(citation.location, WebLocation) else None


def encode_output(block: Text | Citations) -> JsonObject:
    annotations = encode_annotations(block) if isinstance(block, Citations) else []
    return {"type": "output_text", "text": block_text(block), "annotations": annotations}


def decode_output(item: JsonObject) -> tuple[ContentBlock, ...]:
    """The blocks of one item of an answer."""
    match required(item, "type", str):
        case "message":
            return tuple(block for part in objects(item, "content") if (block := decode_part(part)) is not None)
        case "reasoning":
            return (decode_reasoning(item),)
        case "function_call" | "custom_tool_call":
            return (decode_call(item),)
        case _:
            return (decode_service_item(item),)
