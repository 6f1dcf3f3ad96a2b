"""What deploys to AWS deploys to the server: CloudFormation, the calls of CDK, and awsllm's own command line.

Terraform's turn is in ``tests/clients``, where its binary and its provider are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import WaiterError

from awsllm.server import running
from awsllm.server.instance import environment
from awsllm.testing import AsyncScriptedBackend
from tests.support.command_line import Run, runner

ROLE = "arn:aws:iam::123456789012:role/sagemaker"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
IMAGE = "763104351884.dkr.ecr.us-east-1.amazonaws.com/djl-inference:0.34.0-lmi16.0.0-cu128"


def template(instance_type: str = "ml.g5.2xlarge") -> str:
    variant = {
        "VariantName": "AllTraffic",
        "ModelName": {"Fn::GetAtt": ["Model", "ModelName"]},
        "InitialInstanceCount": 1,
        "InitialVariantWeight": 1,
        "InstanceType": instance_type,
    }
    resources = {
        "Bucket": ("S3::Bucket", {"BucketName": {"Fn::Sub": "${Name}-output"}}),
        "Queue": ("SQS::Queue", {"QueueName": {"Fn::Sub": "${Name}-queue"}}),
        "Role": ("IAM::Role", {"AssumeRolePolicyDocument": TRUST}),
        "Model": (
            "SageMaker::Model",
            {
                "ModelName": {"Fn::Sub": "${Name}-model"},
                "ExecutionRoleArn": {"Fn::GetAtt": ["Role", "Arn"]},
                "PrimaryContainer": {"Image": IMAGE},
            },
        ),
        "Config": (
            "SageMaker::EndpointConfig",
            {"EndpointConfigName": {"Fn::Sub": "${Name}-config"}, "ProductionVariants": [variant]},
        ),
        "Endpoint": (
            "SageMaker::Endpoint",
            {
                "EndpointName": {"Fn::Sub": "${Name}-endpoint"},
                "EndpointConfigName": {"Fn::GetAtt": ["Config", "EndpointConfigName"]},
            },
        ),
    }
    return json.dumps(
        {
            "Parameters": {"Name": {"Type": "String"}},
            "Resources": {
                name: {"Type": f"AWS::{kind}", "Properties": properties}
                for name, (kind, properties) in resources.items()
            },
            "Outputs": {"Endpoint": {"Value": {"Fn::GetAtt": ["Endpoint", "EndpointName"]}}},
        }
    )


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(AsyncScriptedBackend("Hello.")) as url:
        client("iam", url).create_role(RoleName="sagemaker", AssumeRolePolicyDocument=json.dumps(TRUST))
        yield url


def client(service: str, url: str, **options: Any) -> Any:
    keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
    return boto3.client(service, "us-east-1", endpoint_url=url, **{**keys, **options})


def names(url: str) -> list[str]:
    return [one["EndpointName"] for one in client("sagemaker", url).list_endpoints()["Endpoints"]]


def change(formation: Any, stack: str, **source: Any) -> None:
    """A change set made, looked at and executed, as the CLI's ``deploy`` and CDK do it."""
    named = {"StackName": stack, "ChangeSetName": "rehearsal"}
    formation.create_change_set(
        **named,
        ChangeSetType="CREATE",
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[{"ParameterKey": "Name", "ParameterValue": stack}],
        **source,
    )
    formation.get_waiter("change_set_create_complete").wait(**named)
    assert {one["ResourceChange"]["Action"] for one in formation.describe_change_set(**named)["Changes"]} == {"Add"}
    formation.execute_change_set(**named)
    formation.get_waiter("stack_create_complete").wait(StackName=stack)


def test_a_stack_comes_answers_and_goes(url: str) -> None:
    formation = client("cloudformation", url)
    change(formation, "formed", TemplateBody=template())
    (stack,) = formation.describe_stacks(StackName="formed")["Stacks"]
    assert stack["Outputs"][0]["OutputValue"] == "formed-endpoint"
    sagemaker = client("sagemaker", url)
    assert sagemaker.describe_endpoint(EndpointName="formed-endpoint")["EndpointStatus"] == "InService"
    body = json.dumps({"messages": [{"role": "user", "content": "Hi"}]})
    runtime = client("sagemaker-runtime", url)
    answer = runtime.invoke_endpoint(EndpointName="formed-endpoint", Body=body, ContentType="application/json")
    assert json.loads(answer["Body"].read())["choices"][0]["message"]["content"] == "Hello."
    queue = client("sqs", url).get_queue_url(QueueName="formed-queue")["QueueUrl"]
    assert queue.startswith(url)
    formation.delete_stack(StackName="formed")
    formation.get_waiter("stack_delete_complete").wait(StackName="formed")
    assert "formed-endpoint" not in names(url)


