"""Batch transform: a model that exists in SageMaker answers every record of every object under an S3 prefix.

One output ``KEY.out`` per input object, written only if each of its records was answered; one failure fails the job.

SageMaker cannot run every model so: not one whose artifact is an uncompressed prefix (``ModelDataSource``), which most
JumpStart language models are, and not a Marketplace package that names no instance types for it. ``plan_transform``
refuses those before anything is made, and says what does the same work: an asynchronous endpoint, or many calls of a
real-time one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Required, TypedDict, Unpack

import msgspec

from awsllm.errors import ConfigurationError, UnsupportedError, ValidationError
from awsllm.jobs import job as jobs
from awsllm.jobs.access import objects, partition, policy, statement
from awsllm.jobs.job import TRANSFORM, JobSummary
from awsllm.jumpstart.deploy.progress import Listener, Pace
from awsllm.jumpstart.deploy.resources import SAGEMAKER, Clients, call
from awsllm.jumpstart.plan.plan import Cost
from awsllm.jumpstart.prices import Prices
from awsllm.types import JsonObject, Value

MAX_IN_FLIGHT_MB = 100
"""``MaxConcurrentTransforms`` times ``MaxPayloadInMB`` (the service's documentation)."""

_S3 = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?")
_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
_INSTEAD = (
    "deploy it with async_='s3://BUCKET/PREFIX' and use client.jumpstart.asynchronous(endpoint).map(requests), or call "
    "a real-time endpoint from several threads"
)


class TransformOptions(TypedDict, total=False):
    """What ``plan_transform`` takes beside the model. ``input`` and ``output`` are ``s3://`` prefixes. ``split`` Line
    makes a record of each line, None of each object. ``package`` is DescribeModelPackage's answer, for a Marketplace
    model. ``timeout`` is a record's, in seconds; ``attempt`` names another job of the same plan."""

    input: Required[str]
    output: Required[str]
    instance_type: Required[str]
    instance_count: int
    content_type: str
    accept: str
    split: str | None
    max_concurrent: int
    max_payload_mb: int
    timeout: int
    retries: int
    env: Mapping[str, str] | None
    kms: str | None
    name: str | None
    tags: Mapping[str, str] | None
    package: JsonObject | None
    attempt: int


class TransformPlan(Value, frozen=True, kw_only=True):
    """``request`` is CreateTransformJob's, whole; ``permissions`` is what the caller needs of IAM."""

    model_name: str
    region: str
    name: str
    request: JsonObject
    digest: str
    cost: Cost
    permissions: JsonObject
    warnings: tuple[str, ...] = ()

    def to_json(self) -> bytes:
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, data: bytes | str) -> TransformPlan:
        return msgspec.json.decode(data, type=cls)


class TransformResult(Value, frozen=True, kw_only=True):
    """``output`` is the prefix under which the answers lie."""

    name: str
    status: str
    output: str


def describe_model(name: str, clients: Clients) -> JsonObject:
    """What ``plan_transform`` needs to know of a model in the account: DescribeModel's answer."""
    answer = call(clients, SAGEMAKER, "describe_model", ModelName=name)
    return {member: value for member, value in answer.items() if member in _KNOWN}


_KNOWN = {"ModelName", "ModelArn", "PrimaryContainer", "Containers", "ExecutionRoleArn", "InferenceExecutionConfig"}


def plan_transform(
    model: JsonObject, *, region: str, prices: Prices | None = None, **options: Unpack[TransformOptions]
) -> TransformPlan:
    """The transform job over ``model``: CreateModel's request or DescribeModel's answer. Pure.

    Raises ``UnsupportedError`` for a model that SageMaker cannot transform with, ``ValidationError`` for options.
    """
    _check(options)
    _refuse(model, options)
    body = _body(model, options)
    digest = sha256(msgspec.json.encode([body, options.get("attempt", 1)], order="sorted")).hexdigest()[:16]
    name = options.get("name") or _job_name(str(model["ModelName"]), digest, options.get("attempt", 1))
    if not _NAME.fullmatch(name):
        raise ValidationError(f"{name!r} is no name of a transform job: letters, digits and single -, at most 63")
    tags = {"awsllm:plan": digest, **(options.get("tags") or {})}
    shown = [{"Key": key, "Value": value} for key, value in tags.items()]
    return TransformPlan(
        model_name=str(model["ModelName"]),
        region=region,
        name=name,
        request={"TransformJobName": name, **body, "Tags": shown},
        digest=digest,
        cost=_cost(prices, options, region),
        permissions=_permissions(model, name, options, region),
        warnings=tuple(_warnings(options)),
    )


def _check(options: TransformOptions) -> None:
    if unknown := sorted(set(options) - set(TransformOptions.__annotations__)):
        raise ValidationError(f"a batch transform has no option {', '.join(unknown)}")
    if missing := [name for name in ("input", "output", "instance_type") if not options.get(name)]:
        raise ConfigurationError(f"a batch transform needs {', '.join(f'{name}=' for name in missing)}")
    places: dict[str, object] = {"input": options["input"], "output": options["output"]}
    for what, uri in places.items():
        if not isinstance(uri, str) or not _S3.fullmatch(uri):
            raise ValidationError(f"{what}={uri!r} is not an S3 URI: s3://BUCKET/PREFIX")
    in_flight = options.get("max_concurrent", 1) * options.get("max_payload_mb", 6)
    if in_flight > MAX_IN_FLIGHT_MB:
        raise ValidationError(
            f"max_concurrent times max_payload_mb is {in_flight}; SageMaker takes at most {MAX_IN_FLIGHT_MB}"
        )
    if options.get("split", "Line") not in ("Line", None):
        raise ValidationError("split is 'Line' or None")


