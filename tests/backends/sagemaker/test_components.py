"""An endpoint of inference components, named alone: its only component is meant. With mock_aws, whose runtime refuses a
call without a component as SageMaker does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

import awsllm
from awsllm.testing import MockAws, mock_aws
from tests.support.plans import REGION, ROLE

OPEN = "example-open-tgi-instruct"


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[MockAws]:
    monkeypatch.setenv("AWSLLM_CACHE", str(tmp_path))
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    documents = Path(__file__).parents[2] / "data" / "jumpstart"
    with mock_aws(reply="Hello.", documents=documents) as aws:
        yield aws


def deploy(**components: Any) -> awsllm.Client:
    client = awsllm.Client(region=REGION)
    client.jumpstart.deploy(OPEN, role=ROLE, name="chat", components=components or True)
    return client


def listings(aws: MockAws) -> int:
    return [operation for operation, _ in aws.plane.calls].count("ListInferenceComponents")


@pytest.mark.parametrize("formats", [{}, {"chat": "tgi/mistral"}], ids=["found", "given"])
def test_the_only_component_is_meant_and_looked_up_once(aws: MockAws, formats: dict[str, str]) -> None:
    deploy(name="talk")
    client, before = awsllm.Client(region=REGION, formats=formats), listings(aws)
    assert client.converse("sagemaker:chat", "Hi").text == "Hello."
    with client.converse_stream("sagemaker:chat", "Hi") as stream:
        assert "".join(stream.text_stream) == "Hello."
    assert listings(aws) == before + 1


def test_a_stream_may_come_first(aws: MockAws) -> None:
    with deploy(name="talk").converse_stream("sagemaker:chat", "Hi") as stream:
        assert "".join(stream.text_stream) == "Hello."


def test_so_it_is_for_who_awaits(aws: MockAws) -> None:
    deploy(name="talk")

    async def run() -> tuple[str, str]:
        async with awsllm.AsyncClient(region=REGION) as client:
            async with client.converse_stream("sagemaker:chat", "Hi") as stream:
                streamed = "".join([text async for text in stream.text_stream])
            return streamed, (await client.converse("sagemaker:chat", "Hi")).text

    assert asyncio.run(run()) == ("Hello.", "Hello.")


def test_adapters_are_no_second_component(aws: MockAws) -> None:
    client = deploy(adapters={"lora": "s3://b/l.tar.gz"})
    assert client.converse("sagemaker:chat", "Hi").text == "Hello."


def test_one_of_several_is_to_be_named(aws: MockAws) -> None:
    client = deploy(name="one")
    create_component("two", client.jumpstart.endpoints.describe("chat").containers[0].model)
    with pytest.raises(awsllm.ValidationError, match=r"so name one: chat/(one or chat/two|two or chat/one)"):
        client.converse("sagemaker:chat", "Hi")
    assert client.converse("sagemaker:chat/two", "Hi").text == "Hello."


def create_component(name: str, model: str | None) -> None:
    boto3.client("sagemaker", region_name=REGION).create_inference_component(
        InferenceComponentName=name, EndpointName="chat", VariantName="AllTraffic", RuntimeConfig={"CopyCount": 1},
        Specification={"ModelName": model, "ComputeResourceRequirements": {"MinMemoryRequiredInMb": 1024}},
    )  # fmt: skip


def test_who_may_not_look_is_told_what_to_write(aws: MockAws) -> None:
    client = deploy(name="talk")
    aws.plane.refuse("ListInferenceComponents", "AccessDeniedException", "not yours")
    with pytest.raises(awsllm.ValidationError, match=r"name one: chat/COMPONENT \(.*not yours"):
        client.converse("sagemaker:chat", "Hi")
    assert client.converse("sagemaker:chat", "Hi").text == "Hello."


def test_a_component_that_was_replaced_is_looked_up_again(aws: MockAws) -> None:
    client = deploy(name="old")
    assert client.converse("sagemaker:chat", "Hi").text == "Hello."
    model = client.jumpstart.endpoints.describe("chat").containers[0].model
    boto3.client("sagemaker", region_name=REGION).delete_inference_component(InferenceComponentName="old")
    create_component("new", model)
    with pytest.raises(awsllm.ModelNotFoundError):
        client.converse("sagemaker:chat", "Hi")
    assert client.converse("sagemaker:chat", "Hi").text == "Hello."
