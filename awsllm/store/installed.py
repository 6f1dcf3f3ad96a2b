"""What the cache holds: a directory for each model, with a description of it beside its files.

``models/NAME`` is a model's home. Its ``.model.json`` says what the model is, where it came from, and each file's size
and SHA-256 as they were when it was put there. A model whose row pins every hash needs none of that to be checked: a
stamp of the pins is enough, and is all that a start reads.

Where a hash could not be known before the first fetch, what was fetched first is trusted and kept in ``trusted/``, and
stays when the model is removed: the same commit fetched again has to bring the same bytes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec

from awsllm.errors import ConfigurationError
from awsllm.store import http
from awsllm.store.catalogue import File, Model

STAMP = ".verified"
_MANIFEST = ".model.json"
_MOST = 1 << 20  # bytes of a description


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    """A model in the cache. ``source`` is where it came from, in words; ``commit`` that of the hub, if it is of it."""

    name: str
    kind: str
    license: str
    source: str
    files: tuple[File, ...]
    license_url: str | None = None
    commit: str | None = None
    chosen: str | None = None

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


def slug(name: str) -> str:
    """The name of a model's home: ``hf/ORG/REPO:FILE`` as one name that every file system takes."""
    return name.replace("/", "--").replace(":", "@@")


def home(cache: Path, name: str) -> Path:
    return cache / "models" / slug(name)


def read(directory: Path) -> Installed | None:
    """None where there is no description, or one that cannot be read."""
    path = directory / _MANIFEST
    try:
        if path.stat().st_size > _MOST:
            return None
        found = msgspec.json.decode(path.read_bytes(), type=Installed)
    except (OSError, msgspec.DecodeError):
        return None
    return found if slug(found.name) == directory.name and found.files else None


def everything(cache: Path) -> Iterator[tuple[Path, Installed]]:
    """The homes that have a description."""
    place = cache / "models"
    for directory in sorted(place.iterdir()) if place.is_dir() else ():
        if (found := read(directory)) is not None:
            yield directory, found


def write(directory: Path, installed: Installed) -> None:
    (directory / _MANIFEST).write_bytes(msgspec.json.encode(installed))


def place_of(directory: Path, files: tuple[File, ...]) -> Path:
    """What is loaded: the only file, the first part of a split one, or the directory."""
    if all(file.path.lower().endswith(".gguf") for file in files):
        return directory / files[0].path
    return directory


def complete(directory: Path, files: tuple[File, ...]) -> Path | None:
    """The model in this directory if every file has its size, as far as that is known; hashes were checked when it was
    fetched."""
    try:
        sizes = [(directory / file.path).stat().st_size for file in files]
    except OSError:
        return None
    whole = all(size == file.size or not file.size for size, file in zip(sizes, files, strict=True))
    return place_of(directory, files) if whole else None


def cached(cache: Path, name: str, model: Model | None) -> Path | None:
    """The model in its home, if it is whole and is what its row means today."""
    directory = home(cache, name)
    if model is not None:
        try:
            if (directory / STAMP).read_text(encoding="ascii") != model.pins:
                return None
        except (OSError, ValueError):
            return None
        if model.is_pinned:
            return complete(directory, model.files)
    found = read(directory)
    return complete(directory, found.files) if found is not None and found.name == name else None


def install(cache: Path, model: Model, staging: Path, source: str, chosen: str | None = None) -> Path:
    """Move verified files to where readers look, by one rename. ``source`` is who brought them."""
    described = Installed(
        name=model.name,
        kind=model.kind,
        license=model.license,
        license_url=model.license_url,
        source=source,
        commit=model.hub.revision if model.hub else None,
        files=tuple(_measured(staging / file.path, file) for file in model.files),
        chosen=chosen,
    )
    trust(cache, model, described)
    new = cache / "staging" / f"{slug(model.name)}.ready"
    shutil.rmtree(new, ignore_errors=True)
    for file in model.files:
        (staging / file.path).replace(http.prepared(new / file.path))
    (new / STAMP).write_text(model.pins, encoding="ascii")
    write(new, described)
    target = move_in(cache, model.name, new)
    shutil.rmtree(staging, ignore_errors=True)
    return place_of(target, model.files)


def move_in(cache: Path, name: str, new: Path) -> Path:
    """Put a directory in a model's home, in the place of what is there: incomplete, or of other pins."""
    target = home(cache, name)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    new.rename(target)
    return target


def _measured(path: Path, file: File) -> File:
    return file if file.is_pinned else File(file.path, path.stat().st_size, file.sha256 or http.digest(path))


def trust(cache: Path, model: Model, described: Installed) -> None:
    """Keep the hashes that no row pins, or compare them with those kept before. Raises ``ConfigurationError``."""
    if model.is_pinned or model.hub is None:
        return
    record = cache / "trusted" / f"{slug(f'{model.hub.repository}@{model.hub.revision}')}.json"
    hashes = {file.path: file.sha256 for file in described.files}
    try:
        known = msgspec.json.decode(record.read_bytes(), type=dict[str, str])
    except FileNotFoundError:
        known = {}
    except msgspec.DecodeError as error:
        raise ConfigurationError(f"{record} cannot be read; remove it to trust what is fetched next") from error
    for path, sha256 in hashes.items():
        if known.get(path, sha256) != sha256:
            raise ConfigurationError(
                f"{path} of {model.hub.repository} is not what it was when it was first fetched at the same commit "
                f"(SHA-256 differs). If you know why, remove {record}"
            )
    if hashes.items() <= known.items():
        return
    record.parent.mkdir(parents=True, exist_ok=True)
    new = record.with_suffix(f".{os.getpid()}")
    new.write_bytes(msgspec.json.encode({**known, **hashes}))
    new.replace(record)
