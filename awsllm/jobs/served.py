"""How what SageMaker trained is served: by an endpoint that has the training job's name, or by Bedrock. What that takes
of IAM is known before the training is paid for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, Protocol, TypeAlias

from awsllm.aws import iam
from awsllm.aws.iam import Arns, statement
from awsllm.errors import ValidationError
from awsllm.jobs.bedrock import roles, serving
from awsllm.jobs.bedrock.importing import plan_import
from awsllm.jobs.finetune import TrainingPlan
from awsllm.jumpstart import names
from awsllm.jumpstart.hub.document import ModelDocument
from awsllm.jumpstart.plan.permissions import reading_catalogue
from awsllm.types import JsonObject

ServedBy: TypeAlias = Literal["bedrock", "on-demand", "provisioned"] | bool
_PLACEHOLDER = "weights/"  # under the job's output: rights to an endpoint do not depend on what it serves


class JumpStartLike(Protocol):
    """What is needed of ``client.jumpstart``."""

    @property
    def plan_fine_tuning(self) -> Callable[..., TrainingPlan]: ...

    @property
    def plan(self) -> Callable[..., Any]: ...

    @property
    def deploy(self) -> Callable[..., Any]: ...

    @property
    def get(self) -> Callable[..., ModelDocument]: ...

    @property
    def role(self) -> Callable[[], str]: ...


def is_nova(model: str) -> bool:
    """Whether it is one of Amazon's own, whose weights are not handed out: they are served by Bedrock alone."""
    return "nova" in model.lower()


def check_served(model: str, served: ServedBy) -> None:
    """Of a serverless customisation. Raises ``ValidationError``."""
    wanted: Mapping[bool, tuple[Any, ...]] = {
        True: (False, "on-demand", "provisioned"),
        False: (True, False, "bedrock"),
    }
    if served not in wanted[is_nova(model)]:
        known = ", ".join(map(repr, wanted[is_nova(model)]))
        raise ValidationError(f"deploy={served!r} is no way to serve {model}: it is one of {known}")


def import_name(job: str) -> str:
    """Of what Bedrock imports of a job."""
    return names.fitted(job, "-import")


def make_endpoint(jumpstart: JumpStartLike, model: str, job: str, weights: str, how: Mapping[str, Any]) -> str:
    """An endpoint of a job's weights, and its reference. ``how`` are ``accept_eula`` and ``role``."""
    return str(jumpstart.deploy(model, name=job, model_data=weights, **how).reference)


def serving_rights(
    jumpstart: JumpStartLike, document: ModelDocument, job: Mapping[str, Any], way: ServedBy
) -> Iterator[JsonObject]:
    """What the caller of ``fine_tune`` needs beside the training: to read the hub, and to have the result served.
    ``job`` are its ``name``, ``output`` and ``role``. Raises what keeps the model from being served that way."""
    output = f"{str(job['output']).rstrip('/')}/{_PLACEHOLDER}"
    arns = Arns(document.region, iam.account_of(job["role"]))
    match way:
        case False:
            yield from reading_catalogue(arns)
        case True:
            plan = jumpstart.plan(document.model_id, name=job["name"], model_data=output, role=job["role"])
            yield from plan.permissions["Statement"]
        case "bedrock":
            yield from reading_catalogue(arns)
            yield from plan_import(output, document.region, name=import_name(job["name"])).permissions["Statement"]
        case _:
            yield from reading_catalogue(arns)
            yield statement("TakeModel", "bedrock:CreateCustomModel", "*")
            yield statement("FollowModel", "bedrock:GetCustomModel", arns.of("bedrock", "custom-model/*"))
            yield roles.handing_over(roles.bedrock_role(None))
            yield from serving.rights(arns, way)


def importing_role(region: str, output: str) -> tuple[JsonObject, JsonObject]:
    """What the role needs as which Bedrock imports what a job wrote under ``output``, and who may be it."""
    arns = Arns(region, iam.account_of(roles.bedrock_role(None)))
    return roles.role_rights(arns, [output.rstrip("/") + "/"], []), roles.trust(arns, "model-import-job")


def with_rights(policy: JsonObject, more: Iterable[JsonObject]) -> JsonObject:
    """A policy with further statements, each under a name of its own."""
    found = list(policy["Statement"])
    for one in more:
        if one not in found:
            taken = {other["Sid"] for other in found}
            found.append({**one, "Sid": f"Serve{one['Sid']}"} if one["Sid"] in taken else one)
    return {**policy, "Statement": found}
