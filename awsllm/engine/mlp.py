"""What a block does to each token by itself: one MLP, or a mixture of several.

T tokens, C channels, I channels within, E experts.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor
from torch.nn.functional import gelu, relu, silu

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from awsllm.engine.config import Activation, Experts
    from awsllm.engine.quant import Linear

ACTIVATIONS: Final[Mapping[str, Callable[[Tensor], Tensor]]] = {
    "silu": silu,
    "gelu": gelu,
    "gelu_tanh": partial(gelu, approximate="tanh"),
    "relu": relu,
}
_LIMIT: Final = 7.0
_GAIN: Final = 1.702


def clamped(gate: Tensor, up: Tensor) -> Tensor:
    """gpt-oss's gate: neither side leaves -7 … 7, and the linear one is shifted by 1 (its released code)."""
    gate, up = gate.clamp(max=_LIMIT), up.clamp(-_LIMIT, _LIMIT)
    return gate * torch.sigmoid(gate * _GAIN) * (up + 1)


class GatedMLP:
    def __init__(self, gate_up: Linear, down: Linear, activation: Activation) -> None:
        """``gate_up``: (C) -> (2 I), ``down``: (I) -> (C)."""
        self.gate_up, self.down = gate_up, down
        self.activation = ACTIVATIONS.get(activation)

    def __call__(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.down(clamped(gate, up) if self.activation is None else self.activation(gate) * up)


class PlainMLP:
    def __init__(self, up: Linear, down: Linear, activation: Activation) -> None:
        self.up, self.down, self.activation = up, down, ACTIVATIONS[activation]

    def __call__(self, x: Tensor) -> Tensor:
        return self.down(self.activation(self.up(x)))


class Mixture:
    """Every token goes through the experts that its router gives most weight, and the sum is float32.

    Each expert takes the tokens of all sequences that want it in one go, and experts come in their order: so a token's
    sum has the same order whoever its neighbours are.
    """

    def __init__(self, router: Router, experts: Sequence[Callable[[Tensor], Tensor]], config: Experts) -> None:
        self.router, self.experts, self.config = router, experts, config

    def __call__(self, x: Tensor) -> Tensor:
        weights, chosen = self.router(x).softmax(-1).topk(self.config.used)  # (T, used)
        if self.config.normalised:
            weights /= weights.sum(-1, keepdim=True)
        total = torch.zeros_like(x, dtype=torch.float32)
        for index in sorted(set(chosen.flatten().tolist())):
            token, place = (chosen == index).nonzero(as_tuple=True)
            total.index_add_(0, token, self.experts[index](x[token]).float() * weights[token, place, None])
        return total


class Router:
    """(T, C) -> (T, E) in float32: which expert is next best decides more than any rounding should.

    ``apart`` computes token by token, where the order of summation must not depend on how many there are.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, *, apart: bool) -> None:
        self.weight, self.bias, self.apart = weight, bias, apart

    def __call__(self, x: Tensor) -> Tensor:
        x = x.float()
        logits = torch.stack([self.weight.mv(row) for row in x]) if self.apart else x @ self.weight.T
        return logits if self.bias is None else logits + self.bias
