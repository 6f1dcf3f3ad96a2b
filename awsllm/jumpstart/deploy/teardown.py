"""Taking down: everything that belongs to an endpoint, in the order that AWS needs, and nothing else.

Alarms, scheduled actions, policies and scalable targets go first, so that nothing scales what is being removed; then
adapters, components (until they are gone), the endpoint (until it is gone), and only then the configurations and
models: removing those early hides what runs and can block the clean-up. Whatever is gone already is fine, so a
teardown that was interrupted is simply made again.

One that fails does not keep the others, but for those that need it gone: these are skipped, and told. What passes is
waited for: a throttled call is made again (``patience``), a resource that is being created or updated is asked to go
once it is settled. A settled one that is refused all the same is asked a few times more, since AWS's own view of what
is still attached lags; how AWS words a refusal decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from awsllm.errors import AccessDeniedError, AwsllmError, DeploymentError, RequestError
from awsllm.jumpstart.deploy.belongings import belongings, component_name, components_of, scaling_of
from awsllm.jumpstart.deploy.patience import patient
from awsllm.jumpstart.deploy.progress import SETTLED, Pace, Reporter, wait_gone
from awsllm.jumpstart.deploy.resources import (
    COMPONENT,
    CONFIG,
    ENDPOINT,
    MODEL,
    TARGET,
    Clients,
    Resource,
    base_of,
    is_busy,
    kind_of,
    named,
    tags_of,
)
from awsllm.jumpstart.plan import scaling
from awsllm.jumpstart.plan.plan import Plan
from awsllm.jumpstart.tags import PLAN_TAG
from awsllm.types import Value

_BUSY_SECONDS = 1800.0  # how long a resource in transition is asked again to go
_LAGGING_LOOKS = 12  # how often one that is in none: at the usual pace, two minutes


class Deletion(Value, frozen=True, kw_only=True):
    """What a teardown removed, as ``kind name``, in order. ``failed`` is what is left and why, ``skipped`` what was not
    tried since something that failed is in its way, ``unseen`` what could not be looked for and may exist."""

    endpoint: str
    deleted: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()


class IncompleteDeletionError(DeploymentError):
    """Something of an endpoint could not be deleted. ``deletion`` says what was, and what is left."""

    deletion: Deletion


def remove_all(
    resources: Iterable[Resource], clients: Clients, *, pace: Pace, reporter: Reporter, endpoint: str
) -> Deletion:
    """Remove ``resources`` in the order that AWS needs, whatever theirs. What fails, and what is skipped for it, is
    told at the end."""
    deleted: list[str] = []
    failed: list[tuple[Resource, str]] = []
    skipped: list[tuple[Resource, str]] = []
    # By kind, and adapters before the components that they adapt.
    for resource in sorted(resources, key=lambda each: (each.kind.order, each.base is None)):
        left = (each for each, _ in (*failed, *skipped))
        if obstacle := next((each for each in left if _is_in_the_way(each, resource)), None):
            skipped.append((resource, f"{obstacle} must be gone first"))
            reporter.tell("delete", resource.name, "skipped", skipped[-1][1])
            continue
        reporter.tell("delete", resource.name, "removing", resource.kind.noun)
        existed, why = _remove(resource, clients, pace, reporter)
        if why is not None:
            failed.append((resource, why))
            reporter.tell("delete", resource.name, "failed", why)
        elif existed:
            deleted.append(str(resource))
            reporter.tell("delete", resource.name, "removed", resource.kind.noun)
            with_it = [str(each) for each, _ in failed if _goes_with(each, resource)]
            deleted += with_it
            failed = [(each, why) for each, why in failed if str(each) not in with_it]
    return Deletion(
        endpoint=endpoint,
        deleted=tuple(deleted),
        failed=tuple(f"{each}: {why}" for each, why in failed),
        skipped=tuple(f"{each}: {why}" for each, why in skipped),
    )


def _goes_with(part: Resource, target: Resource) -> bool:
    """Whether Application Auto Scaling removed ``part``, a policy or schedule, with its target."""
    return target.kind is TARGET and part.request.get("ResourceId") == target.request["ResourceId"]


def _is_in_the_way(left: Resource, resource: Resource) -> bool:
    """Whether ``resource`` cannot go, or should not, while ``left`` is there. Both are of one endpoint."""
    if resource.kind is COMPONENT:
        return left.base == resource.name
    if resource.kind is ENDPOINT:
        return left.kind is COMPONENT
    return resource.kind in (CONFIG, MODEL) and left.kind in (COMPONENT, ENDPOINT)


def _remove(resource: Resource, clients: Clients, pace: Pace, reporter: Reporter) -> tuple[bool, str | None]:
    """Whether it existed, and why it is still there (None: it is gone)."""
    try:
        existed = _ask_removal(resource, patient(clients, pace), pace, reporter)
        if not existed or not resource.kind.status:
            return existed, None
        return True, wait_gone(clients, resource.kind, resource.name, pace=pace)
    except AwsllmError as error:
        return True, str(error)


def _ask_removal(resource: Resource, clients: Clients, pace: Pace, reporter: Reporter) -> bool:
    """Ask, and again while that helps. Whether there was something to remove."""
    looks = 0
    for _ in pace.ticks(_BUSY_SECONDS):
        try:
            return resource.kind.remove(clients, resource.request)
        except AccessDeniedError:
            raise
        except RequestError as error:
            last = error
        exists, status = _look(resource, clients)
        if not exists or status == "Deleting":
            return exists
        looks = looks + 1 if status is None or status in SETTLED else 0
        if looks > _LAGGING_LOOKS or not (resource.kind.status or is_busy(last)):
            raise last
        reporter.tell("delete", resource.name, "removing", f"asked again: {last.message}")
    raise last


def _look(resource: Resource, clients: Clients) -> tuple[bool, str | None]:
    """Whether it exists, and its status, where that can be told."""
    try:
        found = resource.kind.find(clients, resource.request)
    except AwsllmError:
        return True, None
    return found is not None, (found or {}).get(resource.kind.status or "")


def delete_endpoint(
    clients: Clients, endpoint: str, *, pace: Pace, reporter: Reporter, foreign: bool = False
) -> Deletion:
    """Remove an endpoint with everything that belongs to it. Raises ``IncompleteDeletionError`` naming what is left."""
    resources, unseen = belongings(patient(clients, pace), endpoint, foreign=foreign)
    done = remove_all(resources, clients, pace=pace, reporter=reporter, endpoint=endpoint)
    done = Deletion(endpoint=endpoint, deleted=done.deleted, failed=done.failed, skipped=done.skipped, unseen=unseen)
    for what in unseen:
        reporter.tell("delete", endpoint, "warning", f"could not be looked for, and may be left: {what}")
    if not done.failed:
        return done
    left = "; ".join((*done.failed, *done.skipped))
    error = IncompleteDeletionError(f"endpoint {endpoint} could not be deleted completely: {left}")
    error.reason, error.deletion = "; ".join(done.failed), done
    error.add_note(f"deleted: {', '.join(done.deleted) or 'nothing'}. Delete it again to go on.")
    raise error


# --- what a plan no longer has ---------------------------------------------------------------------------------------


def remove_superfluous(plan: Plan, clients: Clients, pace: Pace, reporter: Reporter) -> Deletion:
    """Remove what ``superfluous`` finds. To be called once what ``plan`` serves is in service. What fails, or may not
    be looked at, is told in the result."""
    try:
        left = superfluous(plan, clients)
    except AccessDeniedError as error:
        return Deletion(endpoint=plan.endpoint, unseen=(f"what the plan no longer has: {error}",))
    return remove_all(left, clients, pace=pace, reporter=reporter, endpoint=plan.endpoint)


def superfluous(plan: Plan, clients: Clients) -> tuple[Resource, ...]:
    """The scalable targets, policies, schedules, alarms and adapters of what ``plan`` serves that awsllm made, and that
    the plan no longer has. Looked at are the plan's component and the endpoint's variants, no other component; what
    bears neither a tag nor a name of ours stays, with the target that it needs. Raises ``AccessDeniedError``."""
    wanted = {_identity(Resource(kind_of(step.operation), step.request)) for step in plan.steps}
    there = scaling_of(clients, plan.endpoint, [] if plan.component is None else [plan.component])
    scaled = {each.request["ResourceId"] for each in there if each.kind is TARGET}
    owned = {f"inference-component/{plan.component}", *scaled}
    parts = [each for each in there if each.kind is not TARGET]
    gone = [each for each in parts if _identity(each) not in wanted and _has_planned_name(each, owned)]
    stays = {each.request.get("ResourceId") for each in parts if each not in gone}
    goes = {each.request.get("ResourceId") for each in gone}
    for target in (each for each in there if each.kind is TARGET and _identity(each) not in wanted):
        resource = target.request["ResourceId"]
        if resource not in stays and (resource in goes or _is_tagged_target(clients, target)):
            gone.append(target)
    return (*gone, *_superfluous_adapters(plan, clients, wanted))


def _identity(resource: Resource) -> tuple[str, ...]:
    return (resource.kind.noun, *(str(resource.request[member]) for member in resource.kind.identity))


def _has_planned_name(part: Resource, owned: Iterable[str]) -> bool:
    resources = [part.request["ResourceId"]] if "ResourceId" in part.request else owned  # alarms name no target
    return any(scaling.is_planned(part.kind.noun, part.name, resource) for resource in resources)


def _is_tagged_target(clients: Clients, target: Resource) -> bool:
    """One whose tags may not be read counts as somebody else's."""
    found = TARGET.find(clients, target.request) or {}
    try:
        return PLAN_TAG in TARGET.tags(clients, found)
    except AccessDeniedError:
        return False


def _superfluous_adapters(plan: Plan, clients: Clients, wanted: set[tuple[str, ...]]) -> Iterator[Resource]:
    if plan.component is None:
        return
    for component in components_of(clients, plan.endpoint):
        adapter = named(COMPONENT, component_name(component))
        if base_of(component) != plan.component or _identity(adapter) in wanted:
            continue
        if PLAN_TAG in tags_of(clients, component.get(COMPONENT.arn)):
            yield adapter
