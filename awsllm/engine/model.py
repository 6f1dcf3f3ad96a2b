"""One Llama-shaped decoder; what tells the families apart is in ``Config``.

Families: Llama 2 and 3 (SmolLM2 is one), Mistral, Qwen 2 and 2.5 (bias on q, k, v), Qwen 3 (norms on q and k heads).
A file with a tensor that this model would not use is refused: it is of an architecture that only looks like these.

A forward pass takes chunks of several sequences at once, laid end to end: ``T`` counts the tokens of all of them, and
everything but attention works on (T, C) without knowing whose token is whose. Attention runs chunk by chunk over the
live prefix of the sequence's own cache. So prefill, decode and any mixture of both are one code path.

Shapes: T tokens, C channels, H query heads, G key/value heads, D channels of a head, S tokens in the cache.
The residual stream is float32; linear maps, attention and the cache use the dtype of the chosen precision.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor
from torch.linalg import vector_norm
from torch.nn.functional import rms_norm, scaled_dot_product_attention, silu

from awsllm.engine import gguf, weights
from awsllm.engine.quant import DTYPES, Linear, Precision, Stored, pack, pack_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from os import PathLike

MAX_SIZE: Final = 1 << 24
FAMILIES: Final = ("llama", "mistral", "qwen2", "qwen3")
_GGUF_ROPE: Final = (  # what the metadata may say of rotary positions; original_context_length is yarn's, and llama3's
    "dimension_count", "freq_base", "scale_linear", "scaling.attn_factor", "scaling.factor", "scaling.finetuned",
    "scaling.original_context_length", "scaling.type",
)  # fmt: skip
_UNUSED: Final = ("rotary_emb.inv_freq",)  # written by old Hugging Face checkpoints, computed here


class ModelError(ValueError):
    """The model is of a kind that this engine does not compute; the message says which it does."""


@dataclass(frozen=True, slots=True)
class Config:
    """The variants of the architecture. ``rope`` is Hugging Face's scaling description, empty for none."""

    family: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    context: int
    norm_eps: float
    rope_theta: float
    rope: Mapping[str, Any]
    tied: bool
    sliding_window: int | None = None

    def __post_init__(self) -> None:
        """What is read from a file decides how much memory is taken and what is divided by what."""
        sizes = ("vocab_size", "hidden_size", "intermediate_size", "layers", "heads", "kv_heads", "head_dim", "context")
        for name in sizes:
            if type(value := getattr(self, name)) is not int or not 1 <= value <= MAX_SIZE:
                raise ModelError(f"the configuration's {name} is {value!r}, not a whole number from 1 to {MAX_SIZE}")
        for name in ("norm_eps", "rope_theta"):
            if not 0 < getattr(self, name) < math.inf:
                raise ModelError(f"the configuration's {name} is {getattr(self, name)}, not a number above 0")
        if self.sliding_window is not None and (type(self.sliding_window) is not int or self.sliding_window < 1):
            raise ModelError(f"the configuration's sliding_window is {self.sliding_window!r}, not a number of tokens")
        if self.heads % self.kv_heads or self.head_dim % 2:
            raise ModelError(f"{self.heads} heads of {self.head_dim} channels do not go with {self.kv_heads} key heads")

    @property
    def qkv_bias(self) -> bool:
        return self.family == "qwen2"

    @property
    def qk_norm(self) -> bool:
        return self.family == "qwen3"

    @staticmethod
    def from_gguf(metadata: Mapping[str, Any], tensors: Mapping[str, Stored]) -> Config:
        family = _family(metadata.get("general.architecture"))

        def whole(name: str, default: int | None = None) -> int:
            return gguf.whole_number(metadata, f"{family}.{name}", default)

        heads, hidden = whole("attention.head_count"), whole("embedding_length")
        head_dim = whole("attention.key_length", hidden // max(heads, 1))
        return Config(
            family=family,
            vocab_size=weights.require(tensors, "model.embed_tokens.weight").shape[0],
            hidden_size=hidden,
            intermediate_size=whole("feed_forward_length"),
            layers=whole("block_count"),
            heads=heads,
            kv_heads=whole("attention.head_count_kv", heads),
            head_dim=head_dim,
            context=whole("context_length"),
            norm_eps=gguf.number(metadata, f"{family}.attention.layer_norm_rms_epsilon"),
            rope_theta=gguf.number(metadata, f"{family}.rope.freq_base", 10000.0),
            rope=_gguf_rope(metadata, f"{family}.rope.", head_dim),
            tied="lm_head.weight" not in tensors,
            sliding_window=whole("attention.sliding_window", 0) or None,
        )

    @staticmethod
    def from_huggingface(config: Mapping[str, Any]) -> Config:
        """From ``config.json``, as written by transformers 4 (``rope_scaling``) or 5 (``rope_parameters``)."""
        family = _family(config.get("model_type"))
        windowed = config.get("use_sliding_window", family == "mistral")
        if windowed and family != "mistral":
            raise ModelError(f"{family} with a sliding window in some layers is not supported")
        try:
            rope, theta = _huggingface_rope(config)
            return Config(
                family=family,
                vocab_size=config["vocab_size"],
                hidden_size=config["hidden_size"],
                intermediate_size=config["intermediate_size"],
                layers=config["num_hidden_layers"],
                heads=(heads := config["num_attention_heads"]),
                kv_heads=config.get("num_key_value_heads") or heads,
                head_dim=config.get("head_dim") or config["hidden_size"] // max(heads, 1),
                context=config["max_position_embeddings"],
                norm_eps=float(config["rms_norm_eps"]),
                rope_theta=theta,
                rope=rope,
                tied=bool(config.get("tie_word_embeddings", False)),
                sliding_window=config.get("sliding_window") if windowed else None,
            )
        except KeyError as error:
            raise ModelError(f"config.json has no {error}") from None
        except (TypeError, ValueError, AttributeError) as error:
            if isinstance(error, ModelError):
                raise
            raise ModelError(f"config.json holds a value of a wrong type: {error}") from None


def _family(name: Any) -> str:
    if name not in FAMILIES:
        raise ModelError(f"architecture {name!r} is not supported; supported are {', '.join(FAMILIES)}")
    return str(name)


def _gguf_rope(metadata: Mapping[str, Any], prefix: str, head_dim: int) -> Mapping[str, Any]:
    """The scaling, as llama.cpp reads it: a factor without a type is linear. What would change the rotation in a way
    that is not computed here is refused."""
    unknown = [key for key in metadata if key.startswith(prefix) and key.removeprefix(prefix) not in _GGUF_ROPE]
    if unknown:
        raise ModelError(f"{unknown[0]} is not supported: what it changes in the computation is not known")
    turned = gguf.whole_number(metadata, f"{prefix}dimension_count", head_dim)
    if turned != head_dim:
        raise ModelError(f"{prefix}dimension_count is {turned} of {head_dim} channels; only whole heads can be rotated")
    for name in ("scale_linear", "scaling.attn_factor"):
        if (factor := gguf.number(metadata, prefix + name, 1.0)) != 1:
            raise ModelError(f"{prefix}{name} is {factor}, which is not supported; convert the model again")
    kind = gguf.text(metadata, f"{prefix}scaling.type", "linear")
    factor = gguf.number(metadata, f"{prefix}scaling.factor", 1.0) or 1.0
    return {} if kind == "none" or (kind == "linear" and factor == 1) else {"rope_type": kind, "factor": factor}


def _huggingface_rope(config: Mapping[str, Any]) -> tuple[Mapping[str, Any], float]:
    """The scaling, and the base of the frequencies."""
    rope = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    rope.setdefault("rope_type", rope.pop("type", "default"))
    rope |= {"factor": float(rope["factor"])} if "factor" in rope else {}
    turned = rope.pop("partial_rotary_factor", config.get("partial_rotary_factor", 1.0))
    if turned != 1:
        raise ModelError(f"partial_rotary_factor is {turned}; only whole heads can be rotated")
    return rope, float(rope.pop("rope_theta", config.get("rope_theta", 10000.0)))


def rope_frequencies(config: Config) -> Tensor:
    """The angle by which each pair of channels turns from one position to the next, (D / 2,)."""
    frequency: Tensor = config.rope_theta ** (
        -torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim
    )
    match dict(config.rope) or {"rope_type": "default"}:
        case {"rope_type": "default"}:
            return frequency
        case {"rope_type": "linear", "factor": float(factor)} if 0 < factor < math.inf:
            return frequency / factor
        case {"rope_type": "llama3"}:
            return _llama3_frequencies(frequency, config.rope)
        case rope:
            raise ModelError(f"rope scaling {rope} is not supported; supported are linear and llama3, with a factor")


def _llama3_frequencies(frequency: Tensor, rope: Mapping[str, Any]) -> Tensor:
    """Slow waves are slowed by ``factor``, fast ones kept, those between blended (Llama 3.1, its released code)."""
    try:
        low, high, factor = (float(rope[name]) for name in ("low_freq_factor", "high_freq_factor", "factor"))
        waves = rope["original_max_position_embeddings"] * frequency / (2 * math.pi)  # in the original context
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"rope scaling {rope} is not complete: {error}") from None
    kept = ((waves - low) / (high - low)).clamp(0, 1)
    slowed: Tensor = frequency * (kept + (1 - kept) / factor)
    return slowed


