"""Whether values satisfy schemas, against jsonschema."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings

from awsllm.tools.schema.judge import check_schema, violations
from awsllm.tools.typed import InvalidOutput, output_spec
from tests.support.schemas import SCHEMAS, VALUES


@settings(max_examples=150)
@given(SCHEMAS, VALUES)
def test_values_are_judged_as_jsonschema_judges_them(schema: dict[str, Any], value: Any) -> None:
    check_schema(schema)
    expected = jsonschema.Draft202012Validator(schema).is_valid(value)
    assert (not list(violations(value, schema, schema))) == expected


def test_references_are_followed() -> None:
    schema = {
        "type": "object",
        "properties": {"next": {"$ref": "#"}, "n": {"$ref": "#/$defs/a~1b"}},
        "$defs": {"a/b": {"type": "integer"}},
        "additionalProperties": False,
    }
    check_schema(schema)
    assert not list(violations({"next": {"n": 1}}, schema, schema))
    assert list(violations({"next": {"n": "1"}}, schema, schema)) == ["next.n: is not of type integer"]


def test_violations_say_where() -> None:
    spec = output_spec(
        {
            "type": "object",
            "properties": {"a": {"type": "array", "items": {"type": "integer", "minimum": 2}}, "b": {"enum": ["x"]}},
            "required": ["c"],
            "additionalProperties": False,
        }
    )
    with pytest.raises(InvalidOutput) as caught:
        spec.validate({"a": [3, 1], "b": "y", "d": 1})
    assert str(caught.value) == "c: is missing; a.1: is less than 2; b: is none of ['x']; d: is not a known member"
