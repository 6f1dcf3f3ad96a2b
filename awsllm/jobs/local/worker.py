"""What a job's process does: it takes the folder's lock, trains, and writes down how far it is.

It is told to stop by a file; what it did is then kept, and it can go on. SIGTERM is obeyed after a checkpoint and is no
end: the next who looks takes the job up again, as after a kill.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from awsllm.errors import reason_of
from awsllm.jobs.local.folder import FINAL, JobFolder, LocalState
from awsllm.log import without_words
from awsllm.types import JsonObject

Report: TypeAlias = "Callable[[JsonObject], None]"
TrainIn: TypeAlias = Callable[[JobFolder, Report], JsonObject]
"""Trains in a folder, and says what came of it. Each step is reported with ``number``, ``of``, ``loss`` and more."""


NO_MEMORY = "there is not memory enough"


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
        self._write(status="InProgress")
        self._say(f"begins at step {self.state.step}" if self.state.step else "begins")
        try:
            self._check_stop()
            result = train(self.folder, self._report)
        except _Stopped:
            self._end("Stopped", "somebody asked for it")
        except Exception as error:
            self._say(without_words(error))
            self._end("Failed", failure_of(error))
        else:
            self._write(result={name: self._inside(where) for name, where in result.items()})
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

    def _inside(self, where: str) -> str:
        """A path of the folder, as it is called within it: a folder may be moved."""
        path = Path(where)
        return str(path.relative_to(self.folder.path)) if path.is_relative_to(self.folder.path) else where

    def _say(self, text: str) -> None:
        with suppress(OSError):  # a full disk shall not keep the job from saying so in its state
            sys.stderr.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")  # which is the folder's log
            sys.stderr.flush()


def failure_of(error: BaseException) -> str:
    """Why it failed, and what would help."""
    if is_want_of_memory(error):
        return f"{NO_MEMORY}: take a smaller model, fewer rows, or checkpointed=True"
    told = reason_of(error)
    return f"{told}; its log says where" if told == type(error).__name__ else told


_SAID = ("can't allocate memory", "not enough memory", "out of memory", "Cannot allocate memory", "bad_alloc")
"""How PyTorch says it, whose error is a ``RuntimeError``: on the CPU, on Windows, on a GPU, of a thread, of C++."""


def is_want_of_memory(error: BaseException) -> bool:
    """Whether it says that there is no memory left, in whoever's words."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _SAID)
