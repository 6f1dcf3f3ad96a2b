"""The batches of this machine as jobs: a ledger each, found by its path, its output's, or among those that were begun.

Whoever begins a batch leaves a note of where its ledger lies, under ``.batches`` among the user's jobs; a note whose
ledger is gone is forgotten. ``client.batch`` makes and goes on with them; here they are listed, looked at and stopped.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path

import msgspec

from awsllm.errors import AwsllmError, UnsupportedError
from awsllm.jobs.batch import resume as by_ledger
from awsllm.jobs.batch.ledger import BatchLedger
from awsllm.jobs.batch.results import BatchResult
from awsllm.jobs.job import JobState, JobSummary, Outcome, ServiceJob
from awsllm.jobs.local.folder import default_root
from awsllm.jumpstart.deploy.logs import LogStream
from awsllm.jumpstart.deploy.resources import Clients
from awsllm.jumpstart.tags import PLAN_TAG
from awsllm.types import JsonObject

_OUTCOMES: Mapping[str, Outcome] = {"completed": "completed", "stopped": "stopped"}


def remember(ledger: BatchLedger, id: str) -> None:
    """Leave a note of it. Where that cannot be written, it is not listed, and lacks nothing else."""
    folder = _notes()
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        part = folder / f"{id}.json.{os.getpid()}.part"
        part.write_bytes(msgspec.json.encode({"ledger": str(Path(ledger.path).absolute())}))
        part.replace(folder / f"{id}.json")


def _notes() -> Path:
    return default_root() / ".batches"


def _known() -> Iterator[Path]:
    """The ledgers that are there, the newest first."""
    found = []
    for note in _notes().glob("*.json"):
        with suppress(OSError, ValueError, TypeError, KeyError):
            path = Path(msgspec.json.decode(note.read_bytes())["ledger"])
            if path.is_file():
                found.append((note.stat().st_mtime, path))
            elif path.parent.is_dir():  # else its disk may be away for now
                note.unlink()
    return (path for _, path in sorted(found, reverse=True))


class LedgerJobs:
    """A ``JobKind``. A ``name`` is the path of a ledger, or of the output beside which one lies."""

    noun = "batch"
    step = "batch"

    def create(self, clients: Clients, request: JsonObject) -> None:
        raise UnsupportedError("client.batch begins a batch, and goes on with one")

    def find(self, clients: Clients, name: str) -> JobState | None:
        path = ledger_at(name)
        if path is None:
            return None
        with closing(BatchLedger(path)) as ledger:
            return _state(ledger, name)

    def stop(self, clients: Clients, name: str) -> None:
        with closing(by_ledger.opened(name)) as ledger:
            by_ledger.stop(ledger, lambda: clients)

    def list(self, clients: Clients, *, status: str | None = None, contains: str | None = None) -> Iterator[JobSummary]:
        for path in _known():
            if contains is not None and contains not in str(path):
                continue
            with suppress(AwsllmError), closing(BatchLedger(path)) as ledger:
                state = _state(ledger, str(path))
                if status in (None, state.status):
                    yield JobSummary(name=str(path), status=state.status, created=path.stat().st_ctime)

    def tags(self, clients: Clients, state: JobState) -> dict[str, str]:
        return {PLAN_TAG: str(state.description["id"])}

    def log(self, clients: Clients, name: str) -> LogStream | None:
        return None

    def result(self, state: JobState, tags: Mapping[str, str]) -> BatchResult:
        ledger = by_ledger.opened(state.name)
        return BatchResult(by_ledger.state_of(ledger), ledger, state.description["output"])


LEDGERS = LedgerJobs()


def ledger_at(name: str) -> str | None:
    """The path of the ledger that is meant; None where none lies there."""
    path = by_ledger.ledger_of(name)
    return path if path.endswith(".ledger") and Path(path).is_file() else None


def _state(ledger: BatchLedger, name: str) -> JobState:
    facts, state = by_ledger.begun(ledger), by_ledger.state_of(ledger)
    failed = f", {state.failed:,} set aside" if state.failed else ""
    return JobState(
        name=name,
        status=state.status,
        phase=state.status,
        outcome=_OUTCOMES.get(state.status),
        facts=(f"{state.succeeded:,} of {state.total:,} answered{failed}", *filter(None, [state.detail])),
        reason=f"{state.waiting:,} records wait: go on with `awsllm batch resume {ledger.path}`"
        if state.status == "stopped"
        else None,
        description={
            "id": ledger.facts()["id"],
            "ledger": ledger.path,
            "output": facts.output,
            "model": facts.model,
            "cost": state.cost,
            "unpriced": state.unpriced,
        },
    )


class LedgerJob(ServiceJob[BatchResult]):
    """A batch that this process or another runs, seen from outside. ``stop`` ends the jobs that it has in AWS, too."""

    def stop(self) -> bool:
        self.state()
        with closing(by_ledger.opened(self.name)) as ledger:
            return by_ledger.stop(ledger, lambda: self._clients)
