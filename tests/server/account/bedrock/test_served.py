"""The same over HTTP: what is made is invoked by its ARN, jobs run in the background, invocations are logged."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from awsllm.server import running
from awsllm.testing import AsyncScriptedBackend
from tests.server.account.test_background import PATIENCE
from tests.server.test_offline import client
from tests.support.bedrock_account import CLAUDE, CLAUDE_BODY, FOUNDATION, MESSAGES, NOVA, ROLE


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(AsyncScriptedBackend("Hello.")) as url:
        yield url


def ended(url: str, job: str) -> Any:
    bedrock, until = client("bedrock", url), time.monotonic() + PATIENCE
    while time.monotonic() < until:
        found = bedrock.get_model_invocation_job(jobIdentifier=job)
        if found["status"] not in ("Submitted", "Validating", "Scheduled", "InProgress"):
            return found
        time.sleep(0.02)
    pytest.fail("the job does not end")


def test_a_batch_job(url: str) -> None:
    s3 = client("s3", url)
    s3.create_bucket(Bucket="data")
    record = json.dumps({"modelInput": CLAUDE_BODY})
    s3.put_object(Bucket="data", Key="in.jsonl", Body="\n".join([record] * 100).encode())
    job = client("bedrock", url).create_model_invocation_job(
        jobName="job",
        roleArn=ROLE,
        modelId=CLAUDE,
        inputDataConfig={"s3InputDataConfig": {"s3Uri": "s3://data/in.jsonl"}},
        outputDataConfig={"s3OutputDataConfig": {"s3Uri": "s3://data/out/"}},
    )["jobArn"]
    found = ended(url, job)
    assert (found["status"], found["successRecordCount"]) == ("Completed", 100)
    key = f"out/{job.rpartition('/')[2]}/in.jsonl.out"
    answers = s3.get_object(Bucket="data", Key=key)["Body"].read().splitlines()
    assert json.loads(answers[-1])["modelOutput"]["content"][0]["text"] == "Hello."


def test_what_was_made_is_invoked_and_logged(url: str) -> None:
    s3, bedrock, runtime = (client(name, url) for name in ("s3", "bedrock", "bedrock-runtime"))
    s3.create_bucket(Bucket="invocations")
    bedrock.put_model_invocation_logging_configuration(loggingConfig={"s3Config": {"bucketName": "invocations"}})
    arn = bedrock.create_inference_profile(inferenceProfileName="chat", modelSource={"copyFrom": FOUNDATION + NOVA})[
        "inferenceProfileArn"
    ]
    reply = runtime.converse(modelId=arn, messages=MESSAGES)
    assert reply["output"]["message"]["content"] == [{"text": "Hello."}]
    until = time.monotonic() + PATIENCE
    keys: list[str] = []
    while not keys and time.monotonic() < until:  # delivered in the background
        listed = s3.list_objects_v2(Bucket="invocations").get("Contents", ())
        keys = [one["Key"] for one in listed if one["Key"].endswith(".json.gz")]
    log = json.loads(gzip.decompress(s3.get_object(Bucket="invocations", Key=keys[0])["Body"].read()))
    assert (log["modelId"], log["requestId"]) == (arn, reply["ResponseMetadata"]["RequestId"])
