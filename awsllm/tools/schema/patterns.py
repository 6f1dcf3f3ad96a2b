r"""A schema's ``pattern``: a regular expression as JavaScript has them.

JSON schema takes ECMA-262's (draft 2020-12, validation 6.3.3), and schemas made from zod or served by MCP hold what
Python's ``re`` refuses or reads otherwise: ``\p{L}``, ``(?<year>\d{4})``, ``[^]``, and a ``$`` that does not match
before a line break. regress, the engine that check-jsonschema judges by, reads them.

A pattern is read with JavaScript's flag u, as ajv does. Under it ``\-`` and ``[\w-.]`` are errors that many a schema
holds, so what is an error there is read without it. There an escape that is not known stands for its letter, so that
Python's ``\A`` would be an A: such a pattern is refused, not judged by what nobody meant.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from regress import Regex

_ESCAPE = re.compile(r"\\(?:[ux]\{|.)", re.DOTALL)
_KNOWN_LETTERS = frozenset("bBcdDfknrsStuvwWx")  # after a backslash, without the flag u


@lru_cache(maxsize=256)
def compiled(pattern: str) -> Regex:
    """The pattern, ready to judge; ``ValueError`` says why it is none."""
    from regress import Regex, RegressError

    try:
        return Regex(pattern, "u")
    except UnicodeEncodeError as error:
        raise ValueError("it holds half a surrogate pair") from error
    except RegressError as error:
        hint = f"it is no regular expression of JavaScript's ({error})"
    if (escape := _foreign_escape(pattern)) is not None:
        raise ValueError(f"{hint}, and without its flag u {escape} means nothing")
    try:
        return Regex(pattern)
    except RegressError as error:
        raise ValueError(f"{hint}: write (?<name>...)" if "(?P<" in pattern else hint) from error


def matches(pattern: str, text: str) -> bool:
    """Whether the pattern is found in the text."""
    try:
        return compiled(pattern).find(text) is not None
    except UnicodeEncodeError:  # half a surrogate pair: no text
        return False


def _foreign_escape(pattern: str) -> str | None:
    """The first escape that means something with the flag u only, or in other languages."""
    for escape in _ESCAPE.findall(pattern):
        letter = escape[1]
        if len(escape) > 2 or (letter.isascii() and letter.isalpha() and letter not in _KNOWN_LETTERS):
            return str(escape[:2])
    return None
