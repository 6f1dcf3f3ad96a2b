"""`awsllm batch`."""

import json
from pathlib import Path
from typing import Any

import pytest

from awsllm.errors import AccessDeniedError
from awsllm.jobs.batch.job import BatchJob
from awsllm.jobs.batch.ledger import BatchLedger
from awsllm.testing import mock_aws
from awsllm.types import ConverseRequest
from tests.support.command_line import Run, runner

MODEL = "bedrock:amazon.nova-lite-v1:0"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    Path("in.jsonl").write_text("".join(json.dumps({"id": f"k{n}", "text": f"row {n}"}) + "\n" for n in range(6)))
    return runner(monkeypatch, capsys)


def echo(request: ConverseRequest) -> str:
    return request.messages[-1].text.upper()


COMMAND = ("batch", "run", "in.jsonl", "out.jsonl", "--model", MODEL, "--prompt", "say {text}", "--max-tokens", "20")


def test_a_table_is_answered(run: Run) -> None:
    with mock_aws(reply=echo):
        plan = run(*COMMAND, "--dry-run")
        assert plan.code == 0
        assert plan.out.startswith("6 records by calls (Bedrock's batch jobs need s3= and role=): about ")
        assert not Path("out.jsonl.ledger").exists()
        done = run(*COMMAND)
        assert (done.code, done.out.split(",")[0]) == (0, "completed: 6 of 6 answered")
        told = json.loads(run(*COMMAND, "--json").out)
    assert (told["status"], told["succeeded"], told["plan"]["where"]) == ("completed", 6, "calls")
    assert json.loads(Path("out.jsonl").read_text().splitlines()[5])["answer"] == "SAY ROW 5"
    status = json.loads(run("batch", "status", "out.jsonl", "--json").out)
    assert (status["status"], status["failed"], status["waiting"]) == ("completed", 0, 0)


def test_what_ended_is_gone_on_with(run: Run) -> None:
    state = {"refused": True}

    def reply(request: ConverseRequest) -> str:
        if state["refused"] and request.messages[-1].text.endswith("3"):
            raise AccessDeniedError("no rights")
        return echo(request)

    with mock_aws(reply=reply) as aws:
        ended = run(*COMMAND, "--concurrency", "1")
        assert ended.code == 1
        assert "no rights" in ended.err
        assert run("batch", "status", "out.jsonl.ledger").out.startswith("stopped: ")
        state["refused"] = False
        done = run("batch", "resume", "out.jsonl")
        assert done.out.startswith("completed: 6 of 6 answered")
        assert len(aws.requests) == 7
    assert len(Path("out.jsonl").read_text().splitlines()) == 6


def test_an_interruption_says_how_to_go_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(job: BatchJob, timeout: Any = None) -> Any:
        job.leave()
        job._finished.wait(30)
        raise KeyboardInterrupt

    monkeypatch.setattr(BatchJob, "result", interrupted)
    with mock_aws(reply=echo):
        left = run(*COMMAND)
    assert left.code == 130
    assert "To go on: awsllm batch resume out.jsonl.ledger" in left.err


def test_a_batch_of_another_process_is_asked_to_stop(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with mock_aws(reply=echo):
        run(*COMMAND)
    assert "nothing of it was under way" in run("batch", "stop", "out.jsonl").err
    held = [True, True, False, False]
    monkeypatch.setattr(BatchLedger, "is_held", lambda _: held.pop(0))
    assert run("batch", "stop", "out.jsonl").err == ""
    ledger = BatchLedger("out.jsonl.ledger")
    assert ledger.facts()["stop"] is True
    ledger.close()


def test_what_is_no_batch(run: Run) -> None:
    assert "there is no ledger nothing" in run("batch", "status", "nothing").err
    Path("in.jsonl").write_text("{}\n")
    with mock_aws(reply=echo):
        bad = run(*COMMAND)
    assert bad.code == 1
    assert "in.jsonl, line 1: it has no column 'text'" in bad.err
