"""Images that go into models: their size by their first bytes, their limits."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awsllm.errors import UnsupportedError, ValidationError
from awsllm.types import Bytes, Image, S3Location
from awsllm.wire.images.inputs import Limits, check_range, encode_image, size_of
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


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(formats=("jpeg",)), "is png; the model takes jpeg"),
        (Limits(sides=(8, 100)), "9 x 7 pixels; each side must have 8 to 100"),
        (Limits(pixels=(64, 100)), "there must be 64 to 100 in all"),
        (Limits(ratio=1.2), "1.2 times as long"),
        (Limits(size=10), "the model takes 10 at most"),
    ],
)
def test_a_picture_outside_the_limits_is_refused_before_it_is_sent(limits: Limits, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        encode_image(Image("png", Bytes(PICTURES["png"])), "image", limits)


def test_a_picture_elsewhere_cannot_be_sent() -> None:
    with pytest.raises(UnsupportedError, match=r"mask: the image's bytes are sent"):
        encode_image(Image("png", S3Location("s3://b/k.png")), "mask")


def test_a_number_outside_the_range_names_it() -> None:
    check_range(None, "count", 1, 5)
    with pytest.raises(ValidationError, match="count is 6; the model takes 1 to 5"):
        check_range(6, "count", 1, 5)
