"""A decoder that computes the next token of many sequences in one step of fixed shape, for devices such as GPUs.

Keys and values of all sequences lie in one arena, allocated when the model is loaded: a slot for each sequence, with
room for the same number of tokens. A step computes the rows of the first slots, whether a sequence is there or not, and
each layer attends once for all of them, over as many of the first tokens of every slot as the longest sequence has;
masks hide what lies beyond a sequence's own. Nothing in a step asks the host, and its shapes are those of ``rows`` and
``length`` alone, so that it can be captured as a CUDA graph.

Prompts go through the ``Decoder`` that this one is made of, with the same arena: a slot is a ``KVCache``.

n rows, H query heads, G key/value heads, D channels of a head, S tokens of a slot.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import rms_norm, scaled_dot_product_attention

from awsllm.engine.device_mixture import StackedMixture
from awsllm.engine.mlp import Mixture
from awsllm.engine.model import Decoder
from awsllm.engine.norms import RMSNorm

if TYPE_CHECKING:
    from collections.abc import Mapping

    from awsllm.engine.build import Layer

_SPARE = 64  # tokens: room behind a slot's last for what rows without a sequence write, rounded to what kernels like


class FusedRMSNorm:
    """``RMSNorm`` in one kernel and a cast, where kernels are launched one by one."""

    def __init__(self, norm: RMSNorm, epsilon: float) -> None:
        self.weight, self.dtype, self.epsilon = norm.weight, norm.dtype, epsilon

    def __call__(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight.shape, self.weight, self.epsilon).to(self.dtype)


class SlottedDecoder(Decoder):
    """A decoder's weights, with an arena of ``slots``, each with room for ``capacity`` tokens."""

    def __init__(self, decoder: Decoder, slots: int, capacity: int) -> None:
        vars(self).update(vars(decoder))
        self.slots, self.capacity = slots, capacity
        config = self.config
        room = -(-(capacity + 1) // _SPARE) * _SPARE
        shape = (config.layers, slots, 2 * config.kv_heads, room, config.head_dim)
        with torch.inference_mode(mode=False):  # else prefixes could not be copied into it outside of that mode
            # zeros: a weight of 0 times what was never written must not be NaN
            self.arena = torch.zeros(shape, dtype=self.dtype, device=self.device)
        self._slot = torch.arange(slots, device=self.device)
        self._token = torch.arange(room, device=self.device)
        self.layers = [self._of_one_shape(layer) for layer in decoder.layers]

    def _of_one_shape(self, layer: Layer) -> Layer:
        """The layer with what asks the host nothing, and takes few kernels where each is launched by itself."""
        if isinstance(layer.mlp, Mixture):
            layer = replace(layer, mlp=StackedMixture(layer.mlp))
        if self.device.type != "cuda":
            return layer
        names = ("attention_norm", "attention_after", "mlp_norm", "mlp_after")
        norms: dict[str, Any] = {
            name: FusedRMSNorm(norm, self.config.norm_eps)
            for name in names
            if isinstance(norm := getattr(layer, name), RMSNorm)
        }
        return replace(layer, **norms)

    @property
    def slot_bytes(self) -> int:
        """What a slot takes, whatever is in it."""
        return self.arena.nbytes // self.slots

    def step(self, state: Tensor, length: int) -> Tensor:
        """The logits after one more token of the first n slots, (n, V), with the tokens' keys and values kept.

        ``state``: int64 (4, n): the tokens, their positions, 1 where there is a sequence, 1 where it is a long one.
        ``length``: tokens of the longest sequence, or more; at most what a slot has room for.
        """
        tokens, places, active, long = state
        writes = places.masked_fill(active == 0, self.capacity)
        masks = {window: self._mask(places, window, length) for window in self.attention.distinct}
        x = self._embed(tokens, places)
        self._through(x, (places, long > 0), partial(self._attend, writes, masks))
        return self._logits(x)

    def _mask(self, places: Tensor, window: int | None, length: int) -> Tensor:
        """What is added to the scores of each row, (n, 1, 1, length): minus infinity for what it does not see."""
        token, place = self._token[:length], places[:, None]
        hidden = token > place
        if window is not None:
            hidden = hidden | (token <= place - window)
        return torch.zeros_like(hidden, dtype=self.dtype).masked_fill_(hidden, float("-inf"))[:, None, None]

    def _attend(
        self, writes: Tensor, masks: Mapping[int | None, Tensor], qkv: Tensor, layer: int, sinks: Tensor | None
    ) -> Tensor:
        """(n, H + 2 G, D) -> (n, H D), the new keys and values kept first."""
        attention = self.attention
        heads, groups, mask = attention.heads, attention.groups, masks[attention.windows[layer]]
        rows, length = len(qkv), mask.shape[-1]
        slots = self.arena[layer, :rows]  # (n, 2 G, S, D)
        slots[self._slot[:rows], :, writes] = qkv[:, heads:]
        keys, values = slots[:, :groups, :length], slots[:, groups:, :length]
        # the query heads that share a key head stand in the place of query tokens
        query = qkv[:, :heads].view(rows, groups, heads // groups, -1)
        if attention.cap is None and sinks is None:
            mixed = scaled_dot_product_attention(query, keys, values, attn_mask=mask, scale=attention.scale)
            return mixed.reshape(rows, -1)
        scores = query.float() @ keys.float().transpose(2, 3)  # (n, G, H / G, length)
        scores *= attention.head_dim**-0.5 if attention.scale is None else attention.scale
        if attention.cap is not None:
            scores = (scores / attention.cap).tanh() * attention.cap
        scores = scores + mask
        if sinks is not None:
            scores = torch.cat((scores, sinks.view(groups, -1, 1).expand(rows, -1, -1, 1)), -1)
        weights = scores.softmax(-1)[..., :length]
        return (weights @ values.float()).to(query.dtype).reshape(rows, -1)
