"""Whether a value satisfies a schema (draft 2020-12).

``violations`` says what of a JSON value breaks the schema: typed output asks it where the caller gives a schema instead
of a type. Every keyword that it does not judge is refused up front by ``check_schema``, so that no answer passes for a
rule nobody looked at. ``format`` and other annotations do not judge, as the draft has it; a ``pattern`` is
JavaScript's (``patterns``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from awsllm.errors import UnsupportedError
from awsllm.tools.schema.patterns import compiled, matches
from awsllm.tools.schema.shapes import check_shapes
from awsllm.tools.schema.walk import ANNOTATIONS, JSON_TYPES, pointed, subschemas
from awsllm.types import JsonObject, JsonValue

# Keyword: which values it speaks of, what holds, and how its breach reads.
_BOUNDS: dict[str, tuple[str, Callable[[Any, Any], bool], str]] = {
    "minimum": ("number", lambda v, n: v >= n, "is less than {}"),
    "maximum": ("number", lambda v, n: v <= n, "is more than {}"),
    "exclusiveMinimum": ("number", lambda v, n: v > n, "is not more than {}"),
    "exclusiveMaximum": ("number", lambda v, n: v < n, "is not less than {}"),
    "multipleOf": ("number", lambda v, n: _is_multiple(v, n), "is no multiple of {}"),
    "minLength": ("string", lambda v, n: len(v) >= n, "is shorter than {}"),
    "maxLength": ("string", lambda v, n: len(v) <= n, "is longer than {}"),
    "pattern": ("string", lambda v, n: matches(n, v), "does not match {!r}"),
    "minItems": ("array", lambda v, n: len(v) >= n, "has fewer than {} items"),
    "maxItems": ("array", lambda v, n: len(v) <= n, "has more than {} items"),
    "uniqueItems": ("array", lambda v, n: not n or _all_differ(v), "has equal items"),
    "minProperties": ("object", lambda v, n: len(v) >= n, "has fewer than {} members"),
    "maxProperties": ("object", lambda v, n: len(v) <= n, "has more than {} members"),
}
_APPLICATORS = frozenset(
    (
        *("$ref", "type", "enum", "const", "properties", "required", "additionalProperties", "patternProperties"),
        *("items", "prefixItems", "anyOf", "oneOf", "allOf", "not", "$defs", "definitions"),
    )
)


def check_schema(schema: JsonObject) -> None:
    """``UnsupportedError`` for a schema that this module cannot judge by, naming the keyword and where it stands."""
    check_shapes(schema, "the schema")
    for path, part in subschemas(schema):
        where = f"the schema's {path}" if path else "the schema"
        for keyword in part.keys() - _APPLICATORS - ANNOTATIONS - _BOUNDS.keys():
            raise UnsupportedError(f"{where} says {keyword!r}, which is not checked here: leave it out, or give a type")
        names = part.get("type", [])
        for name in [names] if isinstance(names, str) else names:
            if name not in JSON_TYPES:
                raise UnsupportedError(f"{where} has the type {name!r}; JSON has {', '.join(JSON_TYPES)}")
        if "$ref" in part:
            _resolve(part["$ref"], schema, where)
        for pattern in [*([part["pattern"]] if "pattern" in part else []), *part.get("patternProperties", ())]:
            _check_pattern(pattern, where)


def _check_pattern(pattern: Any, where: str) -> None:
    if not isinstance(pattern, str):
        raise UnsupportedError(f"{where} has the pattern {pattern!r}; a pattern is a text")
    try:
        compiled(pattern)
    except ValueError as error:
        raise UnsupportedError(f"{where} has the pattern {pattern!r}, which cannot be judged: {error}") from error


def violations(value: JsonValue, schema: Any, root: JsonObject, path: str = "") -> Iterator[str]:
    """What is wrong with ``value``, as ``where: what``. ``root`` is the whole schema, for its references."""
    where = path or "the value"
    if isinstance(schema, bool):
        if not schema:
            yield f"{where}: is not allowed"
        return
    if "$ref" in schema:
        yield from violations(value, _resolve(schema["$ref"], root, where), root, path)
    types = schema.get("type")
    if types is not None and not any(
        JSON_TYPES[name](value) for name in ([types] if isinstance(types, str) else types)
    ):
        yield f"{where}: is not of type {types if isinstance(types, str) else ' or '.join(types)}"
        return
    if "enum" in schema and not any(_equal(value, item) for item in schema["enum"]):
        yield f"{where}: is none of {schema['enum']}"
    if "const" in schema and not _equal(value, schema["const"]):
        yield f"{where}: is not {schema['const']!r}"
    for keyword, (kind, holds, text) in _BOUNDS.items():
        if keyword in schema and JSON_TYPES[kind](value) and not holds(value, schema[keyword]):
            yield f"{where}: {text.format(schema[keyword])}"
    yield from _combined(value, schema, root, path)
    if isinstance(value, dict):
        yield from _members(value, schema, root, path)
    elif isinstance(value, list):
        yield from _items(value, schema, root, path)


def _combined(value: JsonValue, schema: JsonObject, root: JsonObject, path: str) -> Iterator[str]:
    where = path or "the value"
    for part in schema.get("allOf", ()):
        yield from violations(value, part, root, path)
    for keyword in ("anyOf", "oneOf"):
        if keyword not in schema:
            continue
        broken = [list(violations(value, part, root, path)) for part in schema[keyword]]
        fitting = sum(not errors for errors in broken)
        if fitting == 0:
            yield f"{where}: fits no alternative ({'; or '.join(errors[0] for errors in broken)})"
        elif fitting > 1 and keyword == "oneOf":
            yield f"{where}: fits {fitting} alternatives, of which only one may"
    if "not" in schema and not any(violations(value, schema["not"], root, path)):
        yield f"{where}: is what it must not be"


def _members(value: JsonObject, schema: JsonObject, root: JsonObject, path: str) -> Iterator[str]:
    properties = schema.get("properties", {})
    patterns = schema.get("patternProperties", {})
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{f'{path}.{name}'.lstrip('.')}: is missing"
    for name, member in value.items():
        inner = f"{path}.{name}".lstrip(".")
        parts = [properties[name]] if name in properties else []
        parts += [part for pattern, part in patterns.items() if matches(pattern, name)]
        if not parts and schema.get("additionalProperties") is False:
            yield f"{inner}: is not a known member"
        for part in parts or [schema.get("additionalProperties", True)]:
            if part is not False:
                yield from violations(member, part, root, inner)


def _items(value: list[JsonValue], schema: JsonObject, root: JsonObject, path: str) -> Iterator[str]:
    prefix = schema.get("prefixItems", [])
    for index, item in enumerate(value):
        part = prefix[index] if index < len(prefix) else schema.get("items", True)
        yield from violations(item, part, root, f"{path}.{index}".lstrip("."))


def _resolve(reference: Any, root: JsonObject, where: str) -> Any:
    """What a reference within the schema points to (RFC 6901)."""
    if not isinstance(reference, str) or not reference.startswith("#"):
        raise UnsupportedError(f"{where} refers to {reference!r}, outside of the schema: put it under $defs")
    try:
        return pointed(reference, root)
    except LookupError as error:
        raise UnsupportedError(f"{where} refers to {reference!r}, which is not in the schema") from error


def _equal(a: JsonValue, b: JsonValue) -> bool:
    """JSON's equality: 1 is 1.0, and true is not 1."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_equal, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_equal(a[key], b[key]) for key in a)
    return bool(a == b)


def _all_differ(items: list[JsonValue]) -> bool:
    return not any(_equal(a, b) for i, a in enumerate(items) for b in items[:i])


def _is_multiple(value: float, factor: float) -> bool:
    if isinstance(value, int) and isinstance(factor, int):
        return value % factor == 0
    quotient = value / factor
    if math.isinf(quotient):
        return math.fmod(value, factor) == 0
    return math.isclose(quotient, round(quotient), rel_tol=1e-9)  # 0.3 / 0.1 is 2.9999999999999996
