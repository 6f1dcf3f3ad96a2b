"""What a job's process does: it takes the folder's lock, trains, and writes down how far it is.

It is told to stop by a file; what it did is then kept, and it can go on. SIGTERM is obeyed after a checkpoint and is no
end: the next who looks takes the job up again, as after a kill.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from awsllm.errors import AwsllmError
from awsllm.jobs.local.folder import FINAL, JobFolder, LocalState
from awsllm.log import without_words
from awsllm.types import JsonObject

Report: TypeAlias = "Callable[[JsonObject], None]"
TrainIn: TypeAlias = Callable[[JobFolder, Report], JsonObject]
"""Trains in a folder, and says what came of it. Each step is reported with ``number``, ``of``, ``loss`` and more."""


class _Stopped(SystemExit):
    """The job is to stop; the trainer writes a checkpoint before it passes this on."""


def main(arguments: list[str], train: TrainIn) -> int:
    """``FOLDER [LOCK]``: ``LOCK`` is the number of an open file that holds the lock."""
    folder = JobFolder(Path(arguments[0]))
    lock = int(arguments[1]) if len(arguments) > 1 else folder.lock()
    if lock is None:
        return 0  # another works here
    os.set_inheritable(lock, False)  # for the trainer's own processes would hold it, too
    signal.signal(signal.SIGTERM, _terminate)
    _Worker(folder).work(train)
    return 0


def _terminate(number: int, frame: Any) -> None:
    raise SystemExit(128 + number)


class _Worker:
    """One process in one folder. ``state`` is what was written last."""

    def __init__(self, folder: JobFolder) -> None:
        self.folder = folder
        self.state = folder.state() or LocalState(created=time.time())
        self._first = True

    def work(self, train: TrainIn) -> None:
        if self.state.status in FINAL:
            return
        attempts = 1 if self.state.step > self.state.reached else self.state.attempts + 1
        self._write(status="InProgress", attempts=attempts, reached=self.state.step)
        self._say(f"begins at step {self.state.step}" if self.state.step else "begins")
        try:
            self._check_stop()
            result = train(self.folder, self._report)
        except _Stopped:
            self._end("Stopped", "somebody asked for it")
        except Exception as error:
            self._say(without_words(error))
            self._end("Failed", reason_of(error))
        else:
            self._write(result=result)
            self._end("Completed", None)

    def _report(self, step: JsonObject) -> None:
        self.folder.add_metrics({**step, "time": time.time()}, first=self._first)
        self._first = False
        members = ("of", "loss", "evaluation_loss", "learning_rate", "seconds")
        known = {name: step[name] for name in members if step.get(name) is not None}
        self._write(step=step["number"], **known)
        evaluated = step.get("evaluation_loss")
        held_out = "" if evaluated is None else f", of what is held out {evaluated:.4f}"
        self._say(f"step {step['number']} of {step['of']}: loss {step['loss']:.4f}{held_out}")
        if step["number"] < step["of"]:
            self._check_stop()

    def _check_stop(self) -> None:
        if self.folder.is_to_stop:
            raise _Stopped

    def _write(self, **changed: Any) -> None:
        self.state = msgspec.structs.replace(self.state, **changed)
        self.folder.write_state(self.state)

    def _end(self, status: str, reason: str | None) -> None:
        self._say(status.lower() + (f": {reason}" if reason else ""))
        self._write(status=status, reason=reason, ended=time.time())

    def _say(self, text: str) -> None:
        sys.stderr.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")  # which is the folder's log
        sys.stderr.flush()


def reason_of(error: BaseException) -> str:
    """Why it failed, in words that are ours: of others' errors only the kind."""
    if isinstance(error, AwsllmError):
        return error.message
    if type(error).__module__.startswith("awsllm."):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.strerror or type(error).__name__}" + (f" ({error.filename})" if error.filename else "")
    if isinstance(error, MemoryError):
        return "there is not memory enough: take a smaller model, fewer rows, or checkpointed=True"
    return f"{type(error).__name__}; its log says where"
