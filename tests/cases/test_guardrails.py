"""Guardrails inline, watching only, redacting, over streams, and with models that have none: the case G1."""

import json
from typing import Any

import pytest

import awsllm
from awsllm.testing import mock_aws
from awsllm.types import GuardContent, GuardText
from tests.support.cases import NOVA, REPLY, answering, asking, last

LOCAL = "local:smollm2-135m-instruct"
GUARDRAILS: dict[str, dict[str, Any]] = {
    "gr1": {
        "blockedInputMessaging": "Not in.",
        "blockedOutputsMessaging": "Not out.",
        "wordPolicyConfig": {"wordsConfig": [{"text": "acme"}]},
        "sensitiveInformationPolicyConfig": {"piiEntitiesConfig": [{"type": "EMAIL", "action": "ANONYMIZE"}]},
    }
}
MAIL = "Write to ada@example.com today, please."


def test_g1_inline_on_the_wire_and_in_the_reply() -> None:
    """The guardrail and what it shall read go with the call; that it intervened, and why, is in the reply."""
    finding = {"wordPolicy": {"customWords": [{"match": "acme", "action": "BLOCKED"}]}}
    trace = {"guardrail": {"inputAssessment": {"gr1": finding}}}
    blocked = {**REPLY, "stopReason": "guardrail_intervened", "trace": trace}
    guardrail = awsllm.GuardrailConfig("gr1", "1", "enabled")
    prompt: list[Any] = ["Context.", GuardContent(content=GuardText("acme?", ("query",)))]
    with asking(answering(blocked)) as (client, seen):
        reply = client.converse(NOVA, prompt, guardrail_config=guardrail)
    wire = json.loads(seen[0].body)
    assert wire["guardrailConfig"] == {"guardrailIdentifier": "gr1", "guardrailVersion": "1", "trace": "enabled"}
    assert wire["messages"][0]["content"][1] == {"guardContent": {"text": {"text": "acme?", "qualifiers": ["query"]}}}
    assert reply.stop_reason == "guardrail_intervened"
    (assessment,) = awsllm.guardrail_assessments(reply.trace)
    assert assessment.findings[0].policy == "word"


def test_g1_a_stream_says_how_it_is_guarded() -> None:
    """The mode of processing is sent with a stream, and with nothing else."""
    with mock_aws(reply="Hi.") as aws, awsllm.Client(region="us-east-1") as client:
        guardrail = awsllm.GuardrailConfig("gr1", "1", stream_processing_mode="async")
        assert client.converse_stream(NOVA, "Hi", guardrail_config=guardrail).response.text == "Hi."
        assert last(aws).guardrail_config == guardrail


@pytest.mark.parametrize("model", [NOVA, LOCAL])
def test_g1_watching_redacting_and_blocking_a_stream(model: str) -> None:
    """A stream of any model, one without guardrails too, is watched, redacted or cut by a guardrail beside it."""
    replies = [MAIL, MAIL, "We are acme and we say so."]
    with mock_aws(reply=replies, guardrails=GUARDRAILS), awsllm.Client(region="us-east-1") as client:
        watched = client.guard(client.converse_stream(model, "Go", max_tokens=30), "gr1", observe=True)
        assert watched.response.text == MAIL
        redacted = client.guard(client.converse_stream(model, "Go", max_tokens=30), "gr1")
        assert redacted.response.text == MAIL.replace("ada@example.com", "{EMAIL}")
        blocked = client.guard(client.converse_stream(model, "Go", max_tokens=30), "gr1")
        assert blocked.response.stop_reason == "guardrail_intervened"
        assert "acme" not in blocked.response.text


@pytest.mark.parametrize("model", [LOCAL, "sagemaker:mine", "bedrock:openai.gpt-5.4"])
def test_g1_a_place_without_guardrails_refuses_one(model: str) -> None:
    """A guardrail that would not be applied is an error before anything is sent, never left out."""
    guardrail = awsllm.GuardrailConfig("gr1", "1")
    with asking(answering(), formats={"mine": "openai"}) as (client, seen):
        with pytest.raises(awsllm.UnsupportedError, match="guardrail"):
            client.converse(model, "Hi", guardrail_config=guardrail)
        assert seen == []


def test_g1_a_guardrail_by_itself() -> None:
    """A text of any origin is held against it without a model."""
    with mock_aws(reply="unused", guardrails=GUARDRAILS), awsllm.Client(region="us-east-1") as client:
        assert client.apply_guardrail("gr1", "acme").outputs == ("Not in.",)
        assert client.apply_guardrail("gr1", "fine").outputs == ()
