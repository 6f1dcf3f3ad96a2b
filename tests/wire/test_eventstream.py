"""Frames against botocore's reader, in every cut, with every damage."""

import struct
import uuid
from contextlib import suppress
from datetime import UTC, datetime
from zlib import crc32

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from awsllm.errors import StreamError
from awsllm.wire.eventstream import (
    MAX_HEADERS,
    MAX_PAYLOAD,
    Frame,
    FrameDecoder,
    encode_event_frame,
    encode_exception_frame,
    encode_frame,
)

NAMES = st.text(min_size=1, max_size=20)
HEADERS = st.dictionaries(NAMES, st.text(max_size=50), max_size=5)
FRAMES = st.lists(st.tuples(HEADERS, st.binary(max_size=200)), min_size=1, max_size=4)


def decode(data: bytes) -> list[Frame]:
    decoder = FrameDecoder()
    frames = decoder.feed(data)
    decoder.close()
    return frames


def plain(frames: list[Frame]) -> list[tuple[dict, bytes]]:
    return [(dict(frame.headers), frame.payload) for frame in frames]


def raw_frame(section: bytes, payload: bytes = b"", *, lengths: tuple[int, int] | None = None) -> bytes:
    """A frame with right checksums around any header section and any announced lengths."""
    prelude = struct.pack("!II", *(lengths or (16 + len(section) + len(payload), len(section))))
    body = prelude + struct.pack("!I", crc32(prelude)) + section + payload
    return body + struct.pack("!I", crc32(body))


def header(name: bytes, kind: int, value: bytes) -> bytes:
    return bytes([len(name)]) + name + bytes([kind]) + value


@given(FRAMES)
def test_what_is_encoded_is_decoded(frames):
    assert plain(decode(b"".join(encode_frame(*frame) for frame in frames))) == frames


@given(FRAMES)
def test_botocore_reads_our_frames(frames):
    buffer = EventStreamBuffer()
    buffer.add_data(b"".join(encode_frame(*frame) for frame in frames))
    assert [(message.headers, message.payload) for message in buffer] == frames


@given(FRAMES, st.data())
def test_any_cuts_give_the_same_frames(frames, data):
    whole = b"".join(encode_frame(*frame) for frame in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    decoder = FrameDecoder()
    found = [f for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True) for f in decoder.feed(whole[a:b])]
    decoder.close()
    assert plain(found) == frames


def test_every_single_cut():
    whole = encode_event_frame("contentBlockDelta", b'{"a":1}') + encode_event_frame("messageStop", b"{}")
    for cut in range(len(whole) + 1):
        decoder = FrameDecoder()
        assert len(decoder.feed(whole[:cut]) + decoder.feed(whole[cut:])) == 2
        decoder.close()


def test_byte_by_byte():
    whole = encode_event_frame("messageStart", b'{"role":"assistant"}') * 3
    decoder = FrameDecoder()
    assert len([frame for at in range(len(whole)) for frame in decoder.feed(whole[at : at + 1])]) == 3


@given(st.data())
def test_a_flipped_bit_is_noticed(data):
    whole = bytearray(encode_frame({"name": "value"}, b"payload"))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(StreamError):
        decode(bytes(whole))


def test_every_shortening_is_noticed():
    whole = encode_frame({"name": "value"}, b"payload")
    for size in range(1, len(whole)):
        with pytest.raises(StreamError, match="ended inside a frame"):
            decode(whole[:size])


def test_nothing_is_a_whole_stream():
    assert decode(b"") == []


@given(st.binary(max_size=300))
def test_any_bytes_give_frames_or_a_stream_error(data):
    decoder = FrameDecoder()
    with suppress(StreamError):
        decoder.feed(data)
        decoder.close()


@given(st.binary(max_size=100), st.binary(max_size=20))
def test_any_header_section_gives_headers_or_a_stream_error(section, payload):
    """Behind right checksums, so that it reaches the parser of headers."""
    try:
        frames = decode(raw_frame(section, payload))
    except StreamError:
        return
    assert frames[0].payload == payload


