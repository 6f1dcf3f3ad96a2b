"""A deploying process that is killed or interrupted at any step: the next one goes on, deletes, and nothing is left."""

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from awsllm.jumpstart.deploy.apply import apply
from awsllm.jumpstart.deploy.endpoints import Endpoints
from awsllm.jumpstart.deploy.progress import Pace
from awsllm.jumpstart.hub.document import read_description
from awsllm.jumpstart.plan.options import Autoscaling
from awsllm.jumpstart.plan.plan import Plan, PlanContext
from awsllm.jumpstart.plan.planner import make_plan
from awsllm.jumpstart.prices import Prices
from tests.support.aws_bridge import Arrival, Bridge, bridge
from tests.support.data import DATA
from tests.support.deployer import Deployer
from tests.support.pace import at
from tests.support.plans import REGION, ROLE, plan
from tests.support.watched_aws import WatchedAws, watched_aws

WANTED = plan(components=True, wake=True, ttl=60)
STEPS = [(step.operation, step.resource) for step in WANTED.steps]
PACE = Pace(poll=0, sleep=lambda seconds: None)


@pytest.fixture
def aws() -> Iterator[WatchedAws]:
    with watched_aws() as aws:
        aws.looks(1)
        yield aws


@pytest.fixture(scope="module")
def bridged() -> Iterator[Bridge]:
    with bridge() as bridged:
        yield bridged


class Child(Deployer):
    """Another process that deploys ``wanted`` to the account of this one."""

    def __init__(self, bridged: Bridge, directory: Path, wanted: Plan = WANTED, *, block: bool = False) -> None:
        self._bridged = bridged
        bridged.arrivals.clear()
        bridged.before = nothing
        super().__init__(bridged.url, wanted, directory / "stderr", block=block)

    def signal_at(self, operation: str, resource: str, number: int, *, arrives: bool = True) -> None:
        """Send it the signal when it makes ``resource``; the request still arrives at AWS, or it does not."""
        sent: list[int] = []

        def before(arrival: Arrival) -> None:
            if sent or arrival.operation != operation or resource.encode() not in arrival.body:
                return
            sent.append(number)
            os.kill(self.pid, number)
            if not arrives:
                raise ConnectionAbortedError("it never arrived")

        self._bridged.before = before

    def end(self) -> tuple[int, str]:
        ended = super().end()
        self._bridged.settle()
        return ended


def nothing(arrival: Arrival) -> None:
    """What a bridge does before it answers, unless told otherwise."""


def goes_on_and_leaves_nothing(aws: WatchedAws) -> None:
    before = aws.created()
    assert apply(WANTED, aws.clients, pace=PACE).status == "InService"
    assert before.items() <= aws.created().items()  # what the killed process had made is what serves now
    assert aws.made() == {
        "Model": ["chat-m1"],
        "EndpointConfig": ["chat-c111"],
        "Endpoint": ["chat"],
        "InferenceComponent": ["chat-ic", "chat-ic-lora"],
        "Target": ["inference-component/chat-ic"],
        "Policy": ["chat-ic-wake"],
        "Alarm": ["chat-ic-wake"],
        "Action": ["chat-ic-night"],
    }
    assert set(creations(aws).values()) == {1}
    Endpoints(aws.clients, pace=PACE).delete("chat")
    assert aws.made() == {}


def creations(aws: WatchedAws) -> Counter[tuple[str, str]]:
    """How often each resource of SageMaker came to be, whoever made it."""
    made = [(name.removeprefix("Create"), request) for name, request in aws.plane.calls if name.startswith("Create")]
    return Counter((kind, request[f"{kind}Name"]) for kind, request in made)


@pytest.mark.parametrize(
    ("step", "arrives"), [*((step, True) for step in range(len(STEPS))), (0, False), (2, False), (3, False)]
)
def test_a_killed_deployment_is_gone_on_with(
    aws: WatchedAws, bridged: Bridge, tmp_path: Path, step: int, arrives: bool
) -> None:
    child = Child(bridged, tmp_path)
    child.signal_at(*STEPS[step], signal.SIGKILL, arrives=arrives)
    child.go()
    assert child.end()[0] == -signal.SIGKILL
    goes_on_and_leaves_nothing(aws)


