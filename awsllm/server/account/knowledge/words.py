"""How well texts fit a query by their words: BM25 (Robertson and Zaragoza, 2009), as Lucene computes it.

Scores are brought to between 0 and 1: 1 would be a text that holds nothing but the query's words, without end.
"""

from __future__ import annotations

import math
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

_WORD = re.compile(r"\w+")
_K1, _B = 1.2, 0.75


def words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


class WordIndex:
    """Which words the texts hold. ``_postings`` has for a word the numbers of the texts with it, and how often each has
    it."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._postings: dict[str, tuple[array[int], array[int]]] = {}
        self._lengths = array("I")
        for number, text in enumerate(texts):
            found = words(text)
            self._lengths.append(len(found))
            for word, count in Counter(found).items():
                numbers, counts = self._postings.setdefault(word, (array("I"), array("I")))
                numbers.append(number)
                counts.append(count)

    def scores(self, query: str) -> Sequence[float]:
        """One for each text."""
        wanted = set(words(query))
        total = len(self._lengths)
        best = sum(self._weight(word) for word in wanted) * (_K1 + 1)
        average = (sum(self._lengths) / total or 1.0) if total else 1.0
        held = [(self._weight(word) * (_K1 + 1) / best, *self._postings[word]) for word in wanted & set(self._postings)]
        numpy = import_numpy()
        if numpy is None:
            return self._sums(held, average)
        scores = numpy.zeros(total)
        lengths = numpy.frombuffer(self._lengths, dtype=numpy.uint32) if total else scores
        for weight, numbers, counts in held:
            at = numpy.frombuffer(numbers, dtype=numpy.uint32)
            often = numpy.frombuffer(counts, dtype=numpy.uint32)
            scores[at] += weight * often / (often + _K1 * (1 - _B + _B * lengths[at] / average))
        result: Sequence[float] = scores
        return result

    def _sums(self, held: Iterable[tuple[float, array[int], array[int]]], average: float) -> list[float]:
        scores = [0.0] * len(self._lengths)
        for weight, numbers, counts in held:
            for number, often in zip(numbers, counts, strict=True):
                scores[number] += weight * often / (often + _K1 * (1 - _B + _B * self._lengths[number] / average))
        return scores

    def _weight(self, word: str) -> float:
        """How much a word tells: the rarer, the more."""
        holding = len(self._postings[word][0]) if word in self._postings else 0
        return math.log(1 + (len(self._lengths) - holding + 0.5) / (holding + 0.5))


def import_numpy() -> Any:
    """numpy where it is installed, as it is beside local models; else None, and lists do, more slowly."""
    try:
        import numpy
    except ImportError:
        return None
    return numpy
