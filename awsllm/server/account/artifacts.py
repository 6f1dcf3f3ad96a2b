"""What training jobs leave in S3, and which weights stand behind it.

Weights are known again by what they hold: an archive that was unpacked, copied or packed anew is still what a job here
trained, and whatever is made of it answers so. Files that no job here trained are not read: the model behind the
account answers for them, as ever.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path

from awsllm.server.account.account import Region
from awsllm.server.account.jobs import JobFailure, JobRecord, objects, write
from awsllm.server.account.packages import PACKAGES, container
from awsllm.types import JsonObject

MERGED, ADAPTER = "checkpoints/hf_merged", "checkpoints/hf"
"""Where serverless customisation puts a model's weights and its adapter, under the model package's URI (SageMaker SDK
3, ``BedrockModelBuilder._resolve_hf_model_path``)."""
_KNOWN = "trained-weights"  # the table of paths, by what the weights hold
_WEIGHTS = (".safetensors", ".gguf")
_LEVEL = 1  # of compression: weights hardly shrink
_SHRINKS, _ROOM = 20, 1 << 26  # how many times at most; and bytes that any archive may have
_BLOCK = 1 << 20


def files_of(path: Path, under: str = "") -> dict[str, bytes]:
    """The files of a model, or the one that it is, by their names under ``under``."""
    found = [path] if path.is_file() else sorted(one for one in path.iterdir() if one.is_file())
    return {f"{under}/{one.name}".lstrip("/"): one.read_bytes() for one in found}


def write_artifacts(region: Region, job: JobRecord, files: Mapping[str, bytes], *, packed: bool) -> str:
    """Where the artifact is: an archive, or a prefix."""
    base = f"{job.request['OutputDataConfig']['S3OutputPath'].rstrip('/')}/{job.name}/output"
    if not packed:
        for name, data in files.items():
            write(region, f"{base}/model/{name}", data)
        return f"{base}/model/"
    write(region, f"{base}/model.tar.gz", _archive(files))
    return f"{base}/model.tar.gz"


def _archive(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=_LEVEL) as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


# --- weights ---------------------------------------------------------------------------------------------------------


def remember(region: Region, files: Mapping[str, bytes], path: str) -> None:
    """That the weights among these files are those that lie at ``path``."""
    if (held := _held(_hashed(files))) is not None:
        region.state.table(_KNOWN)[held] = path


def weights_at(region: Region, uri: str) -> str | None:
    """Where the weights lie that were trained here and are at an ``s3://`` URI; None for anything else."""
    if not any(state.tables.get(_KNOWN) for state in region.account.states.values()):
        return None
    try:
        held = _held(_of_archive(region, uri) if uri.endswith(".tar.gz") else _of_prefix(region, uri))
    except (JobFailure, KeyError, tarfile.TarError, zlib.error, OSError, EOFError, ValueError, RecursionError):
        return None
    if held is None:
        return None
    found = (state.tables.get(_KNOWN, {}).get(held) for state in region.account.states.values())
    path: str | None = next(filter(None, found), None)
    return path


def _hashed(files: Mapping[str, bytes]) -> Iterator[tuple[str, str]]:
    return ((name, sha256(data).hexdigest()) for name, data in files.items() if name.endswith(_WEIGHTS))


def _of_archive(region: Region, uri: str) -> Iterator[tuple[str, str]]:
    with tarfile.open(fileobj=_Unpacked(objects(region).read(uri)), mode="r|") as archive:
        for member in archive:
            if member.isfile() and member.name.endswith(_WEIGHTS) and (file := archive.extractfile(member)):
                hashed = sha256()
                while block := file.read(_BLOCK):
                    hashed.update(block)
                yield member.name, hashed.hexdigest()


class _Unpacked(io.RawIOBase):
    """What an archive unpacks to, as far as that is in proportion: a few megabytes may say that they are terabytes."""

    def __init__(self, packed: bytes) -> None:
        self._file, self._left = gzip.GzipFile(fileobj=io.BytesIO(packed)), _ROOM + _SHRINKS * len(packed)

    def read(self, size: int = -1) -> bytes:
        found = self._file.read(min(size, _BLOCK) if size >= 0 else _BLOCK)
        self._left -= len(found)
        if self._left < 0:
            raise tarfile.ReadError("it unpacks to more than weights do")
        return found


def _of_prefix(region: Region, uri: str) -> Iterator[tuple[str, str]]:
    store = objects(region)
    return _hashed({one: store.read(one) for one in store.list(uri) if one.endswith(_WEIGHTS)})


def _held(weights: Iterator[tuple[str, str]]) -> str | None:
    """What a model's weights hold: the whole model's where an adapter's lie beside them."""
    found = {name: digest for name, digest in weights if "adapter_model" not in name}
    return " ".join(sorted(found.values())) or None


# --- what is made of them --------------------------------------------------------------------------------------------


def weights_of(region: Region, served: JsonObject) -> str | None:
    """The same for a container of a model, which names an artifact or a model package."""
    package: JsonObject | None = region.state.table(PACKAGES).get(str(served.get("ModelPackageName")))
    if package is not None:
        return weights_of(region, container(package))
    source = (served.get("ModelDataSource") or {}).get("S3DataSource") or {}
    uri = source.get("S3Uri") or served.get("ModelDataUrl")
    return weights_at(region, str(uri)) if uri else None
