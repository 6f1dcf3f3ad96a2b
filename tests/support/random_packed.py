"""Small random models as the kernels read them, made without PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np

from awsllm.engine.config import Config, Rope
from awsllm.engine.native import packing
from awsllm.engine.native.library import TILE, TILE4, TILE8
from awsllm.engine.native.packing import Arrays, Packed

ROPE = Rope(1e4, 16, 64, {})


def small(**changes: Any) -> Config:
    values: dict[str, Any] = {
        "family": "llama", "vocab_size": 40, "hidden_size": 64, "intermediate_size": 96, "layers": 2, "heads": 4,
        "kv_heads": 2, "head_dim": 16, "context": 64, "norm_eps": 1e-5, "tied": True, "rope": ROPE,
    }  # fmt: skip
    return Config(**values | changes)


def packed(config: Config | None = None, bits: int = 4, seed: int = 0) -> Packed:
    config = config or small()
    random = np.random.default_rng(seed)
    return Packed(config, {name: _array(random, name, shape, bits) for name, shape in packing.wanted(config)})


def _array(random: np.random.Generator, name: str, shape: tuple[int, ...], bits: int) -> Any:
    if not name.endswith(".tiles"):
        size = tuple(64 if one < 0 else one for one in shape)
        return (1 + random.normal(0, 0.1, size)).astype(np.float32)
    bits = 8 if shape[2] == TILE8 else bits
    width, values = (TILE4, 256) if bits == 4 else (TILE8, 512)
    tiles = packing.aligned(np.zeros((*shape[:2], width), np.uint8))
    tiles[:, :, :values] = random.integers(1, 256, (*shape[:2], values))
    ends = tiles[:, :, values : values + 2 * TILE]
    ends[...] = random.uniform(0.01, 0.02, (*shape[:2], TILE)).astype(np.float16).view(np.uint8)
    if bits == 4:
        least = random.uniform(-0.16, -0.08, (*shape[:2], TILE)).astype(np.float16)
        tiles[:, :, values + 2 * TILE :] = least.view(np.uint8)
    return tiles


def same(one: Arrays, other: Arrays) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(array, other[name]) for name, array in one.items())
