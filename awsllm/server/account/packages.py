"""Model packages: versions of models in groups, or models of a name alone, whoever made them: a caller
(CreateModelPackage), a training session (``sessions.packages``), a serverless customisation (``training``). All are
described, listed, approved, tagged and deployed alike.

A group that a session or a customisation names is there from its first version on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from awsllm.server.account.account import Operation, Region
from awsllm.server.account.listing import listed
from awsllm.server.account.refusals import invalid, refused
from awsllm.server.account.tags import tags_of
from awsllm.types import JsonObject

PACKAGES: Final = "model-package"
GROUPS: Final = "model-package-group"
_NOT_SHOWN = ("Tags", "ClientToken")
_SUMMARY = (
    "ModelPackageName", "ModelPackageGroupName", "ModelPackageVersion", "ModelPackageArn", "ModelPackageDescription",
    "CreationTime", "ModelPackageStatus", "ModelApprovalStatus", "ModelLifeCycle", "ModelPackageRegistrationType",
)  # fmt: skip
_GROUP_SUMMARY = (
    "ModelPackageGroupName", "ModelPackageGroupArn", "ModelPackageGroupDescription", "CreationTime",
    "ModelPackageGroupStatus", "ManagedConfiguration",
)  # fmt: skip
_UPDATED = (
    "ModelApprovalStatus", "ModelPackageRegistrationType", "ApprovalDescription", "InferenceSpecification", "SourceUri",
    "ModelCard", "ModelLifeCycle",
)  # fmt: skip


# --- versions --------------------------------------------------------------------------------------------------------


def new_version(region: Region, group: str, base: str) -> JsonObject:
    """The next version of a group, by the group's name or ARN, of a base's ARN, as it is described; it is not kept, and
    lies nowhere yet."""
    name, _, of = base.partition("/Model/")[2].partition("/")
    known = {"BaseModel": {"HubContentName": name, **({"HubContentVersion": of} if of else {})}} if name else {}
    return {
        **_version(region, _name(group)),
        "InferenceSpecification": {"Containers": [known]},
        "ModelPackageRegistrationType": "Logged",
    }


def _version(region: Region, group: str) -> JsonObject:
    version = 1 + max((one["ModelPackageVersion"] for one in _of_group(region, group)), default=0)
    return {
        "ModelPackageName": group,
        "ModelPackageGroupName": group,
        "ModelPackageVersion": version,
        "ModelPackageArn": region.arn(PACKAGES, f"{group}/{version}"),
        "ModelApprovalStatus": "PendingManualApproval",
        **_completed(region),
    }


def _completed(region: Region) -> JsonObject:
    return {
        "CreationTime": region.now(),
        "ModelPackageStatus": "Completed",
        "ModelPackageStatusDetails": {"ValidationStatuses": [], "ImageScanStatuses": []},
    }


def keep(region: Region, package: JsonObject, tags: Mapping[str, str] | None = None) -> str:
    """Register a package, with its group if that is not there. Returns its ARN."""
    arn = str(package["ModelPackageArn"])
    if group := package.get("ModelPackageGroupName"):
        _ensure_group(region, group)
    region.state.table(PACKAGES)[arn] = package
    region.state.tags[arn] = dict(tags or {})
    return arn


def lies_at(package: JsonObject, uri: str) -> None:
    """Say where its files are: a prefix, or an archive."""
    prefix = uri.endswith("/")
    kinds = {"S3DataType": "S3Prefix" if prefix else "S3Object", "CompressionType": "None" if prefix else "Gzip"}
    container(package)["ModelDataSource"] = {"S3DataSource": {"S3Uri": uri, **kinds}}


def container(package: JsonObject) -> JsonObject:
    """The one that serves it; an empty one of a package without."""
    found: JsonObject = ((package.get("InferenceSpecification") or {}).get("Containers") or [{}])[0]
    return found


def check_approved(region: Region, name: str | None) -> None:
    """Raises SageMaker's refusal for a version that may not be deployed: "For versioned models, the value of this
    parameter must be set to Approved to deploy the model" (botocore's model, CreateModelPackage). One that was made
    elsewhere, and one without versions, may be."""
    package: JsonObject = region.state.table(PACKAGES).get(name or "") or {}
    status = package.get("ModelApprovalStatus")
    if "ModelPackageGroupName" in package and status != "Approved":
        raise invalid(f"ModelPackage {name} is {status}: it must be Approved to be deployed.")


def _of_group(region: Region, group: str) -> list[JsonObject]:
    packages: list[JsonObject] = list(region.state.table(PACKAGES).values())
    return [one for one in packages if one.get("ModelPackageGroupName") == group]


def _name(name: str) -> str:
    """Of a name or an ARN."""
    return name.rpartition("/")[2]


# --- operations on packages ------------------------------------------------------------------------------------------


def _create(region: Region, request: JsonObject) -> JsonObject:
    group, name = request.get("ModelPackageGroupName"), request.get("ModelPackageName")
    if bool(group) == bool(name):
        raise invalid("Exactly one of ModelPackageName and ModelPackageGroupName must be specified.")
    shown = {member: value for member, value in request.items() if member not in _NOT_SHOWN}
    if group:
        made = _version(region, _find_group(region, group)["ModelPackageGroupName"])
    else:
        arn = region.arn(PACKAGES, str(name))
        if arn in region.state.table(PACKAGES):
            raise refused("ConflictException", f"ModelPackage {arn} already exists.")
        made = {"ModelPackageArn": arn, **_completed(region)}
    return {"ModelPackageArn": keep(region, {**made, **shown, **_identity(made)}, tags_of(request))}


def _identity(made: JsonObject) -> JsonObject:
    """What a request may name by an ARN is shown by its name."""
    return {member: made[member] for member in ("ModelPackageName", "ModelPackageGroupName") if member in made}


def _find(region: Region, name: str) -> JsonObject:
    """By its ARN or, of one without versions, its name. Raises SageMaker's refusal if there is none."""
    arn = name if name.startswith("arn:") else region.arn(PACKAGES, name)
    found: JsonObject | None = region.state.table(PACKAGES).get(arn)
    if found is None:
        raise invalid(f"ModelPackage {arn} does not exist.")
    return found


