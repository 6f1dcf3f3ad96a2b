"""Handlers that nobody waits for, in a process of Lambda's own client, with the offline AWS behind it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from awsllm.testing import AwsServer, server
from tests.support.bedrock_account import CLAUDE, CLAUDE_BODY, ROLE
from tests.support.lambdas import event
from tests.support.queues import batch, failed
from tests.support.runtime_api import AWS, PATIENCE, RuntimeApi, runtime

pytest.importorskip("awslambdaric")
MODEL = "bedrock:amazon.nova-lite-v1:0"
Ask = Callable[[str, Any], Any]

# One process for all kinds: each takes longer to start than to answer. The kinds themselves need none of this: their
# modules have a ``handler``.
FUNCTION = """
    import os
    from importlib import import_module
    from awsllm.lambdas import callback_handler, sqs_handler

    KINDS = ("sqs", "documents", "stepfunctions", "eventbridge", "grader")
    HANDLERS = {kind: import_module(f"awsllm.lambdas.{kind}").handler for kind in KINDS}
    HANDLERS["callbacks"] = callback_handler(format="openai")

    def die_once(record):
        if not os.path.exists("died"):
            open("died", "w").close()
            os._exit(1)
        return "alive"

    HANDLERS["dying"] = sqs_handler(process=die_once)

    def handler(event, context):
        return HANDLERS[event["kind"]](event["event"], context)
"""


COLD = """
    import json, sys
    from awsllm.lambdas import grader, sqs, stepfunctions
    from tests.support.lambdas import FakeContext
    from tests.support.queues import batch

    handlers = sqs.handler, stepfunctions.handler, grader.handler
    sqs.handler(batch({"message": "Hi"}), FakeContext())
    print(stepfunctions.handler({"message": "Hi"}, FakeContext())["text"])
    heavy = ("botocore", "boto3", "pydantic", "asyncio", "moto", "tenacity", "pypdf")
    print(json.dumps([name for name in heavy if name in sys.modules]))
