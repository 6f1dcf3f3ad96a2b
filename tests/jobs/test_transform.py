"""Batch transform: requests judged by botocore's model, refusals before anything is made, runs in an offline
account."""

import json
from collections.abc import Callable
from typing import Any

import boto3
import msgspec
import pytest
from botocore.validate import ParamValidator

from awsllm.errors import ConfigurationError, DeploymentError, UnsupportedError, ValidationError
from awsllm.jobs.job import resume, start
from awsllm.jobs.transform import TRANSFORM, TransformPlan, TransformResult, describe_model, plan_transform
from awsllm.jumpstart.deploy.progress import Pace
from awsllm.jumpstart.prices import Prices
from awsllm.testing import mock_aws
from awsllm.types import ConverseRequest
from tests.support.pace import Time
from tests.support.plans import REGION, ROLE
from tests.support.watched_aws import WatchedAws

PRICES = Prices.default()
INPUT, OUTPUT = "s3://my-data/in/", "s3://my-data/out"
IMAGE = "763104351884.dkr.ecr.us-east-1.amazonaws.com/vllm:0.11.0-gpu-py312"
ARCHIVED: dict[str, Any] = {
    "ModelName": "my-model",
    "ExecutionRoleArn": ROLE,
    "PrimaryContainer": {"Image": IMAGE, "ModelDataUrl": "s3://my-models/model.tar.gz"},
}
PREFIX = {
    **ARCHIVED,
    "PrimaryContainer": {
        "Image": IMAGE,
        "ModelDataSource": {
            "S3DataSource": {"S3Uri": "s3://my-models/m/", "S3DataType": "S3Prefix", "CompressionType": "None"}
        },
    },
}
PACKAGED = {**ARCHIVED, "PrimaryContainer": {"ModelPackageName": "arn:aws:sagemaker:us-east-1:1:model-package/x"}}
SERVICE = boto3.Session("a", "b", region_name=REGION).client("sagemaker").meta.service_model


def plan(model: dict[str, Any] = ARCHIVED, **options: Any) -> TransformPlan:
    made = {"input": INPUT, "output": OUTPUT, "instance_type": "ml.g5.2xlarge", **options}
    return plan_transform(model, region=REGION, prices=PRICES, **made)


def check(request: dict[str, Any]) -> None:
    report = ParamValidator().validate(request, SERVICE.operation_model("CreateTransformJob").input_shape)
    assert not report.has_errors(), report.generate_report()


def test_the_request() -> None:
    made = plan()
    check(made.request)
    assert made.request["TransformInput"]["SplitType"] == made.request["TransformOutput"]["AssembleWith"] == "Line"
    assert made.request["BatchStrategy"] == "SingleRecord"
    assert made.name.startswith("my-model-")
    assert made.cost.per_hour == PRICES.per_hour("ml.g5.2xlarge", REGION)
    assert plan() == made
    assert TransformPlan.from_json(made.to_json()) == made


def test_every_option_reaches_the_request() -> None:
    made = plan(
        instance_count=2, content_type="text/csv", accept="text/csv", split=None, max_concurrent=10, max_payload_mb=10,
        timeout=60, retries=0, env={"X": "1"}, kms="1234abcd-12ab-34cd-56ef-1234567890ab", name="mine",
        tags={"team": "a"},
    )  # fmt: skip
    check(made.request)
    assert made.request["TransformJobName"] == "mine"
    assert made.request["TransformInput"]["SplitType"] == "None"
    assert made.request["ModelClientConfig"] == {"InvocationsTimeoutInSeconds": 60, "InvocationsMaxRetries": 0}
    assert made.request["TransformResources"]["VolumeKmsKeyId"] == made.request["TransformOutput"]["KmsKeyId"]
    assert made.request["Environment"] == {"X": "1"}
    assert {"Key": "team", "Value": "a"} in made.request["Tags"]


