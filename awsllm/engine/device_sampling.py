"""``generate.sample`` on a device, for many sequences at once: logits stay where they are, ids come back.

The choice is the same: temperature, the cut to the likeliest, the order of tokens as likely as each other, and the
place that the sequence's own random number falls on. Numbers are float64, as there, where the device has them.

n rows, V tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from awsllm.engine.choosing import TokenChoice


NONE = -1
"""In the place of a token, where none is possible."""


def choose(logits: Tensor, choices: Sequence[TokenChoice | None]) -> Tensor:
    """A token of each row of float32 logits (n, V), int64 (n,). A row without a choice is given its likeliest."""
    logits = _allowed(logits, choices)
    best = likeliest(logits)
    drawn = [row for row, choice in enumerate(choices) if choice is not None and choice.sampling.temperature > 0]
    if not drawn:
        return best
    rows = upload(np.array(drawn, np.int64), logits.device)
    possible = best[rows]
    tokens = _draw(logits[rows], [choice for choice in (choices[row] for row in drawn) if choice is not None])
    return best.index_copy(0, rows, torch.where(possible == NONE, possible, tokens))


def likeliest(logits: Tensor) -> Tensor:
    """The likeliest token of each row, the first of several, (n,)."""
    top = logits.amax(-1, keepdim=True)
    tokens = torch.arange(logits.shape[-1], device=logits.device).expand_as(logits)
    first = tokens.masked_fill(logits != top, logits.shape[-1]).amin(-1)
    return first.masked_fill(~top[:, 0].isfinite(), NONE)


def upload(values: NDArray[np.generic], device: torch.device) -> Tensor:
    """Numbers on the device, without waiting for it."""
    tensor = torch.from_numpy(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def _allowed(logits: Tensor, choices: Sequence[TokenChoice | None]) -> Tensor:
    """The logits with what grammars forbid at minus infinity. Masks travel as they are packed, a bit a token."""
    masks = {row: choice.mask for row, choice in enumerate(choices) if choice is not None and choice.mask is not None}
    if masks:
        words = np.full((len(choices), -(-logits.shape[-1] // 32)), -1, np.int32)
        for row, mask in masks.items():  # one of fewer words is of a tokenizer that knows fewer tokens: those go
            known = mask[: words.shape[1]]
            words[row, : len(known)], words[row, len(known) :] = known, 0
        packed = upload(words, logits.device)[:, :, None]
        bits = packed >> torch.arange(32, dtype=torch.int32, device=logits.device) & 1
        logits = logits.masked_fill(bits.flatten(1)[:, : logits.shape[-1]] == 0, float("-inf"))
    without = [NONE if choice is None or choice.without is None else choice.without for choice in choices]
    if any(token != NONE for token in without):
        tokens = upload(np.array(without, np.int64), logits.device)[:, None]
        everything = torch.arange(logits.shape[-1], device=logits.device)
        rest = logits.masked_fill(everything == tokens, float("-inf"))
        logits = torch.where(rest.amax(-1, keepdim=True).isfinite(), rest, logits)
    return logits


def _draw(logits: Tensor, choices: Sequence[TokenChoice]) -> Tensor:
    """One token of each row by its random number: those of a device as of ``generate.candidates``."""
    exact = torch.float32 if logits.device.type == "mps" else torch.float64
    size = logits.shape[-1]
    numbers = np.array([
        [choice.sampling.temperature for choice in choices],
        [choice.sampling.top_k or size for choice in choices],
        [choice.sampling.top_p for choice in choices],
        [choice.number for choice in choices],
    ])  # fmt: skip
    uploaded = upload(numbers.astype(np.float32) if exact is torch.float32 else numbers, logits.device)
    temperature, top_k, top_p, number = (row[:, None] for row in uploaded)
    scaled = (logits.to(exact) - logits.amax(-1, keepdim=True).to(exact)) / temperature
    weights = scaled.exp()
    if any(0 < choice.sampling.top_k < size or choice.sampling.top_p < 1 for choice in choices):
        weights = _cut(logits, weights, top_k, top_p)
    cumulative = weights.cumsum(-1)
    place = (cumulative <= number * cumulative[:, -1:]).sum(-1)
    last = torch.where(weights > 0, torch.arange(size, device=logits.device), 0).amax(-1)
    return torch.minimum(place, last)


def _cut(logits: Tensor, weights: Tensor, top_k: Tensor, top_p: Tensor) -> Tensor:
    """The weights, with 0 for all but the ``top_k`` likeliest, and of these but the fewest that have ``top_p`` of what
    is left."""
    order = logits.argsort(dim=-1, descending=True, stable=True)
    sorted_ = weights.gather(1, order)
    rank = torch.arange(logits.shape[-1], device=logits.device)
    sorted_ = torch.where(rank < top_k, sorted_, 0)
    before = sorted_.cumsum(-1) - sorted_
    kept = (before < top_p * sorted_.sum(-1, keepdim=True)) | (rank == 0) | (top_p >= 1)
    return torch.zeros_like(weights).scatter(1, order, torch.where(kept, sorted_, 0))
