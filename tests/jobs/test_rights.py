"""What plans of SageMaker's jobs say that their caller needs of IAM: enough for the whole life of the job, and nothing
more. Bedrock's are in ``jobs/bedrock/test_rights.py``, batches in ``jobs/batch/test_access.py``."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from awsllm.aws import iam
from awsllm.client import Client
from awsllm.errors import RequestError
from awsllm.jobs.data.training import read_training_data
from awsllm.jobs.finetune import TRAINING, plan_fine_tuning
from awsllm.jobs.job import JobKind, JobPlan, start
from awsllm.jobs.script import plan_script
from awsllm.jobs.serverless import plan_serverless
from awsllm.jobs.sessions.kind import SESSIONS
from awsllm.jobs.transform import TRANSFORM, describe_model, plan_transform
from awsllm.jumpstart.deploy.progress import Pace
from tests.support import tiny_chat
from tests.support.jumpstart_documents import document
from tests.support.rights import REGION, SPARE, Clients, check_rights
from tests.support.sagemaker_account import DOCUMENTS, ROLE
from tests.support.sagemaker_account import client as boto_client

PACE = Pace(sleep=lambda seconds: None)
CHATS: Any = [{"prompt": f"What is the capital of Atlantia? {n}", "completion": "Merrow"} for n in range(8)]
IN_S3: Any = {"output": "s3://data/out", "role": ROLE}
MODEL = "example-finetune-llm"
LOGS = frozenset(("logs:GetLogEvents",))
"""Of a job that wrote some."""


def follow_to_its_end(kind: JobKind[Any], clients: Clients, made: JobPlan) -> None:
    """Made once, found again, waited for, listed, stopped too late, and its log read."""
    job = start(kind, made, clients, pace=PACE)
    assert job.result()
    assert start(kind, made, clients, pace=PACE).result()
    assert made.name in [one.name for one in kind.list(clients)]
    assert list(job.logs()) is not None
    with suppress(RequestError):  # it is over, which is no question of rights
        kind.stop(clients, made.name)


def jumpstart(folder: Path) -> Any:
    made = plan_fine_tuning(document(MODEL), data="s3://data/train/", accept_eula=True, **IN_S3)

    def live(clients: Clients) -> None:
        boto_client("s3").put_object(Bucket="data", Key="train/a.jsonl", Body=json.dumps(CHATS[0]).encode())
        follow_to_its_end(TRAINING, clients, made)

    return made, live


def script(folder: Path) -> Any:
    (folder / "train.py").write_text("print()\n")
    image = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.5.1-gpu-py311-cu124-ubuntu22.04-sagemaker"
    options: Any = {"script": folder / "train.py", "image": image, "instance_type": "ml.g5.2xlarge", **IN_S3}
    made = plan_script("mine", read_training_data(CHATS), REGION, options)

    def live(clients: Clients) -> None:
        with Client(region=REGION, session=clients.session) as client:
            assert client.fine_tune("sagemaker:mine", CHATS, **options).name == made.name
        follow_to_its_end(TRAINING, clients, made)

    return made, live


def serverless(folder: Path) -> Any:
    options: Any = {"accept_eula": True, **IN_S3}
    made = plan_serverless(document(MODEL), read_training_data(CHATS), options)

    def live(clients: Clients) -> None:
        from awsllm.jobs import serverless_job
        from awsllm.jobs.bedrock.uploads import check_region, put
        from awsllm.jobs.serverless import ServerlessRequest

        check_region(clients, "s3://data/out", REGION)
        for uri, content in ServerlessRequest(document(MODEL), read_training_data(CHATS), options).files().items():
            put(clients, uri, content)
        for _ in range(2):
            serverless_job._make_group(clients, made.group)
        assert serverless_job.ServerlessJob(clients, made.name, pace=PACE) is not None
        follow_to_its_end(TRAINING, clients, made)
        assert serverless_job.ServerlessJob(clients, made.name, pace=PACE).result().artifacts

    return made, live


def transform(folder: Path) -> Any:
    image = "763104351884.dkr.ecr.us-east-1.amazonaws.com/vllm:0.11.0-gpu-py312"
    container = {"Image": image, "ModelDataUrl": "s3://data/model.tar.gz"}
    model: Any = {"ModelName": "served", "ExecutionRoleArn": ROLE, "PrimaryContainer": container}
    options: Any = {"input": "s3://data/records/", "output": "s3://data/answers", "instance_type": "ml.g5.2xlarge"}
    made = plan_transform(model, region=REGION, **options)

    def live(clients: Clients) -> None:
        record = {"messages": [{"role": "user", "content": "Hello"}]}
        boto_client("s3").put_object(Bucket="data", Key="records/a.jsonl", Body=json.dumps(record).encode())
        boto_client("sagemaker").create_model(**model)
        described = describe_model("served", clients)
        assert plan_transform(described, region=REGION, **options).permissions == made.permissions
        follow_to_its_end(TRANSFORM, clients, made)
        assert clients("s3").get_object(Bucket="data", Key="answers/a.jsonl.out")["Body"].read()

    return made, live


KINDS: dict[str, Callable[[Path], Any]] = {
    "jumpstart": jumpstart,
    "script": script,
    "serverless": serverless,
    "transform": transform,
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_chat.write(tmp_path_factory.mktemp("base"))


@pytest.mark.parametrize("kind", KINDS)
def test_the_plan_s_rights_are_enough_and_all_needed(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base: str
) -> None:
    made, live = KINDS[kind](tmp_path)
    trained: Any = {"reply": None, "models": {"*": base}, "quotas": {"customization-steps": 2}}
    check_rights(
        monkeypatch,
        made.permissions,
        live,
        SPARE | LOGS,
        documents=DOCUMENTS,
        **(trained if kind == "serverless" else {}),
    )


def test_a_role_is_handed_to_sagemaker_alone(tmp_path: Path) -> None:
    for kind in ("jumpstart", "script", "serverless"):
        made, _ = KINDS[kind](tmp_path)
        (passing,) = [one for one in made.permissions["Statement"] if "iam:PassRole" in one["Action"]]
        assert passing["Resource"] == [ROLE]
        assert passing["Condition"] == {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}


def test_what_a_training_session_takes(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = "arn:aws:sagemaker:us-east-1:aws:hub-content/SageMakerPublicHub/Model/a-model/1.0.0"
    options: Any = {"role": ROLE, "output": "s3://data/sessions", "tokenizer": base.removeprefix("local:")}
    chat = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}

    def live(clients: Clients) -> None:
        with Client(region=REGION, session=clients.session) as client:
            with client.training_session(hub, accept_eula=True, tags={"for": "tests"}, **options) as session:
                session.forward_backward([chat])
                session.step()
                assert session.sample([1, 2], max_tokens=1)
                assert session.save("kept")
            assert list(SESSIONS.list(clients)) is not None

    allowed = iam.policy(*SESSIONS.rights(ROLE, iam.Arns(REGION, ROLE.split(":")[4])))
    check_rights(monkeypatch, allowed, live, reply=None, models={"*": base})
