"""How files begin: which format bytes are of, whatever their name or their label says, and how large a picture is.

Sources: W3C PNG (IHDR), ITU T.81 (JPEG's SOFn), GIF89a (the logical screen), the WebP container specification (VP8,
VP8L, VP8X), RFC 8118 (PDF), RFC 9639 (FLAC), RFC 3533 (Ogg), ISO 14496-12 (``ftyp``).
"""

from __future__ import annotations

import struct

DOCUMENT_TYPES = {
    "pdf": "application/pdf",
    "csv": "text/csv",
    "html": "text/html",
    "md": "text/markdown",
    "txt": "text/plain",
    "doc": "application/msword",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xls": "application/vnd.ms-excel",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
"""The media types of documents, by Bedrock's names of their formats."""

PNG = b"\x89PNG\r\n\x1a\n"
# Kind and format by what stands at which offset; of two that fit, the first.
_SIGNATURES: tuple[tuple[tuple[tuple[int, bytes], ...], str, str], ...] = (
    (((0, PNG),), "image", "png"),
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


def begins_as(data: bytes) -> tuple[str, str] | None:
    """Kind (image, document, audio or video) and format, by Bedrock's names; None where the bytes do not tell."""
    for marks, kind, form in _SIGNATURES:
        if all(data.startswith(mark, offset) for offset, mark in marks):
            return kind, form
    return None


def format_of(data: bytes | None, kind: str) -> str | None:
    """The format of ``kind`` that ``data`` begins as, None where it is none or there are no bytes."""
    found = begins_as(data) if data is not None else None
    return found[1] if found and found[0] == kind else None


# --- the size of a picture -------------------------------------------------------------------------------------------


def size_of(data: bytes) -> tuple[int, int] | None:
    """Width and height by the first bytes; None where they do not tell."""
    try:
        match format_of(data, "image"):
            case "png":
                return struct.unpack_from(">II", data, 16)
            case "gif":
                return struct.unpack_from("<HH", data, 6)
            case "webp":
                return _webp_size(data)
            case "jpeg":
                return _jpeg_size(data)
    except (struct.error, IndexError):  # cut short
        pass
    return None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """The frame header's, which is the first marker SOF0 to SOF15 but for DHT, JPG and DAC."""
    at = 2
    while data[at] == 0xFF:
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        standalone = marker == 0xFF or marker == 0x01 or 0xD0 <= marker <= 0xD8
        at += (1 if marker == 0xFF else 2) if standalone else 2 + struct.unpack_from(">H", data, at + 2)[0]
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X" and len(data) >= 30:
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    return None
