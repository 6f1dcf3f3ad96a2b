"""One URL to its bytes, without I/O: which hosts and addresses may be asked, what they are asked, what they answer.

Each redirect is a hop of its own, judged as the first was. A name is resolved once a hop, every address that it has is
judged, and one of those is connected to: a name that means another address a moment later (DNS rebinding) is not asked
again. TLS and the Host header go on naming the host.

What is sent is a GET without credentials, cookies or a referrer, that takes no compression. What comes is read by
``aws.http1``; its errors quote nothing of it, and of a URL only scheme and host are told: paths and queries may be
secrets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from awsllm._version import __version__
from awsllm.aws.http1 import NotHttpError, ResponseParser
from awsllm.errors import ConnectError, ValidationError
from awsllm.fetching.addresses import may_be_called, read_address
from awsllm.wire.formats import begins_as

if TYPE_CHECKING:
    from awsllm.fetching.addresses import Network

PORTS = {"https": 443, "http": 80}
_REDIRECTS = (301, 302, 303, 307, 308)
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*", re.ASCII)
_LONGEST = 8192  # characters of a URL
NOT_REACHED = "AddressNotAllowed"
"""The code of the error that tells of a name's addresses."""
_TOLD = 12  # bytes that tell every format of ``wire.formats``


class FetchRules(Protocol):
    """What a visit keeps to; ``FetchUrls`` says what each means."""

    @property
    def max_bytes(self) -> int: ...

    @property
    def redirects(self) -> int: ...

    @property
    def http(self) -> bool: ...

    @property
    def own_networks(self) -> Sequence[Network]: ...

    def names(self, host: str, port: int, scheme: str) -> bool: ...


class WebPlace(NamedTuple):
    """What a URL names: whom to ask, and for what."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


class Visit:
    """A URL on the way to its bytes. The driver asks, hop by hop: it resolves ``place.host``, connects to one of the
    addresses that ``admitted`` gives, sends ``request()`` and feeds what comes until ``over``. At the end ``data`` is
    there, or another hop is to be made."""

    def __init__(self, rules: FetchRules, url: str) -> None:
        self.data: bytes | None = None
        self.over = False
        self._rules = rules
        self._url = url
        self._hops = rules.redirects
        self.place = place_of(url, rules)
        self._begin()

    def _begin(self) -> None:
        self._response = ResponseParser("GET")
        self._body = bytearray()
        self._judged = self.over = False

    def admitted(self, found: Iterable[str]) -> list[str]:
        """Those of a name's addresses that may be connected to, which is all of them or none: a name that has an
        address of the internet and one of this network is no name of the internet's."""
        addresses = [read_address(text.partition("%")[0]) for text in found]
        if not addresses:
            raise ConnectError(f"{self.place}: its name has no address")
        own = self._rules.own_networks
        if not all(address is not None and may_be_called(address, own) for address in addresses):
            raise ValidationError(
                f"{self.place} is not on the internet: its address is private, local or reserved. Where it is meant, "
                "FetchUrls(networks=[…]) opens that network",
                code=NOT_REACHED,
            )
        return list(dict.fromkeys(str(address) for address in addresses))

    def request(self) -> bytes:
        lines = (
            f"GET {self.place.target} HTTP/1.1",
            f"Host: {self.place.authority}",
            f"User-Agent: awsllm/{__version__}",
            "Accept: */*",
            "Accept-Encoding: identity",
            "Connection: close",
        )
        return "\r\n".join((*lines, "", "")).encode("ascii")

    def feed(self, data: bytes) -> None:
        """What was received; no bytes mean that the connection ended."""
        response = self._response
        try:
            self._body += response.feed(data) if data else b""
            ended = response.ended if data else response.finish()
        except NotHttpError:
            raise ConnectError(f"{self.place} does not speak HTTP") from None
        if response.status and not self._judged:
            self._judged = True
            self._judge(response)
        if self.over:
            return
        if len(self._body) > self._rules.max_bytes:
            raise self._too_large()
        if len(self._body) >= _TOLD or ended:
            self._check_kind()
        if ended:
            self.data, self.over = bytes(self._body), True
        elif not data:
            raise ConnectError(f"{self.place} ended the connection before the answer was there")

    def _judge(self, response: ResponseParser) -> None:
        """By its head: whether the answer is what was asked for, or names where that is."""
        if response.status in _REDIRECTS:
            self._follow(response.headers.get("location"))
            return
        if response.status != 200:
            raise ValidationError(f"{self.place} answered {response.status}")
        coding = response.headers.get("content-encoding", "identity").strip().lower()
        if coding not in ("", "identity"):
            raise ValidationError(f"{self.place} compresses what it sends, which it was not asked for")
        length = response.headers.get("content-length", "")
        if length.isdigit() and int(length) > self._rules.max_bytes:
            raise self._too_large()

    def _follow(self, location: str | None) -> None:
        if location is None:
            raise ValidationError(f"{self.place} redirects to nowhere")
        if self._hops <= 0:
            raise ValidationError(f"{self.place} redirects more often than {self._rules.redirects} times")
        self._hops -= 1
        self._url = _joined(self._url, location)
        self.place = place_of(self._url, self._rules)
        self.over = True

    def next(self) -> None:
        """Begin the next hop."""
        self._begin()

    def _check_kind(self) -> None:
        if begins_as(bytes(self._body[:_TOLD])) is None:
            raise ValidationError(f"what {self.place} sent is no image, PDF, sound or video of a known format")

    def _too_large(self) -> ValidationError:
        return ValidationError(f"what {self.place} sends is larger than max_bytes={self._rules.max_bytes:,}")


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        raise ValidationError("a redirect names no URL") from None


