"""A training script as SageMaker's containers fetch it: an archive in S3, the same bytes for the same files."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

from awsllm.errors import ConfigurationError, ValidationError

_MOST = 256 << 20  # bytes; what is larger is data, and belongs into a channel
_LEFT_OUT = frozenset(("__pycache__", "node_modules", "venv"))


def packed(script: str | os.PathLike[str], entry: str | None) -> tuple[bytes, str]:
    """``sourcedir.tar.gz`` of a file or a folder, and the name in it of what is run. Left out is what begins with a
    dot, and what is made of the rest. Raises ``ConfigurationError`` or ``ValidationError``."""
    path = Path(script).expanduser()
    if path.is_file():
        if entry not in (None, path.name):
            raise ValidationError(f"entry={entry!r} is of a folder; script= is the file {path.name}")
        return _archive([(path.name, path)]), path.name
    if not path.is_dir():
        raise ConfigurationError(f"there is no training script {path}")
    entry = entry or "train.py"
    files = sorted(_files(path))
    if entry not in dict(files):
        raise ConfigurationError(f"{path} has no {entry}: name the file that is run with entry=")
    return _archive(files), entry


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    root, size = folder.resolve(), 0
    for place, folders, names in os.walk(root):
        folders[:] = [one for one in folders if not one.startswith(".") and one not in _LEFT_OUT]
        for name in names:
            file = Path(place, name)
            if name.startswith(".") or not file.is_file():
                continue
            if not file.resolve().is_relative_to(root):
                raise ValidationError(
                    f"{file.relative_to(root)} is a link out of the folder: what it means is not sent"
                )
            size += file.stat().st_size
            if size > _MOST:
                raise ValidationError(
                    f"{folder} has more than {_MOST >> 20} MiB: data belong into S3, not beside a script"
                )
            yield file.relative_to(root).as_posix(), file


def _archive(files: list[tuple[str, Path]]) -> bytes:
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as archive,
    ):
        for name, path in files:
            content = path.read_bytes()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755 if os.access(path, os.X_OK) else 0o644
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
