"""Model files as named tensors: whatever the format, names and layout are those of Hugging Face checkpoints.

GGUF files carry llama.cpp's names, which a table turns back, and for the ``llama`` architecture llama.cpp's order of
the rows of the query and key projections: pairs that rotate together lie side by side there, half a head apart here.
Rows are whole blocks in every stored format, so that the order is undone on the quantised bytes.

safetensors files are an 8-byte length, a JSON header and the data. The header is checked as the GGUF reader checks its
own: nothing in it is trusted. Pickled checkpoints are refused, since reading one runs code.

How a family lays out what the names mean (fused projections, stacks of experts) is ``layout``'s.
"""

from __future__ import annotations

import json
import mmap
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from awsllm.engine import described, gguf
from awsllm.engine.errors import WeightsError
from awsllm.engine.formats import BF16, F16, F32, U8
from awsllm.engine.quant import Stored

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

MAX_HEADER: Final = 100_000_000
INDEX: Final = "model.safetensors.index.json"
_TENSOR_TYPES: Final = {"F32": F32, "F16": F16, "BF16": BF16, "U8": U8}
_SIZES: Final = {
    "F32": 4, "F16": 2, "BF16": 2, "F64": 8, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
    "U16": 2, "U32": 4, "U64": 8, "F8_E4M3": 1, "F8_E5M2": 1,
}  # fmt: skip

_GGUF_NAMES: Final = {
    "token_embd.weight": "model.embed_tokens.weight",
    "position_embd.weight": "model.positions.weight",
    "output_norm.weight": "model.norm.weight",
    "output_norm.bias": "model.norm.bias",
    "output.weight": "lm_head.weight",
    "rope_freqs.weight": "rope_freqs.weight",
}
_GGUF_LAYER_NAMES: Final = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_qkv": "self_attn.qkv_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_sinks": "self_attn.sinks",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_gate_inp": "mlp.router",
    "ffn_gate_exps": "mlp.experts.gate_proj",
    "ffn_up_exps": "mlp.experts.up_proj",
    "ffn_down_exps": "mlp.experts.down_proj",
    "post_ffw_norm": "post_feedforward_layernorm",
}
_GGUF_OTHERWISE: Final = {  # architectures whose names mean something else
    "gemma2": {"ffn_norm": "pre_feedforward_layernorm"},
    "gemma3": {"ffn_norm": "pre_feedforward_layernorm"},
    "phi3": {"ffn_up": "mlp.gate_up_proj"},
}
_PERMUTED: Final = ("llama", "smollm3", "granite")  # architectures whose pairs lie side by side


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """``source`` describes the model (GGUF's metadata or ``config.json``); ``tensors`` go by canonical name."""

    source: Mapping[str, Any]
    is_gguf: bool
    tensors: Mapping[str, Stored]


def read(path: str | PathLike[str]) -> Checkpoint:
    """Read a GGUF file, whatever its name, or a directory with ``config.json`` and safetensors. Nothing is dequantised
    yet."""
    where = Path(path)
    if where.is_file():
        return _from_gguf(where)  # judged by its first bytes: files of the Hugging Face cache have no suffix
    source, _ = described.read(where)
    return Checkpoint(source, False, _from_directory(where))


def _from_gguf(path: Path) -> Checkpoint:
    file = gguf.read(path)
    names = _layer_names(file.metadata)
    tensors: dict[str, Stored] = {}
    for name, info in file.tensors.items():
        stored = Stored(info.shape, info.type, torch.from_numpy(file.data(name)).view(info.shape[0], -1))
        if (count := _pairs_of(name, file.metadata)) is not None:
            stored = _halves(stored, count, name)
        if (found := _canonical(name, names)) in tensors:
            raise WeightsError(f"{path}: tensor {found!r} is there by two names")
        tensors[found] = stored
    return Checkpoint(file.metadata, True, tensors)


def _layer_names(metadata: Mapping[str, Any]) -> Mapping[str, str]:
    architecture = metadata.get("general.architecture")
    return _GGUF_LAYER_NAMES | (_GGUF_OTHERWISE.get(architecture, {}) if isinstance(architecture, str) else {})


def _pairs_of(name: str, metadata: Mapping[str, Any]) -> Any:
    """The heads of a tensor whose pairs lie side by side in the file; None where they do not."""
    architecture = metadata.get("general.architecture")
    if architecture not in _PERMUTED or not (".attn_q." in name or ".attn_k." in name):
        return None
    heads = metadata.get(f"{architecture}.attention.head_count", 0)
    return heads if ".attn_q." in name else metadata.get(f"{architecture}.attention.head_count_kv", heads)


def canonical(name: str, metadata: Mapping[str, Any]) -> str:
    """GGUF's name of a tensor in the file with this metadata, as ``read`` gives it."""
    return _canonical(name, _layer_names(metadata))


def as_in_gguf(name: str, value: torch.Tensor, metadata: Mapping[str, Any]) -> torch.Tensor:
    """The numbers of the tensor that GGUF calls ``name``, in the order in which the file has their rows: ``_halves``
    undone."""
    if (heads := _pairs_of(name, metadata)) is None:
        return value
    columns = value.shape[1] if value.ndim > 1 else 1
    return value.reshape(heads, 2, -1, columns).transpose(1, 2).reshape(value.shape)


