"""What SDKs sign, in every form that they have for it: judged by botocore's signers, awscrt's, curl's and AWS's own
worked example of chunks."""

from __future__ import annotations

import re
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from awsllm.errors import AccessDeniedError, ConfigurationError
from awsllm.server import running
from awsllm.server.http import signatures
from awsllm.server.http.auth import Auth, check_body, check_head, check_way
from awsllm.server.http.signatures import DIGEST
from awsllm.server.work import Incoming
from awsllm.testing import AsyncScriptedBackend

KEY = "the-servers-key"
KEYS = ["plain", "a folder/ein Löwe & 1+1=2 (copy)~.txt", "%41//x"]
NAMES = ["X-Amz-SignedHeaders", "X-Amz-Date", "X-Amz-Expires", "AWSAccessKeyId", "Signature", "Expires"]
HELLO: list[Any] = [{"role": "user", "content": [{"text": "Hello"}]}]


@pytest.fixture(scope="module")
def locked() -> Iterator[str]:
    with running(AsyncScriptedBackend("Hello."), api_key=KEY) as url:
        yield url


def client(service: str, url: str, secret: str = KEY, **options: Any) -> Any:
    config = Config(retries={"total_max_attempts": 1}, **options)
    return boto3.client(
        service, "eu-west-1", endpoint_url=url, aws_access_key_id="any", aws_secret_access_key=secret, config=config
    )


def fetch(url: str, method: str = "GET", data: bytes | None = None) -> tuple[int, bytes]:
    try:
        request = urllib.request.Request(url, data, {"Content-Type": ""}, method=method)
        with urllib.request.urlopen(request) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def bucket_of(url: str, name: str) -> Any:
    s3 = client("s3", url, s3={"addressing_style": "path"})
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    return s3


@pytest.mark.parametrize("key", KEYS)
def test_objects_of_every_name_are_written_and_read(locked: str, key: str) -> None:
    s3 = bucket_of(locked, f"names-{KEYS.index(key)}")
    s3.put_object(Bucket=f"names-{KEYS.index(key)}", Key=key, Body=b"content", Metadata={"who": "me  and   you"})
    assert s3.get_object(Bucket=f"names-{KEYS.index(key)}", Key=key)["Body"].read() == b"content"
    listed = s3.list_objects_v2(Bucket=f"names-{KEYS.index(key)}", Prefix=key[:3], Delimiter="&")
    assert listed["KeyCount"] == 1


@pytest.mark.parametrize("version", ["s3v4", "s3"])
@pytest.mark.parametrize("key", KEYS)
def test_presigned_urls_are_taken(locked: str, key: str, version: str) -> None:
    """Version 2 is what boto3 has for presigned URLs unless told otherwise."""
    name = f"presigned-{version}-{KEYS.index(key)}"
    bucket_of(locked, name)
    s3, other = (client("s3", locked, secret, signature_version=version) for secret in (KEY, "another"))
    place = {"Bucket": name, "Key": key}
    assert fetch(s3.generate_presigned_url("put_object", place), "PUT", b"from a browser")[0] == 200
    url = s3.generate_presigned_url("get_object", {**place, "ResponseContentType": "text/plain; x=y"})
    assert fetch(url) == (200, b"from a browser")
    for wrong in (url.replace("text%2Fplain", "text%2Fhtml"), other.generate_presigned_url("get_object", place)):
        status, told = fetch(wrong)
        assert (status, b"<Code>SignatureDoesNotMatch</Code>" in told) == (403, True)


def test_a_presigned_url_needs_no_key_where_the_server_has_none() -> None:
    with running(AsyncScriptedBackend("Hello.")) as url:
        bucket_of(url, "open").put_object(Bucket="open", Key="k", Body=b"content")
        for version in ("s3v4", "s3"):
            s3 = client("s3", url, signature_version=version)
            assert fetch(s3.generate_presigned_url("get_object", {"Bucket": "open", "Key": "k"})) == (200, b"content")


def test_a_presigned_url_of_another_service_is_taken(locked: str) -> None:
    """As the authenticator of EKS has it."""
    url = client("sts", locked).generate_presigned_url("get_caller_identity", HttpMethod="GET")
    assert b"123456789012" in fetch(url)[1]
    assert fetch(url + "0")[0] == 403


