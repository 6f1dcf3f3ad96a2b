"""Stacks as CloudFormation has them: looked at, and followed while it works on them.

CloudFormation works on its own: whoever follows only looks, and a broken connection or Ctrl-C ends the looking, not the
work. What is over is told by an event of the stack itself that is newer than the request, not by its status alone: for
a moment after a request the status is still the old one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from awsllm.aws.control import translated
from awsllm.errors import AwsllmError, ModelNotFoundError, ModelTimeoutError, ValidationError
from awsllm.infra.failures import StackEvent, StackFailure, first_failure, read_event
from awsllm.jumpstart.deploy.patience import patient
from awsllm.jumpstart.deploy.progress import Pace, Reporter
from awsllm.jumpstart.deploy.resources import Clients, call, pages
from awsllm.types import Value

SERVICE = "cloudformation"
TEMPLATE_TAG = "awsllm:template"
"""The tag of a stack that awsllm made: the name of its template."""
_IN_PROGRESS = "_IN_PROGRESS"
_REVIEW = "REVIEW_IN_PROGRESS"
_MISSING = "does not exist"


class StackResource(Value, frozen=True, kw_only=True):
    """One resource of a stack. ``id`` is its name in the template, ``physical_id`` that in AWS."""

    id: str
    type: str
    status: str
    physical_id: str = ""
    reason: str = ""


class StackDescription(Value, frozen=True, kw_only=True):
    """A stack as it is. ``template`` is awsllm's name of what it was made from, where it is known; ``failure`` why its
    last operation failed; times are ISO 8601."""

    name: str
    id: str
    status: str
    reason: str = ""
    template: str | None = None
    created: str = ""
    updated: str = ""
    protected: bool = False
    role: str | None = None
    parameters: dict[str, str] = msgspec.field(default_factory=dict)
    outputs: dict[str, str] = msgspec.field(default_factory=dict)
    descriptions: dict[str, str] = msgspec.field(default_factory=dict)
    """Of the outputs."""
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    resources: tuple[StackResource, ...] = ()
    failure: StackFailure | None = None

    @property
    def settled(self) -> bool:
        """Whether CloudFormation is done with it."""
        return not self.status.endswith(_IN_PROGRESS)

    @property
    def in_review(self) -> bool:
        """Whether it is empty yet: a change set was made of it, and none was executed."""
        return self.status == _REVIEW

    @property
    def healthy(self) -> bool:
        return self.status in _HEALTHY


_HEALTHY = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE", "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS")


def account_id(clients: Clients) -> str:
    """Whose credentials these are."""
    return str(call(clients, "sts", "get_caller_identity")["Account"])


def find(clients: Clients, name: str) -> StackDescription | None:
    """A stack without its resources; None where there is none of that name."""
    try:
        found = call(clients, SERVICE, "describe_stacks", StackName=name)["Stacks"]
    except AwsllmError as error:
        if _MISSING in error.message:
            return None
        raise
    return _described(found[0]) if found else None


def get(clients: Clients, name: str) -> StackDescription:
    """The same; ``ModelNotFoundError`` where there is none."""
    found = find(clients, name)
    if found is None:
        raise ModelNotFoundError(f"there is no stack {name!r} in this account and region")
    return found


def resources(clients: Clients, name: str) -> tuple[StackResource, ...]:
    listed: Any = pages(clients, SERVICE, "list_stack_resources", "StackResourceSummaries", StackName=name)
    return tuple(
        StackResource(
            id=each["LogicalResourceId"],
            type=each["ResourceType"],
            status=each.get("ResourceStatus", ""),
            physical_id=each.get("PhysicalResourceId", ""),
            reason=each.get("ResourceStatusReason", ""),
        )
        for each in listed
        if each.get("LogicalResourceId")  # moto lists what it skipped without a name
    )


def list_stacks(clients: Clients) -> tuple[StackDescription, ...]:
    """The stacks that awsllm made, told by their tag."""
    listed: Any = pages(clients, SERVICE, "describe_stacks", "Stacks")
    found = (_described(each) for each in listed)
    return tuple(stack for stack in found if stack.template is not None)


def _described(found: Mapping[str, Any]) -> StackDescription:
    tags = {tag["Key"]: tag["Value"] for tag in found.get("Tags") or ()}
    outputs = found.get("Outputs") or ()
    return StackDescription(
        name=found["StackName"],
        id=found.get("StackId", ""),
        status=found["StackStatus"],
        reason=found.get("StackStatusReason") or "",
        template=tags.get(TEMPLATE_TAG),
        created=_time(found.get("CreationTime")),
        updated=_time(found.get("LastUpdatedTime")),
        protected=bool(found.get("EnableTerminationProtection")),
        role=found.get("RoleARN") or None,
        parameters={p["ParameterKey"]: p.get("ParameterValue", "") for p in found.get("Parameters") or ()},
        outputs={output["OutputKey"]: output.get("OutputValue", "") for output in outputs},
        descriptions={output["OutputKey"]: output.get("Description") or "" for output in outputs},
        tags=tags,
    )


def _time(given: Any) -> str:
    return given.isoformat() if hasattr(given, "isoformat") else str(given or "")


# --- events ----------------------------------------------------------------------------------------------------------


def events(clients: Clients, stack: str, since: str | None = None) -> tuple[StackEvent, ...]:
    """In the order in which they happened; after the event ``since`` where that is given."""
    found: list[StackEvent] = []
    listed: Iterator[Any] = pages(clients, SERVICE, "describe_stack_events", "StackEvents", StackName=stack)
    for given in listed:  # the newest first
        if given["EventId"] == since:
            break
        found.append(read_event(given))
    return tuple(reversed(found))


def newest_event(clients: Clients, stack: str) -> str | None:
    """The id of a stack's newest event: what comes after it belongs to the next operation."""
    with translated():
        found = clients(SERVICE).describe_stack_events(StackName=stack)["StackEvents"]
    return str(found[0]["EventId"]) if found else None


