"""`awsllm batch`."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from awsllm.cli import main
from awsllm.errors import AccessDeniedError, ValidationError
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


def test_standard_streams(monkeypatch: pytest.MonkeyPatch, capsysbinary: Any, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    lines = b'{"text": "a", "id": 2}\n{"text": "b", "id": 1}\n'
    monkeypatch.setattr("awsllm.jobs.batch.tables.sys.stdin", io.TextIOWrapper(io.BytesIO(lines)))
    piped = ("batch", "run", "-", "-", "--model", MODEL, "--prompt", "say {text}")
    with mock_aws(reply=echo):
        with pytest.raises(SystemExit) as left:
            main(piped)
        assert not left.value.code
        out, err = capsysbinary.readouterr()
        assert [list(json.loads(line).items())[:3] for line in out.splitlines()] == [
            [("text", "a"), ("id", 2), ("answer", "SAY A")],
            [("text", "b"), ("id", 1), ("answer", "SAY B")],
        ]
        assert b"awsllm: completed: 2 of 2 answered" in err
        assert not list(Path().glob("*.ledger"))


def test_permissions_are_shown(run: Run) -> None:
    with mock_aws(reply=echo):
        shown = json.loads(run(*COMMAND, "--dry-run", "--permissions").out)
        assert [one["Sid"] for one in shown["permissions"]["Statement"]] == ["Ask"]
        refused = run(*COMMAND, "--permissions")
        assert (refused.code, "goes with --dry-run" in refused.err) == (1, True)
        unbounded = run(*COMMAND[:-2], "--dry-run")
        assert "cost unknown without --max-tokens" in unbounded.out


def test_what_failed_is_asked_again(run: Run) -> None:
    state = {"down": True}

    def reply(request: ConverseRequest) -> str:
        if state["down"] and request.messages[-1].text.endswith("3"):
            raise ValidationError("not now")
        return echo(request)

    with mock_aws(reply=reply):
        ended = run(*COMMAND)
        assert ended.out.startswith("completed: 5 of 6 answered, 1 set aside")
        assert "1 records have no answer" in ended.err
        assert "--retry-failed asks those again" in ended.err
        state["down"] = False
        assert run("batch", "resume", "out.jsonl").out.startswith("completed: 5 of 6")
        done = run("batch", "resume", "out.jsonl", "--retry-failed")
    assert done.out.startswith("completed: 6 of 6 answered, $")
    assert json.loads(Path("out.jsonl").read_text().splitlines()[3])["answer"] == "SAY ROW 3"


def test_a_stream_that_nobody_reads_leaves_no_ledger(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def left(*_: Any, **__: Any) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("awsllm.jobs.batch.tables._write_lines", left)
    with mock_aws(reply=echo):
        found = run("batch", "run", "in.jsonl", "-", *COMMAND[4:])
    assert found.code == 1
    assert "- cannot be written: Broken pipe" in found.err
    assert "ledger" not in found.err.splitlines()[-1]
