"""How weights are stored, and how a stored weight becomes a matrix product.

Of each stored format (``formats``) there is a function that turns blocks into float32. Blocks come as ``(n, nbytes)``
uint8, values leave as ``(n, block)`` float32. The arithmetic is kept in the order that ggml uses, so that results are
equal to the last bit.

For computing, a weight becomes one of three linear maps from ``(T, K)`` to ``(T, N)``:

- ``Dense``: floats, in the precision asked for. The reference path, and the one for CUDA.
- ``Int4``: 4-bit values in groups of 32 with a scale and a zero of their own, just as Q4_0, Q4_1 and Q4_K store them:
  the quantised values are taken over unchanged; only scale and zero are rounded to bfloat16.
- ``Int8``: 8-bit values with one scale a row: everything else, those of fewer bits in the file among them, which so
  take more memory than on disk: a codebook's entries (``codebooks``, IQ4_NL, MXFP4) are no scale and zero.

Both packed kernels take bfloat16 activations and accumulate each row in float32, in one order: a row's result does not
depend on what else is in the batch. PyTorch's other candidate, ``quantized.linear_dynamic``, is as fast for one token
and faster for many, but quantises activations with one scale for the whole batch: neighbours would change each other's
answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol

import torch
from torch import Tensor
from torch.nn.functional import linear

from awsllm.engine import codebooks
from awsllm.engine.blocks import bits as _bits
from awsllm.engine.blocks import groups as _groups
from awsllm.engine.blocks import half as _half
from awsllm.engine.blocks import nibbles as _nibbles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from awsllm.engine.formats import TensorType

GROUP: Final = 32
_SUPER: Final = 256  # values in a block of the K formats
_SLICE: Final = 1024  # rows that are converted at once: no large matrix is ever held as floats
_IQ4_NL: Final = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
_E2M1: Final = (0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)  # twice what the four bits mean


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor as its file holds it: ``data`` is uint8, ``(rows, bytes of a row)``."""

    shape: tuple[int, ...]
    type: TensorType
    data: Tensor

    def float(self) -> Tensor:
        """The values as float32, in ``shape``; a view where they are stored so."""
        return DEQUANTIZE[self.type.name](self.data.reshape(-1, self.type.nbytes)).view(self.shape)

    def split(self, rows: int) -> Iterator[Stored]:
        """A matrix as slices of so many rows."""
        for start in range(0, self.shape[0], rows):
            yield self.rows(slice(start, start + rows))

    def rows(self, which: slice | Tensor) -> Stored:
        """Some rows, or all in another order: rows are whole blocks in every format."""
        data = self.data[which]
        return Stored((data.shape[0], *self.shape[1:]), self.type, data)

    def entry(self, index: int) -> Stored:
        """What stands at an index of the first dimension: a matrix of a stack."""
        return Stored(self.shape[1:], self.type, self.data[index].view(self.shape[1], -1))


def _fifth_bits(packed: Tensor) -> Tensor:
    """(n, 4) bytes -> (n, 32) values 0 or 16, the fifth bit of each 5-bit value."""
    shifts = torch.arange(8, dtype=torch.uint8)
    return ((packed[:, :, None] >> shifts) & 1).view(-1, 32) << 4


def _f32(blocks: Tensor) -> Tensor:
    return blocks.contiguous().view(torch.float32)


def _f16(blocks: Tensor) -> Tensor:
    return blocks.contiguous().view(torch.float16).float()


def _bf16(blocks: Tensor) -> Tensor:
    return blocks.contiguous().view(torch.bfloat16).float()


def _q4_0(blocks: Tensor) -> Tensor:
    return _half(blocks, 0) * (_nibbles(blocks[:, 2:]).to(torch.int8) - 8).float()


def _q4_1(blocks: Tensor) -> Tensor:
    return _half(blocks, 0) * _nibbles(blocks[:, 4:]).float() + _half(blocks, 2)


def _q5_0(blocks: Tensor) -> Tensor:
    values = _nibbles(blocks[:, 6:]) | _fifth_bits(blocks[:, 2:6])
    return _half(blocks, 0) * (values.to(torch.int8) - 16).float()


def _q5_1(blocks: Tensor) -> Tensor:
    values = _nibbles(blocks[:, 8:]) | _fifth_bits(blocks[:, 4:8])
    return _half(blocks, 0) * values.float() + _half(blocks, 2)


def _q8_0(blocks: Tensor) -> Tensor:
    return _half(blocks, 0) * blocks[:, 2:].contiguous().view(torch.int8).float()


def _iq4_nl(blocks: Tensor) -> Tensor:
    return _half(blocks, 0) * torch.tensor(_IQ4_NL, dtype=torch.float32)[_nibbles(blocks[:, 2:]).int()]


