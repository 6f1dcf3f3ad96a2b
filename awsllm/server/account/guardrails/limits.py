"""What CreateGuardrail and UpdateGuardrail refuse beyond the shapes of their requests.

Source: the user guide ("Components of a guardrail" and the pages of its policies) and its quotas. The texts are
awsllm's own but for that of a name that is taken, which callers have seen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from awsllm.server.account.guardrails.patterns import fault
from awsllm.server.account.guardrails.rules import CONTENT, GROUNDING, PRIVATE_THINGS, REASONING, TOPICS, WORDS, listed
from awsllm.server.account.refusals import invalid
from awsllm.types import JsonObject

MOST_GUARDRAILS, MOST_VERSIONS = 100, 20
_POLICIES = (TOPICS, CONTENT, WORDS, PRIVATE_THINGS, GROUNDING, REASONING)
_TIERED = (TOPICS, CONTENT, GROUNDING)
_MOST_WORDS = 3  # of a phrase
_BELOW = 1.0  # a threshold of contextual grounding
_LOOKAROUND = re.compile(r"(?<!\\)(?:\\\\)*\(\?(?:[=!]|<[=!])")
_UNIQUE: Mapping[tuple[str, str], str] = {
    (TOPICS, "topicsConfig"): "name",
    (CONTENT, "filtersConfig"): "type",
    (WORDS, "managedWordListsConfig"): "type",
    (PRIVATE_THINGS, "piiEntitiesConfig"): "type",
    (PRIVATE_THINGS, "regexesConfig"): "name",
    (GROUNDING, "filtersConfig"): "type",
}


def check(config: JsonObject) -> None:
    """Raises ``ValidationError`` naming the first fault."""
    for look in _CHECKS:
        for refusal in look(config):
            raise invalid(refusal)


def _has_policies(config: JsonObject) -> Iterator[str]:
    if not any(config.get(policy) for policy in _POLICIES):
        yield "A guardrail must contain at least one policy."


def _is_served(config: JsonObject) -> Iterator[str]:
    if config.get(REASONING):
        yield f"{REASONING}: automated reasoning is not served offline; leave it out."


def _unique(config: JsonObject) -> Iterator[str]:
    for (policy, name), member in _UNIQUE.items():
        values = [one.get(member) for one in listed(config, policy, name)]
        for value in values:
            if values.count(value) > 1:
                yield f"{policy}.{name}: the {member} {value!r} is given more than once."


def _tiers(config: JsonObject) -> Iterator[str]:
    for policy in _TIERED:
        tier = ((config.get(policy) or {}).get("tierConfig") or {}).get("tierName")
        if tier == "STANDARD" and not config.get("crossRegionConfig"):
            yield f"{policy}: the STANDARD tier requires crossRegionConfig."


def _filters(config: JsonObject) -> Iterator[str]:
    for one in listed(config, CONTENT, "filtersConfig"):
        if one["type"] == "PROMPT_ATTACK" and one["outputStrength"] != "NONE":
            yield "The outputStrength of PROMPT_ATTACK must be NONE."
        for member in ("inputModalities", "outputModalities"):
            if one["type"] == "PROMPT_ATTACK" and "IMAGE" in one.get(member, ()):
                yield f"The {member} of PROMPT_ATTACK must be TEXT."


def _phrases(config: JsonObject) -> Iterator[str]:
    for one in listed(config, WORDS, "wordsConfig"):
        if len(one["text"].split()) > _MOST_WORDS or not one["text"].strip():
            yield f"A custom word or phrase has one to {_MOST_WORDS} words."


def _regexes(config: JsonObject) -> Iterator[str]:
    for one in listed(config, PRIVATE_THINGS, "regexesConfig"):
        if reason := fault(one["pattern"]):
            yield f"The regular expression {one['name']!r} cannot be read: {reason}"
        if _LOOKAROUND.search(one["pattern"]):
            yield f"The regular expression {one['name']!r} looks around, which is not supported."


def _thresholds(config: JsonObject) -> Iterator[str]:
    for one in listed(config, GROUNDING, "filtersConfig"):
        if one["threshold"] >= _BELOW:
            yield f"The threshold of {one['type']} must be at least 0 and less than 1."


_CHECKS: tuple[Callable[[JsonObject], Iterator[str]], ...] = (
    _has_policies,
    _is_served,
    _unique,
    _tiers,
    _filters,
    _phrases,
    _regexes,
    _thresholds,
)