class KVCache:
    """One sequence's keys and values: memory for ``capacity`` tokens, of which the first ``length`` are live."""

    def __init__(self, config: Config, capacity: int, dtype: torch.dtype, device: torch.device) -> None:
        shape = (config.layers, 2 * config.kv_heads, capacity, config.head_dim)
        self.data = torch.empty(shape, dtype=dtype, device=device)  # (layers, 2 G, capacity, D): keys, then values
        self.capacity = capacity
        self.length = 0

    @property
    def nbytes(self) -> int:
        """The memory that live tokens take: what is allocated beyond was never touched, and so is not resident."""
        return self.data.nbytes // self.capacity * self.length

    def copy_prefix(self, other: KVCache, length: int) -> None:
        """Take over another sequence's first ``length`` tokens."""
        self.data[:, :, :length] = other.data[:, :, :length]
        self.length = length


@dataclass(frozen=True, slots=True)
class Chunk:
    """The next tokens of one sequence, to be appended to its cache."""

    tokens: Sequence[int]
    cache: KVCache


@dataclass(frozen=True, slots=True)
class _Span:
    """Where a chunk lies among the T tokens (start … stop), and views of its cache, one for each layer.

    The views are made once for all layers: making them takes longer than what a small model does with them.
    """

    start: int
    stop: int
    position: int  # of the first token in its sequence
    writes: Sequence[Tensor]  # (t, 2 G, D): where the new keys and values go
    keys: Sequence[Tensor]  # (G, 1, S, D): what is seen, the new ones included
    values: Sequence[Tensor]
    mask: Tensor | None  # (t, S): which of them each token sees; None when it is all


