"""Adapters as models: a folder with ``adapter_config.json`` is the base that it names, with what the adapter learned.

Both are merged once into a file of the cache, which the kernels then compute as fast as any model. The base is looked
for where models are (a name, ``local:…``, a path, a repository of the hub that was fetched), and never fetched: an
adapter is a stranger's file, and does not decide what comes over the network.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from awsllm.errors import ConfigurationError, ModelNotFoundError

if TYPE_CHECKING:
    from awsllm.store import Store

FOLDER: Final = "merged"
_CONFIG: Final = "adapter_config.json"
_MOST: Final = 8  # merged models that are kept


def is_adapter(path: Path) -> bool:
    return path.is_dir() and (path / _CONFIG).is_file() and not (path / "config.json").exists()


def merged(store: Store, path: Path) -> Path:
    """The model that lies at ``path``; of an adapter's folder, the model that base and adapter make. Raises
    ``ConfigurationError`` or ``ModelNotFoundError`` for a base that is not here, and the engine's errors."""
    if not is_adapter(path):
        return path
    from awsllm.engine.native import files
    from awsllm.engine.threads import import_torch

    import_torch()
    from awsllm.engine.train import lora

    base = _base(store, path, lora.read_config(path)[1])
    identity = "\n".join((files.identity(base), files.identity(path)))
    folder = store.cache_dir / FOLDER
    name = hashlib.sha256(identity.encode()).hexdigest()[:24]
    place = folder / name / "model.gguf" if base.is_file() else folder / name
    if not place.exists():
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f"{name}.{os.getpid()}.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        try:
            lora.merge_files(base, path, part / "model.gguf" if base.is_file() else part)
            _move(part, folder / name)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        _tidy(folder, folder / name)
    os.utime(folder / name)
    return place


def _move(part: Path, target: Path) -> None:
    """Whoever comes second has made the same."""
    try:
        part.rename(target)
    except OSError:
        if not target.exists():
            raise


def _tidy(folder: Path, but: Path) -> None:
    old = sorted((one for one in folder.iterdir() if one.suffix != ".part"), key=lambda one: -one.stat().st_mtime)
    for one in old[_MOST:]:
        if one != but:
            shutil.rmtree(one, ignore_errors=True)


def _base(store: Store, path: Path, named: str) -> Path:
    name = named.removeprefix("local:")
    if not name:
        raise ConfigurationError(f"{path / _CONFIG} does not say which model the adapter is for")
    found = _here(store, name)
    if found is None and (fetched := _as_fetched(name)):
        found = _here(store, fetched)
        if found is None:
            raise ModelNotFoundError(
                f"the adapter {path} is for {name!r:.200}, which is not on this machine. Fetch it by: awsllm models "
                f"pull {fetched:.200}; or name the base you have as base_model_name_or_path in {_CONFIG}"
            )
    if found is None:
        raise ModelNotFoundError(f"the adapter {path} is for {name!r:.200}, and there is no such model here")
    if is_adapter(found):
        raise ConfigurationError(f"the adapter {path} is for another adapter, {name!r:.200}: merge that one first")
    return found


def _as_fetched(name: str) -> str | None:
    """What ``awsllm models pull`` would call it."""
    from awsllm.store import MODELS

    if name in MODELS or name.startswith("hf/"):
        return name
    return f"hf/{name}" if name.count("/") == 1 and not name.startswith((".", "/")) else None


def _here(store: Store, name: str) -> Path | None:
    try:
        return store.find(name)
    except ModelNotFoundError:
        return None
