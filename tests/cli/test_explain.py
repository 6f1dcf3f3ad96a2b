"""`awsllm explain`: what it shows on a terminal and in a pipe, writes into a file, and refuses."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.cells import cell_len

from awsllm.cli import explain_text
from awsllm.explanation.values import Explanation, TextsExplanation
from tests.support import tiny_gguf
from tests.support.command_line import Run, runner
from tests.support.explanations import explanation, texts_explanation

ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(monkeypatch, capsys)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("tiny") / "tiny.gguf"
    return f"local:{tiny_gguf.write(path, tiny_gguf.metadata(), says=256)}"


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """What is written of an explanation on a terminal so wide."""

    def show(found: Explanation | TextsExplanation, width: int, **variables: str) -> str:
        for name in ("NO_COLOR", "FORCE_COLOR"):
            monkeypatch.delenv(name, raising=False)
        for name, value in {"COLUMNS": str(width), "TERM": "xterm-256color", **variables}.items():
            monkeypatch.setenv(name, value)
        terminal = Screen()
        monkeypatch.setattr(sys, "stdout", terminal)
        explain_text.write(found)
        return terminal.getvalue()

    return show


def test_a_prompt_in_a_pipe(run: Run, tiny: str) -> None:
    code, out, err = run("explain", "--model", tiny, "--max-tokens", "2", "Hi", "you")
    assert (code, err) == (0, "")
    assert "\x1b" not in out
    assert "<|im_start|>│Hi│ │y│o│u│<|im_end|>│<|im_start|>│" in out
    assert re.search(r"^ *1 +256 +\"Hi\" +48 69 +prompt ", out, re.MULTILINE)
    assert re.search(r"^ *0 +257 +\"<\|im_start\|>\" .*special +- +- +-$", out, re.MULTILINE)
    assert "\nHiHi\n" in out
    assert "Attention of layer 0, the mean of its heads" in out
    assert "This is a decoder (llama)" in out
    assert all(line == line.rstrip() for line in out.splitlines() if "█" not in line)


def test_piped_text_is_the_prompt(run: Run, tiny: str) -> None:
    assert "│H│e│y│" in run("explain", "-m", tiny, "--max-tokens", "0", stdin="Hey\n").out
    assert "│a│ │b│" in run("explain", "-m", tiny, "--max-tokens", "0", stdin="a\n\nb\n").out


def test_json_is_the_explanation(run: Run, tiny: str) -> None:
    code, out, _ = run("explain", "--json", "-m", tiny, "--max-tokens", "2", "--head", "all", "--near", "Hi", "Hi")
    assert code == 0
    document = json.loads(out)
    assert document["answer"] == "HiHi"
    assert [one["head"] for one in document["attention"]["maps"]] == [None, 0, 1, 2, 3]
    assert document["near"]["pieces"] == ["Hi"]
    assert Explanation.from_dict(document).tokens[-1].text == "Hi"


def test_the_page_is_written(run: Run, tiny: str, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    result = run("explain", "--html", str(path), "-m", tiny, "--max-tokens", "2", "Hi")
    assert result == (0, "", f"awsllm: {path} is written; open it in a browser\n")
    assert path.read_text(encoding="utf-8").count("<option") == 5
    code, out, err = run("explain", "--html", str(tmp_path / "no" / "page.html"), "-m", tiny, "Hi")
    assert (code, out) == (1, "")
    assert "page.html cannot be written: No such file or directory" in err


def test_texts_of_an_encoder(run: Run) -> None:
    encoder = ("explain", "--model", "local:all-minilm-l6-v2")
    code, out, err = run(*encoder, "--near", "food", "A man eats.", "The plane was late.")
    assert (code, err) == (0, "")
    assert "1  [CLS]│a│man│eats│.│[SEP]" in out
    assert re.search(r"^1  1\.00  -?0\.\d\d  A man eats\.$", out, re.MULTILINE)
    assert out.index("The texts by their nearness") < out.rindex("A man eats.") < out.rindex("The plane was late.")
    code, out, err = run(*encoder, "--layer", "1", "--raw", "A man eats.")
    assert (code, out) == (1, "")
    assert "local:all-minilm-l6-v2 is an encoder, of which near is shown; only chat models take layer, raw" in err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "nothing to explain"),
        (("--head", "one", "Hi"), 2, "'one' is no head"),
        (("--head", "9" * 50, "Hi"), 2, "is no head"),
        (("--head", "4", "Hi"), 1, "head is 4, not a whole number from 0 to 3"),
        (("--layer", "9", "Hi"), 1, "layer is 9, not a whole number from 0 to 0"),
        (("--precision", "half", "Hi"), 1, "precision is 'half'"),
        (("--html", ".", "Hi"), 2, "directory"),
    ],
)
def test_what_cannot_be_explained(run: Run, tiny: str, arguments: tuple[str, ...], code: int, message: str) -> None:
    result = run("explain", "-m", tiny, *arguments)
    assert (result.code, result.out) == (code, "")
    assert message in result.err


def test_a_model_elsewhere_cannot_be_explained(run: Run) -> None:
    code, _, err = run("explain", "-m", "bedrock:us.amazon.nova-lite-v1:0", "Hi")
    assert code == 1
    assert "only local models can be looked into" in err


def test_without_its_extra_it_says_what_to_install(tiny: str) -> None:
    """In a process of its own: here torch is imported already."""
    program = "import sys; sys.modules['torch'] = None; from awsllm.cli import main; main()"
    command = [sys.executable, "-c", program, "explain", "-m", tiny, "Hi"]
    told = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"NO_COLOR": "1"})
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr == f"awsllm: {tiny}: local models need torch: pip install 'awsllm[local]'\n".replace(
        "local:", "local:", 1
    )


# --- on a terminal ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [30, 80, 200])
@pytest.mark.parametrize("made", [lambda: explanation(40), texts_explanation], ids=["chat", "texts"])
def test_no_line_is_wider_than_the_screen(
    screen: Callable[..., str], width: int, made: Callable[[], Explanation | TextsExplanation]
) -> None:
    lines = ESCAPE.sub("", screen(made(), width)).splitlines()
    assert max(map(cell_len, lines)) <= width


def test_columns_make_room_for_what_was_likely(screen: Callable[..., str]) -> None:
    headings = {
        width: re.findall(r"^ *#.*token.*$", ESCAPE.sub("", screen(explanation(), width)), re.MULTILINE)[0].split()
        for width in (200, 80, 40)
    }
    assert headings[200] == ["#", "id", "token", "bytes", "of", "p", "bits", "entropy", "the", "likeliest"]
    assert headings[80] == ["#", "token", "p", "bits", "entropy", "the", "likeliest"]
    assert headings[40][:4] == ["#", "token", "p", "bits"]


def test_colour_is_an_addition(screen: Callable[..., str]) -> None:
    coloured, plain = screen(explanation(), 100), screen(explanation(), 100, NO_COLOR="1")
    assert ESCAPE.sub("", coloured) == ESCAPE.sub("", plain)
    assert re.search(r"\x1b\[[0-9;]*3[1-6]m", coloured)
    assert not re.search(r"\x1b\[[0-9;]*3[1-6]m", plain)


def test_a_token_cannot_steer_the_terminal(screen: Callable[..., str]) -> None:
    for found in (explanation(), texts_explanation()):
        bare = ESCAPE.sub("", screen(found, 200))
        assert "\x1b" not in bare
        assert "\u202e" not in bare
        assert r"\x1b[31m\u202e" in bare


def test_a_picture_that_is_too_wide_shows_its_end(screen: Callable[..., str]) -> None:
    out = ESCAPE.sub("", screen(explanation(120), 60))
    assert "the last 39 of 120 tokens" in out
    rows = re.findall(r"^ *(\d+) t?\S* +[█▓▒░·]+$", out, re.MULTILINE)
    assert rows[-1] == "119"
    assert {int(row) for row in rows} >= set(range(83, 119))


def test_shades_are_of_the_weights(screen: Callable[..., str]) -> None:
    out = ESCAPE.sub("", screen(explanation(), 100))
    mean, itself = out.split("Attention of layer 3, ")[1:]
    assert re.search(r"^2 <end>\\n +▓▓▓▓▓▓$", mean, re.MULTILINE)
    assert re.search(r"^2 <end>\\n +····██$", itself, re.MULTILINE)


def test_an_output_without_blocks_gets_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii", errors="replace"))
    explain_text.write(explanation())
    sys.stdout.flush()
    out = raw.getvalue().decode("ascii")
    assert re.search(r"^2 <end>\\n +######$", out, re.MULTILINE)
    assert "t0|" in out