def why_failed(clients: Clients, happened: tuple[StackEvent, ...]) -> StackFailure | None:
    """The first failure among events; one of a nested stack is looked for within it."""
    failure = first_failure(happened)
    if failure is None or failure.type != "AWS::CloudFormation::Stack":
        return failure
    nested = next((event.physical_id for event in happened if event.resource == failure.resource), "")
    if not nested.startswith("arn:"):
        return failure
    try:
        return first_failure(events(clients, nested)) or failure
    except AwsllmError:
        return failure


def last_failure(clients: Clients, stack: StackDescription) -> StackFailure | None:
    """Why the last operation on a stack failed: among the events since it began."""
    happened = events(clients, stack.id or stack.name)
    starts = [
        place
        for place, event in enumerate(happened)
        if event.of_stack and event.status in ("CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS", "DELETE_IN_PROGRESS")
    ]
    return why_failed(clients, happened[starts[-1] if starts else 0 :])


TIMEOUT = 5400.0
"""Seconds that following lasts unless told otherwise: an endpoint of a large model, the longest thing that awsllm's
templates make, takes up to an hour, and its rollback some more."""


def follow(
    clients: Clients, stack: str, since: str | None, *, reporter: Reporter, pace: Pace, timeout: float | None = TIMEOUT
) -> tuple[StackDescription, tuple[StackEvent, ...]]:
    """Look until an operation that came after the event ``since`` is over; the stack by its id, so that one that is
    deleted is still found. Each event is reported as it is seen. Raises ``ModelTimeoutError`` after ``timeout``
    seconds, which names what is under way then."""
    looking = patient(clients, pace)
    seen: list[StackEvent] = []
    for _ in pace.ticks(timeout):
        newest = seen[-1].id if seen else since
        for event in events(looking, stack, newest):
            seen.append(event)
            reporter.tell("stack", event.resource, event.status.lower(), event.reason)
        found = get(looking, stack)
        if found.settled and any(event.of_stack and event.status == found.status for event in seen):
            return found, tuple(seen)
    raise ModelTimeoutError(_late(found, seen, timeout or 0))


def _late(stack: StackDescription, seen: list[StackEvent], timeout: float) -> str:
    newest = {event.resource: event.status for event in seen if not event.of_stack}
    busy = [f"{name} ({status})" for name, status in newest.items() if status.endswith(_IN_PROGRESS)]
    under_way = f"; under way: {', '.join(busy)}" if busy else ""
    return f"{stack.name} is in {stack.status} after {timeout:,.0f} seconds{under_way}"


def check_name(name: str) -> str:
    """``name``, if a stack can be called so: letters, digits and hyphens, a letter first, at most 128 (botocore's
    service model). Raises ``ValidationError``."""
    plain = name.replace("-", "")
    if not (name[:1].isalpha() and plain.isalnum() and name.isascii() and len(name) <= 128):
        raise ValidationError(
            f"{name!r} is no name of a stack: letters, digits and hyphens, a letter first, at most 128"
        )
    return name
