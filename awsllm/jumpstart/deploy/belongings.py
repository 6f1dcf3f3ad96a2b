"""What belongs to an endpoint: all its components, its configuration and the models that these refer to, what scales
them, and every configuration and model that carries the endpoint's name in the tag ``awsllm:endpoint``, which is how
those of earlier versions, and of a deployment that never came to its endpoint, are found.

What scales a component is known by the component's name alone, and outlives it. So a deletion that could not look at
autoscaling or alarms leaves some behind, and a later one finds them: by that tag, or, without it, by a name that begins
with the endpoint's; only where the component is no more.

What may not be looked at counts as somebody else's: it is left, and told as unseen.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from awsllm.errors import AccessDeniedError, ServiceError
from awsllm.jumpstart import names
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
    Resource,
    ResourceKind,
    named,
    pages,
    resource_of,
    tags_of,
)
from awsllm.jumpstart.plan import scaling
from awsllm.jumpstart.tags import ENDPOINT_TAG, PLAN_TAG
from awsllm.types import JsonObject

_OF_COMPONENT = "inference-component/"


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
    found += [resource_of(COMPONENT, component) for component in components]
    found += [named(CONFIG, name) for name, ours in configs.items() if ours or foreign]
    found += [named(MODEL, name) for name, ours in models.items() if ours or foreign]
    found += search.scaling([component_name(component) for component in components])
    return found, tuple(search.unseen)


def components_of(clients: Clients, endpoint: str) -> tuple[JsonObject, ...]:
    """The descriptions of an endpoint's inference components."""
    listed = pages(clients, SAGEMAKER, "list_inference_components", "InferenceComponents", EndpointNameEquals=endpoint)
    described = [COMPONENT.find(clients, {"InferenceComponentName": component_name(item)}) for item in listed]
    return tuple(component for component in described if component is not None)


def models_of_config(clients: Clients, config: str) -> tuple[str, ...]:
    """The names of the models that a configuration's variants host; a variant of components hosts none."""
    description = CONFIG.find(clients, {"EndpointConfigName": config}) or {}
    variants = [*(description.get("ProductionVariants") or []), *(description.get("ShadowProductionVariants") or [])]
    return tuple(variant["ModelName"] for variant in variants if variant.get("ModelName"))


def component_name(component: JsonObject) -> str:
    return str(component["InferenceComponentName"])


def component_models(component: JsonObject) -> tuple[str, ...]:
    """The models that a component's description refers to."""
    specifications = [component.get("Specification") or {}, *(component.get("Specifications") or [])]
    return tuple(specification["ModelName"] for specification in specifications if specification.get("ModelName"))


class _Search:
    """Looking for what belongs to an endpoint. What could not be seen goes to ``unseen``."""

    def __init__(self, clients: Clients, endpoint: str) -> None:
        self._clients, self._endpoint = clients, endpoint
        self.unseen: list[str] = []

    @contextlib.contextmanager
    def _instead(self, what: str) -> Iterator[None]:
        """Note under ``what`` what is refused, or fails for too long, instead of raising it."""
        try:
            yield
        except (AccessDeniedError, ServiceError) as error:
            self.unseen.append(f"{what}: {error}")

    # --- configurations and models -----------------------------------------------------------------------------------

    def configs(self, description: JsonObject | None) -> dict[str, bool]:
        """The configurations that belong to the endpoint, and whether awsllm made each."""
        ours = dict.fromkeys(self._tagged(CONFIG), True)
        current = (description or {}).get("EndpointConfigName")
        if current and current not in ours:
            ours[str(current)] = self._is_ours(CONFIG, str(current))
        return ours

    def models(self, components: Iterable[JsonObject], configs: Iterable[str]) -> dict[str, bool]:
        """The models that belong to the endpoint, and whether awsllm made each."""
        ours = dict.fromkeys(self._tagged(MODEL), True)
        referred = [name for component in components for name in component_models(component)]
        for config in configs:
            with self._instead(f"{CONFIG.noun} {config}"):
                referred += models_of_config(self._clients, config)
        for name in referred:
            if name not in ours:
                ours[name] = self._is_ours(MODEL, name)
        return ours

    def _is_ours(self, kind: ResourceKind, name: str) -> bool:
        tags: dict[str, str] = {}
        with self._instead(f"{kind.noun} {name}"):
            found = kind.find(self._clients, {kind.identity[0]: name}) or {}
            tags = tags_of(self._clients, found.get(kind.arn))
        return PLAN_TAG in tags

    def _tagged(self, kind: ResourceKind) -> list[str]:
        """The names of the models or configurations that carry the endpoint's name in their tag. Only those that are
        named after it are asked: others' need not be readable."""
        found: list[str] = []
        with self._instead(f"{kind.noun}s of earlier versions"):
            for item in self._named_after(kind):
                name = str(item[kind.identity[0]])
                with self._instead(f"{kind.noun} {name}"):
                    if tags_of(self._clients, item.get(kind.arn)).get(ENDPOINT_TAG) == self._endpoint:
                        found.append(name)
        return found

    def _named_after(self, kind: ResourceKind) -> list[JsonObject]:
        listing, member = ("list_models", "Models") if kind is MODEL else ("list_endpoint_configs", "EndpointConfigs")
        stem = names.stem(self._endpoint)
        listed = pages(self._clients, SAGEMAKER, listing, member, NameContains=stem)
        return [item for item in listed if f"{item[kind.identity[0]]}-".startswith(f"{stem}-")]

    # --- what scales it ----------------------------------------------------------------------------------------------

    def scaling(self, components: list[str]) -> list[Resource]:
        """What scales the endpoint's variants and components, those that are no more included."""
        found: list[Resource] = []
        owners, of = list(components), f" of {', '.join(components) or self._endpoint}"
        with self._instead(f"autoscaling{of}"):
            everything = list(_targets(self._clients))
            owners += self._gone(TARGET, everything, owners)
            for target in _scaling_any(everything, self._endpoint, owners):
                found.append(resource_of(TARGET, target))
                with self._instead(f"what scales {target['ResourceId']}"):
                    found += _parts(self._clients, target)
        with self._instead(f"alarms{of}"):
            owners += self._gone(ALARM, list(_scaling_alarms(self._clients, self._endpoint)), owners)
            found += alarms_of(self._clients, self._endpoint, owners)
        return found

    def _gone(self, kind: ResourceKind, found: list[JsonObject], known: list[str]) -> list[str]:
        """The components of the endpoint that are no more and that a target or alarm among ``found`` still names."""
        named_by = {name: each for each in found for name in _components_named(kind, each) if name not in known}
        if not named_by:
            return []
        listed = pages(self._clients, SAGEMAKER, "list_inference_components", "InferenceComponents")
        existing = {component_name(item) for item in listed}
        return [name for name, each in named_by.items() if name not in existing and self._is_ours_by(kind, each, name)]

    def _is_ours_by(self, kind: ResourceKind, found: JsonObject, component: str) -> bool:
        """Whether a target or alarm names the endpoint in its tag, or, without one, begins the component's own name
        with it."""
        try:
            tagged = kind.tags(self._clients, found).get(ENDPOINT_TAG)
        except (AccessDeniedError, ServiceError):
            tagged = None
        return tagged == self._endpoint if tagged else f"{component}-".startswith(f"{self._endpoint}-")


