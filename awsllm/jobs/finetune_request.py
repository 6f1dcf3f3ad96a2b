"""What a fine-tuning asks of SageMaker: a document and a caller's options to the body of CreateTrainingJob.

Pure. What the document decides: image, hyperparameters (checked), metrics, volume, longest run, network isolation,
encryption between containers, and two channels beside the caller's data: ``code`` (the training script, packed with
what it imports where there is such) and ``model`` (the weights). For gated models the weights are the variant's
``GatedModelEnvVarUri``, for older ones those of the region's package, and the licence is accepted on that channel only.

The request is the one that the SageMaker SDK 2 made: container-scope hyperparameters and a ``code`` channel, which the
image's own toolkit reads. The SDK 3 sends a driver of its own in place of them. That today's images still take this
form has not been tried against AWS.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Required, TypedDict

import msgspec

from awsllm.aws import iam
from awsllm.errors import UnsupportedError, ValidationError
from awsllm.jobs import hyperparameters as hyper
from awsllm.jobs.sagemaker import check_options, check_s3
from awsllm.jumpstart.hub import members
from awsllm.jumpstart.hub.document import ModelDocument
from awsllm.jumpstart.hub.spec import OTHER_TRAINING_PACKAGES
from awsllm.jumpstart.plan.options import Vpc
from awsllm.jumpstart.plan.resolve import family, overlay, takes_volume
from awsllm.types import JsonObject

MODEL_CONTENT_TYPE = "application/x-sagemaker-model"
MAX_METRICS = 40
DEFAULT_RUNTIME = 86_400
"""Seconds; the service's own default. Documents nearly always name one."""
_DEFAULT_VOLUME_GB = 30


class TrainingOptions(TypedDict, total=False):
    """What ``plan_fine_tuning`` takes beside the document.

    ``data`` is an S3 URI, or channels by name: S3 URIs, or members of ``S3DataSource`` to set or replace (for instance
    ``{"S3Uri": ..., "S3DataType": "Converse"}``). ``validation`` is a channel of its own. ``output`` is the S3 prefix
    under which the job writes. ``max_runtime`` and ``max_wait`` (spot only) are in seconds. ``kms`` encrypts output and
    volume. ``attempt`` names a second job of the same plan, since a failed job's name cannot be used again.
    """

    data: Required[str | Mapping[str, str | JsonObject]]
    output: Required[str]
    role: Required[str]
    validation: str | None
    instance_type: str | None
    instance_count: int
    hyperparameters: hyper.Given | None
    config: str | None
    name: str | None
    accept_eula: bool
    vpc: Vpc | JsonObject | None
    kms: str | None
    tags: Mapping[str, str] | None
    env: Mapping[str, str] | None
    max_runtime: int | None
    spot: bool
    max_wait: int | None
    checkpoints: str | None
    volume_size_gb: int | None
    enable_network_isolation: bool | None
    attempt: int


