"""Connections for the synchronous transport: HTTP/1.1 over sockets, kept alive and reused.

urllib3 would do, but for two things. Importing it takes a third of the time that a process needs to its first reply.
And its timeouts bound one receive each, so that a server which sends a byte a second holds a caller far beyond a
deadline: here *every* wait of an exchange, in connecting, a proxy's tunnel, the handshake, sending, headers, chunk
sizes and bodies, passes through ``Wire``, which shortens it to what is left; only a name is looked up elsewhere, as
nothing can stop that (``errand``). What is received is read by ``http1``.

No function keeps what is sent in a variable: a traceback would carry it to whoever collects errors.

The pool keeps up to ``max_idle`` idle connections per origin, last in first out, and opens more when they are needed,
as botocore's does. A connection is checked for an end of file before it is used again. A forked child starts with an
empty pool: two processes must never write to one connection. No locks are held, so a fork cannot leave one locked.

A server may close an idle connection in the moment in which a request is sent on it. That request has not been read,
and may be sent again; one whose answer was lost may not, for a generation is paid for (``errors.may_have_run``). The
two are told apart by what is certain alone: the request could not be sent to its end, or the server ended the
connection without a word and before it had the request (``is_unread``, on Linux).
"""

from __future__ import annotations

import os
import select
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from awsllm.aws import failures
from awsllm.aws.failures import MAX_REPLY, Limits, UnreadError
from awsllm.aws.http1 import NotHttpError, ResponseParser
from awsllm.errors import ServerError

if TYPE_CHECKING:
    import ssl

    from awsllm.aws.signing import Origin, SignedRequest
    from awsllm.aws.tls import Route, Routes

_CHUNK = 65536
KEEP_ALIVE = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),  # NAT gateways forget a connection that is silent while a model thinks
)


class Wire:
    """A connected socket, as ``HTTPResponse`` wants one, on which no wait is longer than the limits of the moment."""

    def __init__(self, sock: Any, origin: Origin, limits: Limits) -> None:
        self._socket = sock
        self._origin = origin
        self._timeout: float | None = None  # the socket's, once it has one from here
        self.limits = limits

    def send(self, request: SignedRequest, route: Route) -> None:
        self._arm()
        self._socket.sendall(encode(request, route))

    def open_tunnel(self, route: Route) -> None:
        self._arm()
        self._socket.sendall(encode_connect(route))

    def wrap(self, context: ssl.SSLContext, host: str) -> None:
        """Speak TLS from here on; within TLS, where that is spoken already."""
        import ssl  # 13 ms, and loaded with the first context

        if isinstance(self._socket, ssl.SSLSocket):  # which the ssl module does not do by itself
            from urllib3.util.ssltransport import SSLTransport

            carrier: Any = _Carrier(self, self._socket)
            self._socket = SSLTransport(carrier, context, server_hostname=host)
        else:
            self._arm()
            self._socket = context.wrap_socket(self._socket, server_hostname=host)
        self._timeout = None

    def receive(self) -> bytes:
        """Some bytes; none once the server has closed its side."""
        self._arm()
        received: bytes = self._socket.recv(_CHUNK)
        return received

    def close(self) -> None:
        self._socket.close()

    def abort(self) -> None:
        """End the connection from another thread: whoever waits on it wakes up."""
        sock = self._socket
        with suppress(OSError, TypeError):  # it is closed; or it is TLS within TLS, which ends when it is late
            socket.socket.shutdown(sock, socket.SHUT_RDWR)  # not an SSLSocket's own, which the other thread is within

    def is_unread(self) -> bool:
        """See the function of that name; not of TLS within TLS, which a proxy has taken."""
        return hasattr(self._socket, "getsockopt") and is_unread(self._socket)

    def is_stale(self) -> bool:
        """Whether an idle connection was closed by the server, or holds bytes that no request asked for."""
        return self._has_unread()

    @cached_property
    def _has_unread(self) -> Callable[[], bool]:
        return unread_check(self._socket)

    def _arm(self) -> None:
        patience = self.patience()
        if patience != self._timeout:  # a system call
            self._socket.settimeout(patience)
            self._timeout = patience

    def patience(self) -> float:
        """Seconds that the next wait may take."""
        return self.limits.seconds(self.limits.read, self._origin)


