"""The Hugging Face hub: what a repository holds, and what can be found there.

``HF_ENDPOINT`` is where it is, ``HF_TOKEN`` who asks, ``HF_HUB_OFFLINE`` that it is left alone. A repository is read at
a commit, so what is fetched today is what was listed. The API is the one that huggingface_hub 2.4 speaks:
``/api/models/REPOSITORY/revision/REVISION?blobs=true`` gives the commit and each file's size with its SHA-256 (files of
LFS) or git's id (small ones), ``/REPOSITORY/resolve/COMMIT/PATH`` the bytes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from awsllm.errors import (
    AccessDeniedError,
    AwsllmError,
    ConfigurationError,
    ConnectError,
    ModelNotFoundError,
    ServerError,
    ThrottlingError,
)
from awsllm.store import http
from awsllm.store.catalogue import File, HubCommit, Model
from awsllm.store.choice import Choice, choose, is_safe

PREFIX = "hf/"
"""How a name begins that is a repository's."""
_FORM = "hf/ORG/REPO, hf/ORG/REPO:FILE or hf/ORG/REPO@REVISION:FILE"
_NAME = re.compile(
    r"hf/(?P<repository>[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}?)(?:@(?P<revision>\w[\w./-]{0,99}))?"
    r"(?::(?P<file>[^:@]{1,200}))?",
    re.ASCII,
)
_PATIENCE = 10.0  # seconds for a listing or a search
_TASKS = {  # the hub's word for what a model is for, and the store's
    "text-generation": "chat",
    "sentence-similarity": "embed",
    "feature-extraction": "embed",
    "text-ranking": "rerank",
    "text2text-generation": "text2text",
    "summarization": "text2text",
    "translation": "text2text",
    "image-text-to-text": "vision",
}


class HubName(msgspec.Struct, frozen=True):
    """``local:hf/…`` taken apart. ``file`` is a path or a quantisation; None leaves the choice open."""

    repository: str
    revision: str = "main"
    file: str | None = None


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """A repository at a commit. ``architecture`` and ``context`` are what its GGUF files say."""

    repository: str
    commit: str
    files: tuple[File, ...]
    license: str
    is_gated: bool = False
    kind: str = "chat"
    architecture: str | None = None
    context: int | None = None


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A repository that a search found, by the name that fetches it."""

    name: str
    kind: str
    license: str
    downloads: int
    format: str


def is_offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "0") not in {"", "0"}


def endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def parse(name: str) -> HubName:
    """Raises ``ConfigurationError`` for what names no repository."""
    found = _NAME.fullmatch(name)
    file = found["file"] if found else None
    if found is None or ".." in name or "--" in found["repository"] or not (file is None or is_safe(file)):
        raise ConfigurationError(f"{name!r} is no model of the Hugging Face hub: write {_FORM}")
    return HubName(found["repository"], found["revision"] or "main", file)


# --- what a repository holds -----------------------------------------------------------------------------------------


def listing(repository: str, revision: str = "main") -> Listing:
    """Raises ``ModelNotFoundError``, ``AccessDeniedError`` or ``ConnectError``."""
    if is_offline():
        raise ConnectError("HF_HUB_OFFLINE is set, so the hub is not asked")
    url = f"{endpoint()}/api/models/{repository}/revision/{quote(revision, safe='')}?blobs=true"
    with explained(repository):
        document = http.read_json(url, headers(), timeout=_PATIENCE)
    return _listing(repository, document)


def _listing(repository: str, document: Any) -> Listing:
    said = document if isinstance(document, dict) else {}
    commit, siblings = said.get("sha"), said.get("siblings")
    if not (isinstance(commit, str) and re.fullmatch("[0-9a-f]{40}", commit) and isinstance(siblings, list)):
        raise ConnectError(f"the hub's answer about {repository} has no commit or no files")
    gguf = _mapping(said.get("gguf"))
    context, architecture = gguf.get("context_length"), gguf.get("architecture")
    return Listing(
        repository=repository,
        commit=commit,
        files=tuple(file for file in map(_file, siblings) if file is not None),
        license=_license(said),
        is_gated=bool(said.get("gated")),
        kind=_TASKS.get(str(said.get("pipeline_tag")), "chat"),
        architecture=architecture if isinstance(architecture, str) else None,
        context=context if isinstance(context, int) else None,
    )


def _file(sibling: Any) -> File | None:
    said = _mapping(sibling)
    lfs = _mapping(said.get("lfs"))
    path, size = said.get("rfilename"), said.get("size", lfs.get("size"))
    if not isinstance(path, str) or type(size) is not int or size < 0:
        return None
    sha256, blob = lfs.get("sha256"), said.get("blobId")
    if isinstance(sha256, str) and re.fullmatch("[0-9a-f]{64}", sha256):
        return File(path, size, sha256)
    return File(path, size, "", blob if isinstance(blob, str) and re.fullmatch("[0-9a-f]{40}", blob) else "")


def _license(said: Mapping[str, Any]) -> str:
    card = _mapping(said.get("cardData"))
    given = card.get("license_name") if card.get("license") == "other" else card.get("license")
    tags = said.get("tags")
    tagged = [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []
    first = next((tag.removeprefix("license:") for tag in tagged if tag.startswith("license:")), "unknown")
    return given[:100] if isinstance(given, str) and given.isprintable() else first[:100]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def model_of(name: str) -> tuple[Model, Choice]:
    """The row of a name that begins with ``hf/``, as the hub lists it now, and what was chosen."""
    wanted = parse(name)
    return model_from(name, listing(wanted.repository, wanted.revision))


def model_from(name: str, found: Listing) -> tuple[Model, Choice]:
    choice = choose(found.files, parse(name).file, found.repository)
    model = Model(
        name=name,
        kind=_kind(found, choice),
        license=found.license,
        license_url=page(found.repository) if found.is_gated else None,
        files=choice.files,
        hub=HubCommit(found.repository, found.commit),
        context=found.context,
    )
    return model, choice


def _kind(found: Listing, choice: Choice) -> str:
    return "embed" if any(file.path == "modules.json" for file in choice.files) else found.kind


def resolved(model: Model, hub: HubCommit) -> tuple[File, ...]:
    """The row's files with what it leaves open: sizes, and what the hub says that their content is at that commit."""
    if model.is_pinned or all(file.size and (file.sha256 or file.blob) for file in model.files):
        return model.files
    there = {file.path: file for file in listing(hub.repository, hub.revision).files}
    if missing := [file.path for file in model.files if file.path not in there]:
        raise ModelNotFoundError(f"{hub.repository} has no {missing[0]} at {hub.revision[:12]}")
    return tuple(_completed(file, there[file.path]) for file in model.files)


