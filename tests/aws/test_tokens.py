"""SageMaker's bearer tokens, judged by botocore's own query signer, and the route that takes them."""

import json
import urllib.request
from base64 import b64decode
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import botocore.auth
import pytest
from boto3.session import Session
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from awsllm.aws.call import HttpResponse
from awsllm.aws.session import AwsSession
from awsllm.aws.tokens import OpenAIRoute, openai_route, route_error, sagemaker_token
from awsllm.errors import (
    AccessDeniedError,
    ModelNotFoundError,
    ModelNotReadyError,
    ServerError,
    ValidationError,
)
from tests.support.loopback import Received, Response, serving

NOW = 1_790_000_000.0


def session_with(token: str | None = None, *, secret: str | None = None, endpoint_url: str | None = None) -> AwsSession:
    boto = Session("AKIAEXAMPLE", secret or "made/+=up", token, region_name="eu-west-1")
    return AwsSession(session=boto, endpoint_url=endpoint_url)


def by_botocore(token: str | None, secret: str, region: str, expires: int, patch: pytest.MonkeyPatch) -> str:
    """The query that botocore presigns for the same moment."""
    moment = datetime.fromtimestamp(NOW, UTC)
    patch.setattr(botocore.auth, "get_current_datetime", lambda: moment.replace(tzinfo=None))
    request = AWSRequest(
        "POST", "https://sagemaker.amazonaws.com/", {"host": "sagemaker.amazonaws.com"},
        params={"Action": "CallWithBearerToken"},
    )  # fmt: skip
    keys = Credentials("AKIAEXAMPLE", secret, token)
    botocore.auth.SigV4QueryAuth(keys, "sagemaker", region, expires=expires).add_auth(request)
    return str(request.url)


def decoded(token: str) -> str:
    assert token.startswith("sagemaker-api-key-")
    return b64decode(token.removeprefix("sagemaker-api-key-")).decode()


@given(
    token=st.none() | st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40),
    secret=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40),
    expires=st.integers(1, 43_200),
    region=st.sampled_from(["us-east-1", "eu-west-1", "cn-north-1"]),
)
@settings(max_examples=30)  # each makes two sessions
def test_a_token_is_what_botocore_presigns(token: str | None, secret: str, expires: int, region: str) -> None:
    minted = sagemaker_token(session_with(token, secret=secret), region, expires=expires, clock=lambda: NOW)
    with pytest.MonkeyPatch.context() as patch:
        wanted = by_botocore(token, secret, region, expires, patch)
    assert "https://" + decoded(minted).removesuffix("&Version=1") == wanted


def test_what_a_token_says() -> None:
    text = decoded(sagemaker_token(session_with("session"), clock=lambda: NOW))
    parts = urlsplit("https://" + text)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    assert (parts.netloc, parts.path) == ("sagemaker.amazonaws.com", "/")
    assert query["Action"] == "CallWithBearerToken"
    assert query["X-Amz-Credential"].endswith("/eu-west-1/sagemaker/aws4_request")
    assert (query["X-Amz-Expires"], query["Version"]) == ("3600", "1")
    assert query["X-Amz-Security-Token"] == "session"


@pytest.mark.parametrize("expires", [0, -1, 43_201])
def test_a_token_lives_twelve_hours_at_most(expires: int) -> None:
    with pytest.raises(ValidationError, match="12 hours"):
        sagemaker_token(session_with(), expires=expires)


@pytest.mark.parametrize(
    ("endpoint", "path"),
    [
        ("my-endpoint", "/endpoints/my-endpoint/openai/v1"),
        ("sagemaker:my-endpoint", "/endpoints/my-endpoint/openai/v1"),
        ("sagemaker:ep/ic-1", "/endpoints/ep/inference-components/ic-1/openai/v1"),
    ],
)
def test_the_base_url(endpoint: str, path: str) -> None:
    route = openai_route(session_with(), endpoint, expires=60, clock=lambda: NOW)
    assert route.base_url == f"https://runtime.sagemaker.eu-west-1.amazonaws.com{path}"
    assert route.expires_at == NOW + 60
    assert "X-Amz-Expires=60" in decoded(route.api_key)


@pytest.mark.parametrize("endpoint", ["", "a/b/c", "bad name", "ep/", "-x"])
def test_no_endpoint(endpoint: str) -> None:
    with pytest.raises(ValidationError, match="ENDPOINT"):
        openai_route(session_with(), endpoint)


def test_the_key_is_not_shown() -> None:
    route = openai_route(session_with("session"), "ep", clock=lambda: NOW)
    assert route.api_key not in repr(route)
    assert route.api_key not in str(dict(route.__rich_repr__()))


def call(route: OpenAIRoute) -> Any:
    """As every OpenAI client calls: a path under the base URL, the key as a bearer."""
    body = json.dumps({"model": "", "messages": [{"role": "user", "content": "Hello"}]}).encode()
    request = urllib.request.Request(f"{route.base_url}/chat/completions", body, route.headers)
    with urllib.request.urlopen(request) as reply:
        return json.load(reply)


def test_a_call_over_the_route() -> None:
    seen: list[Received] = []

    def respond(request: Received) -> Response:
        seen.append(request)
        return Response(b'{"choices":[{"message":{"role":"assistant","content":"Hi"}}]}')

    with serving(respond) as url:
        route = openai_route(session_with(endpoint_url=url), "ep/ic", clock=lambda: NOW)
        reply = call(route)
    assert reply["choices"][0]["message"]["content"] == "Hi"
    [request] = seen
    assert (request.method, request.path) == (
        "POST",
        "/endpoints/ep/inference-components/ic/openai/v1/chat/completions",
    )
    assert request.header("Authorization") == f"Bearer {route.api_key}"
    assert json.loads(request.body)["messages"][0]["content"] == "Hello"


def failed(status: int, message: str, kind: str = "server_error", code: str = "model_error") -> HttpResponse:
    body = {"error": {"message": message, "type": kind, "code": code}}
    return HttpResponse(status, {"x-amzn-requestid": "r-1"}, json.dumps(body).encode())


def test_errors_do_not_tell_the_account() -> None:
    message = (
        'Received client error (400) from primary with message "{"error":"too hot"}". See '
        "https://us-east-1.console.aws.amazon.com/cloudwatch/home?region=us-east-1#log=x in account 111122223333 "
        "for more information."
    )
    error = route_error(failed(424, message))
    assert isinstance(error, ServerError)
    assert "111122223333" not in str(error)
    assert "console" not in str(error)
    assert "too hot" in error.message
    assert (error.code, error.status, error.request_id) == ("model_error", 424, "r-1")


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (failed(400, "Endpoint x of account 111122223333 not found.", "invalid_request_error", "validation_error"),
         ModelNotFoundError),
        (failed(400, "Inference Component has no capacity", "invalid_request_error", "validation_error"),
         ModelNotReadyError),
        (failed(400, "temperature must be a number", "invalid_request_error", "validation_error"), ValidationError),
        (HttpResponse(403, {}, b'{"message":"SigV4 of 111122223333 is not supported"}'), AccessDeniedError),
        (HttpResponse(502, {}, b"<html>bad gateway</html>"), ServerError),
    ],
)  # fmt: skip
def test_what_errors_mean(response: HttpResponse, kind: type[Exception]) -> None:
    error = route_error(response)
    assert type(error) is kind
    assert "111122223333" not in str(error)
