"""Jobs of a service that fail in every way that is known, and processes that end between any two calls of AWS: each
record is answered once, or told of."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import awsllm
from awsllm.aws import control
from awsllm.errors import ConfigurationError, DeploymentError, ThrottlingError
from awsllm.jobs.batch import bedrock, endpoints
from awsllm.jobs.batch import caller as callers
from awsllm.jobs.batch.ledger import BatchLedger
from awsllm.jobs.batch.quotas import JobQuotas
from awsllm.jobs.sagemaker import SageMakerJobs
from awsllm.testing import mock_aws
from awsllm.types import ConverseRequest
from tests.jobs.batch.test_transform import CHAT, deployed
from tests.support.sagemaker_account import client as boto_client

NOVA = "bedrock:amazon.nova-lite-v1:0"
PLACE: Any = {"s3": "s3://data/batches", "role": "arn:aws:iam::123456789012:role/batch", "where": "bedrock-batch"}
FEW: Any = {"quotas": {"batch-records-min": 1}}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks without pauses, and small jobs."""
    make: Any = callers.BatchCaller.__new__
    monkeypatch.setattr(callers.BatchCaller, "__new__", lambda cls, *given: make(cls, *given, pause=0.0, poll=0.001))
    monkeypatch.setattr("awsllm.jobs.batch.start.job_quotas", lambda *_: JobQuotas(least=5, most=100, jobs=10))


@pytest.fixture
def client() -> Iterator[awsllm.Client]:
    with awsllm.Client(region="us-east-1") as made:
        yield made


def echo(request: ConverseRequest) -> str:
    return f"<{request.messages[-1].text}>"


def table(folder: Path, count: int) -> Path:
    path = folder / "in.jsonl"
    path.write_text("".join(json.dumps({"id": f"k{n}", "text": f"number {n}"}) + "\n" for n in range(count)))
    return path


def check(output: Path, count: int) -> None:
    """Every record once, in order, with its own answer; and the ledger's tallies are what it holds."""
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [(row["id"], row.get("answer")) for row in rows] == [(f"k{n}", f"<number {n}>") for n in range(count)]
    ledger = BatchLedger(f"{output}.ledger")
    tallied, counted = ledger.counts(), ledger.counted()
    assert replace(tallied, cost=0.0) == replace(counted, cost=0.0)
    assert tallied.cost == pytest.approx(counted.cost)
    ledger.close()


# --- Bedrock's jobs --------------------------------------------------------------------------------------------------

Lines = list[bytes]


def some_failed(lines: Lines) -> Lines:
    failed = [{"recordId": json.loads(line)["recordId"], "error": {"errorCode": 503}} for line in lines[::7]]
    return [*(line for number, line in enumerate(lines) if number % 7), *(json.dumps(one).encode() for one in failed)]


def told_twice(lines: Lines) -> Lines:
    """Of each record an error first, and its answer later on; and each answer twice."""
    errors = [{"recordId": json.loads(line)["recordId"], "error": {"errorCode": 500}} for line in lines[:20]]
    return [*(json.dumps(one).encode() for one in errors), *lines, *lines]


def shuffled(lines: Lines) -> Lines:
    return random.Random(3).sample(
        [*lines, b'{"recordId": "R9999999999", "modelOutput": {}}', b"[]", b"{"], len(lines) + 3
    )


MISHAPS: list[tuple[str, Callable[[Lines], Lines | None]]] = [
    ("Failed", lambda lines: None),
    ("PartiallyCompleted", lambda lines: lines[:50]),
    ("Expired", lambda lines: lines[75:]),
    ("Completed", some_failed),
    ("Completed", lambda lines: None),  # its output is not there
    ("Completed", lambda lines: [*lines[:-1], lines[-1][:40]]),
    ("Completed", told_twice),
    ("Completed", shuffled),
    ("Stopped", lambda lines: lines[:1]),
    ("Failed", lambda lines: lines[::2]),
]


def rewritten(arn: str, change: Callable[[Lines], Lines | None]) -> None:
    """What a job wrote, as it would be after a mishap."""
    s3, identity = boto_client("s3"), arn.rpartition("/")[2]
    for one in s3.list_objects_v2(Bucket="data", Prefix="batches/").get("Contents", ()):
        if f"/out/{identity}/" in one["Key"] and one["Key"].endswith(".jsonl.out"):
            lines = s3.get_object(Bucket="data", Key=one["Key"])["Body"].read().splitlines()
            found = change(lines)
            if found is None:
                s3.delete_object(Bucket="data", Key=one["Key"])
            else:
                s3.put_object(Bucket="data", Key=one["Key"], Body=b"\n".join(found))


