"""What a caller may ask of a deployment beside the model: frozen values with SageMaker's words.

Bounds are those of botocore's service model (``sagemaker``, 1.44); the planner checks them against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

import msgspec

from awsllm.errors import ValidationError
from awsllm.types import JsonObject, Value


class Schedule(Value, frozen=True, kw_only=True):
    """A scheduled change of the bounds between which autoscaling moves. ``expression`` is ``cron(...)``, ``rate(...)``
    or ``at(...)``, in ``timezone``."""

    name: str
    expression: str
    min: int | None = None
    max: int | None = None
    timezone: str = "UTC"


class Autoscaling(Value, frozen=True, kw_only=True):
    """Between ``min`` and ``max`` copies of an inference component, or instances of a variant.

    ``metric`` is concurrency (requests under way, per copy or model) or invocations (a minute, per copy or instance);
    ``target`` is what the metric is held at, 5 requests under way or 60 invocations a minute unless given; of an
    asynchronous endpoint, requests that wait. ``min=0`` needs ``components`` or ``async_``: the copies go to zero, and
    a step policy on an alarm brings them back at the first request. Cooldowns are in seconds.
    """

    max: int
    min: int = 1
    metric: str = "concurrency"
    target: float | None = None
    scale_in_cooldown: int = 300
    scale_out_cooldown: int = 60
    schedules: tuple[Schedule, ...] = ()


class Components(Value, frozen=True, kw_only=True):
    """Host the model as an inference component. ``copies`` at first; the needs of one copy are the document's unless
    given: ``memory_mb``, ``accelerators``, ``cpus``. ``name`` defaults to the endpoint's. ``adapters`` are LoRA
    adapters by name: S3 URIs of their archives."""

    name: str | None = None
    copies: int = 1
    memory_mb: int | None = None
    accelerators: float | None = None
    cpus: float | None = None
    adapters: dict[str, str] = msgspec.field(default_factory=dict)


class Variant(Value, frozen=True, kw_only=True):
    """One of several production variants that share an endpoint's traffic by ``weight``."""

    name: str
    instance_type: str | None = None
    count: int = 1
    weight: float = 1.0
    config: str | None = None
    env: dict[str, str] = msgspec.field(default_factory=dict)


class Serverless(Value, frozen=True, kw_only=True):
    memory_mb: int = 4096
    max_concurrency: int = 5
    provisioned_concurrency: int | None = None


class Async(Value, frozen=True, kw_only=True):
    """Asynchronous inference: answers go to ``output``, failures to ``failure`` (``s3://`` prefixes; by default
    ``failures/`` below ``output``); topics are ARNs of SNS topics."""

    output: str
    failure: str | None = None
    max_concurrent: int | None = None
    success_topic: str | None = None
    error_topic: str | None = None


class Vpc(Value, frozen=True, kw_only=True):
    subnets: tuple[str, ...]
    security_groups: tuple[str, ...]


class DataCapture(Value, frozen=True, kw_only=True):
    """Keep ``percentage`` of the requests and answers under ``destination`` (``s3://``)."""

    destination: str
    percentage: int = 100
    capture: tuple[str, ...] = ("Input", "Output")


class PlanOptions(TypedDict, total=False):
    """What ``plan`` and ``deploy`` take beside the model.

    ``name`` is the endpoint's; without one it follows from the other options, so that the same call means the same
    endpoint. ``version`` may be a pattern such as ``1.*``. ``config`` names one of the document's hosting
    configurations. ``role`` is the ARN of the execution role. ``ttl`` is in seconds: what a dead process left is found
    by it (``awsllm endpoints reap``). ``env`` goes over the document's environment. ``draft_model`` False leaves the
    document's speculative-decoding data out. ``timeouts`` of the document hold unless given, in seconds. ``format``
    names what the container speaks where the document does not tell. ``image`` is the URI of a container that is none
    of JumpStart's, which then serves the model: ORG/NAME on Hugging Face's hub, an ``s3://`` archive or prefix, or
    what it holds itself.
    """

    name: str | None
    version: str | None
    hub: str | None
    instance_type: str | None
    instance_count: int
    config: str | None
    accept_eula: bool
    autoscaling: Autoscaling | JsonObject | None
    components: Components | JsonObject | bool | None
    variants: Any
    serverless: Serverless | JsonObject | bool | None
    async_: Async | JsonObject | str | None
    vpc: Vpc | JsonObject | None
    kms: str | None
    role: str | None
    tags: dict[str, str] | None
    env: dict[str, str] | None
    ttl: float | None
    draft_model: bool
    data_capture: DataCapture | JsonObject | str | None
    volume_size_gb: int | None
    download_timeout: int | None
    startup_timeout: int | None
    enable_network_isolation: bool | None
    model_package_arn: str | None
    model_data: str | None
    format: str | None
    image: str | None


