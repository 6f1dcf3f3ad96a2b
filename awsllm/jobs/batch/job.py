"""The handle of a batch: a ``Job`` whose work this process does or watches.

The work is a thread's. Whoever waits and is interrupted ends it cleanly: nothing more is asked, what is being asked is
kept, and jobs of a service go on. The same call goes on from there, in this process or another; so does
`awsllm batch resume`.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import copy_context
from typing import Any, NamedTuple, Protocol, Self

from awsllm.errors import ConfigurationError, ModelTimeoutError
from awsllm.jobs.batch import tables
from awsllm.jobs.batch.answers import COLUMNS, output_row
from awsllm.jobs.batch.ledger import BatchLedger
from awsllm.jobs.batch.records import IDS
from awsllm.jobs.batch.results import BatchResult
from awsllm.jobs.batch.values import BatchPlan, BatchState, OnBatchProgress
from awsllm.jobs.job import Job
from awsllm.jumpstart.deploy.progress import Pace
from awsllm.jumpstart.deploy.resources import Clients

_OFTEN = 0.25  # seconds between two reports


class BatchRunner(Protocol):
    """What works through a ledger: ``stop`` ends the work, ``leave`` only this process's part in it."""

    def run(self) -> None: ...
    def stop(self) -> None: ...
    def leave(self) -> None: ...


class Delivery(NamedTuple):
    """Where rows go and what they are called. ``id`` names the column of ids, where the caller said one."""

    output: str | None
    answer: str
    id: str | None
    clients: Clients
    output_type: Any = None


