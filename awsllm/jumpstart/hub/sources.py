"""Where JumpStart's documents come from: the hub API, the S3 cache, a private hub, a directory.

Each source lists what it has (``ListingEntry``: one version of one model, as a listing tells it) and gives one document
as it came, which it can also read. A source does I/O and knows nothing of caching; ``cache.py`` stands before it.

The hub's listing holds each model's newest version, the S3 manifest and a directory every version. Only a
directory's says whether a model is gated or can be fine-tuned: that is in the documents.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from awsllm.aws.control import translated
from awsllm.errors import AwsllmError, ConfigurationError, ModelNotFoundError
from awsllm.jumpstart.hub import files
from awsllm.jumpstart.hub.document import ModelDocument, keyword, read_description, read_spec
from awsllm.jumpstart.hub.spec import Buckets
from awsllm.types import JsonObject, JsonValue, Value
from awsllm.wire.endpoint.detect import PUBLIC_HUB

_T = TypeVar("_T")

PAGE = 100  # the most that ListHubContents gives at once (service model, ``MaxResults``)
MANIFESTS = {"models_manifest.json": False, "proprietary-sdk-manifest.json": True}
"""In the content bucket; whether the models are proprietary (Marketplace)."""


class ListingEntry(Value, frozen=True, kw_only=True):
    """One version of one model as a listing tells it: None is what the listing does not say. ``locator`` is the
    document's key or file."""

    model_id: str
    version: str
    display_name: str | None = None
    description: str | None = None
    provider: str | None = None
    task: str | None = None
    framework: str | None = None
    license: str | None = None
    keywords: tuple[str, ...] = ()
    support_status: str | None = None
    proprietary: bool | None = None
    gated: bool | None = None
    trainable: bool | None = None
    locator: str | None = None

    @property
    def freshness(self) -> tuple[bool, tuple[tuple[int, int | str], ...]]:
        """The newest version is the greatest; a deprecated one only where there is no other."""
        return self.support_status != "Deprecated", version_key(self.version)


class Listing(Value, frozen=True, kw_only=True, dict=True):
    """``etag`` names this state of the listing, where the source has such a name."""

    entries: tuple[ListingEntry, ...]
    etag: str | None = None

    @cached_property
    def _by_model(self) -> dict[str, list[ListingEntry]]:
        """Thousands of models are looked up one by one."""
        found: dict[str, list[ListingEntry]] = {}
        for entry in self.entries:
            found.setdefault(entry.model_id, []).append(entry)
        return found

    def versions(self, model_id: str) -> tuple[str, ...]:
        """Newest first."""
        found = {entry.version for entry in self._by_model.get(model_id, ())}
        return tuple(sorted(found, key=version_key, reverse=True))

    def find(self, model_id: str, version: str | None) -> ListingEntry:
        """The entry of the version, or of the newest; ``ModelNotFoundError`` where there is none."""
        found = [entry for entry in self._by_model.get(model_id, ()) if version in (None, entry.version)]
        if not found:
            raise ModelNotFoundError(f"no model {model_id!r}" + (f" of version {version}" if version else ""))
        return max(found, key=lambda entry: entry.freshness)


Listed = Callable[[], Listing]
"""A source's listing, cached and fetched when it is needed."""


class Source(Protocol):
    """``kind`` becomes ``ModelDocument.source``; ``label`` names the source in messages; ``place`` names it in the
    cache, None where it must not be kept beyond this process."""

    kind: str
    label: str
    place: str | None

    def listing(self, etag: str | None) -> Listing | None:
        """What there is; None where that is still what ``etag`` names."""

    def versions(self, model_id: str, listed: Listed) -> tuple[str, ...]:
        """Newest first; empty for a model that is not there."""

    def document(self, model_id: str, version: str | None, listed: Listed) -> JsonObject:
        """The document as it came, the newest without a version; ``ModelNotFoundError`` where there is none."""

    def read(self, raw: JsonObject, listed: Listed) -> ModelDocument: ...


