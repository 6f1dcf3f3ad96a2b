"""A deploying process that is killed or interrupted at any step: the next one goes on, deletes, and nothing is left."""

import functools
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import boto3
import pytest

from awsllm.jumpstart.deploy.apply import apply
from awsllm.jumpstart.deploy.endpoints import Endpoints
from awsllm.jumpstart.deploy.progress import Pace
from awsllm.jumpstart.hub.document import read_description
from awsllm.jumpstart.plan.options import Autoscaling
from awsllm.jumpstart.plan.plan import Context, make_plan
from awsllm.jumpstart.prices import Prices
from awsllm.testing import mock_aws
from tests.support.aws_bridge import bridge
from tests.support.data import DATA, ROOT
from tests.support.jumpstart_aws import Aws, error, plan, serve

FULL = {"components": True, "wake": True}
STEPS = [(step.operation, step.resource) for step in plan(**FULL).steps]
PACE = Pace(poll=0, sleep=lambda seconds: None)
PRELUDE = """
import sys
sys.path.insert(0, {here!r})
from tests.support.jumpstart_aws import Remote, plan
from awsllm.jumpstart.deploy.apply import apply
from awsllm.jumpstart.deploy.deployed import deployed
from awsllm.jumpstart.deploy.progress import Pace
clients, pace = Remote({address!r}).clients, Pace(poll=0.01)
wanted = plan(components=True, wake=True, ttl=60)
print("ready", flush=True)
sys.stdin.readline()
"""
APPLY = "apply(wanted, clients, pace=pace)\n"
BLOCK = """
with deployed(wanted, clients, pace=pace):
    print("serving", flush=True)
    sys.stdin.readline()
"""


class Child:
    """Another Python process with the small AWS of this one."""

    def __init__(self, aws: Aws, program: str) -> None:
        code = PRELUDE.format(here=str(ROOT), address=serve(aws)) + program
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env=environment,
        )  # fmt: skip
        self.expect("ready")

    def expect(self, word: str) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == word

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> tuple[int, str]:
        """Its exit status (the signal's number, negative, if one ended it) and what it wrote to stderr."""
        _, told = self.process.communicate(timeout=60)
        return self.process.returncode, told


def signal_at(aws: Aws, child: Child, step: int, number: int, *, arrives: bool) -> None:
    """Send the signal when the child makes the plan's ``step``; the request still arrives at AWS, or it does not."""
    target = STEPS[step]
    sent = threading.Event()

    def before(operation: str, request: dict[str, Any]) -> None:
        if sent.is_set() or operation != target[0] or target[1] not in request.values():
            return
        sent.set()
        os.kill(child.process.pid, number)
        if not arrives:
            raise error("InternalFailure", "it never arrived", operation, 500)

    aws.before = before


def creations(aws: Aws) -> list[str]:
    """The names of everything that came to be, one entry each time."""
    return [arn.rpartition(":")[2] for arn in aws.tags]


def goes_on_and_leaves_nothing(aws: Aws) -> None:
    aws.before = lambda operation, request: None
    made_before = {name: dict(things) for name, things in aws.store.items()}
    assert apply(plan(**FULL, ttl=60), aws.clients, pace=PACE).status == "InService"
    for kind, things in made_before.items():  # what the killed process had made is what serves now
        for name, thing in things.items():
            assert aws.store[kind][name]["CreationTime"] == thing["CreationTime"], name
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
    assert sorted(creations(aws)) == sorted(set(creations(aws)))
    Endpoints(aws.clients, pace=PACE).delete("chat")
    assert aws.made() == {}


@pytest.mark.parametrize(
    ("step", "arrives"), [*((step, True) for step in range(len(STEPS))), (0, False), (2, False), (3, False)]
)
def test_a_killed_deployment_is_gone_on_with(step: int, arrives: bool) -> None:
    aws = Aws()
    child = Child(aws, APPLY)
    signal_at(aws, child, step, signal.SIGKILL, arrives=arrives)
    child.go()
    assert child.end()[0] == -signal.SIGKILL
    goes_on_and_leaves_nothing(aws)


@pytest.mark.parametrize("step", [2, 6])
def test_a_killed_deployment_can_be_deleted_as_it_is(step: int) -> None:
    aws = Aws()
    child = Child(aws, APPLY)
    signal_at(aws, child, step, signal.SIGKILL, arrives=True)
    child.go()
    child.end()
    aws.before = lambda operation, request: None
    Endpoints(aws.clients, pace=PACE).delete("chat")
    assert aws.made() == {}


