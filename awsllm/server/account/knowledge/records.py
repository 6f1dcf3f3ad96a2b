"""What an account keeps of knowledge bases: plain values, which change in place.

What follows from the status of a base, a data source or a job has its time (``Wait``): whoever looks settles what is
due."""

from __future__ import annotations

import base64
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

from awsllm.server.account.account import Region
from awsllm.server.account.bedrock_agent import missing
from awsllm.server.account.state import Wait, kept
from awsllm.types import JsonObject

BASES, SOURCES, DOCUMENTS, JOBS = "knowledge-base", "data-source", "knowledge-base-document", "ingestion-job"
"""The tables."""
ONGOING = ("STARTING", "IN_PROGRESS", "STOPPING")
"""The states of a job that has not ended."""


@kept
@dataclass(slots=True)
class KnowledgeBaseRecord:
    """``shown`` is what Get shows beside ids, times and status. ``revision`` counts the changes of what it holds."""

    id: str
    arn: str
    shown: JsonObject
    created: float
    modified: float
    token: str | None = None
    status: str = "CREATING"
    wait: Wait | None = None
    reasons: list[str] = field(default_factory=list)
    revision: int = 0


@kept
@dataclass(slots=True)
class DataSourceRecord:
    """``base`` is the id of its knowledge base."""

    id: str
    base: str
    shown: JsonObject
    created: float
    modified: float
    token: str | None = None
    status: str = "AVAILABLE"
    wait: Wait | None = None

    @property
    def type(self) -> str:
        return str(self.shown["dataSourceConfiguration"]["type"])

    @property
    def chunking(self) -> JsonObject | None:
        chunking: JsonObject | None = (self.shown.get("vectorIngestionConfiguration") or {}).get(
            "chunkingConfiguration"
        )
        return chunking


@dataclass(slots=True)
class ChunkRecord:
    """A piece of a document. ``vector`` is in base64, of 32-bit numbers; ``parent`` the number of its parent."""

    id: str
    text: str
    attributes: JsonObject = field(default_factory=dict)
    vector: str = ""
    parent: int | None = None


@kept
@dataclass(slots=True)
class DocumentRecord:
    """``identifier`` is the wire's. ``content`` and ``sidecar`` are hashes of what it was made of. ``pending`` is the
    request of a document that is yet to be ingested, or None."""

    base: str
    source: str
    identifier: JsonObject
    status: str
    modified: float
    attributes: JsonObject = field(default_factory=dict)
    content: str = ""
    sidecar: str = ""
    reason: str | None = None
    chunks: list[ChunkRecord] = field(default_factory=list)
    parents: list[str] = field(default_factory=list)
    pending: JsonObject | None = None
    wait: Wait | None = None

    @property
    def address(self) -> str:
        """The S3 URI, or the id of a custom document."""
        found = self.identifier.get("s3") or self.identifier.get("custom") or {}
        return str(found.get("uri") or found.get("id"))

    @property
    def key(self) -> str:
        return document_key(self.source, self.identifier["dataSourceType"], self.address)


@kept
@dataclass(slots=True)
class IngestionJobRecord:
    base: str
    source: str
    id: str
    started: float
    modified: float
    description: str | None = None
    token: str | None = None
    status: str = "STARTING"
    wait: Wait | None = None
    statistics: dict[str, int] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)


def document_key(source: str, kind: str, address: str) -> str:
    return f"{source} {kind} {address}"


def encode_vector(vector: Sequence[float]) -> str:
    return base64.b64encode(array("f", vector).tobytes()).decode()


def decode_vector(text: str) -> array[float]:
    return array("f", base64.b64decode(text))


# --- what there is ---------------------------------------------------------------------------------------------------


def bases(region: Region) -> list[KnowledgeBaseRecord]:
    """All, settled."""
    for base in list(region.state.table(BASES).values()):
        settle_base(region, base, look=False)
    return list(region.state.table(BASES).values())


