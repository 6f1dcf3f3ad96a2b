"""Batches by single calls: values and tables, what fails, what is gone on with."""

from __future__ import annotations

import asyncio
import csv
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet
import pytest

import awsllm
from awsllm.errors import (
    AccessDeniedError,
    BudgetExceededError,
    ConfigurationError,
    ServerError,
    ServiceError,
    ThrottlingError,
    ValidationError,
)
from awsllm.jobs.batch import caller as callers
from awsllm.jobs.batch.ledger import BatchLedger
from awsllm.testing import mock_aws
from awsllm.types import ConverseRequest
from tests.support.sagemaker_account import client as boto_client

NOVA = "bedrock:amazon.nova-lite-v1:0"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    make: Any = callers.BatchCaller.__new__
    monkeypatch.setattr(callers.BatchCaller, "__new__", lambda cls, *given: make(cls, *given, pause=0.0))


@pytest.fixture
def client() -> Iterator[awsllm.Client]:
    with awsllm.Client(region="us-east-1", policy=awsllm.Policy(max_attempts=1)) as made:
        yield made


def echo(request: ConverseRequest) -> str:
    return request.messages[-1].text.upper()


def table(path: Path, count: int) -> Path:
    path.write_text("".join(json.dumps({"id": f"k{n}", "text": f"row {n}"}) + "\n" for n in range(count)))
    return path


# --- what goes in, what comes out ------------------------------------------------------------------------------------


def test_values_in_values_out_in_order(client: awsllm.Client) -> None:
    def reply(request: ConverseRequest) -> str:
        time.sleep(0.002 if "0" in request.messages[-1].text else 0)
        system = request.system[0].text if request.system else ""
        return f"{system}{echo(request)} {request.inference_config.max_tokens}"

    with mock_aws(reply=reply):
        records = (f"p{n}" for n in range(20))
        assert [row.text for row in client.batch(NOVA, records, max_tokens=7).result(30)] == [
            f"P{n} 7" for n in range(20)
        ]
        mixed: list[Any] = [
            "text",
            awsllm.Message.user("message"),
            [{"role": "user", "content": [{"text": "turn"}]}],
            {"id": "own", "messages": "dict", "max_tokens": 3, "system": "S:"},
            {"prompt": [awsllm.image(PNG), "picture"]},
        ]
        result = client.batch(NOVA, mixed, max_tokens=7).result(30)
    assert [row.text for row in result] == ["TEXT 7", "MESSAGE 7", "TURN 7", "S:DICT 3", "PICTURE 7"]
    assert [row.id for row in result][2:4] == ["record-3", "own"]
    assert result.cost is not None
    assert result.cost > 0
    assert "5 of 5 answered" in repr(result)


PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360000002000001e221bc330000000049454e44ae426082")  # fmt: skip # noqa: E501


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_rows_of_a_table_keep_their_columns(client: awsllm.Client, tmp_path: Path, ending: str) -> None:
    source, output = table(tmp_path / "in.jsonl", 5), tmp_path / f"out.{ending}"
    with mock_aws(reply=echo):
        client.batch(NOVA, source, output=output, prompt="{{say}} {text}").result(30)
        again = tmp_path / f"second.{ending}"
        client.batch(NOVA, output, output=again, prompt="{answer}", answer="second").result(30)
    if ending == "jsonl":
        rows = [json.loads(line) for line in again.read_text().splitlines()]
    elif ending == "csv":
        rows = list(csv.DictReader(again.read_text().splitlines()))
    else:
        rows = pyarrow.parquet.read_table(again).to_pylist()
    assert [(row["id"], row["text"], row["answer"], row["second"]) for row in rows] == [
        (f"k{n}", f"row {n}", f"{{SAY}} ROW {n}", f"{{SAY}} ROW {n}") for n in range(5)
    ]
    assert float(rows[0]["second_cost"]) > 0


