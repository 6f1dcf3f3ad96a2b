"""Pieces of work beside each other, in lanes, for as long as the function has time.

The pieces of a lane are done in their order, and a lane ends at its first failure; lanes run in threads. No piece is
begun once

    less time is left than the longest so far has taken, a second at least
    the model is throttled or not ready: the next one would fail as well (``events.errors.concerns_all``)

A thread that overruns is left behind, and its piece counts as not done: Lambda freezes the environment when the answer
is given, so such a piece may go on with a later invocation. Whoever does it again needs idempotency.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from awsllm.lambdas.context import DeadlineError, LambdaContext, seconds_left
from awsllm.lambdas.events.errors import TransientError, concerns_all
from awsllm.lambdas.logs import log, of_error
from awsllm.types import JsonValue, Value

T = TypeVar("T")

CONCURRENCY = 8
"""Lanes at once."""
LEAST_SECONDS = 1.0
"""Time without which no piece is begun."""

_LOOK = 0.25  # seconds between two looks at the function's clock


class PieceOutcome(Value, Generic[T], frozen=True):
    """A piece that was begun and is over: its value, or its error."""

    piece: T
    value: JsonValue = None
    error: Exception | None = None


def run_lanes(
    lanes: Sequence[Sequence[T]],
    work: Callable[[T, float], JsonValue],
    context: LambdaContext,
    *,
    concurrency: int = CONCURRENCY,
    margin: float = 0.5,
) -> list[list[PieceOutcome[T]]]:
    """What became of each lane: its pieces that were begun and are over. ``work`` is given a piece and how many seconds
    it may take, and may raise any ``Exception``. ``margin`` seconds are kept back."""
    run = _Run(work, context, margin)
    over: list[list[PieceOutcome[T]]] = [[] for _ in lanes]
    if len(lanes) == 1 or concurrency == 1:
        for lane, outcomes in zip(lanes, over, strict=True):
            run.lane(lane, outcomes)
    else:
        _in_threads(run, list(zip(lanes, over, strict=True)), concurrency)
    return run.end(over)


def run_each(
    pieces: Sequence[T], work: Callable[[T, float], JsonValue], context: LambdaContext, **run: Any
) -> list[PieceOutcome[T] | None]:
    """What became of each piece, which is a lane of its own; None for one that was not begun or is not over. ``run`` is
    ``run_lanes``'s."""
    over = run_lanes([[piece] for piece in pieces], work, context, **run)
    return [lane[0] if lane else None for lane in over]


def check_all_done(outcomes: Sequence[PieceOutcome[Any] | None], what: str, context: LambdaContext) -> None:
    """Raises ``TransientError`` where one is not done, so that who sent the event sends it again. ``what`` are fixed
    words, for the log."""
    for outcome in outcomes:
        if outcome is not None and outcome.error is not None:
            log("ERROR", f"one of the {what} was not done", context, **of_error(outcome.error))
    left = sum(outcome is None or outcome.error is not None for outcome in outcomes)
    if left:
        raise TransientError(f"{left} of {len(outcomes)} {what} were not done; the log says why")


def _in_threads(run: _Run[T], lanes: list[tuple[Sequence[T], list[PieceOutcome[T]]]], concurrency: int) -> None:
    from concurrent.futures import ThreadPoolExecutor, wait

    pool = ThreadPoolExecutor(max(1, min(concurrency, len(lanes))), thread_name_prefix="awsllm-piece")
    try:
        running = {pool.submit(run.lane, lane, outcomes) for lane, outcomes in lanes}
        while running and (left := run.left()) is not None:
            finished, running = wait(running, timeout=min(left, _LOOK))
            for one in finished:
                one.result()  # a fault of this module, never of a piece
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


class _Run(Generic[T]):
    """What the lanes of one run share."""

    def __init__(self, work: Callable[[T, float], JsonValue], context: LambdaContext, margin: float) -> None:
        self._work, self._context, self._margin = work, context, margin
        self._lock = threading.Lock()
        self._longest = LEAST_SECONDS
        self._stopped = False

    def left(self) -> float | None:
        try:
            return seconds_left(self._context, self._margin)
        except DeadlineError:
            return None

    def end(self, over: list[list[PieceOutcome[T]]]) -> list[list[PieceOutcome[T]]]:
        """What is over by now; nothing more is begun."""
        with self._lock:
            self._stopped = True
            return [list(outcomes) for outcomes in over]

    def lane(self, pieces: Sequence[T], outcomes: list[PieceOutcome[T]]) -> None:
        for piece in pieces:
            left = self.left()
            if left is None or not self._may_begin(left):
                return
            outcome = self._one(piece, left)
            with self._lock:
                outcomes.append(outcome)
            if outcome.error is not None:
                return

    def _may_begin(self, left: float) -> bool:
        with self._lock:
            return not self._stopped and left >= self._longest

    def _one(self, piece: T, left: float) -> PieceOutcome[T]:
        began = time.monotonic()
        try:
            outcome = PieceOutcome(piece, self._work(piece, left))
        except Exception as error:
            outcome = PieceOutcome(piece, error=error)
        with self._lock:
            self._longest = max(self._longest, time.monotonic() - began)
            self._stopped |= outcome.error is not None and concerns_all(outcome.error)
        return outcome
