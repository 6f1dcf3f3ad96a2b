"""What an encoder of images of any size makes of one: Qwen 2-VL's and 2.5-VL's.

N patches of an image, in squares of S x S whose patches follow each other; C channels of the encoder, K of the decoder.

    x = patches @ W                                      (3, H, W)    -> (N, C)
    x = x + attention(norm(x));  x = x + MLP(norm(x))    every patch turned by its row and its column
    v = MLP(norm(x) as squares)                          (N / S^2, C S^2) -> (N / S^2, K)

Half of a head's pairs turn by height, half by width. In 2.5-VL most layers see windows of squares that lie together;
patches are put in the order of those windows first, and vectors back in theirs. Frames of a film come in twos: an image
is two that are alike, so that the sum of both frames' weights does. The residual stream and the norms are float32;
linear maps use the dtype of the chosen precision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, gelu, layer_norm, linear, rms_norm, scaled_dot_product_attention

from awsllm.engine import weights
from awsllm.engine.errors import ModelError
from awsllm.engine.mlp import ACTIVATIONS
from awsllm.engine.quant import DTYPES, Precision, Stored
from awsllm.engine.vision_encoder import Pair, Taker, attend

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

    from numpy.typing import NDArray

    from awsllm.engine.vision import FreeConfig

_EPSILON: Final = 1e-6  # which no file says
_THETA: Final = 10000.0


def quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


@dataclass(frozen=True, slots=True)
class _FreeBlock:
    """Weights of one layer; ``up`` has the gate's rows first where there is one."""

    attention_norm: tuple[Tensor, Tensor | None]
    qkv: Pair
    output: Pair
    mlp_norm: tuple[Tensor, Tensor | None]
    up: Pair
    down: Pair


