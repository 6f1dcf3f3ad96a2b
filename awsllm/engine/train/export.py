"""A trained model as files: GGUF where it came from GGUF, else safetensors beside the files that it came with.

Of a GGUF file all is kept but the tensors that have changed, which are written anew: so the tokenizer, the template
and what llama.cpp reads stay as they were.
"""

from __future__ import annotations

import re
import shutil
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import torch
from torch import Tensor

from awsllm.engine import gguf, weights
from awsllm.engine.errors import ModelError
from awsllm.engine.formats import TYPES
from awsllm.engine.train.files import write_json, write_tensors
from awsllm.engine.train.laid import FileTensors

if TYPE_CHECKING:
    from awsllm.engine.quant import Stored

    _Like = Callable[[Stored, Tensor], Tensor]

_BLOCK: Final = 32
_FILE_TYPES: Final = {"F32": 0, "F16": 1, "Q8_0": 7}  # general.file_type, llama.cpp's llama_ftype
_NUMBERS: Final = {kind.name: number for number, kind in TYPES.items()}
_EXACT: Final = re.compile(r"ffn_gate_inp|position_embd|\.bias$")  # of which llama.cpp asks for floats
_FLOATS: Final = {"F32": torch.float32, "F16": torch.float16}
_BESIDE: Final = re.compile(r".*\.(json|jinja|model|txt)")
_TENSORS: Final = re.compile(r".*\.index\.json")


def export(
    source: Path, values: Mapping[str, Tensor], target: Path, *, kind: str = "Q8_0", like: _Like | None = None
) -> Path:
    """Write the model of ``source`` with other weights: a file ``target.gguf`` where that is GGUF, else the folder
    ``target``. ``values`` go by the trained decoder's names and may be a part of all; ``kind`` is how changed matrices
    are stored in GGUF, ``like`` gives a folder's tensors their type, that of the values by default."""
    if source.is_file():
        path = target.with_name(f"{target.name}.gguf")
        write_gguf(source, values, path, kind=kind)
        return path
    target.mkdir(parents=True, exist_ok=True)
    for each in source.iterdir():
        if each.is_file() and _BESIDE.fullmatch(each.name) and not _TENSORS.fullmatch(each.name):
            shutil.copyfile(each, target / each.name)
    checkpoint = weights.read(source)
    if "quantization_config" in checkpoint.source:  # what is written is not
        write_json(target / "config.json", {k: v for k, v in checkpoint.source.items() if k != "quantization_config"})
    write_tensors(target / "model.safetensors", FileTensors(checkpoint, values).of_folder(like or _as_given))
    return target


def _as_given(stored: Stored, value: Tensor) -> Tensor:
    return value


def as_stored(stored: Stored, value: Tensor) -> Tensor:
    """In the precision that the file had; of what had fewer bits than floats have, bfloat16."""
    return value.to(_FLOATS.get(stored.type.name, torch.bfloat16))


def write_gguf(source: Path, values: Mapping[str, Tensor], target: Path, *, kind: str = "Q8_0") -> None:
    """The GGUF file ``source`` with the tensors of ``values`` that differ from its own."""
    if kind not in _FILE_TYPES:
        raise ModelError(f"tensors are written as {', '.join(_FILE_TYPES)}, not {kind}")
    file, checkpoint = gguf.read(source), weights.read(source)
    tensors = FileTensors(checkpoint, values)
    named = {name: tensors.changed(weights.canonical(name, file.metadata)) for name in file.tensors}
    changed = {name: value for name, value in named.items() if value is not None}
    count, metadata = gguf.raw_metadata(source)
    metadata = _told(metadata, kind) if changed else metadata
    alignment = file.metadata.get("general.alignment", gguf.DEFAULT_ALIGNMENT)
    part = target.with_name(f"{target.name}.part")
    with part.open("wb") as out:
        _write(out, file, (count, metadata, alignment), dict(_encoded(file, changed, kind)))
    part.replace(target)


def _encoded(file: gguf.GGUF, changed: Mapping[str, Tensor], kind: str) -> Iterator[tuple[str, tuple[str, bytes]]]:
    """By GGUF's name: how a changed tensor is stored, and its bytes."""
    for name, value in changed.items():
        ordered = weights.as_in_gguf(name, value.float(), file.metadata)
        stored = "F32" if ordered.ndim == 1 or _EXACT.search(name) else kind
        if stored == "Q8_0" and ordered.shape[-1] % _BLOCK:
            stored = "F16"
        yield name, (stored, _bytes(ordered, stored))


def _bytes(value: Tensor, kind: str) -> bytes:
    if kind == "Q8_0":
        return _q8_0(value)
    return value.to({"F32": torch.float32, "F16": torch.float16}[kind]).contiguous().numpy().tobytes()


def _q8_0(value: Tensor) -> bytes:
    """Blocks of 32: a scale in half precision, and as many bytes (ggml's ``quantize_row_q8_0``)."""
    blocks = value.reshape(-1, _BLOCK)
    scale = blocks.abs().amax(1, keepdim=True) / 127
    inverse = torch.where(scale > 0, 1 / scale, torch.zeros_like(scale))
    numbers = (blocks * inverse).round().clamp(-127, 127).to(torch.int8)
    packed = torch.cat((scale.to(torch.float16).view(torch.int8), numbers), 1)
    return packed.contiguous().numpy().tobytes()


def _told(metadata: bytes, kind: str) -> bytes:
    """The metadata with another ``general.file_type``, where it has one: what most matrices are stored as."""
    key = b"general.file_type"
    at = metadata.find(struct.pack("<Q", len(key)) + key + struct.pack("<I", 4))  # 4: an unsigned int of 32 bits
    if at < 0:
        return metadata
    at += 8 + len(key) + 4
    return metadata[:at] + struct.pack("<I", _FILE_TYPES[kind]) + metadata[at + 4 :]


def _write(
    out: BinaryIO,
    file: gguf.GGUF,
    head: tuple[int, bytes, int],
    changed: Mapping[str, tuple[str, bytes]],
) -> None:
    count, metadata, alignment = head
    out.write(b"GGUF" + struct.pack("<IQQ", 3, len(file.tensors), count) + metadata)
    place = 0
    for name, info in file.tensors.items():
        stored, size = (
            (info.type.name, info.nbytes) if name not in changed else (changed[name][0], len(changed[name][1]))
        )
        dimensions = info.shape[::-1]  # innermost first
        out.write(struct.pack("<Q", len(name.encode())) + name.encode())
        out.write(struct.pack(f"<I{len(dimensions)}QIQ", len(dimensions), *dimensions, _NUMBERS[stored], place))
        place += _aligned(size, alignment)
    out.write(b"\0" * (_aligned(out.tell(), alignment) - out.tell()))
    for name in file.tensors:
        data = changed[name][1] if name in changed else file.data(name).tobytes()
        out.write(data + b"\0" * (_aligned(len(data), alignment) - len(data)))


def _aligned(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment
