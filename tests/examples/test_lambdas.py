"""The handlers of `examples/lambdas`, called with events as their triggers send them, in the offline AWS."""

import importlib
import json
from typing import Any
from urllib.parse import unquote_plus

import boto3
import pytest

from awsllm import ConverseRequest, Text, ToolResult
from awsllm.aws.connections import Connections
from awsllm.lambdas import websocket
from awsllm.lambdas.emulator.sample_events import sample
from awsllm.policy.keys import create
from awsllm.policy.keys_dynamodb import KeyTable
from awsllm.testing import mock_aws
from tests.support.examples import HOME
from tests.support.lambdas import FakeContext
from tests.support.loopback import Received, Response, serving
from tests.support.tables import KEYS, USAGE, AtomicRpc, create_tables, table

MODEL = "us.amazon.nova-lite-v1:0"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWSLLM_MODEL", f"bedrock:{MODEL}")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


def handler_of(name: str) -> Any:
    """A new one, as in a new environment of Lambda."""
    return importlib.reload(importlib.import_module(f"examples.lambdas.{name}")).handler


def asked(aws: Any) -> list[ConverseRequest]:
    return [request for request in aws.requests if isinstance(request, ConverseRequest)]


def body_of(reply: Any) -> Any:
    return json.loads(reply["body"])


@pytest.mark.parametrize("path", sorted((HOME / "lambdas").glob("*.py")), ids=lambda path: path.stem)
def test_its_command_is_that_of_the_file(path: Any) -> None:
    text = path.read_text(encoding="utf-8")
    assert f"--handler examples.lambdas.{path.stem}.handler" in text
    assert "\nhandler = " in text


@pytest.mark.parametrize("door", ["rest", "http", "url", "alb"])
def test_chat_answers_from_a_tool(door: str) -> None:
    tool_use = {"toolUse": {"name": "order_status", "input": {"number": "A-17"}}}
    with mock_aws(reply=[tool_use, "It is packed."]) as aws:
        event = sample(door, json.dumps({"message": "Where is order A-17?"}), "/chat")
        reply = handler_of("chat")(event, FakeContext())
    assert reply["statusCode"] == 200
    assert body_of(reply)["text"] == "It is packed."
    [result] = asked(aws)[1].messages[-1].content
    assert isinstance(result, ToolResult)
    assert result.content == (Text("packed"),)


def test_stream_speaks_before_the_model() -> None:
    with mock_aws(reply="It scatters light.") as aws:
        event = sample("url", json.dumps({"message": "Why is the sky blue?"}))
        head, *pieces = handler_of("stream")(event, FakeContext())
    assert head.status == 200
    said = b"".join(piece if isinstance(piece, bytes) else piece.encode() for piece in pieces).decode()
    assert said.index("let me see") < said.index("light")
    assert asked(aws)[0].system[0].text.startswith("You are a bicycle shop's assistant.")


def test_a_poisoned_mail_fails_alone() -> None:
    event = sample("sqs", json.dumps({"mail": "The kettle leaks!"}))
    [good] = event["Records"]
    event["Records"].append({**good, "messageId": "poisoned", "body": "{"})
    with mock_aws(reply='{"product": "kettle", "severity": "high"}') as aws:
        reply = handler_of("sqs")(event, FakeContext())
    assert reply == {"batchItemFailures": [{"itemIdentifier": "poisoned"}]}
    assert "The kettle leaks!" in asked(aws)[0].messages[0].text


def test_a_review_is_judged() -> None:
    with mock_aws(reply='{"publish": false}') as aws:
        reply = handler_of("stepfunctions")({"review": "You are all fools."}, FakeContext())
    assert reply == {"publish": False}
    assert "You are all fools." in asked(aws)[0].messages[0].text


