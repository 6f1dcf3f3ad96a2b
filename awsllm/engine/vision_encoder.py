"""SigLIP's encoder of images, and the connector that makes vectors for the decoder of its patches.

Shapes: a tile of 3 channels and P x P patches, N = P * P; H heads, D channels of a head, C = H * D of a patch; S is how
many neighbours in either direction the connector joins or averages, and K the channels of the decoder.

    x = conv(tile) + position                      (N, C)
    x = x + attention(norm(x)); x = x + mlp(norm(x))      for each layer
    y = joined(norm(x)) @ W                        (N / S^2, C S^2) -> (N / S^2, K), or
    y = norm(averaged(norm(x))) @ W                (N / S^2, C) -> (N / S^2, K)

Tiles are computed one by one, so that what is seen in one does not depend on its neighbours. The residual stream and
the norms are float32; linear maps use the dtype of the chosen precision.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor
from torch.nn.functional import conv2d, layer_norm, linear, rms_norm, scaled_dot_product_attention

from awsllm.engine import weights
from awsllm.engine.errors import ModelError
from awsllm.engine.mlp import ACTIVATIONS
from awsllm.engine.quant import DTYPES, Precision, Stored

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

    import numpy as np
    from numpy.typing import NDArray

    from awsllm.engine.vision import VisionConfig

Pair = tuple[Tensor, Tensor]  # weight and bias
_NAMES: Final = (  # of each family's parts, in several versions of transformers
    (re.compile(r"^model\.vision_model\.|^(model\.)?vision_tower\.(vision_model\.)?"), "encoder."),
    (re.compile(r"^model\.connector\.modality_projection\.proj\.weight$"), "connector.weight"),
    (re.compile(r"^(model\.)?multi_modal_projector\.mm_input_projection_weight$"), "connector.transposed"),
    (re.compile(r"^(model\.)?multi_modal_projector\.mm_soft_emb_norm\.weight$"), "connector.norm"),
)
_POOLED: Final = "encoder.head."  # SigLIP's summary of an image, which no decoder is given


@dataclass(frozen=True, slots=True)
class _Block:
    """Weights of one layer; queries, keys and values are one matrix (3 C, C)."""

    attention_norm: Pair
    qkv: Pair
    output: Pair
    mlp_norm: Pair
    up: Pair
    down: Pair


class VisionEncoder:
    """Tiles in, vectors out. Holds no state between calls, so safe to share between threads."""

    def __init__(
        self, config: VisionConfig, tensors: Mapping[str, Stored], precision: Precision, device: torch.device
    ) -> None:
        self.config, self.device, self.dtype = config, device, DTYPES[precision]
        named = {_own_name(name): stored for name, stored in tensors.items()}
        named.pop("", None)
        take = Taker({name: one for name, one in named.items() if not name.startswith(_POOLED)}, device)
        c, size = config.hidden_size, config.patch_size
        patches = take.pair("encoder.embeddings.patch_embedding", c, 3, size, size)
        self._patches = patches[0].to(self.dtype), patches[1].to(self.dtype)
        positions = take("encoder.embeddings.position_embedding.weight", config.side**2, c)
        self._positions = positions if config.averaged else positions[_places(config.side)]
        self._layers = [self._layer(take, f"encoder.encoder.layers.{index}.") for index in range(config.layers)]
        self._norm = take.pair("encoder.post_layernorm", c)
        if config.averaged:
            self._pooled_norm = take("connector.norm", c) + 1  # as Gemma keeps them
            self._connector = take("connector.transposed", c, config.text_size).T.contiguous().to(self.dtype)
        else:
            self._connector = take("connector.weight", config.text_size, c * config.joined**2).to(self.dtype)
        take.finish()
        self._activation = ACTIVATIONS[config.activation]

    @classmethod
    def load(
        cls, path: str | PathLike[str], config: VisionConfig, *, precision: Precision = "packed", device: str = "cpu"
    ) -> VisionEncoder:
        """From a directory of safetensors. Raises ``WeightsError`` or ``ModelError``."""
        with torch.inference_mode():
            return cls(config, weights.read(path).tensors, precision, torch.device(device))

    def _layer(self, take: Taker, prefix: str) -> _Block:
        c, inner = self.config.hidden_size, self.config.intermediate_size
        projections = [take.pair(f"{prefix}self_attn.{name}_proj", c, c) for name in "qkv"]
        qkv = torch.cat([weight for weight, _ in projections]), torch.cat([bias for _, bias in projections])
        maps = (
            qkv,
            take.pair(f"{prefix}self_attn.out_proj", c, c),
            take.pair(f"{prefix}mlp.fc1", inner, c),
            take.pair(f"{prefix}mlp.fc2", c, inner),
        )
        qkv, output, up, down = ((weight.to(self.dtype), bias.to(self.dtype)) for weight, bias in maps)
        norms = (take.pair(f"{prefix}layer_norm{number}", c) for number in (1, 2))
        return _Block(next(norms), qkv, output, next(norms), up, down)

    @torch.inference_mode()
    def vectors(self, tile: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the decoder is given for a tile: (3, H, W) -> (tokens, K)."""
        pixels = torch.from_numpy(tile).to(self.device, self.dtype)
        patches = conv2d(pixels[None], *self._patches, stride=self.config.patch_size)  # (1, C, P, P)
        x = patches[0].flatten(1).T.float() + self._positions  # (N, C)
        for layer in self._layers:
            x = x + linear(self._attention(self._normed(x, layer.attention_norm), layer), *layer.output)
            inner = self._activation(linear(self._normed(x, layer.mlp_norm), *layer.up))
            x = x + linear(inner, *layer.down)
        connect = self._averaged if self.config.averaged else self._joined
        joined = connect(layer_norm(x, x.shape[-1:], *self._norm, eps=self.config.norm_eps)).to(self.dtype)
        result: NDArray[np.float32] = linear(joined, self._connector).float().cpu().numpy()
        return result

    def _normed(self, x: Tensor, norm: Pair) -> Tensor:
        return layer_norm(x, x.shape[-1:], *norm, eps=self.config.norm_eps).to(self.dtype)

    def _attention(self, x: Tensor, layer: _Block) -> Tensor:
        """(N, C) -> (N, C)."""
        qkv = linear(x, *layer.qkv).view(len(x), 3, self.config.heads, -1)  # (N, 3, H, D)
        query, key, value = qkv.permute(1, 2, 0, 3)  # (H, N, D) each
        if self.dtype is torch.bfloat16 and self.device.type == "cpu":
            heads = [attend(*head) for head in zip(query, key, value, strict=True)]
            return torch.cat(heads, 1)
        mixed = scaled_dot_product_attention(query[None], key[None], value[None])
        return mixed[0].transpose(0, 1).reshape(len(x), -1)

    def _joined(self, x: Tensor) -> Tensor:
        """S x S patches that lie together side by side in one vector, row by row: (N, C) -> (N / S^2, C S^2)."""
        return self._squares(x).flatten(1)

    def _averaged(self, x: Tensor) -> Tensor:
        """The mean of S x S patches that lie together, normed: (N, C) -> (N / S^2, C)."""
        mean = self._squares(x).mean(1)
        return rms_norm(mean, mean.shape[-1:], self._pooled_norm, self.config.norm_eps)

    def _squares(self, x: Tensor) -> Tensor:
        """(N, C) -> (N / S^2, S^2, C)."""
        step = self.config.joined
        side = self.config.side // step
        squares = x.view(side, step, side, step, -1).permute(0, 2, 1, 3, 4)  # (P / S, P / S, S, S, C)
        return squares.reshape(side * side, step * step, -1)


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """One head's, (N, D). On processors, PyTorch's own takes 2.5 times as long in bfloat16 (1024 patches of 64)."""
    weights: Tensor = (query * query.shape[1] ** -0.5 @ key.T).softmax(-1)
    return weights @ value


