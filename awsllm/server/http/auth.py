"""Who may call: anyone on this machine without an API key, and with one whoever shows it.

The key is shown as a bearer token (``AWS_BEARER_TOKEN_BEDROCK``, OpenAI clients), in ``x-api-key``, or by signing
with it: an AWS client that has the key as its *secret access key* needs no other setting. Signature Version 4 is then
verified as AWS does it; without a key, signatures are not looked at and dummy credentials do.

``check_head`` judges a request before its body is read; ``check_body`` finishes where a signature covers a body whose
digest no header tells (botocore sends that header to S3 alone, the JavaScript SDK to everyone).

Without a key it is the address that protects: only this machine reaches it. A web page that someone here looks at is
on this machine, too, so what a browser sends from one is refused: an ``Origin``, a ``Sec-Fetch-Site``, and a ``Host``
that is not this machine's, which is how a page at a name that its owner turns to 127.0.0.1 would look.

Specification: docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html. What clients really send was measured: the
canonical path is the raw path quoted once more, and the JavaScript SDK signs ``:authority`` for ``host`` over HTTP/2.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from urllib.parse import parse_qsl, quote

from awsllm.errors import AccessDeniedError, ConfigurationError
from awsllm.server.work import Incoming

_MAX_SKEW = 300.0  # seconds, as AWS
_ALGORITHM = "AWS4-HMAC-SHA256"
_DIGEST = "x-amz-content-sha256"


class UnauthenticatedError(AccessDeniedError):
    """No key was shown, or a wrong one: AWS refuses that like any other access, other services with a status of its
    own."""


def usable_key(key: str | None) -> str | None:
    """``key`` as callers can show it. Raises ``ConfigurationError`` for one that is empty or that no header carries."""
    if key is None:
        return None
    stripped = key.strip()
    if not stripped:
        raise ConfigurationError("the API key is empty, so anyone would know it: give one, or none at all")
    if not stripped.isprintable() or " " in stripped:
        raise ConfigurationError("the API key has white space or a control character in it, which no header carries")
    return stripped


@lru_cache(maxsize=16)
def is_loopback(host: str) -> bool:
    """Whether a host's name or address is that of this machine alone. ``*.localhost`` is (RFC 6761)."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        name = host.rstrip(".").lower()
        return name == "localhost" or name.endswith(".localhost")


def check_head(key: str | None, incoming: Incoming) -> bool:
    """Raise ``AccessDeniedError`` for what may not be answered, whatever its body is. Whether it may be answered; False
    if that is for ``check_body`` to tell."""
    fields = _signature_fields(incoming)
    if key is None:
        _check_not_from_a_page(incoming.headers)
    elif fields is None:
        _check_shown(key, incoming.headers)
    else:
        _check_signature(key, incoming, fields, incoming.headers.get(_DIGEST))
        return False
    return True


def check_body(key: str | None, incoming: Incoming) -> None:
    """Raise ``AccessDeniedError`` for a signature that is not one of this body."""
    fields = _signature_fields(incoming)
    if key is None or fields is None:
        return
    # The digest is computed here: one in a header is only the sender's word.
    digest = sha256(incoming.body).hexdigest()
    if incoming.headers.get(_DIGEST, digest) != digest:
        raise _denied(f"{_DIGEST} is not the body's digest.")
    _check_signature(key, incoming, fields, digest)


def _check_not_from_a_page(headers: Mapping[str, str]) -> None:
    if "origin" in headers or headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        raise AccessDeniedError("Calls from web pages are refused, unless the server has an API key.")
    if (host := headers.get("host")) and not is_loopback(_without_port(host)):
        raise AccessDeniedError(
            "The Host header does not name this machine (localhost, 127.0.0.1 or [::1]). "
            "Other names are answered by a server that has an API key."
        )


def _without_port(host: str) -> str:
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def _check_shown(key: str, headers: Mapping[str, str]) -> None:
    scheme, _, shown = headers.get("authorization", "").partition(" ")
    shown = shown.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
    if not hmac.compare_digest(sha256(shown.encode("latin-1")).digest(), sha256(key.encode()).digest()):
        raise _denied("The API key is missing or wrong.")


def _signature_fields(incoming: Incoming) -> str | None:
    """What follows the name of the algorithm in the Authorization header, where it is a signature."""
    scheme, _, fields = incoming.headers.get("authorization", "").partition(" ")
    return fields if scheme == _ALGORITHM else None


def _check_signature(key: str, incoming: Incoming, fields: str, digest: str | None) -> None:
    """Verify a signature over a body with ``digest``; with None, all of it that does not need the body."""
    try:
        parts = dict(part.strip().split("=", 1) for part in fields.split(","))
        _, date, region, service, _ = parts["Credential"].rsplit("/", 4)
        canonical = _canonical(incoming, parts["SignedHeaders"].split(";"), digest or "")
        stamp, signature = incoming.headers["x-amz-date"], parts["Signature"]
        signed = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except (KeyError, ValueError) as error:
        raise _denied("The Authorization header cannot be read.") from error
    if abs((datetime.now(UTC) - signed).total_seconds()) > _MAX_SKEW:
        raise _denied("Signature expired: the request was signed more than five minutes ago, or ahead.")
    if digest is None:
        return
    scope = f"{date}/{region}/{service}/aws4_request"
    text = "\n".join((_ALGORITHM, stamp, scope, sha256(canonical.encode()).hexdigest()))
    if not hmac.compare_digest(_sign(key, scope, text).encode(), signature.encode("latin-1")):
        raise _denied(
            "The request signature we calculated does not match the signature you provided. "
            "Check that the secret access key is this server's API key."
        )


def _canonical(incoming: Incoming, names: list[str], digest: str) -> str:
    """The canonical request, of a body with ``digest``."""
    query = parse_qsl(incoming.query, keep_blank_values=True)
    pairs = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in query)
    if not {"host", ":authority"} & set(names):
        raise ValueError("the host is not signed")
    lines = [f"{name}:{' '.join(_header(incoming.headers, name).split())}" for name in names]
    path = quote(incoming.path, safe="/~")
    return "\n".join([incoming.method, path, "&".join(map("=".join, pairs)), *lines, "", ";".join(names), digest])


def _header(headers: Mapping[str, str], name: str) -> str:
    return headers["host" if name == ":authority" else name]


def _sign(secret: str, scope: str, text: str) -> str:
    key = b"AWS4" + secret.encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), "sha256").digest()
    return hmac.new(key, text.encode(), "sha256").hexdigest()


def _denied(message: str) -> AccessDeniedError:
    return UnauthenticatedError(message, code="AccessDeniedException", status=403)
