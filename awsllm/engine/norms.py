"""What keeps the size of activations in bounds, in float32 whatever goes in.

T tokens, C channels, H query heads, G key heads, D channels of a head.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor
from torch.linalg import vector_norm
from torch.nn.functional import layer_norm, rms_norm

if TYPE_CHECKING:
    from collections.abc import Sequence


class Norm(Protocol):
    """(T, C) float32 -> (T, C), in the dtype of the linear maps."""

    def __call__(self, x: Tensor) -> Tensor: ...


class RMSNorm:
    """In fewer and faster steps than ``rms_norm``."""

    def __init__(self, weight: Tensor, epsilon: float, dtype: torch.dtype) -> None:
        self.weight, self.dtype = weight, dtype
        self.epsilon = torch.tensor(epsilon, device=weight.device)

    def __call__(self, x: Tensor) -> Tensor:
        norm = vector_norm(x, dim=-1, keepdim=True)  # (T, 1)
        scale = torch.addcmul(self.epsilon, norm, norm, value=1 / x.shape[-1]).rsqrt_()
        return (x * scale).mul_(self.weight).to(self.dtype)


class LayerNorm:
    def __init__(self, weight: Tensor, bias: Tensor, epsilon: float, dtype: torch.dtype) -> None:
        self.weight, self.bias, self.epsilon, self.dtype = weight, bias, epsilon, dtype

    def __call__(self, x: Tensor) -> Tensor:
        return layer_norm(x, self.weight.shape, self.weight, self.bias, self.epsilon).to(self.dtype)


class NoNorm:
    """Of blocks that norm what comes out of them alone."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def __call__(self, x: Tensor) -> Tensor:
        return x.to(self.dtype)


class HeadNorm:
    """Norms each head of q and k, over its D channels: (T, H + 2 G, D) -> the same; v passes."""

    def __init__(self, weight: Tensor, epsilon: float) -> None:
        """``weight``: (H + G, D), a row a head."""
        self.weight, self.epsilon = weight, epsilon

    def __call__(self, qkv: Tensor) -> Tensor:
        count = len(self.weight)
        normed = rms_norm(qkv[:, :count].float(), self.weight.shape[1:], None, self.epsilon) * self.weight
        return torch.cat((normed.to(qkv.dtype), qkv[:, count:]), 1)


class ProjectionNorm:
    """Norms q over the channels of all its heads together, and k over those of its own; v passes."""

    def __init__(self, weights: Sequence[Tensor], epsilon: float) -> None:
        """``weights``: (H, D) and (G, D)."""
        self.weights, self.epsilon = weights, epsilon

    def __call__(self, qkv: Tensor) -> Tensor:
        start, parts = 0, []
        for weight in self.weights:
            part = qkv[:, start : start + len(weight)].float()
            parts.append(rms_norm(part, weight.shape, weight, self.epsilon).to(qkv.dtype))
            start += len(weight)
        return torch.cat((*parts, qkv[:, start:]), 1)
