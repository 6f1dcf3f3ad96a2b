"""What the scheduler asks of a model, whatever computes it: token ids in, logits as numpy arrays out.

Nothing here imports PyTorch, nor do ``scheduler``, ``generate`` and ``grammar``: a model that is computed without it
starts without it. ``torch_model`` makes such a model of the PyTorch ``Decoder``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Floats: TypeAlias = NDArray[np.float32]
Words: TypeAlias = NDArray[np.int32]


class TokenCache(Protocol):
    """One sequence's keys and values: room for ``capacity`` tokens, of which the first ``length`` are live.

    A cache that can give memory back has ``settle()``, which is called when nothing will be appended to it any more.
    """

    length: int
    capacity: int
    long: bool  # how its keys are turned: nothing is copied between sequences that differ in it (``rope``)

    @property
    def nbytes(self) -> int:
        """The memory that it takes now: of what is allocated, what was never touched does not count where it is not
        resident."""
        ...

    def copy_prefix(self, source: TokenCache, length: int, /) -> None:
        """Take over the first ``length`` tokens of another cache of the same model."""
        ...


class Adapter(Protocol):
    """What a model has learned beside its weights. Keys and values are its own: ``key`` tells them from others'."""

    key: bytes


@dataclass(frozen=True, slots=True)
class Chunk:
    """The next tokens of one sequence, to be appended to its cache.

    ``vectors`` has, by index in ``tokens``, a row (C,) that stands in the place of that token's embedding. ``wanted``:
    of how many of its last tokens the logits are asked for; more than 1 of models with ``drafts`` alone.
    """

    tokens: Sequence[int]
    cache: TokenCache
    vectors: Mapping[int, Floats] | None = None
    wanted: int = 1


class TokenConfig(Protocol):
    @property
    def vocab_size(self) -> int: ...

    @property
    def context(self) -> int: ...


class TokenModel(Protocol):
    """A model as the scheduler sees it. Used by one thread at a time."""

    @property
    def config(self) -> TokenConfig: ...

    @property
    def block(self) -> int:
        """Tokens of a block: prompts are computed in blocks of so many, counted from their start."""
        ...

    @property
    def drafts(self) -> int:
        """How many tokens of an answer beside the next a step may compute: 0 unless the logits after each are bit by
        bit those of one token a step, and a cache forgets tokens when its ``length`` is set back."""
        ...

    def cache_bytes(self, capacity: int, /) -> int:
        """The most memory that a cache with room for so many tokens takes."""
        ...

    def new_cache(self, capacity: int, /) -> TokenCache:
        """A cache of this model's. Raises ``ValueError`` or ``MemoryError`` where it cannot have so much room."""
        ...

    def forward(self, chunks: Sequence[Chunk], /) -> Floats:
        """Append the chunks to their caches; the logits after each, (len(chunks), V), which the caller may change, and
        which are valid until the next call. Of a chunk with ``wanted`` there are so many rows."""
        ...


class AdaptingModel(TokenModel, Protocol):
    """A model that computes sequences of one batch with different adapters: ``native.decoder.KernelDecoder`` is one."""

    def new_cache(self, capacity: int, adapter: Adapter | None = None, /) -> TokenCache:
        """As ``TokenModel.new_cache``. Raises ``ValueError`` for an adapter that is another model's."""
        ...
