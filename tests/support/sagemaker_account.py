"""boto3's view of the offline account inside ``mock_aws``: its resources in few words, and what it refuses."""

from __future__ import annotations

import functools
import json
from typing import Any

import boto3
import moto.core.models  # noqa: F401  # clients that were made before it was loaded are mocked by nothing
import pytest
from botocore.exceptions import ClientError

from tests.support.data import DATA

DOCUMENTS = DATA / "jumpstart"
GATED = "example-gated-lmi-chat"
ROLE = "arn:aws:iam::123456789012:role/sagemaker"
ARN = "arn:aws:sagemaker:us-east-1:123456789012"
PUBLIC: Any = {"HubName": "SageMakerPublicHub", "HubContentType": "Model"}
VLLM = {"Image": "763104351884.dkr.ecr.us-east-1.amazonaws.com/vllm:0.9.2"}
CHAT = json.dumps({"messages": [{"role": "user", "content": "Hello"}]})
STREAM = json.dumps({"messages": [{"role": "user", "content": "Hello"}], "stream": True})


@functools.cache
def client(service: str, region: str = "us-east-1") -> Any:
    """A client takes longer to make than a test to run."""
    return boto3.Session(aws_access_key_id="a", aws_secret_access_key="b").client(service, region)


def refusal(call: Any, **arguments: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def document(name: str, region: str = "us-east-1") -> dict[str, Any]:
    described = client("sagemaker", region).describe_hub_content(**PUBLIC, HubContentName=name)
    content: dict[str, Any] = json.loads(described["HubContentDocument"])
    return content


def variant(**members: Any) -> dict[str, Any]:
    return {"VariantName": "AllTraffic", "InstanceType": "ml.g5.2xlarge", "InitialInstanceCount": 1, **members}


def host(name: str, *, container: Any = VLLM, config: str | None = None, **members: Any) -> Any:
    """A model and an endpoint configuration of this name, and with no other ``config`` the endpoint."""
    sagemaker = client("sagemaker")
    sagemaker.create_model(ModelName=config or name, ExecutionRoleArn=ROLE, PrimaryContainer=container)
    sagemaker.create_endpoint_config(
        EndpointConfigName=config or name, ProductionVariants=[variant(ModelName=config or name, **members)]
    )
    if config is None:
        sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    return sagemaker


def status(name: str) -> str:
    return str(client("sagemaker").describe_endpoint(EndpointName=name)["EndpointStatus"])


def say(name: str, **arguments: Any) -> str:
    """What an endpoint with OpenAI's format answers."""
    reply = client("sagemaker-runtime").invoke_endpoint(EndpointName=name, **{"Body": CHAT, **arguments})
    return str(json.loads(reply["Body"].read())["choices"][0]["message"]["content"])


def parts(**arguments: Any) -> list[bytes]:
    reply = client("sagemaker-runtime").invoke_endpoint_with_response_stream(**arguments)
    return [event["PayloadPart"]["Bytes"] for event in reply["Body"]]


def gated_model(content: dict[str, Any], **access: Any) -> Any:
    source = {"S3Uri": content["HostingArtifactUri"], "S3DataType": "S3Prefix", "CompressionType": "None", **access}
    environment = {one["Name"]: str(one["Default"]) for one in content["InferenceEnvironmentVariables"]}
    container = {
        "Image": content["HostingEcrUri"],
        "Environment": environment,
        "ModelDataSource": {"S3DataSource": source},
    }
    return client("sagemaker").create_model(ModelName="m", ExecutionRoleArn=ROLE, PrimaryContainer=container)


def component(name: str = "ic", **specification: Any) -> None:
    needs = {"MinMemoryRequiredInMb": 1024, "NumberOfAcceleratorDevicesRequired": 1}
    wanted = {"ModelName": "m", "ComputeResourceRequirements": needs, **specification}
    client("sagemaker").create_inference_component(
        InferenceComponentName=name,
        EndpointName="e",
        VariantName="AllTraffic",
        Specification=wanted,
        RuntimeConfig={"CopyCount": 1},
    )


def empty_endpoint() -> Any:
    """An endpoint for components."""
    sagemaker = client("sagemaker")
    sagemaker.create_endpoint_config(EndpointConfigName="c", ExecutionRoleArn=ROLE, ProductionVariants=[variant()])
    sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")
    return sagemaker
