"""What an ingestion job does: it brings a knowledge base to what is in its data source.

Objects that are new or changed are read, cut and embedded, those that are gone are forgotten, all others are left; what
failed before is tried again. Nothing here looks at the clock or needs the account's lock while it reads and embeds:
what was made is put in its place at the end, at once.

Files are read by their formats, whatever ``parsingConfiguration`` and ``contextEnrichmentConfiguration`` say: those ask
further models at the service.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from awsllm.errors import AwsllmError
from awsllm.server.account.account import Account, Region
from awsllm.server.account.knowledge.chunking import Embed, UncuttableError, cut
from awsllm.server.account.knowledge.reading import UnreadableError, read_parts, suffix_of
from awsllm.server.account.knowledge.records import (
    DOCUMENTS,
    SOURCES,
    ChunkRecord,
    DataSourceRecord,
    DocumentRecord,
    IngestionJobRecord,
    document_key,
    documents_of,
    encode_vector,
    has_changed,
)
from awsllm.server.account.knowledge.sidecar import SUFFIX, Sidecar, SidecarError, read_sidecar
from awsllm.server.account.neighbours import ObjectStore
from awsllm.types import JsonObject
from awsllm.types.embedding import EmbedRequest

_BATCH = 128  # texts that are embedded at a time
_STOPPED = ("STOPPING", "STOPPED")
_MOST_REASONS, _LONGEST_REASON = 2048, 2048


class SyncError(Exception):
    """Why a job fails as a whole."""


@dataclass(slots=True)
class Draft:
    """A document that is being made, and what is embedded before its pieces."""

    document: DocumentRecord
    heading: str = ""


@dataclass(slots=True)
class _Changes:
    """What a job has found; ``reasons`` are of the documents that failed."""

    statistics: dict[str, int]
    drafts: list[Draft] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    reasons: dict[str, list[str]] = field(default_factory=dict)

    def count(self, name: str, many: int = 1) -> None:
        self.statistics[name] += many

    def failed(self, reason: str, uri: str) -> None:
        self.reasons.setdefault(reason, []).append(uri)


NO_STATISTICS = dict.fromkeys(
    (
        *("numberOfDocumentsScanned", "numberOfMetadataDocumentsScanned", "numberOfNewDocumentsIndexed"),
        *("numberOfModifiedDocumentsIndexed", "numberOfMetadataDocumentsModified", "numberOfDocumentsDeleted"),
        *("numberOfDocumentsFailed", "numberOfDocumentsSkipped"),
    ),
    0,
)


def run(region: Region, job: IngestionJobRecord) -> None:
    """Do what the job is for. Raises ``SyncError``, after which nothing has changed."""
    with region.account.lock:
        source: DataSourceRecord = region.state.table(SOURCES)[job.source]
        known = {document.key: document for document in documents_of(region, source.id)}
    embed = embedder(region.account)
    changes = _changes(objects(region.account), source, known, job, embed)
    embed_drafts(changes.drafts, embed)
    with region.account.lock:
        documents = region.state.table(DOCUMENTS)
        if source.id not in region.state.table(SOURCES):  # it was deleted meanwhile
            return
        keep(region, changes.drafts)
        for key in changes.gone:
            documents.pop(key, None)
        has_changed(region, source.base)
        job.statistics = changes.statistics
        job.reasons = list(_told(changes.reasons))


def keep(region: Region, drafts: Iterable[Draft]) -> None:
    """Put documents in their place."""
    for draft in drafts:
        draft.document.modified = region.now()
        region.state.table(DOCUMENTS)[draft.document.key] = draft.document


def _changes(
    store: ObjectStore,
    source: DataSourceRecord,
    known: Mapping[str, DocumentRecord],
    job: IngestionJobRecord,
    embed: Embed | None,
) -> _Changes:
    uris = _listed(store, source)
    sidecars = {uri for uri in uris if uri.endswith(SUFFIX)}
    files = [uri for uri in uris if uri not in sidecars]
    changes = _Changes(dict(NO_STATISTICS))
    changes.count("numberOfMetadataDocumentsScanned", len(sidecars))
    for uri in files:
        if job.status in _STOPPED:
            return changes
        changes.count("numberOfDocumentsScanned")
        before = known.get(document_key(source.id, "S3", uri))
        try:
            data = store.read(uri)
            aside = store.read(uri + SUFFIX) if uri + SUFFIX in sidecars else None
        except KeyError:  # deleted since it was listed: the next job finds it gone
            continue
        if before is not None and (before.content, before.sidecar) == (digest(data), digest(aside)):
            continue
        _count_metadata(changes, before, aside)
        draft = _draft(source, uri, (data, aside), embed, changes)
        changes.drafts.append(draft)
        if draft.document.reason is not None:
            changes.count("numberOfDocumentsFailed")
        elif before is None or not before.content:
            changes.count("numberOfNewDocumentsIndexed")
        elif before.content != digest(data):
            changes.count("numberOfModifiedDocumentsIndexed")
    kept = {document_key(source.id, "S3", uri) for uri in files}
    changes.gone = [key for key, one in known.items() if one.identifier["dataSourceType"] == "S3" and key not in kept]
    changes.count("numberOfDocumentsDeleted", len(changes.gone))
    return changes


def _count_metadata(changes: _Changes, before: DocumentRecord | None, aside: bytes | None) -> None:
    if before is not None and before.content and before.sidecar != digest(aside):
        changes.count("numberOfMetadataDocumentsModified")


def _listed(store: ObjectStore, source: DataSourceRecord) -> Sequence[str]:
    if source.type != "S3":
        raise SyncError(f"Offline, data sources of the type {source.type} are not read: there is S3, and CUSTOM.")
    if (source.shown.get("vectorIngestionConfiguration") or {}).get("customTransformationConfiguration"):
        raise SyncError("Offline, transformation functions are not run: leave out customTransformationConfiguration.")
    how = source.shown["dataSourceConfiguration"].get("s3Configuration") or {}
    bucket = str(how["bucketArn"]).rpartition(":::")[2]
    if not store.has_bucket(bucket):
        raise SyncError(f"The specified bucket does not exist: {bucket} (Service: S3, Status Code: 404)")
    prefixes = how.get("inclusionPrefixes") or [""]
    listed = [uri for prefix in prefixes for uri in store.list(f"s3://{bucket}/{prefix}")]
    return [uri for uri in dict.fromkeys(listed) if not uri.endswith("/")]  # placeholders of folders


def _draft(
    source: DataSourceRecord, uri: str, read: tuple[bytes, bytes | None], embed: Embed | None, changes: _Changes
) -> Draft:
    data, aside = read
    document = DocumentRecord(
        base=source.base,
        source=source.id,
        identifier={"dataSourceType": "S3", "s3": {"uri": uri}},
        status="INDEXED",
        modified=0.0,
    )
    sidecar = Sidecar()
    if aside is not None:
        try:
            sidecar = read_sidecar(aside)
        except SidecarError as error:  # the file counts without it
            changes.failed(f"Ignored a metadata file: {error}.", uri + SUFFIX)
    fill(document, (suffix_of(uri), data), sidecar, source.chunking, embed)
    if document.reason is None:
        document.content, document.sidecar = digest(data), digest(aside)
    else:
        changes.failed(document.reason, uri)
    return Draft(document, sidecar.heading)


def fill(
    document: DocumentRecord,
    file: tuple[str, bytes],
    sidecar: Sidecar,
    chunking: JsonObject | None,
    embed: Embed | None,
) -> None:
    """Cut a file (suffix and bytes) into the document's pieces. Where that cannot be, the document says why."""
    document.attributes, document.status, document.reason = dict(sidecar.attributes), "INDEXED", None
    try:
        for part in read_parts(*file, sidecar):
            for piece in cut(part.text, chunking, embed):
                parent = None if piece.parent is None else _place(document.parents, piece.parent)
                name = digest(f"{document.key} {len(document.chunks)}".encode())[:32]
                document.chunks.append(ChunkRecord(name, piece.text, dict(part.attributes), parent=parent))
    except UnreadableError as error:
        document.status, document.reason = "IGNORED" if error.ignored else "FAILED", f"{error}."
    except UncuttableError as error:
        document.status, document.reason = "FAILED", str(error)


