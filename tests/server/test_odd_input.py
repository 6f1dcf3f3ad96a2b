"""What moto's code fails on is the caller's mistake, in the words of the service that was called; and what S3 is asked
by those that have no SDK."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import logging
from collections.abc import Iterator

import pytest

from awsllm.server import running
from awsllm.testing import AsyncScriptedBackend

SECRET = "nobody-may-read-this"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(AsyncScriptedBackend(lambda request: "Hello.")) as at:
        assert call(at, "PUT", "/odd")[0] == 200
        assert call(at, "PUT", "/odd/k", b"hello")[0] == 200
        yield at


def call(
    url: str, method: str, path: str, body: bytes = b"", service: str | None = "s3", **headers: str
) -> tuple[int, str]:
    """What is answered to a request that says which service it is for, unless that is None."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
    scope = f"AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=0"
    signed = {} if service is None else {"Authorization": scope}
    try:
        connection.request(method, path, body, signed | {name.replace("_", "-"): headers[name] for name in headers})
        reply = connection.getresponse()
        return reply.status, reply.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("PUT", "/odd/x", {"x-amz-acl": SECRET}),
        ("PUT", "/odd?acl", {"x-amz-acl": SECRET}),
        ("GET", "/odd/k", {"If-Modified-Since": SECRET}),
        ("PUT", "/odd/x", {"x-amz-copy-source": SECRET}),
        ("PUT", "/odd/k?uploadId=u&partNumber=" + SECRET, {}),
        ("GET", "/odd/k?partNumber=" + SECRET, {}),
        ("GET", "/odd?list-type=2&max-keys=" + SECRET, {}),
        ("GET", "/odd?list-type=2&max-keys=-1", {}),
    ],
)
def test_a_value_that_moto_fails_on_is_an_invalid_argument(
    method: str, path: str, headers: dict[str, str], url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        status, text = call(url, method, path, b"x" if method == "PUT" and "acl" not in path else b"", **headers)
    assert (status, "<Code>InvalidArgument</Code>" in text) == (400, True)
    (line,) = caplog.records
    assert "of s3" in line.getMessage()
    assert line.exc_info is None
    assert SECRET not in line.getMessage()


@pytest.mark.parametrize("query", ["delete", "lifecycle", "tagging", "publicAccessBlock"])
@pytest.mark.parametrize("body", [b"", b"<a/>", b"<Delete/>"])
def test_a_document_that_moto_fails_on_is_malformed(query: str, body: bytes, url: str) -> None:
    status, text = call(url, "POST" if query == "delete" else "PUT", f"/odd?{query}", body)
    assert (status, "<Code>MalformedXML</Code>" in text) == (400, True)


DATA = b"123456789"


@pytest.mark.parametrize(
    ("header", "right", "code"),
    [
        ("Content-MD5", hashlib.md5(DATA, usedforsecurity=False).digest(), "InvalidDigest"),
        ("x-amz-checksum-crc32", bytes.fromhex("cbf43926"), "InvalidRequest"),
        ("x-amz-checksum-crc32c", bytes.fromhex("e3069283"), "InvalidRequest"),
        ("x-amz-checksum-crc64nvme", bytes.fromhex("ae8b14860a799888"), "InvalidRequest"),
        ("x-amz-checksum-sha1", hashlib.sha1(DATA, usedforsecurity=False).digest(), "InvalidRequest"),
        ("x-amz-checksum-sha256", hashlib.sha256(DATA).digest(), "InvalidRequest"),
    ],
)
def test_what_is_not_what_its_sender_says_is_not_kept(header: str, right: bytes, code: str, url: str) -> None:
    """The CRCs are the check values of their catalogue (reveng.sourceforge.io/crc-catalogue)."""
    if right[:1] in (b"\xe3", b"\xae"):
        pytest.importorskip("awscrt.checksums")

    def put(key: str, told: bytes) -> tuple[int, str]:
        return call(url, "PUT", f"/odd/{key}", DATA, **{header: base64.b64encode(told).decode()})

    assert put("right", right)[0] == 200
    for told, expected in ((bytes(len(right)), "BadDigest"), (b"odd", code)):
        status, text = put(f"wrong-{header}", told)
        assert (status, f"<Code>{expected}</Code>" in text) == (400, True)
    assert call(url, "GET", f"/odd/wrong-{header}")[0] == 404


@pytest.mark.parametrize("body", [b"", b"no JSON", b"\xff", b"[" * 100_000, b"[]"])
def test_a_policy_that_is_none_is_not_kept(body: bytes, url: str) -> None:
    status, text = call(url, "PUT", "/odd?policy", body)
    assert (status, "<Code>MalformedPolicy</Code>" in text) == (400, True)
    assert call(url, "GET", "/odd/k")[0] == 200


@pytest.mark.parametrize("key", ["open.html", "a/b%20c+d"])
def test_who_has_no_sdk_reads_what_anyone_may(key: str, url: str) -> None:
    assert (
        call(url, "PUT", f"/odd/{key}", b"<h1>Hi", **{"x-amz-acl": "public-read", "Content-Type": "text/html"})[0]
        == 200
    )
    assert call(url, "GET", f"/odd/{key}?v=2", service=None) == (200, "<h1>Hi")
    assert call(url, "HEAD", f"/odd/{key}", service=None) == (200, "")
    assert call(url, "GET", f"/{key}", service=None, Host="odd.localhost") == (200, "<h1>Hi")
    for path in ("/odd/k", f"/odd/{key}?acl", f"/odd/{key}x", "/odd", "/nobody/k"):
        assert call(url, "GET", path, service=None)[0] in (403, 404)
    assert call(url, "DELETE", f"/odd/{key}", service=None)[0] == 404
    assert call(url, "GET", f"/odd/{key}", service=None)[0] == 200


def test_a_buckets_policy_lets_anyone_read(url: str) -> None:
    statement = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::public/*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]}).encode()
    assert call(url, "PUT", "/public")[0] == 200
    assert call(url, "PUT", "/public/k", b"hello")[0] == 200
    assert call(url, "GET", "/public/k", service=None)[0] == 403
    assert call(url, "PUT", "/public?policy", policy)[0] in (200, 204)
    assert call(url, "GET", "/public/k", service=None) == (200, "hello")


def test_a_form_at_a_server_with_a_key_is_told_of_puts() -> None:
    form = {"Content-Type": "multipart/form-data; boundary=b"}
    with running(AsyncScriptedBackend("x"), api_key="the-servers-key") as at:
        status, text = call(at, "POST", "/bucket", b"--b--\r\n", service=None, **form)
        assert (status, "<Code>AccessDenied</Code>" in text, "put_object" in text) == (403, True, True)
        assert call(at, "GET", "/bucket/k", service=None)[0] == 403


def test_other_services_say_it_in_their_own_protocols(url: str) -> None:
    status, text = call(url, "POST", "/", b"Action=AssumeRole&Version=2011-06-15", "sts", **FORM)
    assert (status, "<Code>ValidationError</Code>" in text) == (400, True)
    status, text = call(url, "POST", "/", b"Action=RunInstances&Version=2016-11-15&MinCount=x", "ec2", **FORM)
    assert (status, "<Code>InvalidParameterValue</Code>" in text) == (400, True)
    for target, body, code in (
        ("DynamoDB_20120810.GetItem", b"{}", "ValidationException"),
        ("TrentService.Encrypt", b'{"KeyId": 3, "Plaintext": 4}', "SerializationException"),
    ):
        headers = {"X-Amz-Target": target, "Content-Type": "application/x-amz-json-1.1"}
        status, text = call(url, "POST", "/", body, "kms", **headers)
        assert (status, json.loads(text)["__type"]) == (400, code)
    status, text = call(url, "POST", "/2015-03-31/functions", b"{}", "lambda")
    assert (status, json.loads(text)["__type"]) == (400, "ValidationException")
