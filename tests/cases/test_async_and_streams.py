"""The event loop and streams: the cases A1 to A3 and S1 to S4. Nothing is timed: what waits is counted."""

import asyncio
import datetime
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import boto3
import botocore.session
import msgspec
import pytest
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import EventStreamError

import awsllm
from awsllm.server import running
from awsllm.testing import AsyncScriptedBackend, Broken, mock_aws
from awsllm.types import ContentBlockDelta, ContentBlockStop, MessageStart, MessageStop, StreamEvent, TextDelta
from tests.clients.programs import JAVASCRIPT, node
from tests.support.cases import NOVA, REPLY, answering, bedrock, boto

MODEL = NOVA.partition(":")[2]
HELLO: Any = [{"role": "user", "content": [{"text": "Hello"}]}]


class Together:
    """A Bedrock on the loop itself, that answers nobody before so many have asked."""

    def __init__(self) -> None:
        self.missing, self.all = 0, asyncio.Event()

    def expect(self, calls: int) -> None:
        self.missing, self.all = calls, asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        (length,) = re.findall(rb"(?i)content-length: (\d+)", head)
        await reader.readexactly(int(length))
        self.missing -= 1
        if self.missing == 0:
            self.all.set()
        await self.all.wait()
        body = msgspec.json.encode(REPLY)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()


def test_a1_many_calls_at_once_need_no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """128 calls are under way together, none behind another, and no thread is begun for them."""
    # A process in which moto was loaded asks it of each call, in a thread; an earlier test may have done that.
    monkeypatch.setattr("awsllm.aws.aio.has_interceptor", lambda: False)

    async def main() -> None:
        together = Together()
        server = await asyncio.start_server(together, "127.0.0.1", 0, backlog=128)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server, awsllm.AsyncClient(region="us-east-1", endpoint_url=url, max_connections=128) as client:
            for calls in (1, 128):  # who calls is looked up in a thread, once
                together.expect(calls)
                before = threading.active_count()
                replies = await asyncio.gather(*(client.converse(NOVA, "Hello") for _ in range(calls)))
                assert {reply.text for reply in replies} == {"Hi."}
            assert threading.active_count() <= before  # those that earlier tests left may end

    asyncio.run(main())


def test_a2_credentials_are_refreshed_beside_the_loop_and_once() -> None:
    """Keys that expire are renewed in a thread while the loop goes on, and not again for each call."""
    renewed: list[str] = []
    loop_ran = threading.Event()

    def refresh() -> dict[str, Any]:
        renewed.append(threading.current_thread().name)
        if len(renewed) > 1:
            assert loop_ran.wait(60)  # a loop that is blocked by this never sets it
        hours = 1 / 60 if len(renewed) == 1 else 6
        expiry = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=hours)
        return {"access_key": "A", "secret_key": "S", "token": "T", "expiry_time": expiry.isoformat()}

    core = botocore.session.Session()
    core._credentials = RefreshableCredentials.create_from_metadata(refresh(), refresh, "test")
    core.set_config_variable("region", "us-east-1")

    async def ask(url: str) -> None:
        session = boto3.Session(botocore_session=core)
        async with awsllm.AsyncClient(session=session, endpoint_url=url) as client:
            calls = [asyncio.create_task(client.converse(NOVA, "Hello")) for _ in range(8)]
            await asyncio.sleep(0)
            asyncio.get_running_loop().call_later(0.01, loop_ran.set)
            await asyncio.gather(*calls)
            await client.converse(NOVA, "Hello")

    with bedrock(answering()) as (url, _):
        asyncio.run(ask(url))
    assert [name == threading.main_thread().name for name in renewed] == [True, False]


