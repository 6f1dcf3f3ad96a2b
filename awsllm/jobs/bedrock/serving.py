"""How a custom model is called: by a deployment, which is paid by the token, or by provisioned throughput, by the hour.

Both are asked for once: the name and the client token follow from the model, and what is there is taken up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from awsllm.aws.iam import Arns, statement
from awsllm.errors import AwsllmError, DeploymentError, ModelTimeoutError, RequestError, ServiceError
from awsllm.jobs.bedrock.kinds import BEDROCK
from awsllm.jobs.job import JobState, JobSummary, Outcome, ServiceJob, noting
from awsllm.jobs.tuned import FineTunedModel
from awsllm.jumpstart import names
from awsllm.jumpstart.deploy.logs import LogStream
from awsllm.jumpstart.deploy.progress import Pace
from awsllm.jumpstart.deploy.resources import Clients, call, is_missing, seconds
from awsllm.types import JsonObject

Serving: TypeAlias = Literal["on-demand", "provisioned"]
_LONGEST = 4 * 3600.0  # seconds until it answers
_TOLERATED = 5  # looks in a row that the service does not answer


@dataclass(frozen=True)
class ServingJobs:
    """One way: a ``JobKind``, for it is asked for and waited for as a job is. ``ready`` is the word of its status that
    says that it answers. It is stopped by being deleted; the model stays."""

    noun: str
    member: str
    named: str
    model: str
    identifier: str
    arn: str
    ready: str
    summaries: str
    listed: str
    created: str
    step: str = "serve"

    def request(self, name: str, arn: str, token: str, units: int) -> JsonObject:
        asked = {self.named: name, self.model: arn, "clientRequestToken": token}
        return {**asked, "modelUnits": units} if self is PROVISIONED else asked

    # --- JobKind -----------------------------------------------------------------------------------------------------

    def create(self, clients: Clients, request: JsonObject) -> None:
        call(clients, BEDROCK, f"create_{self.member}", **request)

    def find(self, clients: Clients, name: str) -> JobState | None:
        try:
            found = call(clients, BEDROCK, f"get_{self.member}", **{self.identifier: name})
        except AwsllmError as error:
            if is_missing(error):
                return None
            raise
        status = str(found["status"])
        outcomes: Mapping[str, Outcome] = {self.ready: "completed", "Failed": "failed"}
        return JobState(
            name=name,
            status=status,
            phase=status,
            outcome=outcomes.get(status),
            reason=found.get("failureMessage"),
            description={key: value for key, value in found.items() if key != "ResponseMetadata"},
        )

    def stop(self, clients: Clients, name: str) -> None:
        call(clients, BEDROCK, f"delete_{self.member}", **{self.identifier: name})

    def list(self, clients: Clients, *, status: str | None = None, contains: str | None = None) -> Iterator[JobSummary]:
        wanted = {"statusEquals": status, "nameContains": contains, "sortBy": "CreationTime", "sortOrder": "Descending"}
        request = {name: value for name, value in wanted.items() if value}
        while True:
            response = call(clients, BEDROCK, f"list_{self.member}s", **request)
            for one in response.get(self.summaries) or ():
                yield JobSummary(
                    name=str(one[self.listed]),
                    status=str(one["status"]),
                    created=seconds(one.get(self.created)),
                    reason=one.get("failureMessage"),
                )
            if not (token := response.get("nextToken")) or token == request.get("nextToken"):
                return
            request["nextToken"] = token

    def tags(self, clients: Clients, state: JobState) -> dict[str, str]:
        listed = call(clients, BEDROCK, "list_tags_for_resource", resourceARN=state.description[self.arn])
        return {tag["key"]: tag["value"] for tag in listed.get("tags") or ()}

    def log(self, clients: Clients, name: str) -> LogStream | None:
        return None

    def result(self, state: JobState, tags: Mapping[str, str]) -> FineTunedModel:
        model = str(state.description["modelArn"])
        return FineTunedModel(
            name=state.name,
            base=f"bedrock:{model}",
            where="bedrock",
            reference=f"bedrock:{state.description[self.arn]}",
            artifacts=model,
        )


DEPLOYMENT = ServingJobs(
    "custom model deployment", "custom_model_deployment", "modelDeploymentName", "modelArn",
    "customModelDeploymentIdentifier", "customModelDeploymentArn", "Active", "modelDeploymentSummaries",
    "customModelDeploymentName", "createdAt",
)  # fmt: skip
PROVISIONED = ServingJobs(
    "provisioned throughput", "provisioned_model_throughput", "provisionedModelName", "modelId",
    "provisionedModelId", "provisionedModelArn", "InService", "provisionedModelSummaries",
    "provisionedModelName", "creationTime",
)  # fmt: skip
_WAYS: Mapping[Serving, ServingJobs] = {"on-demand": DEPLOYMENT, "provisioned": PROVISIONED}


class ServingJob(ServiceJob[FineTunedModel]):
    """A custom model that is being made to answer, or does."""

    def stop(self) -> bool:
        """Delete it, also once it answers: what is paid by the hour is so until then. Its model stays."""
        self.state()
        self.kind.stop(self._clients, self.name)
        return True


def serve(clients: Clients, arn: str, name: str, way: Serving, *, units: int = 1, pace: Pace | None = None) -> str:
    """Have a custom model answer, and wait until it does. Returns the reference that calls take."""
    served = _WAYS[way]
    wanted = names.fitted(name, f"-{names.digest([arn, way], 8)}")
    if served.find(clients, wanted) is None:
        token = names.digest([arn, way, units], 32)
        try:
            served.create(clients, served.request(wanted, arn, token, units))
        except RequestError as error:
            if way == "on-demand":
                error.add_note("a model that has no deployments is served by deploy='provisioned', paid by the hour")
            raise
    paid = f"the {served.noun} {wanted} is there, and paid for until `awsllm jobs stop {wanted}` deletes it"
    with noting(paid):
        return f"bedrock:{_wait(clients, served, wanted, pace or Pace(poll=15))}"


def _wait(clients: Clients, served: ServingJobs, name: str, pace: Pace) -> str:
    missed = 0
    for _ in pace.ticks(_LONGEST):
        try:
            state = served.find(clients, name)
        except ServiceError:  # what was asked for outlives a lost connection
            missed += 1
            if missed > _TOLERATED:
                raise
            continue
        missed = 0
        if state is not None and state.outcome == "completed":
            return str(state.description[served.arn])
        if state is not None and state.outcome == "failed":
            raise DeploymentError(f"the {served.noun} {name} failed: {state.reason or 'no reason'}")
    raise ModelTimeoutError(f"the {served.noun} {name} is not ready after {_LONGEST:g} seconds; it goes on")


def rights(arns: Arns, way: Serving | None) -> Iterator[JsonObject]:
    """What the caller needs of IAM; nothing for what is not served."""
    if way is None:
        return
    what, kind = {
        "on-demand": ("CustomModelDeployment", "custom-model-deployment"),
        "provisioned": ("ProvisionedModelThroughput", "provisioned-model"),
    }[way]
    yield statement("Serve", f"bedrock:Create{what}", arns.of(BEDROCK, "custom-model/*"))
    yield statement("FollowServing", f"bedrock:Get{what}", arns.of(BEDROCK, f"{kind}/*"))
