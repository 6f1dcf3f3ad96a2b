"""What a file is, or bytes are: an image, a document, a video or a sound, and of which format.

Names tell by their suffix, bytes by how they begin. The first bytes decide the format of an image, since the service
compares them with the format that the request gives: an image with another's label gets its own.
"""

from __future__ import annotations

import binascii
import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from msgspec.structs import replace

from awsllm.errors import ValidationError
from awsllm.types import Audio, Bytes, Document, Image, Message, S3Location, ToolResult, Video
from awsllm.wire.converse.rules import clean_document_name

if TYPE_CHECKING:
    from awsllm.fetching.rules import FetchUrls
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
_TYPES = {"": "txt", "audio/mpeg": "mp3", "video/quicktime": "mov"}
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


def image(source: str | FilePath | bytes, *, format: str | None = None, fetch: FetchUrls | None = None) -> Image:
    """An image from a file, an ``s3://`` address, a ``data:`` URL or bytes, and from the web where ``fetch`` allows it:
    ``FetchUrls(hosts=["images.example.com"])``. ``format`` counts in S3 only: bytes tell their own."""
    location, data, suffix = _source(source, fetch)
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
    fetch: FetchUrls | None = None,
) -> Document:
    """A document from a file, an ``s3://`` address, a ``data:`` URL or bytes, and a PDF from the web where ``fetch``
    allows it. ``name`` is cleaned to what the service allows."""
    location, data, suffix = _source(source, fetch)
    form = format or _document_format(suffix, data)
    if form not in FORMATS["document"]:
        known = ", ".join(sorted(FORMATS["document"]))
        raise ValidationError(f"{_name_of(source)} is not a document of a known format; pass format=, one of {known}")
    is_named = isinstance(source, os.PathLike) or (isinstance(source, str) and not source.startswith("data:"))
    given = name or (os.fsdecode(source) if is_named else None)
    if name is None and _is_web(source):
        given = unquote(urlsplit(str(source)).path)
    return Document(document_name(given), location, form, context, citations)


def video(source: str | FilePath | bytes, *, format: str | None = None, fetch: FetchUrls | None = None) -> Video:
    """A video from a file, an ``s3://`` address, a ``data:`` URL or bytes, and from the web where ``fetch`` allows
    it."""
    location, data, suffix = _source(source, fetch)
    return Video(_format_of("video", source, format or sniff(data, "video"), suffix), location)


def audio(source: str | FilePath | bytes, *, format: str | None = None, fetch: FetchUrls | None = None) -> Audio:
    """A sound from a file, an ``s3://`` address, a ``data:`` URL or bytes, and from the web where ``fetch`` allows
    it."""
    location, data, suffix = _source(source, fetch)
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
    from awsllm.wire.formats import begins_as

    suffix = _suffix(path or "")
    by_name = _SUFFIXES.get(suffix)
    found = begins_as(data)
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


def _source(
    source: str | FilePath | bytes, fetch: FetchUrls | None = None
) -> tuple[Bytes | S3Location, bytes | None, str]:
    """Where the content is, its bytes where they are at hand, and the suffix of its name."""
    if isinstance(source, bytes | bytearray | memoryview):
        return Bytes(bytes(source)), bytes(source), ""
    path = os.fspath(source)
    if path.startswith("s3://"):
        return S3Location(path), None, _suffix(path)
    if path.startswith("data:"):
        data, suffix = _read_data_url(path)
        return Bytes(data), data, suffix
    if _is_web(path):  # whoever chose it chooses what this machine asks of its network
        if fetch is None:
            raise ValidationError(
                "awsllm fetches nothing from the web unless it is told to: pass the bytes that are there, an s3:// "
                "address, or fetch=awsllm.FetchUrls(hosts=[…]) with the hosts that may be asked"
            )
        data = fetch.read(path)
        return Bytes(data), data, ""
    data = _read(path)
    return Bytes(data), data, _suffix(path)


def _read_data_url(url: str) -> tuple[bytes, str]:
    """The bytes of a ``data:`` URL (RFC 2397) and the suffix of its media type. No error shows its content."""
    head, comma, content = url.removeprefix("data:").partition(",")
    mime, *parameters = head.lower().split(";")
    data = unquote_to_bytes(content)
    if "base64" in parameters:
        try:
            data = binascii.a2b_base64(data, strict_mode=True)
        except binascii.Error as error:
            raise ValidationError(f"a data URL is not base64: {error}") from None
    if not comma or not data:
        raise ValidationError("a data URL has no content: it is data:MEDIA/TYPE;base64,…")
    return data, _suffix_of_type(mime)


def _suffix_of_type(mime: str) -> str:
    """``pdf`` for ``application/pdf``: most media types end in the suffix itself."""
    from awsllm.wire.formats import DOCUMENT_TYPES

    suffixes = {known: suffix for suffix, known in DOCUMENT_TYPES.items()} | _TYPES
    return suffixes.get(mime, mime.rpartition("/")[2])


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


def sniff(data: bytes | None, kind: str) -> str | None:
    """``formats.format_of``, which is loaded with the first file: a text needs none."""
    from awsllm.wire.formats import format_of

    return format_of(data, kind)


def _is_web(source: object) -> bool:
    return isinstance(source, str) and source[:8].lower().startswith(("http://", "https://"))


def _is_text(data: bytes) -> bool:
    try:
        return "\x00" not in data.decode()
    except UnicodeDecodeError:
        return False


def _name_of(source: Any) -> str:
    if isinstance(source, str) and source.startswith("data:"):
        return f"a data URL of {len(source)} characters"
    if _is_web(source):  # its path or query may be a secret
        return f"what {urlsplit(source).hostname} sent"
    return repr(os.fspath(source)) if isinstance(source, str | os.PathLike) else f"{len(source)} bytes"
