"""Who may call: anyone without an API key, and with one whoever shows it.

The key is shown as a bearer token (``AWS_BEARER_TOKEN_BEDROCK``, OpenAI clients), in ``x-api-key``, or by signing
with it: an AWS client that has the key as its *secret access key* needs no other setting. Signature Version 4 is then
verified as AWS does it; without a key, signatures are not looked at and dummy credentials do.

Specification: docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html. What clients really send was measured: the
canonical path is the raw path quoted once more, and the JavaScript SDK signs ``:authority`` for ``host`` over HTTP/2.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from urllib.parse import parse_qsl, quote

from awsllm.errors import AccessDeniedError
from awsllm.server.work import Incoming

_MAX_SKEW = 300.0  # seconds, as AWS
_ALGORITHM = "AWS4-HMAC-SHA256"


def check_key(key: str, incoming: Incoming, query: str) -> None:
    """Raise ``AccessDeniedError`` unless ``incoming`` shows ``key``."""
    authorization = incoming.headers.get("authorization", "")
    scheme, _, shown = authorization.partition(" ")
    if scheme == _ALGORITHM:
        _check_signature(key, incoming, query, shown)
        return
    shown = shown.strip() if scheme.lower() == "bearer" else incoming.headers.get("x-api-key", "")
    if not hmac.compare_digest(sha256(shown.encode()).digest(), sha256(key.encode()).digest()):
        raise _denied("The API key is missing or wrong.")


def _check_signature(key: str, incoming: Incoming, query: str, fields: str) -> None:
    try:
        parts = dict(part.strip().split("=", 1) for part in fields.split(","))
        _, date, region, service, _ = parts["Credential"].rsplit("/", 4)
        names = parts["SignedHeaders"].split(";")
        canonical = _canonical(incoming, query, names)
        stamp, signature = incoming.headers["x-amz-date"], parts["Signature"]
        signed = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except (KeyError, ValueError) as error:
        raise _denied("The Authorization header cannot be read.") from error
    if abs((datetime.now(UTC) - signed).total_seconds()) > _MAX_SKEW:
        raise _denied("Signature expired: the request was signed more than five minutes ago, or ahead.")
    scope = f"{date}/{region}/{service}/aws4_request"
    digest = sha256(canonical.encode()).hexdigest()
    expected = _sign(key, scope, "\n".join((_ALGORITHM, stamp, scope, digest)))
    if not hmac.compare_digest(expected, signature):
        raise _denied(
            "The request signature we calculated does not match the signature you provided. "
            "Check that the secret access key is this server's API key."
        )


def _canonical(incoming: Incoming, query: str, names: list[str]) -> str:
    """The canonical request. The digest of the body is computed here: one in a header is only the sender's word."""
    pairs = sorted((quote(k, safe="-_.~"), quote(v, safe="-_.~")) for k, v in parse_qsl(query, keep_blank_values=True))
    digest = sha256(incoming.body).hexdigest()
    if incoming.headers.get("x-amz-content-sha256", digest) != digest:
        raise ValueError("x-amz-content-sha256 is not the body's digest")
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
    return AccessDeniedError(message, code="AccessDeniedException", status=403)
