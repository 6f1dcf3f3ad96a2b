"""apply: every step made once, continued, updated in place, undone when it fails."""

import json
import time as clock
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError, ReadTimeoutError
from msgspec.structs import replace

from awsllm.errors import AccessDeniedError, DeploymentError, EulaNotAcceptedError, ServiceError, ValidationError
from awsllm.jumpstart.deploy.apply import apply
from awsllm.jumpstart.deploy.endpoints import Endpoints
from awsllm.jumpstart.deploy.progress import Pace, Progress
from awsllm.jumpstart.hub.document import read_description
from awsllm.jumpstart.plan.options import Async, Autoscaling, PlanOptions, Schedule
from awsllm.jumpstart.plan.plan import Plan, PlanContext
from awsllm.jumpstart.plan.planner import make_plan
from awsllm.jumpstart.prices import Prices
from tests.support.data import DATA
from tests.support.pace import Time
from tests.support.plans import REGION, ROLE, plan
from tests.support.watched_aws import WatchedAws, arn, error, nothing, watched_aws

DOCUMENTS = DATA / "jumpstart"
NIGHT = Schedule(name="night", expression="cron(0 20 * * ? *)", min=0, max=0)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def pace(time: Time) -> Pace:
    return time.pace(15)


@pytest.fixture
def aws() -> Iterator[WatchedAws]:
    with watched_aws(quotas={"ml.g5.xlarge": 4}) as aws:
        aws.looks(1)
        yield aws


FULL: dict[str, Any] = {"components": True, "wake": True}


def test_a_plan_is_made_in_order_and_serves(aws: WatchedAws, pace: Pace) -> None:
    seen: list[Progress] = []
    made = apply(plan(**FULL), aws.clients, on_progress=seen.append, pace=pace)
    assert (made.reference, made.status) == ("sagemaker:chat/chat-ic", "InService")
    assert made.created == (
        "model chat-m1",
        "endpoint configuration chat-c111",
        "endpoint chat",
        "inference component chat-ic",
        "inference component chat-ic-lora",
        "scalable target inference-component/chat-ic",
        "scaling policy chat-ic-wake",
        "alarm chat-ic-wake",
        "scheduled action chat-ic-night",
    )
    assert [(progress.resource, progress.state) for progress in seen if progress.state == "in_service"] == [
        ("chat", "in_service"),
        ("chat-ic", "in_service"),
        ("chat-ic-lora", "in_service"),
    ]
    [alarm], [policy] = aws.alarms(), aws.scaling("ScalingPolicies")
    assert alarm["AlarmActions"] == [policy["PolicyARN"]]


def test_applying_twice_makes_nothing_twice(aws: WatchedAws, pace: Pace) -> None:
    apply(plan(**FULL), aws.clients, pace=pace)
    before = aws.made()
    aws.sent.clear()
    again = apply(plan(**FULL), aws.clients, pace=pace)
    assert again.created == ()
    assert aws.operations("Create", "Update") == []
    assert aws.made() == before


def test_a_gated_plan_is_refused_before_any_call(aws: WatchedAws, pace: Pace) -> None:
    with pytest.raises(EulaNotAcceptedError, match="accept_eula=True") as caught:
        apply(plan(eula="https://bucket/eula.txt"), aws.clients, pace=pace)
    assert caught.value.url == "https://bucket/eula.txt"
    assert aws.sent == []


def test_tags_say_whose_it_is_and_when_it_ends(aws: WatchedAws, pace: Pace, time: Time) -> None:
    made = apply(plan(ttl=3600), aws.clients, pace=pace)
    assert made.expires == "2027-01-15T09:00:00Z"
    assert len(aws.all_tags()) == 3
    for tags in aws.all_tags().values():
        assert (tags["awsllm:expires"], tags["awsllm:endpoint"]) == ("2027-01-15T09:00:00Z", "chat")


