"""Schemas within the subset that the service decodes under."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from hypothesis import given

from awsllm.tools.schema.fit import MAX_OPTIONAL, Misfit, fit, loosen
from awsllm.tools.schema.types import type_schema
from awsllm.tools.schema.walk import subschemas
from tests.support.schemas import SCHEMAS, VALUES, Node


@pytest.mark.parametrize(
    ("schema", "hint"),
    [
        (type_schema(Node, "test"), "recursion"),
        (type_schema(tuple[int, str], "test"), "'prefixItems' is not taken"),
        (type_schema(dict[str, int], "test"), "an object of unnamed members"),
        ({"type": "object", "properties": {"a": {}}}, "a: any value at all"),
        ({"type": "object", "properties": {"a": {"type": "array"}}}, "a: a list of anything"),
        ({"type": "object", "properties": {"a": {"allOf": [{"type": "string"}]}}}, "a: 'allOf' is not taken"),
        (
            {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(MAX_OPTIONAL + 1)}},
            "25 optional properties are more than 24",
        ),
        (
            {
                "type": "object",
                "properties": {f"p{n}": {"type": ["string", "null"]} for n in range(17)},
                "required": [f"p{n}" for n in range(17)],
            },
            "17 union-typed properties are more than 16",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_the_service_cannot_decode_under_is_named(schema: dict[str, Any], hint: str) -> None:
    with pytest.raises(Misfit, match=hint):
        fit(schema)


def test_bounds_move_to_the_description() -> None:
    schema = {
        "type": "object",
        "properties": {
            "a": {"type": "array", "items": {"type": "string", "pattern": "(?=x)"}, "minItems": 2, "maxItems": 3},
            "b": {"type": "string", "pattern": "^[a-z]+$", "format": "binary", "examples": ["x"]},
            "c": {"oneOf": [{"type": "string"}, {"type": "integer", "multipleOf": 2}]},
            "d": {"type": "array", "items": {"type": "null"}, "minItems": 1},
        },
    }
    assert fit(schema)["properties"] == {
        "a": {
            "type": "array",
            "items": {"type": "string", "description": "(pattern (?=x))"},
            "description": "(minItems 2, maxItems 3)",
        },
        "b": {"type": "string", "pattern": "^[a-z]+$", "description": "(format binary)"},
        "c": {"anyOf": [{"type": "string"}, {"type": "integer", "description": "(multipleOf 2)"}]},
        "d": {"type": "array", "items": {"type": "null"}, "minItems": 1},
    }


@pytest.mark.parametrize("pattern", [r"^\p{L}+$", r"^[^]+$", r"^\u{61}$", r"(a)\1", r"\bword"])
def test_patterns_that_a_service_may_not_know_move_to_the_description(pattern: str) -> None:
    fitted = fit({"type": "object", "properties": {"a": {"type": "string", "pattern": pattern}}})
    assert fitted["properties"] == {"a": {"type": "string", "description": f"(pattern {pattern})"}}


def test_what_no_grammar_holds_to_moves_to_the_description() -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {
            "a": {"type": "array", "items": {"type": "integer"}, "uniqueItems": True, "description": "lucky"},
            "b": {"type": "string", "pattern": "^(?!x)a", "not": {"const": "ab"}},
            "c": {"oneOf": [{"type": "integer"}, {"type": "number"}]},
            "d": {"type": "string", "pattern": r"^(?:\p{L}|\d)+$", "format": "path", "minLength": 3},
            "e": {"type": "array", "uniqueItems": False},
        },
        "minProperties": 1,
    }
    assert loosen(schema) == {
        "type": "object",
        "properties": {
            "a": {"type": "array", "items": {"type": "integer"}, "description": "lucky (uniqueItems true)"},
            "b": {"type": "string", "description": '(pattern ^(?!x)a, not {"const":"ab"})'},
            "c": {"anyOf": [{"type": "integer"}, {"type": "number"}]},
            "d": schema["properties"]["d"],
            "e": {"type": "array"},
        },
        "description": "(minProperties 1)",
    }


@given(SCHEMAS, VALUES)
def test_a_loosened_schema_accepts_what_the_whole_one_did(schema: dict[str, Any], value: Any) -> None:
    loosened = loosen(schema)
    jsonschema.Draft202012Validator.check_schema(loosened)
    if jsonschema.Draft202012Validator(schema).is_valid(value):
        assert jsonschema.Draft202012Validator(loosened).is_valid(value)


@given(SCHEMAS, VALUES)
def test_a_fitted_schema_accepts_what_the_closed_one_did(schema: dict[str, Any], value: Any) -> None:
    whole = {"type": "object", "properties": {"a": schema}, "required": ["a"], "additionalProperties": False}
    try:
        fitted = fit(whole)
    except Misfit:
        return
    jsonschema.Draft202012Validator.check_schema(fitted)
    for _, part in subschemas(fitted):
        assert part.get("additionalProperties", False) is False
    closed = all("properties" not in part for _, part in subschemas(schema))
    if closed and jsonschema.Draft202012Validator(whole).is_valid({"a": value}):
        assert jsonschema.Draft202012Validator(fitted).is_valid({"a": value})