def version_key(version: str) -> tuple[tuple[int, int | str], ...]:
    """Orders versions: numbers as numbers, and before words."""
    return tuple((1, int(part)) if part.isdigit() else (0, part) for part in version.split("."))


def is_missing(error: AwsllmError) -> bool:
    """Whether a service said that what was asked for is not there. SageMaker says so with status 400."""
    return isinstance(error, ModelNotFoundError) or error.code in ("ResourceNotFound", "ResourceNotFoundException")


# --- a hub -----------------------------------------------------------------------------------------------------------


class SageMakerHub:
    """A SageMaker hub: the public one, or a private one by name or ARN.

    A private hub holds references to public models and models of its own: two types of content, tried in this order.
    Only an ARN says whose hub it is, so one given by name is not kept beyond this process.
    """

    def __init__(self, client: Any, region: str, hub: str = PUBLIC_HUB) -> None:
        public = hub.rpartition("/")[2] == PUBLIC_HUB
        self.kind = "hub" if public else "private-hub"
        self.label = f"the hub {hub}" + ("" if hub.startswith("arn:") else f" in {region}")
        self.place = None if not public and not hub.startswith("arn:") else f"hub/{region}/{hub}"
        self._client = client
        self._region = region
        self._hub = hub
        self._types = ("Model",) if public else ("ModelReference", "Model")

    def listing(self, etag: str | None) -> Listing | None:
        found: dict[str, ListingEntry] = {}
        for kind in self._types:
            for summary in self._pages("list_hub_contents", HubContentType=kind):
                found.setdefault(str(summary.get("HubContentName")), _hub_entry(summary))
        return Listing(entries=tuple(found.values()))

    def versions(self, model_id: str, listed: Listed) -> tuple[str, ...]:
        def versions_of(kind: str) -> tuple[str, ...]:
            pages = self._pages("list_hub_content_versions", HubContentType=kind, HubContentName=model_id)
            found = {str(summary["HubContentVersion"]) for summary in pages if summary.get("HubContentVersion")}
            return tuple(sorted(found, key=version_key, reverse=True))

        return self._first_type(versions_of)

    def document(self, model_id: str, version: str | None, listed: Listed) -> JsonObject:
        exact = {"HubContentVersion": version} if version else {}

        def describe(kind: str) -> JsonObject:
            with translated():
                response = self._client.describe_hub_content(
                    HubName=self._hub, HubContentType=kind, HubContentName=model_id, **exact
                )
            return _plain(response)

        return self._first_type(describe)

    def read(self, raw: JsonObject, listed: Listed) -> ModelDocument:
        return read_description(raw, region=self._region, source=self.kind)

    def _first_type(self, ask: Callable[[str], _T]) -> _T:
        """The answer for the first type of content of which there is this name."""
        for kind in self._types[:-1]:
            try:
                return ask(kind)
            except AwsllmError as error:
                if not is_missing(error):
                    raise
        return ask(self._types[-1])

    def _pages(self, operation: str, **request: str) -> Iterator[JsonObject]:
        """Every summary: boto3 has no paginator for these operations."""
        token: str | None = None
        while True:
            more = {"NextToken": token} if token else {}
            with translated():
                page = getattr(self._client, operation)(HubName=self._hub, MaxResults=PAGE, **request, **more)
            yield from page.get("HubContentSummaries", ())
            last, token = token, page.get("NextToken")
            if not token or token == last:
                return


def _hub_entry(summary: JsonObject) -> ListingEntry:
    return ListingEntry(
        model_id=str(summary.get("HubContentName")),
        version=str(summary.get("HubContentVersion")),
        display_name=summary.get("HubContentDisplayName"),
        description=summary.get("HubContentDescription"),
        keywords=_words(summary.get("HubContentSearchKeywords")),
        support_status=summary.get("SupportStatus"),
    )


def _plain(response: JsonObject) -> JsonObject:
    """The answer without boto3's own members, times as text, so that it is the same from the cache."""
    kept = {name: value for name, value in response.items() if name != "ResponseMetadata"}
    plain: JsonObject = msgspec.json.decode(msgspec.json.encode(kept))
    return plain


