"""Custom models, and the deployments that serve them on demand.

A custom model comes of a customisation job, a copy, or files in S3 or a model package (CreateCustomModel), of which
only their being there is read. One that was trained here answers as it learned (``tuning.TRAINED``), any other as the
model behind the account does.
"""

from __future__ import annotations

from collections.abc import Mapping

from awsllm.server.account.account import Operation, Region
from awsllm.server.account.artifacts import weights_at, weights_of
from awsllm.server.account.bedrock.pages import page
from awsllm.server.account.bedrock.records import (
    BedrockRecord,
    all_of,
    bedrock_arn,
    find,
    forget,
    id_of,
    keep,
    named,
    once,
    refuse_full,
    refuse_taken,
)
from awsllm.server.account.bedrock.refusals import conflict
from awsllm.server.account.bedrock.tuning import TRAINED
from awsllm.server.account.refusals import invalid
from awsllm.types import JsonObject

MODELS, DEPLOYMENTS = "custom-model", "custom-model-deployment"
NOUN = "custom model"
_DEPLOYMENT = "custom model deployment"


# --- models ----------------------------------------------------------------------------------------------------------


@once
def _create(region: Region, request: JsonObject) -> JsonObject:
    refuse_taken(region, MODELS, request["modelName"], NOUN)
    refuse_full(region, MODELS, "custom-models", "custom models")
    if ("modelSourceConfig" in request) == ("customModelDataSource" in request):
        raise invalid("Specify either modelSourceConfig or customModelDataSource, but not both.")
    arn = bedrock_arn(region, f"{MODELS}/imported")
    record = BedrockRecord(arn, request["modelName"], request, region.now(), region.now(), "Creating", "Active")
    record.shown = {"customizationType": "IMPORTED"}
    if path := _trained(region, request):
        record.request = {**request, TRAINED: path}
    record.reason, record.wait = _fault(region, request), region.wait(MODELS)
    keep(region, MODELS, record, request.get("modelTags"))
    return {"modelArn": arn}


def _trained(region: Region, request: JsonObject) -> str | None:
    """Where the weights lie that a training job here made, if it is of those."""
    if source := (request.get("modelSourceConfig") or {}).get("s3DataSource"):
        return weights_at(region, source["s3Uri"])
    package = (request.get("customModelDataSource") or {}).get("modelPackageArnDataSource") or {}
    return weights_of(region, {"ModelPackageName": package.get("modelPackageArn")})


def _fault(region: Region, request: JsonObject) -> str | None:
    """Why the model's files cannot be taken, if they cannot: there are none."""
    source = (request.get("modelSourceConfig") or {}).get("s3DataSource")
    if source is None or region.account.objects is None or region.account.objects.list(source["s3Uri"]):
        return None
    return f"No objects were found at {source['s3Uri']}."


def make_model(region: Region, name: str, request: JsonObject, shown: JsonObject, tags: list[JsonObject] | None) -> str:
    """Keep what a job has made: ``shown`` has its base model. Returns its ARN."""
    arn = shown.get("modelArn") or model_arn(region, shown["baseModelArn"])
    record = BedrockRecord(arn, name, request, region.now(), region.now(), "Active", shown=shown)
    keep(region, MODELS, record, tags)
    return arn


def model_arn(region: Region, base: str) -> str:
    """An ARN for a new custom model of a foundation model."""
    return bedrock_arn(region, f"{MODELS}/{id_of(base)}")


def _described(record: BedrockRecord) -> JsonObject:
    return {
        "modelArn": record.arn,
        "modelName": record.name,
        "creationTime": record.created,
        "modelStatus": record.status,
        "modelKmsKeyArn": record.request.get("modelKmsKeyArn"),
        "failureMessage": record.reason,
        **record.shown,
    }


def _get(region: Region, request: JsonObject) -> JsonObject:
    return _described(find(region, MODELS, request["modelIdentifier"], NOUN))


def _list(region: Region, request: JsonObject) -> JsonObject:
    owner = region.account.account_id
    rows = [{**_described(record), "ownerAccountId": owner} for record in all_of(region, MODELS)]
    for summary in rows:
        if base := summary.get("baseModelArn"):
            summary["baseModelName"] = id_of(base).partition(":")[0]
    if request.get("isOwned") is False:  # by others, who are not here
        rows = []
    equal = {
        "nameContains": "modelName",
        "baseModelArnEquals": "baseModelArn",
        "foundationModelArnEquals": "baseModelArn",
        "modelStatus": "modelStatus",
    }
    return page(request, rows, "modelSummaries", equal=equal)


