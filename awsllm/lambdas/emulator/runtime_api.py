"""Lambda's Runtime API (2018-06-01) on this machine: what gives a runtime its invocations and takes its answers.

``awsllm lambda invoke`` and the tests run handlers against it, under AWS's own runtime client or ``runtime``'s loop.

    with RuntimeApi() as api:
        subprocess.Popen([..., "-m", "awslambdaric", "app.handler"], env={"AWS_LAMBDA_RUNTIME_API": api.address, ...})
        answer = api.invoke({"hello": 1}).wait(10)

What a runtime streams is kept chunk by chunk, each with the instant at which it came. Header names are compared without
regard to case: AWS's client writes them in lower case. A buffered answer over Lambda's limit is refused as Lambda does,
and so is one whose invocation was given up. ``Invoked.leave`` does what a front door does whose client is gone: it
closes the connection.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import queue
import secrets
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from awsllm.lambdas.runtime import API_PATH, ERROR_TYPE, INVOCATION_ID
from awsllm.types import JsonObject, JsonValue

MAX_BUFFERED = 6 * 1024 * 1024 + 100  # bytes; what the emulator (aws-lambda-runtime-interface-emulator) takes
_LOOK = 0.05  # seconds between two looks whether a waiting runtime is still there
_FUNCTION = "awsllm-local"


@dataclass(frozen=True)
class ReceivedChunk:
    """A chunk of a streamed answer; ``at`` is of ``time.monotonic()``."""

    at: float
    data: bytes


@dataclass
class Invoked:
    """An invocation, and what came of it. ``outcome`` is ``response``, ``error`` or, where neither came to its end,
    ``cut``; None while it is under way."""

    event: bytes
    request_id: str
    arn: str
    deadline: float
    trace_id: str
    sent: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    chunks: list[ReceivedChunk] = field(default_factory=list)
    trailers: dict[str, str] = field(default_factory=dict)
    outcome: str | None = None
    reason: str | None = None
    began: float | None = None
    ended: float | None = None

    def __post_init__(self) -> None:
        self.invocation_id = str(uuid.uuid4())  # unlike a request's it never comes twice
        self._changed = threading.Condition()
        self._connection: socket.socket | None = None
        self._left = False

    @property
    def body(self) -> bytes:
        return b"".join(chunk.data for chunk in self.chunks)

    @property
    def streamed(self) -> bool:
        return self.headers.get("lambda-runtime-function-response-mode") == "streaming"

    def json(self) -> Any:
        """The body of an answer or an error."""
        return json.loads(self.body)

    def wait(self, seconds: float) -> Self:
        """This, once it is over. ``TimeoutError`` if that takes longer."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.outcome is not None, seconds):
                raise TimeoutError(f"no answer within {seconds:g} s")
        return self

    def stream(self, seconds: float) -> Iterator[bytes]:
        """The chunks as they come; ``TimeoutError`` if one takes longer than ``seconds``."""
        for number in itertools.count():
            if not self._has_come(number, seconds):
                return
            yield self.chunks[number].data

    def _has_come(self, number: int, seconds: float) -> bool:
        """Whether there is a chunk of that number, once that is known."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.chunks) > number or self.outcome is not None, seconds):
                raise TimeoutError(f"no chunk within {seconds:g} s")
            return len(self.chunks) > number

    def leave(self) -> None:
        """Close the connection on which the answer comes, now or as soon as it is there."""
        with self._changed:
            self._left = True
            if self._connection is not None:
                with contextlib.suppress(OSError):
                    self._connection.shutdown(socket.SHUT_RDWR)

    def give_up(self, reason: str) -> None:
        """Nothing will come any more: the runtime is gone, or its time is over."""
        self.end("cut", reason)

    def begin(self, headers: dict[str, str], connection: socket.socket) -> None:
        with self._changed:
            self.headers, self._connection = headers, connection
        if self._left:
            self.leave()

    def receive(self, data: bytes) -> None:
        with self._changed:
            self.chunks.append(ReceivedChunk(time.monotonic(), data))
            self._changed.notify_all()

    def end(self, outcome: str, reason: str | None = None) -> None:
        with self._changed:
            self._connection = None
            if self.outcome is None:
                self.outcome, self.reason, self.ended = outcome, reason, time.monotonic()
            self._changed.notify_all()


class RuntimeApi:
    """A Runtime API on a free port, while the block lasts. ``init_error`` is what a runtime said that could not
    begin; ``calls`` are the paths that were asked for, in order."""

    def __init__(self, *, timeout: float = 30.0, region: str = "us-east-1", snap_start: bool = False) -> None:
        self.timeout = timeout
        self.arn = f"arn:aws:lambda:{region}:123456789012:function:{_FUNCTION}"
        self.init_error: JsonObject | None = None
        self.restore_error: JsonObject | None = None
        self.restored = threading.Event()
        self.ready = threading.Event()  # a runtime has asked for its first invocation, or could not begin
        self.calls: list[str] = []
        self.waiting: queue.SimpleQueue[Invoked] = queue.SimpleQueue()
        self.known: dict[str, Invoked] = {}
        self.closed = threading.Event()
        if not snap_start:
            self.restored.set()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def address(self) -> str:
        """What ``AWS_LAMBDA_RUNTIME_API`` is to be."""
        return f"127.0.0.1:{self._server.server_port}"

    def environment(self, handler: str, *, memory: int = 1024) -> dict[str, str]:
        """The variables that Lambda sets for a runtime, beside its credentials."""
        return {
            "AWS_LAMBDA_RUNTIME_API": self.address,
            "_HANDLER": handler,
            "AWS_LAMBDA_FUNCTION_NAME": _FUNCTION,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(memory),
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{_FUNCTION}",
            "AWS_LAMBDA_LOG_STREAM_NAME": f"local/[$LATEST]{secrets.token_hex(16)}",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand" if self.restored.is_set() else "snap-start",
        }

    def invoke(self, event: JsonValue | bytes, *, timeout: float | None = None, **headers: str) -> Invoked:
        """Hand the next runtime that asks an event. ``headers`` such as ``client_context`` go with it. The deadline
        counts from the moment in which a runtime takes it."""
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        trace = f"Root=1-{int(time.time()):x}-{secrets.token_hex(12)};Parent={secrets.token_hex(8)};Sampled=0"
        sent = {f"Lambda-Runtime-{name.replace('_', '-').title()}": value for name, value in headers.items()}
        seconds = self.timeout if timeout is None else timeout
        invoked = Invoked(body, str(uuid.uuid4()), self.arn, seconds, trace, sent)
        self.known[invoked.request_id] = invoked
        self.waiting.put(invoked)
        return invoked

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closed.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, api: RuntimeApi) -> None:
        super().__init__(("127.0.0.1", 0), _Requests)
        self.api = api


class _Requests(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # a head and its body go out together, or the body waits for the head's acknowledgement

    server: _Server

    @property
    def api(self) -> RuntimeApi:
        return self.server.api

    def handle(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # the runtime is gone, or was told so
            super().handle()

    def do_GET(self) -> None:
        self.api.calls.append(self.path)
        if self.path == f"{API_PATH}/restore/next":
            while not self.api.restored.wait(_LOOK):
                if self._is_over():
                    return
            self._say(200, {})
        elif self.path == f"{API_PATH}/invocation/next":
            self.api.ready.set()
            if (invoked := self._awaited()) is not None:
                self._hand_over(invoked)
        else:
            self._say(404, {"errorType": "UnknownPath"})

    def do_POST(self) -> None:
        self.api.calls.append(self.path)
        match self.path.removeprefix(API_PATH).split("/"):
            case ["", "init", "error"]:
                self.api.init_error = self._failure()
                self.api.ready.set()
                self._say(202, {"status": "OK"})
            case ["", "restore", "error"]:
                self.api.restore_error = self._failure()
                self._say(202, {"status": "OK"})
            case ["", "invocation", request_id, ("response" | "error") as outcome] if request_id in self.api.known:
                self._take(self.api.known[request_id], outcome)
            case _:
                self._say(404, {"errorType": "InvalidRequestID"})

    def _awaited(self) -> Invoked | None:
        """The next invocation; None when the runtime that waits for it, or this, is gone."""
        while not self._is_over():
            with contextlib.suppress(queue.Empty):
                return self.api.waiting.get(timeout=_LOOK)
        return None

    def _is_over(self) -> bool:
        from awsllm.aws.pool import has_unread

        if self.api.closed.is_set() or has_unread(self.connection):
            self.close_connection = True
        return self.close_connection

    def _hand_over(self, invoked: Invoked) -> None:
        invoked.began = time.monotonic()
        headers = {
            "Lambda-Runtime-Aws-Request-Id": invoked.request_id,
            "Lambda-Runtime-Deadline-Ms": str(int((time.time() + invoked.deadline) * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": invoked.arn,
            "Lambda-Runtime-Trace-Id": invoked.trace_id,
            INVOCATION_ID: invoked.invocation_id,
            **invoked.sent,
        }
        self._say(200, invoked.event, headers)

    def _take(self, invoked: Invoked, outcome: str) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        invoked.begin(headers, self.connection)
        try:
            for data in self._body():
                invoked.receive(data)
        except (OSError, ValueError):
            invoked.end("cut", "the runtime closed the connection")
            raise
        if outcome == "response" and not invoked.streamed and len(invoked.body) > MAX_BUFFERED:
            invoked.end("cut", "Function.ResponseSizeTooLarge")
            self._say(413, {"errorType": "RequestEntityTooLarge"})
            return
        if self.headers.get(INVOCATION_ID, invoked.invocation_id) != invoked.invocation_id or invoked.outcome:
            self._say(410, {"errorType": "ErrorRuntimeInvokeTimeout"})
            return
        invoked.trailers = self._trailers
        invoked.end(outcome)
        self._say(202, {"status": "OK"})

    def _body(self) -> Iterator[bytes]:
        self._trailers: dict[str, str] = {}
        if (self.headers.get("Transfer-Encoding") or "").lower() != "chunked":
            yield self.rfile.read(int(self.headers.get("Content-Length") or 0))
            return
        while size := int(self.rfile.readline().split(b";")[0], 16):
            data = self.rfile.read(size)
            if len(data) < size or self.rfile.readline() != b"\r\n":
                raise ConnectionError("the body ended within a chunk")
            yield data
        while (line := self.rfile.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            self._trailers[name.strip().lower()] = value.strip()

    def _failure(self) -> JsonObject:
        found = json.loads(b"".join(self._body()) or b"{}")
        return {**found, "header": self.headers.get(ERROR_TYPE)}

    def _say(self, status: int, body: bytes | JsonObject, headers: dict[str, str] | None = None) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on stderr."""
