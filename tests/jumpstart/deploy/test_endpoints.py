"""Endpoints: what runs, how it is scaled, deleted and reaped; a block that cannot leave an endpoint behind."""

import logging
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from awsllm.errors import AwsllmError, DeploymentError, ModelNotFoundError, ValidationError
from awsllm.jumpstart.deploy.apply import apply
from awsllm.jumpstart.deploy.deployed import DEFAULT_TTL, deployed, unique_options
from awsllm.jumpstart.deploy.endpoints import Endpoints
from awsllm.jumpstart.deploy.progress import Pace, Reporter
from awsllm.jumpstart.deploy.resources import COMPONENT, Resource, named
from awsllm.jumpstart.deploy.teardown import remove_all, remove_superfluous, superfluous
from awsllm.jumpstart.plan.options import Schedule
from awsllm.jumpstart.plan.plan import Plan
from awsllm.jumpstart.plan.scaling import ScalableTarget
from awsllm.policy import write_behind
from tests.support.pace import NOW, at
from tests.support.plans import ROLE, plan
from tests.support.watched_aws import WatchedAws, error, nothing, watched_aws

FULL: dict[str, Any] = {"components": True, "wake": True}


class Prices:
    def per_hour(self, instance_type: str, region: str) -> float | None:
        return {("ml.g5.xlarge", "us-east-1"): 1.408}.get((instance_type, region))


@pytest.fixture
def aws() -> Iterator[WatchedAws]:
    with watched_aws(quotas={"ml.g5.xlarge": 4}) as aws:
        yield aws


@pytest.fixture
def pace() -> Pace:
    return at(NOW)


@pytest.fixture
def endpoints(aws: WatchedAws, pace: Pace) -> Endpoints:
    return Endpoints(aws.clients, Prices(), pace=pace)


def foreign(aws: WatchedAws, name: str = "theirs") -> None:
    """An endpoint that awsllm did not make."""
    sagemaker = aws.clients("sagemaker")
    sagemaker.create_model(ModelName=name, PrimaryContainer={"Image": "i"}, ExecutionRoleArn=ROLE)
    variant = {"VariantName": "v", "ModelName": name, "InstanceType": "ml.m5.large", "InitialInstanceCount": 2}
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)


# --- look ------------------------------------------------------------------------------------------------------------


def test_list_shows_what_runs_and_what_it_costs(aws: WatchedAws, pace: Pace, endpoints: Endpoints) -> None:
    apply(plan(instances=2, ttl=3600), aws.clients, pace=pace)
    foreign(aws)
    [mine] = endpoints.list()
    assert (mine.name, mine.status, mine.ours, mine.model_id) == ("chat", "InService", True, "a-model")
    assert (mine.instances, mine.per_hour) == ((("ml.g5.xlarge", 2),), 2.816)
    assert mine.expires == "2027-01-15T09:00:00Z"
    other = next(each for each in endpoints.list(everyone=True) if each.name == "theirs")
    assert (other.ours, other.instances, other.per_hour) == (False, (("ml.m5.large", 2),), None)


def test_describe_tells_everything_but_secrets(aws: WatchedAws, pace: Pace, endpoints: Endpoints) -> None:
    apply(plan(**FULL), aws.clients, pace=pace)
    described = endpoints.describe("chat")
    adapter, component = described.containers  # SageMaker lists the newest first
    assert (component.model, component.image, component.copies) == ("chat-m1", "djl-inference:1", (1, 1))
    assert component.env == {"OPTION_X": "1", "HF_TOKEN": "****"}
    assert (adapter.base, adapter.artifact) == ("chat-ic", "s3://b/l.tar.gz")
    assert described.format is not None
    assert (described.format.format, described.format.source) == ("lmi", "image")
    [target] = described.autoscaling
    assert (target["MinCapacity"], [policy["PolicyName"] for policy in target["Policies"]]) == (0, ["chat-ic-wake"])
    with pytest.raises(ModelNotFoundError, match="no endpoint 'nothing'"):
        endpoints.describe("nothing")


