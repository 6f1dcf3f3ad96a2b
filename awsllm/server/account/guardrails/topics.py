"""Denied topics: how near a unit of text is to what a topic is said to be and to its examples.

By the encoder, the three nearest of name, definition and examples count, less what is as near to everyday talk
(``seeds``): a question about buying shares is like one about buying a train ticket. By words, a topic is found by its
name, by an example, or by most of their words.
"""

from __future__ import annotations

from collections.abc import Sequence

from awsllm.server.account.guardrails.meaning import Meaning, Steps, Vector, near, nearest
from awsllm.server.account.guardrails.rules import Topic
from awsllm.server.account.guardrails.seeds import BENIGN, seeds
from awsllm.server.account.guardrails.words import Phrases

# Chosen on tests/data/guardrails/topics.jsonl (2026-11).
_COUNTED, _EVERYDAY, _LEAST, _NEAR = 3, 0.7, 0.05, 0.2
_SHARED = 0.6  # of words


def found(meaning: Meaning, topics: Sequence[Topic], unit: str, vector: Vector) -> Steps[list[Topic]]:
    """The topics that the unit is about."""
    about: list[Topic] = []
    for topic in topics:
        if (yield from _is_about(meaning, topic, unit, vector)):
            about += [topic]
    return about


def _is_about(meaning: Meaning, topic: Topic, unit: str, vector: Vector) -> Steps[bool]:
    name = topic.rule.name or ""
    said = [name, f"{name}: {topic.definition}", *topic.examples]
    vectors = yield from meaning.of(said)
    if meaning.model is None:
        phrases = Phrases([name, *topic.examples])
        return any(phrases.found(unit)) or max(near(vector, one) for one in vectors) >= _SHARED
    close = sorted((near(vector, one) for one in vectors), reverse=True)[:_COUNTED]
    everyday = yield from meaning.of(seeds(BENIGN))
    return close[0] >= _NEAR and sum(close) / len(close) - _EVERYDAY * nearest(vector, everyday, 1) >= _LEAST