def _mxfp4(blocks: Tensor) -> Tensor:
    """Values of four bits times half of a power of two; its exponent is the first byte, the least two are subnormal."""
    exponent = blocks[:, :1].int()
    bits = torch.where(exponent < 2, 0x00200000 << exponent.clamp(max=1), (exponent - 1) << 23)
    return bits.view(torch.float32) * torch.tensor(_E2M1, dtype=torch.float32)[_nibbles(blocks[:, 1:]).int()]


def _q2_k(blocks: Tensor) -> Tensor:
    scales, values = blocks[:, :16], _bits(blocks[:, 16:80].contiguous(), 2, 32)
    scale = _half(blocks, 80) * (scales & 15).float()
    minimum = _half(blocks, 82) * (scales >> 4).float()
    return (_groups(scale, values) - minimum[:, :, None]).view(-1, _SUPER)


def _q3_k(blocks: Tensor) -> Tensor:
    high = _bits(blocks[:, :32].contiguous(), 1, 32)  # set: nothing is subtracted
    low = _bits(blocks[:, 32:96].contiguous(), 2, 32)
    packed = blocks[:, 96:108]
    scales = _nibbles(packed[:, :8]) | (_bits(packed[:, 8:].contiguous(), 2, 4) << 4)
    scale = _half(blocks, 108) * (scales.to(torch.int8) - 32).float()
    return _groups(scale, low.to(torch.int8) - ((high ^ 1) << 2).to(torch.int8)).view(-1, _SUPER)


def _six_bit_scales(packed: Tensor) -> tuple[Tensor, Tensor]:
    """(n, 12) bytes -> eight 6-bit scales and eight 6-bit minimums, as Q4_K and Q5_K pack them."""
    first, second, rest = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scales = torch.cat((first & 63, (rest & 15) | ((first >> 2) & 48)), dim=1)
    minimums = torch.cat((second & 63, (rest >> 4) | ((second >> 2) & 48)), dim=1)
    return scales, minimums


