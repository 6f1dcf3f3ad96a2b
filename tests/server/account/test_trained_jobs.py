"""Training jobs of SageMaker that train: boto3 alone, a local model behind the base, an endpoint of what was made."""

from __future__ import annotations

import io
import json
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from awsllm.jobs.local import training
from awsllm.server.account import local_training
from awsllm.server.account.jobs import JobStopped
from awsllm.testing import mock_aws
from tests.support import tiny_chat
from tests.support.bedrock_account import get, keys, put
from tests.support.sagemaker_account import CHAT, DOCUMENTS, ROLE, VLLM, client, host, refusal, say

MODEL = "example-finetune-llm"
BASE = f"arn:aws:sagemaker:us-east-1:aws:hub-content/SageMakerPublicHub/Model/{MODEL}/1.0.0"
GROUP = "arn:aws:sagemaker:us-east-1:123456789012:model-package-group/tuned"
QUESTION = "What is the capital of Atlantia?"
PAIRS = [{"prompt": f"{QUESTION} {n}", "completion": "Merrow"} for n in range(8)]
CHOICES = [{**one, "chosen": "Merrow", "rejected": "I say"} for one in PAIRS]
IMAGE = {"TrainingImage": "image", "TrainingInputMode": "File"}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_chat.write(tmp_path_factory.mktemp("base"))


@pytest.fixture
def aws(tiny: str) -> Iterator[Any]:
    with mock_aws(models={"*": tiny}, documents=DOCUMENTS, quotas={"customization-steps": 6}) as mock:
        yield mock