def has_unread(sock: Any) -> bool:
    """Whether a socket was closed by the other side, or holds bytes."""
    return unread_check(sock)()


def unread_check(sock: Any) -> Callable[[], bool]:
    """``has_unread`` of one socket, for those who ask often."""
    if not hasattr(select, "poll"):  # Windows
        return lambda: bool(select.select([sock], [], [], 0)[0])
    poll = select.poll()
    poll.register(sock, select.POLLIN | select.POLLHUP | select.POLLERR)
    return lambda: bool(poll.poll(0))


_TCP_INFO = getattr(socket, "TCP_INFO", None)  # Linux has it
_BYTES_ACKED, _BYTES_SENT, _BYTES_RETRANSMITTED = 120, 200, 208  # where struct tcp_info has them (linux/tcp.h)
_LEAST_REQUEST = 64  # bytes; a signed request's head alone has hundreds


def is_unread(sock: Any) -> bool:
    """Whether the other side, which has ended a connection in good order, had not received all that was sent.

    Its end (FIN) tells what it had. A request that was not there by then has met a connection that was closed already.
    A reset tells nothing: what had come may have been read. False wherever it cannot be known."""
    if _TCP_INFO is None:
        return False
    try:
        known = sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 216)
    except OSError:
        return False
    if len(known) < 216:  # a kernel before 4.19
        return False
    acked, sent, again = (
        int.from_bytes(known[at : at + 8], sys.byteorder) for at in (_BYTES_ACKED, _BYTES_SENT, _BYTES_RETRANSMITTED)
    )
    return sent - again - acked >= _LEAST_REQUEST


