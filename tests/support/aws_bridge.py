"""The account of an active ``mock_aws``, over loopback HTTP, for another process (``AWS_ENDPOINT_URL``).

A request's service and region stand in its signature's scope. From them and the path the bridge makes the URL that AWS
has, gives the request to the object by which moto answers botocore in this process, responders of awsllm included, and
relays the reply: an event stream piece by piece, all else whole.

    with mock_aws(...), bridge() as url:
        subprocess.run(..., env={**os.environ, "AWS_ENDPOINT_URL": url, ...})

``before`` is called with the service and the operation (``CreateEndpoint``, or the method and path) of each request
before it is answered, on the thread that serves it; what it raises breaks the connection.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_SCOPE = re.compile(r"Credential=[^/]+/\d{8}/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request")
_GLOBAL = {"iam": "iam.amazonaws.com"}
_HOP = {"connection", "transfer-encoding", "keep-alive", "server", "date"}
_EVENT_STREAM = "application/vnd.amazon.eventstream"

Before = Callable[[str, str], None]


@contextlib.contextmanager
def bridge(before: Before = lambda service, operation: None) -> Iterator[str]:
    """A URL that answers as the mocked account while the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.before = before  # type: ignore[attr-defined]
    server.lock = threading.Lock()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def host(service: str, region: str, path: str) -> str:
    """The host of the service that a request with this signing name and path is for."""
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    match service:
        case "sagemaker":
            return f"{'runtime' if path.startswith('/endpoints/') else 'api'}.sagemaker.{region}.{domain}"
        case "bedrock" if path.startswith("/model/"):
            return f"bedrock-runtime.{region}.{domain}"
        case _:
            return _GLOBAL.get(service, f"{service}.{region}.{domain}")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        scope = _SCOPE.search(self.headers.get("Authorization", ""))
        if scope is None:
            self.send_error(403, "the request is not signed")
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        service, region = scope["service"], scope["region"]
        operation = self.headers.get("X-Amz-Target", "").rpartition(".")[2] or f"{self.command} {self.path}"
        self.server.before(service, operation)  # type: ignore[attr-defined]
        url = f"https://{host(service, region, self.path)}{self.path}"
        with self.server.lock:  # type: ignore[attr-defined]
            response = _answered(self.command, url, dict(self.headers), body)
        if response is None:
            self.send_error(502, f"no mock answers {url}")
            return
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._relay(response)

    do_GET = do_PUT = do_DELETE = do_HEAD = do_PATCH = do_POST  # noqa: N815

    def _relay(self, response: Any) -> None:
        headers = {name: value for name, value in response.headers.items() if name.lower() not in _HOP}
        is_stream = headers.get("Content-Type") == _EVENT_STREAM
        body = b"" if is_stream else response.content
        if is_stream:
            headers["Transfer-Encoding"] = "chunked"
        elif self.command != "HEAD":
            headers = {name: value for name, value in headers.items() if name.lower() != "content-length"}
            headers["Content-Length"] = str(len(body))
        self.send_response(response.status_code)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()
        if is_stream:
            self._relay_pieces(response.raw)
        elif self.command != "HEAD":
            self.wfile.write(body)

    def _relay_pieces(self, raw: Any) -> None:
        with contextlib.closing(raw):
            for piece in raw.stream():
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr."""


def _answered(method: str, url: str, headers: dict[str, str], body: bytes) -> Any:
    from botocore.awsrequest import AWSRequest
    from moto.core.models import botocore_stubber

    headers = {name: value for name, value in headers.items() if name.lower() not in ("host", "content-length")}
    request = AWSRequest(method=method, url=url, headers=headers, data=body).prepare()
    return botocore_stubber(event_name="before-send", request=request)
