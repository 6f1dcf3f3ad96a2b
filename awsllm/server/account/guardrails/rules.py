"""A guardrail's configuration as what is looked for on one side, the input or the output.

The members are CreateGuardrail's. A rule whose ``inputEnabled`` (``outputEnabled``) is false is not looked for there at
all; one whose action there is NONE is looked for and told of, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from awsllm.server.account.guardrails.forms import Form
from awsllm.server.account.guardrails.patterns import Pattern, PatternBudget
from awsllm.server.account.guardrails.private import PRIVATE
from awsllm.server.account.guardrails.words import Phrases, profanity
from awsllm.types import JsonObject
from awsllm.types.guardrails import GuardrailFinding

TOPICS, CONTENT, WORDS = "topicPolicyConfig", "contentPolicyConfig", "wordPolicyConfig"
PRIVATE_THINGS, GROUNDING = "sensitiveInformationPolicyConfig", "contextualGroundingPolicyConfig"
REASONING = "automatedReasoningPolicyConfig"

_ACTIONS = {"BLOCK": "BLOCKED", "ANONYMIZE": "ANONYMIZED", "NONE": "NONE"}
INPUT = "INPUT"


@dataclass(frozen=True)
class PolicyRule:
    """What is looked for, as a finding names it, and what is done: BLOCKED, ANONYMIZED or NONE."""

    policy: str
    action: str
    type: str | None = None
    name: str | None = None
    extra: JsonObject | None = field(default=None, hash=False)

    def finding(self, **members: Any) -> GuardrailFinding:
        named = {"type": self.type, "name": self.name, "action": self.action, "detected": True, "extra": self.extra}
        return GuardrailFinding(policy=self.policy, **{**named, **members})


@dataclass(frozen=True)
class Spot:
    """Something that stands at a place of a text. ``at`` is where what tells it begins, ``onward`` where its spotter
    looks on."""

    rule: PolicyRule
    match: str
    at: int
    start: int
    end: int
    onward: int


class Spotter(Protocol):
    """What finds things by their form."""

    def spots(self, text: str, start: int, budget: PatternBudget) -> Iterator[Spot]:
        """What begins at ``start`` or later, in its order."""

    def opening(self, text: str, start: int, budget: PatternBudget) -> int:
        """The first place, ``start`` or later, where something may begin that the text does not hold whole."""


@dataclass(frozen=True)
class FormSpotter:
    """A private thing, or a regular expression."""

    form: Form
    rule: PolicyRule

    def spots(self, text: str, start: int, budget: PatternBudget) -> Iterator[Spot]:
        for at, begin, end in self.form.found(text, start, budget):
            yield Spot(self.rule, text[begin:end], at, begin, end, end)

    def opening(self, text: str, start: int, budget: PatternBudget) -> int:
        return self.form.pattern.opening(text, start, budget)


@dataclass(frozen=True)
class PhraseSpotter:
    """Words: the rule of each by the word."""

    phrases: Phrases
    rules: Mapping[str, PolicyRule]

    def spots(self, text: str, start: int, budget: PatternBudget) -> Iterator[Spot]:
        for begin, end, phrase in self.phrases.found(text, start):
            yield Spot(self.rules[phrase], phrase, begin, begin, end, begin + 1)

    def opening(self, text: str, start: int, budget: PatternBudget) -> int:
        return self.phrases.opening(text, start)


@dataclass(frozen=True)
class Topic:
    """A denied topic: what it is, and examples of it."""

    rule: PolicyRule
    definition: str
    examples: tuple[str, ...]


@dataclass(frozen=True)
class ContentFilter:
    """A filter of content; ``strength`` is LOW, MEDIUM or HIGH."""

    rule: PolicyRule
    strength: str


@dataclass(frozen=True)
class Threshold:
    """A check of contextual grounding, GROUNDING or RELEVANCE: a lower score fails."""

    rule: PolicyRule
    threshold: float


@dataclass(frozen=True)
class SideRules:
    """All that is looked for on one side."""

    spotters: tuple[Spotter, ...]
    topics: tuple[Topic, ...]
    filters: tuple[ContentFilter, ...]
    thresholds: tuple[Threshold, ...]

    @classmethod
    def of(cls, config: Mapping[str, Any], source: str) -> SideRules:
        return cls(
            spotters=(*_words(config, source), *_private(config, source)),
            topics=tuple(
                Topic(
                    PolicyRule("topic", _action(one, source), type="DENY", name=one.get("name")),
                    str(one.get("definition") or one.get("name") or ""),
                    tuple(map(str, one.get("examples") or ())),
                )
                for one in _enabled(config, TOPICS, "topicsConfig", source)
            ),
            filters=tuple(_filters(config, source)),
            thresholds=() if source == INPUT else tuple(_thresholds(config)),
        )


def _words(config: Mapping[str, Any], source: str) -> Iterator[Spotter]:
    words = _enabled(config, WORDS, "wordsConfig", source)
    if words:
        rules = {str(one.get("text", "")): PolicyRule("word", _action(one, source)) for one in words}
        yield PhraseSpotter(Phrases(rules), rules)
    for one in _enabled(config, WORDS, "managedWordListsConfig", source):
        rule = PolicyRule("word", _action(one, source), type=one.get("type"))
        yield PhraseSpotter(profanity(), _Always(rule))


class _Always(dict[str, PolicyRule]):
    """One rule for every word of a list."""

    def __init__(self, rule: PolicyRule) -> None:
        self._rule = rule

    def __missing__(self, word: str) -> PolicyRule:
        return self._rule


def _private(config: Mapping[str, Any], source: str) -> Iterator[Spotter]:
    for one in _enabled(config, PRIVATE_THINGS, "piiEntitiesConfig", source):
        rule = PolicyRule("sensitive_information", _action(one, source), type=str(one.get("type")))
        for form in PRIVATE.get(str(one.get("type")), ()):
            yield FormSpotter(form, rule)
    for one in _enabled(config, PRIVATE_THINGS, "regexesConfig", source):
        pattern, name = str(one.get("pattern", "")), str(one.get("name") or "regex")
        rule = PolicyRule("sensitive_information", _action(one, source), name=name, extra={"regex": pattern})
        yield FormSpotter(Form(Pattern(pattern, name)), rule)


def _filters(config: Mapping[str, Any], source: str) -> Iterator[ContentFilter]:
    member = "inputStrength" if source == INPUT else "outputStrength"
    for one in _enabled(config, CONTENT, "filtersConfig", source):
        strength = str(one.get(member) or "NONE")
        if strength != "NONE":
            extra = {"filterStrength": strength}
            yield ContentFilter(
                PolicyRule("content", _action(one, source), type=one.get("type"), extra=extra), strength
            )


def _thresholds(config: Mapping[str, Any]) -> Iterator[Threshold]:
    for one in listed(config, GROUNDING, "filtersConfig"):
        if one.get("enabled") is not False:
            rule = PolicyRule("contextual_grounding", _ACTIONS[one.get("action") or "BLOCK"], type=one.get("type"))
            yield Threshold(rule, float(one.get("threshold", 0)))


def listed(config: Mapping[str, Any], policy: str, name: str) -> list[JsonObject]:
    """The rules of one list of a policy, as they were given."""
    return list((config.get(policy) or {}).get(name) or ())


def _enabled(config: Mapping[str, Any], policy: str, name: str, source: str) -> list[JsonObject]:
    member = "inputEnabled" if source == INPUT else "outputEnabled"
    return [one for one in listed(config, policy, name) if one.get(member) is not False]


def _action(one: Mapping[str, Any], source: str) -> str:
    member = "inputAction" if source == INPUT else "outputAction"
    return _ACTIONS.get(str(one.get(member) or one.get("action") or "BLOCK"), "BLOCKED")
