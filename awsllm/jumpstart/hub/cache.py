"""What sources told, kept: in memory, and on disk where the source allows it.

    listing.json                    revalidated once it is older than ``max_age``: by ETag where the source has one
    newest/MODEL.json               which version was the newest, and
    versions/MODEL.json             which there were: asked again after ``max_age``
    documents/MODEL/VERSION.json    one version never changes
    facts/MODEL/VERSION.json        what a listing does not tell, from the document

A file appears by one rename and holds when it was written. A cache that cannot be written or read is as none: it saves
calls, nothing depends on it. ``stale`` answers from what is there, whatever its age, without asking the source.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from awsllm.errors import ConnectError
from awsllm.jumpstart.hub.document import ModelDocument
from awsllm.jumpstart.hub.sources import Listing, Source
from awsllm.types import Value

_T = TypeVar("_T")


class Record(Value, frozen=True, kw_only=True):
    """``at`` is when the value was known to hold, in seconds since 1970."""

    at: float
    value: Any


class Facts(Value, frozen=True, kw_only=True):
    """What search filters ask of a document."""

    gated: bool
    trainable: bool
    proprietary: bool
    provider: str | None = None
    task: str | None = None
    framework: str | None = None
    license: str | None = None


class Cache:
    """Records by path. Without a ``root`` they are kept in memory; documents, which are large, are not."""

    def __init__(self, root: Path | None, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._root = root
        self._memory: dict[tuple[str, ...], Record] = {}

    def get(self, *key: str, kind: type[_T]) -> tuple[float, _T] | None:
        """When the record was written, and its value."""
        record = self._memory.get(key) or self._load(key)
        if record is None:
            return None
        if isinstance(record.value, kind):
            self._remember(key, record)
            return record.at, record.value
        try:
            value = msgspec.convert(record.value, kind)
        except msgspec.ValidationError:  # of another version of awsllm
            return None
        self._remember(key, Record(at=record.at, value=value))
        return record.at, value

    def put(self, *key: str, value: Any) -> None:
        record = Record(at=self.clock(), value=value)
        self._remember(key, record)
        if self._root is not None:
            with contextlib.suppress(OSError):
                _write(self._file(self._root, key), msgspec.json.encode(record))

    def _remember(self, key: tuple[str, ...], record: Record) -> None:
        if key[0] != "documents":
            self._memory[key] = record

    def _load(self, key: tuple[str, ...]) -> Record | None:
        if self._root is None:
            return None
        try:
            return msgspec.json.decode(self._file(self._root, key).read_bytes(), type=Record)
        except (OSError, msgspec.MsgspecError):
            return None

    def _file(self, root: Path, key: tuple[str, ...]) -> Path:
        return root.joinpath(*key[:-1], f"{key[-1]}.json")


class CachedSource:
    """A source behind a cache; one without a ``cache`` is asked each time (a directory)."""

    def __init__(self, source: Source, cache: Cache | None, max_age: float) -> None:
        self.source = source
        self._cache = cache
        self._max_age = max_age
        self._lock = threading.Lock()

    def listing(self, *, stale: bool = False) -> Listing:
        with self._lock:  # many lookups, one listing
            known = self._known("listing", kind=Listing)
            if known is not None and (stale or self._is_fresh(known[0])):
                return known[1]
            self._refuse(stale)
            listing = self.source.listing(known[1].etag if known else None)
            if listing is None and known is not None:
                listing = known[1]
            listing = listing or Listing(entries=())
            self._keep("listing", value=listing)
            return listing

    def listed_at(self) -> float | None:
        """When the listing was last known to hold, in seconds since 1970."""
        known = self._known("listing", kind=Listing)
        return known[0] if known else None

    def versions(self, model_id: str, *, stale: bool = False) -> tuple[str, ...]:
        known = self._known("versions", model_id, kind=list)
        if known is not None and (stale or self._is_fresh(known[0])):
            return tuple(known[1])
        self._refuse(stale)
        found = self.source.versions(model_id, self.listing)
        self._keep("versions", model_id, value=list(found))
        return found

    def document(self, model_id: str, version: str | None, *, stale: bool = False) -> ModelDocument:
        exact = version or self._newest(model_id, stale=stale)
        known = self._known("documents", model_id, exact, kind=dict) if exact else None
        if known is not None:
            return self.source.read(known[1], lambda: self.listing(stale=True))
        self._refuse(stale)
        raw = self.source.document(model_id, version, self.listing)
        document = self.source.read(raw, self.listing)
        self._keep("documents", model_id, document.version, value=raw)
        if version is None:
            self._keep("newest", model_id, value=document.version)
        return document

    def facts(self, model_id: str, version: str, *, stale: bool = False) -> Facts:
        known = self._known("facts", model_id, version, kind=Facts)
        if known is not None:
            return known[1]
        facts = read_facts(self.document(model_id, version, stale=stale))
        self._keep("facts", model_id, version, value=facts)
        return facts

    def _newest(self, model_id: str, *, stale: bool) -> str | None:
        known = self._known("newest", model_id, kind=str)
        return known[1] if known is not None and (stale or self._is_fresh(known[0])) else None

    def _is_fresh(self, at: float) -> bool:
        return self._cache is not None and 0 <= self._cache.clock() - at < self._max_age

    def _known(self, *key: str, kind: type[_T]) -> tuple[float, _T] | None:
        return self._cache.get(*key, kind=kind) if self._cache is not None else None

    def _keep(self, *key: str, value: Any) -> None:
        if self._cache is not None:
            self._cache.put(*key, value=value)

    def _refuse(self, stale: bool) -> None:
        if stale:
            raise ConnectError(f"{self.source.label} was not asked, and the cache does not know")


def read_facts(document: ModelDocument) -> Facts:
    return Facts(
        gated=document.gated,
        trainable=document.fine_tunable,
        proprietary=document.proprietary,
        provider=document.provider,
        task=document.task,
        framework=document.framework,
        license=document.license,
    )


def _write(file: Path, data: bytes) -> None:
    """Complete or not at all, whoever else writes the same."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        new.write_bytes(data)
        new.replace(file)
    finally:
        new.unlink(missing_ok=True)
