"""Batches over odd names, damaged ledgers and other programs' files: told cleanly, and nothing of others is touched."""

from __future__ import annotations

import json
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import awsllm
from awsllm.errors import AccessDeniedError, BudgetExceededError, ConfigurationError, ServerError, ValidationError
from awsllm.jobs.batch import resume
from awsllm.jobs.batch.caller import BatchCaller
from awsllm.jobs.batch.job import BatchJob
from awsllm.jobs.batch.known import LEDGERS
from awsllm.jobs.batch.ledger import BatchLedger
from awsllm.jobs.batch.start import Placement, start
from awsllm.jobs.batch.values import BatchState
from awsllm.jobs.job import Job
from awsllm.models.knowledge import Knowledge
from awsllm.testing import mock_aws
from awsllm.types import ConverseResponse, Message

NOVA = "bedrock:amazon.nova-lite-v1:0"


def upper(model: str, messages: str, **options: Any) -> ConverseResponse:
    return ConverseResponse(message=Message.assistant(messages.upper()), stop_reason="end_turn", cost=0.25)


def begun(records: Any, output: Path | None = None, converse: Any = upper, **options: Any) -> BatchJob:
    caller = BatchCaller("local:made-up", converse, Knowledge(), lambda region: None, pause=0.0)  # type: ignore[arg-type, return-value]
    return start(caller, records, Placement(output, options.pop("prompt", None), "calls"), options)


# --- names -----------------------------------------------------------------------------------------------------------


def test_a_record_may_be_called_as_another_one_would_be() -> None:
    records = [{"id": "record-2", "prompt": "a"}, "b", {"id": "record-2", "prompt": "c"}]
    rows = list(begun(records, on_invalid="set_aside").result(30))
    assert [row.text for row in rows] == ["A", "", ""]
    assert len({row.id for row in rows}) == 3
    assert all(row.error and row.error.message == "another record has its id" for row in rows[1:])


def test_half_a_character_in_an_id_is_told() -> None:
    with pytest.raises(ValidationError, match="record 1: id has half a character"):
        begun([{"id": "a\ud800", "prompt": "x"}])


def test_records_whose_ids_changed_are_other_records(tmp_path: Path) -> None:
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('{"id": "a", "prompt": "x"}\n')
    begun(source, output).result(30)
    source.write_text('{"id": "other", "prompt": "x"}\n')
    with pytest.raises(ConfigurationError, match="has changed"):
        begun(source, output)


# --- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "option",
    [{"answer": ""}, {"answer": 3}, {"id": " "}, {"deadline": -1}, {"deadline": float("nan")}, {"concurrency": 10**9}],
)
def test_what_no_batch_can_do_is_refused(option: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(option))):
        begun(["a"], **option)


@pytest.mark.parametrize("records", [{"prompt": "a"}, {"a", "b"}, b"a"])
def test_what_is_no_list_of_records_is_refused(records: Any) -> None:
    with pytest.raises(ValidationError, match="records is a list of"):
        begun(records)


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
def test_a_name_that_no_file_has_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="no ledger can stand"):
        begun(["a"], tmp_path / f"{name}.jsonl")


def test_no_more_threads_are_made_than_there_are_records() -> None:
    seen: list[int] = []

    def count(model: str, messages: str, **options: Any) -> ConverseResponse:
        seen.append(sum(one.name.startswith("awsllm-batch-") for one in threading.enumerate()))
        return upper(model, messages)

    begun(["a", "b"], converse=count, concurrency=500).result(30)
    assert max(seen) <= 2


def test_what_was_only_planned_has_no_result() -> None:
    job = begun(["a"], dry_run=True)
    for look in (job.result, job.wait):
        with pytest.raises(ConfigurationError, match="only planned"):
            look(30)