def test_every_type_of_header_is_read_as_botocore_reads_it():
    identity, instant = uuid.UUID(int=5), datetime(2026, 1, 2, tzinfo=UTC)
    milliseconds = int(instant.timestamp() * 1000)
    section = b"".join(
        [
            header(b"true", 0, b""),
            header(b"false", 1, b""),
            header(b"byte", 2, struct.pack("!b", -3)),
            header(b"short", 3, struct.pack("!h", -300)),
            header(b"integer", 4, struct.pack("!i", -70000)),
            header(b"long", 5, struct.pack("!q", -(2**40))),
            header(b"bytes", 6, struct.pack("!H", 3) + b"\x00\x01\xff"),
            header(b"string", 7, struct.pack("!H", 5) + "naïf".encode()),
            header(b"timestamp", 8, struct.pack("!q", milliseconds)),
            header(b"uuid", 9, identity.bytes),
        ]
    )
    frame = raw_frame(section, b"x")
    buffer = EventStreamBuffer()
    buffer.add_data(frame)
    headers = dict(decode(frame)[0].headers)
    assert headers == next(iter(buffer)).headers
    assert headers["timestamp"] == milliseconds
    assert headers["uuid"] == identity.bytes


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        (header(b"a", 10, b""), "unknown type 10"),
        (header(b"a", 0, b"") * 2, "'a' twice"),
        (header(b"a", 7, b"\x00\x05abc"), "cannot be read"),
        (header(b"a", 5, b"\x00"), "cannot be read"),
        (header(b"a", 7, b"\x00\x01\xff"), "cannot be read"),
        (b"\x05ab", "cannot be read"),
        (b"\x01a", "cannot be read"),
    ],
)
def test_bad_headers(section, problem):
    with pytest.raises(StreamError, match=problem):
        decode(raw_frame(section))


@pytest.mark.parametrize(
    ("total", "headers", "problem"),
    [
        (MAX_HEADERS + 17 + 16, MAX_HEADERS + 1, "of headers; the limit"),
        (MAX_PAYLOAD + 1 + 16, 0, "the limit is"),
        (0xFFFFFFFF, 0, "the limit is"),
        (20, 5, "more headers than it holds"),
        (0, 0, "more headers than it holds"),
    ],
)
def test_lengths_are_judged_before_the_frame_has_arrived(total, headers, problem):
    with pytest.raises(StreamError, match=problem):
        FrameDecoder().feed(raw_frame(b"", lengths=(total, headers))[:12])


def test_the_largest_payload_passes():
    frames = decode(encode_frame({}, bytes(MAX_PAYLOAD)))
    assert len(frames[0].payload) == MAX_PAYLOAD


def test_frames_before_the_damage_are_handed_over_first():
    decoder = FrameDecoder()
    assert len(decoder.feed(encode_frame({}, b"good") + b"\xff" * 16)) == 1
    assert decoder.damage is not None
    with pytest.raises(StreamError, match="checksum"):
        decoder.feed(b"")
    with pytest.raises(StreamError, match="checksum"):
        decoder.close()


def test_headers_stand_in_the_order_of_the_real_service():
    frame = decode(encode_event_frame("chunk", b"", "application/octet-stream"))[0]
    assert list(frame.headers.items()) == [
        (":event-type", "chunk"),
        (":content-type", "application/octet-stream"),
        (":message-type", "event"),
    ]


def test_an_exception_is_marked_as_one():
    frame = decode(encode_exception_frame("throttlingException", b'{"message":"slow"}'))[0]
    assert frame.headers[":message-type"] == "exception"
    assert frame.headers[":exception-type"] == "throttlingException"


def test_headers_are_read_only():
    with pytest.raises(TypeError):
        decode(encode_event_frame("chunk", b""))[0].headers["a"] = 1  # type: ignore[index]


def test_headers_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="header"):
        encode_frame({"n" * 256: ""}, b"")
    with pytest.raises(ValueError, match="header"):
        encode_frame({"n": "v" * 0x10000}, b"")


def test_headers_that_never_repeat_do_not_pile_up():
    frames = [({"id": str(number)}, b"") for number in range(200)]
    assert plain(decode(b"".join(encode_frame(*frame) for frame in frames))) == frames
