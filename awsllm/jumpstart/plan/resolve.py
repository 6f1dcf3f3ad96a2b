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
from awsllm.jumpstart.hub import members
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
TIMEOUT_BOUNDS = (60, 3600)  # seconds; botocore's service model, as are the least needs of a component:
MEMORY_MB, ACCELERATORS, CPUS = 128, 1, 0.25


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
    ``content`` is the document with the configuration over it, ``script`` the inference script that the artifact
    lacks; None where it holds all that the container needs."""

    instance_type: str | None
    content: JsonObject
    config: str | None = None
    supported: bool = True
    image: str | None = None
    env: dict[str, str]
    artifact: DataSource | None = None
    script: str | None = None
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
        """``DefaultPayloads``, by alias: what tells the format, and is not sent."""
        found = self.content.get("DefaultPayloads")
        return found if isinstance(found, dict) else {}


def resolve(document: ModelDocument, *, instance_type: str | None = None, config: str | None = None) -> Hosting:
    """The hosting of ``document``. Raises ``ValidationError`` for a configuration that it does not have, and for a
    member that is not of the type that a request needs."""
    name = choose_config(document.content, instance_type, config)
    content = with_config(document.content, name) if name else document.content
    default = members.text(content, "DefaultInferenceInstanceType") or document.default_instance_type
    machine = instance_type or default
    variants = _Variants(content, machine)
    supported = members.texts(content, "SupportedInferenceInstanceTypes")
    needs = members.mapping(content, "HostingResourceRequirements") | variants.merged("ResourceRequirements")
    return Hosting(
        instance_type=machine,
        content=content,
        config=name,
        supported=not supported or machine in supported,
        image=variants.image() or members.text(content, "HostingEcrUri"),
        env=_environment(content, variants, document.region),
        artifact=_artifact(content, variants, document),
        script=_missing_script(content, variants),
        additional=tuple(_additional(content, document.region)),
        package_arn=variants.first("ModelPackageArn") or members.text(content, "HostingModelPackageArn"),
        network_isolation=members.flag(content, "InferenceEnableNetworkIsolation"),
        download_timeout=_bounded(members.integer(content, "ModelDataDownloadTimeout")),
        startup_timeout=_bounded(members.integer(content, "ContainerStartupHealthCheckTimeout")),
        ami=members.text(content, "InferenceAmiVersion"),
        volume_gb=members.whole_amount(content, "InferenceVolumeSize") if takes_volume(machine) else None,
        memory_mb=members.whole_amount(needs, "MinMemoryMb", MEMORY_MB),
        accelerators=members.amount(needs, "NumAccelerators", ACCELERATORS),
        cpus=members.amount(needs, "NumCpus", CPUS),
        components_supported=bool(members.flag(content, "DynamicContainerDeploymentSupported")),
        warnings=tuple(_warnings(document, content, machine, supported)),
    )


# --- configurations --------------------------------------------------------------------------------------------------


def choose_config(content: JsonObject, instance_type: str | None, name: str | None) -> str | None:
    """The configuration to use: the named one, else the first in the ranking that supports ``instance_type``. None: the
    base document, which is also what is left where no configuration supports the machine but the base can host."""
    configs = members.mapping(content, "InferenceConfigs")
    if name is not None:
        if name in configs:
            return name
        known = ", ".join(sorted(configs)) or "none"
        raise ValidationError(f"the model has no hosting configuration {name!r}; it has: {known}")
    ranked = _ranking(content, configs)
    for candidate in ranked:
        supported = members.texts(with_config(content, candidate), "SupportedInferenceInstanceTypes")
        if instance_type is None or instance_type in supported:
            return candidate
    hosted = content.get("HostingEcrUri") or content.get("HostingModelPackageArn")
    return None if hosted or not ranked else ranked[0]


def _ranking(content: JsonObject, configs: JsonObject) -> list[str]:
    overall = members.mapping(members.mapping(content, "InferenceConfigRankings"), "overall")
    ranking = members.texts(overall, "Rankings")
    return [name for name in ranking if name in configs] or sorted(configs)


def with_config(content: JsonObject, name: str) -> JsonObject:
    """The document with the components of the hosting configuration ``name`` over it, in order."""
    config = members.mapping(members.mapping(content, "InferenceConfigs"), name)
    components = members.mapping(content, "InferenceConfigComponents")
    return overlay(content, components, members.texts(config, "ComponentNames"))


# What is said of one artifact does not hold for the one that a component puts in its place.
_OF_ARTIFACT = {
    "HostingArtifactUri": (
        "HostingPrepackedArtifactUri", "HostingArtifactS3DataType", "HostingArtifactCompressionType"
    ),
    "TrainingArtifactUri": ("TrainingArtifactS3DataType", "TrainingArtifactCompressionType"),
}  # fmt: skip


def overlay(content: JsonObject, components: Mapping[str, Any], names: Sequence[str]) -> JsonObject:
    """``content`` with the named components over it; what belongs to the model as a whole stays."""
    for name in names:
        component = members.mapping(components, name)
        replaced = {about for uri, others in _OF_ARTIFACT.items() if component.get(uri) for about in others}
        kept = {key: value for key, value in content.items() if key not in replaced}
        content = _merge(kept, {key: value for key, value in component.items() if key not in FIXED})
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
        by_type = members.mapping(content, "HostingInstanceTypeVariants")
        variants = members.mapping(by_type, "Variants")
        machine = instance_type or ""
        self._aliases = members.mapping(by_type, "Aliases")
        self._exact = members.mapping(members.mapping(variants, machine), "Properties")
        self._family = members.mapping(members.mapping(variants, family(machine)), "Properties")

    def first(self, name: str) -> str | None:
        return members.text(self._exact, name) or members.text(self._family, name)

    def merged(self, name: str) -> JsonObject:
        return members.mapping(self._family, name) | members.mapping(self._exact, name)

    def image(self) -> str | None:
        uri = self.first("ImageUri")
        return members.text(self._aliases, uri[1:]) if uri and uri.startswith("$") else uri


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
    env: dict[str, str] = {}
    for declared in members.rows(content, "InferenceEnvironmentVariables"):
        name = members.text(declared, "Name")
        if name is None:
            raise ValidationError("the document's InferenceEnvironmentVariables have one without a Name")
        if declared.get("Default") is not None:
            env[name] = members.as_text(declared["Default"])
    env |= {name: members.as_text(value) for name, value in variants.merged("EnvironmentVariables").items()}
    return env | {"SAGEMAKER_CONTAINER_LOG_LEVEL": "20", "SAGEMAKER_REGION": region}


def _packed(content: JsonObject, variants: _Variants) -> str | None:
    """The artifact that holds the model and its script."""
    return variants.first("PrepackedArtifactUri") or members.text(content, "HostingPrepackedArtifactUri")


def _artifact(content: JsonObject, variants: _Variants, document: ModelDocument) -> DataSource | None:
    """The packed artifact in any case (``use_inference_script_uri`` of the SageMaker SDK's specs, 3.27), a variant's
    before the document's own. The document's words about its artifact hold for no other: of one that it says nothing
    about, a key that ends in a slash is a prefix of plain objects, any other a compressed archive, as in the S3
    cache."""
    plain = members.text(content, "HostingArtifactUri")
    uri = _packed(content, variants) or variants.first("ArtifactUri") or plain
    if not uri:
        return None
    archive = not uri.endswith("/")
    described = content if uri == plain else {}
    gated = is_gated(content)
    return DataSource(
        uri=uri,
        data_type=members.text(described, "HostingArtifactS3DataType") or ("S3Object" if archive else "S3Prefix"),
        compression=members.text(described, "HostingArtifactCompressionType") or ("Gzip" if archive else "None"),
        gated=gated,
        eula_url=_licence(content, document) if gated else None,
    )


def _missing_script(content: JsonObject, variants: _Variants) -> str | None:
    """The script that the container needs beside an artifact that is not packed with it."""
    if not members.flag(content, "HostingUseScriptUri") or _packed(content, variants):
        return None
    return members.text(content, "HostingScriptUri")


def _licence(content: JsonObject, document: ModelDocument) -> str:
    """Where the licence of a gated model can be read; the nearest thing where the document names no text."""
    url = https_url(content.get("HostingEulaUri"), document.region)
    page = url or https_url(content.get("HostingEulaExternalLink"), document.region) or document.eula_url
    return page or document.url or document.hub_content_arn or document.model_id


def _additional(content: JsonObject, region: str) -> Iterator[DataSource]:
    """The draft models of speculative decoding. The other kind of such data, scripts, is not the container's: the
    SageMaker SDK does not give it either (3.27)."""
    for source in members.rows(members.mapping(content, "HostingAdditionalDataSources"), "speculative_decoding"):
        where = members.mapping(source, "S3DataSource")
        uri = members.text(where, "S3Uri")
        if uri is None:
            raise ValidationError("the document's HostingAdditionalDataSources have one without an S3Uri")
        eula = https_url(source.get("HostingEulaUri"), region)
        gated = eula is not None or members.mapping(source, "Provider").get("Classification") == "gated"
        yield DataSource(
            uri=uri,
            data_type=members.text(where, "S3DataType") or "S3Prefix",
            compression=members.text(where, "CompressionType") or "None",
            channel=members.text(source, "ChannelName") or "draft_model",
            gated=gated,
            eula_url=eula or (uri if gated else None),
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
    for name in ("ModelDataDownloadTimeout", "ContainerStartupHealthCheckTimeout"):
        seconds = members.integer(content, name)
        if seconds is not None and seconds != _bounded(seconds):
            yield f"the document's {name} of {seconds} s is beyond the API's bounds: {_bounded(seconds)} s is sent"


def _bounded(seconds: int | None) -> int | None:
    return None if seconds is None else min(max(seconds, TIMEOUT_BOUNDS[0]), TIMEOUT_BOUNDS[1])
