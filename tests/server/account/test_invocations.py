"""Asynchronous invocations against S3; ``tests/jobs/test_asynchronous`` has what awsllm's client makes of them."""

from __future__ import annotations

import json
from typing import Any

import jmespath
import pytest

from awsllm.errors import ServerError
from awsllm.testing import mock_aws
from tests.support.sagemaker_account import CHAT, ROLE, VLLM, client, refusal, variant

LMI = {"Image": "763104351884.dkr.ecr.us-east-1.amazonaws.com/djl-inference:0.34.0-lmi16.0.0-cu128"}


def host_asynchronously(container: Any, output: dict[str, str]) -> Any:
    """The operation, on an endpoint whose responses go to ``output``."""
    sagemaker = client("sagemaker")
    sagemaker.create_model(ModelName="m", ExecutionRoleArn=ROLE, PrimaryContainer=container)
    sagemaker.create_endpoint_config(
        EndpointConfigName="c",
        ProductionVariants=[variant(ModelName="m")],
        AsyncInferenceConfig={"OutputConfig": output},
    )
    sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")
    return client("sagemaker-runtime").invoke_endpoint_async


def put(body: str) -> str:
    client("s3").create_bucket(Bucket="inputs")
    client("s3").put_object(Bucket="inputs", Key="q", Body=body.encode())
    return "s3://inputs/q"


@pytest.mark.parametrize("reply", ["Hello.", ServerError("no")], ids=["response", "failure"])
def test_a_bucket_that_does_not_exist(reply: Any) -> None:
    with mock_aws(reply=reply):
        invoke = host_asynchronously(VLLM, {"S3OutputPath": "s3://nowhere/out", "S3FailurePath": "s3://nowhere/failed"})
        code, message = refusal(invoke, EndpointName="e", InputLocation=put(CHAT))
    assert code == "ValidationError"
    assert "s3://nowhere/" in message


@pytest.mark.parametrize(
    ("body", "path"), [(CHAT, "choices[0].message.content"), ('{"inputs": "Hello"}', "generated_text")]
)
def test_an_image_that_routes_by_body(body: str, path: str) -> None:
    with mock_aws(reply="Hi."):
        location = put(body)
        invoke = host_asynchronously(LMI, {"S3OutputPath": "s3://inputs"})
        _, _, key = invoke(EndpointName="e", InputLocation=location)["OutputLocation"].split("/", 2)
        response = client("s3").get_object(Bucket="inputs", Key=key.partition("/")[2])
        assert jmespath.search(path, json.loads(response["Body"].read())) == "Hi."
