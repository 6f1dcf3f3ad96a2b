"""A loopback stub of Bedrock's runtime that costs next to nothing, so that what is measured is the client.

It answers Converse with one canned reply and ConverseStream with ``EVENTS`` text deltas, after ``--delay`` seconds, and
InvokeModel and its stream with the same in Anthropic's body. It runs in a process of its own: ``python -m
benchmarks.stub [--delay S]`` prints its port and serves until stdin closes.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import sys

from awsllm.wire.eventstream import encode_event_frame
from benchmarks.http_requests import RequestProtocol

EVENTS = 1000
REPLY = json.dumps(
    {
        "output": {"message": {"role": "assistant", "content": [{"text": "The quick brown fox jumps over the dog."}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 12, "outputTokens": 10, "totalTokens": 22},
        "metrics": {"latencyMs": 120},
    }
).encode()


def event(name: str, **payload: object) -> bytes:
    body = json.dumps({**payload, "p": "abcdefghijklmnopqrstuvwxyz"}, separators=(",", ":"), sort_keys=True)
    return encode_event_frame(name, body.encode())


STREAM = b"".join(
    [
        event("messageStart", role="assistant"),
        *[event("contentBlockDelta", contentBlockIndex=0, delta={"text": f" word{i}"}) for i in range(EVENTS)],
        event("contentBlockStop", contentBlockIndex=0),
        event("messageStop", stopReason="end_turn"),
        event("metadata", usage={"inputTokens": 9, "outputTokens": 9, "totalTokens": 18}, metrics={"latencyMs": 1}),
    ]
)
NATIVE = json.dumps(
    {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [{"type": "text", "text": "The quick brown fox jumps over the dog."}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 12, "output_tokens": 10},
    }
).encode()


def chunk(**payload: object) -> bytes:
    return event("chunk", bytes=base64.b64encode(json.dumps(payload, separators=(",", ":")).encode()).decode())


NATIVE_STREAM = b"".join(
    [
        chunk(type="message_start", message={**json.loads(NATIVE), "content": [], "stop_reason": None}),
        chunk(type="content_block_start", index=0, content_block={"type": "text", "text": ""}),
        *[
            chunk(type="content_block_delta", index=0, delta={"type": "text_delta", "text": f" word{i}"})
            for i in range(EVENTS)
        ],
        chunk(type="content_block_stop", index=0),
        chunk(
            type="message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 9}
        ),
        chunk(type="message_stop"),
    ]
)
HEAD = "HTTP/1.1 200 OK\r\nx-amzn-RequestId: 00000000-0000-4000-8000-000000000000\r\n"


def unary(reply: bytes) -> bytes:
    return f"{HEAD}Content-Type: application/json\r\nContent-Length: {len(reply)}\r\n\r\n".encode() + reply


CHUNKED = f"{HEAD}Content-Type: application/vnd.amazon.eventstream\r\nTransfer-Encoding: chunked\r\n\r\n".encode()


def chunks(data: bytes, size: int = 4096) -> bytes:
    parts = [data[i : i + size] for i in range(0, len(data), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


ANSWERS = {  # by the last segment of the path
    b"converse": unary(REPLY),
    b"converse-stream": CHUNKED + chunks(STREAM),
    b"invoke": unary(NATIVE),
    b"invoke-with-response-stream": CHUNKED + chunks(NATIVE_STREAM),
}


class Stub(RequestProtocol):
    """Answers each request with the same, after a while."""

    def __init__(self, delay: float) -> None:
        super().__init__()
        self._delay = delay

    def _asked(self, operation: bytes, body: bytes) -> None:
        asyncio.get_running_loop().call_later(self._delay, self._transport.write, ANSWERS[operation])


async def serve(delay: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Stub(delay), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--delay", type=float, default=0.0)
    asyncio.run(serve(parser.parse_args().delay))
