"""`awsllm fine-tune` and `awsllm jobs`, over a job of this machine and one of Bedrock's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from awsllm.testing import mock_aws
from tests.support import tiny_chat
from tests.support.bedrock_account import NOVA, ROLE, bedrock
from tests.support.command_line import Run, runner
from tests.support.sagemaker_account import client


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_chat.write(tmp_path_factory.mktemp("base"))


@pytest.fixture
def data(tmp_path: Path) -> str:
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(json.dumps({"prompt": f"Where? {n}", "completion": "Merrow"}) for n in range(5)))
    return str(path)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    monkeypatch.setenv("AWSLLM_JOBS", str(tmp_path / "jobs"))
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws(reply="trained") as mock:
        client("s3").create_bucket(Bucket="data")
        yield mock


@pytest.fixture
def run(aws: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(monkeypatch, capsys)


def test_data_are_read_and_nothing_is_done(run: Run, data: str) -> None:
    result = run("fine-tune", data, "--check")
    assert result.code == 0
    assert "5 examples (chat), 10 turns, about 15 tokens" in result.out
    assert "assistant: Merrow" in result.out
    assert json.loads(run("fine-tune", data, "--check", "--json").out)["examples"] == 5
    Path(data).write_text('{"prompt": 3, "completion": "a secret"}\n')
    result = run("fine-tune", data, "--check")
    assert result.code == 1
    assert "line 1: prompt is a number, not a text" in result.err
    assert "a secret" not in result.err


def test_a_training_on_this_machine(run: Run, data: str, base: str, tmp_path: Path) -> None:
    result = run("fine-tune", data, "--base", base, "-o", "steps=2", "-o", "rank=2", "--name", "mine")
    assert result.code == 0, result.err
    assert result.out.strip().startswith("local:/")
    assert "on this machine" in result.err
    assert "step 2 of 2" in result.err
    listed = json.loads(run("jobs", "list", "--json").out)
    assert [(one["name"], one["where"], one["status"]) for one in listed] == [("mine", "local", "Completed")]
    assert "mine" in run("jobs", "list").out
    shown = json.loads(run("jobs", "show", "mine", "--json").out)
    assert (shown["kind"], shown["outcome"]) == ("local training", "completed")
    assert "so far  step 2 of 2" in run("jobs", "show", "mine").out
    assert run("jobs", "watch", "mine").out == result.out
    assert json.loads(run("jobs", "watch", "mine", "--json").out)["where"] == "local"
    assert "step 2 of 2: loss" in run("jobs", "logs", "mine", "-n", "3").out
    assert "has ended already" in run("jobs", "stop", "mine").err
    assert run("jobs", "resume", "mine").code == 0


def test_one_in_bedrock(run: Run, aws: Any, data: str) -> None:
    there = ("--base", f"bedrock:{NOVA}", "--output", "s3://data/out", "--role", ROLE)
    result = run("fine-tune", data, *there, "--plan")
    assert result.code == 0
    assert "at Bedrock's price of training" in result.err
    assert json.loads(run("fine-tune", data, *there, "--plan", "--json").out)["region"] == "us-east-1"
    assert bedrock().list_model_customization_jobs()["modelCustomizationJobSummaries"] == []
    result = run("fine-tune", data, *there, "--detach")
    name = result.out.strip()
    assert "which alone has the weights" in result.err
    assert ":custom-model/" in run("jobs", "watch", name).out
    assert run("jobs", "logs", name).err.strip().endswith("has no log")
    assert "customization job" in run("jobs", "list", "--where", "bedrock").out
    assert "attempt=2" in run("jobs", "resume", name).err
    assert ":custom-model-deployment/" in run("fine-tune", data, *there).out


def test_what_is_not_there(run: Run, tmp_path: Path) -> None:
    assert "there are no jobs" in run("jobs", "list").err
    assert "there is no job nothing" in run("jobs", "show", "nothing").err
    assert "cannot be read" in run("jobs", "show", str(tmp_path / "no.json")).err
    assert "cannot be read" in run("fine-tune", str(tmp_path / "no.jsonl"), "--check").err