class TrainingRequest:
    """One document, one instance type, one caller's options: the parts of the request, each a method.

    Raises ``UnsupportedError`` for a model that cannot be trained, ``ValidationError`` for what is refused."""

    def __init__(self, document: ModelDocument, options: TrainingOptions) -> None:
        _check(options)
        supported = members.flag(document.content, "TrainingSupported")
        if not (document.fine_tunable if supported is None else supported):
            raise UnsupportedError(f"{document.model_id} {document.version} cannot be fine-tuned in JumpStart")
        self.document, self.options = document, options
        self.config, self.content = _configured(document.content, options.get("config"))
        wanted = options.get("instance_type") or members.text(self.content, "DefaultTrainingInstanceType")
        if not wanted:
            raise ValidationError("the document has no default training instance type: give instance_type=")
        self.instance_type = wanted
        self.gated_by_eula = document.gated and bool(options.get("accept_eula"))

    def body(self) -> JsonObject:
        """Without the job's name and tags."""
        options, content = self.options, self.content
        isolation = options.get("enable_network_isolation")
        if isolation is None:
            isolation = members.flag(content, "TrainingEnableNetworkIsolation")
        request: JsonObject = {
            "RoleArn": options["role"],
            "AlgorithmSpecification": self._algorithm(),
            "HyperParameters": self._hyperparameters(),
            "InputDataConfig": self._channels(),
            "OutputDataConfig": self._output(),
            "ResourceConfig": self._machines(),
            "StoppingCondition": self._limits(),
            "EnableNetworkIsolation": bool(isolation),
            "EnableInterContainerTrafficEncryption": bool(members.flag(content, "EncryptInterContainerTraffic")),
        }
        environment = {**self._environment(), **(options.get("env") or {})}
        return request | ({"Environment": environment} if environment else {}) | self._vpc() | self._spot()

    def warnings(self) -> Iterator[str]:
        document, options = self.document, self.options
        supported = members.texts(self.content, "SupportedTrainingInstanceTypes")
        if supported and self.instance_type not in supported:
            yield f"{self.instance_type} is not among the document's training instance types: {', '.join(supported)}"
        if options.get("validation") and members.flag(self.content, "ValidationSupported") is False:
            yield "the document says that the training script does not validate: the validation channel may be ignored"
        if options.get("spot") and not options.get("checkpoints"):
            yield "spot without checkpoints= starts over whenever the capacity is taken away"
        if options.get("kms") and not takes_volume(self.instance_type):
            yield f"{self.instance_type} encrypts its own storage in hardware: kms holds for the output only"
        if options.get("instance_count", 1) > 1:
            yield "most JumpStart training scripts use one instance: see the model's own documentation"
        if document.gated and not options.get("accept_eula"):
            yield f"gated: read {document.eula_url or 'the licence'} and plan with accept_eula=True to run this"

    # --- parts ---

    def _variants(self) -> tuple[JsonObject, ...]:
        """The properties for the family, then for the exact type."""
        return tuple(filter(None, (self._variant(key) for key in (family(self.instance_type), self.instance_type))))

    def _by_type(self, name: str) -> JsonObject:
        return members.mapping(members.mapping(self.content, "TrainingInstanceTypeVariants"), name)

    def _variant(self, key: str) -> JsonObject:
        return members.mapping(members.mapping(self._by_type("Variants"), key), "Properties")

    def _property(self, name: str, instance_type: str | None = None) -> str | None:
        """One value of a variant, the exact type's before the family's."""
        instance_type = instance_type or self.instance_type
        found = (members.text(self._variant(key), name) for key in (instance_type, family(instance_type)))
        return next(filter(None, found), None)

    def _algorithm(self) -> JsonObject:
        image = self._aliased(self._property("ImageUri")) or members.text(self.content, "TrainingEcrUri")
        if not image:
            raise UnsupportedError(f"{self.document.model_id} names no training image for {self.instance_type}")
        metrics = [
            {"Name": name, "Regex": regex}
            for metric in members.rows(self.content, "TrainingMetrics")
            if (name := members.text(metric, "Name")) and (regex := members.text(metric, "Regex"))
        ]
        algorithm: JsonObject = {"TrainingImage": image, "TrainingInputMode": "File"}
        return algorithm | ({"MetricDefinitions": metrics[:MAX_METRICS]} if metrics else {})

    def _aliased(self, uri: str | None) -> str | None:
        """``$NAME`` stands for one of the variants' aliases."""
        return members.text(self._by_type("Aliases"), uri[1:]) if uri and uri.startswith("$") else uri

    def _hyperparameters(self) -> dict[str, str]:
        known = hyper.declared(self.content, self._variants())
        return hyper.resolve(known, self.options.get("hyperparameters") or {})

    def _channels(self) -> list[JsonObject]:
        data = self.options["data"]
        given: dict[str, str | JsonObject] = {"training": data} if isinstance(data, str) else dict(data)
        if validation := self.options.get("validation"):
            given["validation"] = validation
        if taken := {"code", "model"} & given.keys():
            raise ValidationError(f"the channel {', '.join(sorted(taken))} is the document's own")
        channels = [_channel(name, source) for name, source in given.items()]
        script = members.text(self.content, "TrainingPrepackedScriptUri")
        if script := script or members.text(self.content, "TrainingScriptUri"):
            channels.append(_channel("code", script))
        return [*channels, *self._model_channel()]

    def _model_channel(self) -> Iterator[JsonObject]:
        uri = self._weights()
        if uri is None:
            return
        kind = members.text(self.content, "TrainingArtifactS3DataType") or "S3Prefix"
        source: JsonObject = {"S3Uri": uri, "S3DataType": kind}
        if self.gated_by_eula:
            source["ModelAccessConfig"] = {"AcceptEula": True}
        if self.document.source == "private-hub" and self.document.hub_content_arn:
            source["HubAccessConfig"] = {"HubContentArn": self.document.hub_content_arn}
        yield {**_channel("model", source), "ContentType": MODEL_CONTENT_TYPE, "CompressionType": "None"}

    def _weights(self) -> str | None:
        """Where the weights to start from are. A model that has them by instance type has them for no other, save where
        all its types share one place."""
        name = "GatedModelEnvVarUri"
        if found := self._property(name):
            return found
        types = members.texts(self.content, "SupportedTrainingInstanceTypes")
        if not any(self._property(name, key) for key in self._by_type("Variants")):
            own = self._property("TrainingArtifactUri") or members.text(self.content, "TrainingArtifactUri")
            return self._packaged() or own
        places = {self._property(name, one) for one in types} - {None}
        if len(places) == 1:
            return places.pop()
        having = [one for one in types if self._property(name, one)]
        raise UnsupportedError(
            f"{self.document.model_id} has no weights to train on {self.instance_type}; it has for {', '.join(having)}"
        )

    def _packaged(self) -> str | None:
        """The weights of the region's package. A model that has them has no others: its training artifact is not for
        jobs (``use_training_model_artifact`` of the SageMaker SDK's specs, 3.27)."""
        if regions := members.mapping(self.content, OTHER_TRAINING_PACKAGES):
            raise UnsupportedError(
                f"{self.document.model_id} has no weights to train in {self.document.region}; it has in "
                f"{', '.join(sorted(regions))}"
            )
        return members.text(self.content, "TrainingModelPackageArtifactUri")

    def _output(self) -> JsonObject:
        compression = "NONE" if members.flag(self.content, "DisableOutputCompression") else "GZIP"
        output: JsonObject = {"S3OutputPath": self.options["output"], "CompressionType": compression}
        return output | ({"KmsKeyId": key} if (key := self.options.get("kms")) else {})

    def _machines(self) -> JsonObject:
        """A machine with disks of its own is asked for the default volume, whatever the document says: so the SageMaker
        SDK does (3.27)."""
        documented = members.whole_amount(self.content, "TrainingVolumeSize")
        if not takes_volume(self.instance_type):
            documented = None
        machines: JsonObject = {
            "InstanceType": self.instance_type,
            "InstanceCount": self.options.get("instance_count", 1),
            "VolumeSizeInGB": self.options.get("volume_size_gb") or documented or _DEFAULT_VOLUME_GB,
        }
        key = self.options.get("kms")
        return machines | ({"VolumeKmsKeyId": key} if key and takes_volume(self.instance_type) else {})

    def _limits(self) -> JsonObject:
        documented = members.whole_amount(self.content, "MaxRuntimeInSeconds")
        runtime = self.options.get("max_runtime") or documented or DEFAULT_RUNTIME
        limits: JsonObject = {"MaxRuntimeInSeconds": runtime}
        if not self.options.get("spot"):
            return limits
        wait = self.options.get("max_wait") or runtime
        if wait < runtime:
            raise ValidationError(f"max_wait={wait} counts the run too: it must be at least max_runtime={runtime}")
        return limits | {"MaxWaitTimeInSeconds": wait}

    def _environment(self) -> dict[str, str]:
        variants = (members.mapping(properties, "EnvironmentVariables") for properties in self._variants())
        return {name: members.as_text(value) for variables in variants for name, value in variables.items()}

    def _vpc(self) -> JsonObject:
        given = self.options.get("vpc")
        if not given:
            return {}
        vpc = given if isinstance(given, Vpc) else msgspec.convert(given, Vpc)
        return {"VpcConfig": {"Subnets": list(vpc.subnets), "SecurityGroupIds": list(vpc.security_groups)}}

    def _spot(self) -> JsonObject:
        checkpoints = self.options.get("checkpoints")
        kept = {"CheckpointConfig": {"S3Uri": check_s3("checkpoints", checkpoints)}} if checkpoints else {}
        return ({"EnableManagedSpotTraining": True} if self.options.get("spot") else {}) | kept


