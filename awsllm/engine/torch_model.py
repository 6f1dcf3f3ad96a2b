"""The PyTorch decoder as the scheduler sees a model: its logits as numpy arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from awsllm.engine.attention import KVCache
    from awsllm.engine.config import Config
    from awsllm.engine.interface import Chunk, Floats
    from awsllm.engine.model import Decoder


class TorchModel:
    """A ``TokenModel`` by PyTorch, on any device."""

    block: Final = 64
    drafts: Final = 0

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder

    @property
    def config(self) -> Config:
        return self.decoder.config

    def cache_bytes(self, capacity: int) -> int:
        config = self.decoder.config
        return config.layers * 2 * config.kv_heads * config.head_dim * capacity * self.decoder.dtype.itemsize

    def new_cache(self, capacity: int) -> KVCache:
        return self.decoder.new_cache(capacity)

    def forward(self, chunks: Sequence[Chunk]) -> Floats:
        logits: Floats = self.decoder.forward(chunks).cpu().numpy()
        return logits
