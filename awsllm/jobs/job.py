"""Work that runs elsewhere and is waited for: one life cycle for every kind of job.

    plan     a value: the whole request, what it costs, the rights it needs, a digest that names what it does
    start    made once: a job of the plan's name and digest is taken up where it is, not made twice
    watch    looked at until it ends, each new state reported; whoever stops waiting leaves it running
    stop     asked for by the job's name
    result   what came of it, read from what the service says of it; or why nothing did
    resume   another process takes it up, by its name alone

``Job`` is the waiting: all that it needs is a way to look whether the work has ended. A job that a service runs and
describes is a ``ServiceJob``; what differs between kinds of those is a ``JobKind``: how one is made, found, stopped and
listed, and how its description is read. All of them stand in ``kinds``. SageMaker's are rows of
``sagemaker.SageMakerJobs``, Bedrock's of ``bedrock.kinds.BedrockJobs``; this machine's read a folder or a ledger. What
its maker alone can read is a ``Job`` of its own: an asynchronous call of an endpoint (``asynchronous.AsyncResult``)
ends when its answer appears in S3.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, Protocol, Self, TypeAlias, TypeVar

import msgspec

from awsllm.errors import (
    AwsllmError,
    ConfigurationError,
    DeploymentError,
    ModelTimeoutError,
    ServiceError,
    ValidationError,
)
from awsllm.jobs.costs import JobCost, cost_of
from awsllm.jumpstart.deploy.logs import LogLine, LogStream, last_lines
from awsllm.jumpstart.deploy.progress import Listener, Pace, Reporter
from awsllm.jumpstart.deploy.resources import Clients, is_busy, snake_case
from awsllm.jumpstart.plan.plan import Cost, read_saved
from awsllm.jumpstart.tags import PLAN_TAG
from awsllm.types import JsonObject, Value

T = TypeVar("T")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

Outcome: TypeAlias = Literal["completed", "failed", "stopped"]

_TAIL = 20  # lines of the log that a failure shows
_TOLERATED = 20  # looks in a row that may fail before waiting gives up


class JobPlan(Value, frozen=True, kw_only=True):
    """A job before it is made. ``request`` is the creating operation's, whole; ``permissions`` is what the caller needs
    of IAM. ``digest`` names what the job does: its name and tags do not enter into it. ``why`` says why it runs
    where it does, and of this machine what it takes."""

    region: str
    name: str
    request: JsonObject
    digest: str
    cost: Cost
    permissions: JsonObject
    warnings: tuple[str, ...] = ()
    why: str = ""

    def check(self) -> None:
        """Raises what keeps this plan, which can be read, from being run."""

    def to_json(self) -> bytes:
        return msgspec.json.encode(self, order="deterministic")

    @classmethod
    def from_json(cls, data: bytes | str) -> Self:
        """Raises ``ValidationError`` for what is no plan."""
        return read_saved(data, cls)


class JobState(Value, frozen=True, kw_only=True):
    """What one look at a job shows. ``outcome`` is None while it runs. ``status`` is the service's word, ``phase`` a
    finer one where it has one; ``working`` says that the job's own code runs, so that its log moves. ``facts`` are
    metrics and the like, ``message`` is what the service says of the phase, ``reason`` why it did not complete.
    ``description`` is the service's answer, from which results are read."""

    name: str
    status: str
    phase: str
    outcome: Outcome | None
    working: bool = False
    facts: tuple[str, ...] = ()
    message: str = ""
    reason: str | None = None
    description: JsonObject


class JobSummary(Value, frozen=True, kw_only=True):
    """A line of a list. ``created`` and ``ended`` are in seconds since the epoch."""

    name: str
    status: str
    created: float | None = None
    ended: float | None = None
    reason: str | None = None


