"""Regular expressions over a text that may still grow, in bounded time.

A guardrail's patterns are its owner's, the texts a caller's: together they may backtrack for hours, so each search has
what is left of a ``PatternBudget``, and one that runs out refuses the request; nothing passes unjudged.

Of a text that grows, a match is certain once it cannot become longer. ``opening`` says from where on nothing is certain
yet: the first place whose rest of the text begins, or is, some match. What is found before that place is what will be
found there in the whole text, wherever it was cut.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from awsllm.errors import ValidationError

_RECURSIVE = re.compile(r"(?<!\\)(?:\\\\)*\(\?(?:R|[0-9]|&|P>|P&)")
_SECONDS = 1.0  # of all patterns over one text, or over one window of a stream


class PatternBudget:
    """The time that a judgement has left for its owner's patterns."""

    def __init__(self, seconds: float = _SECONDS) -> None:
        self.left = seconds

    @contextmanager
    def spending(self, name: str) -> Iterator[float]:
        """What may be spent now; what is, is taken off. Raises ``ValidationError`` where that is more."""
        began = time.perf_counter()
        try:
            yield max(0.001, self.left)
        except (TimeoutError, MemoryError):
            raise ValidationError(
                f"The regular expression {name!r} of the guardrail takes longer than {_SECONDS:g} s, "
                "or too much memory.",
                code="ValidationException",
                status=400,
            ) from None
        finally:
            self.left -= time.perf_counter() - began


class Pattern:
    """A regular expression. One that is a guardrail's owner's has a ``name``, the time of the budget, and lets other
    threads run meanwhile; awsllm's own have no name, and need no bound."""

    def __init__(self, pattern: str, name: str | None = None) -> None:
        self._pattern, self._name = pattern, name

    def first(self, text: str, start: int, budget: PatternBudget) -> Any:
        """The first match that begins at ``start`` or later and is not empty, or None. Raises ``ValidationError`` where
        time runs out."""
        if self._name is None:
            return self._first(text, start, None)
        with budget.spending(self._name) as seconds:
            return self._first(text, start, seconds)

    def opening(self, text: str, start: int, budget: PatternBudget) -> int:
        """The first place, ``start`` or later, where a match may begin that is not over; the text's length if there is
        none. A place that is none now will never be one."""
        if self._name is None:
            return self._opening(text, start, None)
        with budget.spending(self._name) as seconds:
            return self._opening(text, start, seconds)

    def _first(self, text: str, start: int, seconds: float | None) -> Any:
        found = _compiled(self._pattern).finditer(text, start, concurrent=seconds is not None, timeout=seconds)
        return next((match for match in found if match[0]), None)

    def _opening(self, text: str, start: int, seconds: float | None) -> int:
        compiled, end = _compiled(self._pattern), None if seconds is None else time.perf_counter() + seconds
        # ``$`` is where a text ends, and before a newline that ends it.
        ends = (len(text), len(text) - 1) if text.endswith("\n") else (len(text),)
        for place in range(start, len(text)):
            for last in ends:
                left = None if end is None else max(0.001, end - time.perf_counter())
                if compiled.fullmatch(text, place, last, partial=True, timeout=left, concurrent=left is not None):
                    return place
        return len(text)


def fault(pattern: str) -> str | None:
    """Why a pattern cannot be read; None where it can."""
    import regex

    if _RECURSIVE.search(pattern):  # which takes memory without bound, and no service has it
        return "it refers to itself"
    try:
        _compiled(pattern)
    except regex.error as error:
        return str(error)
    return None


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> Any:
    import regex

    return regex.compile(pattern)
