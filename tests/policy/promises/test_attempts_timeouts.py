"""The four limits of a call, connect, first event, between events and the whole, wherever it waits. The server would
keep silent for ever, so that a limit which does not hold shows as a hang and not as a matter of timing."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

import awsllm
from awsllm.errors import AwsllmError, ConnectError, ModelTimeoutError, StreamError
from awsllm.stream import replay
from awsllm.types import StreamEvent
from awsllm.wire.converse.stream import encode_event
from awsllm.wire.eventstream import encode_event_frame
from tests.aws.test_http import CHUNKED, FaultServer, chunk, raw, reply
from tests.policy.promises.test_attempts_table import ANSWER

MODEL = "bedrock:us.amazon.nova-lite-v1:0"
SOON = 0.15
LONG = 20.0
TOOL_USE = (
    b'{"output":{"message":{"role":"assistant","content":[{"toolUse":{"toolUseId":"1","name":"look","input":{}}}]}},'
    b'"stopReason":"tool_use","usage":{"inputTokens":1,"outputTokens":1,"totalTokens":2},"metrics":{"latencyMs":1}}'
)


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


def frames(text: str, most: int) -> bytes:
    """The first events of an answer, as the service sends them."""
    response = awsllm.ConverseResponse(
        message=awsllm.Message.assistant(text), stop_reason="end_turn", usage=awsllm.Usage(1, 1, 2)
    )
    events: list[StreamEvent] = list(replay(response))[:most]
    named = [encode_event(event) for event in events]
    return b"".join(chunk(encode_event_frame(name, msgspec.json.encode(wire))) for name, wire in named)


def look() -> str:
    """Look it up."""
    return "There it is."


class Way:
    """A client of either kind, as blocking calls."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def converse(self, url: str, model: Any = MODEL, *, client: dict[str, Any] | None = None, **options: Any) -> Any:
        return self._call(url, client or {}, lambda one: one.converse(model, "Hi", **options))

    def stream(self, url: str, model: Any = MODEL, *, client: dict[str, Any] | None = None, **options: Any) -> Any:
        return self._call(url, client or {}, lambda one: one.converse_stream(model, "Hi", **options).response)

    def _call(self, url: str, made: dict[str, Any], ask: Callable[[Any], Any]) -> Any:
        async def run() -> Any:
            async with awsllm.AsyncClient(region="us-east-1", endpoint_url=url, **made) as client:
                return await ask(client)

        if self.kind == "async":
            return asyncio.run(run())
        with awsllm.Client(region="us-east-1", endpoint_url=url, **made) as client:
            return ask(client)


@pytest.fixture(params=["sync", "async"])
def way(request: pytest.FixtureRequest) -> Way:
    return Way(request.param)


@pytest.fixture
def deaf() -> Iterator[str]:
    """A port that takes connections and never a byte: what is said to it is lost in its queue."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def test_the_first_event(way: Way) -> None:
    policy = awsllm.Policy(first_event_timeout=SOON, timeout=LONG)
    with FaultServer(raw(CHUNKED, "stall")) as server:
        with pytest.raises(ModelTimeoutError, match="first_event"):
            way.stream(server.url, client={"policy": policy})
        assert len(server.requests) == 1


def test_between_events(way: Way) -> None:
    policy = awsllm.Policy(event_timeout=SOON, timeout=LONG)
    with FaultServer(raw(CHUNKED + frames("Hello.", 2), "stall")) as server:
        with pytest.raises(StreamError, match="between_events") as caught:
            way.stream(server.url, client={"policy": policy})
        assert caught.value.partial is not None
        assert caught.value.partial.text == "Hello."
        assert len(server.requests) == 1


@pytest.mark.parametrize("of", ["policy", "call"])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_the_whole(streamed: bool, of: str, way: Way) -> None:
    client = {"policy": awsllm.Policy(timeout=SOON)} if of == "policy" else {}
    options = {} if of == "policy" else {"timeout": SOON}
    with FaultServer(raw(CHUNKED + frames("Hello.", 2) if streamed else b"", "stall")) as server:
        with pytest.raises(StreamError if streamed else ModelTimeoutError, match="deadline"):
            (way.stream if streamed else way.converse)(server.url, client=client, **options)
        assert server.hung_up.wait(10)


def test_a_call_cannot_have_more_than_the_policy_allows(way: Way) -> None:
    with FaultServer(raw(b"", "stall")) as server, pytest.raises(ModelTimeoutError):
        way.converse(server.url, client={"policy": awsllm.Policy(timeout=SOON)}, timeout=LONG)


def test_within_a_loop_of_tools(way: Way) -> None:
    """The second turn of the model is the one that hangs."""
    with FaultServer(reply(TOOL_USE), raw(b"", "stall")) as server:
        with pytest.raises(ModelTimeoutError) as caught:
            way.converse(server.url, tools=[look], timeout=1.0)
        assert len(server.requests) == 2
        assert [turn.role for turn in caught.value.messages] == ["assistant", "user"]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_within_a_group(streamed: bool, way: Way) -> None:
    group = awsllm.Group([MODEL, "bedrock:us.amazon.nova-pro-v1:0"], on=("timeout", "server_error"), breaker=None)
    with FaultServer(raw(b"", "stall")) as server, pytest.raises(ModelTimeoutError):
        (way.stream if streamed else way.converse)(server.url, group, timeout=SOON)


def test_a_member_of_a_group(way: Way) -> None:
    group = awsllm.Group([MODEL, "bedrock:us.amazon.nova-pro-v1:0"], on=("timeout",), member_timeout=SOON)
    with FaultServer(raw(b"", "stall"), reply(ANSWER)) as server:
        assert way.converse(server.url, group, timeout=LONG).text == "Hello."


def test_in_a_handshake_of_tls(deaf: str, way: Way) -> None:
    with pytest.raises(AwsllmError):
        way.converse(f"https://{deaf}", timeout=SOON)
    once = {"policy": awsllm.Policy(max_attempts=1), "connect_timeout": SOON}
    with pytest.raises(ConnectError):
        way.converse(f"https://{deaf}", client=once)


def test_of_a_proxy_that_answers_nothing(deaf: str, way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://{deaf}")
    with pytest.raises(AwsllmError):
        way.converse("https://bedrock.example", timeout=SOON)
    once = {"policy": awsllm.Policy(max_attempts=1), "connect_timeout": SOON}
    with pytest.raises(ConnectError):
        way.converse("https://bedrock.example", client=once)


def test_while_a_name_is_looked_up(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def look_up(*_: Any, **__: Any) -> Any:
        over.wait(LONG)
        raise socket.gaierror("too late")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with pytest.raises(ModelTimeoutError):
        way.converse("http://bedrock.example", timeout=SOON)
    assert not over.is_set()
    over.set()


def test_while_the_policy_would_wait(way: Way) -> None:
    """No wait begins that would reach past the deadline."""
    with FaultServer(reply(b"{}", "503 Down", Retry_After=15)) as server:
        with pytest.raises(awsllm.ServerError):
            way.converse(server.url, timeout=10)
        assert len(server.requests) == 1