def _delete(region: Region, request: JsonObject) -> JsonObject:
    record = find(region, MODELS, request["modelIdentifier"], NOUN, look=False)
    if record.status == "Creating":
        raise conflict(f"The custom model {record.name!r} is being created.")
    for table, noun in ((DEPLOYMENTS, "deployment"), ("provisioned-model", "Provisioned Throughput")):
        if any(record.arn in (one.shown.get("modelArn"), one.change.get("modelArn")) for one in all_of(region, table)):
            raise conflict(f"The custom model {record.name!r} is in use by a {noun}: delete this first.")
    forget(region, MODELS, record)
    return {}


# --- deployments -----------------------------------------------------------------------------------------------------


@once
def _deploy(region: Region, request: JsonObject) -> JsonObject:
    if named(region, DEPLOYMENTS, request["modelDeploymentName"]) is not None:
        raise invalid(f"A deployment with the name {request['modelDeploymentName']!r} already exists.")
    refuse_full(region, DEPLOYMENTS, "custom-model-deployments", "custom model deployments")
    _check_active(region, request["modelArn"])
    arn = bedrock_arn(region, DEPLOYMENTS)
    record = BedrockRecord(
        arn, request["modelDeploymentName"], request, region.now(), region.now(), "Creating", "Active"
    )
    record.wait, record.shown = region.wait(DEPLOYMENTS), {"modelArn": request["modelArn"]}
    keep(region, DEPLOYMENTS, record, request.get("tags"))
    return {"customModelDeploymentArn": arn}


def _check_active(region: Region, arn: str) -> None:
    model = find(region, MODELS, arn, NOUN, look=False)
    if model.status != "Active":
        raise invalid(f"The custom model {model.name!r} is {model.status}: it must be Active to be deployed.")


def _update_deployment(region: Region, request: JsonObject) -> JsonObject:
    record = find(region, DEPLOYMENTS, request["customModelDeploymentIdentifier"], _DEPLOYMENT, look=False)
    if record.status != "Active" or record.wait is not None:
        raise invalid(f"The deployment {record.name!r} is changing: try again when it is Active.")
    _check_active(region, request["modelArn"])
    details = {"modelArn": request["modelArn"], "updateStatus": "Updating"}
    record.shown |= {"updateDetails": details}
    record.change = {"modelArn": request["modelArn"], "updateDetails": {**details, "updateStatus": "UpdateCompleted"}}
    record.wait, record.modified = region.wait(f"{DEPLOYMENTS}-update", DEPLOYMENTS), region.now()
    return {"customModelDeploymentArn": record.arn}


def _shown_deployment(record: BedrockRecord) -> JsonObject:
    return {
        "customModelDeploymentArn": record.arn,
        "modelDeploymentName": record.name,
        "customModelDeploymentName": record.name,  # what the list calls it
        "createdAt": record.created,
        "lastUpdatedAt": record.modified,
        "status": record.status,
        "description": record.request.get("description"),
        "failureMessage": record.reason,
        **record.shown,
    }


def _get_deployment(region: Region, request: JsonObject) -> JsonObject:
    return _shown_deployment(find(region, DEPLOYMENTS, request["customModelDeploymentIdentifier"], _DEPLOYMENT))


def _list_deployments(region: Region, request: JsonObject) -> JsonObject:
    rows = map(_shown_deployment, all_of(region, DEPLOYMENTS))
    equal = {"nameContains": "modelDeploymentName", "statusEquals": "status", "modelArnEquals": "modelArn"}
    return page(request, rows, "modelDeploymentSummaries", time="createdAt", equal=equal)


def _delete_deployment(region: Region, request: JsonObject) -> JsonObject:
    record = find(region, DEPLOYMENTS, request["customModelDeploymentIdentifier"], _DEPLOYMENT, look=False)
    if record.status == "Creating":
        raise conflict(f"The deployment {record.name!r} is being created.")
    forget(region, DEPLOYMENTS, record)
    return {}


OPERATIONS: Mapping[str, Operation] = {
    "CreateCustomModel": _create,
    "GetCustomModel": _get,
    "ListCustomModels": _list,
    "DeleteCustomModel": _delete,
    "CreateCustomModelDeployment": _deploy,
    "UpdateCustomModelDeployment": _update_deployment,
    "GetCustomModelDeployment": _get_deployment,
    "ListCustomModelDeployments": _list_deployments,
    "DeleteCustomModelDeployment": _delete_deployment,
}
