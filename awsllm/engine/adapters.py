"""Several adapters beside one base: sequences of one batch, each with its own or with none.

The base is computed once for all of them. Beside each linear map, rows of a sequence that has an adapter go through
that one's two narrow maps, and the results are added: nothing is merged, and an adapter takes its own few megabytes. A
sequence's adapter is that of its cache, since keys and values are the adapter's, too.

It is for PyTorch's ``Decoder``, on any device. The native kernels have their own (``native.beside``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from awsllm.engine import narrow
from awsllm.engine.attention import KVCache
from awsllm.engine.errors import ModelError
from awsllm.engine.mlp import GatedMLP, PlainMLP

if TYPE_CHECKING:
    from awsllm.engine.build import Layer
    from awsllm.engine.config import Config
    from awsllm.engine.interface import Chunk, Floats
    from awsllm.engine.model import Decoder
    from awsllm.engine.quant import Linear
    from awsllm.engine.train.peft_names import Pair


class AdapterCache(KVCache):
    """A sequence's keys and values, and the name of its adapter; "" is none."""

    adapter = ""


class _Rows:
    """Of the batch that is computed now: which rows are which adapter's."""

    def __init__(self) -> None:
        self.spans: list[tuple[slice, str]] = []


class _Beside:
    """A linear map, and what adapters have beside it: (inputs, rank) and (rank, outputs) of each, the first scaled."""

    def __init__(self, base: Linear, rows: _Rows, narrow: Mapping[str, Pair]) -> None:
        self._base, self._rows, self._narrow = base, rows, narrow

    def __call__(self, x: Tensor) -> Tensor:
        y = self._base(x)
        for rows, name in self._rows.spans:
            if (pair := self._narrow.get(name)) is not None:
                y[rows] += (x[rows].to(pair[0].dtype) @ pair[0] @ pair[1]).to(y.dtype)
        return y


class AdaptedModel:
    """A ``TokenModel`` of a decoder that is given away, with adapters by name. Used by one thread at a time."""

    block: Final = 64
    drafts: Final = 0

    def __init__(self, decoder: Decoder, folders: Mapping[str, Path]) -> None:
        """``folders``: adapters as peft writes them. Raises ``ModelError`` or ``WeightsError`` where one is not this
        model's, or has experts."""
        self.decoder, self._rows = decoder, _Rows()
        self.names = frozenset(folders)
        scaled = {name: narrow.read(folder, decoder.config) for name, folder in folders.items()}
        decoder.layers = [self._adapted(index, layer, scaled) for index, layer in enumerate(decoder.layers)]

    @property
    def config(self) -> Config:
        return self.decoder.config

    def cache_bytes(self, capacity: int) -> int:
        config = self.decoder.config
        return config.layers * 2 * config.kv_heads * config.head_dim * capacity * self.decoder.dtype.itemsize

    def new_cache(self, capacity: int, adapter: str = "") -> AdapterCache:
        if adapter and adapter not in self.names:
            raise ModelError(f"there is no adapter {adapter!r:.60}; there are {', '.join(sorted(self.names))}")
        made = AdapterCache(self.decoder.config, capacity, self.decoder.dtype, self.decoder.device)
        made.adapter = adapter
        return made

    def forward(self, chunks: Sequence[Chunk]) -> Floats:
        """As ``TokenModel.forward``; each chunk goes through the adapter of its cache."""
        logits: Floats = self.compute(chunks).cpu().numpy()
        return logits

    def compute(self, chunks: Sequence[Chunk], *, every_token: bool = False) -> Tensor:
        start = 0
        self._rows.spans = []
        for chunk in chunks:
            stop = start + len(chunk.tokens)
            if (name := getattr(chunk.cache, "adapter", "")) != "":
                self._rows.spans.append((slice(start, stop), name))
            start = stop
        return self.decoder.forward(chunks, every_token=every_token)

    # --- layers ------------------------------------------------------------------------------------------------------

    def _adapted(self, index: int, layer: Layer, scaled: Mapping[str, Sequence[Mapping[str, Pair]]]) -> Layer:
        parts = narrow.parts(self.decoder.config)

        def beside(base: Linear, name: str) -> Linear:
            pairs = {
                adapter: self._narrow([layers[index].get(part) for part in parts[name]], [*parts[name].values()])
                for adapter, layers in scaled.items()
                if any(part in layers[index] for part in parts[name])
            }
            return _Beside(base, self._rows, pairs) if pairs else base

        mlp = layer.mlp
        if isinstance(mlp, GatedMLP):
            mlp.gate_up, mlp.down = beside(mlp.gate_up, "up"), beside(mlp.down, "down")
        elif isinstance(mlp, PlainMLP):
            mlp.up, mlp.down = beside(mlp.up, "up"), beside(mlp.down, "down")
        return replace(layer, qkv=beside(layer.qkv, "qkv"), output=beside(layer.output, "output"), mlp=mlp)

    def _narrow(self, pairs: Sequence[Pair | None], rows: Sequence[int]) -> Pair:
        """Of maps that are computed as one: what goes in beside one another, what comes out each in its own rows."""
        device, going_in, coming_out, start = self.decoder.device, [], [], 0
        for pair, count in zip(pairs, rows, strict=True):
            if pair is not None:
                whole = pair[1].new_zeros(sum(rows), pair[1].shape[1])
                whole[start : start + count] = pair[1]
                going_in.append(pair[0])
                coming_out.append(whole)
            start += count
        dtype = torch.float32 if self.decoder.precision == "float32" else torch.bfloat16
        return (
            torch.cat(going_in).T.contiguous().to(device, dtype),
            torch.cat(coming_out, 1).T.contiguous().to(device, dtype),
        )