class JobHandle(Value, frozen=True, kw_only=True):
    """A job as a file: ``noun`` is its kind's, ``cost`` what its plan said, ``options`` what of its plan the service
    does not keep, such as how a model is to be served."""

    noun: str
    name: str
    region: str | None = None
    cost: Cost | None = None
    options: JsonObject = msgspec.field(default_factory=dict)

    def to_json(self) -> bytes:
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, data: bytes | str) -> Self:
        """Raises ``ValidationError`` for what is no handle of a job."""
        try:
            return msgspec.json.decode(data, type=cls)
        except (ValueError, RecursionError):
            raise ValidationError("this is not a job that was saved: save() writes one") from None


class JobLoss(NamedTuple):
    """What a training came to at one step. ``held_out`` is the loss of what is not learned from."""

    step: int
    loss: float
    held_out: float | None = None


class JobKind(Protocol[R_co]):
    """How jobs of one kind are spoken to, each method one act. ``noun`` names one in messages; ``step`` is the step of
    ``Progress``. Names are used once."""

    @property
    def noun(self) -> str: ...
    @property
    def step(self) -> str: ...

    def create(self, clients: Clients, request: JsonObject) -> None: ...

    def find(self, clients: Clients, name: str) -> JobState | None:
        """None where there is no such job."""

    def stop(self, clients: Clients, name: str) -> None: ...

    def list(self, clients: Clients, *, status: str | None = None, contains: str | None = None) -> Iterator[JobSummary]:
        """The account's jobs, the newest first: those in ``status``, with ``contains`` in their name."""

    def tags(self, clients: Clients, state: JobState) -> dict[str, str]: ...

    def log(self, clients: Clients, name: str) -> LogStream | None:
        """Where the job wrote last; None where it has written nothing, or its kind has no log."""

    def result(self, state: JobState, tags: Mapping[str, str]) -> R_co:
        """What came of a completed job."""


@contextmanager
def noting(what: str) -> Iterator[None]:
    """Whatever ends the block early, an interruption too, says ``what`` of what goes on or is there."""
    try:
        yield
    except (AwsllmError, KeyboardInterrupt, SystemExit) as error:
        error.add_note(what)
        raise


# --- waiting ---------------------------------------------------------------------------------------------------------


class Job(ABC, Generic[T, R]):
    """Work that goes on elsewhere, whatever becomes of this handle: dropping it stops nothing. ``T`` is what a look
    finds once the work has ended, ``R`` what the caller gets of it. ``longest`` bounds waits that name no timeout."""

    def __init__(self, pace: Pace, longest: float | None = None) -> None:
        self._pace, self._longest = pace, longest
        self._end: T | None = None

    def done(self) -> bool:
        """Whether it has ended, well or not. Looks once."""
        if self._end is None:
            self._end = self._look()
        return self._end is not None

    def wait(self, timeout: float | None = None) -> Self:
        """Return when it has ended, well or not. Raises ``ModelTimeoutError`` after ``timeout`` seconds: it goes on
        then, so that waiting again makes sense. What interrupts the wait gets a note that says so."""
        self._ended(timeout)
        return self

    def result(self, timeout: float | None = None) -> R:
        """What came of it. Waits as ``wait`` does, and raises why it failed."""
        return self._read(self._ended(timeout))

    def _ended(self, timeout: float | None) -> T:
        limit = self._longest if timeout is None else timeout
        try:
            for _ in self._pace.ticks(limit):
                if self.done() and self._end is not None:
                    return self._end
        except (KeyboardInterrupt, SystemExit) as interruption:
            interruption.add_note(self._goes_on())
            raise
        raise ModelTimeoutError(f"after {limit:g} seconds {self._goes_on()}")

    @abstractmethod
    def _look(self) -> T | None:
        """What the work ended in; None while it runs."""

    @abstractmethod
    def _read(self, end: T) -> R:
        """The result. Raises why there is none."""

    @abstractmethod
    def _goes_on(self) -> str:
        """What to tell whoever stops waiting: that it runs, and how to come back to it."""


