"""A decoder in an encoder's place, as Qwen3-Embedding is one: each token sees those before it, and the last one's
vector, before the head, stands for the text.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from awsllm.engine import model, weights
from awsllm.engine.encoder_config import EncoderPrecision
from awsllm.engine.interface import Chunk


class DecoderLayers:
    """What ``EncoderLayers`` is, by a ``Decoder`` without its head. Safe to share between threads, which take turns."""

    def __init__(self, decoder: model.Decoder) -> None:
        # what is done to logits is not done to vectors
        decoder.config = self.config = replace(decoder.config, logit_scale=1.0, logit_cap=None)
        decoder.head = _NoHead()
        self._decoder = decoder
        self._lock = threading.Lock()

    @classmethod
    def load(cls, directory: Path, device: str, precision: EncoderPrecision) -> DecoderLayers:
        checkpoint = weights.read(directory)
        tensors, source = checkpoint.tensors, dict(checkpoint.source)
        if not any(name.startswith("model.") for name in tensors):  # saved without the part that has a head
            tensors = {f"model.{name}": stored for name, stored in tensors.items()}
        if "lm_head.weight" not in tensors:
            source["tie_word_embeddings"] = True
        return cls(model.load(replace(checkpoint, tensors=tensors, source=source), device=device, precision=precision))

    @property
    def device(self) -> torch.device:
        return self._decoder.device

    @property
    def max_tokens(self) -> int:
        return self.config.context

    def __call__(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """The vectors of texts' tokens, (B, T, C), with zeros behind the shorter ones."""
        chunks = [Chunk(row, self._decoder.new_cache(len(row))) for row in rows]
        with self._lock:
            x = self._decoder.forward(chunks, every_token=True)
        return pad_sequence([*torch.split(x, [len(row) for row in rows])], batch_first=True)


class _NoHead:
    def __call__(self, x: Tensor) -> Tensor:
        return x
