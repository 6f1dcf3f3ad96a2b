"""Documents that are ingested and deleted one by one: STARTING -> INDEXED | FAILED; DELETING -> NOT_FOUND.

User guide, "Ingest changes directly into a knowledge base": a document of a data source in S3 is named by its URI, one
of a CUSTOM source brings its text or names an object.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from awsllm.server.account.account import Operation, Region
from awsllm.server.account.bedrock_agent import page
from awsllm.server.account.knowledge import sync
from awsllm.server.account.knowledge.reading import suffix_of
from awsllm.server.account.knowledge.records import (
    DOCUMENTS,
    SOURCES,
    DataSourceRecord,
    DocumentRecord,
    document_key,
    documents_of,
    find_base,
    find_source,
    has_changed,
)
from awsllm.server.account.knowledge.sidecar import SUFFIX, Sidecar, SidecarError, read_sidecar, typed_value
from awsllm.server.account.knowledge.sources import refuse_unready
from awsllm.server.account.refusals import invalid
from awsllm.types import JsonObject

_KINDS = ("S3", "CUSTOM")


def _ingest(region: Region, request: JsonObject) -> JsonObject:
    source = _source(region, request)
    refuse_unready(find_base(region, source.base))
    made = [_requested(region, source, one) for one in request["documents"]]
    if len({document.key for document in made}) != len(made):
        raise invalid("Each document of a request must have an identifier of its own.")
    for document in made:
        region.state.table(DOCUMENTS)[document.key] = document
    has_changed(region, source.base)
    details = [_detail(document) for document in made]
    for document in made:
        settle(region, document, look=False)
    return {"documentDetails": details}


def _source(region: Region, request: JsonObject) -> DataSourceRecord:
    source = find_source(region, request)
    if source.type not in _KINDS:
        raise invalid(f"Documents are ingested directly into data sources of S3 and CUSTOM, not of {source.type}.")
    return source


def _requested(region: Region, source: DataSourceRecord, request: JsonObject) -> DocumentRecord:
    """The document as it was requested; what the request says is looked at when it is due."""
    content, metadata = request["content"], request.get("metadata") or {}
    if metadata.get("type") == "S3_LOCATION":
        _member(metadata, "s3Location")
    if metadata.get("accessControlList"):
        raise invalid("Offline, who may read a document is not looked at: leave out accessControlList.")
    if content["dataSourceType"] != source.type:
        raise invalid(f"dataSourceType {content['dataSourceType']} does not match the data source's, {source.type}.")
    if source.type == "S3":
        if metadata.get("type") == "IN_LINE_ATTRIBUTE":
            raise invalid("A document of a data source in S3 has its metadata in S3, not in the request.")
        identifier = {"dataSourceType": "S3", "s3": {"uri": _member(content, "s3", "s3Location")["uri"]}}
    else:
        custom = _member(content, "custom")
        _member(custom, "s3Location" if custom["sourceType"] == "S3_LOCATION" else "inlineContent")
        identifier = {"dataSourceType": "CUSTOM", "custom": {"id": custom["customDocumentIdentifier"]["id"]}}
    return DocumentRecord(
        base=source.base,
        source=source.id,
        identifier=identifier,
        status="STARTING",
        modified=region.now(),
        pending=request,
        wait=region.wait("ingestion"),
    )


def _member(value: JsonObject, *path: str) -> JsonObject:
    for name in path:
        if value.get(name) is None:
            raise invalid(f"{name} is required by the type that the document says.")
        value = value[name]
    return value


def settle(region: Region, document: DocumentRecord, *, look: bool) -> None:
    """Ingest or delete the document if its time has come."""
    wait = document.wait
    if wait is None or (not look and wait.looks > 0) or not wait.look(region.now()):
        return
    document.wait = None
    if document.status == "DELETING":
        region.state.table(DOCUMENTS).pop(document.key, None)
    else:
        region.state.table(DOCUMENTS)[document.key] = _made(region, document)
    has_changed(region, document.base)


def _made(region: Region, requested: DocumentRecord) -> DocumentRecord:
    """What was requested, in one piece: who searches meanwhile finds all of it or nothing."""
    request = requested.pending or {}
    document = replace(requested, pending=None, modified=region.now(), chunks=[], parents=[])
    source: DataSourceRecord | None = region.state.table(SOURCES).get(document.source)
    embed = sync.embedder(region.account)
    try:
        file = _file(region, request["content"])
        aside = _aside(region, request)
        sidecar = _inline(request) if aside is None else read_sidecar(aside)
        sync.fill(document, file, sidecar, source.chunking if source else None, embed)
        sync.embed_drafts([sync.Draft(document, sidecar.heading)], embed)
        if document.reason is None and request["content"]["dataSourceType"] == "S3":  # a job finds it as it is
            document.content, document.sidecar = sync.digest(file[1]), sync.digest(aside)
    except (sync.SyncError, SidecarError) as error:
        document.status, document.reason = "FAILED", str(error)
    return document


def _file(region: Region, content: JsonObject) -> tuple[str, bytes]:
    """Suffix and bytes. Raises ``SyncError``."""
    if content["dataSourceType"] == "S3":
        uri = content["s3"]["s3Location"]["uri"]
        return suffix_of(uri), _read(region, uri)
    custom = content["custom"]
    if custom["sourceType"] == "S3_LOCATION":
        uri = custom["s3Location"]["uri"]
        return suffix_of(uri), _read(region, uri)
    inline = custom["inlineContent"]
    if inline["type"] == "TEXT":
        return "txt", str((inline.get("textContent") or {}).get("data", "")).encode()
    given = inline.get("byteContent") or {}
    try:
        return suffix_of("", given.get("mimeType", "")), binascii.a2b_base64(given.get("data", ""), strict_mode=True)
    except ValueError:
        raise sync.SyncError("byteContent.data is not base64.") from None


def _aside(region: Region, request: JsonObject) -> bytes | None:
    """The metadata file, where there is one. Raises ``SyncError`` for one that is named and is not there."""
    metadata, content = request.get("metadata") or {}, request["content"]
    if metadata.get("type") == "S3_LOCATION":
        return _read(region, _member(metadata, "s3Location")["uri"])
    if metadata or content["dataSourceType"] != "S3":
        return None
    uri = content["s3"]["s3Location"]["uri"] + SUFFIX
    return _read(region, uri) if _is_there(region, uri) else None


def _inline(request: JsonObject) -> Sidecar:
    """Raises ``SidecarError``."""
    given: list[Any] = (request.get("metadata") or {}).get("inlineAttributes") or []
    return Sidecar({one["key"]: typed_value(one["value"]) for one in given})


def _is_there(region: Region, uri: str) -> bool:
    return uri in sync.objects(region.account).list(uri)


def _read(region: Region, uri: str) -> bytes:
    try:
        return sync.objects(region.account).read(uri)
    except KeyError:
        raise sync.SyncError(f"The specified key does not exist: {uri}") from None


# --- reading and deleting --------------------------------------------------------------------------------------------


def _get(region: Region, request: JsonObject) -> JsonObject:
    source = _source(region, request)
    return {"documentDetails": [_found(region, source, one, look=True) for one in request["documentIdentifiers"]]}


def _found(region: Region, source: DataSourceRecord, identifier: JsonObject, *, look: bool) -> JsonObject:
    document = _known(region, source, identifier)
    if document is not None:
        settle(region, document, look=look)
        document = _known(region, source, identifier)
    if document is None:
        return {**_place(source), "identifier": identifier, "status": "NOT_FOUND"}
    return _detail(document)


def _known(region: Region, source: DataSourceRecord, identifier: JsonObject) -> DocumentRecord | None:
    kind = identifier["dataSourceType"]
    if kind != source.type:
        raise invalid(f"dataSourceType {kind} does not match the data source's, {source.type}.")
    named = _member(identifier, "s3" if kind == "S3" else "custom")
    address = named["uri" if kind == "S3" else "id"]
    found: DocumentRecord | None = region.state.table(DOCUMENTS).get(document_key(source.id, kind, address))
    return found


def _list(region: Region, request: JsonObject) -> JsonObject:
    source = _source(region, request)
    for document in documents_of(region, source.id):
        settle(region, document, look=False)
    rows, more = page(request, documents_of(region, source.id))
    return {"documentDetails": [_detail(document) for document in rows], **more}


def _delete(region: Region, request: JsonObject) -> JsonObject:
    source = _source(region, request)
    details = []
    for identifier in request["documentIdentifiers"]:
        document = _known(region, source, identifier)
        if document is None:
            details.append(_found(region, source, identifier, look=False))
            continue
        document.status, document.wait, document.modified = "DELETING", region.wait("ingestion"), region.now()
        has_changed(region, document.base)
        details.append(_detail(document))
        settle(region, document, look=False)
    return {"documentDetails": details}


def _place(source: DataSourceRecord) -> JsonObject:
    return {"knowledgeBaseId": source.base, "dataSourceId": source.id}


def _detail(document: DocumentRecord) -> JsonObject:
    return {
        "knowledgeBaseId": document.base,
        "dataSourceId": document.source,
        "identifier": document.identifier,
        "status": document.status,
        "statusReason": document.reason,
        "updatedAt": document.modified,
    }


OPERATIONS: Mapping[str, Operation] = {
    "IngestKnowledgeBaseDocuments": _ingest,
    "GetKnowledgeBaseDocuments": _get,
    "ListKnowledgeBaseDocuments": _list,
    "DeleteKnowledgeBaseDocuments": _delete,
}
