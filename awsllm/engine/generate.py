"""How the next token is chosen from logits.

Temperature 0 takes the likeliest token. Otherwise the logits are divided by the temperature and made probabilities, cut
to the ``top_k`` likeliest, then to the smallest set whose share of what is left reaches ``top_p`` (the likeliest always
stays; of tokens as likely as each other those with lower ids come first), and one of the rest is drawn by their
probabilities. Every sequence draws with a generator of its own, so that a seed gives the same tokens whatever else is
being generated: Python's, whose numbers for a seed are the same in every version.

Nothing is sorted, which takes milliseconds where a vocabulary has 150,000 tokens as likely as each other. A token is
drawn from all; whether it belongs to the smallest set follows from the sum of what is likelier. If not, neither does
what is no likelier, and the next is drawn from the rest. Given that a draw is accepted, each token of the set has the
probability that it would have had if only the set had been there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from awsllm.engine.interface import Adapter, Floats, Words

_Doubles: TypeAlias = NDArray[np.float64]

_LOOP: Final = 24  # tokens of a repetition that small models do not leave by themselves
_PERIODS: Final = range(1, 9)
_STRIDE: Final = 256  # tokens that are summed at once where one is drawn
_BITS: Final = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
_MOST: Final = np.where(_BITS, np.float32(np.inf), np.float32(-np.inf))
"""By the eight bits of a mask's byte, how high the logits of eight tokens may be: (256, 8)."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How one sequence is continued. ``top_k`` 0 and ``top_p`` 1 cut nothing; ``max_tokens`` None ends at the context.

    A token of ``stop_ids`` ends the sequence and is not part of it. ``adapter``: what stands beside the model's weights
    for this sequence alone, where the model is an ``AdaptingModel``.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    max_tokens: int | None = None
    stop_ids: frozenset[int] = frozenset()
    adapter: Adapter | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise ValueError(f"temperature is {self.temperature}, not a number from 0 up")
        if not 0 <= self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}, not a number from 0 to 1")
        if self.top_k < 0:
            raise ValueError(f"top_k is {self.top_k}, not 0 (no limit) or more")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise ValueError(f"max_tokens is {self.max_tokens}, not 1 or more")

    def generator(self) -> Random:
        """The source of this sequence's random numbers."""
        return Random(None if self.seed is None else self.seed & (2**64 - 1))  # noqa: S311 -- nothing secret


def sample(logits: Floats, sampling: Sampling, generator: Random) -> int:
    """One token from logits (V,); minus infinity forbids a token. Raises ``ValueError`` if none is possible."""
    best = int(logits.argmax())  # the first that is not a number, where there is one
    possible(best if math.isfinite(logits[best]) else None)
    if sampling.temperature == 0:
        return best
    weights = _weights(logits, sampling)
    share = sampling.top_p * float(weights.sum())
    while True:
        token = _draw(weights, generator.random())
        if sampling.top_p == 1 or _is_within(weights, token, share):
            return token


def possible(token: int | None) -> int:
    """The token that was chosen. Raises ``ValueError`` if there was none to choose."""
    if token is None:
        raise ValueError("no token is possible: the grammar allows none, or the logits are not numbers")
    return token


def _weights(logits: Floats, sampling: Sampling) -> _Doubles:
    """How likely each token is, but for a common factor; nothing beyond the ``top_k`` likeliest."""
    # less the best first: dividing by a tiny temperature must not overflow
    weights: _Doubles = np.subtract(logits, logits.max(), dtype=np.float64)
    with np.errstate(over="ignore"):
        weights /= sampling.temperature
    np.exp(weights, out=weights)
    if 0 < sampling.top_k < len(weights):
        last = np.partition(weights, -sampling.top_k)[-sampling.top_k]
        weights *= weights >= last
        ties = np.flatnonzero(weights == last) if last else np.array([], np.intp)
        over = len(ties) + int(np.count_nonzero(weights > last)) - sampling.top_k
        weights[ties[len(ties) - max(0, over) :]] = 0
    return weights


def _draw(weights: _Doubles, uniform: float) -> int:
    """A token by the weights (V,), for a number from 0 to 1. Found by sums of strides: a running sum takes longer."""
    whole = len(weights) // _STRIDE * _STRIDE
    sums = np.append(weights[:whole].reshape(-1, _STRIDE).sum(1), weights[whole:].sum()).cumsum()
    wanted = uniform * float(sums[-1])
    stride = min(int(sums.searchsorted(wanted, "right")), int(sums.searchsorted(sums[-1])))  # rounding may pass the end
    inside = weights[stride * _STRIDE : (stride + 1) * _STRIDE].cumsum()
    before = float(sums[stride - 1]) if stride else 0.0
    place = min(int(inside.searchsorted(wanted - before, "right")), int(inside.searchsorted(inside[-1])))
    return stride * _STRIDE + place


def _is_within(weights: _Doubles, token: int, share: float) -> bool:
    """Whether what is likelier than the token, or as likely with a lower id, has less than this share. If not, the
    token and what comes after it lose their weights."""
    own = weights[token]
    likelier = weights > own
    before = float((weights * likelier).sum()) + float(own) * int(np.count_nonzero(weights[:token] == own))
    if before < share or before == 0:
        return True
    likelier[:token] |= weights[:token] == own
    weights *= likelier
    return False


def looped(tokens: Sequence[int], room: int) -> int | None:
    """The token that would go on with a loop: with at most eight tokens again and again, for an eighth of the ``room``
    that is left to the answer. Under a grammar a small model stays in such a loop (``"1.0.0.0.0…``) to the end, and the
    answer, cut, is none. What honestly repeats itself is shorter, or would be cut too."""
    length = max(_LOOP, room // 8)
    if len(tokens) < length:
        return None
    tail = tokens[-length:]
    return next((tail[-n] for n in _PERIODS if tail[-1] == tail[-1 - n] and tail[n:] == tail[:-n]), None)


def without(logits: Floats, token: int) -> Floats:
    """Logits (V,) that forbid a token, unless no other is possible."""
    rest = logits.copy()
    rest[token] = -np.inf
    return rest if np.isfinite(rest.max()) else logits


def apply_mask(logits: Floats, mask: Words) -> Floats:
    """Logits (…, V) with what a packed int32 mask (W,) of a grammar forbids at minus infinity.

    A mask of fewer than V bits is of a tokenizer that knows fewer tokens than the model has rows: those go.
    """
    most = _MOST[mask.astype("<i4", copy=False).view(np.uint8)].reshape(-1)[: logits.shape[-1]]
    lowered: Floats = np.minimum(logits[..., : len(most)], most)
    return lowered
