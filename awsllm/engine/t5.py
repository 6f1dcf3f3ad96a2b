"""T5: an encoder that reads a whole text, and a decoder that writes one while it looks at what was read.

To the scheduler it is a model like any other (``interface``). A prompt is the text's tokens and then the one that the
decoder begins with; it is computed at once (``block`` is the whole context), so nothing of it is shared with other
prompts: each token of the text sees those behind it, too. The encoder takes each text alone, the decoder a token of
each sequence at once, whose rows do not depend on each other with packed weights (``quant``).

Against the decoders of ``model``: places are not told to the tokens but to attention, as a bias by the distance
between two tokens, learned a head for some 32 ranges of distance (``Distances``); scores are not scaled by the width of
a head; norms scale and do not centre; no linear map has a bias.

Shapes: T tokens, C channels, H heads, D channels of a head, S tokens that are seen.
The residual stream is float32; linear maps and attention use the dtype of the chosen precision.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from awsllm.engine import t5_config, weights
from awsllm.engine.errors import ModelError
from awsllm.engine.formats import U8
from awsllm.engine.mlp import GatedMLP, PlainMLP
from awsllm.engine.norms import RMSNorm
from awsllm.engine.quant import DTYPES, Dense, Int8, Linear, Precision, Stored, pack, pack_table
from awsllm.engine.t5_config import T5Config

if TYPE_CHECKING:
    from awsllm.engine.interface import Chunk, Floats, TokenCache

_QUERIES: Final = 256  # tokens of an input whose scores are held at once
_UNUSED: Final = "EncDecAttention.relative_attention_bias.weight"  # T5's first files have one, and nothing reads it


class T5Cache:
    """One sequence's keys and values: those of the text that was read, and those of the answer so far.

    ``length`` counts the tokens of both, as the scheduler does.
    """

    long = False

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.length = 0
        self.read = 0  # tokens of the text
        self.crossed: list[tuple[Tensor, Tensor]] = []  # a layer: keys and values of the text, (1, H, S, D)
        self.own: Tensor | None = None  # (layers, 2, H, capacity, D)

    @property
    def nbytes(self) -> int:
        if self.own is None:
            return 0
        written = self.length - self.read
        return sum(k.nbytes + v.nbytes for k, v in self.crossed) + self.own.nbytes // self.own.shape[3] * written

    def copy_prefix(self, source: TokenCache, length: int) -> None:
        raise TypeError("what was read of one text is nothing for another")


class Distances:
    """What attention adds for how far a token is from the one that looks at it."""

    def __init__(self, weight: Tensor, config: T5Config, *, both_ways: bool, dtype: torch.dtype) -> None:
        """``weight``: (buckets, H). Beyond ``max_distance`` all distances are one."""
        self.most = config.max_distance
        offsets = torch.arange(-self.most, self.most + 1)  # of the token that is seen, from the one that looks
        buckets = _buckets(offsets, config.buckets, self.most, both_ways=both_ways)
        self.by_offset = weight[buckets].T.to(dtype).contiguous()  # (H, 2 most + 1)

    def __call__(self, queries: range, seen: int) -> Tensor:
        """(1, H, len(queries), seen): for tokens at these places, over the first ``seen``."""
        device = self.by_offset.device
        offsets = torch.arange(seen, device=device) - torch.arange(queries.start, queries.stop, device=device)[:, None]
        return self.by_offset[:, offsets.clamp_(-self.most, self.most) + self.most].unsqueeze(0)


def _buckets(offsets: Tensor, count: int, most: int, *, both_ways: bool) -> Tensor:
    """The range of each distance: half of them for one distance each, the others growing (Raffel et al., 2020, 2.1)."""
    first = torch.zeros_like(offsets)
    if both_ways:
        count //= 2
        first = (offsets > 0).long() * count
        distances = offsets.abs()
    else:
        distances = offsets.neg().clamp(min=0)
    exact = count // 2
    growing = torch.log(distances.float().clamp(min=1) / exact) / math.log(most / exact) * (count - exact)
    far = (exact + growing.long()).clamp(max=count - 1)
    return first + torch.where(distances < exact, distances, far)


@dataclass(frozen=True, slots=True)
class _Self:
    """What a block does with its own tokens: norm, attention among them."""

    norm: RMSNorm
    qkv: Linear  # (C) -> (3 H D)
    output: Linear  # (H D) -> (C)


@dataclass(frozen=True, slots=True)
class _Cross:
    """What a block of the decoder does with the text that was read."""

    norm: RMSNorm
    query: Linear  # (C) -> (H D)
    key_value: Linear  # (C) -> (2 H D)
    output: Linear


@dataclass(frozen=True, slots=True)
class _Block:
    own: _Self
    cross: _Cross | None  # of the decoder's alone
    mlp_norm: RMSNorm
    mlp: GatedMLP | PlainMLP


class T5:
    """A model that is ready to run. Not safe for use by several threads at once."""

    drafts: Final = 0

    def __init__(self, checkpoint: weights.Checkpoint, precision: Precision, device: torch.device) -> None:
        self.config = config = t5_config.read(checkpoint.source)
        self.device, self.dtype = device, DTYPES[precision]
        self.block = config.context  # a prompt is computed at once
        parts = _Parts(config, dict(checkpoint.tensors), precision, device)
        self.embedding = parts.shared()
        self.encoder = [parts.block("encoder", index) for index in range(config.encoder_layers)]
        self.decoder = [parts.block("decoder", index) for index in range(config.decoder_layers)]
        self.encoder_distances = parts.distances("encoder")
        self.decoder_distances = parts.distances("decoder")
        self.encoder_norm = parts.norm("encoder.final_layer_norm")
        self.decoder_norm = parts.norm("decoder.final_layer_norm")
        self.head: Linear = parts.table("lm_head.weight") if "lm_head.weight" in parts.tensors else self.embedding
        parts.finish()

    def cache_bytes(self, capacity: int) -> int:
        config = self.config
        return config.decoder_layers * 2 * config.heads * config.head_dim * capacity * self.dtype.itemsize

    def new_cache(self, capacity: int) -> T5Cache:
        return T5Cache(capacity)

    @torch.inference_mode()
    def forward(self, chunks: Sequence[Chunk]) -> Floats:
        """Append the chunks to their caches; the logits after each, (len(chunks), V). A chunk for an empty cache is a
        text and the token that the decoder begins with; others are tokens of the decoder."""
        spans: list[_Span] = []
        for chunk in chunks:
            spans.append(self._span(chunk, spans[-1].stop if spans else 0))
        x = self.embedding.rows(torch.tensor([token for span in spans for token in span.tokens], device=self.device))
        for index, block in enumerate(self.decoder):
            x = self._decoder_block(block, index, x, spans)
        for chunk in chunks:
            chunk.cache.length += len(chunk.tokens)
        states = self.decoder_norm(x[[span.stop - 1 for span in spans]])
        if self.config.scaled_head:
            states = states * self.config.hidden_size**-0.5
        logits: Floats = self.head(states).float().cpu().numpy()
        return logits

    @torch.inference_mode()
    def encode(self, tokens: Sequence[int]) -> Tensor:
        """What the encoder makes of a text, (T, C)."""
        x = self.embedding.rows(torch.tensor(tokens, device=self.device))
        for block in self.encoder:
            q, k, v = self._heads(block.own.qkv(block.own.norm(x)), 3)
            mixed = [
                self._attend(q[:, :, start : start + _QUERIES], k, v, self._encoder_bias(start, len(tokens)))
                for start in range(0, len(tokens), _QUERIES)
            ]
            x = x + block.own.output(torch.cat(mixed)).float()
            x = x + block.mlp(block.mlp_norm(x)).float()
        return self.encoder_norm(x)

    def _encoder_bias(self, start: int, count: int) -> Tensor:
        return self.encoder_distances(range(start, min(start + _QUERIES, count)), count)

    def _span(self, chunk: Chunk, start: int) -> _Span:
        cache, tokens = _own(chunk.cache), list(chunk.tokens)
        if cache.length + len(tokens) > cache.capacity:
            raise ValueError(f"{cache.length + len(tokens)} tokens do not fit in a cache of {cache.capacity}")
        if cache.length == 0:
            self._read(cache, tokens[:-1])
            tokens = tokens[-1:]
        past = max(cache.length - cache.read, 0)
        live = past + len(tokens)
        bias = self.decoder_distances(range(past, live), live)
        if len(tokens) > 1:
            ahead = torch.ones(bias.shape[2:], dtype=torch.bool, device=self.device).triu_(past + 1)
            bias = bias.masked_fill(ahead, float("-inf"))
        return _Span(tokens, cache, start, past, bias)

    def _read(self, cache: T5Cache, tokens: list[int]) -> None:
        """Let the encoder read a text, and keep what the decoder's layers look at."""
        if not tokens:
            raise ValueError("a prompt is a text, and the token that the decoder begins with")
        states, config = self.encode(tokens), self.config
        crosses = [block.cross for block in self.decoder if block.cross is not None]
        cache.crossed = [(k, v) for k, v in (self._heads(cross.key_value(states), 2) for cross in crosses)]
        cache.read = len(tokens)
        shape = (config.decoder_layers, 2, config.heads, cache.capacity - cache.read, config.head_dim)
        cache.own = torch.empty(shape, dtype=self.dtype, device=self.device)

    def _decoder_block(self, block: _Block, index: int, x: Tensor, spans: Sequence[_Span]) -> Tensor:
        assert block.cross is not None  # noqa: S101 -- the decoder's blocks have it
        q, k, v = self._heads(block.own.qkv(block.own.norm(x)), 3)
        x = x + block.own.output(self._among_themselves(index, (q, k, v), spans)).float()
        (q,) = self._heads(block.cross.query(block.cross.norm(x)), 1)
        mixed = [self._attend(q[:, :, s.start : s.stop], *s.cache.crossed[index], None) for s in spans]
        x = x + block.cross.output(torch.cat(mixed)).float()
        return x + block.mlp(block.mlp_norm(x)).float()

    def _among_themselves(self, index: int, qkv: tuple[Tensor, ...], spans: Sequence[_Span]) -> Tensor:
        """Each sequence's new tokens look at its answer so far, themselves included: (T, H D)."""
        q, k, v = qkv
        mixed = []
        for span in spans:
            own, live = span.cache.own, span.past + len(span.tokens)
            assert own is not None  # noqa: S101 -- made when the text was read
            own[index, 0, :, span.past : live] = k[0, :, span.start : span.stop]
            own[index, 1, :, span.past : live] = v[0, :, span.start : span.stop]
            seen = own[index, :, None, :, :live]  # (2, 1, H, S, D)
            mixed.append(self._attend(q[:, :, span.start : span.stop], seen[0], seen[1], span.bias))
        return torch.cat(mixed)

    def _heads(self, x: Tensor, count: int) -> tuple[Tensor, ...]:
        """(T, count H D) -> count times (1, H, T, D)."""
        return x.view(len(x), count, self.config.heads, self.config.head_dim).permute(1, 2, 0, 3).unsqueeze(1).unbind()

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
        """(1, H, T, D) -> (T, H D)."""
        mixed = scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=1.0)
        return mixed[0].transpose(0, 1).reshape(q.shape[2], -1)


