"""Customisation: data and a foundation model to a custom model, and that to something that answers.

    fine-tuning              conversations or pairs of question and answer
    continued pre-training   texts
    distillation             questions, which a teacher of Bedrock's answers
    reinforcement            questions, whose answers a Lambda function grades

``plan_customization`` is pure. The job's name follows from what it does, as does its client token, so that the same
call means the same job. The data go to S3 when the job is begun (``lay_down``), under a name of their content.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Literal, TypeAlias, TypedDict

import msgspec

from awsllm.aws import iam
from awsllm.aws.iam import Arns, statement
from awsllm.errors import AwsllmError, UnsupportedError, ValidationError
from awsllm.jobs.bedrock import roles, serving
from awsllm.jobs.bedrock.kinds import BedrockJobs
from awsllm.jobs.bedrock.serving import Serving
from awsllm.jobs.bedrock.uploads import check_region, place_of, put, read_object
from awsllm.jobs.data.statistics import statistics
from awsllm.jobs.data.training import TrainingData
from awsllm.jobs.data.written import bedrock_lines
from awsllm.jobs.job import JobLoss, JobPlan, JobState, ServiceJob, noting
from awsllm.jobs.sagemaker import check_options
from awsllm.jobs.tuned import FineTunedModel
from awsllm.jumpstart import names, tags
from awsllm.jumpstart.deploy.progress import Listener, Pace
from awsllm.jumpstart.deploy.resources import Clients, seconds
from awsllm.jumpstart.plan.plan import Cost
from awsllm.models.customizable import (
    Customizing,
    customizations,
    customizing,
    hyperparameter_fault,
    training_price,
)
from awsllm.types import JsonObject

CustomizationType: TypeAlias = Literal["fine-tuning", "continued-pre-training", "distillation", "reinforcement"]
_TYPES: Mapping[str, str] = {
    "fine-tuning": "FINE_TUNING",
    "continued-pre-training": "CONTINUED_PRE_TRAINING",
    "distillation": "DISTILLATION",
    "reinforcement": "REINFORCEMENT_FINE_TUNING",
}
_BOUNDS_OF_RFT = {
    "epochCount": (1, 50), "batchSize": (16, 512), "learningRate": (1e-7, 1e-3),
    "trainingSamplePerPrompt": (2, 16), "evalInterval": (1, 100),
}  # fmt: skip
_JUDGED = ("custom-model", "model-customization-job")  # whether one may be made is judged on these beside the base
_DIGEST = 16
_PAID_BY_TOKENS = ("fine-tuning", "continued-pre-training")  # others are paid for a teacher, or by the hour, too


class CustomizationOptions(TypedDict, total=False):
    """What ``plan_customization`` takes beside base and data.

    ``output`` is the ``s3://`` prefix under which data are put and the job writes, ``role`` the job's. ``epochs``,
    ``learning_rate``, ``batch_size`` and ``warm_up`` are the common hyperparameters, ``hyperparameters`` further ones
    by the service's names. ``validation`` is data that are only looked at, ``evaluate`` the share of the data held out
    for that. ``teacher`` (an id) and ``max_response`` (tokens) are of distillation, ``grader`` (a Lambda function's
    ARN) of reinforcement. ``kms`` encrypts the model.
    """

    output: str
    role: str | None
    customization: CustomizationType | None
    validation: TrainingData | None
    evaluate: float
    epochs: int | None
    learning_rate: float | None
    batch_size: int | None
    warm_up: int | None
    hyperparameters: Mapping[str, Any] | None
    teacher: str | None
    max_response: int | None
    grader: str | None
    name: str | None
    tags: Mapping[str, str] | None
    kms: str | None
    vpc: JsonObject | None
    deploy: Serving | bool
    units: int
    attempt: int


class CustomizationPlan(JobPlan, frozen=True, kw_only=True):
    """``request`` is CreateModelCustomizationJob's. ``role_permissions`` is what the job's role needs of IAM and
    ``role_trust`` who may be it. ``deploy`` is how the model is served afterwards."""

    base: str
    deploy: str | None
    units: int
    role_permissions: JsonObject
    role_trust: JsonObject
    tokens: int


def _read(described: JsonObject, found: Mapping[str, str]) -> FineTunedModel:
    metrics = {"loss": (described.get("trainingMetrics") or {}).get("trainingLoss")}
    for one in (described.get("validationMetrics") or ())[:1]:
        metrics["evaluation_loss"] = one.get("validationLoss")
    began, ended = seconds(described.get("creationTime")), seconds(described.get("endTime"))
    return FineTunedModel(
        name=str(described["outputModelName"]),
        base=f"bedrock:{str(described['baseModelArn']).rpartition('/')[2]}",
        where="bedrock",
        artifacts=str(described["outputModelArn"]),
        metrics={name: value for name, value in metrics.items() if value is not None},
        seconds=None if began is None or ended is None else ended - began,
        serve=f"client.jobs.get({described['jobName']!r}).deploy() serves it, paid by the token; "
        ".deploy('provisioned') does by the hour",
    )


CUSTOMIZATION = BedrockJobs("customization job", "customize", "ModelCustomizationJob", _read, stoppable=True)


def plan_customization(base: str, data: TrainingData, region: str, options: CustomizationOptions) -> CustomizationPlan:
    """``base`` is a foundation model's id or ARN, or a custom model's ARN. Raises ``ValidationError`` or
    ``UnsupportedError`` for what Bedrock would not take."""
    check_options("fine-tuning in Bedrock", options, CustomizationOptions, ("output",))
    building = _Customization(base, data, options)
    request, attempt = building.body(), options.get("attempt", 1)
    digest = names.digest([request, attempt], _DIGEST)
    name = names.check(options.get("name") or names.job_name(building.stem, digest, attempt), "the job's name")
    tagged = [{"key": key, "value": value} for key, value in _tags(digest, options).items()]
    role = str(request["roleArn"])
    arns = Arns(region, iam.account_of(role))
    way = _way(options)
    request |= {
        "jobName": name,
        "customModelName": name,
        "clientRequestToken": names.client_token(digest, options.get("name")),
        "jobTags": tagged,
        "customModelTags": tagged,
    }
    return CustomizationPlan(
        region=region,
        name=name,
        request=request,
        digest=digest,
        cost=building.cost(way),
        permissions=iam.policy(
            *customization_rights(arns, base, role, way),
            *customization_files(arns, building.files(), options["output"]),
        ),
        base=base,
        deploy=way,
        units=options.get("units", 1),
        role_permissions=building.role_permissions(arns),
        role_trust=roles.trust(arns, "model-customization-job"),
        tokens=building.tokens,
    )


def customization_rights(arns: Arns, base: str, role: str, way: Serving | None) -> Iterator[JsonObject]:
    """What the caller needs for a job of a base, and to have the result served."""
    judged = [*roles.model_resources(base, arns), *(arns.of("bedrock", f"{kind}/*") for kind in _JUDGED)]
    yield from CUSTOMIZATION.rights(arns, judged)
    yield roles.handing_over(role)
    yield from serving.rights(arns, way)


def customization_files(arns: Arns, uris: Iterable[str], output: str) -> Iterator[JsonObject]:
    """What the caller needs of S3: to put the data there, and to read what the job measured."""
    yield from roles.uploading(arns, uris, output)
    yield statement("ReadMetrics", "s3:GetObject", arns.folder(output))


def customization_role(
    arns: Arns, uris: Iterable[str], output: str, *, teacher: str | None = None, grader: str | None = None
) -> JsonObject:
    """What the job's role needs: its data and output, the model that teaches, the function that grades."""
    more: list[JsonObject] = []
    if grader:
        more.append(statement("Grade", "lambda:InvokeFunction", grader))
    if teacher:
        foundation = f"arn:{arns.partition}:bedrock:*::foundation-model/{teacher.rpartition('/')[2]}"
        more.append(statement("Teach", "bedrock:InvokeModel", [foundation, arns.of("bedrock", "inference-profile/*")]))
    return roles.role_rights(arns, uris, [output], more)


