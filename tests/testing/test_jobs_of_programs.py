"""What a program's own tests need of jobs: few records in a batch job, a job that fails, a machine without PyTorch."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest

import awsllm
from awsllm.lambdas import grader_handler
from awsllm.server.account.judges import scores
from awsllm.testing import mock_aws
from tests.support import tiny_chat

NOVA = "bedrock:us.amazon.nova-lite-v1:0"
ROLE = "arn:aws:iam::123456789012:role/jobs"
CHATS = [{"prompt": f"Who are you? {number}", "completion": "A pirate."} for number in range(8)]


def bucket() -> None:
    boto3.client("s3", "us-east-1").create_bucket(Bucket="data")


@pytest.mark.parametrize(
    "model", [NOVA, "bedrock:mistral.mistral-large-2402-v1:0", "bedrock:us.anthropic.claude-sonnet-4-5-20250929-v1:0"]
)
def test_client_batch_knows_the_quotas_that_the_account_was_given(model: str) -> None:
    place: Any = {"s3": "s3://data/batches", "role": ROLE, "where": "bedrock-batch", "dry_run": True}
    given = {"batch-records-min": 2, "batch-records-per-file": 7, "batch-records-per-job": 9}
    with mock_aws(reply="Short.", quotas=given), awsllm.Client(region="us-east-1") as client:
        bucket()
        reasons = client.batch(model, ["a", "b"], max_tokens=5, **place).plan.reasons
        assert "a job takes 2 to 7 records (Service Quotas)" in reasons
        with mock_aws(reply="Short."), pytest.raises(awsllm.ValidationError, match="at least 100 records"):
            client.batch(model, ["a", "b"], max_tokens=5, **place)
        with pytest.raises(awsllm.ValidationError, match="at least 2 records"):
            client.batch(model, ["a"], max_tokens=5, **place)


def test_three_records_by_a_batch_job(mock_aws: Callable[..., Any], tmp_path: Path) -> None:
    mock_aws(reply="Short.", quotas={"batch-records-min": 1})
    bucket()
    with awsllm.Client(region="us-east-1") as client:
        place: Any = {"s3": "s3://data/batches", "role": ROLE, "where": "bedrock-batch"}
        began = time.monotonic()
        result = client.batch(NOVA, ["a", "b", "c"], output=tmp_path / "out.jsonl", max_tokens=5, **place).result()
    assert result.succeeded == 3
    assert time.monotonic() - began < 25  # the first looks at a job do not wait for half a minute


def test_over_a_port_too(aws_server: Callable[..., Any]) -> None:
    aws_server(reply="Short.", quotas={"batch-records-min": 1})
    bucket()
    place: Any = {"s3": "s3://data/batches", "role": ROLE, "where": "bedrock-batch", "dry_run": True}
    with awsllm.Client(region="us-east-1") as client:
        assert client.batch(NOVA, ["a"], max_tokens=5, **place).plan.where == "bedrock-batch"


def test_a_job_that_shall_fail(mock_aws: Callable[..., Any]) -> None:
    aws = mock_aws(reply="Ahoy.")
    bucket()
    aws.plane.fail("pirate", "No capacity.")
    with awsllm.Client(region="us-east-1") as client:
        job = client.fine_tune(
            "bedrock:amazon.nova-lite-v1:0", CHATS, name="pirate", role=ROLE, output="s3://data/pirate"
        )
        with pytest.raises(awsllm.AwsllmError, match="No capacity"):
            job.result()


def test_a_grader_of_lambdas_judges_the_offline_reinforcement() -> None:
    """It reads its context: the time that is left, and whose log its lines are of."""
    grader = grader_handler(grade=lambda sample: float("pirate" in sample.answer))
    samples = [
        {"id": str(number), "messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": told}]}
        for number, told in enumerate(("A pirate.", "A clerk."))
    ]
    with mock_aws(reply="x") as aws:
        aws.plane.functions["judge"] = grader
        arn = "arn:aws:lambda:us-east-1:123456789012:function:judge"
        assert scores(aws.plane.region("us-east-1"), arn, samples) == [1.0, 0.0]


def test_the_same_training_by_two_names_is_two_jobs(mock_aws: Callable[..., Any]) -> None:
    mock_aws(reply="Ahoy.")
    bucket()
    asked: Any = {"role": ROLE, "output": "s3://data/pirate"}
    with awsllm.Client(region="us-east-1") as client:
        for name in (None, "first", "second", "second"):
            client.fine_tune("bedrock:amazon.nova-lite-v1:0", CHATS, name=name, **asked).result()
        found = [job.name for job in client.jobs.list("bedrock").jobs if job.noun == "customization job"]
    assert len(found) == 3
    assert {"first", "second"} < set(found)


_WITHOUT = """
import sys
sys.modules["torch"] = None
import boto3
import awsllm
from awsllm.testing import mock_aws

with mock_aws(models={{"*": {base!r}}}), awsllm.Client(region="us-east-1") as client:
    boto3.client("s3", "us-east-1").create_bucket(Bucket="data")
    place = {{"role": {role!r}, "output": "s3://data/out"}}
    try:
        client.fine_tune("bedrock:amazon.nova-lite-v1:0:300k", {chats!r}, **place).result()
    except awsllm.AwsllmError as error:
        print(type(error).__name__, error)
    arn = "arn:aws:sagemaker:us-east-1:aws:hub-content/H/Model/m/1.0.0"
    try:
        client.training_session(arn, tokenizer={base!r}, **place)
    except awsllm.ConfigurationError as error:
        print(error)
with mock_aws(reply="Ahoy."), awsllm.Client(region="us-east-1") as client:
    boto3.client("s3", "us-east-1").create_bucket(Bucket="data")
    tuned = client.fine_tune("bedrock:amazon.nova-lite-v1:0:300k", {chats!r}, deploy=True, **place).result()
    print(client.converse(tuned.model, "Who?", max_tokens=5).text)
"""


def test_without_pytorch_a_job_says_what_it_needs_and_a_script_needs_nothing(tmp_path: Path) -> None:
    program = _WITHOUT.format(base=tiny_chat.write(tmp_path / "base"), role=ROLE, chats=CHATS)
    environment = {**os.environ, "AWSLLM_JOBS": str(tmp_path / "jobs")}
    out = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, env=environment
    ).stdout.splitlines()
    assert "training needs torch" in out[0]
    assert "pip install 'awsllm[local]'" in out[0]
    assert "scripted" in out[0]
    assert out[1].startswith("conversations become tokens here, which needs torch: pip install 'awsllm[local]'")
    assert out[2:] == ["Ahoy."]
