"""Find models, and read what JumpStart says of them.

Sources are tried in order, and the first that can be reached answers: the public hub's API, then JumpStart's S3 cache,
which needs no credentials. A private hub (``hub=``) or a directory of documents (``directory=``,
``AWSLLM_JUMPSTART_DIR``) is asked instead of them. Where none can be reached, what the cache holds is used, whatever
its age, and ``notes`` says so.

What a listing tells is searched at once. Whether a model is gated, trains or is proprietary stands in its document:
those are looked up only when such a filter is given, a few at a time, for the models that pass the other filters, and
remembered.
"""

from __future__ import annotations

import difflib
import fnmatch
import os
import re
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from awsllm.aws import control, intercept
from awsllm.aws.session import AwsSession
from awsllm.errors import (
    AccessDeniedError,
    AwsllmError,
    ConfigurationError,
    ConnectError,
    ModelNotFoundError,
    ModelTimeoutError,
    ServerError,
    ValidationError,
)
from awsllm.jumpstart.hub import tasks
from awsllm.jumpstart.hub.cache import Cache, CachedSource, Facts
from awsllm.jumpstart.hub.document import ModelDocument, keyword
from awsllm.jumpstart.hub.sources import Directory, ListingEntry, S3Cache, SageMakerHub, Source, is_missing, is_model_id
from awsllm.store import default_cache_dir
from awsllm.types import Value
from awsllm.wire.endpoint.tasks.names import bare

DIRECTORY_VARIABLE = "AWSLLM_JUMPSTART_DIR"
MAX_AGE = 3600.0
"""Seconds for which a listing is believed."""
RETRY_AFTER = 60.0
"""Seconds for which a source that could not be reached is passed over."""
WORKERS = 8

_AWAY = (ConnectError, ModelTimeoutError, ServerError, AccessDeniedError, ConfigurationError)
"""Errors that the next question to the same source would meet again."""

_T = TypeVar("_T")
LookupListener = Callable[[int, int], None]
"""Called with the documents looked up so far, and all that have to be."""


class ModelSummary(Value, frozen=True, kw_only=True):
    """A line of a search. None is what the listing does not tell and no filter asked for."""

    model_id: str
    version: str
    source: str
    display_name: str | None = None
    description: str | None = None
    provider: str | None = None
    task: str | None = None
    framework: str | None = None
    license: str | None = None
    gated: bool | None = None
    trainable: bool | None = None
    proprietary: bool | None = None
    support_status: str | None = None
    keywords: tuple[str, ...] = ()


