"""What this machine can do at most, measured by all threads at once: bytes read from memory, products of bytes.

Decoding one stream reads all weights for each token, so that memory bounds it; a prompt's tokens share what is read,
so that products bound it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from ctypes import CDLL, c_int64, c_void_p
from pathlib import Path
from typing import Any

import numpy as np

from awsllm.engine.native.library import GROUP, TILE, TILE4

_GROUPS = 18  # of a tile: 576 channels, whose weights and eight rows of activations stay in the nearest cache
_ROWS = 8
_LEAST = 1 << 28  # bytes to read
_TRIES = 5
_SECONDS = 0.06  # that a try takes, about


def measure(library: Path, threads: int) -> dict[str, float]:
    """Bytes and operations a second, the best of some tries. ``products``: dot products of bytes in registers;
    ``tiles``: the kernel's own loop over a tile, of eight rows, with data in the nearest cache; ``tiles_bytes``: what
    it takes of weights for one row, were memory no limit."""
    made = CDLL(str(library))
    return {
        "read": _bandwidth(made, threads),
        "products": _products(made, threads),
        "tiles": 2 * TILE * GROUP * _GROUPS * _ROWS * _tiles(made, threads, _ROWS),
        "tiles_bytes": TILE4 * _GROUPS * _tiles(made, threads, 1),
    }


def _rate(work: Callable[[int], Any], threads: int) -> float:
    """How often a second all threads together do something that is done ``n`` times by ``work(n)``."""
    begin = time.perf_counter()
    work(times := 1)
    while (taken := time.perf_counter() - begin) < _SECONDS / 8:
        times *= 4
        begin = time.perf_counter()
        work(times)
    times = max(1, int(times * _SECONDS / taken))
    return max(threads * times / _together([lambda: work(times)] * threads) for _ in range(_TRIES))


def _together(jobs: Sequence[Callable[[], Any]]) -> float:
    """Seconds until all are done, each by a thread."""
    started = [threading.Thread(target=job) for job in jobs]
    begin = time.perf_counter()
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    return time.perf_counter() - begin


def _bandwidth(made: CDLL, threads: int) -> float:
    part = max(_LEAST, 4 * last_cache()) // threads // 512 * 512
    data = [np.ones(part, np.uint8) for _ in range(threads)]
    made.read_all.argtypes = (c_void_p, c_int64, c_int64)
    jobs = [lambda array=array: made.read_all(array.ctypes.data, part, 1) for array in data]
    return max(threads * part / _together(jobs) for _ in range(4 * _TRIES))


def last_cache() -> int:
    """Bytes of the largest cache, 0 where that is not told."""
    sizes = Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")
    return max((int(size.read_text().strip().removesuffix("K")) << 10 for size in sizes), default=0)


def _products(made: CDLL, threads: int) -> float:
    made.products.argtypes, made.products.restype = (c_int64,), c_int64
    return made.products(1) * _rate(made.products, threads)


def _tiles(made: CDLL, threads: int, rows: int) -> float:
    """Tiles a second."""
    generator = np.random.default_rng(0)
    room = np.zeros(_GROUPS * TILE4 + 64, np.uint8)  # tiles lie at multiples of 64
    at = -room.ctypes.data % 64
    tile = room[at : at + _GROUPS * TILE4]
    values = generator.integers(-127, 128, _ROWS * _GROUPS * GROUP, np.int8)
    scale, local = np.ones(2 * _ROWS * _GROUPS, np.float32), threading.local()
    made.tile_loop.argtypes = (c_void_p, c_void_p, c_void_p, c_int64, c_int64, c_void_p, c_int64)

    def work(times: int) -> None:
        if not hasattr(local, "out"):
            local.out = np.empty(rows * TILE, np.float32)
        made.tile_loop(
            tile.ctypes.data, values.ctypes.data, scale.ctypes.data, _GROUPS, rows, local.out.ctypes.data, times
        )

    return _rate(work, threads)
