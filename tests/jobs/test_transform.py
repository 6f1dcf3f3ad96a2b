"""Batch transform: requests judged by botocore's model, refusals before anything is made, runs in an offline
account."""

import json
from typing import Any

import boto3
import msgspec
import pytest
from botocore.validate import ParamValidator

from awsllm.errors import ConfigurationError, DeploymentError, UnsupportedError, ValidationError
from awsllm.jobs import transform
from awsllm.jobs.transform import TransformPlan, plan_transform
from awsllm.testing import mock_aws
from awsllm.testing.scripted import ScriptedBackend
from awsllm.types import ConverseRequest
from tests.support.offline_jobs import PRICES, REGION, ROLE, Offline

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
        (ARCHIVED, {"name": "a_b"}, ValidationError, "no name"),
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


def with_model(**options: Any) -> Offline:
    offline = Offline(backend=ScriptedBackend(answer), **options)
    offline.clients("sagemaker").create_model(**ARCHIVED)
    return offline


def record(text: str) -> bytes:
    return json.dumps({"messages": [{"role": "user", "content": text}]}).encode() + b"\n"


def test_a_job_answers_every_record() -> None:
    offline = with_model(transitions={"transform": 2})
    offline.objects.write(f"{INPUT}a.jsonl", record("one") + record("two"))
    offline.objects.write(f"{INPUT}deep/b.jsonl", record("three"))
    described = transform.describe_model("my-model", offline.clients)
    assert described["PrimaryContainer"] == ARCHIVED["PrimaryContainer"]
    seen: list[str] = []
    made = plan(described)
    result = transform.run(made, offline.clients, on_progress=lambda told: seen.append(told.state), pace=offline.pace)
    assert (result.status, result.output) == ("Completed", OUTPUT)
    assert seen == ["in_progress", "completed"]
    lines = offline.objects.read(f"{OUTPUT}/a.jsonl.out").splitlines()
    assert [json.loads(line)["choices"][0]["message"]["content"] for line in lines] == ["<one>", "<two>"]
    assert b"<three>" in offline.objects.read(f"{OUTPUT}/deep/b.jsonl.out")
    assert transform.run(made, offline.clients, pace=offline.pace) == result
    assert offline.operations.count("CreateTransformJob") == 1


def test_one_record_that_fails_fails_the_job() -> None:
    offline = with_model()
    offline.objects.write(f"{INPUT}a.jsonl", record("one") + record("boom"))
    offline.objects.write(f"{INPUT}b.jsonl", record("two"))
    with pytest.raises(DeploymentError, match="1 of 2 input objects failed") as caught:
        transform.run(plan(), offline.clients, pace=offline.pace)
    assert "must not be boom" in "\n".join(caught.value.__notes__)
    assert f"{OUTPUT}/a.jsonl.out" not in offline.objects.objects
    assert f"{OUTPUT}/b.jsonl.out" in offline.objects.objects
    summaries = list(transform.list_jobs(offline.clients, status="Failed"))
    assert [one.name for one in summaries] == [plan().name]


def test_no_input_no_answer() -> None:
    offline = with_model()
    with pytest.raises(DeploymentError, match="No objects were found"):
        transform.run(plan(), offline.clients, pace=offline.pace)


def test_stopping() -> None:
    offline = with_model(transitions={"transform": 50})
    transform.run(plan(), offline.clients, wait=False)
    assert transform.stop(plan().name, offline.clients)
    with pytest.raises(DeploymentError, match="was stopped"):
        transform.run(plan(), offline.clients, pace=offline.pace)


def test_the_service_refuses_what_the_plan_would_have() -> None:
    offline = with_model()
    offline.clients("sagemaker").create_model(**{**PREFIX, "ModelName": "prefix"})
    client = offline.clients("sagemaker")
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
