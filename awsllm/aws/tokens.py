"""SageMaker's OpenAI-compatible route: its base URL, and the bearer token that it takes in place of a signature.

    POST https://runtime.sagemaker.REGION.SUFFIX/endpoints/EP[/inference-components/IC]/openai/v1/chat/completions

A token is a presigned request that nobody sends: ``Action=CallWithBearerToken``, signed in the query, base64, with a
prefix. So it is minted without a call, lives twelve hours at most and never longer than the credentials that signed it,
and whoever holds it may call every endpoint that these credentials may. IAM asks for ``sagemaker:CallWithBearerToken``
on ``*`` and ``sagemaker:InvokeEndpoint``. The form is that of the SageMaker SDK's own generator (2026); it has not been
tried against the service.

The route serves chat completions only. Its errors quote the account's number: ``route_error`` takes it out.
"""

from __future__ import annotations

import re
import time
from base64 import b64encode
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from awsllm.aws.call import HttpResponse
from awsllm.aws.session import AwsSession, Credentials
from awsllm.aws.signing import ALGORITHM, Origin, Scope, SignedRequest, canonical_request
from awsllm.errors import AwsllmError, ModelNotFoundError, ModelNotReadyError, ValidationError
from awsllm.models.references import ENDPOINT_NAME
from awsllm.types import Value
from awsllm.wire.server_errors import error_for_status, find_error

MAX_LIFETIME = 43_200
"""Seconds: twelve hours."""

_HOST = "sagemaker.amazonaws.com"
_PREFIX = "sagemaker-api-key-"
_REFERENCE = re.compile(f"(?:sagemaker:)?({ENDPOINT_NAME})(?:/({ENDPOINT_NAME}))?")


class OpenAIRoute(Value, frozen=True, kw_only=True):
    """What an OpenAI client needs: ``OpenAI(base_url=route.base_url, api_key=route.api_key)``. ``expires_at`` is in
    seconds since the epoch. The container decides what it takes as ``model``; many take any text."""

    base_url: str
    api_key: str
    endpoint: str
    component: str | None = None
    expires_at: float

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key}", "Content-Type": "application/json"}

    def __repr__(self) -> str:  # the key is a secret
        return f"OpenAIRoute(base_url={self.base_url!r}, api_key='{_PREFIX}…', expires_at={self.expires_at:.0f})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("base_url", self.base_url), ("api_key", f"{_PREFIX}…"), ("expires_at", self.expires_at)]


def openai_route(
    session: AwsSession, endpoint: str, *, expires: int = 3600, clock: Callable[[], float] = time.time
) -> OpenAIRoute:
    """The route of ``endpoint``: ENDPOINT or ENDPOINT/COMPONENT, ``sagemaker:`` before it or not. ``expires`` is in
    seconds. Raises ``ValidationError`` and what the session raises."""
    named = _REFERENCE.fullmatch(endpoint)
    if named is None:
        raise ValidationError(f"{endpoint!r} is no endpoint: write ENDPOINT or ENDPOINT/COMPONENT")
    name, component = named.groups()
    now = clock()
    resolved = session.endpoint("sagemaker-runtime")
    path = f"/endpoints/{name}" + (f"/inference-components/{component}" if component else "")
    return OpenAIRoute(
        base_url=f"{resolved.url}{path}/openai/v1",
        api_key=sagemaker_token(session, resolved.region, expires=expires, clock=lambda: now),
        endpoint=name,
        component=component,
        expires_at=now + expires,
    )


def sagemaker_token(
    session: AwsSession, region: str | None = None, *, expires: int = 3600, clock: Callable[[], float] = time.time
) -> str:
    """A bearer token for SageMaker's runtime in ``region``, good for ``expires`` seconds from now."""
    if not 1 <= expires <= MAX_LIFETIME:
        raise ValidationError(f"expires={expires}: a token lives between 1 and {MAX_LIFETIME} seconds (12 hours)")
    signed = _presigned(session.credentials(), region or session.region, expires, clock())
    return _PREFIX + b64encode(f"{_HOST}/?{signed}&Version=1".encode()).decode()


def _presigned(credentials: Credentials, region: str, expires: int, now: float) -> str:
    """The query of the presigned request, as ``botocore.auth.SigV4QueryAuth`` writes it."""
    scope = Scope.at(int(now), region, "sagemaker")
    query = {
        "Action": "CallWithBearerToken",
        "X-Amz-Algorithm": ALGORITHM,
        "X-Amz-Credential": f"{credentials.access_key}/{scope}",
        "X-Amz-Date": scope.stamp,
        "X-Amz-Expires": str(expires),
        "X-Amz-SignedHeaders": "host",
        **({"X-Amz-Security-Token": credentials.token} if credentials.token else {}),
    }
    text = urlencode(query, quote_via=quote, safe="-._~")
    request = SignedRequest("POST", Origin("https", _HOST, 443), f"/?{text}", {"host": _HOST}, b"")
    _, canonical = canonical_request(request)
    return f"{text}&X-Amz-Signature={scope.sign(canonical, credentials.secret_key)}"


# --- errors ----------------------------------------------------------------------------------------------------------

_ACCOUNT = re.compile(r"(?<!\d)\d{12}(?!\d)")
_CONSOLE = re.compile(r"\s*(?:See|Check|Go to)?\s*https://\S*console\.(?:aws\.amazon|amazonaws)\.\S+", re.IGNORECASE)
# What the service means by validation_error (reports of users, 2026).
_REREAD = (
    (re.compile(r"has no capacity", re.IGNORECASE), ModelNotReadyError),
    (re.compile(r"\bnot found\b|could not find", re.IGNORECASE), ModelNotFoundError),
)


def route_error(response: HttpResponse) -> AwsllmError:
    """The error in a reply of the route that is not 2xx, without account number and console link."""
    wire = _decoded(response.body)
    found = find_error(wire, request_id=response.request_id)
    message = found.message if found else response.body.decode("utf-8", "replace")[:1000]
    # The service writes the account's number and a console link into it, which then would stand in logs.
    message = _ACCOUNT.sub("<account>", _CONSOLE.sub("", message)).strip()
    code = _code(wire)
    for pattern, kind in _REREAD:
        if response.status == 400 and pattern.search(message):
            return kind(message, code=code, status=400, request_id=response.request_id)
    return error_for_status(response.status, message or "no message", code=code, request_id=response.request_id)


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return None


def _code(wire: Any) -> str | None:
    error = wire.get("error") if isinstance(wire, dict) else None
    code = error.get("code") or error.get("type") if isinstance(error, dict) else None
    return code if isinstance(code, str) else None
