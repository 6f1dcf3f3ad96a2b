"""Sessions with tags: AssumeRole as botocore writes and reads it, renewed in time, one credential for many calls."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

import boto3
import pytest
from moto import mock_aws

from awsllm.aws.call import HttpRequest, HttpResponse
from awsllm.aws.roles import LASTING, AssumedRole, AssumedSession, assume_role_call
from awsllm.aws.session import AwsSession, Credentials
from awsllm.aws.signing import sign
from awsllm.errors import AccessDeniedError, ServerError, ThrottlingError
from tests.support.boto3_requests import boto3_session, sent_by_boto3

ROLE = "arn:aws:iam::111122223333:role/callers"
TAGS = {"awsllm-key": "AWSLLMABC", "awsllm-team": "the search + ads team"}


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsSession]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with mock_aws():
        yield AwsSession(region="us-east-1")


def test_the_form_is_botocores() -> None:
    tags = [{"Key": key, "Value": value} for key, value in TAGS.items()]
    theirs = sent_by_boto3(
        "sts", "assume_role", RoleArn=ROLE, RoleSessionName="name", DurationSeconds=LASTING, Tags=tags
    )
    ours = assume_role_call(ROLE, "name", TAGS).request
    body = theirs.body if isinstance(theirs.body, bytes) else theirs.body.encode()
    assert parse_qs(ours.body.decode()) == parse_qs(body.decode())
    kind = theirs.headers["Content-Type"]
    assert ours.headers["Content-Type"] == (kind.decode() if isinstance(kind, bytes) else kind)
    assert boto3_session().client("sts").meta.service_model.api_version == "2011-06-15"


def test_credentials_are_taken_once_and_renewed_before_they_end(session: AwsSession) -> None:
    now = [datetime.now(UTC).timestamp()]
    role = AssumedRole(session, ROLE, name="name", tags=TAGS, clock=lambda: now[0])
    assert role.refresh_needed()
    with ThreadPoolExecutor(4) as threads:
        (first,) = set(threads.map(lambda _: role.get_frozen_credentials(), range(8)))
    assert first.access_key.startswith("ASIA")
    assert not role.refresh_needed()
    now[0] += LASTING - 200
    assert role.refresh_needed()
    assert role.get_frozen_credentials() != first


def test_calls_are_signed_as_the_role(session: AwsSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "everybodys")
    role = AssumedRole(session, ROLE, name="name", tags=TAGS)
    assumed = AssumedSession(role, region="us-east-1")
    assert not assumed.is_ready("bedrock-runtime")
    signed = sign(HttpRequest("bedrock-runtime", "POST", "/model/m/converse"), assumed)
    keys = role.get_frozen_credentials()
    assert f"Credential={keys.access_key}/" in signed.headers["Authorization"]
    assert signed.headers["X-Amz-Security-Token"] == keys.token
    assert assumed.is_ready("bedrock-runtime")
    theirs = boto3.client(
        "sts", "us-east-1", aws_access_key_id=keys.access_key, aws_secret_access_key=keys.secret_key,
        aws_session_token=keys.token,
    ).get_caller_identity()  # fmt: skip
    assert theirs["Arn"].endswith("assumed-role/callers/name")


def _response(status: int, body: str) -> HttpResponse:
    return HttpResponse(status, {}, body.encode())


@pytest.mark.parametrize(
    ("status", "code", "kind"), [(403, "AccessDenied", AccessDeniedError), (400, "Throttling", ThrottlingError)]
)
def test_a_refusal(status: int, code: str, kind: type[Any]) -> None:
    body = (
        "<ErrorResponse><Error><Type>Sender</Type>"
        f"<Code>{code}</Code><Message>no &lt;role&gt;</Message></Error><RequestId>r-1</RequestId></ErrorResponse>"
    )
    error: Any = assume_role_call(ROLE, "name", TAGS).error(_response(status, body))
    assert type(error) is kind
    assert (error.code, error.request_id, "no <role>" in error.message) == (code, "r-1", True)


@pytest.mark.parametrize("body", ["", "<html>", "<AccessKeyId>A</AccessKeyId><Expiration>soon</Expiration>"])
def test_an_answer_without_credentials_is_none(body: str) -> None:
    with pytest.raises(ServerError, match="without credentials"):
        assume_role_call(ROLE, "name", TAGS).decode(_response(200, body))


def test_no_secret_is_shown(session: AwsSession) -> None:
    found = AssumedRole(session, ROLE, name="name", tags=TAGS).get_frozen_credentials()
    assert isinstance(found, Credentials)
    assert found.secret_key not in repr(found)
