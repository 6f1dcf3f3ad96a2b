"""Reading what runs: one endpoint as a row of a list, as a full description, and as the steps that would make it.

The format that a container speaks is found as calls find it, from tags, image and environment (``wire.endpoint.
detect``); nothing is sent to the endpoint. Environment values whose names look like secrets are masked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from awsllm.errors import AccessDeniedError
from awsllm.jumpstart.deploy.belongings import (
    component_models,
    components_of,
    models_of_config,
    scaling_of,
    scaling_targets,
)
from awsllm.jumpstart.deploy.resources import (
    ALARM,
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
    base_of,
    pages,
    seconds,
    tags_of,
)
from awsllm.jumpstart.plan.plan import Step
from awsllm.jumpstart.plan.secrets import masked
from awsllm.jumpstart.tags import ENDPOINT_TAG, EXPIRES_TAG, MODEL_TAGS, PLAN_TAG, VERSION_TAGS, as_list
from awsllm.types import JsonObject, JsonValue, Value
from awsllm.wire.endpoint import Detected, detect

_T = TypeVar("_T")
Pricing = Callable[[str], float | None]


class EndpointSummary(Value, frozen=True, kw_only=True):
    """One endpoint in a list. ``instances`` are types with the number that runs now (of serverless variants: none).
    ``per_hour`` is in US dollars for these, None where a price is not known. ``created`` and ``expires`` are ISO 8601,
    ``age`` is in seconds. ``ours``: awsllm made it."""

    name: str
    status: str
    ours: bool
    model_id: str | None = None
    model_version: str | None = None
    instances: tuple[tuple[str, int], ...] = ()
    per_hour: float | None = None
    created: str | None = None
    age: float | None = None
    expires: str | None = None


class ContainerDescription(Value, frozen=True, kw_only=True):
    """One model that runs, in a variant or as a component. ``env`` has its secrets masked. ``copies`` are those of a
    component: wanted and running."""

    name: str
    variant: str | None = None
    component: bool = False
    status: str | None = None
    base: str | None = None
    model: str | None = None
    image: str | None = None
    env: dict[str, str] = msgspec.field(default_factory=dict)
    model_package: str | None = None
    artifact: str | None = None
    copies: tuple[int, int] | None = None
    format: Detected | None = None


class EndpointDescription(Value, frozen=True, kw_only=True):
    """Everything about one endpoint. ``variants`` are SageMaker's descriptions, ``autoscaling`` the scalable targets
    with their policies. ``format`` is that of its first container."""

    summary: EndpointSummary
    arn: str
    config: str
    failure: str | None = None
    variants: tuple[JsonObject, ...] = ()
    containers: tuple[ContainerDescription, ...] = ()
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    autoscaling: tuple[JsonObject, ...] = ()
    asynchronous: JsonObject | None = None
    data_capture: JsonObject | None = None
    format: Detected | None = None
    unseen: tuple[str, ...] = ()


def summarize(
    found: JsonObject, config: JsonObject, tags: Mapping[str, str], price: Pricing, now: float
) -> EndpointSummary:
    """A row of the list from the descriptions of the endpoint and its configuration. ``now`` is in seconds since the
    epoch."""
    instances = _instances(found, config)
    created = seconds(found.get("CreationTime"))
    return EndpointSummary(
        name=found["EndpointName"],
        status=found["EndpointStatus"],
        ours=PLAN_TAG in tags,
        model_id=_first(tags, MODEL_TAGS),
        model_version=_first(tags, VERSION_TAGS),
        instances=instances,
        per_hour=_cost(instances, price),
        created=None if created is None else found["CreationTime"].isoformat(),
        age=None if created is None else max(0.0, now - created),
        expires=tags.get(EXPIRES_TAG),
    )


def describe(clients: Clients, found: JsonObject, price: Pricing, now: float) -> EndpointDescription:
    """The whole of an endpoint from its description, but for what may not be read. ``now`` as in ``summarize``."""
    name, sight = found["EndpointName"], _Sight()
    tags = sight.of("tags", lambda: tags_of(clients, found.get("EndpointArn"))) or {}
    config = sight.of("configuration", lambda: CONFIG.find(clients, found)) or {}
    components = sight.of("components", lambda: components_of(clients, name)) or ()
    containers = [_of_component(clients, component, sight) for component in components]
    containers += [
        _container(clients, variant["VariantName"], variant["ModelName"], tags, sight)
        for variant in _variants(config)
        if variant.get("ModelName")
    ]
    autoscaling = sight.of("autoscaling", lambda: _autoscaling(clients, name, components)) or ()
    summary = summarize(found, config, tags, price, now)
    return EndpointDescription(
        summary=summary,
        arn=found["EndpointArn"],
        config=found["EndpointConfigName"],
        failure=found.get("FailureReason"),
        variants=tuple(found.get("ProductionVariants") or ()),
        containers=tuple(containers),
        tags=dict(tags),
        autoscaling=autoscaling,
        asynchronous=found.get("AsyncInferenceConfig"),
        data_capture=found.get("DataCaptureConfig") or None,
        format=next((container.format for container in containers if container.format), None),
        unseen=tuple(dict.fromkeys(sight.unseen)),
    )


# --- parts -----------------------------------------------------------------------------------------------------------


class _Sight:
    """What is read part by part; what may not be goes to ``unseen``, and the rest is shown."""

    def __init__(self) -> None:
        self.unseen: list[str] = []

    def of(self, what: str, read: Callable[[], _T]) -> _T | None:
        try:
            return read()
        except AccessDeniedError as error:
            self.unseen.append(f"{what}: {error.message}")
            return None


def _variants(config: JsonObject) -> list[JsonObject]:
    return list(config.get("ProductionVariants") or [])


def _instances(found: JsonObject, config: JsonObject) -> tuple[tuple[str, int], ...]:
    """Types are the configuration's, counts the endpoint's."""
    running = {
        variant["VariantName"]: variant.get("CurrentInstanceCount") for variant in found.get("ProductionVariants") or []
    }
    rows = []
    for variant in _variants(config):
        if variant.get("InstanceType"):
            count = running.get(variant["VariantName"])
            rows.append(
                (variant["InstanceType"], int(variant.get("InitialInstanceCount", 1) if count is None else count))
            )
    return tuple(rows)


def _cost(instances: Iterable[tuple[str, int]], price: Pricing) -> float | None:
    prices = [(price(kind), count) for kind, count in instances]
    if not prices or any(each is None for each, _ in prices):
        return None
    return round(sum((each or 0.0) * count for each, count in prices), 4)


def _first(tags: Mapping[str, str], names: Iterable[str]) -> str | None:
    return next((tags[name] for name in names if tags.get(name)), None)


def _of_component(clients: Clients, component: JsonObject, sight: _Sight) -> ContainerDescription:
    """By the tags of its own: those of its endpoint are of the component that was deployed last."""
    tags = sight.of("tags", lambda: tags_of(clients, component.get(COMPONENT.arn))) or {}
    specification = component.get("Specification") or {}
    copies = component.get("RuntimeConfig") or {}
    model = next(iter(component_models(component)), None)
    described = _container(clients, component["InferenceComponentName"], model, tags, sight)
    own = specification.get("Container") or {}
    return msgspec.structs.replace(
        described,
        variant=component.get("VariantName"),
        component=True,
        status=component.get("InferenceComponentStatus"),
        base=base_of(component),
        image=described.image or (own.get("DeployedImage") or {}).get("SpecifiedImage"),
        artifact=described.artifact or own.get("ArtifactUrl"),
        env={**described.env, **masked(own.get("Environment") or {})},
        copies=(int(copies.get("DesiredCopyCount", 0)), int(copies.get("CurrentCopyCount", 0))) if copies else None,
    )


def _container(
    clients: Clients, name: str, model: str | None, tags: Mapping[str, str], sight: _Sight
) -> ContainerDescription:
    """What the container of a variant's model is: from ``DescribeModel``."""
    found = (sight.of("models", lambda: MODEL.find(clients, {"ModelName": model})) if model else None) or {}
    primary: JsonObject = found.get("PrimaryContainer") or next(iter(found.get("Containers") or []), {})
    package, image, env = primary.get("ModelPackageName"), primary.get("Image"), primary.get("Environment") or {}
    source = (primary.get("ModelDataSource") or {}).get("S3DataSource") or {}
    return ContainerDescription(
        name=name,
        variant=name,
        model=model,
        image=image,
        env=masked(env),
        model_package=package,
        artifact=source.get("S3Uri") or primary.get("ModelDataUrl"),
        format=_detected(tags, image, env, package),
    )