def _completed(file: File, there: File) -> File:
    """What the row pins stands; the rest is the hub's word."""
    return File(file.path, file.size or there.size, file.sha256 or there.sha256, there.blob)


def url_of(hub: HubCommit, path: str) -> str:
    return f"{endpoint()}/{hub.repository}/resolve/{hub.revision}/{quote(path)}"


def page(repository: str) -> str:
    """Where a person reads of the model, and accepts its licence."""
    return f"https://huggingface.co/{repository}"


# --- search ----------------------------------------------------------------------------------------------------------


def search(query: str, limit: int = 20) -> tuple[Found, ...]:
    """Repositories whose files could be read, the most fetched first. Raises ``ConnectError`` and the like."""
    if is_offline():
        raise ConnectError("HF_HUB_OFFLINE is set, so the hub is not asked")
    asked = urlencode({"search": query, "sort": "downloads", "limit": limit * 3})
    with explained(query):
        document = http.read_json(f"{endpoint()}/api/models?{asked}", headers(), timeout=_PATIENCE)
    found = (_found(item) for item in (document if isinstance(document, list) else ()))
    return tuple(one for one in found if one is not None)[:limit]


def _found(item: Any) -> Found | None:
    said = _mapping(item)
    name, tags, downloads = said.get("id"), said.get("tags"), said.get("downloads")
    if not (isinstance(name, str) and isinstance(tags, list) and _NAME.fullmatch(f"{PREFIX}{name}")):
        return None
    format_ = next((one for one in ("gguf", "safetensors") if one in tags), None)
    if format_ is None:
        return None
    return Found(
        name=f"{PREFIX}{name}",
        kind=_TASKS.get(str(said.get("pipeline_tag")), "chat"),
        license=_license(said),
        downloads=downloads if isinstance(downloads, int) else 0,
        format=format_,
    )


# --- who asks, and what the hub refuses ------------------------------------------------------------------------------


def headers() -> dict[str, str]:
    """The caller's token. It is not sent over plain HTTP but to this machine."""
    token = _token()
    if not token:
        return {}
    place = urlsplit(endpoint())
    if place.scheme != "https" and place.hostname not in http.LOOPBACK:
        raise ConfigurationError("HF_TOKEN is not sent to an HF_ENDPOINT without https")
    return {"Authorization": f"Bearer {token}"}


def _token() -> str:
    """``HF_TOKEN``, else what ``hf auth login`` left."""
    if token := os.environ.get("HF_TOKEN", "").strip():
        return token
    home = os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface"
    try:
        return Path(os.environ.get("HF_TOKEN_PATH") or Path(home) / "token").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


@contextmanager
def explained(repository: str) -> Iterator[None]:
    """What the hub refuses, and what cannot be reached, as errors of awsllm's that say what to do."""
    from http.client import HTTPException
    from urllib.error import HTTPError, URLError

    try:
        yield
    except HTTPError as error:
        with error:
            _refuse(repository, *http.status_of(error))
    except AwsllmError:
        raise
    except (URLError, TimeoutError, HTTPException, ConnectionError) as error:
        raise http.unreached(endpoint(), error) from error


def _refuse(repository: str, status: int, code: str) -> NoReturn:
    if code == "GatedRepo" or status == 403:
        raise AccessDeniedError(
            f"{repository} is gated: accept its licence at {page(repository)}, then set HF_TOKEN to a token of that "
            "account (https://huggingface.co/settings/tokens)",
            status=status,
        )
    if status == 401 and code != "RepoNotFound" and _token():
        raise AccessDeniedError(f"the hub does not take HF_TOKEN for {repository}: make a new one", status=status)
    if status in {401, 404}:
        what = {"EntryNotFound": "has no such file", "RevisionNotFound": "has no such revision"}.get(code)
        raise ModelNotFoundError(
            f"{repository} {what}"
            if what
            else f"the hub has no {repository}, or it is private or gated: see {page(repository)}, and set HF_TOKEN",
            status=status,
        )
    if status == 429:
        raise ThrottlingError(f"the hub takes no more requests now (status {status}); try again", status=status)
    raise ServerError(f"the hub answers with status {status}; try again", status=status)
