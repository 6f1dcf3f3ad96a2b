"""What SageMaker's jobs share: how they are made, found, stopped and listed, what that needs of IAM, what they cost.

Training and batch transform are alike: a name that can be used once, a status that ends in Completed, Failed or
Stopped, a log group that all jobs of the kind share, with streams named after the job. What differs is a row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from awsllm.aws.iam import Arns, actions, statement
from awsllm.errors import AwsllmError, ConfigurationError, ValidationError
from awsllm.jobs.job import JobState, JobSummary, Outcome
from awsllm.jumpstart.deploy import logs
from awsllm.jumpstart.deploy.resources import SAGEMAKER, Clients, call, is_missing, pages, seconds, snake_case, tags_of
from awsllm.jumpstart.plan.plan import Cost
from awsllm.jumpstart.prices import Prices
from awsllm.types import JsonObject

R = TypeVar("R")

_OUTCOMES: dict[str, Outcome] = {"Completed": "completed", "Failed": "failed", "Stopped": "stopped"}
_WORKING = {"Training", "InProgress"}
_REASONS = {
    "MaxRuntimeExceeded": "it ran longer than it may; give a larger max_runtime",
    "MaxWaitTimeExceeded": "it waited longer for spot capacity than it may; give a larger max_wait",
    "Stopped": "somebody asked for it",
}
"""Of jobs that ended for no ``FailureReason``, by their secondary status."""


@dataclass(frozen=True)
class SageMakerJobs(Generic[R]):
    """One kind of job: a ``JobKind``. ``member`` is what the service calls it in operations and members
    (``TrainingJob``); ``read`` makes a result of a completed job's description and tags."""

    noun: str
    step: str
    member: str
    read: Callable[[JsonObject, Mapping[str, str]], R]

    @property
    def group(self) -> str:
        """The log group that all jobs of the kind share."""
        return f"/aws/sagemaker/{self.member}s"

    def create(self, clients: Clients, request: JsonObject) -> None:
        self._call(clients, "create", **request)

    def find(self, clients: Clients, name: str) -> JobState | None:
        try:
            description = self._call(clients, "describe", **{self._name: name})
        except AwsllmError as error:
            if is_missing(error):
                return None
            raise
        return self._state(description)

    def stop(self, clients: Clients, name: str) -> None:
        self._call(clients, "stop", **{self._name: name})

    def list(self, clients: Clients, *, status: str | None = None, contains: str | None = None) -> Iterator[JobSummary]:
        wanted: dict[str, Any] = {"SortBy": "CreationTime", "SortOrder": "Descending"}
        wanted |= {"StatusEquals": status} if status else {}
        wanted |= {"NameContains": contains} if contains else {}
        listing = f"list_{snake_case(self.member)}s"
        for one in pages(clients, SAGEMAKER, listing, f"{self.member}Summaries", **wanted):
            yield JobSummary(
                name=one[self._name],
                status=one[f"{self.member}Status"],
                created=seconds(one.get("CreationTime")),
                ended=seconds(one.get(f"{self.member.removesuffix('Job')}EndTime")),
                reason=one.get("FailureReason"),
            )

    def tags(self, clients: Clients, state: JobState) -> dict[str, str]:
        return tags_of(clients, state.description.get(f"{self.member}Arn"))

    def log(self, clients: Clients, name: str) -> logs.LogStream | None:
        return logs.newest_stream(clients, self.group, prefix=f"{name}/")  # NAME/algo-1-...

    def result(self, state: JobState, tags: Mapping[str, str]) -> R:
        return self.read(state.description, tags)

    def rights(self, name: str, arns: Arns) -> Iterator[JsonObject]:
        """What making, following, stopping and listing needs of IAM."""
        verbs = [f"{verb}{self.member}" for verb in ("Create", "Describe", "Stop")]
        job = arns.of(SAGEMAKER, f"{self.noun.replace(' ', '-')}/{name}")
        yield statement("Job", actions(SAGEMAKER, *verbs, "AddTags", "ListTags"), job)
        yield statement("ListJobs", f"sagemaker:List{self.member}s", "*")
        yield statement("Logs", actions("logs", "DescribeLogStreams", "GetLogEvents"), arns.log_group(self.group))

    @property
    def _name(self) -> str:
        return f"{self.member}Name"

    def _call(self, clients: Clients, verb: str, **request: Any) -> JsonObject:
        return call(clients, SAGEMAKER, f"{verb}_{snake_case(self.member)}", **request)

    def _state(self, description: JsonObject) -> JobState:
        status = str(description[f"{self.member}Status"])
        phase = str(description.get("SecondaryStatus") or status)
        reason = description.get("FailureReason")
        metrics = [f"{one['MetricName']}={one['Value']:g}" for one in description.get("FinalMetricDataList") or ()]
        transitions = description.get("SecondaryStatusTransitions") or [{}]
        outcome = _OUTCOMES.get(status)
        return JobState(
            name=str(description[self._name]),
            status=status,
            phase=phase,
            outcome=outcome,
            working=phase in _WORKING,
            facts=(*metrics, *([reason] if reason else [])),
            message=str(transitions[-1].get("StatusMessage") or ""),
            reason=None if outcome == "completed" else reason or _REASONS.get(phase),
            description=description,
        )


# --- what plans of jobs share ----------------------------------------------------------------------------------------

_S3 = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?")


def check_options(what: str, options: Mapping[str, Any], known: type, needed: tuple[str, ...]) -> None:
    """Refuse unknown names and missing ones; ``known`` is the ``TypedDict`` of the options."""
    if unknown := sorted(set(options) - set(known.__annotations__)):
        raise ValidationError(f"{what} has no option {', '.join(unknown)}")
    check_attempt(options.get("attempt", 1))
    if missing := [name for name in needed if not options.get(name)]:
        raise ConfigurationError(f"{what} needs {', '.join(f'{name}=' for name in missing)}")


def check_attempt(attempt: Any) -> None:
    """Raises ``ValidationError``. The digest of a job has it: a second attempt is another job."""
    if type(attempt) is not int or attempt < 1:
        raise ValidationError(f"attempt counts from 1; {attempt!r} is no such number")


def check_s3(what: str, uri: Any) -> str:
    """``uri``, if it is an S3 URI. Raises ``ValidationError``."""
    if not isinstance(uri, str) or not _S3.fullmatch(uri):
        raise ValidationError(f"{what}={uri!r} is not an S3 URI: s3://BUCKET/PREFIX")
    return uri


def machine_cost(
    prices: Prices | None, machines: JsonObject, region: str, note: str, hours: float | None = None
) -> Cost:
    """At the price of an hour's hosting, which for jobs is the same for most types. ``machines`` has the request's
    ``InstanceType`` and ``InstanceCount``; ``hours`` is how long the job may run at most."""
    prices = prices or Prices.default()
    each = prices.per_hour(machines["InstanceType"], region)
    per_hour = None if each is None else each * machines["InstanceCount"]
    total = None if per_hour is None or hours is None else per_hour * hours
    return Cost(per_hour=per_hour, per_hour_max=per_hour, as_of=prices.as_of, note=note, total=total)