def _halves(stored: Stored, heads: Any, name: str) -> Stored:
    """Reorder rows from pairs (0, 1), (2, 3) … to pairs (0, D / 2), (1, D / 2 + 1) …, head by head."""
    rows = stored.data.shape[0]
    if type(heads) is not int or heads < 1 or rows % (2 * heads):
        raise WeightsError(f"tensor {name!r} has {rows} rows, which {heads!r} heads do not divide in pairs")
    data = stored.data.view(heads, -1, 2, stored.data.shape[1]).transpose(1, 2)
    return Stored(stored.shape, stored.type, data.reshape(rows, -1))


def _canonical(name: str, names: Mapping[str, str]) -> str:
    """``blk.3.attn_q.weight`` -> ``model.layers.3.self_attn.q_proj.weight``; an unknown name stays as it is."""
    match name.split("."):
        case ["blk", layer, part, kind] if part in names:
            return f"model.layers.{layer}.{names[part]}.{kind}"
        case _:
            return _GGUF_NAMES.get(name, name)


def _from_directory(directory: Path) -> dict[str, Stored]:
    tensors: dict[str, Stored] = {}
    for file in _shards(directory):
        for name, stored in read_safetensors(file).items():
            if name in tensors:
                raise WeightsError(f"{directory}: tensor {name!r} is in two files")
            tensors[name] = stored
    return tensors


def _shards(directory: Path) -> list[Path]:
    """The files that the index lists, else every safetensors file. A name in the index cannot lead elsewhere."""
    if (index := directory / INDEX).is_file():
        listed = described.read_object(index).get("weight_map", {})
        if not isinstance(listed, dict) or not all(isinstance(name, str) for name in listed.values()):
            raise WeightsError(f"{index}: weight_map does not map tensors to files; download it again")
        names = sorted(set(listed.values()))
        files = [directory / name for name in names if Path(name).name == name]
        if len(files) != len(names) or not all(file.is_file() for file in files):
            raise WeightsError(f"{index}: a listed file is missing; download the model again")
        return files
    if files := sorted(directory.glob("*.safetensors")):
        return files
    raise WeightsError(f"{directory}: no .safetensors file (.bin and .pt are refused: loading them can run code)")


def read_safetensors(path: str | PathLike[str]) -> dict[str, Stored]:
    """The float tensors of one safetensors file, memory-mapped. Raises ``WeightsError``."""
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(MAX_HEADER, size - 8):
            raise WeightsError(f"{path}: the header's length is wrong; download the file again")
        header = _parse_header(file.read(length), path)
        buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    _check_spans({name: entry["data_offsets"] for name, entry in header.items()}, size - 8 - length, path)
    return {name: _view(entry, buffer, 8 + length) for name, entry in header.items() if entry["dtype"] in _TENSOR_TYPES}


def _parse_header(raw: bytes, path: str | PathLike[str]) -> dict[str, dict[str, Any]]:
    try:
        header = json.loads(raw, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: the header is not valid: {error}; download the file again") from None
    if not isinstance(header, dict):
        raise WeightsError(f"{path}: the header is not a JSON object; download the file again")
    header.pop("__metadata__", None)
    for name, entry in header.items():
        if (reason := _entry_fault(entry)) is not None:
            raise WeightsError(f"{path}: tensor {name!r}: {reason}")
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(result := dict(pairs)) != len(pairs):
        raise ValueError("a key appears twice")
    return result


def _entry_fault(entry: Any) -> str | None:
    """What is wrong with one tensor's header, if anything."""
    match entry:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(start), int(end)]}:
            if dtype not in _SIZES:
                return f"unknown dtype {dtype!r}"
            if not all(type(n) is int and n >= 0 for n in shape):
                return f"bad shape {shape!r}"
            if prod(shape) * _SIZES[dtype] != end - start:
                return f"{end - start} bytes do not hold shape {shape} of {dtype}"
            return None
        case _:
            return "needs dtype, shape and data_offsets"


def _check_spans(spans: Mapping[str, list[int]], size: int, path: str | PathLike[str]) -> None:
    """Spans lie one behind the other and fill the file exactly: the format allows no gap."""
    ordered = sorted(tuple(span) for span in spans.values())
    edges = [(0, 0), *ordered, (size, size)]
    if any(before[1] != after[0] for before, after in pairwise(edges)):
        raise WeightsError(f"{path}: tensors overlap, leave a gap or end past the file; download it again")


def _view(entry: Mapping[str, Any], buffer: mmap.mmap, base: int) -> Stored:
    start, end = entry["data_offsets"]
    shape = tuple(entry["shape"])
    if start == end:
        data = torch.empty(0, dtype=torch.uint8)
    else:
        data = torch.frombuffer(buffer, dtype=torch.uint8, offset=base + start, count=end - start)
    if shape and shape[0]:
        data = data.view(shape[0], len(data) // shape[0])
    return Stored(shape, _TENSOR_TYPES[entry["dtype"]], data)


def require(tensors: Mapping[str, Stored], name: str) -> Stored:
    """The tensor of that name."""
    if (stored := tensors.get(name)) is None:
        raise WeightsError(f"the model has no tensor {name!r}; the file is incomplete or of another architecture")
    return stored
