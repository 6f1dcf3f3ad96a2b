"""What comes of URLs: the URLs themselves, what their hosts answer, and bodies that name them."""

from __future__ import annotations

import json
from collections.abc import Iterator

from awsllm.errors import AwsllmError
from awsllm.fetching.addresses import may_be_called, read_address
from awsllm.fetching.rules import FetchUrls
from awsllm.fetching.visit import Visit, place_of
from awsllm.server.surfaces.limits import read_json
from awsllm.server.urls import _named
from tests.fuzz.harness import Target

_REFUSALS = (AwsllmError,)
_ANY = FetchUrls(hosts=("*",), http=True, max_bytes=10_000)
_URLS = (
    "https://images.example.com/a/cat.png?size=2#part", "https://[2606::1]:443/x", "http://93.184.216.34/", "https://a.b",
    "https://xn--bcher-kva.example/%C3%A4", "HTTPS://EXAMPLE.com/;a=b",
)  # fmt: skip
_ANSWERS = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n\x89PNG\r\n\x1a\nabcd",
    b"HTTP/1.1 302 Found\r\nLocation: https://other.example.com/x\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nc\r\n%PDF-1.7abcd\r\n0\r\n\r\n",
)


def targets() -> Iterator[Target]:
    yield Target("url", lambda: [url.encode() for url in _URLS], _read_url, _REFUSALS)
    yield Target("fetched-answer", lambda: list(_ANSWERS), _read_answer, _REFUSALS)
    yield Target("url-inputs", _bodies, _read_body, _REFUSALS)


def _read_url(data: bytes) -> None:
    """What is taken can be asked for: one line of a head, to a host that is no address in disguise."""
    place = place_of(data.decode("utf-8", "replace"), _ANY)
    line = f"GET {place.target} HTTP/1.1\r\nHost: {place.authority}".encode("ascii")
    assert line.count(b"\r\n") == 1
    assert place.target.startswith("/")
    assert b" " not in place.target.encode()
    assert place.port in (80, 443)
    address = read_address(place.host)
    if address is not None:
        may_be_called(address)


def _read_answer(data: bytes) -> None:
    visit = Visit(_ANY, "https://images.example.com/cat.png")
    for start in range(0, len(data), 7):
        if visit.over:
            break
        visit.feed(data[start : start + 7])
    if not visit.over:
        visit.feed(b"")
    assert visit.data is None or len(visit.data) <= _ANY.max_bytes


def _bodies() -> list[bytes]:
    source = {"type": "url", "url": "https://images.example.com/cat.png"}
    parts = [
        {"type": "image_url", "image_url": {"url": source["url"]}},
        {"type": "input_image", "image_url": source["url"]},
        {"type": "input_file", "file_url": source["url"]},
        {"type": "image", "source": source},
    ]
    turn = {"role": "user", "content": parts}
    return [json.dumps({"messages": [turn], "input": [turn]}).encode()]


def _read_body(data: bytes) -> None:
    named = list(_named(read_json(data)))
    for _, _, url in named:
        _ANY.allows(url)
    for put, _, _ in named:
        put("image/png", "AAAA")
