"""Evaluation jobs of Bedrock's: a ``JobKind``. A job is known by its ARN alone to the service, and found here by its
name, which is used once in an account and region. ``awsllm.evaluate`` makes them and reads what they wrote.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from awsllm.errors import AwsllmError
from awsllm.jobs.bedrock.kinds import BEDROCK
from awsllm.jobs.job import JobState, JobSummary, Outcome
from awsllm.jumpstart.deploy import logs
from awsllm.jumpstart.deploy.resources import Clients, call, is_missing, seconds
from awsllm.types import JsonObject, Value

_OUTCOMES: Mapping[str, Outcome] = {"Completed": "completed", "Failed": "failed", "Stopped": "stopped"}


class EvaluationOutput(Value, frozen=True, kw_only=True):
    """What a completed job leaves: its results lie under ``output``, in folders of its name."""

    name: str
    arn: str
    output: str


def evaluated_models(request: Any) -> tuple[str, ...]:
    """The models that CreateEvaluationJob's request names, those that judge, too, each once."""
    return tuple(dict.fromkeys(_named([request.get("inferenceConfig"), request.get("evaluationConfig")])))


def _named(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for each in value:
            yield from _named(each)
    elif isinstance(value, dict):
        for name, each in value.items():
            if isinstance(each, str) and name in ("modelIdentifier", "modelArn") and each:
                yield each
            else:
                yield from _named(each)


class EvaluationJobs:
    """How they are spoken to."""

    noun = "evaluation job"
    step = "evaluation"

    def create(self, clients: Clients, request: JsonObject) -> None:
        call(clients, BEDROCK, "create_evaluation_job", **request)

    def find(self, clients: Clients, name: str) -> JobState | None:
        """``name`` may be its ARN."""
        arn = name if name.startswith("arn:") else self._arn(clients, name)
        if arn is None:
            return None
        try:
            found = call(clients, BEDROCK, "get_evaluation_job", jobIdentifier=arn)
        except AwsllmError as error:
            if is_missing(error):
                return None
            raise
        status, reasons = str(found["status"]), found.get("failureMessages") or ()
        return JobState(
            name=name,
            status=status,
            phase=status,
            outcome=_OUTCOMES.get(status),
            reason="; ".join(reasons) or None,
            description=dict(found),
        )

    def stop(self, clients: Clients, name: str) -> None:
        if (state := self.find(clients, name)) is not None:
            call(clients, BEDROCK, "stop_evaluation_job", jobIdentifier=state.description["jobArn"])

    def list(self, clients: Clients, *, status: str | None = None, contains: str | None = None) -> Iterator[JobSummary]:
        wanted = {"statusEquals": status, "nameContains": contains}
        for one in self._summaries(clients, **{name: value for name, value in wanted.items() if value}):
            yield JobSummary(name=one["jobName"], status=one["status"], created=seconds(one.get("creationTime")))

    def tags(self, clients: Clients, state: JobState) -> dict[str, str]:
        found = call(clients, BEDROCK, "list_tags_for_resource", resourceARN=state.description["jobArn"])
        return {tag["key"]: tag["value"] for tag in found.get("tags") or ()}

    def log(self, clients: Clients, name: str) -> logs.LogStream | None:
        return None

    def result(self, state: JobState, tags: Mapping[str, str]) -> EvaluationOutput:
        found = state.description
        return EvaluationOutput(name=state.name, arn=found["jobArn"], output=found["outputDataConfig"]["s3Uri"])

    def _arn(self, clients: Clients, name: str) -> str | None:
        summaries = self._summaries(clients, nameContains=name)
        return next((str(one["jobArn"]) for one in summaries if one["jobName"] == name), None)

    def _summaries(self, clients: Clients, **wanted: Any) -> Iterator[JsonObject]:
        wanted |= {"sortBy": "CreationTime", "sortOrder": "Descending"}
        while True:
            found = call(clients, BEDROCK, "list_evaluation_jobs", **wanted)
            yield from found.get("jobSummaries") or ()
            if not found.get("nextToken") or found["nextToken"] == wanted.get("nextToken"):
                return
            wanted["nextToken"] = found["nextToken"]


EVALUATION = EvaluationJobs()
