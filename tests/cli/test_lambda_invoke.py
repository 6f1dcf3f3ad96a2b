"""`awsllm lambda invoke` runs a handler in a process of its own; `awsllm lambda events` prints what it can be given."""

import json
import textwrap
from pathlib import Path
from typing import Any

import pytest

from awsllm.lambdas.emulator.sample_events import SAMPLES
from tests.support.command_line import Run, runner
from tests.support.streams import sent_events

FUNCTION = """
import os, sys
import awsllm
from awsllm.lambdas.http.stream_head import StreamHead

client = awsllm.Client()
MODEL = os.environ["AWSLLM_MODEL"]

def whole(event, context):
    print("asked")
    return {"text": client.converse(MODEL, event["q"]).text, "left": context.get_remaining_time_in_millis() > 0}

def stream(event, context):
    yield StreamHead(200, {"content-type": "text/plain"})
    with client.converse_stream(MODEL, event["q"]) as answer:
        yield from answer.text_stream
    if event.get("break"):
        raise LookupError

def table(event, context):
    import boto3
    boto3.client("dynamodb").create_table(
        TableName="t", KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}], BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}])
    return boto3.client("dynamodb").list_tables()["TableNames"]

def fail(event, context):
    raise LookupError("x")

def leave(event, context):
    os._exit(3)

def hang(event, context):
    import time; time.sleep(600)
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command line, in a folder that has the handler's module and the replies of a model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AWSLLM_MODEL", raising=False)
    (tmp_path / "function.py").write_text(textwrap.dedent(FUNCTION))
    (tmp_path / "replies.json").write_text(json.dumps(["Hello, you there."]))
    return runner(monkeypatch, capsys)


def document(run: Run, handler: str, event: Any, *words: str) -> Any:
    options = ["--handler", handler, "--script", "replies.json", "--json", *words]
    told = run("lambda", "invoke", "-", *options, stdin=json.dumps(event))
    return {"code": told.code, **json.loads(told.out)}


def test_a_handler_answers_from_the_offline_aws(run: Run) -> None:
    told = document(run, "function.whole", {"q": "hi"})
    assert (told["code"], told["outcome"]) == (0, "response")
    assert told["answer"] == {"text": "Hello, you there.", "left": True}
    assert told["log"] == ["asked"]
    assert told["duration_ms"] > 0
    assert told["init_ms"] > 0
    assert told["max_memory_mb"] > 5


def test_a_streaming_handler_is_shown_as_it_comes(run: Run) -> None:
    options = ["--handler", "function.stream", "--script", "replies.json", "--stream"]
    told = run("lambda", "invoke", "-", *options, stdin='{"q": "hi"}')
    assert (told.code, told.out) == (0, "Hello, you there.")
    assert '200 {"content-type": "text/plain"}' in told.err
    assert "REPORT RequestId: " in told.err
    broken = document(run, "function.stream", {"q": "hi", "break": True}, "--stream")
    assert (broken["code"], broken["answer"]["status"], broken["answer"]["body"]) == (1, 200, "Hello, you there.")
    assert broken["trailers"]["lambda-runtime-function-error-type"] == "Runtime.LookupError"


def test_a_streaming_handler_under_awss_client_is_told_how_to_stream(run: Run) -> None:
    told = run("lambda", "invoke", "-", "--handler", "function.stream", "--script", "replies.json", stdin='{"q": "hi"}')
    assert (told.code, "try it with --stream" in told.err) == (1, True), told.err


def test_the_rest_of_aws_is_there_too(run: Run) -> None:
    assert document(run, "function.table", {})["answer"] == ["t"]


@pytest.mark.parametrize(
    ("handler", "options", "outcome", "reason"),
    [
        ("function.fail", (), "error", None),
        ("function.leave", (), "cut", "Runtime.ExitError: the process ended with status 3"),
        ("function.hang", ("--timeout", "0.2"), "cut", "Sandbox.Timedout: it took over 0.2 s"),
        ("function.nothing", (), "init-error", "Runtime.ExitError: the process ended with status 1"),
    ],
)
def test_what_goes_wrong_is_told(
    run: Run, handler: str, options: tuple[str, ...], outcome: str, reason: str | None
) -> None:
    told = document(run, handler, {}, "--env", "AWSLLM_MODEL=bedrock:a.b", *options)
    assert (told["code"], told["outcome"], told["reason"]) == (1, outcome, reason)
    if outcome in ("error", "init-error"):
        assert told["answer"]["errorType"] in ("LookupError", "Runtime.HandlerNotFound")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("invoke", "nowhere.json", "--handler", "a.b"), "`awsllm lambda events` prints some"),
        (("invoke", "-", "--handler", "a.b", "--script", "nowhere.py"), "there is no script"),
        (("events", "ftp"), "there are rest, http"),
    ],
)
def test_what_cannot_be_tried_is_refused(run: Run, words: tuple[str, ...], told: str) -> None:
    result = run("lambda", *words, stdin="{}")
    assert (result.code, told in result.err) == (1, True), result.err


def test_a_variable_has_a_value(run: Run) -> None:
    result = run("lambda", "invoke", "-", "--handler", "a.b", "--env", "x", stdin="{}")
    assert result.code == 2
    assert "--env takes NAME=VALUE, not 'x'" in result.err


def test_events_are_printed(run: Run) -> None:
    assert run("lambda", "events").out.split() == list(SAMPLES)
    event = json.loads(run("lambda", "events", "url", "--body", '{"message": "é"}', "--path", "/chat").out)
    assert (event["rawPath"], json.loads(event["body"])) == ("/chat", {"message": "é"})


def test_an_event_is_piped_into_the_handler_of_a_package(run: Run) -> None:
    event = run("lambda", "events", "url").out
    (Path.cwd() / "event.json").write_text(event)
    told = run(
        "lambda", "invoke", "event.json", "--handler", "awsllm.lambdas.stream.handler", "--script", "replies.json"
    )
    assert told.code == 0
    assert [one.name for one in sent_events([told.out.encode()])][-2:] == ["metadata", "done"]
    assert '"level":"INFO","message":"answered"' in told.err
