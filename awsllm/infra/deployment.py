"""A stack made or changed: what is in the way told first, the change set shown, executed and followed.

Whatever ends the waiting (Ctrl-C, a lost connection, keys that ran out) does not end the deployment: CloudFormation
goes on with it, and the error says how to look. Before it is executed, a change set that is given up is deleted.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from awsllm.errors import DeploymentError, RequestError
from awsllm.infra import stacks
from awsllm.infra.change_sets import StackPlan, StackRequest, discard, discarded_on_error, open_change_set
from awsllm.infra.code import CodePackage, upload
from awsllm.infra.failures import StackEvent, StackFailure
from awsllm.infra.stacks import SERVICE, StackDescription
from awsllm.jumpstart.deploy.progress import Listener, Pace, Reporter
from awsllm.jumpstart.deploy.resources import Clients, call

Approve = Callable[[StackPlan], bool]
"""Is shown the plan and says whether it shall be made."""
_DEAD = ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED")
_STUCK = "UPDATE_ROLLBACK_FAILED"


@dataclass(frozen=True)
class Site:
    """Where and how a deployment is made. ``timeout`` is how many seconds each operation is followed."""

    clients: Clients
    region: str
    pace: Pace
    listener: Listener | None = None
    timeout: float | None = stacks.TIMEOUT

    @property
    def reporter(self) -> Reporter:
        return Reporter(self.listener, self.pace)

    def follow(self, stack: str, since: str | None) -> tuple[StackDescription, tuple[StackEvent, ...]]:
        return stacks.follow(self.clients, stack, since, reporter=self.reporter, pace=self.pace, timeout=self.timeout)


# --- plan ------------------------------------------------------------------------------------------------------------


def plan(site: Site, request: StackRequest) -> StackPlan:
    """What deploying would do; the change set that told it is deleted again."""
    existing = stacks.find(site.clients, request.stack)
    _refuse_busy(request.stack, existing)
    return discard(site.clients, _opened(site, request, existing))


def _opened(site: Site, request: StackRequest, existing: StackDescription | None) -> StackPlan:
    """The change set, with a warning where the stack is somebody else's."""
    found = open_change_set(site.clients, request, existing, region=site.region, pace=site.pace)
    if existing is None or existing.template is not None or existing.in_review or found.action == "nothing":
        return found
    foreign = f"the stack {existing.name} is there already and was not made by awsllm: it is changed to this template"
    return replace(found, warnings=(*found.warnings, foreign))


# --- deploy ----------------------------------------------------------------------------------------------------------


def deploy(
    site: Site,
    request: StackRequest,
    *,
    approve: Approve | None = None,
    package: CodePackage | None = None,
    recover: bool = False,
) -> StackDescription | None:
    """Make the stack, or change it, and wait: the stack as it is then; None where ``approve`` said no. No changes are a
    success. ``recover`` deletes what is left of a failed creation, and goes on with a rollback that got stuck."""
    existing = stacks.find(site.clients, request.stack)
    if existing is not None and existing.status in (*_DEAD, _STUCK):
        existing = _recovered(site, existing, request.role, recover=recover)
    _refuse_busy(request.stack, existing)
    found = _opened(site, request, existing)
    with discarded_on_error(site.clients, found):
        agreed = approve is None or approve(found)
        if agreed and found.change_set is not None and package is not None:
            _bring(site, package)
    if not agreed or found.change_set is None:
        discard(site.clients, found)
        return stacks.get(site.clients, request.stack) if agreed else None
    return _execute(site, found)


def _bring(site: Site, package: CodePackage) -> None:
    place = f"s3://{package.bucket}/{package.key}"
    site.reporter.tell("code", place, "uploading")
    new = upload(site.clients, package, site.region)
    site.reporter.tell("code", place, "uploaded" if new else "exists")


