"""Serverless customisation: a model of SageMaker's hub and data to a model package, on machines that nobody chooses.

It is CreateTrainingJob with ``ServerlessJobConfig`` in the place of an image and instances. Channels, artefacts and the
words of hyperparameters are those that the SageMaker SDK 3 sends (``sagemaker.train``: ``sft_trainer``,
``common_utils.finetune_utils``; read 2026-11-27); the members are held against botocore's service model.

What comes of it are merged weights under the model package's URI. An open model is then served by an endpoint, or
imported into Bedrock; one of Amazon's goes to Bedrock as a custom model of the package (docs.aws.amazon.com/sagemaker,
customizing-models-deployment). Not proved against AWS.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypedDict

from awsllm.aws import iam
from awsllm.aws.iam import Arns, actions, statement
from awsllm.errors import UnsupportedError, ValidationError
from awsllm.jobs.access import role_permissions, role_trust
from awsllm.jobs.bedrock.uploads import place_of
from awsllm.jobs.data.statistics import statistics
from awsllm.jobs.data.training import TrainingData
from awsllm.jobs.data.written import Technique, serverless_lines
from awsllm.jobs.finetune import DIGEST, TRAINING
from awsllm.jobs.job import JobPlan
from awsllm.jobs.sagemaker import check_options, check_s3
from awsllm.jumpstart import names, tags
from awsllm.jumpstart.hub import members
from awsllm.jumpstart.hub.document import ModelDocument
from awsllm.jumpstart.plan.plan import Cost, licence_error
from awsllm.types import JsonObject
from awsllm.wire.endpoint.detect import PUBLIC_HUB

TECHNIQUES: tuple[Technique, ...] = ("SFT", "DPO", "RLVR", "RLAIF")
_COMMON = {"epochs": "max_epochs", "learning_rate": "learning_rate", "batch_size": "global_batch_size"}
_FORMS: Mapping[Technique, tuple[Any, ...]] = {
    "SFT": ("chat",), "DPO": ("preference",), "RLVR": ("prompt", "chat"), "RLAIF": ("prompt", "chat"),
}  # fmt: skip
_VALUE = re.compile(r"[a-zA-Z0-9/_.:,\-\s'\"\[\]]*")  # what a hyperparameter may be (the SDK's own check)
_EVALUATOR = re.compile(r"arn:[^:]+:sagemaker:[^:]+:(\d{12}|aws):hub-content/[^/]+/JsonDoc/.+")
_THOUSAND = 1024


class ServerlessOptions(TypedDict, total=False):
    """What ``plan_serverless`` takes beside document and data.

    ``technique`` is one of ``TECHNIQUES``, in small letters too; it follows from the data where it is not said.
    ``method`` "full" moves all weights. ``model_package_group`` (a name or an ARN) is where the model becomes a
    version, ``model_package`` the ARN of one to go on with. ``grader`` is the ARN of an evaluator of the hub.
    ``length`` is the most tokens of an example, whole thousands (of 1024). ``mlflow`` is the ARN of where metrics go.
    """

    output: str
    role: str
    technique: str | None
    method: str | None
    validation: TrainingData | None
    evaluate: float
    epochs: float | None
    learning_rate: float | None
    batch_size: int | None
    hyperparameters: Mapping[str, Any] | None
    model_package_group: str | None
    model_package: str | None
    grader: str | None
    length: int
    mlflow: str | None
    name: str | None
    tags: Mapping[str, str] | None
    kms: str | None
    vpc: JsonObject | None
    max_runtime: int | None
    accept_eula: bool
    attempt: int


class ServerlessPlan(JobPlan, frozen=True, kw_only=True):
    """``request`` is CreateTrainingJob's. ``group`` is the model package group's ARN, which is made if it is not there.
    ``role_permissions`` is what the job's role needs of IAM, ``role_trust`` who may be it. ``tokens`` are reckoned. A
    gated model can be planned without acceptance. Where Bedrock imports the result it does so as another role,
    ``AWSLLM_BEDROCK_ROLE``: ``import_role_permissions`` and ``import_role_trust`` are that one's."""

    model_id: str
    technique: Technique
    group: str
    role_permissions: JsonObject
    role_trust: JsonObject
    tokens: int
    import_role_permissions: JsonObject | None = None
    import_role_trust: JsonObject | None = None
    eula_url: str | None = None
    eula_required: bool = False
    eula_accepted: bool = False

    def check(self) -> None:
        """Raises ``EulaNotAcceptedError`` for a gated model planned without acceptance."""
        if self.eula_required and not self.eula_accepted:
            raise licence_error(self.model_id, [self.eula_url] if self.eula_url else [])


