"""Responses of HTTP/1.1, whole and byte by byte, with http.client as the judge of what both read."""

from __future__ import annotations

import io
from contextlib import suppress
from http.client import HTTPResponse
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awsllm.aws.http1 import NotHttpError, ResponseParser


def parsed(pieces: list[bytes], method: str = "POST") -> tuple[ResponseParser, bytes]:
    parser = ResponseParser(method)
    return parser, b"".join([parser.feed(piece) for piece in pieces])


def both_ways(data: bytes, method: str = "POST") -> tuple[ResponseParser, bytes]:
    """The response, and its body: the same in one piece as in pieces of a byte."""
    parser, body = parsed([data], method)
    slow, slow_body = parsed([data[i : i + 1] for i in range(len(data))], method)
    assert (slow.status, slow.headers, slow.ended, slow.reusable) == (
        parser.status,
        parser.headers,
        parser.ended,
        parser.reusable,
    )
    assert slow_body == body
    return parser, body


class _Socket:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self.data)


def by_http_client(data: bytes, method: str) -> tuple[int, dict[str, str], bytes, bool]:
    source: Any = _Socket(data)
    with HTTPResponse(source, method=method) as response:
        response.begin()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return response.status, headers, response.read(), not response.will_close


NAMES = st.text(st.sampled_from("abcXYZ-019"), min_size=1, max_size=12).map(lambda name: f"x-{name}")
VALUES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters="\x7f\x85\xa0"), max_size=30)
BODIES = st.binary(max_size=300)


