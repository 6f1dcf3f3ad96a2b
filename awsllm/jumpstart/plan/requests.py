"""The bodies of SageMaker's creating requests: what a ``Hosting`` and the caller's options become.

Shapes are those of botocore's service model (1.44). Every function is pure; names are put in by the planner, since they
follow from the requests themselves.
"""

from __future__ import annotations

from typing import Any

from awsllm.errors import ValidationError
from awsllm.jumpstart.plan.options import (
    Async,
    Autoscaling,
    Components,
    DataCapture,
    ResolvedOptions,
    Serverless,
    Variant,
)
from awsllm.jumpstart.plan.resolve import DataSource, Hosting, takes_volume
from awsllm.types import JsonObject, Value

MOUNT = "/opt/ml/additional-model-data-sources/"


class Placed(Value, frozen=True, kw_only=True):
    """A production variant with what hosts the model on it; the caller's overrides are in both."""

    variant: Variant
    hosting: Hosting

    @property
    def instance_type(self) -> str:
        return self.hosting.instance_type or ""


# --- models ----------------------------------------------------------------------------------------------------------


def model(hosting: Hosting, options: ResolvedOptions, *, role: str | None, hub_content: str | None) -> JsonObject:
    """CreateModel, without ``ModelName`` and ``Tags``. ``hub_content`` is the ARN of a private hub's content."""
    return _present(
        ExecutionRoleArn=role,
        PrimaryContainer=_container(hosting, accepted=options.accept_eula, hub_content=hub_content),
        EnableNetworkIsolation=hosting.network_isolation or None,
        VpcConfig=vpc(options),
    )


def _container(hosting: Hosting, *, accepted: bool, hub_content: str | None) -> JsonObject:
    if hosting.package_arn:  # a Marketplace package is image, artifact and environment at once
        return {"ModelPackageName": hosting.package_arn}
    artifact = hosting.artifact
    plain = artifact is not None and _is_plain_archive(artifact, hub_content)
    return _present(
        Image=hosting.image,
        Environment=hosting.env or None,
        ModelDataUrl=artifact.uri if artifact and plain else None,
        ModelDataSource=_source(artifact, accepted, hub_content) if artifact and not plain else None,
        AdditionalModelDataSources=[
            {"ChannelName": source.channel, **_source(source, accepted, hub_content)} for source in hosting.additional
        ]
        or None,
    )


def _is_plain_archive(artifact: DataSource, hub_content: str | None) -> bool:
    """Whether ``ModelDataUrl`` says it all; serverless endpoints and batch transform take nothing else."""
    return artifact.compression == "Gzip" and not artifact.gated and hub_content is None


def _source(source: DataSource, accepted: bool, hub_content: str | None) -> JsonObject:
    access = {"AcceptEula": True} if source.gated and accepted else None
    return {
        "S3DataSource": _present(
            S3Uri=source.uri,
            S3DataType=source.data_type,
            CompressionType=source.compression,
            ModelAccessConfig=access,
            HubAccessConfig={"HubContentArn": hub_content} if hub_content and not source.own else None,
        )
    }


def vpc(options: ResolvedOptions) -> JsonObject | None:
    if options.vpc is None:
        return None
    return {"SecurityGroupIds": list(options.vpc.security_groups), "Subnets": list(options.vpc.subnets)}


# --- endpoint configurations -----------------------------------------------------------------------------------------


def endpoint_config(options: ResolvedOptions, variants: list[JsonObject], placed: tuple[Placed, ...]) -> JsonObject:
    """CreateEndpointConfig, without its name and ``Tags``, and without what only components need."""
    return _present(
        ProductionVariants=variants,
        KmsKeyId=options.kms if takes_key(placed) else None,
        AsyncInferenceConfig=_asynchronous(options.async_, options.kms) if options.async_ else None,
        DataCaptureConfig=_capture(options.data_capture, options.kms) if options.data_capture else None,
    )


def takes_key(placed: tuple[Placed, ...]) -> bool:
    """Whether the machines have volumes that a key can encrypt; local disks are always encrypted by their hardware, and
    a key for them is refused (API reference of CreateEndpointConfig)."""
    return all(takes_volume(each.instance_type) for each in placed)


def model_variant(placed: Placed, model_name: str, serverless: Serverless | None) -> JsonObject:
    """A production variant that holds the model itself."""
    variant, hosting = placed.variant, placed.hosting
    shared = {"VariantName": variant.name, "ModelName": model_name, "InitialVariantWeight": variant.weight}
    if serverless is not None:
        return {**shared, "ServerlessConfig": _serverless(serverless)}
    return {
        **shared,
        "InstanceType": placed.instance_type,
        "InitialInstanceCount": variant.count,
        **_startup(hosting),
        **_present(VolumeSizeInGB=hosting.volume_gb, InferenceAmiVersion=hosting.ami),
    }


