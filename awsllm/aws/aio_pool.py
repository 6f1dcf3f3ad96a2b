"""Connections for the asynchronous transport: ``pool``, awaited. Both read responses by ``http1``, and what holds there
of waits, limits and connections that are used again holds here.

An ``AsyncConnection`` is asyncio's protocol of one connection. What is received is parsed as it comes, and whoever has
the connection waits for the next change: a head, a piece of a body, an end. It has one timer, which is not set anew for
each wait: when it rings, it looks whether what it was set for still holds. aiohttp's client, which was used here, took
2.4 times the CPU for a call with 256 in flight (0.22 ms and 0.09; ``python -m benchmarks``), and 100 ms to import.

Names are looked up where neither a deadline nor the end of the loop waits for them (``errand``), and a connection whose
call failed is cut, not closed once all that it was given is sent.
"""

from __future__ import annotations

import asyncio
import io
import socket
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from awsllm.aws import failures
from awsllm.aws.errand import aside
from awsllm.aws.failures import MAX_REPLY, Limits, UnreadError
from awsllm.aws.http1 import NotHttpError, ResponseParser
from awsllm.aws.pool import KEEP_ALIVE, broken, encode, encode_connect, is_address, is_unread, unread_check

if TYPE_CHECKING:
    import ssl

    from awsllm.aws.signing import Origin, SignedRequest
    from awsllm.aws.tls import Route

_CHUNK = 65536
_IDLE = 60.0  # seconds an unused connection is kept
_LARGE = 1 << 19  # bytes; a body from here on is sent in pieces of this size, so that others get their turn
_ENOUGH = 1 << 18  # bytes of a body that nobody has taken yet, from which on no more is read


