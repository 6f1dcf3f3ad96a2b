"""Hyperparameters of a JumpStart training: what a document declares, and a caller's values checked against it.

A declaration has ``Name, Type, Default, Min, Max, Options, Scope``; inside ``TrainingInstanceTypeVariants`` the same
list has lower-case keys, and what the variant of the family or of the exact instance type says goes over the rest, name
by name. ``Type`` is int, float or text; bounds of a text are those of its length. ``Scope`` container are those that
the image's toolkit reads (``sagemaker_program`` and the like): they are sent as they are declared. SageMaker takes
strings only, at most 100.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from awsllm.errors import ValidationError
from awsllm.jumpstart.hub import members
from awsllm.jumpstart.hub.members import as_text
from awsllm.types import JsonObject, JsonValue, Value

Given: TypeAlias = Mapping[str, str | int | float | bool]

MAX_HYPERPARAMETERS = 100


class Hyperparameter(Value, frozen=True, kw_only=True):
    """One declaration. ``default`` None has to be given, or is left out. The exclusive bounds are of S3 documents."""

    name: str
    type: str = "text"
    default: str | None = None
    min: float | None = None
    max: float | None = None
    exclusive_min: float | None = None
    exclusive_max: float | None = None
    options: tuple[str, ...] = ()
    scope: str = "algorithm"


def declared(content: JsonObject, variants: Iterator[JsonObject] | tuple[JsonObject, ...]) -> dict[str, Hyperparameter]:
    """All declarations by name. ``variants`` are the properties that hold for the instance type, the family's first."""
    found: dict[str, JsonObject] = {}
    for place in (content, *variants):
        for entry in members.rows(place, "Hyperparameters"):
            lower = {str(key).replace("_", "").lower(): value for key, value in entry.items()}
            if name := members.text(lower, "name"):
                found[name] = {**found.get(name, {}), **lower}
    return {name: _declaration(name, entry) for name, entry in found.items()}


def _declaration(name: str, entry: JsonObject) -> Hyperparameter:
    options = entry.get("options")
    return Hyperparameter(
        name=name,
        type=str(entry.get("type") or "text").lower(),
        default=None if entry.get("default") is None else as_text(entry["default"]),
        min=_bound(entry.get("min")),
        max=_bound(entry.get("max")),
        exclusive_min=_bound(entry.get("exclusivemin")),
        exclusive_max=_bound(entry.get("exclusivemax")),
        options=tuple(map(as_text, options)) if isinstance(options, list) else (),
        scope=str(entry.get("scope") or "algorithm"),
    )


def _bound(value: JsonValue) -> float | None:
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError, OverflowError):  # a document's mistake is no reason to refuse the caller's value
        return None


def resolve(known: Mapping[str, Hyperparameter], given: Given) -> dict[str, str]:
    """The defaults with ``given`` over them. Raises ``ValidationError`` that tells everything that is wrong."""
    problems = [problem for name, value in given.items() for problem in _problems(known, name, value)]
    if problems:
        raise ValidationError("hyperparameters: " + "; ".join(problems))
    values = {name: entry.default for name, entry in known.items() if entry.default is not None}
    values |= {name: _spelled(known[name], value) for name, value in given.items()}
    if len(values) > MAX_HYPERPARAMETERS:
        raise ValidationError(f"{len(values)} hyperparameters; SageMaker takes at most {MAX_HYPERPARAMETERS}")
    return values


def _problems(known: Mapping[str, Hyperparameter], name: str, value: JsonValue) -> Iterator[str]:
    if name not in known:
        close = difflib.get_close_matches(name, known, n=3) or sorted(
            entry.name for entry in known.values() if entry.scope == "algorithm"
        )
        yield f"{name} is unknown to this model; " + (f"it has {', '.join(close)}" if close else "it has none")
        return
    entry, text = known[name], _spelled(known[name], value)
    if entry.options and text not in entry.options:
        yield f"{name}={text} is none of {', '.join(entry.options)}"
    measured = _measure(entry.type, value, text)
    if measured is None:
        yield f"{name}={text} is no {entry.type}"
    elif wrong := _out_of_bounds(entry, measured):
        yield f"{name}={text} {'has a length that is' if entry.type == 'text' else 'is'} {wrong}"


def _measure(kind: str, value: JsonValue, text: str) -> float | None:
    """What the bounds hold for: the number, or a text's length. None for what is not of ``kind``."""
    if kind not in ("int", "float"):
        return float(len(text))
    if isinstance(value, bool):
        return None
    try:
        number = float(int(text) if kind == "int" else float(text))
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _out_of_bounds(entry: Hyperparameter, measured: float) -> str | None:
    if entry.min is not None and measured < entry.min:
        return f"below {entry.min:g}"
    if entry.max is not None and measured > entry.max:
        return f"above {entry.max:g}"
    if entry.exclusive_min is not None and measured <= entry.exclusive_min:
        return f"not above {entry.exclusive_min:g}"
    if entry.exclusive_max is not None and measured >= entry.exclusive_max:
        return f"not below {entry.exclusive_max:g}"
    return None


def _spelled(entry: Hyperparameter, value: JsonValue) -> str:
    """``value`` as text; a bool as the declared options spell it (True, true)."""
    text = as_text(value)
    if isinstance(value, bool):
        return next((option for option in entry.options if option.lower() == text.lower()), text)
    return text
