"""A stream that is cut always raises ``StreamError`` with what had come, however the cut looks to the transport."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import awsllm
from awsllm.errors import StreamError, ThrottlingError
from awsllm.wire.converse.stream import encode_error_frame
from tests.aws.test_http import CHUNKED, FaultServer, chunk, head, raw
from tests.policy.promises.test_attempts_timeouts import frames

MODEL = "bedrock:us.amazon.nova-lite-v1:0"
BEGUN = frames("Hello.", 2)


def unchunked(data: bytes) -> bytes:
    body = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        body, data = body + data[: int(size, 16)], data[int(size, 16) + 2 :]
    return body


BODY = unchunked(BEGUN)
FLIPPED = BODY[:-6] + bytes((BODY[-6] ^ 1,)) + BODY[-5:]
CUTS = {
    "an exception in the stream": raw(
        CHUNKED + BEGUN + chunk(encode_error_frame(ThrottlingError("slow"))) + b"0\r\n\r\n"
    ),
    "a flipped byte": raw(CHUNKED + BEGUN + chunk(FLIPPED[len(FLIPPED) // 2 :]) + b"0\r\n\r\n"),
    "silence": raw(CHUNKED + BEGUN, "stall"),
    "within a chunk": raw(CHUNKED + BEGUN + b"64\r\nhalf"),
    "no last chunk": raw(CHUNKED + BEGUN),
    "a reset": raw(CHUNKED + BEGUN, "reset"),
    "shorter than announced": raw(head(Content_Length=len(BODY) + 100) + BODY),
    "a clean end between frames": raw(CHUNKED + BEGUN + b"0\r\n\r\n"),
    "a clean end within a frame": raw(CHUNKED + BEGUN + chunk(BODY[:20]) + b"0\r\n\r\n"),
    "the end of the connection": raw(head(Connection="close") + BODY),
}


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize("cut", CUTS)
def test_a_cut_is_told_with_what_had_come_and_nothing_is_sent_again(cut: str, way: str) -> None:
    options: dict[str, Any] = {"read_timeout": 0.3, "policy": awsllm.Policy(base_delay=0, resend_lost=True)}

    async def ask(url: str) -> None:
        async with awsllm.AsyncClient(region="us-east-1", endpoint_url=url, **options) as client:
            await client.converse_stream(MODEL, "Hi").response

    with FaultServer(CUTS[cut]) as server:
        with pytest.raises(StreamError) as caught:
            if way == "async":
                asyncio.run(ask(server.url))
            else:
                with awsllm.Client(region="us-east-1", endpoint_url=server.url, **options) as client:
                    _ = client.converse_stream(MODEL, "Hi").response
        assert len(server.requests) == 1
    partial = caught.value.partial
    assert partial is not None
    assert (partial.text, partial.stop_reason) == ("Hello.", None)
