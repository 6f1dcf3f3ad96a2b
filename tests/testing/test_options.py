"""What is written wrongly where a test asks for its AWS says so, and what is written in the obvious way works."""

from __future__ import annotations

import ast
import asyncio
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import boto3
import pytest

import awsllm
from awsllm.errors import ConfigurationError
from awsllm.server.account.clock import MovableClock
from awsllm.server.account.terms import TRANSITIONS
from awsllm.testing import mock_aws, server
from awsllm.testing.faults import throttle

NOVA = "us.amazon.nova-lite-v1:0"
HELLO: Any = [{"role": "user", "content": [{"text": "Hello"}]}]
ACCOUNT = Path(awsllm.__file__).parent / "server" / "account"


def enter(**options: Any) -> None:
    with mock_aws(reply="Hi", **options):
        pass


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"transitions": {"endpoints": 2}}, "no transition 'endpoints'; did you mean 'endpoint'"),
        ({"transitions": {"endpoint": "2"}}, "a whole number of looks, or seconds as a float"),
        ({"transitions": {"endpoint": -1}}, "a whole number of looks, or seconds as a float"),
        ({"quotas": {"batch-record-min": 1}}, "no quota 'batch-record-min'; did you mean 'batch-records-min'"),
        ({"quotas": {"ml.g5.xlarge": "4"}}, "give a whole number"),
        ({"clock": 5.0}, "a clock is a function that returns seconds"),
        ({"knowledge_bases": ["text"]}, "knowledge_bases= is a dict by their ids, not a list"),
        ({"guardrails": [{}]}, "guardrails= is a dict by their ids, not a list"),
    ],
)
def test_an_option_that_would_mean_nothing_is_refused(options: dict[str, Any], hint: str) -> None:
    with pytest.raises(ConfigurationError, match=hint):
        enter(**options)


def test_every_transition_of_the_account_has_its_name_among_the_terms() -> None:
    found = set()
    for path in ACCOUNT.rglob("*.py"):
        module = ".".join(("awsllm", "server", "account", *path.relative_to(ACCOUNT).with_suffix("").parts))
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "region.wait":
                names = vars(import_module(module))
                written = [ast.unparse(arg) for arg in call.args]
                found |= {eval(arg, names) for arg in written if "kind" not in arg}  # noqa: S307 -- the package's own
    assert len(found) > 10
    assert found <= TRANSITIONS


@pytest.mark.parametrize("documents", ["Refunds take five days.", {"text": "Refunds take five days."}])
def test_a_knowledge_base_of_one_document_needs_no_list(documents: Any) -> None:
    with mock_aws(reply="Hi", knowledge_bases={"KBID123456": documents}):
        runtime = boto3.client("bedrock-agent-runtime", "us-east-1")
        found = runtime.retrieve(knowledgeBaseId="KBID123456", retrievalQuery={"text": "refunds"})["retrievalResults"]
    assert [result["content"]["text"] for result in found] == ["Refunds take five days."]


@pytest.mark.parametrize("taker", [mock_aws, server])
def test_options_are_given_by_name(taker: Any) -> None:
    with pytest.raises(TypeError, match=r"takes its options by name: \w+\(reply='Hi'\)"):
        taker("Hi")


@pytest.mark.parametrize("taker", [mock_aws, server])
def test_one_fault_may_stand_alone_and_what_is_none_is_refused(taker: Any) -> None:
    taker(reply="Hi", faults=throttle(times=1))
    with pytest.raises(TypeError, match=r"is no fault; give throttle\(\.\.\.\)"):
        taker(reply="Hi", faults=[throttle])


def test_a_fault_that_stands_alone_happens() -> None:
    with mock_aws(reply="Hi", faults=throttle(times=1)) as aws, awsllm.Client(region="us-east-1") as client:
        assert client.converse(f"bedrock:{NOVA}", "Hello").text == "Hi"
        assert [count for _, count in aws.faults.happened()] == [1]


def test_mock_aws_is_entered_in_coroutines_too() -> None:
    async def ask() -> str:
        async with mock_aws(reply="Hi"), awsllm.AsyncClient(region="us-east-1") as client:
            return (await client.converse(f"bedrock:{NOVA}", "Hello")).text

    assert asyncio.run(ask()) == "Hi"


def test_an_endpoint_of_a_private_network_is_bedrocks() -> None:
    with mock_aws(reply="Hi"):
        url = "https://vpce-0a1b2c-3d4e.bedrock-runtime.us-east-1.vpce.amazonaws.com"
        client = boto3.client("bedrock-runtime", "us-east-1", endpoint_url=url)
        reply = client.converse(modelId=NOVA, messages=HELLO)
    assert reply["output"]["message"]["content"] == [{"text": "Hi"}]


def test_server_takes_the_models_of_mock_aws() -> None:
    server(reply="Hi", models={"anthropic.*": "local:smollm2-135m-instruct"})
    with pytest.raises(ConfigurationError, match="answers by local: models"):
        server(reply="Hi", models={"anthropic.*": "bedrock:us.*"})


@pytest.mark.parametrize(
    ("where", "hint"),
    [
        ({"service": "dynamo"}, "not 'dynamo'; did you mean 'dynamodb'"),
        ({"operation": "converse_stream"}, "did you mean 'ConverseStream'"),
        ({"service": "bedrock-runtime", "operation": "Convers"}, "no operation 'Convers'; did you mean 'Converse'"),
    ],
)
def test_a_fault_that_could_never_happen_is_refused(where: dict[str, str], hint: str) -> None:
    with pytest.raises(ConfigurationError, match=hint):
        throttle(**where)  # type: ignore[arg-type]


def test_what_a_fault_does_not_take_is_named() -> None:
    with pytest.raises(TypeError, match="a fault takes no 'time'; did you mean 'times'"):
        throttle(time=1)  # type: ignore[call-arg]


def statuses(bedrock: Any) -> list[str]:
    return [str(one["status"]) for one in bedrock.list_guardrails()["guardrails"]]


def make_guardrail(bedrock: Any) -> None:
    words: Any = {"wordsConfig": [{"text": "bomb"}]}
    bedrock.create_guardrail(
        name="words", blockedInputMessaging="No.", blockedOutputsMessaging="No.", wordPolicyConfig=words
    )


def test_the_clock_of_a_mock_can_be_put_forward() -> None:
    with mock_aws(reply="Hi", transitions={"guardrail": 3600.0}) as aws:
        bedrock = boto3.client("bedrock", "us-east-1")
        make_guardrail(bedrock)
        assert statuses(bedrock) == ["CREATING"]
        assert isinstance(aws.plane.clock, MovableClock)
        aws.plane.clock.advance(3600)
        assert statuses(bedrock) == ["READY"]


def test_the_account_has_the_time_that_a_test_froze(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_900_000_000.0)  # as freezegun does it
    with mock_aws(reply="Hi"):
        bedrock = boto3.client("bedrock", "us-east-1")
        make_guardrail(bedrock)
        assert bedrock.list_guardrails()["guardrails"][0]["createdAt"].timestamp() == 1_900_000_000


def test_a_stop_needs_a_start() -> None:
    with pytest.raises(RuntimeError, match="there is no start for this stop"):
        mock_aws(reply="Hi").stop()
