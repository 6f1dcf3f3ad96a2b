"""The document's own rules: which configuration, image, environment and artifact host one model on one machine.

A hub document is a base with exceptions. A *configuration* names components, each an overlay over the base: objects
merge leaf by leaf, lists are replaced. Over that lie the *variants* of the instance type: the exact type
(``ml.g5.2xlarge``) before its family (``g5``) for single values, the family below the exact type for those that merge
(environment, needs). Nothing here knows what the caller asks beside instance type and configuration; that is the
planner's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from awsllm.errors import ValidationError
from awsllm.jumpstart.hub.document import ModelDocument, is_gated
from awsllm.jumpstart.hub.spec import https_url
from awsllm.types import JsonObject, Value

# What a component may say without effect: these belong to the model as a whole.
FIXED = frozenset(
    {
        "Url",
        "MinSdkVersion",
        "ResourceNameBase",
        "GatedBucket",
        "TrainingSupported",
        "IncrementalTrainingSupported",
        "HubContentName",
        "HubContentVersion",
        "SupportStatus",
    }
)
# Families without an EBS volume beside those with a "d" in their name (SageMaker SDK 3.27, `volume_size_supported`).
DISKLESS = ("g5", "g6", "g7e", "p5", "p6-b200", "trn1", "trn2")
ACCELERATED = re.compile(r"(?:g|p|inf|trn|dl)\d")
TIMEOUT_BOUNDS = (60, 3600)  # seconds; botocore's service model


class DataSource(Value, frozen=True, kw_only=True):
    """Files in S3 that SageMaker gives the container. ``channel`` is None for the model itself, ``own``
    marks what the caller gave in JumpStart's place. ``gated`` ones are refused until the licence at ``eula_url`` is
    accepted."""

    uri: str
    data_type: str = "S3Prefix"
    compression: str = "None"
    channel: str | None = None
    own: bool = False
    gated: bool = False
    eula_url: str | None = None


class Hosting(Value, frozen=True, kw_only=True):
    """How the document hosts its model on ``instance_type``. Timeouts in seconds, ``volume_gb`` None where the machine
    takes none, ``memory_mb``, ``accelerators`` and ``cpus`` are one copy's needs as an inference component.
    ``content`` is the document with the configuration over it."""

    instance_type: str | None
    content: JsonObject
    config: str | None = None
    supported: bool = True
    image: str | None = None
    env: dict[str, str]
    artifact: DataSource | None = None
    additional: tuple[DataSource, ...] = ()
    package_arn: str | None = None
    network_isolation: bool | None = None
    download_timeout: int | None = None
    startup_timeout: int | None = None
    ami: str | None = None
    volume_gb: int | None = None
    memory_mb: int | None = None
    accelerators: float | None = None
    cpus: float | None = None
    components_supported: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def payloads(self) -> dict[str, JsonObject]:
        """``DefaultPayloads``, by alias."""
        return _object(self.content, "DefaultPayloads")


def resolve(document: ModelDocument, *, instance_type: str | None = None, config: str | None = None) -> Hosting:
    """The hosting of ``document``. Raises ``ValidationError`` for a configuration that it does not have."""
    name = choose_config(document.content, instance_type, config)
    content = with_config(document.content, name) if name else document.content
    machine = instance_type or content.get("DefaultInferenceInstanceType") or document.default_instance_type
    variants = _Variants(content, machine)
    supported = _strings(content, "SupportedInferenceInstanceTypes")
    needs = _object(content, "HostingResourceRequirements") | variants.merged("ResourceRequirements")
    download, startup = (
        content.get("ModelDataDownloadTimeout"),
        content.get("ContainerStartupHealthCheckTimeout"),
    )
    return Hosting(
        instance_type=machine,
        content=content,
        config=name,
        supported=not supported or machine in supported,
        image=variants.image() or content.get("HostingEcrUri"),
        env=_environment(content, variants, document.region),
        artifact=_artifact(content, variants, document),
        additional=tuple(_additional(content, document.region)),
        package_arn=variants.first("ModelPackageArn") or content.get("HostingModelPackageArn"),
        network_isolation=content.get("InferenceEnableNetworkIsolation"),
        download_timeout=_bounded(download),
        startup_timeout=_bounded(startup),
        ami=content.get("InferenceAmiVersion"),
        volume_gb=content.get("InferenceVolumeSize") if takes_volume(machine) else None,
        memory_mb=int(memory) if (memory := needs.get("MinMemoryMb")) else None,
        accelerators=needs.get("NumAccelerators") or None,
        cpus=needs.get("NumCpus") or None,
        components_supported=bool(content.get("DynamicContainerDeploymentSupported")),
        warnings=tuple(_warnings(document, content, machine, supported)),
    )


# --- configurations --------------------------------------------------------------------------------------------------


def choose_config(content: JsonObject, instance_type: str | None, name: str | None) -> str | None:
    """The configuration to use: the named one, else the first in the ranking that supports ``instance_type``. None: the
    base document, which is also what is left where no configuration supports the machine but the base can host."""
    configs = _object(content, "InferenceConfigs")
    if name is not None:
        if name in configs:
            return name
        known = ", ".join(sorted(configs)) or "none"
        raise ValidationError(f"the model has no hosting configuration {name!r}; it has: {known}")
    ranked = _ranking(content, configs)
    for candidate in ranked:
        supported = _strings(with_config(content, candidate), "SupportedInferenceInstanceTypes")
        if instance_type is None or instance_type in supported:
            return candidate
    hosted = content.get("HostingEcrUri") or content.get("HostingModelPackageArn")
    return None if hosted or not ranked else ranked[0]


def _ranking(content: JsonObject, configs: JsonObject) -> list[str]:
    ranking = _strings(_object(_object(content, "InferenceConfigRankings"), "overall"), "Rankings")
    return [name for name in ranking if name in configs] or sorted(configs)


def with_config(content: JsonObject, name: str) -> JsonObject:
    """The document with the components of the hosting configuration ``name`` over it, in order."""
    config = _object(_object(content, "InferenceConfigs"), name)
    return overlay(content, _object(content, "InferenceConfigComponents"), _strings(config, "ComponentNames"))


def overlay(content: JsonObject, components: Mapping[str, Any], names: Sequence[str]) -> JsonObject:
    """``content`` with the named components over it; what belongs to the model as a whole stays."""
    for name in names:
        component = components.get(name) or {}
        content = _merge(content, {key: value for key, value in component.items() if key not in FIXED})
    return content


def _merge(under: JsonObject, over: JsonObject) -> JsonObject:
    merged = dict(under)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


# --- variants of the instance type -----------------------------------------------------------------------------------


class _Variants:
    """What the document says of one instance type beside its base."""

    def __init__(self, content: JsonObject, instance_type: str | None) -> None:
        by_type = _object(content, "HostingInstanceTypeVariants")
        variants = _object(by_type, "Variants")
        machine = instance_type or ""
        self._aliases = _object(by_type, "Aliases")
        self._exact = _object(_object(variants, machine), "Properties")
        self._family = _object(_object(variants, family(machine)), "Properties")

    def first(self, name: str) -> Any:
        return self._exact.get(name) or self._family.get(name)

    def merged(self, name: str) -> JsonObject:
        return _object(self._family, name) | _object(self._exact, name)

    def image(self) -> str | None:
        uri = self.first("ImageUri")
        if isinstance(uri, str) and uri.startswith("$"):
            uri = self._aliases.get(uri[1:])
        return uri if isinstance(uri, str) else None


def family(instance_type: str) -> str:
    """``g5`` of ``ml.g5.2xlarge``."""
    parts = instance_type.split(".")
    return parts[1] if len(parts) > 1 else ""


def accelerated(instance_type: str) -> bool:
    """Whether the machine has GPUs or AWS's own accelerators."""
    return ACCELERATED.match(family(instance_type)) is not None


