"""Deleting while AWS refuses a single request: what is left, and how long it takes to say so. Time is virtual: a wait
costs nothing, and is counted."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import awsllm
from awsllm.jumpstart.deploy.endpoints import Endpoints
from tests.support.pace import Time
from tests.support.plans import REGION, ROLE
from tests.support.watched_aws import WatchedAws, error, nothing, watched_aws

DENIED = ("AccessDeniedException", "no")
EVERY = 0
NIGHT = {"name": "night", "expression": "cron(0 20 * * ? *)", "min": 0, "max": 0}
# An endpoint with a component, an adapter on it, a scalable target, policies, an alarm and a schedule.
FULL: dict[str, Any] = {
    "name": "chat", "role": ROLE,
    "components": {"adapters": {"lora": "s3://b/l.tar.gz"}},
    "autoscaling": {"min": 0, "max": 2, "schedules": [NIGHT]},
}  # fmt: skip


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[WatchedAws]:
    """With a deployment of everything that belongs to an endpoint."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWSLLM_CACHE", str(tmp_path))
    with watched_aws() as aws:
        awsllm.Client(region=REGION).jumpstart.deploy("example-open-tgi-instruct", **FULL)
        assert sum(map(len, aws.made().values())) >= 8
        yield aws


def refuse(aws: WatchedAws, refusals: Mapping[tuple[str, int], tuple[str, str]]) -> None:
    """Refuse the n-th request of an operation from now on, or ``EVERY`` other one, with a code and a text."""
    counts = Counter[str]()

    def before(operation: str, request: dict[str, Any]) -> None:
        counts[operation] += 1
        refusal = refusals.get((operation, counts[operation])) or refusals.get((operation, EVERY))
        if refusal:
            raise error(*refusal, operation)

    aws.before = before


@pytest.mark.xfail(
    strict=True,
    reason="the first deletion removes the component whose name alone leads to its autoscaling and says that it could"
    " not look; the second finds no component and so looks for nothing, and targets, policies and alarms stay for ever",
)
@pytest.mark.parametrize("operation", ["DescribeScalableTargets", "DescribeAlarms"])
def test_a_deletion_made_again_with_the_right_to_look_leaves_nothing(
    operation: str, aws: WatchedAws, time: Time
) -> None:
    refuse(aws, {(operation, EVERY): DENIED})
    with contextlib.suppress(awsllm.AwsllmError):  # refusing to begin would be as good
        Endpoints(aws.clients, pace=time.pace(15)).delete("chat")
    aws.before = nothing
    Endpoints(aws.clients, pace=time.pace(15)).delete("chat")
    assert aws.made() == {}


@pytest.mark.xfail(
    strict=True,
    reason="what needs the component gone is asked to go again for half an hour each: the base component, the endpoint",
)
@pytest.mark.parametrize("number", [1, 2], ids=["the adapter", "the base component"])
def test_a_component_that_may_not_be_deleted_is_told_at_once(number: int, aws: WatchedAws, time: Time) -> None:
    """Whoever may not delete a component waits in vain for what cannot go before it, whatever AWS says of that."""
    refusals = {
        ("DeleteInferenceComponent", number): DENIED,
        ("DeleteEndpoint", EVERY): ("ValidationException", "it has inference components attached"),
    }
    if number == 1:
        refusals["DeleteInferenceComponent", EVERY] = ("ValidationException", "it is in use by adapters")
    refuse(aws, refusals)
    began = time.at
    with pytest.raises(awsllm.AwsllmError, match=DENIED[0]):
        Endpoints(aws.clients, pace=time.pace(15)).delete("chat")
    assert time.at - began < 300


def test_a_deletion_is_gone_on_with_once_it_is_allowed(aws: WatchedAws, time: Time) -> None:
    refuse(aws, {("DeleteInferenceComponent", 1): DENIED})
    with pytest.raises(awsllm.AwsllmError, match=DENIED[0]):
        Endpoints(aws.clients, pace=time.pace(15)).delete("chat")
    aws.before = nothing
    Endpoints(aws.clients, pace=time.pace(15)).delete("chat")
    assert aws.made() == {}
