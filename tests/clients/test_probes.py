"""The probes that any emulator of Bedrock and SageMaker can be asked, by boto3, and one more by the JavaScript SDK.

They run against a scripted model, and with ``-m slow`` against the local one, which ``make clients`` does.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from awsllm.server import running
from awsllm.testing import AsyncScriptedBackend
from tests.clients.programs import node
from tests.support.probing import (
    CLAUDE,
    FORCED,
    KEY,
    PROFILE,
    TITAN,
    act,
    client,
    close_clients,
    events_of,
    gate,
    say,
)

backend = AsyncScriptedBackend(act)
CLAUDES = {
    "anthropic_version": "bedrock-2023-05-31",
    "max_tokens": 20,
    "messages": [{"role": "user", "content": "Hello"}],
}


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    gate.clear()
    yield
    close_clients()


@pytest.fixture(scope="module")
def scripted() -> Iterator[str]:
    with running(backend) as url:
        yield url


@pytest.fixture(scope="module")
def locked() -> Iterator[str]:
    with running(backend, api_key=KEY) as url:
        yield url


@pytest.fixture(params=["scripted", pytest.param("local_url", marks=pytest.mark.slow)])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


# --- boto3 -----------------------------------------------------------------------------------------------


def test_1_converse(url: str) -> None:
    reply = client("bedrock-runtime", url).converse(
        modelId=CLAUDE, messages=say("Hello"), inferenceConfig={"maxTokens": 20}
    )
    assert reply["output"]["message"]["content"][0]["text"].strip()
    assert reply["usage"]["totalTokens"] == reply["usage"]["inputTokens"] + reply["usage"]["outputTokens"]
    assert len(reply["ResponseMetadata"]["RequestId"]) == 36


def test_2_converse_with_an_arn(url: str) -> None:
    reply = client("bedrock-runtime", url).converse(
        modelId=PROFILE, messages=say("Hello"), inferenceConfig={"maxTokens": 5}
    )
    assert reply["stopReason"]


def test_3_a_forced_tool(url: str) -> None:
    reply = client("bedrock-runtime", url).converse(
        modelId=CLAUDE, messages=say("What is the weather in Oslo?"), toolConfig=FORCED
    )
    assert reply["stopReason"] == "tool_use"
    (use,) = [block["toolUse"] for block in reply["output"]["message"]["content"] if "toolUse" in block]
    assert use["name"] == "get_weather"
    assert isinstance(use["input"]["city"], str)


def test_4_the_limit_on_tokens(url: str) -> None:
    reply = client("bedrock-runtime", url).converse(
        modelId=CLAUDE, messages=say("Tell me all you know about the sky. " * 40), inferenceConfig={"maxTokens": 2}
    )
    assert reply["stopReason"] == "max_tokens"
    assert reply["usage"]["outputTokens"] <= 2


def test_5_converse_stream(url: str) -> None:
    reply = client("bedrock-runtime", url).converse_stream(
        modelId=CLAUDE, messages=say("Why is the sky blue?"), inferenceConfig={"maxTokens": 20}
    )
    events = events_of(reply["stream"])
    assert events[0] == {"messageStart": {"role": "assistant"}}
    assert any(event.get("contentBlockDelta", {}).get("delta", {}).get("text") for event in events)
    assert set(events[-1]["metadata"]) >= {"usage", "metrics"}


def test_6_a_forced_tool_in_a_stream(url: str) -> None:
    reply = client("bedrock-runtime", url).converse_stream(
        modelId=CLAUDE, messages=say("What is the weather in Oslo?"), toolConfig=FORCED
    )
    events = events_of(reply["stream"])
    starts = [event["contentBlockStart"]["start"] for event in events if "contentBlockStart" in event]
    assert [start["toolUse"]["name"] for start in starts] == ["get_weather"]
    deltas = [event["contentBlockDelta"]["delta"] for event in events if "contentBlockDelta" in event]
    pieces = [delta["toolUse"]["input"] for delta in deltas if "toolUse" in delta]
    assert "city" in json.loads("".join(pieces))


def test_7_a_conversation_that_the_assistant_begins(url: str) -> None:
    with pytest.raises(ClientError, match="must start with a user message") as caught:
        client("bedrock-runtime", url).converse(modelId=CLAUDE, messages=say("Hello", "assistant"))
    assert caught.value.response["Error"]["Code"] == "ValidationException"


def test_8_a_model_that_does_not_exist(url: str) -> None:
    with pytest.raises(ClientError, match="model identifier is invalid") as caught:
        client("bedrock-runtime", url).converse(modelId="no.such-model-v9:9", messages=say("Hello"))
    assert caught.value.response["Error"]["Code"] == "ValidationException"


def test_9_claude_s_own_body(url: str) -> None:
    reply = client("bedrock-runtime", url).invoke_model(modelId=CLAUDE, body=json.dumps(CLAUDES))
    assert json.loads(reply["body"].read())["content"][0]["text"].strip()


def test_10_titan_embeddings(url: str) -> None:
    reply = client("bedrock-runtime", url).invoke_model(modelId=TITAN, body=json.dumps({"inputText": "a small cat"}))
    wire = json.loads(reply["body"].read())
    assert len(wire["embedding"]) == 1024
    assert reply["ResponseMetadata"]["HTTPHeaders"]["x-amzn-bedrock-input-token-count"]


def test_11_claude_s_own_stream(url: str) -> None:
    reply = client("bedrock-runtime", url).invoke_model_with_response_stream(modelId=CLAUDE, body=json.dumps(CLAUDES))
    kinds = [json.loads(event["chunk"]["bytes"])["type"] for event in events_of(reply["body"])]
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")


def test_12_counting_tokens(url: str) -> None:
    counting = client("bedrock-runtime", url)
    short = counting.count_tokens(modelId=CLAUDE, input={"converse": {"messages": say("one two")}})["inputTokens"]
    long = counting.count_tokens(modelId=CLAUDE, input={"converse": {"messages": say("one two three")}})["inputTokens"]
    assert 0 < short < long


@pytest.mark.parametrize("model", [PROFILE, f"us.{CLAUDE}"])
def test_12_tokens_are_counted_of_models_not_of_profiles(url: str, model: str) -> None:
    with pytest.raises(ClientError, match="doesn't support counting tokens") as caught:
        client("bedrock-runtime", url).count_tokens(modelId=model, input={"converse": {"messages": say("Hi")}})
    assert caught.value.response["Error"]["Code"] == "ValidationException"


def test_13_a_guardrail_s_words(url: str) -> None:
    made = client("bedrock", url).create_guardrail(
        name="no-swearing",
        wordPolicyConfig={"wordsConfig": [{"text": "drat"}]},
        blockedInputMessaging="no",
        blockedOutputsMessaging="no",
    )
    judged = client("bedrock-runtime", url).apply_guardrail(
        guardrailIdentifier=made["guardrailId"],
        guardrailVersion="DRAFT",
        source="INPUT",
        content=[{"text": {"text": "Oh drat."}}],
    )
    assert judged["action"] == "GUARDRAIL_INTERVENED"


def test_14_foundation_models(url: str) -> None:
    models = client("bedrock", url).list_foundation_models()["modelSummaries"]
    assert TITAN in {model["modelId"] for model in models}


def test_15_a_batch_job(url: str) -> None:
    """At least 100 records, as the service wants (docs.aws.amazon.com, Quotas for Amazon Bedrock, 2026)."""
    s3, bedrock = client("s3", url), client("bedrock", url)
    s3.create_bucket(Bucket="batch")
    records = [{"recordId": f"RECORD{n:05}", "modelInput": CLAUDES} for n in range(100)]
    s3.put_object(Bucket="batch", Key="in/records.jsonl", Body="\n".join(map(json.dumps, records)).encode())
    job = bedrock.create_model_invocation_job(
        jobName="probe",
        roleArn="arn:aws:iam::123456789012:role/batch",
        modelId=CLAUDE,
        inputDataConfig={"s3InputDataConfig": {"s3Uri": "s3://batch/in/"}},
        outputDataConfig={"s3OutputDataConfig": {"s3Uri": "s3://batch/out/"}},
    )["jobArn"]
    assert bedrock.get_model_invocation_job(jobIdentifier=job)["status"]


def test_16_a_customization_job(url: str) -> None:
    s3, bedrock = client("s3", url), client("bedrock", url)
    s3.create_bucket(Bucket="tuning")
    line = json.dumps({"prompt": "Hello", "completion": "Hi"})
    s3.put_object(Bucket="tuning", Key="in/train.jsonl", Body="\n".join([line] * 32).encode())
    job = bedrock.create_model_customization_job(
        jobName="probe",
        customModelName="mine",
        roleArn="arn:aws:iam::123456789012:role/tuning",
        baseModelIdentifier="amazon.titan-text-lite-v1:0:4k",
        trainingDataConfig={"s3Uri": "s3://tuning/in/train.jsonl"},
        outputDataConfig={"s3Uri": "s3://tuning/out/"},
    )["jobArn"]
    assert bedrock.get_model_customization_job(jobIdentifier=job)["status"]


def test_17_an_endpoint(url: str) -> None:
    body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}
    reply = client("sagemaker-runtime", url).invoke_endpoint(
        EndpointName="any", Body=json.dumps(body), ContentType="application/json"
    )
    wire = json.loads(reply["Body"].read())
    assert wire["choices"][0]["message"]["role"] == "assistant"
    assert reply["InvokedProductionVariant"] == "AllTraffic"


def test_18_an_endpoint_that_streams(url: str) -> None:
    body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5, "stream": True}
    reply = client("sagemaker-runtime", url).invoke_endpoint_with_response_stream(
        EndpointName="any", Body=json.dumps(body), ContentType="application/json"
    )
    parts = b"".join(event["PayloadPart"]["Bytes"] for event in events_of(reply["Body"]))
    assert parts.startswith(b"data: {")
    assert parts.endswith(b"data: [DONE]\n\n")


# --- the JavaScript SDK ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["scripted", "locked"])
def test_the_javascript_sdk(place: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue(place)
    command = [*node("sdk.mjs"), url, KEY]
    backend.cancelled.clear()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as probe:
        assert probe.stdout is not None
        assert probe.stderr is not None
        findings: list[tuple[str, Any]] = []
        for line in probe.stdout:
            found = json.loads(line)
            findings.append((found["name"], found["value"]))
            if found["name"] == "event" and "contentBlockDelta" in found["value"]:
                gate.set()  # the second word is said only after the first has arrived
        errors = probe.stderr.read()
    assert probe.returncode == 0, errors
    values = dict(findings)
    assert values["converse"]["text"].startswith("The sky is blue")
    assert len(values["converse"]["requestId"]) == 36
    assert values["stream"] == [
        *("messageStart", "contentBlockDelta", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata")
    ]
    assert [value for name, value in findings if name == "before"] == ["messageStart", "contentBlockDelta"]
    assert backend.cancelled.wait(20)  # the stream that never ends, and that the client left
    assert values["broken"] == {"error": "ThrottlingException", "message": "slow down"}
    assert values["refused"]["error"] == "ValidationException"
    assert (values["count"], values["embed"]) == (2, 1024)
