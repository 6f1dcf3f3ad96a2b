"""An HTTP service on this machine: a function from request to response, on a port of its own, as long as a block.

    with serving(lambda request: Response(b"hello")) as url:
        ...

Each connection has a thread and is kept open as HTTP/1.1 says. Servers that stall, cut and send what is no HTTP are in
``tests/aws``, with the transports that they are for.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from awsllm.aws.session import AwsSession


@dataclass(frozen=True)
class Received:
    """A request as it arrived. ``headers`` have the names that were sent."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers.items() if key.lower() == name.lower()), "")


@dataclass(frozen=True)
class Response:
    """``body`` is sent whole, or, as pieces, in chunks. A ``length`` beyond it cuts the response short."""

    body: bytes | Iterable[bytes] = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None


Respond = Callable[[Received], Response]


@contextlib.contextmanager
def serving(respond: Respond) -> Iterator[str]:
    """The URL of a service. What ``respond`` raises breaks the connection, a ``ConnectionError`` without a word."""

    class Handler(_Handler):
        def respond(self, request: Received) -> Response:
            return respond(request)

    with listening(Handler) as url:
        yield url


@contextlib.contextmanager
def listening(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The URL of a service whose requests ``handler`` answers, on threads of their own."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def aws_session(respond: Respond) -> Iterator[AwsSession]:
    """A session with keys of the environment that finds every service of AWS at ``respond``."""
    with serving(respond) as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "AKID")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        yield AwsSession(region="us-east-1", endpoint_url=url)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or a body waits 40 ms for the acknowledgement of its headers

    def respond(self, request: Received) -> Response:
        raise NotImplementedError

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # the client is gone, or is to believe so
            super().handle()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        response = self.respond(Received(self.command, self.path, dict(self.headers), body))
        self._send(response)

    do_GET = do_PUT = do_DELETE = do_HEAD = do_PATCH = do_POST  # noqa: N815

    def _send(self, response: Response) -> None:
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        if not isinstance(response.body, bytes):
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for piece in response.body:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")
            return
        length = len(response.body) if response.length is None else response.length
        if self.command != "HEAD":  # whose headers say the length themselves
            self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)
            self.close_connection = self.close_connection or length != len(response.body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on stderr."""
