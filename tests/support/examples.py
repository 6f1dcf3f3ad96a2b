"""The programs of `examples/`, run in this process as a user would start them."""

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HOME = Path(__file__).parents[2] / "examples"
_NO_PROGRAMS = ("ci", "evaluation_gate", "lambdas", "pytest_suite")
PROGRAMS = sorted(path for path in HOME.rglob("*.py") if path.parent.name not in _NO_PROGRAMS)
"""Those with a command line; `streamlit_app` has one of Streamlit's."""

Run = Callable[..., str]


def runner(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """``run("uses/story", "--endings", "1")`` gives what the program prints."""

    def run(name: str, *arguments: Any) -> str:
        path = HOME / f"{name}.py"
        monkeypatch.setattr(sys, "argv", [str(path), *map(str, arguments)])
        capfd.readouterr()
        runpy.run_path(str(path), run_name="__main__")
        return capfd.readouterr().out

    return run


def names_of(name: str) -> dict[str, Any]:
    """What the program defines, without running it."""
    return runpy.run_path(str(HOME / f"{name}.py"))
