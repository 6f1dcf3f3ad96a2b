"""`awsllm evaluate`: what it shows, writes and refuses, and the status it ends with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from awsllm.cli import evaluate, terminal
from awsllm.types import ConverseRequest
from tests.support.command_line import Run, runner

LITE = "bedrock:amazon.nova-lite-v1:0"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], mock_aws: Any) -> Run:
    def reply(request: ConverseRequest) -> str:
        if request.system and "judge" in request.system[0].text:
            return json.dumps({"reason": "Short.", "points": 5})
        return "Paris" if request.messages[-1].text == "Capital of France?" or "pro" in request.model else "Bonn"

    mock_aws(reply=reply)
    return runner(monkeypatch, capsys)


@pytest.fixture
def data(tmp_path: Path) -> str:
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(json.dumps({"land": land, "town": "Paris"}) for land in ["France", *range(19)]))
    return str(path)


ASK = ("--prompt", "Capital of {land}?", "--expected", "town", "--metric", "exact")


def test_a_table(run: Run, data: str) -> None:
    found = run("evaluate", data, "-m", LITE, "-m", "pro=bedrock:amazon.nova-pro-v1:0", *ASK)
    assert found.code == 0
    lines = found.out.splitlines()
    assert lines[1].split()[:2] == [LITE, "5.0%"]
    assert lines[2].split()[:2] == ["pro", "100.0%"]
    assert any(line.split()[:3] == ["exact", LITE, "pro"] and line.endswith("  pro") for line in lines)


def test_json_and_files(run: Run, data: str, tmp_path: Path) -> None:
    html, rubric = tmp_path / "r.html", tmp_path / "rubric.txt"
    rubric.write_text("Is it short?")
    judged = ("--metric", "judge:bedrock:amazon.nova-micro-v1:0", "--rubric", str(rubric))
    found = run("evaluate", data, "-m", LITE, *ASK, *judged, "--json", "--html", str(html))
    document = json.loads(found.out)
    assert [one["metric"] for one in document["summaries"]] == ["exact", "judge"]
    assert len(document["rows"]) == 20
    assert "5 of 5: Short." in html.read_text()


def test_the_gate(run: Run, data: str, tmp_path: Path) -> None:
    before = tmp_path / "before.json"
    assert run("evaluate", data, "-m", "m=bedrock:amazon.nova-pro-v1:0", *ASK, "--save", str(before)).code == 0
    same = run("evaluate", data, "-m", "m=bedrock:amazon.nova-pro-v1:0", *ASK, "--baseline", str(before))
    assert (same.code, "nothing is shown to be worse" in same.err) == (0, True)
    worse = run("evaluate", data, "-m", f"m={LITE}", *ASK, "--baseline", str(before))
    assert worse.code == 3
    assert "worse: exact of m: 1 before, 0.05 now" in worse.err
    assert run("evaluate", data, "-m", f"m={LITE}", *ASK, "--baseline", str(before), "--margin", "0.99").code == 0


def test_refused(run: Run, data: str, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text("{")
    assert "bad.jsonl, line 1: is no JSON" in run("evaluate", str(tmp_path / "bad.jsonl"), "-m", LITE, *ASK).err
    assert "there is no metric 'f9'" in run("evaluate", data, "-m", LITE, *ASK, "--metric", "f9").err
    assert "two models have the name a" in run("evaluate", data, "-m", "a=x", "-m", "a=y", *ASK).err
    assert "--rubric is for judges" in run("evaluate", data, "-m", LITE, *ASK, "--rubric", data).err
    assert "does not end in .html" in run("evaluate", data, "-m", LITE, *ASK, "--html", "r.htm").err
    assert "does not end in .json or" in run("evaluate", data, "-m", LITE, *ASK, "--save", "r.pdf").err
    asked = run("evaluate", data, "-m", LITE, *ASK, "--baseline", data)
    assert (asked.code, asked.out) == (1, "")  # before anything is asked
    assert "this is no evaluation's result" in asked.err
    nowhere = run("evaluate", data, "-m", LITE, *ASK, "--html", str(tmp_path / "none/r.html"))
    assert (nowhere.code, "there is no folder" in nowhere.err) == (1, True)


@pytest.mark.parametrize(("kept", "told"), [((), "is gone; --folder keeps it"), (("--folder", "f"), "goes on from")])
def test_an_interruption_says_what_is_kept(
    run: Run, data: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kept: tuple[str, ...], told: str
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("awsllm.evaluation.run.wait", interrupted)
    found = run("evaluate", data, "-m", LITE, *ASK, *kept)
    assert found.code == 130
    assert told in found.err


def test_the_cost_is_told_before_anything_is_asked(run: Run, data: str) -> None:
    found = run("evaluate", data, "-m", LITE, *ASK, "--max-tokens", "9")
    assert (found.code, "20 cases: 20 calls for answers, at most $0.00" in found.err) == (0, True)
    refused = run("evaluate", data, "-m", LITE, *ASK, "--max-cost", "0.000001")
    assert (refused.code, refused.out) == (1, "")
    assert "nothing was asked, for max_cost is $1e-06" in refused.err.replace("--max-cost", "max_cost")


@pytest.mark.parametrize("said", [True, False])
def test_on_a_terminal_what_is_dear_is_agreed_to(
    run: Run, data: str, monkeypatch: pytest.MonkeyPatch, said: bool
) -> None:
    questions: list[str] = []

    def agree(question: str) -> bool:
        questions.append(question)
        return said

    monkeypatch.setattr(terminal, "is_agreed", agree)
    cheap = ("evaluate", data, "-m", LITE, *ASK, "--max-tokens", "9")
    assert (run(*cheap).code, questions) == (0, [])
    monkeypatch.setattr(evaluate, "_CHEAP", 0.0)
    found = run(*cheap)
    assert (found.code, bool(found.out), len(questions)) == (0 if said else 1, said, 1)
    assert said or "nothing was asked" in found.err
    assert run(*cheap, "--yes").code == 0
    assert run(*cheap, "--max-cost", "1").code == 0  # who names a bound has agreed to it
    assert len(questions) == 1
