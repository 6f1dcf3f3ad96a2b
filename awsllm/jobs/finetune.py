"""Fine-tuning: a JumpStart model and a data set to one training job, and the job to a deployable model.

``plan_fine_tuning`` is pure. The job's name follows from what it does, so that the same call means the same job: run
again, it is found and followed, not made twice. A job outlives whoever waits for it: an interrupted wait leaves it
running and names it. ``TrainedModel.model_data`` goes into ``plan(model_id, model_data=...)``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from hashlib import sha256
from typing import Unpack

import msgspec

from awsllm.errors import EulaNotAcceptedError, ValidationError
from awsllm.jobs import job as jobs
from awsllm.jobs.access import job_permissions, role_permissions
from awsllm.jobs.finetune_request import TrainingOptions, TrainingRequest
from awsllm.jobs.job import TRAINING, JobSummary
from awsllm.jumpstart.deploy.progress import Listener, Pace
from awsllm.jumpstart.deploy.resources import Clients
from awsllm.jumpstart.hub.document import ModelDocument
from awsllm.jumpstart.plan.plan import Cost
from awsllm.jumpstart.prices import Prices
from awsllm.types import JsonObject, Value

_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")


class TrainingPlan(Value, frozen=True, kw_only=True):
    """``request`` is CreateTrainingJob's, whole. ``permissions`` is what the caller needs of IAM, ``role_permissions``
    what the execution role does. ``digest`` names what the job does; its name and tags do not enter into it."""

    model_id: str
    model_version: str
    region: str
    name: str
    request: JsonObject
    digest: str
    cost: Cost
    permissions: JsonObject
    role_permissions: JsonObject
    warnings: tuple[str, ...] = ()
    eula_url: str | None = None
    eula_required: bool = False
    eula_accepted: bool = False

    @property
    def hyperparameters(self) -> dict[str, str]:
        values: dict[str, str] = self.request["HyperParameters"]
        return values

    def to_json(self) -> bytes:
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, data: bytes | str) -> TrainingPlan:
        return msgspec.json.decode(data, type=cls)


def plan_fine_tuning(
    document: ModelDocument, *, prices: Prices | None = None, **options: Unpack[TrainingOptions]
) -> TrainingPlan:
    """The training job that tunes a model. A gated model is planned without acceptance and refused when it is run.

    Raises ``UnsupportedError`` for a model that cannot be trained (on this instance type), ``ValidationError`` for what
    the document or SageMaker does not take.
    """
    job = TrainingRequest(document, options)
    request = job.body()
    digest = _digest(document, request, options.get("attempt", 1))
    name = options.get("name") or _job_name(document, digest, options.get("attempt", 1))
    if not _NAME.fullmatch(name):
        raise ValidationError(f"{name!r} is no name of a training job: letters, digits and single -, at most 63")
    request |= {"TrainingJobName": name, "Tags": _tags(document, digest, job.config, options.get("tags"))}
    return TrainingPlan(
        model_id=document.model_id,
        model_version=document.version,
        region=document.region,
        name=name,
        request=request,
        digest=digest,
        cost=_cost(prices, request, document.region),
        permissions=job_permissions(request, document.region),
        role_permissions=role_permissions(request, document.region),
        warnings=tuple(job.warnings()),
        eula_url=document.eula_url,
        eula_required=document.gated,
        eula_accepted=bool(options.get("accept_eula")) and document.gated,
    )


# --- names, tags, cost -----------------------------------------------------------------------------------------------

_encode = partial(msgspec.json.encode, order="sorted")


def _digest(document: ModelDocument, request: JsonObject, attempt: int) -> str:
    return sha256(_encode([document.model_id, document.version, request, attempt])).hexdigest()[:16]


def _job_name(document: ModelDocument, digest: str, attempt: int) -> str:
    base = str(document.content.get("ResourceNameBase") or document.model_id)
    ending = f"-{digest[:10]}" + (f"-{attempt}" if attempt > 1 else "")
    return re.sub(r"[^a-zA-Z0-9]+", "-", base)[: 63 - len(ending)].strip("-") + ending


def _tags(
    document: ModelDocument, digest: str, config: str | None, given: Mapping[str, str] | None
) -> list[dict[str, str]]:
    tags = {
        "awsllm:plan": digest,
        "awsllm:model-id": document.model_id,
        "awsllm:model-version": document.version,
        "sagemaker-sdk:jumpstart-model-id": document.model_id,
        "sagemaker-sdk:jumpstart-model-version": document.version,
        **({"sagemaker-sdk:jumpstart-training-config-name": config} if config else {}),
        **(given or {}),
    }
    if len(tags) > 50:
        raise ValidationError(f"{len(tags)} tags; SageMaker takes at most 50, of which awsllm sets up to 6")
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _cost(prices: Prices | None, request: JsonObject, region: str) -> Cost:
    """At the price of an hour's hosting, which for training is the same for most types; at most so long as the job may
    run."""
    prices = prices or Prices.default()
    machines, hours = request["ResourceConfig"], request["StoppingCondition"]["MaxRuntimeInSeconds"] / 3600
    each = prices.per_hour(machines["InstanceType"], region)
    note = f"while it trains, {hours:g} hours at most"
    if request.get("EnableManagedSpotTraining"):
        note += "; spot costs less"
    per_hour = None if each is None else each * machines["InstanceCount"]
    return Cost(per_hour=per_hour, per_hour_max=per_hour, as_of=prices.as_of, note=note)


# --- running ---------------------------------------------------------------------------------------------------------


class TrainedModel(Value, frozen=True, kw_only=True):
    """What came of a training job, or how far it is. ``model_data`` is the artifact's S3 URI once the job is complete:
    a ``model.tar.gz``, or a prefix where the document turns compression off. ``metrics`` are the last values of those
    that the document defines, ``billable_seconds`` what is paid for."""

    name: str
    model_id: str
    model_version: str
    region: str
    status: str
    model_data: str | None = None
    metrics: dict[str, float] = msgspec.field(default_factory=dict)
    hyperparameters: dict[str, str] = msgspec.field(default_factory=dict)
    seconds: int | None = None
    billable_seconds: int | None = None


def run(
    plan: TrainingPlan,
    clients: Clients,
    *,
    wait: bool = True,
    on_progress: Listener | None = None,
    timeout: float | None = None,
    pace: Pace | None = None,
) -> TrainedModel:
    """Make the job, or find it where it was made before, and wait until it is complete. ``timeout`` is in seconds.

    Raises ``EulaNotAcceptedError`` for a gated model planned without acceptance, ``DeploymentError`` with the reason
    and the log's last lines for a job that failed or was stopped, ``ModelTimeoutError`` when ``timeout`` has passed:
    the job goes on then, as it does after an interruption.
    """
    if plan.eula_required and not plan.eula_accepted:
        error = EulaNotAcceptedError(
            f"{plan.model_id} has a licence: read {plan.eula_url or 'it'}, then plan again with accept_eula=True"
        )
        error.url = plan.eula_url
        raise error
    description = jobs.start(TRAINING, clients, plan.request, plan.digest)
    if wait:
        follower = jobs.Follower(TRAINING, clients, plan.name, on_progress, pace or Pace(poll=30))
        description = follower.follow(timeout)
    return _trained(plan, description)


def _trained(plan: TrainingPlan, description: JsonObject) -> TrainedModel:
    complete = description["TrainingJobStatus"] == "Completed"
    return TrainedModel(
        name=plan.name,
        model_id=plan.model_id,
        model_version=plan.model_version,
        region=plan.region,
        status=description["TrainingJobStatus"],
        model_data=description["ModelArtifacts"]["S3ModelArtifacts"] if complete else None,
        metrics={one["MetricName"]: one["Value"] for one in description.get("FinalMetricDataList") or ()},
        hyperparameters=dict(description.get("HyperParameters") or {}),
        seconds=description.get("TrainingTimeInSeconds"),
        billable_seconds=description.get("BillableTimeInSeconds"),
    )


def list_jobs(clients: Clients, *, status: str | None = None, contains: str | None = None) -> Iterator[JobSummary]:
    """The account's training jobs, the newest first: those in ``status``, with ``contains`` in their name."""
    return jobs.list_jobs(TRAINING, clients, status=status, contains=contains)


def stop(name: str, clients: Clients) -> bool:
    """Ask a training job to stop; False where it has ended already. What it had written is kept."""
    return jobs.stop(TRAINING, clients, name)
