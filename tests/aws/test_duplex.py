"""Duplex requests over real connections, by awscrt: full duplex, signatures, bearer tokens, and what can go wrong."""

import asyncio
import builtins
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from awsllm import AsyncClient
from awsllm.aws.call import HttpRequest
from awsllm.aws.duplex import Duplex, open_duplex
from awsllm.aws.event_signing import DIGEST
from awsllm.aws.session import AwsSession
from awsllm.errors import (
    AccessDeniedError,
    AwsllmError,
    ConfigurationError,
    ConnectError,
    ServerError,
    ThrottlingError,
)
from awsllm.server import running
from awsllm.server.http.tls import Certificates
from awsllm.server.run import _ServerThread, free_address
from awsllm.testing import AsyncScriptedBackend
from awsllm.types.speech import Interruption, SpeechAudio, TurnEnd
from awsllm.wire.eventstream import Frame, FrameDecoder
from tests.support.certificates import self_signed

MODEL = "bedrock:amazon.nova-2-sonic-v1:0"
PATH = "/model/amazon.nova-2-sonic-v1%3A0/invoke-with-bidirectional-stream"
KEY = "a-key-of-this-server"
LOUD = b"\x00\x40\x00\xc0" * 8000
LONG = " ".join(["It was a dark and stormy night."] * 10)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return self_signed(tmp_path_factory.mktemp("tls"))


@pytest.fixture(autouse=True)
def trusted(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate[0]))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEY)


class Server:
    """A raw ASGI application over TLS that keeps the heads it was sent."""

    def __init__(self, answer: Callable[[Any, Any], Coroutine[Any, Any, None]]) -> None:
        self.answer, self.heads = answer, list[dict[str, str]]()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            self.heads.append({name.decode(): value.decode() for name, value in scope["headers"]})
            await self.answer(receive, send)


@pytest.fixture
def served(certificate: tuple[Path, Path]) -> Iterator[Callable[[Any], tuple[str, Server]]]:
    threads = []

    def start(answer: Any) -> tuple[str, Server]:
        server = Server(answer)
        threads.append(_ServerThread(server, free_address("127.0.0.1", 0, Certificates(*certificate))))
        threads[-1].start()
        return threads[-1].url(), server

    yield start
    for thread in threads:
        thread.stop()