@pytest.mark.parametrize("version", ["s3v4", "s3"])
def test_a_presigned_url_ends(monkeypatch: pytest.MonkeyPatch, locked: str, version: str) -> None:
    s3 = client("s3", locked, signature_version=version)
    url = s3.generate_presigned_url("get_object", {"Bucket": "b", "Key": "k"}, ExpiresIn=60)
    parts = urlsplit(url)
    incoming = Incoming("GET", parts.path, {"host": parts.netloc}, query=parts.query)
    check_head(KEY, incoming)
    move(monkeypatch, minutes=2)
    for check in (lambda: check_head(KEY, incoming), lambda: check_way(Auth.SIGV4, None, incoming)):
        with pytest.raises(AccessDeniedError, match="Request has expired") as caught:
            check()
        assert caught.value.code == "AccessDenied"


@given(st.lists(st.sampled_from(NAMES), unique=True), st.text(max_size=8))
def test_no_query_breaks_the_check(names: list[str], value: str) -> None:
    algorithm = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature="
    for credential in (value, "a/20260101/us-east-1/s3/aws4_request"):
        told = {**dict.fromkeys(names, value), "X-Amz-Credential": credential}
        query = urlencode(told) + ("&" + algorithm + quote(value) if "X-Amz-Date" in names else "")
        with pytest.raises(AccessDeniedError):
            check_head(KEY, Incoming("GET", f"/b/{quote(value)}", {"host": "localhost"}, query=query))


def test_a_large_object_goes_in_parts(locked: str) -> None:
    s3 = bucket_of(locked, "parts")
    upload = s3.create_multipart_upload(Bucket="parts", Key="k")["UploadId"]
    sent = {"Bucket": "parts", "Key": "k", "UploadId": upload}
    part = s3.upload_part(**sent, PartNumber=1, Body=b"x" * 100)
    parts = {"Parts": [{"ETag": part["ETag"], "PartNumber": 1}]}
    s3.complete_multipart_upload(**sent, MultipartUpload=parts)
    assert s3.head_object(Bucket="parts", Key="k")["ContentLength"] == 100


@pytest.mark.parametrize("service", ["s3", "bedrock", "sagemaker"])
def test_what_awscrt_signs_is_taken(service: str) -> None:
    auth = pytest.importorskip("awscrt.auth")
    http = pytest.importorskip("awscrt.http")
    path = "/bucket/a%20b" if service == "s3" else "/model/arn%3Aaws%3Ax%2Fy/converse"
    request = http.HttpRequest("POST", f"{path}?b=1&a=%2F", http.HttpHeaders([("Host", "localhost:8900")]))
    config = auth.AwsSigningConfig(
        algorithm=auth.AwsSigningAlgorithm.V4,
        signature_type=auth.AwsSignatureType.HTTP_REQUEST_HEADERS,
        credentials_provider=auth.AwsCredentialsProvider.new_static("any", KEY),
        region="us-east-1",
        service=service,
        use_double_uri_encode=service != "s3",
        should_normalize_uri_path=service != "s3",
        signed_body_value=sha256(b"{}").hexdigest(),
        signed_body_header_type=auth.AwsSignedBodyHeaderType.X_AMZ_CONTENT_SHA_256,
    )
    auth.aws_sign_request(request, config).result(20)
    headers = {name.lower(): value for name, value in request.headers}
    incoming = Incoming("POST", path, headers, b"{}", query="b=1&a=%2F")
    assert check_head(KEY, incoming) is False
    check_body(KEY, incoming)
    with pytest.raises(AccessDeniedError):
        check_head("another", incoming)


def test_what_curl_signs_is_taken(locked: str) -> None:
    curl = shutil.which("curl")
    said = subprocess.run([curl, "--version"], capture_output=True, text=True, check=True).stdout if curl else ""
    found = re.match(r"curl (\d+)\.(\d+)", said)
    if curl is None or found is None or (int(found[1]), int(found[2])) < (7, 76):
        pytest.skip("needs a curl that signs, 7.76 or later")
    for secret, status in ((KEY, "200"), ("another", "403")):
        command = [curl, "-s", "-o", "-", "-w", "%{http_code}", "--aws-sigv4", "aws:amz:us-east-1:bedrock"]
        command += ["-u", f"any:{secret}", "-H", "Content-Type: application/json"]
        command += ["-d", '{"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}']
        done = subprocess.run(
            [*command, f"{locked}/model/amazon.nova-lite/converse"], capture_output=True, text=True, check=True
        )
        assert done.stdout.endswith(status), done.stdout


