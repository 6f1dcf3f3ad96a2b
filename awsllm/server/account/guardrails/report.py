"""What a guardrail says of what it has read, in the members of ApplyGuardrail and of a conversation's trace."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from awsllm.server.account.guardrails import rules as policies
from awsllm.server.account.guardrails.guardrail import Guardrail
from awsllm.server.account.guardrails.judge import UNIT, Judge
from awsllm.server.account.guardrails.private import PRIVATE
from awsllm.types import JsonObject
from awsllm.types.guardrails import GuardrailAssessment, GuardrailFinding, GuardrailResponse, GuardrailUsage
from awsllm.wire import guardrails as wire


@dataclass(frozen=True)
class Coverage:
    """How much was judged of how much there was: characters, and images, of which none are."""

    guarded: int
    total: int
    images: int = 0

    def encode(self) -> JsonObject:
        images = {"images": {"guarded": 0, "total": self.images}} if self.images else {}
        return {"textCharacters": {"guarded": self.guarded, "total": self.total}, **images}


def response(
    guardrail: Guardrail, judge: Judge, coverage: Coverage, outputs: Sequence[str], *, full: bool
) -> GuardrailResponse:
    """``outputs`` are the texts as masked, or the message where it blocks."""
    found = assessment(guardrail, judge, coverage, full=full)
    acted = judge.blocked or judge.masked
    answer = GuardrailResponse(
        action="GUARDRAIL_INTERVENED" if acted else "NONE",
        outputs=tuple(outputs) if acted else (),
        assessments=(found,),
        reason=reason(judge),
        usage=usage(guardrail, judge),
    )
    raw = {**wire.encode_response(answer), "guardrailCoverage": coverage.encode()}
    return replace(answer, raw=raw)


def reason(judge: Judge) -> str:
    if judge.blocked:
        return "Guardrail blocked."
    return "Guardrail masked." if judge.masked else "No action."


def assessment(guardrail: Guardrail, judge: Judge, coverage: Coverage, *, full: bool) -> GuardrailAssessment:
    """``full`` names what was looked for and not found, too; of words and regular expressions it does not."""
    findings = tuple(judge.findings) + (_absent(judge) if full else ())
    assessed = GuardrailAssessment(findings=findings, latency_ms=judge.milliseconds)
    metrics = {
        "guardrailProcessingLatency": judge.milliseconds,
        "usage": wire.encode_usage(usage(guardrail, judge)),
        "guardrailCoverage": coverage.encode(),
    }
    raw = {**wire.encode_assessment(assessed), "invocationMetrics": metrics}
    if guardrail.arn is not None:
        raw["appliedGuardrailDetails"] = {
            "guardrailId": guardrail.id,
            "guardrailVersion": guardrail.version,
            "guardrailArn": guardrail.arn,
            "guardrailOrigin": ["REQUEST"],
            "guardrailOwnership": "SELF",
        }
    return replace(assessed, raw=raw)


def _absent(judge: Judge) -> tuple[GuardrailFinding, ...]:
    known = {(finding.policy, finding.type, finding.name) for finding in judge.findings}
    kinds = {finding.type for finding in judge.findings}
    absent = {"action": "NONE", "detected": False}
    topics = [one.rule.finding(**absent) for one in judge.rules.topics]
    content = [one.rule.finding(confidence="NONE", **absent) for one in judge.rules.filters]
    ruled = [rule for one in judge.rules.spotters if (rule := getattr(one, "rule", None)) and rule.type in PRIVATE]
    private = [rule.finding(match="", **absent) for rule in dict.fromkeys(ruled) if rule.type not in kinds]
    others = [f for f in (*topics, *content) if (f.policy, f.type, f.name) not in known]
    checks = [
        one.rule.finding(score=judge.grounding.score(one.rule.type), threshold=one.threshold, **absent)
        for one in judge.rules.thresholds
        if judge.grounding is not None and ("contextual_grounding", one.rule.type, None) not in known
    ]
    return (*others, *private, *checks)


def usage(guardrail: Guardrail, judge: Judge) -> GuardrailUsage:
    def of(policy: str) -> int:
        return judge.units if policy in guardrail.config else 0

    private = guardrail.config.get(policies.PRIVATE_THINGS) or {}
    grounded = math.ceil(judge.grounding.characters(judge.characters) / UNIT) if judge.grounding is not None else 0
    return GuardrailUsage(
        topic_units=of(policies.TOPICS),
        content_units=of(policies.CONTENT),
        word_units=of(policies.WORDS),
        sensitive_information_units=judge.units if private.get("piiEntitiesConfig") else 0,
        sensitive_information_free_units=judge.units if private.get("regexesConfig") else 0,
        contextual_grounding_units=grounded,
    )
