"""A text in pieces, by the strategies that the service has (user guide, "How content chunking works for knowledge
bases").

none given     about 300 tokens; sentences stay whole
FIXED_SIZE     as many tokens as given, the last of a piece again at the beginning of the next
HIERARCHICAL   large pieces, cut into small ones: the small are searched, the large are shown
SEMANTIC       cut where neighbouring sentences differ most, by a percentile of all differences
NONE           the whole text is one

A token is a word or a mark here, which is about what tokenizers make of them; a text is cut between tokens, and where
it can be at the end of a sentence. Every piece is a slice of its text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from awsllm.server.account.knowledge.words import words
from awsllm.types import JsonObject

Embed: TypeAlias = Callable[[Sequence[str]], list[list[float]]]
"""Texts to their vectors."""

DEFAULT_TOKENS = 300
MOST_FOR_SEMANTIC = 1_000_000
"""Characters of a document that is cut by its meaning."""

_TOKEN = re.compile(r"\w+|[^\w\s]")
_ENDS = frozenset(".!?\u3002\uff01\uff1f\u2026")
_CLOSING = frozenset("\"')]}\u00bb\u201d\u2019")


class UncuttableError(Exception):
    """Why a text cannot be cut so."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A piece to be searched, and the larger one that is shown in its place."""

    text: str
    parent: str | None = None


def cut(text: str, configuration: JsonObject | None, embed: Embed | None = None) -> list[Cut]:
    """``configuration`` is the wire's ``chunkingConfiguration``. Without ``embed``, sentences are compared by their
    words. Raises ``UncuttableError``."""
    configuration = configuration or {}
    match configuration.get("chunkingStrategy"):
        case "NONE":
            return [Cut(text.strip())] if text.strip() else []
        case "FIXED_SIZE":
            how = configuration.get("fixedSizeChunkingConfiguration") or {}
            size = int(how.get("maxTokens", DEFAULT_TOKENS))
            return [Cut(piece) for piece in _fixed(text, size, size * int(how.get("overlapPercentage", 20)) // 100)]
        case "HIERARCHICAL":
            return list(_hierarchical(text, configuration["hierarchicalChunkingConfiguration"]))
        case "SEMANTIC":
            return [Cut(piece) for piece in _semantic(text, configuration["semanticChunkingConfiguration"], embed)]
        case _:
            return [Cut(piece) for piece in _fixed(text, DEFAULT_TOKENS, 0)]


def _hierarchical(text: str, how: JsonObject) -> Iterator[Cut]:
    large, small = (int(level["maxTokens"]) for level in how["levelConfigurations"])
    overlap = int(how["overlapTokens"])
    for parent in _fixed(text, large, overlap):
        for child in _fixed(parent, small, overlap):
            yield Cut(child, parent)


def _fixed(text: str, size: int, overlap: int) -> Iterator[str]:
    tokens = [match.span() for match in _TOKEN.finditer(text)]
    breaks = _sentence_ends(text, tokens)
    start = 0
    while start < len(tokens):
        end = min(start + size, len(tokens))
        if end < len(tokens):
            # A piece goes on until after what it shares with the one before, or nothing would be new in it.
            shared = start + min(overlap, size - 1)
            end = next((place for place in range(end, shared, -1) if place in breaks), end)
        yield text[tokens[start][0] : tokens[end - 1][1]]
        if end == len(tokens):
            return
        start = max(end - overlap, start + 1)


def _sentence_ends(text: str, tokens: Sequence[tuple[int, int]]) -> set[int]:
    """After how many tokens a sentence or a paragraph ends."""
    ends, said = set(), False
    for number, (token, following) in enumerate(pairwise(tokens), 1):
        mark = text[token[0] : token[1]]
        said = mark in _ENDS or (said and mark in _CLOSING)
        gap = text[token[1] : following[0]]
        if (said and gap) or "\n\n" in gap or mark in "\u3002\uff01\uff1f":
            ends.add(number)
    return ends


# --- by meaning ------------------------------------------------------------------------------------------------------


def _semantic(text: str, how: JsonObject, embed: Embed | None) -> Iterator[str]:
    if len(text) > MOST_FOR_SEMANTIC:
        raise UncuttableError(f"File body text exceeds size limit of {MOST_FOR_SEMANTIC} for semantic chunking.")
    sentences = _sentences(text)
    if not sentences:
        return
    beside = int(how["bufferSize"])
    seen = [
        text[sentences[max(0, number - beside)][0] : sentences[min(len(sentences) - 1, number + beside)][1]]
        for number in range(len(sentences))
    ]
    differences = _differences(seen, embed)
    limit = _percentile(differences, int(how["breakpointPercentileThreshold"]))
    starts = [0, *(number for number, value in enumerate(differences, 1) if value > limit), len(sentences)]
    for start, end in pairwise(starts):
        yield from _fixed(text[sentences[start][0] : sentences[end - 1][1]], int(how["maxTokens"]), 0)


def _sentences(text: str) -> list[tuple[int, int]]:
    tokens = [match.span() for match in _TOKEN.finditer(text)]
    places = [0, *sorted(_sentence_ends(text, tokens)), len(tokens)]
    return [(tokens[start][0], tokens[end - 1][1]) for start, end in pairwise(places) if end > start]


def _differences(texts: list[str], embed: Embed | None) -> list[float]:
    """How much each text differs from the next, between 0 and 1 or, by vectors, 2."""
    if embed is None:
        held = [set(words(text)) for text in texts]
        return [1 - len(one & other) / max(1, len(one | other)) for one, other in pairwise(held)]
    vectors = embed(texts)
    return [1 - _cosine(one, other) for one, other in pairwise(vectors)]


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    length = math.hypot(*one) * math.hypot(*other)
    return sum(a * b for a, b in zip(one, other, strict=True)) / length if length else 0.0


def _percentile(values: Sequence[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] if ordered else 0.0
