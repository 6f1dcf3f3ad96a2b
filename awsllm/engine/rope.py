"""Rotary positions: by which angle the channels of a head turn from one token to the next.

A head's D channels turn in pairs (i, i + D / 2). Where only its first R channels turn (Phi-4-mini), the rows of the
query and key projections are put in another order when they are loaded (``order``), so that the pairs lie as elsewhere
and the channels that stay turn by 0: attention takes products of queries and keys, which one order for both does not
change.

Scaling stretches the positions that a model was trained on. Its description is Hugging Face's, by ``rope_type``:

    linear    all turn slower by ``factor``
    llama3    slow waves are slowed by ``factor``, fast ones kept, those between blended (Llama 3.1, its released code)
    yarn      the same by the number of turns within the original context, and attention is sharpened
              (https://arxiv.org/abs/2309.00071)
    longrope  a divisor a pair: one list for short sequences, another for long ones, and attention is sharpened
              (https://arxiv.org/abs/2402.13753)
    dynamic   changes nothing within ``max_position_embeddings``, and nothing longer is computed here
    divided   a divisor a pair, as GGUF carries llama3's; no word of Hugging Face's

Which of longrope's lists a sequence takes is decided by the tokens that its cache has room for, once and for all: keys
that were turned by one list do not go with queries that are turned by the other. transformers computes a sequence anew
when it grows too long for the short list; llama.cpp decides by the context it was started with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch

from awsllm.engine.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from awsllm.engine.config import Rope


@dataclass(frozen=True, slots=True)
class Turning:
    """The angle of each pair of channels from one position to the next, (D / 2,)."""

    frequencies: Tensor
    long: Tensor | None = None  # those of sequences that have room for many tokens, where they are others
    axes: Tensor | None = None  # (D / 2,), by which axis each pair turns, where there are three (``axes``)
    amplitude: Tensor | None = None  # (D / 2,), by which the turned channels are multiplied, where that is not 1


def turning(rope: Rope, head_dim: int, device: torch.device) -> Turning:
    scaling = {"rope_type": "default", **rope.scaling}
    if (kind := scaling.pop("rope_type")) not in _KINDS:
        known = ", ".join(name for name in _KINDS if name not in ("default", "divided"))
        raise ModelError(f"rope scaling {kind!r} is not supported; supported are {known}")
    names, scaled = _KINDS[kind]
    scaling.pop("mrope_section", None)
    if unknown := [name for name in scaling if name not in names]:
        raise ModelError(f"rope scaling {kind!r} with {unknown[0]!r} is not supported")
    frequency = rope.theta ** (-torch.arange(0, rope.channels, 2, dtype=torch.float32) / rope.channels)
    short, long, factor = scaled(_Scaling(rope, scaling), frequency)
    still = torch.zeros((head_dim - rope.channels) // 2)
    return Turning(
        torch.cat((short, still)).to(device),
        None if long is None else torch.cat((long, still)).to(device),
        None if rope.axes is None else torch.tensor(rope.axes, device=device),
        None if factor == 1 else torch.cat((torch.full_like(short, factor), still + 1)).to(device),
    )


def order(rope: Rope | None, head_dim: int, heads: int) -> Tensor | None:
    """The order of a projection's rows in which pairs lie half a head apart; None where they do so already."""
    if rope is None or rope.channels == head_dim:
        return None
    rows = torch.arange(head_dim)
    (first, second), still = rows[: rope.channels].chunk(2), rows[rope.channels :].chunk(2)
    head = torch.cat((first, still[0], second, still[1]))
    return (head + head_dim * torch.arange(heads)[:, None]).flatten()


@dataclass(frozen=True, slots=True)
class _Scaling:
    rope: Rope
    values: Mapping[str, Any]

    def number(self, name: str, default: float | None = None) -> float:
        value = self.values.get(name, default)
        if value is None:
            raise ModelError(f"rope scaling {dict(self.rope.scaling)} is not complete: {name!r}")
        if not _above_zero(value):
            raise ModelError(f"rope scaling with {name} = {value!r} is not supported: it is no number above 0")
        return float(value)

    def divisors(self, name: str) -> Tensor:
        """One a pair."""
        match self.values.get(name):
            case [*numbers] if len(numbers) == self.rope.channels // 2 and all(map(_above_zero, numbers)):
                return torch.tensor(numbers, dtype=torch.float32)
            case _:
                raise ModelError(f"rope scaling needs {name}, {self.rope.channels // 2} numbers above 0")


