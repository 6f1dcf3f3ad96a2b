"""What stands beside an answer: wrapped at words on a terminal, as it is elsewhere."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from awsllm.cli import doctor, terminal
from awsllm.cli.conversation import COMMANDS


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def noted(monkeypatch: pytest.MonkeyPatch, text: str, hang: int = 0, columns: int = 40) -> list[str]:
    """The lines that a note has on a terminal."""
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", str(columns))
    terminal.note(text, hang)
    return screen.getvalue().splitlines()


def test_a_note_is_wrapped_at_words(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "local:smollm2-135m-instruct. /help lists the commands, Ctrl-C stops an answer, Ctrl-D leaves."
    lines = noted(monkeypatch, text)
    assert " ".join(lines) == text
    assert max(map(len, lines)) <= 40
    assert noted(monkeypatch, text, columns=len(text)) == [text]


def test_the_lines_of_a_note_stay_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    assert noted(monkeypatch, "\none two\n\nthree", columns=5) == ["", "one", "two", "", "three"]


def test_a_wide_character_takes_two_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    assert noted(monkeypatch, "漢字漢字 漢字漢字", columns=10) == ["漢字漢字", "漢字漢字"]


def test_what_is_copied_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    command = "  awsllm endpoints delete a-name-that-is-longer-than-the-line"
    assert noted(monkeypatch, command) == [command]
    path = "/a/path/that/is/longer/than/the/whole-line/of/this/terminal"
    assert noted(monkeypatch, f"{path}: No such file") == [path + ":", "No such file"]


@pytest.mark.parametrize("columns", [30, 40, 80])
def test_the_table_of_commands_hangs(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    for command in COMMANDS.values():
        text = command.__doc__ or ""
        first, *more = noted(monkeypatch, text, hang=17, columns=columns)
        assert text.startswith(first)
        assert all(line.startswith(" " * min(17, columns // 2)) for line in more)
        assert max(map(len, (first, *more))) <= columns


def test_a_pipe_gets_a_note_as_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "10")
    terminal.note("one line, however long it is")
    assert capsys.readouterr().err == "one line, however long it is\n"


CHECKS = [
    doctor.Check("Python", "ok", "3.11"),
    doctor.Check("local:all-minilm-l6-v2", "warning", "words that are many and more than fit", "pip install 'awsllm'"),
]


@pytest.mark.parametrize(
    ("columns", "shown"),
    [
        (
            70,
            "ok       Python                  3.11\n"
            "warning  local:all-minilm-l6-v2  words that are many and more than fit\n"
            "                                 pip install 'awsllm'\n",
        ),
        (
            65,
            "ok       Python                  3.11\n"
            "warning  local:all-minilm-l6-v2  words that are many and more\n"
            "                                 than fit\n"
            "                                 pip install 'awsllm'\n",
        ),
        (
            40,
            "ok       Python\n"
            "         3.11\n"
            "warning  local:all-minilm-l6-v2\n"
            "         words that are many and more\n"
            "         than fit\n"
            "         pip install 'awsllm'\n",
        ),
    ],
)
def test_the_doctor_wraps_at_words(monkeypatch: pytest.MonkeyPatch, columns: int, shown: str) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "dumb")
    doctor.show(CHECKS)
    assert screen.getvalue() == shown


def test_where_nobody_hears_the_answer_nothing_breaks() -> None:
    """Standard output and standard error closed before it began, as a daemon's are."""
    code = "import os, sys; os.close(1); os.close(2); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    done = subprocess.run([sys.executable, "-c", code, "-m", "awsllm.cli", "models", "list"], check=False)
    assert done.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is always full")
@pytest.mark.parametrize("unbuffered", ["1", ""])
def test_a_full_disk_is_one_line(unbuffered: str, tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "awsllm.cli", "models", "list"],
            stdout=full,
            stderr=subprocess.PIPE,
            env=os.environ | {"AWSLLM_CACHE": str(tmp_path), "PYTHONUNBUFFERED": unbuffered},
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "awsllm: the answer cannot be written: No space left on device\n"


@pytest.mark.skipif(sys.platform == "win32", reason="no pty")
def test_the_terminal_knows_best_how_wide_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    import pty
    import termios

    monkeypatch.setenv("COLUMNS", "80")
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 33))
    with os.fdopen(ours), os.fdopen(theirs, "w") as screen:
        assert terminal.columns(screen) == 33
        termios.tcsetwinsize(theirs, (0, 0))
        assert terminal.columns(screen) == 80
    monkeypatch.setenv("COLUMNS", "wide")
    assert terminal.columns(Screen()) == 80


HOSTILE = "\x1b]8;;https://evil\x07link\x1b]8;;\x07 \x9b31m\u202egnp.exe\u202c \u2066a\u2069 \x7f"


def test_nothing_that_is_kept_steers_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither escapes, of eight bits too, nor what has a line read backwards; in JSON they are told as escapes."""
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    terminal.write(HOSTILE)
    terminal.write_json({"said": HOSTILE})
    terminal.write_line(json.dumps({"said": HOSTILE}, ensure_ascii=False))
    shown = screen.getvalue()
    assert not {"\x1b", "\x07", "\x9b", "\x7f", "\u202e", "\u202c", "\u2066", "\u2069"} & set(shown)
    first, rest = shown.split("{", 1)
    assert first == "]8;;https://evillink]8;; 31mgnp.exe a "
    documents = ("{" + rest).replace("\n", "").replace("}{", "}\n{").split("\n")
    assert [json.loads(document) for document in documents] == [{"said": HOSTILE}] * 2


def test_what_writing_from_right_to_left_needs_stays() -> None:
    assert terminal.without_steering("\u200fשלום\u200e") == "\u200fשלום\u200e"


def test_a_file_gets_what_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr(sys, "stdout", file)
    terminal.write_json(HOSTILE)
    assert json.loads(file.getvalue()) == HOSTILE
    assert "\u202e" in file.getvalue()
