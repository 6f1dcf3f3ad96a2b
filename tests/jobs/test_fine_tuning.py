"""``client.fine_tune``: one call, three places; and ``client.jobs``, which finds what was begun anywhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from awsllm.async_client import AsyncClient
from awsllm.client import Client
from awsllm.errors import ConfigurationError, UnsupportedError, ValidationError
from awsllm.jobs.account_jobs import JobList
from awsllm.jobs.data.training import TrainingDataError
from awsllm.jobs.job import JobHandle
from awsllm.testing import mock_aws
from tests.support import tiny_chat
from tests.support.bedrock_account import NOVA, ROLE, get, keys, put
from tests.support.data import DATA
from tests.support.sagemaker_account import client as boto

CHATS = [{"prompt": f"Where? {n}", "completion": "Merrow"} for n in range(6)]
REGION = "us-east-1"
BEDROCK: Any = {"output": "s3://data/out", "role": ROLE}
JUMPSTART = "sagemaker:example-finetune-llm"


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AWSLLM_JOBS", str(tmp_path / "jobs"))
    return tmp_path / "jobs"


@pytest.fixture
def client() -> Iterator[Client]:
    with Client(region=REGION) as made:
        yield made


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_chat.write(tmp_path_factory.mktemp("base"))


def test_on_this_machine(client: Client, base: str, tmp_path: Path) -> None:
    """By one call, again by the same, by its name, by its file, awaited, and its model called."""
    options: Any = {"steps": 2, "rank": 2, "batch_size": 3}
    job = client.fine_tune(base, CHATS, **options)
    assert "on this machine" in job.why
    job.save(tmp_path / "job.json")
    found = job.result(120)
    assert client.fine_tune(base, CHATS, **options).result(120) == found

    async def again() -> Any:
        async with AsyncClient(region=REGION) as other:
            job = await other.fine_tune(base, CHATS, **options)
            assert (job.name, job.why[:15]) == (found.name, "on this machine")
            assert (await job.state()).outcome == "completed"
            assert not await job.stop()
            assert await job.logs()
            return await job.result(120)

    assert asyncio.run(again()) == found
    assert client.jobs.get(job.name).result() == found
    loaded = client.jobs.load(tmp_path / "job.json")
    assert (loaded.result(), loaded.cost) == (found, job.cost)
    listed = client.jobs.list("local")
    assert [(one.name, one.where, one.status) for one in listed.jobs] == [(job.name, "local", "Completed")]
    assert client.converse(found.model, "Where?", max_tokens=2).usage.output_tokens


def test_in_bedrock(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(json.dumps(one) for one in CHATS))
    with mock_aws(reply="trained"):
        boto("s3").create_bucket(Bucket="data")
        planned = client.jobs.plan_fine_tune(f"bedrock:{NOVA}", path, options=BEDROCK)
        assert keys("out") == []  # nothing was put, nothing begun
        job = client.fine_tune(f"bedrock:{NOVA}", path, **BEDROCK)
        assert (job.name, job.estimate) == (planned.name, planned.cost)
        assert "which alone has the weights" in job.why
        tuned = job.result()
        assert client.converse(tuned.model, "Hello").text == "trained"
        again = client.jobs.load(JobHandle.from_json(json.dumps({"noun": "customization job", "name": job.name})))
        assert again.result().artifacts == tuned.artifacts
        assert [one.noun for one in client.jobs.list().jobs] == ["customization job", "custom model deployment"]
        s3 = put("mine.jsonl", *CHATS)
        assert client.fine_tune(f"bedrock:{NOVA}", s3, **BEDROCK).name == job.name  # the same data, so the same job


def test_in_sagemaker(client: Client) -> None:
    documents = json.loads((DATA / "jumpstart" / "example-finetune-llm.json").read_text())
    options: Any = {**BEDROCK, "accept_eula": True, "epochs": 2}
    with mock_aws(reply="tuned", documents=documents):
        boto("s3").create_bucket(Bucket="data")
        with pytest.raises(ConfigurationError, match="needs deploy="):
            client.fine_tune(JUMPSTART, CHATS, **options)
        job = client.fine_tune(JUMPSTART, CHATS, deploy=True, **options)
        tuned = job.result()
        assert tuned.model.startswith("sagemaker:")
        assert client.converse(tuned.model, "Hello").text == "tuned"
        files = [key for key in keys("out/awsllm") if key.endswith(("template.json", "train.jsonl"))]
        assert json.loads(get(files[0])) == {"prompt": "{prompt}", "completion": "{completion}"}
        assert json.loads(get(files[1]).splitlines()[0]) == CHATS[0]
        left = client.fine_tune(JUMPSTART, CHATS, deploy=False, attempt=2, **options).result()
        with pytest.raises(ConfigurationError, match=r"client\.jobs\.get\('example-finetune-llm-.*'\)\.deploy\(\)"):
            _ = left.model


@pytest.mark.parametrize(
    ("base", "where", "said"),
    [
        (f"bedrock:{NOVA}", "local", "its weights are not to be had"),
        ("local:smollm2-135m-instruct", "bedrock", "import_model"),
        ("local:smollm2-135m-instruct", "sagemaker", "as sagemaker:MODEL_ID"),
        ("local:smollm2-135m-instruct", "moon", "where='moon' is none of"),
    ],
)
def test_places_that_do_not_fit(client: Client, base: str, where: str, said: str) -> None:
    with pytest.raises((UnsupportedError, ValidationError), match=said):
        client.fine_tune(base, CHATS, where=where)


def test_bad_data_are_told_before_anything_begins(client: Client, base: str, root: Path) -> None:
    with mock_aws(reply="x") as aws:
        for model in (base, f"bedrock:{NOVA}"):
            with pytest.raises(TrainingDataError, match="line 7"):
                client.fine_tune(model, [*CHATS, {"prompt": 3}], **(BEDROCK if "bedrock" in model else {}))
        assert aws.plane.calls == []
    assert not root.exists()


def test_what_was_trained_here_is_served_there(client: Client, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_text('{"model_type": "llama"}')
    (folder / "model.safetensors").write_text("weights")
    with mock_aws(reply="x"):
        boto("s3").create_bucket(Bucket="data")
        job = client.jobs.import_model(folder, **BEDROCK)
        assert ":imported-model/" in job.result().model
        assert client.jobs.get(job.name).result() == job.result()


def test_copied_to_another_region(client: Client) -> None:
    with mock_aws(reply="x"):
        boto("s3").create_bucket(Bucket="data")
        tuned = client.fine_tune(f"bedrock:{NOVA}", CHATS, deploy=False, **BEDROCK).result()
        copied = client.jobs.copy_model(str(tuned.artifacts), region="us-west-2", name="copied")
        assert ":us-west-2:" in str(copied.result().artifacts)


def test_jobs_that_are_not_there(client: Client) -> None:
    with mock_aws(reply="x") as aws:
        with pytest.raises(ConfigurationError, match="there is no job nothing"):
            client.jobs.get("nothing")
        with pytest.raises(ValidationError, match="is no kind of job"):
            client.jobs.load(JobHandle(noun="odyssey", name="x"))
        with pytest.raises(ValidationError, match="not a job that was saved"):
            client.jobs.load(b"{}")
        with pytest.raises(ValidationError, match="where='moon'"):
            client.jobs.list("moon")
        aws.plane.refuse("ListTrainingJobs", "AccessDeniedException", "No.")
        listed: JobList = client.jobs.list()
        assert listed.jobs == ()
        assert "training jobs are not listed" in listed.warnings[0]
