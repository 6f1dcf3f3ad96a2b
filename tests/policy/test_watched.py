"""A file that is read again when it has changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from awsllm.errors import ConfigurationError
from awsllm.policy.watched import Watched


def number(path: Path) -> int:
    try:
        return int(path.read_text())
    except ValueError:
        raise ConfigurationError("no number") from None


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def write(path: Path, text: str) -> None:
    """In one step, as editors do; so that it is another file whatever the clock of the file system says."""
    other = path.with_suffix(".new")
    other.write_text(text)
    os.replace(other, path)


def test_a_change_is_seen_within_a_second_and_a_broken_one_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, clock = tmp_path / "file", Clock()
    file.write_text("1")
    watched = Watched(file, number, clock=clock)
    write(file, "22")
    assert watched.value == 1
    clock.now = 1.0
    assert watched.value == 22
    write(file, "broken")
    clock.now = 2.0
    assert watched.value == 22
    assert "what it said before holds: no number" in caplog.text
    file.unlink()
    clock.now = 3.0
    assert watched.value == 22
    write(file, "333")
    watched.check(force=True)
    assert watched.value == 333


@pytest.mark.parametrize("text", [None, "broken"])
def test_what_cannot_be_read_at_first_is_an_error(tmp_path: Path, text: str | None) -> None:
    if text:
        (tmp_path / "file").write_text(text)
    with pytest.raises(ConfigurationError):
        Watched(tmp_path / "file", number)