@st.composite
def responses(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A response with a length or in chunks, and its body."""
    body = draw(BODIES)
    status = draw(st.sampled_from(["200 OK", "404 Not Found", "503", "429 "]))
    lines = [f"HTTP/1.{draw(st.sampled_from('01'))} {status}"]
    lines += [f"{name}: {value}" for name, value in draw(st.dictionaries(NAMES, VALUES, max_size=5)).items()]
    if connection := draw(st.sampled_from(["", "close", "keep-alive", "Keep-Alive"])):
        lines.append(f"Connection: {connection}")
    if draw(st.booleans()):
        lines.append(f"Content-Length: {len(body)}")
        coded = body
    else:
        lines.append("Transfer-Encoding: chunked")
        size = draw(st.integers(1, 100))
        pieces = [body[i : i + size] for i in range(0, len(body), size)]
        ends = draw(st.sampled_from([b"0\r\n\r\n", b"0;last\r\n\r\n", b"000\r\nX-Trailer: a\r\n\r\n"]))
        coded = b"".join(b"%X;a=b\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + ends
    return "\r\n".join((*lines, "", "")).encode("latin-1") + coded, body


@given(responses(), st.lists(st.integers(0, 600), max_size=6))
def test_a_response_is_read_as_http_client_reads_it(response: tuple[bytes, bytes], cuts: list[int]) -> None:
    data, body = response
    places = [0, *sorted(cuts), len(data)]
    parser, found = parsed([data[a:b] for a, b in pairwise(places)])
    if data.startswith(b"HTTP/1.0") and b"Transfer-Encoding" in data:
        return  # which no server sends: http.client closes, whatever else is said
    status, headers, read, goes_on = by_http_client(data, "POST")
    assert (parser.status, parser.headers, found, parser.reusable) == (status, headers, read, goes_on)
    assert found == body
    assert parser.ended


@pytest.mark.parametrize(
    ("head", "method"),
    [
        ("204 No Content\r\n", "POST"),
        ("304 Not Modified\r\nContent-Length: 10\r\n", "POST"),
        ("200 OK\r\nContent-Length: 10\r\n", "HEAD"),
        ("200 OK\r\nContent-Length: 0\r\n", "POST"),
        ("200 Connection established\r\n", "CONNECT"),
        ("200 OK\r\nTransfer-Encoding: chunked\r\n", "CONNECT"),
    ],
)
def test_what_has_no_body(head: str, method: str) -> None:
    parser, body = both_ways(f"HTTP/1.1 {head}\r\n".encode(), method)
    assert (body, parser.ended, parser.reusable) == (b"", True, True)


def test_a_proxy_that_refuses_may_say_why() -> None:
    parser, body = both_ways(b"HTTP/1.1 407 No\r\nContent-Length: 2\r\n\r\nno", "CONNECT")
    assert (parser.status, body, parser.ended) == (407, b"no", True)


def test_heads_that_announce_another_are_skipped() -> None:
    data = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"
    parser, body = both_ways(data + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert (parser.status, parser.headers, body) == (200, {"content-length": "2"}, b"ok")


def test_a_switch_of_protocols_ends_the_exchange_and_the_connection() -> None:
    parser, _ = both_ways(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n")
    assert (parser.status, parser.ended, parser.reusable) == (101, True, False)


def test_a_body_may_end_with_its_connection() -> None:
    parser, body = both_ways(b"HTTP/1.1 200 OK\r\n\r\nwhole")
    assert (body, parser.ended) == (b"whole", False)
    assert parser.finish()
    assert (parser.ended, parser.reusable) == (True, False)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 200 O",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhol",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n",
    ],
)
def test_a_response_that_was_cut_is_not_whole(data: bytes) -> None:
    parser, _ = both_ways(data)
    assert not parser.finish()


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
    ],
)
def test_what_nobody_asked_for_spoils_the_connection(response: bytes) -> None:
    assert both_ways(response)[0].reusable
    assert not both_ways(response + b"HTTP/1.1 200")[0].reusable


def test_a_long_value_may_go_on_in_a_further_line() -> None:
    parser, _ = both_ways(b"HTTP/1.1 200 OK\r\nX-A: one\r\n\ttwo\r\nContent-Length: 0\r\n\r\n")
    assert parser.headers["x-a"] == "one two"


def test_a_length_beside_chunks_is_not_believed() -> None:
    data = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    parser, body = both_ways(data)
    assert (body, parser.ended, parser.reusable) == (b"ok", True, False)


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-x\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\n\n",
        b"HTTP/1.1 200 OK\r\nX-A: a\nX-B: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: a\rX-B: b\r\n\r\n",
        OK + b"X-A: a\0\r\n\r\n",
        OK + b"no colon\r\n\r\n",
        OK + b": no name\r\n\r\n",
        OK + b"Content-Length : 5\r\n\r\nwhole",
        OK + b" X-A: a\r\n\r\n",
        OK + b"Content-Length: five\r\n\r\n",
        OK + b"Content-Length: -1\r\n\r\n",
        OK + b"Content-Length: \xb2\r\n\r\n",
        OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
        OK + b"Content-Length: 99999999999999999999\r\n\r\n",
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
        OK + b"X-A: " + b"a" * 70_000 + b"\r\n\r\n",
        OK + b"X-A: " + b"a" * 70_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 101,
        CHUNKED + b"0\r\n" + b"X: a\r\n" * 101,
        OK + b"X: a\r\n" * 101 + b"\r\n",
        OK + b"X: a\r\n" * 101,
        CHUNKED + b"zz\r\n",
        CHUNKED + b"+2\r\nab\r\n",
        CHUNKED + b"0x2\r\nab\r\n",
        CHUNKED + b"-1\r\n",
        CHUNKED + b"\r\n",
        CHUNKED + b"2\r\nabc\r\n",
        CHUNKED + b"2;" + b"a" * 5_000,
        CHUNKED + b"0\r\nX: " + b"a" * 5_000,
        CHUNKED + b"11111111111111111\r\n",
    ],
)
def test_what_is_no_http_is_refused(data: bytes) -> None:
    for pieces in ([data], [data[i : i + 997] for i in range(0, len(data), 997)], [bytes((byte,)) for byte in data]):
        with pytest.raises(NotHttpError) as caught:
            parsed([*pieces[:8_000], b"".join(pieces[8_000:])])
        assert str(caught.value) == ""  # nothing that was received


@given(st.binary(max_size=200), st.sampled_from([b"", OK, CHUNKED, OK + b"Content-Length: 9\r\n\r\n"]))
def test_garbage_is_refused_or_read_and_never_anything_else(garbage: bytes, before: bytes) -> None:
    with suppress(NotHttpError):
        both_ways(before + garbage)