def _describe(region: Region, request: JsonObject) -> JsonObject:
    return _find(region, request["ModelPackageName"])


def _list(region: Region, request: JsonObject) -> JsonObject:
    rows = [{name: one.get(name) for name in _SUMMARY} for one in _wanted(region, request)]
    asked = {name: value for name, value in request.items() if name != "NameContains"}
    page, more = listed(asked, rows, name="ModelPackageArn", ascending=True)
    return {"ModelPackageSummaryList": page, **more}


def _wanted(region: Region, request: JsonObject) -> Iterator[JsonObject]:
    """Those of a group, or of one kind: without a word those that have no versions."""
    group, kind = request.get("ModelPackageGroupName"), request.get("ModelPackageType", "Unversioned")
    if group:
        _find_group(region, group)
    part, approval = str(request.get("NameContains") or "").lower(), request.get("ModelApprovalStatus")
    for one in region.state.table(PACKAGES).values():
        own = one.get("ModelPackageGroupName")
        fits = own == _name(group) if group else kind in ("Both", "Versioned" if own else "Unversioned")
        named = part in str(own or one["ModelPackageName"]).lower()
        if fits and named and approval in (None, one.get("ModelApprovalStatus")):
            yield one


def _update(region: Region, request: JsonObject) -> JsonObject:
    package = _find(region, request["ModelPackageArn"])
    if "ModelApprovalStatus" in request and "ModelPackageGroupName" not in package:
        raise invalid("ModelApprovalStatus does not apply to an unversioned model package.")
    changed = {member: request[member] for member in _UPDATED if member in request}
    properties = {
        **package.get("CustomerMetadataProperties", {}),
        **(request.get("CustomerMetadataProperties") or {}),
    }
    for key in request.get("CustomerMetadataPropertiesToRemove") or ():
        properties.pop(key, None)
    specifications = [
        *package.get("AdditionalInferenceSpecifications", ()),
        *(request.get("AdditionalInferenceSpecificationsToAdd") or ()),
    ]
    more = {"CustomerMetadataProperties": properties, "AdditionalInferenceSpecifications": specifications}
    arn = str(package["ModelPackageArn"])
    region.state.table(PACKAGES)[arn] = {
        **package,
        **changed,
        **{name: value for name, value in more.items() if value or name in package},
        "LastModifiedTime": region.now(),
    }
    return {"ModelPackageArn": arn}


