"""What a server does not let its callers do with moto: run code, have addresses called, break it with what is no
request."""

from __future__ import annotations

import http.server
import itertools
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from awsllm.server import running
from awsllm.testing import AsyncScriptedBackend

SIGNED = "AWS4-HMAC-SHA256 Credential=any/20260101/us-east-1/{}/aws4_request, SignedHeaders=host, Signature=0"
numbers = itertools.count()
BUCKET = """
Resources:
  Bucket:
    Type: AWS::S3::Bucket
    Properties:
      BucketName: !Sub 'made-in-${AWS::Region}'
Outputs:
  Name:
    Value: !Ref Bucket
"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(AsyncScriptedBackend(lambda request: "Hello.")) as url:
        yield url


def client(url: str, service: str) -> Any:
    keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
    return boto3.client(service, "us-east-1", endpoint_url=url, config=Config(retries={"max_attempts": 0}), **keys)


def sent(url: str, path: str, body: bytes = b"", service: str = "s3", **headers: str) -> tuple[int, bytes]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url + path, body, {"Authorization": SIGNED.format(service), **named}, method="PUT")
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


# --- templates of CloudFormation -------------------------------------------------------------------------------------


def refused(url: str, body: str) -> str:
    """The words that a template is refused with, whichever way it comes."""
    formation, s3 = client(url, "cloudformation"), client(url, "s3")
    s3.create_bucket(Bucket="templates")
    s3.put_object(Bucket="templates", Key="t.yaml", Body=body)
    place = "https://templates.s3.amazonaws.com/t.yaml"
    nested = {"Nested": {"Type": "AWS::CloudFormation::Stack", "Properties": {"TemplateURL": place}}}
    number = next(numbers)  # moto keeps the stack that failed
    ways = (
        lambda: formation.create_stack(StackName=f"one-{number}", TemplateBody=body),
        lambda: formation.create_stack(StackName=f"two-{number}", TemplateURL=place),
        lambda: formation.create_stack(StackName=f"three-{number}", TemplateBody=json.dumps({"Resources": nested})),
        lambda: formation.create_change_set(
            StackName=f"four-{number}", ChangeSetName="set", ChangeSetType="CREATE", TemplateBody=body
        ),
        lambda: formation.get_template_summary(TemplateBody=body),
    )
    words = set()
    for way in ways:
        with pytest.raises(ClientError) as error:
            way()
        assert error.value.response["Error"]["Code"] == "ValidationError"
        words.add(error.value.response["Error"]["Message"])
    (found,) = words
    return str(found)


@pytest.mark.parametrize("place", ["Description: {}", "Resources:\n  Bucket: {}", "Resources: {}", "{}"])
def test_a_template_runs_nothing(place: str, url: str, tmp_path: Path) -> None:
    made = tmp_path / "made"
    words = refused(url, place.format(f'!!python/object/apply:os.system ["touch {made}"]'))
    assert "a tag" in words
    assert not made.exists()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("a: &a [x]\nb: [*a, *a]\n", "aliases"),
        ("[" * 20_000, "well-formed"),
        ("[1, 2]", "unsupported structure"),
        ("Resources: [1]", "unsupported structure"),
        ("Resources: {A: 1}", "Every Resources object"),
        ("Resources: {}\n#" + "x" * 1_048_577, "exceed"),
        ("Version: 2000-13-45", "well-formed"),
    ],
)
def test_a_template_that_is_none_is_the_callers_mistake(body: str, says: str, url: str) -> None:
    assert says in refused(url, body)


def test_a_template_is_read_as_ever(url: str) -> None:
    formation = client(url, "cloudformation")
    formation.create_stack(StackName="good", TemplateBody=BUCKET)
    outputs = formation.describe_stacks(StackName="good")["Stacks"][0]["Outputs"]
    assert outputs == [{"OutputKey": "Name", "OutputValue": "made-in-us-east-1"}]


# --- what leaves the server ------------------------------------------------------------------------------------------


@pytest.fixture
def called() -> Iterator[tuple[str, list[str]]]:
    """An address, and the paths that were asked of it."""
    paths: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            paths.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", paths
        server.shutdown()


def test_nobody_is_called_because_a_caller_says_so(url: str, called: tuple[str, list[str]]) -> None:
    address, paths = called
    sns, firehose = client(url, "sns"), client(url, "firehose")
    topic = sns.create_topic(Name="topic")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=f"{address}/sns")
    assert sns.publish(TopicArn=topic, Message="x")["MessageId"]
    destination = {
        "EndpointConfiguration": {"Url": f"{address}/firehose"},
        "S3Configuration": {"RoleARN": "arn:aws:iam::123456789012:role/any", "BucketARN": "arn:aws:s3:::any"},
    }
    firehose.create_delivery_stream(DeliveryStreamName="stream", HttpEndpointDestinationConfiguration=destination)
    assert firehose.put_record(DeliveryStreamName="stream", Record={"Data": b"x"})["RecordId"]
    assert paths == []


def test_no_function_runs_in_docker(url: str) -> None:
    from moto.awslambda.utils import get_backend
    from moto.awslambda_simple.models import LambdaSimpleBackend

    assert isinstance(get_backend("123456789012", "us-east-1"), LambdaSimpleBackend)


def test_moto_is_as_it_was_afterwards() -> None:
    import requests
    import yaml
    from moto.cloudformation import models, responses
    from moto.core.config import default_user_config
    from moto.sns import models as sns

    before = (models.yaml, responses.yaml, sns.requests, dict(default_user_config))  # type: ignore[attr-defined]
    with running(AsyncScriptedBackend("Hello.")) as url:
        client(url, "sns").list_topics()
        assert models.yaml is not yaml  # type: ignore[attr-defined]
        assert sns.requests is not requests  # type: ignore[attr-defined]
    after = (models.yaml, responses.yaml, sns.requests, dict(default_user_config))  # type: ignore[attr-defined]
    assert after == before


# --- bodies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entity", ['"' + "A" * 100 + '"', 'SYSTEM "file:///etc/hostname"'])
def test_xml_with_entities_is_refused(entity: str, url: str) -> None:
    client(url, "s3").create_bucket(Bucket="entities")
    text = f"<!DOCTYPE t [<!ENTITY a {entity}>]><Tagging><TagSet><Tag><Key>k</Key><Value>&a;</Value></Tag></TagSet>"
    status, body = sent(url, "/entities?tagging", f"{text}</Tagging>".encode())
    assert (status, b"MalformedXML" in body) == (400, True)


@pytest.mark.parametrize(
    ("length", "body"),
    [
        (400, b"4\r\nabcd\r\n0\r\n\r\n"),
        (1, b"4\r\nabcd\r\n0\r\n\r\n"),
        (4, b"ffffffff\r\nabcd\r\n0\r\n\r\n"),
        (4, b"4\r\nabcd\r\n"),
        (4, b"4\r\nabcdXX0\r\n\r\n"),
        (4, b"-4\r\nabcd\r\n0\r\n\r\n"),
        (0, b""),
    ],
)
def test_chunks_that_are_not_what_they_say_are_no_object(length: int, body: bytes, url: str) -> None:
    s3 = client(url, "s3")
    s3.create_bucket(Bucket="chunks")
    told = {"x_amz_content_sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "x_amz_decoded_content_length": str(length)}
    status, answered = sent(url, "/chunks/key", body, **told)
    assert (status, b"IncompleteBody" in answered) == (400, True)
    assert s3.list_objects_v2(Bucket="chunks")["KeyCount"] == 0


@pytest.mark.parametrize("operation", ["DescribeEndpoint", "ListTags"])
@pytest.mark.parametrize("body", [b"", b"[]", b"1", b"\xff", b"[" * 100_000, b'{"ResourceArn": 1}'])
def test_a_body_that_makes_no_sense_is_the_callers_mistake(operation: str, body: bytes, url: str) -> None:
    headers = {"X_Amz_Target": f"SageMaker.{operation}", "Content_Type": "application/x-amz-json-1.1"}
    status, _ = sent(url, "/", body, "sagemaker", **headers)
    assert status == 400


def test_an_operation_that_nobody_has_is_refused(url: str) -> None:
    status, body = sent(url, "/", b"{}", "sagemaker", X_Amz_Target="SageMaker.__class__")
    assert (status, json.loads(body)["__type"]) == (400, "UnknownOperationException")