def _above_zero(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < 1e300


_Scaled = tuple["Tensor", "Tensor | None", float]  # frequencies (R / 2,), those of long sequences, amplitude


def _unscaled(scaling: _Scaling, frequency: Tensor) -> _Scaled:
    return frequency, None, 1.0


def _linear(scaling: _Scaling, frequency: Tensor) -> _Scaled:
    return frequency / scaling.number("factor"), None, 1.0


def _divided(scaling: _Scaling, frequency: Tensor) -> _Scaled:
    return frequency / scaling.divisors("divisors") / scaling.number("factor", 1.0), None, 1.0


def _llama3(scaling: _Scaling, frequency: Tensor) -> _Scaled:
    low, high, factor = (scaling.number(name) for name in ("low_freq_factor", "high_freq_factor", "factor"))
    if high <= low:
        raise ModelError(f"rope scaling {dict(scaling.rope.scaling)} is not supported: its frequencies overlap")
    waves = scaling.number("original_max_position_embeddings") * frequency / (2 * math.pi)  # in the original context
    kept = ((waves - low) / (high - low)).clamp(0, 1)
    return frequency * (kept + (1 - kept) / factor), None, 1.0


def _yarn(scaling: _Scaling, frequency: Tensor) -> _Scaled:
    original = scaling.number("original_max_position_embeddings")
    factor = scaling.number("factor", scaling.rope.context / original)
    channels, last = scaling.rope.channels, scaling.rope.channels - 1
    if scaling.rope.theta <= 1:
        raise ModelError(f"rope scaling 'yarn' with rope_theta {scaling.rope.theta} is not supported")

    def channel(turns: float) -> float:
        """The channel that turns so often within the original context."""
        return channels * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(scaling.rope.theta))

    first, end = channel(scaling.number("beta_fast", 32.0)), channel(scaling.number("beta_slow", 1.0))
    if type(truncate := scaling.values.get("truncate", True)) is not bool:
        raise ModelError(f"rope scaling with truncate = {truncate!r} is not supported")
    if truncate:
        first, end = math.floor(first), math.ceil(end)
    first, end = max(first, 0), min(end, last)
    slowed = (torch.arange(channels // 2) - first) / (end - first or 0.001)
    slowed = slowed.float().clamp(0, 1)
    return frequency * (1 - slowed) + frequency / factor * slowed, None, _yarn_amplitude(scaling, factor)


def _yarn_amplitude(scaling: _Scaling, factor: float) -> float:
    if "attention_factor" in scaling.values:
        return scaling.number("attention_factor")

    def amplitude(weight: float) -> float:
        return 0.1 * weight * math.log(factor) + 1 if factor > 1 else 1.0

    values = scaling.values
    if values.get("mscale") and values.get("mscale_all_dim"):
        return amplitude(scaling.number("mscale")) / amplitude(scaling.number("mscale_all_dim"))
    return amplitude(1.0)


def _longrope(scaling: _Scaling, frequency: Tensor) -> _Scaled:
    original = scaling.number("original_max_position_embeddings")
    factor = scaling.number("factor", scaling.rope.context / original)
    sharper = math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 and original > 1 else 1.0
    short, long = (frequency / scaling.divisors(name) for name in ("short_factor", "long_factor"))
    return short, long, scaling.number("attention_factor", sharper)


_ORIGINAL: Final = "original_max_position_embeddings"
_KINDS: Final[dict[str, tuple[tuple[str, ...], Callable[[_Scaling, Tensor], _Scaled]]]] = {
    "default": ((), _unscaled),
    "linear": (("factor",), _linear),
    "dynamic": (("factor", _ORIGINAL), _unscaled),
    "llama3": (("factor", "low_freq_factor", "high_freq_factor", _ORIGINAL), _llama3),
    "yarn": (
        ("factor", "beta_fast", "beta_slow", "truncate", "attention_factor", "mscale", "mscale_all_dim", _ORIGINAL),
        _yarn,
    ),
    "longrope": (("factor", "short_factor", "long_factor", "attention_factor", _ORIGINAL), _longrope),
    "divided": (("divisors", "factor"), _divided),
}
