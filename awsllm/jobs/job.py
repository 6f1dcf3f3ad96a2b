"""SageMaker jobs (training, batch transform): made once, followed to their end, explained when they fail.

Both kinds are alike: a name that can be used once, a status that ends in Completed, Failed or Stopped, a log group that
all jobs of the kind share, with streams named after the job. What differs is a row of ``JobKind``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from awsllm.errors import AwsllmError, ConfigurationError, DeploymentError, ModelTimeoutError, ServiceError
from awsllm.jumpstart.deploy import logs
from awsllm.jumpstart.deploy.progress import Listener, Pace, Reporter
from awsllm.jumpstart.deploy.resources import PLAN_TAG, SAGEMAKER, Clients, call, is_missing, pages, seconds, tags_of
from awsllm.types import JsonObject, Value

_TAIL = 20  # lines of the log that a failure shows
_TOLERATED = 20  # looks in a row that may fail before following gives up


@dataclass(frozen=True)
class JobKind:
    """``snake`` is in boto3's method names, ``member`` before the names of members; ``step`` is progress's."""

    noun: str
    snake: str
    member: str
    group: str
    step: str

    @property
    def name(self) -> str:
        return f"{self.member}Name"

    @property
    def status(self) -> str:
        return f"{self.member}Status"


TRAINING = JobKind("training job", "training_job", "TrainingJob", "/aws/sagemaker/TrainingJobs", "train")
TRANSFORM = JobKind("transform job", "transform_job", "TransformJob", "/aws/sagemaker/TransformJobs", "transform")

ENDED = {"Completed", "Failed", "Stopped"}


class JobSummary(Value, frozen=True, kw_only=True):
    """``created`` and ``ended`` are in seconds since the epoch."""

    name: str
    status: str
    created: float | None = None
    ended: float | None = None
    reason: str | None = None


def find(kind: JobKind, clients: Clients, name: str) -> JsonObject | None:
    """The description of a job, None where there is none."""
    try:
        return call(clients, SAGEMAKER, f"describe_{kind.snake}", **{kind.name: name})
    except AwsllmError as error:
        if is_missing(error):
            return None
        raise


def start(kind: JobKind, clients: Clients, request: JsonObject, digest: str) -> JsonObject:
    """Make the job, unless it is there; what is known of it then. ``digest`` tells whether it is the one that is meant.

    Raises ``ConfigurationError`` for another job of this name, ``DeploymentError`` for one that failed before.
    """
    name = str(request[kind.name])
    existing = find(kind, clients, name)
    if existing is None:
        try:
            call(clients, SAGEMAKER, f"create_{kind.snake}", **request)
            return {kind.name: name, kind.status: "InProgress"}
        except AwsllmError as error:
            if error.code != "ResourceInUse" or (existing := find(kind, clients, name)) is None:
                raise  # else somebody made it in between
    _same(kind, clients, existing, digest)
    if existing[kind.status] in ("Failed", "Stopped"):
        failed = failure(kind, clients, existing)
        failed.add_note("a job's name can be used once: plan with attempt=2 (3, ...) to run it again")
        raise failed
    return existing


def _same(kind: JobKind, clients: Clients, existing: JsonObject, digest: str) -> None:
    """Raises ``ConfigurationError`` unless the job carries the digest: what has none is somebody else's."""
    if tags_of(clients, existing.get(f"{kind.member}Arn")).get(PLAN_TAG) != digest:
        raise ConfigurationError(
            f"another {kind.noun} has the name {existing[kind.name]}: leave name= out, or choose a new one"
        )


