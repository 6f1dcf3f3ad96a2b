"""ApplyGuardrail and InvokeGuardrailChecks: botocore is the judge of what is sent; answers are those of the API
reference and of the user guide ("Use the ApplyGuardrail API in your application")."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from awsllm import guardrail_assessments
from awsllm.aws.call import HttpResponse
from awsllm.backends.bedrock.guardrails import apply_call, checks_call
from awsllm.calls.guardrails import CHECKS
from awsllm.errors import ModelNotFoundError, ServerError, ThrottlingError, ValidationError
from awsllm.server.shapes import service_model
from awsllm.types import Bytes, GuardImage, GuardText, Message
from awsllm.types.guardrails import (
    ApplyGuardrailRequest,
    GuardrailChecksRequest,
    GuardrailFinding,
    GuardrailResponse,
    SensitiveSpan,
)
from awsllm.wire import guardrails
from tests.support.boto3_requests import sent_by_boto3

ARN = "arn:aws:bedrock:us-east-1:123456789012:guardrail/gr1abc"
APPLY = ApplyGuardrailRequest(
    model=ARN,
    version="DRAFT",
    content=(GuardText("London is the capital", ("grounding_source",)), GuardImage("png", Bytes(b"\x89PNG"))),
    source="OUTPUT",
    output_scope="FULL",
)
CHECKED = GuardrailChecksRequest(
    model="",
    messages=(Message.user("Hello", "there"), Message.assistant("Hi")),
    content_filter=("HATE",),
    prompt_attack=("JAILBREAK",),
    sensitive_information=("EMAIL", "NAME"),
)
USAGE = {
    "topicPolicyUnits": 1,
    "contentPolicyUnits": 1,
    "wordPolicyUnits": 1,
    "sensitiveInformationPolicyUnits": 1,
    "sensitiveInformationPolicyFreeUnits": 0,
    "contextualGroundingPolicyUnits": 1,
}
ANSWER: dict[str, Any] = {
    "usage": USAGE,
    "action": "GUARDRAIL_INTERVENED",
    "actionReason": "Guardrail blocked.",
    "outputs": [{"text": "Configured guardrail canned message"}],
    "assessments": [
        {
            "topicPolicy": {"topics": [{"name": "Finance", "type": "DENY", "action": "BLOCKED"}]},
            "contentPolicy": {
                "filters": [
                    {"type": "HATE", "confidence": "HIGH", "filterStrength": "LOW", "action": "NONE", "detected": True}
                ]
            },
            "wordPolicy": {
                "customWords": [{"match": "acme", "action": "BLOCKED"}],
                "managedWordLists": [{"match": "damn", "type": "PROFANITY", "action": "BLOCKED"}],
            },
            "sensitiveInformationPolicy": {
                "piiEntities": [{"type": "NAME", "match": "Kim", "action": "ANONYMIZED"}],
                "regexes": [{"name": "ticket", "regex": "T-\\d", "match": "T-1", "action": "ANONYMIZED"}],
            },
            "contextualGroundingPolicy": {
                "filters": [{"type": "GROUNDING", "threshold": 0.9, "score": 0.1, "action": "BLOCKED"}]
            },
            "automatedReasoningPolicy": {"findings": [{"tooComplex": {}}]},
            "invocationMetrics": {"guardrailProcessingLatency": 322, "usage": USAGE},
        }
    ],
}


def test_what_is_sent_is_what_boto3_sends() -> None:
    text = {"text": {"text": "London is the capital", "qualifiers": ["grounding_source"]}}
    theirs = sent_by_boto3(
        "bedrock-runtime",
        "apply_guardrail",
        guardrailIdentifier=ARN,
        guardrailVersion="DRAFT",
        source="OUTPUT",
        outputScope="FULL",
        content=[text, {"image": {"format": "png", "source": {"bytes": b"\x89PNG"}}}],
    )
    ours = apply_call(APPLY).request
    assert theirs.url.endswith(ours.path)
    assert msgspec.json.decode(ours.body) == msgspec.json.decode(theirs.body)
    assert guardrails.decode_apply(ARN, "DRAFT", msgspec.json.decode(ours.body)) == APPLY


def test_the_checks_that_are_sent_are_what_boto3_sends() -> None:
    theirs = sent_by_boto3(
        "bedrock-runtime",
        "invoke_guardrail_checks",
        messages=[
            {"role": "user", "content": [{"text": "Hello"}, {"text": "there"}]},
            {"role": "assistant", "content": [{"text": "Hi"}]},
        ],
        checks={
            "contentFilter": {"categories": [{"category": "HATE"}]},
            "promptAttack": {"categories": [{"category": "JAILBREAK"}]},
            "sensitiveInformation": {"entities": [{"type": "EMAIL"}, {"type": "NAME"}]},
        },
    )
    ours = checks_call(CHECKED).request
    assert theirs.url.endswith(ours.path)
    assert msgspec.json.decode(ours.body) == msgspec.json.decode(theirs.body)
    assert guardrails.decode_checks(msgspec.json.decode(ours.body)) == CHECKED


def test_what_can_be_looked_for_is_what_the_service_model_has() -> None:
    model = service_model("bedrock-runtime")
    for check, shape in (
        ("content_filter", "GuardrailChecksContentFilterCategory"),
        ("prompt_attack", "GuardrailChecksPromptAttackCategory"),
        ("sensitive_information", "GuardrailChecksSensitiveInformationEntityType"),
    ):
        assert list(CHECKS[check]) == model.shape_for(shape).enum


def answered(wire: dict[str, Any]) -> GuardrailResponse:
    return apply_call(APPLY).decode(HttpResponse(200, {"x-amzn-requestid": "r-1"}, msgspec.json.encode(wire)))


def test_an_answer_and_all_its_findings() -> None:
    response = answered(ANSWER)
    assert response.intervened
    assert not response.masked
    assert (response.text, response.reason) == ("Configured guardrail canned message", "Guardrail blocked.")
    assert [finding.policy for finding in response.findings] == [
        *("topic", "content", "word", "word", "sensitive_information", "sensitive_information"),
        *("contextual_grounding", "automated_reasoning"),
    ]
    (assessment,) = response.assessments
    assert assessment.latency_ms == 322
    assert assessment.of("content") == (
        GuardrailFinding(
            policy="content",
            type="HATE",
            confidence="HIGH",
            action="NONE",
            detected=True,
            extra={"filterStrength": "LOW"},
        ),
    )
    assert assessment.of("contextual_grounding")[0].score == 0.1
    assert assessment.of("automated_reasoning")[0].type == "tooComplex"
    assert response.usage.word_units == 1
    assert response.usage.image_units is None
    assert response.request_id == "r-1"
    assert guardrails.encode_response(response) == ANSWER


def test_findings_are_written_where_they_were_found() -> None:
    response = answered(ANSWER)
    made = msgspec.structs.replace(response.assessments[0], raw=None, latency_ms=None)
    wire = guardrails.encode_assessment(made)
    assert wire == {name: value for name, value in ANSWER["assessments"][0].items() if name != "invocationMetrics"}


def test_the_findings_of_an_inline_guardrail_are_read_from_the_trace() -> None:
    """The shape is Converse's (service model, GuardrailTraceAssessment): one assessment of the input, a list of the
    output's."""
    assessment = ANSWER["assessments"][0]
    word = {"wordPolicy": {"customWords": [{"match": "x", "action": "BLOCKED"}], "managedWordLists": []}}
    trace = {"guardrail": {"inputAssessment": {"gr1": word}, "outputAssessments": {"gr1": [assessment, {}]}}}
    found = guardrail_assessments(trace)
    assert [len(one.findings) for one in found] == [1, 8, 0]
    assert found[0].findings[0].match == "x"
    assert guardrail_assessments(None) == guardrail_assessments({"promptRouter": {}}) == ()
    members = service_model("bedrock-runtime").shape_for("GuardrailTraceAssessment").members
    assert {"inputAssessment", "outputAssessments", "actionReason"} <= set(members)


