"""Beginnings of prompts whose keys and values are known, found by one look-up a block.

A block of a prompt is known by a hash of its tokens and of the hash before it, so that a hash stands for everything up
to its block's end. ``Prefixes`` knows the caches of the sequences that are being computed, and keeps those of sequences
that ended, the last used last, in so many bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, cast

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from awsllm.engine.interface import Adapter, AdaptingModel, TokenCache, TokenModel
    from awsllm.engine.vectors import Vectors


def block_keys(
    tokens: Sequence[int], block: int, vectors: Vectors | None = None, adapter: Adapter | None = None
) -> list[bytes]:
    """A key for each whole block of a prompt. Prompts of whom a stranger chose one get another's keys and values only
    by a collision of BLAKE2b. ``vectors`` stand in the place of tokens; what an ``adapter`` computes is
    shared by those that have the same."""
    data, key, keys = np.array(tokens, "<i8"), b"" if adapter is None else adapter.key, list[bytes]()
    places = sorted(vectors or ())
    for stop in range(block, len(tokens) + 1, block):
        state = blake2b(key, digest_size=32)
        state.update(data[stop - block : stop].tobytes())
        while vectors and places and places[0] < stop:
            place = places.pop(0)
            state.update(place.to_bytes(8, "little"))
            state.update(np.ascontiguousarray(vectors[place], "<f4").tobytes())
        key = state.digest()
        keys.append(key)
    return keys


@dataclass(slots=True, eq=False)
class Prefix:
    """A cache, the keys of its prompt's blocks, and how many of these are computed."""

    cache: TokenCache
    keys: Sequence[bytes]
    computed: int = 0

    @classmethod
    def begun(cls, model: TokenModel, capacity: int, keys: Sequence[bytes], adapter: Adapter | None) -> Prefix:
        """One of which nothing is computed. With an adapter the model must be an ``AdaptingModel``."""
        if adapter is None:
            return cls(model.new_cache(capacity), keys)
        return cls(cast("AdaptingModel", model).new_cache(capacity, adapter), keys)


class Prefixes:
    """The prefixes that can be copied, those that are kept in ``budget`` bytes included."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._holders: dict[tuple[bool, bytes], dict[Prefix, None]] = {}  # by how their keys are turned, and by block
        self._kept: dict[Prefix, int] = {}  # and what each takes; the last used last
        self.nbytes = 0  # of those that are kept

    def __len__(self) -> int:
        return len(self._kept)

    def extend(self, prefix: Prefix, computed: int) -> None:
        """So many blocks of the prefix are there now."""
        for key in prefix.keys[prefix.computed : computed]:
            self._holders.setdefault((prefix.cache.long, key), {})[prefix] = None
        prefix.computed = max(prefix.computed, computed)

    def find(self, wanted: Prefix, most: int) -> tuple[int, Prefix | None]:
        """How many of the wanted prefix's first ``most`` blocks can be copied, and whence; None where no more than it
        has."""
        count, found = wanted.computed, None
        for key in wanted.keys[count:most]:
            holders = self._holders.get((wanted.cache.long, key))
            if holders is None:
                break
            count, found = count + 1, next(iter(holders))
        return count, found

    def touch(self, keys: Sequence[bytes]) -> None:
        """Whatever has most of these blocks is the last to go: it is about to be copied."""
        for long in (False, True):
            holders: Iterable[Prefix] = ()
            for key in keys:
                if (long, key) not in self._holders:
                    break
                holders = self._holders[long, key]
            for prefix in holders:
                if prefix in self._kept:
                    self._kept[prefix] = self._kept.pop(prefix)

    def keep(self, prefix: Prefix) -> None:
        """Its sequence ended: remember it, in the place of those that it contains and unless another contains it."""
        if not prefix.computed or self._is_kept(prefix):
            self._forget(prefix)
            return
        own = set(prefix.keys[: prefix.computed])
        long = prefix.cache.long
        for other in [one for one in self._kept if one.keys[one.computed - 1] in own and one.cache.long == long]:
            self._evict(other)
        if settle := getattr(prefix.cache, "settle", None):
            settle()
        self._kept[prefix] = prefix.cache.nbytes
        self.nbytes += self._kept[prefix]
        while self.nbytes > self._budget:
            self.evict()

    def _is_kept(self, prefix: Prefix) -> bool:
        keys = prefix.keys[: prefix.computed]
        self.touch(keys)
        return any(holder in self._kept for holder in self._holders[prefix.cache.long, keys[-1]])

    def evict(self) -> None:
        """Forget the one that was used longest ago."""
        self._evict(next(iter(self._kept)))

    def _evict(self, prefix: Prefix) -> None:
        self.nbytes -= self._kept.pop(prefix)
        self._forget(prefix)

    def _forget(self, prefix: Prefix) -> None:
        for key in prefix.keys[: prefix.computed]:
            place = (prefix.cache.long, key)
            del self._holders[place][prefix]
            if not self._holders[place]:
                del self._holders[place]