def find_base(region: Region, id: str, *, look: bool = False) -> KnowledgeBaseRecord:
    """Raises the refusal if there is none."""
    base: KnowledgeBaseRecord | None = region.state.table(BASES).get(id)
    if base is not None:
        settle_base(region, base, look=look)
    if base is None or id not in region.state.table(BASES):
        raise missing(f"Knowledge Base with id {id} does not exist")
    return base


def find_source(region: Region, request: JsonObject, *, look: bool = False) -> DataSourceRecord:
    """The data source that a request names, of a base that exists."""
    base = find_base(region, request["knowledgeBaseId"])
    source: DataSourceRecord | None = region.state.table(SOURCES).get(request["dataSourceId"])
    if source is not None and source.base == base.id:
        settle_source(region, source, look=look)
        if source.id in region.state.table(SOURCES):
            return source
    raise missing(f"DataSource with id {request['dataSourceId']} in Knowledge Base with id {base.id} does not exist")


def sources_of(region: Region, base: str) -> list[DataSourceRecord]:
    """Those of a base, settled."""
    for source in list(region.state.table(SOURCES).values()):
        settle_source(region, source, look=False)
    return [source for source in region.state.table(SOURCES).values() if source.base == base]


def documents_of(region: Region, source: str) -> list[DocumentRecord]:
    return [one for one in region.state.table(DOCUMENTS).values() if one.source == source]


def ongoing(region: Region, source: str) -> IngestionJobRecord | None:
    """The job of a data source that has not ended."""
    jobs: list[IngestionJobRecord] = list(region.state.table(JOBS).values())
    return next((job for job in jobs if job.source == source and job.status in ONGOING), None)


def has_changed(region: Region, base: str) -> None:
    """What a base holds is not what it was."""
    if base in region.state.table(BASES):
        region.state.table(BASES)[base].revision += 1


# --- how it goes on --------------------------------------------------------------------------------------------------


def _is_due(region: Region, wait: Wait | None, *, look: bool) -> bool:
    """Whether it ends now. A look counts; a glance (a list, a use) does not."""
    return wait is not None and (look or wait.looks <= 0) and wait.look(region.now())


def settle_base(region: Region, base: KnowledgeBaseRecord, *, look: bool) -> None:
    if not _is_due(region, base.wait, look=look):
        return
    base.wait, base.modified = None, region.now()
    if base.status == "DELETING":
        _forget_base(region, base)
        return
    failure = region.account.take_failure(base.shown["name"])
    base.reasons = [failure] if failure else []
    failed = "UPDATE_UNSUCCESSFUL" if base.status == "UPDATING" else "FAILED"
    base.status = failed if failure else "ACTIVE"


def settle_source(region: Region, source: DataSourceRecord, *, look: bool) -> None:
    """What a source retains of its documents stays in its base."""
    if not _is_due(region, source.wait, look=look):
        return
    source.wait = None
    del region.state.table(SOURCES)[source.id]
    _forget_jobs(region, source.id)
    if source.shown.get("dataDeletionPolicy") != "RETAIN":
        for document in documents_of(region, source.id):
            del region.state.table(DOCUMENTS)[document.key]
        has_changed(region, source.base)


def _forget_base(region: Region, base: KnowledgeBaseRecord) -> None:
    del region.state.table(BASES)[base.id]
    region.state.tags.pop(base.arn, None)
    for source in sources_of(region, base.id):
        del region.state.table(SOURCES)[source.id]
        _forget_jobs(region, source.id)
    for key in [key for key, document in region.state.table(DOCUMENTS).items() if document.base == base.id]:
        del region.state.table(DOCUMENTS)[key]


def _forget_jobs(region: Region, source: str) -> None:
    jobs = region.state.table(JOBS)
    for one in [one for one, job in jobs.items() if job.source == source]:
        del jobs[one]
