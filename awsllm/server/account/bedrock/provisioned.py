"""Provisioned throughput: model units for a foundation model or a custom one, with a commitment or without."""

from __future__ import annotations

from collections.abc import Mapping

from awsllm.models.catalogue import row
from awsllm.server.account.account import Operation, Region
from awsllm.server.account.bedrock import custom
from awsllm.server.account.bedrock.foundation import foundation_arn
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
    refuse_taken,
)
from awsllm.server.account.bedrock.refusals import conflict, missing, over_quota
from awsllm.server.account.refusals import invalid
from awsllm.types import JsonObject

PROVISIONED = "provisioned-model"
UNITS = "model-units"
"""The quota of an account's model units. Without it there is no limit, as AWS gives none by default."""
_NOUN = "Provisioned Throughput"
_DAY = 86_400.0
_COMMITMENTS = {"OneMonth": 30 * _DAY, "SixMonths": 180 * _DAY}


@once
def _create(region: Region, request: JsonObject) -> JsonObject:
    refuse_taken(region, PROVISIONED, request["provisionedModelName"], _NOUN)
    _check_units(region, request["modelUnits"])
    model, foundation = _model(region, request["modelId"])
    arn, now = bedrock_arn(region, PROVISIONED), region.now()
    record = BedrockRecord(arn, request["provisionedModelName"], request, now, now, "Creating", "InService")
    record.wait = region.wait("provisioned-throughput")
    record.shown = {"modelArn": model, "desiredModelArn": model, "foundationModelArn": foundation}
    keep(region, PROVISIONED, record, request.get("tags"))
    return {"provisionedModelArn": arn}


def _check_units(region: Region, wanted: int) -> None:
    most = region.account.quotas.get(UNITS)
    used = sum(one.request["modelUnits"] for one in all_of(region, PROVISIONED))
    if most is not None and used + wanted > most:
        raise over_quota(f"The account has {most} model units, of which {used} are used; {wanted} more were requested.")


def _model(region: Region, identifier: str) -> tuple[str, str | None]:
    """The ARNs of a model and of the foundation model behind it."""
    record = named(region, custom.MODELS, identifier)
    if record is not None:
        if record.status != "Active":
            raise invalid(f"The custom model {record.name!r} is {record.status}: it must be Active.")
        return record.arn, record.shown.get("baseModelArn")
    if row(identifier) is None:
        raise missing("model", identifier)
    arn = foundation_arn(region, id_of(identifier))
    return arn, arn


def _update(region: Region, request: JsonObject) -> JsonObject:
    record = find(region, PROVISIONED, request["provisionedModelId"], _NOUN, look=False)
    if record.status != "InService":
        raise invalid(f"The Provisioned Throughput {record.name!r} is {record.status}: it must be InService.")
    name, model = request.get("desiredProvisionedModelName"), request.get("desiredModelId")
    if name is not None and name != record.name:
        refuse_taken(region, PROVISIONED, name, _NOUN)
    if model is not None:
        _move(region, record, model)
    record.name, record.modified = name or record.name, region.now()
    return {}


def _move(region: Region, record: BedrockRecord, model: str) -> None:
    if f":{custom.MODELS}/" not in record.shown["modelArn"]:
        raise invalid("The model of a Provisioned Throughput for a base model cannot be changed.")
    wanted, foundation = _model(region, model)
    if foundation != record.shown["foundationModelArn"]:
        raise invalid("The desired model must have the base model of the present one.")
    record.shown |= {"desiredModelArn": wanted}
    record.change, record.status, record.ready = {"modelArn": wanted}, "Updating", "InService"
    record.wait = region.wait("provisioned-throughput-update", "provisioned-throughput")


def _described(record: BedrockRecord) -> JsonObject:
    units, commitment = record.request["modelUnits"], record.request.get("commitmentDuration")
    return {
        "modelUnits": units,
        "desiredModelUnits": units,
        "provisionedModelName": record.name,
        "provisionedModelArn": record.arn,
        "status": record.status,
        "creationTime": record.created,
        "lastModifiedTime": record.modified,
        "failureMessage": record.reason,
        "commitmentDuration": commitment,
        "commitmentExpirationTime": record.created + _COMMITMENTS[commitment] if commitment else None,
        **record.shown,
    }


def _get(region: Region, request: JsonObject) -> JsonObject:
    return _described(find(region, PROVISIONED, request["provisionedModelId"], _NOUN))


def _list(region: Region, request: JsonObject) -> JsonObject:
    rows = map(_described, all_of(region, PROVISIONED))
    equal = {"statusEquals": "status", "nameContains": "provisionedModelName", "modelArnEquals": "modelArn"}
    return page(request, rows, "provisionedModelSummaries", equal=equal)


def _delete(region: Region, request: JsonObject) -> JsonObject:
    record = find(region, PROVISIONED, request["provisionedModelId"], _NOUN, look=False)
    if record.wait is not None:
        raise conflict(f"The Provisioned Throughput {record.name!r} is {record.status}.")
    ends = _described(record)["commitmentExpirationTime"]
    if ends is not None and region.now() < ends:
        raise conflict("A Provisioned Throughput cannot be deleted before its commitment is over.")
    forget(region, PROVISIONED, record)
    return {}


OPERATIONS: Mapping[str, Operation] = {
    "CreateProvisionedModelThroughput": _create,
    "UpdateProvisionedModelThroughput": _update,
    "GetProvisionedModelThroughput": _get,
    "ListProvisionedModelThroughputs": _list,
    "DeleteProvisionedModelThroughput": _delete,
}