def _way(options: CustomizationOptions) -> Serving | None:
    given = options.get("deploy", True)
    if given is True:
        return "on-demand"
    if given is False:
        return None
    if given not in ("on-demand", "provisioned"):
        raise ValidationError(f"deploy={given!r} is none of 'on-demand', 'provisioned', True and False")
    return given


def _tags(digest: str, options: CustomizationOptions) -> dict[str, str]:
    made = {tags.PLAN_TAG: digest, **(options.get("tags") or {})}
    tags.check(made)
    return made


class _Customization:
    """One base, one data set, one caller's options: the parts of the request."""

    def __init__(self, base: str, data: TrainingData, options: CustomizationOptions) -> None:
        self.base, self.options = base, options
        self.kind = _kind(data, options)
        self.takes: Customizing = customizing(base.rpartition("/")[2])
        self.learned, self.looked_at = _parts(data, options)
        self.tokens = statistics(self.learned).tokens
        self._check()

    @property
    def stem(self) -> str:
        return names.slug(self.base.rpartition("/")[2].partition(":")[0].rpartition(".")[2], 40)

    def body(self) -> JsonObject:
        """Without names, tags and token."""
        files = self.files()
        validators = [{"s3Uri": uri} for uri in list(files)[1:]]
        request: JsonObject = {
            "roleArn": roles.bedrock_role(self.options.get("role")),
            "baseModelIdentifier": self.base,
            "customizationType": _TYPES[self.kind],
            "trainingDataConfig": {"s3Uri": next(iter(files))},
            "outputDataConfig": {"s3Uri": self.options["output"]},
            "hyperParameters": self._hyperparameters() if self.kind != "reinforcement" else {},
        }
        optional = {
            "validationDataConfig": {"validators": validators} if validators else None,
            "customizationConfig": self._config(),
            "customModelKmsKeyId": self.options.get("kms"),
            "vpcConfig": self.options.get("vpc"),
        }
        return {**request, **{name: value for name, value in optional.items() if value}}

    def files(self) -> dict[str, bytes]:
        """What goes to S3, by its URI: what is learned, then what is held out."""
        found: dict[str, bytes] = {}
        for name, data in (("train.jsonl", self.learned), ("validation.jsonl", self.looked_at)):
            if data is not None:
                content = bedrock_lines(data, "conversation" if self.kind != "fine-tuning" else self.takes.form)
                found[place_of(self.options["output"], content, name)] = content
        return found

    def cost(self, way: Serving | None) -> Cost:
        """Training alone is in ``total``: what comes after it goes on for as long as it is wanted."""
        epochs = int(self.options.get("epochs") or self.takes.epochs)
        rate = training_price(self.base.rpartition("/")[2]) if self.kind in _PAID_BY_TOKENS else None
        priced = f"${rate.per_million:g} a million tokens" if rate else "at Bedrock's price of training, not known here"
        kept = f"${rate.per_month:g} a month" if rate and rate.per_month is not None else "by the month"
        paid = f"about {self.tokens} tokens x {epochs} epochs, {priced}; keeping it, {kept}"
        served = {"provisioned": "; provisioned throughput by the hour", "on-demand": "; calls by the token"}
        return Cost(
            per_hour=None,
            as_of=rate.read if rate else None,
            note=paid + (served[way] if way else ""),
            total=rate.per_million * self.tokens * epochs / 1e6 if rate else None,
        )

    def role_permissions(self, arns: Arns) -> JsonObject:
        named = {"teacher": self.options.get("teacher"), "grader": self.options.get("grader")}
        return customization_role(arns, self.files(), self.options["output"], **named)

    def _check(self) -> None:
        wanted, offered = _TYPES[self.kind], customizations(self.base.rpartition("/")[2])
        known = wanted in ("FINE_TUNING", "CONTINUED_PRE_TRAINING")
        if known and ":custom-model/" not in self.base and offered and wanted not in offered:
            raise UnsupportedError(f"{self.base} is not customised by {self.kind} in Bedrock")
        needed = {"distillation": "teacher", "reinforcement": "grader"}
        for kind, option in needed.items():
            if (kind == self.kind) != bool(self.options.get(option)):
                raise ValidationError(f"{option}= belongs to customization={kind!r}, and that to it")

    def _hyperparameters(self) -> dict[str, str]:
        found = self._given()
        _bounded(found, self.takes.bounds, self.base)
        return {name: _text(value) for name, value in found.items()}

    def _given(self) -> dict[str, Any]:
        options = self.options
        common = {
            "epochCount": options.get("epochs"),
            "learningRate": options.get("learning_rate"),
            "batchSize": options.get("batch_size"),
            "learningRateWarmupSteps": options.get("warm_up"),
        }
        return {name: value for name, value in common.items() if value is not None} | dict(
            options.get("hyperparameters") or {}
        )

    def _config(self) -> JsonObject | None:
        options = self.options
        if self.kind == "distillation":
            teacher: JsonObject = {"teacherModelIdentifier": options["teacher"]}
            if longest := options.get("max_response"):
                teacher["maxResponseLengthForInference"] = longest
            return {"distillationConfig": {"teacherModelConfig": teacher}}
        if self.kind == "reinforcement":
            given = self._given()
            _bounded(given, _BOUNDS_OF_RFT, "reinforcement")
            grader = {"graderConfig": {"lambdaGrader": {"lambdaArn": options["grader"]}}}
            return {"rftConfig": {**grader, **({"hyperParameters": given} if given else {})}}
        return None