class AsyncConnection(asyncio.BufferedProtocol):
    """One connection and the exchange on it. For one task at a time. ``buffer`` is where bytes are received; the
    connections of a loop may share one, as each is done with it before another's turn comes. (A plain ``Protocol`` is
    given new memory of 256 KiB each time, which takes a tenth of a call.)"""

    def __init__(self, loop: asyncio.AbstractEventLoop, buffer: memoryview) -> None:
        self._loop = loop
        self._buffer = buffer
        self._transport: asyncio.Transport
        self._first: asyncio.Transport | None = None  # what TLS is spoken over, where it is spoken
        self._parser: ResponseParser | None = None
        self._pieces: list[bytes] = []  # of the body, not yet taken
        self._size = 0
        self._error: Exception | None = None
        self._full = False  # the transport holds as much as it should of what is sent
        self._paused = False  # nothing is received
        self._waiter: asyncio.Future[None] | None = None
        self._until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._has_unread: Callable[[], bool] | None = None
        self.is_open = False
        self.idle_since = 0.0

    # --- for whoever has the connection ------------------------------------------------------------------------------

    async def ask(self, request: SignedRequest, route: Route, limits: Limits) -> ResponseParser:
        """Send a request and wait for the head of its response. Raises TimeoutError, OSError or ``NotHttpError``, and
        what ``Limits`` raises."""
        parser = self._begin(request.method)
        limits.left(route.origin)
        if len(request.body) < _LARGE:
            self._transport.write(encode(request, route))
            if self._transport.is_closing():  # it was reset while it was idle, and nothing could be sent
                raise UnreadError("it was closed already")
        else:
            await self._send_large(io.BytesIO(encode(request, route)), route, limits)
        await self._head(parser, route, limits)
        return parser

    async def open_tunnel(self, route: Route, limits: Limits) -> int:
        """The status of what the proxy answers."""
        parser = self._begin("CONNECT")
        self._transport.write(encode_connect(route))
        await self._head(parser, route, limits)
        return parser.status

    async def next(self, limits: Limits, origin: Origin) -> bytes:
        """What has come of the body since; nothing at its end."""
        while not self._pieces:
            if self._is_whole():
                return b""
            await self._wait(limits.seconds(limits.read, origin))
        return self.take()

    def take(self) -> bytes:
        """What has come of the body and was not taken."""
        pieces, self._pieces, self._size = self._pieces, [], 0
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def start_tls(self, context: ssl.SSLContext, host: str, seconds: float) -> None:
        """Speak TLS from here on; within TLS, where that is spoken already."""
        before = self._transport
        self._first = self._first or before
        async with asyncio.timeout(seconds):
            secured: Any = await self._loop.start_tls(
                before, self, context, server_hostname=host, ssl_handshake_timeout=seconds + 1
            )
        if secured is None:  # it was lost as soon as it was there
            raise ConnectionResetError("the connection ended in the handshake")
        self._transport = secured

    def is_stale(self) -> bool:
        """See ``pool.Wire``. What came is in the socket still, where the loop has not run since."""
        if not self.is_open or self._parser is None or not self._parser.reusable:
            return True
        if self._has_unread is None:
            self._has_unread = unread_check(self._transport.get_extra_info("socket"))
        return self._has_unread()

    def abort(self) -> None:
        """Close the connection at once, whatever was still to be sent."""
        self.is_open = False
        self._error = self._error or ConnectionAbortedError("the connection was closed here")
        if self._loop.is_closed():  # nothing is done there any more; the socket closes when nobody has it
            return
        self._transport.abort()
        if self._first is not None:
            self._first.abort()

    # --- within an exchange ------------------------------------------------------------------------------------------

    def _begin(self, method: str) -> ResponseParser:
        self._parser = ResponseParser(method)
        self._pieces, self._size = [], 0
        return self._parser

    async def _send_large(self, outgoing: io.BytesIO, route: Route, limits: Limits) -> None:
        """In pieces, until a response comes: a server that refuses a large body may say so before it has it all."""
        parser = cast("ResponseParser", self._parser)
        for _ in range(0, outgoing.getbuffer().nbytes, _LARGE):
            if self._is_settled(parser):
                parser.reusable = False
                return
            self._transport.write(outgoing.read(_LARGE))
            while self._full and not self._is_settled(parser):
                await self._wait(limits.seconds(limits.read, route.origin))
            await asyncio.sleep(0)

    def _is_settled(self, parser: ResponseParser) -> bool:
        """Whether nothing of what is still to be sent can matter."""
        return parser.status > 0 or self._error is not None

    async def _head(self, parser: ResponseParser, route: Route, limits: Limits) -> None:
        while not parser.status:
            if self._error is not None:
                raise self._error
            await self._wait(limits.seconds(limits.read, route.origin))

    def _is_whole(self) -> bool:
        """Whether the body is; raises what went wrong."""
        if cast("ResponseParser", self._parser).ended:
            return True
        if self._error is not None:
            raise self._error
        return False

    async def _wait(self, seconds: float) -> None:
        """Until something has changed. Raises TimeoutError."""
        loop, waiter = self._loop, self._loop.create_future()
        self._until = until = loop.time() + seconds
        if self._timer is None or self._timer.when() > until:
            self._stop_timer()
            self._timer = loop.call_at(until, self._on_timer)
        self._waiter = waiter
        try:
            await waiter
        finally:
            self._waiter = None

    def _on_timer(self) -> None:
        self._timer = None
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        if self._loop.time() >= self._until:
            waiter.set_exception(TimeoutError())
        else:  # for a wait that began since
            self._timer = self._loop.call_at(self._until, self._on_timer)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, error: Exception) -> None:
        """``error`` without the frames that it has passed: what is sent and received stands in them."""
        failures.forget_locals(error)
        if self._error is None:
            self._error = error.with_traceback(None)

    # --- what asyncio calls ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        parser = self._parser
        if parser is None:  # before anything was asked
            self.abort()
            return
        try:
            piece = parser.feed(bytes(self._buffer[:nbytes]))
        except NotHttpError as error:
            self._fail(error)
            self.abort()
        else:
            if piece:
                self._pieces.append(piece)
                self._size += len(piece)
                if self._size > _ENOUGH and not parser.ended:
                    self._paused = True
                    self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        if self._error is None and self._parser is not None and not self._parser.finish():
            unread = not self._parser.begun and is_unread(self._transport.get_extra_info("socket"))
            self._fail(
                UnreadError("it was closed already")
                if unread
                else ConnectionResetError("the connection ended before the response")
            )
        self.is_open = False
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        self._stop_timer()
        if error is None:
            self.eof_received()
            return
        self.is_open = False  # and a body that should end so has not
        if not isinstance(error, OSError):  # TLS within TLS that fails is a TypeError of asyncio's own (Python 3.11)
            error = ConnectionResetError(f"the connection broke: {type(error).__name__}")
        self._fail(error)
        self._wake()

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._wake()


