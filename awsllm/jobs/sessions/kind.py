"""SageMaker's training sessions as jobs: listed, found, stopped. A session runs until its maker stops it, or it
expires; what it made are the model packages that were saved.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from awsllm.aws import iam
from awsllm.aws.iam import Arns, actions, statement
from awsllm.errors import AwsllmError
from awsllm.jobs.job import JobState, JobSummary, Outcome
from awsllm.jumpstart.deploy.logs import LogStream
from awsllm.jumpstart.deploy.resources import SAGEMAKER, Clients, call, is_missing, pages, seconds
from awsllm.types import JsonObject, Value

_OUTCOMES: Mapping[str, Outcome] = {
    "Stopped": "completed",
    "Failed": "failed",
    "Expired": "failed",
    "DeletionFailed": "failed",
}
_WORKING = (("Execute", ""), ("Get", "Result"))
_REASONS = {"Expired": "it expired: sessions that nobody uses do"}


class EndedSession(Value, frozen=True, kw_only=True):
    """A session that is over. ``packages`` is the ARN of the group in which what it saved is registered."""

    name: str
    arn: str
    base: str
    packages: str | None = None
    operations: int = 0


class TrainingSessionJobs:
    """A ``JobKind``."""

    noun = "training session"
    step = "train"

    def create(self, clients: Clients, request: JsonObject) -> None:
        call(clients, SAGEMAKER, "create_training_session", **request)

    def find(self, clients: Clients, name: str) -> JobState | None:
        try:
            found = call(clients, SAGEMAKER, "describe_training_session", TrainingSessionName=name)
        except AwsllmError as error:
            if is_missing(error):
                return None
            raise
        detail: JsonObject = found["TrainingSessionDetail"]
        status, done = str(detail["TrainingSessionStatus"]), detail.get("LastReceivedSequenceNumber")
        outcome = _OUTCOMES.get(status)
        return JobState(
            name=name,
            status=status,
            phase=status,
            outcome=outcome,
            facts=(f"{done} operations",) if done else (),
            reason=None if outcome == "completed" else detail.get("ErrorDetails") or _REASONS.get(status),
            description=detail,
        )

    def stop(self, clients: Clients, name: str) -> None:
        call(clients, SAGEMAKER, "stop_training_session", TrainingSessionName=name)

    def list(self, clients: Clients, *, status: str | None = None, contains: str | None = None) -> Iterator[JobSummary]:
        """Names are those of their ARNs: a summary has no other."""
        wanted: dict[str, Any] = {"StatusEquals": status, "NameContains": contains}
        given = {name: value for name, value in wanted.items() if value}
        for one in pages(clients, SAGEMAKER, "list_training_sessions", "TrainingSessionSummaries", **given):
            yield JobSummary(
                name=str(one["TrainingSessionArn"]).rpartition("/")[2],
                status=str(one["TrainingSessionStatus"]),
                created=seconds(one.get("CreationTime")),
            )

    def tags(self, clients: Clients, state: JobState) -> dict[str, str]:
        return {tag["Key"]: tag["Value"] for tag in state.description.get("Tags") or ()}

    def log(self, clients: Clients, name: str) -> LogStream | None:
        return None

    def result(self, state: JobState, tags: Mapping[str, str]) -> EndedSession:
        detail = state.description
        return EndedSession(
            name=state.name,
            arn=str(detail["TrainingSessionArn"]),
            base=str(detail["ModelConfig"]["BaseModelArn"]),
            packages=detail.get("ModelPackageGroupArn"),
            operations=detail.get("LastReceivedSequenceNumber") or 0,
        )

    def rights(self, role: str, arns: Arns, name: str = "*") -> Iterator[JsonObject]:
        """What making one, working in it, ending and listing needs of IAM; ``role`` is the session's own."""
        session = arns.of(SAGEMAKER, f"training-session/{name}")
        lived = [f"{verb}TrainingSession" for verb in ("Create", "Describe", "Stop", "Delete")]
        working = [f"{verb}{of}Operation{what}" for of in ("Training", "Sampling") for verb, what in _WORKING]
        yield statement("Session", actions(SAGEMAKER, *lived, "AddTags"), session)
        yield statement("Work", actions(SAGEMAKER, *working), session)
        yield statement("ListSessions", "sagemaker:ListTrainingSessions", "*")
        yield iam.pass_role(role)


SESSIONS = TrainingSessionJobs()