@pytest.mark.parametrize(
    ("operation", "part"),
    [
        ("ListTags", "tags"),
        ("DescribeEndpointConfig", "configuration"),
        ("ListInferenceComponents", "components"),
        ("DescribeModel", "models"),
        ("DescribeScalableTargets", "autoscaling"),
    ],
)
def test_what_may_not_be_read_is_told_and_the_rest_shown(
    aws: WatchedAws, pace: Pace, endpoints: Endpoints, operation: str, part: str
) -> None:
    apply(plan(**FULL), aws.clients, pace=pace)
    assert endpoints.describe("chat").unseen == ()
    aws.refuse(operation)
    described = endpoints.describe("chat")
    assert [reason.partition(":")[0] for reason in described.unseen] == [part]
    assert (described.summary.name, described.summary.status) == ("chat", "InService")
    assert bool(described.containers) is (part != "components")
    assert bool(described.tags) is (part != "tags")


def test_each_component_is_described_by_its_own_tags(aws: WatchedAws, pace: Pace, endpoints: Endpoints) -> None:
    """Their endpoint's tags are those of the component that was deployed last."""
    apply(plan(**FULL), aws.clients, pace=pace)
    endpoint = aws.clients("sagemaker").describe_endpoint(EndpointName="chat")["EndpointArn"]
    tags = [{"Key": "awsllm:format", "Value": "tgi"}]
    aws.clients("sagemaker").add_tags(ResourceArn=endpoint, Tags=tags)
    found = {container.name: container.format for container in endpoints.describe("chat").containers}
    assert found["chat-ic"] is not None
    assert (found["chat-ic"].format, found["chat-ic"].source) == ("lmi", "image")


def test_existing_gives_back_the_steps_that_made_it(aws: WatchedAws, pace: Pace, endpoints: Endpoints) -> None:
    wanted = plan(**FULL)
    assert endpoints.existing("chat") == ()
    apply(wanted, aws.clients, pace=pace)
    found = {(step.operation, step.resource): step.request for step in endpoints.existing("chat")}
    for step in wanted.steps:
        if step.operation == "PutMetricAlarm":  # its action is a placeholder in the plan
            assert found[step.operation, step.resource]["AlarmName"] == "chat-ic-wake"
        else:
            assert found[step.operation, step.resource] == step.request, step.operation


def test_logs_are_read_and_followed(aws: WatchedAws, pace: Pace, endpoints: Endpoints) -> None:
    group, now = "/aws/sagemaker/Endpoints/chat", float(int(time.time()))
    with pytest.raises(ModelNotFoundError, match="no endpoint 'chat'"):
        endpoints.logs("chat")
    foreign(aws)
    with pytest.raises(ModelNotFoundError, match="no inference component 'chat-ic'"):
        endpoints.logs("theirs", component="chat-ic")
    aws.log(group, "AllTraffic/i-0", "one", "two", "three", at=now)
    assert [line.text for line in endpoints.logs("chat", limit=2)] == ["two", "three"]
    following = endpoints.follow("chat", since=now)
    assert [next(following).text for _ in range(3)] == ["one", "two", "three"]
    aws.log(group, "AllTraffic/i-0", "four", at=now)
    aws.log(group, "AllTraffic/i-1", "five", at=now + 1)
    assert [next(following).text for _ in range(2)] == ["four", "five"]
    aws.log("/aws/sagemaker/InferenceComponents/chat-ic", "AllTraffic/i-0", "of the component", at=now)
    assert [line.text for line in endpoints.logs("chat", component="chat-ic")] == ["of the component"]


# --- change ----------------------------------------------------------------------------------------------------------


def test_copies_go_to_zero_and_back(aws: WatchedAws, pace: Pace, endpoints: Endpoints) -> None:
    apply(plan(**FULL), aws.clients, pace=pace)
    for copies in (0, 2):
        endpoints.scale("chat", copies=copies)
        found = {each.name: each.copies for each in endpoints.describe("chat").containers}
        assert found["chat-ic"] == (copies, copies)
    with pytest.raises(ValidationError, match="between 0 and 2, so 3 copies would be undone"):
        endpoints.scale("chat", copies=3)
    endpoints.scale("chat", copies=3, max=5)
    [target] = aws.scaling("ScalableTargets")
    assert (target["ResourceId"], target["MaxCapacity"]) == ("inference-component/chat-ic", 5)