class BatchJob(Job[BatchState, BatchResult]):
    """A batch under way. ``plan`` says where it runs, why, and what it was thought to cost."""

    def __init__(
        self, plan: BatchPlan, ledger: BatchLedger, delivery: Delivery, listener: OnBatchProgress | None
    ) -> None:
        self._finished = threading.Event()
        super().__init__(Pace(poll=3600, sleep=lambda seconds: void(self._finished.wait(seconds))))
        self.plan, self._ledger, self._delivery, self._listener = plan, ledger, delivery, listener
        self._stages: Sequence[Callable[[], BatchRunner]] = ()
        self._runner: BatchRunner | None = None
        self._failure: BaseException | None = None
        self._status, self._detail = "ready", ""
        self._is_ending = False
        self._began = False
        self._context = copy_context()  # budgets and traces of whoever begins it hold for its calls
        self._started = self._told_at = time.monotonic()
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        state = self.state()
        return f"BatchJob({self.plan.model}, {state.status}: {state.succeeded} of {state.total} answered)"

    @property
    def name(self) -> str:
        """The ledger, by which it is taken up again."""
        return self.plan.ledger

    @property
    def cost(self) -> float | None:
        """US dollars so far; None where that of an answer is not known."""
        state = self.state()
        return None if state.unpriced else state.cost

    def state(self) -> BatchState:
        """How far it is now."""
        counts = self._ledger.counts()
        return BatchState(
            status=self._status,
            detail=self._detail,
            total=counts.total,
            succeeded=counts.succeeded,
            failed=counts.failed,
            cost=counts.cost,
            unpriced=counts.unpriced,
            elapsed=time.monotonic() - self._started,
        )

    def begin(self, stages: Sequence[Callable[[], BatchRunner]]) -> Self:
        """Work through ``stages``, each a runner over what the ones before left."""
        self._ledger.hold()
        self._ledger.note(stop=False)
        self._stages, self._status, self._began = stages, "running", True
        threading.Thread(target=self._context.run, args=(self._work,), name="awsllm-batch", daemon=True).start()
        return self

    def stop(self) -> bool:
        """Ask nothing more, and stop jobs of a service; False where it has ended. What was answered is kept."""
        return self._ask_to_end(lambda runner: runner.stop())

    def leave(self) -> bool:
        """Stop working on it here: calls that are being made are kept, jobs of a service go on."""
        return self._ask_to_end(lambda runner: runner.leave())

    def wait(self, timeout: float | None = None) -> Self:
        """See ``Job.wait``. An interruption (Ctrl-C) leaves the batch cleanly, and says how to go on."""
        self._check_began()
        try:
            return super().wait(timeout)
        except (KeyboardInterrupt, SystemExit):
            self._left_cleanly()
            raise

    def result(self, timeout: float | None = None) -> BatchResult:
        """What came of it: waits, and raises why it could not go on. Records with errors raise nothing."""
        self._check_began()
        try:
            return super().result(timeout)
        except (KeyboardInterrupt, SystemExit):
            self._left_cleanly()
            raise

    def close(self) -> None:
        """Leave it, and let go of the ledger."""
        if self._status in ("running", "stopping"):
            self._left_cleanly()
        self._ledger.close()

    def tell(self, detail: str) -> None:
        """A runner has done something, or says what it waits for."""
        self._detail = detail
        now = time.monotonic()
        if now - self._told_at < _OFTEN:
            return
        self._told_at = now
        if self._ledger.facts().get("stop"):  # `awsllm batch stop` asked for it, from another process
            self.stop()
        self._report()

    # --- the work ---

    def _work(self) -> None:
        try:
            for stage in self._stages:
                with self._lock:
                    if self._is_ending:
                        break
                    self._runner = stage()
                self._runner.run()
            complete = self.state().waiting == 0
            if complete:
                self._deliver()
            self._status = "completed" if complete else "stopped"
        except BaseException as error:  # told to whoever waits
            self._failure, self._status = error, "failed"
        finally:
            self._ledger.release()
            self._detail = ""
            self._finished.set()
            self._report()

    def _deliver(self) -> None:
        """All rows into the output, which is there whole or not at all."""
        to = self._delivery
        if to.output is None:
            return
        ids = (to.id,) if to.id else IDS

        def make(path: str) -> None:
            columns = {} if tables.format_of(path) == ".jsonl" else self._columns(ids)
            tables.write(path, (output_row(row, to.answer, ids) for row in self._ledger.rows()), columns)

        tables.deliver(to.output, make, to.clients)

    def _columns(self, ids: Sequence[str]) -> dict[str, type]:
        """Those of the rows, in the order in which they come, and then those that are added."""
        added = {f"{self._delivery.answer}{ending}": kind for ending, kind in COLUMNS.items()}
        seen: dict[str, dict[type, None]] = {}
        for row in self._ledger.rows():
            for name, value in output_row(row, self._delivery.answer, ids).items():
                if name not in added:
                    seen.setdefault(name, {})[tables.type_in_table(value)] = None
        return {**tables.column_types({name: tuple(kinds) for name, kinds in seen.items()}), **added}

    def _report(self) -> None:
        if self._listener is not None:
            with suppress(Exception):  # who only watches ends nothing
                self._listener(self.state())

    def _ask_to_end(self, ask: Callable[[BatchRunner], None]) -> bool:
        with self._lock:
            if self._finished.is_set():
                return False
            self._is_ending = True
            if self._runner is not None:
                ask(self._runner)
        return True

    def _left_cleanly(self) -> None:
        """Wait for the calls that are being made, and tell so; who interrupts again does not wait."""
        if self.leave():
            self._status, self._detail = "stopping", "waiting for what is being asked; Ctrl-C again leaves that"
            self._report()
            self._finished.wait()

    # --- Job ---

    def _look(self) -> BatchState | None:
        return self.state() if self._finished.is_set() else None

    def _read(self, end: BatchState) -> BatchResult:
        if self._failure is not None:
            self._failure.add_note(f"{end.waiting:,} of {end.total:,} records wait: {self._again()}")
            raise self._failure
        if end.waiting:
            raise ConfigurationError(f"the batch was stopped; {end.waiting:,} of {end.total:,} records wait: "
                                     f"{self._again()}")  # fmt: skip
        return BatchResult(end, self._ledger, self._delivery.output, self._delivery.output_type)

    def _check_began(self) -> None:
        if not self._began:
            raise ConfigurationError("this batch was only planned (dry_run): without it, it is begun")

    def _goes_on(self) -> str:
        return f"the batch is not over; {self._again()}"

    def _again(self) -> str:
        return f"the same call goes on where it was, and so does `awsllm batch resume {self.plan.ledger}`"


def void(_: object) -> None:
    """For what is called for its effect."""


class AsyncBatchJob:
    """The same, awaited. ``job`` is the synchronous one."""

    def __init__(self, job: BatchJob) -> None:
        self.job = job

    def __repr__(self) -> str:
        return f"Async{self.job!r}"

    @property
    def plan(self) -> BatchPlan:
        return self.job.plan

    @property
    def name(self) -> str:
        return self.job.name

    @property
    def cost(self) -> float | None:
        """See ``BatchJob.cost``."""
        return self.job.cost

    def state(self) -> BatchState:
        """See ``BatchJob.state``."""
        return self.job.state()

    def done(self) -> bool:
        return self.job.done()

    def stop(self) -> bool:
        """See ``BatchJob.stop``."""
        return self.job.stop()

    async def wait(self, timeout: float | None = None) -> Self:
        """See ``Job.wait``. Cancelling it leaves the batch under way."""
        end = None if timeout is None else time.monotonic() + timeout
        while not self.job.done():
            if end is not None and time.monotonic() >= end:
                raise ModelTimeoutError(f"after {timeout:g} seconds the batch is not over")
            await asyncio.sleep(0.02)
        return self

    async def result(self, timeout: float | None = None) -> BatchResult:
        """See ``BatchJob.result``."""
        await self.wait(timeout)
        return self.job.result()
