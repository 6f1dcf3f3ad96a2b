"""JSON schemas: of types, tidied for any model, fitted to what Bedrock decodes under, and judged by.

``type_schema`` has pydantic write the schema of a type. ``tidy`` makes it smaller and plainer without changing what it
accepts: titles go, references that do not recurse are written out (some models read no ``$defs``).

``fit`` rewrites a schema for a service that decodes under it. The service takes closed objects only, and refuses bounds
on numbers, texts and lists, recursion, and some combinators (userguide/structured-output; the limits of 24 optional and
16 union-typed properties are the model provider's). A bound that is refused moves to the description, where the model
still reads it; whoever validates the answer still checks it. What cannot be moved is named in a ``Misfit``.

``violations`` says what of a JSON value breaks a schema (draft 2020-12): typed output asks it where the caller gives a
schema instead of a type. Every keyword that it does not judge is refused up front by ``check_schema``, so that no
answer passes for a rule nobody looked at. ``format`` and other annotations do not judge, as the draft has it.
"""

from __future__ import annotations

import functools
import math
import operator
import re
import sys
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

from awsllm.errors import UnsupportedError
from awsllm.types import JsonObject, JsonValue

_MAPS = ("properties", "$defs", "definitions", "patternProperties", "dependentSchemas")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLES = (
    *("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"),
    *("unevaluatedItems", "unevaluatedProperties"),
)


def rebuild(schema: Any, change: Callable[[JsonObject], JsonObject]) -> Any:
    """The schema with ``change`` applied to each subschema, innermost first. Booleans, which are schemas too, stay."""
    if not isinstance(schema, dict):
        return schema
    parts: JsonObject = {}
    for keyword, value in schema.items():
        if keyword in _MAPS and isinstance(value, dict):
            parts[keyword] = {name: rebuild(item, change) for name, item in value.items()}
        elif keyword in _LISTS and isinstance(value, list):
            parts[keyword] = [rebuild(item, change) for item in value]
        elif keyword in _SINGLES:
            parts[keyword] = rebuild(value, change)
        else:
            parts[keyword] = value
    return change(parts)


def subschemas(schema: Any, path: str = "") -> Iterator[tuple[str, JsonObject]]:
    """Each subschema with where it stands, the whole first: ``("", …)``, ``("items.price", …)``."""
    if not isinstance(schema, dict):
        return
    yield path, schema
    for keyword, value in schema.items():
        if keyword in _MAPS and isinstance(value, dict):
            for name, item in value.items():
                yield from subschemas(item, f"{path}.{name}".lstrip("."))
        elif keyword in _LISTS and isinstance(value, list):
            for item in value:
                yield from subschemas(item, path)
        elif keyword in _SINGLES:
            yield from subschemas(value, path)


def tidy(schema: JsonObject) -> JsonObject:
    """The same schema without titles, and without references but those that recurse."""
    untitled: JsonObject = rebuild(schema, lambda part: {k: v for k, v in part.items() if not _is_title(k, v)})
    return _inline(untitled)


def _is_title(keyword: str, value: object) -> bool:
    return keyword == "title" and isinstance(value, str)


def _inline(schema: JsonObject) -> JsonObject:
    definitions: JsonObject = schema.get("$defs", {})
    recursive = {name for name in definitions if name in _reachable(name, definitions)}

    def expand(part: JsonObject) -> JsonObject:
        name = _reference(part)
        if name is None or name in recursive or name not in definitions:
            return part
        inlined: JsonObject = rebuild(definitions[name], expand)
        return inlined | {k: v for k, v in part.items() if k != "$ref"}

    body: JsonObject = rebuild({k: v for k, v in schema.items() if k != "$defs"}, expand)
    if recursive:
        body["$defs"] = {name: rebuild(definitions[name], expand) for name in definitions if name in recursive}
    return body


def _reference(part: JsonObject) -> str | None:
    target = part.get("$ref")
    return target.removeprefix("#/$defs/") if isinstance(target, str) and target.startswith("#/$defs/") else None


def _reachable(name: str, definitions: JsonObject) -> set[str]:
    seen: set[str] = set()
    pending = [name]
    while pending:
        for _, part in subschemas(definitions.get(pending.pop())):
            target = _reference(part)
            if target is not None and target not in seen:
                seen.add(target)
                pending.append(target)
    return seen


def close(schema: JsonObject) -> JsonObject:
    """The schema of a type whose objects say nothing of further members: told that there are none. A model then neither
    invents any nor, decoding under the schema, is let to."""

    def closed(part: JsonObject) -> JsonObject:
        return {**part, "additionalProperties": False} if "properties" in part else part

    result: JsonObject = rebuild(schema, lambda part: closed(part) if "additionalProperties" not in part else part)
    return result


# --- of types --------------------------------------------------------------------------------------------------------


