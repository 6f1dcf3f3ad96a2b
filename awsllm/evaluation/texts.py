"""Scores of a text against a text: exact, F1 and ROUGE. Pure; 0 to 1.

``normalised`` and ``f1`` are SQuAD's (Rajpurkar and others, 2016; its official script): lower case, no punctuation, no
English articles, one space; F1 of the words that both have, each as often as both have it. ROUGE (Lin, 2004) is that
of Google's ``rouge-score`` without a stemmer: words are runs of letters and digits, the measure is F. Theirs knows a to
z alone; here letters are those of any script, and each of Chinese and Japanese is a word.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_SINGLE = r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]"
_WORD = re.compile(rf"{_SINGLE}|(?:(?!{_SINGLE})[^\W_])+")
_LONGEST = 4_000  # words of either text that the longest common subsequence looks at: its time is their product


def normalised(text: str) -> str:
    """As SQuAD compares answers."""
    lowered = text.lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", lowered).split())


def plain(text: str) -> str:
    """As ``exact`` compares: Unicode's compatible forms made one, the space at both ends taken off."""
    return unicodedata.normalize("NFKC", text).strip()


def f1(answer: str, expected: str) -> float:
    given, wanted = normalised(answer).split(), normalised(expected).split()
    if not given or not wanted:
        return float(given == wanted)
    return _f(sum((Counter(given) & Counter(wanted)).values()), len(given), len(wanted))


def rouge_n(answer: str, expected: str, size: int) -> float:
    given, wanted = _grams(_words(answer), size), _grams(_words(expected), size)
    return _f(sum((given & wanted).values()), sum(given.values()), sum(wanted.values()))


def rouge_l(answer: str, expected: str) -> float:
    """By the longest common subsequence of both texts as a whole."""
    given, wanted = _words(answer)[:_LONGEST], _words(expected)[:_LONGEST]
    return _f(_common(given, wanted), len(given), len(wanted))


def _f(shared: int, given: int, wanted: int) -> float:
    if not shared:
        return 0.0
    precision, recall = shared / given, shared / wanted
    return 2 * precision * recall / (precision + recall)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _grams(words: Sequence[str], size: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[at : at + size]) for at in range(len(words) - size + 1))


def _common(first: Sequence[str], second: Sequence[str]) -> int:
    """The length of the longest common subsequence, a machine word's bits at a time (Hyyrö, 2004)."""
    places: dict[str, int] = {}
    for at, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << at
    row = full = (1 << len(first)) - 1
    for word in second:
        met = row & places.get(word, 0)
        row = ((row + met) | (row - met)) & full
    return len(first) - row.bit_count()
