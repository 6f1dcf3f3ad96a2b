"""A mixture of experts in steps whose shapes do not depend on what the router chose, so that a device need not ask the
host which experts to run, and a CUDA graph can replay them.

T tokens, C channels, I channels within, E experts, of which a token goes through K.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from awsllm.engine.build import Biased
from awsllm.engine.mlp import GatedMLP, Mixture, PlainMLP, clamped
from awsllm.engine.quant import Dense

if TYPE_CHECKING:
    from collections.abc import Sequence

    from awsllm.engine.quant import Linear


class Stack:
    """One linear map of each expert: weights (E, N, K) and biases (E, N). The maps become views of it."""

    def __init__(self, linears: Sequence[Linear]) -> None:
        dense = [linear.linear if isinstance(linear, Biased) else linear for linear in linears]
        biases = [linear.bias for linear in linears if isinstance(linear, Biased)]
        found = [linear for linear in dense if isinstance(linear, Dense)]
        if len(found) != len(linears):
            raise TypeError("experts are stacked as floats only")
        self.weight = torch.stack([linear.weight for linear in found])
        self.bias = torch.stack(biases) if biases else None
        for linear, weight in zip(found, self.weight, strict=True):
            linear.weight = weight

    def of_all(self, x: Tensor) -> Tensor:
        """(T, K) or (E, T, K) -> (E, T, N)."""
        result = x @ self.weight.transpose(1, 2)
        return result if self.bias is None else result + self.bias[:, None]

    def of_chosen(self, x: Tensor, chosen: Tensor) -> Tensor:
        """Each row by its own expert: (R, K) and (R,) -> (R, N)."""
        result = torch.bmm(self.weight[chosen], x[:, :, None])[:, :, 0]
        return result if self.bias is None else result + self.bias[chosen]


class StackedMixture:
    """What ``Mixture`` computes, and made of one; the sum over experts is float32.

    Where fewer experts are chosen than there are, their weights are gathered and the others are not read; else all
    compute every token, and what was not chosen counts nothing.
    """

    def __init__(self, mixture: Mixture) -> None:
        self.router, self.config = mixture.router, mixture.config
        gated = [expert for expert in mixture.experts if isinstance(expert, GatedMLP)]
        plain = [expert for expert in mixture.experts if isinstance(expert, PlainMLP)]
        self.first = Stack([expert.gate_up for expert in gated] or [expert.up for expert in plain])
        self.down = Stack([expert.down for expert in gated or plain])
        self.gated, self.activation = bool(gated), (gated or plain)[0].activation

    def __call__(self, x: Tensor) -> Tensor:
        weights, chosen = self.router(x).softmax(-1).topk(self.config.used)  # (T, K)
        if self.config.normalised:
            weights = weights / weights.sum(-1, keepdim=True)
        if chosen.numel() < self.config.count:
            experts, rows = chosen.flatten(), x.repeat_interleave(self.config.used, 0)  # (T K,), (T K, C)
            moved = self.down.of_chosen(self._within(self.first.of_chosen(rows, experts)), experts)
            return (moved.float().view(*chosen.shape, -1) * weights[:, :, None]).sum(1)
        shares = torch.zeros(len(x), self.config.count, device=x.device).scatter(1, chosen, weights)  # (T, E)
        moved = self.down.of_all(self._within(self.first.of_all(x)))  # (E, T, C)
        return (moved.float() * shares.T[:, :, None]).sum(0)

    def _within(self, x: Tensor) -> Tensor:
        if not self.gated:
            assert self.activation is not None  # noqa: S101 -- a plain MLP has one
            return self.activation(x)
        gate, up = x.chunk(2, dim=-1)
        return clamped(gate, up) if self.activation is None else self.activation(gate) * up