@dataclass(frozen=True, slots=True)
class _Layer:
    attention_norm: Tensor  # (C,)
    qkv: Linear  # (C) -> ((H + 2 G) D)
    qkv_bias: Tensor | None
    qk_norm: Tensor | None  # (H + 2 G, D)
    output: Linear  # (H D) -> (C)
    mlp_norm: Tensor  # (C,)
    gate_up: Linear  # (C) -> (2 I)
    down: Linear  # (I) -> (C)


class Decoder:
    """A model that is ready to run. Not safe for use by several threads at once."""

    def __init__(self, checkpoint: weights.Checkpoint, precision: Precision, device: torch.device) -> None:
        tensors = dict(checkpoint.tensors)
        self.config = config = (
            Config.from_gguf(checkpoint.source, tensors)
            if checkpoint.is_gguf
            else Config.from_huggingface(checkpoint.source)
        )
        self.precision, self.device, self.dtype = precision, device, DTYPES[precision]
        build = _Builder(config, tensors, precision, device)
        self.embedding = build.table("model.embed_tokens.weight")
        self.layers = [build.layer(f"model.layers.{index}.") for index in range(config.layers)]
        self.norm = build.vector("model.norm.weight", config.hidden_size)
        self.head: Linear = self.embedding if config.tied else build.table("lm_head.weight")
        self.frequencies = build.frequencies()
        self.epsilon = torch.tensor(config.norm_eps, device=device)
        build.finish()

    def new_cache(self, capacity: int) -> KVCache:
        return KVCache(self.config, capacity, self.dtype, self.device)

    @torch.inference_mode()
    def forward(self, chunks: Sequence[Chunk], *, every_token: bool = False) -> Tensor:
        """Append the chunks to their caches; the logits after each, (len(chunks), V), or of every token, (T, V)."""
        spans = list(self._spans(chunks))
        tokens = torch.tensor([token for chunk in chunks for token in chunk.tokens], device=self.device)
        cosine, sine = self._rotation(spans)
        x = self.embedding.rows(tokens)  # (T, C)
        for index, layer in enumerate(self.layers):
            x += layer.output(self._attend(self._qkv(layer, x, cosine, sine), spans, index))
            x += self._mlp(layer, x)
        for chunk in chunks:
            chunk.cache.length += len(chunk.tokens)
        if not every_token and len(x) != len(spans):
            x = x[[span.stop - 1 for span in spans]]
        return self.head(self._normalise(x, self.norm)).float()

    def _spans(self, chunks: Sequence[Chunk]) -> Iterator[_Span]:
        start, groups = 0, self.config.kv_heads
        for chunk in chunks:
            data, past, count = chunk.cache.data, chunk.cache.length, len(chunk.tokens)
            live = past + count
            if live > chunk.cache.capacity:
                raise ValueError(f"{live} tokens do not fit in a cache of {chunk.cache.capacity}")
            first = max(0, past + 1 - (self.config.sliding_window or live))  # the earliest that any token sees
            seen = data[:, :, None, first:live]
            yield _Span(
                start=start,
                stop=start + count,
                position=past,
                writes=data[:, :, past:live].transpose(1, 2).unbind(),
                keys=seen[:, :groups].unbind(),
                values=seen[:, groups:].unbind(),
                mask=None if count == 1 else self._mask(past, live, first),
            )
            start += count

    def _mask(self, past: int, live: int, first: int) -> Tensor:
        """Which cache tokens (first … live) each new token sees, (live - past, live - first)."""
        query = torch.arange(past, live, device=self.device)[:, None]
        key = torch.arange(first, live, device=self.device)
        return (key <= query) & (key > query - (self.config.sliding_window or live))

    def _rotation(self, spans: Sequence[_Span]) -> tuple[Tensor, Tensor]:
        """Cosine and signed sine of each token's position, (T, H + 2 G, D).

        Values go through the rotation with angle 0, so that keys and values reach the cache in one write.
        """
        positions = [float(span.position + i) for span in spans for i in range(span.stop - span.start)]
        angles = torch.outer(torch.tensor(positions, device=self.device), self.frequencies)[:, None]  # (T, 1, D / 2)
        turned = angles.expand(-1, self.config.heads + self.config.kv_heads, -1)
        angles = torch.cat((turned, torch.zeros_like(turned[:, : self.config.kv_heads])), 1)
        cosine, sine = angles.cos(), angles.sin()
        return torch.cat((cosine, cosine), -1), torch.cat((-sine, sine), -1)

    def _normalise(self, x: Tensor, weight: Tensor) -> Tensor:
        """RMS norm of (T, C), to the dtype of the linear maps. In fewer and faster steps than ``rms_norm``."""
        norm = vector_norm(x, dim=-1, keepdim=True)  # (T, 1)
        scale = torch.addcmul(self.epsilon, norm, norm, value=1 / x.shape[-1]).rsqrt_()
        return (x * scale).mul_(weight).to(self.dtype)

    def _qkv(self, layer: _Layer, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """Queries, keys and values, turned to their positions: (T, C) -> (T, H + 2 G, D)."""
        qkv = layer.qkv(self._normalise(x, layer.attention_norm))
        if layer.qkv_bias is not None:
            qkv = qkv + layer.qkv_bias
        qkv = qkv.view(cosine.shape)
        if layer.qk_norm is not None:
            qkv = self._normalise_heads(qkv, layer.qk_norm)
        return (qkv * cosine + qkv.roll(self.config.head_dim // 2, -1) * sine).to(self.dtype)

    def _normalise_heads(self, qkv: Tensor, weight: Tensor) -> Tensor:
        """Norm each head of q and k over its D channels; v passes."""
        count = len(weight)
        normed = rms_norm(qkv[:, :count].float(), weight.shape[1:], None, self.config.norm_eps) * weight
        return torch.cat((normed.to(qkv.dtype), qkv[:, count:]), 1)

    def _attend(self, qkv: Tensor, spans: Sequence[_Span], index: int) -> Tensor:
        """Attention of each chunk over its own sequence, in layer ``index``: (T, H + 2 G, D) -> (T, H D)."""
        heads, groups = self.config.heads, self.config.kv_heads
        new = qkv[:, heads:]
        queries = qkv[:, :heads].view(-1, groups, heads // groups, self.config.head_dim)  # (T, G, H / G, D)
        mixed = []
        for span in spans:
            span.writes[index].copy_(new[span.start : span.stop])
            mixed.append(_attend(queries[span.start : span.stop], span.keys[index], span.values[index], span.mask))
        return mixed[0] if len(mixed) == 1 else torch.cat(mixed)

    def _mlp(self, layer: _Layer, x: Tensor) -> Tensor:
        gate, up = layer.gate_up(self._normalise(x, layer.mlp_norm)).chunk(2, dim=-1)
        return layer.down(silu(gate) * up)


def _attend(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """One chunk: query (t, G, H / G, D), keys and values (G, 1, S, D) -> (t, H D)."""
    if mask is None:  # one token: the query heads that share a key head stand in the place of query tokens
        return scaled_dot_product_attention(query[0].unsqueeze(1), keys, values).view(1, -1)
    query = query.permute(1, 2, 0, 3)  # (G, H / G, t, D)
    shared = (-1, query.shape[1], -1, -1)
    mixed = scaled_dot_product_attention(query, keys.expand(shared), values.expand(shared), attn_mask=mask)
    return mixed.permute(2, 0, 1, 3).reshape(mixed.shape[2], -1)


class _Builder:
    """Takes tensors out of a checkpoint, checked against the configuration, until none is left."""

    def __init__(self, config: Config, tensors: dict[str, Stored], precision: Precision, device: torch.device) -> None:
        self.config, self.tensors, self.precision, self.device = config, tensors, precision, device

    def take(self, name: str, *shape: int) -> Stored:
        stored = weights.require(self.tensors, name)
        if stored.shape != shape:
            raise ModelError(f"tensor {name!r} has shape {stored.shape}, the configuration says {shape}")
        return self.tensors.pop(name)

    def vector(self, name: str, size: int) -> Tensor:
        return self.take(name, size).float().to(self.device)

    def table(self, name: str) -> Any:
        stored = self.take(name, self.config.vocab_size, self.config.hidden_size)
        return pack_table([stored], self.precision, self.device)

    def linear(self, prefix: str, rows: Mapping[str, int], columns: int) -> Linear:
        parts = [self.take(f"{prefix}{name}.weight", count, columns) for name, count in rows.items()]
        return pack(parts, self.precision, self.device)

    def layer(self, prefix: str) -> _Layer:
        c = self.config
        queries, keys = c.heads * c.head_dim, c.kv_heads * c.head_dim
        qkv = {"q_proj": queries, "k_proj": keys, "v_proj": keys}
        attention, mlp = f"{prefix}self_attn.", f"{prefix}mlp."
        bias = [self.vector(f"{attention}{n}.bias", size) for n, size in qkv.items()] if c.qkv_bias else None
        return _Layer(
            attention_norm=self.vector(f"{prefix}input_layernorm.weight", c.hidden_size),
            qkv=self.linear(attention, qkv, c.hidden_size),
            qkv_bias=None if bias is None else torch.cat(bias).to(DTYPES[self.precision]),
            qk_norm=self.qk_norm(attention) if c.qk_norm else None,
            output=self.linear(attention, {"o_proj": c.hidden_size}, queries),
            mlp_norm=self.vector(f"{prefix}post_attention_layernorm.weight", c.hidden_size),
            gate_up=self.linear(mlp, dict.fromkeys(("gate_proj", "up_proj"), c.intermediate_size), c.hidden_size),
            down=self.linear(mlp, {"down_proj": c.hidden_size}, c.intermediate_size),
        )

    def qk_norm(self, prefix: str) -> Tensor:
        """The weights of the query and the key norm, one row for each of the H + G heads."""
        query, key = (self.vector(f"{prefix}{name}_norm.weight", self.config.head_dim) for name in "qk")
        return torch.cat((query.expand(self.config.heads, -1), key.expand(self.config.kv_heads, -1)))

    def frequencies(self) -> Tensor:
        """GGUF carries Llama 3's scaling as a tensor of divisors."""
        frequencies = rope_frequencies(self.config)
        if "rope_freqs.weight" in self.tensors:
            frequencies /= self.take("rope_freqs.weight", self.config.head_dim // 2).float()
        return frequencies.to(self.device)

    def finish(self) -> None:
        if self.config.tied:
            self.tensors.pop("lm_head.weight", None)
        left = [name for name in self.tensors if not name.endswith(_UNUSED)]
        if left:
            raise ModelError(
                f"the model has tensors that a {self.config.family} model does not use ({', '.join(left[:3])} …): "
                "it is of an architecture that is not supported"
            )


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