# --- chunks ----------------------------------------------------------------------------------------------------------

# The worked example of S3's API reference, "sigv4-streaming": its secret, its head and the signatures of its chunks.
EXAMPLE_SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
EXAMPLE_HEAD = {
    "host": "s3.amazonaws.com",
    "x-amz-date": "20130524T000000Z",
    "x-amz-storage-class": "REDUCED_REDUNDANCY",
    "x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    "content-encoding": "aws-chunked",
    "x-amz-decoded-content-length": "66560",
    "content-length": "66824",
    "authorization": "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
    "SignedHeaders=content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;"
    "x-amz-storage-class, Signature=4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
}
EXAMPLE_CHUNKS = (
    (65536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
    (1024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
    (0, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
)


def example(changed: int | None = None) -> Incoming:
    body = b""
    for number, (size, signature) in enumerate(EXAMPLE_CHUNKS):
        data = (b"b" if number == changed else b"a") * size
        body += f"{size:x};chunk-signature={signature}\r\n".encode() + data + b"\r\n"
    return Incoming("PUT", "/examplebucket/chunkObject.txt", EXAMPLE_HEAD, body)


def test_the_chunks_of_awss_example_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    move(monkeypatch, to=datetime(2013, 5, 24, tzinfo=UTC))
    assert check_head(EXAMPLE_SECRET, example()) is False
    check_body(EXAMPLE_SECRET, example())
    with pytest.raises(AccessDeniedError, match="does not match"):
        check_head("another", example())


@pytest.mark.parametrize("changed", [0, 1])
def test_a_chunk_that_was_changed_is_refused(changed: int) -> None:
    with pytest.raises(AccessDeniedError, match="does not match"):
        check_body(EXAMPLE_SECRET, example(changed))


@pytest.mark.parametrize("body", [b"", b"3\r\nabc\r\n0\r\n\r\n", b"3;chunk-signature=0\r\nabc"])
def test_chunks_need_signatures(body: bytes) -> None:
    with pytest.raises(AccessDeniedError, match="has no signature"):
        check_body(EXAMPLE_SECRET, Incoming("PUT", "/b/k", EXAMPLE_HEAD, body))


def trailed(value: str = "AAAAAA==", signed: bool = True) -> Incoming:
    """A chunk, the last one and a trailer, each signed as the API reference says ("sigv4-streaming-trailers")."""
    secret, stamp = KEY, "20260101T000000Z"
    scope = "20260101/us-east-1/s3/aws4_request"
    head = {
        "host": "localhost",
        "x-amz-date": stamp,
        "x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
        "x-amz-trailer": "x-amz-checksum-crc32c",
        "authorization": f"AWS4-HMAC-SHA256 Credential=a/{scope}, SignedHeaders=host, Signature={'0' * 64}",
    }
    signer = SigV4Auth(Credentials("a", secret), "s3", "us-east-1")
    request = AWSRequest()
    request.context["timestamp"] = stamp
    prior, body = "0" * 64, b""
    for data in (b"Hello", b""):
        empty = sha256(b"").hexdigest()
        text = "\n".join(("AWS4-HMAC-SHA256-PAYLOAD", stamp, scope, prior, empty, sha256(data).hexdigest()))
        prior = signer.signature(text, request)
        body += f"{len(data):x};chunk-signature={prior}\r\n".encode() + (data + b"\r\n" if data else b"")
    trailer = sha256(b"x-amz-checksum-crc32c:AAAAAA==\n").hexdigest()
    last = signer.signature("\n".join(("AWS4-HMAC-SHA256-TRAILER", stamp, scope, prior, trailer)), request)
    body += f"x-amz-checksum-crc32c:{value}\r\n".encode()
    body += f"x-amz-trailer-signature:{last}\r\n\r\n".encode() if signed else b"\r\n"
    return Incoming("PUT", "/b/k", head, body)


def test_a_trailer_is_signed_too() -> None:
    check_body(KEY, trailed())
    with pytest.raises(AccessDeniedError, match="does not match"):
        check_body(KEY, trailed("AAAAAB=="))
    with pytest.raises(AccessDeniedError, match="trailer of the body has no signature"):
        check_body(KEY, trailed(signed=False))


def test_only_s3_is_sent_what_is_not_signed() -> None:
    for digest in ("UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"):
        head = {"host": "localhost", DIGEST: digest}
        assert check_head(KEY, signed("s3", head)) is False
        check_body(KEY, signed("s3", head))
        with pytest.raises(AccessDeniedError, match="is not the body's digest"):
            check_head(KEY, signed("bedrock", head))


# --- which ways are taken --------------------------------------------------------------------------------------------


def signed(service: str = "bedrock", headers: dict[str, str] | None = None, **changes: Any) -> Incoming:
    """A request as botocore signs it, with another ``secret``, ``region`` or ``path``."""
    path = changes.get("path", "/model/a/converse")
    named = headers or {"host": "localhost"}
    request = AWSRequest("POST", f"http://localhost{path}", named, b"{}")
    signer = SigV4Auth(Credentials("any", changes.get("secret", KEY)), service, changes.get("region", "us-east-1"))
    if DIGEST in named:
        signer.payload = lambda request: named[DIGEST]
    signer.add_auth(request)
    return Incoming("POST", path, {name.lower(): value for name, value in request.headers.items()}, b"{}")


def move(monkeypatch: pytest.MonkeyPatch, *, minutes: float = 0, to: datetime | None = None) -> None:
    """The server's clock."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return to or datetime.now(UTC) + timedelta(minutes=minutes)

    monkeypatch.setattr(signatures, "datetime", Clock)


def test_signatures_are_asked_for_without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    check_way(Auth.SIGV4, None, signed(secret="whatever"))
    with pytest.raises(AccessDeniedError, match="Missing Authentication Token") as caught:
        check_way(Auth.SIGV4, None, Incoming("POST", "/model/a/converse", {"authorization": "Bearer a"}))
    assert caught.value.code == "MissingAuthenticationTokenException"
    with pytest.raises(AccessDeniedError, match="correct service: 'bedrock'"):
        check_way(Auth.SIGV4, None, signed("sagemaker"))
    with pytest.raises(AccessDeniedError, match=r"correct service\."):
        check_way(Auth.SIGV4, None, signed("nothing", path="/"))
    with pytest.raises(AccessDeniedError, match="valid Region, not 'nowhere'"):
        check_way(Auth.SIGV4, None, signed(region="nowhere"))
    late = signed()
    move(monkeypatch, minutes=6)
    with pytest.raises(AccessDeniedError, match=r"^Signature expired: \d{8}T\d{6}Z is now earlier than \w+ \(\w+ - 5"):
        check_way(Auth.SIGV4, None, late)
    move(monkeypatch, minutes=-6)
    with pytest.raises(AccessDeniedError, match=r"^Signature not yet current: \w+ is still later than \w+ \(\w+ \+ 5"):
        check_way(Auth.SIGV4, None, late)
    fields = {**late.headers, "authorization": re.sub(r"/\d{8}/", "/20200101/", late.headers["authorization"])}
    with pytest.raises(AccessDeniedError, match="Date in Credential scope does not match"):
        check_way(Auth.SIGV4, None, Incoming("POST", late.path, fields, b"{}"))


def test_a_bearer_token_may_be_asked_for() -> None:
    for headers in ({"authorization": "Bearer anything"}, {"x-api-key": "anything"}):
        check_way(Auth.BEARER, None, Incoming("POST", "/v1/messages", headers))
    with pytest.raises(AccessDeniedError, match="bearer token is missing"):
        check_way(Auth.BEARER, KEY, signed())


def test_boto3_reads_what_is_wrong_with_its_signature() -> None:
    with running(AsyncScriptedBackend("Hello."), auth="sigv4") as url:
        assert client("bedrock-runtime", url, "any").converse(modelId="amazon.nova-lite-v1:0", messages=HELLO)
        assert fetch(f"{url}/health")[0] == 200
        assert fetch(f"{url}/v1/models")[0] == 401
        runtime = client("bedrock-runtime", url)
        runtime.meta.events.register(
            "before-sign", lambda request, **_: request.context.update(signing={"region": "x"})
        )
        with pytest.raises(ClientError, match="Credential should be scoped to a valid Region") as caught:
            runtime.converse(modelId="amazon.nova-lite-v1:0", messages=HELLO)
        assert caught.value.response["Error"]["Code"] == "InvalidSignatureException"


def test_a_way_that_contradicts_the_key_is_no_setting() -> None:
    wrong: list[dict[str, Any]] = [{"auth": "none", "api_key": KEY}, {"auth": "basic"}]
    for options in wrong:
        with pytest.raises(ConfigurationError, match="auth"), running(AsyncScriptedBackend("x"), **options):
            """It does not start."""
