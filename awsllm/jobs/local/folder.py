"""The folder of one job on this machine.

    plan.json       what is to be done; written once
    data.jsonl      the examples, and ``held_out.jsonl`` those that are only looked at
    state.json      how far it is; whoever holds the lock writes it, whole or not at all
    metrics.jsonl   a line a step
    log.txt         what the process said
    stop            that it is to stop
    lock            held by the process that works

Beside these stand the trainer's checkpoints and its ``result``.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from awsllm.errors import ConfigurationError
from awsllm.types import JsonObject, Value

FINAL = frozenset(("Completed", "Failed", "Stopped"))
_END = 1 << 16  # bytes of the log that are read for its last lines


class LocalState(Value, frozen=True, kw_only=True):
    """How far a job is. Times are in seconds since the epoch; ``seconds`` is what one step takes. ``attempts`` counts
    the processes that were begun since ``reached``, the step that the one before came to."""

    status: str = "Starting"
    created: float = 0.0
    ended: float | None = None
    step: int = 0
    of: int = 0
    loss: float | None = None
    evaluation_loss: float | None = None
    learning_rate: float | None = None
    seconds: float | None = None
    attempts: int = 0
    reached: int = 0
    reason: str | None = None
    result: JsonObject = msgspec.field(default_factory=dict)


class JobFolder:
    """One of them. Paths are this machine's."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def log(self) -> Path:
        return self.path / "log.txt"

    @property
    def data(self) -> Path:
        return self.path / "data.jsonl"

    @property
    def held_out(self) -> Path:
        return self.path / "held_out.jsonl"

    # --- what it is, and how far -------------------------------------------------------------------------------------

    def plan(self) -> JsonObject:
        """Raises ``ConfigurationError`` where it is gone, or no plan any more."""
        try:
            found = msgspec.json.decode((self.path / "plan.json").read_bytes())
        except (OSError, ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise ConfigurationError(f"{self.path / 'plan.json'} is no plan that can be read")
        return found

    def state(self) -> LocalState | None:
        """None where there is no such job. Raises ``ConfigurationError`` for a folder that is another's."""
        try:
            return msgspec.json.decode((self.path / "state.json").read_bytes(), type=LocalState)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, RecursionError):
            raise ConfigurationError(f"{self.path} does not hold a job's state that can be read") from None

    def write_plan(self, request: JsonObject) -> None:
        self.write("plan.json", msgspec.json.encode(request))

    def write_state(self, state: LocalState) -> None:
        self.write("state.json", msgspec.json.encode(state))

    def write(self, name: str, content: bytes) -> None:
        """A file that is whole or not there, whoever else writes it."""
        part = self.path / f"{name}.{secrets.token_hex(4)}.part"
        try:
            with part.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.path / name)
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    # --- stopping ----------------------------------------------------------------------------------------------------

    @property
    def is_to_stop(self) -> bool:
        return (self.path / "stop").exists()

    def ask_to_stop(self) -> None:
        (self.path / "stop").touch()

    def go_on(self) -> None:
        """Take back that it is to stop."""
        (self.path / "stop").unlink(missing_ok=True)

    # --- metrics and log ---------------------------------------------------------------------------------------------

    def add_metrics(self, line: JsonObject, *, first: bool) -> None:
        """``first`` of this process: what an earlier one did beyond its last checkpoint is done again."""
        path = self.path / "metrics.jsonl"
        if first:
            kept = [one for one in self.metrics() if one["number"] < line["number"]]
            self.write("metrics.jsonl", b"".join(msgspec.json.encode(one) + b"\n" for one in kept))
        with path.open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")

    def metrics(self) -> list[JsonObject]:
        """Of each step what it came to; a line that was cut off by a kill is none."""
        found = []
        for line in _lines(self.path / "metrics.jsonl"):
            with suppress(ValueError, RecursionError):
                one: Any = msgspec.json.decode(line)
                if isinstance(one, dict) and isinstance(one.get("number"), int):
                    found.append(one)
        return found

    def last_lines(self, limit: int) -> list[str]:
        """Of the log."""
        try:
            with self.log.open("rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(0, file.tell() - _END))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return []
        return text.splitlines()[-limit:]

    # --- who works ---------------------------------------------------------------------------------------------------

    def lock(self) -> int | None:
        """The lock, as an open file's number; None where another process holds it. It goes when the file is closed by
        all who have it, so also when they die. Raises ``FileNotFoundError`` where there is no folder,
        ``ConfigurationError`` where it is closed to this user."""
        try:
            file = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise ConfigurationError(f"{self.path} cannot be used ({error.strerror})") from error
        try:
            _lock(file)
        except OSError:
            os.close(file)
            return None
        return file

    @contextmanager
    def held(self, seconds: float) -> Iterator[int | None]:
        """The lock within the block; None where another has it for longer than so many seconds. Who looks whether a job
        is worked on has it for a moment, too."""
        end = time.monotonic() + seconds
        while (file := self.lock()) is None and time.monotonic() < end:
            time.sleep(0.02)
        try:
            yield file
        finally:
            if file is not None:
                os.close(file)

    @property
    def is_worked_on(self) -> bool:
        file = self.lock()
        if file is None:
            return True
        os.close(file)
        return False


def _lock(file: int) -> None:
    """Raises ``OSError`` where another has it."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _lines(path: Path) -> Iterator[bytes]:
    try:
        yield from path.read_bytes().splitlines()
    except OSError:
        return


def default_root() -> Path:
    """Where jobs are: ``AWSLLM_JOBS``, else ``awsllm/jobs`` among the user's data."""
    if own := os.environ.get("AWSLLM_JOBS"):
        return Path(own).expanduser()
    windows = sys.platform == "win32"
    variable, fallback = ("LOCALAPPDATA", "AppData/Local") if windows else ("XDG_DATA_HOME", ".local/share")
    base = os.environ.get(variable)
    return (Path(base) if base else Path.home() / fallback) / "awsllm" / "jobs"