def place_of(url: str, rules: FetchRules) -> WebPlace:
    """What a URL names, if the rules allow to ask there. Raises ``ValidationError``, which tells no path."""
    parts = _split(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and rules.http):
        fix = ": FetchUrls(http=True) allows it" if parts.scheme == "http" else ""
        raise ValidationError(f"only https is fetched, not {parts.scheme[:20]!r}{fix}")
    if "@" in parts.netloc:
        raise ValidationError("a URL with a login is not fetched: it would be sent to whoever answers")
    host = parts.hostname or ""
    try:
        port = parts.port
    except ValueError:
        raise ValidationError("the port of a URL is no number") from None
    port = PORTS[parts.scheme] if port is None else port
    if not _is_host(host) or ("[" in parts.netloc) != (":" in host):
        raise ValidationError("the host of a URL is neither a name in ASCII nor an address in its usual writing")
    if not rules.names(host, port, parts.scheme):
        shown = host if port == PORTS[parts.scheme] else f"{host}:{port}"
        raise ValidationError(f"{shown} is none of the hosts that are fetched from")  # which others need not know
    target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._") + (f"?{_query(parts)}" if parts.query else "")
    return WebPlace(parts.scheme, host, port, target)


def _split(url: str) -> SplitResult:
    """Raises ``ValidationError`` for what readers of URLs read in different ways: spaces, controls, backslashes."""
    if len(url) > _LONGEST:
        raise ValidationError(f"a URL of {len(url):,} characters is not fetched")
    if any(character <= " " or character in "\\\x7f" for character in url):
        raise ValidationError("a URL has no spaces, control characters or backslashes")
    try:
        return urlsplit(url)
    except ValueError:
        raise ValidationError("what is to be fetched is no URL") from None


def _query(parts: SplitResult) -> str:
    return quote(parts.query, safe="/%:@!$&'()*+,;=~-._?")


def _is_host(host: str) -> bool:
    """A name in ASCII, or an address in its one usual writing. A name whose last part is a number would be read as an
    address by some resolvers (``0x7f.1``, ``2130706433``), and a dot at the end makes another name of the same host."""
    if read_address(host) is not None:
        return True
    last = host.rpartition(".")[2]
    return len(host) <= 253 and _NAME.fullmatch(host) is not None and not (last.isdigit() or last.startswith("0x"))
