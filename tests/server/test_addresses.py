"""Whoever has an address of S3 reads and writes by it without an SDK: presigned URLs, forms of browsers, streams."""

from __future__ import annotations

import base64
import builtins
import json
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import boto3
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from awsllm.server import running
from awsllm.server.services import Service, meant
from awsllm.server.work import Incoming
from awsllm.testing import AsyncScriptedBackend

KEY = "the-key"


@pytest.fixture(scope="module", params=[None, KEY], ids=["open", "key"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    with running(AsyncScriptedBackend("Hello."), api_key=request.param) as url:
        yield url


def client(service: str, url: str, **options: Any) -> Any:
    keys = {"aws_access_key_id": "any", "aws_secret_access_key": KEY}
    return boto3.client(service, "us-east-1", endpoint_url=url, **keys, config=Config(**options))


def fetch(
    url: str, method: str = "GET", data: bytes | None = None, headers: Mapping[str, str] = MappingProxyType({})
) -> tuple[int, bytes]:
    asked = urllib.request.Request(url, data, dict(headers), method=method)
    with urllib.request.urlopen(asked, timeout=20) as reply:
        return reply.status, reply.read()


def bucket(s3: Any) -> str:
    name = f"bucket-{uuid.uuid4().hex}"
    s3.create_bucket(Bucket=name)
    return name


@pytest.mark.parametrize("version", [None, "s3v4"])
def test_presigned_addresses(url: str, version: str | None) -> None:
    s3 = client("s3", url, signature_version=version)
    params = {"Bucket": bucket(client("s3", url)), "Key": "a b/ü+&=?.txt"}
    form = {"Content-Type": "application/x-www-form-urlencoded"}  # of a program that says no other, such as urllib's
    typed = s3.generate_presigned_url("put_object", {**params, "ContentType": form["Content-Type"]})
    assert fetch(typed, "PUT", b"written", form)[0] == 200
    assert fetch(s3.generate_presigned_url("get_object", params)) == (200, b"written")
    assert fetch(s3.generate_presigned_url("delete_object", params), "DELETE")[0] == 204


@pytest.mark.parametrize("version", [None, "s3v4"])
def test_a_browsers_form(version: str | None) -> None:
    with running(AsyncScriptedBackend("Hello.")) as url:
        s3 = client("s3", url, signature_version=version)
        name = bucket(client("s3", url))
        post = s3.generate_presigned_post(name, "posted.txt")
        parts = [f'--b\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in post["fields"].items()]
        parts.append('--b\r\nContent-Disposition: form-data; name="file"; filename="f.txt"\r\n\r\nposted\r\n--b--\r\n')
        form = {"Content-Type": "multipart/form-data; boundary=b"}
        assert fetch(post["url"], "POST", "".join(parts).encode(), form)[0] == 204
        assert client("s3", url).get_object(Bucket=name, Key="posted.txt")["Body"].read() == b"posted"


def test_the_checksum_behind_a_streamed_body_is_kept(url: str) -> None:
    """The JavaScript SDK streams so. The checksum is CRC-32C's check value (RFC 3720, B.4: 32 bytes of zeros)."""
    s3, data, checksum = client("s3", url), bytes(32), base64.b64encode(bytes.fromhex("8a9136aa")).decode()
    name = bucket(s3)
    chunks = b"20\r\n" + data + b"\r\n0\r\nx-amz-checksum-crc32c:" + checksum.encode() + b"\r\n\r\n"
    headers = {"Content-Encoding": "aws-chunked", "X-Amz-Trailer": "x-amz-checksum-crc32c"}
    headers["X-Amz-Content-SHA256"] = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
    request = AWSRequest("PUT", f"{url}/{name}/k", headers, chunks)
    auth = S3SigV4Auth(Credentials("any", KEY), "s3", "us-east-1")
    auth.payload = lambda request: headers["X-Amz-Content-SHA256"]
    auth.add_auth(request)
    fetch(request.url, "PUT", chunks, dict(request.headers.items()) | {"Content-Type": "text/plain"})
    found = s3.get_object(Bucket=name, Key="k", ChecksumMode="ENABLED")
    assert (found["ChecksumCRC32C"], found["ContentLength"], found.get("ContentEncoding")) == (checksum, 32, None)
    assert found["Body"].read() == data


def test_a_package_that_moto_lacks_is_named(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    s3, found = client("s3", url), builtins.__import__
    name = bucket(s3)
    s3.put_object(Bucket=name, Key="rows.csv", Body=b"a,b\n1,2\n")

    def lacking(module: str, *rest: Any) -> Any:
        if module.startswith("py_partiql_parser"):
            raise ModuleNotFoundError(f"No module named {module!r}", name=module)
        return found(module, *rest)

    monkeypatch.setattr(builtins, "__import__", lacking)
    with pytest.raises(ClientError, match="needs the package py_partiql_parser") as refused:
        s3.select_object_content(
            Bucket=name,
            Key="rows.csv",
            ExpressionType="SQL",
            Expression="select * from s3object",
            InputSerialization={"CSV": {}},
            OutputSerialization={"JSON": {}},
        )
    s3.close()
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501


def test_the_url_of_a_queue_that_a_stack_made_is_the_servers(url: str) -> None:
    stacks = client("cloudformation", url)
    name = f"stack-{uuid.uuid4().hex}"
    template = {"Resources": {"Q": {"Type": "AWS::SQS::Queue"}}, "Outputs": {"Url": {"Value": {"Ref": "Q"}}}}
    stacks.create_stack(StackName=name, TemplateBody=json.dumps(template))
    (output,) = stacks.describe_stacks(StackName=name)["Stacks"][0]["Outputs"]
    assert output["OutputValue"].startswith(url)
    client("sqs", url).send_message(QueueUrl=output["OutputValue"], MessageBody="x")


@pytest.mark.parametrize(
    ("method", "path", "query", "headers", "name"),
    [
        ("GET", "/b/k", "AWSAccessKeyId=a&Signature=b&Expires=1", {}, "s3"),
        ("GET", "/b/k", "", {"authorization": "AWS a:b"}, "s3"),
        ("POST", "/bucket", "", {"content-type": "multipart/form-data; boundary=b"}, "s3"),
        ("POST", "/", "", {"content-type": "multipart/form-data; boundary=b", "host": "bucket.localhost"}, "s3"),
        ("POST", "/v1/files", "", {"content-type": "multipart/form-data; boundary=b"}, None),
        ("GET", "/", "Action=X&AWSAccessKeyId=a&Signature=b", {}, None),
    ],
)
def test_whose_a_request_without_a_scope_is(
    method: str, path: str, query: str, headers: dict[str, str], name: str | None
) -> None:
    service, _ = meant(Incoming(method, path, headers, query=query))
    assert (service.name if isinstance(service, Service) else None) == name
