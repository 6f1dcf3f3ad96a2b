"""``mock_aws`` as the tests of deployments and jobs use it: with boto3 clients, what was sent through them, and hooks.

Everything is answered by ``awsllm.testing.mock_aws``: SageMaker by its control plane, the rest by moto. A test sets
faults there (``plane.fail``, ``plane.refuse``, ``plane.transitions``). What happens between the caller and AWS is set
here, on botocore's own events: ``before`` each operation (to watch it, to change its request, to raise), ``after`` it
(to change or lose the response), ``instead`` of it, for the few operations that moto does not have, and what is sent
``twice``.

Listings of SageMaker come one item a page, so that whoever lists reads pages.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple

import boto3
from botocore.exceptions import ClientError
from moto.core.models import botocore_stubber

from awsllm.testing import MockAws, mock_aws
from tests.support.plans import ACCOUNT, REGION

_KINDS = {
    "Model": "model",
    "EndpointConfig": "endpoint-config",
    "Endpoint": "endpoint",
    "InferenceComponent": "inference-component",
}
_PAGED = {f"List{kind}s" for kind in _KINDS}

Hook = Callable[[str, dict[str, Any]], None]


def nothing(operation: str, members: dict[str, Any]) -> None:
    """The hook of a test that sets none."""


def arn(kind: str, name: str) -> str:
    return f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:{_KINDS[kind]}/{name}"


def error(code: str, text: str, operation: str, status: int = 400) -> ClientError:
    """What boto3 raises for a refusal."""
    response: Any = {"Error": {"Code": code, "Message": text}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, operation)


@functools.cache
def _client(service: str) -> Any:
    """One for all tests: a client takes longer to make than a test to run. moto answers it while a mock is active."""
    return _session().client(service)


@functools.cache
def _session() -> boto3.Session:
    return boto3.Session("AKIAEXAMPLE", "made-up", region_name=REGION)


class Sent(NamedTuple):
    """An operation that a client was called for. ``service`` is boto3's name of it."""

    service: str
    operation: str
    request: dict[str, Any]


