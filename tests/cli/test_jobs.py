"""`awsllm fine-tune` and `awsllm jobs`, over a job of this machine and one of Bedrock's."""

from __future__ import annotations

import json
import re
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


def test_data_in_s3_are_read_too(run: Run, data: str) -> None:
    client("s3").put_object(Bucket="data", Key="chats.jsonl", Body=Path(data).read_bytes())
    assert "5 examples (chat)" in run("fine-tune", "s3://data/chats.jsonl", "--check").out
    for uri, said in (
        ("s3://data/none.jsonl", "there is nothing at 's3://data/none.jsonl'"),
        ("s3://data", "names no object"),
        ("s3://", "names no object"),
    ):
        result = run("fine-tune", uri, "--check")
        assert (result.code, said in result.err) == (1, True), result.err


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
    assert "cost    nothing\n" in run("jobs", "show", "mine").out
    assert f"model   {result.out}" in run("jobs", "show", "mine").out
    assert shown["model"] == result.out.strip()
    assert json.loads(run("jobs", "show", "mine", "--json").out)["cost"]["actual"] == 0
    assert "has ended already" in run("jobs", "stop", "mine").err
    again = run("jobs", "resume", "mine")
    assert (again.code, "mine is completed: there is nothing to go on with" in again.err) == (0, True)


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


def test_how_the_loss_fell(run: Run, aws: Any, data: str, base: str, tmp_path: Path) -> None:
    """In the terminal and as a page: of a training here, and of one in Bedrock by the files that it wrote."""
    result = run("fine-tune", data, "--base", base, "-o", "steps=4", "-o", "rank=2", "--name", "mine")
    assert "step 1 to 4, loss" in result.err
    page = tmp_path / "loss.html"
    assert "step 1 to 4, loss" in run("jobs", "show", "mine", "--html", str(page)).out
    assert "<h1>mine</h1>" in page.read_text()
    assert "cannot be written" in run("jobs", "show", "mine", "--html", str(tmp_path / "no" / "loss.html")).err
    there = ("--base", f"bedrock:{NOVA}", "--output", "s3://data/out", "--role", ROLE)
    name = run("fine-tune", data, *there, "--detach").out.strip()
    assert "has told no loss yet" in run("jobs", "show", name, "--html", str(page)).err
    job = bedrock().get_model_customization_job(jobIdentifier=name)["jobArn"].rpartition("/")[2]
    folder = f"out/model-customization-job-{job}"
    for key, noun in (
        ("training_artifacts/step_wise_training_metrics.csv", "training"),
        ("validation_artifacts/post_fine_tuning_validation/validation_metrics.csv", "validation"),
    ):
        text = f"step_number,epoch_number,{noun}_loss,perplexity\n0,0,3.5,33\n1,0,2.5,12\n2,0,1.5,4\nodd,,,\n"
        client("s3").put_object(Bucket="data", Key=f"{folder}/{key}", Body=text.encode())
    shown = run("jobs", "show", name, "--html", str(page))
    assert "step 1 to 3, loss 3.500 → 1.500" in shown.out
    assert "<td>3<td>1.5000<td>1.5000" in page.read_text()
    assert "its service does not say what it charged" in shown.out


def test_a_batch_is_a_job(run: Run, aws: Any, tmp_path: Path) -> None:
    table, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    table.write_text('{"text": "a"}\n{"text": "b"}\n')
    model = f"bedrock:{NOVA}"
    assert run("batch", "run", str(table), str(output), "-m", model, "-p", "Say {text}").code == 0
    (listed,) = json.loads(run("jobs", "list", "--where", "local", "--json").out)
    assert (listed["noun"], listed["status"], listed["name"]) == ("batch", "completed", f"{output}.ledger")
    for name in (str(output), listed["name"]):
        shown = json.loads(run("jobs", "show", name, "--json").out)
        assert (shown["kind"], shown["facts"]) == ("batch", ["2 of 2 answered"])
    assert "BatchResult(2 of 2 answered" in run("jobs", "watch", str(output)).out
    assert "has ended already" in run("jobs", "stop", str(output)).err
    assert "completed: 2 of 2" in run("jobs", "resume", str(output)).out
    Path(listed["name"]).unlink()
    assert "there are no jobs" in run("jobs", "list", "--where", "local").err


def test_one_of_several_bases(run: Run, data: str, base: str) -> None:
    result = run("fine-tune", data, "--base", f"bedrock:{NOVA}", "--base", base, "--plan", "--max-cost", "1")
    assert result.code == 0, result.err
    assert "cost: nothing, on this machine" in result.err
    assert "lora, rank 16: 10 epochs, 4 examples at once, learning rate 0.0005, cosine" in result.err
    assert re.search(r"in about \d+ seconds?, with \d\.\d GB of memory", result.err)
    told = run("fine-tune", data, "--base", base, "--deadline", "1", "-o", "steps=4000", "--plan")
    assert told.code == 0 or "the deadline is in 1 second" in told.err


def test_what_is_not_there(run: Run, tmp_path: Path) -> None:
    assert "there are no jobs" in run("jobs", "list").err
    assert "there is no job nothing" in run("jobs", "show", "nothing").err
    assert "cannot be read" in run("jobs", "show", str(tmp_path / "no.json")).err
    assert "cannot be read" in run("fine-tune", str(tmp_path / "no.jsonl"), "--check").err
