"""A text in the units in which its meaning is judged: sentences, short ones together, long ones cut.

Where a unit ends follows from what stands before its end, so a text that grows has the units that it has in the end.
"""

from __future__ import annotations

import re

_END = re.compile(r"[.!?…][\"')\]]*\s|\n")
_LEAST, _MOST = 20, 400  # characters


def units(text: str, start: int, *, final: bool) -> list[tuple[int, int]]:
    """The units from ``start`` on, and the rest of the text as one where it is ``final``."""
    found = []
    while (end := _end(text, start)) is not None:
        found.append((start, end))
        start = end
    if final and start < len(text):
        found.append((start, len(text)))
    return [(begin, end) for begin, end in found if text[begin:end].strip()]


def rest(text: str, start: int) -> int:
    """Where what is no whole unit begins."""
    while (end := _end(text, start)) is not None:
        start = end
    return start


def _end(text: str, start: int) -> int | None:
    found = _END.search(text, start + _LEAST, start + _MOST)
    if found:
        return found.end()
    if len(text) < start + _MOST:
        return None
    space = text.rfind(" ", start + _LEAST, start + _MOST)
    return space + 1 if space > 0 else start + _MOST
