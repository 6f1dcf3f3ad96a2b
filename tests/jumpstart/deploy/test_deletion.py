"""Deleting while AWS refuses a single request: what is left, and how long it takes to say so. Time is virtual: a wait
costs nothing, and is counted."""

from __future__ import annotations

import contextlib
import functools
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

import awsllm
from awsllm.jumpstart.deploy.apply import apply
from awsllm.jumpstart.deploy.deployed import deployed
from awsllm.jumpstart.deploy.endpoints import Endpoints
from awsllm.jumpstart.deploy.teardown import IncompleteDeletionError
from awsllm.jumpstart.hub.document import read_description
from awsllm.jumpstart.plan.plan import Plan, PlanContext
from awsllm.jumpstart.plan.planner import make_plan
from awsllm.jumpstart.prices import Prices
from tests.support.data import DATA
from tests.support.pace import Time
from tests.support.plans import REGION, ROLE
from tests.support.watched_aws import WatchedAws, error, nothing, watched_aws

DENIED = ("AccessDeniedException", "no")
THROTTLED = ("Throttling", "Rate exceeded")
ASSOCIATED = (
    "ValidationException",
    "Cannot delete endpoint with inference component associated. Please delete inference component and try it again.",
)
EVERY = 0
NIGHT = {"name": "night", "expression": "cron(0 20 * * ? *)", "min": 0, "max": 0}
# An endpoint with a component, an adapter on it, a scalable target, policies, an alarm and a schedule.
FULL: dict[str, Any] = {
    "components": {"adapters": {"lora": "s3://b/l.tar.gz"}},
    "autoscaling": {"min": 0, "max": 2, "schedules": [NIGHT]},
}  # fmt: skip


@pytest.fixture
def time() -> Time:
    return Time()


@functools.cache
def full_plan(name: str = "chat", component: str | None = None) -> Plan:
    document = json.loads((DATA / "jumpstart" / "example-open-tgi-instruct.json").read_text())
    components = {**FULL["components"], "name": component}
    context = PlanContext(region=REGION, prices=Prices.default(), role=ROLE)
    options = {**FULL, "name": name, "components": components}
    return make_plan(read_description(document, region=REGION), options, context)


@pytest.fixture
def aws(time: Time) -> Iterator[WatchedAws]:
    """With a deployment of everything that belongs to an endpoint."""
    with watched_aws() as aws:
        apply(full_plan(), aws.clients, pace=time.pace(15))
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


# --- what passes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["Throttling", "ThrottlingException", "RequestLimitExceeded", "InternalFailure"])
def test_a_deletion_in_which_every_operation_fails_once_ends_well(code: str, aws: WatchedAws, time: Time) -> None:
    seen = set[str]()

    def before(operation: str, request: dict[str, Any]) -> None:
        if operation not in seen:
            seen.add(operation)
            raise error(code, "no", operation, 500 if code == "InternalFailure" else 400)

    aws.before = before
    done = Endpoints(aws.clients, pace=time.pace(15)).delete("chat")
    assert (aws.made(), done.unseen) == ({}, ())
    assert {"DescribeEndpoint", "DescribeScalableTargets", "DeleteInferenceComponent", "DeleteModel"} <= seen


@pytest.mark.parametrize("operation", ["DeleteInferenceComponent", "DeleteEndpoint", "DescribeEndpoint"])
def test_throttling_that_does_not_end_is_told_in_minutes(operation: str, aws: WatchedAws, time: Time) -> None:
    refuse(aws, {(operation, EVERY): THROTTLED})
    began = time.at
    with pytest.raises(awsllm.AwsllmError, match="Rate exceeded"):
        Endpoints(aws.clients, pace=time.pace(15)).delete("chat")
    assert 30 < time.at - began < 300


@pytest.mark.parametrize(("operation", "number"), [("DeleteEndpoint", 1), ("DeleteInferenceComponent", 2)])
def test_what_still_seems_attached_is_asked_again_for_minutes_whatever_the_words(
    operation: str, number: int, aws: WatchedAws, time: Time
) -> None:
    """All that is attached is gone by then: AWS's own view of it lags."""
    refuse(aws, {(operation, number + again): ASSOCIATED for again in range(3)})
    Endpoints(aws.clients, pace=time.pace(15)).delete("chat")
    assert aws.made() == {}


def test_an_endpoint_that_refuses_for_ever_is_told_in_minutes(aws: WatchedAws, time: Time) -> None:
    refuse(aws, {("DeleteEndpoint", EVERY): ("ValidationException", "it has friends")})
    began = time.at
    with pytest.raises(awsllm.DeploymentError, match="endpoint chat: it has friends"):
        Endpoints(aws.clients, pace=time.pace(15)).delete("chat")
    assert time.at - began < 300
    assert aws.status("chat") == "InService"


def test_a_component_that_is_being_updated_is_asked_to_go_once_it_is_settled(aws: WatchedAws, time: Time) -> None:
    aws.looks(40)
    with aws.unwatched():
        sagemaker = aws.clients("sagemaker")
        sagemaker.update_inference_component_runtime_config(
            InferenceComponentName="chat", DesiredRuntimeConfig={"CopyCount": 2}
        )
    refuse(aws, {("DeleteInferenceComponent", 2 + again): ("ValidationException", "no") for again in range(30)})
    Endpoints(aws.clients, pace=time.pace(15)).delete("chat")
    assert aws.made() == {}


