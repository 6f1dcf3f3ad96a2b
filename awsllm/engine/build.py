"""From a checkpoint's tensors to the layers of a decoder, each tensor checked against the configuration.

What no layer takes is an error: the model is of an architecture that only looks like one that is computed here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from awsllm.engine import layout, weights
from awsllm.engine.errors import ModelError
from awsllm.engine.formats import U8
from awsllm.engine.mlp import GatedMLP, Mixture, PlainMLP, Router
from awsllm.engine.norms import HeadNorm, LayerNorm, NoNorm, Norm, ProjectionNorm, RMSNorm
from awsllm.engine.quant import DTYPES, Dense, Int8, Linear, Precision, Stored, pack, pack_table
from awsllm.engine.rope import order
from awsllm.engine.tiles import Tiled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from awsllm.engine.config import Config, Experts

_UNUSED: Final = ("rotary_emb.inv_freq",)  # written by old Hugging Face checkpoints, computed here
_NORMS: Final = {  # before and after attention, before and after the MLP
    "before": ("input_layernorm", None, "post_attention_layernorm", None),
    "after": (None, "post_attention_layernorm", None, "post_feedforward_layernorm"),
    "around": (
        "input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm",
    ),
}  # fmt: skip


class Biased:
    """A linear map and what is added to it."""

    def __init__(self, linear: Linear, bias: Tensor) -> None:
        self.linear, self.bias = linear, bias

    def __call__(self, x: Tensor) -> Tensor:
        return self.linear(x) + self.bias


@dataclass(frozen=True, slots=True)
class Layer:
    """T tokens, C channels, H query heads, G key/value heads, D channels of a head."""

    attention_norm: Norm
    qkv: Linear  # (C) -> ((H + 2 G) D)
    qk_norm: HeadNorm | ProjectionNorm | None
    sinks: Tensor | None  # (H,)
    output: Linear  # (H D) -> (C)
    attention_after: Norm | None
    mlp_norm: Norm
    mlp: Callable[[Tensor], Tensor]  # (T, C) -> (T, C)
    mlp_after: Norm | None


class Builder:
    """Takes tensors out of a checkpoint until none is left."""

    def __init__(self, config: Config, tensors: dict[str, Stored], precision: Precision, device: torch.device) -> None:
        self.config, self.tensors, self.precision, self.device = config, tensors, precision, device
        self.dtype = DTYPES[precision]

    def take(self, name: str, *shape: int) -> Stored:
        stored = weights.require(self.tensors, name)
        if stored.shape != shape:
            raise ModelError(f"tensor {name!r} has shape {stored.shape}, the configuration says {shape}")
        if stored.type is U8:
            raise ModelError(f"tensor {name!r} holds bytes, not numbers: such weights are not supported")
        return self.tensors.pop(name)

    def vector(self, name: str, size: int) -> Tensor:
        return self.take(name, size).float().to(self.device)

    def table(self, name: str) -> Dense | Int8 | Tiled:
        stored = self.take(name, self.config.vocab_size, self.config.hidden_size)
        if self.precision == "tiled":
            return Tiled([stored], bits=8)
        return pack_table([stored], self.precision, self.device)

    def positions(self) -> Tensor:
        """Learned ones, (context, C)."""
        stored = self.take("model.positions.weight", self.config.context, self.config.hidden_size)
        return stored.float().to(self.device)

    def norm(self, prefix: str) -> Norm:
        config, size = self.config, self.config.hidden_size
        weight = self.vector(f"{prefix}.weight", size) + config.norm_offset
        if config.layer_norm:
            return LayerNorm(weight, self.vector(f"{prefix}.bias", size), config.norm_eps, self.dtype)
        return RMSNorm(weight, config.norm_eps, self.dtype)

    def layer(self, index: int) -> Layer:
        prefix = f"model.layers.{index}."
        before, after, mlp_before, mlp_after = (name and self.norm(prefix + name) for name in _NORMS[self.config.norms])
        attention, queries = f"{prefix}self_attn.", self.config.heads * self.config.head_dim
        experts, size = self.config.experts, self.config.intermediate_size
        return Layer(
            attention_norm=before or NoNorm(self.dtype),
            qkv=self.qkv(attention, index),
            qk_norm=self.qk_norm(attention, index),
            sinks=self.vector(f"{attention}sinks.weight", self.config.heads) if self.config.sinks else None,
            output=self.linear(attention, {"o_proj": self.config.hidden_size}, queries, bias=self.config.output_bias),
            attention_after=after or None,
            mlp_norm=mlp_before or NoNorm(self.dtype),
            mlp=self.mlp(f"{prefix}mlp.", size) if experts is None else self.mixture(f"{prefix}mlp.", experts),
            mlp_after=mlp_after or None,
        )

    def linear(self, prefix: str, rows: Mapping[str, int], columns: int, *, bias: bool) -> Linear:
        parts = {name: self.take(f"{prefix}{name}.weight", count, columns) for name, count in rows.items()}
        biases = [self.take(f"{prefix}{name}.bias", count) for name, count in rows.items()] if bias else []
        return self.pack(list(parts.values()), biases)

    def pack(self, parts: list[Stored], biases: list[Stored]) -> Linear:
        packed = Tiled(parts) if self.precision == "tiled" else pack(parts, self.precision, self.device)
        if not biases:
            return packed
        return Biased(packed, torch.cat([bias.float() for bias in biases]).to(self.device, self.dtype))

    def qkv(self, prefix: str, layer: int) -> Linear:
        """Queries, keys and values of all heads, the channels of each in the order that turns them by halves."""
        c, parts, biases = self.config, [], []
        for name, heads in (("q_proj", c.heads), ("k_proj", c.kv_heads), ("v_proj", c.kv_heads)):
            rows = order(c.layer_rope(layer), c.head_dim, heads) if name != "v_proj" else None
            found = [self.take(f"{prefix}{name}.weight", heads * c.head_dim, c.hidden_size)]
            found += [self.take(f"{prefix}{name}.bias", heads * c.head_dim)] if c.qkv_bias else []
            weight, *bias = found if rows is None else [stored.rows(rows) for stored in found]
            parts.append(weight)
            biases += bias
        return self.pack(parts, biases)

    def qk_norm(self, prefix: str, layer: int) -> HeadNorm | ProjectionNorm | None:
        c = self.config
        if c.qk_norm is None:
            return None
        if order(c.layer_rope(layer), c.head_dim, 1) is not None:
            raise ModelError(f"{c.family} with norms of heads that turn in part is not supported")
        if c.qk_norm == "head":
            query, key = (self.vector(f"{prefix}{name}_norm.weight", c.head_dim) + c.norm_offset for name in "qk")
            return HeadNorm(torch.cat((query.expand(c.heads, -1), key.expand(c.kv_heads, -1))), c.norm_eps)
        counts = {"q": c.heads, "k": c.kv_heads}
        whole = [self.vector(f"{prefix}{n}_norm.weight", count * c.head_dim) for n, count in counts.items()]
        return ProjectionNorm([weight.view(-1, c.head_dim) for weight in whole], c.norm_eps)

    def mlp(self, prefix: str, size: int) -> GatedMLP | PlainMLP:
        c = self.config
        names = ("gate_proj", "up_proj") if c.gated else ("up_proj",)
        first = self.linear(prefix, dict.fromkeys(names, size), c.hidden_size, bias=c.mlp_bias)
        down = self.linear(prefix, {"down_proj": c.hidden_size}, size, bias=c.mlp_bias)
        return (GatedMLP if c.gated else PlainMLP)(first, down, c.activation)

    def mixture(self, prefix: str, experts: Experts) -> Mixture:
        weight = self.take(f"{prefix}router.weight", experts.count, self.config.hidden_size).float().to(self.device)
        bias = self.vector(f"{prefix}router.bias", experts.count) if self.config.mlp_bias else None
        found = []
        for tensors in layout.experts(self.tensors, f"{prefix}experts.", experts.count):
            expert = Builder(self.config, tensors, self.precision, self.device)
            found.append(expert.mlp("", experts.size))
            expert.finish()
        return Mixture(Router(weight, bias, apart=self.precision == "packed"), found, experts)

    def finish(self) -> None:
        if self.config.tied:
            self.tensors.pop("lm_head.weight", None)
        left = [name for name in self.tensors if not name.endswith(_UNUSED)]
        if left:
            raise ModelError(
                f"the model has tensors that a {self.config.family} model does not use ({', '.join(left[:3])} …): "
                "it is of an architecture that is not supported"
            )
