"""An adapter as the kernels read it: beside a decoder's maps, for the sequences whose caches have it.

Its weights take two bytes each. What goes into a narrow channel and what comes out of it are divided by their largest,
and the product of both stands beside them: so no weight is too small or too large for float16.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from awsllm.engine.errors import WeightsError
from awsllm.engine.native import library, packing
from awsllm.engine.native.library import MAPS, TILE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from awsllm.engine.config import Config

_PAIR = tuple["NDArray[np.float32]", "NDArray[np.float32]"]
_FOUR: Final = 4  # a map's narrow channels are computed in fours


class KernelAdapter:
    """What stands beside the maps of one model. ``key`` is this one's alone: prompts are shared within an adapter."""

    def __init__(self, config: Config, layers: Sequence[dict[str, Sequence[tuple[int, _PAIR | None]]]]) -> None:
        """``layers``: of each layer and map the parts, each with its rows and its pair: what goes in (rank, K) and what
        comes out (rows, rank)."""
        self.dimensions, self.key = dimensions(config), os.urandom(16)
        self._arrays: list[NDArray[Any]] = []
        self._narrow = (library.Narrow * (len(layers) * len(MAPS)))(
            *(self._map(layer.get(name, ())) for layer in layers for name in MAPS)
        )
        self.address = ctypes.addressof(self._narrow)
        self.rank = max(each.rank for each in self._narrow)

    @classmethod
    def read(cls, folder: Path, config: Config) -> KernelAdapter:
        """An adapter as peft writes it. Raises what ``narrow.read`` raises."""
        from awsllm.engine import narrow

        described = narrow.parts(config)

        def pair(found: dict[str, Any], part: str) -> _PAIR | None:
            going_in, coming_out = found.get(part, (None, None))
            return None if going_in is None else (going_in.float().numpy(), coming_out.float().numpy())

        return cls(
            config,
            [
                {name: [(rows, pair(found, part)) for part, rows in own.items()] for name, own in described.items()}
                for found in narrow.read(folder, config)
            ],
        )

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self._arrays)

    def _map(self, parts: Sequence[tuple[int, _PAIR | None]]) -> library.Narrow:
        going_in, scales, made = [], [], []
        row = begin = 0
        for rows, pair in parts:
            if pair is not None:
                inward, outward, scale = _divided(*pair)
                tiles = outward.T.reshape(len(inward), rows // TILE, TILE).transpose(1, 0, 2)  # (tiles, rank, 16)
                made.append(library.NarrowPart(row // TILE, rows // TILE, begin, len(inward), self._kept(tiles)))
                going_in.append(inward)
                scales.append(scale)
                begin += len(inward)
            row += rows
        if not made:
            return library.Narrow()
        if more := -begin % _FOUR:
            going_in.append(np.zeros((more, going_in[0].shape[1]), np.float16))
            scales.append(np.zeros(more, np.float32))
        all_in, all_scales = self._kept(np.concatenate(going_in)), self._kept(np.concatenate(scales))
        return library.Narrow(all_in, all_scales, begin + more, len(made), (library.NarrowPart * 3)(*made))

    def _kept(self, array: NDArray[Any]) -> int:
        """The address of a copy that lives as long as this."""
        self._arrays.append(np.ascontiguousarray(array))
        return self._arrays[-1].ctypes.data


def dimensions(config: Config) -> tuple[int, ...]:
    """What the kernels go by where they look at an adapter's weights."""
    return (
        config.layers, config.hidden_size, config.heads, config.kv_heads, config.head_dim, config.intermediate_size
    )  # fmt: skip


def of_files(base: Path, folder: Path) -> KernelAdapter | None:
    """The adapter in ``folder`` for the model at ``base``, whose weights are not read; None where it is to be merged:
    the kernels do not compute the model here, or not what the adapter has changed. Raises ``ModelError``,
    ``WeightsError`` or ``GGUFError``."""
    from awsllm.engine import model, narrow, weights

    if library.kernels() is None:
        return None
    config, _ = model.configure(weights.read(base))
    if packing.unfit(config) is not None:
        return None
    try:
        return KernelAdapter.read(folder, config)
    except narrow.NotBesideError:
        return None


def _divided(
    inward: NDArray[np.float32], outward: NDArray[np.float32]
) -> tuple[NDArray[np.float16], NDArray[np.float16], NDArray[np.float32]]:
    """Both sides of a pair by the largest of each narrow channel, and the product of these. Raises ``WeightsError``."""
    most_in, most_out = np.abs(inward).max(1), np.abs(outward).max(0)
    with np.errstate(over="ignore", invalid="ignore"):
        if not np.isfinite(most_in * most_out).all():
            raise WeightsError("the adapter, as strong as its alpha says, holds what is no number")
    most_in[most_in == 0] = most_out[most_out == 0] = 1
    divided_in, divided_out = inward / most_in[:, None], outward / most_out
    return divided_in.astype(np.float16), divided_out.astype(np.float16), most_in * most_out
