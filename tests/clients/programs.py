"""Clients that are programs: where ``make clients`` has put them, and what they found."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

PLACE = Path(__file__).parent.parent.parent / ".cache" / "clients"
JAVASCRIPT = PLACE / "javascript"
_SOURCES = Path(__file__).parent / "javascript"


def node(program: str) -> list[str]:
    """The command that runs a program of ``tests/clients/javascript``, beside the packages that it needs. Skips the
    test where there are none."""
    if shutil.which("node") is None:
        pytest.skip("Node.js is not installed: no `node` on PATH")
    if not (JAVASCRIPT / "node_modules").is_dir():
        pytest.skip("no .cache/clients/javascript: run `make clients`, or python -m tests.clients javascript")
    for source in _SOURCES.glob("*.mjs"):  # packages are found from where a program stands
        if not (copy := JAVASCRIPT / source.name).is_file() or copy.read_bytes() != source.read_bytes():
            shutil.copy(source, copy)
    return ["node", "--no-warnings", str(JAVASCRIPT / program)]


def findings(program: str, *arguments: str) -> dict[str, Any]:
    """What a program of JavaScript has to say, by name."""
    command = [*node(program), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {line["name"]: line["value"] for line in lines}