class ResolvedOptions(Value, frozen=True, kw_only=True):
    """``PlanOptions``, read: one form of each option, bounds checked."""

    name: str | None = None
    version: str | None = None
    hub: str | None = None
    instance_type: str | None = None
    instance_count: int = 1
    config: str | None = None
    accept_eula: bool = False
    autoscaling: Autoscaling | None = None
    components: Components | None = None
    variants: tuple[Variant, ...] = ()
    serverless: Serverless | None = None
    async_: Async | None = None
    vpc: Vpc | None = None
    kms: str | None = None
    role: str | None = None
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    env: dict[str, str] = msgspec.field(default_factory=dict)
    ttl: float | None = None
    draft_model: bool = True
    data_capture: DataCapture | None = None
    volume_size_gb: int | None = None
    download_timeout: int | None = None
    startup_timeout: int | None = None
    enable_network_isolation: bool | None = None
    model_package_arn: str | None = None
    model_data: str | None = None
    format: str | None = None
    image: str | None = None


def read_options(options: Mapping[str, Any]) -> ResolvedOptions:
    """Options as callers write them: values, mappings, or the short forms (``components=True``, ``async_="s3://…"``).

    Raises ``ValidationError`` naming the option.
    """
    unknown = sorted(set(options) - set(PlanOptions.__annotations__))
    if unknown:
        known = ", ".join(PlanOptions.__annotations__)
        raise ValidationError(f"unknown options: {', '.join(unknown)}; known are {known}")
    read = {name: _read(name, value) for name, value in options.items()}
    try:
        resolved = msgspec.convert(
            {k: v for k, v in read.items() if v is not None}, ResolvedOptions, from_attributes=True
        )
    except msgspec.ValidationError as cause:
        raise ValidationError(f"the deployment's options: {cause}") from cause
    _check_bounds(resolved)
    return resolved


_OBJECTS: dict[str, type[Value]] = {
    "autoscaling": Autoscaling,
    "components": Components,
    "serverless": Serverless,
    "async_": Async,
    "vpc": Vpc,
    "data_capture": DataCapture,
}
_FROM_TEXT = {"async_": "output", "data_capture": "destination"}  # the member that a lone string stands for


def _read(name: str, value: Any) -> Any:
    if name == "variants":
        return _read_variants(value)
    if name not in _OBJECTS or value is None or value is False:
        return None if name in _OBJECTS else value
    if value is True:
        value = {}
    if isinstance(value, str) and name in _FROM_TEXT:
        value = {_FROM_TEXT[name]: value}
    return _object(name, value, _OBJECTS[name])


def _read_variants(value: Any) -> list[Value] | None:
    """A sequence of variants, or a mapping from names to the rest of each."""
    if value is not None and not isinstance(value, (list, tuple, Mapping)):
        raise ValidationError(f"variants is a list of Variant or a mapping from names to them, not {value!r}")
    if isinstance(value, Mapping):
        value = [{"name": name, **_members(each)} for name, each in value.items()]
    return [_object("variants", each, Variant) for each in value] if value else None


def _members(value: Any) -> dict[str, Any]:
    if not isinstance(value, (Variant, Mapping)):
        raise ValidationError(f"a variant is a Variant or a mapping of its members, not {value!r}")
    return msgspec.structs.asdict(value) if isinstance(value, Variant) else dict(value)


