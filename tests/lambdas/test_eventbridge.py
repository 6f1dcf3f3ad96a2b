"""The end of batch inference jobs: jobs that the offline Bedrock ran, and the events about them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from awsllm.aws.session import AwsSession
from awsllm.errors import ConfigurationError, ThrottlingError, ValidationError
from awsllm.lambdas import batch_handler
from awsllm.lambdas.eventbridge import FinishedBatch
from awsllm.lambdas.events.batch_records import BatchRecord
from awsllm.lambdas.events.errors import TransientError
from awsllm.testing import mock_aws
from tests.support.bedrock_account import CLAUDE, CLAUDE_BODY, MESSAGES, ROLE, bedrock, get, lines, put
from tests.support.lambdas import FakeContext, event
from tests.support.queues import batch, failed

FEW: Any = {"quotas": {"batch-records-min": 1}}
_names = (f"job-{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def account() -> Iterator[AwsSession]:
    """``conftest``'s, with models that say "Hello." and refuse what is asked of them by name."""
    with mock_aws(reply=reply, **FEW):
        yield AwsSession()


@pytest.fixture(autouse=True)
def in_this_account(in_aws: None) -> None:
    """Every test runs there."""


def reply(request: Any) -> str:
    match request.messages[0].text:
        case "throttled":
            raise ThrottlingError("slowly", status=429)
        case "wrong":
            raise ValidationError("wrong", status=400)
        case _:
            return "Hello."


def start(source: str, **more: Any) -> str:
    made = bedrock().create_model_invocation_job(
        jobName=next(_names),
        roleArn=ROLE,
        modelId=CLAUDE,
        inputDataConfig={"s3InputDataConfig": {"s3Uri": source}},
        outputDataConfig={"s3OutputDataConfig": {"s3Uri": "s3://data/out/"}},
        **more,
    )
    return str(made["jobArn"])


def over(job: str, status: str = "Completed") -> dict[str, Any]:
    """The job run to its end, and the event that says so."""
    assert bedrock().get_model_invocation_job(jobIdentifier=job)["status"] == status
    told = event("batch_job")
    told["detail"] |= {"batchJobArn": job, "status": status}
    return told


def record(name: str, text: str = "Hello") -> dict[str, Any]:
    return {"recordId": name, "modelInput": {**CLAUDE_BODY, "messages": [{"role": "user", "content": text}]}}


def test_records_are_joined_and_counted() -> None:
    seen: list[FinishedBatch] = []
    put("joined/a.jsonl", record("A"), record("B", "throttled"))
    put("joined/b.jsonl", record("C", "wrong"), record("D"))
    job = start("s3://data/joined/")
    told = over(job)
    answer = batch_handler(on_finished=seen.append)(told, FakeContext())
    records = {one.id: one for one in seen[0].records()}
    assert answer["counts"] == {"total": 4, "succeeded": 2, "failed": 2, "missing": 0}
    assert answer["status"] == "Completed"
    assert answer["output"] == f"s3://data/out/{job.rpartition('/')[2]}/"
    assert answer["retry"] is None
    assert answer["collected"] is None
    assert answer["tokens"]["outputTokenCount"] > 0
    (finished,) = seen
    assert (finished.job, finished.model, finished.event) == (job, CLAUDE, told)
    assert finished.name.startswith("job-")
    assert [records[name].may_pass for name in "ABCD"] == [False, True, False, False]
    assert records["A"].output is not None
    assert records["A"].output["content"][0]["text"] == "Hello."
    assert records["A"].input == record("A")["modelInput"]
    assert records["C"].error == {"errorCode": 400, "errorMessage": "wrong"}


@pytest.mark.parametrize(("retry", "names"), [("passing", ["B"]), ("all", ["B", "C"])])
def test_what_failed_is_written_out_to_be_tried_again(
    monkeypatch: pytest.MonkeyPatch, retry: str, names: list[str]
) -> None:
    monkeypatch.setenv("AWSLLM_RETRY_RECORDS", retry)
    job = start(put("in.jsonl", record("A"), record("B", "throttled"), record("C", "wrong")))
    answer = batch_handler()(over(job), FakeContext())
    assert answer["retry"] == f"s3://data/awsllm/batch/{job.rpartition('/')[2]}.retry.jsonl"
    again = lines(answer["retry"].removeprefix("s3://data/"))
    assert [one["recordId"] for one in again] == names
    assert again[0] == record("B", "throttled")
    second = start(answer["retry"])  # it is an input as the service takes it
    assert bedrock().get_model_invocation_job(jobIdentifier=second)["totalRecordCount"] == len(names)


def test_all_records_are_collected_in_one_file_where_a_bucket_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWSLLM_OUTPUT_BUCKET", "data")
    monkeypatch.setenv("AWSLLM_OUTPUT_PREFIX", "output/collected/")
    put("both/a.jsonl", record("A"), record("B", "wrong"))
    put("both/b.jsonl", record("C"))
    job = start("s3://data/both/")
    told = over(job)
    put("both/b.jsonl", record("C"), record("D"))  # as if the job had not reached it
    answer = batch_handler()(told, FakeContext())
    assert answer["collected"] == f"s3://data/output/collected/{job.rpartition('/')[2]}.jsonl"
    found = {line["recordId"]: line for line in lines(answer["collected"].removeprefix("s3://data/"))}
    assert [sorted(found[name]) for name in "ABCD"] == [
        ["modelInput", "modelOutput", "recordId"],
        ["error", "modelInput", "recordId"],
        ["modelInput", "modelOutput", "recordId"],
        ["modelInput", "recordId"],
    ]
    assert answer["retry"] is None


