"""What may befall a job and whoever follows it: each told in words, and how to go on."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest

from awsllm.aws import control
from awsllm.client import Client
from awsllm.errors import ConfigurationError, DeploymentError, EulaNotAcceptedError, ModelTimeoutError
from awsllm.jobs.data.training import TrainingDataError
from awsllm.jobs.job import resume
from awsllm.jobs.local.folder import JobFolder
from awsllm.jobs.local.kind import LocalJob, LocalJobs
from awsllm.jobs.sessions.kind import SESSIONS, EndedSession
from awsllm.jumpstart.deploy.progress import Pace
from awsllm.testing import mock_aws, server
from tests.support import tiny_chat
from tests.support.bedrock_account import NOVA, ROLE, keys
from tests.support.command_line import Run, runner
from tests.support.data import DATA
from tests.support.sagemaker_account import client as boto

CHATS = [{"prompt": f"Where? {n}", "completion": "Merrow"} for n in range(6)]
IN_AWS: Any = {"output": "s3://data/out", "role": ROLE}
REGION = "us-east-1"
MORE = [{"prompt": None}] * 7
BAD: list[dict[str, Any]] = [*CHATS[:2], {"prompt": 3, "completion": "x"}, *CHATS, *MORE]


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setattr(control, "client", lambda service, session: boto(service, session.region))
    documents = json.loads((DATA / "jumpstart" / "example-finetune-llm.json").read_text())
    with mock_aws(reply="x", documents=documents), Client(region=REGION) as made:
        boto("s3").create_bucket(Bucket="data")
        yield made


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_chat.write(tmp_path_factory.mktemp("base"))


# --- before anything is spent ----------------------------------------------------------------------------------------


def test_a_bad_line_is_told_on_every_path(
    client: Client, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its number, what is wrong, how many more; in all places, by the API and at the command line."""
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(map(json.dumps, BAD)))
    said = r"line 3: prompt is a number, not a text; line 10: .*and 3 more"
    places: list[tuple[str, dict[str, Any]]] = [
        (base, {}),
        (f"bedrock:{NOVA}", IN_AWS),
        ("sagemaker:example-finetune-llm", {**IN_AWS, "deploy": False, "accept_eula": True}),
    ]
    run: Run = runner(monkeypatch, capsys)
    for model, options in places:
        told: Any = options
        sources: tuple[Any, ...] = (BAD, str(path))
        for data in sources:
            with pytest.raises(TrainingDataError, match=said):
                client.fine_tune(model, data, **options)
            with pytest.raises(TrainingDataError, match=said):
                client.jobs.plan_fine_tune(model, data, options=told)
        given = ("--output", "s3://data/out", "--role", ROLE) if options else ()
        for more in ((), ("--plan",), ("--check",)):
            result = run("fine-tune", str(path), "--base", model, "--region", REGION, *given, *more)
            assert result.code == 1
            assert "line 3: prompt is a number, not a text" in " ".join(result.err.split())
            assert "and 3 more" in result.err
    assert keys("out") == []
    assert client.jobs.list().jobs == ()


def test_a_bucket_in_another_region(client: Client) -> None:
    there = {"LocationConstraint": "eu-west-1"}
    boto("s3", "eu-west-1").create_bucket(Bucket="far", CreateBucketConfiguration=there)
    for model, more in ((f"bedrock:{NOVA}", {}), ("sagemaker:example-finetune-llm", {"deploy": False})):
        options: Any = {"output": "s3://far/out", "role": ROLE, "accept_eula": bool(more), **more}
        options = options if more else {**IN_AWS, "output": "s3://far/out"}
        with pytest.raises(ConfigurationError, match="the bucket far is in eu-west-1, and the job would run in us-ea"):
            client.fine_tune(model, CHATS, **options)
    assert client.jobs.list().jobs == ()
    assert keys("", bucket="far") == []


def test_a_licence_that_is_not_accepted(client: Client) -> None:
    with pytest.raises(EulaNotAcceptedError):
        client.fine_tune("sagemaker:example-finetune-llm", CHATS, deploy=False, **IN_AWS)
    assert client.jobs.list().jobs == ()
    assert keys("out") == []


# --- under way -------------------------------------------------------------------------------------------------------

PACE = Pace(poll=0.02)


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> LocalJobs:
    return LocalJobs(command=(sys.executable, "-m", "tests.support.stand_in_trainer"))


def begun(jobs: LocalJobs, base: str, allowed: int) -> LocalJob:
    folder = jobs.root / "mine"
    folder.mkdir(parents=True)
    (folder / "allowed").write_text(str(allowed))
    jobs.create(lambda _: None, {"name": "mine", "digest": "d", "base": base, "path": "/m", "training": {}})
    return LocalJob(jobs, "mine", pace=PACE)


def test_a_folder_that_is_deleted(jobs: LocalJobs, base: str) -> None:
    job = begun(jobs, base, 1)
    shutil.rmtree(job.folder.path)
    with pytest.raises(DeploymentError, match=r"the folder of local training mine is gone.* begins it anew"):
        job.wait()
    with pytest.raises(ConfigurationError, match="there is no local training mine"):
        job.state()


