"""A handler run on this machine as Lambda runs it: a process of its own, under AWS's runtime client or awsllm's loop.

``try_handler`` starts the process against a ``RuntimeApi``, hands it one event and tells what came of it: the answer,
the log, and what Lambda's REPORT line says. What the process is to find behind AWS's services is the environment's
say (``awsllm lambda invoke`` puts the offline AWS there).
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from awsllm.errors import ConfigurationError
from awsllm.lambdas.emulator.runtime_api import Invoked, RuntimeApi
from awsllm.types import JsonObject

AWS_CLIENT = "awslambdaric"
OWN_LOOP = "awsllm.lambdas.runtime"
_INIT = 60.0  # seconds that a function may take to begin; Lambda gives 10, on machines that do nothing else
_LOOK = 0.02
_LEAVE = 2.0  # seconds between SIGTERM and SIGKILL, as in Lambda


@dataclass(frozen=True, kw_only=True)
class Trial:
    """How a handler is run. ``streams`` is for a handler that is a generator, which AWS's client cannot run.
    ``timeout`` is the function's, in seconds, ``memory`` what it is told to have, in MB."""

    handler: str
    streams: bool = False
    timeout: float = 30.0
    memory: int = 1024
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    @property
    def client(self) -> str:
        return OWN_LOOP if self.streams or find_spec(AWS_CLIENT) is None else AWS_CLIENT


@dataclass(frozen=True)
class TrialResult:
    """What came of an event. ``peak`` is in MB, None where the system does not tell."""

    invoked: Invoked
    init_error: JsonObject | None
    log: str
    init_seconds: float
    peak: int | None
    memory: int

    @property
    def failed(self) -> bool:
        return self.invoked.outcome != "response" or bool(self.invoked.trailers)

    @property
    def seconds(self) -> float:
        """From the event's being taken to its answer's end; zero where it never was."""
        began, ended = self.invoked.began, self.invoked.ended
        return 0.0 if began is None or ended is None else ended - began

    @property
    def report(self) -> str:
        """As Lambda writes it to the log."""
        milliseconds = self.seconds * 1000
        used = "" if self.peak is None else f"\tMax Memory Used: {self.peak} MB"
        return (
            f"REPORT RequestId: {self.invoked.request_id}\tDuration: {milliseconds:.2f} ms\tMemory Size: "
            f"{self.memory} MB{used}\tInit Duration: {self.init_seconds * 1000:.2f} ms"
        )


def try_handler(event: bytes, trial: Trial, watch: Callable[[Invoked], object] = lambda invoked: None) -> TrialResult:
    """Run the handler on ``event``. ``watch`` is called with the invocation as soon as it waits, to see a stream
    come."""
    with RuntimeApi(timeout=trial.timeout) as api:
        started = time.monotonic()
        with _process(api, trial) as (process, lines):
            invoked = api.invoke(event)
            guard = threading.Thread(target=_guard, args=[process, invoked, trial.timeout], daemon=True)
            guard.start()
            watch(invoked)
            invoked.wait(_INIT + trial.timeout + 2 * _LEAVE)
            guard.join()
            began = invoked.began or time.monotonic()
            peak = _peak(process.pid)
        return TrialResult(invoked, api.init_error, "".join(lines), began - started, peak, trial.memory)


@contextmanager
def _process(api: RuntimeApi, trial: Trial) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """The handler's process, and the lines of its log as they come."""
    paths = [str(Path.cwd()), *filter(None, [trial.environment.get("PYTHONPATH")])]
    environment = {
        **({"AWS_LAMBDA_EXEC_WRAPPER": "/var/task/awsllm-stream"} if trial.streams else {}),
        **trial.environment,
        "LAMBDA_TASK_ROOT": str(Path.cwd()),
        **api.environment(trial.handler, memory=trial.memory),
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
    }
    command = [sys.executable, "-m", trial.client, trial.handler]
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(  # noqa: S603 -- what the caller named, as a handler
            command, env=environment, stdin=subprocess.DEVNULL, stdout=pipe, stderr=subprocess.STDOUT, text=True
        )
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"the handler's process cannot be started: {type(error).__name__}") from error
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(process.stdout or ()), daemon=True)
    reader.start()
    try:
        yield process, lines
    finally:
        process.terminate()
        try:
            process.wait(_LEAVE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join(_LEAVE)
        if not reader.is_alive() and process.stdout is not None:  # else a process that the handler left holds the pipe
            process.stdout.close()


def _guard(process: subprocess.Popen[str], invoked: Invoked, timeout: float) -> None:
    """Give up an invocation whose process has ended or whose time is over."""
    started = time.monotonic()
    while invoked.outcome is None:
        limit = (started + _INIT) if invoked.began is None else invoked.began + timeout
        if process.poll() is not None:
            invoked.give_up(f"Runtime.ExitError: the process ended with status {process.returncode}")
        elif time.monotonic() > limit:
            what = "the function did not begin in time" if invoked.began is None else f"it took over {timeout:g} s"
            invoked.give_up(f"Sandbox.Timedout: {what}")
        else:
            time.sleep(_LOOK)


def _peak(pid: int) -> int | None:
    """The most memory that a process has had, in MB."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):  # it has ended, or this is no Linux
        return None
    found = next((line.split()[1] for line in lines if line.startswith("VmHWM:")), None)
    return None if found is None else round(int(found) / 1024)