def takes_volume(instance_type: str | None) -> bool:
    """Whether the machine's storage is an EBS volume, whose size and key can be chosen."""
    kind = family(instance_type or "")
    return bool(kind) and "d" not in kind and not kind.startswith(DISKLESS)


# --- container -------------------------------------------------------------------------------------------------------


def _environment(content: JsonObject, variants: _Variants, region: str) -> dict[str, str]:
    declared = content.get("InferenceEnvironmentVariables") or ()
    env = {each["Name"]: str(each["Default"]) for each in declared if each.get("Default") is not None}
    env |= {name: str(value) for name, value in variants.merged("EnvironmentVariables").items()}
    return env | {"SAGEMAKER_CONTAINER_LOG_LEVEL": "20", "SAGEMAKER_REGION": region}


def _artifact(content: JsonObject, variants: _Variants, document: ModelDocument) -> DataSource | None:
    """The packed artifact unless the document says to use its script; a variant's before the document's own."""
    names = ("ArtifactUri",) if content.get("HostingUseScriptUri") else ("PrepackedArtifactUri", "ArtifactUri")
    found = [variants.first(name) for name in names] + [content.get(f"Hosting{name}") for name in names]
    uri = next((each for each in found if each), None)
    if not uri:
        return None
    archive = is_archive(uri)
    gated = is_gated(content)
    return DataSource(
        uri=uri,
        data_type=content.get("HostingArtifactS3DataType") or ("S3Object" if archive else "S3Prefix"),
        compression=content.get("HostingArtifactCompressionType") or ("Gzip" if archive else "None"),
        gated=gated,
        eula_url=_licence(content, document) if gated else None,
    )