def portable(type_: Any) -> Any:
    """The type with each ``typing.TypedDict`` in it made one of ``typing_extensions``: before Python 3.12 pydantic
    reads those only (errors.pydantic.dev/2/u/typed-dict-version). Ones inside classes are beyond reach."""
    if sys.version_info >= (3, 12):
        return type_
    if typing.is_typeddict(type_) and type(type_).__module__ == "typing":
        return _portable_typed_dict(type_)
    origin, arguments = typing.get_origin(type_), typing.get_args(type_)
    if origin is None or origin is typing.Literal:
        return type_
    if origin is typing.Annotated:
        return typing.Annotated[(portable(arguments[0]), *arguments[1:])]
    changed = tuple(map(portable, arguments))
    if changed == arguments:
        return type_
    if origin is types.UnionType:
        return functools.reduce(operator.or_, changed)
    return type_.copy_with(changed) if hasattr(type_, "copy_with") else origin[changed]


def _portable_typed_dict(type_: Any) -> Any:
    import typing_extensions as te

    fields: dict[str, Any] = {}
    for name, hint in typing.get_type_hints(type_, include_extras=True).items():
        wrapped = typing.get_origin(hint) in (typing.Required, typing.NotRequired)
        required = typing.get_origin(hint) is typing.Required if wrapped else name in type_.__required_keys__
        inner = portable(typing.get_args(hint)[0] if wrapped else hint)
        fields[name] = te.Required[inner] if required else te.NotRequired[inner]
    made: Any = te.TypedDict(type_.__name__, fields)  # type: ignore[misc]  # built at run time
    made.__doc__ = type_.__doc__
    return made


def type_schema(type_: Any, where: str) -> JsonObject:
    """The JSON schema of what validates as ``type_``; ``UnsupportedError`` when JSON cannot carry it."""
    from pydantic import TypeAdapter
    from pydantic.errors import PydanticUserError

    try:
        return close(tidy(TypeAdapter(portable(type_)).json_schema(schema_generator=schema_generator())))
    except (PydanticUserError, NameError) as error:
        reason = str(error).split("\n", 1)[0]
        shown = getattr(type_, "__name__", type_)
        raise UnsupportedError(
            f"{shown} cannot be expressed in JSON schema ({reason}); use str, int, float, bool, list, dict, Literal, "
            f"Enum, a dataclass, TypedDict or pydantic model [{where}]"
        ) from error


@functools.cache
def schema_generator() -> type:
    """pydantic's generator, leaving out in silence a default that JSON cannot carry: the function still applies it."""
    from pydantic.json_schema import GenerateJsonSchema

    class Generator(GenerateJsonSchema):
        ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012  # as pydantic declares it

    return Generator


# --- the subset of structured outputs --------------------------------------------------------------------------------


class Misfit(ValueError):
    """The schema says something the service cannot decode under; the message says what and where."""


MAX_OPTIONAL = 24
MAX_UNIONS = 16

_MOVED = frozenset(
    (
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength"),
        *("maxItems", "uniqueItems", "minProperties", "maxProperties"),
    )
)
_DROPPED = frozenset(
    ("examples", "discriminator", "deprecated", "readOnly", "writeOnly", "contentMediaType", "$schema")
)
_REFUSED = frozenset(
    (
        *(
            "$ref",
            "allOf",
            "not",
            "if",
            "then",
            "else",
            "contains",
            "prefixItems",
            "patternProperties",
            "propertyNames",
        ),
        *("dependentSchemas", "dependentRequired", "unevaluatedItems", "unevaluatedProperties"),
    )
)
_FORMATS = frozenset(("date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"))
# Lookaround, back references and word boundaries are beyond a decoder's automaton.
_HARD_PATTERN = re.compile(r"\(\?|\\[1-9bB]")


def fit(schema: JsonObject) -> JsonObject:
    """The schema within the subset: objects closed, otherwise no stricter; ``Misfit`` when that cannot be."""
    for path, part in subschemas(schema):
        _refuse(path or "the root", part)
    fitted: JsonObject = rebuild(schema, _fit_part)
    parts = [part for _, part in subschemas(fitted)]
    optional = sum(len(p.get("properties", {})) - len(p.get("required", [])) for p in parts)
    if optional > MAX_OPTIONAL:
        raise Misfit(f"{optional} optional properties are more than {MAX_OPTIONAL}")
    unions = sum("anyOf" in p or isinstance(p.get("type"), list) for p in parts)
    if unions > MAX_UNIONS:
        raise Misfit(f"{unions} union-typed properties are more than {MAX_UNIONS}")
    return fitted