def test_another_owners_endpoint_is_left_alone(aws: WatchedAws, pace: Pace) -> None:
    apply(plan(), aws.clients, pace=pace)
    for tags in aws.all_tags().values():
        tags.clear()
    aws.sent.clear()
    with pytest.raises(ValidationError, match="did not make: give another name="):
        apply(plan(version="2"), aws.clients, pace=pace)
    assert aws.operations("Create", "Update", "Delete") == []


def test_an_update_moves_the_endpoint_without_downtime(aws: WatchedAws, pace: Pace) -> None:
    apply(plan(), aws.clients, pace=pace)
    aws.sent.clear()
    made = apply(plan(version="2", instances=3), aws.clients, pace=pace)
    assert made.status == "InService"
    [update] = aws.requests("UpdateEndpoint")
    assert update == {
        "EndpointName": "chat",
        "EndpointConfigName": "chat-c230",
        "RetainAllVariantProperties": True,
        "ExcludeRetainedVariantProperties": [
            {"VariantPropertyType": "DataCaptureConfig"},
            {"VariantPropertyType": "DesiredInstanceCount"},
        ],
    }
    assert aws.operations("Delete") == []
    assert Endpoints(aws.clients, pace=pace).delete("chat").deleted == (
        "endpoint chat",
        "endpoint configuration chat-c230",
        "endpoint configuration chat-c110",
        "model chat-m2",
        "model chat-m1",
    )
    assert aws.made() == {}


def test_counts_set_since_are_kept_when_the_plan_does_not_change_them(aws: WatchedAws, pace: Pace) -> None:
    apply(plan(), aws.clients, pace=pace)
    apply(plan(version="2"), aws.clients, pace=pace)
    [update] = aws.requests("UpdateEndpoint")
    assert update["ExcludeRetainedVariantProperties"] == [{"VariantPropertyType": "DataCaptureConfig"}]


def test_an_update_that_is_rolled_back_says_so_and_keeps_what_serves(aws: WatchedAws, pace: Pace) -> None:
    apply(plan(), aws.clients, pace=pace)
    aws.plane.fail("chat", "the container did not answer /ping")
    with pytest.raises(DeploymentError, match="rolled back, it serves with chat-c110: the container did not") as caught:
        apply(plan(version="2"), aws.clients, pace=pace)
    assert caught.value.reason == "the container did not answer /ping"
    assert aws.made() == {"Model": ["chat-m1"], "EndpointConfig": ["chat-c110"], "Endpoint": ["chat"]}


def test_an_update_that_is_refused_leaves_nothing_new(aws: WatchedAws, pace: Pace) -> None:
    apply(plan(), aws.clients, pace=pace)
    before = aws.made()
    aws.refuse("UpdateEndpoint")
    with pytest.raises(AccessDeniedError) as caught:
        apply(plan(version="2"), aws.clients, pace=pace)
    removed, how = caught.value.__notes__
    assert removed == "removed again: endpoint configuration chat-c210, model chat-m2"
    assert "awsllm endpoints delete chat" in how
    assert aws.made() == before


def test_a_component_takes_a_new_model_and_count(aws: WatchedAws, pace: Pace) -> None:
    apply(plan(components=True), aws.clients, pace=pace)
    apply(plan(components=True, version="2", copies=2), aws.clients, pace=pace)
    found = aws.clients("sagemaker").describe_inference_component(InferenceComponentName="chat-ic")
    assert found["Specification"]["ModelName"] == "chat-m2"
    assert found["RuntimeConfig"]["DesiredCopyCount"] == 2
    assert aws.operations("UpdateInferenceComponent") == ["UpdateInferenceComponent"]


def test_copies_that_autoscaling_moves_are_left_to_it(aws: WatchedAws, pace: Pace) -> None:
    apply(plan(**FULL), aws.clients, pace=pace)
    aws.clients("sagemaker").update_inference_component_runtime_config(
        InferenceComponentName="chat-ic", DesiredRuntimeConfig={"CopyCount": 0}
    )
    aws.sent.clear()
    apply(plan(**FULL), aws.clients, pace=pace)
    assert aws.operations("UpdateInferenceComponent") == []


