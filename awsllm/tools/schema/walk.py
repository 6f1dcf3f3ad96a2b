"""Walking through a JSON schema: which of its keywords hold schemas, one way to visit them all, one to rebuild them."""

from __future__ import annotations

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