def component_variant(placed: Placed, scaling: Autoscaling | None) -> JsonObject:
    """A production variant that holds inference components: machines only. With autoscaling its instances follow the
    copies; a copy takes one instance at most."""
    variant, hosting = placed.variant, placed.hosting
    managed = None
    if scaling is not None:
        least, most = instance_bounds(variant.count, scaling)
        managed = {"Status": "ENABLED", "MinInstanceCount": least, "MaxInstanceCount": most}
    return {
        "VariantName": variant.name,
        "InstanceType": placed.instance_type,
        "InitialInstanceCount": variant.count,
        "RoutingConfig": {"RoutingStrategy": "LEAST_OUTSTANDING_REQUESTS"},
        **_present(ManagedInstanceScaling=managed, VolumeSizeInGB=hosting.volume_gb, InferenceAmiVersion=hosting.ami),
    }


def instance_bounds(count: int, scaling: Autoscaling) -> tuple[int, int]:
    """The least and most instances behind scaled components."""
    return (0 if lowest(scaling) == 0 else 1), max(count, highest(scaling))


def lowest(scaling: Autoscaling) -> int:
    """The least that autoscaling may go down to, schedules included."""
    return min([scaling.min, *(each.min for each in scaling.schedules if each.min is not None)])


def highest(scaling: Autoscaling) -> int:
    """The most that it may go up to."""
    return max([scaling.max, *(each.max for each in scaling.schedules if each.max is not None)])


def _serverless(serverless: Serverless) -> JsonObject:
    return _present(
        MemorySizeInMB=serverless.memory_mb,
        MaxConcurrency=serverless.max_concurrency,
        ProvisionedConcurrency=serverless.provisioned_concurrency,
    )


def _asynchronous(asynchronous: Async, kms: str | None) -> JsonObject:
    topics = _present(SuccessTopic=asynchronous.success_topic, ErrorTopic=asynchronous.error_topic)
    output = _present(
        S3OutputPath=asynchronous.output,
        S3FailurePath=asynchronous.failure or _beside(asynchronous.output),
        KmsKeyId=kms,
        NotificationConfig=topics or None,
    )
    client = _present(MaxConcurrentInvocationsPerInstance=asynchronous.max_concurrent)
    return _present(OutputConfig=output, ClientConfig=client or None)


def _beside(output: str) -> str:
    """Where failures go unless said otherwise: without a place SageMaker tells of none, and who waits waits in vain."""
    return f"{output.rstrip('/')}/failures/"


def _capture(capture: DataCapture, kms: str | None) -> JsonObject:
    return _present(
        EnableCapture=True,
        InitialSamplingPercentage=capture.percentage,
        DestinationS3Uri=capture.destination,
        KmsKeyId=kms,
        CaptureOptions=[{"CaptureMode": mode} for mode in capture.capture],
    )


# --- inference components --------------------------------------------------------------------------------------------


def component(components: Components, placed: Placed, *, endpoint: str, name: str, model_name: str) -> JsonObject:
    """CreateInferenceComponent, without ``Tags``. Raises ``ValidationError`` where nobody says how much memory a copy
    needs, which the API demands."""
    hosting = placed.hosting
    memory = components.memory_mb or hosting.memory_mb
    if memory is None:
        raise ValidationError(
            "the document does not say what memory a copy needs: give components=Components(memory_mb=…)"
        )
    needs = _present(
        MinMemoryRequiredInMb=memory,
        NumberOfAcceleratorDevicesRequired=components.accelerators or hosting.accelerators,
        NumberOfCpuCoresRequired=components.cpus or hosting.cpus,
    )
    startup = _startup(hosting)
    return {
        "InferenceComponentName": name,
        "EndpointName": endpoint,
        "VariantName": placed.variant.name,
        "Specification": _present(
            ModelName=model_name, ComputeResourceRequirements=needs, StartupParameters=startup or None
        ),
        "RuntimeConfig": {"CopyCount": components.copies},
    }


def adapter(name: str, base: JsonObject, uri: str) -> JsonObject:
    """CreateInferenceComponent of a LoRA adapter over the component that ``base`` makes: it shares its resources."""
    return {
        "InferenceComponentName": name,
        "EndpointName": base["EndpointName"],
        "Specification": {
            "BaseInferenceComponentName": base["InferenceComponentName"],
            "Container": {"ArtifactUrl": uri},
        },
    }


def _startup(hosting: Hosting) -> JsonObject:
    return _present(
        ModelDataDownloadTimeoutInSeconds=hosting.download_timeout,
        ContainerStartupHealthCheckTimeoutInSeconds=hosting.startup_timeout,
    )


def _present(**members: Any) -> JsonObject:
    return {name: value for name, value in members.items() if value is not None}
