"""What a plan needs of IAM: the policy document of whoever applies, calls and deletes it. Not the execution role's.

Names in the ARNs of SageMaker are in lower case. Where IAM knows no narrower resource, the statement says ``*``. Held
against the requests of every plan in tests; never tried in a real account.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from awsllm.aws import iam
from awsllm.aws.iam import Arns, actions, statement
from awsllm.jumpstart import names
from awsllm.jumpstart.hub.spec import CONTENT_BUCKET
from awsllm.jumpstart.plan import scaling
from awsllm.jumpstart.plan.plan import Step
from awsllm.types import JsonObject
from awsllm.wire.endpoint.detect import PUBLIC_HUB

_SCALING_SERVICE = "sagemaker.application-autoscaling.amazonaws.com"
_SCALING_ROLE = f"aws-service-role/{_SCALING_SERVICE}/AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint"
_CREATING = {
    "CreateModel": ("model", ("CreateModel", "DescribeModel")),
    "CreateEndpointConfig": ("endpoint-config", ("CreateEndpointConfig", "DescribeEndpointConfig")),
    "CreateEndpoint": (
        "endpoint",
        ("CreateEndpoint", "UpdateEndpoint", "UpdateEndpointWeightsAndCapacities", "DescribeEndpoint"),
    ),
    "CreateInferenceComponent": (
        "inference-component",
        (
            "CreateInferenceComponent",
            "UpdateInferenceComponent",
            "UpdateInferenceComponentRuntimeConfig",
            "DescribeInferenceComponent",
        ),
    ),
}
_DELETING = {
    "model": "DeleteModel",
    "endpoint-config": "DeleteEndpointConfig",
    "endpoint": "DeleteEndpoint",
    "inference-component": "DeleteInferenceComponent",
}


def policy(
    plan_steps: Sequence[Step],
    *,
    endpoint: str,
    arns: Arns,
    role: str | None,
    kms: str | None = None,
    output: str | None = None,
    hub: str | None = None,
) -> JsonObject:
    """The IAM policy document. Without ``role`` its ARN has ``*`` in the name's place; ``output`` is where an
    asynchronous endpoint answers; ``hub`` is the ARN of a private hub's content."""
    return iam.policy(
        *_lifecycle(plan_steps, endpoint, arns),
        *_invocation(plan_steps, arns, output),
        statement("Find", _FINDING, "*"),
        statement("Logs", _LOGS, [arns.log_group(group) for group in _log_groups(plan_steps)]),
        iam.pass_role(role or arns.iam("role/*")),
        *reading_catalogue(arns, hub),
        *_scaling(plan_steps, arns),
        *iam.use_key(kms, ["DescribeKey"], arns),
    )


_FINDING = [
    *actions(scaling.SERVICE, "DescribeScalableTargets", "DescribeScalingPolicies", "DescribeScheduledActions"),
    "cloudwatch:DescribeAlarms",
    *actions("sagemaker", "ListEndpointConfigs", "ListEndpoints", "ListInferenceComponents", "ListModels"),
    "servicequotas:ListServiceQuotas",
]
_LOGS = actions("logs", "DescribeLogStreams", "FilterLogEvents", "GetLogEvents")
_SCALING = (
    "DeleteScalingPolicy",
    "DeleteScheduledAction",
    "DeregisterScalableTarget",
    "ListTagsForResource",
    "PutScalingPolicy",
    "PutScheduledAction",
    "RegisterScalableTarget",
    "TagResource",
    "UntagResource",
)
_ALARMS = ("DeleteAlarms", "ListTagsForResource", "PutMetricAlarm", "TagResource", "UntagResource")


def _sagemaker_arn(arns: Arns, kind: str, name: str) -> str:
    return arns.of("sagemaker", f"{kind}/{name.lower()}")


