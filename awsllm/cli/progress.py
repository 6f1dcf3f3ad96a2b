"""How a deployment goes on, on standard error: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from awsllm.cli import tables, terminal

if TYPE_CHECKING:
    from awsllm.jumpstart.deploy.progress import Progress
    from awsllm.jumpstart.plan.plan import Plan


@contextmanager
def deployment_progress(plan: Plan) -> Iterator[Callable[[Progress], None]]:
    """A callback for ``apply``."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(plan.endpoint)
        lines = Lines(lambda text: bars.update(task, description=text))
        yield lines


class Lines:
    """Writes each state once."""

    def __init__(self, write: Callable[[str], None] = terminal.note) -> None:
        self._write = write
        self._last = ("", "", "")

    def __call__(self, progress: Progress) -> None:
        state = (progress.resource, progress.state, progress.detail or "")
        if state == self._last:
            return
        self._last = state
        detail = f": {progress.detail}" if progress.detail else ""
        self._write(f"{tables.age(progress.elapsed):>6}  {progress.resource}  {progress.state}{detail}")
