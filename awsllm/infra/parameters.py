"""A template's parameters, and whether values fit them, told before anything is sent.

CloudFormation's own rules (User Guide, Parameters): types, AllowedValues, AllowedPattern (the whole value), MinLength,
MaxLength, MinValue, MaxValue. A type that names a resource of AWS (``AWS::EC2::VPC::Id``) or an SSM parameter is
checked by CloudFormation alone.
"""

from __future__ import annotations

import difflib
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from awsllm.errors import ValidationError
from awsllm.types import Value

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
HIDDEN = "****"
"""What is shown of a value that a template declares secret (NoEcho), as CloudFormation shows it."""


class TemplateParameter(Value, frozen=True, kw_only=True):
    """One parameter. ``default`` is None where a value must be given."""

    name: str
    type: str
    description: str = ""
    default: str | None = None
    allowed_values: tuple[str, ...] = ()
    allowed_pattern: str | None = None
    constraint: str = ""
    lengths: tuple[int | None, int | None] = (None, None)
    bounds: tuple[float | None, float | None] = (None, None)
    secret: bool = False

    @classmethod
    def read(cls, name: str, given: Any) -> TemplateParameter:
        """From its place in ``Parameters``."""
        if not isinstance(given, dict) or not isinstance(given.get("Type"), str):
            raise ValidationError(f"the template's parameter {name} has no Type")
        try:
            return cls._read(name, given)
        except (TypeError, ValueError) as error:
            raise ValidationError(f"the template's parameter {name} cannot be read: {error}") from error

    @classmethod
    def _read(cls, name: str, given: Mapping[str, Any]) -> TemplateParameter:
        default, allowed, pattern = given.get("Default"), given.get("AllowedValues") or (), given.get("AllowedPattern")
        if not isinstance(allowed, (list, tuple)):
            raise TypeError("AllowedValues is a list")
        return cls(
            name=name,
            type=given["Type"],
            description=str(given.get("Description", "")).strip(),
            default=None if default is None else as_text(default),
            allowed_values=tuple(map(as_text, allowed)),
            allowed_pattern=None if pattern is None else as_text(pattern),
            constraint=str(given.get("ConstraintDescription", "")),
            lengths=(_whole(given.get("MinLength")), _whole(given.get("MaxLength"))),
            bounds=(_number(given.get("MinValue")), _number(given.get("MaxValue"))),
            secret=str(given.get("NoEcho", "")).lower() == "true",
        )

    def problem(self, value: str) -> str | None:
        """What is wrong with a value; None where nothing is. A secret's value is not repeated."""
        said = HIDDEN if self.secret else repr(value)
        wrong = next(self._problems(value), None)
        return None if wrong is None else f"{self.name}={said} {self.constraint or wrong}"

    def _problems(self, value: str) -> Iterator[str]:
        if self.allowed_values and not set(self._items(value)) <= set(self.allowed_values):
            yield f"is none of {', '.join(map(repr, self.allowed_values))}"
        if self.type in ("Number", "List<Number>"):
            yield from self._number_problems(value)
        if self.type == "String":
            low, high = self.lengths
            if low is not None and len(value) < low:
                yield f"is shorter than {low} characters"
            if high is not None and len(value) > high:
                yield f"is longer than {high} characters"
        if self.allowed_pattern is not None and not self._fits(value):
            yield f"does not fit the pattern {self.allowed_pattern}"

    def _number_problems(self, value: str) -> Iterator[str]:
        low, high = self.bounds
        for item in self._items(value):
            if not _NUMBER.fullmatch(item):
                yield "is no number"
            elif low is not None and float(item) < low:
                yield f"is below {low:g}"
            elif high is not None and float(item) > high:
                yield f"is above {high:g}"

    def _items(self, value: str) -> list[str]:
        lists = self.type.startswith("List<") or self.type == "CommaDelimitedList"
        return [item.strip() for item in value.split(",")] if lists else [value]

    def _fits(self, value: str) -> bool:
        """A pattern that only Java understands is CloudFormation's to judge; Python warns of what it may misread."""
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)
            try:
                return all(re.fullmatch(self.allowed_pattern or "", item) for item in self._items(value))
            except (re.error, FutureWarning):
                return True


def as_text(value: Any) -> str:
    """A parameter's value as CloudFormation takes it: lists by commas, truths in lower case."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return ",".join(as_text(item) for item in value)
    if value is None or isinstance(value, Mapping):
        raise ValidationError(f"a parameter's value is a text, a number, a truth or a list of them, not {value!r}")
    return str(value)


def checked(
    parameters: Iterable[TemplateParameter], given: Mapping[str, Any], kept: Iterable[str] = ()
) -> dict[str, str]:
    """The values that are given, as texts, in the template's order. ``kept`` are parameters that a stack has a value of
    already. Raises ``ValidationError`` that tells everything that is wrong at once."""
    known = {parameter.name: parameter for parameter in parameters}
    values = {name: as_text(value) for name, value in given.items()}
    problems = [_unknown(name, known) for name in values if name not in known]
    for name, parameter in known.items():
        if name in values:
            problems += filter(None, [parameter.problem(values[name])])
        elif parameter.default is None and name not in set(kept):
            hint = f" ({parameter.description})" if parameter.description else ""
            problems.append(f"{name} is missing{hint}")
    if problems:
        raise ValidationError("the parameters do not fit the template: " + "; ".join(problems))
    return {name: values[name] for name in known if name in values}


def _unknown(name: str, known: Mapping[str, TemplateParameter]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    there = f"did you mean {near[0]}?" if near else f"there are {', '.join(known) or 'none'}"
    return f"there is no parameter {name} ({there})"


def _whole(given: Any) -> int | None:
    return None if given is None else int(given)


def _number(given: Any) -> float | None:
    return None if given is None else float(given)
