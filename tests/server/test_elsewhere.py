"""All of AWS pointed at a server without an account: who is not served is told so in the protocol of its own client.

The judge is botocore, which parses each refusal with the parser of the service.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from awsllm.server import running
from awsllm.server.services import services
from awsllm.server.surfaces.routes import plan
from awsllm.server.work import Incoming, Reply
from awsllm.testing import AsyncScriptedBackend

KEY = "a-key-of-this-server"
JSON, QUERY, XML = "UnknownOperationException", "InvalidAction", "NotImplemented"
CALLS: list[tuple[str, str, dict[str, Any], str]] = [
    # query, and EC2's form of it
    ("sts", "get_caller_identity", {}, QUERY),
    ("iam", "list_roles", {}, QUERY),
    ("sns", "list_topics", {}, QUERY),
    ("rds", "describe_db_instances", {}, QUERY),
    ("elbv2", "describe_load_balancers", {}, QUERY),
    ("ses", "list_identities", {}, QUERY),
    ("ec2", "describe_instances", {}, QUERY),
    # JSON 1.0 and 1.1, and CBOR where botocore prefers it
    ("dynamodb", "list_tables", {}, JSON),
    ("sqs", "list_queues", {}, JSON),
    ("secretsmanager", "list_secrets", {}, JSON),
    ("logs", "describe_log_groups", {}, JSON),
    ("cloudwatch", "list_metrics", {}, JSON),
    ("sagemaker", "list_models", {}, JSON),
    ("arc-region-switch", "list_plans", {}, JSON),
    # REST with JSON
    ("lambda", "list_functions", {}, JSON),
    ("sesv2", "list_email_identities", {}, JSON),
    ("bedrock", "list_foundation_models", {}, JSON),
    ("sagemaker-runtime", "invoke_endpoint_async", {"EndpointName": "a", "InputLocation": "s3://a/b"}, JSON),
    # REST with XML
    ("s3", "list_buckets", {}, XML),
    ("s3", "get_object", {"Bucket": "bucket", "Key": "a/b"}, XML),
    ("s3", "list_objects_v2", {"Bucket": "bucket"}, XML),
    ("s3", "put_object", {"Bucket": "bucket", "Key": "a", "Body": b"x" * 300_000}, XML),
    ("s3", "upload_part", {"Bucket": "bucket", "Key": "a", "PartNumber": 1, "UploadId": "u", "Body": b"x"}, XML),
    ("route53", "list_hosted_zones", {}, XML),
    ("cloudfront", "list_distributions", {}, XML),
]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(AsyncScriptedBackend("Hello."), account=False) as url:
        yield url


@pytest.fixture(scope="module")
def locked() -> Iterator[str]:
    with running(AsyncScriptedBackend("Hello."), api_key=KEY, account=False) as url:
        yield url


def refusal(url: str, service: str, method: str, parameters: dict[str, Any], secret: str = KEY) -> tuple[Any, str]:
    """What a client of the service is told: code and message, and the operation's name."""
    settings = Config(retries={"total_max_attempts": 1}, read_timeout=60)
    keys = {"aws_access_key_id": "any", "aws_secret_access_key": secret}
    client: Any = boto3.client(service, "us-east-1", endpoint_url=url, config=settings, **keys)
    try:
        with pytest.raises(ClientError) as caught:
            getattr(client, method)(**parameters)
    finally:
        client.close()
    return caught.value.response["Error"], client.meta.method_to_api_mapping[method]


@pytest.mark.parametrize(("service", "method", "parameters", "code"), CALLS, ids=[f"{c[0]}-{c[1]}" for c in CALLS])
def test_a_client_reads_what_is_not_served(
    service: str, method: str, parameters: dict[str, Any], code: str, url: str
) -> None:
    error, operation = refusal(url, service, method, parameters)
    assert error["Code"] == code
    assert error["Message"].startswith(f"{operation} of ")
    assert f"({service}) is not served here. " in error["Message"]
    assert ("InvokeEndpoint, " in error["Message"]) is (service == "sagemaker-runtime")


