"""Batches by SageMaker's batch transform, over the offline account."""

from __future__ import annotations

from typing import Any

import pytest

import awsllm
from awsllm.errors import ConfigurationError, ValidationError
from awsllm.jobs.batch import caller as callers
from awsllm.jobs.batch import endpoints
from awsllm.testing import mock_aws
from awsllm.types import ConverseRequest
from tests.support.sagemaker_account import ROLE, VLLM, client

CHAT: Any = {"where": "transform", "s3": "s3://data/t", "instance_type": "ml.g5.2xlarge", "format": "openai"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    make: Any = callers.BatchCaller.__new__
    monkeypatch.setattr(callers.BatchCaller, "__new__", lambda cls, *given: make(cls, *given, pause=0.0, poll=0.01))


def deployed() -> None:
    client("s3").create_bucket(Bucket="data")
    sagemaker = client("sagemaker")
    sagemaker.create_model(ModelName="m", ExecutionRoleArn=ROLE, PrimaryContainer=VLLM)
    variant = {"VariantName": "v", "ModelName": "m", "InitialInstanceCount": 1, "InstanceType": "ml.g5.2xlarge"}
    sagemaker.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")


def echo(request: ConverseRequest) -> str:
    if request.messages[-1].text == "p7":
        raise ValidationError("refused")
    return request.messages[-1].text.upper()


def test_records_are_joined_by_their_place_and_poison_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of 30 is refused: its object fails, whose other records are answered in a round of one each."""
    monkeypatch.setattr(endpoints, "_AN_OBJECT", 10)
    with mock_aws(reply=echo), awsllm.Client(region="us-east-1") as ours:
        deployed()
        job = ours.batch("sagemaker:e", [f"p{n}" for n in range(30)], attempts=2, max_tokens=9, **CHAT)
        result = job.result(60)
        jobs = client("sagemaker").list_transform_jobs()["TransformJobSummaries"]
    assert job.plan.where == "transform"
    assert [row.text for row in result if not row.error] == [f"P{n}" for n in range(30) if n != 7]
    (bad,) = result.failures()
    assert bad.number == 7
    assert "its object was not written" in str(bad.error)
    assert len(jobs) == 2


def test_auto_takes_a_transform_where_a_machine_is_named_and_records_are_many() -> None:
    options: Any = {**CHAT, "where": "auto", "dry_run": True}
    with mock_aws(reply=echo), awsllm.Client(region="us-east-1") as ours:
        assert ours.batch("sagemaker:e", ["a"] * 1000, **options).plan.where == "transform"
        assert ours.batch("sagemaker:e", ["a"] * 999, **options).plan.where == "calls"
        assert ours.batch("sagemaker:e", ["a"] * 1000, **{**options, "instance_type": None}).plan.where == "calls"


def test_what_a_transform_needs_is_told() -> None:
    with mock_aws(reply=echo), awsllm.Client(region="us-east-1") as ours:
        deployed()
        with pytest.raises(ConfigurationError, match="needs s3= and instance_type="):
            ours.batch("sagemaker:e", ["a"], where="transform")
        with pytest.raises(ConfigurationError, match="give format="):
            ours.batch("sagemaker:e", ["a"], **{**CHAT, "format": None})
