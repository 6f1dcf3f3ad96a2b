"""What only the asynchronous transport promises: cancellation, a loop that is never blocked, many calls at once.

What both transports promise is tested in ``test_http.py``.
"""

from __future__ import annotations

import asyncio
import datetime
import gc
import os
import socket
import struct
import threading
import time
import traceback
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.credentials import RefreshableCredentials
from moto import mock_aws

from awsllm.aws import aio_pool
from awsllm.aws.aio import AsyncHttpTransport
from awsllm.aws.call import Call, HttpRequest, StreamCall
from awsllm.aws.session import AwsSession
from awsllm.backend import Attempt
from awsllm.errors import AwsllmError, ConfigurationError, ModelTimeoutError, ServerError, StreamError

REQUEST = HttpRequest("bedrock-runtime", "POST", "/model/m/converse")
CALL: Call[bytes] = Call(
    REQUEST, lambda response: response.body, lambda response: ServerError("", status=response.status)
)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole"
BEGUN = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"


class Bytes:
    """A decoder whose events are pieces."""

    def feed(self, data: bytes) -> Iterable[bytes]:
        return (data,)

    def close(self) -> tuple[()]:
        return ()


STREAM: StreamCall[bytes] = StreamCall(REQUEST, lambda response: Bytes(), lambda response: ServerError(""))


class Server:
    """A server on the test's own loop: sends ``answer`` for each request, or nothing; tells who came and went."""

    def __init__(self, answer: bytes | None) -> None:
        self.answer = answer
        self.received = asyncio.Semaphore(0)
        self.gone = asyncio.Semaphore(0)
        self.open = 0
        self.most = 0
        self.at_once = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                assert head
                self.received.release()
                await self.respond(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()
            self.gone.release()

    async def respond(self, writer: asyncio.StreamWriter) -> None:
        if self.answer is not None:
            writer.write(self.answer)
            await writer.drain()


@asynccontextmanager
async def serving(server: Server, **options: Any) -> AsyncIterator[AsyncHttpTransport]:
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    transport = AsyncHttpTransport(AwsSession(endpoint_url=f"http://127.0.0.1:{port}"), **options)
    try:
        yield transport
    finally:
        await transport.close()
        listener.close()
        while server.open:
            await server.gone.acquire()


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def within() -> None:
        async with asyncio.timeout(30):
            await test()

    asyncio.run(within())


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


def test_cancelling_a_call_closes_its_connection() -> None:
    async def test() -> None:
        server = Server(None)
        async with serving(server) as transport:
            task = asyncio.create_task(transport.send(CALL))
            await server.received.acquire()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await server.gone.acquire()
            assert server.open == 0

    run(test)


def test_cancelling_a_stream_closes_its_connection() -> None:
    async def test() -> None:
        server = Server(BEGUN)
        async with serving(server) as transport:
            events: list[bytes] = []
            begun = asyncio.Event()

            async def read() -> None:
                async for event in transport.stream(STREAM):
                    events.append(event)
                    begun.set()

            task = asyncio.create_task(read())
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await server.gone.acquire()
            assert (events, server.open) == ([b"a"], 0)

    run(test)


def test_many_calls_at_once_share_the_loop() -> None:
    async def test() -> None:
        server = Server(ANSWER)
        async with serving(server, max_connections=16) as transport:
            assert await asyncio.gather(*(transport.send(CALL) for _ in range(200))) == [b"whole"] * 200
            assert server.most <= 16

    run(test)


def test_waiting_for_a_connection_counts_towards_the_deadline() -> None:
    async def test() -> None:
        server = Server(None)
        async with serving(server, max_connections=1) as transport:
            first = asyncio.create_task(transport.send(CALL))
            await server.received.acquire()
            with pytest.raises(ModelTimeoutError, match="deadline"):
                await transport.send(CALL, Attempt(deadline=time.monotonic() + 0.1))
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first

    run(test)


def test_a_timeout_of_the_callers_is_not_ours() -> None:
    async def test() -> None:
        async with serving(Server(None)) as transport:
            with pytest.raises(TimeoutError) as caught:
                async with asyncio.timeout(0.05):
                    await transport.send(CALL, Attempt(deadline=time.monotonic() + 60))
            assert not isinstance(caught.value, AwsllmError)

    run(test)


def test_keys_are_refreshed_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    places: list[str] = []
    lifetimes = iter([0.1, 6.0])

    def refresh() -> dict[str, Any]:
        places.append(threading.current_thread().name)
        expiry = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=next(lifetimes))
        return {"access_key": "A", "secret_key": "S", "token": "T", "expiry_time": expiry.isoformat()}

    core = botocore.session.Session()
    core._credentials = RefreshableCredentials.create_from_metadata(refresh(), refresh, "test")

    async def test() -> None:
        async with serving(Server(ANSWER)) as transport:
            transport._session = AwsSession(session=core, endpoint_url=transport._session._endpoint_url)
            looked_up: list[str] = []
            get_ready = transport._get_ready

            def spy(service: str) -> Any:
                looked_up.append(threading.current_thread().name)
                return get_ready(service)

            monkeypatch.setattr(transport, "_get_ready", spy)
            for _ in range(3):
                await transport.send(CALL)
            assert [name == threading.main_thread().name for name in looked_up] == [False]

    run(test)
    assert [name == threading.main_thread().name for name in places] == [True, False]


