"""How something is told by its form: a pattern, and a measure of what it finds. The table of them is ``private``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from awsllm.server.account.guardrails.names import GIVEN, NO_NAMES, NO_SURNAMES
from awsllm.server.account.guardrails.patterns import Pattern, PatternBudget

_WORDS_OF_PASSWORDS = """
reset resets required requirements manager managers policy protected must should incorrect expired wrong field there
that this your their never also being hash hashing change changed changes correct secure weak strong stored invalid
missing optional
"""
_NO_PASSWORDS = frozenset(_WORDS_OF_PASSWORDS.split())


@dataclass(frozen=True)
class Form:
    """``pattern`` finds candidates, whose group ``it``, or else the whole, is the thing; ``measure`` says how many of
    its characters, from the first, are: 0 where it is none. Then another candidate may begin inside it."""

    pattern: Pattern
    measure: Callable[[str], int] = len

    def found(self, text: str, start: int, budget: PatternBudget) -> Iterator[tuple[int, int, int]]:
        """Where the candidates begin, ``start`` or later, that hold a thing, and where the things stand; none overlaps
        another."""
        while match := self.pattern.first(text, start, budget):
            begin, end = match.span("it" if "it" in match.re.groupindex else 0)
            size = self.measure(text[begin:end])
            start = begin + size if size else match.start() + 1
            if size:
                yield match.start(), begin, begin + size


def form(*pattern: str, measure: Callable[[str], int] = len) -> Form:
    """A form of its own; the pattern may come in parts."""
    return Form(Pattern("".join(pattern)), measure)


def named(names: str, thing: str, measure: Callable[[str], int] = len) -> Form:
    """A form that is told by a name before it: ``PIN: 1234``."""
    joint = r"\s*(?:number|no\.?|code|id)?\s*(?:is|was|are|:|=|#|-)?\s*"
    return form(rf"(?i:\b(?:{names})\b\.?{joint})[\"'#(]?(?P<it>{thing})", measure=measure)


def said(names: str, thing: str, measure: Callable[[str], int] = len) -> Form:
    """A form that is told by a name, and by a word or a sign that gives it: ``the password is …``."""
    joint = r"\s*(?::|=|\s(?:is|was)\b(?:\s+(?:now|set\s+to))?|set\s+to)\s*:?\s*"
    return form(rf"(?i:\b(?:{names}){joint})[\"'`*]?(?P<it>{thing})", measure=measure)


# --- measures --------------------------------------------------------------------------------------------------------


def telephone(text: str) -> int:
    """7 to 15 digits (E.164)."""
    return len(text) if 7 <= sum(map(str.isdigit, text)) <= 15 else 0


def link(text: str) -> int:
    """Without the sentence's own signs at its end."""
    return len(text.rstrip(".,;:!?)]}"))


def coded(text: str) -> int:
    """Up to the last group with a digit: the words that follow a code are none of it."""
    parts = re.split(r"([ -])", text)
    while parts and not re.search(r"[0-9]", parts[-1]):
        parts.pop()
    return len("".join(parts))


def password(text: str) -> int:
    text = text.rstrip(".,;:)")
    return 0 if text.lower() in _NO_PASSWORDS or len(text) < 4 else len(text)


def person(text: str) -> int:
    """A name that is introduced."""
    return 0 if text.split()[0].rstrip(".") in NO_NAMES else len(text)


def full_name(text: str) -> int:
    """A common given name, and what goes on with a capital."""
    first, *rest = text.split()
    return 0 if first not in GIVEN or NO_SURNAMES & set(rest) else len(text)
