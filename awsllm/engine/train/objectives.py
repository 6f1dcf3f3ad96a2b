"""What a training makes small: the cross entropy of texts, or preferences of one answer over another.

An objective says what an epoch consists of, and what one part of it loses. ``length`` bounds the tokens of a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from awsllm.engine.errors import ModelError
from awsllm.engine.train.decoder import NOT_TRAINED, TrainableDecoder
from awsllm.engine.train.samples import Batching, Sample, batches, collate


class Objective(Protocol):
    """``loss`` is a sum over as many terms as it says: a step divides the sums of its parts by all their terms."""

    def parts(self, seed: int, epoch: int) -> Sequence[Any]:
        """The parts of an epoch, in its order."""

    def loss(self, decoder: TrainableDecoder, part: Any) -> tuple[Tensor, int]: ...

    def held_out(self) -> Sequence[Any]:
        """Parts that are only looked at."""


def endless(objective: Objective, seed: int) -> Iterator[tuple[int, Any]]:
    """Epoch after epoch: its number, and a part of it."""
    epoch = 0
    while True:
        for part in objective.parts(seed, epoch):
            yield epoch, part
        epoch += 1


class TextObjective:
    """The cross entropy of the tokens that samples say are to be predicted."""

    def __init__(self, samples: Sequence[Sample], batching: Batching, held_out: Sequence[Sample] = ()) -> None:
        if not any(sample.predictions for sample in samples):
            raise ModelError("no token of the samples is to be predicted: there is nothing to learn")
        self._samples, self._batching, self._held_out = samples, batching, held_out

    def parts(self, seed: int, epoch: int) -> Sequence[Any]:
        return [(self._samples, rows) for rows in batches(self._samples, self._batching, seed, epoch)]

    def held_out(self) -> Sequence[Any]:
        rows = self._batching.rows
        numbers = [[number] for number in range(len(self._held_out))]
        return [(self._held_out, numbers[start : start + rows]) for start in range(0, len(numbers), rows)]

    def loss(self, decoder: TrainableDecoder, part: tuple[Sequence[Sample], list[list[int]]]) -> tuple[Tensor, int]:
        samples, rows = part
        batch = collate(samples, rows, self._batching.length).to(decoder.device)
        return -decoder.log_probabilities(batch).sum(), batch.trained


@dataclass(frozen=True, slots=True)
class Preference:
    """Two answers to one prompt, as samples whose answers are what is to be predicted."""

    chosen: Sample
    rejected: Sample


class PreferenceObjective:
    """Direct preference optimisation (https://arxiv.org/abs/2305.18290): the chosen answer shall gain more than the
    rejected one against the model as it was. ``beta``: how near the model stays to that."""

    def __init__(
        self,
        reference: TrainableDecoder,
        pairs: Sequence[Preference],
        batching: Batching,
        *,
        beta: float = 0.1,
        held_out: Sequence[Preference] = (),
    ) -> None:
        """``reference`` is the model before any step: what it thinks of the pairs is kept, not the model."""
        if not pairs:
            raise ModelError("there are no pairs to learn from")
        self._batching, self._beta = batching, beta
        self._pairs = list(self._known(reference, pairs))
        self._apart = list(self._known(reference, held_out))

    @torch.no_grad()
    def _known(self, reference: TrainableDecoder, pairs: Sequence[Preference]) -> Iterator[tuple[Preference, float]]:
        was_training = reference.training
        reference.eval()
        for pair in pairs:
            chosen, rejected = self._sums(reference, [pair]).tolist()
            yield pair, chosen - rejected
        reference.train(was_training)

    def parts(self, seed: int, epoch: int) -> Sequence[Any]:
        order = list(self._pairs)
        Random(f"{seed}/{epoch}").shuffle(order)  # noqa: S311  # an order, no secret
        return self._grouped(order)

    def held_out(self) -> Sequence[Any]:
        return self._grouped(self._apart)

    def _grouped(self, pairs: Sequence[tuple[Preference, float]]) -> list[Sequence[tuple[Preference, float]]]:
        count = max(1, self._batching.rows // 2)
        return [pairs[start : start + count] for start in range(0, len(pairs), count)]

    def loss(self, decoder: TrainableDecoder, part: Sequence[tuple[Preference, float]]) -> tuple[Tensor, int]:
        sums = self._sums(decoder, [pair for pair, _ in part])
        margins = sums[0::2] - sums[1::2]
        before = torch.tensor([margin for _, margin in part], device=margins.device)
        return -logsigmoid(self._beta * (margins - before)).sum(), len(part)

    def _sums(self, decoder: TrainableDecoder, pairs: Sequence[Preference]) -> Tensor:
        """The log probability of each answer, chosen and rejected in turn."""
        samples = [sample for pair in pairs for sample in (pair.chosen, pair.rejected)]
        numbers = [[number] for number in range(len(samples))]
        batch = collate(samples, numbers, self._batching.length).to(decoder.device)
        counts = (batch.labels[:, 1:] != NOT_TRAINED).sum(1).tolist()
        return torch.stack([piece.sum() for piece in torch.split(decoder.log_probabilities(batch), counts)])