class ServiceJob(Job[JobState, R]):
    """A job that a service runs, by its name. ``on_progress`` hears of each new state. ``estimate`` is what its plan
    says of its cost, and ``warnings`` what else, ``why`` why it runs where it does; a job that was taken up by its name
    alone does not know."""

    def __init__(
        self,
        kind: JobKind[R],
        clients: Clients,
        name: str,
        on_progress: Listener | None = None,
        pace: Pace | None = None,
    ) -> None:
        pace = pace or Pace(poll=30)
        super().__init__(pace)
        self.kind, self.name = kind, name
        self.estimate: Cost | None = None
        self.warnings: tuple[str, ...] = ()
        self.region: str | None = None
        self.why = ""
        self._clients = clients
        self._reporter = Reporter(on_progress, pace)
        self._listening = on_progress is not None
        self._missed = 0
        self._seen: JobState | None = None

    @property
    def cost(self) -> JobCost:
        """What it was thought to cost, and what it did, as far as the last look tells; ``reason`` says what is not
        known, and why."""
        seen = self._seen
        if seen is None:
            return cost_of(self.kind.noun, self.estimate, None, is_over=False)
        return cost_of(self.kind.noun, self.estimate, seen.description, is_over=seen.outcome is not None)

    @property
    def poll(self) -> float:
        """The longest time between two looks, in seconds."""
        return self._pace.poll

    def __repr__(self) -> str:
        return f"ServiceJob({self.kind.noun} {self.name!r})"

    def state(self) -> JobState:
        """What the service says of it now. Raises ``ConfigurationError`` where there is no such job."""
        state = self.kind.find(self._clients, self.name)
        if state is None:
            raise ConfigurationError(f"there is no {self.kind.noun} {self.name}")
        self._seen = state
        return state

    def wait(self, timeout: float | None = None, *, on_progress: Listener | None = None) -> Self:
        """See ``Job.wait``. ``on_progress`` hears of each new state, in the place of the job's own."""
        if on_progress is not None:
            self._reporter, self._listening = Reporter(on_progress, self._pace), True
        return super().wait(timeout)

    def stop(self) -> bool:
        """Ask it to stop; False where it has ended already. What it had written is kept."""
        if self.state().outcome is not None:
            return False
        self.kind.stop(self._clients, self.name)
        return True

    def logs(self, limit: int = 1000) -> tuple[LogLine, ...]:
        """The last lines that it wrote, the oldest first; none where its kind has no log, or it may not be read."""
        stream = self._log()
        return () if stream is None else self._lines(stream, limit)

    def losses(self) -> tuple[JobLoss, ...]:
        """How the loss of a training fell, as far as that is known; none of what trains nothing."""
        return ()

    def handle(self) -> JobHandle:
        """What another process needs to take it up: ``client.jobs.load``."""
        return JobHandle(
            noun=self.kind.noun, name=self.name, region=self.region, cost=self.estimate, options=self._kept()
        )

    def to_json(self) -> bytes:
        """``handle`` as JSON, which ``client.jobs.load`` takes."""
        return self.handle().to_json()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write ``to_json`` to a file."""
        Path(path).write_bytes(self.to_json())

    def _kept(self) -> JsonObject:
        """The ``options`` of its handle."""
        return {}

    def _trained(self) -> str:
        """What to tell where a training is done and what serves its model is not."""
        return f"{self.kind.noun} {self.name} is completed: client.jobs.get({self.name!r}).deploy() serves its model"

    def failure(self, state: JobState) -> DeploymentError:
        """Why a job ended without completing: its reason, and the log's last lines as a note."""
        ended = "was stopped" if state.outcome == "stopped" else "failed"
        reason = state.reason or "it tells no reason"
        error = DeploymentError(f"{self.kind.noun} {self.name} {ended}: {reason}{self._remedy(state)}")
        error.reason = state.reason
        if stream := self._log():
            error.log_stream = stream.name
            if lines := self._lines(stream, _TAIL):
                ending = "\n".join(line.text for line in lines)
                error.add_note(f"the end of its log ({stream.group}):\n{ending}")
        return error

    def _remedy(self, state: JobState) -> str:
        """What else to say of a job that did not complete."""
        return ""

    def _look(self) -> JobState | None:
        try:
            state = self.kind.find(self._clients, self.name)
        except ServiceError:  # a job outlives a lost connection
            state = None
        self._missed = 0 if state else self._missed + 1
        if self._missed > _TOLERATED:
            raise DeploymentError(f"{self.kind.noun} {self.name} cannot be found")
        if state is None:
            return None
        self._seen = state
        if self._listening:
            self._reporter.tell(self.kind.step, self.name, snake_case(state.phase), self._detail(state))
        return state if state.outcome else None

    def _detail(self, state: JobState) -> str:
        """The last metrics and the last line of the log, or what the service says of the phase."""
        stream = self._log() if state.working else None
        lines = self._lines(stream, 1) if stream else ()
        return "; ".join([*state.facts, *(line.text for line in lines)]) or state.message

    def _log(self) -> LogStream | None:
        """None too where logs may not be read: they explain, and nothing depends on them."""
        try:
            return self.kind.log(self._clients, self.name)
        except AwsllmError:
            return None

    def _lines(self, stream: LogStream, limit: int) -> tuple[LogLine, ...]:
        """The end of its log."""
        return last_lines(self._clients, stream, limit)

    def _read(self, end: JobState) -> R:
        if end.outcome != "completed":
            raise self.failure(end)
        return self.kind.result(end, self.kind.tags(self._clients, end))

    def _goes_on(self) -> str:
        return (
            f"{self.kind.noun} {self.name} goes on: run the same plan again to follow it, or stop it by its name; "
            f"`awsllm jobs watch {self.name}` follows it, too, and `awsllm jobs stop {self.name}` stops it"
        )


