"""Which documents a filter lets pass, by their metadata (API reference, RetrievalFilter)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from awsllm.server.account.refusals import invalid
from awsllm.types.retrieval import AllOf, AnyOf, Condition, Filter

Test: TypeAlias = Callable[[Mapping[str, Any]], bool]
"""Whether a document with this metadata counts."""


def judge(filter: Filter) -> Test:
    """What the filter asks of metadata. The test raises the refusal of what cannot be compared."""
    match filter:
        case AllOf(filters):
            tests = [judge(one) for one in filters]
            return lambda metadata: all(test(metadata) for test in tests)
        case AnyOf(filters):
            tests = [judge(one) for one in filters]
            return lambda metadata: any(test(metadata) for test in tests)
        case Condition(operator, key, value):
            return _condition(operator, key, value)


def _condition(operator: str, key: str, value: Any) -> Test:
    holds, without = _OPERATORS[operator], operator in ("notEquals", "notIn")

    def test(metadata: Mapping[str, Any]) -> bool:
        if key not in metadata:
            return without
        try:
            return holds(metadata[key], value)
        except TypeError:
            raise invalid(f"The filter {operator} cannot compare the attribute {key} with that value.") from None

    return test


def operators(filter: Filter) -> set[str]:
    """Those that occur in the filter."""
    if isinstance(filter, Condition):
        return {filter.operator}
    return {operator for one in filter.filters for operator in operators(one)}


_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "equals": lambda has, value: _is(has, value),
    "notEquals": lambda has, value: not _is(has, value),
    "greaterThan": lambda has, value: bool(_order(has) > _order(value)),
    "greaterThanOrEquals": lambda has, value: bool(_order(has) >= _order(value)),
    "lessThan": lambda has, value: bool(_order(has) < _order(value)),
    "lessThanOrEquals": lambda has, value: bool(_order(has) <= _order(value)),
    "in": lambda has, value: _is_among(has, value),
    "notIn": lambda has, value: not _is_among(has, value),
    "startsWith": lambda has, value: isinstance(has, str) and has.startswith(value),
    "stringContains": lambda has, value: any(value in text for text in ([has] if isinstance(has, str) else has)),
    "listContains": lambda has, value: isinstance(has, list) and _is_among(value, has),
}


def _is(has: Any, value: Any) -> bool:
    """Whether they are one JSON value: true is not 1, as it is in Python."""
    return bool(has == value) and isinstance(has, bool) == isinstance(value, bool)


def _is_among(value: Any, values: Any) -> bool:
    if not isinstance(values, list):  # of a text, each part of it would be
        raise TypeError
    return any(_is(one, value) for one in values)


def _order(value: Any) -> Any:
    if isinstance(value, bool):
        raise TypeError
    return value
