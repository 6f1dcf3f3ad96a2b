"""Asynchronous invocations against S3; ``tests/jobs/test_asynchronous`` has what awsllm's client makes of them."""

from __future__ import annotations

import json
from typing import Any

import boto3
import jmespath
import pytest
from botocore.exceptions import ClientError

from awsllm.errors import ServerError
from awsllm.server import running
from awsllm.testing import AsyncScriptedBackend, ScriptedBackend, mock_aws
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


# --- of a router -----------------------------------------------------------------------------------------------------

ROUTER = "sagemaker-inference-router-runtime"


def read(uri: str) -> str:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    data: bytes = client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    return data.decode()


def test_a_router_answers_beside_its_input() -> None:
    backend = ScriptedBackend("Hi.")
    with mock_aws(reply=backend):
        answered = client(ROUTER).invoke_inference_router_async(
            InferenceRouterName="r",
            RoutingTargetName="t",
            InputLocation=put(CHAT),
            ContentType="application/json",
            InferenceId="i-1",
            S3OutputPathExtension="today",
            Filename="hi.out",
            RequestTTLSeconds=60,
            InvocationTimeoutSeconds=30,
        )
        assert answered["ResponseMetadata"]["HTTPStatusCode"] == 202
        assert answered["InferenceId"] == "i-1"
        assert answered["OutputLocation"] == "s3://inputs/async-endpoint-outputs/today/hi.out"
        assert answered["FailureLocation"] == "s3://inputs/async-endpoint-failures/today/hi-error.out"
        assert json.loads(read(answered["OutputLocation"]))["choices"][0]["message"]["content"] == "Hi."
    (request,) = backend.requests
    assert request.model == "r"


def test_a_failure_behind_a_router() -> None:
    with mock_aws(reply=ServerError("no")):
        answered = client(ROUTER).invoke_inference_router_async(
            InferenceRouterName="r", RoutingTargetName="t", InputLocation=put(CHAT)
        )
        assert "no" in read(answered["FailureLocation"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"InputLocation": "s3://inputs/none"}, "s3://inputs/none does not exist"),
        ({"InputLocation": "https://inputs.example/q"}, "only s3://BUCKET/KEY"),
        ({"Filename": "a.b.c"}, "Filename"),
        ({"RequestTTLSeconds": 999_999}, "RequestTTLSeconds"),
    ],
)
def test_what_a_router_refuses(change: dict[str, Any], message: str) -> None:
    with mock_aws(reply="unused"):
        members = {"InferenceRouterName": "r", "RoutingTargetName": "t", "InputLocation": put(CHAT), **change}
        code, said = refusal(client(ROUTER).invoke_inference_router_async, **members)
    assert code == "ValidationException"
    assert message in said


def test_a_server_answers_for_a_router() -> None:
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
    with running(AsyncScriptedBackend("Hi.")) as url:
        s3, router = (boto3.client(service, endpoint_url=url, **keys) for service in ("s3", ROUTER))
        s3.create_bucket(Bucket="inputs")
        s3.put_object(Bucket="inputs", Key="q", Body=CHAT.encode())
        location = router.invoke_inference_router_async(
            InferenceRouterName="r", RoutingTargetName="t", InputLocation="s3://inputs/q"
        )["OutputLocation"]
        key = location.removeprefix("s3://inputs/")
        while not s3.list_objects_v2(Bucket="inputs", Prefix=key).get("Contents"):
            pass
        assert b"Hi." in s3.get_object(Bucket="inputs", Key=key)["Body"].read()
    with running(AsyncScriptedBackend("unused"), account=False) as url:
        router = boto3.client(ROUTER, endpoint_url=url, **keys)
        with pytest.raises(ClientError, match="S3, which this server does not reach"):
            router.invoke_inference_router_async(
                InferenceRouterName="r", RoutingTargetName="t", InputLocation="s3://inputs/q"
            )
