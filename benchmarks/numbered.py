"""A loopback Bedrock for ``benchmarks.soak``: each request carries a number (``#17#``) and the answer is made of it, so
that an answer that belongs to another call, lacks a piece or has one twice is seen.

``python -m benchmarks.numbered --share 0.05 --seed 0`` prints its port, serves until stdin closes, and then prints a
JSON object of what it saw: ``requests``, ``faults`` by kind, and ``ran``, how often a generation began for each number
for which that was not once. A share of the requests meets a fault, drawn from the seed, the number and how often that
number was seen. What was throttled or failed with a 5xx did not run, nor did a stream that says so before its first
word; all else did, and would be on the bill.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import socket
import struct
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from awsllm.types import AttemptMade
from awsllm.wire.eventstream import encode_event_frame, encode_frame
from benchmarks.http_requests import RequestProtocol

NUMBER = re.compile(rb"#(\d+)#")
WORDS = 12
HOLD = 6.0  # seconds for which a stalled call hears nothing, and then that the connection is gone
REFUSALS = {
    "throttled": (429, "ThrottlingException"),
    "failed": (500, "InternalServerException"),
    "unavailable": (503, "ServiceUnavailableException"),
}
KINDS = (*REFUSALS, "reset", "cut", "stalled", "slow", "closed_idle")
STREAM_KINDS = (*KINDS, "error_event", "bad_crc", "ended_early")
BEGINNING = 1  # the events of a stream before its first word
STALLS = 0.1  # of the draws of a stall, those that are one: a stall holds a place for seconds


def answer_text(number: int) -> str:
    """What answers a number."""
    return " ".join([f"#{number}", *(f"w{(number * 31 + place) % 997}" for place in range(WORDS - 1))])


def answer_vector(number: int) -> list[float]:
    """Its embedding; each member is one that float32 has."""
    return [float(number % 4096), *(float((number * 31 + place) % 997) / 1024 for place in range(255))]


@dataclass
class Seen:
    """What the stub has to tell in the end."""

    share: float
    seed: int
    requests: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    asked: Counter[int] = field(default_factory=Counter)
    ran: Counter[int] = field(default_factory=Counter)

    def fault(self, number: int, kinds: tuple[str, ...]) -> tuple[str, random.Random]:
        """What happens to this request, and where its details are drawn from; empty for nothing."""
        self.requests += 1
        self.asked[number] += 1
        drawn = random.Random(f"{self.seed}:{number}:{self.asked[number]}")  # noqa: S311 - to be repeated
        kind = drawn.choice(kinds) if drawn.random() < self.share else ""
        if kind == "stalled" and drawn.random() >= STALLS:
            kind = "slow"
        if kind:
            self.faults[kind] += 1
        return kind, drawn

    def report(self) -> dict[str, Any]:
        unusual = {str(number): runs for number, runs in self.ran.items() if runs != 1}
        return {"requests": self.requests, "faults": dict(self.faults.most_common()), "ran": unusual}


# --- answers ---------------------------------------------------------------------------------------------------------


def _said(body: dict[str, Any]) -> str:
    """What an assistant's unfinished turn at the end has already said."""
    last = body["messages"][-1]
    if last["role"] != "assistant":
        return ""
    return "".join(block.get("text", "") for block in last["content"])


def _rest(number: int, body: dict[str, Any]) -> str:
    said, whole = _said(body), answer_text(number)
    if not whole.startswith(said):
        raise ValueError("a stream is continued from what was never said")
    return whole[len(said) :]


def _usage(text: str) -> dict[str, int]:
    words = len(text.split())
    return {"inputTokens": 10, "outputTokens": words, "totalTokens": 10 + words}


def converse(number: int, body: dict[str, Any]) -> list[bytes]:
    text = _rest(number, body)
    reply = {
        "output": {"message": {"role": "assistant", "content": [{"text": text}]}},
        "stopReason": "end_turn",
        "usage": _usage(text),
        "metrics": {"latencyMs": 1},
    }
    return [json.dumps(reply).encode()]


def _event(name: str, **payload: object) -> bytes:
    return encode_event_frame(name, json.dumps(payload).encode())


def converse_stream(number: int, body: dict[str, Any]) -> list[bytes]:
    text = _rest(number, body)
    pieces = re.findall(r"\s*\S+", text)
    return [
        _event("messageStart", role="assistant"),
        *[_event("contentBlockDelta", contentBlockIndex=0, delta={"text": piece}) for piece in pieces],
        _event("contentBlockStop", contentBlockIndex=0),
        _event("messageStop", stopReason="end_turn"),
        _event("metadata", usage=_usage(text), metrics={"latencyMs": 1}),
    ]


def invoke(number: int, body: dict[str, Any]) -> list[bytes]:
    if "inputText" in body:
        return [json.dumps({"embedding": answer_vector(number), "inputTextTokenCount": 4}).encode()]
    content = [{"type": "text", "text": answer_text(number)}]
    usage = {"input_tokens": 10, "output_tokens": WORDS}
    reply = {"id": "m", "type": "message", "role": "assistant", "content": content, "usage": usage}
    return [json.dumps({**reply, "model": "claude", "stop_reason": "end_turn", "stop_sequence": None}).encode()]


ANSWERS: dict[bytes, tuple[Callable[[int, dict[str, Any]], list[bytes]], bool]] = {  # whether it is a stream
    b"converse": (converse, False),
    b"converse-stream": (converse_stream, True),
    b"invoke": (invoke, False),
}

# --- what is sent, and when ------------------------------------------------------------------------------------------

Step = tuple[float, bytes | str]  # after so many seconds, so many bytes; or close, or reset


