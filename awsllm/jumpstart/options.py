"""What a caller may ask of a deployment beside the model: frozen values with SageMaker's words.

Bounds are those of botocore's service model (``sagemaker``, 1.44); the planner checks them against it.
"""

from __future__ import annotations

from typing import Any, TypedDict

import msgspec

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
    ``target`` is what the metric is held at. ``min=0`` needs ``components`` or ``async_``: the copies go to zero, and
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
    """Asynchronous inference: answers go to ``output``, failures to ``failure`` (``s3://`` prefixes); topics are ARNs
    of SNS topics."""

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
    names what the container speaks where the document does not tell.
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
