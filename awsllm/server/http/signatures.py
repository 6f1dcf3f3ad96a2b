"""Signature Version 4 as a server reads it: in the Authorization header, in the query of a presigned URL, and in the
chunks of a body that S3 is sent piece by piece.

Specification: docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html; of chunks and their trailer, the API
reference of S3, "sigv4-streaming" and "sigv4-streaming-trailers"; the refusals' words, "Troubleshoot Signature
Version 4 signing" of the same guide. What clients really send was measured: the canonical path is the raw path quoted
once more, except S3's, and the JavaScript SDK signs ``:authority`` for ``host`` over HTTP/2.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from urllib.parse import parse_qsl, quote, urlsplit

from botocore.auth import HmacV1Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from awsllm.server.account.refusals import UnauthenticatedError
from awsllm.server.services import path_style, protocol, services
from awsllm.server.work import Incoming

ALGORITHM = "AWS4-HMAC-SHA256"
DIGEST = "x-amz-content-sha256"
_UNSIGNED = "UNSIGNED-PAYLOAD"
_CHUNKED = ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER")
_UNSIGNED_CHUNKS = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
_OF_S3 = (_UNSIGNED, _UNSIGNED_CHUNKS, *_CHUNKED)
_EMPTY = sha256(b"").hexdigest()
_MAX_SKEW = timedelta(minutes=5)
_MAX_EXPIRES = 604_800  # seconds: seven days
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,8});chunk-signature=([0-9a-f]{64})\r\n")
_TRAILER = re.compile(rb"([A-Za-z0-9-]{1,100}):([^\r\n]{0,1000})\r?\n(?:\r\n)?")
_TRAILER_SIGNATURE = "x-amz-trailer-signature"
_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. "
    "Check that the secret access key is this server's API key."
)
_REGION = re.compile(r"[a-z]{2,4}(-[a-z]+)+-\d{1,2}")


class SignatureError(UnauthenticatedError):
    """A signature that is not one of this request, or not of this time. ``code`` is AWS's."""


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature as it is shown. ``stamp`` is the time as it was written; ``lasts`` is how long a presigned URL does,
    None for a header. ``digest`` is what stands for the body, None where its own digest does."""

    date: str
    region: str
    service: str
    stamp: str
    signed: datetime
    names: tuple[str, ...]
    value: str
    digest: str | None
    lasts: timedelta | None = None

    @property
    def scope(self) -> str:
        return f"{self.date}/{self.region}/{self.service}/aws4_request"


def read(incoming: Incoming) -> Signature | None:
    """The signature that a request shows, None for one that shows none. Raises ``SignatureError``."""
    scheme, _, fields = incoming.headers.get("authorization", "").partition(" ")
    presigned = "X-Amz-Signature=" in incoming.query and f"X-Amz-Algorithm={ALGORITHM}" in incoming.query
    if scheme != ALGORITHM and (scheme or not presigned):
        return None
    try:
        return _of_header(incoming, fields) if scheme else _of_query(incoming)
    except (KeyError, ValueError) as error:
        where = "Authorization header" if scheme else "query of the presigned URL"
        raise _denied(f"The {where} cannot be read.", "IncompleteSignatureException") from error


def _of_header(incoming: Incoming, fields: str) -> Signature:
    parts = dict(part.strip().split("=", 1) for part in fields.split(","))
    stamp = incoming.headers["x-amz-date"]
    return _signature(parts, stamp, incoming.headers.get(DIGEST))


def _of_query(incoming: Incoming) -> Signature:
    query = dict(parse_qsl(incoming.query, keep_blank_values=True))
    parts = {name: query[f"X-Amz-{name}"] for name in ("Credential", "SignedHeaders", "Signature")}
    lasts = int(query["X-Amz-Expires"])
    if not 0 < lasts <= _MAX_EXPIRES:
        raise ValueError("X-Amz-Expires")
    of_s3 = parts["Credential"].endswith("/s3/aws4_request")
    digest = query.get("X-Amz-Content-Sha256", _UNSIGNED if of_s3 else None)
    return _signature(parts, query["X-Amz-Date"], digest, timedelta(seconds=lasts))


def _signature(parts: Mapping[str, str], stamp: str, digest: str | None, lasts: timedelta | None = None) -> Signature:
    _, date, region, service, last = parts["Credential"].rsplit("/", 4)
    names = tuple(parts["SignedHeaders"].split(";"))
    if last != "aws4_request" or not {"host", ":authority"} & set(names):
        raise ValueError("the scope is another's, or the host is not signed")
    signed = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return Signature(date, region, service, stamp, signed, names, parts["Signature"], digest, lasts)


# --- what needs no secret --------------------------------------------------------------------------------------------


def check_form(signature: Signature, incoming: Incoming, meant_for: str | None = None) -> None:
    """Raise ``SignatureError`` for a signature of another time, or for another service than that which is called,
    where that is known."""
    check_time(signature, incoming)
    if not _REGION.fullmatch(signature.region):
        raise _wrong(f"Credential should be scoped to a valid Region, not {signature.region[:40]!r}.", incoming)
    known = {meant_for} if meant_for is not None else _signing_names()
    if signature.service not in known:
        of = f": {meant_for!r}" if meant_for is not None else ""
        raise _wrong(f"Credential should be scoped to correct service{of}.", incoming)


def check_time(signature: Signature, incoming: Incoming) -> None:
    """Raise ``SignatureError`` for a signature that is not of this time."""
    if signature.date != signature.stamp[:8]:
        said = f"{signature.date[:40]!r} != {signature.stamp[:8]!r}, from {signature.stamp!r}"
        raise _wrong(
            f"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: {said}.",
            incoming,
        )
    now, lasts = datetime.now(UTC), signature.lasts
    if lasts is not None and signature.service == "s3" and now > signature.signed + lasts:
        raise _denied("Request has expired", "AccessDenied")
    earliest, latest = now - (lasts or _MAX_SKEW), now + _MAX_SKEW
    if signature.signed < earliest:
        ago = "" if lasts else f" ({_stamp(now)} - 5 min.)"
        raise _wrong(f"Signature expired: {signature.stamp} is now earlier than {_stamp(earliest)}{ago}", incoming)
    if signature.signed > latest:
        raise _wrong(
            f"Signature not yet current: {signature.stamp} is still later than {_stamp(latest)} "
            f"({_stamp(now)} + 5 min.)",
            incoming,
        )


def _stamp(time: datetime) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ")


@lru_cache(maxsize=1)
def _signing_names() -> frozenset[str]:
    return frozenset(service.signed_as for service in services())


# --- what needs it ---------------------------------------------------------------------------------------------------


def check_head(key: str, signature: Signature, incoming: Incoming) -> None:
    """Verify what can be without the body. Raises ``SignatureError``."""
    check_time(signature, incoming)
    if signature.digest is None:
        return
    if signature.digest in _OF_S3 and signature.service != "s3":
        raise _wrong(f"{DIGEST} is not the body's digest, which {signature.service[:40]!r} is sent.", incoming)
    _verify(key, signature, incoming, signature.digest)


def check_body(key: str, signature: Signature, incoming: Incoming) -> None:
    """Verify the body, and with it what ``check_head`` could not. Raises ``SignatureError``."""
    if signature.digest in _CHUNKED:
        _check_chunks(key, signature, incoming)
    elif signature.digest not in _OF_S3:
        # The digest is computed here: one in a header is only the sender's word.
        digest = sha256(incoming.body).hexdigest()
        if signature.digest not in (None, digest):
            raise _wrong(f"{DIGEST} is not the body's digest.", incoming)
        _verify(key, signature, incoming, digest)


def _verify(key: str, signature: Signature, incoming: Incoming, digest: str) -> None:
    try:
        canonical = _canonical(signature, incoming, digest)
    except KeyError as error:
        raise _denied("A signed header is missing.", "IncompleteSignatureException") from error
    text = "\n".join((ALGORITHM, signature.stamp, signature.scope, sha256(canonical.encode()).hexdigest()))
    _compare(key, signature, incoming, text, signature.value)


def _compare(key: str, signature: Signature, incoming: Incoming, text: str, value: str) -> None:
    if not hmac.compare_digest(_sign(key, signature.scope, text).encode(), value.encode()):
        raise _wrong(_MISMATCH, incoming)


def _canonical(signature: Signature, incoming: Incoming, digest: str) -> str:
    """The canonical request, of a body with ``digest``. Raises ``KeyError`` for a signed header that is not there."""
    query = parse_qsl(incoming.query, keep_blank_values=True)
    if signature.lasts is not None:
        query = [(name, value) for name, value in query if name != "X-Amz-Signature"]
    pairs = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in query)
    headers = incoming.headers
    lines = [
        f"{name}:{' '.join(headers['host' if name == ':authority' else name].split())}" for name in signature.names
    ]
    path = incoming.path if signature.service == "s3" else quote(incoming.path, safe="/~")
    return "\n".join(
        [incoming.method, path, "&".join(map("=".join, pairs)), *lines, "", ";".join(signature.names), digest]
    )


def _sign(secret: str, scope: str, text: str) -> str:
    key = b"AWS4" + secret.encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()


# --- Signature Version 2 ---------------------------------------------------------------------------------------------


def check_presigned_of_old(key: str | None, incoming: Incoming) -> None:
    """Verify a URL that ``is_presigned_of_old``; without a key, that it is not over. Raises ``SignatureError``."""
    query = dict(parse_qsl(incoming.query, keep_blank_values=True))
    if not re.fullmatch(r"\d{1,15}", query["Expires"]):
        raise _denied("Invalid date (should be seconds since epoch)", "AccessDenied")
    if int(query["Expires"]) < datetime.now(UTC).timestamp():
        raise _denied("Request has expired", "AccessDenied")
    if key is None:
        return
    headers = AWSRequest(headers=dict(incoming.headers)).headers
    url = urlsplit(f"http://localhost{incoming.path}?{incoming.query}")
    expected = _Presigned(key, query["Expires"]).get_signature(
        incoming.method, url, headers, None, path_style(incoming)
    )
    if not hmac.compare_digest(expected.encode(), query["Signature"].encode()):
        raise _wrong(_MISMATCH, incoming)


class _Presigned(HmacV1Auth):  # type: ignore[misc]
    """botocore's own signer, which the URL's end stands in place of a date for."""

    def __init__(self, key: str, expires: str) -> None:
        super().__init__(Credentials("any", key))
        self._expires = expires

    def _get_date(self) -> str:
        return self._expires


# --- chunks ----------------------------------------------------------------------------------------------------------


def _check_chunks(key: str, signature: Signature, incoming: Incoming) -> None:
    """Each chunk's signature follows on the one before it, the first on the head's; a trailer's comes last."""
    prior, place, ended = signature.value, 0, False
    body = incoming.body
    while not ended:
        found = _CHUNK.match(body, place)
        if found is None:
            raise _wrong("A chunk of the body has no signature.", incoming)
        start, size = found.end(), int(found[1], 16)
        data = body[start : start + size]
        text = ("AWS4-HMAC-SHA256-PAYLOAD", signature.stamp, signature.scope, prior, _EMPTY, sha256(data).hexdigest())
        _compare(key, signature, incoming, "\n".join(text), found[2].decode())
        prior, place, ended = found[2].decode(), start + size + (2 if size else 0), size == 0
    if signature.digest == _CHUNKED[1]:
        *trailer, (name, value) = list(_trailer(body, place)) or [("", "")]
        if name != _TRAILER_SIGNATURE:
            raise _wrong("The trailer of the body has no signature.", incoming)
        digest = sha256("".join(f"{one}:{other}\n" for one, other in trailer).encode("latin-1")).hexdigest()
        said = ("AWS4-HMAC-SHA256-TRAILER", signature.stamp, signature.scope, prior, digest)
        _compare(key, signature, incoming, "\n".join(said), value)


def _trailer(body: bytes, place: int) -> Iterator[tuple[str, str]]:
    while found := _TRAILER.match(body, place):
        yield found[1].decode("latin-1").lower(), found[2].decode("latin-1").strip()
        place = found.end()


# --- refusals --------------------------------------------------------------------------------------------------------


def _wrong(message: str, incoming: Incoming) -> SignatureError:
    """What AWS says of a signature; what it calls that depends on the service's protocol."""
    old = protocol(incoming) in ("query", "ec2", "rest-xml")
    return _denied(message, "SignatureDoesNotMatch" if old else "InvalidSignatureException")


def _denied(message: str, code: str) -> SignatureError:
    return SignatureError(message, code=code, status=403)
