"""How much of a device's memory conversations are given: planned once, when a model is loaded, and then allocated.

What is planned is what is allocated: a slot takes the same whatever is in it (``device_decoder``), so the scheduler
admits by what there is, and no conversation runs out of memory half way.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import torch

from awsllm.engine.errors import ModelError

if TYPE_CHECKING:
    from awsllm.engine.config import Config
    from awsllm.engine.scheduler import Bounds

_USED: Final = 0.9  # of what is free: allocators lose some to gaps, and others may use the device, too
_WORK: Final = 1 << 29  # bytes for what a step computes with
_PREFIXES: Final = 1 << 32  # bytes that prompts' beginnings may take at most, and
_SHARE: Final = 8  # of what is left, one part in so many
_LEAST: Final = 1024  # tokens of a conversation without which a model is of little use
_USUAL: Final = 8192  # tokens of a conversation that most keep within
_ROUND: Final = 64
_UNPLANNED: Final = 8  # conversations at once with models that are not of ``device_model``


@dataclass(frozen=True, slots=True)
class Room:
    """``slots`` conversations of ``capacity`` tokens each, and bytes for what is kept of old prompts."""

    slots: int
    capacity: int
    prefix_bytes: int


def plan(config: Config, token_bytes: int, free: int, bounds: Bounds) -> Room:
    """What fits in so many free bytes, within bounds: as many conversations as may be at once, or fewer where they
    would be short otherwise. ``token_bytes``: of a token's keys and values. Raises ``ModelError`` where that is too
    little to work with."""
    context = min(config.context, bounds.max_context or config.context)
    usable = int(free * _USED) - _WORK
    if bounds.max_bytes is not None:
        usable = min(usable, bounds.max_bytes)
    prefixes = max(0, min(_PREFIXES, usable // _SHARE))
    tokens = (usable - prefixes) // token_bytes - _ROUND
    slots = max(1, min(bounds.max_sequences, tokens // (min(context, _USUAL) + _ROUND)))
    capacity = min(context, tokens // slots - _ROUND)
    if capacity < context:
        capacity -= capacity % _ROUND
    if capacity < min(context, _LEAST):
        needed = _WORK + (min(context, _LEAST) + 2 * _ROUND) * token_bytes
        raise ModelError(
            f"the device has {max(0, free) / 1e9:.1f} GB free beside the model's weights, and a conversation needs "
            f"{needed / _USED / 1e9:.1f} GB: take a smaller model, end what else uses the device, or use device cpu"
        )
    return Room(slots, capacity, prefixes)


def unplanned(device: str, bounds: Bounds | None) -> Bounds | None:
    """What conversations may take with a model on a device that takes memory for each as it comes: half of what is
    free now. None on the CPU, where bounds hold as they are."""
    if device == "cpu" or bounds is None:
        return None
    room = free_bytes(torch.device(device)) // 2
    return replace(
        bounds,
        max_sequences=min(bounds.max_sequences, _UNPLANNED),
        max_bytes=room if bounds.max_bytes is None else min(room, bounds.max_bytes),
    )


def free_bytes(device: torch.device) -> int:
    """What can still be allocated there."""
    if device.type == "cuda":
        torch.cuda.empty_cache()  # what loading took and gave back counts as free
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    raise ModelError(f"what is free on {device.type!r} is not known: use cuda, mps or cpu")
