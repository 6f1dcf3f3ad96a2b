"""Reading JSON-shaped wire values: member access that trusts nothing and says where it went wrong.

Every function takes the structure that holds the member and the member's name. A member that is absent or null is not
there. What is malformed raises ``MalformedError``, a ``ValidationError`` whose message begins with the path
(``messages.0.content.1.image.source.bytes: …``); the path grows as the error passes outwards, so a value that is well
formed pays nothing for it.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import Any, TypeVar

from awsllm.errors import ValidationError
from awsllm.types import JsonObject, JsonValue, Unknown

T = TypeVar("T")

JSON = "application/json"
"""The content type of what is read here."""

_NAMES = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    dict: "an object",
    list: "a list",
}
_MARKS = frozenset(("__type", "SDK_UNKNOWN_MEMBER"))  # members of a union that are no variant


class MalformedError(ValidationError):
    """A wire value has the wrong shape. ``path`` is where, member names and list indices joined by dots."""

    def __init__(self, reason: str, path: str = "") -> None:
        super().__init__(f"{path}: {reason}" if path else reason, code="ValidationException")
        self.reason = reason
        self.path = path

    def under(self, name: str | int) -> None:
        """See the error from the structure or list that holds the value under ``name``."""
        self.path = f"{name}.{self.path}" if self.path else str(name)
        self.message = f"{self.path}: {self.reason}"
        self.args = (self.message,)


def shape_of(value: object) -> str:
    """What a value is, for the message of an error: never its words, which may be a prompt's or a model's."""
    match value:
        case Mapping():
            names = ", ".join(str(name)[:40] for name in islice(value, 8)) or "no members"
            return f"an object with {names}" + (" and more" if len(value) > 8 else "")
        case list() | tuple():
            return f"a list of {len(value):,}"
        case str():
            return f"a text of {len(value):,} characters"
        case bytes() | bytearray():
            return f"{len(value):,} bytes"
        case None:
            return "null"
        case _:
            return "a number" if isinstance(value, int | float) else f"a {type(value).__name__}"


def json_object(value: JsonValue) -> JsonObject:
    """A whole body, which is JSON and must be an object."""
    if not isinstance(value, dict):
        raise MalformedError("the body must be a JSON object")
    return value


def optional(wire: JsonObject, name: str, kind: type[T]) -> T | None:
    """The member, or None where it is absent. Whole floats count as integers, integers as floats, tuples as lists."""
    value = wire.get(name)
    if value is None or type(value) is kind:
        return value
    return _coerce(value, name, kind)


def required(wire: JsonObject, name: str, kind: type[T]) -> T:
    value = wire.get(name)
    if type(value) is kind:
        return value
    if value is None:
        raise MalformedError("is required", name)
    return _coerce(value, name, kind)


def _coerce(value: JsonValue, name: str, kind: type[T]) -> T:
    if not isinstance(value, bool):
        if isinstance(value, kind):
            return value
        if kind is float and isinstance(value, int):
            try:
                return kind(value)  # type: ignore[call-arg]
            except OverflowError as error:
                raise MalformedError("is too large a number", name) from error
        if kind is int and isinstance(value, float) and value.is_integer():
            return kind(value)  # type: ignore[call-arg]
        if kind is list and isinstance(value, tuple):  # botocore takes them for lists, too
            return kind(value)  # type: ignore[call-arg]
    raise MalformedError(f"must be {_NAMES[kind]}", name)


def present(wire: JsonObject, name: str) -> JsonValue:
    """A required member of any JSON type, null included."""
    if name not in wire:
        raise MalformedError("is required", name)
    return wire[name]


def structure(wire: JsonObject, name: str, decode: Callable[[JsonObject], T]) -> T:
    """A required member that is a structure, decoded."""
    value = required(wire, name, dict)
    try:
        return decode(value)
    except MalformedError as error:
        error.under(name)
        raise


def optional_structure(wire: JsonObject, name: str, decode: Callable[[JsonObject], T]) -> T | None:
    return None if wire.get(name) is None else structure(wire, name, decode)


def structures(wire: JsonObject, name: str, decode: Callable[[JsonObject], T]) -> tuple[T, ...]:
    """A list of structures, decoded; empty where it is absent."""
    values = optional(wire, name, list)
    return () if values is None else elements(values, name, decode)


def objects(wire: JsonObject, name: str) -> tuple[JsonObject, ...]:
    """A list of structures as they are; empty where it is absent."""
    return structures(wire, name, lambda value: value)


def elements(values: list[Any], name: str, decode: Callable[[JsonObject], T]) -> tuple[T, ...]:
    """The structures of a list that the path calls ``name``, decoded."""
    decoded: list[T] = []
    for index, value in enumerate(values):
        if not isinstance(value, dict):
            raise MalformedError("must be an object", f"{name}.{index}")
        try:
            decoded.append(decode(value))
        except MalformedError as error:
            error.under(index)
            error.under(name)
            raise
    return tuple(decoded)


def strings(wire: JsonObject, name: str) -> tuple[str, ...]:
    """A list of strings; empty where it is absent."""
    values = optional(wire, name, list) or []
    for index, value in enumerate(values):
        if not isinstance(value, str):
            raise MalformedError("must be a string", f"{name}.{index}")
    return tuple(values)


def string_map(wire: JsonObject, name: str) -> dict[str, str] | None:
    values = optional(wire, name, dict)
    for key, value in (values or {}).items():
        if not isinstance(value, str):
            raise MalformedError("must be a string", f"{name}.{key}")
    return values


def blob(value: JsonValue, name: str) -> bytes:
    """Binary content: raw bytes as they are, a string as base64."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    if not isinstance(value, str):
        raise MalformedError("must be bytes or a base64 string", name)
    try:
        return binascii.a2b_base64(value, strict_mode=True)
    except ValueError as error:
        raise MalformedError("is not valid base64", name) from error


