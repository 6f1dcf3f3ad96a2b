"""Schemas, smaller and plainer, accept what they did; jsonschema is the judge."""

from __future__ import annotations

from typing import Any

import jsonschema
import pydantic
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from awsllm.tools.schema.tidy import close, tidy
from awsllm.tools.schema.types import type_schema
from awsllm.tools.schema.walk import subschemas
from tests.support.schemas import GOOD, SCHEMAS, VALUES, Invoice, Node, Point

REFERENCES = st.builds(
    lambda reference, beside: {"$ref": reference, **beside},
    st.sampled_from(["#/definitions/a", "#/$defs/b~1c", "#/$defs/b~1c/properties/n"]),
    st.sampled_from([{}, {"description": "said here"}, {"type": "string"}, {"minLength": 1, "properties": {"b": {}}}]),
)
ENUMS = st.builds(
    lambda types, values: {"type": types, "enum": values},
    st.sampled_from(["string", ["string"], ["string", "null"], ["null", "integer", "number"], ["boolean", "array"]]),
    st.lists(st.sampled_from([None, "a", "b", 1, 1.5, True, [1]]), min_size=1, max_size=4, unique_by=repr),
)
WHOLE = st.builds(
    lambda a, b, parts, root: {
        "title": "Whole",
        "properties": {"a": parts[0], "b": parts[1], "c": {"$ref": "#"}, "title": {"type": "string", "title": "Title"}},
        "allOf": [root],
        "definitions": {"a": a},
        "$defs": {"b/c": {**b, "properties": {"n": {"type": ["integer", "null"], "enum": [1, None]}}}, "unused": {}},
    },
    SCHEMAS | ENUMS,
    SCHEMAS | ENUMS,
    st.tuples(SCHEMAS | ENUMS | REFERENCES, SCHEMAS | ENUMS | REFERENCES),
    SCHEMAS | ENUMS | REFERENCES,
)


@given(WHOLE, VALUES)
@settings(max_examples=200)
def test_a_tidied_schema_accepts_the_same(schema: dict[str, Any], value: Any) -> None:
    tidied = tidy(schema)
    jsonschema.Draft202012Validator.check_schema(tidied)
    assert not any(isinstance(part.get("title"), str) for _, part in subschemas(tidied))
    before, after = jsonschema.Draft202012Validator(schema), jsonschema.Draft202012Validator(tidied)
    for candidate in (value, {"a": value}, {"b": value, "title": ""}, {"c": {"a": value}}, {"title": value}):
        assert after.is_valid(candidate) == before.is_valid(candidate)


@pytest.mark.parametrize(
    "type_", [Invoice, Node, Point, list[Invoice], Invoice | Point | None, dict[str, Point]], ids=str
)
@given(value=VALUES)
@settings(max_examples=30)
def test_a_types_schema_tidied_accepts_the_same(type_: Any, value: Any) -> None:
    untidy = pydantic.TypeAdapter(type_).json_schema()
    validator, tidied = jsonschema.Draft202012Validator(untidy), tidy(untidy)
    candidates: tuple[Any, ...] = (value, GOOD, {"x": 1}, [GOOD], {"a": {"x": 2}}, {"children": [{"children": [{}]}]})
    for candidate in candidates:
        assert jsonschema.Draft202012Validator(tidied).is_valid(candidate) == validator.is_valid(candidate)


@pytest.mark.parametrize(
    ("schema", "tidied"),
    [
        (
            {"type": ["string", "null"], "enum": ["low", None], "description": "how sure"},
            {"anyOf": [{"type": "string", "enum": ["low"]}, {"type": "null"}], "description": "how sure"},
        ),
        ({"type": ["string"], "enum": ["low"]}, {"type": "string", "enum": ["low"]}),
        ({"type": "string", "enum": ["low", None]}, {"type": "string", "enum": ["low"]}),
        ({"type": "string", "enum": [1]}, {"type": "string", "enum": [1]}),
        (
            {"allOf": [{"$ref": "#/definitions/a"}], "default": "x", "definitions": {"a": {"type": "string"}}},
            {"type": "string", "default": "x"},
        ),
        (
            {"allOf": [{"properties": {"a": {}}}], "additionalProperties": False},
            {"allOf": [{"properties": {"a": {}}}], "additionalProperties": False},
        ),
        (
            {"properties": {"a": {"type": "string"}, "b": {"$ref": "#/properties/a"}}},
            {"properties": {"a": {"type": "string"}, "b": {"type": "string"}}},
        ),
        (
            {"type": "object", "properties": {"next": {"$ref": "#"}}},
            {
                "type": "object",
                "properties": {"next": {"$ref": "#/$defs/root"}},
                "$defs": {"root": {"type": "object", "properties": {"next": {"$ref": "#/$defs/root"}}}},
            },
        ),
        ({"$ref": "#/$defs/all", "$defs": {"all": True}}, {}),
        ({"$ref": "#/$defs/none", "$defs": {"none": False}}, {"not": {}}),
        ({"$ref": "#/$defs/nowhere"}, {"$ref": "#/$defs/nowhere"}),
    ],
    ids=str,
)
def test_what_is_tidied(schema: dict[str, Any], tidied: dict[str, Any]) -> None:
    assert tidy(schema) == tidied


def test_a_property_may_be_called_title() -> None:
    schema = tidy({"properties": {"title": {"type": "string", "title": "Title"}}, "title": "Book"})
    assert schema == {"properties": {"title": {"type": "string"}}}


@given(WHOLE | SCHEMAS, VALUES)
def test_a_closed_schema_accepts_nothing_more(schema: dict[str, Any], value: Any) -> None:
    """But for ``oneOf``: where two parts fitted, one is left."""
    assume(not any("oneOf" in part for _, part in subschemas(schema)))
    if jsonschema.Draft202012Validator(close(schema)).is_valid(value):
        assert jsonschema.Draft202012Validator(schema).is_valid(value)


def test_objects_are_closed_where_that_forbids_no_member_of_theirs() -> None:
    inner = {"properties": {"a": {"type": "string"}}}
    assert close({"items": inner}) == {"items": {**inner, "additionalProperties": False}}
    for schema in ({"allOf": [inner, {"properties": {"b": {}}}]}, {**inner, "anyOf": [{"required": ["b"]}]}):
        assert close(schema) == schema
    assert type_schema(Point, "test")["additionalProperties"] is False
