"""What only the asynchronous transport promises: cancellation, a loop that is never blocked, many calls at once.

What both transports promise is tested in ``test_http.py``.
"""

from __future__ import annotations

import asyncio
import builtins
import datetime
import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.credentials import RefreshableCredentials
from moto import mock_aws

from awsllm.aws.aio import AsyncHttpTransport
from awsllm.aws.call import Call, HttpRequest, StreamCall
from awsllm.aws.session import AwsSession
from awsllm.backend import Attempt
from awsllm.errors import AwsllmError, ConfigurationError, ModelTimeoutError, ServerError

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


def test_without_aiohttp_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def refuse(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "aiohttp":
            raise ImportError(name)
        return original(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ConfigurationError, match=r"awsllm\[async\]"):
        AsyncHttpTransport(AwsSession())
