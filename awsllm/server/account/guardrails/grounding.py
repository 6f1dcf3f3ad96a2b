"""Contextual grounding: whether an answer follows from its source, and whether it answers the question.

A unit of the answer is held against the nearest sentence of the source: how near it is, how many of its words stand
there or in the question, and whether a number or a name does not. Relevance is how near it is to the question. Both are
scaled so that the usual threshold, 0.7, is where they tell best.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from awsllm.errors import ValidationError
from awsllm.server.account.guardrails.meaning import Meaning, Steps, near, stem, words
from awsllm.server.account.refusals import invalid
from awsllm.types import GuardText

_SOURCE, _QUERY, _GUARDED = "grounding_source", "query", "guard_content"
_MOST = {_SOURCE: 100_000, _QUERY: 1_000, _GUARDED: 5_000}  # characters (user guide)
# Chosen on tests/data/guardrails/grounding.jsonl (2026-11).
_CLOSENESS, _MISSED = 0.2, 0.3
_GROUNDED, _RELEVANT, _RELEVANT_BY_WORDS, _USUAL = 0.57, 0.34, 0.1, 0.7
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_TOKEN = re.compile(r"[^\W_]+(?:[.,'][0-9]+)*")
_SPELLED = """
three four five six seven eight nine ten eleven twelve fifteen twenty thirty forty fifty hundred thousand million
billion half double
"""
_NUMBERS = frozenset(_SPELLED.split())
_NAMES = {_SOURCE: "grounding source", _QUERY: "query", _GUARDED: "content to guard"}


class Grounding:
    """``sources`` and the ``query`` of one exchange; ``grounding`` is the lowest score of a unit so far, ``relevance``
    the highest (user guide, "Use contextual grounding check": one relevant chunk makes the whole relevant)."""

    def __init__(self, meaning: Meaning, sources: Sequence[str], query: str) -> None:
        self._meaning, self._query = meaning, query
        self._parts = [part.strip() for text in sources for part in _SENTENCE.split(text) if part.strip()]
        self._size = len(query) + sum(map(len, sources))
        self.grounding, self.relevance = 1.0, 0.0

    def read(self, unit: str) -> Steps[None]:
        """Judge a unit of the answer."""
        parts = yield from self._meaning.of(self._parts)
        query, vector = yield from self._meaning.of([self._query, unit])
        closeness, best = max(zip((near(part, vector) for part in parts), self._parts, strict=True), default=(0.0, ""))
        given = set(words(f"{best} {self._query}"))
        said = words(unit)
        supported = sum(word in given for word in said) / max(1, len(said))
        missed = any(fact not in _tokens(f"{best} {self._query}") for fact in _facts(unit))
        score = _CLOSENESS * closeness + (1 - _CLOSENESS) * supported - _MISSED * missed
        self.grounding = min(self.grounding, _scaled(score, _GROUNDED))
        self.relevance = max(self.relevance, _scaled(near(query, vector), self._relevant))

    @property
    def _relevant(self) -> float:
        return _RELEVANT_BY_WORDS if self._meaning.model is None else _RELEVANT

    def characters(self, answer: int) -> int:
        """What was read to judge an answer of so many characters."""
        return answer + self._size

    def score(self, type: str | None) -> float:
        return round(self.grounding if type == "GROUNDING" else self.relevance, 2)


def _scaled(score: float, boundary: float) -> float:
    """0 to 1, with the boundary where a guardrail's usual threshold is."""
    score = min(1.0, max(0.0, score))
    if score < boundary:
        return score * _USUAL / boundary
    return _USUAL + (score - boundary) * (1 - _USUAL) / (1 - boundary)


def _facts(text: str) -> list[str]:
    """What a text cannot have from elsewhere: numbers, and names after the first word."""
    tokens = _TOKEN.findall(text)
    return [
        _plain(token)
        for place, token in enumerate(tokens)
        if re.search(r"[0-9]", token) or token.lower() in _NUMBERS or (place and token[0].isupper())
    ]


def _tokens(text: str) -> set[str]:
    return set(map(_plain, _TOKEN.findall(text)))


def _plain(token: str) -> str:
    return stem(token.lower().replace(",", ""))


def is_guarded(block: GuardText) -> bool:
    """Whether it is judged: it has no qualifier, or guard_content."""
    return not block.qualifiers or _GUARDED in block.qualifiers


def _texts(blocks: Iterable[GuardText], qualifier: str) -> list[str]:
    if qualifier == _GUARDED:
        return [block.text for block in blocks if is_guarded(block)]
    return [block.text for block in blocks if qualifier in (block.qualifiers or ())]


def missing(blocks: Sequence[GuardText]) -> ValidationError | None:
    """The refusal of content that lacks a part that contextual grounding needs, in the words that callers have seen."""
    for qualifier, name in _NAMES.items():
        if not _texts(blocks, qualifier):
            return invalid(
                f"The provided request does not contain the {name}. Grounding source, query and content to guard are "
                "required for Guardrails contextual grounding policy evaluation."
            )
        if qualifier == _GUARDED and sum(map(len, _texts(blocks, qualifier))) > _MOST[qualifier]:
            return _too_long(qualifier)
    return None


def held_against(blocks: Sequence[GuardText], meaning: Meaning) -> Grounding | None:
    """What an answer is held against; None where there is no source or no query. Raises ``ValidationError`` where one
    is too long."""
    sources, queries = _texts(blocks, _SOURCE), _texts(blocks, _QUERY)
    for qualifier, found in ((_SOURCE, sources), (_QUERY, queries)):
        if sum(map(len, found)) > _MOST[qualifier]:
            raise _too_long(qualifier)
    return Grounding(meaning, sources, " ".join(queries)) if sources and queries else None


def _too_long(qualifier: str) -> ValidationError:
    return invalid(f"The {_NAMES[qualifier]} is longer than {_MOST[qualifier]} characters.")