def _licence(content: JsonObject, document: ModelDocument) -> str:
    """Where the licence of a gated model can be read; the nearest thing where the document names no text."""
    url = https_url(content.get("HostingEulaUri"), document.region)
    page = url or content.get("HostingEulaExternalLink") or document.eula_url or document.url
    return page or document.hub_content_arn or document.model_id


def _additional(content: JsonObject, region: str) -> Iterator[DataSource]:
    """The draft models of speculative decoding. The other kind of such data, scripts, is not the container's: the
    SageMaker SDK does not give it either (3.27)."""
    for source in _object(content, "HostingAdditionalDataSources").get("speculative_decoding") or ():
        where = _object(source, "S3DataSource")
        eula = https_url(source.get("HostingEulaUri"), region)
        gated = eula is not None or _object(source, "Provider").get("Classification") == "gated"
        yield DataSource(
            uri=where["S3Uri"],
            data_type=where.get("S3DataType") or "S3Prefix",
            compression=where.get("CompressionType") or "None",
            channel=source.get("ChannelName") or "draft_model",
            gated=gated,
            eula_url=eula or (where["S3Uri"] if gated else None),
        )


def is_archive(uri: str) -> bool:
    return uri.endswith((".tar.gz", ".tgz"))


# --- what to warn of -------------------------------------------------------------------------------------------------


def _warnings(
    document: ModelDocument, content: JsonObject, machine: str | None, supported: Sequence[str]
) -> Iterator[str]:
    if document.support_status in {"Deprecated", "Restricted"}:
        yield f"{document.model_id} {document.version} is {document.support_status.lower()} in JumpStart"
    if machine and supported and machine not in supported:
        yield f"{machine} is not among the instance types that the model supports: {', '.join(supported)}"
    if content.get("HostingUseScriptUri"):
        script = content.get("HostingScriptUri")
        yield f"the model's inference script is not packed with its artifact and is not deployed: {script}"
    for name in ("ModelDataDownloadTimeout", "ContainerStartupHealthCheckTimeout"):
        seconds = content.get(name)
        if seconds is not None and seconds != _bounded(seconds):
            yield f"the document's {name} of {seconds} s is beyond the API's bounds: {_bounded(seconds)} s is sent"


# --- lenient reading -------------------------------------------------------------------------------------------------


def _object(value: Mapping[str, Any], name: str) -> JsonObject:
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def _strings(value: Mapping[str, Any], name: str) -> list[str]:
    found = value.get(name)
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []


def _bounded(seconds: int | None) -> int | None:
    return None if seconds is None else min(max(int(seconds), TIMEOUT_BOUNDS[0]), TIMEOUT_BOUNDS[1])
