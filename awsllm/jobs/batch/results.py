"""What came of a batch, as its caller gets it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from awsllm.jobs.batch.ledger import BatchLedger
from awsllm.jobs.batch.values import BatchRow, BatchState


class BatchResult:
    """What came of a batch. Iterating gives a ``BatchRow`` for each record, in the input's order, read from the ledger
    as it goes, so that memory holds one. ``output`` is where rows were written."""

    def __init__(self, state: BatchState, ledger: BatchLedger, output: str | None, output_type: Any = None) -> None:
        self.output = output
        self.total, self.succeeded, self.failed = state.total, state.succeeded, state.failed
        self.unpriced = state.unpriced
        self.cost: float | None = state.cost if not state.unpriced else None
        self._ledger, self._type = ledger, output_type

    def __iter__(self) -> Iterator[BatchRow]:
        return self._ledger.rows(self._type)

    def __len__(self) -> int:
        return self.total

    def failures(self) -> Iterator[BatchRow]:
        """The records that were set aside."""
        return self._ledger.rows(self._type, failed=True)

    def __repr__(self) -> str:
        cost = "unknown cost" if self.cost is None else f"${self.cost:.6f}"
        return f"BatchResult({self.succeeded} of {self.total} answered, {self.failed} set aside, {cost})"
