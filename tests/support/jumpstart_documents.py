"""The synthetic hub documents of ``tests/data/jumpstart``, read, and the plans that tests make of them."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from awsllm.jumpstart.hub.document import ModelDocument, read_description
from awsllm.jumpstart.plan.plan import Plan, PlanContext
from awsllm.jumpstart.plan.planner import make_plan
from awsllm.jumpstart.prices import Prices, Sheet
from tests.support.data import DATA

DIRECTORY = DATA / "jumpstart"
NAMES = tuple(sorted(path.stem for path in DIRECTORY.glob("*.json")))
REGION = "us-east-1"
ROLE = "arn:aws:iam::111122223333:role/execution"
# Prices of the tests' own, so that a newer table changes no snapshot.
PRICES = Prices(
    sheets=(
        Sheet(
            region=REGION,
            as_of="2026-01-01",
            source="tests",
            per_hour={
                "ml.g5.2xlarge": 1.5,
                "ml.g5.xlarge": 1.25,
                "ml.g5.4xlarge": 2.0,
                "ml.g5.12xlarge": 7.0,
                "ml.g6.12xlarge": 6.0,
                "ml.p3.2xlarge": 4.0,
                "ml.m5.xlarge": 0.25,
            },
        ),
    )
)
CONTEXT = PlanContext(region=REGION, role=ROLE, account="111122223333", prices=PRICES)


def description(name: str) -> dict[str, Any]:
    """What ``DescribeHubContent`` would answer, its document as an object."""
    return json.loads((DIRECTORY / f"{name}.json").read_text(encoding="utf-8"))


def document(name: str, **members: Any) -> ModelDocument:
    """A document; ``members`` of its content are put over it, and None takes one away."""
    read = description(name)
    content = read["HubContentDocument"] | members
    absent = {member for member, value in members.items() if value is None}
    read["HubContentDocument"] = {member: value for member, value in content.items() if member not in absent}
    return read_description(read, region=REGION)


def plan(name: str | ModelDocument, /, *, context: PlanContext = CONTEXT, **options: Any) -> Plan:
    found = name if isinstance(name, ModelDocument) else document(name)
    return make_plan(found, options, context)


def private(name: str) -> ModelDocument:
    """The document as a private hub that references it has it."""
    arn = f"arn:aws:sagemaker:{REGION}:111122223333:hub-content/ours/ModelReference/{name}/1.0.0"
    return msgspec.structs.replace(document(name), source="private-hub", hub_name="ours", hub_content_arn=arn)
