"""Vectors that stand in the place of tokens in a prompt: what was seen in an image (``vision``).

A token's id says nothing of them, so prompts are told apart by ``content_keys`` (and by ``prefixes.block_keys``, whole
blocks at once).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from awsllm.engine.interface import Floats

Vectors: TypeAlias = Mapping[int, Floats]
"""By place among the tokens: a row (C,), C being the channels of the decoder."""


def content_keys(tokens: Sequence[int], vectors: Vectors | None) -> list[int]:
    """A number for each token, the same for two only where the same stands in its place: the token's own, or one below
    0 that the vector's bytes make."""
    keys = list(tokens)
    for place, row in (vectors or {}).items():
        digest = hashlib.blake2b(row.tobytes(), digest_size=8).digest()
        keys[place] = -1 - (int.from_bytes(digest, "little") >> 1)
    return keys


def part(vectors: Vectors | None, start: int, stop: int) -> Vectors | None:
    """Those of the tokens from ``start`` to ``stop``, by place among these; None where there are none."""
    if not vectors:
        return None
    return {place - start: vectors[place] for place in range(start, stop) if place in vectors} or None