def _refuse(model: JsonObject, options: TransformOptions) -> None:
    """Raise for a model that SageMaker cannot transform with."""
    name, package = model["ModelName"], options.get("package")
    for container in [*model.get("Containers", ()), *filter(None, [model.get("PrimaryContainer")])]:
        if "ModelDataSource" in container or container.get("AdditionalModelDataSources"):
            raise UnsupportedError(
                f"the artifact of {name} is a prefix in S3 (ModelDataSource), which batch transform cannot use, only a "
                f"model.tar.gz: {_INSTEAD}"
            )
        if "ModelPackageName" in container and not _packaged(package, options["instance_type"]):
            raise UnsupportedError(
                f"{name} is a Marketplace package, which runs no batch transform on {options['instance_type']} unless "
                f"its DescribeModelPackage (package=) lists the type in SupportedTransformInstanceTypes: {_INSTEAD}"
            )


def _packaged(package: JsonObject | None, instance_type: str) -> bool:
    specification = (package or {}).get("InferenceSpecification") or {}
    return instance_type in (specification.get("SupportedTransformInstanceTypes") or ())


def _body(model: JsonObject, options: TransformOptions) -> JsonObject:
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": options["input"]}}
    split = options.get("split", "Line") or "None"
    output: JsonObject = {
        "S3OutputPath": options["output"],
        "AssembleWith": split,
        "Accept": options.get("accept", "application/json"),
    }
    machines: JsonObject = {
        "InstanceType": options["instance_type"],
        "InstanceCount": options.get("instance_count", 1),
    }
    if key := options.get("kms"):
        output["KmsKeyId"] = machines["VolumeKmsKeyId"] = key
    body: JsonObject = {
        "ModelName": model["ModelName"],
        "MaxConcurrentTransforms": options.get("max_concurrent", 1),
        "MaxPayloadInMB": options.get("max_payload_mb", 6),
        "BatchStrategy": "SingleRecord",
        "ModelClientConfig": {
            "InvocationsTimeoutInSeconds": options.get("timeout", 600),
            "InvocationsMaxRetries": options.get("retries", 1),
        },
        "TransformInput": {
            "DataSource": source,
            "ContentType": options.get("content_type", "application/json"),
            "SplitType": split,
        },
        "TransformOutput": output,
        "TransformResources": machines,
    }
    return body | ({"Environment": dict(env)} if (env := options.get("env")) else {})


def _warnings(options: TransformOptions) -> Iterator[str]:
    if options.get("max_concurrent", 1) > 1 and options.get("retries", 1) > 0:
        yield "a record whose answer is late is asked again, and paid again: retries=0 turns this off"
    if options["output"].rstrip("/") == options["input"].rstrip("/"):
        yield "output is where the input is: another run would read the answers as records"


def _job_name(model_name: str, digest: str, attempt: int) -> str:
    ending = f"-{digest[:10]}" + (f"-{attempt}" if attempt > 1 else "")
    return re.sub(r"[^a-zA-Z0-9]+", "-", model_name)[: 63 - len(ending)].strip("-") + ending


def _cost(prices: Prices | None, options: TransformOptions, region: str) -> Cost:
    prices = prices or Prices.default()
    each = prices.per_hour(options["instance_type"], region)
    per_hour = None if each is None else each * options.get("instance_count", 1)
    return Cost(per_hour=per_hour, per_hour_max=per_hour, as_of=prices.as_of, note="while the job runs")


def _permissions(model: JsonObject, name: str, options: TransformOptions, region: str) -> JsonObject:
    """What the caller needs. The model's own execution role reads the input and writes the output."""
    role = str(model.get("ExecutionRoleArn") or "")
    account, arn = role.split(":")[4] if role.count(":") > 4 else "*", partition(region)
    base = f"arn:{arn}:sagemaker:{region}:{account}"
    actions = ("CreateTransformJob", "DescribeTransformJob", "StopTransformJob", "AddTags", "ListTags")
    logs = f"arn:{arn}:logs:{region}:{account}:log-group:{TRANSFORM.group}"
    return policy(
        statement("Transform", [f"sagemaker:{action}" for action in actions], f"{base}:transform-job/{name}"),
        statement("Model", "sagemaker:DescribeModel", f"{base}:model/{model['ModelName']}"),
        statement("ListJobs", "sagemaker:ListTransformJobs", "*"),
        statement("Logs", ["logs:DescribeLogStreams", "logs:GetLogEvents"], [logs, f"{logs}:log-stream:*"]),
        statement("ReadAnswers", "s3:GetObject", objects(options["output"], arn)),
    )


# --- running ---------------------------------------------------------------------------------------------------------


def run(
    plan: TransformPlan,
    clients: Clients,
    *,
    wait: bool = True,
    on_progress: Listener | None = None,
    timeout: float | None = None,
    pace: Pace | None = None,
) -> TransformResult:
    """Make the job, or find it where it was made before, and wait until it is complete. Raises as ``training.run``."""
    description = jobs.start(TRANSFORM, clients, plan.request, plan.digest)
    if wait:
        follower = jobs.Follower(TRANSFORM, clients, plan.name, on_progress, pace or Pace(poll=30))
        description = follower.follow(timeout)
    output = plan.request["TransformOutput"]["S3OutputPath"]
    return TransformResult(name=plan.name, status=description["TransformJobStatus"], output=output)


def list_jobs(clients: Clients, *, status: str | None = None, contains: str | None = None) -> Iterator[JobSummary]:
    """The account's transform jobs, the newest first."""
    return jobs.list_jobs(TRANSFORM, clients, status=status, contains=contains)


def stop(name: str, clients: Clients) -> bool:
    """Ask a transform job to stop; False where it has ended already."""
    return jobs.stop(TRANSFORM, clients, name)
