"""Signature Version 4 and bearer tokens, over plain values.

The result equals ``botocore.auth.SigV4Auth`` byte for byte; a property test compares them. It is written again because
importing ``botocore.auth`` costs as much as the rest of a cold start, and because botocore derives the signing key
anew for each request and walks an ``email.Message`` for the headers: here the key is kept for its day and one call
costs a tenth.
"""

from __future__ import annotations

import hmac
import os
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256
from urllib.parse import quote, urlsplit

import msgspec

from awsllm._version import __version__
from awsllm.aws.call import HttpRequest, Private
from awsllm.aws.endpoints import BEARER_VARIABLE, Endpoint
from awsllm.aws.session import AwsSession, Credentials
from awsllm.errors import ConfigurationError, ValidationError

ALGORITHM = "AWS4-HMAC-SHA256"
USER_AGENT = f"awsllm/{__version__} lang/python#{sys.version_info.major}.{sys.version_info.minor} os/{sys.platform}"

# Never signed, as proxies may change them; botocore.auth.SIGNED_HEADERS_BLACKLIST.
_UNSIGNED = frozenset({
    "baggage", "connection", "expect", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "traceparent",
    "tracestate", "trailer", "transfer-encoding", "upgrade", "user-agent", "x-amzn-trace-id",
})  # fmt: skip


class Origin(msgspec.Struct, frozen=True):
    """Scheme, host and port: what a connection is made to. ``host`` has no brackets around an IPv6 address."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """The Host header: no port where it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


_PORTS = {"http": 80, "https": 443}


