"""The asynchronous transport: ``http.py``, awaited, over aiohttp.

Nothing here blocks the event loop. What may read files or ask a credential service (the first call, and a call that
must refresh its keys) is done in a thread, and so is a response that moto computes. Cancelling a call, or closing a
stream, closes its connection at once, whatever was still to be sent. A transport belongs to the event loop that first
uses it, until it is closed. Its connections are ``aio_connector``'s.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from awsllm.aws import failures
from awsllm.aws.call import REQUEST_ID, Call, HttpRequest, HttpResponse, StreamCall
from awsllm.aws.errand import aside
from awsllm.aws.failures import MAX_REPLY, Limits
from awsllm.aws.http import STREAM_READ_TIMEOUT, UNARY_READ_TIMEOUT
from awsllm.aws.intercept import InterceptedResponse, has_interceptor, intercept
from awsllm.aws.session import AwsSession, Credentials
from awsllm.aws.signing import Origin, SignedRequest, sign, split_url
from awsllm.aws.tls import Route, Routes
from awsllm.backend import UNLIMITED, Attempt
from awsllm.errors import AwsllmError, ConfigurationError, ModelTimeoutError, ServerError

if TYPE_CHECKING:
    import aiohttp

T = TypeVar("T")

_KEEP_ALIVE = 60.0  # seconds an idle connection is kept
_LARGE = 1 << 19  # bytes; a body from here on is sent in pieces, so that others get their turn


class AsyncHttpTransport:
    """Executes calls on an event loop. The arguments are ``HttpTransport``'s, but that no more than ``max_connections``
    are open at once: further calls wait, within their deadlines."""

    def __init__(
        self,
        session: AwsSession,
        *,
        connect_timeout: float = 10.0,
        read_timeout: float | None = None,
        max_connections: int = 512,
    ) -> None:
        self._aiohttp = _import_aiohttp()
        from awsllm.aws import aio_connector

        self._connections = aio_connector
        self._session = session
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._max_connections = max_connections
        self._http: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._routes: Routes | None = None
        self._taken: dict[str, Route] = {}

    async def send(self, call: Call[T], attempt: Attempt = UNLIMITED) -> T:
        """See ``HttpTransport.send``."""
        limits = Limits(self._connect_timeout, self._read_timeout or UNARY_READ_TIMEOUT, attempt)
        request_id = None
        try:
            async with self._bounded(call.request, limits):
                with closing(await self._open(call.request, limits, stream=False)) as exchange:
                    request_id = exchange.headers.get(REQUEST_ID)
                    response = HttpResponse(exchange.status, exchange.headers, await exchange.read())
            if 200 <= response.status < 300:
                return call.decode(response)
            raise call.error(response)
        except AwsllmError as error:
            error.annotate(request_id=request_id)
            raise

    async def stream(self, call: StreamCall[T], attempt: Attempt = UNLIMITED) -> AsyncIterator[T]:
        """See ``HttpTransport.stream``."""
        limits = Limits(self._connect_timeout, self._read_timeout or STREAM_READ_TIMEOUT, attempt)
        timed = limits.time_events()
        async with self._bounded(call.request, limits):
            exchange = await self._open(call.request, limits, stream=True)
        with closing(exchange):
            head = HttpResponse(exchange.status, exchange.headers)
            try:
                if not 200 <= head.status < 300:
                    async with self._bounded(call.request, limits):
                        body = await exchange.read()
                    raise call.error(HttpResponse(head.status, head.headers, body))
                decoder = call.decoder(head)
                delivered = False
                while piece := await self._next(exchange, call.request, limits, delivered=delivered):
                    for event in decoder.feed(piece):
                        delivered = True
                        yield event
                        if timed:
                            limits.await_event(first=False)
                for event in decoder.close():
                    yield event
            except AwsllmError as error:
                error.annotate(request_id=head.request_id)
                raise

    async def close(self) -> None:
        """Close all connections. The transport may be used again, on new ones."""
        http, self._http, self._loop = self._http, None, None
        if http is not None:
            await http.close()

    async def _open(self, request: HttpRequest, limits: Limits, *, stream: bool) -> _AsyncExchange | _ThreadedResponse:
        """Send, and get the head of the response, from the service or from whoever responds in its place."""
        if self._routes is not None and self._session.is_ready(request.service):
            signed, route = self._prepare(request)
        else:
            keys = await aside(partial(self._get_ready, request.service), key=(id(self), request.service))
            signed, route = self._prepare(request, keys)
        if has_interceptor():
            intercepted = await asyncio.to_thread(
                intercept, signed, request.service, self._session, stream=stream, limits=limits
            )
        else:
            intercepted = intercept(signed, request.service, self._session, stream=stream)
        if intercepted is not None:
            return _ThreadedResponse(intercepted)
        return _AsyncExchange(await self._request(signed, route, limits), signed.origin)

    def _get_ready(self, service: str) -> Credentials | None:
        """What may take long when it is first done: credentials, configuration, and a CA bundle, which takes 30 ms."""
        keys = self._session.get_ready(service)
        self._route(service, split_url(self._session.endpoint(service).url)[0])
        return keys

    def _prepare(self, request: HttpRequest, keys: Credentials | None = None) -> tuple[SignedRequest, Route]:
        signed = sign(request, self._session, keys)
        return signed, self._route(request.service, signed.origin)

    def _route(self, service: str, origin: Origin) -> Route:
        if self._routes is None:
            self._routes = Routes(self._session.config)
        route = self._taken[service] = self._routes.to(origin)
        if origin.scheme == "https":
            route.context()
        return route

    async def _request(self, signed: SignedRequest, route: Route, limits: Limits) -> aiohttp.ClientResponse:
        with self._connections.aborted_on_error():
            return await self._client().request(
                signed.method,
                self._connections.URL(signed.url, encoded=True),  # as it was signed
                headers={
                    **signed.headers,
                    "Accept-Encoding": "identity",
                    **(route.proxy_headers if route.forwarded else {}),
                },
                data=signed.body if len(signed.body) < _LARGE else io.BytesIO(signed.body),
                allow_redirects=False,
                timeout=self._connections.client_timeout(limits.connect, limits.read),
                ssl=route.context() if signed.origin.scheme == "https" else True,
                proxy=str(route.proxy) if route.proxy else None,
                proxy_headers=route.proxy_headers if route.tunnel else None,
            )

    def _client(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        if self._http is None:
            connect = self._connections
            self._http = self._aiohttp.ClientSession(
                connector=connect.Connector(
                    limit=self._max_connections, keepalive_timeout=_KEEP_ALIVE, resolver=connect.Resolver()
                ),
                # A head may be as long as http.client lets it be for the other transport.
                max_line_size=65_536,
                max_field_size=65_536,
                max_headers=100,
                auto_decompress=False,
                # A cookie that one caller was sent must not go out with another's call.
                cookie_jar=self._aiohttp.DummyCookieJar(),
                # What is sent is what was signed, and as boto3 sends it.
                skip_auto_headers=("Accept", "Content-Type"),
            )
            self._loop = loop
        if self._loop is not loop:
            raise ConfigurationError(
                "this async client belongs to another event loop: close it there, or make one client for each loop"
            )
        return self._http

    @asynccontextmanager
    async def _bounded(self, request: HttpRequest, limits: Limits) -> AsyncIterator[None]:
        """Give up when the limits say so; translate what went wrong."""
        try:
            async with asyncio.timeout(limits.left(self._place(request))):
                yield
        except (self._aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            failures.forget_locals(error)  # aiohttp's frames hold headers and body
            # So do errors of its own, which are therefore not kept as the cause.
            cause = None if isinstance(error, self._aiohttp.ClientResponseError) else error
            raise self._translate(error, request, limits) from cause

    def _translate(self, error: Exception, request: HttpRequest, limits: Limits) -> AwsllmError:
        """awsllm's error for aiohttp's. The order matters: the first rows are subclasses of the later ones."""
        aiohttp, place, route = self._aiohttp, self._place(request), self._taken.get(request.service)
        proxy = route.proxy_url if route else None
        if isinstance(error, aiohttp.ClientHttpProxyError):
            return failures.proxy_refused(place, proxy or "", error.status)
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            return failures.tls_failed(place, error.certificate_error)
        if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
            return failures.cannot_connect(place, getattr(error, "os_error", error), proxy)
        if isinstance(error, TimeoutError):  # aiohttp's read timeout, or asyncio's for the deadline
            return limits.timed_out(place)
        if isinstance(error, aiohttp.ClientResponseError):
            return failures.not_http(place)
        if isinstance(error, aiohttp.ClientPayloadError):  # which may quote what was received
            return failures.broken(place, None)
        return failures.broken(place, error)

    async def _next(
        self, exchange: _AsyncExchange | _ThreadedResponse, request: HttpRequest, limits: Limits, *, delivered: bool
    ) -> bytes | None:
        """The next piece of a stream, None at its end."""
        try:
            async with self._bounded(request, limits):
                return await exchange.next()
        except (ModelTimeoutError, ServerError) as error:
            if limits.call_is_over():
                raise
            raise failures.broken_stream(request.service, error, delivered=delivered) from error

    def _place(self, request: HttpRequest) -> str:
        """How errors name the service: by its address, once that is known."""
        route = self._taken.get(request.service)
        return str(route.origin) if route else request.service


class _AsyncExchange:
    """A response whose head has arrived and whose body has not been read: ``pool.Exchange``, awaited."""

    def __init__(self, response: aiohttp.ClientResponse, origin: Origin) -> None:
        self._response = response
        self._origin = origin
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.headers.items()}

    async def read(self) -> bytes:
        """See ``pool.Exchange.read``."""
        length = self.headers.get("content-length", "")
        if length.isdecimal() and int(length) <= MAX_REPLY:
            return await self._response.read()
        pieces: list[bytes] = []
        size = 0
        while piece := await self._response.content.readany():
            size += len(piece)
            if size > MAX_REPLY:
                raise failures.too_large(self._origin)
            pieces.append(piece)
        return b"".join(pieces)

    async def next(self) -> bytes | None:
        return await self._response.content.readany() or None

    def close(self) -> None:
        """Close the connection, unless the body was read to its end."""
        connection = self._response.connection
        if connection is not None and connection.transport is not None:
            connection.transport.abort()
        self._response.close()


class _ThreadedResponse:
    """A response given in the service's place, each piece of it computed in a thread."""

    def __init__(self, response: InterceptedResponse) -> None:
        self._response = response
        self._pieces: Iterator[bytes] = iter(response)
        self.status = response.status
        self.headers = response.headers

    async def read(self) -> bytes:
        return await asyncio.to_thread(self._response.read)

    async def next(self) -> bytes | None:
        return await asyncio.to_thread(next, self._pieces, None)

    def close(self) -> None:
        self._response.close()


def _import_aiohttp() -> Any:
    try:
        import aiohttp
    except ImportError as error:
        raise ConfigurationError("async calls to AWS need aiohttp: pip install 'awsllm[async]'") from error
    return aiohttp
