"""Prompt routers of the account. The service's own default ones, whose models have ended, are not here; what is routed
through one goes to its fallback model."""

from __future__ import annotations

from collections.abc import Mapping

from awsllm.models.catalogue import row
from awsllm.server.account.account import Operation, Region
from awsllm.server.account.bedrock.pages import page
from awsllm.server.account.bedrock.records import (
    BedrockRecord,
    all_of,
    bedrock_arn,
    find,
    forget,
    keep,
    once,
    refuse_full,
    refuse_taken,
)
from awsllm.server.account.bedrock.refusals import missing
from awsllm.server.account.refusals import invalid
from awsllm.types import JsonObject

ROUTERS = "prompt-router"
_NOUN = "prompt router"
_MODELS = 2  # that a router chooses between


@once
def _create(region: Region, request: JsonObject) -> JsonObject:
    refuse_taken(region, ROUTERS, request["promptRouterName"], _NOUN)
    refuse_full(region, ROUTERS, "prompt-routers", "prompt routers")
    arns = [model["modelArn"] for model in request["models"]]
    fallback = request["fallbackModel"]["modelArn"]
    for arn in (*arns, fallback):
        if row(arn) is None:
            raise missing("model", arn)
    if len(set(arns)) != _MODELS or fallback not in arns:
        raise invalid("A prompt router has two models, one of which is its fallbackModel.")
    record = BedrockRecord(
        bedrock_arn(region, ROUTERS), request["promptRouterName"], request, region.now(), region.now(), "AVAILABLE"
    )
    keep(region, ROUTERS, record, request.get("tags"))
    return {"promptRouterArn": record.arn}


def _described(record: BedrockRecord) -> JsonObject:
    members = ("routingCriteria", "description", "models", "fallbackModel")
    return {
        "promptRouterName": record.name,
        **{name: record.request.get(name) for name in members},
        "createdAt": record.created,
        "updatedAt": record.modified,
        "promptRouterArn": record.arn,
        "status": record.status,
        "type": "custom",
    }


def _get(region: Region, request: JsonObject) -> JsonObject:
    return _described(find(region, ROUTERS, request["promptRouterArn"], _NOUN))


def _list(region: Region, request: JsonObject) -> JsonObject:
    rows = map(_described, all_of(region, ROUTERS))
    return page(request, rows, "promptRouterSummaries", time="createdAt", equal={"type": "type"})


def _delete(region: Region, request: JsonObject) -> JsonObject:
    forget(region, ROUTERS, find(region, ROUTERS, request["promptRouterArn"], _NOUN))
    return {}


OPERATIONS: Mapping[str, Operation] = {
    "CreatePromptRouter": _create,
    "GetPromptRouter": _get,
    "ListPromptRouters": _list,
    "DeletePromptRouter": _delete,
}
