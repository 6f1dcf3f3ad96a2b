"""A training script of one's own: the request is the SageMaker SDK's, the archive the same for the same files."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from awsllm.client import Client
from awsllm.errors import ConfigurationError, DeploymentError, ValidationError
from awsllm.jobs.data.training import read_training_data
from awsllm.jobs.script import plan_script
from awsllm.jobs.script_source import packed
from awsllm.testing import mock_aws
from tests.jobs.test_serverless import CHATS, check
from tests.support.bedrock_account import get, keys
from tests.support.sagemaker_account import ROLE
from tests.support.sagemaker_account import client as boto

REGION = "us-east-1"
IMAGE = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.5.1-gpu-py311-cu124-ubuntu22.04-sagemaker"
MODEL = "sagemaker:mine"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    (source / "lib").mkdir(parents=True)
    (source / "train.py").write_text("import lib\n")
    (source / "lib" / "__init__.py").write_text("")
    (source / "requirements.txt").write_text("peft\n")
    (source / ".env").write_text("SECRET=1")
    (source / "__pycache__").mkdir()
    (source / "__pycache__" / "train.pyc").write_bytes(b"x")
    return source


@pytest.fixture
def options(folder: Path) -> Any:
    return {
        "script": folder,
        "image": IMAGE,
        "instance_type": "ml.g5.2xlarge",
        "output": "s3://data/out",
        "role": ROLE,
    }


@pytest.fixture
def client() -> Iterator[Client]:
    with mock_aws(reply="x"), Client(region=REGION) as made:
        boto("s3").create_bucket(Bucket="data")
        yield made


def plan(options: Any, data: Any = CHATS, **more: Any) -> Any:
    found = data if isinstance(data, str) else read_training_data(data)
    wanted: Any = options | more
    return plan_script("mine", found, REGION, wanted)


def names(archive: bytes) -> set[str]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return set(opened.getnames())


# --- the archive -----------------------------------------------------------------------------------------------------


def test_what_is_packed(folder: Path) -> None:
    archive, entry = packed(folder, None)
    assert (entry, names(archive)) == ("train.py", {"train.py", "lib/__init__.py", "requirements.txt"})
    os.utime(folder / "train.py", (1, 1))
    assert packed(folder, None)[0] == archive
    alone, entry = packed(folder / "train.py", None)
    assert (entry, names(alone)) == ("train.py", {"train.py"})


def test_what_cannot_be_packed(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"has no run\.py"):
        packed(folder, "run.py")
    with pytest.raises(ConfigurationError, match="there is no training script"):
        packed(tmp_path / "nowhere", None)
    with pytest.raises(ValidationError, match="is of a folder"):
        packed(folder / "train.py", "other.py")
    (tmp_path / "secret").write_text("x")
    (folder / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(ValidationError, match="a link out of the folder"):
        packed(folder, None)


# --- the plan --------------------------------------------------------------------------------------------------------


def test_the_request(options: Any) -> None:
    made = plan(options, epochs=2, hyperparameters={"flags": ["a"], "name": "x"}, metrics={"loss": "loss=([0-9.]+)"})
    check("CreateTrainingJob", made.request)
    told = {name: json.loads(value) for name, value in made.request["HyperParameters"].items()}
    assert told == {
        "model_id": "mine",
        "epochs": 2,
        "flags": ["a"],
        "name": "x",
        "sagemaker_program": "train.py",
        "sagemaker_submit_directory": made.source,
        "sagemaker_container_log_level": 20,
        "sagemaker_job_name": made.name,
        "sagemaker_region": REGION,
    }
    [channel] = made.request["InputDataConfig"]
    assert channel["ChannelName"] == "training"
    assert made.request["AlgorithmSpecification"]["MetricDefinitions"] == [{"Name": "loss", "Regex": "loss=([0-9.]+)"}]
    assert made.cost.per_hour is not None
    assert made.source.replace("s3://", "arn:aws:s3:::") in json.dumps(made.role_permissions)
    assert "iam:PassRole" in json.dumps(made.permissions)


def test_several_machines_are_told_of_torchrun(options: Any) -> None:
    made = plan(options, instance_count=2)
    told = made.request["HyperParameters"]
    assert told["sagemaker_torch_distributed_enabled"] == "true"
    assert told["sagemaker_instance_type"] == '"ml.g5.2xlarge"'
    assert made.request["ResourceConfig"]["InstanceCount"] == 2


def test_spot_keeps_checkpoints_for_the_next_attempt(options: Any) -> None:
    first, second = (plan(options, spot=True, attempt=number, max_runtime=60, max_wait=120) for number in (1, 2))
    check("CreateTrainingJob", first.request)
    assert first.name != second.name
    assert first.request["CheckpointConfig"] == second.request["CheckpointConfig"]
    assert first.request["CheckpointConfig"]["S3Uri"].startswith("s3://data/out/awsllm/")
    assert first.request["EnableManagedSpotTraining"] is True
    assert first.request["StoppingCondition"] == {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 120}
    assert "/opt/ml/checkpoints" in first.warnings[0]
    own = plan(options, checkpoints="s3://data/mine")
    assert own.request["CheckpointConfig"] == {"S3Uri": "s3://data/mine"}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"hyperparameters": {"sagemaker_program": "x"}}, "the toolkit's own"),
        ({"hyperparameters": {"x": "a" * 2501}}, "more than 2500 characters"),
        ({"max_wait": 9}, "give spot=True"),
        ({"spot": True, "max_runtime": 9, "max_wait": 8}, "counts the run too"),
        ({"instance_count": 0}, "no whole number above 0"),
        ({"metrics": {str(number): "x" for number in range(41)}}, "at most 40 metrics"),
        ({"epoch": 1}, "has no option epoch"),
    ],
)
def test_what_is_refused(options: Any, more: Any, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        plan(options, **more)


# --- runs ------------------------------------------------------------------------------------------------------------


def test_it_runs_and_leaves_a_model(client: Client, options: Any) -> None:
    job = client.fine_tune(MODEL, CHATS, evaluate=0.25, **options)
    tuned = job.result()
    assert tuned.artifacts == f"s3://data/out/{job.name}/output/model.tar.gz"
    assert client.jobs.load(job.to_json()).result() == tuned
    with pytest.raises(ConfigurationError, match="image="):
        _ = tuned.model
    put = keys("out/awsllm")
    [source] = [key for key in put if key.endswith("sourcedir.tar.gz")]
    assert "train.py" in names(get(source))
    [data] = [key for key in put if key.endswith("/training/train.jsonl")]
    assert len(get(data).splitlines()) == 6
    assert json.loads(get(data).splitlines()[0])["messages"][1] == {"role": "assistant", "content": "Merrow"}
    assert [key for key in put if key.endswith("/validation/train.jsonl")]


def test_data_in_s3_are_the_script_s_own_affair(client: Client, options: Any) -> None:
    boto("s3").put_object(Bucket="data", Key="images/one.png", Body=b"x")
    plan = client.jobs.plan_fine_tune(MODEL, "s3://data/images/", options=options)
    assert plan.request["InputDataConfig"][0]["DataSource"]["S3DataSource"]["S3Uri"] == "s3://data/images/"
    assert client.fine_tune(MODEL, "s3://data/images/", **options).result().artifacts
    with pytest.raises(ValidationError, match="deploy=False"):
        client.fine_tune(MODEL, "s3://data/images/", deploy=True, **options)


def test_a_failed_job_is_done_again_by_the_next_attempt(options: Any) -> None:
    with mock_aws(reply="x") as aws, Client(region=REGION) as client:
        boto("s3").create_bucket(Bucket="data")
        name = client.jobs.plan_fine_tune(MODEL, CHATS, options=options).name
        aws.plane.fail(name, "AlgorithmError: out of memory")
        with pytest.raises(DeploymentError, match="out of memory"):
            client.fine_tune(MODEL, CHATS, **options).result()
        with pytest.raises(DeploymentError) as caught:
            client.fine_tune(MODEL, CHATS, **options)
        assert "attempt=2" in "".join(caught.value.__notes__)
        assert client.fine_tune(MODEL, CHATS, attempt=2, **options).result().artifacts
