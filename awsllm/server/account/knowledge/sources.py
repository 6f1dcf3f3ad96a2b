"""CreateDataSource and its family: AVAILABLE; DELETING -> gone. Any kind can be made; S3 and CUSTOM can be ingested."""

from __future__ import annotations

from collections.abc import Mapping

from awsllm.server.account.account import Operation, Region
from awsllm.server.account.bedrock_agent import conflict, made_before, new_id, page, shown
from awsllm.server.account.knowledge.records import (
    SOURCES,
    DataSourceRecord,
    KnowledgeBaseRecord,
    find_base,
    find_source,
    ongoing,
    settle_source,
    sources_of,
)
from awsllm.server.account.refusals import invalid
from awsllm.types import JsonObject

# The member that a type of source goes with; the others need none.
_CONFIGURATIONS = {
    "S3": "s3Configuration",
    "WEB": "webConfiguration",
    "CONFLUENCE": "confluenceConfiguration",
    "SALESFORCE": "salesforceConfiguration",
    "SHAREPOINT": "sharePointConfiguration",
}
_CHUNKING = {
    "FIXED_SIZE": "fixedSizeChunkingConfiguration",
    "HIERARCHICAL": "hierarchicalChunkingConfiguration",
    "SEMANTIC": "semanticChunkingConfiguration",
}


def _create(region: Region, request: JsonObject) -> JsonObject:
    base = find_base(region, request["knowledgeBaseId"])
    others = sources_of(region, base.id)
    if (before := made_before(others, request)) is not None:
        return {"dataSource": _shown(before)}
    refuse_unready(base)
    _check(request)
    _check_name(others, request["name"])
    now = region.now()
    source = DataSourceRecord(
        id=new_id(),
        base=base.id,
        shown={"dataDeletionPolicy": "DELETE", **shown(request)},
        created=now,
        modified=now,
        token=request.get("clientToken"),
    )
    region.state.table(SOURCES)[source.id] = source
    return {"dataSource": _shown(source)}


def refuse_unready(base: KnowledgeBaseRecord) -> None:
    if base.status in ("CREATING", "DELETING", "FAILED"):
        raise invalid(f"Knowledge Base {base.id} is in the status {base.status}: it must be ACTIVE.")


def _check(request: JsonObject) -> None:
    configuration = request["dataSourceConfiguration"]
    member = _CONFIGURATIONS.get(configuration["type"])
    if member is not None and configuration.get(member) is None:
        raise invalid(f"{member} is required for a data source of type {configuration['type']}.")
    chunking = _chunking(request) or {}
    strategy = chunking.get("chunkingStrategy")
    needed = _CHUNKING.get(strategy or "")
    if needed is not None and chunking.get(needed) is None:
        raise invalid(f"{needed} is required for the chunking strategy {strategy}.")
    if strategy == "NONE" and any(chunking.get(one) is not None for one in _CHUNKING.values()):
        raise invalid("The chunking strategy NONE has no configuration.")
    if strategy == "HIERARCHICAL":
        how = chunking["hierarchicalChunkingConfiguration"]
        large, small = (level["maxTokens"] for level in how["levelConfigurations"])
        if small >= large or how["overlapTokens"] >= small:
            raise invalid("Each level of hierarchical chunking must be smaller than the one above, its overlap, too.")


def _chunking(request: JsonObject) -> JsonObject | None:
    chunking: JsonObject | None = (request.get("vectorIngestionConfiguration") or {}).get("chunkingConfiguration")
    return chunking


def _check_name(others: list[DataSourceRecord], name: str) -> None:
    if any(source.shown["name"] == name for source in others):
        raise conflict(f"DataSource with name {name} already exists.")


def _get(region: Region, request: JsonObject) -> JsonObject:
    return {"dataSource": _shown(find_source(region, request, look=True))}


def _list(region: Region, request: JsonObject) -> JsonObject:
    base = find_base(region, request["knowledgeBaseId"])
    rows = [
        {
            "knowledgeBaseId": base.id,
            "dataSourceId": source.id,
            "name": source.shown["name"],
            "description": source.shown.get("description"),
            "status": source.status,
            "updatedAt": source.modified,
        }
        for source in sources_of(region, base.id)
    ]
    summaries, more = page(request, rows)
    return {"dataSourceSummaries": summaries, **more}


def _update(region: Region, request: JsonObject) -> JsonObject:
    source = find_source(region, request)
    _refuse_busy(region, source)
    _check(request)
    if request["dataSourceConfiguration"]["type"] != source.type:
        raise invalid("The type of a data source cannot be changed.")
    if "vectorIngestionConfiguration" in request and _chunking(request) != source.chunking:
        raise invalid("chunkingConfiguration cannot be changed after the data source was created.")
    _check_name([one for one in sources_of(region, source.base) if one is not source], request["name"])
    kept: JsonObject = {
        name: source.shown[name]
        for name in ("dataDeletionPolicy", "vectorIngestionConfiguration")
        if name in source.shown
    }
    source.shown = {**kept, **shown(request)}
    source.modified = region.now()
    return {"dataSource": _shown(source)}


def _delete(region: Region, request: JsonObject) -> JsonObject:
    source = find_source(region, request)
    _refuse_busy(region, source)
    source.status, source.wait = "DELETING", region.wait("data-source-delete")
    settle_source(region, source, look=False)
    return {"knowledgeBaseId": source.base, "dataSourceId": source.id, "status": "DELETING"}


def _refuse_busy(region: Region, source: DataSourceRecord) -> None:
    if source.wait is not None:
        raise conflict(f"DataSource {source.id} is in the status {source.status}.")
    if (job := ongoing(region, source.id)) is not None:
        raise conflict(f"DataSource {source.id} has an ongoing ingestion job: {job.id}.")


def _shown(source: DataSourceRecord) -> JsonObject:
    return {
        **source.shown,
        "knowledgeBaseId": source.base,
        "dataSourceId": source.id,
        "status": source.status,
        "createdAt": source.created,
        "updatedAt": source.modified,
    }


OPERATIONS: Mapping[str, Operation] = {
    "CreateDataSource": _create,
    "GetDataSource": _get,
    "ListDataSources": _list,
    "UpdateDataSource": _update,
    "DeleteDataSource": _delete,
}
