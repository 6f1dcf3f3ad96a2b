"""How a training goes, on standard error: its loss as a curve that grows on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

from awsllm.cli import terminal
from awsllm.cli.progress import Lines

if TYPE_CHECKING:
    from awsllm.explanation.curves import LossPoint
    from awsllm.jobs.job import ServiceJob
    from awsllm.jumpstart.deploy.progress import Progress

_WIDEST, _HEIGHT = 60, 8
_AXIS = 12  # columns of its labels
_FEWEST = 3  # points that are worth a drawing


def points_of(job: ServiceJob[Any]) -> list[LossPoint]:
    """How its loss fell; none of what trains nothing."""
    from awsllm.explanation.curves import LossPoint

    return [LossPoint(*loss) for loss in job.losses()]


def curve(points: Sequence[LossPoint], columns: int) -> list[str]:
    """The drawing, as wide as there is room; none of a few points."""
    from awsllm.explanation.curves import loss_lines

    if len(points) < _FEWEST:
        return []
    return loss_lines(points, max(10, min(_WIDEST, columns - _AXIS)), _HEIGHT)


class TrainingLines:
    """Hears of a job's states, and writes them: on a terminal the last one under the curve, elsewhere each once. The
    curve stays when it is left."""

    def __init__(self, job: ServiceJob[Any]) -> None:
        self._job, self._stack = job, ExitStack()
        self._is_live = sys.stderr.isatty()
        self._live: Any = None
        self._lines = Lines(self._draw if self._is_live else terminal.note)

    def __enter__(self) -> Self:
        if self._is_live:
            from rich.console import Console
            from rich.live import Live

            self._live = self._stack.enter_context(Live(console=Console(stderr=True), transient=True))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        for line in self._curve():
            terminal.note(line)

    def __call__(self, progress: Progress) -> None:
        self._lines(progress)

    def _draw(self, line: str) -> None:
        from rich.text import Text

        shown = terminal.without_steering(line)
        self._live.update(Text("\n".join([*self._curve(), shown])))

    def _curve(self) -> list[str]:
        """None too where the job cannot be asked: it explains, and nothing depends on it."""
        try:
            return curve(points_of(self._job), terminal.columns(sys.stderr))
        except Exception:
            return []
