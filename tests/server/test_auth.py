"""Whatever a request shows for a key, it is accepted or refused, and never breaks the server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from awsllm.errors import AccessDeniedError
from awsllm.server.http.auth import check_body, check_head, signer
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


# --- S3, whose clients sign otherwise --------------------------------------------------------------------------------


def client(secret: str = KEY, **config: Any) -> Any:
    options = {"aws_access_key_id": "any", "aws_secret_access_key": secret, "endpoint_url": "http://localhost"}
    return boto3.client("s3", "us-east-1", config=Config(s3={"addressing_style": "path"}, **config), **options)


def opened(url: str, method: str = "GET", headers: Mapping[str, str] = MappingProxyType({})) -> Incoming:
    split = urlsplit(url)
    return Incoming(method, split.path, {"host": "localhost", **headers}, b"any", query=split.query)


@pytest.mark.parametrize("version", [None, "s3v4", "s3"])
@pytest.mark.parametrize("operation", ["get_object", "put_object"])
def test_a_presigned_address_is_verified(version: str | None, operation: str) -> None:
    params = {"Bucket": "bucket", "Key": "a b/ü+&=?.txt"}
    method = operation[:3].upper()
    good = opened(client(signature_version=version).generate_presigned_url(operation, params), method)
    check_head(KEY, good)
    check_body(KEY, good)
    another = client("another", signature_version=version)
    with pytest.raises(AccessDeniedError, match="does not match"):
        check_head(KEY, opened(another.generate_presigned_url(operation, params), method))
    with pytest.raises(AccessDeniedError, match="does not match"):
        check_head(KEY, Incoming("DELETE", good.path, good.headers, query=good.query))
    with pytest.raises(AccessDeniedError, match="does not match"):
        check_head(KEY, Incoming(method, "/bucket/other", good.headers, query=good.query))
    old = re.sub(r"(?<=Expires=)\d+", "-1" if "X-Amz-" in good.query else "1", good.query)
    with pytest.raises(AccessDeniedError, match=r"has expired|cannot be read"):
        check_head(KEY, Incoming(method, good.path, good.headers, query=old))


@pytest.mark.parametrize("version", ["s3v4", "s3"])
def test_what_else_a_presigned_address_says_is_signed_too(version: str) -> None:
    params = {"Bucket": "bucket", "Key": "k", "ContentType": "text/plain", "Metadata": {"a": "b"}}
    url = client(signature_version=version).generate_presigned_url("put_object", params)
    shown = {"content-type": "text/plain", "x-amz-meta-a": "b"}
    check_head(KEY, opened(url, "PUT", shown))
    with pytest.raises(AccessDeniedError, match="does not match"):
        check_head(KEY, opened(url, "PUT", {**shown, "content-type": "text/html"}))


def put(service: str, digest: str, path: str = "/bucket/a%20b") -> Incoming:
    request = AWSRequest("PUT", f"http://localhost{path}", {"Host": "localhost", "X-Amz-Content-SHA256": digest}, b"{}")
    auth = (S3SigV4Auth if service == "s3" else SigV4Auth)(Credentials("any", KEY), service, "us-east-1")
    auth.payload = lambda request: digest  # what SDKs do where they do not sign a body
    request.context["timestamp"] = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    auth.add_auth(request)
    return Incoming("PUT", path, {name.lower(): value for name, value in request.headers.items()}, b"{}")


@pytest.mark.parametrize("digest", ["UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"])
def test_s3_alone_takes_a_body_that_is_not_signed(digest: str) -> None:
    good = put("s3", digest)
    check_head(KEY, good)
    check_body(KEY, good)
    with pytest.raises(AccessDeniedError, match="does not match"):
        check_head(KEY, Incoming("PUT", "/bucket/other", good.headers, b"{}"))
    with pytest.raises(AccessDeniedError, match="is not the body's digest"):
        check_head(KEY, put("bedrock", digest, "/bucket/a"))


@given(any_text, any_text, any_text)
def test_no_address_breaks_the_check(a: str, b: str, c: str) -> None:
    for query in (
        f"AWSAccessKeyId={a}&Signature={b}&Expires={c}",
        f"X-Amz-Signature={a}&X-Amz-Credential=a/b/c/s3/{b}&X-Amz-SignedHeaders=host&X-Amz-Expires=9&X-Amz-Date={c}",
        f"{a}AWSAccessKeyId=&{b}Signature={c}&Expires=9999999999",
        f"AWSAccessKeyId=&Signature={b}é&Expires=9999999999",
        f"{a}&X-Amz-Signature={b}",
    ):
        incoming = Incoming("GET", "/bucket/key", {"host": "localhost"}, query=query)
        with pytest.raises(AccessDeniedError):
            check_head(KEY, incoming)


def test_whose_access_key_a_request_names() -> None:
    assert signer(signed()) == "any"
    for version in ("s3", "s3v4"):
        url = client(signature_version=version).generate_presigned_url("get_object", {"Bucket": "b", "Key": "k"})
        assert signer(opened(url)) == "any"
    assert signer(Incoming("GET", "/", {})) is None
