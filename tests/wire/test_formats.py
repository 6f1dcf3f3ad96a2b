"""How files begin: what their first bytes tell, and that any bytes can be asked."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awsllm.wire.formats import begins_as, format_of, size_of
from awsllm.wire.images.pixels import encode_png

JPEG = b"\xff\xd8" + b"\xff\xe0\x00\x04ab" + b"\xff\xff\xc0\x00\x11\x08" + struct.pack(">HH", 7, 9) + bytes(8)
PICTURES = {
    "png": encode_png(9, [bytes(27)] * 7),
    "jpeg": JPEG,
    "gif": b"GIF89a" + struct.pack("<HH", 9, 7),
    "webp, lossy": b"RIFF0000WEBPVP8 0000000\x9d\x01\x2a" + struct.pack("<HH", 9 | 0x4000, 7),
    "webp, lossless": b"RIFF0000WEBPVP8L0000\x2f" + struct.pack("<I", 8 | 6 << 14),
    "webp, extended": b"RIFF0000WEBPVP8X0000\0\0\0\0" + b"\x08\0\0" + b"\x06\0\0",
}


@pytest.mark.parametrize("data", PICTURES.values(), ids=PICTURES)
def test_the_first_bytes_tell_the_size(data: bytes) -> None:
    assert size_of(data) == (9, 7)


@given(st.sampled_from(list(PICTURES.values())), st.integers(0, 40))
def test_a_picture_that_is_cut_short_has_no_size_or_its_own(data: bytes, cut: int) -> None:
    assert size_of(data[:cut]) in (None, (9, 7))


@given(st.binary(max_size=60))
def test_any_bytes_can_be_looked_at(data: bytes) -> None:
    for start in (b"", b"\xff\xd8", b"RIFF0000WEBP", b"GIF89a", b"\x89PNG\r\n\x1a\n"):
        size_of(start + data)


def test_the_first_bytes_tell_the_format() -> None:
    assert [format_of(data, "image") for data in PICTURES.values()] == ["png", "jpeg", "gif", "webp", "webp", "webp"]
    assert begins_as(b"RIFF0000WAVE") == ("audio", "wav")
    assert begins_as(b"0000ftypM4A ") == ("audio", "m4a")
    assert begins_as(b"0000ftypisom") == ("video", "mp4")
    assert begins_as(b"") is None
    assert format_of(b"%PDF-1.7", "image") is None
    assert format_of(None, "image") is None