def _delete(region: Region, request: JsonObject) -> JsonObject:
    arn = str(_find(region, request["ModelPackageName"])["ModelPackageArn"])
    del region.state.table(PACKAGES)[arn]
    region.state.tags.pop(arn, None)
    return {}


# --- groups ----------------------------------------------------------------------------------------------------------


def _create_group(region: Region, request: JsonObject) -> JsonObject:
    name = request["ModelPackageGroupName"]
    arn = region.arn(GROUPS, name)
    if name in region.state.table(GROUPS):
        raise invalid(f"Model Package Group already exists: {arn}")
    shown = {member: value for member, value in request.items() if member not in _NOT_SHOWN}
    _keep_group(region, {**shown, **_described_group(region, name)}, tags_of(request))
    return {"ModelPackageGroupArn": arn}


def _described_group(region: Region, name: str) -> JsonObject:
    return {
        "ModelPackageGroupName": name,
        "ModelPackageGroupArn": region.arn(GROUPS, name),
        "CreationTime": region.now(),
        "CreatedBy": {},
        "ModelPackageGroupStatus": "Completed",
    }


def _keep_group(region: Region, group: JsonObject, tags: Mapping[str, str]) -> None:
    region.state.table(GROUPS)[group["ModelPackageGroupName"]] = group
    region.state.tags[group["ModelPackageGroupArn"]] = dict(tags)


def _ensure_group(region: Region, name: str) -> None:
    if name not in region.state.table(GROUPS):
        _keep_group(region, _described_group(region, name), {})


def _find_group(region: Region, name: str) -> JsonObject:
    found: JsonObject | None = region.state.table(GROUPS).get(_name(name))
    if found is None:
        raise invalid(f"ModelPackageGroup {region.arn(GROUPS, _name(name))} does not exist.")
    return found


def _describe_group(region: Region, request: JsonObject) -> JsonObject:
    return _find_group(region, request["ModelPackageGroupName"])


def _list_groups(region: Region, request: JsonObject) -> JsonObject:
    if request.get("CrossAccountFilterOption") == "CrossAccount":  # those of others, who are not here
        return {"ModelPackageGroupSummaryList": []}
    rows = [{name: one.get(name) for name in _GROUP_SUMMARY} for one in region.state.table(GROUPS).values()]
    page, more = listed(request, rows, name="ModelPackageGroupName", ascending=True)
    return {"ModelPackageGroupSummaryList": page, **more}


def _delete_group(region: Region, request: JsonObject) -> JsonObject:
    group = _find_group(region, request["ModelPackageGroupName"])
    name, arn = group["ModelPackageGroupName"], group["ModelPackageGroupArn"]
    if _of_group(region, name):
        raise refused("ConflictException", f"Model Package Group {arn} cannot be deleted: it has model packages.")
    del region.state.table(GROUPS)[name]
    region.state.tags.pop(arn, None)
    return {}


OPERATIONS: Mapping[str, Operation] = {
    "CreateModelPackage": _create,
    "DescribeModelPackage": _describe,
    "ListModelPackages": _list,
    "UpdateModelPackage": _update,
    "DeleteModelPackage": _delete,
    "CreateModelPackageGroup": _create_group,
    "DescribeModelPackageGroup": _describe_group,
    "ListModelPackageGroups": _list_groups,
    "DeleteModelPackageGroup": _delete_group,
}
