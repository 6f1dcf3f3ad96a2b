"""Which operation a request means, with moto and without."""

from __future__ import annotations

import json

from awsllm.server.account import dispatch
from awsllm.server.account.account import Account
from awsllm.server.work import Incoming
from awsllm.testing import mock_aws
from tests.support.sagemaker_account import client, host, refusal


def test_a_refusal_that_the_test_wants() -> None:
    with mock_aws(reply="x") as aws:
        aws.plane.refuse("CreateEndpoint", "AccessDeniedException", "not you")
        assert refusal(host, name="e") == ("AccessDeniedException", "not you")
        client("sagemaker").create_endpoint(EndpointName="e", EndpointConfigName="e")
        assert [operation for operation, _ in aws.plane.calls] == [
            "CreateModel",
            "CreateEndpointConfig",
            "CreateEndpoint",
        ]


def test_an_account_without_moto() -> None:
    region = Account().region("us-east-1")
    headers = {"x-amz-target": "SageMaker.DescribeEndpoint"}
    reply = dispatch.handle(region, Incoming("POST", "/", headers, b'{"EndpointName": "e"}'))
    assert reply is not None
    assert json.loads(reply.body)["__type"] == "ValidationException"
    for body in (b"{", b"[]"):
        reply = dispatch.handle(region, Incoming("POST", "/", headers, body))
        assert reply is not None
        assert reply.headers["x-amzn-ErrorType"] == "SerializationException"
    assert dispatch.handle(region, Incoming("POST", "/", {"x-amz-target": "SageMaker.CreateDomain"}, b"{}")) is None
