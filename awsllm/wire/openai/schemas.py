"""Which JSON schemas OpenAI's strict mode takes: each object is closed, and all of its properties are required
(platform.openai.com/docs/guides/structured-outputs, "Supported schemas"). Another schema is still told to the model,
and only not enforced."""

from __future__ import annotations

from awsllm.types import JsonValue

_OF_SCHEMAS = ("properties", "$defs", "definitions")
_LISTS = ("anyOf", "allOf", "oneOf", "prefixItems")


def is_strict(schema: JsonValue) -> bool:
    """Whether strict mode takes the schema. What is no schema (true, false) it does not."""
    if not isinstance(schema, dict):
        return False
    if schema.get("type") == "object" or "properties" in schema:
        names = schema.get("properties") or {}
        if schema.get("additionalProperties") is not False or set(names) != set(schema.get("required") or ()):
            return False
    inner = [value for name in _OF_SCHEMAS for value in (schema.get(name) or {}).values()]
    inner += [value for name in _LISTS for value in schema.get(name) or ()]
    inner += [schema["items"]] if "items" in schema else []
    return all(map(is_strict, inner))