def _refusal(kind: str) -> bytes:
    status, code = REFUSALS[kind]
    body = b'{"message":"A fault that was asked for."}'
    head = f"HTTP/1.1 {status} No\r\nContent-Type: application/json\r\nx-amzn-ErrorType: {code}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


_HEAD = "HTTP/1.1 200 OK\r\nx-amzn-RequestId: 00000000-0000-4000-8000-000000000000\r\n"
_STREAM_HEAD = f"{_HEAD}Content-Type: application/vnd.amazon.eventstream\r\nTransfer-Encoding: chunked\r\n\r\n".encode()


def _framed(pieces: list[bytes], *, streamed: bool) -> list[bytes]:
    """The response in the pieces in which it may be sent."""
    if streamed:
        return [_STREAM_HEAD, *map(_chunk, pieces), b"0\r\n\r\n"]
    body = b"".join(pieces)
    head = f"{_HEAD}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    return [head, body[: len(body) // 2], body[len(body) // 2 :]]


def steps(kind: str, pieces: list[bytes], place: int, drawn: random.Random) -> Iterator[Step]:
    """How one answer is sent, with what happens to it, at the piece ``place``; that is -1 in what is no stream."""
    if kind in REFUSALS:
        yield 0.0, _refusal(kind)
        return
    if kind == "reset":
        yield 0.0, "reset"
        return
    if kind == "error_event":
        headers = {":message-type": "exception", ":exception-type": "internalServerException"}
        pieces = [*pieces[:place], encode_frame(headers, b'{"message":"A fault that was asked for."}')]
    elif kind == "bad_crc":
        piece = pieces[place]
        pieces = [*pieces[:place], piece[:-1] + bytes((piece[-1] ^ 0xFF,)), *pieces[place + 1 :]]
    elif kind == "ended_early":
        pieces = pieces[:place]
    sent = _framed(pieces, streamed=place >= 0)
    if kind == "cut":
        whole = b"".join(sent)
        yield 0.0, whole[: drawn.randrange(1, len(whole))]
        yield 0.0, drawn.choice(("close", "reset"))
    elif kind == "stalled":
        at = drawn.randrange(len(sent))
        yield 0.0, b"".join(sent[:at])
        yield HOLD, "reset"
    elif kind == "slow":
        for piece in sent:
            yield 0.01, piece
    else:
        yield 0.0, b"".join(sent)
        if kind == "closed_idle":
            yield 0.001, "close"


class NumberedStub(RequestProtocol):
    """Answers by number, or hampers."""

    def __init__(self, seen: Seen, delay: float) -> None:
        super().__init__()
        self._seen, self._delay = seen, delay

    def drop(self) -> None:
        self._transport.abort()

    def _asked(self, operation: bytes, body: bytes) -> None:
        found = NUMBER.search(body)
        assert found is not None
        number = int(found[1])
        make, streamed = ANSWERS[operation]
        kind, drawn = self._seen.fault(number, STREAM_KINDS if streamed else KINDS)
        pieces = make(number, json.loads(body))
        place = drawn.randrange(len(pieces))
        if kind not in REFUSALS and not (kind == "error_event" and place <= BEGINNING):
            self._seen.ran[number] += 1
        self._next(steps(kind, pieces, place if streamed else -1, drawn), self._delay)

    def _next(self, left: Iterator[Step], delay: float = 0.0) -> None:
        step = next(left, None)
        if step is None or self._transport.is_closing():
            return
        asyncio.get_running_loop().call_later(delay + step[0], self._do, step[1], left)

    def _do(self, what: bytes | str, left: Iterator[Step]) -> None:
        if isinstance(what, bytes):
            self._transport.write(what)
        elif what == "close":
            self._transport.close()
        else:
            plain = self._transport.get_extra_info("socket")
            if plain is not None and not self._transport.is_closing():
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()
        self._next(left)


def continued(warnings: Iterable[str]) -> int:
    """How often a stream was continued where it broke, as its response's warnings say."""
    told = [found[1] for warning in warnings if (found := re.search(r"broke \(([^)]*)\) and was continued", warning))]
    return sum(len(codes.split(", ")) for codes in told)


def continued_in_vain(attempts: Iterable[AttemptMade]) -> int:
    """How often a stream was continued that failed in the end: each attempt but the last that began to answer."""
    refused = ("ThrottlingException", "ServiceUnavailableException")
    return sum(made.error not in refused for made in list(attempts)[:-1])


@contextmanager
def serving(seen: Seen, delay: float = 0.0) -> Iterator[str]:
    """The URL of a stub on a thread of this process."""
    loop, ready = asyncio.new_event_loop(), threading.Event()
    stubs: weakref.WeakSet[NumberedStub] = weakref.WeakSet()
    ports: list[int] = []

    def made() -> NumberedStub:
        stub = NumberedStub(seen, delay)
        stubs.add(stub)
        return stub

    async def listen() -> None:
        server = await loop.create_server(made, "127.0.0.1", 0, backlog=1024)
        ports.append(server.sockets[0].getsockname()[1])
        ready.set()
        await stopped.wait()
        server.close()
        for stub in list(stubs):
            stub.drop()
        await asyncio.sleep(0)

    stopped = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(listen(),), daemon=True)
    thread.start()
    ready.wait()
    try:
        yield f"http://127.0.0.1:{ports[0]}"
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join()
        loop.close()


async def serve(seen: Seen, delay: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: NumberedStub(seen, delay), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()
    print(json.dumps(seen.report()), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0.002)
    arguments = parser.parse_args()
    asyncio.run(serve(Seen(arguments.share, arguments.seed), arguments.delay))