@pytest.mark.parametrize(
    ("model", "options", "error", "words"),
    [
        (PREFIX, {}, UnsupportedError, "ModelDataSource.*asynchronous"),
        (PACKAGED, {}, UnsupportedError, "Marketplace"),
        (ARCHIVED, {"max_concurrent": 20}, ValidationError, "at most 100"),
        (ARCHIVED, {"output": "out"}, ValidationError, "output='out'"),
        (ARCHIVED, {"input": None}, ConfigurationError, "input="),
        (ARCHIVED, {"split": "Word"}, ValidationError, "'Line' or None"),
        (ARCHIVED, {"batch": 1}, ValidationError, "no option batch"),
        (ARCHIVED, {"name": "a_b"}, ValidationError, "the transform job's name is 'a_b'"),
    ],
)
def test_what_is_refused(model: dict[str, Any], options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        plan(model, **options)


def test_a_package_that_lists_the_machine() -> None:
    specification = {"SupportedTransformInstanceTypes": ["ml.g5.2xlarge"]}
    check(plan(PACKAGED, package={"InferenceSpecification": specification}).request)


# --- the run ---------------------------------------------------------------------------------------------------------


def answer(request: ConverseRequest) -> str:
    text = msgspec.to_builtins(request.messages[-1].content[0])["text"]
    if text == "boom":
        raise ValidationError("inputs must not be boom")
    return f"<{text}>"


def run(made: TransformPlan, clients: Any, **how: Any) -> TransformResult:
    return start(TRANSFORM, made, clients, **how).result()


WithModel = Callable[..., WatchedAws]


@pytest.fixture
def with_model(new_aws: Callable[..., WatchedAws]) -> WithModel:
    """An account with a bucket and a model, when called with the options of ``mock_aws``."""

    def enter(**options: Any) -> WatchedAws:
        aws = new_aws(reply=answer, buckets=("my-data",), **options)
        aws.clients("sagemaker").create_model(**ARCHIVED)
        return aws

    return enter


@pytest.fixture
def pace() -> Pace:
    return Time().pace(1)


def record(text: str) -> bytes:
    return json.dumps({"messages": [{"role": "user", "content": text}]}).encode() + b"\n"


def test_a_job_answers_every_record(with_model: WithModel, pace: Pace) -> None:
    aws = with_model(transitions={"transform": 2})
    aws.objects.write(f"{INPUT}a.jsonl", record("one") + record("two"))
    aws.objects.write(f"{INPUT}deep/b.jsonl", record("three"))
    described = describe_model("my-model", aws.clients)
    assert described["PrimaryContainer"] == ARCHIVED["PrimaryContainer"]
    seen: list[str] = []
    made = plan(described)
    result = run(made, aws.clients, on_progress=lambda told: seen.append(told.state), pace=pace)
    assert (result.status, result.output) == ("Completed", OUTPUT)
    assert seen == ["in_progress", "completed"]
    lines = aws.objects.read(f"{OUTPUT}/a.jsonl.out").splitlines()
    assert [json.loads(line)["choices"][0]["message"]["content"] for line in lines] == ["<one>", "<two>"]
    assert b"<three>" in aws.objects.read(f"{OUTPUT}/deep/b.jsonl.out")
    assert run(made, aws.clients, pace=pace) == result
    assert aws.operations().count("CreateTransformJob") == 1


def test_one_record_that_fails_fails_the_job(with_model: WithModel, pace: Pace) -> None:
    aws = with_model()
    aws.objects.write(f"{INPUT}a.jsonl", record("one") + record("boom"))
    aws.objects.write(f"{INPUT}b.jsonl", record("two"))
    with pytest.raises(DeploymentError, match="1 of 2 input objects failed") as caught:
        run(plan(), aws.clients, pace=pace)
    assert "must not be boom" in "\n".join(caught.value.__notes__)
    assert f"{OUTPUT}/a.jsonl.out" not in aws.objects.list(OUTPUT)
    assert f"{OUTPUT}/b.jsonl.out" in aws.objects.list(OUTPUT)
    summaries = list(TRANSFORM.list(aws.clients, status="Failed"))
    assert [one.name for one in summaries] == [plan().name]


def test_no_input_no_answer(with_model: WithModel, pace: Pace) -> None:
    aws = with_model()
    with pytest.raises(DeploymentError, match="No objects were found"):
        run(plan(), aws.clients, pace=pace)


def test_stopping(with_model: WithModel, pace: Pace) -> None:
    aws = with_model(transitions={"transform": 50})
    start(TRANSFORM, plan(), aws.clients)
    assert resume(TRANSFORM, plan().name, aws.clients).stop()
    with pytest.raises(DeploymentError, match="was stopped"):
        run(plan(), aws.clients, pace=pace)


def test_the_service_refuses_what_the_plan_would_have(with_model: WithModel, pace: Pace) -> None:
    aws = with_model()
    aws.clients("sagemaker").create_model(**{**PREFIX, "ModelName": "prefix"})
    client = aws.clients("sagemaker")
    with pytest.raises(client.exceptions.ClientError, match="ModelDataSource is not supported"):
        client.create_transform_job(**{**plan().request, "ModelName": "prefix"})
    with pytest.raises(client.exceptions.ClientError, match="Could not find model"):
        client.create_transform_job(**{**plan().request, "ModelName": "unknown"})


def test_a_model_that_moto_made_is_moto_s() -> None:
    """CloudFormation makes models in moto itself: their jobs are moto's too, which completes them unread."""
    properties = {"ExecutionRoleArn": ROLE, "PrimaryContainer": ARCHIVED["PrimaryContainer"]}
    template = {"Resources": {"M": {"Type": "AWS::SageMaker::Model", "Properties": properties}}}
    with mock_aws(reply="unused"):
        stacks, client = boto3.client("cloudformation", REGION), boto3.client("sagemaker", REGION)
        stacks.create_stack(StackName="s", TemplateBody=json.dumps(template))
        made = stacks.describe_stack_resources(StackName="s")["StackResources"][0]["PhysicalResourceId"]
        job = plan({**ARCHIVED, "ModelName": made.rpartition("/")[2]})
        client.create_transform_job(**job.request)
        assert client.describe_transform_job(TransformJobName=job.name)["TransformJobStatus"] == "Completed"