def plan_serverless(document: ModelDocument, data: TrainingData, options: ServerlessOptions) -> ServerlessPlan:
    """Raises ``ValidationError`` or ``UnsupportedError`` for what SageMaker would not take."""
    building = ServerlessRequest(document, data, options)
    request, attempt = building.body(), options.get("attempt", 1)
    digest = names.digest([request, attempt], DIGEST)
    stem = f"{names.slug(document.model_id, 40)}-{building.technique.lower()}"
    name = names.check(options.get("name") or names.job_name(stem, digest, attempt), "the training job's name")
    tagged = {
        tags.PLAN_TAG: digest,
        **tags.of_model(document.model_id, document.version),
        **(options.get("tags") or {}),
    }
    tags.check(tagged)
    request |= {"TrainingJobName": name, "Tags": tags.as_list(tagged)}
    arns = Arns(document.region, iam.account_of(options["role"]))
    allowed = [*TRAINING.rights(name, arns), iam.pass_role(options["role"]), *building.rights(arns)]
    return ServerlessPlan(
        region=document.region,
        name=name,
        request=request,
        digest=digest,
        cost=building.cost(),
        permissions=iam.policy(*allowed),
        warnings=tuple(building.warnings()),
        model_id=document.model_id,
        technique=building.technique,
        group=building.group,
        role_permissions=building.role_permissions(arns),
        role_trust=role_trust(arns),
        tokens=building.tokens,
        eula_url=document.eula_url,
        eula_required=document.gated,
        eula_accepted=bool(options.get("accept_eula")),
    )


def package_rights(arns: Arns, group: str, files: Iterable[str], output: str) -> Iterator[JsonObject]:
    """What the caller needs beside those of a training job: to have the group, to look at its versions (``group`` is
    an ARN), and to put ``files`` there."""
    made = actions("sagemaker", "CreateModelPackageGroup", "DescribeModelPackageGroup", "DescribeModelPackage")
    yield statement("Packages", made, [group, _versions(arns, group)])
    yield statement("Upload", ["s3:PutObject", "s3:GetObject"], [arns.objects(uri) for uri in files])
    yield statement("Bucket", "s3:ListBucket", arns.bucket(output))


def package_making(arns: Arns, group: str, *, judged: bool = False) -> Iterator[JsonObject]:
    """What the job's role needs beside those of a training job's: the base in the hub, a version of the group, and
    where answers are ``judged``, what judges them."""
    making = actions("sagemaker", "CreateModelPackage", "DescribeModelPackage")
    yield statement("Hub", actions("sagemaker", "DescribeHub", "DescribeHubContent"), "*")
    yield statement("Package", making, [group, _versions(arns, group)])
    if judged:
        yield statement("Judge", ["lambda:InvokeFunction", "bedrock:InvokeModel"], "*")


def _versions(arns: Arns, group: str) -> str:
    return arns.of("sagemaker", f"model-package/{group.rpartition('/')[2]}/*")


def technique_of(data: TrainingData, options: ServerlessOptions) -> Technique:
    """The one that is said, or that the data are for. Raises ``ValidationError`` for data of another form."""
    answers = "DPO" if data.form == "preference" or options.get("method") == "dpo" else "SFT"
    wanted = options.get("technique") or ("RLVR" if options.get("grader") else answers)
    found = next((one for one in TECHNIQUES if one == wanted.upper()), None)
    if found is None:
        raise ValidationError(f"technique={wanted!r} is none of {', '.join(TECHNIQUES)}")
    data.check_form(*_FORMS[found], what=f"technique={found!r}")
    return found


