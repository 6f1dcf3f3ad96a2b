"""A worker whose training is made of files: ``python -m tests.support.stand_in_trainer FOLDER [LOCK]``.

It takes as many of its steps as the file ``allowed`` says, and keeps in ``reached`` how many those were, as a trainer's
checkpoint does. A file ``fault`` is what goes wrong at the next step.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from awsllm.errors import ConfigurationError
from awsllm.jobs.local.folder import JobFolder
from awsllm.jobs.local.worker import main
from awsllm.types import JsonObject

STEPS = 5


def train(folder: JobFolder, report: Callable[[JsonObject], None]) -> JsonObject:
    for number in range(read(folder.path / "reached") + 1, STEPS + 1):
        while read(folder.path / "allowed") < number and not folder.is_to_stop:
            time.sleep(0.01)
        fault = folder.path / "fault"
        if fault.exists():
            fail(fault.read_text())
        (folder.path / "reached").write_text(str(number))
        report({"number": number, "of": STEPS, "loss": 1 / number, "learning_rate": 0.1, "seconds": 0.5})
    return {"model": str(folder.path / "result" / "model"), "adapter": str(folder.path / "result" / "adapter")}


def read(path: Path) -> int:
    try:
        return int(path.read_text() or 0)
    except FileNotFoundError:
        return 0


def fail(how: str) -> None:
    match how:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "ours":
            raise ConfigurationError("the base cannot be trained")
        case "memory":
            raise MemoryError
        case _:
            raise ValueError(how)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], train))
