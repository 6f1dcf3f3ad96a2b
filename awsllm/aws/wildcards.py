"""The wildcards and variables of IAM's policies. Pure.

A pattern is filled with what a request has for its variables (``${aws:PrincipalTag/team}``), and what was filled in
means itself: whoever may choose a tag's value chooses no wildcard by it. Matching takes time in proportion to the
pattern and the text, whatever the pattern is.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeAlias

Filled: TypeAlias = tuple[tuple[str, bool], ...]
"""A pattern in pieces, each with whether it means itself: then ``*`` in it is no wildcard."""

_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_SPECIAL = ("*", "?", "$")  # ${*}: the character itself
_DEFAULT = re.compile(r"\s*'(.*)'\s*", re.DOTALL)
_SEGMENTS = 5  # of an ARN, before the resource's own name


def fill(pattern: str, values: Callable[[str], Sequence[str] | None], *, anything: bool = False) -> Filled | None:
    """``pattern`` with its variables filled in. Where the request has not one value for one that has no default
    (``${aws:PrincipalTag/team, 'all'}``), it is None; with ``anything``, that variable may be anything."""
    pieces: list[tuple[str, bool]] = []
    for place, piece in enumerate(_VARIABLE.split(pattern)):
        if place % 2 == 0:
            pieces.append((piece, False))
            continue
        name, comma, given = piece.partition(",")
        default = _DEFAULT.fullmatch(given) if comma else None
        found = (piece,) if piece in _SPECIAL else values(name.strip())
        if found is not None and len(found) == 1:
            pieces.append((found[0], True))
        elif not found and default is not None:
            pieces.append((default[1], True))
        elif anything:
            pieces.append(("*", False))
        else:
            return None
    return tuple(pieces)


def matches_text(pattern: Filled, text: str) -> bool:
    return _machine(pattern, _in_text).matches(text)


def matches_resource(pattern: Filled, arn: str) -> bool:
    """Whether the element Resource means an ARN: a wildcard stays within the part of the ARN that it stands in, unless
    it is an asterisk at the part's end ("it can expand to match beyond the colon boundaries", IAM's reference of
    Resource)."""
    return _machine(pattern, _in_resource).matches(arn)


def matches_arn(pattern: Filled, arn: str) -> bool:
    """Whether a condition's operator means an ARN: part by part."""
    plain = "".join(text for text, _ in pattern)
    return plain == "*" or (
        plain.count(":") >= _SEGMENTS and arn.count(":") >= _SEGMENTS and _machine(pattern, _in_arn).matches(arn)
    )


# --- one state a character of the pattern ----------------------------------------------------------------------------


class _Token(NamedTuple):
    """A character of a pattern, or a wildcard; ``bounded`` is one that does not reach over a colon."""

    character: str
    wild: bool
    bounded: bool = False


class _Machine(NamedTuple):
    """States as bits, the one at place n for the text that the first n tokens match. ``steps`` are the states that a
    character takes one further, ``others`` those that any does; ``stays`` those that an asterisk holds."""

    steps: dict[str, int]
    others: int
    stays: int
    bounded: int
    end: int

    def matches(self, text: str) -> bool:
        states = 1
        for character in text:
            stepping = self.steps.get(character, self.others)
            stays = self.stays & ~self.bounded if character == ":" else self.stays
            states = (states & stepping) << 1 | states & stays
            if not states:
                return False
        return bool(states & self.end)


@lru_cache(maxsize=2048)
def _machine(pattern: Filled, read: Callable[[Filled], Iterator[_Token]]) -> _Machine:
    own: defaultdict[str, int] = defaultdict(int)
    anything = nothing_over = stays = bounded = 0
    state = 1
    for token in read(pattern):
        if token.wild and token.character == "*":
            if not token.bounded:
                bounded &= ~state
            elif not stays & state:
                bounded |= state
            stays |= state
            continue
        if token.wild:
            anything |= state
            nothing_over |= state if token.bounded else 0
        else:
            own[token.character] |= state
        state <<= 1
    own[":"] |= anything & ~nothing_over
    steps = {character: taken | (anything if character != ":" else 0) for character, taken in own.items()}
    return _Machine(steps, anything, stays, bounded, state)


def _characters(pattern: Filled) -> list[_Token]:
    return [_Token(each, not literal and each in "*?") for text, literal in pattern for each in text]


def _in_text(pattern: Filled) -> Iterator[_Token]:
    return iter(_characters(pattern))


def _in_arn(pattern: Filled) -> Iterator[_Token]:
    colons = 0
    for token in _characters(pattern):
        colons += token.character == ":"
        yield token._replace(bounded=token.wild and colons < _SEGMENTS)


def _in_resource(pattern: Filled) -> Iterator[_Token]:
    tokens = list(_in_arn(pattern))
    for place, token in enumerate(tokens):
        ends = place + 1 == len(tokens) or tokens[place + 1].character == ":"
        yield token._replace(bounded=token.bounded and not (token.character == "*" and ends))