def test_tables_in_s3(client: awsllm.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with mock_aws(reply=echo):
        s3 = boto_client("s3")
        s3.create_bucket(Bucket="data")
        s3.put_object(Bucket="data", Key="in.csv", Body=b"id,text\na,one\nb,two\n")
        client.batch(NOVA, "s3://data/in.csv", output="s3://data/x/out.csv", prompt="{text}").result(30)
        found = s3.get_object(Bucket="data", Key="x/out.csv")["Body"].read().decode().splitlines()
    assert [",".join(line.split(",")[:3]) for line in found] == ["id,text,answer", "a,one,ONE", "b,two,TWO"]
    assert (tmp_path / "out.csv.ledger").stat().st_mode & 0o077 == 0


def test_shards_are_the_whole(client: awsllm.Client, tmp_path: Path) -> None:
    source, output = table(tmp_path / "in.jsonl", 10), tmp_path / "out.jsonl"
    with mock_aws(reply=echo):
        for part in ("1/3", "2/3", "3/3"):
            client.batch(NOVA, source, output=output, prompt="{text}", shard=part).result(30)
    texts = [(tmp_path / f"out-{n}-of-3.jsonl").read_text() for n in (1, 2, 3)]
    found = [json.loads(line)["id"] for text in texts for line in text.splitlines()]
    assert sorted(found) == sorted(f"k{n}" for n in range(10))
    with pytest.raises(ValidationError, match="the i-th of n"):
        client.batch(NOVA, source, output=output, prompt="{text}", shard="4/3")


def test_typed_output_and_functions(client: awsllm.Client) -> None:
    class City(msgspec.Struct):
        name: str

    with mock_aws(reply='{"name": "Bern"}'):
        schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
        assert [row.output for row in client.batch(NOVA, ["a"], output_type=schema).result(30)] == [{"name": "Bern"}]
        assert [row.output for row in client.batch(NOVA, ["a"], output_type=dict[str, str]).result(30)] == [
            {"name": "Bern"}
        ]


def test_a_group_answers_records(client: awsllm.Client) -> None:
    def reply(request: ConverseRequest) -> str:
        if "lite" in request.model:
            raise ThrottlingError("busy")
        return request.model

    with mock_aws(reply=reply):
        job = client.batch([NOVA, "bedrock:amazon.nova-pro-v1:0"], ["a", "b"])
        assert [row.text for row in job.result(30)] == ["amazon.nova-pro-v1:0"] * 2
        assert job.plan.reasons == ("a group of models is asked by single calls",)


def test_awaited(tmp_path: Path) -> None:
    async def run() -> list[str]:
        async with awsllm.AsyncClient(region="us-east-1") as client:
            job = await client.batch(NOVA, table(tmp_path / "in.jsonl", 12), prompt="{text}", concurrency=3)
            return [row.text for row in await job.result(30)]

    with mock_aws(reply=echo):
        assert asyncio.run(run()) == [f"ROW {n}" for n in range(12)]


# --- what is bad -----------------------------------------------------------------------------------------------------


def test_bad_lines_are_told_before_anything_is_asked(client: awsllm.Client, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    lines = ['{"id": 1, "text": "fine"}', "no JSON", '{"id": 1, "text": "twice"}', '{"id": 3, "other": "secret"}']
    source.write_text("\n".join([*lines, *['{"text": null}'] * 5]))
    with mock_aws(reply=echo) as aws:
        with pytest.raises(ValidationError) as caught:
            client.batch(NOVA, source, output=tmp_path / "out.jsonl", prompt="{text}")
        assert aws.requests == []
        told = str(caught.value)
        assert "8 of the records cannot be asked, so none was" in told
        assert f"{source}, line 2: it is no JSON" in told
        assert f"{source}, line 3: another record has its id" in told
        assert f"{source}, line 4: it has no column 'text', which prompt names" in told
        assert "3 more" in told
        assert "secret" not in told
        assert not list(tmp_path.glob("out*"))
        options: Any = {"on_invalid": "set_aside"}
        job = client.batch(NOVA, source, output=tmp_path / "out.jsonl", prompt="{text}", **options)
        result = job.result(30)
    assert (job.plan.invalid, result.succeeded, result.failed) == (8, 1, 8)
    assert next(result.failures()).error.message == "it is no JSON"


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"word": "x"}, "neither messages nor prompt"),
        ({"prompt": "x", "max_token": 5}, "max_tokens"),
        ({"prompt": "x", "messages": "y"}, "both messages and prompt"),
        ({"prompt": "x", "max_tokens": -1}, "max_tokens"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}, "y"]}, "mixes turns"),
        ({"prompt": "x", "tools": [print]}, "once, to the whole batch"),
        ({"prompt": "x", "id": ["y"]}, "a text or a number"),
        (5, "int"),
    ],
)
def test_a_record_that_cannot_be_asked_says_why(client: awsllm.Client, record: Any, message: str) -> None:
    with mock_aws(reply=echo), pytest.raises(ValidationError, match=message):
        client.batch(NOVA, [record])


