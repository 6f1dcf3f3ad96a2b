"""How jobs on this machine are made, found, stopped, listed, and taken up where their process was killed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from msgspec import to_builtins
from msgspec.structs import replace

from awsllm.errors import ConfigurationError, DeploymentError
from awsllm.jobs.job import JobLoss, JobState, JobSummary, Outcome, ServiceJob
from awsllm.jobs.local.folder import FINAL, JobFolder, LocalState, default_root
from awsllm.jobs.tuned import FineTunedModel
from awsllm.jumpstart.deploy.logs import LogLine, LogStream
from awsllm.jumpstart.deploy.progress import Listener, Pace
from awsllm.jumpstart.deploy.resources import Clients
from awsllm.jumpstart.tags import PLAN_TAG
from awsllm.types import JsonObject

_OUTCOMES: dict[str, Outcome] = {"Completed": "completed", "Failed": "failed", "Stopped": "stopped"}
_MOST = 3  # processes that die one after the other without a step between them
_BEGINNING = 10.0  # seconds that one waits for another who lays the folder out
_GLANCE = 0.2  # for one who looks whether somebody works
UNREADABLE = "Unreadable"
"""The status in lists of a job whose state was damaged."""
INTERRUPTED = "Interrupted"
"""The phase of a job whose process is gone, and that nobody has taken up."""


def nowhere(service: str) -> object:
    """The clients of jobs that call nobody."""
    raise ConfigurationError(f"a job on this machine does not call {service}")


@dataclass(frozen=True)
class LocalJobs:
    """A ``JobKind``. ``root`` holds the folders; ``command`` is what works in one."""

    root: Path = field(default_factory=default_root)
    command: tuple[str, ...] = (sys.executable, "-m", "awsllm.jobs.local")
    noun: str = "local training"
    step: str = "train"

    def folder(self, name: str) -> JobFolder:
        """Raises ``ConfigurationError`` for a name that would lead elsewhere."""
        if not name or name in (".", "..") or set(name) & set("/\\\0"):
            raise ConfigurationError(f"{name!r} is no name of a local training")
        return JobFolder(self.root / name)

    # --- JobKind -----------------------------------------------------------------------------------------------------

    def create(self, clients: Clients, request: JsonObject) -> None:
        folder = self.folder(request["name"])
        folder.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        with folder.held(_BEGINNING) as lock:
            if lock is None or folder.state() is not None or _is_laid_out_for_another(folder, request):
                raise ConfigurationError(f"another {self.noun} has the name {folder.name}", code="ResourceInUse")
            folder.write_plan(request)
            folder.write_state(LocalState(created=time.time()))
        self.revive(request["name"])

    def find(self, clients: Clients, name: str) -> JobState | None:
        folder = self.folder(name)
        state = folder.state()
        return None if state is None else _shown(folder, state)

    def stop(self, clients: Clients, name: str) -> None:
        folder = self.folder(name)
        folder.ask_to_stop()
        with folder.held(_GLANCE) as lock:
            if lock is not None:  # else who works there will see it
                self._end(folder, "Stopped", "somebody asked for it")

    def list(self, clients: Clients, *, status: str | None = None, contains: str | None = None) -> Iterator[JobSummary]:
        if not self.root.is_dir():
            return
        folders = [JobFolder(path) for path in self.root.iterdir()]
        states = [(folder, state) for folder in folders if (state := _state_or_fault(folder)) is not None]
        for folder, state in sorted(states, key=lambda one: one[1].created, reverse=True):
            if (status is None or state.status == status) and (contains or "") in folder.name:
                yield JobSummary(
                    name=folder.name,
                    status=state.status,
                    created=state.created,
                    ended=state.ended,
                    reason=state.reason,
                )

    def tags(self, clients: Clients, state: JobState) -> dict[str, str]:
        return {PLAN_TAG: str(self.folder(state.name).plan().get("digest", ""))}

    def log(self, clients: Clients, name: str) -> LogStream | None:
        path = self.folder(name).log
        return LogStream(str(path.parent), path.name) if path.exists() else None

    def result(self, state: JobState, tags: Mapping[str, str]) -> FineTunedModel:
        described, plan = state.description, self.folder(state.name).plan()
        # Where the folder was moved to, its result went, too.
        folder, result = self.folder(state.name).path, described.get("result") or {}
        made = {name: str(folder / str(where)) for name, where in result.items()}
        began = described.get("created", 0.0)
        model = made.get("model")
        metrics = {name: described.get(name) for name in ("loss", "evaluation_loss")}
        return FineTunedModel(
            name=state.name,
            base=str(plan.get("base", "")),
            where="local",
            reference=f"local:{model}" if model else None,
            artifacts=model or made.get("adapter"),
            adapter=made.get("adapter"),
            metrics={name: value for name, value in metrics.items() if value is not None},
            seconds=max(0.0, described.get("ended", began) - began),  # clocks are set back
            serve="" if model else "it was trained with merged=False",
        )

    # --- processes ---------------------------------------------------------------------------------------------------

    def revive(self, name: str, *, restart: bool = False) -> None:
        """See to it that somebody works on the job, unless it is over. ``restart``: also where it was stopped."""
        folder = self.folder(name)
        lock = _lock_of_ended(folder) if restart else folder.lock()
        if lock is None:
            return
        try:
            state = folder.state()
            if state is None:
                return
            if restart and state.status in ("Stopped", "Failed"):
                folder.go_on()
                state = LocalState(created=state.created, step=state.step, of=state.of)
                folder.write_state(state)
            if state.status in FINAL:
                return
            if state.attempts >= _MOST and state.step <= state.reached:
                reason = f"its process died {_MOST} times without a step: is there memory enough?"
                self._end(folder, "Failed", reason)
                return
            # Counted here, for one that dies before it has begun writes nothing.
            attempts = 1 if state.step > state.reached else state.attempts + 1
            folder.write_state(replace(state, attempts=attempts, reached=state.step))
            self._spawn(folder, lock)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise ConfigurationError(f"{folder.path} cannot be worked in ({error.strerror})") from error
        finally:
            os.close(lock)

    def _spawn(self, folder: JobFolder, lock: int) -> None:
        """The process that works, apart from this one: it has the lock before it begins."""
        with folder.log.open("ab") as log:
            try:
                if sys.platform == "win32":
                    _start([*self.command, str(folder.path)], log)
                else:
                    _start([*self.command, str(folder.path), str(lock)], log, lock)
            except OSError as error:
                raise DeploymentError(
                    f"no process can be begun for {self.noun} {folder.name}: {self.command[0]} ({error.strerror})"
                ) from error

    def _end(self, folder: JobFolder, status: str, reason: str) -> None:
        """Whoever calls it has the lock."""
        if (state := folder.state()) is not None and state.status not in FINAL:
            folder.write_state(replace(state, status=status, reason=reason, ended=time.time()))


def _is_laid_out_for_another(folder: JobFolder, request: JsonObject) -> bool:
    """Whether the data that lie there are another plan's."""
    return (folder.path / "plan.json").exists() and folder.plan().get("digest") != request["digest"]