class Taker:
    """Takes the encoder's tensors, each of the shape that its configuration says, until none is left."""

    def __init__(self, tensors: Mapping[str, Stored], device: torch.device) -> None:
        self._left, self._device = dict(tensors), device

    def __call__(self, name: str, *shape: int) -> Tensor:
        stored = weights.require(self._left, name)
        if stored.shape != shape:
            raise ModelError(f"tensor {name!r} has shape {stored.shape}, the configuration says {shape}")
        return self._left.pop(name).float().view(shape).to(self._device)

    def pair(self, name: str, *shape: int) -> Pair:
        return self(f"{name}.weight", *shape), self(f"{name}.bias", shape[0])

    def finish(self) -> None:
        if self._left:
            raise ModelError(f"the image encoder has tensors that are not used ({', '.join(list(self._left)[:3])} …)")


def _own_name(name: str) -> str:
    """By what a tensor of the encoder or the connector goes here; "" for one of the decoder."""
    return next((found.sub(own, name) for found, own in _NAMES if found.search(name)), "")


def _places(side: int) -> Tensor:
    """Which learned position each of P x P patches has, as transformers finds it: by its fraction of the edge, in
    float32, whose rounding moves some (27 patches) to their neighbour's."""
    boundaries = torch.arange(1 / side, 1.0, 1 / side)
    fractions = (torch.arange(side, dtype=torch.float32) * (1.0 / torch.tensor([side]))).clamp(max=1.0 - 1e-6)
    places = torch.bucketize(fractions, boundaries, right=True)
    return (places[:, None] * side + places).flatten()