def test_a_failure_says_why_and_removes_what_was_made(aws: WatchedAws, pace: Pace, time: Time) -> None:
    aws.plane.fail("chat", "The primary container did not pass the ping health check")
    group, now = "/aws/sagemaker/Endpoints/chat", clock.time()
    aws.log(group, "AllTraffic/i-0", "loading", "CUDA out of memory", at=now + 60)
    aws.log(group, "AllTraffic/i-old", "of an earlier endpoint", at=now - 86400)
    with pytest.raises(DeploymentError) as caught:
        apply(plan(), aws.clients, pace=pace)
    failure = caught.value
    assert failure.reason == "The primary container did not pass the ping health check"
    assert failure.log_stream == "/aws/sagemaker/Endpoints/chat:AllTraffic/i-0"
    assert "CUDA out of memory" in str(failure)
    assert "earlier endpoint" not in str(failure)
    assert failure.__notes__ == ["removed again: endpoint chat, endpoint configuration chat-c110, model chat-m1"]
    assert aws.made() == {}


def test_what_failed_is_kept_when_asked_for_and_mended_by_the_next_run(aws: WatchedAws, pace: Pace) -> None:
    aws.plane.fail("chat", "no capacity")
    with pytest.raises(DeploymentError) as caught:
        apply(plan(), aws.clients, pace=pace, keep_on_failure=True)
    assert "left as they are" in caught.value.__notes__[0]
    assert aws.made()["Endpoint"] == ["chat"]
    assert apply(plan(), aws.clients, pace=pace).created == ("endpoint chat",)


def test_a_failed_component_is_removed_before_its_endpoint(aws: WatchedAws, pace: Pace) -> None:
    aws.plane.fail("chat-ic", "not enough memory")
    with pytest.raises(DeploymentError, match="inference component chat-ic failed: not enough memory"):
        apply(plan(**FULL), aws.clients, pace=pace)
    assert aws.made() == {}


def test_an_endpoint_that_served_before_is_never_removed(aws: WatchedAws, pace: Pace) -> None:
    apply(plan(**FULL), aws.clients, pace=pace)
    before = aws.made()
    aws.refuse("PutScalingPolicy")
    with pytest.raises(AccessDeniedError):
        apply(plan(**FULL), aws.clients, pace=pace)
    assert aws.made() == before


def test_what_an_interrupted_run_left_is_removed_when_going_on_fails(aws: WatchedAws, pace: Pace) -> None:
    def stop(progress: Progress) -> None:
        if progress.resource == "chat" and progress.state == "creating":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        apply(plan(), aws.clients, pace=pace, on_progress=stop)
    assert "awsllm endpoints delete chat" in caught.value.__notes__[0]
    assert aws.made() == {"Model": ["chat-m1"], "EndpointConfig": ["chat-c110"]}
    aws.plane.fail("chat", "no capacity")
    with pytest.raises(DeploymentError):
        apply(plan(), aws.clients, pace=pace)
    assert aws.made() == {}


def tagged(wanted: Plan, **tags: str) -> Plan:
    """The plan with ``awsllm:`` tags on every resource that takes tags."""
    added = [{"Key": f"awsllm:{key}", "Value": value} for key, value in tags.items()]
    steps = (replace(step, request={**step.request, "Tags": step.request["Tags"] + added}) for step in wanted.steps)
    return replace(wanted, steps=tuple(steps))


def test_an_end_is_given_and_moved_and_taken_from_an_endpoint(aws: WatchedAws, pace: Pace, time: Time) -> None:
    apply(plan(), aws.clients, pace=pace)
    time.at += 60
    assert apply(plan(ttl=3600), aws.clients, pace=pace).expires == "2027-01-15T09:01:01Z"
    assert aws.tags("Endpoint", "chat")["awsllm:expires"] == "2027-01-15T09:01:01Z"
    time.at += 60
    apply(plan(version="2", ttl=3600), aws.clients, pace=pace)
    assert aws.tags("Endpoint", "chat")["awsllm:expires"] == "2027-01-15T09:02:01Z"
    assert apply(plan(version="2"), aws.clients, pace=pace).expires is None
    assert "awsllm:expires" not in aws.tags("Endpoint", "chat")
    time.at += 1_000_000
    assert Endpoints(aws.clients, pace=pace).reap() == ()