class AsyncPool:
    """Connections to any number of origins, for one event loop: no more than ``most`` are open at once."""

    def __init__(self, loop: asyncio.AbstractEventLoop, most: int) -> None:
        self.loop = loop
        self.buffer = memoryview(bytearray(_CHUNK))
        self._most = most
        self._free = most  # how many more may be in use
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._idle: dict[Origin, list[AsyncConnection]] = {}
        self._used: set[AsyncConnection] = set()
        self._sweeper: asyncio.TimerHandle | None = None

    async def send(self, request: SignedRequest, route: Route, limits: Limits) -> AsyncExchange:
        """See ``pool.Pool.send``."""
        if self._free:
            self._free -= 1
        else:
            await self._enter(limits, route.origin)
        try:
            connection = self._take(route.origin) or await connect(self, route, limits)
            self._used.add(connection)
            try:
                parser = await connection.ask(request, route, limits)
            except BaseException:
                self._used.discard(connection)
                connection.abort()
                raise
        except TimeoutError as error:
            self._leave()
            raise limits.timed_out(route.origin) from error
        except (OSError, NotHttpError) as error:
            self._leave()
            raise broken(route.origin, error) from error
        except BaseException:
            self._leave()
            raise
        return AsyncExchange(self, connection, parser, route.origin, limits)

    async def close(self) -> None:
        """Close the connections, those in use too."""
        if self.loop.is_closed():  # and they with it
            return
        for connection in (*self._used, *(one for idle in self._idle.values() for one in idle)):
            connection.abort()
        self._idle.clear()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        await asyncio.sleep(0)  # a transport closes its socket in the loop's next turn

    def give_back(self, origin: Origin, connection: AsyncConnection) -> None:
        """The exchange on the connection has ended as it should."""
        self._leave()
        self._used.discard(connection)
        connection.idle_since = self.loop.time()
        self._idle.setdefault(origin, []).append(connection)
        if self._sweeper is None:
            self._sweeper = self.loop.call_later(_IDLE, self._sweep)

    def drop(self, connection: AsyncConnection) -> None:
        self._used.discard(connection)
        connection.abort()
        self._leave()

    def _take(self, origin: Origin) -> AsyncConnection | None:
        """An idle connection to ``origin``; where there is none, room for a new one."""
        idle = self._idle.get(origin, ())
        while idle:
            connection = idle.pop()
            if not connection.is_stale():
                return connection
            connection.abort()
        for others in self._idle.values():
            if others and self._most - self._free + sum(map(len, self._idle.values())) > self._most:
                others.pop(0).abort()
        return None

    async def _enter(self, limits: Limits, origin: Origin) -> None:
        """Wait until one more connection may be in use."""
        turn = self.loop.create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(limits.left(origin)):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():  # it came, and is not wanted any more
                self._leave()
            if isinstance(error, TimeoutError):
                raise limits.timed_out(origin) from error
            raise

    def _leave(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _sweep(self) -> None:
        """Close what has not been used for long."""
        self._sweeper, now = None, self.loop.time()
        for connections in self._idle.values():  # the longest unused come first
            while connections and now - connections[0].idle_since >= _IDLE:
                connections.pop(0).abort()
        if any(self._idle.values()):
            self._sweeper = self.loop.call_later(_IDLE / 2, self._sweep)


class AsyncExchange:
    """A response whose head has arrived and whose body has not been read: ``pool.Exchange``, awaited."""

    def __init__(
        self, pool: AsyncPool, connection: AsyncConnection, parser: ResponseParser, origin: Origin, limits: Limits
    ) -> None:
        self._pool = pool
        self._connection: AsyncConnection | None = connection
        self._parser = parser
        self._origin = origin
        self._limits = limits
        self.status = parser.status
        self.headers = parser.headers

    async def read(self) -> bytes:
        """See ``pool.Exchange.read``."""
        connection = self._connection
        if connection is not None and self._parser.ended:  # most come in one piece with their head
            body = connection.take()
            self._finish(connection)
            return body
        pieces: list[bytes] = []
        size = 0
        while piece := await self.next():
            size += len(piece)
            if size > MAX_REPLY:
                raise failures.too_large(self._origin)
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def next(self) -> bytes:
        """The next piece of the body, nothing at its end."""
        connection = self._connection
        if connection is None:
            return b""
        try:
            piece = await connection.next(self._limits, self._origin)
        except TimeoutError as error:
            raise self._limits.timed_out(self._origin) from error
        except (OSError, NotHttpError) as error:
            raise broken(self._origin, error) from error
        if self._parser.ended:
            self._finish(connection)
        return piece

    def _finish(self, connection: AsyncConnection) -> None:
        if connection.is_open and self._parser.reusable:
            self._connection = None
            self._pool.give_back(self._origin, connection)

    def close(self) -> None:
        """Close the connection, unless the body was read to its end."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.drop(connection)


# --- connecting ------------------------------------------------------------------------------------------------------


async def connect(pool: AsyncPool, route: Route, limits: Limits) -> AsyncConnection:
    """See ``pool.connect``."""
    patience = Limits(limits.connect, limits.connect, limits.attempt)
    patience.until = limits.until
    try:
        connection = await _dial(pool, route.first_hop, patience)
        try:
            await _secure(connection, route, patience)
        except BaseException:
            connection.abort()
            raise
        return connection
    except (OSError, NotHttpError) as error:
        if isinstance(error, TimeoutError):
            limits.left(route.origin)  # raises, if it was the deadline that cut the wait short
        raise failures.cannot_connect(route.origin, error, route.proxy_url) from error


async def _dial(pool: AsyncPool, place: Origin, limits: Limits) -> AsyncConnection:
    """Try each address of ``place``; the connect timeout is for each, the deadline for all."""
    last: OSError = OSError("the name has no address")
    for family, kind, protocol, _, address in await _addresses(place, limits):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            for option in KEEP_ALIVE:
                sock.setsockopt(*option)
            async with asyncio.timeout(limits.seconds(limits.connect, place)):
                await pool.loop.sock_connect(sock, address)
            make = partial(AsyncConnection, pool.loop, pool.buffer)
            return (await pool.loop.create_connection(make, sock=sock))[1]
        except OSError as error:
            sock.close()
            last = error
        except BaseException:
            sock.close()
            raise
    raise last


async def _addresses(place: Origin, limits: Limits) -> list[Any]:
    """What ``getaddrinfo`` gives, on a thread of its own, unless the name is an address, for which nobody is asked."""
    look_up = partial(socket.getaddrinfo, place.host, place.port, type=socket.SOCK_STREAM)
    if is_address(place.host):
        return look_up()
    async with asyncio.timeout(limits.left(place)):
        return await aside(look_up, key=("name", place.host, place.port))


async def _secure(connection: AsyncConnection, route: Route, limits: Limits) -> None:
    """See ``pool``: TLS to the proxy, a tunnel and TLS through that, as far as the route wants it."""
    if route.proxy is not None and route.proxy.scheme == "https":
        await connection.start_tls(route.proxy_context(), route.proxy.host, limits.seconds(limits.read, route.origin))
    if route.tunnel:
        status = await connection.open_tunnel(route, limits)
        if status != 200:
            raise failures.proxy_refused(route.origin, route.proxy_url or "", status)
    if route.origin.scheme == "https" and not route.forwarded:
        await connection.start_tls(route.context(), route.origin.host, limits.seconds(limits.read, route.origin))