def _detected(
    tags: Mapping[str, str], image: str | None, env: Mapping[str, str], package: str | None
) -> Detected | None:
    is_known = bool(image or package)
    seen = detect.from_container(image, env, model_package_arn=package) if is_known else None
    return detect.settled(tags=tags, container=seen)


def _autoscaling(clients: Clients, endpoint: str, components: Iterable[JsonObject]) -> tuple[JsonObject, ...]:
    """The scalable targets, each with its policies."""
    names = [str(component["InferenceComponentName"]) for component in components]
    targets = scaling_targets(clients, endpoint, names)
    return tuple({**target, "Policies": _policies(clients, target)} for target in targets)


def _policies(clients: Clients, target: JsonObject) -> list[JsonObject]:
    resource = {"ServiceNamespace": SAGEMAKER, "ResourceId": target["ResourceId"]}
    return list(pages(clients, SCALING, "describe_scaling_policies", "ScalingPolicies", **resource))


# --- as steps --------------------------------------------------------------------------------------------------------

_OPERATIONS = {
    MODEL: "CreateModel",
    CONFIG: "CreateEndpointConfig",
    ENDPOINT: "CreateEndpoint",
    COMPONENT: "CreateInferenceComponent",
    TARGET: "RegisterScalableTarget",
    POLICY: "PutScalingPolicy",
    SCHEDULE: "PutScheduledAction",
    ALARM: "PutMetricAlarm",
}


