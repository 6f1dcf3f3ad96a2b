"""Batch inference: boto3 starts a job over S3, and what it wrote is there."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from awsllm.errors import ThrottlingError
from awsllm.testing import mock_aws
from awsllm.types import ConverseRequest
from tests.server.account.test_background import PATIENCE, Turnstile
from tests.support.bedrock_account import (
    CLAUDE,
    CLAUDE_BODY,
    FOUNDATION,
    MESSAGES,
    NOVA,
    ROLE,
    bedrock,
    get,
    keys,
    lines,
    names,
    put,
)
from tests.support.sagemaker_account import refusal

FEW: Any = {"quotas": {"batch-records-min": 1}}
HELLO = {"recordId": "HELLO000001", "modelInput": CLAUDE_BODY}


def start(source: str, name: str = "job", **more: Any) -> str:
    config = {"s3InputDataConfig": {"s3Uri": source, **more.pop("read", {})}}
    made = bedrock().create_model_invocation_job(
        jobName=name,
        roleArn=ROLE,
        inputDataConfig=config,
        outputDataConfig={"s3OutputDataConfig": {"s3Uri": "s3://data/out/"}},
        **{"modelId": CLAUDE, **more},
    )
    return str(made["jobArn"])


def look(job: str) -> Any:
    return bedrock().get_model_invocation_job(jobIdentifier=job)


def place(job: str) -> str:
    return f"out/{job.rpartition('/')[2]}"


def counts(found: dict[str, Any]) -> list[int]:
    return [found[f"{name}RecordCount"] for name in ("total", "processed", "success", "error")]


def test_a_hundred_records() -> None:
    """Probe 15, with as many records as the service wants."""
    with mock_aws(reply="Hello."):
        job = start(put("in.jsonl", *[{**HELLO, "recordId": f"R{n:010}"} for n in range(100)]))
        found = look(job)
        assert (found["status"], counts(found)) == ("Completed", [100, 100, 100, 0])
        assert keys(place(job)) == [f"{place(job)}/in.jsonl.out", f"{place(job)}/manifest.json.out"]
        manifest = json.loads(get(f"{place(job)}/manifest.json.out"))
        answers = lines(f"{place(job)}/in.jsonl.out")
        assert [answer["recordId"] for answer in answers] == [f"R{n:010}" for n in range(100)]
        assert answers[0]["modelInput"] == CLAUDE_BODY
        output = answers[0]["modelOutput"]
        assert output["content"] == [{"type": "text", "text": "Hello."}]
        assert manifest == {
            "totalRecordCount": 100,
            "processedRecordCount": 100,
            "successRecordCount": 100,
            "errorRecordCount": 0,
            "inputTokenCount": 100 * output["usage"]["input_tokens"],
            "outputTokenCount": 100 * output["usage"]["output_tokens"],
        }


def test_too_few_records() -> None:
    with mock_aws(reply="Hello."):
        found = look(start(put("in.jsonl", HELLO)))
        assert found["status"] == "Failed"
        assert "less records (1) than the required minimum of: 100" in found["message"]
        assert keys("out") == []


def test_converse_bodies_of_several_files() -> None:
    def reply(request: ConverseRequest) -> str:
        return f"{request.model} {request.messages[0].text}"

    with mock_aws(reply=reply, **FEW):
        put("in/a.jsonl", {"modelInput": {"messages": MESSAGES}}, "", {"recordId": "X", "modelInput": {}})
        put("in/deep/b.jsonl", {"recordId": "Y", "modelInput": {"messages": MESSAGES}})
        put("in/picture.png", "no line of JSON")
        put("inside.jsonl", "not in the folder")
        job = start("s3://data/in", modelId=f"us.{NOVA}", modelInvocationType="Converse")
        found = look(job)
        assert (found["status"], counts(found)) == ("Completed", [3, 3, 2, 1])
        first, second = lines(f"{place(job)}/a.jsonl.out")
        assert first["modelOutput"]["output"]["message"]["content"] == [{"text": f"us.{NOVA} Hello"}]
        assert first["modelOutput"]["stopReason"] == "end_turn"
        assert first["recordId"]  # the service gives one that had none
        assert second["error"]["errorCode"] == 400
        assert "must start with a user message" in second["error"]["errorMessage"]
        assert "modelOutput" not in second
        assert names(lines(f"{place(job)}/deep/b.jsonl.out"), "recordId") == ["Y"]
        usage = first["modelOutput"]["usage"]
        assert json.loads(get(f"{place(job)}/manifest.json.out"))["inputTokenCount"] == 2 * usage["inputTokens"]


def test_embeddings() -> None:
    with mock_aws(reply="x", **FEW):
        model = "amazon.titan-embed-text-v2:0"
        job = start(put("in.jsonl", {"recordId": "A", "modelInput": {"inputText": "Hello"}}), modelId=model)
        assert look(job)["status"] == "Completed"
        assert lines(f"{place(job)}/in.jsonl.out")[0]["modelOutput"]["embedding"]


def test_a_model_that_refuses() -> None:
    with mock_aws(reply=[ThrottlingError("slow down", status=429, code="ThrottlingException"), "Hello."], **FEW):
        job = start(put("in.jsonl", HELLO, HELLO))
        found = look(job)
        assert (found["status"], counts(found)) == ("Completed", [2, 2, 1, 1])
        assert lines(f"{place(job)}/in.jsonl.out")[0]["error"] == {"errorCode": 429, "errorMessage": "slow down"}


def test_every_status_on_the_way() -> None:
    with mock_aws(reply="Hello.", transitions={"model-invocation": 4}, **FEW):
        job = start(put("in.jsonl", HELLO))
        seen = [look(name)["status"] for name in (job, job.rpartition("/")[2], job, job, job)]
        assert seen == ["Submitted", "Validating", "Scheduled", "InProgress", "Completed"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "in.jsonl, line 2: a record is a JSON object with modelInput"),
        ('{"recordId": "A"}', "in.jsonl, line 2"),
        ('{"modelInput": "secret"}', "in.jsonl, line 2"),
        ('{"recordId": 7, "modelInput": {}}', "recordId is a text"),
        ("[" * 5000, "in.jsonl, line 2"),
    ],
)
def test_what_is_no_record(line: str, words: str) -> None:
    with mock_aws(reply="Hello.", **FEW) as aws:
        found = look(start(put("in.jsonl", HELLO, line)))
        assert found["status"] == "Failed"
        assert words in found["message"]
        assert "secret" not in found["message"]
        assert aws.requests == []


def test_input_that_is_not_there() -> None:
    with mock_aws(reply="Hello.", **FEW):
        put("in.txt", HELLO)
        for name, source in enumerate(("s3://data/no/", "s3://nowhere/in.jsonl", "s3://data/in.txt")):
            found = look(start(source, name=f"j{name}"))
            assert found["status"] == "Failed"
            assert source in found["message"]
        put("in.jsonl", HELLO)
        other = look(start("s3://data/in.jsonl", read={"s3BucketOwner": "999999999999"}))
        assert (other["status"], "Access denied" in other["message"]) == ("Failed", True)


def test_quotas_of_records() -> None:
    quotas = {"batch-records-min": 1, "batch-records-per-file": 2, "batch-records-per-job": 3}
    with mock_aws(reply="Hello.", quotas=quotas):
        put("in/a.jsonl", HELLO, HELLO)
        put("in/b.jsonl", HELLO, HELLO)
        assert "more records (4)" in look(start("s3://data/in/"))["message"]
        source = put("many.jsonl", HELLO, HELLO, HELLO)
        assert "many.jsonl contains more records (3)" in look(start(source, "other"))["message"]


def test_what_is_refused_at_once() -> None:
    with mock_aws(reply="Hello.", transitions={"model-invocation": 9}, **FEW):
        source = put("in.jsonl", HELLO)
        job = start(source, clientRequestToken="t1")
        assert start(source, clientRequestToken="t1") == job
        assert refusal(start, source=source)[0] == "ConflictException"
        assert refusal(start, source=source, name="b", modelId="no.such-model-v9:9")[0] == "ValidationException"
        unknown = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123def456"
        assert refusal(start, source=source, name="b", modelId=unknown)[0] == "ResourceNotFoundException"
        assert refusal(start, source=source, name="b", timeoutDurationInHours=1000)[0] == "ValidationException"
        assert refusal(look, job=job[:-3] + "000")[0] == "ResourceNotFoundException"


def test_by_an_application_s_profile() -> None:
    with mock_aws(reply="Hello.", **FEW) as aws:
        profile = bedrock().create_inference_profile(
            inferenceProfileName="chat", modelSource={"copyFrom": FOUNDATION + CLAUDE}
        )["inferenceProfileArn"]
        found = look(start(put("in.jsonl", HELLO), modelId=profile))
        assert (found["status"], found["modelId"]) == ("Completed", profile)
        assert aws.plane.calls[-1][0] == "GetModelInvocationJob"


def test_lists() -> None:
    ticks = itertools.count(1_000_000)
    with mock_aws(reply="Hello.", clock=lambda: float(next(ticks)), **FEW):
        source = put("in.jsonl", HELLO)
        good, bad = start(source, "good", tags=[{"key": "a", "value": "b"}]), start("s3://data/no/", "bad")
        jobs = bedrock().list_model_invocation_jobs()["invocationJobSummaries"]
        assert names(jobs, "jobArn") == [bad, good]
        for filters, there in (
            ({"statusEquals": "Failed"}, [bad]),
            ({"nameContains": "oo"}, [good]),
            ({"submitTimeAfter": jobs[0]["submitTime"]}, []),
            ({"submitTimeBefore": jobs[0]["submitTime"]}, [good]),
            ({"sortOrder": "Ascending", "maxResults": 1}, [good]),
        ):
            found = bedrock().list_model_invocation_jobs(**filters)["invocationJobSummaries"]
            assert names(found, "jobArn") == there
        assert bedrock().list_tags_for_resource(resourceARN=good)["tags"] == [{"key": "a", "value": "b"}]


# --- stopped, and out of time ----------------------------------------------------------------------------------------


def test_stopped_before_it_began() -> None:
    with mock_aws(reply="Hello.", transitions={"model-invocation": 9}, **FEW) as aws:
        job = start(put("in.jsonl", HELLO))
        bedrock().stop_model_invocation_job(jobIdentifier=job)
        assert [look(job)["status"] for _ in range(2)] == ["Stopping", "Stopped"]
        assert refusal(bedrock().stop_model_invocation_job, jobIdentifier=job)[0] == "ConflictException"
        assert (aws.requests, keys("out")) == ([], [])


def test_what_was_done_survives_a_stop() -> None:
    turnstile = Turnstile()
    with mock_aws(reply=turnstile, **FEW) as aws:
        aws.plane.background = True
        put("in/a.jsonl", HELLO, HELLO, HELLO)
        put("in/b.jsonl", HELLO)
        job = start("s3://data/in/")
        turnstile.wait_until_asked()
        assert (look(job)["status"], counts(look(job))) == ("InProgress", [4, 0, 0, 0])
        turnstile.let(1)
        turnstile.wait_until_asked()
        assert counts(look(job)) == [4, 1, 1, 0]
        bedrock().stop_model_invocation_job(jobIdentifier=job)
        assert look(job)["status"] == "Stopping"
        turnstile.let(1)
        assert aws.plane.join(PATIENCE)
        found = look(job)
        assert (found["status"], counts(found)) == ("Stopped", [4, 2, 2, 0])
        assert len(lines(f"{place(job)}/a.jsonl.out")) == 2
        assert json.loads(get(f"{place(job)}/manifest.json.out"))["processedRecordCount"] == 2


def test_a_job_that_never_began() -> None:
    now = [1_000_000.0]
    with mock_aws(reply="Hello.", clock=lambda: now[0], transitions={"model-invocation": 200 * 3600.0}, **FEW):
        job = start(put("in.jsonl", HELLO), timeoutDurationInHours=48)
        now[0] += 47 * 3600
        found = look(job)
        assert found["status"] == "Submitted"
        assert found["jobExpirationTime"].timestamp() == 1_000_000 + 48 * 3600
        now[0] += 3600
        assert look(job)["status"] == "Expired"


def test_a_job_whose_time_is_over() -> None:
    now = [1_000_000.0]

    def slow(request: ConverseRequest) -> str:
        now[0] += 15 * 3600
        return "Hello."

    with mock_aws(reply=slow, clock=lambda: now[0], **FEW):
        job = start(put("in.jsonl", HELLO, HELLO, HELLO))
        found = look(job)
        assert (found["status"], counts(found)) == ("PartiallyCompleted", [3, 2, 2, 0])
        assert len(lines(f"{place(job)}/in.jsonl.out")) == 2


def test_a_failure_that_the_test_wants() -> None:
    with mock_aws(reply="Hello.", **FEW) as aws:
        aws.plane.fail("job", "Internal error.")
        found = look(start(put("in.jsonl", HELLO)))
        assert (found["status"], found["message"]) == ("Failed", "Internal error.")


def test_a_bucket_that_cannot_be_written() -> None:
    with mock_aws(reply="Hello.", **FEW):
        made = bedrock().create_model_invocation_job(
            jobName="job",
            roleArn=ROLE,
            modelId=CLAUDE,
            inputDataConfig={"s3InputDataConfig": {"s3Uri": put("in.jsonl", HELLO)}},
            outputDataConfig={"s3OutputDataConfig": {"s3Uri": "s3://nowhere/out"}},
        )
        found = look(made["jobArn"])
        assert (found["status"], "s3://nowhere/out" in found["message"]) == ("Failed", True)


def test_what_a_script_raises_is_raised_once_and_fails_the_job() -> None:
    def reply(request: ConverseRequest) -> str:
        pytest.fail("not what was asked for")

    with mock_aws(reply=reply, **FEW):
        with pytest.raises(pytest.fail.Exception, match="not what was asked for"):
            start(put("in.jsonl", HELLO))
        (job,) = bedrock().list_model_invocation_jobs()["invocationJobSummaries"]
        assert job["status"] == look(job["jobArn"])["status"] == "Failed"
