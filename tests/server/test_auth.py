"""Whatever a request shows for a key, it is accepted or refused, and never breaks the server."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from types import MappingProxyType

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from awsllm.errors import AccessDeniedError
from awsllm.server.http.auth import check_body, check_head
from awsllm.server.work import Incoming

KEY = "the-key"
PATH = "/model/a/converse"

any_text = st.text(st.characters(max_codepoint=255), max_size=30)  # what HTTP's bytes are as Latin-1
pieces = st.lists(
    any_text
    | st.sampled_from(["Credential=a/20260101/r/s/aws4_request", "SignedHeaders=host", "Signature=é", "=", ","]),
    max_size=5,
)


def signed(secret: str = KEY, headers: Mapping[str, str] = MappingProxyType({})) -> Incoming:
    """A request as botocore signs it."""
    body = b"{}"
    request = AWSRequest("POST", f"http://localhost{PATH}", {"Host": "localhost", **headers}, body)
    SigV4Auth(Credentials("any", secret), "bedrock", "us-east-1").add_auth(request)
    return Incoming("POST", PATH, {name.lower(): value for name, value in request.headers.items()}, body)


def changed(incoming: Incoming, **headers: str) -> Incoming:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Incoming("POST", PATH, {**incoming.headers, **named}, incoming.body)


def test_what_botocore_signs_is_accepted() -> None:
    assert not check_head(KEY, signed())  # the body decides
    check_body(KEY, signed())


def test_another_secret_or_another_body_is_refused() -> None:
    with pytest.raises(AccessDeniedError, match="does not match"):
        check_body(KEY, signed(secret="another"))
    with pytest.raises(AccessDeniedError, match="does not match"):
        check_body(KEY, Incoming("POST", PATH, signed().headers, b"{ }"))


def test_a_digest_in_a_header_lets_the_head_decide() -> None:
    digest = {"X-Amz-Content-SHA256": sha256(b"{}").hexdigest()}
    good = signed(headers=digest)
    check_head(KEY, good)
    check_body(KEY, good)
    with pytest.raises(AccessDeniedError, match="is not the body's digest"):
        check_body(KEY, Incoming("POST", PATH, good.headers, b"{ }"))
    with pytest.raises(AccessDeniedError, match="does not match"):
        check_head(KEY, signed("another", digest))


def test_a_signature_that_is_no_ascii_is_wrong_and_no_fault_of_the_server() -> None:
    fields, _, _ = signed().headers["authorization"].rpartition("=")
    with pytest.raises(AccessDeniedError, match="does not match"):
        check_body(KEY, changed(signed(), authorization=fields + "=\xe9\xff"))


@given(any_text, pieces, any_text, st.booleans())
def test_nothing_that_is_shown_breaks_the_check(scheme: str, fields: list[str], date: str, real: bool) -> None:
    shown = f"{'AWS4-HMAC-SHA256' if real else scheme} {', '.join(fields)}"
    date = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ") if real else date
    incoming = Incoming("POST", PATH, {"host": "localhost", "authorization": shown, "x-amz-date": date}, b"{}")
    with pytest.raises(AccessDeniedError):
        check_head(KEY, incoming)
        check_body(KEY, incoming)


@given(any_text)
def test_no_host_breaks_the_check(host: str) -> None:
    try:
        assert check_head(None, Incoming("POST", PATH, {"host": host}))
    except AccessDeniedError as error:
        assert "Host" in error.message  # noqa: PT017 - either outcome is right