def _state_or_fault(folder: JobFolder) -> LocalState | None:
    """One that cannot be read hides no other."""
    try:
        return folder.state()
    except ConfigurationError as error:
        return LocalState(status=UNREADABLE, reason=error.message)


def _lock_of_ended(folder: JobFolder) -> int | None:
    """The lock of a job that is over: the process that ended it may have it for a moment still."""
    for _ in range(200):
        lock, state = folder.lock(), folder.state()
        if lock is not None or state is None or state.status not in FINAL:
            return lock
        time.sleep(0.05)
    return None


def _start(command: list[str], log: IO[bytes], *handed: int) -> None:
    child = subprocess.Popen(  # noqa: S603  # this Python, this package
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        pass_fds=handed,
        start_new_session=True,  # Ctrl-C of whoever started it is not meant for it
    )
    threading.Thread(target=child.wait, name="awsllm job", daemon=True).start()  # else its end would be left unread


def _shown(folder: JobFolder, state: LocalState) -> JobState:
    is_over = state.status in FINAL
    phase = state.status
    if not is_over and not folder.is_worked_on:
        state = folder.state() or state  # it may have ended in between
        is_over = state.status in FINAL
        phase = state.status if is_over else INTERRUPTED
    return JobState(
        name=folder.name,
        status=state.status,
        phase=phase,
        outcome=_OUTCOMES.get(state.status),
        working=not is_over,
        facts=tuple(_facts(state)),
        reason=None if state.status == "Completed" else state.reason,
        description=to_builtins(state),
    )


def _facts(state: LocalState) -> Iterator[str]:
    if not state.of:
        return
    yield f"step {state.step} of {state.of}"
    if state.loss is not None:
        yield f"loss {state.loss:.4g}"
    if state.evaluation_loss is not None:
        yield f"held out {state.evaluation_loss:.4g}"
    if state.seconds and state.step < state.of and state.status not in FINAL:
        left = state.seconds * (state.of - state.step)
        yield f"{left / 60:.0f} min left" if left >= 90 else f"{left:.0f} s left"


class LocalJob(ServiceJob[FineTunedModel]):
    """A job on this machine. Looking at one whose process was killed takes it up again."""

    def __init__(
        self, jobs: LocalJobs, name: str, on_progress: Listener | None = None, pace: Pace | None = None
    ) -> None:
        super().__init__(jobs, nowhere, name, on_progress, pace or Pace(poll=2))
        self._jobs = jobs

    @property
    def folder(self) -> JobFolder:
        return self._jobs.folder(self.name)

    def metrics(self) -> list[JsonObject]:
        """What each step came to."""
        return self.folder.metrics()

    def restart(self) -> bool:
        """Go on with what was stopped or failed, from its last checkpoint; False where it is completed."""
        if self.state().outcome == "completed":
            return False
        self._end = None
        self._jobs.revive(self.name, restart=True)
        return True

    def losses(self) -> tuple[JobLoss, ...]:
        return tuple(
            JobLoss(one["number"], one["loss"], one.get("evaluation_loss"))
            for one in self.metrics()
            if isinstance(one.get("loss"), int | float)
        )

    def _look(self) -> JobState | None:
        try:
            self._jobs.revive(self.name)
        except FileNotFoundError:
            raise DeploymentError(
                f"the folder of {self.kind.noun} {self.name} is gone, and its checkpoints with it: "
                f"whoever deleted {self.folder.path} ended it; the same call begins it anew"
            ) from None
        return super()._look()

    def _lines(self, stream: LogStream, limit: int) -> tuple[LogLine, ...]:
        return tuple(LogLine(0.0, text, stream.name) for text in self.folder.last_lines(limit))

    def _remedy(self, state: JobState) -> str:
        if state.outcome != "stopped":
            return ""
        return f"; `awsllm jobs resume {self.name}`, or restart() of its job, goes on from its last checkpoint"

    def _detail(self, state: JobState) -> str:
        return "; ".join(state.facts) or state.message