def test_an_instance_type_that_sagemaker_has_not_is_refused(url: str) -> None:
    formation = client("cloudformation", url)
    with pytest.raises(WaiterError, match="ROLLBACK_COMPLETE"):
        change(formation, "misformed", TemplateBody=template("ml.g99.large"))
    events = formation.describe_stack_events(StackName="misformed")["StackEvents"]
    (failed,) = [event for event in events if event["ResourceStatus"] == "CREATE_FAILED"]
    assert failed["ResourceType"] == "AWS::SageMaker::EndpointConfig"
    assert "'ml.g99.large' at 'instanceType' failed" in failed["ResourceStatusReason"]


def test_the_calls_of_cdk(url: str) -> None:
    """In the order in which ``cdk deploy`` makes them, against what ``cdk bootstrap`` leaves."""
    assets = "cdk-hnb659fds-assets-123456789012-us-east-1"
    client("ssm", url).put_parameter(Name="/cdk-bootstrap/hnb659fds/version", Value="28", Type="String")
    client("s3", url).create_bucket(Bucket=assets)
    sts = client("sts", url)
    role = f"arn:aws:iam::{sts.get_caller_identity()['Account']}:role/cdk-hnb659fds-deploy-role-123456789012-us-east-1"
    assumed = sts.assume_role(RoleArn=role, RoleSessionName="aws-cdk")["Credentials"]
    keys = {
        "aws_access_key_id": assumed["AccessKeyId"],
        "aws_secret_access_key": assumed["SecretAccessKey"],
        "aws_session_token": assumed["SessionToken"],
    }
    version = client("ssm", url, **keys).get_parameter(Name="/cdk-bootstrap/hnb659fds/version")
    assert version["Parameter"]["Value"] == "28"
    s3 = client("s3", url, **keys)
    assert s3.get_bucket_location(Bucket=assets)["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert s3.list_objects_v2(Bucket=assets, Prefix="a1b2.json", MaxKeys=1)["KeyCount"] == 0
    s3.put_object(Bucket=assets, Key="a1b2.json", Body=template().encode(), ContentType="application/json")
    formation = client("cloudformation", url, **keys)
    with pytest.raises(formation.exceptions.ClientError, match="does not exist"):
        formation.describe_stacks(StackName="cdk-stack")
    change(formation, "cdk-stack", TemplateURL=f"https://s3.us-east-1.amazonaws.com/{assets}/a1b2.json")
    events = formation.describe_stack_events(StackName="cdk-stack")["StackEvents"]
    assert events[0]["ResourceStatus"] == "CREATE_COMPLETE"
    assert formation.get_template(StackName="cdk-stack")["TemplateBody"]["Resources"]
    assert "cdk-stack-endpoint" in names(url)


# --- awsllm's own command line ---------------------------------------------------------------------------------------


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str) -> Run:
    """The command line after ``eval "$(awsllm env)"``."""
    for name, value in environment(url).items():
        monkeypatch.setenv(name, value)
    return runner(monkeypatch, capsys)


def test_a_deployment_by_the_command_line(run: Run, url: str) -> None:
    found = run("jumpstart", "search", "open", "--json")
    assert "example-open-tgi-instruct" in found.out
    done = run("deploy", "example-open-tgi-instruct", "--yes", "--name", "rehearsed", "--role", ROLE)
    assert (done.code, "rehearsed is in service" in done.out + done.err) == (0, True)
    assert "rehearsed" in run("endpoints", "list", "--all").out
    asked = run("chat", "--model", "sagemaker:rehearsed", "Hi")
    assert (asked.code, asked.out.strip()) == (0, "Hello.")
    assert run("endpoints", "delete", "rehearsed", "--yes").code == 0
    assert "rehearsed" not in names(url)


def test_a_deployment_by_an_address(run: Run, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    there = ("--endpoint-url", url, "--region", "us-east-1")
    done = run("deploy", "example-open-tgi-instruct", "--yes", "--name", "addressed", "--role", ROLE, *there)
    assert done.code == 0, done.err
    assert "addressed" in names(url)