def _kind(data: TrainingData, options: CustomizationOptions) -> CustomizationType:
    """Which it is, from the options and the data, which must fit."""
    given = options.get("customization")
    if given is None:
        asked: CustomizationType = "distillation" if options.get("teacher") else "fine-tuning"
        given = "continued-pre-training" if data.form == "text" else asked
        given = "reinforcement" if options.get("grader") else given
    if given not in _TYPES:
        raise ValidationError(f"customization={given!r} is none of {', '.join(_TYPES)}")
    match given:
        case "fine-tuning":
            data.check_form("chat", what="fine-tuning in Bedrock")
        case "continued-pre-training":
            data.check_form("text", what="continued pre-training")
        case _:
            data.check_form("prompt", "chat", what=given)
    return given


def _parts(data: TrainingData, options: CustomizationOptions) -> tuple[TrainingData, TrainingData | None]:
    validation = options.get("validation")
    if validation is not None:
        validation.check_form(data.form, what="validation=")
        return data, validation
    return data.split(options.get("evaluate") or 0.0)


def _bounded(given: Mapping[str, Any], bounds: Mapping[str, tuple[float, float]], whose: str) -> None:
    for name, value in given.items():
        if (fault := hyperparameter_fault(name, value, bounds)) is not None:
            raise ValidationError(f"{fault}: a hyperparameter of {whose}")


