"""One decoder for all architectures; what tells them apart is in ``Config``.

Families: Llama 2 and 3 (SmolLM2 is one), Mistral, Mixtral, Qwen 2 and 3 with and without experts, SmolLM3, Gemma 2 and
3, Phi-3 and Phi-4, Granite, OLMo 2, GPT-2, gpt-oss. A key of the configuration, or a tensor, that this model would not
use is refused: the file is of an architecture that only looks like these.

A forward pass takes chunks of several sequences at once, laid end to end: ``T`` counts the tokens of all of them, and
everything but attention works on (T, C) without knowing whose token is whose (``attention``). So prefill, decode and
any mixture of both are one code path.

Shapes: T tokens, C channels, H query heads, G key/value heads, D channels of a head, S tokens in the cache.
The residual stream is float32; linear maps, attention and the cache use the dtype of the chosen precision.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from awsllm.engine import config_gguf, config_json, layout, weights
from awsllm.engine.attention import Attention, KVCache, Span
from awsllm.engine.build import Builder, Layer
from awsllm.engine.errors import ModelError
from awsllm.engine.quant import DTYPES, Linear, Precision, Stored
from awsllm.engine.rope import Turning, turning

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from os import PathLike

    from numpy.typing import NDArray

    from awsllm.engine.config import Config
    from awsllm.engine.interface import Chunk

_Rotation = tuple[Tensor, Tensor]  # cosine and signed sine, (T, H + 2 G, D)
_Places = tuple[Tensor, "Tensor | None"]  # of each token, (T,): its position, and whether its sequence is a long one
_Attend = Callable[[Tensor, int, "Tensor | None"], Tensor]  # (T, H + 2 G, D), the layer, its sinks -> (T, H D)


class Decoder:
    """A model that is ready to run. Not safe for use by several threads at once."""

    def __init__(self, checkpoint: weights.Checkpoint, precision: Precision, device: torch.device) -> None:
        config, tensors = configure(checkpoint)
        self.config = config
        self.precision, self.device, self.dtype = precision, device, DTYPES[precision]
        build = Builder(config, tensors, precision, device)
        self.embedding = build.table("model.embed_tokens.weight")
        self.positions = build.positions() if config.rope is None else None
        self.layers = [build.layer(index) for index in range(config.layers)]
        self.norm = build.norm("model.norm")
        self.head: Linear = self.embedding if config.tied else build.table("lm_head.weight")
        self.attention = Attention(config)
        self.heads = (-1, config.heads + 2 * config.kv_heads, config.head_dim)  # what a projection's output is seen as
        self.residual = 1 if config.residual_scale == 1 else config.residual_scale  # a whole number takes less time
        ropes = [config.layer_rope(layer) for layer in range(config.layers)]
        distinct = [rope for rope in (config.rope, config.local_rope) if rope is not None]
        self.turnings = [turning(rope, config.head_dim, device) for rope in distinct]
        self.turned_by = [None if rope is None else distinct.index(rope) for rope in ropes]
        build.finish()

    def new_cache(self, capacity: int) -> KVCache:
        if self.positions is not None and capacity > len(self.positions):
            raise ValueError(f"the model has learned {len(self.positions)} positions, not {capacity}")
        return KVCache(self.config, capacity, self.dtype, self.device)

    @torch.inference_mode()
    def forward(self, chunks: Sequence[Chunk], *, every_token: bool = False) -> Tensor:
        """Append the chunks to their caches; the logits after each, (len(chunks), V), or of every token, (T, V)."""
        spans = list(self.attention.spans(chunks))
        tokens, places, long = self._laid(chunks, spans)
        x = self._embed(tokens, places)  # (T, C)
        for chunk, span in zip(chunks, spans, strict=True):
            if chunk.vectors:
                rows = torch.from_numpy(np.stack(list(chunk.vectors.values()))[:, : x.shape[1]]).to(x)
                if self.positions is not None:
                    rows += self.positions[[span.position + place for place in chunk.vectors]]
                x[[span.start + place for place in chunk.vectors]] = rows
        self._through(x, (places, long), lambda qkv, layer, sinks: self.attention(qkv, spans, layer, sinks))
        for chunk in chunks:
            chunk.cache.length += len(chunk.tokens)
        if not every_token and len(x) != len(spans):
            x = x[[span.stop - 1 for span in spans]]
        return self._logits(x)

    def _laid(self, chunks: Sequence[Chunk], spans: Sequence[Span]) -> tuple[Tensor, Tensor, Tensor | None]:
        """Of all chunks, end to end, (T,): the tokens, the position of each in its sequence, (T, 3) where tokens stand
        on three axes, and whether that is a long one, where that matters."""
        counts = [span.stop - span.start for span in spans]
        places = [span.position + i for span, count in zip(spans, counts, strict=True) for i in range(count)]
        long = None
        if any(turning.long is not None for turning in self.turnings):
            flags = [span.long for span, count in zip(spans, counts, strict=True) for _ in range(count)]
            long = torch.tensor(flags, device=self.device)
        tokens = [token for chunk in chunks for token in chunk.tokens]
        laid = torch.tensor(places, device=self.device)
        if self.config.rope is not None and self.config.rope.axes is not None:
            laid = torch.from_numpy(np.concatenate([_on_axes(chunk) for chunk in chunks])).to(self.device)
        return torch.tensor(tokens, device=self.device), laid, long

    def _embed(self, tokens: Tensor, places: Tensor) -> Tensor:
        x = self.embedding.rows(tokens)
        if self.config.embedding_scale != 1:
            x *= self.config.embedding_scale
        return x if self.positions is None else x + self.positions[places]

    def _through(self, x: Tensor, places: _Places, attend: _Attend) -> None:
        """Take the streams (T, C) through all layers, in place."""
        rotations = [self._rotation(turning, *places) for turning in self.turnings]
        for index, (layer, turned_by) in enumerate(zip(self.layers, self.turned_by, strict=True)):
            qkv = self._qkv(layer, x, None if turned_by is None else rotations[turned_by])
            mixed = layer.output(attend(qkv, index, layer.sinks))
            x.add_(
                mixed if layer.attention_after is None else layer.attention_after(mixed.float()), alpha=self.residual
            )
            moved = layer.mlp(layer.mlp_norm(x))
            x.add_(moved if layer.mlp_after is None else layer.mlp_after(moved.float()), alpha=self.residual)

    def _logits(self, x: Tensor) -> Tensor:
        logits = self.head(self.norm(x)).float()
        if self.config.logit_scale != 1:
            logits *= self.config.logit_scale
        if (cap := self.config.logit_cap) is not None:
            logits = (logits / cap).tanh() * cap
        return logits

    def _rotation(self, turning: Turning, places: Tensor, long: Tensor | None) -> _Rotation:
        """Cosine and signed sine of each token's position, (T, H + 2 G, D).

        Values go through the rotation with angle 0, so that keys and values reach the cache in one write.
        """
        if turning.axes is not None:
            angles = places.float()[:, turning.axes] * turning.frequencies
        elif turning.long is None or long is None:
            angles = torch.outer(places.float(), turning.frequencies)
        else:
            angles = places.float()[:, None] * torch.where(long[:, None], turning.long, turning.frequencies)
        cosine, sine = angles.cos()[:, None], angles.sin()[:, None]  # (T, 1, D / 2)
        if turning.amplitude is not None:
            cosine, sine = cosine * turning.amplitude, sine * turning.amplitude
        turned = (-1, self.config.heads + self.config.kv_heads, -1)
        values = torch.ones((len(angles), self.config.kv_heads, angles.shape[1]), device=self.device)
        cosine = torch.cat((cosine.expand(turned), values), 1)
        sine = torch.cat((sine.expand(turned), values.zero_()), 1)
        return torch.cat((cosine, cosine), -1), torch.cat((-sine, sine), -1)

    def _qkv(self, layer: Layer, x: Tensor, rotation: _Rotation | None) -> Tensor:
        """Queries, keys and values, turned to their positions: (T, C) -> (T, H + 2 G, D)."""
        qkv = layer.qkv(layer.attention_norm(x)).view(self.heads)
        if layer.qk_norm is not None:
            qkv = layer.qk_norm(qkv)
        if rotation is None:
            return qkv
        cosine, sine = rotation
        return (qkv * cosine + qkv.roll(self.config.head_dim // 2, -1) * sine).to(self.dtype)


def _on_axes(chunk: Chunk) -> NDArray[np.int32]:
    cache = chunk.cache
    if not isinstance(cache, KVCache) or cache.places is None:
        raise TypeError(f"a {type(cache).__name__} is no cache of this model")
    return cache.places.append(cache.length, len(chunk.tokens), chunk.vectors)


def configure(checkpoint: weights.Checkpoint) -> tuple[Config, dict[str, Stored]]:
    """What a checkpoint describes, and its tensors by the names that ``layout`` lists. Raises ``ModelError``."""
    tensors = dict(checkpoint.tensors)
    if checkpoint.is_gguf:
        config = config_gguf.read(checkpoint.source, tensors)
    else:
        config = config_json.read(checkpoint.source)
        tensors = layout.from_huggingface(tensors, config.family)
    layout.split(tensors, config)
    return config, tensors


def load(
    source: str | PathLike[str] | weights.Checkpoint, *, device: str = "cpu", precision: Precision | None = None
) -> Decoder:
    """Load a ``.gguf`` file, or a directory of safetensors and ``config.json``, or what ``weights.read`` made of one.

    ``precision`` is "packed" by default on the CPU (4-bit weights stay 4-bit, all others become 8-bit) and "bfloat16"
    elsewhere; "float32" is the reference. Raises ``GGUFError``, ``WeightsError`` or ``ModelError``, all ``ValueError``.
    """
    where = torch.device(device)
    chosen: Precision = precision or ("packed" if where.type == "cpu" else "bfloat16")
    if chosen == "packed" and where.type != "cpu":
        raise ModelError(f"packed weights run on the CPU only; use bfloat16 on {device}")
    with torch.inference_mode(), one_thread():
        checkpoint = source if isinstance(source, weights.Checkpoint) else weights.read(source)
        return Decoder(checkpoint, chosen, where)


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep PyTorch to one thread: packing is many short steps, after each of which several would wait for each other.

    On idle processors that costs a fifth of the time; where other programs keep them busy it saves nine tenths.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
