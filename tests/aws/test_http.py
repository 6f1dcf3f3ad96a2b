"""Both transports against a server on loopback that answers, stalls, cuts and refuses as a test says; then TLS, proxies
and moto.

Each test runs for the synchronous and the asynchronous transport alike, through ``Client`` below. Where a test says
that something ends, the server would otherwise go on for ever, so that a failure shows as a hang and not as a matter
of timing.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime
import functools
import ipaddress
import os
import select
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Self
from uuid import RFC_4122, UUID

import boto3
import botocore.session
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from moto import mock_aws

from awsllm.aws import tls
from awsllm.aws.aio import AsyncHttpTransport
from awsllm.aws.call import Call, HttpRequest, HttpResponse, StreamCall
from awsllm.aws.http import HttpTransport
from awsllm.aws.session import AwsSession
from awsllm.backend import Attempt
from awsllm.errors import (
    AwsllmError,
    ConfigurationError,
    ConnectError,
    ModelTimeoutError,
    ServerError,
    StreamError,
    ThrottlingError,
    ValidationError,
)
from awsllm.policy.attempts import Policy

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
PROMPT = b'{"messages":"a private prompt"}'
Behaviour = Callable[["Connection"], None]


class Connection:
    """The server's end of one connection, at the moment when a request has been read."""

    def __init__(self, server: FaultServer, sock: socket.socket) -> None:
        self.server = server
        self.socket = sock
        self.keep = True

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def stall(self) -> None:
        """Say nothing until the test is over or the client has gone."""
        self.keep = False
        while not self.server.over.is_set():
            try:
                if not self.socket.recv(1):
                    self.server.hung_up.set()
                    return
            except TimeoutError:
                continue
            except OSError:
                self.server.hung_up.set()
                return

    def drip(self, data: bytes) -> None:
        """Send a byte of ``data`` every now and then, for ever."""
        self.keep = False
        while not self.server.over.wait(0.002):
            try:
                self.send(data)
            except OSError:
                return

    def cut(self) -> None:
        self.keep = False

    def reset(self) -> None:
        self.keep = False
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class FaultServer:
    """Answers the n-th request by the n-th behaviour, the last one repeating."""

    def __init__(self, *behaviours: Behaviour, context: ssl.SSLContext | None = None) -> None:
        self.behaviours = list(behaviours)
        self.context = context
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.connections = 0
        self.over = threading.Event()
        self.hung_up = threading.Event()
        self.closed = threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.url = f"{'https' if self.context else 'http'}://127.0.0.1:{self.port}"
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in self._threads:
            thread.join()

    def _start(self, work: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self.over.is_set():
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            self._start(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        try:
            if self.context:
                sock = self.context.wrap_socket(sock, server_side=True)
            sock.settimeout(0.02)
            connection = Connection(self, sock)
            while connection.keep and (request := self._read(sock)):
                with self._lock:
                    self.requests.append(request)
                    behaviour = self.behaviours[min(len(self.requests), len(self.behaviours)) - 1]
                behaviour(connection)
        except OSError:
            pass
        finally:
            sock.close()
            self.closed.set()

    def _read(self, sock: socket.socket) -> tuple[str, dict[str, str], bytes] | None:
        data = b""
        while not _is_whole(data):
            try:
                more = sock.recv(65536)
            except TimeoutError:
                if self.over.is_set():
                    return None
                continue
            if not more:
                self.hung_up.set()
                return None
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        return first, {line.split(": ")[0].lower(): line.split(": ", 1)[1] for line in lines}, body


def _is_whole(data: bytes) -> bool:
    head, end, body = data.partition(b"\r\n\r\n")
    lengths = [int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return bool(end) and len(body) >= sum(lengths)


def head(status: str = "200 OK", **headers: Any) -> bytes:
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join((f"HTTP/1.1 {status}", "x-amzn-RequestId: r-1", *lines, "", "")).encode()


def reply(body: bytes = b"whole", status: str = "200 OK", **headers: Any) -> Behaviour:
    return lambda c: c.send(head(status, Content_Length=len(body), **headers) + body)


def raw(data: bytes, then: str = "cut") -> Behaviour:
    """Send ``data``, then cut, reset or stall."""

    def behave(c: Connection) -> None:
        c.send(data)
        getattr(c, then)()

    return behave


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


CHUNKED = head(Transfer_Encoding="chunked")


def chunked(*pieces: bytes) -> Behaviour:
    return lambda c: c.send(CHUNKED + b"".join(map(chunk, pieces)) + b"0\r\n\r\n")


class Lines:
    """A stream decoder whose events are lines; the line ``end`` must come last."""

    def __init__(self) -> None:
        self.rest, self.last = b"", b""

    def feed(self, data: bytes) -> Iterable[bytes]:
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            self.last = line
            yield line

    def close(self) -> tuple[()]:
        if self.rest or self.last != b"end":
            raise StreamError("the stream ended without its end")
        return ()


def error_for(response: HttpResponse) -> AwsllmError:
    kind = {429: ThrottlingError, 400: ValidationError}.get(response.status, ServerError)
    after = response.headers.get("retry-after")
    return kind(
        response.body.decode(), status=response.status, request_id=response.request_id,
        retry_after=float(after) if after else None,
    )  # fmt: skip


REQUEST = HttpRequest(
    "bedrock-runtime", "POST", "/model/a%3Ab%2Fc/converse", {"Content-Type": "application/json"}, PROMPT
)
CALL: Call[bytes] = Call(REQUEST, lambda response: response.body, error_for)
STREAM: StreamCall[bytes] = StreamCall(REQUEST, lambda response: Lines(), error_for)


class Client:
    """Either transport, as blocking calls; the asynchronous one runs on a loop of its own."""

    def __init__(self, kind: str, session: AwsSession | None = None, **options: Any) -> None:
        session = session or AwsSession()
        self.loop = asyncio.new_event_loop() if kind == "async" else None
        self.transport: Any = AsyncHttpTransport(session, **options) if self.loop else HttpTransport(session, **options)

    def send(self, call: Call[Any] = CALL, **limits: Any) -> Any:
        if self.loop is None:
            return self.transport.send(call, Attempt(**limits))
        return self.loop.run_until_complete(self.transport.send(call, Attempt(**limits)))

    def stream(self, call: StreamCall[Any] = STREAM, **limits: Any) -> Iterator[Any]:
        """``limits`` are an attempt's."""
        events = self.transport.stream(call, Attempt(**limits))
        if self.loop is None:
            yield from events
            return
        try:
            while True:
                try:
                    yield self.loop.run_until_complete(anext(events))
                except StopAsyncIteration:
                    return
        finally:
            self.loop.run_until_complete(events.aclose())

    def close(self) -> None:
        if self.loop is None:
            self.transport.close()
        else:
            self.loop.run_until_complete(self.transport.close())
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()


Connect = Callable[..., Client]


@pytest.fixture(params=["sync", "async"])
def connect(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    """Makes clients for a URL, or for a session."""
    clients: list[Client] = []

    def make(url: str | None = None, session: AwsSession | None = None, **options: Any) -> Client:
        if url:
            monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        clients.append(Client(request.param, session, **options))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower().endswith("_proxy") or name == "REQUESTS_CA_BUNDLE":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


def soon(seconds: float = 0.15) -> float:
    return time.monotonic() + seconds


# What is sent, and connections


def test_a_call_is_sent_and_answered(connect: Connect) -> None:
    with FaultServer(reply(b'{"a":1}', X_Thing="1")) as server:
        response = connect(server.url).send(Call(REQUEST, lambda response: response, error_for))
    assert (response.status, response.body, response.request_id) == (200, b'{"a":1}', "r-1")
    assert response.headers["x-thing"] == "1"
    first, headers, body = server.requests[0]
    assert first == "POST /model/a%3Ab%2Fc/converse HTTP/1.1"
    assert body == PROMPT
    assert headers["host"] == server.url.removeprefix("http://")
    assert headers["content-type"] == "application/json"
    assert headers["user-agent"].startswith("awsllm/")
    assert headers["accept-encoding"] == "identity"
    assert headers["content-length"] == str(len(PROMPT))
    assert "Credential=AKIDEXAMPLE/" in headers["authorization"]
    invocation = UUID(headers["amz-sdk-invocation-id"])
    assert (str(invocation), invocation.version) == (headers["amz-sdk-invocation-id"], 4)
    assert invocation.variant == RFC_4122


def test_an_empty_body_is_announced_as_empty(connect: Connect) -> None:
    with FaultServer(reply()) as server:
        connect(server.url).send(Call(HttpRequest("sagemaker-runtime", "POST", "/x?b=2&a=1"), bool, error_for))
    assert server.requests[0][0] == "POST /x?b=2&a=1 HTTP/1.1"
    assert server.requests[0][1]["content-length"] == "0"


@pytest.mark.parametrize("behaviour", [reply(), chunked(b"who", b"le")], ids=["length", "chunked"])
def test_connections_are_reused(behaviour: Behaviour, connect: Connect) -> None:
    with FaultServer(behaviour) as server:
        client = connect(server.url)
        assert [client.send() for _ in range(5)] == [b"whole"] * 5
        assert server.connections == 1


def test_a_finished_stream_leaves_its_connection_for_the_next_call(connect: Connect) -> None:
    with FaultServer(chunked(b"a\nen", b"d\n"), reply(b"b\nend\n"), reply()) as server:
        client = connect(server.url)
        assert list(client.stream()) == [b"a", b"end"]
        assert list(client.stream()) == [b"b", b"end"]
        assert client.send() == b"whole"
        assert server.connections == 1


def test_a_connection_that_the_server_closed_is_not_used_again(connect: Connect) -> None:
    with FaultServer(raw(head(Content_Length=2) + b"ok"), reply()) as server:
        client = connect(server.url)
        assert client.send() == b"ok"
        assert server.closed.wait(10)
        assert client.send() == b"whole"
        assert server.connections == 2


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody can tell, so it may have run")
@pytest.mark.parametrize("then", ["cut", "reset"])
def test_a_request_that_meets_a_closing_connection_has_not_run(
    then: str, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server closes in the moment between the look at the connection and the request."""
    looked = threading.Event()

    def answer_and_close(c: Connection) -> None:
        reply(b"ok")(c)
        looked.wait(10)
        getattr(c, then)()

    with FaultServer(answer_and_close, reply()) as server:

        def look() -> bool:
            looked.set()
            assert server.closed.wait(10)
            return False

        for module in ("pool", "aio_pool"):
            monkeypatch.setattr(f"awsllm.aws.{module}.unread_check", lambda sock: look)
        client = connect(server.url)
        assert client.send() == b"ok"
        with pytest.raises(ServerError, match="before the request had arrived") as caught:
            client.send()
        assert caught.value.retryable
        assert not caught.value.may_have_run
        assert client.send() == b"whole"
        assert len(server.requests) == 2


@pytest.mark.parametrize("then", ["cut", "reset"])
def test_a_request_that_was_read_may_have_run(then: str, connect: Connect) -> None:
    with FaultServer(reply(b"ok"), raw(b"", then)) as server:
        client = connect(server.url)
        assert client.send() == b"ok"
        with pytest.raises(ServerError) as caught:
            client.send()
        assert caught.value.may_have_run
        assert (server.connections, len(server.requests)) == (1, 2)


def test_a_body_may_end_with_its_connection(connect: Connect) -> None:
    with FaultServer(raw(head() + b"whole")) as server:
        client = connect(server.url)
        assert [client.send(), client.send()] == [b"whole"] * 2


def test_a_large_body_goes_both_ways(connect: Connect) -> None:
    large = os.urandom(3_000_000)
    with FaultServer(reply(large)) as server:
        call = Call(HttpRequest("bedrock-runtime", "POST", "/x", {}, large), lambda response: response.body, error_for)
        assert connect(server.url).send(call) == large
        assert server.requests[0][2] == large


def test_closing_an_unused_transport_resolves_nothing(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nosuch")
    connect()  # the fixture closes it


def test_a_transport_can_be_used_after_close(connect: Connect) -> None:
    with FaultServer(reply()) as server:
        client = connect(server.url)
        client.send()
        if client.loop is None:
            client.transport.close()
        else:
            client.loop.run_until_complete(client.transport.close())
        assert client.send() == b"whole"


def test_a_header_cannot_smuggle(connect: Connect) -> None:
    request = HttpRequest("bedrock-runtime", "POST", "/x", {"X-Thing": "a\r\nX-Other: b"})
    with FaultServer(reply()) as server, pytest.raises(ValidationError, match="X-Thing"):
        connect(server.url).send(Call(request, bool, error_for))
    assert server.requests == []


# Errors of responses, of transport and of time


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        (reply(b"slow down", "429 Too Many Requests", Retry_After=7), ThrottlingError),
        (reply(b"<html>Request too large</html>", "400 Bad Request", Content_Type="text/html"), ValidationError),
        (reply(b"", "301 Moved", Location="http://elsewhere/"), ServerError),
        (reply(b"down", "503 Service Unavailable"), ServerError),
        (lambda c: c.send(head("503 Down", Transfer_Encoding="chunked") + chunk(b"down") + b"0\r\n\r\n"), ServerError),
    ],
    ids=["429", "html 400", "redirect", "503", "chunked 503"],
)
@pytest.mark.parametrize("streaming", [False, True])
def test_an_error_response_is_read_whole_and_decoded(
    behaviour: Behaviour, kind: type[AwsllmError], streaming: bool, connect: Connect
) -> None:
    with FaultServer(behaviour, reply(b"end\n")) as server:
        client = connect(server.url)
        with pytest.raises(kind) as caught:
            list(client.stream()) if streaming else client.send()
        assert caught.value.request_id == "r-1"
        assert caught.value.retry_after == (7.0 if kind is ThrottlingError else None)
        client.send()
        assert server.connections == 1


BROKEN: dict[str, Behaviour] = {
    "no answer": Connection.cut,
    "reset": Connection.reset,
    "half a head": raw(b"HTTP/1.1 200 OK\r\nContent-"),
    "not http": raw(b"SSH-2.0-OpenSSH_9.6\r\n"),
}
CUT: dict[str, Behaviour] = {
    "short body": raw(head(Content_Length=100) + b"a\nb\n"),
    "reset in the body": raw(head(Content_Length=100) + b"a\nb\n", "reset"),
    "cut in a chunk": raw(CHUNKED + chunk(b"a\nb\n") + b"ff\r\nhal"),
    "no last chunk": raw(CHUNKED + chunk(b"a\nb\n")),
}
GARBLED = raw(CHUNKED + chunk(b"a\nb\n") + b"zz\r\n")


@pytest.mark.parametrize("behaviour", [*BROKEN.values(), *CUT.values(), GARBLED], ids=[*BROKEN, *CUT, "garbled"])
def test_a_response_that_breaks_is_a_server_error(behaviour: Behaviour, connect: Connect) -> None:
    with FaultServer(behaviour) as server:
        with pytest.raises(ServerError) as caught:
            connect(server.url).send()
        assert caught.value.retryable
        assert server.url in str(caught.value)
        assert len(server.requests) == 1


@pytest.mark.parametrize("name", BROKEN)
def test_a_stream_that_never_began_is_a_server_error(name: str, connect: Connect) -> None:
    with FaultServer(BROKEN[name]) as server, pytest.raises(ServerError) as caught:
        list(connect(server.url).stream())
    assert caught.value.retryable


@pytest.mark.parametrize("name", CUT)
def test_a_stream_that_breaks_is_a_stream_error(name: str, connect: Connect) -> None:
    seen = []
    with FaultServer(CUT[name]) as server, pytest.raises(StreamError) as caught:
        for event in connect(server.url).stream():
            seen.append(event)  # noqa: PERF402
    assert seen in ([b"a", b"b"], [])  # a reset may overtake what was sent before it
    assert caught.value.retryable is not bool(seen)
    assert isinstance(caught.value.__cause__, ServerError)


@pytest.mark.parametrize(
    "behaviour",
    [chunked(b"a\n", b"b\n"), reply(b"a\nb\n"), raw(head() + b"a\nb\n")],
    ids=["chunked", "length", "close"],
)
def test_a_stream_that_ends_cleanly_too_early_is_its_decoders_matter(behaviour: Behaviour, connect: Connect) -> None:
    with FaultServer(behaviour) as server, pytest.raises(StreamError, match="without its end"):
        list(connect(server.url).stream())


def test_a_closed_port_is_a_connect_error(connect: Connect) -> None:
    with FaultServer() as server:
        pass
    with pytest.raises(ConnectError, match=str(server.port)) as caught:
        connect(server.url).send()
    assert caught.value.retryable


def test_an_unknown_host_is_a_connect_error(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **options: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(ConnectError, match=r"nowhere\.invalid.*check the region"):
        connect("http://nowhere.invalid").send()


@pytest.fixture
def deaf() -> Iterator[str]:
    """The URL of a port that lets connections hang: its queue is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, contextlib.ExitStack() as stack:
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a full queue refuses")
def test_a_connection_that_hangs(deaf: str, connect: Connect) -> None:
    with pytest.raises(ConnectError) as caught:
        connect(deaf, connect_timeout=0.1).send()
    assert caught.value.retryable
    with pytest.raises(ModelTimeoutError, match="deadline"):
        connect(deaf).send(deadline=soon())


@pytest.mark.parametrize("before", [b"", b"HTTP/1.1 200 OK\r\n", head(Content_Length=9) + b"par", CHUNKED + b"5\r\n"])
def test_silence_beyond_the_read_timeout(before: bytes, connect: Connect) -> None:
    with FaultServer(raw(before, "stall")) as server:
        with pytest.raises(ModelTimeoutError, match="read_timeout") as caught:
            connect(server.url, read_timeout=0.1).send()
        assert not caught.value.retryable
        assert server.hung_up.wait(10)


@pytest.mark.parametrize("before", [CHUNKED + chunk(b"a\n"), head(Content_Length=9) + b"a\n"])
def test_a_stream_that_pauses_too_long(before: bytes, connect: Connect) -> None:
    with FaultServer(raw(before, "stall")) as server:
        events = connect(server.url, read_timeout=0.1).stream()
        assert next(events) == b"a"
        with pytest.raises(StreamError) as caught:
            next(events)
        assert isinstance(caught.value.__cause__, ModelTimeoutError)
        assert not caught.value.retryable
        assert server.hung_up.wait(10)


DRIPS: dict[str, tuple[bytes, bytes]] = {
    "in silence": (b"", b""),
    "in a header": (b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x"),
    "between headers": (b"HTTP/1.1 100 Continue\r\n", b"a: b\r\n"),
    "in a body": (head(Content_Length=10**9), b"x"),
    "in a chunk": (CHUNKED + b"fffffff\r\n", b"x"),
}


@pytest.mark.parametrize("name", DRIPS)
@pytest.mark.parametrize("streaming", [False, True])
def test_the_deadline_holds_however_slowly_bytes_arrive(name: str, streaming: bool, connect: Connect) -> None:
    before, drip = DRIPS[name]

    def behave(c: Connection) -> None:
        c.send(before)
        c.drip(drip) if drip else c.stall()

    with FaultServer(behave) as server:
        client, deadline = connect(server.url), soon()
        with pytest.raises(AwsllmError) as caught:
            list(client.stream(deadline=deadline)) if streaming else client.send(deadline=deadline)
    # http.client refuses a head of more than 100 lines, which may happen first
    assert isinstance(caught.value, ModelTimeoutError) or name == "between headers"
    assert isinstance(caught.value, ServerError) or not caught.value.retryable


def test_the_deadline_holds_in_a_stalled_stream(connect: Connect) -> None:
    with FaultServer(raw(CHUNKED + chunk(b"a\n"), "stall")) as server:
        events = connect(server.url).stream(deadline=soon())
        assert next(events) == b"a"
        with pytest.raises(ModelTimeoutError, match="deadline"):
            next(events)
        assert server.hung_up.wait(10)


def test_nothing_is_sent_after_the_deadline(connect: Connect) -> None:
    with FaultServer(reply()) as server:
        with pytest.raises(ModelTimeoutError, match="deadline"):
            connect(server.url).send(deadline=time.monotonic() - 1)
        assert server.requests == []


def test_the_deadline_holds_in_a_tls_handshake(connect: Connect) -> None:
    with FaultServer(reply()) as server, pytest.raises(ModelTimeoutError, match="deadline"):
        # the server waits for a whole request and never answers the hello
        connect(server.url.replace("http", "https")).send(deadline=soon())


def test_no_error_tells_a_secret(connect: Connect) -> None:
    for name, behaviour in (BROKEN | CUT | {"garbled": GARBLED}).items():
        with FaultServer(behaviour) as server, pytest.raises(AwsllmError) as caught:
            list(connect(server.url).stream())
        text = "".join(traceback.format_exception(caught.value))
        for canary in (SECRET, "private prompt", "Signature="):
            assert canary not in text, name


# The limits of a stream's events


def paced(events: Iterator[bytes]) -> tuple[list[bytes], AwsllmError]:
    """The events that came, and the error that ended them."""
    seen: list[bytes] = []
    with pytest.raises(AwsllmError) as caught:
        for event in events:
            seen.append(event)  # noqa: PERF402 -- those before the error count
    return seen, caught.value


@pytest.mark.parametrize("before", [b"", b"HTTP/1.1 200 OK\r\n", CHUNKED, CHUNKED + chunk(b"half a li")])
def test_a_first_event_that_is_late(before: bytes, connect: Connect) -> None:
    """A head is no event, nor is half a frame."""
    with FaultServer(raw(before, "stall")) as server:
        seen, error = paced(connect(server.url).stream(first_event=0.1, between_events=60.0))
        assert server.hung_up.wait(10)
    assert seen == []
    assert type(error) is ModelTimeoutError
    assert "no event within 0.1 s (first_event)" in str(error)


def test_a_pause_between_events(connect: Connect) -> None:
    with FaultServer(raw(CHUNKED + chunk(b"a\nb\nhalf"), "stall")) as server:
        seen, error = paced(connect(server.url).stream(first_event=60.0, between_events=0.1))
        assert server.hung_up.wait(10)
    assert seen == [b"a", b"b"]
    assert isinstance(error, StreamError)
    assert not error.retryable
    assert "no event for 0.1 s (between_events)" in str(error)
    assert isinstance(error.__cause__, ModelTimeoutError)


@pytest.mark.parametrize("events", [b"", b"a\n"])
def test_bytes_that_are_no_event_do_not_count(events: bytes, connect: Connect) -> None:
    def behave(c: Connection) -> None:
        c.send(CHUNKED + (chunk(events) if events else b""))
        c.drip(chunk(b"x"))

    limits: dict[str, Any] = {"between_events": 0.1} if events else {"first_event": 0.1}
    with FaultServer(behave) as server:
        seen, error = paced(connect(server.url).stream(**limits))
    assert (seen, type(error)) == (([b"a"], StreamError) if events else ([], ModelTimeoutError))
    assert next(iter(limits)) in str(error)


def test_the_limits_hold_for_the_head_of_an_error_and_its_body(connect: Connect) -> None:
    with FaultServer(raw(head("503 Down", Content_Length=100) + b"dow", "stall")) as server:
        _, error = paced(connect(server.url).stream(first_event=0.1))
    assert type(error) is ModelTimeoutError


def test_what_the_caller_does_between_two_events_is_not_counted(connect: Connect) -> None:
    with FaultServer(chunked(b"a\n", b"end\n")) as server:
        events = connect(server.url).stream(between_events=0.1)
        assert next(events) == b"a"
        time.sleep(0.2)
        assert list(events) == [b"end"]


@pytest.mark.parametrize("limits", [{"first_event": 60.0}, {"between_events": 60.0}, {}])
def test_the_nearest_limit_decides(limits: dict[str, Any], connect: Connect) -> None:
    """The deadline, however long the events may take; without one, the pause that the transport allows."""
    with FaultServer(raw(CHUNKED + chunk(b"a\n"), "stall")) as server:
        seen, error = paced(connect(server.url).stream(deadline=soon(), **limits))
        assert (seen, type(error)) == ([b"a"], ModelTimeoutError)
        assert "the deadline passed" in str(error)
        seen, error = paced(connect(server.url, read_timeout=0.1).stream(**limits))
        assert (seen, type(error)) == ([b"a"], StreamError)
        assert "read_timeout" in str(error)


# Streams


@pytest.mark.parametrize("start", [CHUNKED, head(Content_Length=6), head()], ids=["chunked", "length", "close"])
def test_events_arrive_as_they_are_sent(start: bytes, connect: Connect) -> None:
    seen = threading.Event()

    def behave(c: Connection) -> None:
        frame = chunk if start is CHUNKED else bytes
        c.send(start + frame(b"a\n"))
        assert seen.wait(10)  # the second piece is not sent before the first has been read
        c.send(frame(b"end\n") + (b"0\r\n\r\n" if start is CHUNKED else b""))
        c.keep = "Content" in start.decode() or start is CHUNKED

    with FaultServer(behave) as server:
        events = connect(server.url).stream()
        assert next(events) == b"a"
        seen.set()
        assert list(events) == [b"end"]


def test_closing_a_stream_closes_its_connection(connect: Connect) -> None:
    with FaultServer(raw(CHUNKED + chunk(b"a\n"), "stall"), reply()) as server:
        client = connect(server.url)
        events = client.stream()
        assert next(events) == b"a"
        events.close()  # type: ignore[attr-defined]
        if client.loop is not None:
            client.loop.run_until_complete(asyncio.sleep(0))  # a transport closes its socket in the loop's next turn
        assert server.hung_up.wait(10)
        assert client.send() == b"whole"


def test_a_decoders_error_passes_and_closes_the_connection(connect: Connect) -> None:
    class Broken(Lines):
        def feed(self, data: bytes) -> Iterable[bytes]:
            raise ThrottlingError("in the stream")

    with FaultServer(raw(CHUNKED + chunk(b"a\n"), "stall")) as server:
        client = connect(server.url)
        with pytest.raises(ThrottlingError):
            list(client.stream(StreamCall(REQUEST, lambda response: Broken(), error_for)))
        if client.loop is not None:
            client.loop.run_until_complete(asyncio.sleep(0))
        assert server.hung_up.wait(10)


# With the policy: how often a request is sent


@pytest.mark.parametrize(
    ("behaviour", "requests"),
    [
        (reply(b"", "400 Bad Request"), 1),
        (reply(b"", "429 Too Many Requests"), 3),
        (reply(b"", "503 Down"), 3),
        (reply(b"", "424 Failed Dependency"), 2),
        (BROKEN["reset"], 1),
        (CUT["short body"], 1),
        (raw(b"", "stall"), 1),
    ],
    ids=["400", "429", "503", "424", "reset", "short body", "silence"],
)
def test_a_server_is_sent_as_many_requests_as_the_policy_says(behaviour: Behaviour, requests: int) -> None:
    with FaultServer(behaviour) as server:
        transport = HttpTransport(AwsSession(endpoint_url=server.url), read_timeout=0.1)
        with pytest.raises(AwsllmError):
            Policy(sleep=lambda seconds: None).run(lambda attempt: transport.send(CALL, attempt))
        assert len(server.requests) == requests
        transport.close()


def test_nothing_is_sent_again_after_a_first_event() -> None:
    with FaultServer(raw(CHUNKED), CUT["no last chunk"], chunked(b"end\n")) as server:
        transport = HttpTransport(AwsSession(endpoint_url=server.url))
        events = Policy(sleep=lambda seconds: None, max_attempts=9, resend_lost=True).iterate(
            lambda attempt: transport.stream(STREAM, attempt)
        )
        assert [next(events), next(events)] == [b"a", b"b"]
        with pytest.raises(StreamError):
            next(events)
        assert len(server.requests) == 2
        transport.close()


# Threads and processes


def test_threads_share_one_transport() -> None:
    with FaultServer(reply()) as server:
        transport = HttpTransport(AwsSession(endpoint_url=server.url), max_connections=2)
        answers: list[bytes] = []
        threads = [
            threading.Thread(target=lambda: answers.extend(transport.send(CALL) for _ in range(10))) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == [b"whole"] * 80
        assert sum(len(idle) for idle in transport._pool._idle.values()) <= 2
        transport.close()


FORK = """
import os, sys
from awsllm.aws.call import Call, HttpRequest
from awsllm.aws.http import HttpTransport
from awsllm.aws.session import AwsSession
transport = HttpTransport(AwsSession())
call = Call(HttpRequest("bedrock-runtime", "POST", "/x"), lambda response: response.body, lambda response: ValueError())
assert transport.send(call) == b"whole"
child = os.fork()
assert transport.send(call) == b"whole"
if child == 0:
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_has_connections_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultServer(reply()) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        subprocess.run([sys.executable, "-c", FORK], check=True)
        assert len(server.requests) == 3
        assert server.connections == 2  # the parent went on with its own


# TLS


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Paths of a certificate for 127.0.0.1 that signs itself, and of its key."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(certificate.public_bytes(encoding))
    (folder / "key.pem").write_bytes(
        key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return str(folder / "cert.pem"), str(folder / "key.pem")


def server_context(authority: tuple[str, str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority)
    return context


def test_tls_with_a_bundle(connect: Connect, authority: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", authority[0])
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "key")
    with FaultServer(reply(), context=server_context(authority)) as server:
        client = connect(server.url)
        assert [client.send(), client.send()] == [b"whole"] * 2
        assert server.connections == 1
        assert server.requests[0][1]["authorization"] == "Bearer key"


def test_tls_with_a_stranger(connect: Connect, authority: tuple[str, str]) -> None:
    with FaultServer(reply(), context=server_context(authority)) as server:
        with pytest.raises(ConnectError, match="AWS_CA_BUNDLE") as caught:
            connect(server.url).send()
        assert not caught.value.retryable
        assert server.requests == []


def test_tls_with_a_client_certificate(connect: Connect, authority: tuple[str, str]) -> None:
    context = server_context(authority)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority[0])
    core = botocore.session.Session()
    core.set_config_variable("ca_bundle", authority[0])
    core.set_default_client_config(Config(client_cert=authority))
    with FaultServer(reply(), context=context) as server:
        session = AwsSession(session=core, endpoint_url=server.url, region="us-east-1")
        assert connect(session=session).send() == b"whole"


def test_a_missing_bundle_is_named(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", "/no/such.pem")
    with FaultServer() as server, pytest.raises(ConfigurationError, match=r"/no/such\.pem"):
        connect(server.url.replace("http", "https")).send()


def test_the_default_bundle_is_botocores_choice() -> None:
    from botocore.httpsession import get_cert_path

    assert tls.default_bundle() == get_cert_path(True)


# Proxies


def proxy(c: Connection) -> None:
    """Answer for the origin, or open a tunnel to it."""
    target = c.server.requests[-1][0].split()[1]
    if not c.server.requests[-1][0].startswith("CONNECT"):
        c.send(head(Content_Length=5) + b"whole")
        return
    c.keep = False
    host, _, port = target.rpartition(":")
    with socket.create_connection((host, int(port))) as onward:
        c.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        _pump(c.socket, onward, c.server.over)


def _pump(client: socket.socket, origin: socket.socket, over: threading.Event) -> None:
    """Both ways in one thread, until either end has no more: a TLS socket is not read and written by two at a time."""
    other = {client: origin, origin: client}
    while not over.is_set():
        held = isinstance(client, ssl.SSLSocket) and client.pending()
        for source in [client] if held else select.select(list(other), [], [], 0.02)[0]:
            try:
                data = source.recv(65536)
            except OSError:
                return
            if not data:
                return
            other[source].sendall(data)


PROXY_AUTHORIZATION = "Basic " + base64.b64encode(b"user:p@ss").decode()


def test_plain_http_through_a_proxy(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultServer(proxy) as through:
        monkeypatch.setenv("HTTP_PROXY", f"http://user:p%40ss@127.0.0.1:{through.port}")
        assert connect("http://model.example").send() == b"whole"
        first, headers, _ = through.requests[0]
    assert first == "POST http://model.example/model/a%3Ab%2Fc/converse HTTP/1.1"
    assert headers["proxy-authorization"] == PROXY_AUTHORIZATION
    assert headers["host"] == "model.example"


def test_a_tunnel_through_a_proxy(
    connect: Connect, authority: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", authority[0])
    with FaultServer(reply(), context=server_context(authority)) as server, FaultServer(proxy) as through:
        monkeypatch.setenv("https_proxy", f"user:p%40ss@127.0.0.1:{through.port}")
        client = connect(server.url)
        assert [client.send(), client.send()] == [b"whole"] * 2
        client.close() if client.loop is None else None
        first, headers, _ = through.requests[0]
        assert (first, len(through.requests)) == (f"CONNECT 127.0.0.1:{server.port} HTTP/1.1", 1)
        assert headers["proxy-authorization"] == PROXY_AUTHORIZATION
        assert "proxy-authorization" not in server.requests[0][1]


def test_a_tunnel_through_a_tls_proxy(
    connect: Connect, authority: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", authority[0])
    context = server_context(authority)
    with FaultServer(reply(), context=context) as server, FaultServer(proxy, context=context) as through:
        monkeypatch.setenv("HTTPS_PROXY", through.url)
        assert connect(server.url).send() == b"whole"
        assert len(through.requests) == 1


def test_the_deadline_holds_in_tls_within_tls(
    connect: Connect, authority: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record of the inner handshake comes a byte at a time."""

    def behave(c: Connection) -> None:
        c.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        c.socket.settimeout(10)
        c.socket.recv(65536)  # the client's hello
        c.send(bytes([22, 3, 3, 0x3F, 0xFF, 2, 0, 0x3F, 0xF0]))
        c.drip(b"\0")

    monkeypatch.setenv("AWS_CA_BUNDLE", authority[0])
    with FaultServer(behave, context=server_context(authority)) as through:
        monkeypatch.setenv("HTTPS_PROXY", through.url)
        with pytest.raises(ModelTimeoutError, match="deadline"):
            connect("https://model.example").send(deadline=soon(0.5))


def test_no_proxy(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with FaultServer(reply()) as server:
        assert connect(server.url).send() == b"whole"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_refuses_is_named_without_its_password(
    scheme: str, connect: Connect, authority: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", authority[0])
    context = server_context(authority) if scheme == "https" else None
    with FaultServer(reply(b"", "407 Proxy Authentication Required"), context=context) as through:
        monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://user:hunter2@127.0.0.1:{through.port}")
        with pytest.raises(ConnectError, match=f"127.0.0.1:{through.port}.*407") as caught:
            connect("https://model.example").send()
    assert not caught.value.retryable
    assert "hunter2" not in str(caught.value)


def test_a_proxy_that_is_down_is_named(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://user:hunter2@127.0.0.1:1")
    with pytest.raises(ConnectError, match=r"127\.0\.0\.1:1\b") as caught:
        connect("https://model.example").send()
    assert caught.value.retryable
    assert "hunter2" not in str(caught.value)


# moto, and whoever else handles before-send

SAGEMAKER = HttpRequest("sagemaker-runtime", "POST", "/endpoints/e/invocations", {"Content-Type": "application/json"})
SAGEMAKER_CALL: Call[bytes] = Call(SAGEMAKER, lambda response: response.body, error_for)


def session_of(kind: str) -> AwsSession:
    return AwsSession(session=boto3.Session()) if kind == "session" else AwsSession()


@pytest.mark.parametrize("kind", ["environment", "session"])
@pytest.mark.parametrize("before", [True, False], ids=["before", "inside"])
def test_moto_answers(kind: str, before: bool, connect: Connect) -> None:
    client = connect(session=session_of(kind)) if before else None
    with mock_aws():
        client = client or connect(session=session_of(kind))
        assert client.send(SAGEMAKER_CALL) == b"body"
        stream = StreamCall(SAGEMAKER, lambda response: Lines(), error_for)
        with pytest.raises(StreamError, match="without its end"):  # "body" is no line
            list(client.stream(stream))


@pytest.mark.parametrize("kind", ["environment", "session"])
def test_moto_answers_a_session_older_than_its_import(kind: str) -> None:
    program = (
        "import boto3\n"
        "from awsllm.aws.call import Call, HttpRequest\n"
        "from awsllm.aws.http import HttpTransport\n"
        "from awsllm.aws.session import AwsSession\n"
        f"session = AwsSession(session=boto3.Session() if {kind == 'session'} else None)\n"
        "session.config\n"
        "transport = HttpTransport(session)\n"
        "from moto import mock_aws\n"
        "request = HttpRequest('sagemaker-runtime', 'POST', '/endpoints/e/invocations')\n"
        "call = Call(request, lambda response: response.body, lambda response: response)\n"
        "with mock_aws():\n"
        "    assert transport.send(call) == b'body'\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_moto_that_is_not_active_stays_out_of_the_way(connect: Connect) -> None:
    with FaultServer(reply()) as server:
        assert connect(server.url).send() == b"whole"


def test_a_handler_of_the_callers_session_may_answer(connect: Connect) -> None:
    seen: list[Any] = []

    def answer(request: Any, event_name: str, **_: Any) -> AWSResponse:
        seen.append((event_name, request.url, request.body, request.headers["Content-Type"]))
        raw = functools.partial(iter, [b"a\nen", b"d\n"])
        return AWSResponse(request.url, 200, {"X-Thing": "1"}, type("Raw", (), {"stream": staticmethod(raw)})())

    core = botocore.session.Session()
    core.register("before-send.bedrock-runtime", answer)
    client = connect(session=AwsSession(session=core))
    assert client.send() == b"a\nend\n"
    assert list(client.stream()) == [b"a", b"end"]
    url = "https://bedrock-runtime.us-east-1.amazonaws.com/model/a%3Ab%2Fc/converse"
    assert seen == [("before-send.bedrock-runtime", url, PROMPT, "application/json")] * 2
