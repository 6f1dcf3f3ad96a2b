"""Deleting while AWS refuses a single request: what is left, and how long it takes to say so.

The account is ``mock_aws``; a refusal is raised in place of the request, by botocore's own event. Time is virtual: a
wait costs nothing, and is counted.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

import awsllm
from awsllm.jumpstart.deploy.endpoints import Endpoints
from awsllm.jumpstart.deploy.progress import Pace
from awsllm.testing import mock_aws

REGION = "us-east-1"
DENIED = "AccessDeniedException"
METADATA: Any = {"HTTPStatusCode": 400, "RequestId": "r", "HostId": "h", "HTTPHeaders": {}, "RetryAttempts": 0}


class Account:
    """An account in which the n-th request of an operation is refused, and a clock that only waiting moves."""

    def __init__(self) -> None:
        self.refusals: dict[tuple[str, int], tuple[str, str]] = {}
        self.seconds = 0.0
        self.pace = Pace(poll=15, sleep=self._sleep, clock=lambda: self.seconds)
        self._counts: dict[str, int] = {}
        self._session = boto3.Session("a", "b", region_name=REGION)

    def _sleep(self, seconds: float) -> None:
        self.seconds += seconds

    @functools.cached_property
    def endpoints(self) -> Endpoints:
        return Endpoints(self.clients, pace=self.pace)

    @functools.cache  # noqa: B019 - an account lives as long as its test
    def clients(self, service: str) -> Any:
        client = self._session.client(service)
        client.meta.events.register("before-call", self._before)
        return client

    @functools.cache  # noqa: B019
    def _plain(self, service: str) -> Any:
        return self._session.client(service)

    def _before(self, model: Any, **_: Any) -> None:
        count = self._counts[model.name] = self._counts.get(model.name, 0) + 1
        refusal = self.refusals.get((model.name, count)) or self.refusals.get((model.name, 0))
        if refusal:
            error = {"Code": refusal[0], "Message": refusal[1]}
            raise ClientError({"Error": error, "ResponseMetadata": METADATA}, model.name)

    def refuse(self, operation: str, number: int = 0, code: str = DENIED, message: str = "no") -> None:
        """Refuse one request of ``operation``, counted from now; with 0 every other one."""
        self._counts.clear()
        self.refusals[operation, number] = (code, message)

    def left(self) -> list[str]:
        """The names of all that is in the account."""
        sagemaker, scaling = self._plain("sagemaker"), self._plain("application-autoscaling")
        found = [
            *(one["ModelName"] for one in sagemaker.list_models()["Models"]),
            *(one["EndpointConfigName"] for one in sagemaker.list_endpoint_configs()["EndpointConfigs"]),
            *(one["EndpointName"] for one in sagemaker.list_endpoints()["Endpoints"]),
            *(one["InferenceComponentName"] for one in sagemaker.list_inference_components()["InferenceComponents"]),
        ]
        for operation, member, name in (
            ("describe_scalable_targets", "ScalableTargets", "ResourceId"),
            ("describe_scaling_policies", "ScalingPolicies", "PolicyName"),
            ("describe_scheduled_actions", "ScheduledActions", "ScheduledActionName"),
        ):
            found += [one[name] for one in getattr(scaling, operation)(ServiceNamespace="sagemaker")[member]]
        alarms = self._plain("cloudwatch").describe_alarms()["MetricAlarms"]
        return found + [alarm["AlarmName"] for alarm in alarms]


NIGHT = {"name": "night", "expression": "cron(0 20 * * ? *)", "min": 0, "max": 0}
# An endpoint with a component, an adapter on it, a scalable target, policies, an alarm and a schedule.
FULL: dict[str, Any] = {
    "name": "chat", "role": "arn:aws:iam::123456789012:role/exec",
    "components": {"adapters": {"lora": "s3://b/l.tar.gz"}},
    "autoscaling": {"min": 0, "max": 2, "schedules": [NIGHT]},
}  # fmt: skip


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Account]:
    """With a deployment of everything that belongs to an endpoint."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWSLLM_CACHE", str(tmp_path))
    with mock_aws(reply="Hi"):
        awsllm.Client(region=REGION).jumpstart.deploy("example-open-tgi-instruct", **FULL)
        account = Account()
        assert len(account.left()) >= 8
        yield account


@pytest.mark.xfail(
    strict=True,
    reason="the first deletion removes the component whose name alone leads to its autoscaling and says that it could"
    " not look; the second finds no component and so looks for nothing, and targets, policies and alarms stay for ever",
)
@pytest.mark.parametrize("operation", ["DescribeScalableTargets", "DescribeAlarms"])
def test_a_deletion_made_again_with_the_right_to_look_leaves_nothing(operation: str, account: Account) -> None:
    account.refuse(operation)
    with contextlib.suppress(awsllm.AwsllmError):  # refusing to begin would be as good
        account.endpoints.delete("chat")
    account.refusals.clear()
    account.endpoints.delete("chat")
    assert account.left() == []


@pytest.mark.xfail(
    strict=True,
    reason="what needs the component gone is asked to go again for half an hour each: the base component, the endpoint",
)
@pytest.mark.parametrize("number", [1, 2], ids=["the adapter", "the base component"])
def test_a_component_that_may_not_be_deleted_is_told_at_once(number: int, account: Account) -> None:
    """Whoever may not delete a component waits in vain for what cannot go before it, whatever AWS says of that."""
    account.refuse("DeleteInferenceComponent", number)
    if number == 1:
        account.refuse("DeleteInferenceComponent", 0, "ValidationException", "it is in use by adapters")
    account.refuse("DeleteEndpoint", 0, "ValidationException", "it has inference components attached")
    began = account.seconds
    with pytest.raises(awsllm.AwsllmError, match=DENIED):
        account.endpoints.delete("chat")
    assert account.seconds - began < 300


def test_a_deletion_is_gone_on_with_once_it_is_allowed(account: Account) -> None:
    account.refuse("DeleteInferenceComponent", 1)
    with pytest.raises(awsllm.AwsllmError, match=DENIED):
        account.endpoints.delete("chat")
    account.refusals.clear()
    account.endpoints.delete("chat")
    assert account.left() == []
