"""Weights in the tiles that the kernels of ``native`` read, and what the kernels compute with them, in PyTorch.

A tile is 16 rows of the matrix, group by group of 32 channels (``native/source/model.h`` draws it). 4-bit values, with
the scale and the minimum of their group, are taken over unchanged; all others become 8-bit ones with a scale a group.
Activations are 8-bit too, with a scale a group: products are sums of integers, exact in any order, and groups are added
one after the other, so that a row's result does not depend on what else is in the batch.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor
from torch.nn.functional import pad

from awsllm.engine.errors import ModelError
from awsllm.engine.native.processors import usable
from awsllm.engine.quant import AFFINE, GROUP, affine_parts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from awsllm.engine.quant import Stored

TILE: Final = 16
_SLICE: Final = 1 << 19  # values that are converted at once, in near memory


class Tiled:
    """A matrix (N, K) in tiles: ``data`` is uint8 (N / 16, K / 32, bytes of a tile's group)."""

    def __init__(self, parts: Sequence[Stored], *, bits: int | None = None) -> None:
        """``parts``: matrices of the same K, stacked. 4 bits unless a part has more; 8 where that is asked for."""
        self.count = sum(part.shape[0] for part in parts)
        self.columns = parts[0].shape[1]
        if self.columns % GROUP:
            raise ValueError(f"{self.columns} channels are no multiple of {GROUP}")
        self.bits = bits or (4 if all(part.type.name in AFFINE for part in parts) else 8)
        width = {4: 320, 8: 576}[self.bits]
        self.data = torch.empty((-(-self.count // TILE), self.columns // GROUP, width), dtype=torch.uint8)
        done, jobs = 0, []
        for some in _slices(parts):
            rows = sum(part.shape[0] for part in some)
            jobs.append((some, self.data[done : done + -(-rows // TILE)]))
            done += len(jobs[-1][1])
        if len(jobs) == 1 or (threads := usable()) == 1:
            for job in jobs:
                self._convert(*job)
            return
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(self._convert, *zip(*jobs, strict=True)))

    @torch.inference_mode()
    def _convert(self, parts: Sequence[Stored], place: Tensor) -> None:
        """Into its place at once: a large matrix is in memory once."""
        place.copy_(self._tiles(parts))

    def _tiles(self, parts: Sequence[Stored]) -> Tensor:
        if self.bits == 4:
            return _four_bits(*(torch.cat(column) for column in zip(*map(affine_parts, parts), strict=True)))
        return _eight_bits(torch.cat([part.float() for part in parts]))

    def weight(self) -> Tensor:
        """The values that the tiles hold, (N, K) float32."""
        tiles, groups, _ = self.data.shape
        size = 256 if self.bits == 4 else 512
        ends = self.data[:, :, size : size + 64].contiguous().view(torch.float16).float()  # (T, G, 32)
        scale, minimum = ends.view(tiles, groups, 2, TILE).unbind(2)
        packed = self.data[:, :, :size]
        if self.bits == 4:
            quads = packed.view(tiles, groups, 4, TILE, 4)
            values = torch.stack((quads & 15, quads >> 4), 4)  # (T, G, 4, 16, 2, 4): h, row, half, channel
            values = values.permute(0, 1, 3, 2, 4, 5)
        else:
            values = packed.view(tiles, groups, 8, TILE, 4).permute(0, 1, 3, 2, 4).float() - 128
            minimum = torch.zeros_like(minimum)
        values = values.reshape(tiles, groups, TILE, GROUP).float() * scale[..., None] + minimum[..., None]
        return values.permute(0, 2, 1, 3).reshape(tiles * TILE, -1)[: self.count]

    def __call__(self, x: Tensor) -> Tensor:
        return rounded(x.float()) @ self.weight().T

    def rows(self, index: Tensor) -> Tensor:
        """Some rows, (len(index), K), as float32: what an embedding table is asked for."""
        return self.weight()[index]


def rounded(x: Tensor) -> Tensor:
    """Activations (T, K) as 8-bit values with a scale a group keep them."""
    groups = x.view(*x.shape[:-1], -1, GROUP)
    peak = groups.abs().amax(-1, keepdim=True)
    inverse = torch.where(peak > 0, 127 / peak, 0)
    return ((groups * inverse).round_() * (peak / 127)).view(x.shape)


def _slices(parts: Sequence[Stored]) -> list[list[Stored]]:
    """The matrices as slices of whole tiles, but for the last; no large matrix is held as floats."""
    if len(parts) > 1 and any(part.shape[0] % TILE for part in parts[:-1]):
        return [list(parts)]
    rows = max(1, _SLICE // parts[0].shape[1] // TILE) * TILE
    return [[piece] for part in parts for piece in part.split(rows)]


def _four_bits(values: Tensor, scale: Tensor, minimum: Tensor) -> Tensor:
    """Values 0 to 15 (N, K), scale and minimum (N, K / 32) -> (N / 16, K / 32, 320)."""
    values = _whole_tiles(values)
    tiles, groups = len(values) // TILE, values.shape[1] // GROUP
    low, high = values.view(tiles, TILE, groups, 4, 2, 4).unbind(4)
    packed = (low | (high << 4)).permute(0, 2, 3, 1, 4).reshape(tiles, groups, -1)
    return torch.cat((packed, _ends(scale), _ends(minimum)), 2)


def _eight_bits(weight: Tensor) -> Tensor:
    """(N, K) float32 -> (N / 16, K / 32, 576)."""
    groups = weight.view(len(weight), -1, GROUP)
    scale = (groups.abs().amax(-1) / 127).to(torch.float16)  # exact for what was 8-bit in groups of 32 before
    divisor = scale.float().clamp(min=torch.finfo(torch.float16).smallest_normal / 1024)[..., None]
    values = (groups / divisor).round_().clamp_(-127, 127).add_(128).to(torch.uint8).view(len(weight), -1)
    values = _whole_tiles(values)
    tiles = len(values) // TILE
    packed = values.view(tiles, TILE, -1, 8, 4).permute(0, 2, 3, 1, 4).reshape(tiles, groups.shape[1], -1)
    ends = _ends(scale)
    return torch.cat((packed, ends, torch.zeros_like(ends)), 2)


def _whole_tiles(values: Tensor) -> Tensor:
    return pad(values, (0, 0, 0, -len(values) % TILE))


def _ends(numbers: Tensor) -> Tensor:
    """(N, K / 32) -> (N / 16, K / 32, 32) bytes: a float16 a row. Raises ``ModelError`` for what is no number: rounded
    activations would make a 0 of it, and nonsense of the answers."""
    numbers = _whole_tiles(numbers.to(torch.float16))
    if not bool(numbers.isfinite().all()):
        raise ModelError("a matrix holds weights that are not numbers, or above 8 million; download the file again")
    return numbers.view(-1, TILE, numbers.shape[1]).transpose(1, 2).contiguous().view(torch.uint8)
