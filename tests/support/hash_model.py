"""A model whose next token depends on every token before it (if it ``repeats`` itself, often on two alone, so that
guesses are right), and whose steps take what a test says.

It is exact and fast, so that schedules can be tried by the hundred; and it is strict: a prompt that is not computed in
blocks from its start, or a cache that is not what it should be, is an assertion.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast
from weakref import WeakSet

import numpy as np

from awsllm.engine.interface import Chunk, Floats, TokenCache

VOCABULARY = 40
BYTES = 10  # of a token in a cache
_LOGITS = np.random.default_rng(5).standard_normal((251, VOCABULARY)).astype(np.float32) * 3


@dataclass(frozen=True)
class HashConfig:
    vocab_size: int = VOCABULARY
    context: int = 4000


class HashCache:
    long = False

    def __init__(self, capacity: int) -> None:
        self.capacity, self.length = capacity, 0
        self.states = [(0, 0, 0)]  # after each token that was written: a hash of all, and the last two

    @property
    def nbytes(self) -> int:
        return BYTES * self.length

    def copy_prefix(self, source: TokenCache, length: int) -> None:
        other = cast("HashCache", source)
        assert self.length < length <= min(other.length, self.capacity)
        self.states, self.length = other.states[: length + 1], length


class HashModel:
    """``before`` is called in each pass before anything is computed; ``step`` and ``token`` are the seconds that a pass
    takes, and each token of a prompt beside it."""

    def __init__(
        self, block: int = 8, *, step: float = 1.0, token: float = 1.0, drafts: int = 0, repeats: bool = False
    ) -> None:
        self.config, self.block = HashConfig(), block
        self.drafts, self.repeats = drafts, repeats
        self.step, self.token, self.now = step, token, 0.0
        self.before: Callable[[Sequence[Chunk]], None] = lambda chunks: None
        self.passes: list[list[int]] = []  # the lengths of the chunks
        self.caches: WeakSet[HashCache] = WeakSet()
        self.peak = 0  # bytes in caches

    def clock(self) -> float:
        return self.now

    def cache_bytes(self, capacity: int) -> int:
        return BYTES * capacity

    def new_cache(self, capacity: int) -> HashCache:
        cache = HashCache(capacity)
        self.caches.add(cache)
        return cache

    def forward(self, chunks: Sequence[Chunk]) -> Floats:
        self.before(chunks)
        self.passes.append([len(chunk.tokens) for chunk in chunks])
        assert len({id(chunk.cache) for chunk in chunks}) == len(chunks)
        rows = []
        for chunk in chunks:
            cache, count = cast("HashCache", chunk.cache), len(chunk.tokens)
            if chunk.wanted > 1:
                assert count == chunk.wanted <= 1 + self.drafts
            else:
                assert count == 1 or cache.length % self.block == 0
                assert count <= self.block
            assert cache.length + count <= cache.capacity
            del cache.states[cache.length + 1 :]
            for at, token in enumerate(chunk.tokens):
                row = b"" if chunk.vectors is None or at not in chunk.vectors else chunk.vectors[at].tobytes()
                state, _, before = cache.states[-1]
                state = zlib.crc32(token.to_bytes(2, "little") + row, state)
                cache.states.append((state, before, token))
                if at >= count - chunk.wanted:
                    rows.append(_LOGITS[self._row(*cache.states[-1])])
            cache.length += count
        prompts = (len(chunk.tokens) for chunk in chunks if len(chunk.tokens) > 1 == chunk.wanted)
        self.now += self.step + self.token * sum(prompts)
        self.peak = max(self.peak, sum(cache.nbytes for cache in self.caches))
        return np.array(rows, np.float32)

    def _row(self, state: int, before: int, token: int) -> int:
        return (before % 2 * 4 + token % 4 if self.repeats and state % 7 else state) % len(_LOGITS)
