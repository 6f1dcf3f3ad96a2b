"""What a batch's plan says of IAM is enough for it, and no less would be."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest

import awsllm
from awsllm import infra
from awsllm.errors import AccessDeniedError, ConfigurationError, ValidationError
from awsllm.jobs.batch import caller as callers
from awsllm.jobs.batch.quotas import JobQuotas
from awsllm.testing import mock_aws
from tests.jobs.batch.test_transform import CHAT, deployed
from tests.support.rights import SPARE, check_all_needed, judged
from tests.support.sagemaker_account import client as boto_client

NOVA = "bedrock:amazon.nova-lite-v1:0"
ROLE = "arn:aws:iam::123456789012:role/batch"
JOBS: Any = {"where": "bedrock-batch", "s3": "s3://data/batches", "role": ROLE}
RECORDS = [f"p{n}" for n in range(20)]
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}],
}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    make: Any = callers.BatchCaller.__new__
    monkeypatch.setattr(callers.BatchCaller, "__new__", lambda cls, *given: make(cls, *given, pause=0.0, poll=0.001))
    monkeypatch.setattr("awsllm.jobs.batch.start.job_quotas", lambda *_: JobQuotas(least=5))


def planned(model: Any, options: Any) -> awsllm.BatchPlan:
    with awsllm.Client(region="us-east-1") as client:
        return client.batch(model, RECORDS, **options, dry_run=True).plan


def run_as(monkeypatch: pytest.MonkeyPatch, policy: Any, model: Any, options: Any) -> Any:
    """The batch, run by a role that may do this alone."""
    boto_client("iam").put_role_policy(RoleName="worker", PolicyName="all", PolicyDocument=json.dumps(policy))
    arn = "arn:aws:iam::123456789012:role/worker"
    keys = boto_client("sts").assume_role(RoleArn=arn, RoleSessionName="run")["Credentials"]
    with monkeypatch.context() as patched:
        patched.setenv("AWS_ACCESS_KEY_ID", keys["AccessKeyId"])
        patched.setenv("AWS_SECRET_ACCESS_KEY", keys["SecretAccessKey"])
        patched.setenv("AWS_SESSION_TOKEN", keys["SessionToken"])
        with awsllm.Client(region="us-east-1") as client:
            return client.batch(model, RECORDS, **options).result(30)


@pytest.mark.parametrize(
    ("model", "options", "needed"),
    [
        (NOVA, {"where": "calls"}, ["Ask"]),
        (NOVA, JOBS, ["MakeJobs", "FollowJobs", "JobFiles", "ListJobFiles", "PassBedrockRole"]),
        ("sagemaker:e", CHAT, ["Job", "Endpoint", "Model", "JobFiles"]),
    ],
    ids=["calls", "bedrock-batch", "transform"],
)
def test_the_plans_permissions_are_enough_and_each_is_needed(
    monkeypatch: pytest.MonkeyPatch, model: str, options: Any, needed: list[str]
) -> None:
    with mock_aws(reply="x", iam=True, quotas={"batch-records-min": 5}):
        deployed()
        boto_client("iam").create_role(RoleName="worker", AssumeRolePolicyDocument=json.dumps(TRUST))
        boto_client("iam").create_role(RoleName="batch", AssumeRolePolicyDocument=json.dumps(TRUST))
        policy = planned(model, options).permissions
        assert run_as(monkeypatch, policy, model, options).succeeded == 20
        for sid in needed:
            less = [one for one in policy["Statement"] if one["Sid"] != sid] or [
                {"Effect": "Allow", "Action": "sts:GetCallerIdentity", "Resource": "*"}
            ]
            with pytest.raises(AccessDeniedError):
                run_as(monkeypatch, {**policy, "Statement": less}, model, options)


def test_a_roles_policy_and_who_may_be_it() -> None:
    with mock_aws(reply="x"):
        plan = planned("bedrock:us.amazon.nova-lite-v1:0", {**JOBS, "kms": "alias/key"})
        here = planned(NOVA, JOBS)
    role: Any = {one["Sid"]: one for one in plan.role_permissions["Statement"]}  # type: ignore[index]
    assert role["Read"]["Resource"] == ["arn:aws:s3:::data/batches*"]
    assert role["Write"]["Resource"] == ["arn:aws:s3:::data/batches/*"]
    assert role["InvokeAcrossRegions"]["Resource"] == [
        "arn:aws:bedrock:*::foundation-model/amazon.nova-lite-v1:0",
        "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.amazon.nova-lite-v1:0",
    ]
    assert role["Key"]["Condition"] == {"ForAnyValue:StringEquals": {"kms:ResourceAliases": "alias/key"}}
    trust: Any = plan.role_trust
    assert trust["Statement"][0]["Condition"]["ArnEquals"] == {
        "aws:SourceArn": "arn:aws:bedrock:us-east-1:123456789012:model-invocation-job/*"
    }
    assert "InvokeAcrossRegions" not in json.dumps(here.role_permissions)
    assert all(statement["Resource"] for statement in here.permissions["Statement"])


def test_actions_are_those_that_aws_has() -> None:
    """Every action of a service that has a model is an operation of it."""
    with mock_aws(reply="x"):
        deployed()
        plans = [planned(NOVA, JOBS), planned("sagemaker:e", CHAT)]
    named = {action for plan in plans for one in plan.permissions["Statement"] for action in one["Action"]}
    known = {
        f"{prefix}:{operation}"
        for prefix, service in (("bedrock", "bedrock"), ("sagemaker", "sagemaker"), ("servicequotas", "service-quotas"))
        for operation in boto3.client(service, "us-east-1").meta.service_model.operation_names
    }
    assert {one for one in named if one.split(":")[0] in ("bedrock", "sagemaker", "servicequotas")} - known == {
        "bedrock:InvokeModel"
    }


def test_tables_in_s3_are_in_the_permissions(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with mock_aws(reply="x"), awsllm.Client(region="us-east-1") as client:
        boto_client("s3").create_bucket(Bucket="data")
        boto_client("s3").put_object(Bucket="data", Key="in.csv", Body=b"text\na\n")
        plan = client.batch(NOVA, "s3://data/in.csv", output="s3://data/out.csv", prompt="{text}", dry_run=True).plan
    found = {one["Sid"]: one["Resource"] for one in plan.permissions["Statement"]}
    assert found["ReadRecords"] == ["arn:aws:s3:::data/in.csv"]
    assert found["WriteRows"] == ["arn:aws:s3:::data/out.csv"]
    assert found["Ask"] == ["arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0"]


def test_a_role_of_the_environment_and_one_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with mock_aws(reply="x"):
        with pytest.raises(ValidationError, match="is not the ARN of a role"):
            planned(NOVA, {**JOBS, "role": "batch"})
        with pytest.raises(ConfigurationError, match="need role="):
            planned(NOVA, {**JOBS, "role": None})
        monkeypatch.setenv("AWSLLM_BEDROCK_ROLE", ROLE)
        assert planned(NOVA, {**JOBS, "role": None}).where == "bedrock-batch"


def test_a_transform_is_told_at_the_price_of_its_machine() -> None:
    with mock_aws(reply="x"):
        deployed()
        estimate = planned("sagemaker:e", CHAT).estimate
    assert estimate.usd is None
    assert estimate.usd_per_hour == pytest.approx(1.515, abs=0.1)


def test_what_infra_policy_prints_for_batches_is_enough_and_all_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """``awsllm infra policy --batch``: the documents that a batch's caller and its jobs' role take, without a plan."""
    found = infra.policy(
        NOVA,
        batch=True,
        batch_role=JOBS["role"],
        batch_input=JOBS["s3"],
        batch_output=JOBS["s3"],
        account="123456789012",
        offline=True,
        region="us-east-1",
    )
    with judged(monkeypatch) as seen, mock_aws(reply="x", iam=True, quotas={"batch-records-min": 5}):
        deployed()
        for name in ("worker", "batch"):
            boto_client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))
        boto_client("iam").put_role_policy(
            RoleName="batch", PolicyName="all", PolicyDocument=json.dumps(found.role_policy)
        )
        seen.clear()
        with pytest.MonkeyPatch.context() as patch:
            assert run_as(patch, found.policy, NOVA, {**JOBS, "job_tags": {"team": "a"}}).succeeded == 20
        mine = [right for right in seen if not right.action.startswith(("iam:Put", "sts:"))]
    # Quotas are not judged offline; what jobs leave is asked by single calls; a job is stopped, and found again by
    # its tag, in another program.
    stopping = ("bedrock:StopModelInvocationJob", "bedrock:ListTagsForResource", "bedrock:ListModelInvocationJobs")
    check_all_needed(found.policy, mine, SPARE | {"bedrock:InvokeModel", "servicequotas:ListServiceQuotas", *stopping})
