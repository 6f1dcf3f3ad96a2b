"""Trainings of SageMaker's that another process takes up, by their handles and by their names, and what they take of
IAM."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest

import awsllm
from awsllm.jobs.bedrock.serving import ServingJobs
from awsllm.jumpstart.deploy.progress import Pace
from awsllm.testing import mock_aws
from tests.support import tiny_chat
from tests.support.sagemaker_account import DOCUMENTS, client

MODEL = "sagemaker:example-finetune-llm"
ROLE = "arn:aws:iam::123456789012:role/training"
PAIRS = [{"prompt": f"Where? {n}", "completion": "Merrow"} for n in range(8)]
JUMPSTART: Any = {"output": "s3://data/out", "role": ROLE, "accept_eula": True}
SERVERLESS: Any = {**JUMPSTART, "technique": "sft"}
IMAGE = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.3"
TRUST = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:*"}]}


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """An account whose bucket is there; it trains where its options name a local model."""
    monkeypatch.setenv("AWSLLM_JOBS", str(tmp_path))
    monkeypatch.setenv("AWSLLM_BEDROCK_ROLE", ROLE)

    @contextmanager
    def offline(**options: Any) -> Iterator[Any]:
        with mock_aws(documents=DOCUMENTS, quotas={"customization-steps": 1}, iam=True, **options) as mock:
            client("s3").create_bucket(Bucket="data")
            yield mock

    return offline


@pytest.fixture
def aws(offline: Any) -> Iterator[Any]:
    with offline(reply="x") as mock:
        yield mock


def us_east() -> awsllm.Client:
    return awsllm.Client(region="us-east-1")


def endpoints() -> list[str]:
    return [one["EndpointName"] for one in client("sagemaker").list_endpoints()["Endpoints"]]


@pytest.mark.parametrize("options", [JUMPSTART, SERVERLESS], ids=["jumpstart", "serverless"])
def test_a_tuning_that_was_to_be_deployed_is_by_whoever_has_its_handle(aws: Any, options: Any) -> None:
    begun = us_east().fine_tune(MODEL, PAIRS, deploy=True, **options)
    taken_up = us_east().jobs.load(begun.to_json())
    found = taken_up.result()
    assert found.model == f"sagemaker:{begun.name}"
    assert endpoints() == [begun.name]
    assert taken_up.to_json() == begun.to_json()
    assert begun.result().model == found.model
    assert endpoints() == [begun.name]


@pytest.mark.parametrize("options", [JUMPSTART, SERVERLESS], ids=["jumpstart", "serverless"])
def test_a_tuning_is_deployed_by_its_name(aws: Any, options: Any) -> None:
    name = us_east().fine_tune(MODEL, PAIRS, deploy=False, **options).name
    job: Any = us_east().jobs.get(name)
    job.wait()
    job.result()
    assert endpoints() == []  # nobody asked for one
    assert job.deploy().model == f"sagemaker:{name}"
    assert endpoints() == [name]
    with pytest.raises(awsllm.ValidationError):
        job.deploy(False)


def test_what_serves_a_tuning_is_said(aws: Any) -> None:
    made = us_east().fine_tune(MODEL, PAIRS, deploy=False, **SERVERLESS)
    assert made.name in made.result().serve
    job: Any = us_east().jobs.get(made.name)
    assert job.result() == made.result()
    with pytest.raises(awsllm.ValidationError, match="no way to serve"):
        job.deploy("on-demand")
    plain: Any = us_east().jobs.get(us_east().fine_tune(MODEL, PAIRS, deploy=False, **JUMPSTART).name)
    with pytest.raises(awsllm.UnsupportedError, match="endpoint"):
        plain.deploy("bedrock")


def test_a_script_of_ones_own_is_no_jumpstart_model(aws: Any, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("print(1)\n")
    options: Any = {"image": IMAGE, "instance_type": "ml.g5.2xlarge", "output": "s3://data/out", "role": ROLE}
    begun = us_east().fine_tune("sagemaker:mine", PAIRS, script=tmp_path / "train.py", **options)
    for job in (us_east().jobs.load(begun.to_json()), us_east().jobs.get(begun.name)):
        taken_up: Any = job
        assert taken_up.result() == begun.result()
        with pytest.raises(awsllm.UnsupportedError, match="image="):
            taken_up.deploy()


# --- rights ----------------------------------------------------------------------------------------------------------


def as_role(monkeypatch: pytest.MonkeyPatch, document: Any, name: str) -> awsllm.Client:
    """A client of a role that has one policy."""
    own = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
    iam = boto3.client("iam", **own)
    arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
    iam.put_role_policy(RoleName=name, PolicyName="plan", PolicyDocument=json.dumps(document))
    keys = boto3.client("sts", **own).assume_role(RoleArn=arn, RoleSessionName="run")["Credentials"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys["SecretAccessKey"])
    monkeypatch.setenv("AWS_SESSION_TOKEN", keys["SessionToken"])
    return us_east()


def live(monkeypatch: pytest.MonkeyPatch, options: Any) -> Any:
    """The result of whoever has the plan's rights alone; with less nothing is begun."""
    policy = us_east().jobs.plan_fine_tune(MODEL, PAIRS, options=options).permissions
    statements = policy["Statement"]
    assert len({one["Sid"] for one in statements}) == len(statements)
    fewer = {**policy, "Statement": [one for one in statements if "iam:PassRole" not in one["Action"]]}
    less = as_role(monkeypatch, fewer, "less")
    with pytest.raises(awsllm.AccessDeniedError, match="iam:PassRole"):
        less.fine_tune(MODEL, PAIRS, **options)
    return as_role(monkeypatch, policy, "enough").fine_tune(MODEL, PAIRS, **options).result()


