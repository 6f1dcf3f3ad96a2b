"""What SageMaker refuses beyond the shapes of its requests: licences, quotas, variants that host nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from awsllm.server.account.plane import ControlPlane, invalid, refused
from awsllm.types import JsonObject

GATED_BUCKET = "jumpstart-private-cache-prod-"
_ARTIFACTS = ("HostingArtifactUri", "TrainingArtifactUri", "HostingPrepackedArtifactUri")


def check_model(plane: ControlPlane, region: str, request: JsonObject) -> None:
    """A model has a container, and its licences are accepted. Raises AWS's refusal."""
    containers = [*request.get("Containers", ()), *filter(None, [request.get("PrimaryContainer")])]
    for container in containers:
        for source in sources(container):
            check_licence(plane, region, source)


def sources(container: JsonObject) -> Iterator[JsonObject]:
    """The S3 data sources of a container, additional ones included."""
    if source := (container.get("ModelDataSource") or {}).get("S3DataSource"):
        yield source
    elif uri := container.get("ModelDataUrl"):
        yield {"S3Uri": uri}
    for additional in container.get("AdditionalModelDataSources") or ():
        yield additional["S3DataSource"]


def check_licence(plane: ControlPlane, region: str, source: JsonObject) -> None:
    """Refuse gated data whose licence is not accepted. The text names what to set, as AWS's is reported to."""
    uri = source["S3Uri"]
    accepted = (source.get("ModelAccessConfig") or {}).get("AcceptEula") is True
    if not accepted and is_gated(plane, region, uri):
        raise invalid(
            f"You must accept the end-user license agreement (EULA) of the model at {uri}: "
            "set AcceptEula to true in ModelAccessConfig of its S3DataSource."
        )


def is_gated(plane: ControlPlane, region: str, uri: str) -> bool:
    bucket = uri.removeprefix("s3://").partition("/")[0]
    return bucket.startswith(GATED_BUCKET) or uri.rstrip("/") in _gated_uris(plane, region)


def _gated_uris(plane: ControlPlane, region: str) -> set[str]:
    gated = (one.in_region(region) for one in plane.contents if _is_licensed(one.document))
    return {uri.rstrip("/") for document in gated for uri in _artifacts(document)}


def _is_licensed(document: JsonObject) -> bool:
    return bool(document.get("GatedBucket") or document.get("HostingEulaUri"))


def _artifacts(value: Any) -> Iterator[str]:
    """Every artifact that a document names, configurations' components included."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key in _ARTIFACTS and isinstance(item, str):
                yield item
            elif key != "HostingAdditionalDataSources":
                yield from _artifacts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _artifacts(item)


def check_config(request: JsonObject) -> None:
    """Refuse variants that cannot run: one name twice, no machine, a model or a role missing."""
    variants = request["ProductionVariants"]
    names = [variant["VariantName"] for variant in variants]
    if len(set(names)) != len(names):
        raise invalid("Variant names must be unique within an endpoint configuration.")
    for variant in variants:
        machine = {"InstanceType", "ServerlessConfig", "InstancePools"} & set(variant)
        if not machine:
            raise invalid(f"Variant {variant['VariantName']} has neither InstanceType nor ServerlessConfig.")
        if "ModelName" not in variant and "ExecutionRoleArn" not in request:
            raise invalid("ExecutionRoleArn is required for a variant without ModelName.")


def check_quotas(plane: ControlPlane, config: JsonObject, live: list[JsonObject]) -> None:
    """Refuse what would pass a quota. ``live`` are the configurations of the endpoints that exist beside this one."""
    if "endpoints" in plane.quotas and len(live) >= plane.quotas["endpoints"]:
        _exceeded("Endpoints", plane.quotas["endpoints"], len(live), 1, "Endpoints")
    for instance_type, wanted in _counts([config]).items():
        limit, used = plane.quotas.get(instance_type), _counts(live).get(instance_type, 0)
        if limit is not None and used + wanted > limit:
            _exceeded(f"{instance_type} for endpoint usage", limit, used, wanted, "Instances")


def _counts(configs: list[JsonObject]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for config in configs:
        for variant in config["ProductionVariants"]:
            if instance_type := variant.get("InstanceType"):
                counts[instance_type] = counts.get(instance_type, 0) + variant.get("InitialInstanceCount", 1)
    return counts


def _exceeded(name: str, limit: int, used: int, wanted: int, unit: str) -> None:
    raise refused(
        "ResourceLimitExceeded",
        f"The account-level service limit '{name}' is {limit} {unit}, with current utilization of {used} {unit} and a "
        f"request delta of {wanted} {unit}. Please use AWS Service Quotas to request an increase for this quota.",
    )
