"""Deadlines where nothing of the answer has come yet, answers that belong to nobody, and calls amid failures.

All is called as a user calls it, by ``Client`` and ``AsyncClient``; what answers is on loopback. That a deadline holds
is told by the order of two events, not by a clock: the call has ended before that which holds it up gave in.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import awsllm
from awsllm.wire.eventstream import encode_event_frame

ONCE = awsllm.Policy(max_attempts=1)
DEADLINE = 0.3
GIVES_IN = 2.0  # how long what holds a call up does so at most; a call that has not ended by then has no deadline
MODEL = "bedrock:amazon.nova-lite-v1:0"
BOTH = pytest.mark.parametrize("kind", ["sync", "async"])


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")


class Held:
    """Something that holds a call up until the call has ended, or until it has been held up for too long."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.gave_in = False
        self._until = time.monotonic() + GIVES_IN

    def pause(self, seconds: float) -> bool:
        """Wait; whether to go on holding."""
        left = self._until - time.monotonic()
        if self.ended.wait(max(0.0, min(seconds, left))):
            return False
        if left <= seconds:
            self.gave_in = True
            return False
        return True

    def ends(self, kind: str, url: str, text: str = "Hi") -> None:
        """Make a call, which the deadline must end while it is held up."""
        with pytest.raises(awsllm.ModelTimeoutError):
            try:
                call_once(kind, url, text)
            finally:
                self.ended.set()
                assert not self.gave_in, "the call has gone on beyond its deadline"


def call_once(kind: str, url: str, text: str = "Hi") -> str:
    """One call that should end by its deadline."""
    if kind == "sync":
        with awsllm.Client(endpoint_url=url, policy=ONCE) as one:
            return one.converse(MODEL, text, timeout=DEADLINE).text

    async def within() -> str:
        async with awsllm.AsyncClient(endpoint_url=url, policy=ONCE) as one:
            return (await one.converse(MODEL, text, timeout=DEADLINE)).text

    return asyncio.run(within())


