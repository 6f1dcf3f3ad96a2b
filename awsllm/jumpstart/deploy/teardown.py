"""Taking down: everything that belongs to an endpoint, in the order that AWS needs, and nothing else.

Alarms, scheduled actions, policies and scalable targets go first, so that nothing scales what is being removed; then
adapters, components (until they are gone), the endpoint (until it is gone), and only then the configurations and
models: removing those early hides what runs and can block the clean-up. Whatever is gone already is fine, so a
teardown that was interrupted is simply made again.

What belongs to an endpoint: all its components, its configuration and the models that these refer to, and every
configuration and model that carries the endpoint's name in the tag ``awsllm:endpoint``, which is how those of earlier
versions, and of a deployment that never came to its endpoint, are found. What may not be looked at counts as somebody
else's: it is left, and told as unseen.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from awsllm.errors import AccessDeniedError, AwsllmError, DeploymentError
from awsllm.jumpstart import names
from awsllm.jumpstart.deploy.progress import Pace, Reporter, wait_gone
from awsllm.jumpstart.deploy.resources import (
    ALARM,
    CLOUDWATCH,
    COMPONENT,
    CONFIG,
    ENDPOINT,
    MODEL,
    POLICY,
    SAGEMAKER,
    SCALING,
    SCHEDULE,
    TARGET,
    Clients,
    ResourceKind,
    is_busy,
    kind_of,
    pages,
    tags_of,
    target_tags,
)
from awsllm.jumpstart.plan import scaling
from awsllm.jumpstart.plan.plan import Plan
from awsllm.jumpstart.tags import ENDPOINT_TAG, PLAN_TAG
from awsllm.types import JsonObject, Value

_BUSY_SECONDS = 1800.0  # how long a resource in transition is asked again to go


class Deletion(Value, frozen=True, kw_only=True):
    """What a teardown removed, as ``kind name``, in order. ``failed`` is what is left and why, ``unseen`` what could
    not be looked for."""

    endpoint: str
    deleted: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()


@dataclass(frozen=True)
class Resource:
    """One resource: its kind and the members that name it."""

    kind: ResourceKind
    request: JsonObject

    @property
    def name(self) -> str:
        return self.kind.name(self.request)

    def __str__(self) -> str:
        return f"{self.kind.noun} {self.name}"


def named(kind: ResourceKind, name: str) -> Resource:
    """A resource that its name alone identifies."""
    return Resource(kind, {kind.identity[0]: name})


def remove_all(
    resources: Iterable[Resource], clients: Clients, *, pace: Pace, reporter: Reporter, endpoint: str
) -> Deletion:
    """Remove ``resources`` in the order that AWS needs, whatever theirs. What fails does not keep the rest: it is told
    at the end."""
    deleted: list[str] = []
    failed: list[str] = []
    for resource in _ordered(clients, resources):
        reporter.tell("delete", resource.name, "removing", resource.kind.noun)
        try:
            existed, left = _remove(resource, clients, pace)
        except AwsllmError as error:
            existed, left = True, str(error)
        if left is not None:
            failed.append(f"{resource}: {left}")
            reporter.tell("delete", resource.name, "failed", left)
        elif existed:
            deleted.append(str(resource))
            reporter.tell("delete", resource.name, "removed", resource.kind.noun)
    return Deletion(endpoint=endpoint, deleted=tuple(deleted), failed=tuple(failed))


def _ordered(clients: Clients, resources: Iterable[Resource]) -> list[Resource]:
    """By kind, and adapters before the components that they adapt."""
    ordered = sorted(resources, key=lambda resource: resource.kind.order)
    if sum(resource.kind is COMPONENT for resource in ordered) < 2:
        return ordered
    return sorted(ordered, key=lambda resource: (resource.kind.order, not _is_adapter(clients, resource)))


def _is_adapter(clients: Clients, resource: Resource) -> bool:
    if resource.kind is not COMPONENT:
        return False
    try:
        return base_of(COMPONENT.find(clients, resource.request) or {}) is not None
    except AwsllmError:  # its removal will tell
        return False


def _remove(resource: Resource, clients: Clients, pace: Pace) -> tuple[bool, str | None]:
    """Whether it existed, and why it is still there (None: it is gone)."""
    existed = _ask_removal(resource, clients, pace)
    if not existed or not resource.kind.status:
        return existed, None
    return True, wait_gone(clients, resource.kind, resource.name, pace=pace)


def _ask_removal(resource: Resource, clients: Clients, pace: Pace) -> bool:
    """Ask again while the resource is in transition."""
    for _ in pace.ticks(_BUSY_SECONDS):
        try:
            return resource.kind.remove(clients, resource.request)
        except AwsllmError as error:
            if not is_busy(error):
                raise
            last = error
            found = resource.kind.find(clients, resource.request)
            if found is None or found.get(resource.kind.status or "") == "Deleting":
                return found is not None
    raise last


def belongings(clients: Clients, endpoint: str, *, foreign: bool = False) -> tuple[list[Resource], tuple[str, ...]]:
    """Everything that belongs to an endpoint, whether or not the endpoint itself exists, and what could not be seen.

    ``foreign`` takes configurations and models that awsllm did not make, if the endpoint refers to them.
    """
    found: list[Resource] = []
    search = _Search(clients, endpoint)
    description = ENDPOINT.find(clients, {"EndpointName": endpoint})
    components = components_of(clients, endpoint) if description else ()
    configs = search.configs(description)
    models = search.models(components, configs)
    if description:
        found.append(named(ENDPOINT, endpoint))
    found += [named(COMPONENT, _name(component)) for component in components]
    found += [named(CONFIG, name) for name, ours in configs.items() if ours or foreign]
    found += [named(MODEL, name) for name, ours in models.items() if ours or foreign]
    with search.instead("autoscaling"):
        found += scaling_of(clients, endpoint, [_name(component) for component in components])
    return found, tuple(search.unseen)


def components_of(clients: Clients, endpoint: str) -> tuple[dict[str, Any], ...]:
    """The descriptions of an endpoint's inference components."""
    listed = pages(clients, SAGEMAKER, "list_inference_components", "InferenceComponents", EndpointNameEquals=endpoint)
    described = [COMPONENT.find(clients, {"InferenceComponentName": item["InferenceComponentName"]}) for item in listed]
    return tuple(component for component in described if component is not None)