def test_an_update_without_an_end_takes_the_old_one(aws: WatchedAws, pace: Pace) -> None:
    apply(plan(ttl=3600, components=True), aws.clients, pace=pace)
    apply(plan(version="2", components=True), aws.clients, pace=pace)
    assert "awsllm:expires" not in aws.tags("Endpoint", "chat")
    assert "awsllm:expires" not in aws.tags("InferenceComponent", "chat-ic")


def test_tags_follow_an_update_that_holds(aws: WatchedAws, pace: Pace) -> None:
    apply(tagged(plan(), format="tgi", prompt="llama-3"), aws.clients, pace=pace)
    aws.tags("Endpoint", "chat")["team"] = "blue"
    apply(tagged(plan(version="2"), format="openai"), aws.clients, pace=pace)
    tags = aws.tags("Endpoint", "chat")
    assert (tags["awsllm:format"], tags["awsllm:plan"], tags["team"]) == ("openai", plan(version="2").digest, "blue")
    assert "awsllm:prompt" not in tags


def test_tags_stay_when_an_update_is_rolled_back(aws: WatchedAws, pace: Pace) -> None:
    apply(tagged(plan(), format="tgi", prompt="llama-3"), aws.clients, pace=pace)
    before = dict(aws.tags("Endpoint", "chat"))
    aws.plane.fail("chat", "no capacity")
    with pytest.raises(DeploymentError, match="rolled back"):
        apply(tagged(plan(version="2"), format="openai"), aws.clients, pace=pace)
    assert aws.tags("Endpoint", "chat") == before


def test_tags_stay_when_a_components_update_is_rolled_back(aws: WatchedAws, pace: Pace) -> None:
    apply(tagged(plan(components=True), format="tgi"), aws.clients, pace=pace)
    before = dict(aws.tags("InferenceComponent", "chat-ic"))

    aws.plane.fail("chat-ic", "out of memory")
    with pytest.raises(DeploymentError, match="chat-ic was rolled back, it serves as before: out of memory"):
        apply(tagged(plan(components=True, version="2"), format="openai"), aws.clients, pace=pace)
    assert aws.tags("InferenceComponent", "chat-ic") == before
    assert aws.made()["Model"] == ["chat-m1"]


def test_tags_that_an_interrupted_update_did_not_reach_are_made_up_for(aws: WatchedAws, pace: Pace) -> None:
    apply(tagged(plan(), format="tgi"), aws.clients, pace=pace)
    interrupt(aws, pace, tagged(plan(version="2"), format="openai"), "AddTags", arn("Endpoint", "chat"))
    apply(tagged(plan(version="2"), format="openai"), aws.clients, pace=pace)
    assert aws.tags("Endpoint", "chat")["awsllm:format"] == "openai"


def interrupt(aws: WatchedAws, pace: Pace, wanted: Plan, operation: str, name: str) -> None:
    """A run of ``wanted`` that ends at ``operation`` of ``name``."""

    def stop(called: str, request: dict[str, Any]) -> None:
        if called == operation and name in request.values():
            raise KeyboardInterrupt

    aws.before = stop
    with pytest.raises(KeyboardInterrupt):
        apply(wanted, aws.clients, pace=pace)
    aws.before = nothing


def test_an_endpoint_without_a_component_in_service_did_not_serve(aws: WatchedAws, pace: Pace) -> None:
    interrupt(aws, pace, plan(components=True), "CreateInferenceComponent", "chat-ic")
    assert aws.status("chat") == "InService"
    aws.plane.fail("chat-ic", "out of memory")
    with pytest.raises(DeploymentError, match="out of memory") as caught:
        apply(plan(components=True), aws.clients, pace=pace)
    assert aws.made() == {}
    assert len(caught.value.__notes__) == 1