@contextlib.contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port whose connections ``serve`` is given, each on a thread."""
    threads: list[threading.Thread] = []

    def serve_one(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            serve(connection)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threads.append(threading.Thread(target=serve_one, args=(connection,), daemon=True))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads.append(threading.Thread(target=accept, daemon=True))
        threads[0].start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join(10)


# --- deadlines before the first byte of an answer --------------------------------------------------------------------


@BOTH
def test_the_deadline_holds_while_a_name_is_looked_up(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    held, real = Held(), socket.getaddrinfo

    def slow(host: Any, *arguments: Any, **options: Any) -> Any:
        if host == "slow.test":
            while held.pause(0.05):
                pass
            host = "127.0.0.1"
        return real(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)

    held.ends(kind, "http://slow.test:9")


def drip(held: Held, connection: socket.socket, begin: bytes, piece: bytes) -> None:
    """Answer the first thing that is read by ``begin`` and then a ``piece`` every now and then."""
    connection.recv(65536)
    connection.sendall(begin)
    while held.pause(0.05):
        connection.sendall(piece)


TUNNELS = {
    "in silence": (b"", b""),
    "in a line": (b"HTTP/1.1 200 Connection established\r\nX-A: ", b"a"),
    "between lines": (b"HTTP/1.1 200 Connection established\r\n", b"X-A: b\r\n"),
}


@BOTH
@pytest.mark.parametrize("name", TUNNELS)
def test_the_deadline_holds_while_a_proxy_answers(kind: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held()
    with listening(lambda connection: drip(held, connection, *TUNNELS[name])) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        held.ends(kind, "https://model.example")


@BOTH
def test_the_deadline_holds_in_a_handshake_that_drips(kind: str) -> None:
    held = Held()
    # The head of a TLS record of 16 KB with a server's hello, and then its bytes
    hello = bytes([22, 3, 3, 0x3F, 0xFF, 2, 0, 0x3F, 0xF0])
    with listening(lambda connection: drip(held, connection, hello, b"\0")) as port:
        held.ends(kind, f"https://127.0.0.1:{port}")


@BOTH
@pytest.mark.parametrize("reads", [False, True], ids=["unread", "read slowly"])
def test_the_deadline_holds_while_a_body_is_sent(reads: bool, kind: str) -> None:
    held = Held()

    def serve(connection: socket.socket) -> None:
        while held.pause(0.02):
            if reads:
                connection.recv(1000)

    with listening(serve) as port:
        held.ends(kind, f"http://127.0.0.1:{port}", "x" * 12_000_000)


# --- answers ---------------------------------------------------------------------------------------------------------


def answer(text: str) -> bytes:
    message = {"role": "assistant", "content": [{"text": text}]}
    usage = {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}
    body = {"output": {"message": message}, "stopReason": "end_turn", "usage": usage, "metrics": {"latencyMs": 1}}
    return json.dumps(body).encode()


def reply(body: bytes, status: str = "200 OK", more: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


def stream(text: str) -> bytes:
    delta = {"contentBlockIndex": 0, "delta": {"text": text}}
    events = [
        ("messageStart", {"role": "assistant"}), ("contentBlockDelta", delta),
        ("contentBlockStop", {"contentBlockIndex": 0}), ("messageStop", {"stopReason": "end_turn"}),
    ]  # fmt: skip
    return b"".join(encode_event_frame(name, json.dumps(value).encode()) for name, value in events)


def read_request(connection: socket.socket) -> tuple[str, str] | None:
    """The path and the prompt of the next request; None where there is none."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return None
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    [length] = [int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    while len(body) < length:
        body += connection.recv(65536)
    prompt = json.loads(body)["messages"][-1]["content"][0]["text"]
    return head.split()[1].decode(), prompt


@BOTH
@pytest.mark.parametrize("status", ["100 Continue", "102 Processing", "103 Early Hints"])
def test_an_answer_that_only_announces_another_is_skipped(status: str, kind: str) -> None:
    def serve(connection: socket.socket) -> None:
        while read_request(connection):
            connection.sendall(f"HTTP/1.1 {status}\r\nLink: x\r\n\r\n".encode() + reply(answer("whole")))

    with listening(serve) as port:
        assert ask(kind, f"http://127.0.0.1:{port}") == "whole"


def ask(kind: str, url: str, text: str = "Hi") -> str:
    """One call that has its time."""
    if kind == "sync":
        with awsllm.Client(endpoint_url=url, policy=ONCE) as client:
            return client.converse(MODEL, text, timeout=20).text

    async def within() -> str:
        async with awsllm.AsyncClient(endpoint_url=url, policy=ONCE) as client:
            return (await client.converse(MODEL, text, timeout=20)).text

    return asyncio.run(within())


HEADS = {
    "a long header": (f"X-Long: {'a' * 60_000}\r\n", True),
    "many headers": ("".join(f"X-{number}: a\r\n" for number in range(95)), True),
    "too long a header": (f"X-Long: {'a' * 70_000}\r\n", False),
    "too many headers": ("".join(f"X-{number}: a\r\n" for number in range(150)), False),
}


@BOTH
@pytest.mark.parametrize("name", HEADS)
def test_a_long_head_is_read_up_to_the_same_length(name: str, kind: str) -> None:
    more, fits = HEADS[name]

    def serve(connection: socket.socket) -> None:
        while read_request(connection):
            connection.sendall(reply(answer("whole"), more=more))

    with listening(serve) as port:
        url = f"http://127.0.0.1:{port}"
        if fits:
            assert ask(kind, url) == "whole"
        else:
            with pytest.raises(awsllm.ServerError, match="not HTTP"):
                ask(kind, url)


@BOTH
@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_has_a_bound(kind: str, chunked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server would go on for ever; where it says how much there is, as where it does not."""
    for module in ("pool", "aio_pool"):
        monkeypatch.setattr(f"awsllm.aws.{module}.MAX_REPLY", 1 << 20)
    way = "Transfer-Encoding: chunked" if chunked else "Content-Length: 1000000000000"
    piece = b"10000\r\n" + b" " * 65536 + b"\r\n" if chunked else b" " * 65536

    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(f"HTTP/1.1 200 OK\r\n{way}\r\n\r\n".encode())
        while True:
            connection.sendall(piece)

    with listening(serve) as port, pytest.raises(awsllm.ServerError, match="and was cut off") as caught:
        ask(kind, f"http://127.0.0.1:{port}")
    assert not caught.value.retryable


@BOTH
@pytest.mark.parametrize("missing", [0, 20], ids=["unreadable", "cut"])
def test_an_error_knows_the_id_of_its_call(kind: str, missing: int) -> None:
    def serve(connection: socket.socket) -> None:
        read_request(connection)
        whole = reply(b"neither JSON nor an error", more="x-amzn-RequestId: r-7\r\n")
        connection.sendall(whole[: len(whole) - missing])

    with listening(serve) as port, pytest.raises(awsllm.ServerError) as caught:
        ask(kind, f"http://127.0.0.1:{port}")
    assert caught.value.request_id == "r-7"


@BOTH
def test_a_streamed_response_has_the_id_of_its_call(kind: str) -> None:
    def serve(connection: socket.socket) -> None:
        found = read_request(connection)
        whole = reply(stream("whole"), more="x-amzn-RequestId: r-7\r\nContent-Type: application/x\r\n")
        connection.sendall(whole[:-40] if found and found[1] == "cut" else whole)

    def read(url: str, text: str) -> awsllm.ConverseResponse:
        if kind == "sync":
            with awsllm.Client(endpoint_url=url, policy=ONCE) as client:
                return client.converse_stream(MODEL, text, timeout=20).response

        async def within() -> awsllm.ConverseResponse:
            async with awsllm.AsyncClient(endpoint_url=url, policy=ONCE) as client:
                return await client.converse_stream(MODEL, text, timeout=20).response

        return asyncio.run(within())

    with listening(serve) as port:
        url = f"http://127.0.0.1:{port}"
        assert read(url, "whole").request_id == "r-7"
        with pytest.raises(awsllm.StreamError) as caught:
            read(url, "cut")
        assert caught.value.request_id == "r-7"
        assert caught.value.partial is not None
        assert caught.value.partial.request_id == "r-7"


class Forger:
    """Answers each request twice: at once, behind the right answer, or once the right one has been read."""

    def __init__(self, together: bool) -> None:
        self.together = together
        self.read, self.forged = threading.Event(), threading.Event()

    def serve(self, connection: socket.socket) -> None:
        while found := read_request(connection):
            right, forged = reply(answer(f"to {found[1]}")), reply(answer("forged"))
            if self.together:
                connection.sendall(right + forged)
            else:
                connection.sendall(right)
                assert self.read.wait(20)
                connection.sendall(forged)
            self.forged.set()

    def after_an_answer(self) -> None:
        """Return when the forged answer has arrived, too."""
        self.read.set()
        assert self.forged.wait(20)
        self.read.clear()
        self.forged.clear()


@pytest.mark.parametrize("together", [True, False], ids=["behind the answer", "later"])
def test_an_answer_that_nobody_asked_for_is_nobodys(together: bool) -> None:
    """It must not be taken for the answer to the next request."""
    forger = Forger(together)
    with (
        listening(forger.serve) as port,
        awsllm.Client(endpoint_url=f"http://127.0.0.1:{port}", policy=ONCE) as client,
    ):
        for number in range(3):
            assert client.converse(MODEL, str(number), timeout=20).text == f"to {number}"
            forger.after_an_answer()


@pytest.mark.parametrize("together", [True, False], ids=["behind the answer", "later"])
@pytest.mark.parametrize("read", [True, False], ids=["read by the loop", "still in the socket"])
def test_an_awaited_answer_that_nobody_asked_for_is_nobodys(together: bool, read: bool) -> None:
    forger = Forger(together)

    async def within(port: int) -> None:
        async with awsllm.AsyncClient(endpoint_url=f"http://127.0.0.1:{port}", policy=ONCE) as client:
            for number in range(3):
                assert (await client.converse(MODEL, str(number), timeout=20)).text == f"to {number}"
                if read:
                    await asyncio.to_thread(forger.after_an_answer)
                    await asyncio.sleep(0.02)
                else:
                    forger.after_an_answer()  # the loop stands still

    with listening(forger.serve) as port:
        asyncio.run(within(port))


# --- calls amid failures ---------------------------------------------------------------------------------------------


def misbehave(connection: socket.socket, fault: str, prompt: str, streaming: bool) -> bool:
    """Answer a prompt with one fault or none; whether the connection stays."""
    whole = reply(stream(prompt) if streaming else answer(prompt), more="Content-Type: x\r\n")
    match fault:
        case "cut in the head":
            connection.sendall(whole[:20])
        case "cut in the body":
            connection.sendall(whole[:-10])
        case "closed":
            connection.sendall(whole)
        case "no HTTP":
            connection.sendall(b"SSH-2.0-x\r\n")
        case "throttled":
            connection.sendall(reply(b"{}", "429 x", "x-amzn-ErrorType: ThrottlingException\r\n"))
            return True
        case "a bit flipped":
            middle = len(whole) - 30
            connection.sendall(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
            return True
        case _:
            connection.sendall(whole)
            return True
    return False


FAULTS = ["cut in the head", "cut in the body", "closed", "no HTTP", "throttled", "a bit flipped"]


def serve_storm(connection: socket.socket) -> None:
    """Each prompt names its fault."""
    while found := read_request(connection):
        path, prompt = found
        if not misbehave(connection, prompt.partition(":")[0], prompt, path.endswith("stream")):
            return


def prompts() -> list[tuple[str, bool]]:
    """Every third is answered with a fault; whether it streams."""
    faults = [FAULTS[number // 3 % len(FAULTS)] if number % 3 == 0 else "fine" for number in range(180)]
    return [(f"{fault}: {number}", number % 2 == 0) for number, fault in enumerate(faults)]


def judge(prompt: str, outcome: str | Exception) -> None:
    """A call's own answer, or an error of awsllm's; a bit flipped in an answer without checksums may be anything."""
    if isinstance(outcome, Exception):
        assert isinstance(outcome, awsllm.AwsllmError), repr(outcome)
    elif not prompt.startswith("a bit flipped"):
        assert outcome == prompt
    if prompt.startswith("fine"):
        assert outcome == prompt


RETRYING = awsllm.Policy(max_attempts=3, base_delay=0.01, resend_lost=True)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(sys.platform != "linux", reason="file descriptors are counted in /proc")
def test_a_call_gets_its_own_answer_amid_failures() -> None:
    with listening(serve_storm) as port:
        before = descriptors()
        with awsllm.Client(endpoint_url=f"http://127.0.0.1:{port}", policy=RETRYING) as client:

            def call(asked: tuple[str, bool]) -> str | Exception:
                try:
                    if not asked[1]:
                        return client.converse(MODEL, asked[0], timeout=30).text
                    with client.converse_stream(MODEL, asked[0], timeout=30) as events:
                        return events.response.text
                except Exception as error:
                    return error

            with ThreadPoolExecutor(16) as pool:
                outcomes = list(pool.map(call, prompts()))
    for (prompt, _), outcome in zip(prompts(), outcomes, strict=True):
        judge(prompt, outcome)
    assert descriptors() < before + 8


@pytest.mark.skipif(sys.platform != "linux", reason="file descriptors are counted in /proc")
def test_an_awaited_call_gets_its_own_answer_amid_failures() -> None:
    async def within(port: int) -> list[str | BaseException]:
        places = asyncio.Semaphore(16)
        async with awsllm.AsyncClient(endpoint_url=f"http://127.0.0.1:{port}", policy=RETRYING) as client:

            async def call(asked: tuple[str, bool]) -> str:
                async with places:
                    if not asked[1]:
                        return (await client.converse(MODEL, asked[0], timeout=30)).text
                    async with client.converse_stream(MODEL, asked[0], timeout=30) as events:
                        return (await events.response).text

            return await asyncio.gather(*map(call, prompts()), return_exceptions=True)

    with listening(serve_storm) as port:
        before = descriptors()
        outcomes = asyncio.run(within(port))
    for (prompt, _), outcome in zip(prompts(), outcomes, strict=True):
        assert isinstance(outcome, str | Exception)
        judge(prompt, outcome)
    assert descriptors() < before + 8
