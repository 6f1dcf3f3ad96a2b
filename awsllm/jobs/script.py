"""A training script of one's own in SageMaker: packed, put to S3, and run by an image's toolkit.

The request is that of the SageMaker SDK 2's script mode (``sagemaker.estimator.Framework``,
``sagemaker.pytorch.PyTorch``): what is run and where it lies are hyperparameters, each a JSON text, which
``sagemaker-training`` in AWS's images for PyTorch and Hugging Face reads; ``requirements.txt`` beside the script is
installed. Of several machines the toolkit starts torchrun on each and tells it of the others.

The data, checked, are the channel ``training`` (``/opt/ml/input/data/training/train.jsonl``); an ``s3://`` URI is a
channel as it is. What the script writes into ``/opt/ml/model`` is the result, what it keeps in ``/opt/ml/checkpoints``
is there again after spot capacity was taken away, and for ``attempt=2``. Not proved against AWS.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypedDict

import msgspec

from awsllm.aws import iam
from awsllm.aws.iam import Arns, statement
from awsllm.errors import ValidationError
from awsllm.jobs.access import role_permissions, role_trust
from awsllm.jobs.bedrock.uploads import check_region, place_of, put
from awsllm.jobs.data.training import TrainingData
from awsllm.jobs.data.written import script_lines
from awsllm.jobs.finetune import DIGEST, TRAINING, TrainedModel
from awsllm.jobs.finetune_request import DEFAULT_RUNTIME, MAX_METRICS
from awsllm.jobs.job import JobPlan, ServiceJob, follow
from awsllm.jobs.jumpstart_tuning import JumpStartTuningJob
from awsllm.jobs.sagemaker import check_options, check_s3, machine_cost
from awsllm.jobs.script_source import packed
from awsllm.jumpstart import names, tags
from awsllm.jumpstart.deploy.resources import Clients
from awsllm.jumpstart.plan.plan import Cost
from awsllm.jumpstart.plan.resolve import takes_volume
from awsllm.types import JsonObject

_VOLUME = 100  # GB
_LONGEST_VALUE = 2500  # characters of a hyperparameter (botocore's service model)
_LOG_LEVEL = 20  # Python's INFO
_TOOLKIT = re.compile(r"sagemaker_.*")
OWN = "own"
"""The version, in a job's tags, of a model that a script of the caller's own trains."""


class ScriptOptions(TypedDict, total=False):
    """What ``plan_script`` takes beside model, data and region; see ``FineTuningOptions``."""

    script: str | os.PathLike[str]
    entry: str | None
    image: str
    instance_type: str
    instance_count: int
    output: str
    role: str
    validation: TrainingData | None
    evaluate: float
    epochs: float | None
    learning_rate: float | None
    batch_size: int | None
    hyperparameters: Mapping[str, Any] | None
    metrics: Mapping[str, str] | None
    env: Mapping[str, str] | None
    checkpoints: str | None
    spot: bool
    max_runtime: int | None
    max_wait: int | None
    kms: str | None
    vpc: JsonObject | None
    tags: Mapping[str, str] | None
    name: str | None
    attempt: int


class ScriptPlan(JobPlan, frozen=True, kw_only=True):
    """``request`` is CreateTrainingJob's. ``source`` is where the packed script goes. ``role_permissions`` is
    what the job's role needs of IAM, ``role_trust`` who may be it."""

    source: str
    role_permissions: JsonObject
    role_trust: JsonObject


