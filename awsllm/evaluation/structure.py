"""Scores of answers that are not prose: JSON, by itself or by a schema, and calls of tools. Pure; 0 or 1 and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from awsllm.errors import ValidationError
from awsllm.tools.schema.judge import check_schema, violations
from awsllm.types import JsonObject, Value


class MetricScore(Value, frozen=True, kw_only=True):
    """What a metric says of one answer. ``passed`` is None where the metric has no bound; ``reason`` is for readers of
    the report."""

    value: float
    passed: bool | None = None
    reason: str = ""


def verdict(fault: str | None) -> MetricScore:
    """1 where there is no fault."""
    return MetricScore(value=0.0 if fault else 1.0, reason=fault or "")


def read_json(text: str) -> tuple[Any, str | None]:
    """The value of an answer that is one JSON document and nothing else, or what keeps it from being one."""
    try:
        return msgspec.json.decode(text), None
    except (msgspec.DecodeError, UnicodeEncodeError):
        return None, "it is no JSON"
    except RecursionError:
        return None, "it is nested too deep"


def fits_schema(text: str, schema: JsonObject) -> MetricScore:
    value, fault = read_json(text)
    if fault:
        return verdict(fault)
    return verdict(next(iter(violations(value, schema, schema)), None))


def checked_schema(schema: Any) -> JsonObject:
    """Raises ``UnsupportedError`` and ``ValidationError`` for what cannot be judged by."""
    if not isinstance(schema, Mapping):
        raise ValidationError("a schema is a JSON object")
    found = dict(schema)
    check_schema(found)
    return found


def is_same(first: Any, second: Any) -> bool:
    """Whether two JSON values are equal. 1 is 1.0; true is no number; order counts in lists alone."""
    if isinstance(first, bool) or isinstance(second, bool):
        return first is second
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return first.keys() == second.keys() and all(is_same(first[name], second[name]) for name in first)
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return len(first) == len(second) and all(map(is_same, first, second))
    return bool(first == second)


# --- tool calls ------------------------------------------------------------------------------------------------------


def expected_calls(expected: Any) -> list[JsonObject]:
    """The calls that a case expects: ``{"name", "arguments"}``, a list of those in any order, a bare name, or none.
    OpenAI's form and Converse's are read, too. ``ValidationError`` for anything else."""
    calls = expected if isinstance(expected, list | tuple) else [expected]
    return [_call(one) for one in calls]


def _call(given: Any) -> JsonObject:
    if isinstance(given, str) and given.startswith("{"):
        given = read_json(given)[0]
    if isinstance(given, str):
        return {"name": given}
    inner = given.get("function") or given.get("toolUse") or given if isinstance(given, Mapping) else {}
    if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
        raise ValidationError('an expected tool call is {"name": …, "arguments": {…}}, a list of those, or a name')
    arguments = inner.get("arguments", inner.get("input"))
    if isinstance(arguments, str):
        arguments = read_json(arguments)[0]
    return {"name": inner["name"]} | ({} if arguments is None else {"arguments": arguments})


def meets_calls(made: Iterable[JsonObject], expected: Any) -> MetricScore:
    """Whether just the expected tools were called, with the expected arguments where those are given."""
    wanted, left = expected_calls(expected), list(made)
    for call in wanted:
        named = [one for one in left if one["name"] == call["name"]]
        if not named:
            return verdict(f"{call['name']} was not called")
        fitting = [one for one in named if "arguments" not in call or is_same(one["arguments"], call["arguments"])]
        if not fitting:
            return verdict(f"{call['name']} was called with other arguments: {_differing(named[0], call)}")
        left.remove(fitting[0])
    return verdict(f"{left[0]['name']} was called, too" if left else None)


def _differing(made: JsonObject, wanted: JsonObject) -> str:
    given, expected = made["arguments"], wanted["arguments"]
    if not isinstance(given, Mapping) or not isinstance(expected, Mapping):
        return "no object"
    names = sorted(given.keys() | expected.keys())
    return ", ".join(n for n in names if n not in given or n not in expected or not is_same(given[n], expected[n]))