@pytest.mark.parametrize("template", ["{text.__class__}", "{0}", "{text!r}", "{text:>9}", "{", "no column", "{}"])
def test_a_template_has_names_of_columns_alone(client: awsllm.Client, tmp_path: Path, template: str) -> None:
    with mock_aws(reply=echo), pytest.raises(ValidationError):
        client.batch(NOVA, table(tmp_path / "in.jsonl", 1), prompt=template)


def test_a_file_names_no_other_file(client: awsllm.Client, tmp_path: Path) -> None:
    """Paths are a program's to give: in data they are no more than texts."""
    source = tmp_path / "in.jsonl"
    source.write_text(json.dumps({"messages": [str(tmp_path / "in.jsonl")]}))
    with mock_aws(reply=echo), pytest.raises(ValidationError, match="a list of turns"):
        client.batch(NOVA, source)


def test_bad_words_of_the_caller(client: awsllm.Client, tmp_path: Path) -> None:
    source = table(tmp_path / "in.jsonl", 1)
    for options, kind, message in [
        ({"output": source}, ValidationError, "output is the input"),
        ({"output": tmp_path / "out.txt"}, ConfigurationError, ".jsonl, .csv, .parquet"),
        ({"where": "moon"}, ValidationError, "none of auto"),
        ({"concurrency": 0}, ValidationError, "at least 1"),
        ({"concurency": 1}, ValidationError, "concurrency"),
        ({"s3": "data"}, ValidationError, "S3 URI"),
    ]:
        with mock_aws(reply=echo), pytest.raises(kind, match=message):
            client.batch(NOVA, source, prompt="{text}", **options)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="a single prompt is a list of one"):
        client.batch(NOVA, "Hello")


# --- what goes wrong -------------------------------------------------------------------------------------------------


def test_what_may_pass_is_asked_again_and_poison_is_set_aside(client: awsllm.Client) -> None:
    seen: dict[str, int] = {}

    def reply(request: ConverseRequest) -> str:
        text = request.messages[-1].text
        seen[text] = seen.get(text, 0) + 1
        if text == "p3":
            raise ValidationError("poison")
        if text == "p5" and seen[text] < 3:
            raise ServerError("broken")
        if text == "p7":
            raise ServerError("broken for good")
        return echo(request)

    with mock_aws(reply=reply):
        result = client.batch(NOVA, [f"p{n}" for n in range(10)], attempts=3).result(30)
    errors = {row.number: row.error for row in result if row.error}
    assert {number: (error.type, error.message) for number, error in errors.items()} == {
        3: ("ValidationError", "poison"),
        7: ("ServerError", "broken for good"),
    }
    assert (seen["p3"], seen["p5"], seen["p7"], seen["p1"]) == (1, 3, 3, 1)


