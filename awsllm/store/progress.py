"""How a fetch goes on: the caller's callback, or a bar on a terminal."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from awsllm.store.http import OnProgress


@contextlib.contextmanager
def reporting(name: str, progress: OnProgress | None) -> Iterator[OnProgress]:
    """The caller's callback; without one, a bar on a terminal (drawn by rich where it is installed) or silence."""
    if progress is not None:
        yield progress
    elif not sys.stderr.isatty():
        yield lambda _done, _total: None
    else:
        try:
            from rich.progress import Progress as Bar
        except ImportError:
            yield functools.partial(_write_percent, name)
            sys.stderr.write("\n")
        else:
            with _rich_bar(Bar, name) as report:
                yield report


def _write_percent(name: str, done: int, total: int) -> None:
    sys.stderr.write(f"\rfetching {name}: {100 * done // max(total, 1):3d} % of {total / 1e6:.0f} MB")
    sys.stderr.flush()


@contextlib.contextmanager
def _rich_bar(bar: type[Bar], name: str) -> Iterator[OnProgress]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("fetching {task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with bar(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as shown:
        task = shown.add_task(name, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)
