"""Walking through a JSON schema: which of its keywords hold schemas and which judge none, one way to visit them all,
one to rebuild them, one to follow a reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote

from awsllm.types import JsonObject

_MAPS = ("properties", "$defs", "definitions", "patternProperties", "dependentSchemas")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLES = (
    *("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"),
    *("unevaluatedItems", "unevaluatedProperties"),
)

# Keywords that describe a value and judge none.
ANNOTATIONS = frozenset(
    (
        *("title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "format", "$comment"),
        *("$schema", "$id", "contentMediaType", "contentEncoding", "discriminator"),
    )
)

JSON_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "string": lambda v: isinstance(v, str),
    "boolean": lambda v: isinstance(v, bool),
    "null": lambda v: v is None,
    "number": lambda v: isinstance(v, int | float) and not isinstance(v, bool),
    "integer": lambda v: (isinstance(v, int) and not isinstance(v, bool)) or (isinstance(v, float) and v.is_integer()),
}


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


def pointed(reference: str, root: JsonObject) -> Any:
    """What a reference within the schema, ``#/…``, points to (RFC 6901, percent-encoded as in a URL); ``LookupError``
    where nothing is."""
    if reference != "#" and not reference.startswith("#/"):
        raise LookupError(reference)
    target: Any = root
    for token in reference.removeprefix("#").split("/")[1:]:
        key = unquote(token).replace("~1", "/").replace("~0", "~")
        try:
            target = target[int(key)] if isinstance(target, list) else target[key]
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise LookupError(reference) from error
    return target