def test_a_bucket_is_not_said_to_be_missing(url: str) -> None:
    """A reply to HEAD has no body; 404 would mean that there is no such bucket."""
    error, _ = refusal(url, "s3", "head_bucket", {"Bucket": "bucket"})
    assert error["Code"] == "501"


def test_what_is_read_without_a_signature_is_refused_as_s3_refuses(url: str) -> None:
    """JumpStart's documents lie in a public bucket: a 404 would say that there is no such model."""
    client: Any = boto3.client("s3", "us-east-1", endpoint_url=url, config=Config(signature_version=UNSIGNED))
    with pytest.raises(ClientError) as caught:
        client.get_object(Bucket="bucket", Key="models_manifest.json")
    client.close()
    assert caught.value.response["Error"]["Code"] == XML
    assert caught.value.response["Error"]["Message"].startswith("GetObject of Amazon Simple Storage Service (s3) is ")
    sdk = {"host": "127.0.0.1", "amz-sdk-invocation-id": "a"}
    for reader in ({"host": "127.0.0.1"}, {**sdk, "authorization": "Bearer a"}):  # a browser, a client of Bedrock
        reply = plan(Incoming("GET", "/bucket/key", reader))
        assert isinstance(reply, Reply)
        assert reply.status == 404


@pytest.mark.parametrize("service", ["sts", "ec2", "dynamodb", "cloudwatch", "lambda", "s3"])
def test_a_client_reads_that_its_key_is_wrong(service: str, locked: str) -> None:
    method, parameters = next((call[1], call[2]) for call in CALLS if call[0] == service)
    error, _ = refusal(locked, service, method, parameters, secret="another")
    json = service in ("dynamodb", "cloudwatch", "lambda")
    assert error["Code"] == ("InvalidSignatureException" if json else "SignatureDoesNotMatch")
    assert "does not match" in error["Message"]
    error, operation = refusal(locked, service, method, parameters)
    assert error["Message"].startswith(operation)


def test_a_bucket_in_the_name_of_the_host() -> None:
    signature = {"authorization": "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request, Signature=a"}
    reply = plan(Incoming("GET", "/key", {"host": "bucket.localhost:8900", **signature}))
    assert isinstance(reply, Reply)
    assert b"GetObject of Amazon Simple Storage Service" in reply.body
    reply = plan(Incoming("GET", "/", {"host": "localhost:8900", **signature}))
    assert isinstance(reply, Reply)
    assert b"ListBuckets of" in reply.body


def test_every_service_of_botocore_is_known_by_what_it_sends() -> None:
    for service in services():
        assert service.protocol in ("query", "ec2", "json", "rest-json", "rest-xml", "smithy-rpc-v2-cbor"), service
        assert service.signed_as, service
        assert service.target or service.protocol != "json", service
    assert len(services()) > 400


texts = st.text(st.characters(max_codepoint=255), max_size=20)
names = st.sampled_from(["x-amz-target", "smithy-protocol", "authorization", "content-type", "host"])
shown = st.sampled_from(
    [
        "rpc-v2-cbor",
        "application/x-www-form-urlencoded",
        "Credential=a/b/c/s3/aws4_request",
        "Credential=a%2Fb%2Fc%2Fec2%2Faws4_request",
        "DynamoDB_20120810.ListTables",
        ".",
    ]
)


@settings(max_examples=100)
@given(st.sampled_from(["GET", "POST", "HEAD"]), texts, texts, st.dictionaries(names, texts | shown), st.binary())
def test_any_request_is_refused_in_some_form(
    method: str, path: str, query: str, headers: dict[str, str], body: bytes
) -> None:
    reply = plan(Incoming(method, "/" + path, headers, body + b"Action=<&\x00>", query=query))
    assert isinstance(reply, Reply)
    assert reply.status in (400, 404, 501)
    assert not re.search(rb"<[&\x00]", reply.body)
