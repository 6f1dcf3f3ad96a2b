"""Where a step's time goes: the phases of ``awsllm/engine/native/source/step.c``, by a library built with ``PROFILE``.

Such a library notes in each phase when it was over and how long threads waited for its end (``team.h``); others note
nothing, and cost nothing. The phases' memory is Python's, so it is read here.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator
from ctypes import c_int64, c_uint32
from typing import Any

import numpy as np

from awsllm.engine.interface import Chunk
from awsllm.engine.native.library import GROUP
from benchmarks.local.serving import random_tokens

_FEW = 4  # as in step.c: more rows are prepared by all threads together, in a phase of its own
ORDER = (
    "embedding", "norm", "queries, keys, values", "rope and cache", "attention", "attention's output", "MLP up",
    "MLP down", "head", "around the step",
)  # fmt: skip


class Phase(ctypes.Structure):
    _fields_ = (
        ("next", c_uint32), ("done", c_uint32), ("ended", c_int64), ("waited", c_int64), ("apart", c_uint32 * 10),
    )  # fmt: skip


def names(config: Any, rows: int) -> Iterator[str]:
    """What each phase of a step is, in their order: as ``WALK`` goes through them."""
    prepared = ["norm"] if rows > _FEW else []
    after = ["norm"] if config.norms in ("around", "after") else []
    whole = ["norm"] if config.qk_norm == "projection" else []
    late = ["attention"] if config.head_dim % GROUP else []
    mlp = prepared if config.experts is None else ["norm", "MLP up", "MLP up"]  # its router's two are counted with it
    layer = [
        *prepared, "queries, keys, values", *whole, "rope and cache", "attention", *late, "attention's output", *after,
        *mlp, "MLP up", "MLP down", *after,
    ]  # fmt: skip
    yield "embedding"
    for _ in range(config.layers):
        yield from layer
    yield from ("norm", "head")


def measure(model: Any, rows: int, steps: int, context: int) -> dict[str, Any]:
    """Milliseconds of a step's phases, and what share of the threads' time is waiting: means of the fastest quarter
    of so many steps, since others of the machine's programs only add to that.

    ``rows``: of so many sequences a token each; ``context``: tokens before it."""
    caches = [model.new_cache(context + steps) for _ in range(rows)]
    for stream, cache in enumerate(caches):
        model.forward([Chunk(random_tokens(context, stream), cache)])
    known = list(names(model.config, rows))
    phases = (Phase * model._team.struct.phase_count).from_address(model._team.struct.phases)
    taken, waiting = [], []
    for step in range(steps):
        ctypes.memset(phases, 0, ctypes.sizeof(phases))
        begin = time.monotonic_ns()
        model.forward([Chunk([100 + step], cache) for cache in caches])
        end = time.monotonic_ns()
        parts, waited = _read(phases, known, begin, end)
        taken.append([parts[name] for name in ORDER])
        waiting.append(waited / (model._team.struct.threads * (end - begin)))
    fastest = np.argsort([sum(step) for step in taken])[: max(1, steps // 4)]
    means = np.array(taken)[fastest].mean(axis=0) / 1e6
    return {
        "rows": rows,
        "ms": {name: float(value) for name, value in zip(ORDER, means, strict=True)},
        "waiting": float(np.array(waiting)[fastest].mean()),
        "bytes": _bytes(model),
    }


def _read(phases: Any, known: list[str], begin: int, end: int) -> tuple[dict[str, int], int]:
    """Nanoseconds by name, and those that all threads together waited."""
    used = [phase for phase in phases if phase.ended]
    if len(used) != len(known):
        raise RuntimeError(f"a step had {len(used)} phases, not the {len(known)} of this list: has step.c changed?")
    parts, last = dict.fromkeys(ORDER, 0), begin
    for name, phase in zip(known, used, strict=True):
        parts[name] += phase.ended - last
        last = phase.ended
    parts["around the step"] = end - last
    return parts, sum(phase.waited for phase in used)


def _bytes(model: Any) -> dict[str, int]:
    """The weights that a phase reads in all layers."""
    maps = {
        "qkv": "queries, keys, values", "output": "attention's output", "up": "MLP up", "down": "MLP down",
        "table" if model.config.tied else "head": "head",
    }  # fmt: skip
    found: dict[str, int] = {}
    for name, array in model._model.arrays.items():
        part = name.removesuffix(".tiles").rpartition(".")[2]
        if name.endswith(".tiles") and part in maps:
            found[maps[part]] = found.get(maps[part], 0) + array.nbytes
    return found