"""


@pytest.fixture(scope="module")
def aws() -> Iterator[AwsServer]:
    with server(reply="Hello, Ada.", quotas={"batch-records-min": 1}) as made:
        yield made


@pytest.fixture
def function(aws: AwsServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """Starts the process, which finds the account of this test."""
    for name, value in aws.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app.py").write_text(textwrap.dedent(FUNCTION), encoding="utf-8")
    url = boto3.client("sqs", "us-east-1").create_queue(QueueName="results")["QueueUrl"]
    boto3.client("dynamodb", "us-east-1").create_table(
        TableName="seen",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    settings = {
        "AWSLLM_MODEL": MODEL,
        "AWSLLM_RESULT_QUEUE": url,
        "AWSLLM_IDEMPOTENCY_TABLE": "seen",
        "AWSLLM_TASK": "summarise",
        "AWSLLM_GRADER": '{"contains": {}}',
    }
    with RuntimeApi() as api:

        def start() -> Any:
            return api, runtime(api, "app.handler", client=AWS, path=tmp_path, env=settings)

        start.settings = settings  # type: ignore[attr-defined]
        yield start
    boto3.client("dynamodb", "us-east-1").delete_table(TableName="seen")
    boto3.client("sqs", "us-east-1").delete_queue(QueueUrl=url)


def results() -> list[Any]:
    sqs = boto3.client("sqs", "us-east-1")
    url = sqs.get_queue_url(QueueName="results")["QueueUrl"]
    got = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", ())
    for message in got:
        sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return [json.loads(message["Body"]) for message in got]


def test_a_function_that_dies_at_work_is_followed_by_one_that_does_all(function: Any) -> None:
    api, process = function()
    with process as dying:
        api.invoke({"kind": "dying", "event": batch(1)})
        assert dying.wait(PATIENCE) == 1
    api, process = function()
    with process:

        def ask(kind: str, told: Any) -> Any:
            invoked = api.invoke({"kind": kind, "event": told}).wait(PATIENCE)
            assert invoked.outcome == "response", invoked.body
            return invoked.json()

        check_what_was_left(ask)
        check_each_kind(ask)
        failure = api.invoke({"kind": "stepfunctions", "event": {"nonsense": 1}}).wait(PATIENCE)
        assert failure.outcome == "error"
        assert failure.json()["errorType"] == "PermanentError"  # what Retry and Catch of a state machine name


def check_what_was_left(ask: Ask) -> None:
    """The record of the function that died is done once its lease is over, and not before."""
    dynamodb = boto3.client("dynamodb", "us-east-1")
    assert failed(ask("dying", batch(1))) == ["m0"]
    (item,) = dynamodb.scan(TableName="seen")["Items"]
    assert item["status"] == {"S": "INPROGRESS"}
    dynamodb.put_item(TableName="seen", Item=item | {"in_progress_expiration": {"N": "1"}})
    assert failed(ask("dying", batch(1))) == []
    assert [one["result"] for one in results()] == ["alive"]
    (item,) = dynamodb.scan(TableName="seen")["Items"]
    assert item["status"] == {"S": "COMPLETED"}


def check_each_kind(ask: Ask) -> None:
    s3 = boto3.client("s3", "us-east-1")
    s3.create_bucket(Bucket="data")
    assert failed(ask("sqs", batch({"message": "Hi"}, "no JSON"))) == []
    assert sorted(one["status"] for one in results()) == ["failed", "succeeded"]

    etag = s3.put_object(Bucket="data", Key="a b.txt", Body=b"Some text.")["ETag"].strip('"')
    told = event("s3_put")
    told["Records"][0]["s3"] |= {"bucket": {"name": "data"}, "object": {"key": "a+b.txt", "eTag": etag, "size": 10}}
    assert ask("documents", told) == {"done": 1}
    written = s3.get_object(Bucket="data", Key="awsllm/a b.txt.json")["Body"].read()
    assert json.loads(written)["result"] == "Hello, Ada."

    assert ask("stepfunctions", {"message": "Hi"})["text"] == "Hello, Ada."

    record = {"recordId": "A", "modelInput": CLAUDE_BODY}
    s3.put_object(Bucket="data", Key="in.jsonl", Body=json.dumps(record).encode())
    bedrock = boto3.client("bedrock", "us-east-1")
    job = bedrock.create_model_invocation_job(
        jobName="job",
        roleArn=ROLE,
        modelId=CLAUDE,
        inputDataConfig={"s3InputDataConfig": {"s3Uri": "s3://data/in.jsonl"}},
        outputDataConfig={"s3OutputDataConfig": {"s3Uri": "s3://data/out/"}},
    )["jobArn"]
    end = time.monotonic() + PATIENCE
    while bedrock.get_model_invocation_job(jobIdentifier=job)["status"] != "Completed":  # it runs beside the server
        assert time.monotonic() < end
        time.sleep(0.05)
    told = event("batch_job")
    told["detail"]["batchJobArn"] = job
    assert ask("eventbridge", told)["counts"]["succeeded"] == 1

    completion = {"choices": [{"message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}]}
    s3.put_object(Bucket="data", Key="out/1.out", Body=json.dumps(completion).encode())
    told = event("async_success", responseParameters={"outputLocation": "s3://data/out/1.out"})
    assert failed(ask("callbacks", batch(told))) == []
    assert results()[-1]["result"]["text"] == "Hi."

    assert [one["aggregate_reward_score"] for one in ask("grader", event("grader")["samples"])] == [1.0, 0.0]


def test_what_works_off_queues_and_states_loads_no_botocore(function: Any) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(COLD)],
        env={**os.environ, **function.settings},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == ["Hello, Ada.", "[]"]
    assert [one["result"]["text"] for one in results()] == ["Hello, Ada."]
