"""``predict`` over endpoints: what was deployed tells the task; offline it is answered by a script or refused."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

import awsllm
from awsllm.server import running
from awsllm.testing import AsyncScriptedBackend, mock_aws
from awsllm.types.predict import (
    Classification,
    Embedding,
    FoundObject,
    FoundObjects,
    LabelScore,
    PredictedText,
    PredictRequest,
    PredictResponse,
    Tensor,
    Tensors,
)
from tests.support.sagemaker_account import ROLE, client, host

REGISTRY = "763104351884.dkr.ecr.us-east-1.amazonaws.com"
CACHE = "s3://jumpstart-cache-prod-us-east-1"
PNG = b"\x89PNG\r\n\x1a\n"
DOG = Classification(label="dog", scores=(LabelScore("dog", 0.75), LabelScore("cat", 0.25)))


def described(model_id: str, image: str = "pytorch-inference:1.10", **document: Any) -> dict[str, Any]:
    content = {
        "Url": "https://example.com",
        "TrainingSupported": False,
        "IncrementalTrainingSupported": False,
        "DefaultInferenceInstanceType": "ml.m5.large",
        "HostingEcrUri": f"{REGISTRY}/{image}",
        "HostingArtifactUri": f"{CACHE}/{model_id}/a/",
        **document,
    }
    return {"HubContentName": model_id, "HubContentVersion": "1.0.0", "HubContentDocument": content}


def deploy(model_id: str, **options: Any) -> Any:
    return awsllm.Client(region="us-east-1").jumpstart.deploy(model_id, role=ROLE, **options)


@pytest.mark.parametrize(
    ("model_id", "document"),
    [
        ("made-up", {"Task": "Image Classification"}),
        ("pytorch-ic-mobilenet-v2", {}),
    ],
)
def test_the_task_is_found_from_what_was_deployed(model_id: str, document: dict[str, Any]) -> None:
    if model_id != "made-up":  # the offline hub goes by the document alone
        document = {"Task": "ic"}
    with mock_aws(reply=DOG, documents=[described(model_id, **document)]) as aws:
        model = deploy(model_id)
        reply = awsllm.Client(region="us-east-1").predict(model.reference, PNG)
        assert (reply.result, reply.task) == (DOG, "image_classification")
        assert reply.model == model.reference
        assert model.predict(PNG).result == DOG
        assert reply.raw["predicted_label"] == "dog"
        assert aws.requests[-1] == PredictRequest(
            model=model.endpoint, task="image_classification", media=PNG, media_type="image"
        )


def test_what_boto3_is_answered() -> None:
    """As the notebook on object detection calls and reads it."""
    found = FoundObjects((FoundObject(label="table", score=0.5, box=(0.0, 0.25, 0.5, 1.0)),))
    with mock_aws(reply=found, documents=[described("made-up", Task="Object Detection")]) as aws:
        endpoint = deploy("made-up").endpoint
        reply = client("sagemaker-runtime").invoke_endpoint(
            EndpointName=endpoint,
            ContentType="application/x-image",
            Accept="application/json;verbose;n_predictions=20",
            Body=PNG,
        )
        predictions = json.loads(reply["Body"].read())
        names = [predictions["labels"][int(index)] for index in predictions["classes"]]
        assert (predictions["normalized_boxes"], names, predictions["scores"]) == (
            [[0.0, 0.25, 0.5, 1.0]],
            ["table"],
            [0.5],
        )
        assert aws.requests[-1].count == 20  # type: ignore[attr-defined]


def test_the_caller_names_the_task_where_nothing_tells_it() -> None:
    with (
        mock_aws(reply="Short.", endpoints="ep", formats={"ep": "jumpstart/summarization"}),
        awsllm.Client(region="us-east-1") as caller,
    ):
        reply = caller.predict("ep", "A long text.", task="summarization")
        assert reply.result == PredictedText(("Short.",))
        with pytest.raises(awsllm.ValidationError, match="give task=, one of text_classification"):
            caller.predict("ep", "A long text.")
    known = awsllm.Client(region="us-east-1", formats={"ep": "jumpstart/summarization"})
    with mock_aws(reply="Short.", endpoints="ep", formats={"ep": "jumpstart/summarization"}):
        assert known.predict("ep", "A long text.").task == "summarization"


def test_who_may_only_invoke_names_the_task() -> None:
    """The control plane refuses; nothing is tried out on the container."""
    refused = {"code": "AccessDeniedException", "message": "no"}
    with mock_aws(reply="Kurz.", documents=[described("made-up", Task="Translation")]) as aws:
        model = deploy("made-up")
        for operation in ("DescribeEndpoint", "ListTags", "DescribeEndpointConfig", "DescribeModel"):
            aws.plane.refuse(operation, **refused, times=9)
        before = len(aws.requests)
        with awsllm.Client(region="us-east-1") as caller:
            assert caller.predict(model.reference, "Short.", task="translation").result == PredictedText(("Kurz.",))
        assert len(aws.requests) == before + 1


def test_a_model_of_the_sdk_s_is_not_tried_out_with_prompts() -> None:
    """Tags and document tell that it is no chat; no probe reaches the container, which would use up its reply."""
    tags = {"sagemaker-sdk:jumpstart-model-id": "made-up", "sagemaker-sdk:jumpstart-model-version": "1.0.0"}
    with (
        mock_aws(reply=DOG, documents=[described("made-up", Task="Image Classification")]) as aws,
        awsllm.Client(region="us-east-1") as caller,
    ):
        container = {"Image": f"{REGISTRY}/pytorch-inference:1.10", "ModelDataUrl": f"{CACHE}/made-up/a.tar.gz"}
        host("e", container=container)
        arn = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/e"
        client("sagemaker").add_tags(ResourceArn=arn, Tags=[{"Key": key, "Value": tags[key]} for key in tags])
        with pytest.raises(
            awsllm.UnsupportedError, match="the model of e is one for image_classification: ask it with"
        ):
            caller.converse("sagemaker:e", "Hi")
        assert aws.requests == []


def test_a_pipeline_by_its_environment() -> None:
    image = f"{REGISTRY}/huggingface-pytorch-inference:2.6.0-transformers4.51.3-cpu-py312-ubuntu22.04"
    environment = {"HF_MODEL_ID": "org/model", "HF_TASK": "text-classification"}
    with mock_aws(reply=DOG) as aws, awsllm.Client(region="us-east-1") as caller:
        host("e", container={"Image": image, "Environment": environment})
        reply = caller.predict("e", "Wuff", count=2)
        assert (reply.result, reply.task) == (DOG, "text_classification")
        assert aws.requests[-1] == PredictRequest(model="e", task="text_classification", texts=("Wuff",), count=2)


def test_triton_by_its_image() -> None:
    out = Tensors((Tensor(name="OUTPUT0", shape=(1,), datatype="FP32", data=b"\0\0\x80\x3f"),))
    environment = {"SAGEMAKER_TRITON_DEFAULT_MODEL_NAME": "m"}
    container = {"Image": f"{REGISTRY}/sagemaker-tritonserver:24.09-py3", "Environment": environment}
    with mock_aws(reply=out) as aws, awsllm.Client(region="us-east-1") as caller:
        host("e", container=container)
        reply = caller.predict("e", {"INPUT0": [1.5]}, task="tensors")
        assert reply.result == out
        sent = Tensor(name="INPUT0", shape=(1,), datatype="FP32", data=(1.5,))
        assert aws.requests[-1] == PredictRequest(model="e", task="tensors", tensors=(sent,))
        with pytest.raises(awsllm.UnsupportedError, match="converse is not possible with what speaks Triton"):
            caller.converse("sagemaker:e", "Hi")


def test_a_container_for_chat_says_that_it_predicts_nothing() -> None:
    with mock_aws(reply="x") as aws, awsllm.Client(region="us-east-1") as caller:
        with pytest.raises(awsllm.UnsupportedError, match="predict is not possible with"):
            caller.predict("sagemaker:e", "Hi", endpoint={"format": "openai"})
        assert aws.requests == []


@pytest.mark.parametrize(
    ("image", "title"), [("vllm:0.9.2", "OpenAI"), ("tei:2.0.1-tei1.9.3-gpu", "Text Embeddings Inference")]
)
def test_a_container_for_text_is_not_sent_what_it_cannot_read(image: str, title: str) -> None:
    document = described("made-up", image, Task="text embedding")
    with mock_aws(reply="x", documents=[document]) as aws, awsllm.Client(region="us-east-1") as caller:
        with pytest.raises(awsllm.UnsupportedError, match=f"predict is not possible with what speaks .*{title}"):
            caller.predict(deploy("made-up").reference, "Hi")
        assert aws.requests == []


def test_what_no_local_model_does_is_refused_by_name() -> None:
    """A typed refusal inside the container's own error, as boto3 sees it."""
    refusal = awsllm.UnsupportedError("no local model can do this (object_detection)")
    with (
        mock_aws(reply=refusal, endpoints="ep", formats={"ep": "jumpstart/od"}),
        awsllm.Client(region="us-east-1") as caller,
        pytest.raises(awsllm.RequestError, match="no local model can do this"),
    ):
        caller.predict("ep", PNG, task="od")


def test_the_awaited_twin_over_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    with running(AsyncScriptedBackend(DOG)) as url:

        async def asked() -> PredictResponse:
            async with awsllm.AsyncClient(region="us-east-1", endpoint_url=url) as caller:
                return await caller.predict("huggingface-tc-made-up", "Wuff", task="tc")

        assert asyncio.run(asked()).result == DOG


def test_an_embedding_model_of_jumpstart_takes_both_bodies() -> None:
    document = described("mxnet-tcembedding-made-up", Task="text embedding")
    with mock_aws(reply=Embedding([[0.5, 0.5]]), documents=[document]), awsllm.Client(region="us-east-1") as caller:
        model = deploy("mxnet-tcembedding-made-up")
        assert caller.predict(model.reference, "Hi").result == Embedding([[0.5, 0.5]])
        assert len(caller.embed(model.reference, "Hi").vectors[0]) == 384
