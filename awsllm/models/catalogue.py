"""What is known of each model in figures: modalities, sizes, lifecycle, prices.

Data, in ``catalogue.jsonl`` beside this file: one row an id, written by ``tools/catalogue.py`` from the sources that it
names. Each answer is priced and each model's end is looked up, so this is part of a first call: the file is read when a
row is first asked for, and of it that row alone is decoded. A row as a value is ``models.entries``'s.
"""

from __future__ import annotations

import os
from functools import cache, lru_cache
from typing import Any

import msgspec

from awsllm.models.prices import Price
from awsllm.models.references import geography, without_geography

NEAR_END = 90
"""So many days before the end of its life a model's callers are told."""


@cache
def rows() -> bytes:
    """The file: 90 kB, searched as they are, since decoding all of it would cost a first call 2 ms."""
    with open(os.path.join(os.path.dirname(__file__), "catalogue.jsonl"), "rb", buffering=0) as file:
        return file.read()


def ids() -> tuple[str, ...]:
    """Every id that has a row."""
    return tuple(line[7 : line.index(b'"', 7)].decode() for line in rows().splitlines() if line.startswith(b'{"id":"'))


@lru_cache(maxsize=256)
def row(model: str) -> dict[str, Any] | None:
    """The row of a Bedrock id, a geography's profile of it, or the ARN of either; None where there is none. A size
    behind the version (``:300k``) is another window of the same model, whose own id may end before the version
    (``amazon.titan-text-lite-v1:0:4k``)."""
    model = without_geography(_named(model).lower())
    shorter = _without_size(model)
    for name in (model,) if shorter == model else (model, shorter, shorter.removesuffix(":0")):
        start = rows().find(b'{"id":"%s",' % name.encode())
        if start >= 0:
            found: dict[str, Any] = msgspec.json.decode(rows()[start : rows().find(b"\n", start)])
            return found
    return None


@lru_cache(maxsize=256)
def price(model: str, region: str | None = None) -> Price | None:
    """What a Bedrock model costs when it is called in ``region``; None where that is not known."""
    found = row(model)
    prices = found.get("prices") if found else None
    if not found or not prices:
        return None
    keys = (geography(_named(model)) or region or "", region or "", "")
    rates = next((prices[key] for key in keys if key in prices), None)
    if rates is None:
        return None
    members = {"source": found["source"], "read": found["read"], **rates}
    return Price(**{**members, "long": Price(**rates["long"])} if "long" in rates else members)


def is_priced_by_region(model: str) -> bool:
    """Whether the region that is called decides what a call costs."""
    found = row(model)
    return found is not None and any(key[-1:].isdecimal() for key in found.get("prices", ()))


def lifecycle(found: dict[str, Any], today: str) -> str:
    """active, legacy or end_of_life, by the announced days; days are ISO's."""
    if today >= found.get("end_of_life", "9999"):
        return "end_of_life"
    return "legacy" if today >= found.get("legacy", "9999") else "active"


@lru_cache(maxsize=256)
def lifecycle_warning(model: str, today: str) -> str | None:
    """What a caller of a model must know of its end: that it is Legacy, that it ends within 90 days, or that it has."""
    found = row(model)
    if found is None:
        return None
    if not ("legacy" in found or "end_of_life" in found):
        return _unconfirmed(found["id"], found.get("end_by_litellm"), today)
    state, end = lifecycle(found, today), found.get("end_of_life")
    if state == "active" and not (end and _days(today, end) <= NEAR_END):
        return None
    when = (
        f"ends on {end}" if end and state != "end_of_life" else f"ended on {end}" if end else "has no date of its end"
    )
    what = f"{found['id']} is Legacy and {when}" if state == "legacy" else f"{found['id']} {when}"
    return f"{what}: move to {found.get('successor') or 'another model'}"


def _unconfirmed(model: str, end: str | None, today: str) -> str | None:
    """litellm's days are ends and also days before which AWS promises none: what may be wrong is not said as a fact."""
    if end is None or _days(today, end) > NEAR_END:
        return None
    return f"{model} may end on {end} or later: litellm's table says so, its model card in Bedrock's user guide decides"


def _days(start: str, end: str) -> int:
    from datetime import date

    return (date.fromisoformat(end) - date.fromisoformat(start)).days


def _named(model: str) -> str:
    """What an ARN of a foundation model or profile names."""
    if model.startswith("arn:"):
        kind, _, name = model.split(":", 5)[-1].partition("/")
        return name if kind in ("foundation-model", "inference-profile") else ""
    return model


def _without_size(model: str) -> str:
    """``amazon.nova-lite-v1:0`` of ``amazon.nova-lite-v1:0:300k``."""
    head, colon, size = model.rpartition(":")
    return head if colon and size.endswith("k") and size[:-1].isdecimal() else model
