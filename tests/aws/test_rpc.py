"""Lean calls of JSON services, judged by botocore: what it would send, which error it would raise, and moto."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import boto3
import msgspec
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from awsllm.aws import rpc
from awsllm.aws.call import HttpResponse
from awsllm.aws.rpc import RefusedError, Rpc, json_call
from awsllm.aws.session import AwsSession
from awsllm.errors import (
    AccessDeniedError,
    AwsllmError,
    ConfigurationError,
    ServerError,
    ThrottlingError,
    ValidationError,
)
from awsllm.policy.attempts import Policy
from tests.support.boto3_requests import boto3_session, sent_by_boto3

# botocore's method, the operation, its members.
CALLS: list[tuple[str, str, str, dict[str, Any]]] = [
    ("dynamodb", "get_item", "GetItem", {"TableName": "t", "Key": {"pk": {"S": "ü"}}, "ConsistentRead": True}),
    ("dynamodb", "query", "Query", {"TableName": "t", "Limit": 3}),
    ("sqs", "send_message", "SendMessage", {"QueueUrl": "https://sqs.example/1/q", "MessageBody": "text"}),
    ("sqs", "delete_message", "DeleteMessage", {"QueueUrl": "https://sqs.example/1/q", "ReceiptHandle": "r"}),
    ("stepfunctions", "send_task_success", "SendTaskSuccess", {"taskToken": "t", "output": "{}"}),
    ("secretsmanager", "get_secret_value", "GetSecretValue", {"SecretId": "s"}),
    ("ssm", "get_parameter", "GetParameter", {"Name": "/n", "WithDecryption": True}),
]
REFUSALS: list[tuple[str, str, dict[str, Any], int, bytes, dict[str, str]]] = [
    (
        *("dynamodb", "get_item", {"TableName": "t", "Key": {"pk": {"S": "k"}}}, 400),
        b'{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException","message":"no",'
        b'"Item":{"pk":{"S":"k"}}}',
        {},
    ),
    ("ssm", "get_parameter", {"Name": "n"}, 400, b'{"__type":"ParameterNotFound"}', {}),
    (
        *("sqs", "get_queue_url", {"QueueName": "q"}, 400),
        b'{"__type":"com.amazonaws.sqs#QueueDoesNotExist","message":"none"}',
        {"x-amzn-query-error": "AWS.SimpleQueueService.NonExistentQueue;Sender"},
    ),
    ("secretsmanager", "get_secret_value", {"SecretId": "s"}, 503, b"", {}),
]


def test_each_service_is_as_botocores_model_says() -> None:
    for name, spoken in rpc._SERVICES.items():
        metadata = boto3_session().client(name).meta.service_model.metadata
        assert spoken.target == metadata["targetPrefix"]
        assert spoken.version == metadata["jsonVersion"]
        assert spoken.query_codes == ("awsQueryCompatible" in metadata)
        assert "json" in metadata["protocols"]


@pytest.mark.parametrize(("service", "method", "operation", "members"), CALLS, ids=lambda value: str(value)[:20])
def test_a_call_is_what_boto3_sends(service: str, method: str, operation: str, members: dict[str, Any]) -> None:
    sent = sent_by_boto3(service, method, **members)
    request = json_call(service, operation, members).request
    assert json.loads(request.body) == json.loads(sent.body)
    assert sent.url.endswith(request.path)
    assert sent.method == request.method
    headers = {
        name: value.decode() if isinstance(value, bytes) else value
        for name, value in sent.headers.items()
        if name.lower() in ("x-amz-target", "content-type", "x-amzn-query-mode")
    }
    assert dict(request.headers) == headers


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda value: value[0])
def test_a_refusal_has_the_code_that_boto3_gives(refusal: Any) -> None:
    service, method, members, status, body, headers = refusal
    client = boto3.Session("AKID", "secret", region_name="us-east-1").client(service, config=_once())
    client.meta.events.register(f"before-send.{client.meta.service_model.service_id.hyphenize()}", _answer(refusal))
    with pytest.raises(ClientError) as theirs:
        getattr(client, method)(**members)
    error = json_call(service, "Any", members).error(HttpResponse(status, headers, body))
    if status < 500:  # for an empty body boto3 makes a code of the status
        assert error.code == theirs.value.response["Error"]["Code"]
        assert isinstance(error, RefusedError)
        assert error.reply == msgspec.json.decode(body)
    else:
        assert isinstance(error, ServerError)
        assert error.retryable


def _once() -> Any:
    from botocore.config import Config

    return Config(retries={"total_max_attempts": 1})


def _answer(refusal: Any) -> Any:
    from types import SimpleNamespace

    from botocore.awsrequest import AWSResponse

    _, _, _, status, body, headers = refusal

    def answer(request: Any, **_: object) -> AWSResponse:
        raw: Any = SimpleNamespace(stream=lambda: iter([body]), read=lambda *_: body)
        return AWSResponse(request.url, status, headers, raw)

    return answer


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("ProvisionedThroughputExceededException", ThrottlingError),
        ("ThrottlingException", ThrottlingError),
        ("ExpiredTokenException", AccessDeniedError),
        ("UnrecognizedClientException", AccessDeniedError),
        ("ValidationException", RefusedError),
    ],
)
def test_what_a_code_means(code: str, kind: type[AwsllmError]) -> None:
    body = msgspec.json.encode({"__type": f"some.namespace#{code}", "message": "m"})
    assert type(json_call("dynamodb", "GetItem", {}).error(HttpResponse(400, {}, body))) is kind


def test_what_cannot_be_called_or_written_is_told_before_anything_is_sent() -> None:
    with pytest.raises(ConfigurationError, match="JSON services"):
        json_call("s3", "GetObject", {})
    with pytest.raises(ValidationError, match="PutItem"):
        json_call("dynamodb", "PutItem", {"Item": object()})


@mock_aws
def test_moto_answers() -> None:
    calls = Rpc(AwsSession(region="us-east-1"))
    calls.call("ssm", "PutParameter", {"Name": "/a", "Value": "v", "Type": "String"})
    assert boto3.client("ssm", "us-east-1").get_parameter(Name="/a")["Parameter"]["Value"] == "v"
    queue = boto3.client("sqs", "us-east-1").create_queue(QueueName="q")["QueueUrl"]
    calls.call("sqs", "SendMessage", {"QueueUrl": queue, "MessageBody": "hello"})
    received: Any = calls.call("sqs", "ReceiveMessage", {"QueueUrl": queue})
    assert received["Messages"][0]["Body"] == "hello"
    with pytest.raises(RefusedError, match="dynamodb:GetItem") as refused:
        calls.call("dynamodb", "GetItem", {"TableName": "none", "Key": {"pk": {"S": "k"}}})
    assert refused.value.code == "ResourceNotFoundException"


def test_what_may_pass_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    calls = Rpc(AwsSession(region="us-east-1"), policy=Policy(max_attempts=3, sleep=waits.append))
    answers = [ThrottlingError("busy"), ServerError("broken"), {"Item": {}}]

    def send(call: Any, attempt: Any) -> Any:
        answer: Any = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(calls._transport, "send", send)
    assert calls.call("dynamodb", "GetItem", {}) == {"Item": {}}
    assert len(waits) == 2


def test_botocore_stays_out(tmp_path: Any) -> None:
    """With keys in the environment a call needs nothing of botocore."""
    program = (
        "import sys\n"
        "from awsllm.aws.rpc import Rpc\nfrom awsllm.aws.session import AwsSession\n"
        "from awsllm.errors import ConnectError\nfrom awsllm.policy.attempts import Policy\n"
        "try:\n    Rpc(AwsSession(), policy=Policy(max_attempts=1)).call('dynamodb', 'GetItem', {}, timeout=5)\n"
        "except ConnectError:\n    print([m for m in ('botocore', 'boto3', 'tenacity') if m in sys.modules])\n"
    )
    variables = {
        "AWS_ACCESS_KEY_ID": "AKID",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_DYNAMODB": "http://127.0.0.1:9",
        "HOME": str(tmp_path),
        "PATH": "",
        "PYTHONPATH": ":".join(sys.path),
    }
    shown = subprocess.run(
        [sys.executable, "-c", program], env=variables, capture_output=True, text=True, check=True, timeout=60
    )
    assert shown.stdout == "[]\n"


def test_all_calls_are_over_within_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float | None] = []

    class Listening(Policy, frozen=True):
        def run(self, call: Any, timeout: float | None = None, mend: Any = None, tries: Any = None) -> Any:
            given.append(timeout)

    client = Rpc(AwsSession(region="us-east-1"), policy=Listening(timeout=8.0))
    client.call("ssm", "GetParameter", {})
    with rpc.within(100.0):
        client.call("ssm", "GetParameter", {})
        client.call("ssm", "GetParameter", {}, timeout=3.0)
        with rpc.within(-1.0):  # once the time is over there is a moment for it
            client.call("ssm", "GetParameter", {})
        client.call("ssm", "GetParameter", {}, timeout=200.0)
    client.call("ssm", "GetParameter", {}, timeout=200.0)
    assert given[:4] == [None, 8.0, 3.0, 0.05]
    assert given[4] == pytest.approx(100, abs=50)
    assert given[5] == 200.0