@pytest.mark.parametrize("step", [2, 6])
def test_a_killed_deployment_can_be_deleted_as_it_is(
    aws: WatchedAws, bridged: Bridge, tmp_path: Path, step: int
) -> None:
    child = Child(bridged, tmp_path)
    child.signal_at(*STEPS[step], signal.SIGKILL)
    child.go()
    assert child.end()[0] == -signal.SIGKILL
    assert "chat" in aws.made()["Endpoint"]
    Endpoints(aws.clients, pace=PACE).delete("chat")
    assert aws.made() == {}


@pytest.mark.parametrize("step", [2, 3])
def test_an_interrupted_deployment_is_left_and_says_how_to_go_on(
    aws: WatchedAws, bridged: Bridge, tmp_path: Path, step: int
) -> None:
    child = Child(bridged, tmp_path)
    child.signal_at(*STEPS[step], signal.SIGINT)
    child.go()
    status, stderr = child.end()
    assert status != 0
    assert "apply the same plan again to go on, or delete it with `awsllm endpoints delete chat`" in stderr
    assert [arrival for arrival in bridged.arrivals if arrival.operation.startswith("Delete")] == []
    goes_on_and_leaves_nothing(aws)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_block_that_a_signal_ends_leaves_nothing(
    aws: WatchedAws, bridged: Bridge, tmp_path: Path, number: int
) -> None:
    child = Child(bridged, tmp_path, block=True)
    child.go()
    child.expect("serving")
    assert aws.made()["Endpoint"] == ["chat"]
    os.kill(child.pid, number)
    status, _ = child.end()
    assert status != 0
    assert aws.made() == {}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_block_that_a_signal_ends_while_it_deploys_leaves_nothing(
    aws: WatchedAws, bridged: Bridge, tmp_path: Path, number: int
) -> None:
    child = Child(bridged, tmp_path, block=True)
    child.signal_at(*STEPS[3], number)
    child.go()
    status, _ = child.end()
    assert status != 0
    assert creations(aws)["InferenceComponent", "chat-ic"] == 1
    assert aws.made() == {}


def test_what_a_killed_block_left_is_reaped(aws: WatchedAws, bridged: Bridge, tmp_path: Path) -> None:
    child = Child(bridged, tmp_path, block=True)
    child.go()
    child.expect("serving")
    os.kill(child.pid, signal.SIGKILL)
    child.end()
    assert aws.made()["Endpoint"] == ["chat"]
    assert [each.endpoint for each in Endpoints(aws.clients, pace=at(4e9)).reap()] == ["chat"]
    assert aws.made() == {}


@pytest.mark.parametrize("operation", ["CreateEndpoint", "CreateInferenceComponent"])
def test_a_planned_deployment_that_is_killed_is_gone_on_with(bridged: Bridge, tmp_path: Path, operation: str) -> None:
    """The planner's plan: the request arrives, its sender is dead."""
    raw = json.loads((DATA / "jumpstart" / "example-open-tgi-instruct.json").read_text())
    context = PlanContext(region=REGION, prices=Prices.default(), role=ROLE)
    wanted = make_plan(
        read_description(raw, region=REGION),
        {"name": "chat", "components": True, "autoscaling": Autoscaling(min=0, max=2)},
        context,
    )
    with watched_aws(transitions={"endpoint": 2, "component": 2}) as aws:
        child = Child(bridged, tmp_path, wanted)
        child.signal_at(operation, "chat", signal.SIGKILL)
        child.go()
        assert child.end()[0] == -signal.SIGKILL
        made = apply(wanted, aws.clients, pace=PACE)
        assert made.status == "InService"
        kinds = ("Model", "EndpointConfig", "Endpoint")
        assert [len(aws.made()[kind]) for kind in kinds] == [1, 1, 1]
        Endpoints(aws.clients, pace=PACE).delete("chat")
        assert aws.made() == {}
