"""Connections for the synchronous transport: HTTP/1.1 over sockets, kept alive and reused.

urllib3 would do, but for two things. Importing it takes a third of the time that a process needs to its first reply.
And its timeouts bound one receive each, so that a server which sends a byte a second holds a caller far beyond a
deadline: here *every* wait of an exchange, in connecting, the handshake, sending, headers, chunk sizes and bodies,
passes through ``Wire``, which shortens it to what is left. Parsing is ``http.client.HTTPResponse``'s.

The pool keeps up to ``max_idle`` idle connections per origin, last in first out, and opens more when they are needed,
as botocore's does. A connection is checked for an end of file before it is used again. A forked child starts with an
empty pool: two processes must never write to one connection. No locks are held, so a fork cannot leave one locked.
"""

from __future__ import annotations

import io
import os
import select
import socket
import ssl
from collections import deque
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse, RemoteDisconnected
from typing import TYPE_CHECKING, Any

from awsllm.aws import failures
from awsllm.aws.failures import Limits

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from awsllm.aws.signing import Origin, SignedRequest
    from awsllm.aws.tls import Route, Routes

_CHUNK = 65536
_KEEP_ALIVE = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),  # NAT gateways forget a connection that is silent while a model thinks
)


class Wire:
    """A connected socket, as ``HTTPResponse`` wants one, on which no wait is longer than the limits of the moment."""

    def __init__(self, sock: Any, origin: Origin, limits: Limits) -> None:
        self._socket = sock
        self._origin = origin
        self.limits = limits
        self.ended = False  # the server has closed its side

    def send(self, data: bytes) -> None:
        self._arm()
        self._socket.sendall(data)

    def receive_into(self, buffer: WriteableBuffer) -> int:
        self._arm()
        received = int(self._socket.recv_into(buffer))
        self.ended = not received
        return received

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_WireReader(self), _CHUNK)

    def close(self) -> None:
        self._socket.close()

    def is_stale(self) -> bool:
        """Whether an idle connection was closed by the server, or holds bytes that no request asked for."""
        if not hasattr(select, "poll"):  # Windows
            return bool(select.select([self._socket], [], [], 0)[0])
        poll = select.poll()
        poll.register(self._socket, select.POLLIN | select.POLLHUP | select.POLLERR)
        return bool(poll.poll(0))

    def _arm(self) -> None:
        self._socket.settimeout(self.limits.seconds(self.limits.read, self._origin))