def test_instances_scale_but_not_to_zero(aws: WatchedAws, pace: Pace, endpoints: Endpoints) -> None:
    apply(plan(), aws.clients, pace=pace)
    endpoints.scale("chat", instances=3)
    assert endpoints.list()[0].instances == (("ml.g5.xlarge", 3),)
    with pytest.raises(ValidationError, match="cannot go to zero: deploy with components=True"):
        endpoints.scale("chat", instances=0)
    endpoints.scale("chat", min=1, max=4)
    [target] = aws.scaling("ScalableTargets")
    assert (target["ResourceId"], target["MinCapacity"]) == ("endpoint/chat/variant/AllTraffic", 1)
    with pytest.raises(ModelNotFoundError, match="no variant 'other'"):
        endpoints.scale("chat", instances=1, variant="other")


def test_bounds_that_cross_are_refused(aws: WatchedAws, pace: Pace, endpoints: Endpoints) -> None:
    """Also where one of the two is what autoscaling has."""
    apply(plan(**FULL), aws.clients, pace=pace)
    endpoints.scale("chat", component="chat-ic", min=1, max=2)
    for least, most in ((5, 3), (3, None), (None, 0)):
        with pytest.raises(ValidationError, match=r"at least \d and at most \d: give min= and max= that do"):
            endpoints.scale("chat", component="chat-ic", min=least, max=most)
    endpoints.scale("chat", component="chat-ic", max=4)
    [target] = endpoints.describe("chat").autoscaling
    assert (target["MinCapacity"], target["MaxCapacity"]) == (1, 4)


def test_schedules_are_listed_replaced_and_removed(aws: WatchedAws, pace: Pace, endpoints: Endpoints) -> None:
    apply(plan(**FULL), aws.clients, pace=pace)
    morning = Schedule(name="morning", expression="cron(0 6 * * ? *)", min=1, max=2, timezone="Europe/Berlin")
    endpoints.schedule("chat", morning)
    assert [each.name for each in endpoints.schedules("chat")] == ["night", "morning"]
    assert endpoints.schedules("chat")[1] == morning
    assert aws.made()["Action"] == ["chat-ic-morning", "chat-ic-night"]
    later = Schedule(name="night", expression="cron(0 22 * * ? *)", min=1, max=1)
    endpoints.schedule("chat", later)
    assert endpoints.schedules("chat")[0] == later
    endpoints.unschedule("chat", "morning")
    endpoints.unschedule("chat", "chat-ic-night")
    assert endpoints.schedules("chat") == ()
    aws.refuse("DeleteScheduledAction", code="ObjectNotFoundException", text="No scheduled action found")  # not by moto
    with pytest.raises(AwsllmError, match="No scheduled action found"):
        endpoints.unschedule("chat", "night")


def test_schedules_of_a_variant_are_named_as_a_plan_names_them(
    aws: WatchedAws, pace: Pace, endpoints: Endpoints
) -> None:
    apply(plan(), aws.clients, pace=pace)
    endpoints.scale("chat", min=1, max=4)
    endpoints.schedule("chat", Schedule(name="night", expression="cron(0 22 * * ? *)", min=1, max=1))
    target = ScalableTarget(kind="variant", name="chat", variant="AllTraffic")
    [action] = aws.scaling("ScheduledActions")
    assert (action["ResourceId"], action["ScheduledActionName"]) == (target.resource, f"{target.label}-night")
    assert [each.name for each in endpoints.schedules("chat")] == ["night"]


# --- what a plan no longer has ---------------------------------------------------------------------------------------


def without(wanted: Plan, *ids: str) -> Plan:
    return msgspec.structs.replace(wanted, steps=tuple(step for step in wanted.steps if step.id not in ids))


def surplus(aws: WatchedAws, wanted: Plan) -> list[str]:
    return sorted(map(str, superfluous(wanted, aws.clients)))


SCALED = ("target", "wake", "alarm", "night")


def test_what_the_plan_no_longer_has_is_removed(aws: WatchedAws, pace: Pace, endpoints: Endpoints) -> None:
    apply(plan(**FULL), aws.clients, pace=pace)
    assert surplus(aws, plan(**FULL)) == []
    assert surplus(aws, without(plan(**FULL), "night")) == ["scheduled action chat-ic-night"]
    smaller = without(plan(**FULL), *SCALED, "adapter")
    done = remove_superfluous(smaller, aws.clients, pace, Reporter(None, pace))
    assert done.deleted == (
        "alarm chat-ic-wake",
        "scheduled action chat-ic-night",
        "scaling policy chat-ic-wake",
        "scalable target inference-component/chat-ic",
        "inference component chat-ic-lora",
    )
    assert [change for change in smaller.diff(endpoints.existing("chat")) if change.action == "delete"] == []
    assert surplus(aws, smaller) == []
    assert endpoints.describe("chat").summary.status == "InService"


