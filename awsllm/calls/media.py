"""What a file is, or bytes are: an image, a document, a video or a sound, and of which format.

Names tell by their suffix, bytes by how they begin. The first bytes decide the format of an image, since the service
compares them with the format that the request gives: an image with another's label gets its own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from msgspec.structs import replace

from awsllm.errors import ValidationError
from awsllm.types import Audio, Bytes, Document, Image, Message, S3Location, ToolResult, Video
from awsllm.wire.converse.rules import clean_document_name

if TYPE_CHECKING:
    from awsllm.wire.converse.history import Notes

FilePath: TypeAlias = os.PathLike[str]
ImageLike: TypeAlias = "Image | str | FilePath | bytes"
B = TypeVar("B")

# Bedrock's formats by file suffix (ImageFormat, DocumentFormat, VideoFormat and AudioFormat of bedrock-runtime).
# Containers that hold either are taken for video.
_SUFFIXES: dict[str, tuple[str, str]] = {
    **{s: ("image", f) for s, f in {"png": "png", "jpg": "jpeg", "jpeg": "jpeg", "gif": "gif", "webp": "webp"}.items()},
    **{s: ("document", s) for s in ("pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md")},
    "htm": ("document", "html"),
    "markdown": ("document", "md"),
    **{s: ("video", s) for s in ("mkv", "mov", "mp4", "webm", "flv", "mpeg", "mpg", "wmv")},
    "3gp": ("video", "three_gp"),
    **{s: ("audio", s) for s in ("mp3", "opus", "wav", "aac", "flac", "ogg", "mka", "m4a", "mpga", "pcm")},
}
# How a file of a format begins: what stands at which offset.
_MAGIC: tuple[tuple[tuple[tuple[int, bytes], ...], str, str], ...] = (
    (((0, b"\x89PNG\r\n\x1a\n"),), "image", "png"),
    (((0, b"\xff\xd8\xff"),), "image", "jpeg"),
    (((0, b"GIF87a"),), "image", "gif"),
    (((0, b"GIF89a"),), "image", "gif"),
    (((0, b"RIFF"), (8, b"WEBP")), "image", "webp"),
    (((0, b"%PDF-"),), "document", "pdf"),
    (((0, b"RIFF"), (8, b"WAVE")), "audio", "wav"),
    (((0, b"fLaC"),), "audio", "flac"),
    (((0, b"OggS"),), "audio", "ogg"),
    (((0, b"ID3"),), "audio", "mp3"),
    (((4, b"ftypM4A"),), "audio", "m4a"),
    (((4, b"ftypqt"),), "video", "mov"),
    (((4, b"ftyp"),), "video", "mp4"),
    (((0, b"FLV\x01"),), "video", "flv"),
)
_OTHER_IMAGES = frozenset(("bmp", "tif", "tiff", "svg", "heic", "heif", "avif", "ico", "jp2", "jxl", "psd"))
FORMATS: dict[str, frozenset[str]] = {
    kind: frozenset(f for k, f in _SUFFIXES.values() if k == kind) for kind in ("image", "document", "video", "audio")
}
FORMATS["audio"] |= {"mp4", "mkv", "webm", "mpeg", "x-aac"}
IMAGE_FIX = "an image is png, jpeg, gif or webp: convert it"


def media(source: FilePath | bytes | bytearray | memoryview) -> Image | Document | Video | Audio:
    """A file, or bytes that begin as a known format does, as the block of its kind."""
    path = os.fspath(source) if isinstance(source, os.PathLike) else None
    data = bytes(source) if not isinstance(source, os.PathLike) else _read(source)
    kind, form = _kind(path, data)
    if kind == "image":
        return Image(form, Bytes(data))
    if kind == "document":
        return Document(document_name(path), Bytes(data), form)
    return Video(form, Bytes(data)) if kind == "video" else Audio(form, Bytes(data))


def image(source: str | FilePath | bytes, *, format: str | None = None) -> Image:
    """An image from a file, an ``s3://`` address or bytes. ``format`` counts in S3 only: bytes tell their own."""
    location, data, suffix = _source(source)
    known = format or _SUFFIXES.get(suffix, ("", suffix))[1] if data is None else sniff(data, "image")
    if known not in FORMATS["image"]:
        raise ValidationError(f"{_name_of(source)} is not an image of a known format; {IMAGE_FIX}")
    return Image(known, location)


def images(sources: ImageLike | Sequence[ImageLike]) -> tuple[Image, ...]:
    """One image or several, each an ``Image`` or what ``image`` makes one of."""
    several = sources if isinstance(sources, Sequence) and not isinstance(sources, str | bytes) else (sources,)
    return tuple(source if isinstance(source, Image) else image(source) for source in several)


