"""Which slots of a device's arena are taken, and by whose keys and values.

A slot is a ``KVCache`` whose memory lies in the arena. It is given back when nobody holds the cache any more, or when
the cache is settled: what is only to be copied from is moved out, into as much memory as it needs.
"""

from __future__ import annotations

import weakref
from heapq import heappop, heappush
from typing import TYPE_CHECKING

import torch

from awsllm.engine.attention import KVCache

if TYPE_CHECKING:
    from torch import Tensor

    from awsllm.engine.device_decoder import SlottedDecoder


class SlotCache(KVCache):
    """One sequence's place in the arena."""

    def __init__(self, data: Tensor, slot: int, capacity: int, *, long: bool) -> None:
        self.data, self.slot, self.capacity, self.long = data, slot, capacity, long
        self.length = 0
        self.release: weakref.finalize[[list[int], int], SlotCache] | None = None

    @property
    def nbytes(self) -> int:
        """All that is allocated for it."""
        return self.data.nbytes

    def settle(self) -> None:
        """Nothing will be appended any more: move what there is out of the arena, where there is memory for it."""
        if self.release is None or not self.release.alive:
            return
        try:
            self.data = self.data[:, :, : self.length].clone()
        except torch.OutOfMemoryError:
            return  # it goes on in its slot, until that is needed
        self.release()


class Slots:
    """The places of an arena, the first that is free being given first: a step computes all up to the last in use."""

    def __init__(self, decoder: SlottedDecoder) -> None:
        self._decoder = decoder
        self._free = list(range(decoder.slots))

    def take(self, capacity: int) -> SlotCache:
        decoder = self._decoder
        if capacity > decoder.capacity:
            raise ValueError(f"{capacity} tokens do not fit in {decoder.capacity}, for which this device has room")
        if not self._free:
            raise MemoryError(f"all {decoder.slots} places of the device are taken")
        slot, rope = heappop(self._free), decoder.config.rope
        long = rope is not None and rope.long_after is not None and capacity > rope.long_after
        cache = SlotCache(decoder.arena[:, slot], slot, capacity, long=long)
        cache.release = weakref.finalize(cache, heappush, self._free, slot)
        cache.release.atexit = False
        return cache
