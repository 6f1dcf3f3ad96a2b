"""A decoder that gradients go through: the same variants that ``engine.model`` computes, as a ``torch.nn.Module``.

Parameters go by ``layout``'s names, which are Hugging Face's of a Llama, and hold what the file holds. Sequences stand
in rows, several in one where they are short: tokens see only those of their own segment, and positions begin anew.

B rows, T tokens of a row, C channels, H query heads, G key/value heads, D channels of a head, N tokens in all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from awsllm.engine import weights
from awsllm.engine.errors import ModelError
from awsllm.engine.formats import U8
from awsllm.engine.mlp import ACTIVATIONS, clamped
from awsllm.engine.model import configure
from awsllm.engine.rope import Turning, turning
from awsllm.engine.train.laid import apart

if TYPE_CHECKING:
    from os import PathLike

    from awsllm.engine.config import Config, Rope
    from awsllm.engine.quant import Stored

NOT_TRAINED: Final = -100
"""The label of a token whose prediction is no part of the loss, as in PyTorch."""
ROWS: Final = 1024
"""Rows of logits that are held at once."""
_UNUSED: Final = ("rotary_emb.inv_freq",)


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of tokens, all (B, T) int64. ``labels``: the token itself where its prediction counts, ``NOT_TRAINED``
    elsewhere. ``segments``: to which sequence of its row a token belongs; None: each row is one. ``positions`` within
    it."""

    tokens: Tensor
    labels: Tensor
    positions: Tensor
    segments: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        segments = None if self.segments is None else self.segments.to(device)
        return Batch(self.tokens.to(device), self.labels.to(device), self.positions.to(device), segments)

    @property
    def trained(self) -> int:
        """How many predictions count."""
        return int((self.labels[:, 1:] != NOT_TRAINED).sum())