def plan_script(model: str, data: TrainingData | str, region: str, options: ScriptOptions) -> ScriptPlan:
    """``model`` is told to the script as the hyperparameter ``model_id``. Raises ``ValidationError`` or
    ``ConfigurationError``."""
    job = ScriptRequest(model, data, options)
    request, attempt = job.body(), options.get("attempt", 1)
    digest = names.digest([request, attempt], DIGEST)
    base = names.digest([request, ""], DIGEST)  # what attempts have in common
    name = names.check(options.get("name") or names.job_name(names.slug(model, 40), digest, attempt), "the job's name")
    if options.get("spot") and "CheckpointConfig" not in request:
        request["CheckpointConfig"] = {"S3Uri": f"{options['output'].rstrip('/')}/awsllm/{base}/checkpoints/"}
    request["HyperParameters"] |= {
        "sagemaker_job_name": _json(name),
        "sagemaker_region": _json(region),
    }
    tagged = {tags.PLAN_TAG: digest, **tags.of_model(model, OWN, jumpstart=False), **(options.get("tags") or {})}
    tags.check(tagged)
    request |= {"TrainingJobName": name, "Tags": tags.as_list(tagged)}
    arns = Arns(region, iam.account_of(options["role"]))
    uploads = [arns.objects(uri) for uri in job.files()]
    return ScriptPlan(
        region=region,
        name=name,
        request=request,
        digest=digest,
        cost=job.cost(region),
        permissions=iam.policy(
            *TRAINING.rights(name, arns),
            iam.pass_role(options["role"]),
            statement("Upload", ["s3:PutObject", "s3:GetObject"], uploads),
            statement("Bucket", "s3:ListBucket", arns.bucket(options["output"])),
        ),
        warnings=tuple(job.warnings()),
        source=job.source,
        role_permissions=_with_source(role_permissions(request, arns, TRAINING.group), arns.objects(job.source)),
        role_trust=role_trust(arns),
    )


def _with_source(policy: JsonObject, source: str) -> JsonObject:
    return {**policy, "Statement": [*policy["Statement"], statement("Source", "s3:GetObject", source)]}


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


class ScriptRequest:
    """One script, one data set, one caller's options: the parts of the request."""

    def __init__(self, model: str, data: TrainingData | str, options: ScriptOptions) -> None:
        needed = ("script", "image", "instance_type", "output", "role")
        check_options("a training script of your own", options, ScriptOptions, needed)
        iam.check_role(options["role"])
        check_s3("output", options["output"])
        self.model, self.data, self.options = model, data, options
        self.archive, self.entry = packed(options["script"], options.get("entry"))
        self.source = place_of(options["output"], self.archive, "sourcedir.tar.gz")
        self._check()

    def body(self) -> JsonObject:
        """Without the job's name and tags."""
        options = self.options
        key = {"KmsKeyId": key} if (key := options.get("kms")) else {}
        request: JsonObject = {
            "RoleArn": options["role"],
            "AlgorithmSpecification": self._algorithm(),
            "HyperParameters": self._hyperparameters(),
            "InputDataConfig": [_channel(name, uri) for name, uri in self._channels().items()],
            "OutputDataConfig": {"S3OutputPath": options["output"], **key},
            "ResourceConfig": self._machines(),
            "StoppingCondition": self._limits(),
        }
        checkpoints = options.get("checkpoints")
        optional = {
            "EnableManagedSpotTraining": options.get("spot"),
            "CheckpointConfig": {"S3Uri": check_s3("checkpoints", checkpoints)} if checkpoints else None,
            "Environment": dict(options.get("env") or {}),
            "VpcConfig": options.get("vpc"),
        }
        return {**request, **{name: value for name, value in optional.items() if value}}

    def files(self) -> dict[str, bytes]:
        """What goes to S3, by its URI."""
        return {self.source: self.archive, **{uri: content for uri, content in self._data().values() if content}}

    def cost(self, region: str) -> Cost:
        hours = self._limits()["MaxRuntimeInSeconds"] / 3600
        spot = "; spot costs less" if self.options.get("spot") else ""
        return machine_cost(None, self._machines(), region, f"while it trains, {hours:g} hours at most{spot}")

    def warnings(self) -> Iterator[str]:
        if self.options.get("spot"):
            yield "spot: the script must keep its state in /opt/ml/checkpoints, and go on from what is there"

    # --- parts ---

    def _algorithm(self) -> JsonObject:
        metrics = [{"Name": name, "Regex": regex} for name, regex in (self.options.get("metrics") or {}).items()]
        if len(metrics) > MAX_METRICS:
            raise ValidationError(f"a job has at most {MAX_METRICS} metrics")
        found: JsonObject = {"TrainingImage": self.options["image"], "TrainingInputMode": "File"}
        return found | ({"MetricDefinitions": metrics} if metrics else {})

    def _hyperparameters(self) -> dict[str, str]:
        common = {name: self.options.get(name) for name in ("epochs", "learning_rate", "batch_size")}
        given = {"model_id": self.model, **common, **(self.options.get("hyperparameters") or {})}
        if taken := sorted(name for name in given if _TOOLKIT.fullmatch(name)):
            raise ValidationError(f"the hyperparameter {taken[0]} is the toolkit's own")
        toolkit: JsonObject = {
            "sagemaker_program": self.entry,
            "sagemaker_submit_directory": self.source,
            "sagemaker_container_log_level": _LOG_LEVEL,
        }
        if self.options.get("instance_count", 1) > 1:
            toolkit |= {"sagemaker_torch_distributed_enabled": True, "sagemaker_instance_type": self._type}
        found = {name: _json(value) for name, value in {**given, **toolkit}.items() if value is not None}
        if long := [name for name, value in found.items() if len(value) > _LONGEST_VALUE]:
            raise ValidationError(f"the hyperparameter {long[0]} has more than {_LONGEST_VALUE} characters")
        return found

    def _data(self) -> dict[str, tuple[str, bytes]]:
        """By channel: where the data are, and what is to be put there; nothing of what is in S3 already."""
        if isinstance(self.data, str):
            return {"training": (check_s3("data", self.data), b"")}
        validation = self.options.get("validation")
        parts = (self.data, validation) if validation else self.data.split(self.options.get("evaluate") or 0.0)
        found: dict[str, tuple[str, bytes]] = {}
        for name, data in zip(("training", "validation"), parts, strict=True):
            if data is not None:
                content = script_lines(data)
                found[name] = (place_of(self.options["output"], content, f"{name}/train.jsonl"), content)
        return found

    def _channels(self) -> dict[str, str]:
        return {name: uri.rpartition("/")[0] + "/" if content else uri for name, (uri, content) in self._data().items()}

    @property
    def _type(self) -> str:
        return self.options["instance_type"]

    def _machines(self) -> JsonObject:
        key = self.options.get("kms")
        return {
            "InstanceType": self._type,
            "InstanceCount": self.options.get("instance_count", 1),
            "VolumeSizeInGB": _VOLUME,
            **({"VolumeKmsKeyId": key} if key and takes_volume(self._type) else {}),
        }

    def _limits(self) -> JsonObject:
        runtime = self.options.get("max_runtime") or DEFAULT_RUNTIME
        if not self.options.get("spot"):
            return {"MaxRuntimeInSeconds": runtime}
        wait = self.options.get("max_wait") or runtime
        if wait < runtime:
            raise ValidationError(f"max_wait={wait} counts the run too: it must be at least max_runtime={runtime}")
        return {"MaxRuntimeInSeconds": runtime, "MaxWaitTimeInSeconds": wait}

    def _check(self) -> None:
        if self.options.get("max_wait") is not None and not self.options.get("spot"):
            raise ValidationError("max_wait is how long to wait for spot capacity: give spot=True with it")
        count: Any = self.options.get("instance_count", 1)
        if type(count) is not int or count < 1:
            raise ValidationError(f"instance_count={count!r} is no whole number above 0")


