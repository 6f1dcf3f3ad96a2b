"""The log form: a line of JSON a call, in a logger or a file."""

from __future__ import annotations

import json
import logging
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

import awsllm
from awsllm.errors import ThrottlingError
from awsllm.telemetry.log_lines import LogLines
from awsllm.testing import ScriptedBackend
from awsllm.types import Usage

PRO, LITE = "bedrock:us.amazon.nova-pro-v1:0", "bedrock:us.amazon.nova-lite-v1:0"
throttled = ThrottlingError("the prompt was secret", code="ThrottlingException", status=429, request_id="r-9")


def client(script: Any, telemetry: Any, **options: Any) -> awsllm.Client:
    policy = awsllm.Policy(sleep=lambda _: None, max_attempts=2)
    return awsllm.Client(
        region="us-east-1", backends={"bedrock": ScriptedBackend(script)}, telemetry=telemetry, policy=policy, **options
    )


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "calls.jsonl"


def test_a_line_tells_ids_tokens_cost_and_times_and_no_content(file: Path) -> None:
    answer = awsllm.ConverseResponse(
        message=awsllm.Message("assistant", (awsllm.Text("secret answer"),)),
        stop_reason="end_turn",
        usage=Usage(10, 5, 15, cache_read_input_tokens=100),
        request_id="r-1",
    )
    response = client(answer, LogLines(file), tags={"team": "a"}).converse(PRO, "secret", tags={"user": "u1"})
    (line,) = lines(file)
    assert line["time"][:2] == "20"
    assert line["time"].endswith("Z")
    assert len(line["id"]) == 16
    assert 0 < line["seconds"] < 60
    del line["time"], line["id"], line["seconds"]
    assert line == {
        "operation": "converse",
        "model": PRO,
        "attempts": 1,
        "input_tokens": 110,
        "output_tokens": 5,
        "cache_read_tokens": 100,
        "cost_usd": response.cost,
        "stop_reason": "end_turn",
        "request_id": "r-1",
        "tags": {"team": "a", "user": "u1"},
    }


def test_a_failed_call_has_its_code_and_status_and_no_text(file: Path) -> None:
    with pytest.raises(ThrottlingError):
        client(throttled, LogLines(file)).converse(PRO, "Hi")
    (line,) = lines(file)
    assert (line["error"], line["status"], line["request_id"], line["attempts"]) == (
        "ThrottlingException",
        429,
        "r-9",
        2,
    )
    assert "secret" not in file.read_text()


def test_streams_tell_their_first_event_and_whether_they_were_left(file: Path) -> None:
    caller = client("a b c d", LogLines(file))
    with caller.converse_stream(PRO, "Hi") as stream:
        stream.response  # noqa: B018
    with caller.converse_stream(PRO, "Hi") as stream:
        next(stream)
    whole, left = lines(file)
    assert whole["stream"] is left["stream"] is True
    assert 0 < whole["first_event_seconds"] <= whole["seconds"]
    assert whole["output_tokens"] == 4
    assert left["left"] == "GeneratorExit"
    assert "error" not in left


def test_what_belongs_together_has_one_parent(file: Path) -> None:
    """A loop, a group or a tool has no line of its own, so that the cost of all lines is what all calls cost."""

    def look() -> str:
        """A tool."""
        return caller.embed("bedrock:amazon.titan-embed-text-v2:0", ["x"]).model or ""

    caller = client([awsllm.ToolUse("t", "look", {}), "Done."], LogLines(file))
    response = caller.converse(PRO, "Hi", tools=[look])
    first, embedded, last = lines(file)
    assert (first["operation"], embedded["operation"]) == ("converse", "embed")
    assert first["parent"] == last["parent"] != embedded["parent"]
    assert first["cost_usd"] + last["cost_usd"] == pytest.approx(response.cost)


def test_a_kept_answer_says_so_and_used_nothing(file: Path) -> None:
    caller = client("Hi.", LogLines(file), response_cache=awsllm.ResponseCache())
    for _ in range(2):
        caller.converse(PRO, "Hi", temperature=0)
    assert [line.get("cache") for line in lines(file)] == [None, "exact"]
    assert "input_tokens" not in lines(file)[1]


def test_lines_go_to_the_logger_of_calls(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="awsllm.calls"):
        client("Hi.", "log").converse(PRO, "Hi")
    (record,) = [record for record in caplog.records if record.name == "awsllm.calls"]
    assert json.loads(record.getMessage())["model"] == PRO


def test_only_its_owner_reads_the_file_and_threads_do_not_mix_lines(file: Path) -> None:
    written = LogLines(file)
    caller = client(lambda _: "Hi.", written)
    threads = [threading.Thread(target=lambda: [caller.converse(PRO, "Hi") for _ in range(20)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lines(file)) == 80
    if os.name == "posix":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    written.close()
    caller.converse(PRO, "after its end nothing is written, and nothing fails")
    assert len(lines(file)) == 80


def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(awsllm.ConfigurationError, match="cannot be written"):
        LogLines(tmp_path / "nowhere" / "calls.jsonl")


def test_awsllm_toml_and_the_variable_choose_the_form(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration = tmp_path / "awsllm.toml"
    configuration.write_text(f'[telemetry]\nforms = ["log"]\nfile = "{file}"\n')
    client("Hi.", None, configuration=configuration).converse(PRO, "Hi")
    assert len(lines(file)) == 1
    monkeypatch.setenv("AWSLLM_TELEMETRY", "off")
    client("Hi.", None, configuration=configuration).converse(PRO, "Hi")
    client("Hi.", False, configuration=configuration).converse(PRO, "Hi")
    assert len(lines(file)) == 1
    configuration.write_text("[telemetry]\nform = 'log'\n")
    with pytest.raises(awsllm.ConfigurationError, match=r"line 2, telemetry\.form: there is no such key"):
        client("Hi.", None, configuration=configuration)
