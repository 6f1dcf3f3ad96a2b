"""How a server ends: what is under way is finished, nobody is sent to it any more, and no silent client keeps it."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import sys
import threading
from collections.abc import AsyncIterator
from http.client import HTTPConnection
from typing import Any

import pytest

from awsllm.server.assembly import Settings
from awsllm.server.run import _let_end, _Life, _Requests, _shut_connections, started
from awsllm.testing import AsyncScriptedBackend
from awsllm.types import ContentBlockDelta, MessageStart, MessageStop, StreamEvent, TextDelta

NOVA = "amazon.nova-lite-v1:0"
HELLO = json.dumps({"messages": [{"role": "user", "content": [{"text": "Hello"}]}]})


def reply_of(url: str, method: str, path: str, body: str = "") -> tuple[int, bytes]:
    connection = HTTPConnection(url.removeprefix("http://"), timeout=20)
    connection.request(method, path, body)
    reply = connection.getresponse()
    found = reply.status, reply.read()
    connection.close()
    return found


class Held(AsyncScriptedBackend):
    """A stream that says one word and goes on when it is told to."""

    def __init__(self) -> None:
        super().__init__(lambda request: self._events())
        self.loop: asyncio.AbstractEventLoop | None = None
        self.go = asyncio.Event()

    async def _events(self) -> AsyncIterator[StreamEvent]:
        self.loop = asyncio.get_running_loop()
        yield MessageStart("assistant")
        yield ContentBlockDelta(0, TextDelta("first"))
        await self.go.wait()
        yield MessageStop("end_turn")


def test_while_a_stream_ends_nobody_else_is_served() -> None:
    held = Held()
    server = started(Settings(backend=held))
    running = server.__enter__()
    connection = HTTPConnection(running.url.removeprefix("http://"), timeout=20)
    connection.request("POST", f"/model/{NOVA}/converse-stream", HELLO)
    reply = connection.getresponse()
    seen = b""
    while b"first" not in seen:
        seen += reply.read1()
    running.assembly.load.drain()
    assert reply_of(running.url, "GET", "/ready")[0] == 503
    assert reply_of(running.url, "GET", "/health")[0] == 200  # it lives, and is not to be killed
    status, body = reply_of(running.url, "POST", f"/model/{NOVA}/converse", HELLO)
    assert (status, json.loads(body)["message"]) == (503, "the server is ending")
    leaving = threading.Thread(target=server.__exit__, args=(None, None, None))
    leaving.start()
    assert held.loop is not None
    held.loop.call_soon_threadsafe(held.go.set)
    assert b"messageStop" in reply.read()
    connection.close()
    leaving.join(20)
    assert not leaving.is_alive()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the system tells of connections on Linux only")
def test_silent_connections_are_shut_and_no_others() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_server(("127.0.0.1", 0)) as other:
        port = listener.getsockname()[1]
        silent, elsewhere = (socket.create_connection(one.getsockname()) for one in (listener, other))
        ours, theirs = listener.accept()[0], other.accept()[0]
        local, remote = socket.socketpair()
        _shut_connections(port)
        for one in (silent, elsewhere, local):
            one.settimeout(5)
        assert silent.recv(1) == b""
        theirs.sendall(b"x")
        remote.sendall(b"y")
        assert (elsewhere.recv(1), local.recv(1)) == (b"x", b"y")
        again = socket.create_connection(("127.0.0.1", port))  # the listener is not a connection
        for one in (silent, elsewhere, ours, theirs, local, remote, again):
            one.close()


async def _unused(*arguments: Any) -> None:
    """No request comes."""


def test_jobs_of_the_account_are_waited_for() -> None:
    looks = iter([["job/one"], ["job/one"], [], []])
    asyncio.run(_let_end(_Requests(_unused), _Life(jobs=lambda: next(looks), grace=60)))
    assert list(looks) == []


def test_a_job_that_does_not_end_is_named(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        asyncio.run(_let_end(_Requests(_unused), _Life(jobs=lambda: ["job/endless"], grace=0)))
    assert "ends before job/endless" in caplog.text


def test_a_second_signal_waits_for_no_job() -> None:
    async def main() -> None:
        requests = _Requests(_unused)
        ending = asyncio.ensure_future(_let_end(requests, _Life(jobs=lambda: ["job/endless"], grace=3600)))
        await asyncio.sleep(0)
        requests.end()
        await asyncio.wait_for(ending, 20)

    asyncio.run(main())
