"""What Bedrock's jobs share: how they are made, found, stopped and listed, and what that needs of IAM.

They are found by their names, but for copies, which have none: one is found by the name of the model that it makes.
They write no log of their own; how far one is, it says by its details and, once it has trained, by its loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from awsllm.aws.iam import Arns, actions, statement
from awsllm.errors import AwsllmError, UnsupportedError
from awsllm.jobs.job import JobState, JobSummary, Outcome
from awsllm.jumpstart.deploy.logs import LogStream
from awsllm.jumpstart.deploy.resources import Clients, call, is_missing, seconds, snake_case
from awsllm.types import JsonObject

R = TypeVar("R")

BEDROCK = "bedrock"
_OUTCOMES: dict[str, Outcome] = {"Completed": "completed", "Failed": "failed", "Stopped": "stopped"}
_DETAILS = {"validationDetails": "validating", "dataProcessingDetails": "processing", "trainingDetails": "training"}


@dataclass(frozen=True)
class BedrockJobs(Generic[R]):
    """One kind of job: a ``JobKind``. ``member`` is what the service calls it in operations and members
    (``ModelCustomizationJob``); ``read`` makes a result of a completed job's description and tags. ``found_by`` is the
    member of a request that names what it makes, where the job is found by that. ``makes`` is the kind of model, as
    ARNs name it."""

    noun: str
    step: str
    member: str
    read: Callable[[JsonObject, Mapping[str, str]], R]
    stoppable: bool = False
    found_by: str = ""
    makes: str = "custom-model"

    def create(self, clients: Clients, request: JsonObject) -> None:
        call(clients, BEDROCK, f"create_{self._snake}", **request)

    def find(self, clients: Clients, name: str) -> JobState | None:
        identifier = self._arn(clients, name) if self.found_by and not name.startswith("arn:") else name
        if identifier is None:
            return None
        try:
            described = call(clients, BEDROCK, f"get_{self._snake}", **{self._identifier: identifier})
        except AwsllmError as error:
            if is_missing(error):
                return None
            raise
        return self._state(name, described)

    def stop(self, clients: Clients, name: str) -> None:
        if not self.stoppable:
            raise UnsupportedError(f"a {self.noun} cannot be stopped: Bedrock has no operation for it")
        call(clients, BEDROCK, f"stop_{self._snake}", **{self._identifier: name})

    def list(self, clients: Clients, *, status: str | None = None, contains: str | None = None) -> Iterator[JobSummary]:
        wanted = {"statusEquals": status, self._contains: contains}
        for one in self._summaries(clients, {key: value for key, value in wanted.items() if value}):
            yield JobSummary(
                name=str(one[self.found_by or "jobName"]),
                status=str(one["status"]),
                created=seconds(one.get("creationTime")),
                ended=seconds(one.get("endTime")),
                reason=one.get("failureMessage"),
            )

    def tags(self, clients: Clients, state: JobState) -> dict[str, str]:
        arn = state.description["targetModelArn" if self.found_by else "jobArn"]
        try:
            listed = call(clients, BEDROCK, "list_tags_for_resource", resourceARN=arn)
        except AwsllmError as error:
            if is_missing(error):  # the model of a copy that is not made yet
                listed = {"tags": state.description.get("targetModelTags")}
            else:
                raise
        return {tag["key"]: tag["value"] for tag in listed.get("tags") or ()}

    def log(self, clients: Clients, name: str) -> LogStream | None:
        return None

    def result(self, state: JobState, tags: Mapping[str, str]) -> R:
        return self.read(state.description, tags)

    def rights(self, arns: Arns, made_of: str | Iterable[str]) -> Iterator[JsonObject]:
        """What its caller needs of IAM. ``made_of`` are the resources on which it is judged whether one may be made:
        ``*`` for an action that knows none."""
        jobs, models = arns.of(BEDROCK, f"{self._path}/*"), arns.of(BEDROCK, f"{self.makes}/*")
        followed = [f"{verb}{self.member}" for verb in ("Get", *(["Stop"] if self.stoppable else []))]
        yield statement(f"Create{self.member}", f"bedrock:Create{self.member}", made_of)
        yield statement(f"Follow{self.member}", actions(BEDROCK, *followed), jobs)
        tagged = [models] if self.found_by else [jobs, models]
        yield statement(f"Tag{self.member}", "bedrock:TagResource", tagged)
        yield statement(f"Recognize{self.member}", "bedrock:ListTagsForResource", models if self.found_by else jobs)
        yield statement(f"List{self.member}s", f"bedrock:List{self.member}s", "*")

    # --- the service's words -----------------------------------------------------------------------------------------

    @property
    def _snake(self) -> str:
        return snake_case(self.member)

    @property
    def _path(self) -> str:
        return self._snake.replace("_", "-")

    @property
    def _identifier(self) -> str:
        return "jobArn" if self.found_by else "jobIdentifier"

    @property
    def _contains(self) -> str:
        return f"{self.found_by}Contains" if self.found_by else "nameContains"

    def _summaries(self, clients: Clients, request: JsonObject) -> Iterator[JsonObject]:
        member = f"{self.member[0].lower()}{self.member[1:]}Summaries"
        request = {**request, "sortBy": "CreationTime", "sortOrder": "Descending"}
        while True:
            response = call(clients, BEDROCK, f"list_{self._snake}s", **request)
            yield from response.get(member) or ()
            if not (token := response.get("nextToken")) or token == request.get("nextToken"):
                return
            request["nextToken"] = token

    def _arn(self, clients: Clients, name: str) -> str | None:
        """Of the newest job that made the model of that name."""
        summaries = self._summaries(clients, {self._contains: name})
        return next((str(one["jobArn"]) for one in summaries if one.get(self.found_by) == name), None)

    def _state(self, name: str, described: JsonObject) -> JobState:
        status = str(described["status"])
        outcome = _OUTCOMES.get(status)
        return JobState(
            name=name,
            status=status,
            phase=_phase(described) or status,
            outcome=outcome,
            facts=tuple(_facts(described)),
            reason=None if outcome == "completed" else described.get("failureMessage"),
            description=_plain(described),
        )


def _phase(described: JsonObject) -> str | None:
    details = described.get("statusDetails") or {}
    return next((word for name, word in _DETAILS.items() if _status(details, name) == "InProgress"), None)


def _status(details: JsonObject, name: str) -> Any:
    return (details.get(name) or {}).get("status")


def _facts(described: JsonObject) -> Iterator[str]:
    loss = (described.get("trainingMetrics") or {}).get("trainingLoss")
    if loss is not None:
        yield f"loss {loss:.4g}"
    for one in described.get("validationMetrics") or ():
        if one.get("validationLoss") is not None:
            yield f"held out {one['validationLoss']:.4g}"


def _plain(described: JsonObject) -> JsonObject:
    """Without boto3's own members."""
    return {name: value for name, value in described.items() if name != "ResponseMetadata"}
