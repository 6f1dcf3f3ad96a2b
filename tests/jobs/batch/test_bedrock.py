"""Batches as Bedrock's jobs, over the offline account: split, collected, gone on with, nothing lost."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

import awsllm
from awsllm.errors import ConfigurationError, DeploymentError, ServerError, ThrottlingError, ValidationError
from awsllm.jobs.batch import caller as callers
from awsllm.jobs.batch import quotas
from awsllm.jobs.batch.bedrock import MODEL_INVOCATION
from awsllm.jobs.batch.quotas import JobQuotas, quotas_among
from awsllm.jobs.job import resume
from awsllm.testing import mock_aws
from awsllm.types import ConverseRequest, ToolUse
from tests.support.sagemaker_account import client as boto_client

NOVA, CLAUDE = "bedrock:amazon.nova-lite-v1:0", "bedrock:anthropic.claude-3-haiku-20240307-v1:0"
PRO = "bedrock:amazon.nova-pro-v1:0"
PLACE: Any = {"s3": "s3://data/batches", "role": "arn:aws:iam::123456789012:role/batch", "where": "bedrock-batch"}
SMALL = JobQuotas(least=10, most=400, jobs=2)
FEW: Any = {"quotas": {"batch-records-min": 10}}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks without pauses, and small jobs."""
    members = {"pause": 0.0, "poll": 0.01}
    monkeypatch.setattr(callers.BatchCaller, "__new__", _with(callers.BatchCaller.__new__, members))
    monkeypatch.setattr("awsllm.jobs.batch.start.job_quotas", lambda model, clients: SMALL)


def _with(make: Any, members: dict[str, Any]) -> Any:
    return lambda cls, *given, **named: make(cls, *given, **{**members, **named})


@pytest.fixture
def client() -> Iterator[awsllm.Client]:
    with awsllm.Client(region="us-east-1") as made:
        yield made


def bucket() -> None:
    boto_client("s3").create_bucket(Bucket="data")


def jobs() -> list[dict[str, Any]]:
    found = boto_client("bedrock").list_model_invocation_jobs(sortOrder="Ascending")["invocationJobSummaries"]
    return list(found)


def echo(request: ConverseRequest) -> str:
    return f"<{request.messages[-1].text}>"


def test_a_thousand_records_with_failures_and_none_is_lost(client: awsllm.Client, tmp_path: Any) -> None:
    """Of each hundred, one can never be answered, and ten fail at first."""
    seen: dict[str, int] = {}

    def reply(request: ConverseRequest) -> str:
        text = request.messages[-1].text
        number = int(text.split()[-1])
        seen[text] = seen.get(text, 0) + 1
        if number % 100 == 7:
            raise ValidationError("this one is refused")
        if number % 10 == 3 and seen[text] == 1:
            raise ThrottlingError("busy") if number % 20 == 3 else ServerError("broken")
        return echo(request)

    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(f'{{"id": "k{n}", "text": "number {n}"}}\n' for n in range(1000)))
    with mock_aws(reply=reply, **FEW):
        bucket()
        job = client.batch(NOVA, source, output=output, prompt="{text}", max_tokens=5, **PLACE)
        result = job.result(60)
        sizes = [job["totalRecordCount"] for job in jobs()]
        forms = {job["modelInvocationType"] for job in jobs()}
    assert (result.total, result.succeeded, result.failed) == (1000, 990, 10)
    rows = list(result)
    assert [row.id for row in rows] == [f"k{n}" for n in range(1000)]
    assert {row.id for row in rows if row.error} == {f"k{n}" for n in range(7, 1000, 100)}
    assert all(row.text == f"<number {row.number}>" for row in rows if not row.error)
    assert sizes[0] == 334
    assert sum(sizes) == 1100  # each once, and the hundred that failed at first once more
    assert forms == {"Converse"}
    lines = output.read_text().splitlines()
    assert len(lines) == 1000
    assert lines[7].endswith('"answer_error":"RequestError: this one is refused"}')
    price: Any = client.price(NOVA)
    usage: Any = rows[0].response.usage
    assert rows[0].response.cost == pytest.approx(
        (usage.input_tokens * price.batch_input + usage.output_tokens * price.batch_output) / 1e6
    )
    assert price.batch_input == price.input / 2


def test_tools_go_by_the_models_own_body(client: awsllm.Client) -> None:
    tool = {"toolSpec": {"name": "look", "inputSchema": {"json": {"type": "object", "properties": {}}}}}
    records: list[Any] = [f"plain {n}" for n in range(12)]
    records += [{"messages": f"with {n}", "tools": [tool]} for n in range(11)]
    asked: list[ConverseRequest] = []

    def reply(request: ConverseRequest) -> str:
        asked.append(request)
        return echo(request)

    with mock_aws(reply=reply, **FEW):
        bucket()
        result = client.batch(CLAUDE, records, max_tokens=9, **PLACE).result(60)
        made = jobs()
    assert [(job["modelInvocationType"], job["totalRecordCount"]) for job in made] == [
        ("Converse", 12),
        ("InvokeModel", 11),
    ]
    assert [row.text for row in result] == [f"<plain {n}>" for n in range(12)] + [f"<with {n}>" for n in range(11)]
    assert sum(bool(request.tools) for request in asked) == 11


