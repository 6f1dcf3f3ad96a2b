"""The asynchronous transport: ``http.py``, awaited.

Nothing here blocks the event loop. What may read files or ask a credential service (the first call, and a call that
must refresh its keys) is done in a thread, and so is a response that moto computes. Cancelling a call, or closing a
stream, closes its connection at once, whatever was still to be sent. A transport belongs to the event loop that first
uses it, until it is closed. Its connections are ``aio_pool``'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing
from functools import partial
from typing import TypeVar

from awsllm.aws import failures
from awsllm.aws.aio_pool import AsyncExchange, AsyncPool
from awsllm.aws.call import REQUEST_ID, Call, HttpRequest, HttpResponse, StreamCall
from awsllm.aws.errand import aside
from awsllm.aws.failures import Limits
from awsllm.aws.http import STREAM_READ_TIMEOUT, UNARY_READ_TIMEOUT
from awsllm.aws.intercept import InterceptedResponse, has_interceptor, intercept
from awsllm.aws.session import AwsSession, Credentials
from awsllm.aws.signing import Origin, sign, split_url
from awsllm.aws.tls import Route, Routes
from awsllm.backend import UNLIMITED, Attempt
from awsllm.errors import AwsllmError, ConfigurationError, ModelTimeoutError, ServerError

T = TypeVar("T")


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
        self._session = session
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._max_connections = max_connections
        self._pool: AsyncPool | None = None
        self._routes: Routes | None = None

    async def send(self, call: Call[T], attempt: Attempt = UNLIMITED) -> T:
        """See ``HttpTransport.send``."""
        limits = Limits(self._connect_timeout, self._read_timeout or UNARY_READ_TIMEOUT, attempt)
        exchange = await self._open(call.request, limits, stream=False)
        try:
            response = HttpResponse(exchange.status, exchange.headers, await exchange.read())
            if 200 <= response.status < 300:
                return call.decode(response)
            raise call.error(response)
        except AwsllmError as error:
            error.annotate(request_id=exchange.headers.get(REQUEST_ID))
            raise
        finally:
            exchange.close()

    async def stream(self, call: StreamCall[T], attempt: Attempt = UNLIMITED) -> AsyncIterator[T]:
        """See ``HttpTransport.stream``."""
        limits = Limits(self._connect_timeout, self._read_timeout or STREAM_READ_TIMEOUT, attempt)
        timed = limits.time_events()
        with closing(await self._open(call.request, limits, stream=True)) as exchange:
            head = HttpResponse(exchange.status, exchange.headers)
            try:
                if not 200 <= head.status < 300:
                    raise call.error(HttpResponse(head.status, head.headers, await exchange.read()))
                decoder = call.decoder(head)
                delivered = False
                while piece := await _next(exchange, call.request.service, limits, delivered=delivered):
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
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()

    async def _open(self, request: HttpRequest, limits: Limits, *, stream: bool) -> AsyncExchange | _ThreadedResponse:
        """Send, and get the head of the response, from the service or from whoever responds in its place."""
        service, keys = request.service, None
        if self._routes is None or not self._session.is_ready(service):
            get_ready = partial(aside, partial(self._get_ready, service), key=(id(self), service))
            keys = await _bounded(get_ready, limits, service)
        limits.left(service)
        signed = sign(request, self._session, keys)
        route = self._route(signed.origin)
        if has_interceptor():
            ask = partial(asyncio.to_thread, intercept, signed, service, self._session, stream=stream, limits=limits)
            intercepted = await _bounded(ask, limits, route.origin)
        else:
            intercepted = intercept(signed, service, self._session, stream=stream)
        if intercepted is not None:
            return _ThreadedResponse(intercepted, limits, route.origin)
        return await self._own_pool().send(signed, route, limits)

    def _get_ready(self, service: str) -> Credentials | None:
        """What may take long when it is first done: credentials, configuration, and a CA bundle, which takes 30 ms."""
        keys = self._session.get_ready(service)
        self._route(split_url(self._session.endpoint(service).url)[0])
        return keys

    def _route(self, origin: Origin) -> Route:
        if self._routes is None:
            self._routes = Routes(self._session.config)
        route = self._routes.to(origin)
        if origin.scheme == "https":
            route.context()
        return route

    def _own_pool(self) -> AsyncPool:
        loop = asyncio.get_running_loop()
        if self._pool is None:
            self._pool = AsyncPool(loop, self._max_connections)
        if self._pool.loop is not loop:
            raise ConfigurationError(
                "this async client belongs to another event loop: close it there, or make one client for each loop"
            )
        return self._pool


async def _bounded(work: Callable[[], Awaitable[T]], limits: Limits, place: object) -> T:
    """What ``work`` gives, until the limits say to give up."""
    try:
        async with asyncio.timeout(limits.left(place)):
            return await work()
    except TimeoutError as error:
        raise limits.timed_out(place) from error


async def _next(exchange: AsyncExchange | _ThreadedResponse, service: str, limits: Limits, *, delivered: bool) -> bytes:
    """The next piece of a stream, nothing at its end."""
    try:
        return await exchange.next()
    except (ModelTimeoutError, ServerError) as error:
        if limits.call_is_over():
            raise
        raise failures.broken_stream(service, error, delivered=delivered) from error


class _ThreadedResponse:
    """A response given in the service's place, each piece of it computed in a thread."""

    def __init__(self, response: InterceptedResponse, limits: Limits, origin: Origin) -> None:
        self._response = response
        self._limits = limits
        self._origin = origin
        self._pieces: Iterator[bytes] = iter(response)
        self.status = response.status
        self.headers = response.headers

    async def read(self) -> bytes:
        return await _bounded(partial(asyncio.to_thread, self._response.read), self._limits, self._origin)

    async def next(self) -> bytes:
        return await _bounded(partial(asyncio.to_thread, next, self._pieces, b""), self._limits, self._origin)

    def close(self) -> None:
        self._response.close()
