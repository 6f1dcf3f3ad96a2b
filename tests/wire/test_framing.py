"""Server-sent events and JSON lines, cut anywhere: what is carried, and what is none."""

import json
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from awsllm.errors import StreamError
from awsllm.wire.framing import DONE, FramingDecoder, encode_sse


def dumped(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def sse_lines(value: object) -> bytes:
    """One value over several ``data:`` lines."""
    return b"".join(b"data: " + line + b"\n" for line in json.dumps(value, indent=1).encode().split(b"\n")) + b"\n"


FRAMINGS = {
    "SSE": lambda values: b"".join(encode_sse(v) for v in values) + DONE,
    "SSE, tight": lambda values: b"".join(b"data:" + dumped(v) + b"\n\n" for v in values) + b"data:[DONE]",
    "SSE, CRLF and company": lambda values: (
        b": hi {\r\n" + b"".join(b"event: x\r\nid: 1\r\ndata: " + dumped(v) + b"\r\n\r\n: ping\r\n\r\n" for v in values)
    ),
    "SSE, CR": lambda values: b"".join(b": [\rdata: " + dumped(v) + b"\r\r" for v in values),
    "SSE, several lines": lambda values: b"".join(map(sse_lines, values)),
    "JSON lines": lambda values: b"".join(dumped(v) + b"\n" for v in values),
    "JSON lines, last without end": lambda values: b"\n".join(map(dumped, values)),
    "glued": lambda values: b"".join(map(dumped, values)),
    "pretty": lambda values: b" \n".join(json.dumps(v, indent=2).encode() for v in values),
}
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text()
    | st.sampled_from(["\\", '"', "data:", "]}", "日本", "[DONE]"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
streamable = st.dictionaries(st.text(), json_values, max_size=3) | st.lists(json_values, max_size=3)


@given(st.sampled_from(sorted(FRAMINGS)), st.lists(streamable, max_size=4), st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_framing_in_any_cuts(framing: str, values: list[object], data: st.DataObject) -> None:
    stream = FRAMINGS[framing](values)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=8))
    decoder = FramingDecoder()
    places = [0, *sorted(cuts), len(stream)]
    found = [value for start, end in pairwise(places) for value in decoder.feed(stream[start:end])]
    decoder.close()
    assert found == values
    assert decoder.done == (framing in ("SSE", "SSE, tight"))


SAMPLE = [{"a": 'é"{\\"}'}, [1, {"b": []}], {"日本": "x" * 20}, {}]


@pytest.mark.parametrize("framing", FRAMINGS)
def test_framing_at_every_cut_size(framing: str) -> None:
    stream = FRAMINGS[framing](SAMPLE)
    for size in range(1, len(stream) + 1):
        decoder = FramingDecoder()
        found = [v for at in range(0, len(stream), size) for v in decoder.feed(stream[at : at + size])]
        decoder.close()
        assert found == SAMPLE, size


@pytest.mark.parametrize("framing", ["SSE", "JSON lines", "glued", "pretty"])
def test_framing_cut_short(framing: str) -> None:
    """Whatever is left when the bytes end is an error, unless a whole value has just ended."""
    stream = FRAMINGS[framing](SAMPLE)
    for end in range(len(stream)):
        decoder = FramingDecoder()
        found = [value for at in range(end) for value in decoder.feed(stream[at : at + 1])]
        assert found == SAMPLE[: len(found)]
        if stream[:end].rstrip()[-1:] not in (b"}", b"]", b":", b"") and not stream[:end].endswith(b"data"):
            with pytest.raises(StreamError, match="ended inside"):
                decoder.close()


@pytest.mark.parametrize(
    "garbage",
    [b"Internal Server Error\n", b"<html>\n", b'{"a":}\n', b'{"a":1]\n', b'{"a":"\xff"}\n', b"[" * 9000 + b"]" * 9000],
)
def test_framing_of_what_is_no_json(garbage: bytes) -> None:
    decoder = FramingDecoder()
    with pytest.raises(StreamError):
        decoder.feed(garbage)
    with pytest.raises(StreamError):
        decoder.close()
    later = FramingDecoder()
    assert later.feed(b'{"ok":1}\n' + garbage) == [{"ok": 1}]
    with pytest.raises(StreamError):
        later.feed(b"")


def test_framing_of_garbage_without_a_line_end() -> None:
    decoder = FramingDecoder()
    assert decoder.feed(b"upstream connect error") == []
    with pytest.raises(StreamError, match="22 bytes after its beginning"):
        decoder.close()
