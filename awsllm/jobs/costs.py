"""What a job costs: what its plan said, and what it came to, as far as its service tells.

Bills are AWS's own, and come a day later. What is known before that is time that is paid for, at the table's price of
an hour, and of a batch that this machine runs each answer's. Everything else is None, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from awsllm.aws.iam import region_of
from awsllm.jumpstart.deploy.resources import seconds
from awsllm.jumpstart.plan.plan import Cost
from awsllm.jumpstart.prices import Prices
from awsllm.types import JsonObject


class JobCost(Cost, frozen=True, kw_only=True):
    """A job's plan's ``Cost``, and ``actual``: US dollars that it came to. Where that is None, ``reason`` says why."""

    actual: float | None = None
    reason: str = ""


Spent: TypeAlias = tuple[float | None, str]

_UNKNOWN_PLAN = Cost(per_hour=None, note="it was taken up by its name alone: its plan is not known here")
_NOT_TOLD = "its service does not say what it charged: the bill does, a day later"


def cost_of(noun: str, estimate: Cost | None, description: JsonObject | None, *, is_over: bool) -> JobCost:
    """``description`` is what the service said last; None where nobody has looked."""
    planned = estimate or _UNKNOWN_PLAN
    actual, reason = _spent(noun, description, is_over=is_over)
    return JobCost(
        per_hour=planned.per_hour,
        per_hour_max=planned.per_hour_max,
        as_of=planned.as_of,
        note=planned.note,
        total=planned.total,
        actual=actual,
        reason=reason,
    )


def _spent(noun: str, description: JsonObject | None, *, is_over: bool) -> Spent:
    if noun in _ALWAYS:
        return _ALWAYS[noun]
    if description is None:
        return None, "nobody has looked at it yet: state() does"
    if noun in _AT_ANY_TIME:
        return _AT_ANY_TIME[noun](description)
    if not is_over:
        return None, "it is not over"
    return _AT_THE_END[noun](description) if noun in _AT_THE_END else (None, _NOT_TOLD)


def _trained(description: JsonObject) -> Spent:
    if not (machines := description.get("ResourceConfig")):
        return None, _NOT_TOLD
    return _machines(machines, description.get("BillableTimeInSeconds"), str(description["TrainingJobArn"]))


def _transformed(description: JsonObject) -> Spent:
    began, ended = (seconds(description.get(f"Transform{when}Time")) for when in ("Start", "End"))
    lasted = None if began is None or ended is None else ended - began
    return _machines(description["TransformResources"], lasted, str(description["TransformJobArn"]))


def _machines(machines: JsonObject, lasted: float | None, arn: str) -> Spent:
    if lasted is None:
        return None, "SageMaker does not say how long it was paid for"
    kind = machines.get("InstanceType")
    each = Prices.default().per_hour(kind, region_of(arn)) if kind else None
    if each is None:
        return None, f"{lasted:g} seconds on {kind or 'several machines'} were paid for; their price is not known here"
    return each * (machines.get("InstanceCount") or 1) * lasted / 3600, ""


def _asked(description: JsonObject) -> Spent:
    unpriced = description.get("unpriced") or 0
    return (None, f"{unpriced:,} answers have no known cost") if unpriced else (description.get("cost"), "")


def _in_session(description: JsonObject) -> Spent:
    used = description.get("BillableTokenUsage") or {}
    tokens = sum(used.get(f"{what}TokenCount") or 0 for what in ("Prefill", "Sample", "Training"))
    return None, f"{tokens:,} tokens are to be paid for; their price is not known here"


_ALWAYS: Mapping[str, Spent] = {
    "local training": (0.0, ""),
    "asynchronous endpoint call": (None, "an endpoint is paid by the hour, not by the call"),
    "custom model deployment": (None, "calls are paid by the token, the deployment itself is not"),
    "provisioned throughput": (None, "it is paid by the hour until it is deleted"),
}
_AT_ANY_TIME: Mapping[str, Callable[[JsonObject], Spent]] = {"batch": _asked, "training session": _in_session}
_AT_THE_END: Mapping[str, Callable[[JsonObject], Spent]] = {"training job": _trained, "transform job": _transformed}
"""By the nouns of kinds; the others do not tell."""