# --- autoscaling -----------------------------------------------------------------------------------------------------


def scaling_of(clients: Clients, endpoint: str, components: Iterable[str]) -> list[Resource]:
    """The alarms, schedules, policies and targets that scale an endpoint's components and variants."""
    components = list(components)
    targets = scaling_targets(clients, endpoint, components)
    found = [resource_of(TARGET, target) for target in targets]
    for target in targets:
        found += _parts(clients, target)
    return found + alarms_of(clients, endpoint, components)


def scaling_targets(clients: Clients, endpoint: str, components: Iterable[str]) -> list[JsonObject]:
    """The scalable targets of an endpoint's variants and components."""
    return _scaling_any(_targets(clients), endpoint, components)


def _targets(clients: Clients) -> Iterator[JsonObject]:
    """All of SageMaker's: a listing takes resources by their whole names only."""
    return pages(clients, SCALING, "describe_scalable_targets", "ScalableTargets", ServiceNamespace=SAGEMAKER)


def _scaling_any(targets: Iterable[JsonObject], endpoint: str, components: Iterable[str]) -> list[JsonObject]:
    wanted = {_OF_COMPONENT + name for name in components}
    prefix = f"endpoint/{endpoint}/variant/"
    return [target for target in targets if target["ResourceId"] in wanted or target["ResourceId"].startswith(prefix)]


def _parts(clients: Clients, target: JsonObject) -> list[Resource]:
    """The policies and schedules of a scalable target."""
    resource = {"ServiceNamespace": SAGEMAKER, "ResourceId": target["ResourceId"]}
    policies = pages(clients, SCALING, "describe_scaling_policies", "ScalingPolicies", **resource)
    found = [Resource(POLICY, {**_key(target), "PolicyName": policy["PolicyName"]}) for policy in policies]
    actions = pages(clients, SCALING, "describe_scheduled_actions", "ScheduledActions", **resource)
    names = [action["ScheduledActionName"] for action in actions]
    return [*found, *(Resource(SCHEDULE, {**_key(target), "ScheduledActionName": name}) for name in names)]


def _key(target: JsonObject) -> JsonObject:
    return {member: target[member] for member in TARGET.identity}


def alarms_of(clients: Clients, endpoint: str, components: Iterable[str]) -> list[Resource]:
    """Alarms on the endpoint or its components whose action is a scaling policy. Those that Application Auto Scaling
    made for target tracking go with their policy."""
    owners = {endpoint, *components}
    found: dict[str, Resource] = {}
    for prefix in sorted(owners):
        for alarm in _scaling_alarms(clients, prefix):
            if owners & {dimension["Value"] for dimension in alarm.get("Dimensions") or []}:
                found[alarm["AlarmName"]] = named(ALARM, alarm["AlarmName"])
    return list(found.values())


def _scaling_alarms(clients: Clients, prefix: str) -> Iterator[JsonObject]:
    """The alarms whose names begin so and whose action is a scaling policy."""
    for alarm in pages(clients, CLOUDWATCH, "describe_alarms", "MetricAlarms", AlarmNamePrefix=prefix):
        if any(":scalingPolicy:" in action for action in alarm.get("AlarmActions") or []):
            yield alarm


def _components_named(kind: ResourceKind, found: JsonObject) -> list[str]:
    """The components that a target scales or an alarm watches."""
    if kind is TARGET:
        resource = found["ResourceId"]
        return [resource.removeprefix(_OF_COMPONENT)] if resource.startswith(_OF_COMPONENT) else []
    dimensions = found.get("Dimensions") or []
    return [each["Value"] for each in dimensions if each["Name"] == scaling.WAKING["component"][1]]
