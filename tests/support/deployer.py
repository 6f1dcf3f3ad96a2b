"""Another process that deploys, over HTTP, to the account that this one mocks (``aws_bridge``): to be killed.

Its processes are forked from a server that has imported boto3 and read the service models once: a deployment of
botocore's own is a second of work, its fork none. What a process writes to stderr goes to a file.
"""

from __future__ import annotations

import multiprocessing
import sys
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import boto3

from awsllm.aws import control
from awsllm.aws.session import AwsSession
from awsllm.jumpstart.deploy.apply import apply
from awsllm.jumpstart.deploy.deployed import deployed
from awsllm.jumpstart.deploy.progress import Pace
from awsllm.jumpstart.plan.plan import Plan

_SERVICES = ("sagemaker", "application-autoscaling", "cloudwatch", "logs", "service-quotas")
_session = boto3.Session("AKIAEXAMPLE", "made-up", region_name="us-east-1")


def preload() -> None:
    """Read what every client needs, here, once."""
    for service in _SERVICES:
        _session.client(service, endpoint_url="http://127.0.0.1:1")


class Deployer:
    """A process that applies ``plan`` when told to ``go``; with ``block``, it serves until it is told to go on."""

    def __init__(self, url: str, plan: Plan, stderr: Path, *, block: bool = False) -> None:
        self._stderr = stderr
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tests.support.deployer_preloaded"])
        self._pipe, theirs = context.Pipe()
        arguments = (url, plan, str(stderr), theirs, block)
        self._process = context.Process(target=_deploy, args=arguments, daemon=True)
        self._process.start()
        theirs.close()
        self.expect("ready")

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def expect(self, word: str) -> None:
        assert self._pipe.poll(60)
        assert self._pipe.recv() == word

    def go(self) -> None:
        self._pipe.send("go")

    def end(self) -> tuple[int, str]:
        """Its exit status (the signal's number, negative, if one ended it) and what it wrote to stderr."""
        self._process.join(60)
        status = self._process.exitcode
        assert status is not None
        self._process.close()
        self._pipe.close()
        return status, self._stderr.read_text()


def _deploy(url: str, plan: Plan, stderr: str, pipe: Connection, block: bool) -> None:
    sys.stderr = open(stderr, "w", buffering=1)  # noqa: SIM115 (for as long as the process lives)
    pace = Pace(poll=0.01)
    clients = partial(control.client, session=AwsSession(session=_session, endpoint_url=url))
    pipe.send("ready")
    pipe.recv()
    if not block:
        apply(plan, clients, pace=pace)
        return
    with deployed(plan, clients, pace=pace):
        pipe.send("serving")
        pipe.recv()