def _refuse(path: str, part: JsonObject) -> None:
    refused = sorted(_REFUSED & part.keys())
    if refused:
        reason = "recursion or a reference elsewhere" if refused[0] == "$ref" else repr(refused[0])
        raise Misfit(f"{path}: {reason} is not taken")
    if not part.keys() & {"type", "enum", "const", "anyOf", "oneOf"}:
        raise Misfit(f"{path}: any value at all is not taken; give it a type")
    if part.get("type") == "object" and (part.get("additionalProperties") or "properties" not in part):
        raise Misfit(f"{path}: an object of unnamed members is not taken; name its properties")
    if part.get("type") == "array" and "items" not in part:
        raise Misfit(f"{path}: a list of anything is not taken; give its items a type")


def _fit_part(part: JsonObject) -> JsonObject:
    kept: JsonObject = {}
    moved: list[str] = []
    for keyword, value in part.items():
        if _is_refused_bound(keyword, value):
            moved.append(f"{keyword} {value}")
        elif keyword == "oneOf":  # the answer is validated against the original, which tells the branches apart
            kept["anyOf"] = value
        elif keyword not in _DROPPED:
            kept[keyword] = value
    if kept.get("type") == "object":
        kept["additionalProperties"] = False
        kept.setdefault("required", [])
    if moved:
        kept["description"] = " ".join(
            [*([kept["description"]] if kept.get("description") else []), f"({', '.join(moved)})"]
        )
    return kept


def _is_refused_bound(keyword: str, value: Any) -> bool:
    match keyword:
        case "minItems":
            return bool(value not in (0, 1))
        case "format":
            return value not in _FORMATS
        case "pattern":
            return _HARD_PATTERN.search(value) is not None
        case _:
            return keyword in _MOVED


# --- conforming ------------------------------------------------------------------------------------------------------

_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "string": lambda v: isinstance(v, str),
    "boolean": lambda v: isinstance(v, bool),
    "null": lambda v: v is None,
    "number": lambda v: isinstance(v, int | float) and not isinstance(v, bool),
    "integer": lambda v: (isinstance(v, int) and not isinstance(v, bool)) or (isinstance(v, float) and v.is_integer()),
}
# Keyword: which values it speaks of, what holds, and how its breach reads.
_BOUNDS: dict[str, tuple[str, Callable[[Any, Any], bool], str]] = {
    "minimum": ("number", lambda v, n: v >= n, "is less than {}"),
    "maximum": ("number", lambda v, n: v <= n, "is more than {}"),
    "exclusiveMinimum": ("number", lambda v, n: v > n, "is not more than {}"),
    "exclusiveMaximum": ("number", lambda v, n: v < n, "is not less than {}"),
    "multipleOf": ("number", lambda v, n: _is_multiple(v, n), "is no multiple of {}"),
    "minLength": ("string", lambda v, n: len(v) >= n, "is shorter than {}"),
    "maxLength": ("string", lambda v, n: len(v) <= n, "is longer than {}"),
    "pattern": ("string", lambda v, n: re.search(n, v) is not None, "does not match {!r}"),
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
_ANNOTATIONS = frozenset(
    (
        *("title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "format", "$comment"),
        *("$schema", "$id", "contentMediaType", "contentEncoding", "discriminator"),
    )
)


def check_schema(schema: JsonObject) -> None:
    """``UnsupportedError`` for a schema that this module cannot judge by, naming the keyword and where it stands."""
    for path, part in subschemas(schema):
        where = f"the schema's {path}" if path else "the schema"
        for keyword in part.keys() - _APPLICATORS - _ANNOTATIONS - _BOUNDS.keys():
            raise UnsupportedError(f"{where} says {keyword!r}, which is not checked here: leave it out, or give a type")
        names = part.get("type", [])
        for name in [names] if isinstance(names, str) else names:
            if name not in _TYPES:
                raise UnsupportedError(f"{where} has the type {name!r}; JSON has {', '.join(_TYPES)}")
        if "$ref" in part:
            _resolve(part["$ref"], schema, where)


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
    if types is not None and not any(_TYPES[name](value) for name in ([types] if isinstance(types, str) else types)):
        yield f"{where}: is not of type {types if isinstance(types, str) else ' or '.join(types)}"
        return
    if "enum" in schema and not any(_equal(value, item) for item in schema["enum"]):
        yield f"{where}: is none of {schema['enum']}"
    if "const" in schema and not _equal(value, schema["const"]):
        yield f"{where}: is not {schema['const']!r}"
    for keyword, (kind, holds, text) in _BOUNDS.items():
        if keyword in schema and _TYPES[kind](value) and not holds(value, schema[keyword]):
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
        parts += [part for pattern, part in patterns.items() if re.search(pattern, name)]
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
    target: Any = root
    for token in reference.lstrip("#").split("/")[1:]:
        key = token.replace("~1", "/").replace("~0", "~")
        try:
            target = target[int(key)] if isinstance(target, list) else target[key]
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise UnsupportedError(f"{where} refers to {reference!r}, which is not in the schema") from error
    return target


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
    return math.isfinite(quotient) and math.isclose(quotient, round(quotient), rel_tol=1e-9, abs_tol=1e-9)
