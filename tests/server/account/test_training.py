"""Training jobs whose requests are odd: they are refused or run, and never fail the account."""

from __future__ import annotations

from typing import Any

import pytest

from awsllm.testing import mock_aws
from tests.support.sagemaker_account import client, refusal

REQUEST: Any = {
    "TrainingJobName": "job",
    "RoleArn": "arn:aws:iam::123456789012:role/train",
    "OutputDataConfig": {"S3OutputPath": "s3://data/out"},
    "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
    "StoppingCondition": {"MaxRuntimeInSeconds": 60},
}


def train(**algorithm: Any) -> Any:
    sagemaker = client("sagemaker")
    client("s3").create_bucket(Bucket="data")
    sagemaker.create_training_job(
        **REQUEST,
        AlgorithmSpecification={"TrainingImage": "image", "TrainingInputMode": "File", **algorithm},
        HyperParameters={"loss": "0.5", "word": "none"},
    )
    return sagemaker.describe_training_job(TrainingJobName="job")


def test_a_job_without_an_algorithm_is_refused() -> None:
    with mock_aws(reply="x"):
        code, message = refusal(client("sagemaker").create_training_job, **REQUEST)
    assert (code, "TrainingImage" in message) == ("ValidationException", True)


@pytest.mark.parametrize(
    ("pattern", "values"),
    [("loss=([0-9.]+)", [0.5]), ("word=(.*)", []), ("loss=(", []), ("loss=([a-z]+)?", [])],
)
def test_a_metric_has_what_its_expression_finds_if_it_is_a_number(pattern: str, values: list[float]) -> None:
    with mock_aws(reply="x"):
        found = train(MetricDefinitions=[{"Name": "loss", "Regex": pattern}])
    assert found["TrainingJobStatus"] == "Completed"
    assert [one["Value"] for one in found.get("FinalMetricDataList", ())] == values
