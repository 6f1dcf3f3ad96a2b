"""JSON schemas: tidied for any model, and fitted to the subset that Bedrock's structured outputs take.

``tidy`` makes a generated schema smaller and plainer without changing what it accepts: titles go, references that do
not recurse are written out (some models read no ``$defs``).

``fit`` rewrites a schema for a service that decodes under it. The service takes closed objects only, and refuses bounds
on numbers, texts and lists, recursion, and some combinators (userguide/structured-output; the limits of 24 optional and
16 union-typed properties are the model provider's). A bound that is refused moves to the description, where the model
still reads it; whoever validates the answer still checks it. What cannot be moved is named in a ``Misfit``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from awsllm.types import JsonObject

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


# --- the subset of structured outputs --------------------------------------------------------------------------------


class Misfit(ValueError):
    """The schema says something the service cannot decode under; the message says what and where."""


MAX_OPTIONAL = 24
MAX_UNIONS = 16

_BOUNDS = frozenset(
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
    """The schema within the subset, accepting at least what it accepted; ``Misfit`` when that cannot be."""
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
            return keyword in _BOUNDS