def test_an_endpoint_of_another_plan_that_stays_is_named(aws: WatchedAws, pace: Pace) -> None:
    interrupt(aws, pace, plan(components=True), "CreateInferenceComponent", "chat-ic")
    aws.plane.fail("chat-ic", "out of memory")
    with pytest.raises(DeploymentError, match="out of memory") as caught:
        apply(plan(components=True, copies=2), aws.clients, pace=pace)
    assert aws.made()["Endpoint"] == ["chat"]
    assert "awsllm endpoints delete chat" in caught.value.__notes__[-1]


def test_an_endpoint_that_serves_one_component_stays_when_another_fails(aws: WatchedAws, pace: Pace) -> None:
    aws.plane.fail("chat-ic-lora", "bad adapter")
    interrupt(aws, pace, plan(components=True), "CreateInferenceComponent", "chat-ic-lora")
    with pytest.raises(DeploymentError, match="bad adapter") as caught:
        apply(plan(components=True), aws.clients, pace=pace)
    assert "chat" in aws.table("Endpoint")
    assert "awsllm endpoints delete chat" in caught.value.__notes__[-1]


def test_nothing_that_fails_once_all_is_up_ends_it(aws: WatchedAws, pace: Pace) -> None:
    def throttle(operation: str, request: dict[str, Any]) -> None:
        up = aws.status("chat") == "InService"
        if up and operation in {"ListTags", "DescribeEndpoint"}:
            raise error("ThrottlingException", "Rate exceeded", operation)

    aws.before = throttle
    made = apply(plan(ttl=3600), aws.clients, pace=pace)
    assert (made.status, made.expires) == ("InService", "2027-01-15T09:00:00Z")


def test_a_listener_that_raises_ends_nothing(aws: WatchedAws, pace: Pace, caplog: pytest.LogCaptureFixture) -> None:
    def closed(progress: Progress) -> None:
        raise BrokenPipeError("stdout is closed")

    assert apply(plan(), aws.clients, pace=pace, on_progress=closed).status == "InService"
    assert "BrokenPipeError('stdout is closed') at in_service of chat" in caplog.text


def test_creating_waits_until_a_configuration_can_be_read(aws: WatchedAws, pace: Pace) -> None:
    refusals = iter(range(3))

    def not_yet(operation: str, request: dict[str, Any]) -> None:
        if operation == "CreateEndpoint" and next(refusals, None) is not None:
            raise error("ValidationException", 'Could not find endpoint configuration "…".', operation)

    aws.before = not_yet
    assert apply(plan(), aws.clients, pace=pace).status == "InService"
    assert len(aws.operations("CreateEndpoint")) == 1 + 4  # CreateEndpointConfig, and four attempts


def test_a_response_lost_on_its_way_is_no_failure(aws: WatchedAws, pace: Pace) -> None:
    """boto3 sends a request again whose response did not arrive."""
    aws.twice = "Create"
    assert len(apply(plan(), aws.clients, pace=pace).created) == 3
    assert Counter(operation for operation, _ in aws.plane.calls if operation.startswith("Create")) == {
        "CreateModel": 1,
        "CreateEndpointConfig": 1,
        "CreateEndpoint": 1,
    }


def lose_the_response(aws: WatchedAws) -> None:
    """The endpoint is made, but the client hears nothing of it."""

    def lost(operation: str, response: dict[str, Any]) -> None:
        if operation == "CreateEndpoint":
            raise ReadTimeoutError(endpoint_url="https://api.sagemaker.us-east-1.amazonaws.com")

    aws.after = lost


def test_an_endpoint_whose_response_was_lost_is_gone_on_with(aws: WatchedAws, pace: Pace) -> None:
    lose_the_response(aws)
    made = apply(plan(), aws.clients, pace=pace)
    assert (made.status, made.created[-1]) == ("InService", "endpoint chat")