def test_a_thousand_records_through_every_mishap_of_jobs(
    client: awsllm.Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    find, begin = bedrock.ModelInvocationJobs.find, bedrock.ModelInvocationJobs.begin
    mishaps, ended, starts = iter(MISHAPS), dict[str, str](), itertools.count()

    def begun(kind: Any, clients: Any, request: Any) -> str:
        if next(starts) % 4 == 0:
            raise ThrottlingError("too many")
        return begin(kind, clients, request)

    def found(kind: Any, clients: Any, name: str) -> Any:
        state = find(kind, clients, name)
        if state is None or state.outcome is None:
            return state
        if name not in ended:
            ended[name], change = next(mishaps, ("Completed", None))
            if change is not None:
                rewritten(name, change)
        outcome: Any = {"Completed": "completed", "Stopped": "stopped"}.get(ended[name], "failed")
        return replace(state, status=ended[name], outcome=outcome)

    monkeypatch.setattr(bedrock.ModelInvocationJobs, "begin", begun)
    monkeypatch.setattr(bedrock.ModelInvocationJobs, "find", found)
    output = tmp_path / "out.jsonl"
    with mock_aws(reply=echo, **FEW):
        boto_client("s3").create_bucket(Bucket="data")
        job = client.batch(NOVA, table(tmp_path, 1000), output=output, prompt="{text}", attempts=4, **PLACE)
        result = job.result(120)
    assert (result.succeeded, result.failed) == (1000, 0)
    assert set(ended.values()) >= {status for status, _ in MISHAPS}
    check(output, 1000)


def test_jobs_that_complete_and_write_nothing_end_the_batch_and_lose_no_record(
    client: awsllm.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such records were never told of: to set them aside would lose them, to make jobs for ever would cost."""
    monkeypatch.setattr(bedrock.BedrockRunner, "_lines", lambda *_: iter(()))
    with mock_aws(reply=echo, **FEW):
        boto_client("s3").create_bucket(Bucket="data")
        job = client.batch(NOVA, ["a"] * 20, attempts=2, **PLACE)
        with pytest.raises(DeploymentError, match="ended as Completed, and told of no record"):
            job.result(60)
        assert job.state().waiting == 20
        assert len(boto_client("bedrock").list_model_invocation_jobs()["invocationJobSummaries"]) == 2


def test_output_that_cannot_be_read_yet_is_read_later(client: awsllm.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    lines, tries = bedrock.BedrockRunner._lines, itertools.count()

    def broken(runner: Any, part: Any) -> Iterator[Any]:
        for number, line in enumerate(lines(runner, part)):
            if number == 7 and next(tries) < 2:
                raise ThrottlingError("slow down")
            yield line

    monkeypatch.setattr(bedrock.BedrockRunner, "_lines", broken)
    with mock_aws(reply=echo, **FEW):
        boto_client("s3").create_bucket(Bucket="data")
        result = client.batch(NOVA, [f"n{n}" for n in range(20)], **PLACE).result(60)
        assert len(boto_client("bedrock").list_model_invocation_jobs()["invocationJobSummaries"]) == 1
    assert [row.text for row in result] == [f"<n{n}>" for n in range(20)]


def test_a_bucket_in_another_region_is_told_before_anything_is_made(client: awsllm.Client) -> None:
    with mock_aws(reply=echo, **FEW) as aws:
        where: Any = {"LocationConstraint": "eu-west-1"}
        boto_client("s3", "eu-west-1").create_bucket(Bucket="data", CreateBucketConfiguration=where)
        with pytest.raises(ConfigurationError, match="data is in eu-west-1, and the job would run in us-east-1"):
            client.batch(NOVA, ["a"] * 20, **PLACE)
        with pytest.raises(ConfigurationError, match="there is no bucket elsewhere"):
            client.batch(NOVA, ["a"] * 20, **{**PLACE, "s3": "s3://elsewhere/x"})
        assert aws.requests == []
        assert boto_client("bedrock").list_model_invocation_jobs()["invocationJobSummaries"] == []


# --- transform -------------------------------------------------------------------------------------------------------


def spoil(name: str, number: int) -> None:
    s3 = boto_client("s3")
    for one in s3.list_objects_v2(Bucket="data", Prefix="t/")["Contents"]:
        key = one["Key"]
        if f"{name}/out/" not in key:
            continue
        body = s3.get_object(Bucket="data", Key=key)["Body"].read()
        if (number, key[-13:]) == (1, "01.jsonl.out") or (number == 2 and key.endswith("3.jsonl.out")):
            s3.delete_object(Bucket="data", Key=key)
        elif number == 1 and key.endswith("2.jsonl.out"):
            s3.put_object(Bucket="data", Key=key, Body=b"\n".join(body.splitlines()[:4]))
        elif number == 1 and key.endswith("3.jsonl.out"):
            s3.put_object(Bucket="data", Key=key, Body=body[:-30])


def test_transforms_through_every_mishap(
    client: awsllm.Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The first job fails with an object that is missing, one that is cut and one whose last line is; the second is
    stopped by somebody; and each is throttled at its start and when it is looked at."""
    monkeypatch.setattr(endpoints, "_AN_OBJECT", 10)
    find, create, ended, calls = SageMakerJobs.find, SageMakerJobs.create, dict[str, str](), itertools.count()

    def created(kind: Any, clients: Any, request: Any) -> None:
        if next(calls) % 2 == 0:
            raise ThrottlingError("too many")
        create(kind, clients, request)

    def found(kind: Any, clients: Any, name: str) -> Any:
        state = find(kind, clients, name)
        if next(calls) % 3 == 0:
            raise ThrottlingError("slow down")
        if state is None or state.outcome is None:
            return state
        if name not in ended:
            ended[name] = ("failed", "stopped", "completed")[min(len(ended), 2)]
            spoil(name, len(ended))
        return replace(state, outcome=ended[name])

    monkeypatch.setattr(SageMakerJobs, "find", found)
    monkeypatch.setattr(SageMakerJobs, "create", created)
    output = tmp_path / "out.jsonl"
    with mock_aws(reply=echo):
        deployed()
        job = client.batch("sagemaker:e", table(tmp_path, 100), output=output, prompt="{text}", **CHAT)
        result = job.result(60)
    assert (result.succeeded, result.failed) == (100, 0)
    assert list(ended.values()) == ["failed", "stopped", "completed"]
    check(output, 100)


def test_a_record_that_fails_every_object_is_told_and_ends_nothing(client: awsllm.Client) -> None:
    """Alone in its job at last, it fails that, and others were answered: it is the record."""

    def reply(request: ConverseRequest) -> str:
        if request.messages[-1].text == "p3":
            raise awsllm.ValidationError("refused")
        return echo(request)

    with mock_aws(reply=reply):
        deployed()
        result = client.batch("sagemaker:e", [f"p{n}" for n in range(6)], attempts=4, **CHAT).result(60)
    assert [row.number for row in result.failures()] == [3]
    assert result.succeeded == 5


def test_a_record_that_a_container_does_not_take_is_told_and_the_others_asked(
    client: awsllm.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoints, "_LARGEST", 2000)
    with mock_aws(reply=echo):
        deployed()
        result = client.batch("sagemaker:e", ["a", "b" * 3000, "c"], **CHAT).result(60)
        assert [row.text for row in result] == ["<a>", "", "<c>"]
        (failed,) = result.failures()
        assert "a record of a transform at most 2,000" in str(failed.error)
        result = client.batch("sagemaker:e", ["b" * 3000], **CHAT).result(60)
        assert (result.succeeded, result.failed) == (0, 1)


# --- the end of a process between any two calls ----------------------------------------------------------------------


class Gone(BaseException):
    """The process is no more."""


class Points:
    """Counts calls of AWS and what the ledger is told of jobs; ends the process after one."""

    def __init__(self, client: Any) -> None:
        self.make, self.count = client, 0
        self.at: int | None = None

    def pass_by(self) -> None:
        self.count += 1
        if self.count == self.at:
            raise Gone

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*given: Any, **named: Any) -> Any:
            answer = call(*given, **named)
            self.pass_by()
            return answer

        return called

    def client(self, service: str, session: Any) -> Any:
        return Watched(self.make(service, session), self)


class Watched:
    def __init__(self, client: Any, points: Points) -> None:
        self._client, self._points = client, points

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if not callable(found) or name.startswith("_"):
            return found

        return self._points.around(found)


@pytest.mark.parametrize("way", ["transform", "bedrock-batch"])
def test_a_process_that_ends_between_any_two_calls_is_gone_on_with(
    way: str, client: awsllm.Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(endpoints, "_AN_OBJECT", 4)
    points = Points(control.client)
    monkeypatch.setattr(control, "client", points.client)
    for name in ("part_off", "part_off_all", "note_part", "close_part"):
        monkeypatch.setattr(BatchLedger, name, points.around(getattr(BatchLedger, name)))
    source, options = table(tmp_path, 12), PLACE if way == "bedrock-batch" else CHAT
    model = NOVA if way == "bedrock-batch" else "sagemaker:e"
    kind = "model-invocation" if way == "bedrock-batch" else "transform"
    with mock_aws(reply=echo, **FEW) as aws:
        deployed()
        aws.plane.transitions[kind] = 0

        def live(output: Path) -> None:
            client.batch(model, source, output=output, prompt="{text}", **options).result(60)

        for number in itertools.count(1):
            output, before = tmp_path / f"out{number}.jsonl", made(way)
            points.count, points.at = 0, number
            try:
                live(output)
                break  # there are no more points
            except Gone:
                points.at = None
                live(output)
            check(output, 12)
            assert made(way) == before + 1  # one job, however often it was asked for
        assert number > 10


def made(way: str) -> int:
    if way == "transform":
        return len(boto_client("sagemaker").list_transform_jobs(MaxResults=100)["TransformJobSummaries"])
    return len(boto_client("bedrock").list_model_invocation_jobs(maxResults=1000)["invocationJobSummaries"])