def test_what_awsllm_did_not_make_stays(aws: WatchedAws, pace: Pace) -> None:
    apply(plan(**FULL), aws.clients, pace=pace)
    smaller = without(plan(**FULL), *SCALED, "adapter")
    requests = {step.id: step.request for step in plan(**FULL).steps}
    aws.clients("application-autoscaling").put_scaling_policy(**{**requests["wake"], "PolicyName": "by-hand"})
    alarm = {**requests["alarm"], "AlarmName": "chat-ic-errors", "AlarmActions": []}
    aws.clients("cloudwatch").put_metric_alarm(**alarm)
    aws.tags("InferenceComponent", "chat-ic-lora").clear()
    assert surplus(aws, smaller) == [
        "alarm chat-ic-wake",
        "scaling policy chat-ic-wake",
        "scheduled action chat-ic-night",
    ]


def test_a_target_set_by_hand_stays_and_a_tagged_one_goes(aws: WatchedAws, pace: Pace, endpoints: Endpoints) -> None:
    apply(plan(), aws.clients, pace=pace)
    endpoints.scale("chat", min=1, max=4)
    assert surplus(aws, plan()) == []
    aws.instead["ListTagsForResource"] = lambda: {"Tags": {"awsllm:plan": "1"}}  # moto keeps no tags of targets
    assert surplus(aws, plan()) == ["scalable target endpoint/chat/variant/AllTraffic"]


def test_another_component_on_the_endpoint_keeps_its_own(aws: WatchedAws, pace: Pace) -> None:
    apply(plan(**FULL), aws.clients, pace=pace)
    other = msgspec.structs.replace(without(plan(**FULL), *SCALED, "adapter", "component"), component="chat-other")
    assert surplus(aws, other) == []


def test_what_may_not_be_looked_at_is_told(aws: WatchedAws, pace: Pace) -> None:
    apply(plan(**FULL), aws.clients, pace=pace)

    aws.refuse("DescribeScalableTargets")
    done = remove_superfluous(without(plan(**FULL), *SCALED), aws.clients, pace, Reporter(None, pace))
    assert (done.deleted, len(done.unseen)) == ((), 1)


def test_update_needs_an_endpoint(aws: WatchedAws, pace: Pace, endpoints: Endpoints) -> None:
    with pytest.raises(ModelNotFoundError):
        endpoints.update(plan())
    apply(plan(), aws.clients, pace=pace)
    assert endpoints.update(plan(version="2")).status == "InService"
    assert endpoints.describe("chat").config == "chat-c210"


# --- remove ----------------------------------------------------------------------------------------------------------


def test_delete_goes_in_the_order_aws_needs_and_leaves_nothing(
    aws: WatchedAws, pace: Pace, endpoints: Endpoints
) -> None:
    apply(plan(**FULL), aws.clients, pace=pace)
    apply(plan("chat-2"), aws.clients, pace=pace)
    before = aws.made()
    assert endpoints.delete("chat").deleted == (
        "alarm chat-ic-wake",
        "scheduled action chat-ic-night",
        "scaling policy chat-ic-wake",
        "scalable target inference-component/chat-ic",
        "inference component chat-ic-lora",
        "inference component chat-ic",
        "endpoint chat",
        "endpoint configuration chat-c111",
        "model chat-m1",
    )
    assert before["Endpoint"] == ["chat", "chat-2"]
    assert aws.made() == {"Model": ["chat-2-m1"], "EndpointConfig": ["chat-2-c110"], "Endpoint": ["chat-2"]}
    assert endpoints.delete("chat").deleted == ()


