"""Import jobs read a model's files; what they make is invoked in the format of its architecture."""

from __future__ import annotations

import json
from typing import Any

import pytest

import awsllm
from awsllm.testing import mock_aws
from tests.support.bedrock_account import ROLE, bedrock, names
from tests.support.sagemaker_account import client, refusal

FILES = {
    "config.json": {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]},
    "model.safetensors": {},
    "tokenizer.json": {},
    "tokenizer_config.json": {"chat_template": "{{ messages }}"},
}


def upload(files: dict[str, Any]) -> str:
    client("s3").create_bucket(Bucket="weights")
    for name, content in files.items():
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        client("s3").put_object(Bucket="weights", Key=f"qwen/{name}", Body=body)
    return "s3://weights/qwen/"


def start(source: str, name: str = "mine", **more: Any) -> str:
    job = bedrock().create_model_import_job(
        jobName=f"job-of-{name}",
        importedModelName=name,
        roleArn=ROLE,
        modelDataSource={"s3DataSource": {"s3Uri": source}},
        **more,
    )
    return str(job["jobArn"])


def test_an_import() -> None:
    with mock_aws(reply="Hello.", transitions={"model-import": 1}):
        tags: dict[str, Any] = {
            "importedModelTags": [{"key": "a", "value": "b"}],
            "jobTags": [{"key": "c", "value": "d"}],
        }
        arn = start(upload(FILES), **tags)
        seen = [bedrock().get_model_import_job(jobIdentifier=name) for name in ("job-of-mine", arn)]
        assert [one["status"] for one in seen] == ["InProgress", "Completed"]
        model = seen[1]["importedModelArn"]
        found = bedrock().get_imported_model(modelIdentifier="mine")
        assert found["modelArn"] == model
        assert (found["modelArchitecture"], found["instructSupported"]) == ("qwen2", True)
        assert found["jobArn"] == arn
        assert bedrock().list_tags_for_resource(resourceARN=model)["tags"] == [{"key": "a", "value": "b"}]
        assert bedrock().list_tags_for_resource(resourceARN=arn)["tags"] == [{"key": "c", "value": "d"}]
        jobs = bedrock().list_model_import_jobs(statusEquals="Completed")["modelImportJobSummaries"]
        assert names(jobs, "importedModelArn") == [model]
        assert refusal(start, source="s3://weights/qwen/")[0] == "ConflictException"
        body = json.dumps({"messages": [{"role": "user", "content": "Hello"}]})
        reply = client("bedrock-runtime").invoke_model(modelId=model, body=body)
        assert json.loads(reply["body"].read())["choices"][0]["message"]["content"] == "Hello."
        with awsllm.Client(region="us-east-1") as caller:
            assert [one.id for one in caller.models(kind="imported")] == [model.rpartition("/")[2]]
            assert caller.converse(f"bedrock:{model}", "Hello").text == "Hello."
        assert names(bedrock().list_imported_models(nameContains="min")["modelSummaries"], "modelArn") == [model]
        bedrock().delete_imported_model(modelIdentifier=model)
        assert refusal(bedrock().get_imported_model, modelIdentifier=model)[0] == "ResourceNotFoundException"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"config.json": None}, "config.json was not found"),
        ({"config.json": b"{"}, "config.json is not a JSON object"),
        ({"config.json": {"architectures": []}}, "model_type"),
        ({"model.safetensors": None, "pytorch_model.bin": {}}, "safetensors"),
        ({"tokenizer.json": None}, "tokenizer"),
        (dict.fromkeys(FILES), "No objects were found"),
    ],
)
def test_files_that_are_no_model(changed: dict[str, Any], words: str) -> None:
    with mock_aws(reply="x"):
        files = {name: content for name, content in {**FILES, **changed}.items() if content is not None}
        job = bedrock().get_model_import_job(jobIdentifier=start(upload(files)))
        assert job["status"] == "Failed"
        assert words in job["failureMessage"]
        assert bedrock().list_imported_models()["modelSummaries"] == []


def test_a_model_without_a_template() -> None:
    with mock_aws(reply="x"):
        start(upload({**FILES, "tokenizer_config.json": {}}))
        assert bedrock().get_imported_model(modelIdentifier="mine")["instructSupported"] is False
