"""What ends a ``deployed`` block from outside: signals during its deletion, and processes forked within it."""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from awsllm.jumpstart.deploy.deployed import deployed
from awsllm.jumpstart.deploy.progress import Pace
from tests.support.aws_bridge import bridge
from tests.support.data import ROOT
from tests.support.plans import REGION, plan
from tests.support.watched_aws import WatchedAws, watched_aws

PACE = Pace(poll=0.001)
HANGUP = getattr(signal, "SIGHUP", signal.SIGTERM)


@pytest.fixture
def aws() -> Iterator[WatchedAws]:
    with watched_aws(quotas={"ml.g5.xlarge": 4}) as aws:
        aws.looks(1)
        yield aws


def during_deletion(number: int) -> Callable[[str, dict[str, Any]], None]:
    """One signal, when the endpoint's deletion is asked for."""
    left = [number]

    def strike(operation: str, request: dict[str, Any]) -> None:
        if operation == "DeleteEndpoint" and left:
            signal.raise_signal(left.pop())

    return strike


@pytest.mark.parametrize(
    ("number", "raised"),
    [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit), (HANGUP, SystemExit)],
)
def test_a_signal_during_the_normal_deletion_ends_the_program_afterwards(
    aws: WatchedAws, number: int, raised: type[BaseException]
) -> None:
    aws.before = during_deletion(number)
    before = signal.getsignal(number)
    with pytest.raises(raised) as caught:
        for name in ("one", "two"):
            with deployed(plan(name), aws.clients, pace=PACE):
                pass
    assert [request["EndpointName"] for request in aws.requests("CreateEndpoint")] == ["one"]
    assert aws.made() == {}
    assert signal.getsignal(number) == before
    if isinstance(caught.value, SystemExit):
        assert caught.value.code == 128 + number


def test_a_hangup_ends_the_block(aws: WatchedAws) -> None:
    with pytest.raises(SystemExit), deployed(plan(), aws.clients, pace=PACE):
        signal.raise_signal(HANGUP)
    assert aws.made() == {}


def test_an_interruption_that_the_block_dealt_with_itself_is_not_raised_again(aws: WatchedAws) -> None:
    with deployed(plan(), aws.clients, pace=PACE), contextlib.suppress(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert aws.made() == {}


def test_a_signal_during_the_deletion_reaches_the_program_s_own_handler_and_ends_nothing_else(aws: WatchedAws) -> None:
    seen: list[dict[str, list[str]]] = []
    aws.before = during_deletion(signal.SIGTERM)
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(aws.made()))
    try:
        with deployed(plan(), aws.clients, pace=PACE):
            pass
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [{}]


def test_a_signal_during_the_deletion_does_not_hide_the_block_s_own_error(aws: WatchedAws) -> None:
    aws.before = during_deletion(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError), deployed(plan(), aws.clients, pace=PACE):
        raise ZeroDivisionError
    assert aws.made() == {}


FORKED = """
import os, sys
from functools import partial
from awsllm.aws import control
from awsllm.aws.session import AwsSession
from awsllm.jumpstart.deploy.deployed import deployed
from awsllm.jumpstart.deploy.progress import Pace
from tests.support.plans import plan
clients, parent = partial(control.client, session=AwsSession()), os.getpid()
def tell(**_):
    print("parent" if os.getpid() == parent else "child", flush=True)
clients("sagemaker").meta.events.register("before-call.sagemaker.DeleteEndpoint", tell)
with deployed(plan(), clients, pace=Pace(poll=0.001)):
    for ending in ("end", "error", "signal"):
        child = os.fork()
        if child == 0:
            if ending == "end":
                sys.exit(0)
            if ending == "error":
                raise SystemExit(3)
            os.kill(os.getpid(), 15)
        os.waitpid(child, 0)
    print("waited", flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs fork")
def test_a_forked_process_leaves_its_parent_s_endpoint(aws: WatchedAws) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": REGION}
    with bridge() as bridged:
        done = subprocess.run(
            [sys.executable, "-c", FORKED],
            env={"PYTHONPATH": str(ROOT), "AWS_ENDPOINT_URL": bridged.url, **keys},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    assert done.stdout.split() == ["waited", "parent"]
    assert [each.operation for each in bridged.arrivals].count("DeleteEndpoint") == 1
    assert aws.made() == {}
