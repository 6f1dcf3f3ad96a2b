"""``awsllm`` run in this process, as a shell would run it."""

import io
import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

from awsllm.cli import main


class Result(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Result]


def runner(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """What runs one command line, with ``stdin`` piped."""

    def run(*arguments: str, stdin: str = "") -> Result:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as left:
            main(arguments)
        code = left.value.code
        return Result(code if isinstance(code, int) else int(bool(code)), *capsys.readouterr())

    return run