class _WireReader(io.RawIOBase):
    """Reads from a wire; closing it leaves the wire open, for the next exchange."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        return self._wire.receive_into(buffer)


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
        try:
            response = _converse(wire, encode(request, route), request.method)
        except TimeoutError as error:
            wire.close()
            raise limits.timed_out(request.origin) from error
        except (OSError, HTTPException) as error:
            wire.close()
            raise failures.broken(request.origin, error) from error
        except BaseException:
            wire.close()
            raise
        return Exchange(self, wire, request.origin, response)

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

    def __init__(self, pool: Pool, wire: Wire, origin: Origin, response: HTTPResponse) -> None:
        self._pool = pool
        self._wire: Wire | None = wire
        self._origin = origin
        self._response = response
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}

    def read(self) -> bytes:
        """The whole body. Raises ModelTimeoutError, and ServerError where it is shorter than announced."""
        return b"".join(self)

    def __iter__(self) -> Iterator[bytes]:
        """The body in pieces as they arrive; the connection is kept if the body ends where it should."""
        wire = self._wire
        if wire is None:
            return
        limits = wire.limits
        try:
            while piece := self._response.read1(_CHUNK):
                yield piece
            if self._response.length:
                raise failures.broken(self._origin, None)
            self._finish(wire)
        except TimeoutError as error:
            raise limits.timed_out(self._origin) from error
        except (OSError, HTTPException) as error:
            raise failures.broken(self._origin, error) from error
        finally:
            self.close()

    def _finish(self, wire: Wire) -> None:
        if not self._response.will_close:
            self._wire = None
            self._response.close()
            self._pool.give_back(self._origin, wire)

    def close(self) -> None:
        """End the exchange; a connection whose body was not read to its end is closed."""
        wire, self._wire = self._wire, None
        if wire is not None:
            self._response.close()
            wire.close()


def connect(route: Route, limits: Limits) -> Wire:
    """A new connection to the route's origin, through its proxy if it has one. Raises ConnectError or
    ModelTimeoutError."""
    try:
        return Wire(_secure(route, _dial(route.first_hop, limits), limits), route.origin, limits)
    except (OSError, HTTPException) as error:
        if isinstance(error, TimeoutError):
            limits.left(route.origin)  # raises, if it was the deadline that cut the wait short
        raise failures.cannot_connect(route.origin, error, route.proxy_url) from error


def _dial(place: Origin, limits: Limits) -> socket.socket:
    """Try each address of ``place``; the connect timeout is for each, the deadline for all."""
    last: OSError = OSError("the name has no address")
    # getaddrinfo takes no timeout: in it the limits of the system's resolver apply, not the call's
    for family, kind, protocol, _, address in socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind, protocol)
        try:
            for option in _KEEP_ALIVE:
                sock.setsockopt(*option)
            sock.settimeout(limits.seconds(limits.connect, place))
            sock.connect(address)
            return sock
        except OSError as error:
            sock.close()
            last = error
        except BaseException:
            sock.close()
            raise
    raise last


def _secure(route: Route, sock: Any, limits: Limits) -> Any:
    """Speak TLS to the proxy, ask it for a tunnel and speak TLS through that, as far as the route wants it."""
    try:
        sock.settimeout(limits.seconds(limits.connect, route.origin))
        if route.proxy is not None and route.proxy.scheme == "https":
            sock = route.proxy_context().wrap_socket(sock, server_hostname=route.proxy.host)
        if route.tunnel:
            _open_tunnel(route, sock)
        if route.origin.scheme == "https" and not route.forwarded:
            sock = _wrap(sock, route.context(), route.origin.host)
        return sock
    except BaseException:
        sock.close()
        raise


def _wrap(sock: Any, context: ssl.SSLContext, host: str) -> Any:
    if isinstance(sock, ssl.SSLSocket):  # TLS inside TLS, which the ssl module does not do by itself
        from urllib3.util.ssltransport import SSLTransport

        return SSLTransport(sock, context, server_hostname=host)
    return context.wrap_socket(sock, server_hostname=host)


def _open_tunnel(route: Route, sock: Any) -> None:
    authority = f"{route.origin.authority.removesuffix(f':{route.origin.port}')}:{route.origin.port}"
    lines = [
        f"CONNECT {authority} HTTP/1.1",
        f"Host: {authority}",
        *(f"{k}: {v}" for k, v in route.proxy_headers.items()),
    ]
    sock.sendall("\r\n".join((*lines, "", "")).encode("latin-1"))
    response = HTTPResponse(sock, method="CONNECT")
    try:
        response.begin()
    finally:
        response.close()
    if response.status != 200:
        raise failures.proxy_refused(route.origin, route.proxy_url or "", response.status)


def _converse(wire: Wire, data: bytes, method: str) -> HTTPResponse:
    """Send, and read the head of the response."""
    refused: OSError | None = None
    try:
        wire.send(data)
    except (BrokenPipeError, ConnectionResetError) as error:
        refused = error  # a server that refuses a large body may have sent the reason before it closed
    response = HTTPResponse(wire, method=method)  # type: ignore[arg-type]  # a Wire has the one method that is called
    try:
        response.begin()
        if wire.ended:  # within the head, which HTTPResponse takes for its end
            raise RemoteDisconnected("the connection ended in the headers")
    except (OSError, HTTPException) as error:
        response.close()
        if refused is not None:
            raise refused from error
        raise
    return response


def encode(request: SignedRequest, route: Route) -> bytes:
    """The bytes of a request, head and body in one piece, so that they leave in one packet where they fit."""
    target = request.url if route.forwarded else request.target
    # identity: pieces of a stream are handed to decoders as they are, nothing here decompresses
    lines = [f"{request.method} {target} HTTP/1.1", "Accept-Encoding: identity", f"Content-Length: {len(request.body)}"]
    headers = {**request.headers, **route.proxy_headers} if route.forwarded else request.headers
    lines += [f"{name}: {value}" for name, value in headers.items() if name.lower() != "content-length"]
    return "\r\n".join((*lines, "", "")).encode("latin-1") + request.body