@pytest.mark.parametrize(
    ("actions", "masked"),
    [(["ANONYMIZED"], True), (["ANONYMIZED", "BLOCKED"], False), (["BLOCKED"], False), ([], False)],
)
def test_what_is_masked_and_what_is_blocked(actions: list[str], masked: bool) -> None:
    """The service says GUARDRAIL_INTERVENED of both; what it cannot be told from is taken for blocked."""
    entities = [{"type": "NAME", "match": "Kim", "action": action} for action in actions]
    policy = {"sensitiveInformationPolicy": {"piiEntities": entities, "regexes": []}}
    assert answered({**ANSWER, "assessments": [policy]}).masked is masked


def test_checks_are_read() -> None:
    span = {"type": "EMAIL", "confidenceScore": 0.9, "beginOffset": 1, "endOffset": 4, "messageIndex": 2}
    wire: dict[str, Any] = {
        "results": {
            "contentFilter": {"results": [{"category": "HATE", "severityScore": 0.25}]},
            "promptAttack": {"results": []},
            "sensitiveInformation": {"results": [{**span, "contentIndex": 1}], "truncated": True},
        },
        "usage": {
            "contentFilter": {"textUnits": 1},
            "promptAttack": {"textUnits": 1},
            "sensitiveInformation": {"textUnits": 2},
        },
    }
    response = checks_call(CHECKED).decode(HttpResponse(200, {}, msgspec.json.encode(wire)))
    assert response.content_filter == {"HATE": 0.25}
    assert response.sensitive_information == (
        SensitiveSpan(type="EMAIL", confidence=0.9, start=1, end=4, message_index=2, content_index=1),
    )
    assert response.truncated
    assert response.text_units["sensitiveInformation"] == 2
    assert guardrails.encode_checks_response(response) == wire


@pytest.mark.parametrize(
    ("code", "status", "message", "kind"),
    [
        ("ResourceNotFoundException", 404, "nothing here", ModelNotFoundError),
        ("ValidationException", 400, "The guardrail identifier or version does not exist.", ModelNotFoundError),
        ("ValidationException", 400, "The image is too large.", ValidationError),
        ("ThrottlingException", 429, "Too many", ThrottlingError),
    ],
)
def test_refusals(code: str, status: int, message: str, kind: type) -> None:
    body = msgspec.json.encode({"message": message})
    error = apply_call(APPLY).error(HttpResponse(status, {"x-amzn-errortype": code}, body))
    assert type(error) is kind
    assert (error.code, error.status) == (code, status)
    assert ("list_guardrails" in error.message) == (kind is ModelNotFoundError)


def test_an_answer_that_is_none_is_the_service_s_fault() -> None:
    with pytest.raises(ServerError, match="action: is required"):
        answered({"outputs": []})
