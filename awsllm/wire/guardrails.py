"""ApplyGuardrail and InvokeGuardrailChecks of bedrock-runtime, both ways.

An assessment has a structure a policy, with lists of what its rules found; here they are one list of findings.
Amazon Bedrock API reference: ApplyGuardrail, GuardrailAssessment, InvokeGuardrailChecks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from awsllm.types import GuardContent, GuardImage, GuardText, JsonObject, JsonValue, Message, Text
from awsllm.types.guardrails import (
    ApplyGuardrailRequest,
    GuardrailAssessment,
    GuardrailChecksRequest,
    GuardrailChecksResponse,
    GuardrailFinding,
    GuardrailResponse,
    GuardrailUsage,
    SensitiveSpan,
)
from awsllm.wire.converse import decode_block, encode_block
from awsllm.wire.reading import (
    MalformedError,
    json_object,
    objects,
    optional,
    required,
    structures,
    unknown_members,
    without_none,
)

# --- ApplyGuardrail --------------------------------------------------------------------------------------------------


def encode_apply(request: ApplyGuardrailRequest) -> JsonObject:
    content = [encode_block(GuardContent(content=block))["guardContent"] for block in request.content]
    return without_none({"source": request.source, "content": content, "outputScope": request.output_scope})


def decode_apply(guardrail: str, version: str, wire: JsonObject) -> ApplyGuardrailRequest:
    return ApplyGuardrailRequest(
        model=guardrail,
        version=version,
        content=structures(wire, "content", decode_content),
        source=required(wire, "source", str),
        output_scope=optional(wire, "outputScope", str),
    )


def decode_content(wire: JsonObject) -> GuardText | GuardImage:
    block = decode_block({"guardContent": wire})
    if not isinstance(block, GuardContent) or not isinstance(block.content, GuardText | GuardImage):
        raise MalformedError("is neither a text nor an image")
    return block.content


# Policy, the assessment's member, the lists in it, and the finding's kind where the list is what tells it.
_POLICIES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("topic", "topicPolicy", ("topics",)),
    ("content", "contentPolicy", ("filters",)),
    ("word", "wordPolicy", ("customWords", "managedWordLists")),
    ("sensitive_information", "sensitiveInformationPolicy", ("piiEntities", "regexes")),
    ("contextual_grounding", "contextualGroundingPolicy", ("filters",)),
    ("automated_reasoning", "automatedReasoningPolicy", ("findings",)),
)
_FINDING = frozenset(
    ("type", "name", "match", "action", "detected", "confidence", "score", "threshold", "regex", "filterStrength")
)


def decode_assessment(wire: JsonObject) -> GuardrailAssessment:
    metrics = optional(wire, "invocationMetrics", dict) or {}
    return GuardrailAssessment(
        findings=tuple(_findings(wire)), latency_ms=optional(metrics, "guardrailProcessingLatency", int), raw=wire
    )


def guardrail_assessments(trace: JsonValue) -> tuple[GuardrailAssessment, ...]:
    """What an inline guardrail found, from the ``trace`` of a conversation's response: of the input first, then of the
    output. Empty where there is no trace: ask for one (``guardrail_config`` with ``trace="enabled"``)."""
    guardrail = optional(trace, "guardrail", dict) if isinstance(trace, dict) else None
    if guardrail is None:
        return ()
    inputs, outputs = (optional(guardrail, name, dict) or {} for name in ("inputAssessment", "outputAssessments"))
    wires = [*inputs.values(), *(one for listed in outputs.values() for one in listed)]
    return tuple(decode_assessment(json_object(wire)) for wire in wires)


def _findings(wire: JsonObject) -> Iterator[GuardrailFinding]:
    for policy, member, lists in _POLICIES:
        found = optional(wire, member, dict) or {}
        for name in lists:
            for one in objects(found, name):
                yield _decode_finding(policy, one)


def _decode_finding(policy: str, wire: JsonObject) -> GuardrailFinding:
    if policy == "automated_reasoning":  # a union, whose tag says what became of the claim
        return GuardrailFinding(policy=policy, type=next(iter(wire), None), extra=wire)
    return GuardrailFinding(
        policy=policy,
        type=optional(wire, "type", str),
        name=optional(wire, "name", str),
        match=optional(wire, "match", str),
        action=optional(wire, "action", str),
        detected=optional(wire, "detected", bool),
        confidence=optional(wire, "confidence", str),
        score=optional(wire, "score", float),
        threshold=optional(wire, "threshold", float),
        extra=unknown_members(wire, _FINDING - {"regex", "filterStrength"}),
    )


def encode_assessment(assessment: GuardrailAssessment) -> JsonObject:
    """As it came, where it came from a service; else made of the findings."""
    if assessment.raw is not None:
        return assessment.raw
    wire: JsonObject = {}
    for policy, member, lists in _POLICIES:
        found = assessment.of(policy)
        if not found:
            continue
        wire[member] = {name: [] for name in lists}
        for one in found:
            wire[member][_list_of(one, lists)].append(_encode_finding(one))
    return wire


def _list_of(finding: GuardrailFinding, lists: tuple[str, ...]) -> str:
    """A policy's second list is of managed words, and of regular expressions."""
    if finding.policy == "word":
        return lists[1] if finding.type else lists[0]
    return lists[1] if finding.policy == "sensitive_information" and not finding.type else lists[0]