class ServerlessRequest:
    """One document, one data set, one caller's options: the parts of the request."""

    def __init__(self, document: ModelDocument, data: TrainingData, options: ServerlessOptions) -> None:
        check_options("serverless customisation", options, ServerlessOptions, ("output", "role"))
        iam.check_role(options["role"])
        check_s3("output", options["output"])
        self.document, self.options = document, options
        self.technique = technique_of(data, options)
        self.nova = "nova" in document.model_id.lower()
        validation = options.get("validation")
        self.learned, self.held_out = (data, validation) if validation else data.split(options.get("evaluate") or 0.0)
        self.tokens = statistics(self.learned).tokens
        self._check()

    @property
    def group(self) -> str:
        wanted = self.options.get("model_package_group") or f"awsllm-{names.slug(self.document.model_id, 50)}"
        if wanted.startswith("arn:"):
            return wanted
        account = iam.account_of(self.options["role"])
        return Arns(self.document.region, account).of(
            "sagemaker", f"model-package-group/{names.check(wanted, 'the group')}"
        )

    def body(self) -> JsonObject:
        """Without the job's name and tags."""
        options = self.options
        files = list(self.files())
        request: JsonObject = {
            "RoleArn": options["role"],
            "ServerlessJobConfig": self._config(),
            "InputDataConfig": [
                self._channel(name, uri) for name, uri in zip(("train", "validation"), files, strict=False)
            ],
            "OutputDataConfig": {
                "S3OutputPath": options["output"],
                **({"KmsKeyId": key} if (key := options.get("kms")) else {}),
            },
            "ModelPackageConfig": {
                "ModelPackageGroupArn": self.group,
                **({"SourceModelPackageArn": arn} if (arn := options.get("model_package")) else {}),
            },
        }
        longest = options.get("max_runtime")
        optional = {
            "HyperParameters": self._hyperparameters(),
            "MlflowConfig": {"MlflowResourceArn": arn} if (arn := options.get("mlflow")) else None,
            "StoppingCondition": {"MaxRuntimeInSeconds": longest} if longest else None,
            "VpcConfig": options.get("vpc"),
        }
        return {**request, **{name: value for name, value in optional.items() if value}}

    def files(self) -> dict[str, bytes]:
        """What goes to S3, by its URI: what is learned, then what is held out."""
        found: dict[str, bytes] = {}
        for name, data in (("train.jsonl", self.learned), ("validation.jsonl", self.held_out)):
            if data is not None:
                content = serverless_lines(data, self.technique, nova=self.nova)
                found[place_of(self.options["output"], content, name)] = content
        return found

    def cost(self) -> Cost:
        epochs = f" x {self.options['epochs']:g} epochs" if self.options.get("epochs") else " an epoch"
        paid = "by the token" if self.technique == "SFT" else "by the hour"
        return Cost(
            per_hour=None, note=f"unknown: about {self.tokens} tokens{epochs}; SageMaker bills {self.technique} {paid}"
        )

    def rights(self, arns: Arns) -> Iterator[JsonObject]:
        """What the caller needs beside those of a training job."""
        return package_rights(arns, self.group, self.files(), self.options["output"])

    def role_permissions(self, arns: Arns) -> JsonObject:
        """What the job's role needs: its data and output, the base of the hub, its package."""
        found = role_permissions(self.body(), arns, TRAINING.group)
        more = package_making(arns, self.group, judged=self.technique in ("RLVR", "RLAIF"))
        return {**found, "Statement": [*found["Statement"], *more]}

    def warnings(self) -> Iterator[str]:
        if not self._recipes():
            yield f"the hub's document of {self.document.model_id} names no recipes: SageMaker may not customise it"
        if self.document.gated and not self.options.get("accept_eula"):
            yield f"gated: read {self.document.eula_url or 'the licence'} and plan with accept_eula=True to run this"
        if self.technique in ("RLVR", "RLAIF") and len(self.learned) < 128:
            yield "recipes of reinforcement are seen to take batches of 128 examples and more: give as many"

    # --- parts ---

    def _config(self) -> JsonObject:
        options = self.options
        config: JsonObject = {
            "BaseModelArn": self._base(),
            "JobType": "FineTuning",
            "CustomizationTechnique": self.technique,
        }
        length = options.get("length")
        optional = {
            "Peft": None if options.get("method") == "full" else "LORA",
            "AcceptEula": True if options.get("accept_eula") else None,
            "EvaluatorArn": options.get("grader"),
            "SequenceLength": f"{length // _THOUSAND}K" if length else None,
        }
        return {**config, **{name: value for name, value in optional.items() if value}}

    def _base(self) -> str:
        """The model's ARN in the public hub."""
        if self.document.hub_content_arn and self.document.source == "hub":
            return self.document.hub_content_arn
        partition = iam.partition(self.document.region)
        where = f"arn:{partition}:sagemaker:{self.document.region}:aws:hub-content"
        return f"{where}/{PUBLIC_HUB}/Model/{self.document.model_id}/{self.document.version}"

    def _channel(self, name: str, uri: str) -> JsonObject:
        kind = "Converse" if self.nova and self.technique in ("SFT", "DPO") else "S3Prefix"
        source = {"S3DataType": kind, "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
        return {"ChannelName": name, "DataSource": {"S3DataSource": source}}

    def _hyperparameters(self) -> dict[str, str]:
        given = {_COMMON[name]: self.options.get(name) for name in _COMMON} | dict(
            self.options.get("hyperparameters") or {}
        )
        found = {name: members.as_text(_whole(value)) for name, value in given.items() if value is not None}
        for name, value in found.items():
            if not _VALUE.fullmatch(value):
                raise ValidationError(f"the hyperparameter {name} has characters that SageMaker does not take")
        return found

    def _recipes(self) -> list[JsonObject]:
        return list(members.rows(self.document.content, "RecipeCollection"))

    def _check(self) -> None:
        technique, grader, length = self.technique, self.options.get("grader"), self.options.get("length")
        known = {members.text(one, "CustomizationTechnique") for one in self._recipes()} - {None}
        if known and technique not in known:
            has = ", ".join(sorted(map(str, known)))
            raise UnsupportedError(f"{self.document.model_id} has no recipe for {technique}; it has for {has}")
        if bool(grader) != (technique in ("RLVR", "RLAIF")):
            raise ValidationError("grader= belongs to technique='RLVR' or 'RLAIF', and that to it")
        if grader and not _EVALUATOR.fullmatch(grader):
            raise ValidationError(
                "grader= is the ARN of an evaluator of SageMaker's hub (…:hub-content/HUB/JsonDoc/NAME/VERSION), which "
                "names the function or the prompt that judges"
            )
        if length is not None and (length < _THOUSAND or length % _THOUSAND):
            raise ValidationError(
                f"length={length} is of whole thousands in SageMaker: {_THOUSAND}, {2 * _THOUSAND}, …"
            )


def _whole(value: Any) -> Any:
    """3 for 3.0: recipes want whole numbers as such."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