class FreeEncoder:
    """Images in, vectors out. Holds no state between calls, so safe to share between threads."""

    def __init__(
        self, config: FreeConfig, tensors: Mapping[str, Stored], precision: Precision, device: torch.device
    ) -> None:
        self.config, self.device, self.dtype = config, device, DTYPES[precision]
        own = {name.removeprefix("model."): stored for name, stored in tensors.items()}
        take = Taker({name: stored for name, stored in own.items() if name.startswith("visual.")}, device)
        c, size, joined = config.hidden_size, config.patch_size, config.hidden_size * config.joined**2
        self._patches = take("visual.patch_embed.proj.weight", c, 3, 2, size, size).sum(2).to(self.dtype)
        self._layers = [self._layer(take, f"visual.blocks.{index}.") for index in range(config.layers)]
        self._norm = self._norm_of(take, "visual.merger.ln_q")
        self._joining = self._map(take, "visual.merger.mlp.0", joined, joined)
        self._joined = self._map(take, "visual.merger.mlp.2", config.text_size, joined)
        take.finish()
        known = {**ACTIVATIONS, "quick_gelu": quick_gelu}
        if config.activation not in known:
            raise ModelError(f"the image encoder's activation {config.activation!r} is not supported")
        self._activation = known[config.activation]

    @classmethod
    def load(
        cls, path: str | PathLike[str], config: FreeConfig, *, precision: Precision = "packed", device: str = "cpu"
    ) -> FreeEncoder:
        """From a directory of safetensors. Raises ``WeightsError`` or ``ModelError``."""
        with torch.inference_mode():
            return cls(config, weights.read(path).tensors, precision, torch.device(device))

    def _map(self, take: Taker, name: str, rows: int, columns: int) -> Pair:
        weight, bias = take.pair(name, rows, columns)
        return weight.to(self.dtype), bias.to(self.dtype)

    def _norm_of(self, take: Taker, name: str) -> tuple[Tensor, Tensor | None]:
        c = self.config.hidden_size
        return (take(f"{name}.weight", c), None) if self.config.gated else take.pair(name, c)

    def _layer(self, take: Taker, prefix: str) -> _FreeBlock:
        c, inner = self.config.hidden_size, self.config.intermediate_size
        if self.config.gated:
            gate, up = (self._map(take, f"{prefix}mlp.{name}_proj", inner, c) for name in ("gate", "up"))
            first = torch.cat((gate[0], up[0])), torch.cat((gate[1], up[1]))
        else:
            first = self._map(take, f"{prefix}mlp.fc1", inner, c)
        return _FreeBlock(
            self._norm_of(take, f"{prefix}norm1"),
            self._map(take, f"{prefix}attn.qkv", 3 * c, c),
            self._map(take, f"{prefix}attn.proj", c, c),
            self._norm_of(take, f"{prefix}norm2"),
            first,
            self._map(take, f"{prefix}mlp.{'down_proj' if self.config.gated else 'fc2'}", c, inner),
        )

    @torch.inference_mode()
    def vectors(self, tile: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the decoder is given for an image, and behind each vector its place (``axes``): (3, H, W) ->
        (vectors, K + 3)."""
        pixels = torch.from_numpy(tile).to(self.device, self.dtype)
        patches = conv2d(pixels[None], self._patches, stride=self.config.patch_size)[0]  # (C, rows, columns)
        rows, columns = patches.shape[1] // self.config.joined, patches.shape[2] // self.config.joined
        order, sizes = self._windows(rows, columns)
        x = self._ordered(patches.permute(1, 2, 0).float(), order)  # (N, C)
        places = torch.stack(
            torch.meshgrid(torch.arange(patches.shape[1]), torch.arange(patches.shape[2]), indexing="ij"), -1
        )
        turn = self._turn(self._ordered(places.to(self.device), order))
        for index, layer in enumerate(self._layers):
            whole = self.config.window is None or index in self.config.wide
            x = x + self._attention(self._normed(x, layer.attention_norm), layer, turn, [len(x)] if whole else sizes)
            x = x + linear(self._inner(self._normed(x, layer.mlp_norm), layer), *layer.down)
        squares = self._normed(x, self._norm).view(rows * columns, -1)
        seen = linear(gelu(linear(squares, *self._joining)), *self._joined).float()[order.argsort()]
        grid = np.indices((1, rows, columns), np.float32).reshape(3, -1).T
        return np.concatenate((seen.cpu().numpy(), grid), 1)

    def _windows(self, rows: int, columns: int) -> tuple[Tensor, list[int]]:
        """The order of squares in which those of a window follow each other, and how many patches each window has."""
        side = self.config.window or max(rows, columns)
        across = -(-columns // side)
        window = (torch.arange(rows) // side)[:, None] * across + torch.arange(columns) // side
        order = window.flatten().argsort(stable=True)
        return order.to(self.device), (window.flatten().bincount() * self.config.joined**2).tolist()

    def _ordered(self, patches: Tensor, order: Tensor) -> Tensor:
        """Patches as they lie, square by square in the given order: (rows, columns, n) -> (N, n)."""
        rows, columns, size = patches.shape
        step = self.config.joined
        squares = patches.view(rows // step, step, columns // step, step, size).permute(0, 2, 1, 3, 4)
        return squares.reshape(len(order), step * step, size)[order].flatten(0, 1)

    def _turn(self, places: Tensor) -> Pair:
        """Cosine and signed sine of each patch, (N, 1, D)."""
        half = self.config.hidden_size // self.config.heads // 2
        frequencies = _THETA ** (-torch.arange(0, half, 2, dtype=torch.float32, device=self.device) / half)
        angles = (places[..., None].float() * frequencies).flatten(1)[:, None]  # (N, 1, D / 2)
        cosine, sine = angles.cos(), angles.sin()
        return torch.cat((cosine, cosine), -1), torch.cat((-sine, sine), -1)

    def _normed(self, x: Tensor, norm: tuple[Tensor, Tensor | None]) -> Tensor:
        weight, bias = norm
        if bias is None:
            return rms_norm(x, x.shape[-1:], weight, _EPSILON).to(self.dtype)
        return layer_norm(x, x.shape[-1:], weight, bias, _EPSILON).to(self.dtype)

    def _inner(self, x: Tensor, layer: _FreeBlock) -> Tensor:
        inner = linear(x, *layer.up)
        if not self.config.gated:
            return self._activation(inner)
        gate, up = inner.chunk(2, -1)
        return self._activation(gate) * up

    def _attention(self, x: Tensor, layer: _FreeBlock, turn: Pair, sizes: list[int]) -> Tensor:
        """Of patches that see each other within parts of these sizes: (N, C) -> (N, C)."""
        qkv = linear(x, *layer.qkv).view(len(x), 3, self.config.heads, -1)  # (N, 3, H, D)
        cosine, sine = turn
        query, key = (
            (part * cosine + part.roll(part.shape[-1] // 2, -1) * sine).to(self.dtype) for part in qkv[:, :2].unbind(1)
        )
        heads = [torch.split(part.transpose(0, 1), sizes, 1) for part in (query, key, qkv[:, 2])]
        return linear(torch.cat([self._see(*parts) for parts in zip(*heads, strict=True)]), *layer.output)

    def _see(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """(H, n, D) each -> (n, H D)."""
        if self.dtype is torch.bfloat16 and self.device.type == "cpu":
            return torch.cat([attend(*head) for head in zip(query, key, value, strict=True)], 1)
        return scaled_dot_product_attention(query[None], key[None], value[None])[0].transpose(0, 1).flatten(1)