def test_what_no_record_would_fare_better_with_ends_the_run(client: awsllm.Client, tmp_path: Path) -> None:
    source, output = table(tmp_path / "in.jsonl", 50), tmp_path / "out.jsonl"
    allowed = threading.Event()

    def reply(request: ConverseRequest) -> str:
        if not allowed.is_set() and request.messages[-1].text == "row 9":
            raise AccessDeniedError("no rights")
        return echo(request)

    with mock_aws(reply=reply) as aws:
        with pytest.raises(AccessDeniedError) as caught:
            client.batch(NOVA, source, output=output, prompt="{text}", concurrency=1).result(30)
        before = len(aws.requests)
        assert not output.exists()
        assert "records wait: the same call goes on where it was" in caught.value.__notes__[0]
        allowed.set()
        result = client.batch(NOVA, source, output=output, prompt="{text}", concurrency=1).result(30)
        assert len(aws.requests) == 51  # the refused one again, and none of the answered
    assert 10 <= before < 50
    assert (result.succeeded, len(output.read_text().splitlines())) == (50, 50)


def test_a_service_that_is_down_ends_the_run_and_fails_no_record(client: awsllm.Client) -> None:
    def reply(request: ConverseRequest) -> str:
        raise ServerError("down")

    with mock_aws(reply=reply):
        job = client.batch(NOVA, [f"p{n}" for n in range(200)])
        with pytest.raises(ServiceError, match="calls in a row failed"):
            job.result(30)
    assert (job.state().status, job.state().failed, job.state().waiting) == ("failed", 0, 200)


def test_a_budget_ends_the_run() -> None:
    with mock_aws(reply=echo), awsllm.Client(region="us-east-1") as client:
        with client.budget(usd=0.00001):
            job = client.batch(NOVA, ["word " * 20] * 30, max_tokens=50, concurrency=1)
            job.wait(30)
        with pytest.raises(BudgetExceededError):
            job.result(30)
        assert job.state().waiting > 0


def test_other_records_or_another_question_want_another_ledger(client: awsllm.Client, tmp_path: Path) -> None:
    source, output = table(tmp_path / "in.jsonl", 3), tmp_path / "out.jsonl"
    with mock_aws(reply=echo) as aws:
        client.batch(NOVA, source, output=output, prompt="{text}").result(30)
        client.batch(NOVA, source, output=output, prompt="{text}", tags={"a": "b"}).result(30)
        assert len(aws.requests) == 3
        with pytest.raises(ConfigurationError, match="another prompt"):
            client.batch(NOVA, source, output=output, prompt="say {text}")
        with pytest.raises(ConfigurationError, match="another call"):
            client.batch(NOVA, source, output=output, prompt="{text}", max_tokens=3)
        source.write_text(source.read_text().replace("row 1", "row 9"))
        with pytest.raises(ConfigurationError, match="has changed"):
            client.batch(NOVA, source, output=output, prompt="{text}")
        table(source, 4)
        with pytest.raises(ConfigurationError, match="has changed"):
            client.batch(NOVA, source, output=output, prompt="{text}")
        table(source, 2)
        with pytest.raises(ConfigurationError, match="there are fewer now"):
            client.batch(NOVA, source, output=output, prompt="{text}")
        table(source, 3)
        assert client.batch(NOVA, source, output=output, prompt="{text}").result(30).succeeded == 3


