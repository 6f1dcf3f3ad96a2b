"""Filters of content: how near a unit of text is to what a category means, beside what is harmless and sounds like it.

A category is a list of sentences (``seeds``). What counts is how near the two nearest of them are, less half of how
near the two nearest everyday sentences are. That is no reader: it knows what a text is about and in what tone, not what
it means to do. By words alone, a sentence is found that shares most of its words with a seed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from awsllm.server.account.guardrails.meaning import Meaning, Steps, Vector, nearest
from awsllm.server.account.guardrails.seeds import BENIGN, seeds
from awsllm.server.account.guardrails.units import units

CONFIDENCES = ("NONE", "LOW", "MEDIUM", "HIGH")
_PARTS = {"PROMPT_ATTACK": ("JAILBREAK", "PROMPT_INJECTION", "PROMPT_LEAKAGE")}
# Chosen on tests/data/guardrails/content.jsonl (2026-11).
_NEAREST, _EVERYDAY = 2, 0.5
_FROM = (0.28, 0.34, 0.42)  # LOW, MEDIUM, HIGH
_FROM_BY_WORDS = (0.6, 0.7, 0.8)
_FULL = 0.6  # what counts as the highest severity


def found(meaning: Meaning, categories: Iterable[str], vector: Vector) -> Steps[dict[str, str]]:
    """The confidence of each category that a unit of text is of it."""
    bounds = _FROM_BY_WORDS if meaning.model is None else _FROM
    confidences: dict[str, str] = {}
    for category in categories:
        score = yield from _score(meaning, category, vector)
        confidences[category] = CONFIDENCES[sum(score >= bound for bound in bounds)]
    return confidences


def severities(meaning: Meaning, text: str, categories: Sequence[str]) -> Steps[dict[str, float]]:
    """0 to 1 a category, the highest of any unit; 0 below LOW."""
    highest = dict.fromkeys(categories, 0.0)
    if not categories:
        return highest
    least = (_FROM_BY_WORDS if meaning.model is None else _FROM)[0]
    for begin, end in units(text, 0, final=True):
        (vector,) = yield from meaning.of([text[begin:end]], keep=False)
        for category in categories:
            score = yield from _score(meaning, category, vector)
            if score >= least:
                highest[category] = max(highest[category], round(min(1.0, score / _FULL), 2))
    return highest


def _score(meaning: Meaning, category: str, vector: Vector) -> Steps[float]:
    sentences = [sentence for part in _PARTS.get(category, (category,)) for sentence in seeds(part)]
    if not sentences:
        return 0.0
    vectors = yield from meaning.of(sentences)
    if meaning.model is None:
        return nearest(vector, vectors, 1)
    everyday = yield from meaning.of(seeds(BENIGN))
    return nearest(vector, vectors, _NEAREST) - _EVERYDAY * nearest(vector, everyday, _NEAREST)


def blocks(confidence: str, strength: str) -> bool:
    """Whether a filter of this strength acts: HIGH from LOW on, MEDIUM from MEDIUM on, LOW on HIGH (user guide)."""
    return CONFIDENCES.index(confidence) >= 4 - CONFIDENCES.index(strength)