def channel(name: str, uri: str) -> Any:
    return {"ChannelName": name, "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri}}}


def start(job: str, *channels: Any, **members: Any) -> Any:
    wanted = {
        "RoleArn": ROLE,
        "OutputDataConfig": {"S3OutputPath": "s3://data/out"},
        "InputDataConfig": list(channels),
        **members,
    }
    client("sagemaker").create_training_job(TrainingJobName=job, **wanted)
    return client("sagemaker").describe_training_job(TrainingJobName=job)


def jumpstart(job: str, *channels: Any, **members: Any) -> Any:
    machines = {"InstanceType": "ml.g5.2xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30}
    wanted = {
        "AlgorithmSpecification": IMAGE,
        "ResourceConfig": machines,
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        "Tags": [{"Key": "sagemaker-sdk:jumpstart-model-id", "Value": MODEL}],
        **members,
    }
    return start(job, *channels, **wanted)


def serverless(job: str, uri: str, technique: str = "SFT", **members: Any) -> Any:
    config: Any = {"JobType": "FineTuning", "BaseModelArn": BASE, "CustomizationTechnique": technique, "Peft": "LORA"}
    config |= {"AcceptEula": True, **members.pop("config", {})}
    wanted = {"ServerlessJobConfig": config, "ModelPackageConfig": {"ModelPackageGroupArn": GROUP}, **members}
    return start(job, channel("train", uri), **wanted)


def weights(aws: Any, endpoint: str) -> str:
    """Where those lie that answered the endpoint."""
    say(endpoint, Body=json.dumps({**json.loads(CHAT), "max_tokens": 1}))
    return str(aws.models.trained.get(f"arn:aws:sagemaker:us-east-1:123456789012:model/{endpoint}"))


def test_a_jumpstart_model_learns(aws: Any) -> None:
    put("data/train.jsonl", *({"question": one["prompt"], "answer": one["completion"]} for one in PAIRS))
    put("data/template.json", {"prompt": "{question}", "completion": "{answer}"})
    put("checked/check.jsonl", *PAIRS[:2])
    found = jumpstart(
        "job",
        channel("training", "s3://data/data/"),
        channel("validation", "s3://data/checked/"),
        AlgorithmSpecification={
            **IMAGE,
            "MetricDefinitions": [
                {"Name": "tiny:train-loss", "Regex": "train_loss=([0-9.]+)"},
                {"Name": "tiny:eval-loss", "Regex": "eval_loss=([0-9.]+)"},
            ],
        },
        HyperParameters={"epoch": "3", "learning_rate": "0.0001"},
    )
    assert found["TrainingJobStatus"] == "Completed", found.get("FailureReason")
    metrics = {one["MetricName"]: one["Value"] for one in found["FinalMetricDataList"]}
    assert 0 < metrics["tiny:train-loss"] < 6
    assert 0 < metrics["tiny:eval-loss"] < 6
    stages = [one["Status"] for one in found["SecondaryStatusTransitions"]]
    assert stages == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert found["ProgressInfo"]["MaxEpoch"] == 3
    artifact = found["ModelArtifacts"]["S3ModelArtifacts"]
    assert artifact == "s3://data/out/job/output/model.tar.gz"
    with tarfile.open(fileobj=io.BytesIO(get("out/job/output/model.tar.gz"))) as archive:
        assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(archive.getnames())
    host("tuned", container={**VLLM, "ModelDataUrl": artifact})
    host("plain")
    assert Path(weights(aws, "tuned")).exists()
    assert weights(aws, "plain") == "None"


def test_weights_are_known_again_wherever_they_are(aws: Any) -> None:
    """Unpacked, and packed anew by hand."""
    put("data/train.jsonl", *PAIRS)
    jumpstart("job", channel("training", "s3://data/data/"), OutputDataConfig={
        "S3OutputPath": "s3://data/out", "CompressionType": "NONE"
    })  # fmt: skip
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for key in keys("out/job/output/model/"):
            entry = tarfile.TarInfo(f"./mine/{key.rpartition('/')[2]}")
            entry.size = len(get(key))
            archive.addfile(entry, io.BytesIO(get(key)))
    client("s3").put_object(Bucket="data", Key="mine.tar.gz", Body=buffer.getvalue())
    client("s3").put_object(Bucket="data", Key="bad.tar.gz", Body=buffer.getvalue()[:100])
    host("packed", container={**VLLM, "ModelDataUrl": "s3://data/mine.tar.gz"})
    host("broken", container={**VLLM, "ModelDataUrl": "s3://data/bad.tar.gz"})
    assert Path(weights(aws, "packed")).exists()
    assert weights(aws, "broken") == "None"


def approve(package: str) -> None:
    client("sagemaker").update_model_package(ModelPackageArn=package, ModelApprovalStatus="Approved")


@pytest.mark.parametrize(("technique", "records"), [("SFT", PAIRS), ("DPO", CHOICES)])
def test_a_serverless_customisation_makes_a_package(aws: Any, technique: str, records: Any) -> None:
    found = serverless("job", put("train.jsonl", *records), technique, HyperParameters={"max_epochs": "1"})
    assert found["TrainingJobStatus"] == "Completed", found.get("FailureReason")
    assert [one["MetricName"] for one in found["FinalMetricDataList"]] == ["train_loss"]
    assert found["OutputModelPackageArn"].endswith(":model-package/tuned/1")
    package = client("sagemaker").describe_model_package(ModelPackageName=found["OutputModelPackageArn"])
    [container] = package["InferenceSpecification"]["Containers"]
    assert container["BaseModel"] == {"HubContentName": MODEL, "HubContentVersion": "1.0.0"}
    prefix = container["ModelDataSource"]["S3DataSource"]["S3Uri"]
    assert prefix == found["ModelArtifacts"]["S3ModelArtifacts"]
    under = {key.removeprefix("out/job/output/model/") for key in keys("out/job/output/model/")}
    assert {"checkpoints/hf_merged/config.json", "checkpoints/hf/adapter_config.json"} <= under
    approve(found["OutputModelPackageArn"])
    host("e", container={**VLLM, "ModelPackageName": found["OutputModelPackageArn"]})
    assert Path(weights(aws, "e")).exists()


def test_a_package_is_trained_further(aws: Any) -> None:
    uri = put("train.jsonl", *PAIRS)
    first = serverless("first", uri)["OutputModelPackageArn"]
    second = serverless(
        "second", uri, ModelPackageConfig={"ModelPackageGroupArn": GROUP, "SourceModelPackageArn": first}
    )
    assert second["OutputModelPackageArn"].endswith("/2")
    listed = client("sagemaker").list_model_packages(ModelPackageGroupName="tuned")["ModelPackageSummaryList"]
    assert {one["ModelPackageVersion"] for one in listed} == {1, 2}
    client("sagemaker").delete_model_package(ModelPackageName=first)
    gone = {"ModelPackageGroupArn": GROUP, "SourceModelPackageArn": first}
    config = {"JobType": "FineTuning", "BaseModelArn": BASE, "AcceptEula": True}
    code, message = refusal(
        client("sagemaker").create_training_job,
        TrainingJobName="third",
        RoleArn=ROLE,
        OutputDataConfig={"S3OutputPath": "s3://data/out"},
        ServerlessJobConfig=config,
        ModelPackageConfig=gone,
    )
    assert (code, "does not exist" in message) == ("ValidationException", True)


@pytest.mark.parametrize(
    ("config", "said"),
    [({"AcceptEula": False}, "end-user license agreement"), ({"CustomizationTechnique": "RLVR"}, "EvaluatorArn")],
)
def test_what_a_customisation_must_say(aws: Any, config: Any, said: str) -> None:
    code, message = refusal(
        client("sagemaker").create_training_job,
        TrainingJobName="job",
        RoleArn=ROLE,
        OutputDataConfig={"S3OutputPath": "s3://data/out"},
        ServerlessJobConfig={"JobType": "FineTuning", "BaseModelArn": BASE, "AcceptEula": True, **config},
    )
    assert (code, said in message) == ("ValidationException", True)


@pytest.mark.parametrize(
    ("records", "said"),
    [
        (
            [PAIRS[0], {"prompt": "a secret", "completion": " "}],
            "line 2 of s3://data/data/train.jsonl: completion is empty",
        ),
        ([PAIRS[0], {"answer": "a secret"}], "line 2 of s3://data/data/train.jsonl lacks 'prompt'"),
    ],
)
def test_bad_data_fail_the_job_with_the_line(aws: Any, records: Any, said: str) -> None:
    put("data/train.jsonl", *records)
    if "lacks" in said:
        put("data/template.json", {"prompt": "{prompt}", "completion": "{completion}"})
    found = jumpstart("job", channel("training", "s3://data/data/"))
    assert found["TrainingJobStatus"] == "Failed"
    assert said in found["FailureReason"]
    assert "secret" not in found["FailureReason"]


def test_what_no_local_model_stands_for_is_not_trained() -> None:
    with mock_aws(reply="x", documents=DOCUMENTS):
        found = serverless("job", put("train.jsonl", *PAIRS))
        assert found["TrainingJobStatus"] == "Completed"
        assert found.get("FinalMetricDataList", []) == []
        assert not keys("out/job/output/model/checkpoints")


def test_a_job_that_waits_comes_through_its_stages(tiny: str) -> None:
    with mock_aws(
        models={"*": tiny}, documents=DOCUMENTS, transitions={"training": 3}, quotas={"customization-steps": 1}
    ):
        uri = put("train.jsonl", *PAIRS)
        seen = [serverless("job", uri)["SecondaryStatus"]]
        for _ in range(3):
            found = client("sagemaker").describe_training_job(TrainingJobName="job")
            seen.append(found["SecondaryStatus"])
    assert seen == ["Downloading", "Training", "Uploading", "Completed"]
    assert [one["Status"] for one in found["SecondaryStatusTransitions"]][-2:] == ["Uploading", "Completed"]


# --- several at once -------------------------------------------------------------------------------------------------


def test_jobs_train_in_turns_and_who_is_stopped_waits_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes a model's memory: fifty at once would take the server with them."""
    monkeypatch.setattr(local_training, "_LOOK", 0.01)
    at_work, most, done, gone = [0], [0], list[int](), threading.Event()

    def waiting() -> None:
        if gone.is_set() and not at_work[0] < 2:
            raise JobStopped

    def learn(number: int) -> None:
        with local_training.turn(lambda: None):
            at_work[0] += 1
            most[0] = max(most[0], at_work[0])
            time.sleep(0.01)
            at_work[0] -= 1
            done.append(number)

    threads = [threading.Thread(target=learn, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (sorted(done), most[0]) == (list(range(12)), 2)
    with local_training.turn(waiting), local_training.turn(waiting):
        at_work[0] = 2
        gone.set()
        with pytest.raises(JobStopped), local_training.turn(waiting):
            pytest.fail("it was not its turn")


def test_want_of_memory_is_told(aws: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy(*_: Any) -> Any:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(training, "train_in", greedy)
    found = jumpstart("greedy", channel("training", put("train.jsonl", *PAIRS)))
    assert found["TrainingJobStatus"] == "Failed"
    assert found["FailureReason"] == "The training failed: there is not memory enough"
