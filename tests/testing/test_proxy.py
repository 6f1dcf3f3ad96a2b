"""The proxy misbehaves as it is told, and nothing of it is left afterwards."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Iterator

import pytest

import awsllm
from awsllm.errors import ConfigurationError, ServerError, StreamError, ThrottlingError
from awsllm.testing import AwsServer, FaultProxy, server
from awsllm.testing.proxy import (
    Toxic,
    bandwidth,
    flip,
    half_close,
    latency,
    limit_data,
    refusal,
    reset_peer,
    slicer,
    slow_close,
    stall,
    timeout,
)
from tests.support.loopback import Received, Response, serving

BODY = bytes(range(256)) * 40
MODEL = "bedrock:anthropic.claude-3-haiku-20240307-v1:0"


@pytest.fixture(scope="module")
def sender() -> Iterator[str]:
    """A server that sends ``BODY`` to whoever connects, and then ends."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:

        def send() -> None:
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                with peer, contextlib.suppress(OSError):
                    peer.sendall(BODY)

        threading.Thread(target=send, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def connect(proxy: FaultProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(proxy.url.rpartition(":")[2])), timeout=10)


def read(proxy: FaultProxy) -> bytes:
    """All that comes. Raises what ends it other than in good order."""
    with connect(proxy) as peer:
        pieces = []
        while piece := peer.recv(65_536):
            pieces.append(piece)
        return b"".join(pieces)


def test_without_toxics_all_arrives(sender: str) -> None:
    with FaultProxy(sender) as proxy:
        assert read(proxy) == BODY
        assert [(each.number, each.down) for each in proxy.connections] == [(0, len(BODY))]


@pytest.mark.parametrize("at", [0, 1, 255, 5000, len(BODY) - 1])
def test_bytes_end_where_they_shall(sender: str, at: int) -> None:
    with FaultProxy(sender, limit_data(at)) as proxy:
        assert read(proxy) == BODY[:at]


@pytest.mark.parametrize("at", [0, 3000])
def test_a_reset_is_one(sender: str, at: int) -> None:
    with FaultProxy(sender, reset_peer(at=at)) as proxy:
        with pytest.raises(ConnectionResetError):
            read(proxy)
        assert [(each.down, each.ended) for each in proxy.connections] == [(at, "reset")]


@pytest.mark.parametrize("at", [0, 777, len(BODY) - 1])
def test_one_byte_is_another(sender: str, at: int) -> None:
    with FaultProxy(sender, flip(at)) as proxy:
        got = read(proxy)
    assert [place for place, (ours, theirs) in enumerate(zip(got, BODY, strict=True)) if ours != theirs] == [at]


def test_several_things_happen_in_the_order_of_their_places(sender: str) -> None:
    with FaultProxy(sender, limit_data(900), flip(100), flip(200), slicer(7)) as proxy:
        got = read(proxy)
    assert len(got) == 900
    assert [at for at in range(900) if got[at] != BODY[at]] == [100, 200]