def test_typed_output_is_read_from_a_jobs_answer(client: awsllm.Client) -> None:
    def reply(request: ConverseRequest) -> Any:
        return ToolUse("t", request.tools[0].name, {"city": "Bern"}) if request.tools else '{"city": "Bern"}'

    with mock_aws(reply=reply, **FEW):
        bucket()
        result = client.batch(CLAUDE, ["where?"] * 10, output_type=dict[str, str], max_tokens=9, **PLACE).result(60)
    assert [row.output for row in result] == [{"city": "Bern"}] * 10


@pytest.mark.parametrize("status", ["Stopped", "Expired", "PartiallyCompleted"])
def test_a_job_that_ended_early_gives_what_it_has(
    client: awsllm.Client, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    """Of the first job half of the lines are there; the others are answered by the next one."""
    from awsllm.jobs.batch import bedrock

    first: set[str] = set()
    find, lines = bedrock.ModelInvocationJobs.find, bedrock.BedrockRunner._lines

    def found(kind: Any, clients: Any, name: str) -> Any:
        state = find(kind, clients, name)
        first.add(name)
        if state is None or state.outcome is None or len(first) > 1:
            return state
        from msgspec.structs import replace

        outcome: Any = "stopped" if status == "Stopped" else "failed"
        return replace(state, status=status, outcome=outcome, reason="so it was")

    def half(runner: Any, part: Any) -> Any:
        every = list(lines(runner, part))
        return iter(every if len(first) > 1 else every[::-1][: len(every) // 2])

    monkeypatch.setattr(bedrock.ModelInvocationJobs, "find", found)
    monkeypatch.setattr(bedrock.BedrockRunner, "_lines", half)
    with mock_aws(reply=echo, **FEW):
        bucket()
        result = client.batch(NOVA, [f"n {n}" for n in range(40)], **PLACE).result(60)
        assert [job["totalRecordCount"] for job in jobs()] == [40, 20]
    assert [row.text for row in result] == [f"<n {n}>" for n in range(40)]


def test_too_few_for_another_job_are_asked_by_calls(client: awsllm.Client) -> None:
    tries = itertools.count()

    def reply(request: ConverseRequest) -> str:
        if next(tries) < 3:
            raise ServerError("broken")
        return echo(request)

    with mock_aws(reply=reply, **FEW):
        bucket()
        result = client.batch(NOVA, [f"n {n}" for n in range(20)], **PLACE).result(60)
        assert len(jobs()) == 1
    assert [row.text for row in result] == [f"<n {n}>" for n in range(20)]


def test_a_job_that_fails_again_and_again_ends_the_batch_and_keeps_its_records(client: awsllm.Client) -> None:
    with mock_aws(reply=echo, quotas={"batch-records-min": 50}):
        bucket()
        job = client.batch(NOVA, ["a"] * 20, attempts=2, **PLACE)
        with pytest.raises(DeploymentError, match="less records") as caught:
            job.result(60)
        assert len(jobs()) == 2
        assert job.state().waiting == 20
    assert "awsllm batch resume" in caught.value.__notes__[0]


def test_a_job_whose_creation_was_not_heard_of_is_found_not_made_twice(
    client: awsllm.Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """The process is gone between the call and its answer."""
    begin = type(MODEL_INVOCATION).begin

    def cut(kind: Any, clients: Any, request: Any) -> str:
        begin(kind, clients, request)
        raise KeyError("the end of the process")

    records, output = [f"n {n}" for n in range(15)], tmp_path / "out.jsonl"
    with mock_aws(reply=echo, **FEW):
        bucket()
        with monkeypatch.context() as patch:
            patch.setattr(type(MODEL_INVOCATION), "begin", cut)
            with pytest.raises(KeyError):
                client.batch(NOVA, records, output=output, **PLACE).result(60)
        result = client.batch(NOVA, records, output=output, **PLACE).result(60)
        (job,) = jobs()
        state = resume(MODEL_INVOCATION, job["jobName"], lambda service: boto_client(service)).state()
    assert state.outcome == "completed"
    assert [row.text for row in result] == [f"<n {n}>" for n in range(15)]


def test_leaving_lets_jobs_go_on_and_stopping_stops_them(client: awsllm.Client, tmp_path: Any) -> None:
    records, output = [f"n {n}" for n in range(15)], tmp_path / "out.jsonl"
    with mock_aws(reply=echo, **FEW) as aws:
        bucket()
        aws.plane.transitions["model-invocation"] = 1000
        job = client.batch(NOVA, records, output=output, **PLACE)
        while not jobs():
            pass
        job.leave()
        with pytest.raises(ConfigurationError, match="15 of 15 records wait"):
            job.result(60)
        again = client.batch(NOVA, records, output=output, **PLACE)
        assert again.plan.reasons == ("jobs of this batch are under way",)
        again.stop()
        with pytest.raises(ConfigurationError, match="15 of 15 records wait"):
            again.result(60)
        (job_made,) = jobs()
        assert job_made["status"] in ("Stopping", "Stopped")
        aws.plane.transitions["model-invocation"] = 0
        result = client.batch(NOVA, records, output=output, **PLACE).result(60)
    assert result.succeeded == 15


def test_what_keeps_a_batch_out_of_jobs_is_told_before(client: awsllm.Client) -> None:
    def look() -> str:
        """Look."""
        return "seen"

    with mock_aws(reply=echo):
        for records, options, message in [
            (["a"] * 9, PLACE, "takes at least 10 records, and these are 9"),
            (["a"] * 10, {"where": "bedrock-batch"}, "need s3= and role="),
            (["a"] * 10, {**PLACE, "tools": [look]}, "functions as tools run between turns"),
            (["a"] * 10, {**PLACE, "service_tier": "flex"}, "no service tier"),
        ]:
            with pytest.raises(awsllm.AwsllmError, match=message):
                client.batch(NOVA, records, **options)
        with pytest.raises(awsllm.UnsupportedError, match="only a single bedrock"):
            client.batch("local:x", ["a"] * 10, **PLACE)
        assert jobs() == []


def test_auto_weighs_size_price_and_deadline(client: awsllm.Client) -> None:
    auto: Any = {**PLACE, "where": "auto", "dry_run": True}
    with mock_aws(reply=echo):
        many = ["a" * 4000] * 300

        def plan(records: Any, **options: Any) -> Any:
            return client.batch(options.pop("model", NOVA), records, **{**auto, **options}).plan

        large = plan(many, model=PRO, max_tokens=4000)
        assert large.where == "bedrock-batch"
        assert "saves up to $" in large.reasons[0]
        assert large.estimate.usd == large.estimate.usd_batch == large.estimate.usd_calls / 2
        assert plan(many, model=PRO, max_tokens=4000, deadline=600).where == "calls"
        hurried = plan(["a"] * 300, max_tokens=500, deadline=120)  # 300 calls of 11 seconds, 8 at once
        assert hurried.where == "calls"
        assert "8 at once, may take 0.1 hours, longer than the deadline" in hurried.reasons[1]
        assert len(plan(["a"] * 300, max_tokens=500, deadline=120, concurrency=100).reasons) == 1
        slow = plan(["a"] * 20_000, max_tokens=2000, deadline=86_400, concurrency=1)
        assert slow.where == "bedrock-batch"
        assert "longer than the deadline" in slow.reasons[0]
        assert plan(["a"] * 20, max_tokens=5).reasons == ("a batch job would save at most $0.00, and may take a day",)
        assert plan(["a"] * 9, max_tokens=5).where == "calls"
        assert plan(many, model=PRO, max_tokens=4000, s3=None).reasons[1].startswith("a batch job would save about")
        assert plan(many).where == "bedrock-batch"  # nothing bounds the answers, and they are many
        assert plan(many, model=[NOVA, CLAUDE]).where == "calls"
        assert jobs() == []


def test_quotas_are_those_that_service_quotas_has_of_the_model() -> None:
    listed = [
        ("Minimum number of records per batch inference job for Amazon Nova Lite", 100.0),
        ("Records per batch inference job for Amazon Nova Lite", 90_000.0),
        ("Records per input file per batch inference job for Amazon Nova Lite", 40_000.0),
        ("Batch inference input file size (in GB) for Amazon Nova Lite", 1.0),
        ("Batch inference job size for Amazon Nova Lite (in GB)", 5.0),
        ("Sum of in-progress and submitted batch inference jobs using a base model for Amazon Nova Lite", 20.0),
        ("Records per batch inference job for Amazon Nova Pro", 7.0),
    ]
    found = quotas_among("us.amazon.nova-lite-v1:0", listed)
    assert found == JobQuotas(least=100, most=40_000, size=10**9, jobs=20, known=True)
    assert quotas_among("amazon.nova-micro-v1:0", listed) == JobQuotas()


def test_who_may_not_read_quotas_gets_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    with mock_aws(reply="x"):
        assert quotas.job_quotas("amazon.nova-lite-v1:0", lambda name: boto3.client(name, "us-east-1")) == JobQuotas()


def test_the_request_is_what_the_service_takes(client: awsllm.Client) -> None:
    more: Any = {"job_tags": {"team": "a"}, "job_hours": 48, "kms": "alias/key"}
    with mock_aws(reply=echo, **FEW):
        bucket()
        client.batch(NOVA, ["a"] * 10, **PLACE, **more).result(60)
        (summary,) = jobs()
        found = boto_client("bedrock").get_model_invocation_job(jobIdentifier=summary["jobArn"])
    assert found["timeoutDurationInHours"] == 48
    assert found["outputDataConfig"]["s3OutputDataConfig"]["s3EncryptionKeyId"] == "alias/key"
    assert found["roleArn"] == PLACE["role"]
    assert found["jobName"].startswith("awsllm-")
