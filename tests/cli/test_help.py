"""What `--help` shows of the options."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import typer
from rich.console import Console
from rich.markdown import Markdown

from awsllm.cli.app import app


def helps(command: Any) -> Iterator[str]:
    """The help of every option of a command and of those below it."""
    for option in command.params:
        yield getattr(option, "help", None) or ""
    for below in getattr(command, "commands", {}).values():
        yield from helps(below)


def shown(text: str) -> str:
    """As the terminal shows it, on one line."""
    console = Console(file=io.StringIO(), width=10_000)
    console.print(Markdown(text))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_pattern_keeps_its_stars() -> None:
    """Help is Markdown, in which two stars are italics."""
    found = list(helps(typer.main.get_command(app)))
    assert any("anthropic.*" in text for text in found)
    for text in found:
        assert shown(text).count("*") == text.count("*"), text
