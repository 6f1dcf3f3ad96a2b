"""Values of guardrails outside a conversation: ApplyGuardrail and InvokeGuardrailChecks of bedrock-runtime.

Words that the service enumerates (``GUARDRAIL_INTERVENED``, ``BLOCKED``) are kept as it writes them.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from awsllm.types import GuardImage, GuardText, JsonObject, Message, Request, Value


class ApplyGuardrailRequest(Request["GuardrailResponse"], frozen=True, kw_only=True):
    """Content judged by a guardrail: ``model`` is its id or ARN. ``source`` is INPUT or OUTPUT, ``output_scope``
    INTERVENTIONS or FULL (what was looked for and not found, too)."""

    operation: ClassVar[str] = "apply_guardrail"
    served_by: ClassVar[str] = "bedrock: guardrails"

    version: str
    content: tuple[GuardText | GuardImage, ...]
    source: str = "INPUT"
    output_scope: str | None = None


class GuardrailFinding(Value, frozen=True, kw_only=True):
    """What one rule of a guardrail found. ``policy`` is topic, content, word, sensitive_information,
    contextual_grounding or automated_reasoning. ``type`` is the rule's kind (EMAIL, VIOLENCE, GROUNDING), ``name`` its
    name (a topic's, a regular expression's), ``match`` the text that it found, which may be private. ``action`` is
    BLOCKED, ANONYMIZED or NONE."""

    policy: str
    type: str | None = None
    name: str | None = None
    match: str | None = None
    action: str | None = None
    detected: bool | None = None
    confidence: str | None = None
    score: float | None = None
    threshold: float | None = None
    extra: JsonObject | None = None


class GuardrailAssessment(Value, frozen=True, kw_only=True):
    """What a guardrail found in the content, rule by rule; ``raw`` is the assessment as it came."""

    findings: tuple[GuardrailFinding, ...] = ()
    latency_ms: int | None = None
    raw: JsonObject | None = None

    def of(self, policy: str) -> tuple[GuardrailFinding, ...]:
        """The findings of one policy."""
        return tuple(finding for finding in self.findings if finding.policy == policy)


class GuardrailUsage(Value, frozen=True, kw_only=True):
    """Units that were billed; a text unit is up to 1,000 characters. None is unknown."""

    topic_units: int | None = None
    content_units: int | None = None
    word_units: int | None = None
    sensitive_information_units: int | None = None
    sensitive_information_free_units: int | None = None
    contextual_grounding_units: int | None = None
    image_units: int | None = None
    automated_reasoning_units: int | None = None
    automated_reasoning_policies: int | None = None


class GuardrailResponse(Value, frozen=True, kw_only=True):
    """``action`` is GUARDRAIL_INTERVENED or NONE, ``reason`` the service's own sentence. ``outputs`` are the texts to
    use in place of what was judged: the guardrail's message, or the masked texts."""

    action: str
    outputs: tuple[str, ...] = ()
    assessments: tuple[GuardrailAssessment, ...] = ()
    reason: str | None = None
    usage: GuardrailUsage = GuardrailUsage()
    request_id: str | None = None
    raw: JsonObject | None = None

    @property
    def intervened(self) -> bool:
        """Whether the content must not be used as it is."""
        return self.action != "NONE"

    @property
    def masked(self) -> bool:
        """Whether the intervention is that private things were masked: ``outputs`` may be used. What is blocked, or
        cannot be told, is not masked."""
        actions = {finding.action for finding in self.findings}
        return self.intervened and "ANONYMIZED" in actions and "BLOCKED" not in actions

    @property
    def findings(self) -> tuple[GuardrailFinding, ...]:
        """The findings of all assessments."""
        return tuple(finding for assessment in self.assessments for finding in assessment.findings)

    @property
    def text(self) -> str:
        """``outputs``, joined."""
        return "".join(self.outputs)


class GuardrailChecksRequest(Request["GuardrailChecksResponse"], frozen=True, kw_only=True):
    """Messages judged without a guardrail of one's own (``model`` is empty). Of each kind of check the categories to
    look for; an empty one is not made."""

    operation: ClassVar[str] = "guardrail_checks"
    served_by: ClassVar[str] = "bedrock:"

    messages: tuple[Message, ...]
    content_filter: tuple[str, ...] = ()
    prompt_attack: tuple[str, ...] = ()
    sensitive_information: tuple[str, ...] = ()


class SensitiveSpan(Value, frozen=True, kw_only=True):
    """Something private: characters ``start`` to ``end`` of block ``content_index`` of message ``message_index``."""

    type: str
    confidence: float
    start: int
    end: int
    message_index: int = 0
    content_index: int = 0


class GuardrailChecksResponse(Value, frozen=True, kw_only=True):
    """Severities by category, 0 to 1, and where something private stands. ``truncated``: there is more of it than was
    listed. ``text_units`` is what each check was billed."""

    content_filter: dict[str, float] = msgspec.field(default_factory=dict)
    prompt_attack: dict[str, float] = msgspec.field(default_factory=dict)
    sensitive_information: tuple[SensitiveSpan, ...] = ()
    truncated: bool = False
    text_units: dict[str, int] = msgspec.field(default_factory=dict)
    request_id: str | None = None
    raw: JsonObject | None = None
