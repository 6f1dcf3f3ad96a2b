"""Each example runs as it stands, at most forty lines long, with the local model."""

import contextlib
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from awsllm.testing import server
from awsllm.testing.scripted import ScriptExhaustedError

HOME = Path(__file__).parent.parent / "examples"
EXAMPLES = sorted(HOME.glob("*.py"))
IN_JAVASCRIPT = sorted(HOME.glob("*.mjs"))
EXPECTED = {
    "chat": "tokens in",
    "stream": "tokens]",
    "tools": "ToolUse(id=",
    "typed_output": ": ",
    "embed_search": "0.",
    "three_places": "local:smollm2-135m-instruct: ",
    "jumpstart": "left: ()",
    "scripted_server": "asked: ['Where is Oslo?', 'And Bergen?']",
}


@pytest.mark.parametrize("path", [*EXAMPLES, *IN_JAVASCRIPT], ids=lambda path: path.name)
def test_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 40


@pytest.mark.slow
@pytest.mark.parametrize("path", [p for p in EXAMPLES if not p.stem.startswith("test_")], ids=lambda path: path.stem)
def test_runs(path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", [str(path)])
    runpy.run_path(str(path), run_name="__main__")
    out = capfd.readouterr().out
    assert EXPECTED[path.stem] in out
    if path.stem == "embed_search":
        assert "Returns" in out.splitlines()[0]  # the passage that answers comes first


@pytest.mark.slow
def test_the_example_test_passes() -> None:
    names = runpy.run_path(str(next(p for p in EXAMPLES if p.stem == "test_my_bedrock_app")))
    names["test_with_a_scripted_model"]()
    names["test_with_a_real_model"]()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node on this machine")
def test_the_example_in_javascript_runs() -> None:
    with contextlib.suppress(ScriptExhaustedError), server(reply="Hello.") as aws:  # a call too many is part of it
        done = subprocess.run(
            ["node", str(HOME / "scripted_server.mjs")],
            env={**os.environ, **aws.env},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.stdout, done.stderr) == ("asked 4 times, 1 unexpected\n", "")