@dataclass(frozen=True, slots=True)
class _Span:
    """Where one sequence's new tokens lie among the T of the decoder; ``past`` of its tokens were taken before.

    ``bias``: what attention adds, (1, H, len(tokens), past + len(tokens)).
    """

    tokens: list[int]
    cache: T5Cache
    start: int
    past: int
    bias: Tensor

    @property
    def stop(self) -> int:
        return self.start + len(self.tokens)


def _own(cache: TokenCache) -> T5Cache:
    if not isinstance(cache, T5Cache):
        raise TypeError(f"a {type(cache).__name__} is no cache of this model")
    return cache


class _Parts:
    """The tensors of a checkpoint, each checked against the configuration and taken once."""

    def __init__(
        self, config: T5Config, tensors: dict[str, Stored], precision: Precision, device: torch.device
    ) -> None:
        self.config, self.tensors, self.precision, self.device = config, tensors, precision, device

    def shared(self) -> Dense | Int8:
        """The embeddings; those that stand in the file again, for one side, must be the same."""
        stored = self.take("shared.weight", self.config.vocab_size, self.config.hidden_size)
        for side in ("encoder", "decoder"):
            again = self.tensors.pop(f"{side}.embed_tokens.weight", None)
            if again is not None and not torch.equal(again.data, stored.data):
                raise ModelError(f"the {side} has embeddings of its own, which is not supported")
        return pack_table([stored], self.precision, self.device)

    def take(self, name: str, *shape: int) -> Stored:
        stored = weights.require(self.tensors, name)
        if stored.shape != shape or stored.type is U8:
            raise ModelError(f"tensor {name!r} has shape {stored.shape}, the configuration says {shape}")
        return self.tensors.pop(name)

    def table(self, name: str) -> Dense | Int8:
        stored = self.take(name, self.config.vocab_size, self.config.hidden_size)
        return pack_table([stored], self.precision, self.device)

    def norm(self, name: str) -> RMSNorm:
        weight = self.take(f"{name}.weight", self.config.hidden_size).float().to(self.device)
        return RMSNorm(weight, self.config.norm_eps, DTYPES[self.precision])

    def linear(self, prefix: str, names: Sequence[str], rows: int, columns: int) -> Linear:
        return pack([self.take(f"{prefix}{n}.weight", rows, columns) for n in names], self.precision, self.device)

    def distances(self, side: str) -> Distances:
        name = f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        weight = self.take(name, self.config.buckets, self.config.heads).float()
        found = Distances(weight, self.config, both_ways=side == "encoder", dtype=DTYPES[self.precision])
        found.by_offset = found.by_offset.to(self.device)
        return found

    def block(self, side: str, index: int) -> _Block:
        config, prefix = self.config, f"{side}.block.{index}.layer."
        c, inner = config.hidden_size, config.heads * config.head_dim
        own = _Self(
            norm=self.norm(f"{prefix}0.layer_norm"),
            qkv=self.linear(f"{prefix}0.SelfAttention.", "qkv", inner, c),
            output=self.linear(f"{prefix}0.SelfAttention.", "o", c, inner),
        )
        cross = self.cross(f"{prefix}1.", c, inner) if side == "decoder" else None
        last = f"{prefix}{1 if cross is None else 2}."
        names = ("wi_0", "wi_1") if config.gated else ("wi",)
        first = self.linear(f"{last}DenseReluDense.", names, config.intermediate_size, c)
        down = self.linear(f"{last}DenseReluDense.", ("wo",), c, config.intermediate_size)
        mlp = (GatedMLP if config.gated else PlainMLP)(first, down, config.activation)
        return _Block(own, cross, self.norm(f"{last}layer_norm"), mlp)

    def cross(self, prefix: str, c: int, inner: int) -> _Cross:
        return _Cross(
            norm=self.norm(f"{prefix}layer_norm"),
            query=self.linear(f"{prefix}EncDecAttention.", "q", inner, c),
            key_value=self.linear(f"{prefix}EncDecAttention.", "kv", inner, c),
            output=self.linear(f"{prefix}EncDecAttention.", "o", c, inner),
        )

    def finish(self) -> None:
        left = [name for name in self.tensors if not name.endswith(_UNUSED)]
        if left:
            raise ModelError(
                f"the model has tensors that a {self.config.family} model does not use ({', '.join(left[:3])} …): "
                "it is of an architecture that is not supported"
            )


def load(
    source: str | PathLike[str] | weights.Checkpoint, *, device: str = "cpu", precision: Precision | None = None
) -> T5:
    """Load a directory of safetensors and ``config.json``, as ``model.load`` does. ``precision`` is "packed" by default
    on the CPU and "bfloat16" elsewhere. Raises ``WeightsError`` or ``ModelError``."""
    where = torch.device(device)
    chosen: Precision = precision or ("packed" if where.type == "cpu" else "bfloat16")
    checkpoint = source if isinstance(source, weights.Checkpoint) else weights.read(source)
    with torch.inference_mode():
        return T5(checkpoint, chosen, where)
