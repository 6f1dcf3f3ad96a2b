"""CreateKnowledgeBase and its family: CREATING -> ACTIVE | FAILED; UPDATING -> ACTIVE; DELETING -> gone.

The vector store is a record: what is ingested is kept by the account, whatever store is named.
"""

from __future__ import annotations

from collections.abc import Mapping

from awsllm.server.account.account import Operation, Region
from awsllm.server.account.bedrock_agent import SERVICE, conflict, made_before, new_id, page, shown
from awsllm.server.account.knowledge.records import (
    BASES,
    KnowledgeBaseRecord,
    bases,
    find_base,
    ongoing,
    settle_base,
    sources_of,
)
from awsllm.server.account.refusals import invalid
from awsllm.types import JsonObject

# The member that a type of configuration goes with.
_CONFIGURATIONS = {
    "VECTOR": "vectorKnowledgeBaseConfiguration",
    "KENDRA": "kendraKnowledgeBaseConfiguration",
    "SQL": "sqlKnowledgeBaseConfiguration",
    "MANAGED": "managedKnowledgeBaseConfiguration",
}
_STORES = {
    "OPENSEARCH_SERVERLESS": "opensearchServerlessConfiguration",
    "OPENSEARCH_MANAGED_CLUSTER": "opensearchManagedClusterConfiguration",
    "PINECONE": "pineconeConfiguration",
    "REDIS_ENTERPRISE_CLOUD": "redisEnterpriseCloudConfiguration",
    "RDS": "rdsConfiguration",
    "MONGO_DB_ATLAS": "mongoDbAtlasConfiguration",
    "NEPTUNE_ANALYTICS": "neptuneAnalyticsConfiguration",
    "S3_VECTORS": "s3VectorsConfiguration",
}
_FIXED = ("knowledgeBaseConfiguration", "storageConfiguration")


def _create(region: Region, request: JsonObject) -> JsonObject:
    existing = bases(region)
    if (before := made_before(existing, request)) is not None:
        return {"knowledgeBase": _shown(before)}
    _check(request)
    _check_name(existing, request["name"])
    made, now = new_id(), region.now()
    base = KnowledgeBaseRecord(
        id=made,
        arn=region.arn(BASES, made, service=SERVICE),
        shown=shown(request),
        created=now,
        modified=now,
        token=request.get("clientToken"),
        wait=region.wait("knowledge-base"),
    )
    region.begin(BASES)
    region.state.table(BASES)[made] = base
    region.state.tags[base.arn] = dict(request.get("tags") or {})
    response = {"knowledgeBase": _shown(base)}
    settle_base(region, base, look=False)
    return response


def _check(request: JsonObject) -> None:
    configuration = request["knowledgeBaseConfiguration"]
    member = _CONFIGURATIONS[configuration["type"]]
    if configuration["type"] != "MANAGED" and configuration.get(member) is None:
        raise invalid(f"{member} is required for a knowledge base of type {configuration['type']}.")
    storage = request.get("storageConfiguration")
    if storage is None:
        if configuration["type"] == "VECTOR":
            raise invalid("storageConfiguration is required for a knowledge base of type VECTOR.")
    elif storage.get(_STORES[storage["type"]]) is None:
        raise invalid(f"{_STORES[storage['type']]} is required for a storage configuration of type {storage['type']}.")


def _check_name(others: list[KnowledgeBaseRecord], name: str) -> None:
    if any(base.shown["name"] == name for base in others):
        raise conflict(f"KnowledgeBase with name {name} already exists.")


def _get(region: Region, request: JsonObject) -> JsonObject:
    return {"knowledgeBase": _shown(find_base(region, request["knowledgeBaseId"], look=True))}


def _list(region: Region, request: JsonObject) -> JsonObject:
    rows = [
        {
            "knowledgeBaseId": base.id,
            "name": base.shown["name"],
            "description": base.shown.get("description"),
            "status": base.status,
            "updatedAt": base.modified,
        }
        for base in bases(region)
    ]
    summaries, more = page(request, rows)
    return {"knowledgeBaseSummaries": summaries, **more}


def _update(region: Region, request: JsonObject) -> JsonObject:
    base = find_base(region, request["knowledgeBaseId"])
    _refuse_changing(base)
    for member in _FIXED:
        if member in request and request[member] != base.shown.get(member):
            raise invalid(f"{member} cannot be changed after the knowledge base was created.")
    _check_name([one for one in bases(region) if one is not base], request["name"])
    kept = {name: base.shown[name] for name in (*_FIXED, "metadataConfigurations") if name in base.shown}
    changed = {name: value for name, value in shown(request).items() if name != "knowledgeBaseId"}
    base.shown = {**kept, **changed}
    base.status, base.wait, base.modified = "UPDATING", region.wait("knowledge-base"), region.now()
    response = {"knowledgeBase": _shown(base)}
    settle_base(region, base, look=False)
    return response


def _delete(region: Region, request: JsonObject) -> JsonObject:
    base = find_base(region, request["knowledgeBaseId"])
    _refuse_changing(base)
    for source in sources_of(region, base.id):
        if (job := ongoing(region, source.id)) is not None:
            raise conflict(f"Knowledge Base {base.id} has an ongoing ingestion job: {job.id}.")
    base.status, base.wait = "DELETING", region.wait("knowledge-base-delete", "knowledge-base")
    settle_base(region, base, look=False)
    return {"knowledgeBaseId": base.id, "status": "DELETING"}


def _refuse_changing(base: KnowledgeBaseRecord) -> None:
    if base.wait is not None:
        raise conflict(f"Knowledge Base {base.id} is in the status {base.status}.")


def _shown(base: KnowledgeBaseRecord) -> JsonObject:
    return {
        **base.shown,
        "knowledgeBaseId": base.id,
        "knowledgeBaseArn": base.arn,
        "status": base.status,
        "createdAt": base.created,
        "updatedAt": base.modified,
        "failureReasons": list(base.reasons) or None,
    }


OPERATIONS: Mapping[str, Operation] = {
    "CreateKnowledgeBase": _create,
    "GetKnowledgeBase": _get,
    "ListKnowledgeBases": _list,
    "UpdateKnowledgeBase": _update,
    "DeleteKnowledgeBase": _delete,
}
