"""Jobs on threads of their own: nobody waits for them, and they can be stopped and looked at meanwhile."""

from __future__ import annotations

import json
import threading
from functools import partial
from typing import Any

import pytest

from awsllm.errors import RequestError, ServerError
from awsllm.server.account.account import Account
from awsllm.testing import mock_aws
from tests.support.sagemaker_account import CHAT, ROLE, VLLM, client, refusal, variant

PATIENCE = 60.0
"""Seconds within which a busy machine gets to it; nothing waits for so long that goes well."""


class Turnstile:
    """A script whose every reply waits to be let through."""

    def __init__(self, reply: Any = "Hello.") -> None:
        self.asked, self._let, self._reply = threading.Semaphore(0), threading.Semaphore(0), reply

    def __call__(self, request: Any) -> Any:
        self.asked.release()
        assert self._let.acquire(timeout=PATIENCE)
        return self._reply

    def let(self, count: int) -> None:
        self._let.release(count)

    def wait_until_asked(self) -> None:
        assert self.asked.acquire(timeout=PATIENCE)


def start_transform(lines: int) -> Any:
    s3, sagemaker = client("s3"), client("sagemaker")
    s3.create_bucket(Bucket="data")
    s3.put_object(Bucket="data", Key="in/q.jsonl", Body="\n".join([CHAT] * lines).encode())
    sagemaker.create_model(ModelName="m", ExecutionRoleArn=ROLE, PrimaryContainer=VLLM)
    source = {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://data/in/"}}, "SplitType": "Line"}
    sagemaker.create_transform_job(
        TransformJobName="t",
        ModelName="m",
        TransformInput={**source, "ContentType": "application/json"},
        TransformOutput={"S3OutputPath": "s3://data/out", "AssembleWith": "Line"},
        TransformResources={"InstanceType": "ml.g5.2xlarge", "InstanceCount": 1},
    )
    return sagemaker


def status() -> str:
    return str(client("sagemaker").describe_transform_job(TransformJobName="t")["TransformJobStatus"])


def test_a_job_that_runs_blocks_nobody() -> None:
    turnstile = Turnstile()
    with mock_aws(reply=turnstile) as aws:
        aws.plane.background = True
        start_transform(2)
        turnstile.wait_until_asked()
        assert status() == "InProgress"
        assert (
            client("sagemaker").list_transform_jobs()["TransformJobSummaries"][0]["TransformJobStatus"] == "InProgress"
        )
        turnstile.let(2)
        assert aws.plane.join(PATIENCE)
        assert status() == "Completed"
        body = client("s3").get_object(Bucket="data", Key="out/q.jsonl.out")["Body"].read()
        assert len(body.splitlines()) == 2


def test_a_job_that_is_stopped_ends_after_its_record() -> None:
    turnstile = Turnstile()
    with mock_aws(reply=turnstile) as aws:
        aws.plane.background = True
        sagemaker = start_transform(3)
        turnstile.wait_until_asked()
        sagemaker.stop_transform_job(TransformJobName="t")
        assert status() == "Stopping"
        assert refusal(sagemaker.stop_transform_job, TransformJobName="t")[0] == "ValidationException"
        turnstile.let(1)
        assert aws.plane.join(PATIENCE)
        assert status() == "Stopped"
        assert not turnstile.asked.acquire(blocking=False)


def test_what_runs_ends_with_the_account_and_is_not_told_of() -> None:
    turnstile = Turnstile()
    with mock_aws(reply=turnstile) as aws:
        aws.plane.background = True
        start_transform(3)
        turnstile.wait_until_asked()
        assert not aws.plane.end(0.0)
        turnstile.let(1)
        assert aws.plane.join(PATIENCE)
        assert status() == "InProgress"  # as it is kept, for whoever reads it again
        assert not turnstile.asked.acquire(blocking=False)


def test_a_fault_of_the_models_fails_the_job() -> None:
    def broken(request: Any) -> str:
        raise ZeroDivisionError("secret")

    with mock_aws(reply=broken) as aws:
        aws.plane.background = True
        sagemaker = start_transform(1)
        assert aws.plane.join(PATIENCE)
        job = sagemaker.describe_transform_job(TransformJobName="t")
        assert (job["TransformJobStatus"], job["FailureReason"]) == ("Failed", "InternalServerError: ZeroDivisionError")


def test_a_job_that_no_thread_runs_is_run_again() -> None:
    """As after a restart that found it running."""
    with mock_aws(reply="Hello.", transitions={"transform": 5}) as aws:
        start_transform(1)
        job = aws.plane.state("us-east-1").table("transform-job")["t"]
        job.wait = None
        assert status() == "Completed"


def test_an_asynchronous_invocation_is_answered_later() -> None:
    turnstile = Turnstile()
    with mock_aws(reply=turnstile) as aws:
        aws.plane.background = True
        client("s3").create_bucket(Bucket="data")
        sagemaker = client("sagemaker")
        sagemaker.create_model(ModelName="m", ExecutionRoleArn=ROLE, PrimaryContainer=VLLM)
        asynchronously = {"OutputConfig": {"S3OutputPath": "s3://data/out", "S3FailurePath": "s3://data/failed"}}
        sagemaker.create_endpoint_config(
            EndpointConfigName="c", ProductionVariants=[variant(ModelName="m")], AsyncInferenceConfig=asynchronously
        )
        sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")
        client("s3").put_object(Bucket="data", Key="q", Body=CHAT.encode())
        reply = client("sagemaker-runtime").invoke_endpoint_async(EndpointName="e", InputLocation="s3://data/q")
        _, _, place = reply["OutputLocation"].split("/", 2)
        key = place.partition("/")[2]
        turnstile.wait_until_asked()
        assert refusal(client("s3").get_object, Bucket="data", Key=key)[0] == "NoSuchKey"
        turnstile.let(1)
        assert aws.plane.join(PATIENCE)
        answer = json.loads(client("s3").get_object(Bucket="data", Key=key)["Body"].read())
        assert answer["choices"][0]["message"]["content"] == "Hello."


def test_an_asynchronous_invocation_that_fails_later() -> None:
    with mock_aws(reply=ServerError("no")) as aws:
        aws.plane.background = True
        client("s3").create_bucket(Bucket="data")
        sagemaker = client("sagemaker")
        sagemaker.create_model(ModelName="m", ExecutionRoleArn=ROLE, PrimaryContainer=VLLM)
        asynchronously = {"OutputConfig": {"S3OutputPath": "s3://nowhere/out", "S3FailurePath": "s3://nowhere/no"}}
        sagemaker.create_endpoint_config(
            EndpointConfigName="c", ProductionVariants=[variant(ModelName="m")], AsyncInferenceConfig=asynchronously
        )
        sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")
        client("s3").put_object(Bucket="data", Key="q", Body=CHAT.encode())
        client("sagemaker-runtime").invoke_endpoint_async(EndpointName="e", InputLocation="s3://data/q")
        assert aws.plane.join(PATIENCE)
        logged = client("logs").get_log_events(
            logGroupName="/aws/sagemaker/Endpoints/e", logStreamName="async-inference"
        )["events"]
        assert "s3://nowhere/no" in logged[0]["message"]


def test_a_flood_of_work_waits_for_a_thread() -> None:
    account, gate, done = Account(), threading.Event(), list[int]()
    account.background = True

    def work(number: int) -> None:
        assert gate.wait(PATIENCE)
        done.append(number)

    before = threading.active_count()
    for number in range(500):
        account.perform(f"work {number}", partial(work, number))
    assert threading.active_count() - before <= 64
    assert len(account.running) == 500
    assert not account.join(0.01)
    gate.set()
    assert account.join(PATIENCE)
    assert (sorted(done), account.running) == (list(range(500)), set())


def test_work_that_fails_keeps_no_other_from_being_done() -> None:
    def fail() -> None:
        raise ValueError

    account, done = Account(), threading.Event()
    account.background = True
    account.ended = lambda: (_ for _ in ()).throw(OSError("the disk is full"))
    for _ in range(100):
        account.perform("failing", fail)
    account.perform("other", done.set)
    assert account.join(PATIENCE)
    assert done.is_set()


def test_what_callers_name_does_not_grow_without_end() -> None:
    account = Account()
    for number in range(25_000):
        account.performed("ListModels", {"number": number})
    assert 10_000 <= len(account.calls) < 20_000
    assert account.calls[-1] == ("ListModels", {"number": 24_999})
    for number in range(200):
        account.state(f"region-{number}")
    with pytest.raises(RequestError, match="regions"):
        account.state("one-more")
    assert account.state("region-7") is account.states["region-7"]
