"""aiohttp's connections, where they do not do as ``pool`` does.

Three things: a connection that holds bytes which no request asked for is not used again, as aiohttp would read them as
the answer to the next request, which may be somebody else's; names are looked up where neither a deadline nor the end
of the loop waits for them; and a connection whose call failed is cut, not closed once all that it was given is sent.
"""

from __future__ import annotations

import asyncio
import socket
from contextvars import ContextVar
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from aiohttp import ClientTimeout, TCPConnector
from aiohttp.abc import AbstractResolver
from yarl import URL as URL  # for ``aio``

from awsllm.aws.errand import aside
from awsllm.aws.pool import has_unread

if TYPE_CHECKING:
    from aiohttp.abc import ResolveResult
    from aiohttp.connector import Connection

_taken: ContextVar[list[asyncio.Transport] | None] = ContextVar("awsllm_connections", default=None)


class Connector(TCPConnector):
    """Connections that are used again only if nothing is left over in them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._used: WeakSet[Any] = WeakSet()  # the protocols of connections that have been handed out

    async def connect(self, *arguments: Any, **options: Any) -> Connection:
        while True:
            connection = await super().connect(*arguments, **options)
            if connection.protocol not in self._used:
                self._used.add(connection.protocol)
                break
            if not _has_leftovers(connection):
                break
            connection.close()
        taken = _taken.get()
        if taken is not None and connection.transport is not None:
            taken.append(connection.transport)
        return connection


def _has_leftovers(connection: Connection) -> bool:
    """Whether bytes came that no request has asked for: read already (then aiohttp itself would close the connection,
    had they come a moment earlier), or still in the socket."""
    if connection.protocol is None or connection.transport is None:
        return True
    return connection.protocol.should_close or has_unread(connection.transport.get_extra_info("socket"))


class aborted_on_error:  # noqa: N801  # read as the statement that it makes: ``with aborted_on_error()``
    """Where the block fails or is cancelled, the connections that it was given are cut. A class, for every call enters
    one and a generator costs three times as much."""

    __slots__ = ("_taken", "_token")

    def __enter__(self) -> None:
        self._taken: list[asyncio.Transport] = []
        self._token = _taken.set(self._taken)

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        _taken.reset(self._token)
        if error is not None:
            for transport in self._taken:
                transport.abort()


@lru_cache(maxsize=8)
def client_timeout(connect: float, read: float) -> ClientTimeout:
    """Seconds for each wait; making one takes a microsecond."""
    return ClientTimeout(sock_connect=connect, sock_read=read)


class Resolver(AbstractResolver):
    """``getaddrinfo``, on threads of its own."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        look_up = partial(
            socket.getaddrinfo, host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
        found = await aside(look_up, key=("name", host, port, family))
        return [
            {
                "hostname": host,
                "host": str(address[0]),
                "port": int(address[1]),
                "family": kind,
                "proto": protocol,
                "flags": socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            }
            for kind, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        """Nothing is held."""