def _resources(plan_steps: Sequence[Step], endpoint: str, arns: Arns) -> dict[str, list[str]]:
    """ARNs by kind. Models and configurations of later versions of the plan are meant too, hence the ``-*``."""
    found: dict[str, list[str]] = {}
    for step in plan_steps:
        if step.operation in _CREATING:
            kind = _CREATING[step.operation][0]
            digested = kind in {"model", "endpoint-config"}
            name = f"{names.stem(endpoint)}-*" if digested else step.resource
            found.setdefault(kind, [])
            arn = _sagemaker_arn(arns, kind, name)
            if arn not in found[kind]:
                found[kind].append(arn)
    return found


def _lifecycle(plan_steps: Sequence[Step], endpoint: str, arns: Arns) -> Iterator[JsonObject]:
    resources = _resources(plan_steps, endpoint, arns)
    every = [arn for group in resources.values() for arn in group]
    used = dict.fromkeys(step.operation for step in plan_steps if step.operation in _CREATING)
    creating = [action for operation in used for action in _CREATING[operation][1]]
    yield statement("Deploy", actions("sagemaker", *creating, "AddTags", "ListTags"), every)
    yield statement("Untag", "sagemaker:DeleteTags", every)
    yield statement("Delete", actions("sagemaker", *(_DELETING[kind] for kind in resources)), every)


def _invocation(plan_steps: Sequence[Step], arns: Arns, output: str | None) -> Iterator[JsonObject]:
    kinds = {"CreateEndpoint": "endpoint", "CreateInferenceComponent": "inference-component"}
    called = [
        _sagemaker_arn(arns, kinds[step.operation], step.resource) for step in plan_steps if step.operation in kinds
    ]
    if output is None:
        yield statement("Invoke", actions("sagemaker", "InvokeEndpoint", "InvokeEndpointWithResponseStream"), called)
        return
    yield statement("Invoke", "sagemaker:InvokeEndpointAsync", called)
    yield statement("Answers", "s3:GetObject", arns.folder(output))
    yield statement("AnswersListed", "s3:ListBucket", arns.bucket(output))


def _log_groups(plan_steps: Sequence[Step]) -> Iterator[str]:
    groups = {"CreateEndpoint": names.endpoint_logs, "CreateInferenceComponent": names.component_logs}
    return (groups[step.operation](step.resource) for step in plan_steps if step.operation in groups)


def reading_catalogue(arns: Arns, hub: str | None = None) -> Iterator[JsonObject]:
    """The public hub, JumpStart's own cache, and the private hub whose content's ARN is given."""
    public = Arns(arns.region, "aws")
    resources = [public.of("sagemaker", f"hub/{PUBLIC_HUB}"), public.of("sagemaker", f"hub-content/{PUBLIC_HUB}/*")]
    if hub is not None:
        resources += [hub, hub.replace(":hub-content/", ":hub/").split("/")[0] + "/" + hub.split("/")[1]]
    reading = actions("sagemaker", "DescribeHubContent", "ListHubContentVersions", "ListHubContents")
    yield statement("Hub", reading, resources)
    yield statement("Catalogue", "s3:GetObject", arns.folder(f"s3://{CONTENT_BUCKET}{arns.region}"))


def _scaling(plan_steps: Sequence[Step], arns: Arns) -> Iterator[JsonObject]:
    if not any(step.service == scaling.SERVICE for step in plan_steps):
        return
    targets = arns.of(scaling.SERVICE, "scalable-target/*")
    yield statement("Scale", actions(scaling.SERVICE, *_SCALING), targets)
    alarms = [step.resource for step in plan_steps if step.operation == "PutMetricAlarm"]
    watched = [arns.of("cloudwatch", f"alarm:{name}") for name in ["TargetTracking-*", *alarms]]
    yield statement("Alarms", actions("cloudwatch", *_ALARMS), watched)
    condition = {"StringLike": {"iam:AWSServiceName": _SCALING_SERVICE}}
    yield statement("ScalingRole", "iam:CreateServiceLinkedRole", arns.iam(f"role/{_SCALING_ROLE}"), condition)