@pytest.mark.parametrize("options", [JUMPSTART, SERVERLESS], ids=["jumpstart", "serverless"])
@pytest.mark.parametrize("way", [False, True], ids=["in S3", "served"])
def test_the_plans_rights_are_enough_and_less_is_refused(
    aws: Any, monkeypatch: pytest.MonkeyPatch, options: Any, way: bool
) -> None:
    found = live(monkeypatch, {**options, "deploy": way})
    assert (found.reference is not None) == way


def test_what_an_import_takes_is_among_them(
    offline: Any, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with offline(models={"*": tiny_chat.write(tmp_path_factory.mktemp("base"))}):
        found = live(monkeypatch, {**SERVERLESS, "deploy": "bedrock"})
        assert found.model.startswith("bedrock:arn:")
        again: Any = us_east().jobs.get(found.name)
        assert again.deploy("bedrock").model == found.model


# --- what goes wrong on the way --------------------------------------------------------------------------------------


def unanswered(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Once something is made that serves, so many looks at it are throttled."""
    create, find, left = ServingJobs.create, ServingJobs.find, [0]

    def made(self: ServingJobs, *given: Any) -> None:
        create(self, *given)
        left[0] = times

    def found(self: ServingJobs, *given: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise awsllm.ThrottlingError("slow down")
        return find(self, *given)

    monkeypatch.setattr(ServingJobs, "create", made)
    monkeypatch.setattr(ServingJobs, "find", found)


def test_what_is_there_and_paid_for_is_said(aws: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that does not answer while the throughput is waited for."""
    unanswered(monkeypatch, times=50)
    job = follow_quickly(deploy="provisioned")
    with pytest.raises(awsllm.ThrottlingError) as caught:
        job.result()
    listed = client("bedrock").list_provisioned_model_throughputs()["provisionedModelSummaries"]
    paid, trained = caught.value.__notes__
    assert f"awsllm jobs stop {listed[0]['provisionedModelName']}" in paid
    assert f"{job.name} is completed" in trained


def test_a_look_that_is_not_answered_ends_no_wait(aws: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    unanswered(monkeypatch, times=4)
    assert follow_quickly(deploy="on-demand").result().model


def test_a_tuning_that_cannot_be_served_says_that_it_is_trained(aws: Any) -> None:
    aws.plane.refuse("CreateModel", "ResourceLimitExceeded", "No more.", times=9)
    job = us_east().fine_tune(MODEL, PAIRS, deploy=True, **SERVERLESS)
    with pytest.raises(awsllm.AwsllmError) as caught:
        job.result()
    assert any(f"client.jobs.get({job.name!r}).deploy()" in note for note in caught.value.__notes__)


def follow_quickly(**options: Any) -> Any:
    """A customisation in Bedrock, looked at without a pause."""
    job: Any = us_east().fine_tune("bedrock:amazon.nova-lite-v1:0", PAIRS, output="s3://data/out", role=ROLE, **options)
    job._pace = Pace(sleep=lambda seconds: None)
    return job


def test_without_a_region_one_warning_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWSLLM_JOBS", str(tmp_path))
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    (warning,) = awsllm.Client().jobs.list().warnings
    assert "training jobs" in warning
    assert "no AWS region" in warning