def _encode_finding(finding: GuardrailFinding) -> JsonObject:
    if finding.policy == "automated_reasoning":
        return finding.extra or {}
    members = {
        "type": finding.type,
        "name": finding.name,
        "match": finding.match,
        "action": finding.action,
        "detected": finding.detected,
        "confidence": finding.confidence,
        "score": finding.score,
        "threshold": finding.threshold,
    }
    return without_none(members, finding.extra)


_UNITS: Mapping[str, str] = {
    "topic_units": "topicPolicyUnits",
    "content_units": "contentPolicyUnits",
    "word_units": "wordPolicyUnits",
    "sensitive_information_units": "sensitiveInformationPolicyUnits",
    "sensitive_information_free_units": "sensitiveInformationPolicyFreeUnits",
    "contextual_grounding_units": "contextualGroundingPolicyUnits",
    "image_units": "contentPolicyImageUnits",
    "automated_reasoning_units": "automatedReasoningPolicyUnits",
    "automated_reasoning_policies": "automatedReasoningPolicies",
}
_REQUIRED_UNITS = 6  # the first of them, which an answer always has


def encode_usage(usage: GuardrailUsage) -> JsonObject:
    units = {wire: getattr(usage, name) for name, wire in _UNITS.items()}
    always = dict.fromkeys(list(_UNITS.values())[:_REQUIRED_UNITS], 0)
    return {**always, **without_none(units)}


def encode_response(response: GuardrailResponse) -> JsonObject:
    """As it came, where it came from a service; else made of the members."""
    if response.raw is not None:
        return response.raw
    members = {
        "usage": encode_usage(response.usage),
        "action": response.action,
        "actionReason": response.reason,
        "outputs": [{"text": output} for output in response.outputs],
        "assessments": [encode_assessment(assessment) for assessment in response.assessments],
    }
    return without_none(members)


def decode_response(wire: JsonObject, *, request_id: str | None = None) -> GuardrailResponse:
    wire = json_object(wire)
    usage = optional(wire, "usage", dict) or {}
    return GuardrailResponse(
        action=required(wire, "action", str),
        outputs=structures(wire, "outputs", lambda output: required(output, "text", str)),
        assessments=structures(wire, "assessments", decode_assessment),
        reason=optional(wire, "actionReason", str),
        usage=GuardrailUsage(**{name: optional(usage, member, int) for name, member in _UNITS.items()}),
        request_id=request_id,
        raw=wire,
    )


