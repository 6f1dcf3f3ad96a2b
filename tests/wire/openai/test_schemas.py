"""Which schemas OpenAI's strict mode takes."""

import pytest

from awsllm.types import JsonValue
from awsllm.wire.openai.schemas import is_strict

TEXT = {"type": "string"}
CITY = {"type": "object", "properties": {"city": TEXT}, "required": ["city"], "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        (CITY, True),
        ({**CITY, "properties": {"city": {"anyOf": [TEXT, {"type": "null"}]}}}, True),
        ({**CITY, "properties": {"city": {"$ref": "#/$defs/C"}}, "$defs": {"C": CITY}}, True),
        ({**CITY, "properties": {"city": {"type": "array", "items": CITY}}}, True),
        ({**CITY, "required": []}, False),
        ({**CITY, "additionalProperties": True}, False),
        ({"type": "object"}, False),
        ({**CITY, "$defs": {"C": {"type": "object", "properties": {}}}}, False),
        ({**CITY, "properties": {"city": {"anyOf": [TEXT, {**CITY, "required": []}]}}}, False),
        ({**CITY, "properties": {"city": {"type": "array", "items": True}}}, False),
    ],
)
def test_strict_schemas(schema: JsonValue, strict: bool) -> None:
    assert is_strict(schema) is strict