class LayerPast:
    """Keys and values, both (B, G, T, D), of what a layer has computed before."""

    def __init__(self) -> None:
        self.keys: Tensor | None = None
        self.values: Tensor | None = None

    def joined(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """With those of further tokens, which stay."""
        if self.keys is not None and self.values is not None:
            keys, values = torch.cat((self.keys, keys), 2), torch.cat((self.values, values), 2)
        self.keys, self.values = keys, values
        return keys, values


class DecoderPast:
    """What is kept of the tokens before, so that sampling computes each of them once. Without gradients, and for rows
    of one sequence each."""

    def __init__(self, config: Config) -> None:
        self.layers = [LayerPast() for _ in range(config.layers)]
        self._turns = {rope.long_after for rope in (config.rope, config.local_rope) if rope is not None}

    @property
    def count(self) -> int:
        """Tokens."""
        keys = self.layers[0].keys
        return 0 if keys is None else keys.shape[2]

    def make_way(self, count: int) -> None:
        """Forget all where tokens up to ``count`` make the sequence one whose angles are others (longrope)."""
        if any(turn is not None and self.count <= turn < count for turn in self._turns):
            self.layers = [LayerPast() for _ in self.layers]


class TrainableDecoder(nn.Module):
    """``checkpointed``: activations within a block are computed again on the way back, not kept."""

    def __init__(self, config: Config, *, checkpointed: bool = False) -> None:
        super().__init__()
        self.config, self.checkpointed = config, checkpointed
        self.model = _Trunk(config)
        if not config.tied:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        ropes = [rope for rope in (config.rope, config.local_rope) if rope is not None]
        if any(rope.axes is not None for rope in ropes):
            raise ModelError("models whose tokens stand on three axes are not trained here")
        with torch.device("cpu"):  # numbers, though the parameters may have none yet
            self._turnings = [turning(rope, config.head_dim, torch.device("cpu")) for rope in ropes]
        self._ropes: list[Rope] = ropes

    @property
    def device(self) -> torch.device:
        return self.model.embed_tokens.weight.device

    def forward(self, batch: Batch, past: DecoderPast | None = None) -> Tensor:
        """What stands before the head, (B, T, C). With a ``past`` the tokens follow on those that it has, and join
        them."""
        config = self.config
        x = self.model.embed_tokens(batch.tokens)
        if config.embedding_scale != 1:
            x = x * config.embedding_scale
        if config.rope is None:
            x = x + self.model.positions(batch.positions)
        rotations = [
            _rotation(rope, each, batch.positions) for rope, each in zip(self._ropes, self._turnings, strict=True)
        ]
        masks = _masks(config, batch, past.count if past else 0)
        for index, block in enumerate(self.model.layers):
            rope = config.layer_rope(index)
            rotation = None if rope is None else rotations[self._ropes.index(rope)]
            mask = masks[config.window(index)]
            if self.checkpointed and self.training:
                x = checkpoint(block, x, rotation, mask, use_reentrant=False)
            else:
                x = block(x, rotation, mask, past.layers[index] if past else None)
        normed: Tensor = self.model.norm(x)
        return normed

    def logits(self, x: Tensor) -> Tensor:
        """(N, C) -> (N, V), float32."""
        return self._bent(functional.linear(x, self._head).float())

    @property
    def _head(self) -> Tensor:
        return self.model.embed_tokens.weight if self.config.tied else self.lm_head.weight

    def _bent(self, logits: Tensor) -> Tensor:
        """Scaled and capped, as the family has it."""
        if self.config.logit_scale != 1:
            logits = logits * self.config.logit_scale
        if (cap := self.config.logit_cap) is not None:
            logits = (logits / cap).tanh() * cap
        return logits

    def log_probabilities(self, batch: Batch) -> Tensor:
        """The logarithm of the probability of each label that counts, (N,), row by row."""
        x = self(batch)[:, :-1]
        wanted = batch.labels[:, 1:]
        chosen = wanted != NOT_TRAINED
        x, wanted = x[chosen], wanted[chosen]
        head = self._head
        fused = x.requires_grad and type(head) is nn.Parameter and not head.requires_grad  # and no part of one (FSDP)
        pieces: list[Tensor] = []
        for start in range(0, len(x), ROWS):  # all logits at once would be most of the memory
            rows, labels = x[start : start + ROWS], wanted[start : start + ROWS]
            if fused:
                pieces.append(_ChosenLogs.apply(rows, head, labels, self._bent))  # type: ignore[no-untyped-call]
            elif start + ROWS < len(x):
                pieces.append(checkpoint(self._chosen, rows, labels, use_reentrant=False))
            else:  # the first on the way back: its logits are there still
                pieces.append(self._chosen(rows, labels))
        return torch.cat(pieces) if pieces else x.new_zeros(0)

    def _chosen(self, x: Tensor, labels: Tensor) -> Tensor:
        chosen: Tensor = self.logits(x).log_softmax(-1).gather(1, labels[:, None])[:, 0]
        return chosen


class _ChosenLogs(torch.autograd.Function):
    """The logarithm of the probability of each row's label, where the head stays as it is.

    What a row's gradient is follows from its own logits, but for one factor: it is computed while they are there, and
    they are held no longer. So they are computed once, and backwards there is but that factor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, head: Tensor, labels: Tensor, bent: Callable[[Tensor], Tensor]) -> Tensor:
        with torch.enable_grad():
            raw = functional.linear(x.detach(), head).float().requires_grad_()
            logits = bent(raw)
        logs = logits.detach().log_softmax(-1)
        chosen = logs.gather(1, labels[:, None])
        slope = logs.exp_().neg_().scatter_add_(1, labels[:, None], torch.ones_like(chosen))
        if logits is not raw:
            [slope] = torch.autograd.grad(logits, raw, slope)
        ctx.save_for_backward(slope.to(head.dtype) @ head)
        return chosen[:, 0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        [slopes] = ctx.saved_tensors
        return slopes * gradients[0][:, None], None, None, None


def _rotation(rope: Rope, turned: Turning, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of each token's angles, (B, T, 1, R / 2). Longrope's long list is taken where a sequence of the
    batch is longer than the original context, as transformers decides it."""
    channels, frequencies = rope.channels // 2, turned.frequencies
    if turned.long is not None and rope.long_after is not None and int(positions.max()) >= rope.long_after:
        frequencies = turned.long
    angles = positions[..., None].float() * frequencies[:channels].to(positions.device)
    cosine, sine = angles.cos(), angles.sin()
    if turned.amplitude is not None:
        amplitude = turned.amplitude[:channels].to(positions.device)
        cosine, sine = cosine * amplitude, sine * amplitude
    return cosine[:, :, None], sine[:, :, None]


class _Trunk(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        if config.rope is None:
            self.positions = nn.Embedding(config.context, config.hidden_size)
        self.layers = nn.ModuleList(_Block(config) for _ in range(config.layers))
        self.norm = _norm(config, config.hidden_size)


class _Block(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        size = config.hidden_size
        self.residual = config.residual_scale
        self.before, self.after = config.norms in ("before", "around"), config.norms in ("after", "around")
        if self.before:
            self.input_layernorm = _norm(config, size)
        self.post_attention_layernorm = _norm(config, size)  # before the MLP in most, after attention in others
        if config.norms == "around":
            self.pre_feedforward_layernorm = _norm(config, size)
        if self.after:
            self.post_feedforward_layernorm = _norm(config, size)
        self.self_attn = _Attention(config)
        self.mlp = _MLP(config, config.intermediate_size) if config.experts is None else _Mixture(config)

    def forward(
        self, x: Tensor, rotation: tuple[Tensor, Tensor] | None, mask: Tensor | None, past: LayerPast | None = None
    ) -> Tensor:
        mixed = self.self_attn(self.input_layernorm(x) if self.before else x, rotation, mask, past)
        x = torch.add(x, self.post_attention_layernorm(mixed) if self.after else mixed, alpha=self.residual)
        moved = self.mlp(self._mlp_norm(x))
        return torch.add(x, self.post_feedforward_layernorm(moved) if self.after else moved, alpha=self.residual)

    def _mlp_norm(self, x: Tensor) -> Tensor:
        if not self.before:
            return x
        norm: nn.Module = self.pre_feedforward_layernorm if self.after else self.post_attention_layernorm
        normed: Tensor = norm(x)
        return normed


class _Attention(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        queries, keys, size = config.heads * config.head_dim, config.kv_heads * config.head_dim, config.hidden_size
        self.q_proj = nn.Linear(size, queries, bias=config.qkv_bias)
        self.k_proj = nn.Linear(size, keys, bias=config.qkv_bias)
        self.v_proj = nn.Linear(size, keys, bias=config.qkv_bias)
        self.o_proj = nn.Linear(queries, size, bias=config.output_bias)
        if config.qk_norm is not None:
            whole = config.qk_norm == "projection"
            self.q_norm = _RMSNorm(queries if whole else config.head_dim, config)
            self.k_norm = _RMSNorm(keys if whole else config.head_dim, config)
        if config.sinks:
            self.sinks = _Sinks(config.heads)

    def forward(
        self, x: Tensor, rotation: tuple[Tensor, Tensor] | None, mask: Tensor | None, past: LayerPast | None
    ) -> Tensor:
        shape = (*x.shape[:2], -1, self.config.head_dim)
        q, k, v = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        if self.config.qk_norm == "projection":
            q, k = self.q_norm(q), self.k_norm(k)
        q, k, v = q.view(shape), k.view(shape), v.view(shape)  # (B, T, H or G, D)
        if self.config.qk_norm == "head":
            q, k = self.q_norm(q), self.k_norm(k)
        if rotation is not None:
            q, k = _turned(q, *rotation), _turned(k, *rotation)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2).to(q.dtype), v.transpose(1, 2).to(q.dtype)
        if past is not None:
            k, v = past.joined(k, v)
        config = self.config
        if config.attention_cap is None and not config.sinks:
            causal = mask is None and q.shape[2] > 1  # one token sees all
            mixed = functional.scaled_dot_product_attention(
                q, k, v, attn_mask=mask, is_causal=causal, scale=config.attention_scale, enable_gqa=True
            )
        else:
            mixed = self._in_steps(q, k, v, mask)
        joined: Tensor = self.o_proj(mixed.transpose(1, 2).flatten(2))
        return joined

    def _in_steps(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """With scores that are capped, or joined by a sink that takes its part and gives nothing."""
        config, count, known = self.config, q.shape[2], k.shape[2]
        group = config.heads // config.kv_heads
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        scale = config.head_dim**-0.5 if config.attention_scale is None else config.attention_scale
        scores = q.float() @ k.float().transpose(2, 3) * scale  # (B, H, T, known)
        if config.attention_cap is not None:
            scores = (scores / config.attention_cap).tanh() * config.attention_cap
        if mask is None:
            mask = torch.ones(count, known, dtype=torch.bool, device=q.device).tril(known - count)
        scores = scores.masked_fill(~mask, float("-inf"))
        if config.sinks:
            sink = self.sinks.weight.float().view(1, -1, 1, 1).expand(len(q), -1, count, 1)
            scores = torch.cat((scores, sink), -1)
        return (scores.softmax(-1)[..., :known] @ v.float()).to(q.dtype)


def _turned(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """(B, T, H, D): the first R channels of each head turned in pairs (i, i + R / 2)."""
    half = cosine.shape[-1]
    whole = 2 * half == x.shape[-1]
    moving, *still = [x] if whole else torch.split(x, [2 * half, x.shape[-1] - 2 * half], -1)
    first, second = moving.float().chunk(2, -1)  # on the way back one concatenation; slices would be filled up by zeros
    turned = [(first * cosine - second * sine).to(x.dtype), (second * cosine + first * sine).to(x.dtype)]
    return torch.cat([*turned, *still], -1)


def _masks(config: Config, batch: Batch, known: int = 0) -> Mapping[int | None, Tensor | None]:
    """By window: which tokens each sees, (B or 1, 1, T, known + T); None where that is all before it."""
    count, device = batch.tokens.shape[1], batch.tokens.device
    masks: dict[int | None, Tensor | None] = {}
    for window in {config.window(layer) for layer in range(config.layers)}:
        if batch.segments is None and (window is None or window >= known + count) and (not known or count == 1):
            masks[window] = None
            continue
        places = torch.arange(known + count, device=device)
        seen = (places <= places[known:, None])[None]
        if window is not None:
            seen = seen & (places > places[known:, None] - window)
        if batch.segments is not None:
            seen = seen & (batch.segments[:, :, None] == batch.segments[:, None])
        masks[window] = seen[:, None]
    return masks


# --- what a block is made of -----------------------------------------------------------------------------------------


def _norm(config: Config, size: int) -> nn.Module:
    return nn.LayerNorm(size, config.norm_eps) if config.layer_norm else _RMSNorm(size, config)


class _RMSNorm(nn.Module):
    def __init__(self, size: int, config: Config) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((size,), 1.0 - config.norm_offset))
        self.offset, self.epsilon = config.norm_offset, config.norm_eps

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight.float() + self.offset if self.offset else self.weight.float()
        return functional.rms_norm(x.float(), scale.shape, scale, self.epsilon).to(x.dtype)


class _Sinks(nn.Module):
    def __init__(self, heads: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(heads))


class _MLP(nn.Module):
    def __init__(self, config: Config, size: int) -> None:
        super().__init__()
        self.activation = ACTIVATIONS.get(config.activation)
        if config.gated:
            self.gate_proj = nn.Linear(config.hidden_size, size, bias=config.mlp_bias)
        self.gated = config.gated
        self.up_proj = nn.Linear(config.hidden_size, size, bias=config.mlp_bias)
        self.down_proj = nn.Linear(size, config.hidden_size, bias=config.mlp_bias)

    def forward(self, x: Tensor) -> Tensor:
        up = self.up_proj(x)
        if self.activation is None:
            up = clamped(self.gate_proj(x), up)
        else:
            up = self.activation(self.gate_proj(x)) * up if self.gated else self.activation(up)
        moved: Tensor = self.down_proj(up)
        return moved


class _Mixture(nn.Module):
    """Every token through the experts that its router gives most weight."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        if config.experts is None:
            raise ValueError("no experts")
        self.used, self.normalised = config.experts.used, config.experts.normalised
        self.router = nn.Linear(config.hidden_size, config.experts.count, bias=config.mlp_bias)
        self.experts = nn.ModuleList(_MLP(config, config.experts.size) for _ in range(config.experts.count))

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(0, 1)  # (N, C)
        shares, chosen = self.router(rows.float()).softmax(-1).topk(self.used)  # (N, used)
        if self.normalised:
            shares = shares / shares.sum(-1, keepdim=True)
        total = torch.zeros_like(rows, dtype=torch.float32)
        for index, expert in enumerate(self.experts):
            row, place = (chosen == index).nonzero(as_tuple=True)
            total = total.index_add(0, row, expert(rows[row]).float() * shares[row, place, None])
        return total.to(x.dtype).view_as(x)


# --- from files ------------------------------------------------------------------------------------------------------


def load(source: str | PathLike[str] | weights.Checkpoint, *, checkpointed: bool = False) -> TrainableDecoder:
    """A model file or folder, as ``engine.model.load`` takes it, in float32: what has fewer bits is dequantised. Raises
    ``GGUFError``, ``WeightsError`` or ``ModelError``."""
    found = source if isinstance(source, weights.Checkpoint) else weights.read(source)
    config, tensors = configure(found)
    with torch.device("meta"):  # what is read takes the place of what would be made up
        decoder = TrainableDecoder(config, checkpointed=checkpointed)
    decoder.load_state_dict(_values(config, tensors, decoder), assign=True)
    return decoder


def _values(config: Config, tensors: dict[str, Stored], decoder: TrainableDecoder) -> dict[str, Tensor]:
    """The tensors as numbers, by the names of the module's parameters."""
    tensors = apart(config, tensors)
    wanted = {name: tuple(parameter.shape) for name, parameter in decoder.named_parameters()}
    left = [name for name in tensors if name not in wanted and not name.endswith(_UNUSED)]
    if left:
        raise ModelError(f"the model has tensors that a {config.family} model does not use ({', '.join(left[:3])} …)")
    values = {}
    for name, shape in wanted.items():
        stored = weights.require(tensors, name)
        if stored.shape != shape:
            raise ModelError(f"tensor {name!r} has shape {stored.shape}, the configuration says {shape}")
        if stored.type is U8:
            raise ModelError(f"tensor {name!r} holds bytes, not numbers: such weights are not supported")
        values[name] = stored.float().clone()  # what is read is mapped, and must not change
    return values
