"""All of AWS pointed at the server: the account's control planes and moto answer behind one address."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

import awsllm
from awsllm.server import running
from awsllm.testing import AsyncScriptedBackend

ROLE = "arn:aws:iam::123456789012:role/sagemaker"
CHAT = b'{"messages": [{"role": "user", "content": "Hi"}]}'
CALLS: list[tuple[str, str, dict[str, Any], str]] = [
    ("sts", "get_caller_identity", {}, "Account"),
    ("iam", "list_roles", {}, "Roles"),
    ("sns", "list_topics", {}, "Topics"),
    ("ec2", "describe_instances", {}, "Reservations"),
    ("rds", "describe_db_instances", {}, "DBInstances"),
    ("elbv2", "describe_load_balancers", {}, "LoadBalancers"),
    ("ses", "list_identities", {}, "Identities"),
    ("dynamodb", "list_tables", {}, "TableNames"),
    ("secretsmanager", "list_secrets", {}, "SecretList"),
    ("logs", "describe_log_groups", {}, "logGroups"),
    ("cloudwatch", "list_metrics", {}, "Metrics"),
    ("cloudformation", "list_stacks", {}, "StackSummaries"),
    ("lambda", "list_functions", {}, "Functions"),
    ("sesv2", "list_email_identities", {}, "EmailIdentities"),
    ("route53", "list_hosted_zones", {}, "HostedZones"),
    ("cloudfront", "list_distributions", {}, "DistributionList"),
    ("stepfunctions", "list_state_machines", {}, "stateMachines"),
    ("events", "list_rules", {}, "Rules"),
    ("ecr", "describe_repositories", {}, "repositories"),
    ("bedrock-agent", "list_agents", {}, "agentSummaries"),
    ("sagemaker", "list_models", {}, "Models"),
    ("sagemaker", "list_domains", {}, "Domains"),
    ("application-autoscaling", "describe_scalable_targets", {"ServiceNamespace": "sagemaker"}, "ScalableTargets"),
]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(AsyncScriptedBackend("Hello.")) as url:
        yield url


def client(service: str, url: str, region: str = "us-east-1", **options: Any) -> Any:
    keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
    return boto3.client(service, region, endpoint_url=url, **{**keys, **options})


@pytest.mark.parametrize(("service", "method", "parameters", "member"), CALLS, ids=[f"{c[0]}-{c[1]}" for c in CALLS])
def test_services_answer(service: str, method: str, parameters: dict[str, Any], member: str, url: str) -> None:
    assert member in getattr(client(service, url), method)(**parameters)


@pytest.mark.parametrize(
    ("service", "method"),
    [
        ("arc-region-switch", "list_plans"),
        ("sagemaker", "list_labeling_jobs"),
        ("route53", "list_cidr_collections"),
        ("sesv2", "list_tenants"),
        ("rds", "describe_certificates"),
    ],
)
def test_what_nobody_has_is_refused_in_its_own_protocol(service: str, method: str, url: str) -> None:
    with pytest.raises(ClientError, match="is not served here"):
        getattr(client(service, url), method)()


def test_objects_come_back_whole(url: str) -> None:
    s3 = client("s3", url)
    s3.create_bucket(Bucket="bucket")
    data = bytes(range(256)) * 2000
    s3.put_object(Bucket="bucket", Key="a/b c+d", Body=data, Metadata={"my-key": "x"}, ContentType="image/png")
    found = s3.get_object(Bucket="bucket", Key="a/b c+d")
    assert (found["Body"].read(), found["ContentType"], found["Metadata"]) == (data, "image/png", {"my-key": "x"})
    assert s3.head_object(Bucket="bucket", Key="a/b c+d")["ContentLength"] == len(data)
    assert s3.get_object(Bucket="bucket", Key="a/b c+d", Range="bytes=256-511")["Body"].read() == bytes(range(256))
    upload = s3.create_multipart_upload(Bucket="bucket", Key="parts")["UploadId"]
    part = s3.upload_part(Bucket="bucket", Key="parts", UploadId=upload, PartNumber=1, Body=data)
    parts = {"Parts": [{"ETag": part["ETag"], "PartNumber": 1}]}
    s3.complete_multipart_upload(Bucket="bucket", Key="parts", UploadId=upload, MultipartUpload=parts)
    assert s3.get_object(Bucket="bucket", Key="parts")["Body"].read() == data
    with pytest.raises(s3.exceptions.NoSuchKey):
        s3.get_object(Bucket="bucket", Key="missing")
    with pytest.raises(ClientError, match="404"):
        s3.head_bucket(Bucket="no-such-bucket")
    s3.put_object(Bucket="bucket", Key="open", Body=b"x", ACL="public-read")
    anyone = client("s3", url, config=Config(signature_version=UNSIGNED))
    assert anyone.get_object(Bucket="bucket", Key="open")["Body"].read() == b"x"


def test_a_queue_is_reached_by_its_url(url: str) -> None:
    sqs = client("sqs", url)
    queue = sqs.create_queue(QueueName="q")["QueueUrl"]
    assert queue.startswith(url)
    sqs.send_message(QueueUrl=queue, MessageBody="Hi")
    assert sqs.receive_message(QueueUrl=queue)["Messages"][0]["Body"] == "Hi"


def test_a_deployment_is_rehearsed_from_its_plan_to_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    with awsllm.Client(region="us-east-1", endpoint_url=url) as ours:
        with ours.jumpstart.deployed("example-open-tgi-instruct", role=ROLE) as model:
            assert model.converse("Hello").text == "Hello."
            (listed,) = client("sagemaker", url).list_endpoints()["Endpoints"]
            assert (listed["EndpointName"], listed["EndpointStatus"]) == (model.endpoint, "InService")
            runtime = client("sagemaker-runtime", url)
            body = runtime.invoke_endpoint(EndpointName=model.endpoint, Body=b'{"inputs": "Hi"}')
            assert b"generated_text" in body["Body"].read()
        with pytest.raises(ClientError, match="not found"):
            runtime.invoke_endpoint(EndpointName=model.endpoint, Body=CHAT)
    assert client("sagemaker", url).list_models()["Models"] == []


def test_regions_are_apart(url: str) -> None:
    there = client("sagemaker", url, "eu-west-1")
    there.create_model(ModelName="m", ExecutionRoleArn=ROLE, PrimaryContainer={"Image": "image"})
    assert [one["ModelName"] for one in there.list_models()["Models"]] == ["m"]
    assert client("sagemaker", url).list_models()["Models"] == []


def test_what_runs_later_writes_to_the_servers_s3(url: str) -> None:
    s3 = client("s3", url)
    s3.create_bucket(Bucket="films")
    runtime = client("bedrock-runtime", url)
    place = {"s3OutputDataConfig": {"s3Uri": "s3://films"}}
    arn = runtime.start_async_invoke(modelId="luma.ray-v2:0", modelInput={"prompt": "a"}, outputDataConfig=place)[
        "invocationArn"
    ]
    assert runtime.get_async_invoke(invocationArn=arn)["status"] == "Completed"
    assert any(one["Key"].endswith(".mp4") for one in s3.list_objects_v2(Bucket="films")["Contents"])
