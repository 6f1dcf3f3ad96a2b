"""Schemas of types, smaller and plainer, accept what they did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jsonschema
import pydantic
import pytest
from hypothesis import given, settings

from awsllm.tools.schema.types import tidy, type_schema
from awsllm.tools.schema.walk import subschemas
from tests.support.schemas import GOOD, VALUES, Invoice, Node, Point


@pytest.mark.parametrize(
    "type_", [Invoice, Node, Point, list[Invoice], Invoice | Point | None, dict[str, Point]], ids=str
)
@given(value=VALUES)
@settings(max_examples=30)
def test_a_tidied_schema_accepts_the_same(type_: Any, value: Any) -> None:
    untidy = pydantic.TypeAdapter(type_).json_schema()
    validator, tidied = jsonschema.Draft202012Validator(untidy), tidy(untidy)
    assert not any(isinstance(part.get("title"), str) for _, part in subschemas(tidied))
    candidates: tuple[Any, ...] = (value, GOOD, {"x": 1}, [GOOD], {"a": {"x": 2}}, {"children": [{"children": [{}]}]})
    for candidate in candidates:
        assert jsonschema.Draft202012Validator(tidied).is_valid(candidate) == validator.is_valid(candidate)


def test_a_property_may_be_called_title() -> None:
    @dataclass
    class Book:
        title: str

    assert type_schema(Book, "test")["properties"] == {"title": {"type": "string"}}
