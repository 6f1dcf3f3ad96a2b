"""Who calls, and from where: the cases I1 to I4."""

from pathlib import Path
from typing import Any

import boto3
import pytest

import awsllm
from awsllm.testing import mock_aws
from tests.support.cases import CLAUDE, NOVA, answering, asking, bedrock
from tests.support.loopback import Received

CONFIG = """
[profile work]
region = eu-central-1
aws_access_key_id = AKIAWORK
aws_secret_access_key = secret

[profile role]
role_arn = arn:aws:iam::123456789012:role/reader
source_profile = work
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").write_text(CONFIG)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))


def signer(request: Received) -> str:
    """KEY/REGION of what signed the request."""
    key, _, region, *_ = request.header("Authorization").partition("Credential=")[2].split("/")
    return f"{key}/{region}"


def test_i1_a_caller_s_session_is_used_and_not_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Static keys of a boto3 session sign alone, whatever token, profile or region surrounds them."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", "ambient")
    monkeypatch.setenv("AWS_REGION", "eu-west-3")
    session = boto3.Session("AKIAMINE", "secret", region_name="us-west-2")
    with bedrock(answering()) as (url, seen), awsllm.Client(session=session, endpoint_url=url) as client:
        client.converse(NOVA, "Hi")
    assert signer(seen[0]) == "AKIAMINE/us-west-2"
    assert seen[0].header("X-Amz-Security-Token") == ""


def test_i1_a_profile_goes_before_the_environment(config: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who names a profile means its keys, not those that happen to be set."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", "ambient")
    with bedrock(answering()) as (url, seen), awsllm.Client(profile="work", endpoint_url=url) as client:
        client.converse(NOVA, "Hi")
    assert signer(seen[0]) == "AKIAWORK/eu-central-1"
    assert seen[0].header("X-Amz-Security-Token") == ""


def test_i1_a_role_is_assumed(config: None) -> None:
    """A profile with a role signs with the role's keys and its token."""
    with mock_aws(reply="unused"), asking(answering(), profile="role") as (client, seen):
        assert client.converse(NOVA, "Hi").text == "Hi."
    assert signer(seen[0]).startswith("ASIA")
    assert seen[0].header("X-Amz-Security-Token")


def test_i2_bearer_keys_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bedrock's API key is enough, needs no other credentials, and is shown as it is."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "bedrock-api-key-made-up")
    session = boto3.Session(region_name="us-east-1")
    shown: list[Any] = []
    session.events.register("before-send.bedrock-runtime", lambda request, **_: shown.append(request.headers))
    with mock_aws(reply="Hi."), awsllm.Client(session=session) as client:
        assert client.converse(NOVA, "Hi").text == "Hi."
    assert [headers["Authorization"] for headers in shown] == ["Bearer bedrock-api-key-made-up"]


def test_i3_a_missing_region_is_an_error() -> None:
    """No region is made up; the error says where one can be set."""
    with awsllm.Client() as client, pytest.raises(awsllm.ConfigurationError, match="AWS_REGION"):
        client.converse(NOVA, "Hi")


def test_i3_a_profile_s_region_counts(config: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the profile in ``AWS_PROFILE`` too."""
    monkeypatch.setenv("AWS_PROFILE", "work")
    with bedrock(answering()) as (url, seen), awsllm.Client(endpoint_url=url) as client:
        client.converse(NOVA, "Hi")
    assert signer(seen[0]).endswith("/eu-central-1")


@pytest.mark.parametrize(("api", "path"), [("converse", "converse"), ("invoke", "invoke")])
def test_i4_a_policy_that_forbids_one_door_leaves_the_other(api: str, path: str) -> None:
    """The caller chooses the door, and no call goes through the other, not even to look."""
    wire = {
        "output": {"message": {"role": "assistant", "content": [{"text": "Hi."}]}},
        "stopReason": "end_turn",
        "usage": {},
        "role": "assistant",
        "content": [{"type": "text", "text": "Hi."}],
        "stop_reason": "end_turn",
    }
    with asking(answering(wire)) as (client, seen):
        assert client.converse(CLAUDE, "Hi", api=api, max_tokens=9).text == "Hi."
    assert [request.path.rpartition("/")[2] for request in seen] == [path]
