"""Drift: what differs from what a stack's template says, because somebody changed it elsewhere."""

from __future__ import annotations

from typing import Any

from awsllm.errors import DeploymentError, ModelTimeoutError
from awsllm.infra.stacks import SERVICE
from awsllm.jumpstart.deploy.patience import patient
from awsllm.jumpstart.deploy.progress import Pace
from awsllm.jumpstart.deploy.resources import Clients, call, pages
from awsllm.types import Value

_TIMEOUT = 1800  # seconds that a look at every resource may take


class DriftedProperty(Value, frozen=True, kw_only=True):
    """``difference`` is add, remove or not_equal; values are JSON where they are no plain text."""

    path: str
    difference: str
    expected: str = ""
    actual: str = ""


class DriftedResource(Value, frozen=True, kw_only=True):
    """``status`` is modified or deleted."""

    resource: str
    type: str
    status: str
    physical_id: str = ""
    properties: tuple[DriftedProperty, ...] = ()


class Drift(Value, frozen=True, kw_only=True):
    """``status`` is in_sync, drifted or unknown; ``unchecked`` are resources whose type CloudFormation cannot check."""

    status: str
    resources: tuple[DriftedResource, ...] = ()
    unchecked: tuple[str, ...] = ()


def detect(clients: Clients, stack: str, pace: Pace) -> Drift:
    """Have CloudFormation look at every resource, which takes from seconds to minutes."""
    looking = patient(clients, pace)
    asked = call(clients, SERVICE, "detect_stack_drift", StackName=stack)["StackDriftDetectionId"]
    for _ in pace.ticks(_TIMEOUT):
        found = call(looking, SERVICE, "describe_stack_drift_detection_status", StackDriftDetectionId=asked)
        if found["DetectionStatus"] != "DETECTION_IN_PROGRESS":
            break
    else:
        raise ModelTimeoutError(f"the drift of {stack} is still being looked for after {_TIMEOUT} seconds")
    if found["DetectionStatus"] == "DETECTION_FAILED" and not found.get("StackDriftStatus"):
        raise DeploymentError(f"the drift of {stack} could not be told: {found.get('DetectionStatusReason', '')}")
    listed = list(pages(looking, SERVICE, "describe_stack_resource_drifts", "StackResourceDrifts", StackName=stack))
    return Drift(
        status=str(found.get("StackDriftStatus", "UNKNOWN")).lower(),
        resources=tuple(_read(each) for each in listed if each["StackResourceDriftStatus"] in ("MODIFIED", "DELETED")),
        unchecked=tuple(
            each["LogicalResourceId"]
            for each in listed
            if each["StackResourceDriftStatus"] in ("UNKNOWN", "UNSUPPORTED", "NOT_CHECKED")
        ),
    )


def _read(given: dict[str, Any]) -> DriftedResource:
    return DriftedResource(
        resource=given["LogicalResourceId"],
        type=given["ResourceType"],
        status=given["StackResourceDriftStatus"].lower(),
        physical_id=given.get("PhysicalResourceId") or "",
        properties=tuple(
            DriftedProperty(
                path=each["PropertyPath"],
                difference=each["DifferenceType"].lower(),
                expected=each.get("ExpectedValue") or "",
                actual=each.get("ActualValue") or "",
            )
            for each in given.get("PropertyDifferences") or ()
        ),
    )
