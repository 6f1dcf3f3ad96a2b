"""A function URL in front of a handler, for clients that speak HTTP: events as Lambda makes them, replies and streamed
parts as it hands them over."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

from awsllm.lambdas.http.stream_head import StreamHead
from tests.support.lambdas import FakeContext, event
from tests.support.loopback import listening

LIMIT = 30  # seconds that the function has


def url_event(method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> dict[str, Any]:
    """As a function URL would make it of a request; a body that is no text, or not labelled as one, is Base64."""
    parts = urlsplit(path)
    found = event("url", rawPath=parts.path, rawQueryString=parts.query, cookies=[])
    found["headers"] = {name.lower(): value for name, value in (headers or {}).items()}
    found["requestContext"]["http"] |= {"method": method, "path": parts.path}
    return found | {"body": base64.b64encode(body).decode("ascii"), "isBase64Encoded": True}


@contextlib.contextmanager
def function_url(handler: Any) -> Iterator[str]:
    """The address at which the handler answers. What an answer's parts are made of goes out as each is made."""

    class Door(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, format: str, *args: Any) -> None:
            """Tests look at the answers."""

        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):  # the client has gone
                super().handle()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            result = handler(url_event(self.command, self.path, body, dict(self.headers)), FakeContext(LIMIT * 1000))
            if isinstance(result, dict):
                self._whole(result)
            else:
                self._parts(result)

        do_GET = do_POST  # noqa: N815

        def _whole(self, result: dict[str, Any]) -> None:
            body = result["body"].encode()
            if result["isBase64Encoded"]:
                body = base64.b64decode(body)
            self._head(result["statusCode"], {**result["headers"], "content-length": str(len(body))})
            self.wfile.write(body)

        def _parts(self, parts: Any) -> None:
            with contextlib.closing(parts):
                head = next(parts)
                assert isinstance(head, StreamHead)
                self._head(head.status, {**head.headers, "transfer-encoding": "chunked"})
                try:
                    for part in parts:
                        assert part, "an empty part would end the body"
                        self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
                    self.wfile.write(b"0\r\n\r\n")
                except OSError:  # the client has gone
                    self.close_connection = True

        def _head(self, status: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

    with listening(Door) as url:
        yield url