def test_a3_a_stream_leaves_the_loop_free() -> None:
    """While the next event of one stream is waited for, the loop answers other calls."""
    gate = asyncio.Event()

    async def patient() -> Any:
        yield MessageStart("assistant")
        yield ContentBlockDelta(0, TextDelta("first"))
        await gate.wait()
        yield ContentBlockStop(0)
        yield MessageStop("end_turn")

    async def main() -> None:
        backend = AsyncScriptedBackend([patient(), "other"])
        client = awsllm.AsyncClient(backends={"bedrock": backend})
        async with client, client.converse_stream(NOVA, "Hello") as stream:
            texts = aiter(stream.text_stream)
            assert await anext(texts) == "first"
            waiting = asyncio.create_task(anext(texts, None))
            assert (await client.converse(NOVA, "Hello")).text == "other"
            assert not waiting.done()
            gate.set()
            assert await waiting is None

    asyncio.run(main())


class Steps:
    """An answer whose next word is computed when the reader has the one before."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self, request: Any) -> Iterator[StreamEvent]:
        yield MessageStart("assistant")
        for word in ("one ", "two ", "three"):
            self.made += 1
            yield ContentBlockDelta(0, TextDelta(word))
        yield ContentBlockStop(0)
        yield MessageStop("end_turn")


@pytest.mark.parametrize("model", [NOVA, "sagemaker:an-endpoint", "local:smollm2-135m-instruct"])
def test_s1_a_stream_is_read_as_it_is_made(model: str) -> None:
    """The first word is the caller's before the second has been made, wherever the model runs."""
    steps = Steps()
    client = awsllm.Client(region="us-east-1", formats={"an-endpoint": "openai"})
    with mock_aws(reply=steps, endpoints="*"), client, client.converse_stream(model, "Go") as stream:
        texts = iter(stream.text_stream)
        assert next(texts) == "one "
        assert steps.made < 3
        assert "".join(texts) == "two three"


def test_s2_a_failure_inside_a_stream_is_typed() -> None:
    """It keeps its kind and its message for awsllm and for boto3, and what had arrived before."""
    broken = Broken("one two three", after=4, error=awsllm.ThrottlingError("slow down"))
    with mock_aws(reply=lambda _: broken), awsllm.Client(region="us-east-1") as client:
        with pytest.raises(awsllm.StreamError, match="slow down") as caught:
            list(client.converse_stream(NOVA, "Go"))
        assert isinstance(caught.value.__cause__, awsllm.ThrottlingError)
        assert caught.value.code == "ThrottlingException"
        assert caught.value.partial is not None
        assert caught.value.partial.text == "one two three"
        runtime = boto("bedrock-runtime")
        with pytest.raises(EventStreamError, match=r"throttlingException.*slow down"):
            list(runtime.converse_stream(modelId=MODEL, messages=HELLO)["stream"])


def test_s3_frames_are_read_by_boto3_s_parser() -> None:
    """Every frame that the server writes over a socket is one that botocore reads, and says what was said."""
    with running(AsyncScriptedBackend("naïve — 雨 🌧 façade")) as url:
        runtime = boto3.client("bedrock-runtime", "us-east-1", endpoint_url=url)
        events = list(runtime.converse_stream(modelId=MODEL, messages=HELLO)["stream"])
    deltas = [event["contentBlockDelta"]["delta"]["text"] for event in events if "contentBlockDelta" in event]
    assert "".join(deltas) == "naïve — 雨 🌧 façade"
    assert [name for event in events for name in event][-2:] == ["messageStop", "metadata"]


def test_s4_the_javascript_sdk_s_default_client_works() -> None:
    """Its handler speaks HTTP/2 with prior knowledge on a plain socket: the server answers that preface with its
    SETTINGS, and the SDK itself, where `make clients` has installed it, with what the model says."""
    with running(AsyncScriptedBackend("Hi.")) as url:
        if shutil.which("node") and (JAVASCRIPT / "node_modules").is_dir():
            probe = [*node("sdk.mjs"), url, "any"]
            with subprocess.Popen(probe, stdout=subprocess.PIPE, text=True) as running_probe:
                assert running_probe.stdout is not None
                first = msgspec.json.decode(running_probe.stdout.readline())
                running_probe.kill()
            assert first["value"]["text"] == "Hi."
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))
            head = b""
            while len(head) < 9:
                head += connection.recv(9 - len(head))
        assert head[3] == 4  # the type of a SETTINGS frame
