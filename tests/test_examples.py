"""Each example runs as it stands, at most forty lines long, with the local model."""

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))
EXPECTED = {
    "chat": "tokens in",
    "stream": "tokens]",
    "tools": "ToolUse(id=",
    "typed_output": ": ",
    "embed_search": "0.",
    "three_places": "local:smollm2-135m-instruct: ",
    "jumpstart": "left: ()",
}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 40


@pytest.mark.slow
@pytest.mark.parametrize("path", [p for p in EXAMPLES if not p.stem.startswith("test_")], ids=lambda path: path.stem)
def test_runs(path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", [str(path)])
    runpy.run_path(str(path), run_name="__main__")
    out = capsys.readouterr().out
    assert EXPECTED[path.stem] in out
    if path.stem == "embed_search":
        assert "Returns" in out.splitlines()[0]  # the passage that answers comes first


@pytest.mark.slow
def test_the_example_test_passes() -> None:
    names = runpy.run_path(str(next(p for p in EXAMPLES if p.stem == "test_my_bedrock_app")))
    names["test_with_a_scripted_model"]()
    names["test_with_a_real_model"]()
