"""How many records and bytes one of Bedrock's batch jobs takes, and how many jobs of a model may be under way.

They are quotas of a model in a region, so Service Quotas is asked. Who may not read it gets the defaults of
docs.aws.amazon.com/general/latest/gr/bedrock.html as others quote them (read 2026-11-27): at least 100 records, at most
50,000 in a file and 1 GB; ten jobs at once (aws.amazon.com/blogs/machine-learning, "Automate Amazon Bedrock batch
inference"). Some models have more: the real figures are why it is asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from awsllm.aws.control import translated
from awsllm.errors import AwsllmError
from awsllm.jumpstart.deploy.resources import Clients
from awsllm.models.quotas import words_of_id, words_of_name
from awsllm.types import Value

_GB = 10**9
_NAME = re.compile(
    r"(minimum number of records per batch inference job"
    r"|records per (?:input file per )?batch inference job"
    r"|batch inference (?:input file|job) size"
    r"|sum of in-progress and submitted batch inference jobs using an? (?:base|custom) model) (?:\(in GB\) )?for (.+?)"
    r"(?: \(in GB\))?",
    re.IGNORECASE,
)


class JobQuotas(Value, frozen=True, kw_only=True):
    """Of one job: ``least`` and ``most`` records, and ``size`` in bytes; ``jobs`` at once. ``known``: Service Quotas
    said so."""

    least: int = 100
    most: int = 50_000
    size: int = _GB
    jobs: int = 10
    known: bool = False


def job_quotas(model: str, clients: Clients) -> JobQuotas:
    """Those of a Bedrock id, from Service Quotas where that may be read."""
    try:
        return quotas_among(model, _listed(clients))
    except AwsllmError:
        return JobQuotas()


def quotas_among(model: str, listed: Iterable[tuple[str, float]]) -> JobQuotas:
    """Those of a model among names and values. A job has one file here, so that the tighter of two bounds holds."""
    wanted = words_of_id(model.rpartition("/")[2])
    found: dict[str, float] = {}
    for name, value in listed:
        match = _NAME.fullmatch(name.strip())
        if match is None or words_of_name(match[2]) not in wanted or value <= 0:
            continue
        what = _member(match[1].lower())
        found[what] = min(value * (_GB if what == "size" else 1), found.get(what, value * _GB))
    members = {name: int(value) for name, value in found.items()}
    return JobQuotas(**members, known=bool(members))


def _member(name: str) -> str:
    if name.startswith("minimum"):
        return "least"
    if name.startswith("records"):
        return "most"
    return "size" if "size" in name else "jobs"


def _listed(clients: Clients) -> list[tuple[str, float]]:
    with translated():
        pages = clients("service-quotas").get_paginator("list_service_quotas").paginate(ServiceCode="bedrock")
        return [(str(one.get("QuotaName", "")), float(one.get("Value", 0))) for page in pages for one in page["Quotas"]]