@pytest.mark.parametrize("stop", range(1, 10))
def test_an_interrupted_deletion_goes_on(aws: WatchedAws, pace: Pace, endpoints: Endpoints, stop: int) -> None:
    apply(plan(**FULL), aws.clients, pace=pace)
    deletions = iter(range(100))

    def interrupt(operation: str, request: dict[str, Any]) -> None:
        if operation.startswith(("Delete", "Deregister")) and next(deletions) == stop - 1:
            raise KeyboardInterrupt

    aws.before = interrupt
    with pytest.raises(KeyboardInterrupt):
        endpoints.delete("chat")
    aws.before = nothing
    endpoints.delete("chat")
    assert aws.made() == {}


def test_what_cannot_be_removed_is_told_and_the_rest_goes(aws: WatchedAws, pace: Pace, endpoints: Endpoints) -> None:
    apply(plan(), aws.clients, pace=pace)

    aws.refuse("DeleteEndpointConfig")
    with pytest.raises(DeploymentError, match="endpoint configuration chat-c110: not authorized"):
        endpoints.delete("chat")
    assert aws.made() == {"EndpointConfig": ["chat-c110"]}
    aws.before = nothing
    assert endpoints.delete("chat").deleted == ("endpoint configuration chat-c110",)


def test_an_endpoint_in_transition_is_asked_again(aws: WatchedAws, pace: Pace, endpoints: Endpoints) -> None:
    apply(plan(), aws.clients, pace=pace)
    refusals = iter(range(3))

    def busy(operation: str, request: dict[str, Any]) -> None:
        if operation == "DeleteEndpoint" and next(refusals, None) is not None:
            raise error("ValidationException", "Cannot delete in-progress endpoint", operation)

    aws.before = busy
    endpoints.delete("chat")
    assert aws.made() == {}


def test_autoscaling_that_may_not_be_read_does_not_keep_the_endpoint(
    aws: WatchedAws, pace: Pace, endpoints: Endpoints
) -> None:
    apply(plan(), aws.clients, pace=pace)

    aws.refuse("DescribeScalableTargets")
    assert "not authorized" in endpoints.delete("chat").unseen[0]
    assert aws.made() == {}


def test_others_endpoints_are_deleted_on_request_only(aws: WatchedAws, endpoints: Endpoints) -> None:
    foreign(aws)
    with pytest.raises(ValidationError, match="foreign=True"):
        endpoints.delete("theirs")
    endpoints.delete("theirs", foreign=True)
    assert aws.made() == {}


def test_a_model_that_awsllm_did_not_make_outlives_its_endpoint(
    aws: WatchedAws, pace: Pace, endpoints: Endpoints
) -> None:
    apply(plan(), aws.clients, pace=pace)
    aws.tags("Model", "chat-m1").clear()
    endpoints.delete("chat")
    assert aws.made() == {"Model": ["chat-m1"]}


def test_reap_deletes_what_is_past_and_nothing_else(aws: WatchedAws, pace: Pace) -> None:
    apply(plan("past", ttl=60), aws.clients, pace=pace)
    apply(plan("present", ttl=7200), aws.clients, pace=pace)
    apply(plan("forever"), aws.clients, pace=pace)
    foreign(aws)
    later = Endpoints(aws.clients, pace=at(NOW + 61))
    assert [(each.endpoint, each.deletion) for each in later.reap(dry_run=True)] == [("past", None)]
    assert "past" in aws.made()["Endpoint"]
    [reaped] = later.reap()
    assert reaped.deletion is not None
    assert reaped.deletion.deleted[0] == "endpoint past"
    assert aws.made()["Endpoint"] == ["forever", "present", "theirs"]


def closed(aws: WatchedAws, *kinds: str, name: str = "my-chat-x") -> None:
    """Others' resources, the endpoint's name within theirs, that may be listed but not looked at."""
    with aws.unwatched():
        foreign(aws, name)
        if "Endpoint" not in kinds:
            aws.clients("sagemaker").delete_endpoint(EndpointName=name)
        if "EndpointConfig" not in kinds:
            aws.clients("sagemaker").delete_endpoint_config(EndpointConfigName=name)

    def refuse(operation: str, request: dict[str, Any]) -> None:
        names = [str(value).rpartition("/")[2] for value in request.values()]
        if name in names and (operation.startswith("Describe") or "ResourceArn" in request):
            raise error("AccessDeniedException", "not authorized", operation)

    aws.before = refuse


