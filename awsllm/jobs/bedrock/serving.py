"""How a custom model is called: by a deployment, which is paid by the token, or by provisioned throughput, by the hour.

Both are asked for once: the name and the client token follow from the model, and what is there is taken up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from awsllm.aws.iam import Arns, actions, statement
from awsllm.errors import AwsllmError, DeploymentError, ModelTimeoutError, RequestError
from awsllm.jobs.bedrock.kinds import BEDROCK
from awsllm.jumpstart import names
from awsllm.jumpstart.deploy.progress import Pace
from awsllm.jumpstart.deploy.resources import Clients, call, is_missing
from awsllm.types import JsonObject

Serving: TypeAlias = Literal["on-demand", "provisioned"]
_LONGEST = 4 * 3600.0  # seconds until it answers


@dataclass(frozen=True)
class _Served:
    """One way. ``ready`` and ``failed`` are words of its status."""

    noun: str
    name: str
    model: str
    create: str
    get: str
    identifier: str
    arn: str
    ready: str
    failed: str = "Failed"

    def request(self, name: str, arn: str, token: str, units: int) -> JsonObject:
        asked = {self.name: name, self.model: arn, "clientRequestToken": token}
        return {**asked, "modelUnits": units} if self.noun == "provisioned throughput" else asked


_WAYS: Mapping[Serving, _Served] = {
    "on-demand": _Served(
        "custom model deployment", "modelDeploymentName", "modelArn", "create_custom_model_deployment",
        "get_custom_model_deployment", "customModelDeploymentIdentifier", "customModelDeploymentArn", "Active",
    ),
    "provisioned": _Served(
        "provisioned throughput", "provisionedModelName", "modelId", "create_provisioned_model_throughput",
        "get_provisioned_model_throughput", "provisionedModelId", "provisionedModelArn", "InService",
    ),
}  # fmt: skip


def serve(clients: Clients, arn: str, name: str, way: Serving, *, units: int = 1, pace: Pace | None = None) -> str:
    """Have a custom model answer, and wait until it does. Returns the reference that calls take."""
    served = _WAYS[way]
    wanted = names.fitted(name, f"-{names.digest([arn, way], 8)}")
    described = _find(clients, served, wanted)
    if described is None:
        token = names.digest([arn, way, units], 32)
        try:
            call(clients, BEDROCK, served.create, **served.request(wanted, arn, token, units))
        except RequestError as error:
            if way == "on-demand":
                error.add_note("a model that has no deployments is served by deploy='provisioned', paid by the hour")
            raise
    return f"bedrock:{_wait(clients, served, wanted, pace or Pace(poll=15))}"


def _find(clients: Clients, served: _Served, name: str) -> JsonObject | None:
    try:
        return call(clients, BEDROCK, served.get, **{served.identifier: name})
    except AwsllmError as error:
        if is_missing(error):
            return None
        raise


def _wait(clients: Clients, served: _Served, name: str, pace: Pace) -> str:
    for _ in pace.ticks(_LONGEST):
        described = _find(clients, served, name)
        if described is not None and described["status"] == served.ready:
            return str(described[served.arn])
        if described is not None and described["status"] == served.failed:
            raise DeploymentError(f"the {served.noun} {name} failed: {described.get('failureMessage') or 'no reason'}")
    raise ModelTimeoutError(f"the {served.noun} {name} is not ready after {_LONGEST:g} seconds; it goes on")


def rights(arns: Arns, way: Serving) -> JsonObject:
    """What the caller needs of IAM."""
    if way == "on-demand":
        made = actions(BEDROCK, "CreateCustomModelDeployment", "GetCustomModelDeployment")
        kinds = ("custom-model-deployment/*", "custom-model/*")
    else:
        made = actions(BEDROCK, "CreateProvisionedModelThroughput", "GetProvisionedModelThroughput")
        kinds = ("provisioned-model/*", "custom-model/*")
    return statement("Serve", made, [arns.of(BEDROCK, kind) for kind in kinds])