def _affine_k(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """The scale and minimum, (n, 8) each, of a Q4_K or Q5_K block's groups; a value is scale * q - minimum."""
    scales, minimums = _six_bit_scales(blocks[:, 4:16])
    return _half(blocks, 0) * scales.float(), _half(blocks, 2) * minimums.float()


def _q4_k(blocks: Tensor) -> Tensor:
    scale, minimum = _affine_k(blocks)
    values = _bits(blocks[:, 16:].contiguous(), 4, 32)
    return (_groups(scale, values) - minimum[:, :, None]).view(-1, _SUPER)


def _q5_k(blocks: Tensor) -> Tensor:
    scale, minimum = _affine_k(blocks)
    values = _bits(blocks[:, 48:].contiguous(), 4, 32) | (_bits(blocks[:, 16:48].contiguous(), 1, 32) << 4)
    return (_groups(scale, values) - minimum[:, :, None]).view(-1, _SUPER)


def _q6_k(blocks: Tensor) -> Tensor:
    low = _bits(blocks[:, :128].contiguous(), 4, 64)
    high = _bits(blocks[:, 128:192].contiguous(), 2, 32)
    scale = _half(blocks, 208) * blocks[:, 192:208].contiguous().view(torch.int8).float()
    return _groups(scale, (low | (high << 4)).to(torch.int8) - 32).view(-1, _SUPER)


def _iq4_xs(blocks: Tensor) -> Tensor:
    """As IQ4_NL, with a scale of six bits a group of 32: four in a nibble, two in a half of what stands before."""
    high = _bits(blocks[:, 2:4].contiguous(), 2, 1)  # (n, 8)
    low = (blocks[:, 4:8, None] >> torch.tensor([0, 4], dtype=torch.uint8) & 15).view(-1, 8)
    scale = _half(blocks, 0) * ((low | (high << 4)).to(torch.int8) - 32).float()
    values = _bits(blocks[:, 8:].contiguous(), 4, 16)
    return _groups(scale, torch.tensor(_IQ4_NL, dtype=torch.float32)[values.int()]).view(-1, _SUPER)


def _q4_0_affine(blocks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    scale = _half(blocks, 0)
    return _nibbles(blocks[:, 2:]), scale, scale * -8


def _q4_1_affine(blocks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return _nibbles(blocks[:, 4:]), _half(blocks, 0), _half(blocks, 2)


def _q4_k_affine(blocks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    scale, minimum = _affine_k(blocks)
    return _bits(blocks[:, 16:].contiguous(), 4, 32), scale, -minimum


DEQUANTIZE: Final[dict[str, Callable[[Tensor], Tensor]]] = {
    "F32": _f32,
    "F16": _f16,
    "BF16": _bf16,
    "U8": Tensor.float,
    "MXFP4": _mxfp4,
    "Q4_0": _q4_0,
    "Q4_1": _q4_1,
    "Q5_0": _q5_0,
    "Q5_1": _q5_1,
    "Q8_0": _q8_0,
    "Q2_K": _q2_k,
    "Q3_K": _q3_k,
    "Q4_K": _q4_k,
    "Q5_K": _q5_k,
    "Q6_K": _q6_k,
    "IQ2_XXS": codebooks.iq2_xxs,
    "IQ2_XS": codebooks.iq2_xs,
    "IQ3_XXS": codebooks.iq3_xxs,
    "IQ1_S": codebooks.iq1_s,
    "IQ4_NL": _iq4_nl,
    "IQ3_S": codebooks.iq3_s,
    "IQ2_S": codebooks.iq2_s,
    "IQ4_XS": _iq4_xs,
    "IQ1_M": codebooks.iq1_m,
    "TQ1_0": codebooks.tq1_0,
    "TQ2_0": codebooks.tq2_0,
}
AFFINE: Final[dict[str, Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]]] = {
    "Q4_0": _q4_0_affine,
    "Q4_1": _q4_1_affine,
    "Q4_K": _q4_k_affine,
}
"""What splits blocks of 4-bit values into values 0 to 15, and the scale and minimum of each group of 32."""


Precision = Literal["packed", "float32", "bfloat16", "tiled"]
DTYPES: Final[dict[str, torch.dtype]] = {  # of activations and of the KV cache
    "packed": torch.bfloat16,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "tiled": torch.float32,
}


class Linear(Protocol):
    """A matrix (N, K), held however suits the kernel: (T, K) -> (T, N), in the dtype of the argument."""

    def __call__(self, x: Tensor) -> Tensor: ...


class Dense:
    """A matrix of floats."""

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight

    def __call__(self, x: Tensor) -> Tensor:
        return linear(x, self.weight)

    def rows(self, index: Tensor) -> Tensor:
        """Some rows, (len(index), K), as float32: what an embedding table is asked for."""
        return self.weight[index].float()


class Int8:
    """8-bit values with one scale a row."""

    def __init__(self, parts: Sequence[Stored]) -> None:
        """``parts``: matrices of the same K, stacked."""
        slices = [_int8(piece.float()) for part in parts for piece in part.split(_SLICE)]
        self.values, self.scale = (torch.cat(column) for column in zip(*slices, strict=True))

    def __call__(self, x: Tensor) -> Tensor:
        return torch._weight_int8pack_mm(x, self.values, self.scale)

    def rows(self, index: Tensor) -> Tensor:
        """Some rows, (len(index), K), as float32."""
        return self.values[index].float() * self.scale[index, None]


def _int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(N, K) float32 as int8 values and the scale of each row."""
    scale = weight.abs().amax(dim=1, keepdim=True).div_(127).clamp_(min=1e-12).bfloat16()
    return (weight / scale).round_().clamp_(-127, 127).to(torch.int8), scale.view(-1)


class Int4:
    """4-bit values in groups of 32, each group with a scale and a zero."""

    def __init__(self, parts: Sequence[Stored]) -> None:
        """``parts``: matrices of the same K, stacked, each of 4-bit values with a scale and a minimum."""
        values, scale, minimum = (torch.cat(column) for column in zip(*map(affine_parts, parts), strict=True))
        self.packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(values.int(), 1)
        # the kernel computes (q - 8) * scale + zero, the formats mean q * scale + minimum
        pairs = torch.stack((scale, minimum + 8 * scale), dim=2)  # (N, K / 32, 2)
        self.scales = pairs.transpose(0, 1).to(torch.bfloat16).contiguous()

    def __call__(self, x: Tensor) -> Tensor:
        result: Tensor = torch.ops.aten._weight_int4pack_mm_for_cpu(x, self.packed, GROUP, self.scales)
        return result


def affine_parts(part: Stored) -> tuple[Tensor, Tensor, Tensor]:
    """A 4-bit matrix as values (N, K), scale and minimum (N, K / 32)."""
    values, scale, minimum = AFFINE[part.type.name](part.data.reshape(-1, part.type.nbytes))
    rows = part.shape[0]
    return values.view(rows, -1), scale.view(rows, -1), minimum.view(rows, -1)


def pack(parts: Sequence[Stored], precision: Precision, device: torch.device) -> Linear:
    """Several matrices of the same K, stacked, as one linear map."""
    rows = sum(part.shape[0] for part in parts)
    if precision == "packed" and rows % 16 == 0 and all(part.type.name in AFFINE for part in parts):
        return Int4(parts)
    return pack_table(parts, precision, device)


def pack_table(parts: Sequence[Stored], precision: Precision, device: torch.device) -> Dense | Int8:
    """The same, for a matrix of which rows will be asked: an embedding table."""
    if precision == "packed":
        return Int8(parts)
    return Dense(torch.cat([part.float() for part in parts]).to(device, DTYPES[precision]))