def test_neighbours_that_may_not_be_read_keep_nothing_alive(aws: WatchedAws, pace: Pace, endpoints: Endpoints) -> None:
    apply(plan(ttl=60), aws.clients, pace=pace)
    closed(aws, "Model", "EndpointConfig", "Endpoint")
    assert [each.name for each in endpoints.list()] == ["chat"]
    assert {each.name: each.ours for each in endpoints.list(everyone=True)} == {"chat": True, "my-chat-x": False}
    later = Endpoints(aws.clients, pace=at(NOW + 61))
    [reaped] = later.reap()
    assert reaped.deletion is not None
    assert (reaped.endpoint, len(reaped.deletion.deleted), reaped.deletion.unseen) == ("chat", 3, ())
    assert aws.made() == {kind: ["my-chat-x"] for kind in ("Model", "EndpointConfig", "Endpoint")}


def test_the_block_deletes_beside_a_neighbour_that_may_not_be_read(aws: WatchedAws, pace: Pace) -> None:
    closed(aws, "Model", "EndpointConfig")
    with deployed(plan(), aws.clients, pace=pace):
        assert aws.made()["Endpoint"] == ["chat"]
    assert aws.made() == {"Model": ["my-chat-x"], "EndpointConfig": ["my-chat-x"]}


def test_an_unreadable_resource_named_alike_is_left_and_told(aws: WatchedAws, pace: Pace, endpoints: Endpoints) -> None:
    apply(plan(), aws.clients, pace=pace)
    closed(aws, "Model", name="chat-of-others")
    deletion = endpoints.delete("chat")
    assert deletion.deleted == ("endpoint chat", "endpoint configuration chat-c110", "model chat-m1")
    assert len(deletion.unseen) == 1
    assert deletion.unseen[0].startswith("model chat-of-others: not authorized")


def test_adapters_go_before_their_base_whatever_the_order_asked(aws: WatchedAws, pace: Pace) -> None:
    apply(plan(components=True), aws.clients, pace=pace)
    adapter = Resource(COMPONENT, {"InferenceComponentName": "chat-ic-lora"}, base="chat-ic")
    asked = [named(COMPONENT, "chat-ic"), adapter]
    done = remove_all(asked, aws.clients, pace=pace, reporter=Reporter(None, pace), endpoint="chat")
    assert done.deleted == ("inference component chat-ic-lora", "inference component chat-ic")


@pytest.mark.parametrize("shown", ["InService", "Failed"])
def test_a_stale_description_does_not_stop_a_deletion(
    aws: WatchedAws, pace: Pace, endpoints: Endpoints, shown: str
) -> None:
    apply(plan(), aws.clients, pace=pace)
    aws.looks(6)
    stale = iter(range(4))

    def lag(operation: str, response: dict[str, Any]) -> None:
        deleting = operation == "DescribeEndpoint" and response["EndpointStatus"] == "Deleting"
        if deleting and next(stale, None) is not None:
            response["EndpointStatus"] = shown

    aws.after = lag
    assert endpoints.delete("chat").deleted[0] == "endpoint chat"
    assert next(stale, None) is None
    assert aws.made() == {}


def test_an_endpoint_that_stays_is_told(aws: WatchedAws, pace: Pace, endpoints: Endpoints) -> None:
    apply(plan(), aws.clients, pace=pace)

    def stay(operation: str, response: dict[str, Any]) -> None:
        if operation == "DescribeEndpoint":
            response |= {"EndpointStatus": "Failed", "FailureReason": "network interfaces are in use"}

    aws.instead["DeleteEndpoint"] = dict
    aws.after = stay
    with pytest.raises(DeploymentError, match="endpoint chat: network interfaces are in use"):
        endpoints.delete("chat")


# --- a block ---------------------------------------------------------------------------------------------------------


def test_the_block_deletes_at_its_end(aws: WatchedAws, pace: Pace) -> None:
    with deployed(plan(), aws.clients, pace=pace) as deployment:
        assert deployment.status == "InService"
        assert deployment.expires == "2027-01-15T10:00:00Z"
    assert aws.made() == {}


def test_the_block_deletes_when_it_raises(aws: WatchedAws, pace: Pace) -> None:
    with pytest.raises(ZeroDivisionError), deployed(plan(**FULL), aws.clients, pace=pace):
        raise ZeroDivisionError
    assert aws.made() == {}


