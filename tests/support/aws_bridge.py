"""The account of an active ``mock_aws``, over loopback HTTP, for another process (``AWS_ENDPOINT_URL``).

A request's service and region stand in its signature's scope. From them and the path the bridge makes the URL that AWS
has, gives the request to the object by which moto answers botocore in this process, responders of awsllm included, and
relays the reply: an event stream piece by piece, all else whole.

    with mock_aws(...), bridge() as bridged:
        subprocess.run(..., env={**os.environ, "AWS_ENDPOINT_URL": bridged.url, ...})

One bridge serves one mock after another.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from botocore.awsrequest import AWSRequest, AWSResponse
from moto.core.models import botocore_stubber

from tests.support.loopback import Received, Response, serving

_SCOPE = re.compile(r"Credential=[^/]+/\d{8}/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request")
_GLOBAL = {"iam": "iam.amazonaws.com"}
_HOP = {"connection", "transfer-encoding", "keep-alive", "server", "date"}
_EVENT_STREAM = "application/vnd.amazon.eventstream"


class Arrival(NamedTuple):
    """A request as it arrives. ``operation`` is ``CreateEndpoint``, or the method and path where only these say it."""

    service: str
    operation: str
    body: bytes


class Bridge:
    """``before`` is called with each request before it is answered, on the thread that serves it; what it raises breaks
    the connection. ``arrivals`` has all of them."""

    def __init__(self) -> None:
        self.url = ""
        self.before: Callable[[Arrival], None] = lambda arrival: None
        self.arrivals: list[Arrival] = []
        self.lock = threading.Lock()

    def respond(self, request: Received) -> Response:
        scope = _SCOPE.search(request.header("Authorization"))
        if scope is None:
            return Response(b"the request is not signed", 403)
        url = f"https://{host(scope['service'], scope['region'], request.path)}{request.path}"
        with self.lock:
            arrival = Arrival(scope["service"], _operation(request), request.body)
            self.arrivals.append(arrival)
            self.before(arrival)
            try:
                response = _answered(request, url)
            except NotImplementedError as error:  # moto's: an operation that it does not have
                return Response(str(error).encode(), 501)  # which boto3 does not try again
        return Response(f"no mock answers {url}".encode(), 502) if response is None else _relayed(request, response)

    def settle(self) -> None:
        """Wait until what arrived is answered, also where its sender did not wait."""
        with self.lock:
            pass


@contextlib.contextmanager
def bridge() -> Iterator[Bridge]:
    """A URL that answers as the mocked account while the block runs."""
    bridge = Bridge()
    with serving(bridge.respond) as bridge.url:
        yield bridge


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


def _operation(request: Received) -> str:
    """Of JSON protocols it stands in a header, of CBOR's at the end of the path."""
    if target := request.header("X-Amz-Target"):
        return target.rpartition(".")[2]
    return request.path.partition("/operation/")[2] or f"{request.method} {request.path}"


def _answered(request: Received, url: str) -> AWSResponse | None:
    headers = {name: value for name, value in request.headers.items() if name.lower() not in ("host", "content-length")}
    prepared = AWSRequest(method=request.method, url=url, headers=headers, data=request.body).prepare()
    answered: AWSResponse | None = botocore_stubber(event_name="before-send", request=prepared)
    return answered


def _relayed(request: Received, response: AWSResponse) -> Response:
    dropped = _HOP if request.method == "HEAD" else {*_HOP, "content-length"}
    headers = {name: str(value) for name, value in response.headers.items() if name.lower() not in dropped}
    if headers.get("Content-Type") == _EVENT_STREAM:
        return Response(_pieces(response.raw), response.status_code, headers)
    return Response(response.content, response.status_code, headers)


def _pieces(raw: Any) -> Iterator[bytes]:
    with contextlib.closing(raw):
        yield from raw.stream()
