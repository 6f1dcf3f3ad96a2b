"""``FetchUrls``: from which hosts content may be fetched, and how much of it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from functools import partial
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

from msgspec.structs import force_setattr

from awsllm.errors import ConfigurationError, ConnectError
from awsllm.fetching.visit import PORTS, Visit, WebPlace, place_of
from awsllm.types import Value

if TYPE_CHECKING:
    from awsllm.fetching.addresses import Network

_PIECE = 65_536


class FetchUrls(Value, frozen=True, kw_only=True):
    """From which hosts content may be fetched, for ``awsllm.image(url, fetch=…)`` and its like. Nothing is fetched
    without one.

    hosts: names, such as "images.example.com", "*.example.com" (every name below it) or "cdn.example.com:8443"; "*" is
        any host of the internet. There is no other that is asked, redirects included.
    max_bytes: the most that one URL may give.
    timeout: seconds for the whole of it: names, redirects, every byte.
    redirects: how many are followed.
    http: whether http:// is fetched, too.
    networks: private networks that are asked beside the internet, such as "10.1.0.0/16". Where clouds hand out
        credentials is never asked.
    ca_bundle: a file of certificates to trust in place of the usual ones.

    Proxies are not used. What is fetched must begin as an image, a PDF, a sound or a video does.
    """

    hosts: Sequence[str]
    max_bytes: int = 20_000_000
    timeout: float = 10.0
    redirects: int = 3
    http: bool = False
    networks: Sequence[str] = ()
    ca_bundle: str | None = None

    def __post_init__(self) -> None:
        for name in ("hosts", "networks"):
            given: Any = getattr(self, name)
            if isinstance(given, str):
                raise ConfigurationError(f"{name} is a list of texts, not the text {given!r:.80}")
            force_setattr(self, name, tuple(given))
        if not self.hosts:
            raise ConfigurationError("hosts names those that are fetched from; '*' is any host of the internet")
        force_setattr(self, "hosts", tuple(map(_checked_pattern, self.hosts)))
        for network in self.networks:
            try:
                ip_network(network)
            except ValueError:
                raise ConfigurationError(f"{network!r:.60} is no network, such as 10.1.0.0/16") from None
        if self.max_bytes < 1 or not self.timeout > 0 or self.redirects < 0:
            raise ConfigurationError("max_bytes and timeout are above 0, and redirects is no less")

    @property
    def own_networks(self) -> tuple[Network, ...]:
        return tuple(map(ip_network, self.networks))

    def names(self, host: str, port: int, scheme: str) -> bool:
        """Whether one of ``hosts`` means this host and port."""
        for pattern in self.hosts:
            name, at = _parted(pattern)
            if port != (PORTS[scheme] if at is None else at):
                continue
            if name in ("*", host) or (name.startswith("*.") and host.endswith(name[1:])):
                return True
        return False

    def allows(self, url: str) -> None:
        """Raise ``ValidationError`` for a URL that is not fetched whatever its name means."""
        place_of(url, self)

    def read(self, url: str) -> bytes:
        """What the URL gives. Raises ``ValidationError`` for what the rules do not allow, ``ConnectError`` for what
        does not answer."""
        from awsllm.aws.errand import within

        until = time.monotonic() + self.timeout
        visit = Visit(self, url)
        while visit.data is None:
            visit.next()
            place = visit.place
            with self._told(place):
                found = within(partial(_addresses, place), self._left(until), ("fetch", place[1:3]))
                with self._connected(place, visit.admitted(found), until) as connection:
                    connection.settimeout(self._left(until))
                    connection.sendall(visit.request())
                    while not visit.over:
                        connection.settimeout(self._left(until))
                        visit.feed(connection.recv(_PIECE))
        return visit.data

    async def read_async(self, url: str) -> bytes:
        """``read``, awaited; a cancelled one closes its connection."""
        from awsllm.aws.errand import aside

        visit = Visit(self, url)
        with self._told(visit.place):
            async with asyncio.timeout(self.timeout):
                while visit.data is None:
                    visit.next()
                    place = visit.place
                    with self._told(place):
                        found = await aside(partial(_addresses, place), ("fetch", place[1:3]))
                        await self._exchange(visit, visit.admitted(found))
        return visit.data

    async def _exchange(self, visit: Visit, addresses: list[str]) -> None:
        reader, writer = await self._opened(visit.place, addresses)
        try:
            writer.write(visit.request())
            await writer.drain()
            while not visit.over:
                visit.feed(await reader.read(_PIECE))
        finally:
            writer.transport.abort()

    async def _opened(self, place: WebPlace, addresses: list[str]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        secure = {"ssl": self._context(), "server_hostname": place.host} if place.scheme == "https" else {}
        for index, address in enumerate(addresses):
            try:
                async with asyncio.timeout(self.timeout / (len(addresses) + 1)):
                    return await asyncio.open_connection(address, place.port, **secure)  # type: ignore[arg-type]
            except ssl.SSLError:
                raise
            except OSError:
                if index + 1 == len(addresses):
                    raise
        raise AssertionError("a name without addresses is not admitted")

    def _connected(self, place: WebPlace, addresses: list[str], until: float) -> socket.socket:
        for index, address in enumerate(addresses):
            share = self._left(until) / (len(addresses) - index)
            try:
                plain = socket.create_connection((address, place.port), timeout=share)
                break
            except OSError:
                if index + 1 == len(addresses):
                    raise
        if place.scheme == "http":
            return plain
        try:
            plain.settimeout(self._left(until))
            return self._context().wrap_socket(plain, server_hostname=place.host)
        except BaseException:
            plain.close()
            raise

    def _context(self) -> ssl.SSLContext:
        from awsllm.aws.tls import client_context

        return client_context(True if self.ca_bundle is None else self.ca_bundle)

    def _left(self, until: float) -> float:
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    @contextlib.contextmanager
    def _told(self, place: WebPlace) -> Iterator[None]:
        """What goes wrong on the network, without the words of whatever raised it."""
        try:
            yield
        except TimeoutError:
            raise ConnectError(f"{place} was not there in {self.timeout:g} s") from None
        except ssl.SSLCertVerificationError:
            raise ConnectError(f"the certificate of {place} is not trusted; ca_bundle= names others") from None
        except OSError as error:
            raise ConnectError(f"{place} cannot be reached ({type(error).__name__})") from None


def _addresses(place: WebPlace) -> list[str]:
    """All that a name means; an address is itself."""
    found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


def _parted(pattern: str) -> tuple[str, int | None]:
    """Name and port of a pattern; an address of IPv6 has no port but in brackets."""
    if pattern.startswith("["):
        name, _, port = pattern[1:].partition("]")
        return name, int(port[1:]) if port else None
    name, colon, port = pattern.partition(":")
    if not colon or ":" in port:
        return pattern, None
    return name, int(port)


def _checked_pattern(pattern: Any) -> str:
    fix = "a host is a name such as images.example.com, *.example.com or cdn.example.com:8443"
    if not isinstance(pattern, str) or not pattern or any(character in "/@?# " for character in pattern):
        raise ConfigurationError(f"{pattern!r:.80}: {fix}, without a scheme or a path")
    lowered = pattern.lower()
    try:
        name, port = _parted(lowered)
    except ValueError:
        raise ConfigurationError(f"{pattern!r:.80}: {fix}") from None
    rest = name.removeprefix("*.")
    if (name != "*" and ("*" in rest or not rest or rest.endswith("."))) or (port is not None and not 0 < port < 65536):
        raise ConfigurationError(f"{pattern!r:.80}: {fix}")
    return lowered
