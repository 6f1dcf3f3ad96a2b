"""From sequences to the batches of a training: in which order, and several in a row.

The order follows from the seed and the epoch alone, so that a training that was killed goes on with what it had not
seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

import torch

from awsllm.engine.errors import ModelError
from awsllm.engine.train.decoder import NOT_TRAINED, Batch

_OPEN: Final = 64  # rows that may still be filled while sequences are laid into rows


@dataclass(frozen=True, slots=True)
class Sample:
    """One sequence. ``trained``: of each token whether it is to be predicted; the first never is."""

    tokens: Sequence[int]
    trained: Sequence[bool]

    def __post_init__(self) -> None:
        if len(self.tokens) != len(self.trained):
            raise ModelError(f"{len(self.tokens)} tokens do not go with {len(self.trained)} marks")

    @property
    def predictions(self) -> int:
        return sum(self.trained[1:])


@dataclass(frozen=True, slots=True, kw_only=True)
class Batching:
    """``rows`` of at most ``length`` tokens are one batch. ``packed``: short sequences share a row."""

    rows: int = 8
    length: int = 1024
    packed: bool = True


def batches(samples: Sequence[Sample], batching: Batching, seed: int, epoch: int) -> list[list[list[int]]]:
    """The batches of an epoch: rows, each a list of the numbers of its samples."""
    order = list(range(len(samples)))
    Random(f"{seed}/{epoch}").shuffle(order)  # noqa: S311  # an order, no secret
    rows = _packed(samples, order, batching.length) if batching.packed else [[number] for number in order]
    return [rows[start : start + batching.rows] for start in range(0, len(rows), batching.rows)]


def _packed(samples: Sequence[Sample], order: Sequence[int], length: int) -> list[list[int]]:
    """Each sequence in the first row that has room for it, of those that were begun last."""
    rows: list[list[int]] = []
    left: list[int] = []
    for number in order:
        size = min(len(samples[number].tokens), length)
        first = max(0, len(rows) - _OPEN)
        at = next((row for row in range(first, len(rows)) if left[row] >= size), None)
        if at is None:
            rows.append([number])
            left.append(length - size)
        else:
            rows[at].append(number)
            left[at] -= size
    return rows


def collate(samples: Sequence[Sample], rows: Sequence[Sequence[int]], length: int) -> Batch:
    """The tensors of a batch. Rows end in padding, which is never predicted; what is longer than ``length`` is cut.
    Where each row is one sequence there are no segments: nothing sees what stands behind it, and attention without a
    mask is the fastest."""
    laid = [[samples[number] for number in row] for row in rows]
    width = max(sum(min(len(sample.tokens), length) for sample in row) for row in laid)
    tokens = torch.zeros(len(laid), width, dtype=torch.int64)
    labels = torch.full_like(tokens, NOT_TRAINED)
    positions, segments = torch.zeros_like(tokens), torch.full_like(tokens, -1)
    for at, row in enumerate(laid):
        start = 0
        for number, sample in enumerate(row):
            count = min(len(sample.tokens), length)
            place = slice(start, start + count)
            ids = torch.tensor(sample.tokens[:count])
            tokens[at, place] = ids
            trained = torch.tensor(sample.trained[:count])
            trained[:1] = False  # nothing of its own stands before it
            labels[at, place] = torch.where(trained, ids, NOT_TRAINED)
            positions[at, place], segments[at, place] = torch.arange(count), number
            start += count
    return Batch(tokens, labels, positions, segments if any(len(row) > 1 for row in laid) else None)