def models_of_config(clients: Clients, config: str) -> tuple[str, ...]:
    """The names of the models that a configuration's variants host; a variant of components hosts none."""
    description = CONFIG.find(clients, {"EndpointConfigName": config}) or {}
    variants = [*(description.get("ProductionVariants") or []), *(description.get("ShadowProductionVariants") or [])]
    return tuple(variant["ModelName"] for variant in variants if variant.get("ModelName"))


def _name(component: dict[str, Any]) -> str:
    return str(component["InferenceComponentName"])


def base_of(component: dict[str, Any]) -> str | None:
    """The component whose adapter this one is."""
    return (component.get("Specification") or {}).get("BaseInferenceComponentName")


def component_models(component: dict[str, Any]) -> tuple[str, ...]:
    """The models that a component's description refers to."""
    specifications = [component.get("Specification") or {}, *(component.get("Specifications") or [])]
    return tuple(specification["ModelName"] for specification in specifications if specification.get("ModelName"))


class _Search:
    """Looking for an endpoint's configurations and models. What may not be seen goes to ``unseen``."""

    def __init__(self, clients: Clients, endpoint: str) -> None:
        self._clients, self._endpoint = clients, endpoint
        self.unseen: list[str] = []

    @contextlib.contextmanager
    def instead(self, what: str) -> Iterator[None]:
        """Note a refusal under ``what`` instead of raising it."""
        try:
            yield
        except AccessDeniedError as error:
            self.unseen.append(f"{what}: {error}")

    def configs(self, description: dict[str, Any] | None) -> dict[str, bool]:
        """The configurations that belong to the endpoint, and whether awsllm made each."""
        ours = dict.fromkeys(self._tagged(CONFIG), True)
        current = (description or {}).get("EndpointConfigName")
        if current and current not in ours:
            ours[str(current)] = self._is_ours(CONFIG, str(current))
        return ours

    def models(self, components: Iterable[dict[str, Any]], configs: Iterable[str]) -> dict[str, bool]:
        """The models that belong to the endpoint, and whether awsllm made each."""
        ours = dict.fromkeys(self._tagged(MODEL), True)
        referred = [name for component in components for name in component_models(component)]
        for config in configs:
            with self.instead(f"{CONFIG.noun} {config}"):
                referred += models_of_config(self._clients, config)
        for name in referred:
            if name not in ours:
                ours[name] = self._is_ours(MODEL, name)
        return ours

    def _is_ours(self, kind: ResourceKind, name: str) -> bool:
        tags: dict[str, str] = {}
        with self.instead(f"{kind.noun} {name}"):
            found = kind.find(self._clients, {kind.identity[0]: name}) or {}
            tags = tags_of(self._clients, found.get(kind.arn))
        return PLAN_TAG in tags

    def _tagged(self, kind: ResourceKind) -> list[str]:
        """The names of the models or configurations that carry the endpoint's name in their tag. Only those that are
        named after it are asked: others' need not be readable."""
        found: list[str] = []
        with self.instead(f"{kind.noun}s of earlier versions"):
            for item in self._named_after(kind):
                name = str(item[kind.identity[0]])
                with self.instead(f"{kind.noun} {name}"):
                    if tags_of(self._clients, item.get(kind.arn)).get(ENDPOINT_TAG) == self._endpoint:
                        found.append(name)
        return found

    def _named_after(self, kind: ResourceKind) -> list[dict[str, Any]]:
        listing, member = ("list_models", "Models") if kind is MODEL else ("list_endpoint_configs", "EndpointConfigs")
        stem = names.stem(self._endpoint)
        listed = pages(self._clients, SAGEMAKER, listing, member, NameContains=stem)
        return [item for item in listed if f"{item[kind.identity[0]]}-".startswith(f"{stem}-")]