def _place(parents: list[str], parent: str) -> int:
    """Where the parent stands: children follow one another."""
    if not parents or parents[-1] != parent:
        parents.append(parent)
    return len(parents) - 1


def embed_drafts(drafts: Sequence[Draft], embed: Embed | None) -> None:
    """Give each piece its vector. Raises ``SyncError`` where the model fails."""
    if embed is None:
        return
    pieces = [(draft.heading + chunk.text, chunk) for draft in drafts for chunk in draft.document.chunks]
    for start in range(0, len(pieces), _BATCH):
        batch = pieces[start : start + _BATCH]
        try:
            vectors = embed([text for text, _ in batch])
        except AwsllmError as error:
            raise SyncError(f"The embedding model failed: {error.message}") from error
        for (_, chunk), vector in zip(batch, vectors, strict=True):
            chunk.vector = encode_vector(vector)


def embedder(account: Account) -> Embed | None:
    """What gives texts their vectors; None where no model is at hand."""
    backend, model = account.backend, account.models.embed
    if backend is None or model is None:
        return None
    return lambda texts: backend.ask(EmbedRequest(model=model, texts=tuple(texts))).vectors


def objects(account: Account) -> ObjectStore:
    if account.objects is None:
        raise SyncError("There is no S3 beside this control plane.")
    return account.objects


def _told(reasons: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for reason, uris in list(reasons.items())[:_MOST_REASONS]:
        yield f"Encountered error: {reason} [Files: {', '.join(uris)}]"[:_LONGEST_REASON]


def digest(data: bytes | None) -> str:
    """What tells whether a file has changed; empty for none."""
    return "" if data is None else hashlib.sha256(data).hexdigest()