# --- InvokeGuardrailChecks -------------------------------------------------------------------------------------------


def encode_checks(request: GuardrailChecksRequest) -> JsonObject:
    checks: JsonObject = {}
    if request.content_filter:
        checks["contentFilter"] = {"categories": [{"category": one} for one in request.content_filter]}
    if request.prompt_attack:
        checks["promptAttack"] = {"categories": [{"category": one} for one in request.prompt_attack]}
    if request.sensitive_information:
        checks["sensitiveInformation"] = {"entities": [{"type": one} for one in request.sensitive_information]}
    messages = [
        {"role": message.role, "content": [{"text": b.text} for b in message.content if isinstance(b, Text)]}
        for message in request.messages
    ]
    return {"messages": messages, "checks": checks}


def decode_checks(wire: JsonObject) -> GuardrailChecksRequest:
    checks = required(wire, "checks", dict)

    def named(check: str, list_name: str, member: str) -> tuple[str, ...]:
        return structures(optional(checks, check, dict) or {}, list_name, lambda one: required(one, member, str))

    return GuardrailChecksRequest(
        model="",
        messages=structures(wire, "messages", _decode_message),
        content_filter=named("contentFilter", "categories", "category"),
        prompt_attack=named("promptAttack", "categories", "category"),
        sensitive_information=named("sensitiveInformation", "entities", "type"),
    )


def _decode_message(wire: JsonObject) -> Message:
    texts = structures(wire, "content", lambda block: Text(required(block, "text", str)))
    return Message(required(wire, "role", str), texts)


def encode_checks_response(response: GuardrailChecksResponse) -> JsonObject:
    """Of each check that was made: its results, and its units."""
    results: JsonObject = {}
    for name, scores in (("contentFilter", response.content_filter), ("promptAttack", response.prompt_attack)):
        if scores or name in response.text_units:
            entries = [{"category": category, "severityScore": score} for category, score in scores.items()]
            results[name] = {"results": entries}
    if response.sensitive_information or "sensitiveInformation" in response.text_units:
        spans = [_encode_span(span) for span in response.sensitive_information]
        results["sensitiveInformation"] = {"results": spans, "truncated": response.truncated}
    usage = {name: {"textUnits": units} for name, units in response.text_units.items()}
    return {"results": results, "usage": usage}


def _encode_span(span: SensitiveSpan) -> JsonObject:
    return {
        "type": span.type,
        "confidenceScore": span.confidence,
        "beginOffset": span.start,
        "endOffset": span.end,
        "messageIndex": span.message_index,
        "contentIndex": span.content_index,
    }


def decode_checks_response(wire: JsonObject, *, request_id: str | None = None) -> GuardrailChecksResponse:
    wire = json_object(wire)
    results = required(wire, "results", dict)
    private = optional(results, "sensitiveInformation", dict) or {}
    usage = optional(wire, "usage", dict) or {}
    return GuardrailChecksResponse(
        content_filter=_scores(results, "contentFilter"),
        prompt_attack=_scores(results, "promptAttack"),
        sensitive_information=structures(private, "results", _decode_span),
        truncated=optional(private, "truncated", bool) or False,
        text_units={name: required(required(usage, name, dict), "textUnits", int) for name in usage},
        request_id=request_id,
        raw=wire,
    )


def _scores(results: JsonObject, check: str) -> dict[str, float]:
    found = objects(optional(results, check, dict) or {}, "results")
    return {required(one, "category", str): required(one, "severityScore", float) for one in found}


def _decode_span(wire: JsonObject) -> SensitiveSpan:
    return SensitiveSpan(
        type=required(wire, "type", str),
        confidence=required(wire, "confidenceScore", float),
        start=required(wire, "beginOffset", int),
        end=required(wire, "endOffset", int),
        message_index=optional(wire, "messageIndex", int) or 0,
        content_index=optional(wire, "contentIndex", int) or 0,
    )