# --- autoscaling -----------------------------------------------------------------------------------------------------


def scaling_of(clients: Clients, endpoint: str, components: Iterable[str]) -> list[Resource]:
    """The alarms, schedules, policies and targets that scale an endpoint's components and variants."""
    targets = scaling_targets(clients, endpoint, components)
    found = [Resource(TARGET, _key(target)) for target in targets]
    for target in targets:
        resource = {"ServiceNamespace": SAGEMAKER, "ResourceId": target["ResourceId"]}
        policies = list(pages(clients, SCALING, "describe_scaling_policies", "ScalingPolicies", **resource))
        schedules = pages(clients, SCALING, "describe_scheduled_actions", "ScheduledActions", **resource)
        found += [Resource(POLICY, {**_key(target), "PolicyName": policy["PolicyName"]}) for policy in policies]
        found += [
            Resource(SCHEDULE, {**_key(target), "ScheduledActionName": action["ScheduledActionName"]})
            for action in schedules
        ]
    return found + _alarms(clients, endpoint, components)


def scaling_targets(clients: Clients, endpoint: str, components: Iterable[str]) -> list[dict[str, Any]]:
    """The scalable targets of an endpoint's variants and components."""
    wanted = {f"inference-component/{name}" for name in components}
    found = list(pages(clients, SCALING, "describe_scalable_targets", "ScalableTargets", ServiceNamespace=SAGEMAKER))
    prefix = f"endpoint/{endpoint}/variant/"
    return [target for target in found if target["ResourceId"] in wanted or target["ResourceId"].startswith(prefix)]


def _key(target: dict[str, Any]) -> JsonObject:
    dimension = target.get("ScalableDimension") or scaling.DIMENSIONS["component"]
    return {"ServiceNamespace": SAGEMAKER, "ResourceId": target["ResourceId"], "ScalableDimension": dimension}


def _alarms(clients: Clients, endpoint: str, components: Iterable[str]) -> list[Resource]:
    """Alarms on the endpoint or its components whose action is a scaling policy. Those that Application Auto Scaling
    made for target tracking go with their policy."""
    owners = {endpoint, *components}
    found: dict[str, Resource] = {}
    for prefix in sorted(owners):
        for alarm in pages(clients, CLOUDWATCH, "describe_alarms", "MetricAlarms", AlarmNamePrefix=prefix):
            watched = {dimension["Value"] for dimension in alarm.get("Dimensions") or []}
            scales = any(":scalingPolicy:" in action for action in alarm.get("AlarmActions") or [])
            if scales and watched & owners:
                found[alarm["AlarmName"]] = named(ALARM, alarm["AlarmName"])
    return list(found.values())


def delete_endpoint(
    clients: Clients, endpoint: str, *, pace: Pace, reporter: Reporter, foreign: bool = False
) -> Deletion:
    """Remove an endpoint with everything that belongs to it. Raises ``DeploymentError`` naming what is left."""
    resources, unseen = belongings(clients, endpoint, foreign=foreign)
    done = remove_all(resources, clients, pace=pace, reporter=reporter, endpoint=endpoint)
    if done.failed:
        error = DeploymentError(f"endpoint {endpoint} could not be deleted completely: {'; '.join(done.failed)}")
        error.reason = "; ".join(done.failed)
        error.add_note(f"deleted: {', '.join(done.deleted) or 'nothing'}. Delete it again to go on.")
        raise error
    return Deletion(endpoint=endpoint, deleted=done.deleted, unseen=unseen)


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
    found = TARGET.find(clients, target.request) or {}
    return PLAN_TAG in target_tags(clients, found.get("ScalableTargetARN"))


def _superfluous_adapters(plan: Plan, clients: Clients, wanted: set[tuple[str, ...]]) -> Iterator[Resource]:
    if plan.component is None:
        return
    for component in components_of(clients, plan.endpoint):
        adapter = named(COMPONENT, _name(component))
        if base_of(component) != plan.component or _identity(adapter) in wanted:
            continue
        if PLAN_TAG in tags_of(clients, component.get(COMPONENT.arn)):
            yield adapter