def test_an_invoice_is_written_beside_its_document() -> None:
    event = sample("s3")
    place = event["Records"][0]["s3"]
    bucket, key = place["bucket"]["name"], unquote_plus(place["object"]["key"])
    with mock_aws(reply='{"number": "A-17", "total": 99.5}'):
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket=bucket)
        etag = s3.put_object(Bucket=bucket, Key=key, Body=b"Invoice A-17: 99.50")["ETag"]
        place["object"] |= {"eTag": etag.strip('"'), "size": 19, "versionId": None}
        handler_of("documents")(event, FakeContext())
        [written] = [each["Key"] for each in s3.list_objects_v2(Bucket=bucket)["Contents"] if each["Key"] != key]
        result = json.loads(s3.get_object(Bucket=bucket, Key=written)["Body"].read())
    assert (result["status"], result["result"]) == ("succeeded", {"number": "A-17", "total": 99.5})


def test_mcp_lists_and_calls_its_tool() -> None:
    with mock_aws(reply="x"):
        handler = handler_of("mcp_tools")
        called = {"name": "in_stock", "arguments": {"product": "Bell"}}
        replies = [
            body_of(handler(sample("http", json.dumps({"jsonrpc": "2.0", "id": 1, **request})), FakeContext()))
            for request in ({"method": "tools/list"}, {"method": "tools/call", "params": called})
        ]
    assert replies[0]["result"]["tools"][0]["name"] == "in_stock"
    assert replies[1]["result"]["structuredContent"] == {"product": "Bell", "pieces": 40}


def test_the_gateway_lays_its_rules_before_every_conversation(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("KEYS", KEYS), ("USAGE", USAGE)):
        monkeypatch.setenv(f"AWSLLM_{name}_TABLE", value)
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
    event = sample("url", json.dumps(body), "/v1/chat/completions")
    with mock_aws(reply="Good day.") as aws:
        create_tables()
        key, secret = create(name="team-a")
        KeyTable(table(KEYS, AtomicRpc()), life=0).add(key)
        handler = handler_of("gateway")
        refused = handler(event, FakeContext())
        event["headers"]["authorization"] = f"Bearer {secret}"
        reply = handler(event, FakeContext())
    assert (refused["statusCode"], reply["statusCode"]) == (401, 200)
    assert body_of(reply)["choices"][0]["message"]["content"] == "Good day."
    [request] = asked(aws)
    assert (request.model, request.system[0].text) == ("us.amazon.nova-pro-v1:0", "Never name a competitor's product.")


def test_the_websocket_sends_pieces_to_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    opened: list[Connections] = []

    def connections(api: str, stage: str) -> Connections:
        opened.append(Connections(api, stage))
        return opened[-1]

    def received(request: Received) -> Response:
        sent.append(json.loads(request.body))
        return Response(b"")

    with serving(received) as url, mock_aws(reply="It has two wheels.") as aws:
        monkeypatch.setenv("AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI", url)
        monkeypatch.setattr(websocket, "Connections", connections)
        handler = handler_of("websocket")
        for message in ("help", "What is a bicycle?"):
            handler(sample("websocket", json.dumps({"message": message})), FakeContext())
        for one in opened:
            one.close()
    texts = [message["text"] for message in sent if message["type"] == "delta"]
    assert texts[0] == "Ask me anything about bicycles."
    assert "".join(texts[1:]) == "It has two wheels."
    assert len(asked(aws)) == 1  # help asks no model


def test_right_answers_are_worth_more_than_short_ones() -> None:
    def answered(text: str) -> Any:
        turns = [{"role": "user", "content": "6 x 7?"}, {"role": "assistant", "content": text}]
        return {"id": text[:9], "messages": turns, "metadata": {"reference_answer": "42"}}

    samples = [answered("It is 42."), answered("Well, " * 30 + "42"), answered("41")]
    graded = handler_of("grader")(samples, FakeContext())
    assert [one["aggregate_reward_score"] for one in graded] == pytest.approx([1.0, 0.9, 0.0])
    assert [one["id"] for one in graded] == [one["id"] for one in samples]
    assert {metric["name"] for metric in graded[0]["metrics_list"]} == {"right", "short"}
