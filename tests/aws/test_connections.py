"""Messages to a WebSocket's clients: what boto3 sends, to the API's own URL, once."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from moto.apigatewaymanagementapi.models import apigatewaymanagementapi_backends

from awsllm.aws.connections import Connections, GoneError
from awsllm.aws.session import AwsSession
from awsllm.errors import AccessDeniedError, ServerError, ThrottlingError, ValidationError
from awsllm.policy.attempts import Policy
from awsllm.testing import mock_aws
from tests.support.loopback import Received, Response, serving

CONNECTION = "Vh/GQd+F4IAMCIPQ="
QUICK = Policy(max_attempts=3, base_delay=0.0)


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")


def test_it_is_what_boto3_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[Received] = []

    def respond(received: Received) -> Response:
        got.append(received)
        return Response(b"")

    with serving(respond) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI", url)
        connections = Connections("abc123", "prod")
        connections.post(CONNECTION, b"hello")
        connections.close()
        theirs: Any = boto3.client("apigatewaymanagementapi", "us-east-1", endpoint_url=f"{url}/prod")
        theirs.post_to_connection(ConnectionId=CONNECTION, Data=b"hello")
        theirs.close()
    ours, judge = got
    assert (ours.method, ours.path, ours.body) == (judge.method, judge.path, judge.body)
    assert "/us-east-1/execute-api/aws4_request" in ours.header("authorization")


@pytest.mark.parametrize(
    ("region", "url"),
    [
        ("us-east-1", "https://abc123.execute-api.us-east-1.amazonaws.com/prod"),
        ("cn-north-1", "https://abc123.execute-api.cn-north-1.amazonaws.com.cn/prod"),
    ],
)
def test_the_url_is_the_apis_own(region: str, url: str) -> None:
    made = Connections("abc123", "prod", AwsSession(region=region))
    assert made._transport._session.endpoint("apigatewaymanagementapi").url == url


def test_moto_takes_it() -> None:
    with mock_aws(reply="unused"):
        Connections("abc123", "prod").post("conn1", b"hello")
        kept = apigatewaymanagementapi_backends["123456789012"]["us-east-1"].connections
        assert kept["conn1"].data == b"hello"


@pytest.mark.parametrize(
    ("status", "code", "kind", "tries"),
    [
        (410, "GoneException", GoneError, 1),
        (403, "ForbiddenException", AccessDeniedError, 1),
        (429, "LimitExceededException", ThrottlingError, 3),
        (500, "InternalServerException", ServerError, 1),  # it may have been taken
    ],
)
def test_what_is_refused(
    status: int, code: str, kind: type[Exception], tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    count: list[int] = []

    def respond(received: Received) -> Response:
        count.append(1)
        return Response(b"{}", status, {"x-amzn-errortype": f"{code}:http://internal"})

    with serving(respond) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI", url)
        connections = Connections("abc123", "prod", policy=QUICK)
        with pytest.raises(kind) as caught:
            connections.post("conn1", b"secret")
        connections.close()
    error: Any = caught.value
    assert (error.code, error.status, len(count)) == (code, status, tries)
    assert "secret" not in str(error)


@pytest.mark.parametrize(("api", "stage"), [("evil.example/", "prod"), ("abc", "a/b"), ("", "prod"), ("ABC#", "x")])
def test_no_event_chooses_where_a_signature_goes(api: str, stage: str) -> None:
    with pytest.raises(ValidationError):
        Connections(api, stage)


def test_an_id_is_one() -> None:
    with pytest.raises(ValidationError):
        Connections("abc", "prod").post("a b", b"")