def _channel(name: str, uri: str) -> JsonObject:
    source = {"S3Uri": uri, "S3DataType": "S3Prefix", "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": name, "InputMode": "File", "DataSource": {"S3DataSource": source}}


class ScriptJob(JumpStartTuningJob):
    """A script's job, whose result is what it wrote into ``/opt/ml/model``."""

    def _kept(self) -> JsonObject:
        return {"tuned": "script"}

    def _way(self, trained: TrainedModel) -> str:
        return f"client.jumpstart.deploy({trained.model_data!r}, image=…) has a container of your choice serve it"


def prepare_script(
    clients: Clients, model: str, data: TrainingData | str, region: str, options: dict[str, Any]
) -> tuple[ScriptPlan, Callable[[], ServiceJob[Any]]]:
    """The plan, and what begins it. ``options`` are those of ``fine_tune``."""
    on_progress = options.pop("on_progress", None)
    if options.pop("deploy", False):
        raise ValidationError(
            "what a script writes is served by an image that knows it: deploy=False, then "
            "client.jumpstart.deploy(result.artifacts, image=…)"
        )
    given: Any = options
    plan = plan_script(model, data, region, given)

    def begin() -> ServiceJob[Any]:
        check_region(clients, options["output"], plan.region)
        for uri, content in ScriptRequest(model, data, given).files().items():
            put(clients, uri, content)
        return follow(ScriptJob(clients, plan.name, on_progress), plan)

    return plan, begin