def test_moto_computes_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    from moto.core.models import botocore_stubber

    places: list[str] = []
    process = botocore_stubber.process_request

    def spy(request: Any) -> Any:
        places.append(threading.current_thread().name)
        return process(request)

    monkeypatch.setattr(botocore_stubber, "process_request", spy)
    request = HttpRequest("sagemaker-runtime", "POST", "/endpoints/e/invocations")

    async def test() -> None:
        transport = AsyncHttpTransport(AwsSession())
        assert await transport.send(Call(request, lambda response: response.body, lambda _: ServerError(""))) == b"body"
        await transport.close()

    with mock_aws():
        run(test)
    assert len(places) == 1
    assert places[0] != threading.main_thread().name


def test_a_transport_belongs_to_one_loop_until_closed() -> None:
    async def first() -> AsyncHttpTransport:
        async with serving(Server(ANSWER)) as transport:
            await transport.send(CALL)
        return transport  # closed

    transport = asyncio.run(first())

    async def second() -> None:
        server = Server(ANSWER)
        async with serving(server) as other:
            transport._session = other._session
            assert await transport.send(CALL) == b"whole"
            with pytest.raises(ConfigurationError, match="another event loop"):
                await asyncio.to_thread(asyncio.run, transport.send(CALL))
            await transport.close()

    run(second)


def test_a_connection_whose_loop_was_closed_in_a_call_is_let_go() -> None:
    """What is left of the call is thrown away with its loop, and shall not say that the loop is closed."""

    class OfClosedLoop(asyncio.Transport):
        def abort(self) -> None:
            raise RuntimeError("Event loop is closed")

    loop = asyncio.new_event_loop()
    connection = aio_pool.AsyncConnection(loop, memoryview(bytearray(8)))
    connection.connection_made(OfClosedLoop())
    loop.close()
    connection.abort()
    assert not connection.is_open


def test_what_nobody_reads_is_not_received() -> None:
    """A reader that is slow holds the server up; what has come does not grow for ever."""
    piece = b"100000\r\n" + b"a" * (1 << 20) + b"\r\n"

    class Flood(Server):
        sent = 0

        async def respond(self, writer: asyncio.StreamWriter) -> None:
            writer.write(BEGUN)
            while self.sent < 64:
                writer.write(piece)
                await writer.drain()
                self.sent += 1
            writer.write(b"0\r\n\r\n")

    async def test() -> None:
        server = Flood(None)
        async with serving(server) as transport:
            events = transport.stream(STREAM)
            assert await anext(events)
            before = -1
            while server.sent > before:  # until it is held up
                before = server.sent
                await asyncio.sleep(0.05)
            assert server.sent < 60
            assert sum([len(event) async for event in events]) > 60 << 20

    run(test)