def _text(value: Any) -> str:
    return str(value) if isinstance(value, str) else f"{value:.10g}" if isinstance(value, float) else str(value)


def lay_down(clients: Clients, plan: CustomizationPlan, data: TrainingData, options: CustomizationOptions) -> None:
    """Put the data where the plan says they are. Raises ``ConfigurationError`` for a bucket in another region."""
    check_region(clients, options["output"], plan.region)
    for uri, content in _Customization(plan.base, data, options).files().items():
        put(clients, uri, content)


_TRAINING = "training_artifacts/step_wise_training_metrics.csv"
_VALIDATION = "validation_artifacts/post_fine_tuning_validation/validation_metrics.csv"
"""Where a job writes its metrics (bedrock/latest/userguide/model-customization-analyze, read 2026-11-27)."""


def _curve(clients: Clients, uri: str) -> Iterator[tuple[int, float]]:
    """Step and loss of each line; none where the file is not there, or may not be read."""
    try:
        text = read_object(clients, uri).decode("utf-8", "replace")
    except AwsllmError:
        return
    for row in csv.DictReader(io.StringIO(text)):
        step, loss = row.get("step_number"), next((row[name] for name in row if name and name.endswith("_loss")), None)
        with suppress(TypeError, ValueError):
            yield int(step or "") + 1, float(loss or "")


class CustomizationJob(ServiceJob[FineTunedModel]):
    """A customisation job; ``result`` also has the model served, in the way that was planned."""

    def __init__(
        self,
        clients: Clients,
        name: str,
        on_progress: Listener | None = None,
        pace: Pace | None = None,
        *,
        deploy: str | None = None,
        units: int = 1,
    ) -> None:
        super().__init__(CUSTOMIZATION, clients, name, on_progress, pace)
        self._deploy, self._units = deploy, units

    def losses(self) -> tuple[JobLoss, ...]:
        """From the metrics' files, which Bedrock writes at the end."""
        description = self.state().description
        job = str(description["jobArn"]).rpartition("/")[2]
        folder = f"{description['outputDataConfig']['s3Uri'].rstrip('/')}/model-customization-job-{job}"
        held_out = dict(_curve(self._clients, f"{folder}/{_VALIDATION}"))
        return tuple(
            JobLoss(step, loss, held_out.get(step)) for step, loss in _curve(self._clients, f"{folder}/{_TRAINING}")
        )

    def _kept(self) -> JsonObject:
        return {"deploy": self._deploy, "units": self._units}

    def deploy(self, way: Serving = "on-demand", *, units: int = 1) -> FineTunedModel:
        """Have the trained model served. Waits for both."""
        self._deploy, self._units = way, units
        return self.result()

    def _read(self, end: JobState) -> FineTunedModel:
        trained = super()._read(end)
        if self._deploy is None or trained.artifacts is None:
            return trained
        way: Any = self._deploy
        self._reporter.tell("serve", trained.name, "creating", way)
        with noting(self._trained()):
            reference = serving.serve(
                self._clients, trained.artifacts, trained.name, way, units=self._units, pace=self._pace
            )
        return msgspec.structs.replace(trained, reference=reference)
