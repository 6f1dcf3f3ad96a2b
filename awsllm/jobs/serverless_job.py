"""A serverless customisation under way: its data put, its group made, its result served where that is wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from awsllm.errors import AccessDeniedError, AwsllmError, ConfigurationError, DeploymentError, ModelTimeoutError
from awsllm.jobs.bedrock import serving
from awsllm.jobs.bedrock.importing import IMPORT, plan_import
from awsllm.jobs.bedrock.kinds import BEDROCK
from awsllm.jobs.bedrock.roles import bedrock_role
from awsllm.jobs.bedrock.uploads import check_region, put
from awsllm.jobs.data.training import TrainingData
from awsllm.jobs.finetune import TRAINING
from awsllm.jobs.job import JobState, ServiceJob, follow, noting, start
from awsllm.jobs.served import (
    JumpStartLike,
    ServedBy,
    check_served,
    import_name,
    importing_role,
    is_nova,
    make_endpoint,
    serving_rights,
    with_rights,
)
from awsllm.jobs.serverless import ServerlessPlan, ServerlessRequest, plan_serverless
from awsllm.jobs.tuned import FineTunedModel
from awsllm.jumpstart import names
from awsllm.jumpstart.deploy.progress import Listener, Pace
from awsllm.jumpstart.deploy.resources import SAGEMAKER, Clients, call, is_busy
from awsllm.types import JsonObject

_MERGED = "checkpoints/hf_merged/"
"""Where the weights are under a package's URI (SageMaker SDK 3, ``BedrockModelBuilder._resolve_hf_model_path``)."""
_LONGEST = 4 * 3600.0  # seconds until Bedrock has taken a custom model


class ServerlessJob(ServiceJob[Any]):
    """Its result is a fine-tuned model; with ``served``, one that answers. ``host`` makes an endpoint of weights at an
    ``s3://`` prefix, and gives its reference."""

    def __init__(
        self,
        clients: Clients,
        name: str,
        on_progress: Listener | None = None,
        pace: Pace | None = None,
        *,
        served: ServedBy = False,
        host: Callable[[str], str] | None = None,
    ) -> None:
        super().__init__(TRAINING, clients, name, on_progress, pace)
        self._served, self._host = served, host

    def _kept(self) -> JsonObject:
        return {"tuned": "serverless", "deploy": self._served}

    def _read(self, end: JobState) -> FineTunedModel:
        if end.outcome != "completed":
            raise self.failure(end)
        described = end.description
        base = hub_base(described)
        package = str(described["OutputModelPackageArn"])
        weights = None if is_nova(base) else self._weights(package)
        tuned = FineTunedModel(
            name=end.name,
            base=f"sagemaker:{base}",
            where="sagemaker",
            artifacts=weights or package,
            metrics={one["MetricName"]: one["Value"] for one in described.get("FinalMetricDataList") or ()},
            seconds=described.get("TrainingTimeInSeconds"),
            serve=_how(end.name, weights),
        )
        if not self._served:
            return tuned
        with noting(self._trained()):
            return msgspec.structs.replace(tuned, reference=self._reference(tuned, package))

    def _weights(self, package: str) -> str:
        """Where the merged weights of the package lie."""
        described = call(self._clients, SAGEMAKER, "describe_model_package", ModelPackageName=package)
        container = described["InferenceSpecification"]["Containers"][0]
        return f"{str(container['ModelDataSource']['S3DataSource']['S3Uri']).rstrip('/')}/{_MERGED}"

    def _reference(self, tuned: FineTunedModel, package: str) -> str:
        self._reporter.tell("serve", tuned.name, "creating", str(self._served))
        if tuned.artifacts == package:
            way: Any = "provisioned" if self._served == "provisioned" else "on-demand"
            arn = self._custom_model(tuned.name, package)
            return serving.serve(self._clients, arn, tuned.name, way, pace=self._pace)
        if self._served == "bedrock":
            plan = plan_import(str(tuned.artifacts), _region(package), name=import_name(tuned.name))
            return str(start(IMPORT, plan, self._clients, pace=self._pace).result().reference)
        if self._host is None:
            raise ConfigurationError(f"nothing here can host {tuned.name}: {tuned.serve}")
        return self._host(str(tuned.artifacts))

    def _custom_model(self, name: str, package: str) -> str:
        """Bedrock's custom model of a package, once Bedrock has taken it. Returns its ARN."""
        source = {"modelPackageArnDataSource": {"modelPackageArn": package}}
        asked = {"modelName": name, "customModelDataSource": source, "roleArn": bedrock_role(None)}
        try:
            call(self._clients, BEDROCK, "create_custom_model", **asked, clientRequestToken=names.digest(package, 32))
        except AwsllmError as error:
            if not is_busy(error):
                raise
        for _ in self._pace.ticks(_LONGEST):
            described = call(self._clients, BEDROCK, "get_custom_model", modelIdentifier=name)
            if described.get("modelStatus") == "Active":
                return str(described["modelArn"])
            if described.get("modelStatus") == "Failed":
                raise DeploymentError(f"Bedrock cannot take {name}: {described.get('failureMessage') or 'no reason'}")
        raise ModelTimeoutError(f"Bedrock has not taken {name} after {_LONGEST:g} seconds; it goes on")


