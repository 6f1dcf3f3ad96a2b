"""A server whose keys and their use are in DynamoDB: that of an offline AWS, over HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import boto3
import pytest

from awsllm.errors import ConfigurationError
from awsllm.policy.keys import create
from awsllm.policy.keys_dynamodb import KeyTable
from awsllm.policy.stores import key_table, table_of, usage_store
from awsllm.server import running
from awsllm.server.places import check_not_itself
from awsllm.testing import AsyncScriptedBackend
from tests.server.test_gate import asked, bedrock, call, converse
from tests.support.command_line import Run, runner
from tests.support.tables import KEYS, USAGE, create_tables

PLACES: dict[str, Any] = {"keys": f"dynamodb:{KEYS}", "usage": f"dynamodb:{USAGE}"}


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    with running(AsyncScriptedBackend(lambda _: "unused")) as url:
        yield url


@pytest.fixture
def url(aws: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", aws)
    for name, value in (("REGION", "us-east-1"), ("ACCESS_KEY_ID", "AKID"), ("SECRET_ACCESS_KEY", "secret")):
        monkeypatch.setenv(f"AWS_{name}", value)
    with closing(boto3.client("dynamodb", "us-east-1", endpoint_url=aws)) as client:
        for name in client.list_tables()["TableNames"]:
            client.delete_table(TableName=name)
        create_tables(client)
    with running(AsyncScriptedBackend(lambda _: "Hello there"), account=False, **PLACES) as at:
        yield at


@pytest.fixture
def table(url: str) -> Iterator[KeyTable]:
    with closing(key_table(KEYS)) as found:
        yield found


@pytest.fixture
def run(url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("AWSLLM_KEYS", PLACES["keys"])
    monkeypatch.setenv("AWSLLM_USAGE", PLACES["usage"])
    return runner(monkeypatch, capsys)


def test_a_key_that_the_command_line_made_calls_and_is_counted(url: str, run: Run) -> None:
    made, secret = json.loads(run("keys", "create", "--requests-per-minute", "2", "--team", "a", "--json").out).values()
    status, headers, _ = call(url, "/v1/chat/completions", asked(), secret)
    assert (status, headers["x-ratelimit-remaining-requests"]) == (200, "1")
    assert call(url, "/v1/chat/completions", asked(), secret)[0] == 200
    assert call(url, "/v1/chat/completions", asked(), secret)[0] == 429
    assert call(url, "/v1/chat/completions", asked(), "sk-awsllm-invented")[0] == 401
    for _ in range(1000):
        rows = json.loads(call(url, "/usage", key=secret)[2])["usage"]
        if sum(row["requests"] for row in rows) == 2:
            break
        time.sleep(0.02)
    assert (rows[0]["key"], rows[0]["output"]) == (made, 4)
    assert made in run("keys", "usage").out
    assert made in run("keys", "list").out
    assert run("keys", "revoke", made).out == f"{made}: revoked\n"
    assert "revoked" in run("keys", "list").out
    assert "no key 'other'" in run("keys", "stop", "other").err
    for command in (("list", "--keys"), ("usage", "--usage")):
        assert "there is no table elsewhere" in run("keys", *command, "dynamodb:elsewhere").err


def test_clients_sign_with_a_key_of_the_table(url: str, table: KeyTable) -> None:
    key, secret = create(signs=True)
    table.add(key)
    assert converse(bedrock(url, key.id, secret))["output"]["message"]["content"] == [{"text": "Hello there"}]


def test_everybody_is_stopped_in_the_words_of_each_protocol(url: str, run: Run, table: KeyTable) -> None:
    key, secret = create()
    table.add(key)
    assert run("keys", "stop").out == "all keys: stopped\n"
    for path, body in (("/v1/chat/completions", asked()), ("/v1/messages", asked("claude-3-haiku-20240307"))):
        status, _, text = call(url, path, body, secret)
        assert (status, "stopped by whoever runs this gateway" in text) == (503, True)
        assert json.loads(text)["error"]["type"]
    assert call(url, "/usage", key=secret)[0] == 200
    assert run("keys", "resume").out == "all keys: resumed\n"
    assert not table.stopped


def test_what_cannot_be_looked_up_lets_nobody_in(url: str, aws: str, table: KeyTable) -> None:
    key, secret = create()
    table.add(key)
    with closing(boto3.client("dynamodb", "us-east-1", endpoint_url=aws)) as client:
        client.delete_table(TableName=KEYS)
    status, _, text = call(url, "/v1/chat/completions", asked(), secret)
    assert (status, "cannot be looked up" in text, KEYS in text) == (503, True, False)


def test_a_server_is_not_its_own_table(url: str) -> None:
    port = int(url.rpartition(":")[2])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        with pytest.raises(ConfigurationError, match="own address"):
            check_not_itself("127.0.0.1", port, [], calls_aws=True)
        check_not_itself("127.0.0.1", port, [])


def test_places() -> None:
    assert (table_of("dynamodb:t"), table_of("keys.toml"), table_of(None)) == ("t", None, None)
    with pytest.raises(ConfigurationError, match="names no table"):
        usage_store("dynamodb:")