def test_what_failed_is_asked_again_where_the_caller_wants_it(tmp_path: Path) -> None:
    asked: list[str] = []

    def converse(model: str, messages: str, **options: Any) -> ConverseResponse:
        asked.append(messages)
        if messages == "bad" and asked.count("bad") < 3:
            raise ServerError("later")
        return upper(model, messages)

    records = ["good", "bad", {"nothing": "asked"}]
    place: dict[str, Any] = {"output": tmp_path / "out.jsonl", "converse": converse, "on_invalid": "set_aside"}
    for again, failed, calls in [(False, 2, 2), (False, 2, 2), (True, 2, 3), (True, 1, 4), (True, 1, 4)]:
        result = begun(records, attempts=1, retry_failed=again, **place).result(30)
        assert (result.failed, result.succeeded, len(asked)) == (failed, 3 - failed, calls)
    answers = [json.loads(line).get("answer") for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert answers == ["GOOD", "BAD", None]
    job = begun(None, retry_failed=False, **place)
    assert "retry_failed" not in job._ledger.facts()["own"]


def test_a_plan_names_the_ledger_that_there_would_be(tmp_path: Path) -> None:
    plan = begun(["a"], tmp_path / "out.jsonl", dry_run=True).plan
    assert plan.ledger == str(tmp_path / "out.jsonl.ledger")
    assert not list(tmp_path.iterdir())


def test_who_interrupts_is_told_what_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answer = threading.Event(), threading.Event()
    told: list[BatchState] = []

    def converse(model: str, messages: str, **options: Any) -> ConverseResponse:
        asked.set()
        assert answer.wait(30)
        return upper(model, messages)

    def hear(state: BatchState) -> None:
        told.append(state)
        if state.status == "stopping":
            answer.set()

    def interrupted(job: Any, timeout: float | None) -> Any:
        assert asked.wait(30)
        raise KeyboardInterrupt

    monkeypatch.setattr(Job, "_ended", interrupted)
    job = begun(["a", "b", "c"], converse=converse, concurrency=1, on_progress=hear)
    with pytest.raises(KeyboardInterrupt):
        job.result()
    assert "Ctrl-C again" in told[0].detail
    assert job.state().succeeded == 1


@pytest.mark.parametrize("threads", [True, False])
def test_a_budget_holds_for_the_batch_that_was_begun_in_it(threads: bool) -> None:
    with mock_aws(), awsllm.Client(region="us-east-1") as client:
        with client.budget(usd=1e-9, threads=threads):
            job = client.batch(NOVA, ["a", "b"], max_tokens=5)
        with pytest.raises(BudgetExceededError):
            job.result(30)


# --- the ledger ------------------------------------------------------------------------------------------------------


def half_done(folder: Path) -> Path:
    """A ledger of which half is answered, in one file."""
    asked: list[str] = []

    def converse(model: str, messages: str, **options: Any) -> ConverseResponse:
        asked.append(messages)
        if len(asked) > 20:
            raise AccessDeniedError("no more")
        return upper(model, messages)

    source, output = folder / "in.jsonl", folder / "out.jsonl"
    source.write_text("".join(json.dumps({"id": f"k{n}", "text": f"word {n}"}) + "\n" for n in range(40)))
    job = begun(source, output, converse, prompt="{text}", concurrency=1)
    with pytest.raises(AccessDeniedError):
        job.result(30)
    job.close()
    ledger = Path(f"{output}.ledger")
    with closing(sqlite3.connect(ledger)) as base:
        base.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return ledger


def test_a_damaged_ledger_is_told_as_one(tmp_path: Path) -> None:
    ledger = half_done(tmp_path)
    whole = ledger.read_bytes()
    told = 0
    for at in range(50, len(whole), len(whole) // 60):
        broken = bytearray(whole)
        broken[at : at + 200] = b"\xff" * len(broken[at : at + 200])
        for ending in ("-wal", "-shm"):
            Path(f"{ledger}{ending}").unlink(missing_ok=True)
        ledger.write_bytes(broken)
        for look in (_status, _list, _go_on):
            try:
                look(ledger)
            except awsllm.AwsllmError:
                told += 1
    assert told > 20


def _status(ledger: Path) -> None:
    with closing(resume.opened(str(ledger))) as opened:
        resume.begun(opened)
        resume.state_of(opened)


def _list(ledger: Path) -> None:
    LEDGERS.find(lambda service: None, str(ledger))


def _go_on(ledger: Path) -> None:
    job = begun(None, ledger.with_suffix(""), prompt="{text}")
    try:
        for row in job.result(30):
            assert row.text == f"WORD {row.number}"
    finally:
        job.close()


def test_a_database_of_something_else_is_left_as_it_is(tmp_path: Path) -> None:
    other = tmp_path / "ours.ledger"
    with closing(sqlite3.connect(other)) as base:
        base.execute("CREATE TABLE facts (name TEXT)")
        base.execute("CREATE TABLE customers (name TEXT)")
    before = other.read_bytes()
    for attempt in (lambda: begun([{"nothing": "asked"}], ledger=other), lambda: BatchLedger(other)):
        with pytest.raises(ConfigurationError, match="something else"):
            attempt()
    assert other.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == [other.name]