def union(wire: JsonObject, variants: Mapping[str, Callable[[JsonObject], T]]) -> T | Unknown:
    """A union, decoded by the variant's own function, which is given the whole union."""
    tag, value = variant(wire)
    decode = variants.get(tag)
    return Unknown(tag, value) if decode is None else decode(wire)


def member(name: str, decode: Callable[[JsonObject], T]) -> Callable[[JsonObject], T]:
    """The row of a union's table for a variant that is a structure."""
    return lambda wire: structure(wire, name, decode)


def variant(wire: JsonObject) -> tuple[str, JsonValue]:
    """Tag and value of a union: exactly one member, nulls not counted, as botocore demands. botocore's own mark of a
    variant that it did not know (``SDK_UNKNOWN_MEMBER``) gives that variant's tag and None."""
    if len(wire) == 1:  # nearly all of them, those in each event of a stream too: no list is made of it
        ((tag, value),) = wire.items()
        if value is not None and tag not in _MARKS:
            return tag, value
    members = [(tag, value) for tag, value in wire.items() if value is not None and tag != "__type"]
    if len(members) != 1:
        found = ", ".join(sorted(str(tag) for tag, _ in members)) or "none"
        raise MalformedError(f"must have one and only one member set (found {found})")
    tag, value = members[0]
    if tag == "SDK_UNKNOWN_MEMBER" and isinstance(value, dict):
        return required(value, "name", str), None
    return tag, value


def unknown_members(wire: JsonObject, known: AbstractSet[str]) -> JsonObject | None:
    """The members that this version does not know, to be sent back as they came."""
    if wire.keys() <= known:
        return None
    return {name: value for name, value in wire.items() if name not in known and value is not None} or None


def without_none(members: Mapping[str, JsonValue], extra: JsonObject | None = None) -> JsonObject:
    """A structure to write: the members that are set, and those an older version did not know."""
    wire = {name: value for name, value in members.items() if value is not None}
    return {**wire, **extra} if extra else wire
