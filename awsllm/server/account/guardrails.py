"""A guardrail of the offline account, as far as it can be computed without a model.

Its policies are given as CreateGuardrail takes them. Words and regular expressions are what they are; a topic is found
by its name and its examples, as texts; of private things those that have a form (addresses of mail and machines,
numbers with a check digit, keys) are. Content filters, contextual grounding and automated reasoning take a model: they
find nothing here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from awsllm.errors import ConfigurationError
from awsllm.types import GuardText, JsonObject
from awsllm.types.guardrails import (
    ApplyGuardrailRequest,
    GuardrailAssessment,
    GuardrailFinding,
    GuardrailResponse,
    GuardrailUsage,
)

_BLOCKED = "Sorry, the model cannot answer this question."  # the console's own message
_UNIT = 1000  # characters
_PRIVATE_POLICY = "sensitiveInformationPolicyConfig"
_PROFANITY = ("damn", "fuck", "shit")  # enough to test with; the service's list is longer
_MASKS = {"ANONYMIZE": "ANONYMIZED", "BLOCK": "BLOCKED", "NONE": "NONE"}


def _luhn(digits: str) -> bool:
    """The check digit of card numbers (ISO/IEC 7812)."""
    numbers = [int(digit) for digit in digits if digit.isdigit()]
    doubled = [2 * number - 9 * (number > 4) for number in numbers[-2::-2]]
    return len(numbers) > 12 and (sum(numbers[-1::-2]) + sum(doubled)) % 10 == 0


def _always(text: str) -> bool:
    return True


PRIVATE: Mapping[str, tuple[re.Pattern[str], Callable[[str], bool]]] = {
    "EMAIL": (re.compile(r"(?<![\w.+-])[\w.+-]++@[\w-]++(?:\.[\w-]++)++"), _always),
    "URL": (re.compile(r"https?://[^\s<>\"']+"), _always),
    "IP_ADDRESS": (re.compile(r"\b(?:\d{1,3}\.){3}\d{1,3}\b"), _always),
    "MAC_ADDRESS": (re.compile(r"\b(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}\b"), _always),
    "US_SOCIAL_SECURITY_NUMBER": (re.compile(r"\b\d{3}-\d{2}-\d{4}\b"), _always),
    "CREDIT_DEBIT_CARD_NUMBER": (re.compile(r"\b\d(?:[ -]?\d){12,18}\b"), _luhn),
    "AWS_ACCESS_KEY": (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"), _always),
    "INTERNATIONAL_BANK_ACCOUNT_NUMBER": (
        re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b"),
        _always,
    ),
    "PHONE": (re.compile(r"(?<![\w.])\+?\d{1,3}[ -]?\(?\d{2,4}\)?[ -]\d{3}[ -]?\d{3,5}\b"), _always),
}
"""Private things that have a form, and what else a match of it must be. A text may be megabytes long, so no
pattern takes the square of its length: one that begins with a repetition does not begin in the middle of a run."""


def private_spans(text: str, kinds: Iterator[str] | tuple[str, ...]) -> Iterator[tuple[str, int, int]]:
    """Kind, start and end of each private thing of ``kinds`` that can be found."""
    for kind in kinds:
        pattern, holds = PRIVATE.get(kind, (None, _always))
        for found in pattern.finditer(text) if pattern else ():
            if holds(found[0]):
                yield kind, found.start(), found.end()


@dataclass(frozen=True)
class Guardrail:
    """``config`` has CreateGuardrail's members."""

    config: JsonObject

    @classmethod
    def of(cls, name: str, config: Any) -> Guardrail:
        if not isinstance(config, Mapping) or not any(member.endswith("PolicyConfig") for member in config):
            raise ConfigurationError(f"guardrail {name} is a dict as create_guardrail takes it, with a policy in it")
        for regex in _listed(config, _PRIVATE_POLICY, "regexesConfig"):
            try:
                re.compile(str(regex.get("pattern", "")))
            except re.error as error:
                raise ConfigurationError(f"a regular expression of guardrail {name} cannot be read: {error}") from error
        return cls(dict(config))

    def judge(self, request: ApplyGuardrailRequest) -> GuardrailResponse:
        """What ApplyGuardrail answers."""
        texts = [block.text for block in request.content if isinstance(block, GuardText)]
        findings = [finding for text in texts for finding in self._findings(text)]
        assessment = GuardrailAssessment(findings=tuple(findings))
        usage = self._usage(sum(math.ceil(len(text) / _UNIT) for text in texts))
        acted = {finding.action for finding in findings} - {"NONE"}
        if not acted:
            return GuardrailResponse(action="NONE", assessments=(assessment,), reason="No action.", usage=usage)
        blocked = "BLOCKED" in acted
        outputs = (self._message(request.source),) if blocked else tuple(map(self._masked, texts))
        return GuardrailResponse(
            action="GUARDRAIL_INTERVENED",
            outputs=outputs,
            assessments=(assessment,),
            reason="Guardrail blocked." if blocked else "Guardrail masked.",
            usage=usage,
        )

    def _message(self, source: str) -> str:
        member = "blockedInputMessaging" if source == "INPUT" else "blockedOutputsMessaging"
        return str(self.config.get(member) or _BLOCKED)

    def _findings(self, text: str) -> Iterator[GuardrailFinding]:
        yield from self._topics(text)
        yield from self._words(text)
        for _, finding in self._private(text):
            yield finding

    def _topics(self, text: str) -> Iterator[GuardrailFinding]:
        for topic in _listed(self.config, "topicPolicyConfig", "topicsConfig"):
            if any(_has(text, str(phrase)) for phrase in (topic.get("name", ""), *topic.get("examples", ()))):
                yield GuardrailFinding(
                    policy="topic", type="DENY", name=topic.get("name"), action="BLOCKED", detected=True
                )

    def _words(self, text: str) -> Iterator[GuardrailFinding]:
        for word in _listed(self.config, "wordPolicyConfig", "wordsConfig"):
            if _has(text, str(word.get("text", ""))):
                yield GuardrailFinding(policy="word", match=word.get("text"), action="BLOCKED", detected=True)
        for listed in _listed(self.config, "wordPolicyConfig", "managedWordListsConfig"):
            for profane in _PROFANITY:
                if _has(text, profane):
                    kind = listed.get("type")
                    yield GuardrailFinding(policy="word", type=kind, match=profane, action="BLOCKED", detected=True)

    def _private(self, text: str) -> Iterator[tuple[tuple[int, int], GuardrailFinding]]:
        for entity in _listed(self.config, _PRIVATE_POLICY, "piiEntitiesConfig"):
            for kind, start, end in private_spans(text, (str(entity.get("type")),)):
                yield (start, end), _finding(entity, type=kind, match=text[start:end])
        for regex in _listed(self.config, _PRIVATE_POLICY, "regexesConfig"):
            for found in re.finditer(str(regex.get("pattern", "(?!)")), text):
                extra = {"regex": regex.get("pattern")}
                yield found.span(), _finding(regex, name=regex.get("name"), match=found[0], extra=extra)

    def _masked(self, text: str) -> str:
        """The text with a mark in place of each thing that is to be masked, the last first: places stay what they
        are."""
        for (start, end), finding in sorted(self._private(text), key=lambda one: -one[0][0]):
            if finding.action == "ANONYMIZED":
                text = f"{text[:start]}{{{finding.type or finding.name}}}{text[end:]}"
        return text

    def _usage(self, units: int) -> GuardrailUsage:
        def of(policy: str) -> int:
            return units if policy in self.config else 0

        private = self.config.get(_PRIVATE_POLICY) or {}
        return GuardrailUsage(
            topic_units=of("topicPolicyConfig"),
            content_units=of("contentPolicyConfig"),
            word_units=of("wordPolicyConfig"),
            sensitive_information_units=units if private.get("piiEntitiesConfig") else 0,
            sensitive_information_free_units=units if private.get("regexesConfig") else 0,
            contextual_grounding_units=0,
        )


def _finding(rule: Mapping[str, Any], **members: Any) -> GuardrailFinding:
    action = _MASKS.get(str(rule.get("action", "BLOCK")), "BLOCKED")
    return GuardrailFinding(policy="sensitive_information", action=action, detected=True, **members)


def _listed(config: Mapping[str, Any], policy: str, name: str) -> list[JsonObject]:
    return list((config.get(policy) or {}).get(name) or ())


def _has(text: str, phrase: str) -> bool:
    """Whether the phrase stands in the text as whole words, in any case."""
    return bool(phrase) and re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", text, re.IGNORECASE) is not None
