"""Inference routers: raw and as chat; boto3 is the judge of what is sent and of what is answered."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import boto3
import pytest

import awsllm
from awsllm.aws.call import HttpResponse
from awsllm.backends.sagemaker.backend import SageMakerBackend
from awsllm.backends.sagemaker.router import router_async_call, router_call
from awsllm.calls.router import prepare_router, prepare_router_async
from awsllm.testing import mock_aws
from awsllm.types.router import RouterAsyncResponse
from awsllm.wire.endpoint import Detected
from tests.support.transports import StubTransport

CHAT = {"messages": [{"role": "user", "content": "Hello"}]}
UNREAD = Detected(format="", source="caller", evidence="")
ARN = "arn:aws:sagemaker:eu-west-1:111122223333:endpoint/harbour"
ROUTED = {
    "content-type": "application/json",
    "x-amzn-requestid": "r-1",
    "x-amzn-sagemaker-invoked-routed-resource-arn": ARN,
    "x-amzn-sagemaker-invoked-routing-reason": "failover",
    "x-amzn-invoked-production-variant": "v",
}


def sent_by_boto3(operation: str, members: Any) -> Any:
    sent: list[Any] = []

    def keep(request: Any, **_: Any) -> Any:
        sent.append(request)
        raise RuntimeError

    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
    client = boto3.client("sagemaker-inference-router-runtime", "us-east-1", **keys)
    client.meta.events.register("before-send.*.*", keep)
    with pytest.raises(RuntimeError):
        getattr(client, operation)(**members)
    return sent[-1]


def assert_alike(theirs: Any, ours: Any) -> None:
    assert theirs.url.endswith(ours.path)
    assert (theirs.body or b"") == ours.body
    lower = {name.lower(): value for name, value in theirs.headers.items()}
    for name, value in ours.headers.items():
        found = lower[name.lower()]
        assert (found.decode() if isinstance(found, bytes) else found) == value


def test_what_is_sent_is_what_boto3_sends() -> None:
    members = {
        "InferenceRouterName": "r",
        "RoutingTargetName": "t",
        "ContentType": "text/csv",
        "Accept": "text/csv",
        "InferenceId": "i",
        "PrefixAwareId": "p",
        "CustomAttributes": "a=b",
        "Body": b"1,2",
    }
    options: Any = {
        "content_type": "text/csv",
        "accept": "text/csv",
        "inference_id": "i",
        "prefix_aware_id": "p",
        "custom_attributes": "a=b",
        "timeout": 3,
    }
    _, request = prepare_router("r", "1,2", "t", options)
    assert_alike(sent_by_boto3("invoke_inference_router", members), router_call(request, UNREAD).request)


def test_what_is_handed_in_is_what_boto3_hands_in() -> None:
    members = {
        "InferenceRouterName": "r",
        "RoutingTargetName": "t",
        "InputLocation": "s3://ours/in.json",
        "ContentType": "application/json",
        "Accept": "application/json",
        "CustomAttributes": "a=b",
        "InferenceId": "i",
        "S3OutputPathExtension": "out",
        "Filename": "answer.json",
        "RequestTTLSeconds": 60,
        "InvocationTimeoutSeconds": 900,
    }
    options: Any = {
        "accept": "application/json",
        "custom_attributes": "a=b",
        "inference_id": "i",
        "output_extension": "out",
        "filename": "answer.json",
        "ttl": 60,
        "invocation_timeout": 900,
    }
    _, request = prepare_router_async("r", "s3://ours/in.json", "t", options)
    call = router_async_call(request, UNREAD)
    assert_alike(sent_by_boto3("invoke_inference_router_async", members), call.request)
    headers = {"x-amzn-sagemaker-outputlocation": "s3://o", "x-amzn-sagemaker-failurelocation": "s3://f"}
    decoded = call.decode(HttpResponse(202, headers, b'{"InferenceId": "i"}'))
    assert decoded == RouterAsyncResponse(inference_id="i", output_location="s3://o", failure_location="s3://f")


def client_of(reply: HttpResponse) -> awsllm.Client:
    return awsllm.Client(backends={"sagemaker": SageMakerBackend(StubTransport(reply))})


def test_the_response_names_the_destination_and_the_reason() -> None:
    with client_of(HttpResponse(200, ROUTED, b'{"a": 1}')) as client:
        response = client.invoke_inference_router("r", CHAT, target="t")
    assert (response.resource_arn, response.reason, response.variant) == (ARN, "failover", "v")
    assert response.json() == {"a": 1}
    assert (response.model, response.request_id) == ("sagemaker:router/r", "r-1")


def test_routers_by_name_and_arn() -> None:
    arn = "arn:aws:sagemaker:eu-west-1:111122223333:inference-router/r"
    for named, region in (("r", None), ("sagemaker:router/r", None), (arn, "eu-west-1")):
        reference, request = prepare_router(named, b"x", "t", {})
        assert (request.model, reference.region) == ("router/r", region)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda c: c.invoke_inference_router("no router!", {}, target="t"), "no inference router"),
        (lambda c: c.invoke_inference_router("r", {}, target="no target!"), "routing targets"),
        (lambda c: c.invoke_inference_router("r", b"", target="t"), "the body is empty"),
        (lambda c: c.invoke_inference_router("r", b"x" * 6_291_457, target="t"), "at most 6,291,456"),
        (lambda c: c.invoke_inference_router("r", {}, target="t", acept="x"), "did you mean 'accept'"),
        (lambda c: c.invoke_inference_router_async("r", "in.json", target="t"), "no object in S3"),
        (lambda c: c.invoke_inference_router_async("r", "s3://b/k", target="t", ttl=5), "from 60 to 21600"),
        (
            lambda c: c.converse("sagemaker:router/r/t", "Hi", endpoint={"variant": "v"}),
            "takes no Target-Variant",
        ),
    ],
)
def test_what_cannot_be_sent_is_named(call: Any, words: str) -> None:
    with client_of(HttpResponse(200, ROUTED, b"{}")) as client, pytest.raises(awsllm.AwsllmError, match=words):
        call(client)


def test_boto3_and_a_chat_through_a_router_offline() -> None:
    with mock_aws(reply="Polly") as aws, awsllm.Client(region="us-east-1") as client:
        runtime = boto3.client("sagemaker-inference-router-runtime", "us-east-1")
        members = {"InferenceRouterName": "r", "RoutingTargetName": "t", "ContentType": "application/json"}
        reply = runtime.invoke_inference_router(**members, Body=json.dumps(CHAT))
        assert json.loads(reply["Body"].read())["choices"][0]["message"]["content"] == "Polly"
        assert (reply["RoutingReason"], reply["InvokedRoutedResourceArn"][-11:]) == ("local-preferred", ":endpoint/t")
        answer = client.converse("sagemaker:router/r/t", "Hello")
        assert answer.text == "Polly"
        assert (answer.extra or {})["RoutingReason"] == "local-preferred"
        with client.converse_stream("sagemaker:router/r/t", "Hello") as stream:
            assert "".join(stream.text_stream) == "Polly"
        assert stream.response.warnings == ("the answer came whole: inference routers have no streams",)
        assert len(aws.requests) == 3
        with pytest.raises(runtime.exceptions.ModelError) as refused:
            runtime.invoke_inference_router(**members, Body=b"{}")
        assert refused.value.response["OriginalStatusCode"] == 400
        with pytest.raises(runtime.exceptions.ValidationException, match="no streams"):
            runtime.invoke_inference_router(**members, Body=json.dumps({**CHAT, "stream": True}))
        with pytest.raises(runtime.exceptions.ValidationException, match="RoutingTargetName"):
            runtime.invoke_inference_router(**{**members, "RoutingTargetName": "-"}, Body=b"{}")
        with pytest.raises(awsllm.RequestError, match="s3://b/k does not exist"):
            client.invoke_inference_router_async("r", "s3://b/k", target="t")


def test_the_awaited_twin() -> None:
    async def asked() -> tuple[Any, str | None]:
        async with awsllm.AsyncClient(region="us-east-1") as client:
            response = await client.invoke_inference_router("r", CHAT, target="t")
            return response.json(), response.reason

    with mock_aws(reply="Polly"):
        body, reason = asyncio.run(asked())
    assert body["choices"][0]["message"]["content"] == "Polly"
    assert reason == "local-preferred"


def test_an_endpoint_may_be_called_router() -> None:
    with mock_aws(reply="Polly", endpoints="router"), awsllm.Client(region="us-east-1") as client:
        assert client.converse("sagemaker:router", "Hello").text == "Polly"