class WatchedAws:
    """``clients(service)`` as JumpStart's functions take it. ``sent`` has every operation that they were called for,
    those that were refused included. ``before`` and ``after`` are given the operation and its request or response;
    what they raise reaches the caller. ``instead`` has the responses of operations that shall not reach the mock;
    ``twice`` is how the names of operations begin that reach it twice, as when boto3 sends a request again whose
    response was lost."""

    def __init__(self, mock: MockAws) -> None:
        self.plane = mock.plane
        self.sent: list[Sent] = []
        self.before: Hook = nothing
        self.after: Hook = nothing
        self.instead: dict[str, Callable[[], dict[str, Any]]] = {"ListServiceQuotas": self._quotas}
        self.twice: str | None = None
        self._used: set[str] = set()
        self._watched = True
        self._left = False

    def clients(self, service: str) -> Any:
        if self._left:
            raise RuntimeError("the mock was left: its clients would reach for AWS")
        client = _client(service)
        if service not in self._used:
            self._used.add(service)
            for event, handler in self._handlers().items():
                client.meta.events.register_first(event, handler, unique_id=f"{event} of {id(self)}")
        return client

    def leave(self) -> None:
        """Take the hooks from the clients, which other tests use next. Whoever calls later, at the interpreter's end
        say, is refused."""
        self._left = True
        for service in self._used:
            for event, handler in self._handlers().items():
                _client(service).meta.events.unregister(event, handler, unique_id=f"{event} of {id(self)}")

    def refuse(
        self, *operations: str, code: str = "AccessDeniedException", text: str = "not authorized", status: int = 400
    ) -> None:
        """Refuse these operations from now on, whichever service they are of."""

        def before(operation: str, request: dict[str, Any]) -> None:
            if operation in operations:
                raise error(code, text, operation, status)

        self.before = before

    def looks(self, count: int) -> None:
        """How many descriptions of an endpoint or component show a transition before it is over."""
        names = ("endpoint", "endpoint-delete", "component", "component-delete")
        self.plane.transitions.update(dict.fromkeys(names, count))

    @property
    def objects(self) -> Any:
        """The control plane's view of S3: ``read``, ``write`` and ``list`` by URI."""
        return self.plane.objects

    # --- what there is -----------------------------------------------------------------------------------------------

    def operations(self, *prefixes: str) -> list[str]:
        """The operations sent, in order, whose names begin so."""
        return [each.operation for each in self.sent if each.operation.startswith(prefixes or "")]

    def requests(self, operation: str) -> list[dict[str, Any]]:
        """The requests sent for one operation, in order."""
        return [each.request for each in self.sent if each.operation == operation]

    def made(self) -> dict[str, list[str]]:
        """What exists, by kind; kinds without anything left out. No look at what is in transition."""
        found = {kind: sorted(self.table(kind)) for kind in _KINDS}
        found["Target"] = sorted(target["ResourceId"] for target in self.scaling("ScalableTargets"))
        found["Policy"] = sorted(policy["PolicyName"] for policy in self.scaling("ScalingPolicies"))
        found["Action"] = sorted(action["ScheduledActionName"] for action in self.scaling("ScheduledActions"))
        found["Alarm"] = sorted(alarm["AlarmName"] for alarm in self.alarms())
        return {kind: names for kind, names in found.items() if names}

    def table(self, kind: str) -> dict[str, Any]:
        """The control plane's own records of a ``kind``, by name."""
        return self.plane.state(REGION).table(_KINDS[kind])

    def created(self) -> dict[tuple[str, str], float]:
        """When what exists in SageMaker was made, by kind and name."""
        return {
            (kind, name): found["CreationTime"] if isinstance(found, dict) else found.created
            for kind in _KINDS
            for name, found in self.table(kind).items()
        }

    def status(self, name: str) -> str | None:
        """The status of an endpoint, without a look."""
        endpoint = self.table("Endpoint").get(name)
        return None if endpoint is None else str(endpoint.status)

    def tags(self, kind: str, name: str) -> dict[str, str]:
        """The tags of a SageMaker resource, to read and to change."""
        return self.all_tags()[arn(kind, name)]

    def all_tags(self) -> dict[str, dict[str, str]]:
        """The tags of everything in SageMaker, by ARN."""
        return self.plane.state(REGION).tags

    def scaling(self, kind: str) -> list[dict[str, Any]]:
        """The ``ScalableTargets``, ``ScalingPolicies`` or ``ScheduledActions`` that there are."""
        describe = {
            "ScalableTargets": "describe_scalable_targets",
            "ScalingPolicies": "describe_scaling_policies",
            "ScheduledActions": "describe_scheduled_actions",
        }
        with self.unwatched():
            client = self.clients("application-autoscaling")
            found: list[dict[str, Any]] = getattr(client, describe[kind])(ServiceNamespace="sagemaker")[kind]
        return found

    def alarms(self) -> list[dict[str, Any]]:
        with self.unwatched():
            found: list[dict[str, Any]] = self.clients("cloudwatch").describe_alarms()["MetricAlarms"]
        return found

    def log(self, group: str, stream: str, *lines: str, at: float | None = None) -> None:
        """Write to CloudWatch Logs, at a second that moto takes: no more than two weeks ago or two hours ahead."""
        with self.unwatched():
            logs = self.clients("logs")
            with contextlib.suppress(logs.exceptions.ResourceAlreadyExistsException):
                logs.create_log_group(logGroupName=group)
            with contextlib.suppress(logs.exceptions.ResourceAlreadyExistsException):
                logs.create_log_stream(logGroupName=group, logStreamName=stream)
            timestamp = int((time.time() if at is None else at) * 1000)
            events = [{"timestamp": timestamp, "message": line} for line in lines]
            written = logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)
        assert "rejectedLogEventsInfo" not in written or not written["rejectedLogEventsInfo"]

    @contextlib.contextmanager
    def unwatched(self) -> Iterator[None]:
        """Calls of the test's own, which no hook sees and nothing counts."""
        before, self._watched = self._watched, False
        try:
            yield
        finally:
            self._watched = before

    # --- botocore's events -------------------------------------------------------------------------------------------

    def _handlers(self) -> dict[str, Callable[..., Any]]:
        return {
            "before-parameter-build": self._build,
            "before-call": self._call,
            "before-send": self._send,
            "after-call": self._called,
        }

    def _build(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        if not self._watched:
            return
        self.sent.append(Sent(model.service_model.service_name, model.name, dict(params)))
        self.before(model.name, params)
        if model.name in _PAGED:
            params["MaxResults"] = 1

    def _call(self, model: Any, **_: Any) -> Any:
        respond = self.instead.get(model.name) if self._watched else None
        return None if respond is None else (SimpleNamespace(status_code=200), respond())

    def _send(self, request: Any, event_name: str, **_: Any) -> None:
        if self.twice is not None and event_name.rpartition(".")[2].startswith(self.twice):
            botocore_stubber(event_name, request)

    def _called(self, http_response: Any, parsed: dict[str, Any], model: Any, **_: Any) -> None:
        if self._watched and http_response.status_code < 300:
            self.after(model.name, parsed)

    def _quotas(self) -> dict[str, Any]:
        """The control plane's quotas, as Service Quotas would show them: moto knows none of SageMaker's."""
        quotas = self.plane.quotas.items()
        return {"Quotas": [{"QuotaName": f"{kind} for endpoint usage", "Value": float(n)} for kind, n in quotas]}


@contextlib.contextmanager
def watched_aws(*, buckets: tuple[str, ...] = (), **options: Any) -> Iterator[WatchedAws]:
    """For the length of a block; ``options`` are those of ``mock_aws``."""
    with mock_aws(**{"reply": "unused", **options}) as mock:
        made = WatchedAws(mock)
        try:
            with made.unwatched():
                for bucket in buckets:
                    made.clients("s3").create_bucket(Bucket=bucket)
            yield made
        finally:
            made.leave()