def test_two_watchers_and_one_that_leaves(jobs: LocalJobs, base: str) -> None:
    """Both are told, whoever came first; a third that gives up takes nothing with it."""
    begun(jobs, base, 2)
    with pytest.raises(ModelTimeoutError, match=r"goes on: .*awsllm jobs watch mine"):
        LocalJob(jobs, "mine", pace=PACE).wait(0.1)
    ends: list[Any] = []
    watchers = [
        threading.Thread(target=lambda: ends.append(LocalJob(jobs, "mine", pace=PACE).result())) for _ in range(2)
    ]
    for watcher in watchers:
        watcher.start()
    (jobs.root / "mine" / "allowed").write_text("99")
    for watcher in watchers:
        watcher.join(60)
    assert len(ends) == 2
    assert ends[0] == ends[1]
    assert [loss.step for loss in LocalJob(jobs, "mine").losses()] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("command", ["watch", "fine-tune"])
def test_ctrl_c_leaves_the_job_running(
    command: str, jobs: LocalJobs, base: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.setattr(LocalJobs, "__init__", _with_command(LocalJobs.__init__, jobs.command))
    monkeypatch.setattr(LocalJob, "_look", _interrupted)
    run = runner(monkeypatch, capsys)
    if command == "watch":
        begun(jobs, base, 0)
        result = run("jobs", "watch", "mine", "--region", REGION)
    else:
        path = tmp_path / "data.jsonl"
        path.write_text("\n".join(map(json.dumps, CHATS)))
        (jobs.root / "mine").mkdir(parents=True)
        (jobs.root / "mine" / "allowed").write_text("0")
        result = run("fine-tune", str(path), "--base", base, "--name", "mine", "--region", REGION)
    assert result.code == 130
    assert "mine goes on: `awsllm jobs watch mine` follows it, `awsllm jobs stop mine` ends it" in result.err
    monkeypatch.undo()
    folder = JobFolder(jobs.root / "mine")
    assert folder.state() is not None
    (folder.path / "allowed").write_text("99")
    assert LocalJob(jobs, "mine", pace=PACE).result().name == "mine"


def _with_command(init: Any, command: Any) -> Any:
    def made(self: Any, root: Any = None, *rest: Any, **members: Any) -> None:
        init(self, *([root] if root else []), *rest, **{"command": command, **members})

    return made


def _interrupted(self: Any) -> None:
    raise KeyboardInterrupt


# --- jobs of AWS -----------------------------------------------------------------------------------------------------


class Sessions:
    """SageMaker's control plane, as botocore's service model has its members."""

    def __init__(self, status: str = "Running") -> None:
        self.status, self.made = status, 0
        self.arn = f"arn:aws:sagemaker:{REGION}:123456789012:training-session/mine"

    def create_training_session(self, **request: Any) -> Mapping[str, Any]:
        self.made += 1
        return {}

    def describe_training_session(self, **_: Any) -> Mapping[str, Any]:
        detail = {
            "TrainingSessionArn": self.arn,
            "TrainingSessionStatus": self.status,
            "LastReceivedSequenceNumber": 3,
            "BillableTokenUsage": {"TrainingTokenCount": 1000, "SampleTokenCount": 20},
            "ModelConfig": {"BaseModelArn": "arn:hub"},
        }
        return {"TrainingSessionDetail": detail}

    def list_training_sessions(self, **_: Any) -> Mapping[str, Any]:
        return {"TrainingSessionSummaries": [{"TrainingSessionArn": self.arn, "TrainingSessionStatus": self.status}]}

    def stop_training_session(self, **_: Any) -> Mapping[str, Any]:
        self.status = "Stopped"
        return {}


def test_a_training_session_is_a_job() -> None:
    service = Sessions()
    job = resume(SESSIONS, "mine", lambda _: service)
    assert [one.name for one in SESSIONS.list(lambda _: service)] == ["mine"]
    assert not job.done()
    assert job.stop()
    assert job.result() == EndedSession(name="mine", arn=service.arn, base="arn:hub", operations=3)
    assert job.cost.actual is None
    assert "1,020 tokens are to be paid for" in job.cost.reason


def test_one_that_expired_says_so() -> None:
    job = resume(SESSIONS, "mine", lambda _: Sessions("Expired"))
    with pytest.raises(DeploymentError, match="failed: it expired"):
        job.result()


_STARTS = """
import os, signal, sys
import botocore.client
from awsllm.client import Client

real = botocore.client.BaseClient._make_api_call

def cut(self, operation, parameters):
    answer = real(self, operation, parameters)
    if operation == "CreateModelCustomizationJob":
        os.kill(os.getpid(), signal.SIGKILL)  # it was sent, and its answer never read
    return answer

botocore.client.BaseClient._make_api_call = cut
Client(region="us-east-1", endpoint_url=sys.argv[1]).fine_tune(
    sys.argv[2], [{"prompt": f"Where? {n}", "completion": "Merrow"} for n in range(6)],
    output="s3://data/out", role=sys.argv[3],
)
"""


@pytest.mark.slow
def test_a_process_that_is_killed_between_request_and_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one that makes the same call finds the job, and has its model."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    with server(reply="x") as aws:
        url = aws.url
        session = boto3.Session(aws_access_key_id="a", aws_secret_access_key="b", region_name=REGION)
        session.client("s3", endpoint_url=url).create_bucket(Bucket="data")
        killed = subprocess.run([sys.executable, "-c", _STARTS, url, f"bedrock:{NOVA}", ROLE], timeout=120)
        assert killed.returncode == -signal.SIGKILL
        with Client(region=REGION, endpoint_url=url) as client:
            assert len([one for one in client.jobs.list().jobs if one.noun == "customization job"]) == 1
            job = client.fine_tune(f"bedrock:{NOVA}", CHATS, **IN_AWS)
            assert ":custom-model-deployment/" in job.result().model
            assert len([one for one in client.jobs.list().jobs if one.noun == "customization job"]) == 1
