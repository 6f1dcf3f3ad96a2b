"""Containers that are none of JumpStart's: planned, deployed, called, compared and torn down as its models are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator

import awsllm
from awsllm.testing import MockAws, mock_aws
from tests.support.sagemaker_account import ROLE, client

DLC = "763104351884.dkr.ecr.us-east-1.amazonaws.com"
VLLM = f"{DLC}/vllm:server-sagemaker-cuda"


@pytest.fixture
def aws() -> Iterator[MockAws]:
    with mock_aws(reply="Hello.") as aws:
        yield aws


def plan(model: Any = None, **options: Any) -> Any:
    options = {"role": ROLE, "instance_type": "ml.g5.2xlarge", **options}
    return awsllm.Client(region="us-east-1").jumpstart.plan(model, **options)


def container(made: Any) -> dict[str, Any]:
    return next(step.request["PrimaryContainer"] for step in made.steps if step.operation == "CreateModel")


def variables(made: Any) -> dict[str, str]:
    environment: dict[str, str] = container(made)["Environment"]
    return {name: value for name, value in environment.items() if not name.startswith("SAGEMAKER_")}


HUB, FILES = "org/model-7B", "s3://ours/model/"


@pytest.mark.parametrize(
    ("image", "model", "environment", "spoken"),
    [
        ("vllm:server-sagemaker-cuda", HUB, {"SM_VLLM_MODEL": HUB}, "openai"),
        ("huggingface-vllm-omni:0.20.0-gpu", HUB, {"SM_VLLM_MODEL": HUB}, "openai"),
        ("sglang:server-amzn2023-sagemaker-cuda", HUB, {"SM_SGLANG_MODEL_PATH": HUB}, "openai"),
        ("huggingface-llama.cpp:b9522-cpu-ubuntu24.04", HUB, {"LLAMA_ARG_HF_REPO": HUB}, "openai"),
        ("huggingface-pytorch-tgi-inference:2.6.0-tgi3.2.3-gpu", HUB, {"HF_MODEL_ID": HUB}, "openai"),
        ("tei:2.0.1-tei1.9.3-gpu", HUB, {"HF_MODEL_ID": HUB}, "tei"),
        ("djl-inference:0.34.0-lmi16.0.0-cu128", HUB, {"HF_MODEL_ID": HUB}, "openai"),
        ("huggingface-pytorch-inference:2.6.0-cpu", HUB, {"HF_MODEL_ID": HUB}, "huggingface"),
        ("vllm:server-sagemaker-cuda", FILES, {"SM_VLLM_MODEL": "/opt/ml/model"}, "openai"),
        ("djl-inference:0.34.0-lmi16.0.0-cu128", FILES, {"HF_MODEL_ID": "/opt/ml/model"}, "openai"),
        ("huggingface-pytorch-inference:2.6.0-cpu", FILES, {}, None),
    ],
)
def test_a_container_is_told_its_model_in_its_own_way(
    aws: MockAws, image: str, model: str, environment: dict[str, str], spoken: str | None
) -> None:
    made = plan(model, image=f"{DLC}/{image}")
    assert variables(made) == environment
    assert container(made)["Image"] == f"{DLC}/{image}"
    assert (made.format and made.format.format) == spoken
    service = botocore.session.get_session().get_service_model("sagemaker")
    for step in made.steps:
        shape = service.operation_model(step.operation).input_shape
        assert not ParamValidator().validate(step.request, shape).has_errors(), step


def test_weights_in_s3_are_an_archive_or_everything_below_a_prefix(aws: MockAws) -> None:
    source = container(plan("s3://ours/model", image=VLLM))["ModelDataSource"]["S3DataSource"]
    assert source == {"S3Uri": "s3://ours/model/", "S3DataType": "S3Prefix", "CompressionType": "None"}
    assert container(plan("s3://ours/model.tar.gz", image=VLLM))["ModelDataUrl"] == "s3://ours/model.tar.gz"


def test_the_caller_s_environment_goes_first(aws: MockAws) -> None:
    own = {"SM_VLLM_MODEL": "other/model", "HF_TOKEN": "hf_secret"}
    made = plan(HUB, image=VLLM, env=own)
    assert variables(made) == own
    assert "hf_secret" not in repr(made)
    assert variables(plan(image=VLLM, env=own)) == own
    assert variables(plan(HUB, image=f"{DLC}/somebody:1", env={"MODEL": HUB})) == {"MODEL": HUB}
    gguf = {"SM_LLAMACPP_MODEL": "/opt/ml/model/m.gguf"}
    assert variables(plan(FILES, image=f"{DLC}/huggingface-llamacpp:b9522", env=gguf)) == gguf


def test_it_reads_as_a_plan_of_jumpstart_does(aws: MockAws) -> None:
    text = str(plan(HUB, image=VLLM))
    assert text.startswith(f"{HUB} server-sagemaker-cuda as sagemaker:org-model-7b-")
    assert f"image      {VLLM}" in text
    assert "format     openai (an image of vLLM)" in text
    made = plan(HUB, image=VLLM)
    assert made == plan(HUB, image=VLLM)
    assert made.endpoint != plan(HUB, image=f"{DLC}/sglang:1").endpoint
    tags = {tag["Key"]: tag["Value"] for tag in made.steps[0].request["Tags"]}
    assert tags["awsllm:model-id"] == HUB
    assert not any("jumpstart" in key for key in tags)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: plan(HUB), "no model of JumpStart's: say which container serves it with image="),
        (lambda: plan(FILES), "with image="),
        (lambda: plan(), "nothing to deploy"),
        (lambda: plan(HUB, image="vllm"), "whole URI"),
        (lambda: plan("model", image=VLLM), "is no model for an image"),
        (lambda: plan(HUB, image=f"{DLC}/somebody:1"), "nothing is known of how somebody is told its model"),
        (lambda: plan(FILES, image=f"{DLC}/huggingface-llamacpp:b9522"), "NAME.gguf"),
        (lambda: plan(HUB, image=VLLM, instance_type=None), "names no default instance type: give instance_type"),
        (lambda: plan(HUB, image=VLLM, enable_network_isolation=True), "which network isolation forbids"),
    ],
)
def test_what_cannot_be_planned_is_named(aws: MockAws, call: Any, words: str) -> None:
    with pytest.raises(awsllm.ValidationError, match=words):
        call()


def test_from_plan_to_nothing_left(aws: MockAws) -> None:
    jumpstart = awsllm.Client(region="us-east-1").jumpstart
    made = plan(HUB, image=VLLM)
    model = jumpstart.apply(made)
    assert model.converse("Hi").text == "Hello."
    assert [change.action for change in made.diff(made.steps)] == ["keep"] * len(made.steps)
    changed = plan(HUB, image=VLLM, name=made.endpoint, env={"SM_VLLM_DTYPE": "auto"})
    assert any(change.path.endswith("SM_VLLM_DTYPE") for change in changed.diff(made.steps))
    assert jumpstart.endpoints.list()[0].model_id == HUB
    jumpstart.endpoints.delete(made.endpoint)
    assert client("sagemaker").list_endpoints()["Endpoints"] == []
    assert client("sagemaker").list_models()["Models"] == []


def test_a_container_for_the_length_of_a_block(aws: MockAws) -> None:
    jumpstart = awsllm.Client(region="us-east-1").jumpstart
    with jumpstart.deployed(image=VLLM, env={"SM_VLLM_MODEL": HUB}, role=ROLE, instance_type="ml.g5.2xlarge") as model:
        assert model.converse("Hi").text == "Hello."
    assert client("sagemaker").list_endpoints()["Endpoints"] == []


def test_a_classic_model_of_jumpstart_is_planned_with_what_it_speaks() -> None:
    document = {
        "HubContentName": "made-up",
        "HubContentDocument": {
            "Task": "Object Detection",
            "DefaultInferenceInstanceType": "ml.m5.large",
            "HostingEcrUri": f"{DLC}/pytorch-inference:1.5",
            "HostingArtifactUri": "s3://jumpstart-cache-prod-us-east-1/m/a/",
        },
    }
    with mock_aws(reply="x", documents=[document]):
        made = plan("made-up")
    assert made.format.format == "jumpstart"
    assert made.format.settings.task == "object_detection"
