"""Who may call: anyone on this machine without an API key, and with one whoever shows it.

The key is shown as a bearer token (``AWS_BEARER_TOKEN_BEDROCK``, OpenAI clients), in ``x-api-key``, or by signing
with it: an AWS client that has the key as its *secret access key* needs no other setting. Signature Version 4 is then
verified as AWS does it; without a key, signatures are not looked at and dummy credentials do.

``check_head`` judges a request before its body is read; ``check_body`` finishes where a signature covers a body whose
digest no header tells (botocore sends that header to S3 alone, the JavaScript SDK to everyone). Addresses of objects
of S3 that are signed (presigned URLs) are verified too.

Without a key it is the address that protects: only this machine reaches it. A web page that someone here looks at is
on this machine, too, so what a browser sends from one is refused: an ``Origin`` that is not the server's own address, a
``Sec-Fetch-Site`` of elsewhere, and a ``Host`` that is not this machine's, which is how a page at a name that its owner
turns to 127.0.0.1 would look.

How a signature is read and verified stands in ``signatures``.
"""

from __future__ import annotations

import base64
import hmac
import ipaddress
import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from urllib.parse import unquote

from awsllm.errors import AccessDeniedError, ConfigurationError
from awsllm.server.account.refusals import UnauthenticatedError
from awsllm.server.http import signatures
from awsllm.server.services import is_posted_form, is_presigned_of_old, reads_form
from awsllm.server.work import Incoming


class Auth(StrEnum):
    """Which ways of showing a key are taken. ``ANY`` asks for one only where there is a key, ``NONE`` never."""

    ANY = "any"
    SIGV4 = "sigv4"
    BEARER = "bearer"
    NONE = "none"


_IN_HEADER = re.compile(r"AWS4-[A-Z0-9-]+ .*?Credential=([^/,\s]+)/|AWS ([^:\s]+):")
_IN_QUERY = re.compile(r"(?:^|&)(?:X-Amz-Credential|AWSAccessKeyId)=([^&/]+)", re.IGNORECASE)
_IN_FORM = re.compile(
    rb"""name="?(?:X-Amz-Credential|AWSAccessKeyId)"?\r\n(?:[^\r\n]+\r\n)*\r\n([^\r\n/]+)""", re.IGNORECASE
)
_TOKEN = re.compile(r"[a-z]+-api-key-(.+)", re.DOTALL)
"""A bearer token that an SDK made for itself: a presigned request in base64."""


_NO_FORMS = (
    "This server has an API key, and does not verify the policy of a presigned POST: presign a PUT instead "
    "(generate_presigned_url('put_object'))."
)
_MEANT_FOR = (("/model/", "bedrock"), ("/endpoints/", "sagemaker"))  # what a path is signed for


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


def check_way(auth: Auth, key: str | None, incoming: Incoming) -> None:
    """Raise ``UnauthenticatedError`` for a request that shows no key in the way that is asked for. Where there is no
    key, a signature is checked for all that needs none: its form, its time, its region and service."""
    if auth in (Auth.ANY, Auth.NONE):
        return
    signature = signatures.read(incoming)
    if auth is Auth.SIGV4 and is_presigned_of_old(incoming):
        signatures.check_presigned_of_old(key, incoming)
    elif auth is Auth.SIGV4:
        if signature is None:
            raise signatures.SignatureError(
                "Missing Authentication Token", code="MissingAuthenticationTokenException", status=403
            )
        if key is None:
            meant_for = next((name for prefix, name in _MEANT_FOR if incoming.path.startswith(prefix)), None)
            signatures.check_form(signature, incoming, meant_for)
    elif not _shown(incoming.headers):
        raise _denied("A bearer token is missing: this server takes no other way of showing a key.")


def check_head(key: str | None, incoming: Incoming) -> bool:
    """Raise ``AccessDeniedError`` for what may not be answered, whatever its body is. Whether it may be answered; False
    if that is for ``check_body`` to tell."""
    if key is None:
        _check_not_from_a_page(incoming.headers)
        return True
    signature = signatures.read(incoming)
    if signature is None:
        if is_presigned_of_old(incoming):
            signatures.check_presigned_of_old(key, incoming)
        elif is_posted_form(incoming) and not _shown(incoming.headers):
            raise signatures.SignatureError(_NO_FORMS, code="AccessDenied", status=403)
        else:
            _check_shown(key, incoming.headers)
        return True
    signatures.check_head(key, signature, incoming)
    return False


def check_body(key: str | None, incoming: Incoming) -> None:
    """Raise ``AccessDeniedError`` for a signature that is not one of this body."""
    signature = None if key is None else signatures.read(incoming)
    if key is not None and signature is not None:
        signatures.check_body(key, signature, incoming)


def signer(incoming: Incoming) -> str | None:
    """The id of the access key that a request says it is signed with, in a header or in its address."""
    return next(signers(incoming), None)


def signers(incoming: Incoming) -> Iterator[str]:
    """Whichever access keys a request names, wherever a signature of any version may stand: in its header, its address
    or its form, or in the token of a bearer."""
    authorization = incoming.headers.get("authorization", "")
    for found in _IN_HEADER.finditer(authorization):
        yield found[1] or found[2]
    queries = [incoming.query, _presigned(_shown(incoming.headers))]
    if reads_form(incoming):
        queries.append(incoming.body.decode("latin-1"))
    for query in queries:
        yield from (unquote(found).partition("/")[0] for found in _IN_QUERY.findall(query))
    if incoming.headers.get("content-type", "").startswith("multipart/form-data"):
        yield from (found.decode("latin-1") for found in _IN_FORM.findall(incoming.body))


def _presigned(token: str) -> str:
    """The query of the request that a bearer token holds; empty where it is none."""
    inner = _TOKEN.fullmatch(token.strip())
    if inner is None:
        return ""
    try:
        return base64.b64decode(inner[1] + "=" * (-len(inner[1]) % 4)).decode("latin-1").partition("?")[2]
    except ValueError:
        return ""


def _check_not_from_a_page(headers: Mapping[str, str]) -> None:
    own = ("http://", "https://")
    origin, host = headers.get("origin"), headers.get("host", "")
    foreign = origin is not None and origin not in [scheme + host for scheme in own]
    if foreign or headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        raise AccessDeniedError("Calls from web pages are refused, unless the server has an API key.")
    if host and not is_loopback(_without_port(host)):
        raise AccessDeniedError(
            "The Host header does not name this machine (localhost, 127.0.0.1 or [::1]). "
            "Other names are answered by a server that has an API key."
        )


def _without_port(host: str) -> str:
    """The name or address; what is no port stays, so that it is no name."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    name, _, port = host.partition(":")
    return name if not port or port.isdecimal() else host


def _check_shown(key: str, headers: Mapping[str, str]) -> None:
    if not hmac.compare_digest(sha256(_shown(headers).encode("latin-1")).digest(), sha256(key.encode()).digest()):
        raise _denied("The API key is missing or wrong.")


def _shown(headers: Mapping[str, str]) -> str:
    scheme, _, shown = headers.get("authorization", "").partition(" ")
    return shown.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")


def _denied(message: str) -> UnauthenticatedError:
    return UnauthenticatedError(message, code="AccessDeniedException", status=403)
