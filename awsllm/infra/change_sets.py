"""A deployment before it is made: CloudFormation's change set as a value, with its cost and what must be acknowledged.

A change set of a stack that does not exist yet makes an empty one in REVIEW_IN_PROGRESS. So a change set that is not
applied is deleted, and that stack with it: a plan leaves nothing behind, whatever ends it.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import msgspec
from msgspec.structs import replace

from awsllm.errors import AwsllmError, DeploymentError, ModelNotFoundError, ModelTimeoutError, ValidationError
from awsllm.infra import stacks
from awsllm.infra.costs import cost_lines
from awsllm.infra.failures import cause_of
from awsllm.infra.parameters import HIDDEN, checked
from awsllm.infra.stacks import SERVICE, TEMPLATE_TAG, StackDescription
from awsllm.infra.template_text import write_json
from awsllm.infra.templates import IdleCost, Template
from awsllm.jumpstart.deploy.patience import patient
from awsllm.jumpstart.deploy.progress import Pace
from awsllm.jumpstart.deploy.resources import Clients, call, pages
from awsllm.types import Value

INLINE_BYTES = 51_200
"""Of a template that goes with the request itself (botocore's service model, ``TemplateBody``)."""
_NO_CHANGES = ("didn't contain changes", "no updates are to be performed")
_TIMEOUT = 900  # seconds that a change set may take
_KEEPS = "the functions keep the package that they run: give code= (a package) or build=True for another"


class PropertyChange(Value, frozen=True, kw_only=True):
    """One property that changes, or another part of a resource (``Tags``, ``Metadata``). ``cause`` is what changes it:
    a parameter, another resource, the template itself. ``recreates`` is never, conditionally or always."""

    path: str
    before: str | None = None
    after: str | None = None
    cause: str = ""
    recreates: str = "never"


class ResourceChange(Value, frozen=True, kw_only=True):
    """``action`` is add, modify, remove, import or dynamic (known only when it is made); ``replacement`` no, yes or
    conditional; ``policy`` what becomes of what is removed or replaced (Delete, Retain, Snapshot)."""

    action: str
    resource: str
    type: str
    physical_id: str = ""
    replacement: str = "no"
    policy: str = ""
    properties: tuple[PropertyChange, ...] = ()


class StackPlan(Value, frozen=True, kw_only=True):
    """What deploying would do. ``action`` is create, update or nothing; ``change_set`` the ARN of what would be
    executed, and None once it is deleted; ``parameters`` without secrets; ``cost`` that of a month without use."""

    stack: str
    region: str
    template: str
    action: str
    changes: tuple[ResourceChange, ...] = ()
    cost: IdleCost = IdleCost()
    capabilities: tuple[str, ...] = ()
    parameters: dict[str, str] = msgspec.field(default_factory=dict)
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    change_set: str | None = None
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join(_lines(self))

    def _repr_html_(self) -> str:
        from awsllm.notebook import table

        title, *_ = _lines(self)
        changes = [
            (each.action, each.resource, f"{each.type}{_fate(each)}", "\n".join(_properties(each)))
            for each in self.changes
        ]
        about = [("idle cost", "\n".join(line.strip() for line in _cost(self.cost)).removeprefix("idle cost").strip())]
        about += [("warning", warning) for warning in self.warnings]
        return table(about, caption=title) + table(changes, header=("action", "resource", "type", "members"))


class StackRequest(Value, frozen=True, kw_only=True):
    """What shall be deployed: ``parameters`` as they are given, ``tags`` the caller's, ``role`` the ARN of the role
    that CloudFormation works with; ``keeps_code`` is whether functions keep the package that they run."""

    stack: str
    template: Template
    parameters: dict[str, Any] = msgspec.field(default_factory=dict)
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    role: str | None = None
    keeps_code: bool = False

    def __repr__(self) -> str:
        """Without the parameters' values: some may be secrets."""
        return f"StackRequest(stack={self.stack!r}, template={self.template.name!r}, parameters={[*self.parameters]})"


# --- made and read ---------------------------------------------------------------------------------------------------


def open_change_set(
    clients: Clients, request: StackRequest, existing: StackDescription | None, *, region: str, pace: Pace
) -> StackPlan:
    """Make the change set and read it. Whoever is not going to execute it must ``discard`` it. Raises
    ``ValidationError`` for parameters that do not fit, ``DeploymentError`` where CloudFormation makes no change set."""
    fresh = existing is None or existing.in_review
    kept = () if fresh or existing is None else tuple(existing.parameters)
    values = checked(request.template.parameters, request.parameters, kept)
    plan = StackPlan(
        stack=stacks.check_name(request.stack),
        region=region,
        template=request.template.name,
        action="create" if fresh else "update",
        capabilities=request.template.capabilities(),
        parameters=_shown(request.template, values, {} if existing is None else existing.parameters),
        tags={**request.tags, TEMPLATE_TAG: request.template.name},
        warnings=(_KEEPS,) if request.keeps_code and not fresh else (),
    )
    members = _members(request, plan, values, kept)
    plan = replace(plan, change_set=members["ChangeSetName"])
    with discarded_on_error(clients, plan):
        try:
            made = call(clients, SERVICE, "create_change_set", **members)
        except AwsllmError as error:
            if any(text in error.message.lower() for text in _NO_CHANGES):  # moto says so at once
                return replace(plan, action="nothing", change_set=None)
            raise
        plan = replace(plan, change_set=str(made["Id"]))
        found = _settled(clients, plan, pace)
        if found["Status"] == "FAILED":
            discard(clients, plan)
            return _refused(plan, str(found.get("StatusReason") or ""))
        changes = tuple(_change(each["ResourceChange"]) for each in found["Changes"] if "ResourceChange" in each)
    return replace(plan, changes=changes, cost=cost_lines(request.template, plan.parameters, region))


def _members(request: StackRequest, plan: StackPlan, values: Mapping[str, str], kept: Iterable[str]) -> dict[str, Any]:
    known = {parameter.name for parameter in request.template.parameters}
    parameters: list[dict[str, Any]] = [{"ParameterKey": k, "ParameterValue": v} for k, v in values.items()]
    parameters += [{"ParameterKey": k, "UsePreviousValue": True} for k in kept if k in known and k not in values]
    members: dict[str, Any] = {
        "StackName": plan.stack,
        "ChangeSetName": f"awsllm-{uuid.uuid4().hex[:16]}",
        "ChangeSetType": plan.action.upper(),
        "TemplateBody": _body(request.template),
        "Parameters": parameters,
        "Capabilities": list(plan.capabilities),
        "Tags": [{"Key": key, "Value": value} for key, value in plan.tags.items()],
        "Description": f"awsllm infra: {plan.template}",
    }
    return {**members, "RoleARN": request.role} if request.role else members


def _body(template: Template) -> str:
    """The template's text; as compact JSON where that is too long to go with the request."""
    for text in (template.text, write_json(template.document, indent=None)):
        if len(text.encode()) <= INLINE_BYTES:
            return text
    raise ValidationError(f"{template.name} is longer than {INLINE_BYTES:,} bytes even as JSON: split it into stacks")


def _settled(clients: Clients, plan: StackPlan, pace: Pace) -> dict[str, Any]:
    """The change set once it is made or has failed, with the changes of all its pages."""
    looking = patient(clients, pace)
    for _ in pace.ticks(_TIMEOUT):
        found = call(looking, SERVICE, "describe_change_set", **_named(plan), IncludePropertyValues=True)
        if found["Status"] in ("CREATE_COMPLETE", "FAILED"):
            break
    else:
        raise ModelTimeoutError(f"the change set of {plan.stack} is in {found['Status']} after {_TIMEOUT} seconds")
    changes = list(found.get("Changes") or ())
    if token := found.get("NextToken"):
        asked = {**_named(plan), "IncludePropertyValues": True, "NextToken": token}
        changes += pages(looking, SERVICE, "describe_change_set", "Changes", **asked)
    return {**found, "Changes": changes}


def _named(plan: StackPlan) -> dict[str, Any]:
    return {"ChangeSetName": plan.change_set, "StackName": plan.stack}


def _refused(plan: StackPlan, reason: str) -> StackPlan:
    """A change set without changes fails; that is no failure of a deployment."""
    if any(text in reason.lower() for text in _NO_CHANGES):
        return replace(plan, action="nothing", change_set=None)
    error = DeploymentError(
        f"CloudFormation made no change set of {plan.stack}: {reason or 'no reason was given'}"
        + (f" {cause}" if (cause := cause_of(reason)) else "")
    )
    error.reason = reason
    raise error


def discard(clients: Clients, plan: StackPlan) -> StackPlan:
    """Delete the change set, and the empty stack that it made where there was none before, unless somebody has another
    change set of it."""
    if plan.change_set is None:
        return plan
    with suppress(ModelNotFoundError):
        call(clients, SERVICE, "delete_change_set", **_named(plan))
    found = stacks.find(clients, plan.stack) if plan.action == "create" else None
    if found is not None and found.in_review:
        others = call(clients, SERVICE, "list_change_sets", StackName=found.id or found.name)["Summaries"]
        others = [each for each in others if each.get("StackName") in (None, found.name)]  # moto lists every stack's
        if all(plan.change_set in (each.get("ChangeSetId"), each.get("ChangeSetName")) for each in others):
            call(clients, SERVICE, "delete_stack", StackName=found.id or found.name)
    return replace(plan, change_set=None)


@contextmanager
def discarded_on_error(clients: Clients, plan: StackPlan) -> Iterator[None]:
    """What ends the block, Ctrl-C included, leaves no empty stack behind; its change sets go with it. What hinders that
    is told by the error, and does not take its place."""
    try:
        yield
    except BaseException as error:
        try:
            discard(clients, plan)
        except Exception:
            error.add_note(
                f"the change set {plan.change_set} of {plan.stack} may be left; it changes nothing by itself"
            )
        raise


def _shown(template: Template, values: Mapping[str, str], before: Mapping[str, str]) -> dict[str, str]:
    shown = {}
    for parameter in template.parameters:
        value = values.get(parameter.name, before.get(parameter.name, parameter.default or ""))
        shown[parameter.name] = HIDDEN if parameter.secret else value
    return shown


def _change(given: Mapping[str, Any]) -> ResourceChange:
    replacement = {"True": "yes", "Conditional": "conditional"}.get(str(given.get("Replacement", "")), "no")
    return ResourceChange(
        action=str(given.get("Action", "")).lower(),
        resource=given.get("LogicalResourceId", ""),
        type=given.get("ResourceType", ""),
        physical_id=given.get("PhysicalResourceId") or "",
        replacement=replacement,
        policy=given.get("PolicyAction") or "",
        properties=tuple(_property(detail) for detail in given.get("Details") or ()),
    )


def _property(detail: Mapping[str, Any]) -> PropertyChange:
    target = detail.get("Target") or {}
    path = target.get("Path") or "/".join(filter(None, [target.get("Attribute"), target.get("Name")]))
    source = {
        "ResourceReference": "another resource",
        "ParameterReference": "parameter",
        "ResourceAttribute": "another resource",
        "DirectModification": "the template",
        "Automatic": "CloudFormation",
    }.get(str(detail.get("ChangeSource", "")), "")
    return PropertyChange(
        path=str(path).removeprefix("/Properties/"),
        before=target.get("BeforeValue"),
        after=target.get("AfterValue"),
        cause=" ".join(filter(None, [source, detail.get("CausingEntity")])),
        recreates=str(target.get("RequiresRecreation") or "Never").lower(),
    )


# --- as a page to read before it is applied --------------------------------------------------------------------------

_MARKS = {"add": "+", "modify": "~", "remove": "-", "import": ">", "dynamic": "?"}


def _lines(plan: StackPlan) -> Iterator[str]:
    yield f"{plan.template} as {plan.stack} in {plan.region}: {_VERBS[plan.action]}"
    if plan.action == "nothing":
        yield from (f"warning: {warning}" for warning in plan.warnings)
        return
    for change in plan.changes:
        yield f"  {_MARKS.get(change.action, '?')} {change.resource}  {change.type}{_fate(change)}"
        yield from (f"      {line}" for line in _properties(change))
    yield from _cost(plan.cost)
    if plan.capabilities:
        yield f"  acknowledges  {', '.join(plan.capabilities)}"
    yield from (f"warning: {warning}" for warning in plan.warnings)


def _properties(change: ResourceChange) -> Iterator[str]:
    for each in change.properties:
        known = (each.before, each.after) != (None, None)
        values = f": {_short(each.before)} -> {_short(each.after)}" if known else ""
        yield f"{each.path}{values}" + (f"  ({each.cause})" if each.cause else "")


def _short(value: str | None) -> str:
    text = " ".join((value or "nothing").split())
    return text if len(text) <= 60 else f"{text[:57]}..."


_VERBS = {"create": "a new stack", "update": "changes", "nothing": "no changes"}


def _fate(change: ResourceChange) -> str:
    if change.action == "modify" and change.replacement != "no":
        kept = " (the old one is retained)" if "Retain" in change.policy else ""
        return ("  is replaced" if change.replacement == "yes" else "  may be replaced") + kept
    if change.action == "remove" and change.policy not in ("", "Delete"):
        return "  is let go, not deleted" if change.policy == "Retain" else "  leaves a snapshot"
    return ""


def _cost(cost: IdleCost) -> Iterator[str]:
    total = "not known" if cost.usd_per_month is None else f"${cost.usd_per_month:,.2f} a month"
    origin = f"  ({', '.join(filter(None, [cost.source, cost.date]))})" if cost.source or cost.date else ""
    yield f"  idle cost  {total}{origin}"
    for item in cost.items:
        price = "" if item.usd_per_month is None else f"  ${item.usd_per_month:,.2f}"
        yield f"      {item.what}{price}"
    if cost.notes:
        yield f"      {cost.notes}"
