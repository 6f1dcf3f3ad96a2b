"""Each example is short, explains itself, is listed, and runs as it stands with the local model; ``tests/examples`` has
what they do beyond that."""

import ast
import contextlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from awsllm.testing import server
from awsllm.testing.scripted import ScriptExhaustedError
from tests.support.examples import HOME, PROGRAMS, names_of, runner

EVERY = sorted(
    path for path in HOME.rglob("*") if path.suffix in (".py", ".mjs", ".ipynb") and path.parent.name != "ci"
)
# What the local model says is no matter of these tests; that it says something in the right place is.
EXPECTED = {
    "chat": "tokens in",
    "documents": "note: citations are not given by local models",
    "embed_search": "0.",
    "jumpstart": "left: ()",
    "scripted_server": "asked: ['Where is Oslo?', 'And Bergen?']",
    "stream": "tokens]",
    "three_places": "local:smollm2-135m-instruct: ",
    "tools": "ToolUse(id=",
    "typed_output": ": ",
    "uses/answers": "warranty.md: Warranty: Household machines",
}
TESTED = ("shop.py", "support_bot.py")
"""Listed by what tests them."""
WITHOUT_OPTIONS = ("scripted_server", "streamlit_app", "test_my_bedrock_app")


def code_lines(path: Path) -> int:
    """Lines that are to be read as code: what is blank, and a Python module's docstring, are not."""
    text = path.read_text(encoding="utf-8")
    about = ast.parse(text).body[0] if path.suffix == ".py" else None
    before = about.end_lineno if isinstance(about, ast.Expr) and about.end_lineno else 0
    return sum(1 for line in text.splitlines()[before:] if line.strip())


@pytest.mark.parametrize(
    "path", [p for p in EVERY if p.suffix != ".ipynb"], ids=lambda path: path.relative_to(HOME).as_posix()
)
def test_short(path: Path) -> None:
    assert code_lines(path) <= (25 if path.parent.name == "lambdas" else 80)


def test_the_index_lists_each_once_and_nothing_else() -> None:
    listed = re.findall(r"^\| \[.*?\]\((.*?)\) ", (HOME / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == [path.relative_to(HOME).as_posix() for path in EVERY if path.name not in TESTED]


@pytest.mark.parametrize(
    "path", [p for p in PROGRAMS if p.stem not in WITHOUT_OPTIONS], ids=lambda path: path.relative_to(HOME).as_posix()
)
def test_it_explains_itself(path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    run = runner(monkeypatch, capfd)
    name = path.relative_to(HOME).with_suffix("").as_posix()
    if name == "uses/code_generation" and sys.platform == "win32":
        pytest.skip("its sandbox is for Linux and macOS")
    with pytest.raises(SystemExit) as stopped:
        run(name, "--help")
    assert stopped.value.code == 0
    assert f"python examples/{name}.py" in capfd.readouterr().out  # its docstring, with the command


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPECTED)
def test_runs(name: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    out = runner(monkeypatch, capfd)(name)
    assert EXPECTED[name] in out
    if name == "embed_search":
        assert "Returns" in out.splitlines()[0]  # the passage that answers comes first


@pytest.mark.slow
def test_the_example_test_passes() -> None:
    names = names_of("test_my_bedrock_app")
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
