"""A video of the right length that no model made: one black picture, shown for as long as was asked.

It is an MP4 (ISO/IEC 14496-12 boxes, 14496-14's ``mp4v`` sample entry): its one sample is a PNG, which 14496-1's
registry has as object type 0x6D, and its tables say how long that is shown. So a program's own handling of videos can
be tested, and nobody takes it for a model's work.
"""

from __future__ import annotations

import struct
from functools import lru_cache

from awsllm.wire.images.pixels import encode_png

_SCALE = 1000  # units of time in a second
_MATRIX = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
_PNG = 0x6D  # objectTypeIndication


@lru_cache(maxsize=8)
def mp4(seconds: int, width: int = 1280, height: int = 720) -> bytes:
    """The whole file; a few kilobytes, whatever its length."""
    picture = encode_png(width, [bytes(3 * width)] * height)
    start = _box(b"ftyp", b"isom" + struct.pack(">I", 512) + b"isomiso2mp41")
    at = len(start) + 8  # the sample's place: behind the head of mdat
    return start + _box(b"mdat", picture) + _movie(seconds * _SCALE, width, height, (at, len(picture)))


def _box(kind: bytes, *parts: bytes) -> bytes:
    data = b"".join(parts)
    return struct.pack(">I", 8 + len(data)) + kind + data


def _full(kind: bytes, *parts: bytes, flags: int = 0) -> bytes:
    """A box with version 0 and flags."""
    return _box(kind, struct.pack(">I", flags), *parts)


def _movie(length: int, width: int, height: int, sample: tuple[int, int]) -> bytes:
    head = struct.pack(">IIIIIH10x", 0, 0, _SCALE, length, 0x10000, 0x100)
    track = struct.pack(">IIIII8xHHHH", 0, 0, 1, 0, length, 0, 0, 0, 0)
    media = struct.pack(">IIIIHH", 0, 0, _SCALE, length, 0x55C4, 0)  # und: no language
    return _box(
        b"moov",
        _full(b"mvhd", head, _MATRIX, bytes(24), struct.pack(">I", 2)),
        _box(
            b"trak",
            _full(b"tkhd", track, _MATRIX, struct.pack(">II", width << 16, height << 16), flags=3),
            _box(
                b"mdia",
                _full(b"mdhd", media),
                _full(b"hdlr", bytes(4), b"vide", bytes(12), b"awsllm scripted\0"),
                _box(
                    b"minf",
                    _full(b"vmhd", bytes(8), flags=1),
                    _box(b"dinf", _full(b"dref", struct.pack(">I", 1), _full(b"url ", flags=1))),
                    _table(length, width, height, sample),
                ),
            ),
        ),
    )


def _table(length: int, width: int, height: int, sample: tuple[int, int]) -> bytes:
    """One sample of ``length``, in one chunk at ``sample``'s place."""
    at, size = sample
    entry = struct.pack(">6xH16xHHIIIH", 1, width, height, 0x480000, 0x480000, 0, 1) + bytes(32)
    return _box(
        b"stbl",
        _full(b"stsd", struct.pack(">I", 1), _box(b"mp4v", entry + struct.pack(">Hh", 24, -1), _decoder())),
        _full(b"stts", struct.pack(">III", 1, 1, length)),
        _full(b"stsc", struct.pack(">IIII", 1, 1, 1, 1)),
        _full(b"stsz", struct.pack(">III", 0, 1, size)),
        _full(b"stco", struct.pack(">II", 1, at)),
    )


def _decoder() -> bytes:
    """The elementary stream descriptor: tag and length, and what is in it."""
    config = struct.pack(">BB", _PNG, 0x11) + bytes(3 + 4 + 4)  # 0x11: a visual stream
    decoder = bytes((4, len(config))) + config
    stream = struct.pack(">HB", 1, 0) + decoder + bytes((6, 1, 2))
    return _full(b"esds", bytes((3, len(stream))) + stream)
