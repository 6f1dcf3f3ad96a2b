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

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from awsllm.engine import config_gguf, config_json, layout, weights
from awsllm.engine.attention import Attention, Chunk, KVCache, Span
from awsllm.engine.build import Builder, Layer
from awsllm.engine.quant import DTYPES, Linear, Precision
from awsllm.engine.rope import Turning, turning
from awsllm.engine.weights import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from os import PathLike

_Rotation = tuple[Tensor, Tensor]  # cosine and signed sine, (T, H + 2 G, D)


class Decoder:
    """A model that is ready to run. Not safe for use by several threads at once."""

    def __init__(self, checkpoint: weights.Checkpoint, precision: Precision, device: torch.device) -> None:
        tensors = dict(checkpoint.tensors)
        if checkpoint.is_gguf:
            config = config_gguf.read(checkpoint.source, tensors)
        else:
            config = config_json.read(checkpoint.source)
            tensors = layout.from_huggingface(tensors, config.family)
        layout.split(tensors, config)
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
        x = self._embed(chunks, spans)  # (T, C)
        rotations = [self._rotation(turning, spans) for turning in self.turnings]
        for index, (layer, turned_by) in enumerate(zip(self.layers, self.turned_by, strict=True)):
            qkv = self._qkv(layer, x, None if turned_by is None else rotations[turned_by])
            mixed = layer.output(self.attention(qkv, spans, index, layer.sinks))
            x.add_(
                mixed if layer.attention_after is None else layer.attention_after(mixed.float()), alpha=self.residual
            )
            moved = layer.mlp(layer.mlp_norm(x))
            x.add_(moved if layer.mlp_after is None else layer.mlp_after(moved.float()), alpha=self.residual)
        for chunk in chunks:
            chunk.cache.length += len(chunk.tokens)
        if not every_token and len(x) != len(spans):
            x = x[[span.stop - 1 for span in spans]]
        return self._logits(x)

    def _embed(self, chunks: Sequence[Chunk], spans: Sequence[Span]) -> Tensor:
        tokens = torch.tensor([token for chunk in chunks for token in chunk.tokens], device=self.device)
        x = self.embedding.rows(tokens)
        if self.config.embedding_scale != 1:
            x *= self.config.embedding_scale
        return x if self.positions is None else x + self.positions[self._places(spans)]

    def _logits(self, x: Tensor) -> Tensor:
        logits = self.head(self.norm(x)).float()
        if self.config.logit_scale != 1:
            logits *= self.config.logit_scale
        if (cap := self.config.logit_cap) is not None:
            logits = (logits / cap).tanh() * cap
        return logits

    def _places(self, spans: Sequence[Span]) -> Tensor:
        """The position of each token in its sequence, (T,)."""
        return torch.tensor(
            [span.position + i for span in spans for i in range(span.stop - span.start)], device=self.device
        )

    def _rotation(self, turning: Turning, spans: Sequence[Span]) -> _Rotation:
        """Cosine and signed sine of each token's position, (T, H + 2 G, D).

        Values go through the rotation with angle 0, so that keys and values reach the cache in one write.
        """
        places = self._places(spans).float()
        if turning.long is None:
            angles = torch.outer(places, turning.frequencies)
        else:
            counts = torch.tensor([span.stop - span.start for span in spans], device=self.device)
            rows = torch.stack([turning.long if span.long else turning.frequencies for span in spans])
            angles = places[:, None] * rows.repeat_interleave(counts, 0)
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
    with torch.inference_mode(), _one_thread():
        checkpoint = source if isinstance(source, weights.Checkpoint) else weights.read(source)
        return Decoder(checkpoint, chosen, where)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep PyTorch to one thread: packing is many short steps, after each of which several would wait for each other.

    On idle processors that costs a fifth of the time; where other programs keep them busy it saves nine tenths.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