# --- what does not ---------------------------------------------------------------------------------------------------


def test_what_a_failure_is_in_the_way_of_is_not_tried(aws: WatchedAws, time: Time) -> None:
    """Models and configurations of what runs included: without them nobody would see what it is."""
    refuse(aws, {("DeleteInferenceComponent", 1): DENIED})
    with pytest.raises(IncompleteDeletionError) as caught:
        Endpoints(aws.clients, pace=time.pace(15)).delete("chat")
    done = caught.value.deletion
    assert [each.partition(":")[0] for each in done.failed] == ["inference component chat-lora"]
    [base, endpoint, config, model] = done.skipped
    assert base == "inference component chat: inference component chat-lora must be gone first"
    assert endpoint.startswith("endpoint chat: inference component")
    assert (config.split()[1], model.split()[0]) == ("configuration", "model")
    assert aws.made().keys() == {"Model", "EndpointConfig", "Endpoint", "InferenceComponent"}
    assert "DeleteEndpoint" not in aws.operations("DeleteEndpoint")


@pytest.mark.parametrize("operation", ["DeleteScalingPolicy", "DeleteScheduledAction"])
def test_what_goes_with_its_target_has_not_failed(operation: str, aws: WatchedAws, time: Time) -> None:
    refuse(aws, {(operation, EVERY): DENIED})
    done = Endpoints(aws.clients, pace=time.pace(15)).delete("chat")
    assert aws.made() == {}
    assert any(each.startswith(("scaling policy", "scheduled action")) for each in done.deleted)


def test_a_refused_look_at_a_component_ends_the_deletion_before_it_begins(aws: WatchedAws, time: Time) -> None:
    before = aws.made()
    refuse(aws, {("DescribeInferenceComponent", 1): DENIED})
    with pytest.raises(awsllm.AccessDeniedError):
        Endpoints(aws.clients, pace=time.pace(15)).delete("chat")
    assert aws.made() == before


# --- what could not be seen ------------------------------------------------------------------------------------------


def test_what_could_not_be_seen_is_told_by_the_name_that_leads_to_it(aws: WatchedAws, time: Time) -> None:
    refuse(aws, {("DescribeScalableTargets", EVERY): DENIED, ("DescribeAlarms", EVERY): DENIED})
    done = Endpoints(aws.clients, pace=time.pace(15)).delete("chat")
    assert [each.partition(":")[0] for each in done.unseen] == [
        "autoscaling of chat-lora, chat",
        "alarms of chat-lora, chat",
    ]
    assert aws.made().keys() == {"Target", "Policy", "Action", "Alarm"}


def test_what_scaled_a_component_with_a_name_of_its_own_is_found_by_its_tag(time: Time) -> None:
    with watched_aws() as aws:
        apply(full_plan(component="talk"), aws.clients, pace=time.pace(15))
        refuse(aws, {("DescribeScalableTargets", EVERY): DENIED})
        Endpoints(aws.clients, pace=time.pace(15)).delete("chat")
        assert aws.made()["Target"] == ["inference-component/talk"]
        aws.before = nothing
        done = Endpoints(aws.clients, pace=time.pace(15)).delete("chat")
        assert "scalable target inference-component/talk" in done.deleted
        assert aws.made() == {}


def test_what_scales_others_components_stays(aws: WatchedAws, time: Time) -> None:
    """Another endpoint's, whose name begins alike: while its component exists, and, as its tag tells, when not."""
    apply(full_plan("chat-2"), aws.clients, pace=time.pace(15))
    Endpoints(aws.clients, pace=time.pace(15)).delete("chat")
    assert aws.made()["Target"] == ["inference-component/chat-2"]
    refuse(aws, {("DescribeScalableTargets", EVERY): DENIED, ("DescribeAlarms", EVERY): DENIED})
    Endpoints(aws.clients, pace=time.pace(15)).delete("chat-2")
    aws.before = nothing
    assert Endpoints(aws.clients, pace=time.pace(15)).delete("chat").deleted == ()
    assert aws.made()["Target"] == ["inference-component/chat-2"]


def test_reaping_tells_what_is_left(aws: WatchedAws, time: Time) -> None:
    aws.tags("Endpoint", "chat")["awsllm:expires"] = "2020-01-01T00:00:00Z"
    refuse(aws, {("DeleteEndpoint", EVERY): DENIED})
    [reaped] = Endpoints(aws.clients, pace=time.pace(15)).reap()
    assert reaped.error is not None
    assert reaped.deletion is not None
    assert "inference component chat" in reaped.deletion.deleted


def test_a_block_tells_what_it_leaves(time: Time, caplog: pytest.LogCaptureFixture) -> None:
    with watched_aws() as aws:
        with deployed(full_plan(), aws.clients, pace=time.pace(15)):
            refuse(aws, {("DescribeAlarms", EVERY): DENIED})
        assert aws.made().keys() == {"Alarm"}
        assert "alarms of chat-lora, chat: no" in caplog.text


def test_a_block_that_cannot_delete_says_how(time: Time) -> None:
    with watched_aws() as aws:
        block = deployed(full_plan(), aws.clients, pace=time.pace(15))
        with pytest.raises(awsllm.AccessDeniedError) as caught, block:
            refuse(aws, {("DescribeEndpoint", EVERY): DENIED})
        assert any("awsllm endpoints delete chat" in note for note in caught.value.__notes__)
        aws.before = nothing
        block.__exit__(None, None, None)
        assert aws.made() == {}