def _execute(site: Site, found: StackPlan) -> StackDescription:
    with discarded_on_error(site.clients, found):
        since = stacks.newest_event(site.clients, found.stack)
        stack = stacks.get(site.clients, found.stack).id or found.stack
    named = {"ChangeSetName": found.change_set, "StackName": found.stack, "ClientRequestToken": uuid.uuid4().hex}
    refused = False
    with goes_on(found.stack, unless=lambda: refused):
        try:
            call(site.clients, SERVICE, "execute_change_set", **named)
        except RequestError:
            refused = True  # nothing was begun
            discard(site.clients, found)
            raise
        made, happened = site.follow(stack, since)
    if not made.healthy:
        raise failed(made, stacks.why_failed(site.clients, happened), found.action)
    return made


def protect(site: Site, name: str, *, on: bool) -> None:
    """Termination protection: a protected stack cannot be deleted."""
    call(site.clients, SERVICE, "update_termination_protection", StackName=name, EnableTerminationProtection=on)


@contextmanager
def goes_on(stack: str, *, unless: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """What ends the waiting within is told that CloudFormation goes on by itself, ``unless`` nothing was begun."""
    try:
        yield
    except BaseException as error:
        if not (isinstance(error, DeploymentError) or unless()):
            error.add_note(f"CloudFormation goes on with {stack}; follow it with: awsllm infra status {stack} --wait")
        raise


# --- what is in the way, and what went wrong -------------------------------------------------------------------------


def _refuse_busy(name: str, existing: StackDescription | None) -> None:
    if existing is None or existing.in_review:
        return
    if existing.status in _DEAD:
        raise DeploymentError(
            f"{name} is in {existing.status}: making it failed, and it can only be deleted. Run `awsllm infra status "
            f"{name}` for why, then `awsllm infra destroy {name}`, or deploy with recover=True, which deletes it first"
        )
    if existing.status == _STUCK:
        raise DeploymentError(
            f"{name} is in {_STUCK}: undoing a change got stuck. Mend what `awsllm infra status {name}` names, then "
            "deploy with recover=True, which goes on with the rollback first"
        )
    if not existing.settled:
        raise DeploymentError(
            f"{name} is in {existing.status}: something else is changing it. Look at it with `awsllm infra status "
            f"{name}` and deploy again when that is over"
        )


def _recovered(site: Site, existing: StackDescription, role: str | None, *, recover: bool) -> StackDescription | None:
    if not recover:
        _refuse_busy(existing.name, existing)
    since = stacks.newest_event(site.clients, existing.name)
    operation = "continue_update_rollback" if existing.status == _STUCK else "delete_stack"
    members: dict[str, Any] = {"StackName": existing.name, **({"RoleARN": role} if role else {})}
    call(site.clients, SERVICE, operation, **members)
    with goes_on(existing.name):
        found, happened = site.follow(existing.id or existing.name, since)
    if found.status == "DELETE_COMPLETE":
        return None
    if found.status != "UPDATE_ROLLBACK_COMPLETE":
        raise failed(found, stacks.why_failed(site.clients, happened), "recover")
    return found


_UNDONE = {
    "ROLLBACK_COMPLETE": "what was made has been removed again; the empty stack must be deleted before the next try",
    "ROLLBACK_FAILED": "removing what was made failed too: delete the stack, and look what is left",
    "UPDATE_ROLLBACK_COMPLETE": "everything is as it was before",
    "UPDATE_ROLLBACK_FAILED": "undoing it failed too: mend the cause, then deploy with recover=True",
    "DELETE_FAILED": "the rest of the stack is still there",
}


def failed(stack: StackDescription, failure: StackFailure | None, action: str) -> DeploymentError:
    """The error of an operation that ended badly: the first cause, and in what state it leaves the stack."""
    told = str(failure) if failure is not None else stack.reason or "CloudFormation gave no reason"
    state = _UNDONE.get(stack.status)
    error = DeploymentError(
        f"{action} of {stack.name} failed. {told.rstrip('.')}. The stack is in {stack.status}"
        + (f": {state}" if state else "")
    )
    error.reason = told
    return error