def document(
    source: str | FilePath | bytes,
    *,
    name: str | None = None,
    format: str | None = None,
    context: str | None = None,
    citations: bool | None = None,
) -> Document:
    """A document from a file, an ``s3://`` address or bytes. ``name`` is cleaned to what the service allows."""
    location, data, suffix = _source(source)
    form = format or _document_format(suffix, data)
    if form not in FORMATS["document"]:
        known = ", ".join(sorted(FORMATS["document"]))
        raise ValidationError(f"{_name_of(source)} is not a document of a known format; pass format=, one of {known}")
    given = name or (os.fspath(source) if isinstance(source, str | os.PathLike) else None)
    return Document(document_name(given), location, form, context, citations)


def video(source: str | FilePath | bytes, *, format: str | None = None) -> Video:
    """A video from a file, an ``s3://`` address or bytes."""
    location, data, suffix = _source(source)
    return Video(_format_of("video", source, format or sniff(data, "video"), suffix), location)


def audio(source: str | FilePath | bytes, *, format: str | None = None) -> Audio:
    """A sound from a file, an ``s3://`` address or bytes."""
    location, data, suffix = _source(source)
    return Audio(_format_of("audio", source, format or sniff(data, "audio"), suffix), location)


def relabelled(messages: tuple[Message, ...], notes: Notes) -> tuple[Message, ...]:
    """The conversation with each image under the format that its bytes have, in tool results too."""
    if not any(isinstance(block, (Image, ToolResult)) for message in messages for block in message.content):
        return messages
    turns: list[Message] = []
    for index, message in enumerate(messages):
        content = tuple(_relabelled(block, f"messages[{index}]", notes) for block in message.content)
        turns.append(message if content == message.content else replace(message, content=content))
    return tuple(turns)


def _relabelled(block: B, place: str, notes: Notes) -> B:
    if isinstance(block, ToolResult):
        content = tuple(_relabelled(item, place, notes) for item in block.content)
        return block if content == block.content else replace(block, content=content)
    if not isinstance(block, Image) or not isinstance(block.source, Bytes):
        return block
    found = sniff(block.source.data, "image")
    if found in (None, block.format) or block.format not in FORMATS["image"]:
        return block
    notes.add(f"an image labelled {block.format} holds {found} and was sent as that", place)
    return replace(block, format=found)


def document_name(text: str | None) -> str:
    """A name that the service takes: of a path, the last part without suffix."""
    stem = re.split(r"[/\\]", text or "")[-1]
    stem = stem.rsplit(".", 1)[0] if stem.rsplit(".", 1)[-1].lower() in _SUFFIXES else stem
    return clean_document_name(stem)


def _kind(path: str | None, data: bytes) -> tuple[str, str]:
    """Kind and format by the first bytes, or the suffix; a file that is plain text is a txt document."""
    suffix = _suffix(path or "")
    by_name = _SUFFIXES.get(suffix)
    found = _sniff_any(data)
    if by_name and by_name[0] != "image":
        return by_name
    if found:
        return found
    if by_name or suffix in _OTHER_IMAGES or path is None:
        raise ValidationError(f"{path or f'{len(data)} bytes'}: of an unknown format; {IMAGE_FIX}")
    if _is_text(data):
        return "document", "txt"
    raise ValidationError(f"{path} is of an unknown kind: use awsllm.document(path, format=...) or its like")


def _document_format(suffix: str, data: bytes | None) -> str | None:
    kind, form = _SUFFIXES.get(suffix, ("", ""))
    if kind == "document":
        return form
    return sniff(data, "document") or ("txt" if data is not None and _is_text(data) else None)


def _format_of(kind: str, source: Any, format: str | None, suffix: str) -> str:
    known = format or _SUFFIXES.get(suffix, ("", suffix))[1]
    if known not in FORMATS[kind]:
        raise ValidationError(f"{_name_of(source)} is no {kind} of a known format; pass format=")
    return known


def _source(source: str | FilePath | bytes) -> tuple[Bytes | S3Location, bytes | None, str]:
    """Where the content is, its bytes where they are at hand, and the suffix of its name."""
    if isinstance(source, bytes | bytearray | memoryview):
        return Bytes(bytes(source)), bytes(source), ""
    path = os.fspath(source)
    if path.startswith("s3://"):
        return S3Location(path), None, _suffix(path)
    data = _read(path)
    return Bytes(data), data, _suffix(path)


def _read(path: str | FilePath) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise ValidationError(f"cannot read {os.fspath(path)!r}: {error.strerror or error}") from error
    if not data:
        raise ValidationError(f"{os.fspath(path)!r} is empty")
    return data


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lstrip(".").lower()


def _sniff_any(data: bytes) -> tuple[str, str] | None:
    for marks, kind, form in _MAGIC:
        if all(data.startswith(mark, offset) for offset, mark in marks):
            return kind, form
    return None


def sniff(data: bytes | None, kind: str) -> str | None:
    """The format of ``kind`` that ``data`` begins as, None where it is none or there are no bytes."""
    found = _sniff_any(data) if data is not None else None
    return found[1] if found and found[0] == kind else None


def _is_text(data: bytes) -> bool:
    try:
        return "\x00" not in data.decode()
    except UnicodeDecodeError:
        return False


def _name_of(source: Any) -> str:
    return repr(os.fspath(source)) if isinstance(source, str | os.PathLike) else f"{len(source)} bytes"
