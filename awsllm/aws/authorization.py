"""What IAM would say: whether policies allow a right. Pure, no boto3.

A request needs one or several ``Right``s: an action on a resource, in a context of condition keys. ``Policies`` decides
as the evaluation logic for identity-based policies does (docs.aws.amazon.com/IAM/latest/UserGuide, "Policy evaluation
logic", "Condition operators", "Resource", read 2026-11-26): what nothing allows is denied, and what anything denies is
denied whatever allows it. A permissions boundary allows nothing by itself: what it does not allow is denied.

Organizations' policies, resource-based policies and sessions' own are not judged. An element that is not known here is
no guess: it raises ``ConfigurationError``.
"""

from __future__ import annotations

import base64
import ipaddress
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

import msgspec

from awsllm.aws.wildcards import Filled, fill, matches_arn, matches_resource, matches_text
from awsllm.errors import ConfigurationError
from awsllm.types import JsonObject

Context: TypeAlias = Mapping[str, "str | Sequence[str]"]
"""Condition keys and what a request has for them, such as ``{"aws:RequestedRegion": "us-east-1"}``."""

_ELEMENTS = frozenset(("Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"))
_OF_OLD, _OF_TODAY = "2008-10-17", "2012-10-17"


class Right(msgspec.Struct, frozen=True):
    """An action on a resource. ``resource`` is None where it is not known which one is meant: then a statement allows
    it that allows the action on anything, and one denies it that denies the action on everything."""

    action: str
    resource: str | None = None
    context: Context = {}

    def __str__(self) -> str:
        return f"{self.action} on {self.resource}" if self.resource else self.action


class Statement(msgspec.Struct, frozen=True):
    """One statement as it is judged. ``Effect`` is whether it allows; patterns are lists. ``fills`` is whether they may
    have variables, which is new in the policies of 2012."""

    allows: bool
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    is_not_action: bool = False
    is_not_resource: bool = False
    conditions: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    fills: bool = True

    def covers(self, right: Right) -> bool:
        """Whether the statement is about the right."""
        named = any(matches_text(((pattern.lower(), False),), right.action.lower()) for pattern in self.actions)
        if named == self.is_not_action or not self._reaches(right):
            return False
        return all(self._holds(operator, key, values, right.context) for operator, key, values in self.conditions)

    def _reaches(self, right: Right) -> bool:
        if right.resource is None:
            return self.allows or ("*" in self.resources) != self.is_not_resource
        # What is all but something is nothing that this may be.
        filled = [self._filled(pattern, right.context, anything=self.is_not_resource) for pattern in self.resources]
        found = any(each is not None and matches_resource(each, right.resource) for each in filled)
        return found != self.is_not_resource

    def _filled(self, pattern: str, context: Context, *, anything: bool = False) -> Filled | None:
        if not self.fills:
            return ((pattern, False),)
        return fill(pattern, lambda key: _values(context, key), anything=anything)

    def _holds(self, operator: str, key: str, wanted: Sequence[str], context: Context) -> bool:
        quantifier, name, if_exists = _parts(operator)
        found = _values(context, key)
        if name == "Null":
            return any((each.lower() == "true") == (not found) for each in wanted)
        compares, negated = _OPERATORS[name]
        if not found:
            return quantifier != "ForAnyValue" and (if_exists or negated or quantifier == "ForAllValues")
        patterns = [filled for each in wanted if (filled := self._filled(each, context)) is not None]

        def fits(value: str) -> bool:
            return any(compares(each, value) for each in patterns) != negated

        try:
            every = quantifier == "ForAllValues" or (negated and not quantifier)
            return all(map(fits, found)) if every else any(map(fits, found))
        except (ValueError, OverflowError):  # no number, no date, no address
            return False


class Policies:
    """What identity-based policies allow together, within ``boundary`` where there is one. Documents are as IAM takes
    them, as values or as JSON. Raises ``ConfigurationError`` for one that is none."""

    def __init__(
        self, documents: Iterable[JsonObject | str], *, boundary: Iterable[JsonObject | str] | Policies | None = None
    ) -> None:
        self.statements = tuple(each for document in documents for each in read_statements(document))
        if boundary is not None and not isinstance(boundary, Policies):
            boundary = Policies(boundary)
        self._boundary = boundary

    def allow(self, right: Right) -> bool:
        about = [each.allows for each in self.statements if each.covers(right)]
        within = self._boundary is None or self._boundary.allow(right)
        return within and bool(about) and all(about)

    def first_missing(self, rights: Iterable[Right]) -> Right | None:
        """The first of what a request needs that is not allowed."""
        return next((right for right in rights if not self.allow(right)), None)


def read_statements(document: JsonObject | str) -> Iterator[Statement]:
    """A document's statements."""
    try:
        read: Any = json.loads(document) if isinstance(document, str) else document
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"a policy is no JSON: {error}") from error
    if not isinstance(read, dict) or "Statement" not in read:
        raise ConfigurationError("a policy is an object with a Statement")
    version, statements = read.get("Version", _OF_OLD), read["Statement"]
    if version not in (_OF_OLD, _OF_TODAY):
        raise ConfigurationError(f"a policy's Version is {_OF_TODAY} or {_OF_OLD}, not {version!r}")
    if not isinstance(statements, (dict, list, tuple)):
        raise ConfigurationError("a policy's Statement is an object or a list of them")
    for number, each in enumerate([statements] if isinstance(statements, dict) else statements, 1):
        try:
            yield _statement(each, fills=version == _OF_TODAY)
        except (KeyError, TypeError, AttributeError) as error:
            raise ConfigurationError(f"statement {number} of a policy cannot be read: {error!r}") from error


