"""The gateway as its template deploys it: its handler, with the stack's environment, under the rights of the stack's
roles alone."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import boto3
import pytest

from awsllm.policy.keys import Key, create
from awsllm.policy.stores import key_table, usage_store
from tests.infra.test_exercised import deployed
from tests.support.front_door import url_event
from tests.support.lambdas import FakeContext
from tests.support.stacks import FilledIn, filled


def _call(handler: Any, secret: str, path: str = "/v1/chat/completions", **body: Any) -> tuple[int, str]:
    asked = {"model": "fast", "messages": [{"role": "user", "content": "Hi"}], **body}
    method = "GET" if path == "/usage" else "POST"
    sent = url_event(method, path, json.dumps(asked).encode(), {"authorization": f"Bearer {secret}"})
    head, *parts = handler(sent, FakeContext())
    return head.status, b"".join(parts).decode()


def _tables() -> tuple[str, str]:
    """Of keys and of use, by their sort keys."""
    client = boto3.client("dynamodb", "us-east-1")
    found = [client.describe_table(TableName=name)["Table"] for name in client.list_tables()["TableNames"]]
    keys, usage = sorted(found, key=lambda table: len(table["KeySchema"]))
    return keys["TableName"], usage["TableName"]


def _key(patch: pytest.MonkeyPatch, **members: Any) -> tuple[Key, str]:
    """A key that whoever runs the gateway has made, with rights of his own."""
    key, secret = create(**members)
    with patch.context() as own:
        for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
            own.setenv(f"AWS_{name}", "owner")
        own.delenv("AWS_SESSION_TOKEN")
        key_table(_tables()[0]).add(key)
    return key, secret


@pytest.mark.parametrize("tags", ["true", "false"])
def test_it_streams_counts_and_tells(monkeypatch: pytest.MonkeyPatch, tags: str) -> None:
    with deployed(monkeypatch, _stack(SessionTags=tags), "Hello.") as handler:
        key, secret = _key(monkeypatch, requests_per_minute=5, tokens_per_minute=10_000, monthly_tokens=1000, team="a")
        assert _call(handler, "sk-invented")[0] == 401
        for stream in (True, False):
            status, text = _call(handler, secret, stream=stream)
            assert (status, "Hello." in text) == (200, True), text
        status, text = _call(handler, secret, "/usage")
        assert (status, [row["requests"] for row in json.loads(text)["usage"]]) == (200, [2]), text
        assert usage_store(f"dynamodb:{_tables()[1]}").month(key.id)[0] > 0


@pytest.mark.parametrize("sid", ["Keys", "Usage", "Caller", "Models"])
def test_each_of_its_rights_is_needed(monkeypatch: pytest.MonkeyPatch, sid: str) -> None:
    with deployed(monkeypatch, _without(_stack(), sid), "Hello.") as handler:
        _, secret = _key(monkeypatch, requests_per_minute=5)
        status, text = _call(handler, secret)
        assert (status, "Hello." in text, "arn:" in text) == (503, False, False), text


def test_it_calls_no_other_model(monkeypatch: pytest.MonkeyPatch) -> None:
    with deployed(monkeypatch, _stack(GatewayModels="fast=bedrock:cohere.command-r-v1:0"), "Hello.") as handler:
        _, secret = _key(monkeypatch)
        assert _call(handler, secret)[0] == 503


def _without(stack: FilledIn, sid: str) -> FilledIn:
    """The stack without that statement, in whichever policy it stands."""
    template = copy.deepcopy(stack.template)

    def remove(value: Any) -> None:
        for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            remove(each)
        if isinstance(value, dict) and isinstance(value.get("Statement"), list):
            kept = [one for one in value["Statement"] if f'"Sid": "{sid}"' not in json.dumps(one)]
            value["Statement"] = kept or [{"Effect": "Allow", "Action": "sts:GetCallerIdentity", "Resource": "*"}]

    remove(template)
    assert template != stack.template
    return replace(stack, template=template)


def _stack(**parameters: str) -> FilledIn:
    return filled("gateway", {"GatewayModels": "fast=bedrock:amazon.nova-lite-v1:0", **parameters})
