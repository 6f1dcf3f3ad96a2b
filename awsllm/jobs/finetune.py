"""Fine-tuning: a JumpStart model and a data set to one training job, and the job to a deployable model.

    plan = plan_fine_tuning(document, data="s3://...", output="s3://...", role=ROLE)
    trained = start(TRAINING, plan, clients).result()

``plan_fine_tuning`` is pure. The job's name follows from what it does, so that the same call means the same job: run
again, it is found and followed, not made twice. ``TrainedModel.model_data`` goes into ``plan(model_id,
model_data=...)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Unpack

import msgspec

from awsllm.aws import iam
from awsllm.aws.iam import Arns
from awsllm.jobs.access import role_permissions, role_trust
from awsllm.jobs.finetune_request import TrainingOptions, TrainingRequest
from awsllm.jobs.job import JobPlan
from awsllm.jobs.sagemaker import SageMakerJobs, machine_cost
from awsllm.jumpstart import names, tags
from awsllm.jumpstart.hub.document import ModelDocument
from awsllm.jumpstart.plan.plan import Cost, licence_error
from awsllm.jumpstart.prices import Prices
from awsllm.types import JsonObject, Value

DIGEST = 16  # hexadecimal digits


class TrainingPlan(JobPlan, frozen=True, kw_only=True):
    """``request`` is CreateTrainingJob's. ``permissions`` is what the caller needs of IAM, ``role_permissions`` what
    the execution role does, ``role_trust`` who may be it. A gated model can be planned without acceptance."""

    model_id: str
    model_version: str
    role_permissions: JsonObject
    role_trust: JsonObject
    eula_url: str | None = None
    eula_required: bool = False
    eula_accepted: bool = False

    @property
    def hyperparameters(self) -> dict[str, str]:
        values: dict[str, str] = self.request["HyperParameters"]
        return values

    def check(self) -> None:
        """Raises ``EulaNotAcceptedError`` for a gated model planned without acceptance."""
        if self.eula_required and not self.eula_accepted:
            raise licence_error(self.model_id, [self.eula_url] if self.eula_url else [])


class TrainedModel(Value, frozen=True, kw_only=True):
    """What came of a training job. ``model_data`` is the artifact's S3 URI: a ``model.tar.gz``, or a prefix where the
    document turns compression off. ``metrics`` are the last values of those that the document defines,
    ``billable_seconds`` what is paid for. The model's id and version are None for a job that awsllm did not make."""

    name: str
    model_id: str | None
    model_version: str | None
    region: str
    status: str
    model_data: str
    metrics: dict[str, float] = msgspec.field(default_factory=dict)
    hyperparameters: dict[str, str] = msgspec.field(default_factory=dict)
    seconds: int | None = None
    billable_seconds: int | None = None


def _read_trained(description: JsonObject, found: Mapping[str, str]) -> TrainedModel:
    return TrainedModel(
        name=description["TrainingJobName"],
        model_id=found.get(tags.MODEL_TAG),
        model_version=found.get(tags.VERSION_TAG),
        region=iam.region_of(description["TrainingJobArn"]),
        status=description["TrainingJobStatus"],
        model_data=description["ModelArtifacts"]["S3ModelArtifacts"],
        metrics={one["MetricName"]: one["Value"] for one in description.get("FinalMetricDataList") or ()},
        hyperparameters=dict(description.get("HyperParameters") or {}),
        seconds=description.get("TrainingTimeInSeconds"),
        billable_seconds=description.get("BillableTimeInSeconds"),
    )


TRAINING = SageMakerJobs("training job", "train", "TrainingJob", _read_trained)


def plan_fine_tuning(
    document: ModelDocument, *, prices: Prices | None = None, **options: Unpack[TrainingOptions]
) -> TrainingPlan:
    """The training job that tunes a model. A gated model is planned without acceptance and refused when it is started.

    Raises ``UnsupportedError`` for a model that cannot be trained (on this instance type), ``ValidationError`` for what
    the document or SageMaker does not take.
    """
    job = TrainingRequest(document, options)
    request = job.body()
    attempt = options.get("attempt", 1)
    digest = names.digest([document.model_id, document.version, request, attempt], DIGEST)
    base = str(document.content.get("ResourceNameBase") or document.model_id)
    name = names.check(options.get("name") or names.job_name(base, digest, attempt), "the training job's name")
    tagged = _tags(document, digest, job.config, options.get("tags"))
    request |= {"TrainingJobName": name, "Tags": tags.as_list(tagged)}
    arns = Arns(document.region, iam.account_of(options["role"]))
    return TrainingPlan(
        model_id=document.model_id,
        model_version=document.version,
        region=document.region,
        name=name,
        request=request,
        digest=digest,
        cost=_cost(prices, request, document.region),
        permissions=iam.policy(*TRAINING.rights(name, arns), iam.pass_role(options["role"])),
        role_permissions=role_permissions(request, arns, TRAINING.group),
        role_trust=role_trust(arns),
        warnings=tuple(job.warnings()),
        eula_url=document.eula_url,
        eula_required=document.gated,
        eula_accepted=bool(options.get("accept_eula")) and document.gated,
    )


def _tags(document: ModelDocument, digest: str, config: str | None, given: Mapping[str, str] | None) -> dict[str, str]:
    made = {
        tags.PLAN_TAG: digest,
        **tags.of_model(document.model_id, document.version),
        **({tags.SDK_TRAINING_CONFIG_TAG: config} if config else {}),
        **(given or {}),
    }
    tags.check(made)
    return made


def _cost(prices: Prices | None, request: JsonObject, region: str) -> Cost:
    """At most so long as the job may run."""
    hours = request["StoppingCondition"]["MaxRuntimeInSeconds"] / 3600
    spot = "; spot costs less" if request.get("EnableManagedSpotTraining") else ""
    note = f"while it trains, {hours:g} hours at most{spot}"
    return machine_cost(prices, request["ResourceConfig"], region, note, hours)