def test_what_the_job_did_not_reach_is_found_by_id_and_by_body() -> None:
    bodies = [{"messages": MESSAGES, "inferenceConfig": {"maxTokens": number}} for number in range(1, 5)]
    records = [{"modelInput": bodies[0]}, {"recordId": "B", "modelInput": bodies[1]}]
    unreached = [{"recordId": "C", "modelInput": bodies[2]}, {"modelInput": bodies[3]}]
    job = start(put("in.jsonl", *records, *unreached), modelInvocationType="Converse")
    told = over(job)
    place = f"out/{job.rpartition('/')[2]}/in.jsonl.out"
    put(place, *lines(place)[:2])  # as if its time had been over then
    answer = batch_handler(retry="passing")(told, FakeContext())
    assert answer["counts"] == {"total": 4, "succeeded": 2, "failed": 0, "missing": 2}
    assert lines(answer["retry"].removeprefix("s3://data/")) == unreached


def test_of_a_job_that_failed_nothing_is_written_out() -> None:
    job = start(put("in.jsonl", "no JSON"))
    answer = batch_handler(retry="all")(over(job, "Failed"), FakeContext())
    assert answer["status"] == "Failed"
    assert answer["retry"] is None
    assert "no JSON" not in answer["message"]


def test_the_result_queue_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    sqs = boto3.client("sqs", "us-east-1")
    url = sqs.create_queue(QueueName="results")["QueueUrl"]
    monkeypatch.setenv("AWSLLM_RESULT_QUEUE", url)
    told = over(start(put("in.jsonl", record("A"))))
    handler = batch_handler()
    answer = handler(told, FakeContext())
    assert failed(handler(batch(told), FakeContext())) == []  # the same, by a queue, and known already
    messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    assert [json.loads(message["Body"]) for message in messages] == [answer]
    sqs.delete_queue(QueueUrl=url)
    with pytest.raises(TransientError):
        batch_handler()(told, FakeContext())


def test_what_on_finished_raises_brings_the_event_again() -> None:
    calls = itertools.count()

    def on_finished(finished: FinishedBatch) -> None:
        if next(calls) == 0:
            raise ConnectionError("the database is away")

    told = over(start(put("in.jsonl", record("A"))))
    handler = batch_handler(on_finished=on_finished)
    assert failed(handler(batch(told), FakeContext())) == ["m0"]
    assert failed(handler(batch(told), FakeContext())) == []
    assert next(calls) == 2


def test_a_job_with_more_records_than_time_says_so() -> None:
    class Running(FakeContext):
        def get_remaining_time_in_millis(self) -> int:
            self.milliseconds -= 1_000
            return self.milliseconds

    told = over(start(put("in.jsonl", *map(record, "ABCDEFGH"))))
    with pytest.raises(TransientError, match="more time"):
        batch_handler()(told, Running(8_000))


@pytest.mark.parametrize("status", ["Submitted", "Validating", "Scheduled", "InProgress", "Stopping"])
def test_a_job_that_goes_on_is_left_alone(status: str) -> None:
    told = event("batch_job")
    told["detail"]["status"] = status
    assert batch_handler()(told, FakeContext()) == {"status": status}


def test_events_of_others_and_jobs_that_are_gone_are_acknowledged(capsys: pytest.CaptureFixture[str]) -> None:
    handler = batch_handler()
    customised = event("batch_job") | {"detail-type": "Model Customization Job State Change"}
    strange = event("batch_job")
    strange["detail"]["batchJobArn"] = "arn:aws:bedrock:us-east-1:123456789012:model-invocation-job/../../x"
    shapes: list[Any] = [{}, None, [], customised, strange, event("s3_put")]
    for shape in shapes:
        assert handler(shape, FakeContext()) == {"status": "unknown"}
    assert capsys.readouterr().out.count("no batch inference job") == 6
    assert batch_handler()(event("batch_job"), FakeContext()) == {"status": "gone"}


def test_the_offline_account_sends_such_events() -> None:
    sqs = boto3.client("sqs", "us-east-1")
    url = sqs.create_queue(QueueName="events")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    rules = boto3.client("events", "us-east-1")
    pattern = {"source": ["aws.bedrock"], "detail-type": ["Batch Inference Job State Change"]}
    rules.put_rule(Name="jobs", EventPattern=json.dumps(pattern))
    rules.put_targets(Rule="jobs", Targets=[{"Id": "1", "Arn": arn}])
    over(start(put("in.jsonl", record("A"))))
    messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    told = [json.loads(message["Body"]) for message in messages]
    answers = [batch_handler()(one, FakeContext()) for one in told]
    assert get("in.jsonl")
    assert [answer["counts"]["succeeded"] for answer in answers if "counts" in answer] == [1]


def test_a_wrong_setting_is_told_when_the_function_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWSLLM_RETRY_RECORDS", "some")
    with pytest.raises(ConfigurationError, match="AWSLLM_RETRY_RECORDS"):
        batch_handler()


@pytest.mark.parametrize(
    ("error", "may_pass"),
    [({"errorCode": 500}, True), ({"errorCode": 424}, True), ({"errorCode": 403}, False), ({"errorCode": "x"}, True)],
)
def test_errors_that_may_pass(error: Any, may_pass: bool) -> None:
    assert BatchRecord("A", {}, error=error).may_pass is may_pass
