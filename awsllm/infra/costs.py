"""What a stack costs while nobody uses it: what its template says, and the instances of its endpoints.

A template knows what it always has (a key, an interface endpoint); which instances it has follows from its parameters,
and their prices from ``jumpstart.prices``. What has no price makes the sum unknown, never too small.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from awsllm.infra.templates import CostItem, IdleCost, Template
from awsllm.jumpstart.plan.plan import HOURS
from awsllm.jumpstart.prices import Prices


def cost_lines(template: Template, values: Mapping[str, str], region: str) -> IdleCost:
    """The template's own, and its instances' at the values of its parameters."""
    own = template.idle_cost
    prices = Prices.default()
    hosted = list(_instances(template, values))
    if not hosted:
        return own
    items = [_priced(kind, count, region, prices) for kind, count in hosted]
    known = [item.usd_per_month for item in items if item.usd_per_month is not None]
    complete = len(known) == len(items)
    base = own.usd_per_month or 0.0
    return IdleCost(
        usd_per_month=base + sum(known) if complete else None,
        items=(*own.items, *items),
        notes=own.notes,
        source="; ".join(filter(None, [own.source, prices.source if known else ""])),
        date=min(filter(None, [own.date, prices.as_of if known else ""]), default=""),
    )


def _instances(template: Template, values: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    """Instance types and how many of them at first, of every endpoint configuration that is told plainly."""
    for resource in template.resources.values():
        if resource.get("Type") != "AWS::SageMaker::EndpointConfig":
            continue
        for variant in (resource.get("Properties") or {}).get("ProductionVariants") or ():
            kind = _value(variant.get("InstanceType"), values) if isinstance(variant, dict) else None
            if kind:
                count = _value(variant.get("InitialInstanceCount", 1), values) or "1"
                yield kind, int(count) if count.isdecimal() else 1


def _value(given: Any, values: Mapping[str, str]) -> str | None:
    if isinstance(given, dict):
        return values.get(str(given.get("Ref", ""))) or None
    return None if given is None else str(given)


def _priced(kind: str, count: int, region: str, prices: Prices) -> CostItem:
    hourly = prices.per_hour(kind, region)
    return CostItem(
        what=f"{count} x {kind}" + ("" if hourly is not None else f": no price is known in {region}"),
        usd_per_month=None if hourly is None else round(hourly * count * HOURS, 2),
    )
