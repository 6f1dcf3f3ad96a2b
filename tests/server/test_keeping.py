"""What a server keeps over a restart, a killed one's included, and a directory that cannot be used."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from awsllm.errors import ConfigurationError, ServerError
from awsllm.server.account import records
from awsllm.server.account.account import Account
from awsllm.server.keeping import Keeper
from awsllm.testing import mock_aws

ROLE = "arn:aws:iam::123456789012:role/sagemaker"
NOVA = "amazon.nova-lite-v1:0"
SERVE = """
import sys
from pathlib import Path
from awsllm.server import serve
from awsllm.testing import AsyncScriptedBackend
serve(port=0, backend=AsyncScriptedBackend("Hello."), data=Path(sys.argv[1]), transitions={"endpoint": 1},
      ready=lambda server: print(server.url, flush=True))
"""


@contextmanager
def serving(directory: Path, end: int = signal.SIGTERM) -> Iterator[Any]:
    """Clients of a server of its own process, which is ended with a signal."""
    process = subprocess.Popen([sys.executable, "-c", SERVE, str(directory)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
    try:
        yield lambda service: boto3.client(service, "us-east-1", endpoint_url=url, **keys)
    finally:
        os.kill(process.pid, end)
        process.communicate()


def test_what_was_answered_is_there_again_after_a_kill(tmp_path: Path) -> None:
    with serving(tmp_path, signal.SIGKILL) as client:
        s3, sagemaker, bedrock = client("s3"), client("sagemaker"), client("bedrock")
        s3.create_bucket(Bucket="bucket")
        s3.put_object(Bucket="bucket", Key="a/b", Body=b"\0\xff", Metadata={"my": "x"}, ContentType="image/png")
        s3.put_object(Bucket="bucket", Key="gone", Body=b"")
        s3.delete_object(Bucket="bucket", Key="gone")
        model = {"Image": "image", "ModelDataUrl": "s3://bucket/a/b"}
        sagemaker.create_model(ModelName="m", ExecutionRoleArn=ROLE, PrimaryContainer=model)
        variant = {"VariantName": "v", "ModelName": "m", "InstanceType": "ml.g5.xlarge", "InitialInstanceCount": 1}
        sagemaker.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant])
        tags = [{"Key": "team", "Value": "x"}]
        arn = sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c", Tags=tags)["EndpointArn"]
        profile = bedrock.create_inference_profile(
            inferenceProfileName="p", modelSource={"copyFrom": f"arn:aws:bedrock:us-east-1::foundation-model/{NOVA}"}
        )["inferenceProfileArn"]
    with serving(tmp_path) as client:
        s3, sagemaker, bedrock = client("s3"), client("sagemaker"), client("bedrock")
        found = s3.get_object(Bucket="bucket", Key="a/b")
        assert (found["Body"].read(), found["ContentType"], found["Metadata"]) == (b"\0\xff", "image/png", {"my": "x"})
        assert [one["Key"] for one in s3.list_objects_v2(Bucket="bucket")["Contents"]] == ["a/b"]
        assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "team", "Value": "x"}]
        assert sagemaker.describe_endpoint(EndpointName="e")["EndpointStatus"] == "Creating"  # its first look
        assert sagemaker.describe_endpoint(EndpointName="e")["EndpointStatus"] == "InService"
        assert bedrock.get_inference_profile(inferenceProfileIdentifier=profile)["inferenceProfileName"] == "p"
        messages: list[Any] = [{"role": "user", "content": [{"text": "Hi"}]}]
        assert client("bedrock-runtime").converse(modelId=profile, messages=messages)["stopReason"] == "end_turn"
        sagemaker.delete_endpoint(EndpointName="e")
        with pytest.raises(
            ConfigurationError, match="cannot keep the server's data: another server keeps its account there"
        ):
            Keeper(tmp_path, Account())
    with serving(tmp_path) as client:
        with pytest.raises(ClientError, match="Could not find"):
            client("sagemaker").describe_endpoint(EndpointName="e")
        with pytest.raises(ClientError, match="not found"):
            client("sagemaker-runtime").invoke_endpoint(EndpointName="e", Body=b"{}")


def test_every_record_is_kept(tmp_path: Path) -> None:
    """Whatever operations keep in a state is data that comes back equal."""
    keeping, restored = Account(), Account()
    with mock_aws(reply="Hi.", transitions={"endpoint": 2, "training": 3}, quotas={"batch-records-min": 1}) as aws:
        _make_one_of_each()
        keeping.states = aws.plane.states
        Keeper(tmp_path, keeping).close()
        Keeper(tmp_path, restored).close()
    assert _encoded(restored) == _encoded(keeping)
    assert len(_encoded(keeping)) >= 12
    assert restored.states["us-east-1"].tags == keeping.states["us-east-1"].tags


def _encoded(account: Account) -> dict[tuple[str, str], dict[str, bytes]]:
    return {
        (region, kind): {name: records.encode(record) for name, record in table.items()}
        for region, state in account.states.items()
        for kind, table in state.tables.items()
        if table
    }


def _make_one_of_each() -> None:
    sagemaker, bedrock, s3 = (boto3.client(name, "us-east-1") for name in ("sagemaker", "bedrock", "s3"))
    s3.create_bucket(Bucket="bucket")
    record = {"recordId": "1", "modelInput": {"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}}
    s3.put_object(Bucket="bucket", Key="in.jsonl", Body=json.dumps(record))
    sagemaker.create_model(ModelName="m", ExecutionRoleArn=ROLE, PrimaryContainer={"Image": "image"})
    variant = {"VariantName": "v", "ModelName": "m", "InstanceType": "ml.g5.xlarge", "InitialInstanceCount": 1}
    sagemaker.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant])
    for name in ("e", "f"):
        sagemaker.create_endpoint(EndpointName=name, EndpointConfigName="c")
    sagemaker.describe_endpoint(EndpointName="f")
    sagemaker.create_training_job(
        TrainingJobName="t",
        RoleArn=ROLE,
        AlgorithmSpecification={"TrainingImage": "image", "TrainingInputMode": "File"},
        OutputDataConfig={"S3OutputPath": "s3://bucket/out"},
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        StoppingCondition={"MaxRuntimeInSeconds": 60},
    )
    source = f"arn:aws:bedrock:us-east-1::foundation-model/{NOVA}"
    bedrock.create_inference_profile(inferenceProfileName="p", modelSource={"copyFrom": source})
    bedrock.create_model_invocation_job(
        jobName="b",
        roleArn=ROLE,
        modelId=NOVA,
        modelInvocationType="Converse",
        inputDataConfig={"s3InputDataConfig": {"s3Uri": "s3://bucket/in.jsonl"}},
        outputDataConfig={"s3OutputDataConfig": {"s3Uri": "s3://bucket/out/"}},
    )
    bedrock.create_guardrail(
        name="g",
        blockedInputMessaging="no",
        blockedOutputsMessaging="no",
        wordPolicyConfig={"wordsConfig": [{"text": "acme"}]},
        clientRequestToken="t",
    )
    sagemaker.create_training_session(
        TrainingSessionName="s",
        RoleArn=ROLE,
        LoraConfig={"Rank": 1, "Alpha": 1},
        ModelConfig={"BaseModelArn": "arn:aws:sagemaker:us-east-1:aws:hub-content/SageMakerPublicHub/Model/m"},
        OutputConfig={"S3Location": {"Path": "s3://bucket/out"}},
    )
    _make_what_agents_have()
    boto3.client("bedrock-runtime", "us-east-1").start_async_invoke(
        modelId="luma.ray-v2:0",
        modelInput={"prompt": "a"},
        outputDataConfig={"s3OutputDataConfig": {"s3Uri": "s3://bucket"}},
    )


def _make_what_agents_have() -> None:
    agent = boto3.client("bedrock-agent", "us-east-1")
    agent.create_prompt(name="p")
    base = agent.create_knowledge_base(
        name="k",
        roleArn=ROLE,
        knowledgeBaseConfiguration={
            "type": "VECTOR",
            "vectorKnowledgeBaseConfiguration": {
                "embeddingModelArn": "arn:aws:bedrock:us-east-1::foundation-model/amazon.titan-embed-text-v2:0"
            },
        },
        storageConfiguration={
            "type": "S3_VECTORS",
            "s3VectorsConfiguration": {"indexArn": "arn:aws:s3vectors:us-east-1:123456789012:bucket/b/index/i"},
        },
    )["knowledgeBase"]["knowledgeBaseId"]
    agent.create_data_source(
        knowledgeBaseId=base,
        name="d",
        dataSourceConfiguration={"type": "S3", "s3Configuration": {"bucketArn": "arn:aws:s3:::bucket"}},
    )


def test_a_record_that_is_no_data_is_a_mistake() -> None:
    class Other:
        pass

    with pytest.raises(TypeError, match="wants @kept"):
        records.encode(Other())


@pytest.mark.parametrize("spoiled", ["text", "row", "version", "file"])
def test_a_directory_that_cannot_be_used_is_named(spoiled: str, tmp_path: Path) -> None:
    place = tmp_path / "awsllm.sqlite3"
    match spoiled:
        case "text":
            place.write_text("not a database, and longer than the header of one would be " * 20)
        case "version":
            with sqlite3.connect(place) as file:
                file.execute("PRAGMA user_version = 99")
        case "row":
            Keeper(tmp_path, Account()).close()
            with sqlite3.connect(place) as file:
                file.execute("INSERT INTO record VALUES ('r', 'k', 'n', 'Pickle', '{}')")
        case _:
            place = tmp_path / "file"
            place.write_text("")
            tmp_path = place
    with pytest.raises(ConfigurationError, match=r"cannot keep the server's data|cannot be read"):
        Keeper(tmp_path, Account())


def test_what_could_not_be_written_is_written_later(tmp_path: Path) -> None:
    with mock_aws() as aws:
        keeper = Keeper(tmp_path, aws.plane)
        s3 = boto3.client("s3", "us-east-1")
        s3.create_bucket(Bucket="kept")
        keeper.save()
        pages = keeper._file.execute("PRAGMA page_count").fetchone()[0]
        keeper._file.execute(f"PRAGMA max_page_count = {pages + 2}")  # a disk that is full
        s3.put_object(Bucket="kept", Key="small", Body=b"1")
        s3.put_object(Bucket="kept", Key="large", Body=b"2" * 100_000)
        boto3.client("sagemaker", "us-east-1").create_model(ModelName="model", ExecutionRoleArn=ROLE)
        for _ in range(2):
            with pytest.raises(ServerError, match="cannot keep it: database or disk is full"):
                keeper.save()
        keeper._file.execute("PRAGMA max_page_count = 100000")
        keeper.close()
    with mock_aws() as aws:
        Keeper(tmp_path, aws.plane).close()
        objects = boto3.client("s3", "us-east-1").list_objects_v2(Bucket="kept")["Contents"]
        assert {one["Key"]: one["Size"] for one in objects} == {"small": 1, "large": 100_000}
        assert boto3.client("sagemaker", "us-east-1").describe_model(ModelName="model")["ModelName"] == "model"


def test_saving_reads_only_what_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from moto.s3.models import FakeKey

    read: list[str] = []

    def noted(self: Any) -> Any:
        read.append(self.name)
        return value(self)

    value = FakeKey.value.fget  # type: ignore[attr-defined]
    with mock_aws() as aws:
        keeper = Keeper(tmp_path, aws.plane)
        s3 = boto3.client("s3", "us-east-1")
        s3.create_bucket(Bucket="kept")
        for key in ("one", "two"):
            s3.put_object(Bucket="kept", Key=key, Body=b"x", Metadata={"a": "b"})
        keeper.save()
        s3.put_object_tagging(Bucket="kept", Key="two", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
        monkeypatch.setattr(FakeKey, "value", property(noted))
        keeper.save()
        monkeypatch.undo()
        keeper.close()
    assert read == ["two"]
