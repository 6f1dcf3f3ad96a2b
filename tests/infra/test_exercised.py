"""Handlers run as their templates deploy them: with the environment that the stack gave the function, as the role that
it made, under that role's rights alone. What the role may not do is refused as IAM refuses it.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import boto3
import pytest

from awsllm.aws.dynamodb import ItemTable
from awsllm.aws.rpc import Rpc
from awsllm.aws.session import AwsSession
from awsllm.policy.keys import create
from awsllm.policy.keys_dynamodb import KeyTable
from awsllm.testing import mock_aws
from tests.support.front_door import url_event
from tests.support.lambdas import FakeContext, answered, event
from tests.support.queues import batch, failed
from tests.support.stacks import FilledIn, filled, walk
from tests.support.stacks_in_moto import deploy, prepared
from tests.support.streams import sent_events

_REGION = "us-east-1"
GUARDRAIL = {
    "name": "careful",
    "blockedInputMessaging": "No.",
    "blockedOutputsMessaging": "No.",
    "wordPolicyConfig": {"wordsConfig": [{"text": "moonshot"}]},
}


@contextlib.contextmanager
def deployed(monkeypatch: pytest.MonkeyPatch, stack: FilledIn, reply: Any = "Hello.") -> Iterator[Any]:
    """The handler of the stack's function, in an account that has the stack and judges by IAM."""
    with mock_aws(reply=reply, iam=True, guardrails={"gr1234567890": GUARDRAIL}):
        deploy(prepared(stack))
        (function,) = boto3.client("lambda", _REGION).list_functions()["Functions"]
        role = boto3.client("sts", _REGION).assume_role(RoleArn=function["Role"], RoleSessionName="function")
        with monkeypatch.context() as patched:
            for name, value in _lambda_environment(role["Credentials"]).items():
                patched.setenv(name, str(value))  # moto keeps numbers
            for name, value in function["Environment"]["Variables"].items():
                patched.setenv(name, str(value))  # moto keeps numbers
            module, _, attribute = function["Handler"].rpartition(".")
            loaded = importlib.import_module(module)
            vars(loaded).pop(attribute, None)  # each module makes its handler once
            try:
                yield getattr(loaded, attribute)
            finally:
                vars(loaded).pop(attribute, None)