def _object(name: str, value: Any, kind: type[Value]) -> Value:
    if isinstance(value, kind):
        return value
    known = kind.__struct_fields__
    if not isinstance(value, Mapping):
        raise ValidationError(f"{name} is {value!r}; give {kind.__name__}(…) or a mapping with {', '.join(known)}")
    unknown = sorted(set(value) - set(known))
    if unknown:
        raise ValidationError(f"{name} has no member {', '.join(unknown)}; it has {', '.join(known)}")
    try:
        return msgspec.convert(dict(value), kind)
    except msgspec.ValidationError as cause:
        raise ValidationError(f"{name}: {cause}") from cause


# --- bounds ----------------------------------------------------------------------------------------------------------

_BOUNDS: tuple[tuple[str, float, float], ...] = (
    ("instance_count", 1, 10_000),
    ("volume_size_gb", 1, 512),
    ("download_timeout", 60, 3600),
    ("startup_timeout", 60, 3600),
    ("serverless.memory_mb", 1024, 6144),
    ("serverless.max_concurrency", 1, 200),
    ("serverless.provisioned_concurrency", 1, 200),
    ("async_.max_concurrent", 1, 1000),
    ("data_capture.percentage", 0, 100),
    ("components.copies", 0, 10_000),
    ("components.memory_mb", 128, 2**31),
    ("components.accelerators", 1, 10_000),
    ("components.cpus", 0.25, 10_000),
    ("autoscaling.min", 0, 10_000),
    ("autoscaling.max", 1, 10_000),
    ("autoscaling.scale_in_cooldown", 0, 86_400),
    ("autoscaling.scale_out_cooldown", 0, 86_400),
)
"""Least and most, by path. Those beyond botocore's service model (10,000, a day) only catch slips."""

_S3 = ("async_.output", "async_.failure", "data_capture.destination", "model_data")


def _check_bounds(resolved: ResolvedOptions) -> None:
    for path, least, most in _BOUNDS:
        value = _at(resolved, path)
        if value is not None and not least <= value <= most:
            raise ValidationError(f"{path} is {value}; it must be from {least} to {most}")
    for path in _S3:
        uri = _at(resolved, path)
        if uri is not None and not uri.startswith("s3://"):
            raise ValidationError(f"{path} is {uri!r}; it must be an s3:// URI")
    if resolved.ttl is not None and resolved.ttl <= 0:
        raise ValidationError(f"ttl is {resolved.ttl}; it must be a number of seconds above 0")
    if resolved.vpc is not None:
        _check_count("vpc.subnets", resolved.vpc.subnets, 16)
        _check_count("vpc.security_groups", resolved.vpc.security_groups, 5)
    if resolved.autoscaling is not None:
        _check_scaling(resolved.autoscaling)


def _check_count(path: str, values: tuple[str, ...], most: int) -> None:
    if not 1 <= len(values) <= most:
        raise ValidationError(f"{path} has {len(values)} entries; it must have from 1 to {most}")


def _check_scaling(scaling: Autoscaling) -> None:
    if scaling.min > scaling.max:
        raise ValidationError(f"autoscaling.min is {scaling.min}, above autoscaling.max, {scaling.max}")
    if scaling.metric not in ("concurrency", "invocations"):
        raise ValidationError(f"autoscaling.metric is {scaling.metric!r}; it must be concurrency or invocations")
    if scaling.target is not None and scaling.target <= 0:
        raise ValidationError(f"autoscaling.target is {scaling.target}; it must be above 0")
    names = [schedule.name for schedule in scaling.schedules]
    if len(set(names)) < len(names):
        raise ValidationError("autoscaling.schedules: two have one name")
    for schedule in scaling.schedules:
        if schedule.min is None and schedule.max is None:
            raise ValidationError(f"the schedule {schedule.name!r} changes nothing: give it min, max or both")
        if not schedule.expression.startswith(("cron(", "rate(", "at(")):
            raise ValidationError(f"the schedule {schedule.name!r} needs cron(…), rate(…) or at(…)")


def _at(resolved: ResolvedOptions, path: str) -> Any:
    value: Any = resolved
    for name in path.split("."):
        value = getattr(value, name, None)
    return value