def test_a_large_body_that_is_refused_early() -> None:
    """The reason is read, though the server never takes the body; and the connection is not used again."""
    large = HttpRequest("bedrock-runtime", "POST", "/x", {}, b"x" * (64 << 20))

    class Refusing(Server):
        async def respond(self, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\n\r\nlarge")
            await asyncio.Event().wait()

    async def test() -> None:
        server = Refusing(None)
        async with serving(server) as transport:
            with pytest.raises(ServerError) as caught:
                await transport.send(
                    Call(large, lambda response: response.body, lambda response: ServerError(response.body.decode()))
                )
            assert caught.value.message == "large"
            assert transport._pool is not None
            assert not any(transport._pool._idle.values())
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

    run(test)


def test_a_body_that_would_end_with_its_connection_and_is_reset() -> None:
    class Reset(Server):
        async def respond(self, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\n\r\nhalf")
            await writer.drain()
            await asyncio.sleep(0.02)  # or the reset overtakes what was sent
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.close()

    async def test() -> None:
        async with serving(Reset(None)) as transport:
            with pytest.raises(ServerError, match="before its answer was complete"):
                await transport.send(CALL)

    run(test)


def test_connections_that_are_not_used_are_closed_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aio_pool, "_IDLE", 0.05)

    async def test() -> None:
        server = Server(ANSWER)
        async with serving(server) as transport:
            await asyncio.gather(*(transport.send(CALL) for _ in range(3)))
            for _ in range(3):
                await server.gone.acquire()
            assert server.open == 0
            assert await transport.send(CALL) == b"whole"

    run(test)


def test_idle_connections_elsewhere_make_room() -> None:
    async def test() -> None:
        one, other = Server(ANSWER), Server(ANSWER)
        async with serving(one, max_connections=1) as transport, serving(other) as elsewhere:
            await transport.send(CALL)
            transport._session = elsewhere._session
            await transport.send(CALL)
            await one.gone.acquire()
            assert (one.open, other.open) == (0, 1)
            await transport.close()

    run(test)


def test_a_place_that_came_too_late_goes_to_the_next() -> None:
    """A call that was cancelled while it waited takes no place from the others."""

    async def test() -> None:
        server = Server(None)
        async with serving(server, max_connections=1) as transport:
            first = asyncio.create_task(transport.send(CALL))
            await server.received.acquire()
            second, third = (asyncio.create_task(transport.send(CALL)) for _ in range(2))
            await asyncio.sleep(0)
            server.answer = ANSWER
            first.cancel()
            second.cancel()  # in the same turn, in which its place has come
            with pytest.raises(asyncio.CancelledError):
                await second
            assert await third == b"whole"

    run(test)


@pytest.mark.parametrize("begun", [BEGUN, b"HTTP/1.1 200 OK\r\n\r\na"], ids=["chunked", "until its end"])
def test_closing_a_client_ends_what_it_still_does(begun: bytes) -> None:
    """And what it has of a body is not taken for the whole."""

    async def test() -> None:
        server = Server(begun)
        async with serving(server) as transport:
            events = transport.stream(STREAM)
            assert await anext(events) == b"a"
            await transport.close()
            with pytest.raises(StreamError):
                await anext(events)

    run(test)


def test_an_error_holds_nothing_of_what_was_sent() -> None:
    """asyncio's own frames do, in which the error arose."""

    def fail(sent: bytes) -> None:
        raise BrokenPipeError(len(sent))

    async def test() -> None:
        server = Server(None)
        async with serving(server) as transport:
            task = asyncio.create_task(transport.send(CALL))
            await server.received.acquire()
            assert transport._pool is not None
            [connection] = transport._pool._used
            with pytest.raises(BrokenPipeError) as failed:
                fail(b"a secret")
            broken = failed.value
            connection.connection_lost(broken)
            with pytest.raises(ServerError) as caught:
                await task
            assert caught.value.__cause__ is broken
            frames = [frame.f_locals for frame, _ in traceback.walk_tb(broken.__traceback__)]
            assert not any("sent" in variables for variables in frames)

    run(test)


def test_what_asyncio_stumbles_over_is_a_broken_connection() -> None:
    """Where TLS within TLS fails, Python 3.11 has a TypeError for those who wait."""

    async def test() -> None:
        server = Server(None)
        async with serving(server) as transport:
            task = asyncio.create_task(transport.send(CALL))
            await server.received.acquire()
            assert transport._pool is not None
            [connection] = transport._pool._used
            connection.connection_lost(TypeError("_abort() takes 1 positional argument but 2 were given"))
            with pytest.raises(ServerError):
                await task

    run(test)


def test_a_client_can_be_closed_when_its_loop_has_ended() -> None:
    async def use(url: str) -> AsyncHttpTransport:
        transport = AsyncHttpTransport(AwsSession(endpoint_url=url))
        assert await transport.send(CALL) == b"whole"
        return transport

    async def test() -> None:
        server = Server(ANSWER)
        listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        transport = await asyncio.to_thread(asyncio.run, use(url))
        await transport.close()
        assert await transport.send(CALL) == b"whole"
        await transport.close()
        listener.close()

    with warnings.catch_warnings():  # of asyncio's, on what the first loop left open
        warnings.simplefilter("ignore", ResourceWarning)
        run(test)
        gc.collect()