def _lambda_environment(credentials: Any) -> dict[str, str]:
    return {
        "AWS_REGION": _REGION,
        "AWS_ACCESS_KEY_ID": credentials["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": credentials["SecretAccessKey"],
        "AWS_SESSION_TOKEN": credentials["SessionToken"],
    }


def without(stack: FilledIn, sid: str) -> FilledIn:
    """The stack whose policies lack that statement; one that has no other allows something idle."""
    template = copy.deepcopy(stack.template)
    for part in walk(template["Resources"]):
        if "PolicyDocument" in part:
            statements = part["PolicyDocument"]["Statement"]
            kept = [each for each in statements if not any(one.get("Sid") == sid for one in walk(each))]
            statements[:] = kept or [{"Effect": "Allow", "Action": "sts:GetCallerIdentity", "Resource": "*"}]
    return replace(stack, template=template)


# --- chat ------------------------------------------------------------------------------------------------------------


def _said(handler: Any, **body: Any) -> tuple[int, dict[str, Any]]:
    """Status and what a streamed answer's events say, by the name of the event; deltas as one text."""
    head, *pieces = handler(
        event("url", body=json.dumps({"message": "Hi", **body}), isBase64Encoded=False), FakeContext()
    )
    if "text/event-stream" not in head.headers.get("content-type", ""):
        return head.status, json.loads(b"".join(pieces))
    events = sent_events(pieces)
    told = {each.name: each.data for each in events}
    return head.status, told | {"text": "".join(each.data["text"] for each in events if each.name == "delta")}


@pytest.mark.parametrize("most", [False, True])
def test_the_chat_api_streams_and_remembers(monkeypatch: pytest.MonkeyPatch, most: bool) -> None:
    with deployed(monkeypatch, filled("chat-api", most=most), ["Hello.", "Again."]) as handler:
        status, first = _said(handler)
        assert (status, first.get("text")) == (200, "Hello."), first
        status, second = _said(handler, session=first["metadata"]["session"])
        assert (status, second.get("text")) == (200, "Again."), second


def test_the_chat_api_answers_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    with deployed(monkeypatch, filled("chat-api", {"Streaming": "false", "Sessions": "false"})) as handler:
        assert answered(handler(event("url"), FakeContext()))[0] == 200


def test_its_guardrail_reads_along(monkeypatch: pytest.MonkeyPatch) -> None:
    with deployed(monkeypatch, filled("chat-api", most=True)) as handler:
        assert _said(handler, message="A moonshot!")[1]["text"] == "No."


@pytest.mark.parametrize("sid", ["Models", "Sessions", "Profile", "Guardrail"])
def test_each_right_of_the_chat_api_is_needed(monkeypatch: pytest.MonkeyPatch, sid: str) -> None:
    with deployed(monkeypatch, without(filled("chat-api", most=True), sid)) as handler:
        status, said = _said(handler)
        assert status >= 500 or "error" in said or "session" not in said["metadata"]


def test_it_may_call_no_other_model(monkeypatch: pytest.MonkeyPatch) -> None:
    with deployed(monkeypatch, filled("chat-api", {"ModelId": "amazon.nova-pro-v1:0"})) as handler:
        status, said = _said(handler)
        assert status == 502
        assert "Hello" not in json.dumps(said)


# --- documents -------------------------------------------------------------------------------------------------------


def _arrival(bucket: str, key: str, text: str = "A long story.") -> dict[str, Any]:
    """The object is put by the account, and what the queue then has of it."""
    put = boto3.client("s3", _REGION).put_object(Bucket=bucket, Key=key, Body=text.encode(), ContentType="text/plain")
    notice = event("s3_eventbridge")
    notice["detail"]["bucket"]["name"] = bucket
    notice["detail"]["object"] = {"key": key, "size": len(text), "etag": put["ETag"].strip('"')}
    return batch(notice)


def _buckets(most: bool) -> tuple[str, str]:
    names = [each["Name"] for each in boto3.client("s3", _REGION).list_buckets()["Buckets"]]
    (output,) = [name for name in names if "output" in name]
    return "inbox" if most else next(name for name in names if "source" in name), output


@pytest.mark.parametrize("most", [False, True])
def test_documents_are_worked_on_once(monkeypatch: pytest.MonkeyPatch, most: bool) -> None:
    with deployed(monkeypatch, filled("documents", most=most), '{"label": "invoice"}') as handler:
        source, output = _buckets(most)
        arrival = _arrival(source, "in/story.txt")
        assert failed(handler(arrival, FakeContext())) == []
        assert failed(handler(arrival, FakeContext())) == []
        (result,) = boto3.client("s3", _REGION).list_objects_v2(Bucket=output)["Contents"]
        assert result["Key"].startswith("results/")
        read = boto3.client("s3", _REGION).get_object(Bucket=output, Key=result["Key"])["Body"].read()
        assert b"invoice" in read


def test_documents_elsewhere_are_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    with deployed(monkeypatch, filled("documents", most=True), "invoice") as handler:
        boto3.client("s3", _REGION).create_bucket(Bucket="elsewhere")
        for place in (("elsewhere", "in/story.txt"), ("inbox", "out/story.txt")):
            handler(_arrival(*place), FakeContext())
        found = boto3.client("s3", _REGION).list_objects_v2(Bucket=_buckets(True)[1]).get("Contents", [])
        read = [boto3.client("s3", _REGION).get_object(Bucket=_buckets(True)[1], Key=each["Key"]) for each in found]
        assert all(b"invoice" not in each["Body"].read() for each in read)


@pytest.mark.parametrize("sid", ["Models", "Source", "Output", "Idempotency"])
def test_each_right_of_documents_is_needed(monkeypatch: pytest.MonkeyPatch, sid: str) -> None:
    with deployed(monkeypatch, without(filled("documents"), sid), "invoice") as handler:
        source, output = _buckets(False)
        handler(_arrival(source, "in/story.txt"), FakeContext())
        found = boto3.client("s3", _REGION).list_objects_v2(Bucket=output).get("Contents", [])
        read = [boto3.client("s3", _REGION).get_object(Bucket=output, Key=each["Key"])["Body"].read() for each in found]
        assert all(b"invoice" not in each for each in read)


# --- the gateway -----------------------------------------------------------------------------------------------------


def _key(**members: Any) -> tuple[str, str]:
    """A key in the stack's table, as its account's owner makes it: its id and its secret."""
    (name,) = [each for each in boto3.client("dynamodb", _REGION).list_tables()["TableNames"] if "Keys" in each]
    key, secret = create(**members)
    owner = boto3.Session(aws_access_key_id="AKIAOWNER", aws_secret_access_key="secret", region_name=_REGION)
    KeyTable(ItemTable(name, Rpc(AwsSession(session=owner)))).add(key)
    return key.id, secret


def _asked(handler: Any, path: str, secret: str, body: Any = None) -> tuple[int, Any]:
    """Status and JSON of what the gateway answers."""
    data = b"" if body is None else json.dumps(body).encode()
    headers = {"authorization": f"Bearer {secret}", "content-type": "application/json"}
    head, *pieces = handler(url_event("GET" if body is None else "POST", path, data, headers), FakeContext())
    return head.status, json.loads(b"".join(pieces))


_CHAT = {"model": "fast", "messages": [{"role": "user", "content": "Hi"}]}


@pytest.mark.parametrize("tags", ["true", "false"])
def test_the_gateway_answers_and_counts(monkeypatch: pytest.MonkeyPatch, tags: str) -> None:
    stack = filled("gateway", {"KillSwitch": "false", "SessionTags": tags}, most=True)
    with deployed(monkeypatch, stack) as handler:
        _, secret = _key(name="search", team="search", requests_per_minute=2)
        status, answer = _asked(handler, "/v1/chat/completions", secret, _CHAT)
        assert (status, answer.get("choices", [{}])[0].get("message", {}).get("content")) == (200, "Hello."), answer
        assert _asked(handler, "/v1/chat/completions", secret, _CHAT)[0] == 200
        assert _asked(handler, "/v1/chat/completions", secret, _CHAT)[0] == 429
        status, usage = _asked(handler, "/usage", secret)
        assert status == 200
        assert "fast" in json.dumps(usage)


def test_the_gateway_asks_for_a_key_and_can_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    with deployed(monkeypatch, filled("gateway")) as handler:
        assert _asked(handler, "/v1/chat/completions", "sk-nobody", _CHAT)[0] == 401
    with deployed(monkeypatch, filled("gateway", {"KillSwitch": "true"})) as handler:
        _, secret = _key(name="search")
        assert _asked(handler, "/v1/chat/completions", secret, _CHAT)[0] == 503


@pytest.mark.parametrize("sid", ["Caller", "Keys", "Usage"])
def test_each_right_of_the_gateway_is_needed(monkeypatch: pytest.MonkeyPatch, sid: str) -> None:
    stack = without(filled("gateway", {"KillSwitch": "false"}, most=True), sid)
    with deployed(monkeypatch, stack) as handler:
        _, secret = _key(name="search", requests_per_minute=60)
        assert _asked(handler, "/v1/chat/completions", secret, _CHAT)[0] >= 500


def test_the_gateways_own_role_may_call_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = filled("gateway", {"KillSwitch": "false"}, most=True)
    with deployed(monkeypatch, stack) as handler, monkeypatch.context() as own:
        vars(importlib.import_module("awsllm.lambdas.gateway")).pop("handler", None)
        own.delenv("AWSLLM_CALLER_ROLE")  # in a context of its own, which ends before the function's
        handler = importlib.import_module("awsllm.lambdas.gateway").handler
        _, secret = _key(name="search")
        assert _asked(handler, "/v1/chat/completions", secret, _CHAT)[0] >= 500
