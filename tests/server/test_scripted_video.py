"""The video that no model made: its boxes, and its length in every place where a player looks."""

import struct
from collections.abc import Iterator

import pytest

from awsllm.server.surfaces.scripted_video import mp4

NESTED = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"dinf")


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Every box with what is in it, nested ones too (ISO/IEC 14496-12, 4.2)."""
    at = 0
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        assert 8 <= size <= len(data) - at
        inside = data[at + 8 : at + size]
        yield kind, inside
        if kind in NESTED:
            yield from boxes(inside)
        at += size


@pytest.mark.parametrize("seconds", [5, 6, 120])
def test_it_is_as_long_as_it_shall_be(seconds: int) -> None:
    data = mp4(seconds)
    found = dict(boxes(data))
    assert set(found) >= {b"ftyp", b"mdat", b"mvhd", b"tkhd", b"mdhd", b"hdlr", b"stsd", b"stts", b"stsz", b"stco"}
    scale, length = struct.unpack_from(">II", found[b"mvhd"], 12)
    assert length / scale == seconds
    assert struct.unpack_from(">I", found[b"tkhd"], 20) == (length,)
    assert struct.unpack_from(">II", found[b"mdhd"], 12) == (scale, length)
    assert struct.unpack_from(">III", found[b"stts"], 4) == (1, 1, length)
    assert len(found[b"mvhd"]) == 100
    assert len(found[b"tkhd"]) == 84
    assert len(found[b"mdhd"]) == 24


def test_its_one_sample_is_a_picture_of_its_size() -> None:
    data = mp4(6, 320, 180)
    found = dict(boxes(data))
    (at,), (size,) = struct.unpack_from(">I", found[b"stco"], 8), struct.unpack_from(">I", found[b"stsz"], 12)
    assert data[at : at + size] == found[b"mdat"]
    assert found[b"mdat"].startswith(b"\x89PNG")
    assert struct.unpack_from(">II", found[b"mdat"], 16) == (320, 180)
    entry = found[b"stsd"][8:]
    assert entry[4:8] == b"mp4v"
    assert struct.unpack_from(">HH", entry, 32) == (320, 180)
    assert entry[86 + 4 : 86 + 8] == b"esds"
    assert entry[86:].count(b"\x6d\x11") == 1
    assert [value >> 16 for value in struct.unpack_from(">II", found[b"tkhd"], 76)] == [320, 180]
