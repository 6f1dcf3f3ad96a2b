"""Images as models give them: bytes of a known format, base64 of such, or the pixels as numbers, which become a PNG.

A PNG is a header, the rows with a filter byte each, deflated, and an end, each in a chunk with its CRC-32.
Source: W3C PNG specification, third edition.
"""

from __future__ import annotations

import struct
import zlib
from base64 import b64encode
from collections.abc import Sequence

from awsllm.errors import ServerError, UnsupportedError
from awsllm.types import Bytes, Image, JsonObject, JsonValue
from awsllm.types.media import ImageResponse
from awsllm.wire.body import Context
from awsllm.wire.formats import PNG, format_of
from awsllm.wire.reading import MalformedError, blob


def decode_image(value: JsonValue, name: str, *, error: str | None = None) -> Image:
    """An image of base64, or of rows of pixels. ``name`` is the member that holds it. Raises ``MalformedError``."""
    data = _png_of_rows(value, name) if isinstance(value, list) else blob(value, name)
    # One that was withheld has no bytes to tell by, and counts as PNG.
    return Image(format=format_of(data, "image") or "png", source=Bytes(data), error=error)


def image_response(images: Sequence[Image], wire: JsonObject, title: str, context: Context) -> ImageResponse:
    """What the reply ``wire`` holds. Raises ``ServerError`` where that is no image."""
    if not images:
        raise ServerError(f"not a reply of {title}, it has no images", request_id=context.request_id)
    return ImageResponse(
        images=tuple(images),
        model=context.request.model,
        request_id=context.request_id,
        warnings=context.warnings,
        raw=wire,
    )


def encode_base64(image: Image) -> str:
    if not isinstance(image.source, Bytes):
        raise UnsupportedError("an answer holds an image's bytes, not where they are")
    return b64encode(image.source.data).decode()


def encode_png(width: int, lines: Sequence[bytes]) -> bytes:
    """Lines of pixels, each of three bytes (RGB) or four (RGBA), as a PNG of 8 bits a channel."""
    colour_type = 2 if len(lines[0]) == 3 * width else 6
    header = struct.pack(">IIBBBBB", width, len(lines), 8, colour_type, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + line for line in lines))
    return PNG + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png_of_rows(rows: list[JsonValue], name: str) -> bytes:
    """Pixels (H, W, 3) or (H, W, 4) of whole numbers from 0 to 255 as a PNG."""
    lines = [_line(row, name) for row in rows]
    width = len(rows[0]) if rows else 0
    depth = len(lines[0]) // width if width else 0
    if depth not in (3, 4) or any(len(line) != width * depth for line in lines):
        raise MalformedError("must be rows of one length, of pixels of three or four numbers", name)
    return encode_png(width, lines)


def _line(row: JsonValue, name: str) -> bytes:
    if not isinstance(row, list) or not all(isinstance(pixel, list) for pixel in row):
        raise MalformedError("must be rows of pixels", name)
    try:
        return b"".join(map(bytes, row))
    except (TypeError, ValueError) as cause:
        raise MalformedError("must have numbers from 0 to 255", name) from cause