class _Carrier:
    """The TLS that carries TLS, as ``SSLTransport`` wants a socket: one record may come in many pieces, and each of
    them is waited for as long as the wire's limits say."""

    def __init__(self, wire: Wire, sock: ssl.SSLSocket) -> None:
        self._wire = wire
        self._socket = sock

    def recv(self, size: int) -> bytes:
        self._socket.settimeout(self._wire.patience())
        return self._socket.recv(size)

    def sendall(self, data: bytes) -> None:
        self._socket.settimeout(self._wire.patience())
        self._socket.sendall(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


class Pool:
    """Connections to any number of origins. Safe to share between threads and across fork."""

    def __init__(self, routes: Routes, *, max_idle: int) -> None:
        self._routes = routes
        self._max_idle = max_idle
        self._idle: dict[Origin, deque[Wire]] = {}
        self._pid = os.getpid()

    def send(self, request: SignedRequest, limits: Limits) -> Exchange:
        """Send ``request`` and read the head of the response. The caller closes the exchange.

        Raises ConnectError where nothing could be sent, ModelTimeoutError, and ServerError for a connection that broke.
        """
        route = self._routes.to(request.origin)
        wire = self._take(request.origin) or connect(route, limits)
        wire.limits = limits
        if limits.attempt.stop is not None:
            limits.attempt.stop.watch(wire.abort)
        try:
            parser, piece = _converse(wire, request, route)
        except TimeoutError as error:
            wire.close()
            raise limits.timed_out(request.origin) from error
        except (OSError, NotHttpError) as error:
            wire.close()
            raise broken(request.origin, error) from error
        except BaseException:
            wire.close()
            raise
        return Exchange(self, wire, request.origin, parser, piece)

    def give_back(self, origin: Origin, wire: Wire) -> None:
        idle = self._idle.setdefault(origin, deque())
        # In a forked child an exchange of the parent may end; its connection is still the parent's.
        if os.getpid() == self._pid and len(idle) < self._max_idle:
            idle.append(wire)
        else:
            wire.close()

    def close(self) -> None:
        """Close the idle connections. Those in use come back to the pool as ever."""
        for origin in list(self._idle):
            while wire := self._pop(origin):
                wire.close()

    def _take(self, origin: Origin) -> Wire | None:
        if os.getpid() != self._pid:  # forked: the connections are the parent's, which closing them here leaves open
            self.close()
            self._pid = os.getpid()
        while wire := self._pop(origin):
            if not wire.is_stale():
                return wire
            wire.close()
        return None

    def _pop(self, origin: Origin) -> Wire | None:
        try:
            return self._idle[origin].pop()
        except LookupError:  # there is none, or another thread was faster
            return None


class Exchange:
    """A response whose head has arrived and whose body has not been read."""

    def __init__(self, pool: Pool, wire: Wire, origin: Origin, parser: ResponseParser, piece: bytes) -> None:
        """``piece`` is what came of the body together with the head."""
        self._pool = pool
        self._wire: Wire | None = wire
        self._origin = origin
        self._parser = parser
        self._piece = piece
        self.status = parser.status
        self.headers = parser.headers

    def read(self) -> bytes:
        """The whole body. Raises ModelTimeoutError, and ServerError where it is shorter than announced or has no end
        in sight."""
        pieces: list[bytes] = []
        size = 0
        for piece in self:
            size += len(piece)
            if size > MAX_REPLY:
                raise failures.too_large(self._origin)
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def __iter__(self) -> Iterator[bytes]:
        """The body in pieces as they arrive; the connection is kept if the body ends where it should."""
        wire, parser = self._wire, self._parser
        if wire is None:
            return
        limits = wire.limits
        piece, self._piece = self._piece, b""
        try:
            while not parser.ended:
                if piece:
                    yield piece
                piece = _receive(wire, parser)
            self._finish(wire)
            if piece:
                yield piece
        except TimeoutError as error:
            raise limits.timed_out(self._origin) from error
        except (OSError, NotHttpError) as error:
            raise broken(self._origin, error) from error
        finally:
            self.close()

    def _finish(self, wire: Wire) -> None:
        if self._parser.reusable:
            self._wire = None
            self._pool.give_back(self._origin, wire)

    def close(self) -> None:
        """End the exchange; a connection whose body was not read to its end is closed."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()


def connect(route: Route, limits: Limits) -> Wire:
    """A new connection to the route's origin, through its proxy if it has one. Raises ConnectError or
    ModelTimeoutError."""
    patience = Limits(limits.connect, limits.connect, limits.attempt)
    patience.until = limits.until
    try:
        wire = Wire(_dial(route.first_hop, patience), route.origin, patience)
        try:
            _secure(wire, route)
        except BaseException:
            wire.close()
            raise
        return wire
    except (OSError, NotHttpError) as error:
        if isinstance(error, TimeoutError):
            limits.left(route.origin)  # raises, if it was the deadline that cut the wait short
        raise failures.cannot_connect(route.origin, error, route.proxy_url) from error


def _end_wait(sock: socket.socket) -> None:
    """Whoever connects it in another thread wakes up."""
    with suppress(OSError):  # nobody does any more, or the system does not know how
        sock.shutdown(socket.SHUT_RDWR)


def _dial(place: Origin, limits: Limits) -> socket.socket:
    """Try each address of ``place``; the connect timeout is for each, the deadline for all."""
    last: OSError = OSError("the name has no address")
    for family, kind, protocol, _, address in _addresses(place, limits):
        sock = socket.socket(family, kind, protocol)
        try:
            for option in KEEP_ALIVE:
                sock.setsockopt(*option)
            sock.settimeout(limits.seconds(limits.connect, place))
            if limits.attempt.stop is not None:
                limits.attempt.stop.watch(partial(_end_wait, sock))
            sock.connect(address)
            return sock
        except OSError as error:
            sock.close()
            last = error
            if limits.attempt.stop is not None and limits.attempt.stop.called:
                break
        except BaseException:
            sock.close()
            raise
    raise last


def _addresses(place: Origin, limits: Limits) -> list[Any]:
    """What ``getaddrinfo`` gives, which takes no timeout: where there is a deadline, a thread waits for it, unless the
    name is an address, for which nobody is asked."""
    look_up = partial(socket.getaddrinfo, place.host, place.port, type=socket.SOCK_STREAM)
    left = limits.left(place)
    if left is None or is_address(place.host):
        return look_up()
    from awsllm.aws.errand import within  # most calls have no deadline

    return within(look_up, left, key=("name", place.host, place.port))


def is_address(host: str) -> bool:
    """Whether ``host`` is an IP address; a name has a letter in its last label, and no colon."""
    return ":" in host or host.rpartition(".")[2].isdigit()


def _secure(wire: Wire, route: Route) -> None:
    """Speak TLS to the proxy, ask it for a tunnel and speak TLS through that, as far as the route wants it."""
    if route.proxy is not None and route.proxy.scheme == "https":
        wire.wrap(route.proxy_context(), route.proxy.host)
    if route.tunnel:
        wire.open_tunnel(route)
        status = _read_head(wire, "CONNECT")[0].status
        if status != 200:
            raise failures.proxy_refused(route.origin, route.proxy_url or "", status)
    if route.origin.scheme == "https" and not route.forwarded:
        wire.wrap(route.context(), route.origin.host)


def encode_connect(route: Route) -> bytes:
    authority = f"{route.origin.authority.removesuffix(f':{route.origin.port}')}:{route.origin.port}"
    lines = [
        f"CONNECT {authority} HTTP/1.1",
        f"Host: {authority}",
        *(f"{k}: {v}" for k, v in route.proxy_headers.items()),
    ]
    return "\r\n".join((*lines, "", "")).encode("latin-1")


def _converse(wire: Wire, request: SignedRequest, route: Route) -> tuple[ResponseParser, bytes]:
    """Send, and read the head of the response; with it, what has come of the body."""
    refused: OSError | None = None
    try:
        wire.send(request, route)
    except (BrokenPipeError, ConnectionResetError) as error:
        refused = error  # a server that refuses a large body may have sent the reason before it closed
    try:
        return _read_head(wire, request.method)
    except (OSError, NotHttpError) as error:
        if refused is not None:  # the end of the request is here still
            raise UnreadError(failures.describe(refused)) from error
        raise


def _read_head(wire: Wire, method: str) -> tuple[ResponseParser, bytes]:
    parser = ResponseParser(method)
    piece = b""
    while not parser.status:
        piece = _receive(wire, parser)
    return parser, piece


def _receive(wire: Wire, parser: ResponseParser) -> bytes:
    """What comes next of the body, possibly nothing yet."""
    received = wire.receive()
    if received:
        return parser.feed(received)
    if not parser.finish():
        if not parser.begun and wire.is_unread():
            raise UnreadError("it was closed already")
        raise ConnectionResetError("the connection ended before the response")
    return b""


def broken(origin: Origin, error: OSError | NotHttpError) -> ServerError:
    """``error`` came once something was sent."""
    if isinstance(error, OSError):
        return failures.broken(origin, error)
    failures.forget_locals(error)  # in them stands what was received
    return failures.not_http(origin)


def encode(request: SignedRequest, route: Route) -> bytes:
    """The bytes of a request, head and body in one piece, so that they leave in one packet where they fit."""
    target = request.url if route.forwarded else request.target
    # identity: pieces of a stream are handed to decoders as they are, nothing here decompresses
    lines = [f"{request.method} {target} HTTP/1.1", "Accept-Encoding: identity", f"Content-Length: {len(request.body)}"]
    headers = {**request.headers, **route.proxy_headers} if route.forwarded else request.headers
    lines += [f"{name}: {value}" for name, value in headers.items() if name.lower() != "content-length"]
    return "\r\n".join((*lines, "", "")).encode("latin-1") + request.body