class Follower:
    """Waits for one job and tells how far it is."""

    def __init__(self, kind: JobKind, clients: Clients, name: str, listener: Listener | None, pace: Pace) -> None:
        self._kind, self._clients, self._name, self._pace = kind, clients, name, pace
        self._reporter = Reporter(listener, pace)
        self._listening = listener is not None

    def follow(self, timeout: float | None) -> JsonObject:
        """The description of the completed job. Raises ``DeploymentError``, ``ModelTimeoutError``; what interrupts the
        wait gets a note that names the job."""
        try:
            description = self._wait(timeout)
        except (KeyboardInterrupt, SystemExit) as interruption:
            interruption.add_note(self._goes_on())
            raise
        if description[self._kind.status] == "Completed":
            return description
        raise failure(self._kind, self._clients, description)

    def _wait(self, timeout: float | None) -> JsonObject:
        missed = 0
        for _ in self._pace.ticks(timeout):
            try:
                description = find(self._kind, self._clients, self._name)
            except ServiceError:
                description = None
            missed = 0 if description else missed + 1
            if missed > _TOLERATED:
                raise DeploymentError(f"{self._kind.noun} {self._name} cannot be found")
            if description is not None:
                self._tell(description)
                if description[self._kind.status] in ENDED:
                    return description
        raise ModelTimeoutError(f"after {timeout:g} seconds {self._goes_on()}")

    def _goes_on(self) -> str:
        return f"{self._kind.noun} {self._name} goes on: run the same plan again to follow it, or stop it by its name"

    def _tell(self, description: JsonObject) -> None:
        if self._listening:
            state = str(description.get("SecondaryStatus") or description[self._kind.status])
            snake = re.sub(r"(?<!^)(?=[A-Z])", "_", state).lower()
            self._reporter.tell(self._kind.step, self._name, snake, self._detail(state, description))

    def _detail(self, state: str, description: JsonObject) -> str:
        """The last metrics and the last line of the log, or what the service says of the state."""
        metrics = (f"{m['MetricName']}={m['Value']:g}" for m in description.get("FinalMetricDataList") or ())
        told = [description["FailureReason"]] if description.get("FailureReason") else []
        if state in ("Training", "InProgress"):
            told += last_lines(self._kind, self._clients, self._name, 1)
        transitions = description.get("SecondaryStatusTransitions") or [{}]
        return "; ".join([*metrics, *told]) or str(transitions[-1].get("StatusMessage") or "")


def failure(kind: JobKind, clients: Clients, description: JsonObject) -> DeploymentError:
    """Why a job ended without completing: its reason, and the log's last lines as a note."""
    name, status = description[kind.name], str(description[kind.status])
    reason = description.get("FailureReason")
    why = reason or _STOPPED.get(str(description.get("SecondaryStatus")), "it tells no reason")
    error = DeploymentError(f"{kind.noun} {name} {'was stopped' if status == 'Stopped' else 'failed'}: {why}")
    error.reason, error.log_stream = reason, _stream(kind, clients, name)
    if lines := last_lines(kind, clients, name, _TAIL):
        error.add_note("\n".join([f"the end of its log ({kind.group}):", *lines]))
    return error


_STOPPED = {
    "MaxRuntimeExceeded": "it ran longer than it may; give a larger max_runtime",
    "MaxWaitTimeExceeded": "it waited longer for spot capacity than it may; give a larger max_wait",
    "Stopped": "somebody asked for it",
}


def last_lines(kind: JobKind, clients: Clients, name: str, limit: int) -> list[str]:
    """The end of a job's log; nothing where it has none or may not be read."""
    stream = _stream(kind, clients, name)
    if stream is None:
        return []
    try:
        return [line.text for line in logs.tail(clients, logs.LogStream(kind.group, stream), limit)]
    except AwsllmError:
        return []


def _stream(kind: JobKind, clients: Clients, name: str) -> str | None:
    """The newest log stream of a job: ``NAME/algo-1-...``."""
    wanted = {"logGroupName": kind.group, "logStreamNamePrefix": f"{name}/"}
    try:
        found = list(pages(clients, logs.LOGS, "describe_log_streams", "logStreams", **wanted))
    except AwsllmError:
        return None
    newest = max(found, key=lambda one: one.get("lastEventTimestamp") or 0, default=None)
    return None if newest is None else str(newest["logStreamName"])


def list_jobs(kind: JobKind, clients: Clients, *, status: str | None, contains: str | None) -> Iterator[JobSummary]:
    wanted: dict[str, Any] = {"SortBy": "CreationTime", "SortOrder": "Descending"}
    wanted |= {"StatusEquals": status} if status else {}
    wanted |= {"NameContains": contains} if contains else {}
    for one in pages(clients, SAGEMAKER, f"list_{kind.snake}s", f"{kind.member}Summaries", **wanted):
        yield JobSummary(
            name=one[kind.name],
            status=one[kind.status],
            created=seconds(one.get("CreationTime")),
            ended=seconds(one.get(f"{kind.member.removesuffix('Job')}EndTime")),
            reason=one.get("FailureReason"),
        )


def stop(kind: JobKind, clients: Clients, name: str) -> bool:
    description = find(kind, clients, name)
    if description is None:
        raise ConfigurationError(f"there is no {kind.noun} {name}")
    if description[kind.status] in ENDED:
        return False
    call(clients, SAGEMAKER, f"stop_{kind.snake}", **{kind.name: name})
    return True
