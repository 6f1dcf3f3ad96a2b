"""How the next token is chosen from logits.

Temperature 0 takes the likeliest token. Otherwise the logits are divided by the temperature, cut to the ``top_k``
likeliest, then to the smallest set whose probability reaches ``top_p`` (the likeliest always stays), and one uniform
number picks from what is left. Every sequence draws that number from a generator of its own, so that a seed gives the
same tokens whatever else is being generated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

_LOOP: Final = 24  # tokens of a repetition that small models do not leave by themselves
_PERIODS: Final = range(1, 9)
_LIKELY: Final = 256  # a nucleus is nearly always smaller; sorting the whole vocabulary takes milliseconds


@dataclass(frozen=True, slots=True)
class Sampling:
    """How one sequence is continued. ``top_k`` 0 and ``top_p`` 1 cut nothing; ``max_tokens`` None ends at the context.

    A token of ``stop_ids`` ends the sequence and is not part of it.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    max_tokens: int | None = None
    stop_ids: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise ValueError(f"temperature is {self.temperature}, not a number from 0 up")
        if not 0 <= self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}, not a number from 0 to 1")
        if self.top_k < 0:
            raise ValueError(f"top_k is {self.top_k}, not 0 (no limit) or more")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise ValueError(f"max_tokens is {self.max_tokens}, not 1 or more")

    def generator(self) -> torch.Generator:
        """The source of this sequence's random numbers."""
        generator = torch.Generator()
        if self.seed is None:
            generator.seed()
        else:
            generator.manual_seed(self.seed & (2**64 - 1))
        return generator


def sample(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """One token from logits (V,); minus infinity forbids a token. Raises ``ValueError`` if none is possible."""
    best = logits.max()
    if not torch.isfinite(best):
        raise ValueError("no token is possible: the grammar allows none, or the logits are not numbers")
    if sampling.temperature == 0:
        return int(logits.argmax())
    # less the best first: dividing by a tiny temperature must not overflow
    probabilities = ((logits - best).double() / sampling.temperature).softmax(-1).cpu()
    candidates, tokens = _candidates(probabilities, sampling)
    cumulative = candidates.cumsum(0)
    drawn = torch.rand(1, generator=generator, dtype=torch.float64) * cumulative[-1]
    place = int(torch.searchsorted(cumulative, drawn, right=True))
    return int(tokens[min(place, len(tokens) - 1)])


def _candidates(probabilities: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """The probabilities to draw from, and their tokens."""
    vocabulary = len(probabilities)
    if sampling.top_p == 1 and not sampling.top_k:
        return probabilities, torch.arange(vocabulary)
    likely, tokens = probabilities.topk(min(sampling.top_k or _LIKELY, vocabulary))
    mass = likely.sum() if sampling.top_k else 1.0
    if not sampling.top_k and likely.sum() < sampling.top_p:
        likely, tokens = probabilities.sort(descending=True)
    before = likely.cumsum(0) - likely  # the probability of all that are likelier
    kept = max(1, int((before < sampling.top_p * mass).sum()))
    return likely[:kept], tokens[:kept]


def looped(tokens: Sequence[int], room: int) -> int | None:
    """The token that would go on with a loop: with at most eight tokens again and again, for an eighth of the ``room``
    that is left to the answer. Under a grammar a small model stays in such a loop (``"1.0.0.0.0…``) to the end, and the
    answer, cut, is none. What honestly repeats itself is shorter, or would be cut too."""
    length = max(_LOOP, room // 8)
    if len(tokens) < length:
        return None
    tail = tokens[-length:]
    return next((tail[-n] for n in _PERIODS if tail[-1] == tail[-1 - n] and tail[n:] == tail[:-n]), None)


def without(logits: Tensor, token: int) -> Tensor:
    """Logits (V,) that forbid a token, unless no other is possible."""
    rest = logits.clone()
    rest[token] = float("-inf")
    return rest if torch.isfinite(rest.max()) else logits


def apply_mask(logits: Tensor, mask: Tensor) -> Tensor:
    """Logits (…, V) with what a packed int32 mask (…, W) of a grammar forbids at minus infinity.

    A mask of fewer than V bits is of a tokenizer that knows fewer tokens than the model has rows: those go.
    """
    bits = mask.unsqueeze(-1) >> torch.arange(32, dtype=torch.int32, device=mask.device) & 1  # (…, W, 32)
    allowed = bits.flatten(-2)[..., : logits.shape[-1]].bool()
    return logits[..., : allowed.shape[-1]].masked_fill(~allowed.to(logits.device), float("-inf"))