class Catalogue:
    """The models of one region. Safe to share between threads.

    ``hub`` is a private hub's name or ARN, for every call that names none. ``cache_dir`` defaults to the model store's
    (``AWSLLM_CACHE``); where an interceptor such as moto answers for AWS, nothing is kept on disk unless it is given.
    ``clients`` gives boto3 clients by service, ``max_age`` is in seconds.
    """

    def __init__(
        self,
        session: AwsSession,
        *,
        directory: str | Path | None = None,
        hub: str | None = None,
        cache_dir: str | Path | None = None,
        clients: Callable[[str], Any] | None = None,
        max_age: float = MAX_AGE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._session = session
        self._directory = directory or os.environ.get(DIRECTORY_VARIABLE) or None
        self._hub = hub
        self._cache_dir = cache_dir
        self._clients = clients
        self._max_age = max_age
        self._clock = clock
        self._sources: dict[str, CachedSource] = {}
        self._down: dict[str, tuple[float, AwsllmError]] = {}
        self._notes: dict[str, None] = {}

    @property
    def notes(self) -> tuple[str, ...]:
        """What a caller should know of the answers so far: sources that could not be reached, models passed over."""
        return tuple(self._notes)

    def search(
        self,
        text: str = "",
        *,
        task: str | None = None,
        provider: str | None = None,
        framework: str | None = None,
        gated: bool | None = None,
        trainable: bool | None = None,
        proprietary: bool | None = None,
        hub: str | None = None,
        limit: int | None = None,
        on_progress: LookupListener | None = None,
    ) -> tuple[ModelSummary, ...]:
        """The newest version of each model that matches every word of ``text`` and every filter, best first."""
        _check_text("the search", text)
        given = {"gated": gated, "trainable": trainable, "proprietary": proprietary}
        facts = {name: value for name, value in given.items() if value is not None}

        def find(source: CachedSource, stale: bool) -> tuple[ModelSummary, ...]:
            newest = _newest(source.listing(stale=stale).entries)
            found = [_summary(entry, source.source.kind) for entry in newest]
            found = [one for one in found if _passes(one, task=task, provider=provider, framework=framework)]
            ranked = _ranked(found, text)
            if not facts:
                return tuple(ranked[:limit])
            known = self._looked_up(source, ranked, facts, stale=stale, on_progress=on_progress)
            return tuple(one for one in known if all(getattr(one, name) == facts[name] for name in facts))[:limit]

        return self._first(hub, find)

    def get(self, model_id: str, *, version: str | None = None, hub: str | None = None) -> ModelDocument:
        """The document of a model: the newest version, or the newest that ``version`` (``1.*``, ``2.0.1``) matches.

        ``ModelNotFoundError`` names what comes close.
        """
        _check_text("version", version or "")
        if not is_model_id(model_id):
            raise self._unknown(model_id, None, hub)

        def read(source: CachedSource, stale: bool) -> ModelDocument:
            exact = version
            if version is not None and not _EXACT.fullmatch(version):
                exact = None if version == "*" else _match(model_id, version, source.versions(model_id, stale=stale))
            return source.document(model_id, exact, stale=stale)

        try:
            return self._first(hub, read)
        except ModelNotFoundError as error:
            raise self._unknown(model_id, version, hub) from error

    def versions(self, model_id: str, *, hub: str | None = None) -> tuple[str, ...]:
        """Newest first; ``ModelNotFoundError`` where there is none."""

        def read(source: CachedSource, stale: bool) -> tuple[str, ...]:
            found = source.versions(model_id, stale=stale)
            if not found:
                raise ModelNotFoundError(f"no model {model_id!r}")
            return found

        if not is_model_id(model_id):
            raise self._unknown(model_id, None, hub)
        try:
            return self._first(hub, read)
        except ModelNotFoundError as error:
            raise self._unknown(model_id, None, hub) from error

    # --- sources -----------------------------------------------------------------------------------------------------

    def _first(self, hub: str | None, use: Callable[[CachedSource, bool], _T]) -> _T:
        """The answer of the first source that gives one; else of the first whose cache does; else why there is none.

        A source that says that there is no such model does not end the search: models of the Marketplace may be in one
        of the two public sources only.
        """
        failures: list[AwsllmError] = []
        sources = self._order(hub)
        for source in sources:
            try:
                return self._ask(source, use)
            except AwsllmError as error:
                failures.append(error)
        missing = next((error for error in failures if is_missing(error)), None)
        if missing is not None:
            raise ModelNotFoundError(missing.message) from missing
        for source in sources:
            try:
                response = use(source, True)
            except AwsllmError:  # the cache does not know: the first failures say more
                continue
            self._note(f"offline: {_age(source, self._clock())} is used ({failures[0].message})")
            return response
        raise self._unreachable(sources, failures)

    def _ask(self, source: CachedSource, use: Callable[[CachedSource, bool], _T]) -> _T:
        """Without waiting again for a source that could not be reached a moment ago."""
        label = source.source.label
        since, reason = self._down.get(label, (0.0, None))
        if reason is not None and 0 <= self._clock() - since < RETRY_AFTER:
            raise reason
        try:
            return use(source, False)
        except _AWAY as error:
            if not is_missing(error) and source.source.kind != "directory":
                self._down[label] = (self._clock(), error)
            raise
        except NotImplementedError as error:  # moto without awsllm's extension: it has no hub
            unanswered = ConnectError(f"{label} is not answered here: use awsllm.testing.mock_aws")
            self._down[label] = (self._clock(), unanswered)
            raise unanswered from error

    def _order(self, hub: str | None) -> list[CachedSource]:
        hub = hub or self._hub
        if hub is not None:
            return [self._source(f"hub:{hub}", lambda: SageMakerHub(self._client("sagemaker"), self._region, hub))]
        if self._directory is not None:
            place = self._directory
            return [self._source("directory", lambda: Directory(place, self._region))]
        return [
            self._source("hub", lambda: SageMakerHub(self._client("sagemaker"), self._region)),
            self._source("s3", lambda: S3Cache(self._client("s3"), self._region)),
        ]

    def _source(self, name: str, make: Callable[[], Source]) -> CachedSource:
        if name not in self._sources:
            source = make()
            cache = None if source.kind == "directory" else Cache(self._place(source), self._clock)
            self._sources.setdefault(name, CachedSource(source, cache, self._max_age))
        return self._sources[name]

    def _client(self, service: str) -> Any:
        if self._clients is not None:
            return self._clients(service)
        if service == "s3":
            return control.anonymous("s3", self._session)
        return control.client(service, self._session)

    @cached_property
    def _region(self) -> str:
        return self._session.region

    def _place(self, source: Source) -> Path | None:
        """Where on disk the source is cached. Another endpoint is another AWS, with models of its own; and what an
        interceptor answers holds for no other process."""
        if source.place is None or (self._cache_dir is None and intercept.has_interceptor()):
            return None
        root = Path(self._cache_dir) if self._cache_dir is not None else default_cache_dir()
        url = self._session.endpoint_url("s3" if source.kind == "cache" else "sagemaker")
        return root / "jumpstart" / _folder(source.place + (f" at {url}" if url else ""))

    # --- search ------------------------------------------------------------------------------------------------------

    def _looked_up(
        self,
        source: CachedSource,
        found: list[ModelSummary],
        facts: Iterable[str],
        *,
        stale: bool,
        on_progress: LookupListener | None,
    ) -> list[ModelSummary]:
        """The summaries with what their documents say; those whose document cannot be read are left out."""
        names = tuple(facts)

        def look(one: ModelSummary) -> ModelSummary | AwsllmError:
            if all(getattr(one, name) is not None for name in names):
                return one
            try:
                return _completed(one, source.facts(one.model_id, one.version, stale=stale))
            except AwsllmError as error:
                return error

        results: list[ModelSummary | AwsllmError] = []
        with ThreadPoolExecutor(max_workers=WORKERS, thread_name_prefix="awsllm-jumpstart") as pool:
            try:
                for result in pool.map(look, found):
                    results.append(result)
                    if on_progress is not None:
                        on_progress(len(results), len(found))
            except BaseException:  # an interrupt does not wait for hundreds of documents
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        known = [result for result in results if isinstance(result, ModelSummary)]
        failures = [result for result in results if not isinstance(result, ModelSummary)]
        if failures and not known:
            raise failures[0]  # another source may do better
        if failures:
            self._note(f"{len(failures)} of {len(found)} models are left out: their documents could not be read")
        return known

    # --- what is noted -----------------------------------------------------------------------------------------------

    def _note(self, text: str) -> None:
        self._notes[text] = None

    def _unknown(self, model_id: str, version: str | None, hub: str | None) -> ModelNotFoundError:
        """With the ids or versions that come close, of the sources that can tell."""
        ids: set[str] = set()
        versions: tuple[str, ...] = ()
        for source in self._order(hub):
            try:
                ids |= {
                    entry.model_id
                    for entry in self._ask(source, lambda source, stale: source.listing(stale=stale)).entries
                }
                if version is not None and model_id in ids and not versions:
                    versions = self._ask(source, lambda source, stale: source.versions(model_id, stale=stale))
            except AwsllmError:
                continue
        if versions:
            shown = ", ".join(versions[:8]) + (", …" if len(versions) > 8 else "")
            return ModelNotFoundError(f"JumpStart model {model_id!r} has no version {version!r}: there are {shown}")
        near = difflib.get_close_matches(model_id, ids, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
        return ModelNotFoundError(
            f"no JumpStart model {model_id!r} in {self._region}: {hint}'awsllm jumpstart search' lists what there is"
        )

    def _unreachable(self, sources: list[CachedSource], failures: list[AwsllmError]) -> AwsllmError:
        if len(failures) == 1:
            return failures[0]
        reasons = "; ".join(f"{source.source.label}: {error}" for source, error in zip(sources, failures, strict=True))
        return ConfigurationError(
            f"no source of JumpStart models can be reached ({reasons}); give directory= or {DIRECTORY_VARIABLE} to "
            "work from documents on this machine"
        )


def _age(source: CachedSource, now: float) -> str:
    at = source.listed_at()
    hours = f", {max(0.0, now - at) / 3600:.0f} hours old" if at is not None else ""
    return f"what was kept of {source.source.label}{hours}"


def _folder(place: str) -> str:
    """A folder's name: readable, and a digest that keeps apart what reads the same."""
    return f"{re.sub(r'[^A-Za-z0-9]+', '-', place)[:60].strip('-')}-{sha256(place.encode()).hexdigest()[:8]}"


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise ValidationError(f"{name} is {value!r:.40}; it is a text")


# --- versions --------------------------------------------------------------------------------------------------------


_EXACT = re.compile(r"[A-Za-z0-9]+(\.[A-Za-z0-9_-]+){2,}")


def _match(model_id: str, pattern: str, versions: tuple[str, ...]) -> str:
    """The newest that the pattern matches, or that begins with it: ``2`` is ``2.*``."""
    patterns = (pattern, f"{pattern}.*")
    found = next((one for one in versions if any(fnmatch.fnmatchcase(one, each) for each in patterns)), None)
    if found is None:
        raise ModelNotFoundError(f"no version of {model_id!r} matches {pattern!r}")
    return found


def _newest(entries: Iterable[ListingEntry]) -> list[ListingEntry]:
    """One entry a model: the newest version, a deprecated one only where there is no other."""
    newest: dict[str, ListingEntry] = {}
    for entry in entries:
        other = newest.get(entry.model_id)
        if other is None or entry.freshness > other.freshness:
            newest[entry.model_id] = entry
    return list(newest.values())


# --- matching --------------------------------------------------------------------------------------------------------

_WORD = re.compile(r"[a-z0-9.]+")
_SAME = {"chat": ("instruct", "dialogue"), "instruct": ("chat",)}
"""Words of one meaning here: of the models tuned to converse some say chat, some instruct (2026-11)."""
_WEIGHTS = (8.0, 6.0, 3.0, 1.0)
"""Of a word found in: the id, the name, the keywords, the description. A part of a word counts half."""


def _summary(entry: ListingEntry, source: str) -> ModelSummary:
    return ModelSummary(
        model_id=entry.model_id,
        version=entry.version,
        source=source,
        display_name=entry.display_name,
        description=entry.description,
        provider=entry.provider or keyword(entry.keywords, "provider"),
        task=entry.task or keyword(entry.keywords, "task"),
        framework=entry.framework or keyword(entry.keywords, "framework"),
        license=entry.license or keyword(entry.keywords, "license"),
        gated=entry.gated,
        trainable=entry.trainable,
        proprietary=entry.proprietary,
        support_status=entry.support_status,
        keywords=entry.keywords,
    )


def _completed(one: ModelSummary, facts: Facts) -> ModelSummary:
    return msgspec.structs.replace(
        one,
        gated=facts.gated,
        trainable=facts.trainable,
        proprietary=facts.proprietary or bool(one.proprietary),
        provider=one.provider or facts.provider,
        task=one.task or facts.task,
        framework=one.framework or facts.framework,
        license=one.license or facts.license,
    )


def _passes(one: ModelSummary, **filters: str | None) -> bool:
    """Whether what the listing says holds the filter's word, but for case and punctuation, as such or among its plain
    keywords; where the listing does not say, the model's id is asked (``huggingface-llm-…``). Tasks have more names
    than one."""
    plain = tuple(word for word in one.keywords if ":" not in word)
    for name, wanted in filters.items():
        value: str | None = getattr(one, name)
        words = (*((value,) if value else (one.model_id, *one.model_id.split("-"))), *plain)
        if wanted is None:
            continue
        if name == "task" and not tasks.matches(wanted, words):
            return False
        if name != "task" and not any(bare(wanted) in bare(word) for word in words):
            return False
    return True


def _ranked(found: list[ModelSummary], text: str) -> list[ModelSummary]:
    """Those that match every word, best first; the deprecated after the others."""
    words = _WORD.findall(text.casefold())
    scored = [(_score(one, words), one) for one in found]
    kept = [(score, one) for score, one in scored if score is not None]
    shortest = 1 if words else 0  # of two that match as well, the shorter id holds less that was not asked for
    kept.sort(
        key=lambda row: (
            row[1].support_status == "Deprecated",
            -row[0],
            shortest * len(row[1].model_id),
            row[1].model_id,
        )
    )
    return [one for _, one in kept]


def _score(one: ModelSummary, words: list[str]) -> float | None:
    fields = [
        field.casefold()
        for field in (one.model_id, one.display_name or "", " ".join(one.keywords), one.description or "")
    ]
    tokens = [set(_WORD.findall(field)) for field in fields]
    total = 0.0
    for word in words:
        best = _word_score(word, fields, tokens)
        if not best:
            best = max((0.5 * _word_score(same, fields, tokens) for same in _SAME.get(word, ())), default=0.0)
        if not best:
            return None
        total += best
    return total


def _word_score(word: str, fields: list[str], tokens: list[set[str]]) -> float:
    score = 0.0
    for weight, field, whole in zip(_WEIGHTS, fields, tokens, strict=True):
        if word in whole:
            score = max(score, weight)
        elif word in field:
            score = max(score, weight / 2)
    return score