def test_an_endpoint_that_cannot_be_looked_for_counts_as_made(aws: WatchedAws, pace: Pace) -> None:
    lose_the_response(aws)
    refusals = iter(range(1))

    def blind(operation: str, request: dict[str, Any]) -> None:
        lost = operation == "DescribeEndpoint" and "chat" in aws.table("Endpoint")
        if lost and next(refusals, None) is not None:
            raise error("InternalFailure", "try again", operation, 500)

    aws.before = blind
    with pytest.raises(ServiceError) as caught:
        apply(plan(), aws.clients, pace=pace)
    assert caught.value.__notes__ == ["removed again: endpoint chat, endpoint configuration chat-c110, model chat-m1"]
    assert aws.made() == {}


def test_what_cannot_be_reached_any_more_is_named(aws: WatchedAws, pace: Pace) -> None:
    lose_the_response(aws)

    def cut(operation: str, request: dict[str, Any]) -> None:
        if "chat" in aws.table("Endpoint"):
            raise EndpointConnectionError(endpoint_url="https://api.sagemaker.us-east-1.amazonaws.com")

    aws.before = cut
    with pytest.raises(ServiceError) as caught:
        apply(plan(), aws.clients, pace=pace)
    notes = "\n".join(caught.value.__notes__)
    assert "could not be removed: endpoint chat: " in notes
    assert "awsllm endpoints delete chat" in notes


def test_waiting_outlives_passing_failures(aws: WatchedAws, pace: Pace) -> None:
    aws.looks(4)
    failures = iter(range(3))

    def stutter(operation: str, request: dict[str, Any]) -> None:
        if operation == "DescribeEndpoint" and "chat" in aws.table("Endpoint") and next(failures, None) is not None:
            raise error("InternalFailure", "try again", operation, 500)

    aws.before = stutter
    assert apply(plan(), aws.clients, pace=pace).status == "InService"


def test_too_long_is_a_failure(aws: WatchedAws, pace: Pace) -> None:
    aws.looks(50)
    with pytest.raises(DeploymentError, match="not in service in time") as caught:
        apply(plan(), aws.clients, pace=pace, timeout=100)
    assert caught.value.reason == "timeout"
    assert aws.made() == {}


def test_polling_starts_fast_and_slows_down(aws: WatchedAws, pace: Pace, time: Time) -> None:
    aws.looks(7)
    apply(plan(), aws.clients, pace=pace)
    assert time.slept == [1, 2, 4, 8, 15, 15, 15]


def test_progress_tells_only_what_evidence_shows(aws: WatchedAws, pace: Pace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aws.plane.neighbours, "log", lambda *arguments: None)  # the mock's own lines are not written
    aws.looks(6)
    seen: list[Progress] = []

    def written(operation: str, request: dict[str, Any]) -> None:
        looked = len(aws.operations("DescribeEndpoint"))
        if operation == "DescribeEndpoint" and looked == 6:
            aws.log("/aws/sagemaker/Endpoints/chat", "AllTraffic/i-0", "Downloading the model")
        if operation == "DescribeEndpoint" and looked == 8:
            aws.log("/aws/sagemaker/Endpoints/chat", "AllTraffic/i-0", "Starting the server")

    aws.before = written
    apply(plan(), aws.clients, pace=pace, on_progress=seen.append)
    states = [(progress.state, progress.detail) for progress in seen if progress.step == "endpoint"]
    assert [state for state, _ in states] == ["creating", "creating", "downloading", "starting", "in_service"]
    assert ("downloading", "Downloading the model") in states


def test_a_quota_that_forbids_is_told_before_anything_is_made(aws: WatchedAws, pace: Pace) -> None:
    aws.plane.quotas["ml.g5.xlarge"] = 0
    with pytest.raises(DeploymentError, match=r"allows 0 of ml.g5.xlarge for endpoints, 1 are needed"):
        apply(plan(), aws.clients, pace=pace)
    assert aws.made() == {}


def test_quotas_that_may_not_be_read_forbid_nothing(aws: WatchedAws, pace: Pace) -> None:
    aws.refuse("ListServiceQuotas")
    seen: list[Progress] = []
    assert apply(plan(), aws.clients, pace=pace, on_progress=seen.append).status == "InService"
    assert any("quotas were not checked" in progress.detail for progress in seen)