class Scope(msgspec.Struct, frozen=True):
    """What a signature holds for; ``stamp`` is the time, YYYYMMDDTHHMMSSZ, ``text`` the credential scope."""

    stamp: str
    region: str
    service: str
    text: str

    @staticmethod
    @lru_cache(maxsize=64)  # the calls of one second share it
    def at(second: int, region: str, service: str) -> Scope:
        """``second`` is counted since the epoch."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        return Scope(stamp, region, service, f"{stamp[:8]}/{region}/{service}/aws4_request")

    def __str__(self) -> str:
        return self.text

    def sign(self, canonical: str, secret: str) -> str:
        """The signature of a canonical request, in hexadecimal."""
        to_sign = f"{ALGORITHM}\n{self.stamp}\n{self.text}\n{sha256(canonical.encode()).hexdigest()}"
        key = signing_key(secret, self.stamp[:8], self.region, self.service)
        return hmac.digest(key, to_sign.encode(), "sha256").hex()


class SignedRequest(Private, frozen=True):
    """What goes over the wire. The repr shows neither headers nor body: they hold secrets and prompts."""

    method: str
    origin: Origin
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def url(self) -> str:
        return f"{self.origin}{self.target}"

    def __repr__(self) -> str:
        return f"SignedRequest({self.method} {self.url}, {len(self.body)} bytes)"


def sign(
    request: HttpRequest,
    session: AwsSession,
    keys: Credentials | None = None,
    *,
    clock: Callable[[], float] = time.time,
    digest: str | None = None,
) -> SignedRequest:
    """Complete and sign ``request`` for now, by ``keys`` or the session's. ``digest`` is what stands for that of a body
    which is not there yet. Raises what ``AwsSession`` raises, ValidationError for what would not be one line of a head,
    and ConfigurationError for a bearer token that would go over plain HTTP."""
    endpoint = session.endpoint(request.service)
    origin, base = split_url(endpoint.url)
    headers = dict(request.headers)
    for name in headers:
        if not _is_header_name(name) or not (headers[name].isascii() and headers[name].isprintable()):
            # A line break in it would begin a header of the caller's making.
            raise ValidationError(f"the header {name!r} may hold printable ASCII only, on one line")
    if not _is_target(request.method, request.path):
        raise ValidationError(f"{request.method!r} {request.path!r} is no method and percent-encoded path")
    headers["Host"] = origin.authority
    headers["User-Agent"] = USER_AGENT
    headers["amz-sdk-invocation-id"] = _random_uuid()
    signed = SignedRequest(request.method, origin, base + request.path, headers, request.body)
    if endpoint.auth == "bearer":
        _add_bearer(signed, session)
    else:
        add_sigv4(signed, keys or session.credentials(), endpoint, clock(), digest)
    return signed


def _random_uuid() -> str:
    """Version 4, in a third of the time that ``uuid.uuid4`` takes."""
    digits = os.urandom(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:]}"


_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")  # RFC 9110


@lru_cache(maxsize=256)
def _is_header_name(name: str) -> bool:
    return bool(name) and _TOKEN.issuperset(name)


@lru_cache(maxsize=256)
def _is_target(method: str, path: str) -> bool:
    is_path = path.startswith("/") and path.isascii() and path.isprintable() and " " not in path
    return is_path and method.isascii() and method.isalpha()


def add_sigv4(
    request: SignedRequest, credentials: Credentials, endpoint: Endpoint, now: float, digest: str | None = None
) -> None:
    """Add ``X-Amz-Date``, ``X-Amz-Security-Token`` and ``Authorization`` to the headers of ``request``; ``now`` is in
    seconds since the epoch, ``digest`` that of a body which is not there yet."""
    scope = Scope.at(int(now), endpoint.region, endpoint.signing_name)
    headers = request.headers
    headers["X-Amz-Date"] = scope.stamp
    if credentials.token:
        headers["X-Amz-Security-Token"] = credentials.token
    names, canonical = canonical_request(request, digest)
    signature = scope.sign(canonical, credentials.secret_key)
    headers["Authorization"] = (
        f"{ALGORITHM} Credential={credentials.access_key}/{scope.text}, SignedHeaders={names}, Signature={signature}"
    )


def canonical_request(request: SignedRequest, digest: str | None = None) -> tuple[str, str]:
    """The names of the signed headers, and the canonical request."""
    path, _, query = request.target.partition("?")
    order, names = _signed_names(tuple(request.headers))
    # a list: generators cost more than their items
    headers = "\n".join([f"{lower}:{' '.join(request.headers[name].split())}" for lower, name in order])
    payload = digest or sha256(request.body).hexdigest()
    return names, "\n".join(
        (request.method.upper(), canonical_path(path), canonical_query(query), f"{headers}\n", names, payload)
    )


@lru_cache(maxsize=64)
def _signed_names(names: tuple[str, ...]) -> tuple[list[tuple[str, str]], str]:
    """The headers that are signed, in lower case and as they stand; and their list."""
    order = sorted([(name.lower(), name) for name in names if name.lower() not in _UNSIGNED])
    return order, ";".join([lower for lower, _ in order])


@lru_cache(maxsize=256)
def canonical_path(path: str) -> str:
    """The percent-encoded path, without empty and dot segments, encoded once more: ``%3A`` becomes ``%253A``."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    normal = ("/" if path.startswith("/") else "") + "/".join(kept) + ("/" if path.endswith("/") and kept else "")
    return quote(normal or "/", safe="/~")


def canonical_query(query: str) -> str:
    pairs = sorted(pair.partition("=")[::2] for pair in query.split("&")) if query else []
    return "&".join(f"{name}={value}" for name, value in pairs)


@lru_cache(maxsize=16)
def signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    """``date`` is YYYYMMDD. The key holds for that day, region and service."""
    key = f"AWS4{secret}".encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _add_bearer(request: SignedRequest, session: AwsSession) -> None:
    if request.origin.scheme != "https":
        raise ConfigurationError(
            f"{BEARER_VARIABLE} is not sent to {request.origin}: as with boto3, bearer tokens go over https only, "
            f"loopback included. Use an https endpoint, or unset {BEARER_VARIABLE} to sign with access keys"
        )
    request.headers["Authorization"] = f"Bearer {session.bearer_token()}"


@lru_cache(maxsize=64)
def split_url(url: str) -> tuple[Origin, str]:
    """The origin of a base URL and the path in it, without a trailing slash."""
    parts = urlsplit(url)
    port = parts.port or _PORTS[parts.scheme]
    return Origin(parts.scheme, parts.hostname or "", port), parts.path.rstrip("/")