# --- a plan's job ----------------------------------------------------------------------------------------------------


def start(
    kind: JobKind[R],
    plan: JobPlan,
    clients: Clients,
    *,
    on_progress: Listener | None = None,
    pace: Pace | None = None,
) -> ServiceJob[R]:
    """Make the plan's job, or find it where it was made before. ``.result()`` of what is returned waits for it.

    Raises what the plan's own check does, ``ConfigurationError`` for somebody else's job of this name, and
    ``DeploymentError`` for one that failed before.
    """
    return follow(ServiceJob(kind, clients, plan.name, on_progress, pace), plan)


S = TypeVar("S", bound=ServiceJob[Any])


def follow(job: S, plan: JobPlan) -> S:
    """``start`` for a job that a kind has a class of its own for."""
    plan.check()
    kind, clients = job.kind, job._clients
    job.estimate, job.warnings, job.region = plan.cost, plan.warnings, plan.region
    existing = kind.find(clients, plan.name)
    if existing is None:
        try:
            kind.create(clients, plan.request)
            return job
        except AwsllmError as error:
            if not is_busy(error) or (existing := kind.find(clients, plan.name)) is None:
                raise  # else somebody made it in between
    if kind.tags(clients, existing).get(PLAN_TAG) != plan.digest:  # without the tag it is somebody else's, too
        raise ConfigurationError(f"another {kind.noun} has the name {plan.name}: leave name= out, or choose a new one")
    if existing.outcome in ("failed", "stopped"):
        failed = job.failure(existing)
        failed.add_note("a job's name can be used once: plan with attempt=2 (3, ...) to run it again")
        raise failed
    return job


def resume(
    kind: JobKind[R], name: str, clients: Clients, *, on_progress: Listener | None = None, pace: Pace | None = None
) -> ServiceJob[R]:
    """A job that any process made, by its name: to wait for it, to read what came of it, to stop it.

    Raises ``ConfigurationError`` where there is none.
    """
    job = ServiceJob(kind, clients, name, on_progress, pace)
    job.state()
    return job
