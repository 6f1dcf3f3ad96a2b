"""ApplyGuardrail: content judged without a model."""

from __future__ import annotations

from awsllm.server.account.guardrails.grounding import Grounding, held_against, is_guarded, missing
from awsllm.server.account.guardrails.guardrail import Guardrail
from awsllm.server.account.guardrails.judge import Judge
from awsllm.server.account.guardrails.meaning import Meaning, Steps
from awsllm.server.account.guardrails.report import Coverage, response
from awsllm.types import GuardImage, GuardText
from awsllm.types.guardrails import ApplyGuardrailRequest, GuardrailResponse


def apply(guardrail: Guardrail, request: ApplyGuardrailRequest, meaning: Meaning) -> Steps[GuardrailResponse]:
    """The answer. Raises ``ValidationError`` where contextual grounding lacks what it needs."""
    texts = [block for block in request.content if isinstance(block, GuardText)]
    guarded = [block.text for block in texts if is_guarded(block)]
    rules = guardrail.rules(request.source)
    grounding: Grounding | None = None
    if rules.thresholds:
        if fault := missing(texts):
            raise fault
        grounding = held_against(texts, meaning)
    judge = Judge(rules, meaning, grounding)
    outputs: list[str] = []
    for text in guarded:
        outputs += [(yield from judge.read(text))]
    judge.end()
    images = sum(isinstance(block, GuardImage) for block in request.content)
    coverage = Coverage(judge.characters, sum(len(block.text) for block in texts), images=images)
    if judge.blocked:
        outputs = [guardrail.message(request.source)]
    return response(guardrail, judge, coverage, outputs, full=request.output_scope == "FULL")