def test_a_type_without_a_quota_is_warned_of(aws: WatchedAws, pace: Pace) -> None:
    aws.plane.quotas = {"ml.m5.xlarge": 4}
    seen: list[Progress] = []
    apply(plan(), aws.clients, pace=pace, on_progress=seen.append)
    assert any(progress.state == "warning" and "may not be offered" in progress.detail for progress in seen)


# --- the planner's plans, on the offline AWS -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "options", "created"),
    [
        ("example-gated-lmi-chat", {"accept_eula": True}, 3),
        ("example-cohere-command", {}, 3),
        ("example-open-tgi-instruct", {"components": True}, 4),
        (
            "example-open-tgi-instruct",
            {"components": True, "autoscaling": Autoscaling(min=0, max=2, schedules=(NIGHT,))},
            9,
        ),
        ("example-vllm-openai", {"autoscaling": Autoscaling(min=1, max=3), "ttl": 600.0}, 5),
        ("example-tei-embedding", {"async_": Async(output="s3://b/o"), "autoscaling": Autoscaling(min=0, max=2)}, 7),
    ],
)
def test_a_planners_plan_lives_and_dies(pace: Pace, document: str, options: PlanOptions, created: int) -> None:
    model = read_description(json.loads((DOCUMENTS / f"{document}.json").read_text()), region=REGION)
    context = PlanContext(region=REGION, prices=Prices.default(), role=ROLE)
    wanted = make_plan(model, {**options, "name": "chat"}, context)
    with watched_aws(transitions={"endpoint": 2, "component": 2}) as aws:
        endpoints = Endpoints(aws.clients, Prices.default(), pace=pace)
        first = apply(wanted, aws.clients, pace=pace)
        assert (first.status, len(first.created)) == ("InService", created)
        assert apply(wanted, aws.clients, pace=pace).created == ()
        changed = [each for each in wanted.diff(endpoints.existing("chat")) if each.action != "keep"]
        assert changed == []
        described = endpoints.describe("chat")
        assert described.format is not None
        assert described.summary.model_id == wanted.model_id
        endpoints.list()
        endpoints.delete("chat")
        allowed = {action for statement in wanted.permissions["Statement"] for action in statement["Action"]}
        prefixes = {"service-quotas": "servicequotas"}
        called = {f"{prefixes.get(each.service, each.service)}:{each.operation}" for each in aws.sent}
        assert called - allowed == set()
        assert aws.made() == {}


@pytest.mark.parametrize("scaled", [{"components": True}, {"async_": Async(output="s3://b/o")}, {}], ids=str)
def test_a_plan_differs_in_nothing_from_what_it_made_whatever_was_there(pace: Pace, scaled: PlanOptions) -> None:
    """Tags of what stays follow the plan, those of models, configurations, alarms and scalable targets, too."""
    model = read_description(json.loads((DOCUMENTS / "example-open-tgi-instruct.json").read_text()), region=REGION)
    context = PlanContext(region=REGION, prices=Prices.default(), role=ROLE)
    lowest = 0 if scaled else 1
    options: PlanOptions = {**scaled, "name": "chat", "autoscaling": Autoscaling(min=lowest, max=2)}
    before = make_plan(model, {**options, "tags": {"team": "red"}, "format": "tgi"}, context)
    after = make_plan(model, {**options, "tags": {"team": "blue", "cost": "low"}, "ttl": 600.0}, context)
    with watched_aws() as aws:
        endpoints = Endpoints(aws.clients, Prices.default(), pace=pace)
        for wanted in (before, after, before):
            apply(wanted, aws.clients, pace=pace)
            assert {each.action for each in wanted.diff(endpoints.existing("chat"))} == {"keep"}
        allowed = {action for statement in after.permissions["Statement"] for action in statement["Action"]}
        called = {f"{each.service}:{each.operation}" for each in aws.sent if "Tag" in each.operation}
        assert called - allowed == set()
        assert {"sagemaker:AddTags", "application-autoscaling:TagResource"} <= called
        endpoints.delete("chat")
        assert aws.made() == {}
