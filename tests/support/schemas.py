"""Types to write schemas of, and strategies for schemas and the values that they judge."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

import pydantic
from hypothesis import strategies as st


class Line(pydantic.BaseModel):
    text: str
    price: float = pydantic.Field(ge=0)


class Invoice(pydantic.BaseModel):
    """What is owed."""

    number: str = pydantic.Field(min_length=1, description="as printed")
    due: datetime.date
    lines: list[Line] = []


@dataclass
class Point:
    x: int
    y: int = 0


class Node(pydantic.BaseModel):
    children: list[Node] = []


GOOD = {"number": "7", "due": "2026-01-02", "lines": [{"text": "tea", "price": 3}]}

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
LEAVES: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}),
    st.sampled_from([{"type": t} for t in ("string", "integer", "number", "boolean", "null", "object", "array")]),
    st.just({"type": ["string", "null"]}),
    st.lists(JSON, min_size=1, max_size=3).map(lambda values: {"enum": values}),
    JSON.map(lambda value: {"const": value}),
    st.builds(lambda low, high: {"minimum": low, "exclusiveMaximum": high}, st.integers(-3, 3), st.integers(-3, 3)),
    st.builds(lambda n: {"type": "number", "multipleOf": n, "maximum": 9}, st.integers(1, 5)),
    st.builds(lambda low, high: {"minLength": low, "maxLength": high}, st.integers(0, 2), st.integers(0, 4)),
    st.builds(
        lambda low, high: {"minItems": low, "maxItems": high, "uniqueItems": True}, st.integers(0, 2), st.integers(0, 4)
    ),
    st.just({"type": "string", "pattern": "^a|b$"}),
)
NAMES = st.sampled_from(["a", "b", "c"])


def _object(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(
        lambda properties, required, rest, patterns: {
            "properties": properties,
            "required": required,
            "additionalProperties": rest,
            "patternProperties": patterns,
        },
        st.dictionaries(NAMES, inner, max_size=3),
        st.lists(NAMES, max_size=2, unique=True),
        st.booleans() | inner,
        st.dictionaries(st.just("^b"), inner, max_size=1),
    )


SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        _object(inner),
        st.builds(
            lambda items, prefix: {"items": items, "prefixItems": prefix},
            inner,
            st.lists(inner, min_size=1, max_size=2),
        ),
        st.builds(
            lambda keyword, parts: {keyword: parts},
            st.sampled_from(["anyOf", "oneOf", "allOf"]),
            st.lists(inner, min_size=1, max_size=3),
        ),
        inner.map(lambda part: {"not": part}),
    ),
    max_leaves=5,
)
VALUES = st.one_of(JSON, st.dictionaries(NAMES, JSON, max_size=3), st.lists(JSON, max_size=3), st.integers(-4, 10))