# --- the S3 cache ----------------------------------------------------------------------------------------------------


class S3Cache:
    """The manifests and documents that JumpStart publishes in S3, read without credentials."""

    kind = "cache"

    def __init__(self, client: Any, region: str) -> None:
        self.label = f"JumpStart's S3 cache in {region}"
        self._client = client
        self._region = region
        self._buckets = Buckets.of(region)
        self.place: str | None = f"s3/{self._buckets.content}"

    def listing(self, etag: str | None) -> Listing | None:
        """The first manifest has to be there. The etags of both make the listing's; where one changed, both are
        read."""
        known = dict(zip(MANIFESTS, (etag or "").split(","), strict=False))
        if etag and all(self._unchanged(key, known.get(key, "")) for key in MANIFESTS):
            return None
        entries: list[ListingEntry] = []
        etags: list[str] = []
        for place, (key, proprietary) in enumerate(MANIFESTS.items()):
            try:
                rows, tag = self._get(key)
            except AwsllmError as error:
                if place == 0 and is_missing(error):  # no answer about a model: there is no cache where it should be
                    where = f"s3://{self._buckets.content}/{key}"
                    raise ConfigurationError(f"{where} is not there: {error.message}", code=error.code) from error
                if place == 0 or not _is_absent(error):
                    raise
                rows, tag = [], ""
            entries += _manifest_entries(rows, proprietary=proprietary)
            etags.append(tag)
        return Listing(entries=tuple(entries), etag=",".join(etags))

    def versions(self, model_id: str, listed: Listed) -> tuple[str, ...]:  # the manifest holds every version
        return listed().versions(model_id)

    def document(self, model_id: str, version: str | None, listed: Listed) -> JsonObject:
        entry = listed().find(model_id, version)
        spec, _ = self._get(entry.locator or "")
        return spec if isinstance(spec, dict) else {}

    def read(self, raw: JsonObject, listed: Listed) -> ModelDocument:
        """The manifest's words and provider are the document's, which has neither."""
        document = read_spec(raw, region=self._region, source=self.kind, buckets=self._buckets)
        try:
            entry = listed().find(document.model_id, document.version)
        except AwsllmError:  # the document is there without them
            return document
        return msgspec.structs.replace(
            document,
            keywords=entry.keywords,
            provider=document.provider or entry.provider,
            task=document.task or keyword(entry.keywords, "task"),
            framework=document.framework or keyword(entry.keywords, "framework"),
            proprietary=document.proprietary or bool(entry.proprietary),
            support_status=document.support_status or entry.support_status,
        )

    def _get(self, key: str) -> tuple[Any, str]:
        with translated():
            response = self._client.get_object(Bucket=self._buckets.content, Key=key)
            body = response["Body"].read()
        try:
            return msgspec.json.decode(body), str(response.get("ETag", "")).strip('"')
        except msgspec.DecodeError as error:
            raise ConfigurationError(f"s3://{self._buckets.content}/{key} is not JSON: {error}") from error

    def _unchanged(self, key: str, etag: str) -> bool:
        try:
            with translated():
                response = self._client.head_object(Bucket=self._buckets.content, Key=key)
        except AwsllmError as error:
            if _is_absent(error):
                return not etag
            raise
        return bool(etag) and str(response.get("ETag", "")).strip('"') == etag


def _is_absent(error: AwsllmError) -> bool:
    """Without the right to list a bucket, what is not there is forbidden."""
    return error.status in (403, 404)


def _manifest_entries(rows: JsonValue, *, proprietary: bool) -> Iterator[ListingEntry]:
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict) and row.get("model_id") and row.get("version") and row.get("spec_key"):
            words = _words(row.get("search_keywords"))
            yield ListingEntry(
                model_id=str(row["model_id"]),
                version=str(row["version"]),
                provider=row.get("provider") or keyword(words, "provider"),
                keywords=words,
                support_status="Deprecated" if row.get("deprecated") else None,
                proprietary=proprietary,
                locator=str(row["spec_key"]),
            )