def _channel(name: str, source: str | JsonObject) -> JsonObject:
    given = {"S3Uri": source} if isinstance(source, str) else source
    check_s3(f"channel {name}", given.get("S3Uri"))
    defaults = {"S3DataType": "S3Prefix", "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": name, "InputMode": "File", "DataSource": {"S3DataSource": {**defaults, **given}}}


def _check(options: TrainingOptions) -> None:
    """Refuse what can be seen to be wrong without a document."""
    check_options("fine-tuning", options, TrainingOptions, ("data", "output", "role"))
    iam.check_role(options["role"])
    check_s3("output", options["output"])
    if options.get("max_wait") is not None and not options.get("spot"):
        raise ValidationError("max_wait is how long to wait for spot capacity: give spot=True with it")


# --- configurations --------------------------------------------------------------------------------------------------


def _configured(content: JsonObject, wanted: str | None) -> tuple[str | None, JsonObject]:
    """The training configuration's name, and the document with its components laid over it, in order."""
    configs = members.mapping(content, "TrainingConfigs")
    if wanted is None:
        overall = members.mapping(members.mapping(content, "TrainingConfigRankings"), "overall")
        ranked = members.texts(overall, "Rankings") or sorted(configs)
        wanted = next((name for name in ranked if name in configs), None)
    elif wanted not in configs:
        raise ValidationError(f"no training configuration {wanted!r}; the document has {', '.join(configs) or 'none'}")
    if wanted is None:
        return None, content
    names = members.texts(members.mapping(configs, wanted), "ComponentNames")
    return wanted, overlay(content, members.mapping(content, "TrainingConfigComponents"), names)