@pytest.mark.parametrize("step", [2, 3])
def test_an_interrupted_deployment_is_left_and_says_how_to_go_on(step: int) -> None:
    aws = Aws()
    child = Child(aws, APPLY)
    signal_at(aws, child, step, signal.SIGINT, arrives=True)
    child.go()
    status, told = child.end()
    assert status != 0
    assert "apply the same plan again to go on, or delete it with `awsllm endpoints delete chat`" in told
    assert aws.operations("Delete") == []
    goes_on_and_leaves_nothing(aws)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_block_that_a_signal_ends_leaves_nothing(number: int) -> None:
    aws = Aws()
    child = Child(aws, BLOCK)
    child.go()
    child.expect("serving")
    child.process.send_signal(number)
    status, _ = child.end()
    assert status != 0
    assert aws.made() == {}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_block_that_a_signal_ends_while_it_deploys_leaves_nothing(number: int) -> None:
    aws = Aws()
    child = Child(aws, BLOCK)
    signal_at(aws, child, 3, number, arrives=True)
    child.go()
    child.end()
    assert aws.made() == {}


def test_what_a_killed_block_left_is_reaped() -> None:
    aws = Aws()
    child = Child(aws, BLOCK)
    child.go()
    child.expect("serving")
    child.process.kill()
    child.end()
    assert aws.made()["Endpoint"] == ["chat"]
    later = Pace(poll=0, sleep=lambda seconds: None, now=lambda: 4e9)
    assert [each.endpoint for each in Endpoints(aws.clients, pace=later).reap()] == ["chat"]
    assert aws.made() == {}


OVER_HTTP = """
import sys
from functools import partial
from pathlib import Path
from awsllm.aws import control
from awsllm.aws.session import AwsSession
from awsllm.jumpstart.deploy.apply import apply
from awsllm.jumpstart.plan.plan import Plan
from awsllm.jumpstart.deploy.progress import Pace
clients = partial(control.client, session=AwsSession())
apply(Plan.from_json(Path(sys.argv[1]).read_bytes()), clients, pace=Pace(poll=0.01))
"""


@pytest.mark.parametrize("at", ["CreateEndpoint", "CreateInferenceComponent"])
def test_a_planned_deployment_killed_over_http_is_gone_on_with(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, at: str
) -> None:
    """The planner's plan, boto3 over HTTP, the offline AWS: the request arrives, its sender is dead."""
    credentials = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in credentials.items():
        monkeypatch.setenv(name, value)
    raw = json.loads((DATA / "jumpstart" / "example-open-tgi-instruct.json").read_text())
    context = Context(region="us-east-1", prices=Prices.default(), role="arn:aws:iam::123456789012:role/exec")
    options = {"name": "chat", "components": True, "autoscaling": Autoscaling(min=0, max=2)}
    wanted = make_plan(read_description(raw, region="us-east-1"), options, context)
    (tmp_path / "plan.json").write_bytes(wanted.to_json())
    children: list[subprocess.Popen[bytes]] = []

    def before(service: str, operation: str) -> None:
        if operation == at and children[0].poll() is None:
            children[0].kill()

    with mock_aws(reply="hi", transitions={"endpoint": 2, "component": 2}):
        with bridge(before) as url:
            environment = {**os.environ, **credentials, "AWS_ENDPOINT_URL": url, "PYTHONPATH": str(ROOT)}
            command = [sys.executable, "-c", OVER_HTTP, str(tmp_path / "plan.json")]
            children.append(subprocess.Popen(command, env=environment))
            assert children[0].wait(60) == -signal.SIGKILL
        clients = functools.cache(boto3.Session(region_name="us-east-1").client)
        sagemaker, endpoints = clients("sagemaker"), Endpoints(clients, pace=PACE)
        made = apply(wanted, clients, pace=PACE)
        assert made.status == "InService"
        models, configs = sagemaker.list_models()["Models"], sagemaker.list_endpoint_configs()["EndpointConfigs"]
        assert (len(models), len(configs), len(endpoints.list())) == (1, 1, 1)
        endpoints.delete("chat")
        assert sagemaker.list_models()["Models"] + sagemaker.list_endpoint_configs()["EndpointConfigs"] == []
        assert (
            sagemaker.list_endpoints()["Endpoints"] + sagemaker.list_inference_components()["InferenceComponents"] == []
        )
        assert (
            clients("application-autoscaling").describe_scalable_targets(ServiceNamespace="sagemaker")[
                "ScalableTargets"
            ]
            == []
        )
        assert clients("cloudwatch").describe_alarms()["MetricAlarms"] == []
