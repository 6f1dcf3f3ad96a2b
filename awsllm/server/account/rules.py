"""What SageMaker refuses beyond the shapes of its requests, in more than one operation: licences and quotas.

Not enforced: roles and rights, whether artifacts and images exist.
"""

from __future__ import annotations

from collections.abc import Sequence

from awsllm.errors import RequestError
from awsllm.jumpstart.deploy.preflight import QUOTA_SUFFIX
from awsllm.jumpstart.hub.spec import GATED_BUCKET
from awsllm.server.account.account import Region
from awsllm.server.account.refusals import invalid, refused
from awsllm.types import JsonObject

_ARTIFACTS = ("HostingArtifactUri", "TrainingArtifactUri", "HostingPrepackedArtifactUri")


def check_licence(region: Region, source: JsonObject) -> None:
    """Refuse gated data whose licence is not accepted. The text names what to set, as AWS's is reported to."""
    uri = source["S3Uri"]
    accepted = (source.get("ModelAccessConfig") or {}).get("AcceptEula") is True
    if not accepted and is_gated(region, uri):
        raise invalid(
            f"You must accept the end-user license agreement (EULA) of the model at {uri}: "
            "set AcceptEula to true in ModelAccessConfig of its S3DataSource."
        )


def is_gated(region: Region, uri: str) -> bool:
    """Whether it is in the bucket for what is gated, or an artifact of a document that has a licence."""
    if uri.removeprefix("s3://").startswith(GATED_BUCKET):
        return True
    licensed = (content for content in region.account.contents if content.gated)
    return any(uri.rstrip("/") == one.rstrip("/") for each in licensed for one in each.texts(region.name, _ARTIFACTS))


def check_quotas(region: Region, config: JsonObject, live: Sequence[JsonObject]) -> None:
    """Refuse what would pass a quota. ``live`` are the configurations of the endpoints that exist beside this one."""
    quotas = region.account.quotas
    if "endpoints" in quotas and len(live) >= quotas["endpoints"]:
        raise _exceeded("Endpoints", quotas["endpoints"], len(live), 1, "Endpoints")
    used = _instances(live)
    for instance_type, wanted in _instances([config]).items():
        limit, running = quotas.get(instance_type), used.get(instance_type, 0)
        if limit is not None and running + wanted > limit:
            raise _exceeded(instance_type + QUOTA_SUFFIX, limit, running, wanted, "Instances")


def _instances(configs: Sequence[JsonObject]) -> dict[str, int]:
    """How many machines of each type the configurations want."""
    counts: dict[str, int] = {}
    for config in configs:
        for variant in config["ProductionVariants"]:
            if instance_type := variant.get("InstanceType"):
                counts[instance_type] = counts.get(instance_type, 0) + variant.get("InitialInstanceCount", 1)
    return counts


def _exceeded(name: str, limit: int, used: int, wanted: int, unit: str) -> RequestError:
    return refused(
        "ResourceLimitExceeded",
        f"The account-level service limit '{name}' is {limit} {unit}, with current utilization of {used} {unit} and a "
        f"request delta of {wanted} {unit}. Please use AWS Service Quotas to request an increase for this quota.",
    )
