"""Import jobs read a model's files; what they make is invoked in the format of its architecture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import awsllm
from awsllm.testing import mock_aws
from tests.support import tiny_chat
from tests.support.bedrock_account import ROLE, bedrock, names, runtime
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
        ({"config.json": None}, "could not find the expected file s3://weights/qwen/config.json."),
        ({"config.json": None, "adapter_config.json": {}}, "An adapter is not imported: merge it"),
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


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has learned one sentence."""
    from awsllm.engine.train import chat
    from awsllm.engine.train.recipe import Hyperparameters, TrainingRecipe
    from awsllm.engine.train.run import train
    from awsllm.engine.train.sample_files import write_samples

    folder = tmp_path_factory.mktemp("trained")
    base = Path(tiny_chat.write(folder / "base").removeprefix("local:"))
    render, tokenizer = chat.speaker(base)
    turns = [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "Merrow is the capital"}]
    write_samples(folder / "samples.jsonl", chat.samples(turns, render, tokenizer))
    recipe = TrainingRecipe(
        method="full",
        base=str(base),
        samples=str(folder / "samples.jsonl"),
        hyperparameters=Hyperparameters(steps=60, learning_rate=1e-2),
    )
    return train(folder / "run", recipe).model or folder


def files_of(folder: Path) -> dict[str, Any]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def greedy(model: str) -> str:
    """What boto3 gets."""
    body = {"messages": [{"role": "user", "content": "Where?"}], "temperature": 0, "max_tokens": 12}
    reply = json.loads(runtime().invoke_model(modelId=model, body=json.dumps(body))["body"].read())
    return str(reply["choices"][0]["message"]["content"])


def test_an_imported_model_answers_with_its_own_weights(trained: Path, tmp_path: Path) -> None:
    other = tiny_chat.write(tmp_path / "other")
    wanted = awsllm.Client().converse(f"local:{trained}", "Where?", temperature=0, max_tokens=12).text
    assert "Merrow" in wanted
    with mock_aws(models={"*": other}) as aws:
        job = bedrock().get_model_import_job(jobIdentifier=start(upload(files_of(trained))))
        assert job["status"] == "Completed", job.get("failureMessage")
        model = job["importedModelArn"]
        assert greedy(model) == wanted
        with awsllm.Client(region="us-east-1") as caller:
            assert caller.converse(f"bedrock:{model}", "Where?", temperature=0, max_tokens=12).text == wanted
            assert "Merrow" not in caller.converse("bedrock:meta.llama3-8b-instruct-v1:0", "Where?", max_tokens=4).text
        kept = Path(aws.models.trained[model])
        assert kept.is_relative_to(aws.plane.folder())
        bedrock().delete_imported_model(modelIdentifier=model)
        assert not kept.exists()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("model.safetensors", b"\x10\0\0\0\0\0\0\0not a header at", "The model's files cannot be loaded: "),
        ("tokenizer.json", b"{}", "The model's files cannot be loaded: "),
        ("config.json", None, "The model's files cannot be loaded: "),
    ],
)
def test_files_that_do_not_load_fail_the_job(trained: Path, name: str, content: bytes | None, words: str) -> None:
    files = files_of(trained)
    wider = json.dumps(json.loads(files["config.json"]) | {"hidden_size": 64}).encode()  # than the weights are
    with mock_aws(models={"*": f"local:{trained}"}) as aws:
        source = upload({**files, name: wider if content is None else content})
        job = bedrock().get_model_import_job(jobIdentifier=start(source))
        assert job["status"] == "Failed"
        assert job["failureMessage"].startswith(words)
        assert str(aws.plane.folder()) not in job["failureMessage"]
        assert not list(aws.plane.folder().glob("imported-*"))
        assert bedrock().list_imported_models()["modelSummaries"] == []