def _statement(wire: JsonObject, *, fills: bool) -> Statement:
    if unknown := wire.keys() - _ELEMENTS:
        raise ConfigurationError(f"a policy of an identity has no element {min(unknown)!r}")
    if wire["Effect"] not in ("Allow", "Deny"):
        raise ConfigurationError(f"Effect is Allow or Deny, not {wire['Effect']!r}")
    for element in ("Action", "Resource"):
        if (element in wire) == (f"Not{element}" in wire):
            raise ConfigurationError(f"a statement has either {element} or Not{element}")
    conditions = [
        (_checked(operator), key, tuple(map(_text, _listed(values))))
        for operator, keys in wire.get("Condition", {}).items()
        for key, values in keys.items()
    ]
    return Statement(
        wire["Effect"] == "Allow",
        _patterns(wire.get("Action", wire.get("NotAction"))),
        _patterns(wire.get("Resource", wire.get("NotResource"))),
        "NotAction" in wire,
        "NotResource" in wire,
        tuple(conditions),
        fills,
    )


def _patterns(value: Any) -> tuple[str, ...]:
    found = tuple(_listed(value))
    if not all(isinstance(each, str) for each in found):
        raise TypeError("actions and resources are texts")
    return found


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else [value]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


# --- conditions ------------------------------------------------------------------------------------------------------


def _plain(filled: Filled) -> str:
    return "".join(text for text, _ in filled)


def _address(wanted: Filled, found: str) -> bool:
    return ipaddress.ip_address(found) in ipaddress.ip_network(_plain(wanted), strict=False)


def _moment(text: str) -> float:
    """Seconds since 1970 of a date, which is written as in ISO 8601 or is such a number itself."""
    try:
        return float(text)
    except ValueError:
        read = datetime.fromisoformat(text)
        return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()


def _ordered(read: Callable[[str], float], holds: Callable[[float, float], bool]) -> Callable[[Filled, str], bool]:
    """``holds`` is given what is found and what is wanted."""
    return lambda wanted, found: holds(read(found), read(_plain(wanted)))


def _same_bytes(wanted: Filled, found: str) -> bool:
    return base64.b64decode(_plain(wanted), validate=True) == base64.b64decode(found, validate=True)


_ORDERS: Mapping[str, tuple[Callable[[float, float], bool], bool]] = {
    "Equals": (lambda found, wanted: found == wanted, False),
    "NotEquals": (lambda found, wanted: found == wanted, True),
    "LessThan": (lambda found, wanted: found < wanted, False),
    "LessThanEquals": (lambda found, wanted: found <= wanted, False),
    "GreaterThan": (lambda found, wanted: found > wanted, False),
    "GreaterThanEquals": (lambda found, wanted: found >= wanted, False),
}
_OPERATORS: Mapping[str, tuple[Callable[[Filled, str], bool], bool]] = {
    "StringEquals": (lambda wanted, found: _plain(wanted) == found, False),
    "StringNotEquals": (lambda wanted, found: _plain(wanted) == found, True),
    "StringEqualsIgnoreCase": (lambda wanted, found: _plain(wanted).lower() == found.lower(), False),
    "StringNotEqualsIgnoreCase": (lambda wanted, found: _plain(wanted).lower() == found.lower(), True),
    "StringLike": (matches_text, False),
    "StringNotLike": (matches_text, True),
    "ArnEquals": (matches_arn, False),
    "ArnNotEquals": (matches_arn, True),
    "ArnLike": (matches_arn, False),
    "ArnNotLike": (matches_arn, True),
    "Bool": (lambda wanted, found: _plain(wanted).lower() == found.lower(), False),
    "BinaryEquals": (_same_bytes, False),
    "IpAddress": (_address, False),
    "NotIpAddress": (_address, True),
    **{f"Numeric{name}": (_ordered(float, holds), negated) for name, (holds, negated) in _ORDERS.items()},
    **{f"Date{name}": (_ordered(_moment, holds), negated) for name, (holds, negated) in _ORDERS.items()},
}
"""What compares, and whether the condition holds where nothing compares."""


def _parts(operator: str) -> tuple[str, str, bool]:
    """``ForAllValues:StringLikeIfExists`` as its quantifier, its operator and whether a missing key will do."""
    quantifier, _, rest = operator.rpartition(":")
    return quantifier, rest.removesuffix("IfExists"), rest.endswith("IfExists")


def _checked(operator: str) -> str:
    quantifier, name, _ = _parts(operator)
    if quantifier not in ("", "ForAllValues", "ForAnyValue") or (name not in _OPERATORS and name != "Null"):
        raise ConfigurationError(f"the condition operator {operator!r} is not judged here")
    return operator


def _values(context: Context, key: str) -> Sequence[str] | None:
    """What the request has for a condition key, whose name has no case; None if nothing."""
    for name, value in context.items():
        if name.lower() == key.lower():
            return [value] if isinstance(value, str) else value
    return None