def test_the_block_deletes_when_deploying_is_interrupted(aws: WatchedAws, pace: Pace) -> None:
    def stop(operation: str, request: dict[str, Any]) -> None:
        if operation == "CreateEndpoint":
            signal.raise_signal(signal.SIGINT)

    aws.before = stop
    with pytest.raises(KeyboardInterrupt), deployed(plan(), aws.clients, pace=pace):
        raise AssertionError
    assert aws.made() == {}


@pytest.mark.parametrize(("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_ends_the_block_and_a_second_one_does_not_stop_the_deletion(
    aws: WatchedAws, pace: Pace, caplog: pytest.LogCaptureFixture, number: signal.Signals, raised: type[BaseException]
) -> None:
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}

    def again(operation: str, request: dict[str, Any]) -> None:
        if operation.startswith("Delete"):
            signal.raise_signal(number)

    with pytest.raises(raised), deployed(plan(), aws.clients, pace=pace):
        aws.before = again
        signal.raise_signal(number)
        raise AssertionError
    assert aws.made() == {}
    assert "is being deleted" in caplog.text
    assert {each: signal.getsignal(each) for each in before} == before


def test_a_ledger_does_not_end_the_program_before_the_block_does(aws: WatchedAws, pace: Pace) -> None:
    before = signal.signal(signal.SIGTERM, write_behind._on_sigterm)  # as it is once a ledger counts
    try:
        with pytest.raises(SystemExit), deployed(plan(), aws.clients, pace=pace):
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert aws.made() == {}


def test_a_handler_of_the_program_is_called_once_the_endpoint_is_gone(aws: WatchedAws, pace: Pace) -> None:
    left: list[dict[str, list[str]]] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: left.append(aws.made()))
    try:
        with pytest.raises(SystemExit), deployed(plan(), aws.clients, pace=pace):
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert left == [{}]


def test_blocks_nest(aws: WatchedAws, pace: Pace) -> None:
    aws.plane.quotas["ml.g5.xlarge"] = 9
    with (
        pytest.raises(SystemExit),
        deployed(plan("outer"), aws.clients, pace=pace),
        deployed(plan("inner"), aws.clients, pace=pace),
    ):
        signal.raise_signal(signal.SIGTERM)
    assert aws.made() == {}


def test_the_block_works_in_another_thread(aws: WatchedAws, pace: Pace) -> None:
    statuses: list[str] = []

    def work() -> None:
        with deployed(plan(), aws.clients, pace=pace) as deployment:
            statuses.append(deployment.status)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert (statuses, aws.made()) == (["InService"], {})


def test_a_deletion_that_fails_names_the_endpoint(
    aws: WatchedAws, pace: Pace, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "awsllm.jumpstart")
    block = deployed(plan(), aws.clients, pace=pace)
    with pytest.raises(ZeroDivisionError) as caught, block:
        aws.refuse("DeleteEndpoint")
        raise ZeroDivisionError
    assert "endpoint chat could not be deleted" in caught.value.__notes__[0]
    assert "endpoint chat in us-east-1 may still run and cost money" in caplog.text
    aws.before = nothing
    block.__exit__(None, None, None)  # what failed is tried again, at the latest at the interpreter's end
    assert aws.made() == {}


def test_the_block_leaves_an_endpoint_alone_that_was_there(aws: WatchedAws, pace: Pace) -> None:
    apply(plan(), aws.clients, pace=pace)
    with pytest.raises(ValidationError, match="give another name="), deployed(plan(), aws.clients, pace=pace):
        raise AssertionError
    assert aws.made()["Endpoint"] == ["chat"]


def test_unique_options_give_a_name_and_a_time_to_live() -> None:
    options = unique_options("meta-textgeneration-llama-3-8b", {"instance_type": "ml.g5.2xlarge"})
    name = options["name"]
    assert name is not None
    assert name.startswith("meta-textgeneration-llama-3-8b-")
    assert (options["ttl"], options["instance_type"]) == (DEFAULT_TTL, "ml.g5.2xlarge")
    assert name != unique_options("meta-textgeneration-llama-3-8b", {})["name"]
    assert unique_options("m", {"name": "x_" * 60, "ttl": 5})["ttl"] == 5
    assert len(unique_options("m", {"name": "x_" * 60})["name"] or "") <= 63
