"""A model's weights as the kernels read them.

The kernels believe what they are given. So what they would read is held against the configuration first (``Packed``):
that each array is there, of the right type and size, and that no other is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from awsllm.engine.native.library import GROUP, TILE, TILE4, TILE8

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from awsllm.engine.build import Layer
    from awsllm.engine.config import Config
    from awsllm.engine.quant import Stored

Arrays = dict[str, "NDArray[Any]"]
ALIGNMENT: Final = 64
"""What an array begins at a multiple of, in bytes: the kernels load whole lines."""
_ANY: Final = -1
_MOST_EXPERTS: Final = 1 << 16  # of all layers together


@dataclass(frozen=True, slots=True)
class Packed:
    """``arrays``: see the function. Raises ``ValueError`` where they are not those of the configuration."""

    config: Config
    arrays: Arrays

    def __post_init__(self) -> None:
        if why := unfit(self.config):
            raise ValueError(why)
        expected = dict(wanted(self.config))
        if unknown := self.arrays.keys() - expected.keys():
            raise ValueError(f"no model of this configuration has {min(unknown)!r}")
        for name, shape in expected.items():
            array = self.arrays.get(name)
            if array is None:
                if name not in _OPTIONAL:
                    raise ValueError(f"{name} is missing")
            elif not _is(array, shape, np.dtype("uint8" if name.endswith(".tiles") else "float32")):
                raise ValueError(f"{name} is {array.dtype} {array.shape}, not {shape}")


def _is(array: NDArray[Any], shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    if array.dtype != dtype or array.ndim != len(shape) or not array.flags.c_contiguous:
        return False
    if dtype == np.uint8:
        sizes = (TILE4, TILE8) if shape[2] == _ANY else shape[2:]
        return array.shape[:2] == shape[:2] and array.shape[2] in sizes and not array.ctypes.data % ALIGNMENT
    return all(wanted in (size, _ANY) for size, wanted in zip(array.shape, shape, strict=True))


def wanted(config: Config) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every array of a model by its name, with its shape; -1 is any size, of tiles either."""
    channels = config.hidden_size
    yield "table.tiles", (*_tiles(config.vocab_size, channels)[:2], TILE8)  # rows of it are looked up, as 8-bit ones
    if not config.tied:
        yield "head.tiles", _tiles(config.vocab_size, channels)
    yield from _norm(config, "final")
    if config.rope is None:
        yield "positions", (_ANY, channels)
    ropes = [rope for rope in (config.rope, config.local_rope) if rope is not None]
    for index in range(len(ropes)):
        yield from ((f"rope{index}.{part}", (config.head_dim // 2,)) for part in ("short", "long", "amplitude"))
    for index in range(config.layers):
        yield from _layer(config, str(index))


_OPTIONAL: Final = frozenset(f"rope{index}.{part}" for index in range(2) for part in ("long", "amplitude"))


def _layer(config: Config, index: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    channels, experts = config.hidden_size, config.experts
    inner = config.intermediate_size if experts is None else experts.size
    queries, keys = config.heads * config.head_dim, config.kv_heads * config.head_dim
    maps = [
        ("qkv", queries + 2 * keys, channels, config.qkv_bias),
        ("output", channels, queries, config.output_bias),
    ]
    for n in [""] if experts is None else [f"{n}." for n in range(experts.count)]:
        maps.append((f"{n}up", inner * (2 if config.gated else 1), channels, config.mlp_bias))
        maps.append((f"{n}down", channels, inner, config.mlp_bias))
    for name, rows, columns, bias in maps:
        shape = _tiles(rows, columns)
        yield f"{index}.{name}.tiles", shape
        if bias:
            yield f"{index}.{name}.bias", (shape[0] * TILE,)
    if experts is not None:
        yield f"{index}.router.weight", (experts.count, channels)
        if config.mlp_bias:
            yield f"{index}.router.bias", (experts.count,)
    norms = {"before": ("norm",), "after": ("after",), "around": ("norm", "after")}[config.norms]
    for part in ("attention", "mlp"):
        for place in norms:
            yield from _norm(config, f"{index}.{part}_{place}")
    if config.qk_norm is not None:
        yield f"{index}.qk_norm.weight", (config.heads + config.kv_heads, config.head_dim)
    if config.sinks:
        yield f"{index}.sinks", (config.heads,)


def _tiles(rows: int, columns: int) -> tuple[int, int, int]:
    return -(-rows // TILE), columns // GROUP, _ANY


def _norm(config: Config, name: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (config.hidden_size,)
    if config.layer_norm:
        yield f"{name}.bias", (config.hidden_size,)


def unfit(config: Config) -> str | None:
    """Why the kernels cannot compute the model; None where they can."""
    experts = config.experts
    if experts is not None and experts.count * config.layers > _MOST_EXPERTS:
        return f"{config.layers} layers of {experts.count} experts are too many"
    sizes = {
        "hidden_size": (config.hidden_size, GROUP),
        "the size of an MLP": (config.intermediate_size if experts is None else experts.size, GROUP),
        "the size of all heads": (config.heads * config.head_dim, GROUP),
        "head_dim": (config.head_dim, TILE),
    }
    return next((f"{name} {size} is no multiple of {of}" for name, (size, of) in sizes.items() if size % of), None)


def packed(config: Config, tensors: dict[str, Stored]) -> Packed:
    """A model in memory, all at once."""
    return Packed(config, {name: array for part in arrays(config, tensors) for name, array in part.items()})


def arrays(config: Config, tensors: dict[str, Stored]) -> Iterator[Arrays]:
    """The weights of a model, from what ``model.configure`` gives, by name.

    ``NAME.tiles`` and ``NAME.bias`` are a linear map's, other weights are float32. Layers are numbered, and experts in
    them: ``3.qkv.tiles``, ``3.17.up.tiles``. A layer comes at a time, and at both ends what belongs to none:
    ``config.layers + 2`` parts, of which no two need be in memory at once. Raises ``ModelError``.
    """
    import torch

    from awsllm.engine.build import Builder
    from awsllm.engine.rope import turning

    device = torch.device("cpu")
    build = Builder(config, tensors, "tiled", device)
    ropes = [rope for rope in (config.rope, config.local_rope) if rope is not None]
    first: dict[str, Any] = {f"rope{n}": turning(rope, config.head_dim, device) for n, rope in enumerate(ropes)}
    first["table"] = build.table("model.embed_tokens.weight")
    first["positions"] = build.positions() if config.rope is None else None
    yield _named(first)
    del first
    for index in range(config.layers):
        yield _named(_of_layer(f"{index}.", build.layer(index)))
    last = {"final": build.norm("model.norm")}
    yield _named(last if config.tied else last | {"head": build.table("lm_head.weight")})
    build.finish()


def _of_layer(prefix: str, layer: Layer) -> dict[str, Any]:
    names = ("attention_norm", "qkv", "qk_norm", "sinks", "output", "attention_after", "mlp_norm", "mlp_after")
    found = {f"{prefix}{name}": getattr(layer, name) for name in names}
    mlp: Any = layer.mlp
    mlps = {prefix: mlp}
    if (router := getattr(mlp, "router", None)) is not None:
        found |= {f"{prefix}router.weight": router.weight, f"{prefix}router.bias": router.bias}
        mlps = {f"{prefix}{n}.": expert for n, expert in enumerate(mlp.experts)}
    for name, each in mlps.items():
        found |= {f"{name}up": getattr(each, "gate_up", None) or each.up, f"{name}down": each.down}
    return found


def _named(parts: Mapping[str, Any]) -> Arrays:
    return {
        name: aligned(tensor.contiguous().numpy())
        for part, value in parts.items()
        for name, tensor in _tensors(part, value)
    }


def aligned(array: NDArray[Any]) -> NDArray[Any]:
    if array.ctypes.data % ALIGNMENT == 0:
        return array
    room = np.empty(array.nbytes + ALIGNMENT, np.uint8)
    begin = -room.ctypes.data % ALIGNMENT
    copy = room[begin : begin + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def _tensors(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    from awsllm.engine.build import Biased
    from awsllm.engine.norms import HeadNorm, LayerNorm, ProjectionNorm, RMSNorm
    from awsllm.engine.rope import Turning
    from awsllm.engine.tiles import Tiled

    match value:
        case Biased(linear=linear, bias=bias):
            yield from _tensors(name, linear)
            padded = bias.new_zeros(-len(bias) % TILE + len(bias))
            padded[: len(bias)] = bias
            yield f"{name}.bias", padded
        case Tiled(data=data):
            yield f"{name}.tiles", data
        case LayerNorm(weight=weight, bias=bias):
            yield from ((f"{name}.weight", weight), (f"{name}.bias", bias))
        case RMSNorm(weight=weight):
            yield f"{name}.weight", weight
        case HeadNorm(weight=weight):
            yield f"{name}.weight", weight
        case ProjectionNorm(weights=weights):
            yield f"{name}.weight", _stacked(weights)
        case Turning(frequencies=frequencies, long=long, amplitude=amplitude):
            parts = {"short": frequencies, "long": long, "amplitude": amplitude}
            yield from ((f"{name}.{part}", tensor) for part, tensor in parts.items() if tensor is not None)
        case None:
            pass
        case _ if hasattr(value, "numpy"):
            yield name, value


def _stacked(weights: Any) -> Any:
    import torch

    return torch.cat(tuple(weights))
