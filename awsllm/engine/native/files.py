"""Packed weights in a file that is mapped into memory, so that a model is there at once and shared between processes.

A file is ``_MAGIC``, the SHA-256 of the header, the header's length, the header as JSON, and arrays, each at a multiple
of 64 bytes. The header has the configuration, whose model it is (``identity``), where each array lies, and how long all
is. A file that is damaged, of another model or of another version is not read; whoever finds one so packs the model
again and puts a new one in its place.

Arrays are written as they are made, a layer at a time: no more of a model than that is in memory twice. The header
comes last, into room for the longest that it could be.

It appears by one rename, and only then has its full length, also after a loss of power, because file systems keep a
file's length behind its data. Nobody writes into one that is there: it may be mapped. Weights themselves are not
hashed: that would take longer than all else, and a bit that the disk has lost there makes an answer worse and does
nothing else, for no weight says where anything lies.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
import re
import tempfile
import time
from dataclasses import asdict, fields
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from awsllm.engine.config import Config, Experts, Rope
from awsllm.engine.native import packing
from awsllm.engine.native.library import LAYOUT
from awsllm.engine.native.packing import ALIGNMENT, Arrays, Packed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import BinaryIO

_MAGIC: Final = b"awsllm packed weights\n"
_DIGEST: Final = 32
_PREFIX: Final = len(_MAGIC) + _DIGEST + 8
_MOST: Final = 1 << 48  # bytes, to make room for their number
_MAX_HEADER: Final = 1 << 24
_DTYPES: Final = ("uint8", "float32")
_PART: Final = re.compile(r"(.*-)\d{5}(-of-\d{5}\.gguf)", re.DOTALL | re.IGNORECASE)
_SAMPLES, _SAMPLE = 16, 4096
_HOUR: Final = 3600.0  # seconds after which nobody still writes a file


def identity(path: Path, but: str = "") -> str:
    """What changes when a model's files do: their names, sizes, times and some of their bytes. Files that end in
    ``but`` are not its own.

    Times are whole seconds, as images of containers keep them.
    """
    parts = []
    for file in _files(path, but):
        stat = file.stat()
        parts.append((file.name, stat.st_size, int(stat.st_mtime), _sampled(file, stat.st_size)))
    return json.dumps([LAYOUT, parts])


def _files(path: Path, but: str) -> Iterator[Path]:
    """A model's own files. A GGUF file may be one of several."""
    if path.is_dir():
        yield from sorted(one for one in path.iterdir() if one.is_file() and not (but and one.name.endswith(but)))
    elif part := _PART.fullmatch(path.name):
        first, last = (text.lower() for text in part.groups())
        for one in sorted(path.parent.iterdir()):
            name = one.name.lower()
            if name.startswith(first) and name.endswith(last):
                yield one
    else:
        yield path


def _sampled(file: Path, size: int) -> str:
    """Of some bytes of a file, evenly spread."""
    digest = hashlib.sha256()
    with file.open("rb", buffering=0) as stream:
        for index in range(_SAMPLES):
            stream.seek(max(0, size - _SAMPLE) * index // (_SAMPLES - 1))
            digest.update(stream.read(_SAMPLE))
    return digest.hexdigest()[:32]


def write(where: Path, config: Config, parts: Iterable[Arrays], whose: str) -> None:
    """Write the file in one piece or not at all, each part as it comes. Raises ``OSError``, what ``parts`` raises, and
    ``ValueError`` where they have arrays that no such model has."""
    widest = {name: [_MOST, "float32", [_MOST] * len(shape)] for name, shape in packing.wanted(config)}
    room = len(_header(config, whose, widest, _MOST))
    start = _aligned(_PREFIX + room)
    where.parent.mkdir(parents=True, exist_ok=True)
    _sweep(where)
    handle, temporary = tempfile.mkstemp(dir=where.parent, prefix=f".{where.name}.", suffix=where.suffix)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(bytes(start))
            entries = {name: entry for part in parts for name, entry in _append(file, part, start)}
            header = _header(config, whose, entries, file.tell() - start)
            file.seek(0)
            file.write(_begin(header, room))
        os.replace(temporary, where)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _header(config: Config, whose: str, entries: Mapping[str, Any], size: int) -> bytes:
    return json.dumps({"identity": whose, "config": _plain(config), "arrays": entries, "size": size}).encode()


def _begin(header: bytes, room: int) -> bytes:
    if len(header) > room:
        raise ValueError("there are arrays that no such model has")
    header = header.ljust(room)
    return _MAGIC + hashlib.sha256(header).digest() + len(header).to_bytes(8, "little") + header


def _append(file: BinaryIO, part: Arrays, start: int) -> Iterator[tuple[str, list[Any]]]:
    for name, array in part.items():
        yield name, [file.tell() - start, str(array.dtype), list(array.shape)]
        file.write(array.data if array.nbytes else b"")
        file.write(bytes(-array.nbytes % ALIGNMENT))


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _sweep(where: Path) -> None:
    """Remove what was left by those who were killed while they wrote."""
    for left in where.parent.iterdir():
        if left.name.startswith(f".{where.name}.") and left.suffix == where.suffix:
            with contextlib.suppress(OSError):
                if time.time() - left.stat().st_mtime > _HOUR:
                    left.unlink()


def read(where: Path, whose: str) -> Packed | None:
    """The file's weights; None where it is missing, of another model or version, or not whole."""
    try:
        with where.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                return None
            digest, length = file.read(_DIGEST), int.from_bytes(file.read(8), "little")
            if length > _MAX_HEADER:
                return None
            text = file.read(length)
            if hashlib.sha256(text).digest() != digest:
                return None
            header = json.loads(text)
            start = _aligned(file.tell())
            if header["identity"] != whose or os.fstat(file.fileno()).st_size != start + header["size"]:
                return None
            buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return Packed(_config(header["config"]), _arrays(header["arrays"], buffer, start))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError):
        return None


def _arrays(entries: Mapping[str, Any], buffer: mmap.mmap, start: int) -> Arrays:
    arrays: Arrays = {}
    for name, (at, dtype, shape) in entries.items():
        if dtype not in _DTYPES or at % ALIGNMENT or at < 0 or min(shape) < 0:
            raise ValueError(name)
        arrays[name] = np.frombuffer(buffer, dtype, prod(shape), start + at).reshape(shape)
    return arrays


def _plain(config: Config) -> dict[str, Any]:
    return {name: sorted(v) if isinstance(v, frozenset) else v for name, v in asdict(config).items()}


def _config(values: dict[str, Any]) -> Config:
    kinds = {"rope": Rope, "local_rope": Rope, "experts": Experts}
    for name, kind in kinds.items():
        if values[name] is not None:
            values[name] = kind(**values[name])
    for name in ("still", "windowed"):
        if values[name] is not None:
            values[name] = frozenset(values[name])
    known = {field.name for field in fields(Config)}
    return Config(**{name: value for name, value in values.items() if name in known})