async def started(send: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
    lines = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    await send({"type": "http.response.start", "status": status, "headers": lines})


async def echo(receive: Any, send: Any) -> None:
    await started(send, headers={"x-amzn-requestid": "r-1"})
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
        if message.get("body"):
            await send({"type": "http.response.body", "body": message["body"], "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def opened(url: str, timeout: float = 10) -> Duplex:
    session = AwsSession(region="us-east-1", endpoint_url=url)
    return await open_duplex(session, HttpRequest("bedrock-runtime", "POST", PATH), timeout=timeout)


async def pieces(duplex: Duplex) -> AsyncIterator[bytes]:
    while (piece := await duplex.receive()) is not None:
        yield piece


# --- connections -----------------------------------------------------------------------------------------------------


def test_what_is_sent_comes_back_while_more_can_be_sent(served: Any) -> None:
    url, server = served(echo)

    async def run() -> list[bytes]:
        duplex, frames, decoder = await opened(url), list[Frame](), FrameDecoder()
        for n in range(3):
            await duplex.send(b"frame %d" % n)
            while len(frames) <= n:
                frames += decoder.feed(await duplex.receive() or b"")
        assert (await duplex.head()).request_id == "r-1"
        await duplex.finish()
        await duplex.finish()
        async for piece in pieces(duplex):
            frames += decoder.feed(piece)
        await duplex.close()
        return [frame.payload for frame in frames]

    assert asyncio.run(run()) == [b"frame 0", b"frame 1", b"frame 2", b""]
    assert server.heads[0]["x-amz-content-sha256"] == DIGEST
    assert server.heads[0]["content-type"] == "application/vnd.amazon.eventstream"
    assert server.heads[0]["host"] == url.removeprefix("https://")


def test_a_bearer_token_goes_without_signatures(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "a-token")
    url, server = served(echo)

    async def run() -> bytes:
        duplex = await opened(url)
        await duplex.send(b"frame")
        await duplex.finish()
        data = b"".join([piece async for piece in pieces(duplex)])
        await duplex.close()
        return data

    assert asyncio.run(run()) == b"frame"
    assert server.heads[0]["authorization"] == "Bearer a-token"
    assert "x-amz-content-sha256" not in server.heads[0]


def test_a_connection_that_breaks_off(served: Any) -> None:
    url, _ = served(echo)

    async def run() -> None:
        duplex = await opened(url)
        await duplex.send(b"frame")
        await duplex.receive()
        await duplex.close()
        async for _ in pieces(duplex):
            pass

    with pytest.raises(ServerError, match="closed the connection"):
        asyncio.run(run())


@pytest.mark.parametrize(
    ("status", "kind", "error"),
    [
        (403, "AccessDeniedException", AccessDeniedError),
        (429, "ThrottlingException", ThrottlingError),
        (500, "InternalServerException", ServerError),
    ],
)
def test_a_refusal_is_the_typed_error(served: Any, status: int, kind: str, error: type[AwsllmError]) -> None:
    async def refuse(receive: Any, send: Any) -> None:
        await started(send, status, {"x-amzn-errortype": kind, "x-amzn-requestid": "r-1"})
        await send({"type": "http.response.body", "body": b'{"message":"no"}', "more_body": False})

    url, _ = served(refuse)

    async def run() -> None:
        client = AsyncClient(region="us-east-1", endpoint_url=url)
        async with client, client.speech(MODEL) as session:
            async for _ in session.events():
                pass

    with pytest.raises(error, match="no") as caught:  # wherever it is noticed: by what is sent, or by what is read
        asyncio.run(run())
    assert caught.value.request_id == "r-1"


def refused(url: str, timeout: float = 10) -> AwsllmError:
    with pytest.raises(AwsllmError) as caught:
        asyncio.run(opened(url, timeout))
    return caught.value


def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        error = refused(f"https://127.0.0.1:{taken.getsockname()[1]}")
    assert isinstance(error, ConnectError)
    assert "cannot connect" in error.message


def test_a_certificate_of_nobody(served: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url, _ = served(echo)
    other, _ = self_signed(tmp_path)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(other))
    error = refused(url, timeout=0.2)
    assert isinstance(error, ConnectError)
    assert (error.retryable, "AWS_CA_BUNDLE" in error.message) == (False, True)


def test_a_bundle_that_is_not_there(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", "/no/such/bundle.pem")
    error = refused(served(echo)[0])
    assert isinstance(error, ConfigurationError)
    assert "/no/such/bundle.pem" in error.message


def test_plain_http_is_refused_with_the_fix() -> None:
    error = refused("http://127.0.0.1:9")
    assert isinstance(error, ConfigurationError)
    assert "--tls-cert" in error.message


def test_without_awscrt_the_extra_is_named(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("awscrt"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.delitem(sys.modules, "awscrt", raising=False)
    error = refused("https://127.0.0.1:9")
    assert isinstance(error, ConfigurationError)
    assert "awsllm[speech]" in error.message


# --- sessions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bearer", [False, True])
def test_a_session_over_a_connection(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, bearer: bool
) -> None:
    """Everything at once: audio in and out, an interruption, every event signed and verified."""
    if bearer:
        monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", KEY)

    async def run(url: str) -> list[type]:
        client = AsyncClient(region="us-east-1", endpoint_url=url)
        async with client, client.speech(MODEL) as session:
            await session.send_text("Tell me a story")
            async for event in session.events():
                if isinstance(event, SpeechAudio):
                    break
            await session.send_audio(LOUD)
            await session.send_silence(2)
            kinds = [type(event) async for event in session.turn()]
            assert session.messages[-1].text == "Fine."
        return kinds

    backend = AsyncScriptedBackend([LONG, "Fine."])
    with running(backend, api_key=KEY, tls=Certificates(*certificate)) as url:
        kinds = asyncio.run(asyncio.wait_for(run(url), 60))
    assert Interruption in kinds
    assert kinds[-1] is TurnEnd


def test_a_wrong_key_is_refused(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")

    async def run(url: str) -> None:
        duplex = await opened(url)
        assert (await duplex.head()).status == 403
        await duplex.close()

    with running(AsyncScriptedBackend(), api_key=KEY, tls=Certificates(*certificate)) as url:
        asyncio.run(asyncio.wait_for(run(url), 60))
