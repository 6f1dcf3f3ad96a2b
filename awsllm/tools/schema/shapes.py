"""Whether a JSON schema is one: that each keyword has the kind of value that the draft gives it (2020-12).

A schema comes from a file, a caller or a stranger. What reads it after this may take a list for a list.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from awsllm.errors import UnsupportedError
from awsllm.tools.schema.walk import JSON_TYPES, subschemas
from awsllm.types import JsonObject

Shape = tuple[Callable[[Any], bool], str]


def check_shapes(schema: JsonObject, what: str) -> None:
    """``UnsupportedError`` for the first keyword whose value is none; ``what`` is the schema, in words."""
    for path, part in subschemas(schema):
        for keyword in part.keys() & _SHAPES.keys():
            holds, shape = _SHAPES[keyword]
            if not holds(part[keyword]):
                where = f"{what}'s {path}" if path else what
                raise UnsupportedError(f"{where} has {part[keyword]!r:.60} for {keyword!r}, which is {shape}")


_SCHEMA: Shape = (lambda v: isinstance(v, dict | bool), "a schema")
_SCHEMAS: Shape = (lambda v: _are(v, dict | bool) and bool(v), "a list of schemas")
_MEMBERS: Shape = (
    lambda v: isinstance(v, dict) and all(isinstance(part, dict | bool) for part in v.values()),
    "an object of schemas",
)
_NUMBER: Shape = (JSON_TYPES["number"], "a number")
_COUNT: Shape = (lambda v: JSON_TYPES["integer"](v) and v >= 0, "a whole number from 0")
_TEXT: Shape = (lambda v: v is None or isinstance(v, str), "a text")
# What a keyword's own value must be; as a schema of schemas has it, for what is judged or read here.
_SHAPES: dict[str, Shape] = {
    **dict.fromkeys(("items", "additionalProperties", "not"), _SCHEMA),
    **dict.fromkeys(("anyOf", "oneOf", "allOf", "prefixItems"), _SCHEMAS),
    **dict.fromkeys(("properties", "patternProperties", "$defs", "definitions"), _MEMBERS),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), _NUMBER),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), _COUNT),
    **dict.fromkeys(("title", "description"), _TEXT),
    "multipleOf": (lambda v: JSON_TYPES["number"](v) and v > 0, "a number above 0"),
    "uniqueItems": (lambda v: isinstance(v, bool), "true or false"),
    "required": (lambda v: _are(v, str), "a list of names"),
    "enum": (lambda v: isinstance(v, list), "a list"),
    "type": (lambda v: isinstance(v, str) or (_are(v, str) and bool(v)), "a name or a list of names"),
}


def _are(values: Any, kind: Any) -> bool:
    return isinstance(values, list | tuple) and all(isinstance(value, kind) for value in values)
