"""Steps that the stored formats of ``quant`` and ``codebooks`` have in common: blocks are ``(n, bytes)`` uint8."""

from __future__ import annotations

import torch
from torch import Tensor


def half(blocks: Tensor, at: int) -> Tensor:
    """The float16 at byte ``at`` of each block, as float32 ``(n, 1)``."""
    return blocks[:, at : at + 2].contiguous().view(torch.float16).float()


def nibbles(packed: Tensor) -> Tensor:
    """(n, b) bytes -> (n, 2 b) values: all low halves, then all high halves."""
    return torch.cat((packed & 15, packed >> 4), dim=1)


def bits(packed: Tensor, width: int, run: int) -> Tensor:
    """(n, b) bytes -> (n, values): in each run of ``run`` bytes all lowest fields, then all next ones, and so on."""
    shifts = torch.arange(0, 8, width, dtype=torch.uint8)[:, None]
    fields = packed.view(len(packed), -1, 1, run) >> shifts
    return (fields & ((1 << width) - 1)).view(len(packed), -1)


def groups(scale: Tensor, values: Tensor) -> Tensor:
    """Multiply each group of values by its scale: (n, g) and (n, 256) -> (n, g, 256 / g)."""
    return scale[:, :, None] * values.float().view(len(values), scale.shape[1], -1)
