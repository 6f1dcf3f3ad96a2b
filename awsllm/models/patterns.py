"""Patterns of model names: which of them means the model that a caller has named, and which most closely.

A pattern is a name in which ``*`` stands for any text. A model has several names, and a pattern that fits one of them
means it: ``anthropic.*`` and ``anthropic.claude-3-haiku`` both mean ``us.anthropic.claude-3-haiku-20240307-v1:0``, its
ARN, and Anthropic's own ``claude-3-haiku-20240307``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from awsllm.models.references import without_geography

_OWNERS = {"claude-": "anthropic", "gpt-": "openai", "text-embedding-": "openai"}
"""How providers' own names of models begin, which lack the provider that Bedrock's ids begin with."""
# A date, a version, a revision and a window's size behind a model's name: -20240307-v1:0:200k, -1:0, -v3.
_VERSION = re.compile(r"(?:-\d{8})?(?:(?:-v?\d{1,3})?:\d+(?::[a-z0-9]+)?|-v\d+)$|-\d{8}$|-latest$")


@lru_cache(maxsize=1024)
def names(model: str) -> tuple[str, ...]:
    """What a model may be called, as it was written first: the id in its ARN, without a geography, with its provider,
    without its version."""
    found = [model]
    if model.startswith("arn:"):
        kind, _, name = model.split(":", 5)[-1].partition("/")
        found += [name] if kind in ("foundation-model", "inference-profile") and name else []
    found.append(without_geography(found[-1]))
    owner = next((owner for start, owner in _OWNERS.items() if model.startswith(start)), None)
    found += [f"{owner}.{model}"] if owner else []
    if not found[-1].startswith("arn:"):
        found += [stem for name in found if (stem := _VERSION.sub("", name))]
    return tuple(dict.fromkeys(found))


def fits(pattern: str, name: str) -> bool:
    """Whether ``name`` is the pattern's text with anything in the place of each ``*``. Linear in the name's length."""
    first, *rest = pattern.split("*")
    if not rest:
        return name == pattern
    *middle, last = rest
    if not name.startswith(first) or not name.endswith(last) or len(name) < len(first) + len(last):
        return False
    place, end = len(first), len(name) - len(last)
    for piece in middle:
        found = name.find(piece, place, end)
        if found < 0:
            return False
        place = found + len(piece)
    return True


def means(pattern: str, model: str) -> bool:
    """Whether the pattern means the model, by any of its names."""
    return any(fits(pattern, name) for name in names(model))


def closest(patterns: Iterable[str], model: str) -> str | None:
    """Of the patterns that mean ``model`` the most specific: one without ``*`` before others, the name as it was
    written before its other names, then the one with the most characters; of equals the last."""
    ranked = [(_rank(pattern, model), pattern) for pattern in patterns if means(pattern, model)]
    return max(reversed(ranked), key=lambda pair: pair[0])[1] if ranked else None


def _rank(pattern: str, model: str) -> tuple[bool, bool, int]:
    return "*" not in pattern, pattern == model, len(pattern) - pattern.count("*")
