"""Models and endpoint configurations: records. What Describe answers is what was requested, with an ARN and a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

from awsllm.server.account.account import Operation, Region
from awsllm.server.account.artifacts import weights_of
from awsllm.server.account.listing import listed
from awsllm.server.account.packages import check_approved
from awsllm.server.account.refusals import invalid
from awsllm.server.account.resources import find, refuse_existing
from awsllm.server.account.rules import check_licence
from awsllm.server.account.tags import tags_of
from awsllm.types import JsonObject

# The members that hold a record's name and ARN, by kind.
_MEMBERS = {
    "model": ("ModelName", "ModelArn"),
    "endpoint-config": ("EndpointConfigName", "EndpointConfigArn"),
}


WEIGHTS = "model-weights"
"""The table of models whose weights were trained here: paths, by the models' ARNs."""

# --- what a model is made of -----------------------------------------------------------------------------------------


def containers_of(model: JsonObject) -> list[JsonObject]:
    return [*filter(None, [model.get("PrimaryContainer")]), *model.get("Containers", ())]


def sources(container: JsonObject) -> Iterator[JsonObject]:
    """The S3 data sources of a container, additional ones included."""
    if source := (container.get("ModelDataSource") or {}).get("S3DataSource"):
        yield source
    elif uri := container.get("ModelDataUrl"):
        yield {"S3Uri": uri}
    for additional in container.get("AdditionalModelDataSources") or ():
        yield additional["S3DataSource"]


def images(region: Region, model: str | None) -> list[JsonObject]:
    """The deployed images of a model; none of one that was made elsewhere."""
    record = region.state.table("model").get(model or "") or {}
    return [deployed_image(region, one["Image"]) for one in containers_of(record) if "Image" in one]


def deployed_image(region: Region, image: str) -> JsonObject:
    """An image as Describe shows it once it runs: by its digest, which is made up."""
    digest = hashlib.sha256(image.encode()).hexdigest()
    repository = image.rpartition(":")[0] or image
    return {
        "SpecifiedImage": image,
        "ResolvedImage": f"{repository}@sha256:{digest}",
        "ResolutionTime": region.now(),
    }


# --- records ---------------------------------------------------------------------------------------------------------


def _record(region: Region, kind: str, request: JsonObject) -> str:
    """Keep a model or a configuration as it was requested. Returns its ARN."""
    name_member, arn_member = _MEMBERS[kind]
    name = request[name_member]
    arn = region.arn(kind, name)
    described = {key: value for key, value in request.items() if key != "Tags"}
    region.state.table(kind)[name] = {**described, arn_member: arn, "CreationTime": region.now()}
    region.state.tags[arn] = tags_of(request)
    return arn


def _rows(region: Region, kind: str) -> Iterator[JsonObject]:
    name_member, arn_member = _MEMBERS[kind]
    for record in region.state.table(kind).values():
        yield {member: record[member] for member in (name_member, arn_member, "CreationTime")}
    yield from region.account.neighbours.summaries(region.name, kind)


def _delete_record(region: Region, kind: str, name: str) -> JsonObject | None:
    record = find(region, kind, name)
    if record is None:
        return None
    del region.state.table(kind)[name]
    region.state.tags.pop(region.arn(kind, name), None)
    return {}


# --- models ----------------------------------------------------------------------------------------------------------


def _create_model(region: Region, request: JsonObject) -> JsonObject:
    refuse_existing(region, "model", request["ModelName"])
    for container in containers_of(request):
        check_approved(region, container.get("ModelPackageName"))
        for source in sources(container):
            check_licence(region, source)
    arn = _record(region, "model", request)
    found = (weights_of(region, container) for container in containers_of(request))
    if path := next(filter(None, found), None):  # as SageMaker does: what S3 has when the model is made
        region.state.table(WEIGHTS)[arn] = path
    else:
        region.state.table(WEIGHTS).pop(arn, None)
    return {"ModelArn": arn}


def _describe_model(region: Region, request: JsonObject) -> JsonObject | None:
    record: JsonObject | None = find(region, "model", request["ModelName"])
    return record


def _list_models(region: Region, request: JsonObject) -> JsonObject:
    page, more = listed(request, _rows(region, "model"), name="ModelName")
    return {"Models": page, **more}


def _delete_model(region: Region, request: JsonObject) -> JsonObject | None:
    return _delete_record(region, "model", request["ModelName"])


# --- endpoint configurations -----------------------------------------------------------------------------------------


def _create_config(region: Region, request: JsonObject) -> JsonObject | None:
    refuse_existing(region, "endpoint-config", request["EndpointConfigName"])
    variants = [*request["ProductionVariants"], *request.get("ShadowProductionVariants", ())]
    names = [variant["ModelName"] for variant in variants if "ModelName" in variant]
    if any(find(region, "model", name) is None for name in names):
        return None  # of a model that was made elsewhere
    _check_variants(request)
    return {"EndpointConfigArn": _record(region, "endpoint-config", request)}


def _check_variants(request: JsonObject) -> None:
    """Refuse variants that cannot run: one name twice, no machine, a model or a role missing."""
    variants = request["ProductionVariants"]
    names = [variant["VariantName"] for variant in variants]
    if len(set(names)) != len(names):
        raise invalid("Variant names must be unique within an endpoint configuration.")
    for variant in variants:
        if not {"InstanceType", "ServerlessConfig", "InstancePools"} & set(variant):
            raise invalid(f"Variant {variant['VariantName']} has neither InstanceType nor ServerlessConfig.")
        if "ModelName" not in variant and "ExecutionRoleArn" not in request:
            raise invalid("ExecutionRoleArn is required for a variant without ModelName.")


def _describe_config(region: Region, request: JsonObject) -> JsonObject | None:
    record: JsonObject | None = find(region, "endpoint-config", request["EndpointConfigName"])
    return record


def _list_configs(region: Region, request: JsonObject) -> JsonObject:
    page, more = listed(request, _rows(region, "endpoint-config"), name="EndpointConfigName")
    return {"EndpointConfigs": page, **more}


def _delete_config(region: Region, request: JsonObject) -> JsonObject | None:
    return _delete_record(region, "endpoint-config", request["EndpointConfigName"])


OPERATIONS: Mapping[str, Operation] = {
    "CreateModel": _create_model,
    "DescribeModel": _describe_model,
    "ListModels": _list_models,
    "DeleteModel": _delete_model,
    "CreateEndpointConfig": _create_config,
    "DescribeEndpointConfig": _describe_config,
    "ListEndpointConfigs": _list_configs,
    "DeleteEndpointConfig": _delete_config,
}