def hub_base(described: JsonObject) -> str:
    """The name of the model that a serverless customisation trains."""
    return names.hub_content(str(described["ServerlessJobConfig"]["BaseModelArn"]))


def _how(name: str, weights: str | None) -> str:
    if weights is None:
        return f"client.jobs.get({name!r}).deploy('on-demand') or deploy('provisioned') has Bedrock serve it"
    return f"client.jobs.get({name!r}).deploy() has an endpoint serve it, deploy('bedrock') imports it"


def _region(arn: str) -> str:
    return arn.split(":")[3]


def prepare_serverless(
    jumpstart: JumpStartLike, clients: Clients, model: str, data: TrainingData, options: dict[str, Any]
) -> tuple[ServerlessPlan, Callable[[], ServiceJob[Any]]]:
    """The plan, and what begins it. ``options`` are those of ``fine_tune``."""
    on_progress, served = options.pop("on_progress", None), options.pop("deploy")
    check_served(model, served)
    options["role"] = options.get("role") or jumpstart.role()
    given: Any = options
    document = jumpstart.get(model)
    plan = plan_serverless(document, data, given)
    job = {"name": plan.name, "output": options["output"], "role": options["role"]}
    rights = serving_rights(jumpstart, document, job, served)
    plan = msgspec.structs.replace(plan, permissions=with_rights(plan.permissions, rights))
    if served == "bedrock":
        needs, trust = importing_role(plan.region, options["output"])
        plan = msgspec.structs.replace(plan, import_role_permissions=needs, import_role_trust=trust)

    def host(weights: str) -> str:
        how = {"accept_eula": bool(options.get("accept_eula")), "role": options["role"]}
        return make_endpoint(jumpstart, model, plan.name, weights, how)

    def begin() -> ServiceJob[Any]:
        plan.check()
        check_region(clients, options["output"], plan.region)
        for uri, content in ServerlessRequest(document, data, given).files().items():
            put(clients, uri, content)
        _make_group(clients, plan.group)
        return follow(ServerlessJob(clients, plan.name, on_progress, served=served, host=host), plan)

    return plan, begin


_ABSENT = ("ValidationException", "ResourceNotFound")
"""How SageMaker refuses to describe what is not there."""
_TAKEN = ("ValidationException", "ConflictException", "ResourceInUse")
"""How it refuses to make what is there; the first says other things, too."""


def _make_group(clients: Clients, arn: str) -> None:
    """The group of the model's versions; SageMaker makes none by itself."""
    request: JsonObject = {"ModelPackageGroupName": arn.rpartition("/")[2]}
    if _has_group(clients, request):
        return
    try:
        call(clients, SAGEMAKER, "create_model_package_group", **request)
    except AwsllmError as error:
        # SageMaker has no code of its own for a name that is taken: it is looked at again, as far as it may be
        if error.code not in _TAKEN or _has_group(clients, request) is False:
            raise


def _has_group(clients: Clients, request: JsonObject) -> bool | None:
    """None where it may not be asked."""
    try:
        call(clients, SAGEMAKER, "describe_model_package_group", **request)
    except AccessDeniedError:
        return None
    except AwsllmError as error:
        if error.code not in _ABSENT:
            raise
        return False
    return True
