"""Whether values satisfy schemas, against jsonschema."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awsllm.errors import UnsupportedError
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


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        (r"^\p{L}+$", "Köln", "K2"),
        (r"^(?<year>\d{4})-\k<year>$", "2026-2026", "2026-2027"),
        (r"^a\/b$", "a/b", "ab"),
        ("^[^]+$", "a\nb", ""),
        (r"^\u{61}$", "a", "u"),
        (r"^[\w-.]+$", "a-b", "a b"),
        (r"^\-\\A$", "-\\A", "A"),
        ("^ab$", "ab", "ab\n"),
        (r"^\d$", "3", "٣"),
        ("^.$", "😀", "\n"),
        ("^.$", "a", "\ud800"),
    ],
)
def test_patterns_are_javascripts(pattern: str, good: str, bad: str) -> None:
    schema = {"type": "string", "pattern": pattern}
    check_schema(schema)
    assert not list(violations(good, schema, schema))
    assert list(violations(bad, schema, schema)) == [f"the value: does not match {pattern!r}"]
    keys = {"patternProperties": {pattern: {"type": "integer"}}, "additionalProperties": False}
    check_schema(keys)
    assert not list(violations({good: 1}, keys, keys))
    assert list(violations({bad: 1}, keys, keys))


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("(", "Unbalanced parenthesis"),
        (r"\A\d", r"without its flag u \\A means nothing"),
        (r"\p{L}\-", r"without its flag u \\p means nothing"),
        (r"\u{61}\-", r"without its flag u \\u means nothing"),
        ("(?P<year>1)", r"write \(\?<name>"),
        ("(?i)a", "Invalid group modifier"),
        ("\ud800", "half a surrogate pair"),
        (5, "a pattern is a text"),
    ],
)
def test_a_pattern_that_cannot_be_judged_is_named(pattern: Any, hint: str) -> None:
    with pytest.raises(UnsupportedError, match=f"the schema's a has the pattern .*{hint}"):
        check_schema({"properties": {"a": {"type": "string", "pattern": pattern}}})
    with pytest.raises(UnsupportedError, match="pattern"):
        check_schema({"patternProperties": {"(" if pattern == 5 else pattern: {}}})


def test_an_anchor_is_no_pointer() -> None:
    with pytest.raises(UnsupportedError, match="which is not in the schema"):
        check_schema({"properties": {"a": {"$ref": "#anchor"}}})


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


KEYWORDS = (
    *("type", "title", "description", "enum", "properties", "required", "additionalProperties", "items", "not"),
    *("patternProperties", "prefixItems", "anyOf", "oneOf", "allOf", "$ref", "$defs", "uniqueItems", "pattern"),
    *("minimum", "exclusiveMaximum", "multipleOf", "minLength", "maxItems", "minProperties", "$schema", "default"),
)


@settings(max_examples=150)
@given(st.dictionaries(st.sampled_from(KEYWORDS), VALUES | SCHEMAS, max_size=3), VALUES)
def test_what_is_no_schema_is_refused_in_words(schema: dict[str, Any], value: Any) -> None:
    """A schema comes from a file or from a stranger: it is used, or refused by one of awsllm's own errors."""
    try:
        spec = output_spec(schema)
    except UnsupportedError:
        return
    with suppress(InvalidOutput):
        spec.validate(value)


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": 3}, "the schema has 3 for 'type', which is a name or a list of names"),
        ({"properties": {"a": {"required": "b"}}}, "the schema's a has 'b' for 'required', which is a list of names"),
        ({"properties": ["a"]}, "which is an object of schemas"),
        ({"items": 1}, "which is a schema"),
        ({"anyOf": {}}, "which is a list of schemas"),
        ({"minimum": "1"}, "which is a number"),
        ({"multipleOf": 0}, "which is a number above 0"),
        ({"maxLength": -1}, "which is a whole number from 0"),
        ({"title": 1}, "which is a text"),
        ({"enum": "ab"}, "which is a list"),
    ],
)
def test_what_is_wrong_with_a_schema_is_named(schema: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        output_spec(schema)
