"""Batch transform: a model that exists in SageMaker answers every record of every object under an S3 prefix.

One output ``KEY.out`` per input object, written only if each of its records was answered; one failure fails the job.

SageMaker cannot run every model so: not one whose artifact is an uncompressed prefix (``ModelDataSource``), which most
JumpStart language models are, and not a Marketplace package that names no instance types for it. ``plan_transform``
refuses those before anything is made, and says what does the same work: an asynchronous endpoint, or many calls of a
real-time one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Required, TypedDict, Unpack

from awsllm.aws import iam
from awsllm.aws.iam import Arns, actions, statement
from awsllm.errors import UnsupportedError, ValidationError
from awsllm.jobs.access import moving, reporting, role_trust
from awsllm.jobs.job import JobPlan
from awsllm.jobs.sagemaker import SageMakerJobs, check_options, check_s3, machine_cost
from awsllm.jumpstart import names, tags
from awsllm.jumpstart.deploy.resources import SAGEMAKER, Clients, call
from awsllm.jumpstart.prices import Prices
from awsllm.types import JsonObject, Value

DIGEST = 16  # hexadecimal digits
MAX_IN_FLIGHT_MB = 100
"""``MaxConcurrentTransforms`` times ``MaxPayloadInMB`` (the service's documentation)."""

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


class TransformPlan(JobPlan, frozen=True, kw_only=True):
    """``request`` is CreateTransformJob's. ``role_permissions`` is what the job needs of the role that its model was
    made with, ``role_trust`` who may be it."""

    model_name: str
    role_permissions: JsonObject
    role_trust: JsonObject


class TransformResult(Value, frozen=True, kw_only=True):
    """``output`` is the prefix under which the answers lie."""

    name: str
    status: str
    output: str


def _read_transformed(description: JsonObject, found: Mapping[str, str]) -> TransformResult:
    return TransformResult(
        name=description["TransformJobName"],
        status=description["TransformJobStatus"],
        output=description["TransformOutput"]["S3OutputPath"],
    )


TRANSFORM = SageMakerJobs("transform job", "transform", "TransformJob", _read_transformed)


def describe_model(name: str, clients: Clients) -> JsonObject:
    """What ``plan_transform`` needs to know of a model in the account: DescribeModel's answer."""
    response = call(clients, SAGEMAKER, "describe_model", ModelName=name)
    return {member: value for member, value in response.items() if member in _KNOWN}


_KNOWN = {"ModelName", "ModelArn", "PrimaryContainer", "Containers", "ExecutionRoleArn", "InferenceExecutionConfig"}


def plan_transform(
    model: JsonObject, *, region: str, prices: Prices | None = None, **options: Unpack[TransformOptions]
) -> TransformPlan:
    """The transform job over ``model``: CreateModel's request or DescribeModel's answer. Pure.

    Raises ``UnsupportedError`` for a model that SageMaker cannot transform with, ``ValidationError`` for options.
    """
    _check(options)
    _refuse(model, options)
    model_name, attempt = str(model["ModelName"]), options.get("attempt", 1)
    body = _body(model, options)
    digest = names.digest([body, attempt], DIGEST)
    name = names.check(options.get("name") or names.job_name(model_name, digest, attempt), "the transform job's name")
    tagged = {tags.PLAN_TAG: digest, **(options.get("tags") or {})}
    tags.check(tagged)
    arns = Arns(region, iam.account_of(str(model.get("ExecutionRoleArn") or "")))
    return TransformPlan(
        model_name=model_name,
        region=region,
        name=name,
        request={"TransformJobName": name, **body, "Tags": tags.as_list(tagged)},
        digest=digest,
        cost=machine_cost(prices, body["TransformResources"], region, "while the job runs"),
        permissions=iam.policy(*transform_rights(arns, str(model["ModelName"]), name, options["output"])),
        role_permissions=transform_role(arns, options["input"], options["output"]),
        role_trust=role_trust(arns),
        warnings=tuple(_warnings(options)),
    )


def _check(options: TransformOptions) -> None:
    check_options("a batch transform", options, TransformOptions, ("input", "output", "instance_type"))
    check_s3("input", options["input"])
    check_s3("output", options["output"])
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


def transform_rights(arns: Arns, model: str, name: str, output: str) -> Iterator[JsonObject]:
    """What the caller of a job over ``model`` needs."""
    making = actions(SAGEMAKER, "DescribeModel", "CreateTransformJob")  # a job is made of a model
    yield from TRANSFORM.rights(name, arns)
    yield statement("Model", making, arns.of(SAGEMAKER, f"model/{model}"))
    yield statement("ReadAnswers", "s3:GetObject", arns.folder(output))


def transform_role(arns: Arns, given: str, output: str) -> JsonObject:
    """What the model's execution role needs beside what the model itself takes: it reads and writes for the job."""
    return iam.policy(*moving(arns, [given], [output]), *reporting(arns, TRANSFORM.group))
