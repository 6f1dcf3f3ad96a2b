"""`awsllm log` shows, searches, follows, makes again and exports what a client has kept."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import boto3
import pytest
from typer.testing import CliRunner

from awsllm import CallLog, Client
from awsllm.cli import log as log_commands
from awsllm.cli import log_replay
from awsllm.cli.app import app
from awsllm.errors import ConfigurationError, ThrottlingError
from awsllm.policy.attempts import Policy
from awsllm.testing import ScriptedBackend, mock_aws, replay

MODEL = "bedrock:us.amazon.nova-lite-v1:0"
LOCAL = "local:smollm2-135m-instruct"
BUSY = ThrottlingError("too many requests", code="ThrottlingException", status=429)


@pytest.fixture
def kept(tmp_path: Path) -> str:
    path = tmp_path / "calls.db"
    replies: list[Any] = ["Paris.", {"toolUse": {"name": "look", "input": {"city": "Rome"}}}, "A stream.", BUSY]
    backends = {"bedrock": ScriptedBackend(replies), "local": ScriptedBackend(["Local."])}
    policy = Policy(max_attempts=1)
    with Client("us-east-1", log=CallLog(path, events=True), backends=backends, policy=policy) as client:
        client.converse(MODEL, "The capital of France?", system="Be brief.", tags={"team": "a"})
        look = {"name": "look", "inputSchema": {"json": {"type": "object"}}}
        client.converse(MODEL, "Look it up", tools=[{"toolSpec": look}])
        with client.converse_stream(MODEL, "Stream it") as stream:
            list(stream)
        with pytest.raises(ThrottlingError):
            client.converse(MODEL, "Too much")
        client.converse(LOCAL, "Here")
        client.embed("bedrock:amazon.titan-embed-text-v2:0", ["a text"], dimensions=256)
    return str(path)


def run(*words: str, input: str | None = None) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["log", *words], input=input)
    if isinstance(result.exception, Exception):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def rows(*words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run(*words, "--json")[1])
    return found


def id_of(place: str, begins: str) -> str:
    return next(row["id"] for row in rows("list", "--log", place) if row["begins"] == begins)


def test_a_list_has_a_line_a_call_the_latest_first(kept: str) -> None:
    _, shown, _ = run("list", "--log", kept)
    lines = shown.splitlines()
    assert lines[0].split() == ["ID", "AGE", "MODEL", "OUTCOME", "TIME", "IN", "OUT", "COST", "QUESTION"]
    assert [line.endswith(text) for line, text in zip(lines[1:], ("a text", "Here", "Too much"), strict=False)] == [
        True
    ] * 3
    assert "ThrottlingException" in lines[3]
    assert lines[6].endswith("The capital of France?")


def test_options_choose(kept: str) -> None:
    def begins(*words: str) -> list[str]:
        return [row["begins"] for row in rows("list", "--log", kept, *words)]

    assert begins("--errors") == ["Too much"]
    assert begins("--tag", "team=a") == ["The capital of France?"]
    assert begins("--model", "titan") == ["a text"]
    assert begins("--since", "1h", "--limit", "1") == ["a text"]
    assert begins("--since", "2999-01-01") == []
    assert begins("--slow", "60") == []
    assert run("list", "--log", kept, "--since", "soon")[0] == 2


def test_search_looks_at_questions_and_answers(kept: str) -> None:
    assert [row["begins"] for row in rows("search", "paris", "--log", kept)] == ["The capital of France?"]
    assert [row["begins"] for row in rows("search", "Rome", "--log", kept)] == ["Look it up"]
    assert run("search", "nowhere", "--log", kept)[2] == "No calls.\n"


def test_a_call_is_shown_by_the_beginning_of_its_id(kept: str) -> None:
    call = id_of(kept, "The capital of France?")
    _, shown, _ = run("show", call[:6], "--log", kept)
    for part in (
        f"call {call}",
        f"answered  converse  {MODEL}",
        "team=a",
        "system\n  Be brief.",
        "assistant\n  Paris.",
    ):
        assert part in shown
    raw = json.loads(run("show", call, "--raw", "--log", kept)[1])
    assert raw["request"]["messages"][0]["content"][0]["text"] == "The capital of France?"
    assert json.loads(run("show", call, "--json", "--log", kept)[1])["outcome"] == "answered"
    assert "error\n  ThrottlingError: too many requests" in run("show", id_of(kept, "Too much"), "--log", kept)[1]
    assert 'look({"city": "Rome"})' in run("show", id_of(kept, "Look it up"), "--log", kept)[1]
    vectors = run("show", id_of(kept, "a text"), "--log", kept)[1]
    assert "… 256 numbers" in vectors
    with pytest.raises(ConfigurationError, match="no call"):
        run("show", "zzzz", "--log", kept)


def test_figures_by_model(kept: str) -> None:
    _, shown, beside = run("stats", "--log", kept)
    nova = next(line.split() for line in shown.splitlines() if "nova" in line)
    assert nova[1:3] == ["4", "1"]
    assert "1 failed with ThrottlingException." in beside
    found = json.loads(run("stats", "--log", kept, "--json")[1])
    assert found["calls"] == 6
    assert found["models"][MODEL]["failed"] == 1


def test_tail_goes_on_as_calls_are_made(kept: str, monkeypatch: pytest.MonkeyPatch) -> None:
    naps = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 1:
            with Client("us-east-1", log=kept, backends={"bedrock": ScriptedBackend("new")}) as client:
                client.converse(MODEL, "A new one")
        if len(naps) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("awsllm.cli.log.time.sleep", nap)
    result = CliRunner().invoke(app, ["log", "tail", "-f", "-n", "2", "--log", kept])
    lines = result.stdout.splitlines()
    assert [line.rpartition("  ")[2] for line in lines] == ["Here", "a text", "A new one"]


def test_prune_drops_what_it_is_told(kept: str) -> None:
    assert run("prune", "--log", kept)[0] == 2
    assert run("prune", "--older-than", "1h", "--log", kept)[2] == "0 calls dropped.\n"
    size = Path(kept).stat().st_size
    assert run("prune", "--all", "--log", kept)[2] == "6 calls dropped.\n"
    assert Path(kept).stat().st_size <= size
    assert rows("list", "--log", kept) == []


def test_what_steers_a_terminal_does_not_reach_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "calls.db"
    with Client("us-east-1", log=path, backends={"bedrock": ScriptedBackend("\x1b]0;owned\x07")}) as client:
        client.converse(MODEL, "\x1b[2Jgone [red]not markup[/red]")
    screen = a_terminal(monkeypatch)
    log_commands.list_calls(place=str(path))
    assert "[2Jgone [red]not markup[/red]" in screen.getvalue()
    assert "\x1b[2J" not in screen.getvalue()


def a_terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", "200")
    return screen


def test_answers_stand_side_by_side_on_a_terminal(kept: str, monkeypatch: pytest.MonkeyPatch) -> None:
    call = id_of(kept, "The capital of France?")
    screen = a_terminal(monkeypatch)
    with mock_aws(reply="It is [bold]Paris[/bold]. \x1b[2J"):
        log_replay.replay(call, place=kept, yes=True, region="us-east-1")
    lines = screen.getvalue().splitlines()
    (answer,) = [line for line in lines if line.startswith("│ answer")]
    assert answer.index("Paris.") < answer.index("It is [bold]Paris[/bold].")
    assert "\x1b[2J" not in screen.getvalue()


def test_there_is_no_log(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no call log"):
        run("list", "--log", str(tmp_path / "none.db"))


# --- again -----------------------------------------------------------------------------------------------------------


def test_replay_asks_again_and_shows_both(kept: str) -> None:
    call = id_of(kept, "The capital of France?")
    with mock_aws(reply="Paris, France.") as aws:
        _, shown, _ = run("replay", call, "--yes", "--region", "us-east-1", "--log", kept)
        assert aws.requests[0].system[0].text == "Be brief."  # type: ignore[attr-defined]
    assert "-Paris." in shown
    assert "+Paris, France." in shown
    with mock_aws(reply="Paris."):
        assert "The answer is the same." in run("replay", call, "-y", "--region", "us-east-1", "--log", kept)[2]


def test_replay_may_ask_another_model(kept: str) -> None:
    call = id_of(kept, "Look it up")
    other = "bedrock:us.amazon.nova-pro-v1:0"
    with mock_aws(reply="I cannot.") as aws:
        _, shown, _ = run("replay", call, "-m", other, "--yes", "--region", "us-east-1", "--log", kept)
        assert aws.requests[0].model == "us.amazon.nova-pro-v1:0"
        assert aws.requests[0].tools[0].name == "look"  # type: ignore[attr-defined]
    assert f"model: {MODEL} -> {other}" in shown
    assert '-look({"city": "Rome"})' in shown


def test_replay_does_not_spend_unasked(kept: str) -> None:
    with mock_aws(reply="Paris.") as aws:
        code, _, beside = run("replay", id_of(kept, "The capital of France?"), "--log", kept)
        assert code == 2
        assert "--yes" in beside
        assert aws.requests == []


def test_export_is_a_line_of_json_a_call(kept: str) -> None:
    lines = [json.loads(line) for line in run("export", "--log", kept)[1].splitlines()]
    assert [line["operation"] for line in lines] == ["converse"] * 5 + ["embed"]
    (line,) = run("export", id_of(kept, "Stream it")[:8], "--log", kept)[1].splitlines()
    assert json.loads(line)["events"]


def test_an_exported_recording_answers_tests(kept: str, tmp_path: Path) -> None:
    file = tmp_path / "calls.yaml"
    _, _, beside = run("export", "--recording", str(file), "--log", kept)
    assert "1 calls are not in it: local models have no traffic with AWS." in beside
    with replay(file, strict=True), Client("us-east-1", policy=Policy(max_attempts=1)) as client:
        answer = client.converse(MODEL, "The capital of France?", system="Be brief.")
        assert answer.text == "Paris."
        look = {"name": "look", "inputSchema": {"json": {"type": "object"}}}
        assert client.converse(MODEL, "Look it up", tools=[{"toolSpec": look}]).tool_uses[0].input == {"city": "Rome"}
        with client.converse_stream(MODEL, "Stream it") as stream:
            assert "".join(stream.text_stream) == "A stream."
        with pytest.raises(ThrottlingError, match="too many requests"):
            client.converse(MODEL, "Too much")
        kept_vector = client.embed("bedrock:amazon.titan-embed-text-v2:0", ["a text"], dimensions=256).vectors[0]
        assert len(kept_vector) == 256


def test_boto3_is_answered_by_it_too(kept: str, tmp_path: Path) -> None:
    file = tmp_path / "calls.yaml"
    run("export", id_of(kept, "The capital of France?"), "--recording", str(file), "--log", kept)
    with replay(file):
        answer = boto3.client("bedrock-runtime", "us-east-1").converse(
            modelId=MODEL.removeprefix("bedrock:"),
            messages=[{"role": "user", "content": [{"text": "The capital of France?"}]}],
            system=[{"text": "Be brief."}],
        )
    assert answer["output"]["message"]["content"] == [{"text": "Paris."}]


def test_what_nobody_can_price_costs_nobody_knows_what(tmp_path: Path) -> None:
    place = str(tmp_path / "calls.db")
    with mock_aws(reply="hi"), Client(region="us-east-1", log=place) as client:
        client.converse("bedrock:us.amazon.nova-nobody-v1:0", "hi", max_tokens=5)
    _, shown, _ = run("stats", "--log", place)
    assert "$" not in shown