def test_one_process_runs_a_batch_at_a_time(client: awsllm.Client, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    other = BatchLedger(f"{output}.ledger")
    other.hold()
    with mock_aws(reply=echo):
        with pytest.raises(ConfigurationError, match="another process runs the batch"):
            client.batch(NOVA, ["a"], output=output)
        other.close()
        assert client.batch(NOVA, ["a"], output=output).result(30).succeeded == 1


def test_an_interruption_keeps_what_is_being_asked_and_says_how_to_go_on(
    client: awsllm.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out.jsonl"
    began, go = threading.Event(), threading.Event()

    def reply(request: ConverseRequest) -> str:
        began.set()
        assert go.wait(20)
        return echo(request)

    def interrupted(seconds: float) -> None:
        assert began.wait(20)
        threading.Timer(0.05, go.set).start()
        raise KeyboardInterrupt

    with mock_aws(reply=reply) as aws:
        job = client.batch(NOVA, [f"p{n}" for n in range(100)], output=output, concurrency=2)
        job._pace = job._pace.__class__(poll=1, sleep=interrupted)
        with pytest.raises(KeyboardInterrupt) as caught:
            job.result(30)
        state = job.state()
        assert state.succeeded == len(aws.requests) > 0
        assert state.waiting == 100 - state.succeeded > 0
        assert f"awsllm batch resume {output}.ledger" in caught.value.__notes__[0]
        again = client.batch(NOVA, [f"p{n}" for n in range(100)], output=output)
        assert again.result(30).succeeded == len(aws.requests) == 100


def test_progress_estimate_and_cost(client: awsllm.Client) -> None:
    heard: list[awsllm.BatchState] = []
    with mock_aws(reply=echo) as aws:
        options: Any = {"on_progress": heard.append, "max_tokens": 100}
        plan: Any = client.batch(NOVA, ["word " * 40] * 50, dry_run=True, **options).plan
        assert aws.requests == []
        job = client.batch(NOVA, ["word " * 40] * 50, **options)
        result: Any = job.result(30)
    assert plan.estimate.records == 50
    assert plan.estimate.output_tokens == 5000
    assert result.cost == job.cost
    assert 0 < result.cost < plan.estimate.usd < 0.01
    assert (heard[-1].status, heard[-1].succeeded, heard[-1].cost) == ("completed", 50, result.cost)


def test_thousands_of_records_take_the_memory_of_a_few(client: awsllm.Client) -> None:
    """No more records are alive at once than the pages and the threads hold."""
    alive = most = taken = 0

    class Counted(str):
        __slots__ = ("counted",)

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def records() -> Iterator[str]:
        nonlocal alive, most, taken
        for number in range(3000):
            alive, taken = alive + 1, taken + 1
            most = max(most, alive)
            yield Counted(f"record {number}")

    with mock_aws(reply="x"):
        plan = client.batch(NOVA, records(), dry_run=True).plan
    assert (plan.estimate.records, taken) == (3000, 3000)
    assert most <= 1100


# --- places that are none --------------------------------------------------------------------------------------------


def test_places_that_are_none_are_told_before_anything_is_asked(client: awsllm.Client, tmp_path: Path) -> None:
    records = table(tmp_path / "in.jsonl", 3)
    with mock_aws(reply=echo) as aws:
        boto_client("s3").create_bucket(Bucket="data")
        for given, output, said in (
            (records, str(tmp_path / "nothing" / "out.jsonl"), "there is no folder"),
            (records, "s3://no-such-bucket/out.jsonl", "there is no bucket no-such-bucket"),
            (records, "s3://data", "ends in one of|names no object"),
            (str(tmp_path), str(tmp_path / "a.jsonl"), "it is a folder"),
            ("s3://", str(tmp_path / "b.jsonl"), "names no object"),
            ("s3://data/../", str(tmp_path / "c.jsonl"), "names no object"),
            ("s3://data/none.jsonl", str(tmp_path / "d.jsonl"), "there is nothing at 's3://data/none.jsonl'"),
            ("s3://no-such-bucket/in.jsonl", str(tmp_path / "e.jsonl"), "nothing at 's3://no-such-bucket/in.jsonl'"),
        ):
            ledger = None if output.startswith(str(tmp_path)) else str(tmp_path / "s3.ledger")
            with pytest.raises((ConfigurationError, ValidationError), match=said):
                client.batch(NOVA, given, output=output, ledger=ledger, prompt="{text}").result(30)
        with pytest.raises(ConfigurationError, match=r"no ledger can stand at .*: No such file"):
            client.batch(NOVA, records, ledger=str(tmp_path / "nothing" / "x.ledger"), prompt="{text}")
        assert not aws.requests
