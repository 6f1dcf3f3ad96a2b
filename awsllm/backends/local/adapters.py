"""Adapters as models: a folder with ``adapter_config.json`` is the base that it names, with what the adapter learned.

Beside its base, an adapter takes its own few megabytes: the base is in memory once, whoever has how many adapters of
it, and one step computes sequences of all of them. Or both are merged once into a file of the cache, which is a model
like any other. What cannot stand beside its base is merged in any case: what the kernels do not compute, on a device
or of a family that they do not know, and adapters of experts. Which way it goes is the caller's to say, and does not
depend on what is loaded: answers are the same but for rounding, which may decide between two tokens that are as likely
as each other.

The base is looked for where models are (a name, ``local:…``, a path, a repository of the hub that was fetched), and
never fetched: an adapter is a stranger's file, and does not decide what comes over the network.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, cast

from awsllm.errors import ConfigurationError, ModelNotFoundError

if TYPE_CHECKING:
    from awsllm.engine.native.beside import KernelAdapter
    from awsllm.store import Store

FOLDER: Final = "merged"
_CONFIG: Final = "adapter_config.json"
_MOST: Final = 8  # merged models that are kept
_PART: Final = ".part"
_FORGOTTEN: Final = 24 * 3600  # seconds, after which what is half merged is nobody's any more
VARIABLE: Final = "AWSLLM_ADAPTERS"
_DEFAULT: Final = "beside"

Way = Literal["beside", "merged"]


def wanted(way: Any = None) -> Way:
    """How adapters are computed: what a caller says, else the environment. Raises ``ConfigurationError``."""
    where, name = ("adapters", way) if way is not None else (VARIABLE, os.environ.get(VARIABLE) or _DEFAULT)
    if name not in ("beside", "merged"):
        raise ConfigurationError(f"{where} is {name!r:.40}; write beside or merged")
    return cast("Way", name)


class FoundModel(NamedTuple):
    """The files of a model, and what stands beside it."""

    path: Path
    adapter: KernelAdapter | None = None


def beside(store: Store, path: Path) -> FoundModel | None:
    """The base of the adapter at ``path``, and that; None where it is to be ``merged``. Raises as that does."""
    from awsllm.engine.threads import import_torch

    import_torch()
    from awsllm.engine.native.beside import of_files
    from awsllm.engine.train import lora

    base = _base(store, path, lora.read_config(path)[1])
    adapter = of_files(base, path)
    return None if adapter is None else FoundModel(base, adapter)


def is_adapter(path: Path) -> bool:
    return path.is_dir() and (path / _CONFIG).is_file() and not (path / "config.json").exists()


def merged(store: Store, path: Path) -> Path:
    """The model that lies at ``path``; of an adapter's folder, the model that base and adapter make. Raises
    ``ConfigurationError`` or ``ModelNotFoundError`` for a base that is not here, and the engine's errors."""
    if not is_adapter(path):
        return path
    from awsllm.engine.threads import import_torch

    import_torch()
    from awsllm.engine.train import lora

    base = _base(store, path, lora.read_config(path)[1])
    identity = _identity(base, path)
    folder = store.cache_dir / FOLDER
    name = hashlib.sha256(identity.encode()).hexdigest()[:24]
    place = folder / name / "model.gguf" if base.is_file() else folder / name
    if not place.exists():
        folder.mkdir(parents=True, exist_ok=True)
        part = Path(mkdtemp(_PART, f"{name}.", folder))  # of this call: another thread may merge the same
        try:
            lora.merge_files(base, path, part / "model.gguf" if base.is_file() else part)
            if _identity(base, path) != identity:
                raise ConfigurationError(f"the adapter {path}, or its base, was changed while it was read: try again")
            _move(part, folder / name)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        _tidy(folder, folder / name)
    os.utime(folder / name)
    return place


def _identity(base: Path, adapter: Path) -> str:
    from awsllm.engine.native import files

    return "\n".join((files.identity(base), files.identity(adapter)))


def _move(part: Path, target: Path) -> None:
    """Whoever comes second has made the same."""
    try:
        part.rename(target)
    except OSError:
        if not target.exists():
            raise


def _tidy(folder: Path, but: Path) -> None:
    there = {one: made for one in folder.iterdir() if (made := _made(one)) is not None}
    old = sorted((one for one in there if one.suffix != _PART), key=lambda one: -there[one])[_MOST:]
    left = [one for one, made in there.items() if one.suffix == _PART and made < time.time() - _FORGOTTEN]
    for one in (*old, *left):
        if one != but:
            shutil.rmtree(one, ignore_errors=True)


def _made(path: Path) -> float | None:
    """When; None for what another process deleted in between."""
    try:
        return path.stat().st_mtime
    except OSError:
        return None


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
    if not (found.is_file() or found.is_dir()):
        raise ConfigurationError(f"the adapter {path} is for {name!r:.200}, which is neither a file nor a folder")
    if is_adapter(found):
        raise ConfigurationError(f"the adapter {path} is for another adapter, {name!r:.200}: merge that one first")
    return found


def _as_fetched(name: str) -> str | None:
    """What ``awsllm models pull`` would call it."""
    from awsllm.store import MODELS

    if name in MODELS or name.startswith("hf/"):
        return name
    return f"hf/{name}" if name.count("/") == 1 and not name.startswith((".", "/", "~")) else None


def _here(store: Store, name: str) -> Path | None:
    try:
        return store.find(name)
    except (ModelNotFoundError, RuntimeError, ValueError):  # or a home that nobody has, or no path at all
        return None
