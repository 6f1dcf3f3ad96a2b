"""Words and phrases, found whole and in any case.

A list may have 10,000 of them, so they are looked up, not tried: a place in the text is where one may begin if its
first word, or first other character, is theirs.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache

_HEAD = re.compile(r"\w+|[^\w\s]")
_SPACE = re.compile(r"\s+")

PROFANITY = (
    *("arse", "arsehole", "ass", "asses", "asshole", "assholes", "bastard", "bastards", "bitch", "bitches", "bitching"),
    *("bloody hell", "bollocks", "bugger off", "bullshit", "cock", "cocksucker", "crap", "crappy", "cunt", "cunts"),
    *("damn", "damned", "damnit", "dammit", "dick", "dickhead", "dickheads", "douche", "douchebag", "dumbass"),
    *("fuck", "fucked", "fucker", "fuckers", "fuckin", "fucking", "fucks", "fuckwit", "goddamn", "goddamned"),
    *("horseshit", "jackass", "jerkoff", "motherfucker", "motherfuckers", "motherfucking", "piss", "piss off"),
    *("pissed off", "prick", "pricks", "pussy", "shit", "shite", "shithead", "shits", "shitting", "shitty", "slut"),
    *("sluts", "son of a bitch", "tits", "tosser", "twat", "twats", "wank", "wanker", "wankers", "whore", "whores"),
    *("f*ck", "f**k", "f***", "sh*t", "s**t", "b*tch", "a**hole", "wtf", "stfu", "fck", "fuk", "biatch", "arseholes"),
)
"""What stands for the list that AWS manages, which is not public: English, and the common ways to half hide it."""


class Phrases:
    """Phrases to look for."""

    def __init__(self, phrases: Iterable[str]) -> None:
        self._by_head: dict[str, list[tuple[str, str]]] = {}
        self.longest = 0
        for phrase in phrases:
            folded = _SPACE.sub(" ", _folded(phrase.strip()))
            if head := _HEAD.match(folded):
                self._by_head.setdefault(head[0], []).append((folded, phrase))
                self.longest = max(self.longest, len(folded))

    def found(self, text: str, start: int = 0) -> Iterator[tuple[int, int, str]]:
        """Where each stands that begins at ``start`` or later, and the phrase as it was given."""
        for head in _HEAD.finditer(text, start):
            begin = head.start()
            if head[0][0].isalnum() and begin and _is_word(text[begin - 1]):
                continue  # the search began inside a word
            for folded, phrase in self._by_head.get(_folded(head[0]), ()):
                end = begin + len(folded)
                if _folded(text[begin:end]) == folded and not _continues(text, begin, end):
                    yield begin, end, phrase

    def opening(self, text: str, start: int) -> int:
        """The first place, ``start`` or later, where a phrase may begin that the text does not hold whole."""
        return max(start, len(text) - self.longest)


def _continues(text: str, begin: int, end: int) -> bool:
    """Whether the characters from ``begin`` to ``end`` are part of a longer word."""
    after = end < len(text) and _is_word(text[end]) and _is_word(text[end - 1])
    before = begin > 0 and _is_word(text[begin - 1]) and _is_word(text[begin])
    return after or before


def _is_word(character: str) -> bool:
    """A mark belongs to the letter before it: what it stands on goes on."""
    return character.isalnum() or character == "_" or unicodedata.category(character)[0] == "M"


def _folded(text: str) -> str:
    """In any case, and as long as it was: \u0130 alone has two characters in lower case."""
    return text.replace("\u0130", "i").lower()


@lru_cache(maxsize=1)
def profanity() -> Phrases:
    return Phrases(PROFANITY)