# --- a directory -----------------------------------------------------------------------------------------------------


class Directory:
    """JSON files beneath a directory, in any of the forms of ``files``. Other JSON is passed over.

    Where two files tell of one version, an answer goes before a bare document and this before the S3 form. Every file
    is read once, and again when it has changed; what is kept of it is its line in the listing.
    """

    kind = "directory"
    place: str | None = None

    def __init__(self, path: str | Path, region: str) -> None:
        self._path = Path(path).expanduser()
        self._region = region
        self.label = f"the directory {self._path}"
        self._files: dict[str, _FileRecord] = {}
        self._listed: dict[tuple[str, str], ListingEntry] = {}

    def listing(self, etag: str | None) -> Listing | None:
        if not self._path.is_dir():
            raise ConfigurationError(f"{self._path} is not a directory: AWSLLM_JUMPSTART_DIR or directory= names one")
        records: dict[str, _FileRecord] = {}
        best: dict[tuple[str, str], _FileRecord] = {}
        for file in sorted(self._path.rglob("*.json")):
            record = records[str(file)] = self._record(file)
            if record.entry is not None:
                key = (record.entry.model_id, record.entry.version)
                if key not in best or record.form < best[key].form:
                    best[key] = record
        self._files = records
        self._listed = {key: record.entry for key, record in best.items() if record.entry is not None}
        return Listing(entries=tuple(self._listed.values()))

    def versions(self, model_id: str, listed: Listed) -> tuple[str, ...]:
        return listed().versions(model_id)

    def document(self, model_id: str, version: str | None, listed: Listed) -> JsonObject:
        """A version whose file is as it was when it was listed is read without listing the others again."""
        entry = self._listed.get((model_id, version or ""))
        if entry is None or self._files[entry.locator or ""].state != _state(Path(entry.locator or "")):
            entry = listed().find(model_id, version)
        return {"file": entry.locator, "value": files.load(Path(entry.locator or ""))}

    def read(self, raw: JsonObject, listed: Listed) -> ModelDocument:
        file, form = Path(raw["file"]), files.form_of(raw["value"])
        if form is None:
            raise ConfigurationError(f"{file} holds no JumpStart document any more")
        return files.named(raw["value"], form, file.stem).read(self._region, self.kind)

    def _record(self, file: Path) -> _FileRecord:
        state, known = _state(file), self._files.get(str(file))
        if known is not None and known.state == state is not None:
            return known
        raw = files.load(file)
        form = files.form_of(raw)
        if form is None or not isinstance(raw, dict):
            return _FileRecord(state=state)
        document = files.named(raw, form, file.stem).read(self._region, self.kind)
        return _FileRecord(state=state, form=form, entry=_document_entry(document, file))


class _FileRecord(Value, frozen=True, kw_only=True):
    """What is kept of a file; ``state`` is its time and size when it was read."""

    state: tuple[int, int] | None
    form: int = files.SPEC
    entry: ListingEntry | None = None


def _state(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except OSError:  # whoever reads it says what is wrong
        return None
    return status.st_mtime_ns, status.st_size


def _document_entry(document: ModelDocument, file: Path) -> ListingEntry:
    return ListingEntry(
        model_id=document.model_id,
        version=document.version,
        display_name=document.display_name,
        description=document.description,
        provider=document.provider,
        task=document.task,
        framework=document.framework,
        license=document.license,
        keywords=document.keywords,
        support_status=document.support_status,
        proprietary=document.proprietary,
        gated=document.gated,
        trainable=document.fine_tunable,
        locator=str(file),
    )


_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def is_model_id(text: str) -> bool:
    """Whether the text can be a model's id; what cannot is never sent, nor made a file's name."""
    return bool(_ID.fullmatch(text))


def _words(keywords: JsonValue) -> tuple[str, ...]:
    """Search keywords without their ``@``."""
    words = keywords if isinstance(keywords, list) else ()
    return tuple(word.removeprefix("@") for word in words if isinstance(word, str))