@pytest.mark.parametrize(
    ("toxic", "least"),
    [
        (latency(0.2, jitter=0.05), 0.15),
        (bandwidth(len(BODY) * 5), 0.15),
        (slicer(len(BODY) // 10, delay=0.02), 0.19),
        (stall(0.2, at=50), 0.2),
        (slow_close(0.2), 0.2),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_what_is_slow_takes_its_time_and_arrives(sender: str, toxic, least: float) -> None:
    began = time.monotonic()
    with FaultProxy(sender, toxic) as proxy:
        assert read(proxy) == BODY
    assert time.monotonic() - began >= least * 0.99


def test_a_timeout_swallows_all(sender: str) -> None:
    with FaultProxy(sender, timeout(0.05)) as proxy:
        assert read(proxy) == b""
    with FaultProxy(sender, timeout()) as proxy, connect(proxy) as peer:
        peer.settimeout(0.1)
        with pytest.raises(TimeoutError):
            peer.recv(1)


def test_who_has_said_all_may_still_listen() -> None:
    heard = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def listen() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.sendall(b"hello")
                if peer.recv(5) == b"still":
                    heard.set()

        threading.Thread(target=listen, daemon=True).start()
        target = f"127.0.0.1:{listener.getsockname()[1]}"
        with FaultProxy(target, half_close(at=2)) as proxy, connect(proxy) as peer:
            assert peer.recv(9) + peer.recv(9) == b"he"
            peer.sendall(b"still")
            assert heard.wait(10)


def test_a_refusal_is_answered_in_the_servers_place() -> None:
    def respond(request: Received) -> Response:
        return Response(b"served")

    with serving(respond) as url, FaultProxy(url, refusal(503, retry_after=2, connections=2)) as proxy:
        answers = []
        for _ in range(3):
            connection = http.client.HTTPConnection(proxy.url.partition("//")[2], timeout=10)
            connection.request("POST", "/", b"a body")
            reply = connection.getresponse()
            answers.append((reply.status, reply.headers["Retry-After"], reply.read() == b"served"))
            connection.close()
    assert answers == [(503, "2", False), (503, "2", False), (200, None, True)]


def test_it_goes_down_and_comes_back_at_the_same_place(sender: str) -> None:
    with FaultProxy(sender, stall(60)) as proxy:
        with connect(proxy) as open_one:
            while not proxy.open:
                time.sleep(0.001)
            url = proxy.url
            with proxy.down():
                with pytest.raises(ConnectionRefusedError):
                    connect(proxy)
                with pytest.raises(ConnectionResetError):
                    open_one.recv(1)
        proxy.clear()
        assert proxy.url == url
        assert read(proxy) == BODY


def met(sender: str, seed: int) -> list[tuple[str, ...]]:
    toxics = (limit_data((0, 4000), probability=0.3), flip((0, 100), probability=0.5, after=2, connections=5))
    with FaultProxy(sender, *toxics, seed=seed) as proxy:
        for _ in range(20):
            read(proxy)
        return [tuple(f"{toxic.kind} {toxic.at}" for toxic in each.toxics) for each in proxy.connections]


def test_a_run_can_be_repeated(sender: str) -> None:
    first = met(sender, 1)
    assert first == met(sender, 1) != met(sender, 2)
    flips = [number for number, each in enumerate(first) if any("flip" in name for name in each)]
    assert len(flips) == 5
    assert min(flips) >= 2
    assert 2 <= sum(any("cut" in name for name in each) for each in first) <= 10


def test_nothing_is_left(sender: str) -> None:
    with FaultProxy(sender, stall(60)) as proxy:
        peers = [connect(proxy) for _ in range(5)]
        while proxy.open < 5:
            time.sleep(0.001)
    assert proxy.open == 0
    assert not [thread for thread in threading.enumerate() if thread.name == "fault-proxy"]
    for peer in peers:
        peer.close()


@pytest.mark.parametrize("wrong", [lambda: FaultProxy("nowhere"), lambda: limit_data((5, 1)), lambda: bandwidth(0)])
def test_nonsense_is_refused(wrong) -> None:
    with pytest.raises(ConfigurationError):
        wrong()


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsServer]:
    with server(reply="A reply that is long enough.") as served:
        for name, value in served.env.items():
            monkeypatch.setenv(name, value)
        yield served


@contextlib.contextmanager
def client_behind(aws: AwsServer, toxic: Toxic) -> Iterator[awsllm.Client]:
    once = awsllm.Policy(max_attempts=1)
    with FaultProxy(aws.url, toxic) as proxy, awsllm.Client(endpoint_url=proxy.url, policy=once) as client:
        yield client


@pytest.mark.parametrize(
    ("toxic", "expected"),
    [(refusal(429), ThrottlingError), (reset_peer(at=10), ServerError), (limit_data(10), ServerError)],
    ids=["refusal", "reset", "cut"],
)
def test_a_client_behind_it_sees_what_happens(aws: AwsServer, toxic: Toxic, expected: type[Exception]) -> None:
    with client_behind(aws, toxic) as client, pytest.raises(expected):
        client.converse(MODEL, "Hello")


def test_a_stream_behind_it_is_broken_or_whole(aws: AwsServer) -> None:
    with client_behind(aws, flip(900)) as client, pytest.raises(StreamError):
        list(client.converse_stream(MODEL, "Hello"))
    with client_behind(aws, slicer(3)) as client:
        assert client.converse(MODEL, "Hello").text == "A reply that is long enough."
