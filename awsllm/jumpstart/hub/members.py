"""A document's members, read for a request: of the type that the request needs, or an error that names the member.

Looking through documents is lenient (``document.py``): what cannot be read there is as if it were not there. Nothing
that is sent may be left out so: a volume of ``"256"`` is 256, an artifact of 7 is a mistake that somebody has to know
of. Null and empty text are what is not there. Every function raises ``ValidationError``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from awsllm.errors import ValidationError
from awsllm.types import JsonObject, JsonValue


def text(members: Mapping[str, Any], name: str) -> str | None:
    value = members.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise _wrong(name, value, "text")
    return value


def number(members: Mapping[str, Any], name: str) -> float | None:
    """A number, or text that is one."""
    value = members.get(name)
    if value is None or value == "":
        return None
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise _wrong(name, value, "a number")
    return found if not isinstance(value, int) else value


def integer(members: Mapping[str, Any], name: str) -> int | None:
    """A whole number, or text that is one."""
    found = number(members, name)
    if found is not None and found != int(found):
        raise _wrong(name, members.get(name), "a whole number")
    return None if found is None else int(found)


def amount(members: Mapping[str, Any], name: str, least: float) -> float | None:
    """A number that is at least that; 0 is what is not there."""
    found = number(members, name)
    if found and found < least:
        raise _wrong(name, found, f"at least {least:g}")
    return found or None


def whole_amount(members: Mapping[str, Any], name: str, least: int = 1) -> int | None:
    found = integer(members, name)
    return None if amount(members, name, least) is None else found


def is_true(value: JsonValue) -> bool:
    """Leniently: whatever is not true, or a word for it, is false."""
    return str(value).lower() in ("true", "1") if isinstance(value, bool | str | int) else False


_FLAGS = {"true": True, "false": False, "1": True, "0": False}


def flag(members: Mapping[str, Any], name: str) -> bool | None:
    """True or false, or the words for them."""
    value = members.get(name)
    if value is None or value == "":
        return None
    found = _FLAGS.get(str(value).lower()) if isinstance(value, bool | str | int) else None
    if found is None:
        raise _wrong(name, value, "true or false")
    return found


def texts(members: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """A list of texts; a lone text is a list of one."""
    value = members.get(name)
    if value is None or value == "":
        return ()
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list | tuple) or not all(isinstance(one, str) for one in found):
        raise _wrong(name, value, "a list of texts")
    return tuple(found)


def mapping(members: Mapping[str, Any], name: str) -> JsonObject:
    value = members.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _wrong(name, value, "an object")
    return value


def rows(members: Mapping[str, Any], name: str) -> tuple[JsonObject, ...]:
    """A list of objects."""
    value = members.get(name)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise _wrong(name, value, "a list of objects")
    return tuple(value)


def as_text(value: JsonValue) -> str:
    """A value as containers are given it: ``True`` for true, as Python and the documents write it; JSON for more."""
    if isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode() if isinstance(value, dict | list) else str(value)


def _wrong(name: str, value: JsonValue, what: str) -> ValidationError:
    return ValidationError(f"the document's {name} is {_shown(value)}, which is not {what}")


def _shown(value: JsonValue) -> str:
    found = repr(value)
    return found if len(found) <= 60 else f"{found[:57]}..."
