"""An answer as it comes: Markdown on a terminal, plain text into a file or a pipe.

On a terminal what is whole is written for good, a block at a time, wrapped at words; the block that is still coming
stands below it and is drawn anew as it grows. Until the first word there is a spinner. Colour is rich's, which leaves
it out where NO_COLOR is set; a dumb terminal gets plain text.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol, Self

from awsllm.cli import terminal

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.markdown import Markdown


class View(Protocol):
    """Where the pieces of an answer go, inside ``with``."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc_info: object) -> None: ...

    def write(self, piece: str) -> None: ...


def view(*, plain: bool = False) -> View:
    if plain or not sys.stdout.isatty():
        return PlainView()
    from rich.console import Console

    console = Console(highlight=False)
    return PlainView() if console.is_dumb_terminal else MarkdownView(console)


class PlainView(AbstractContextManager["PlainView"]):
    """The text as it is; its last line is ended however it ends."""

    def __init__(self) -> None:
        self._last = ""

    def write(self, piece: str) -> None:
        self._last = piece or self._last
        terminal.write(piece)

    def __exit__(self, *exc_info: object) -> None:
        if self._last and not self._last.endswith("\n"):
            terminal.write("\n")


class MarkdownView(AbstractContextManager["MarkdownView"]):
    """Markdown, rendered while it comes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._coming = ""
        self._live: Live | None = None

    def __enter__(self) -> Self:
        from rich.live import Live
        from rich.spinner import Spinner

        self._live = Live(Spinner("dots"), console=self._console, transient=True, refresh_per_second=8)
        self._live.start()
        return self

    def write(self, piece: str) -> None:
        self._coming += terminal.without_steering(piece)
        end = finished(self._coming)
        whole, self._coming = self._coming[:end], self._coming[end:]
        self._print(whole)
        if self._live is not None:
            self._live.update(self._markdown(self._coming))

    def __exit__(self, *exc_info: object) -> None:
        if self._live is not None:
            self._live.stop()
        self._print(self._coming)

    def _print(self, text: str) -> None:
        if text.strip():
            self._console.print(self._markdown(text))

    def _markdown(self, text: str) -> Markdown:
        from rich.markdown import Markdown

        return Markdown(text, hyperlinks=False)  # where a link of the model's leads shall be seen


def finished(text: str) -> int:
    """How much of a Markdown text will not change whatever follows: up to its last blank line outside code."""
    end, in_code, at = 0, False, 0
    for line in text.splitlines(keepends=True):
        at += len(line)
        if line.lstrip().startswith(("```", "~~~")):
            in_code = not in_code
        elif not line.strip() and line.endswith("\n") and not in_code:
            end = at
    return end
