"""The layers of an encoder: token ids in, a vector for each token out. ``EncoderConfig`` tells families apart.

Shapes: B texts, T tokens of the longest, H heads, D width of a head, C = H * D width of a token.

    x = norm(word[ids] + position[0..T] + type[types])                                  (B, T, C)
    x = norm(x + attention(x)); x = norm(x + mlp(x))        for each layer, or, with ``norms_before``,
    x = x + attention(norm(x)); x = x + mlp(norm(x))        and a norm at the end

Texts stand at the head of their rows, with padding behind them that no token attends to; so a text's vectors are those
that it has alone, but for rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from awsllm.engine.encoder_config import ENCODERS, EncoderConfig, EncoderError, EncoderPrecision, read_object

Pair = tuple[Tensor, Tensor | None]  # a linear map's, or a norm's, weight and bias
# Tokens that are computed at once, padding among them. MiniLM on a processor took 0.64 of the time for 1,024 that it
# took for 4,096: less is padding, and more stays in its caches. A GPU wants many at once.
_BATCH_TOKENS, _GPU_BATCH_TOKENS = 1024, 16384
_BUCKETS, _FARTHEST = 32, 128  # of MPNet's distances: half of them for each direction, exact near by
_INDEX = "model.safetensors.index.json"

_DTYPES: Mapping[EncoderPrecision, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}
ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "gelu_python": functional.gelu,
    "gelu_new": lambda x: functional.gelu(x, approximate="tanh"),
    "gelu_fast": lambda x: functional.gelu(x, approximate="tanh"),
    "gelu_pytorch_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "relu": functional.relu,
    "silu": functional.silu,
    "swish": functional.silu,
    "tanh": torch.tanh,
}


class _Names(NamedTuple):
    """What a family's files call its tensors; ``{}`` is a layer's number. ``qkv``: one tensor, or three to join."""

    words: str
    norm: str
    qkv: tuple[str, ...]
    out: str
    attention_norm: str
    up: str
    down: str
    mlp_norm: str


_BERT = _Names(
    words="embeddings.word_embeddings",
    norm="embeddings.LayerNorm",
    qkv=tuple(f"encoder.layer.{{}}.attention.self.{name}" for name in ("query", "key", "value")),
    out="encoder.layer.{}.attention.output.dense",
    attention_norm="encoder.layer.{}.attention.output.LayerNorm",
    up="encoder.layer.{}.intermediate.dense",
    down="encoder.layer.{}.output.dense",
    mlp_norm="encoder.layer.{}.output.LayerNorm",
)
_NAMES: Mapping[str, _Names] = {
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "mpnet": _BERT._replace(
        qkv=tuple(f"encoder.layer.{{}}.attention.attn.{name}" for name in "qkv"),
        out="encoder.layer.{}.attention.attn.o",
        attention_norm="encoder.layer.{}.attention.LayerNorm",
    ),
    "distilbert": _Names(
        words="embeddings.word_embeddings",
        norm="embeddings.LayerNorm",
        qkv=tuple(f"transformer.layer.{{}}.attention.{name}_lin" for name in "qkv"),
        out="transformer.layer.{}.attention.out_lin",
        attention_norm="transformer.layer.{}.sa_layer_norm",
        up="transformer.layer.{}.ffn.lin1",
        down="transformer.layer.{}.ffn.lin2",
        mlp_norm="transformer.layer.{}.output_layer_norm",
    ),
    "modernbert": _Names(
        words="embeddings.tok_embeddings",
        norm="embeddings.norm",
        qkv=("layers.{}.attn.Wqkv",),
        out="layers.{}.attn.Wo",
        attention_norm="layers.{}.attn_norm",
        up="layers.{}.mlp.Wi",
        down="layers.{}.mlp.Wo",
        mlp_norm="layers.{}.mlp_norm",
    ),
}
# What a file may hold beside the encoder: heads of other tasks, and numbers that follow from others.
_BESIDE = (
    "pooler.", "cls.", "lm_head.", "head.", "decoder.", "classifier.", "pre_classifier.", "vocab_", "qa_outputs.",
    "embeddings.position_ids", "embeddings.token_type_ids",
)  # fmt: skip


class EncoderTensors:
    """The tensors of a checkpoint, each of which is taken by name; ``EncoderError`` for one that is not there."""

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        self._values = dict(values)

    def take(self, name: str) -> Tensor:
        if (found := self._values.pop(name, None)) is None:
            raise EncoderError(f"the model has no tensor {name!r}; the file is incomplete or of another architecture")
        return found

    def pair(self, name: str, bias: bool = True) -> Pair:
        return self.take(f"{name}.weight"), self.take(f"{name}.bias") if bias else None

    def finish(self, without_effect: tuple[str, ...]) -> None:
        """Refuse what nobody took, such as adapters, which would change what is computed."""
        if left := sorted(name for name in self._values if not name.startswith(without_effect)):
            raise EncoderError(f"the model has a tensor {left[0][:100]!r}, which is not known")


@dataclass(frozen=True, slots=True)
class _Block:
    """Weights of one block; the three input projections of attention are one matrix (3C, C)."""

    qkv: Pair
    out: Pair
    attention_norm: Pair | None
    up: Pair
    down: Pair
    mlp_norm: Pair


class EncoderLayers:
    """Token ids to vectors. Holds no state between calls, so safe to share between threads."""

    def __init__(self, config: EncoderConfig, tensors: EncoderTensors) -> None:
        if config.activation not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            raise EncoderError(f"hidden_act {config.activation[:60]!r} is not supported; supported are {known}")
        names = _NAMES[config.family]
        self.config = config
        self._activation = ACTIVATIONS[config.activation]
        self._words = tensors.take(f"{names.words}.weight")
        self._positions = None if config.rope else tensors.take("embeddings.position_embeddings.weight")
        self._types = self._token_types(tensors)
        self._norm = tensors.pair(names.norm, config.norm_bias)
        self._layers = [self._layer(tensors, names, n) for n in range(config.layers)]
        self._last = tensors.pair("final_norm", config.norm_bias) if config.norms_before else None
        self._bias = _relative_bias(config, tensors) if config.relative else None  # (H, 2 positions - 1)
        if len(self._words) < config.vocab_size:
            raise EncoderError(f"the model has {len(self._words):,} tokens, its configuration {config.vocab_size:,}")
        if self._positions is not None and len(self._positions) < config.positions:
            raise EncoderError(f"the model has {len(self._positions)} positions for {config.positions} tokens")

    @property
    def device(self) -> torch.device:
        return self._words.device

    @property
    def max_tokens(self) -> int:
        return self.config.max_tokens

    def __call__(self, rows: Sequence[Sequence[int]], types: Sequence[Sequence[int]] | None = None) -> Tensor:
        """The vectors of texts' tokens, (B, T, C); those of padding mean nothing."""
        longest = max(map(len, rows))
        lengths = torch.tensor([len(row) for row in rows])
        ids = _padded(rows, longest, self.config.pad_id if self.config.after_pad else 0).to(self.device)
        real = None  # (B, T), where there is padding
        if int(lengths.min()) < longest:
            real = (torch.arange(longest) < lengths[:, None]).to(self.device)
        x = self._words[ids]
        if self._positions is not None:
            x = x + self._positions[self._places(ids)]
        if self._types is not None:
            x = x + (self._types[0] if types is None else self._types[_padded(types, longest, 0).to(self.device)])
        x = _layer_norm(x, self._norm, self.config.norm_eps)
        masks = (self._mask(longest, real, near=False), self._mask(longest, real, near=True))
        turns = None if self.config.rope is None else [self._turn(longest, base, x) for base in self.config.rope]
        for n, layer in enumerate(self._layers):
            near = n in self.config.windowed
            x = self._through(layer, x, masks[near], None if turns is None else turns[near])
        return x if self._last is None else _layer_norm(x, self._last, self.config.norm_eps)

    def _through(self, layer: _Block, x: Tensor, mask: Tensor | None, turn: tuple[Tensor, Tensor] | None) -> Tensor:
        eps = self.config.norm_eps
        if not self.config.norms_before:
            x = _layer_norm(x + self._attention(x, layer, mask, turn), layer.attention_norm, eps)
            return _layer_norm(x + self._mlp(x, layer), layer.mlp_norm, eps)
        x = x + self._attention(_layer_norm(x, layer.attention_norm, eps), layer, mask, turn)
        return x + self._mlp(_layer_norm(x, layer.mlp_norm, eps), layer)

    def _attention(self, x: Tensor, layer: _Block, mask: Tensor | None, turn: tuple[Tensor, Tensor] | None) -> Tensor:
        batch, tokens, width = x.shape
        qkv = functional.linear(x, *layer.qkv).view(batch, tokens, 3, self.config.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, H, T, D)
        if turn is not None:
            q, k = _turned(q, turn), _turned(k, turn)
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return functional.linear(y.transpose(1, 2).reshape(batch, tokens, width), *layer.out)

    def _mlp(self, x: Tensor, layer: _Block) -> Tensor:
        hidden = functional.linear(x, *layer.up)
        if not self.config.gated:
            return functional.linear(self._activation(hidden), *layer.down)
        hidden, gate = hidden.chunk(2, dim=-1)
        return functional.linear(self._activation(hidden) * gate, *layer.down)

    def _places(self, ids: Tensor) -> Tensor:
        """The position of each token. Where it is counted from behind that of padding, a text that names padding in so
        many words has tokens that are not counted."""
        if not self.config.after_pad:
            return torch.arange(ids.shape[1], device=ids.device)
        counted = ids != self.config.pad_id
        return counted.cumsum(1) * counted + self.config.pad_id

    def _mask(self, tokens: int, real: Tensor | None, *, near: bool) -> Tensor | None:
        """What is added to the scores, or true where a token is seen; None where all are. (B or 1, H or 1, T or 1, T).

        Every token sees itself, padding as well: of nothing at all there is no mean.
        """
        seen = None if real is None else real[:, None, None, :]
        if near and self.config.windowed and tokens > self.config.reach + 1:
            places = torch.arange(tokens, device=self.device)
            apart = (places[:, None] - places).abs()
            close = (apart <= self.config.reach)[None, None]
            seen = close if seen is None else (close & seen) | (apart == 0)
        if self._bias is None:
            return seen
        places = torch.arange(tokens, device=self.device)
        bias = self._bias[:, places - places[:, None] + self._bias.shape[1] // 2][None]  # (1, H, T, T)
        return bias if seen is None else bias.masked_fill(~seen, -math.inf)

    def _turn(self, tokens: int, base: float, like: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and signed sine of each position's angles, (T, D)."""
        width = self.config.hidden_size // self.config.heads
        pace = base ** (-torch.arange(0, width, 2, dtype=torch.float32) / width)
        angles = torch.outer(torch.arange(tokens, dtype=torch.float32), pace)
        cosine, sine = angles.cos(), angles.sin()
        return torch.cat((cosine, cosine), -1).to(like.device), torch.cat((-sine, sine), -1).to(like.device)

    def _token_types(self, tensors: EncoderTensors) -> Tensor | None:
        """BERT's two; RoBERTa has one, for all tokens."""
        if self.config.family in ("bert", "roberta", "xlm-roberta"):
            return tensors.take("embeddings.token_type_embeddings.weight")
        return None

    def _layer(self, tensors: EncoderTensors, names: _Names, n: int) -> _Block:
        config = self.config
        parts = [tensors.pair(name.format(n), config.attention_bias) for name in names.qkv]
        biases = [bias for _, bias in parts if bias is not None]
        bare = config.norms_before and n == 0  # the embeddings' norm is the first block's
        return _Block(
            qkv=(torch.cat([weight for weight, _ in parts]), torch.cat(biases) if biases else None),
            out=tensors.pair(names.out.format(n), config.attention_bias),
            attention_norm=None if bare else tensors.pair(names.attention_norm.format(n), config.norm_bias),
            up=tensors.pair(names.up.format(n), config.mlp_bias),
            down=tensors.pair(names.down.format(n), config.mlp_bias),
            mlp_norm=tensors.pair(names.mlp_norm.format(n), config.norm_bias),
        )


def in_batches(lengths: Sequence[int], device: torch.device) -> Iterator[list[int]]:
    """Which texts are computed together: the longest first, so that little of a batch is padding."""
    most = _BATCH_TOKENS if device.type == "cpu" else _GPU_BATCH_TOKENS
    order = sorted(range(len(lengths)), key=lambda n: -lengths[n])
    start = 0
    while start < len(order):
        count = max(1, most // max(lengths[order[start]], 1))
        yield order[start : start + count]
        start += count


def read_tensors(directory: Path, family: str, device: str, precision: EncoderPrecision) -> EncoderTensors:
    """All tensors of a directory, without what a model with a head puts before their names. Pickles are refused."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    prefix, dtype = ENCODERS[family].prefix, _DTYPES[precision]
    found: dict[str, Tensor] = {}
    for file in _files(directory):
        try:
            tensors = load_file(file)
        except (OSError, SafetensorError) as error:
            raise EncoderError(f"{file} cannot be read: {error}") from error
        for name, tensor in tensors.items():
            # gamma and beta: by these names early files have the norms' weights, and transformers reads them
            plain = name.removeprefix(prefix).replace("LayerNorm.gamma", "LayerNorm.weight")
            plain = plain.replace("LayerNorm.beta", "LayerNorm.bias")
            if plain in found:
                raise EncoderError(f"{directory}: tensor {plain!r} is there twice")
            found[plain] = tensor.to(device, dtype if tensor.is_floating_point() else None)
    return EncoderTensors(found)


def known_beside(tensors: EncoderTensors) -> None:
    """Refuse tensors that an encoder would not use, but those of heads of other tasks."""
    tensors.finish(_BESIDE)


def _files(directory: Path) -> list[Path]:
    if (directory / "model.safetensors").is_file() or not (directory / _INDEX).is_file():
        return [directory / "model.safetensors"]
    listed = read_object(directory / _INDEX).get("weight_map")
    names = sorted({str(name) for name in listed.values()}) if isinstance(listed, dict) else []
    if not names or not all(Path(name).name == name for name in names):
        raise EncoderError(f"{directory / _INDEX} does not map tensors to files; download it again")
    return [directory / name for name in names]


def _padded(rows: Sequence[Sequence[int]], longest: int, filler: int) -> Tensor:
    return torch.tensor([[*row, *[filler] * (longest - len(row))] for row in rows])


def _layer_norm(x: Tensor, pair: Pair | None, eps: float) -> Tensor:
    return x if pair is None else functional.layer_norm(x, x.shape[-1:], *pair, eps=eps)


def _turned(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Heads turned to their positions, in float32."""
    cosine, sine = turn
    return (x * cosine + x.roll(x.shape[-1] // 2, -1) * sine).to(x.dtype)


def _relative_bias(config: EncoderConfig, tensors: EncoderTensors) -> Tensor:
    """What a head's score gains by how far a key stands behind its query, (H, 2 T - 1); the middle is no distance.

    Distances below 8 have a bucket each, those up to 128 share buckets by their logarithm (MPNet's, which is T5's).
    """
    table = tensors.take("encoder.relative_attention_bias.weight")  # (buckets, H)
    apart = torch.arange(-config.positions + 1, config.positions)  # key less query
    half, exact = _BUCKETS // 2, _BUCKETS // 4
    far = apart.abs()
    scaled = torch.log(far.float().clamp(min=1) / exact) / math.log(_FARTHEST / exact) * (half - exact)
    bucket = torch.where(far < exact, far, (exact + scaled.long()).clamp(max=half - 1)) + half * (apart > 0)
    return table[bucket.to(table.device)].T.contiguous()
