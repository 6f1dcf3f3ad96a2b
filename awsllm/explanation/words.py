"""Tokens, shares and sizes as people read them."""

from __future__ import annotations

from typing import Final

_LONG: Final = 20  # characters; some tokens are a line of spaces


def shown(text: str, most: int = 0) -> str:
    """A text on one line in which everything can be seen: what steers a terminal, turns the direction of writing or
    cannot be printed is spelt out. ``most``: the characters after which it is cut, 0 for no end."""
    if most and len(text) > most:
        text = text[: most - 1] + "…"
    return "".join(map(_spelt, text))


def _spelt(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")


def quoted(text: str, id: int) -> str:
    """A token's text with its spaces to be seen; one without a text by its number."""
    return f'"{shown(text)}"' if text else f"#{id}"


def likely(text: str, id: int, probability: float) -> str:
    """A token among others: a long one is cut."""
    return f"{quoted(text if len(text) <= _LONG else f'{text[:_LONG]}…', id)} {percent(probability)}"


def percent(probability: float) -> str:
    """Never 0 or 100 for what is neither."""
    if 0 < probability < 0.0005:
        return "<0.1%"
    if 0.9995 <= probability < 1:
        return ">99.9%"
    return f"{probability:.1%}"


def amount(number: float) -> str:
    """How many, in three figures: 135 M."""
    for unit, one in (("B", 1e9), ("M", 1e6)):
        if number >= one:
            return f"{number / one:.3g} {unit}"
    return f"{number:,.0f}"


def size(nbytes: float) -> str:
    for unit, one in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if nbytes >= one:
            return f"{nbytes / one:.3g} {unit}"
    return f"{nbytes:.0f} bytes"
