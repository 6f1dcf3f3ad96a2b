"""What is written to a terminal or read from it."""

from __future__ import annotations

import json
import os
import re
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO

import typer

if TYPE_CHECKING:
    from awsllm.errors import AwsllmError
    from awsllm.types import ConverseResponse

# A model's words go to a terminal without the characters that steer one: escape sequences could rewrite the screen, the
# title or the clipboard. Nor do those that reverse what follows, so that a line reads as another than it is; the marks
# that writing from right to left needs stay, and so do tab and newline.
_REVERSING = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
_STEERING = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0), *_REVERSING])
del _STEERING[0x09], _STEERING[0x0A]
_ESCAPED = {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), *_REVERSING)}  # those of them that JSON may have

_REMEDIES = {"max_tokens": ": it was cut; give --max-tokens more"}


def without_steering(text: str) -> str:
    return text.translate(_STEERING)


def write(text: str) -> None:
    """Write to standard output at once."""
    sys.stdout.write(without_steering(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def note(text: str, hang: int = 0) -> None:
    """A line beside the answer, on standard error: wrapped at words on a terminal, as it is elsewhere. Where it goes
    on, it is indented by ``hang`` columns."""
    text = without_steering(text)
    if sys.stderr.isatty():
        width = columns(sys.stderr)
        text = "\n".join(wrapped(line, width, hang) for line in text.split("\n"))
    print(text, file=sys.stderr)


def wrapped(line: str, width: int, hang: int = 0) -> str:
    """A line cut before the words that do not fit. A longer word stays whole, and so does what begins with a space:
    that is laid out, or a command to be copied."""
    from rich.cells import cell_len

    if line.startswith(" ") or cell_len(line) <= width:
        return line
    indent = " " * min(hang, width // 2)
    lines = [""]
    for word in re.findall(r" *[^ ]+", line):
        if lines[-1].strip() and cell_len(lines[-1] + word) > width:
            lines.append(indent + word.lstrip())
        else:
            lines[-1] += word
    return "\n".join(lines)


def columns(screen: TextIO) -> int:
    """How wide a terminal is: what it says now, for COLUMNS may be of before it was resized. One that cannot tell,
    nor COLUMNS, is taken for an old one."""
    with suppress(OSError, ValueError):
        if wide := os.get_terminal_size(screen.fileno()).columns:
            return wide
    named = os.environ.get("COLUMNS", "")
    return int(named) if named.isdecimal() and int(named) else 80


def remark(response: ConverseResponse) -> None:
    """Say beside the answer what the reader should know about it."""
    for warning in response.warnings:
        note(f"awsllm: {warning}")
    if response.stop_reason not in {"end_turn", "stop_sequence"}:
        note(f"awsllm: the answer ended with {response.stop_reason}{_REMEDIES.get(response.stop_reason or '', '')}")


def is_agreed(question: str) -> bool:
    """Whether the user says yes. Where standard input is no terminal, nobody is asked, and it is taken for said."""
    if not sys.stdin.isatty():
        return True
    if not sys.stderr.isatty():
        raise typer.BadParameter("the question would not be seen, as stderr is redirected: give --yes")
    return typer.confirm(question, err=True)


def write_json(document: Any) -> None:
    """One JSON document on standard output, indented on a terminal."""
    write_line(json.dumps(document, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None))


def write_line(document: str) -> None:
    """JSON on a line of standard output, at once: on a terminal with escapes for what would steer it."""
    print(document.translate(_ESCAPED) if sys.stdout.isatty() else document, flush=True)


def piped_input() -> str:
    """What is piped into the program; empty on a terminal."""
    if sys.stdin is None or sys.stdin.closed or sys.stdin.isatty():
        return ""
    return sys.stdin.read()


def one_line(error: AwsllmError) -> str:
    """What the error says, on one line."""
    return " ".join(str(error).split())