def existing(clients: Clients, endpoint: str) -> tuple[Step, ...]:
    """What serves under an endpoint's name, as the steps that would make it, in their order; () where there is none.

    Requests hold what AWS describes of the members that the creating operation takes, the services' defaults left out.
    """
    found = ENDPOINT.find(clients, {"EndpointName": endpoint})
    if found is None:
        return ()
    config, components = str(found["EndpointConfigName"]), components_of(clients, endpoint)
    models = dict.fromkeys([*models_of_config(clients, config), *(m for c in components for m in component_models(c))])
    steps = [_step(clients, MODEL, {"ModelName": name}) for name in models]
    steps += [
        _step(clients, CONFIG, {"EndpointConfigName": config}),
        _step(clients, ENDPOINT, {"EndpointName": endpoint}),
    ]
    names = [str(component["InferenceComponentName"]) for component in components]
    steps += [_step(clients, COMPONENT, {"InferenceComponentName": name}) for name in names]
    try:
        scaling = scaling_of(clients, endpoint, names)
    except AccessDeniedError:
        scaling = []
    steps += [_step(clients, resource.kind, resource.request) for resource in reversed(scaling)]
    return tuple(step for step in steps if step is not None)


def _step(clients: Clients, kind: ResourceKind, request: JsonObject) -> Step | None:
    found = kind.find(clients, request)
    if found is None:
        return None
    operation = _OPERATIONS[kind]
    shape = clients(kind.service).meta.service_model.operation_model(operation).input_shape
    made = _projected(_renamed(kind, found), shape)
    kept = {key: value for key, value in _tags(clients, kind, found).items() if key not in {EXPIRES_TAG, ENDPOINT_TAG}}
    if kept:
        made["Tags"] = kept if kind is TARGET else as_list(kept)
    name = kind.name(request)
    return Step(id=f"{kind.noun} {name}", service=kind.service, operation=operation, request=made, resource=name)


def _tags(clients: Clients, kind: ResourceKind, found: JsonObject) -> dict[str, str]:
    """Those of what scales may be hidden from who may read all else: they show as missing."""
    try:
        return kind.tags(clients, found)
    except AccessDeniedError:
        if kind.service == SAGEMAKER:
            raise
        return {}


def _renamed(kind: ResourceKind, found: JsonObject) -> JsonObject:
    """A component's copies are described in other words than they are asked for."""
    copies = (found.get("RuntimeConfig") or {}).get("DesiredCopyCount")
    return {**found, "RuntimeConfig": {"CopyCount": copies}} if kind is COMPONENT and copies is not None else found


# What services describe although nobody asked for it (API references of the creating operations).
_DEFAULTS: Mapping[str, JsonValue] = {
    "ActionsEnabled": True,
    "EnableNetworkIsolation": False,
    "Mode": "SingleModel",
    "SuspendedState": dict.fromkeys(
        ("DynamicScalingInSuspended", "DynamicScalingOutSuspended", "ScheduledScalingSuspended"), False
    ),
}
_SERVICE_ROLE = ":role/aws-service-role/"


def _is_default(member: str, value: JsonValue) -> bool:
    if member == "RoleARN":
        return _SERVICE_ROLE in str(value)
    return value in ({}, [], None) or (member in _DEFAULTS and value == _DEFAULTS[member])


def _projected(value: JsonValue, shape: Any) -> JsonValue:
    """The part of a description that a request of ``shape`` (botocore's) can hold."""
    match shape.type_name:
        case "structure" if isinstance(value, dict):
            members = shape.members
            kept = {key: _projected(item, members[key]) for key, item in value.items() if key in members}
            return {key: item for key, item in kept.items() if not _is_default(key, item)}
        case "list" if isinstance(value, list):
            return [_projected(item, shape.member) for item in value]
        case _:
            return value
