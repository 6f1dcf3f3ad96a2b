"""Jobs over a restart of a server that keeps its data: killed while they run, they are taken up again and end; what was
made of them answers as it did."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.support import tiny_chat

LLAMA, ROLE = "meta.llama3-1-8b-instruct-v1:0", "arn:aws:iam::123456789012:role/bedrock"
PAIRS = [{"prompt": f"What is the capital of Atlantia? {n}", "completion": "Merrow"} for n in range(8)]
OUT = {"s3Uri": "s3://data/out/"}
# The first server's model never answers: what asks it is killed in the middle. The second one's does.
SERVE = """
import asyncio, sys
from pathlib import Path
from awsllm.server import serve
from awsllm.testing import AsyncScriptedBackend
folder, tiny, stuck = sys.argv[1:]
class Backend(AsyncScriptedBackend):
    async def ask(self, request, *attempt):
        if stuck:
            await asyncio.Event().wait()
        return await super().ask(request, *attempt)
quotas = {"batch-records-min": 1, "customization-steps": 3000 if stuck == "stuck" else 6}
options = {"models": {"*": tiny}} if tiny else {"backend": Backend("Merrow")}
serve(port=0, data=Path(folder), quotas=quotas, ready=lambda server: print(server.url, flush=True), **options)
"""
HUB_MODEL = "arn:aws:sagemaker:us-east-1:aws:hub-content/SageMakerPublicHub/Model/a-model/1.0.0"
Make = Callable[[str], Any]


@contextmanager
def serving(folder: Path, *, tiny: str = "", stuck: bool = False) -> Iterator[Make]:
    """Clients of a server of its own process, which is killed."""
    words = [sys.executable, "-c", SERVE, str(folder), tiny, "stuck" if stuck else ""]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
    try:
        yield lambda service: boto3.client(service, "us-east-1", endpoint_url=url, **keys)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()


def until(look: Callable[[], Any]) -> Any:
    """What a look shows once it shows something."""
    for _ in range(2_400):
        if found := look():
            return found
        time.sleep(0.05)
    raise AssertionError("it took more than two minutes")


def ended(look: Callable[[], Any]) -> Callable[[], Any]:
    def found() -> Any:
        shown = look()
        return shown if shown["status"] in ("Completed", "Failed", "Stopped") else None

    return found


def put(client: Make, key: str, *records: Any) -> str:
    client("s3").put_object(Bucket="data", Key=key, Body="\n".join(map(json.dumps, records)))
    return f"s3://data/{key}"


def test_batches_and_evaluations_are_taken_up(tmp_path: Path) -> None:
    with serving(tmp_path, stuck=True) as client:
        client("s3").create_bucket(Bucket="data")
        asked = {"messages": [{"role": "user", "content": [{"text": "Where?"}]}]}
        bedrock, records = client("bedrock"), [{"recordId": f"r{n}", "modelInput": asked} for n in range(3)]
        batch = bedrock.create_model_invocation_job(
            jobName="batch", roleArn=ROLE, modelId="amazon.nova-lite-v1:0", modelInvocationType="Converse",
            inputDataConfig={"s3InputDataConfig": {"s3Uri": put(client, "in.jsonl", *records)}},
            outputDataConfig={"s3OutputDataConfig": OUT},
        )["jobArn"]  # fmt: skip
        cases = put(client, "cases.jsonl", {"prompt": "Where?", "referenceResponse": "Merrow"})
        metrics = {"taskType": "Generation", "metricNames": ["Builtin.Accuracy"]}
        dataset = {"dataset": {"name": "d", "datasetLocation": {"s3Uri": cases}}}
        evaluation = bedrock.create_evaluation_job(
            jobName="evaluation", roleArn=ROLE, outputDataConfig=OUT,
            evaluationConfig={"automated": {"datasetMetricConfigs": [{**metrics, **dataset}]}},
            inferenceConfig={"models": [{"bedrockModel": {"modelIdentifier": "amazon.nova-lite-v1:0"}}]},
        )["jobArn"]  # fmt: skip
        stopped = bedrock.create_evaluation_job(
            jobName="stopped", roleArn=ROLE, outputDataConfig=OUT,
            evaluationConfig={"automated": {"datasetMetricConfigs": [{**metrics, **dataset}]}},
            inferenceConfig={"models": [{"bedrockModel": {"modelIdentifier": "amazon.nova-lite-v1:0"}}]},
        )["jobArn"]  # fmt: skip
        bedrock.stop_evaluation_job(jobIdentifier=stopped)
        assert until(lambda: bedrock.get_model_invocation_job(jobIdentifier=batch)["status"] == "InProgress")
        assert bedrock.get_evaluation_job(jobIdentifier=evaluation)["status"] == "InProgress"
    with serving(tmp_path) as client:
        bedrock = client("bedrock")
        found = until(ended(lambda: bedrock.get_model_invocation_job(jobIdentifier=batch)))
        assert (found["status"], found["successRecordCount"], found["errorRecordCount"]) == ("Completed", 3, 0)
        assert until(ended(lambda: bedrock.get_evaluation_job(jobIdentifier=evaluation)))["status"] == "Completed"
        assert bedrock.get_evaluation_job(jobIdentifier=stopped)["status"] == "Stopped"
        written = [one["Key"] for one in client("s3").list_objects_v2(Bucket="data", Prefix="out/")["Contents"]]
        assert sum(key.endswith("in.jsonl.out") for key in written) == 1
        (scores,) = [key for key in written if key.endswith("_output.jsonl")]
        line = json.loads(client("s3").get_object(Bucket="data", Key=scores)["Body"].read())
        assert line["automatedEvaluationResult"]["scores"][0]["result"] == 1


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_chat.write(tmp_path_factory.mktemp("base"))


@pytest.mark.slow
def test_training_is_taken_up_and_its_model_answers_after_another_restart(tmp_path: Path, tiny: str) -> None:
    with serving(tmp_path, tiny=tiny, stuck=True) as client:
        client("s3").create_bucket(Bucket="data")
        job = client("bedrock").create_model_customization_job(
            jobName="job", customModelName="m", baseModelIdentifier=LLAMA, roleArn=ROLE,
            trainingDataConfig={"s3Uri": put(client, "train.jsonl", *PAIRS)}, outputDataConfig=OUT,
            hyperParameters={"epochCount": "10"},
        )["jobArn"]  # fmt: skip
        looked = client("bedrock").get_model_customization_job
        assert looked(jobIdentifier=job)["status"] == "InProgress"
        start_training(client, "whole")
        start_training(client, "refused")
        assert training(client, "whole")["TrainingJobStatus"] == "InProgress"
        client("s3").delete_object(Bucket="data", Key="refused.jsonl")
    with serving(tmp_path, tiny=tiny) as client:
        bedrock = client("bedrock")
        found = until(ended(lambda: bedrock.get_model_customization_job(jobIdentifier=job)))
        assert found["status"] == "Completed", found.get("failureMessage")
        assert found["trainingMetrics"]["trainingLoss"] > 0
        deployed = bedrock.create_custom_model_deployment(modelDeploymentName="d", modelArn=found["outputModelArn"])
        said = answer(client, deployed["customModelDeploymentArn"])
        trained_there = until(ended_training(client, "whole"))
        assert trained_there["TrainingJobStatus"] == "Completed", trained_there.get("FailureReason")
        assert [one["MetricName"] for one in trained_there["FinalMetricDataList"]] == ["train_loss"]
        kept = trained_there["ModelArtifacts"]["S3ModelArtifacts"].removeprefix("s3://data/")
        assert client("s3").list_objects_v2(Bucket="data", Prefix=kept)["KeyCount"] > 2
        gone = until(ended_training(client, "refused"))
        assert (gone["TrainingJobStatus"], "No objects were found" in gone["FailureReason"]) == ("Failed", True)
    with serving(tmp_path, tiny=tiny) as client:
        assert training(client, "whole")["ModelArtifacts"] == trained_there["ModelArtifacts"]
        assert answer(client, deployed["customModelDeploymentArn"]) == said
        assert any((tmp_path / "models").rglob("*.safetensors"))


def start_training(client: Make, name: str) -> None:
    """A serverless customisation of SageMaker's."""
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": put(client, f"{name}.jsonl", *PAIRS)}}
    client("sagemaker").create_training_job(
        TrainingJobName=name,
        RoleArn=ROLE,
        OutputDataConfig={"S3OutputPath": "s3://data/trained"},
        InputDataConfig=[{"ChannelName": "train", "DataSource": source}],
        ServerlessJobConfig={"JobType": "FineTuning", "BaseModelArn": HUB_MODEL, "CustomizationTechnique": "SFT"},
    )


def training(client: Make, name: str) -> Any:
    return client("sagemaker").describe_training_job(TrainingJobName=name)


def ended_training(client: Make, name: str) -> Callable[[], Any]:
    def found() -> Any:
        shown = training(client, name)
        return shown if shown["TrainingJobStatus"] in ("Completed", "Failed", "Stopped") else None

    return found


def answer(client: Make, model: str) -> str:
    said = client("bedrock-runtime").converse(
        modelId=model,
        messages=[{"role": "user", "content": [{"text": "What is the capital of Atlantia?"}]}],
        inferenceConfig={"maxTokens": 12, "temperature": 0},
    )
    return str(said["output"]["message"]["content"])
