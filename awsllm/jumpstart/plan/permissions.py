"""What a plan needs of IAM: the policy document of whoever applies, calls and deletes it. Not the execution role's.

Names in the ARNs of SageMaker are in lower case. Where IAM knows no narrower resource, the statement says ``*``. Held
against the requests of every plan in tests; never tried in a real account.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from awsllm.jumpstart import names
from awsllm.jumpstart.plan.plan import Step
from awsllm.types import JsonObject

_SCALING_SERVICE = "sagemaker.application-autoscaling.amazonaws.com"
_SCALING_ROLE = f"aws-service-role/{_SCALING_SERVICE}/AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint"
_PARTITIONS = {"cn-": "aws-cn", "us-gov-": "aws-us-gov", "us-isob-": "aws-iso-b", "us-iso-": "aws-iso"}
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
    region: str,
    account: str | None,
    role: str | None,
    kms: str | None = None,
    output: str | None = None,
    hub: str | None = None,
) -> JsonObject:
    """The IAM policy document. Without ``account`` or ``role`` its ARNs have ``*`` in their place; ``output`` is where
    an asynchronous endpoint answers; ``hub`` is the ARN of a private hub's content."""
    arns = _Arns(region, account or "*")
    statements = [
        *_lifecycle(plan_steps, endpoint, arns),
        *_invocation(plan_steps, arns, output),
        _statement("Find", _FINDING, ["*"]),
        _statement("Logs", _LOGS, arns.logs(_endpoint_logs(plan_steps))),
        _pass_role(role or arns.iam("role/*")),
        *_catalogue(region, arns, hub),
        *_scaling(plan_steps, arns),
        *_key(kms, arns),
    ]
    return {"Version": "2012-10-17", "Statement": statements}


_FINDING = [
    "application-autoscaling:DescribeScalableTargets",
    "application-autoscaling:DescribeScalingPolicies",
    "application-autoscaling:DescribeScheduledActions",
    "cloudwatch:DescribeAlarms",
    "sagemaker:ListEndpointConfigs",
    "sagemaker:ListEndpoints",
    "sagemaker:ListInferenceComponents",
    "sagemaker:ListModels",
    "servicequotas:ListServiceQuotas",
]

_LOGS = ["logs:DescribeLogStreams", "logs:FilterLogEvents", "logs:GetLogEvents"]

_SCALING = (
    "DeleteScalingPolicy",
    "DeleteScheduledAction",
    "DeregisterScalableTarget",
    "ListTagsForResource",
    "PutScalingPolicy",
    "PutScheduledAction",
    "RegisterScalableTarget",
    "TagResource",
)


class _Arns:
    def __init__(self, region: str, account: str) -> None:
        self.partition = next((name for prefix, name in _PARTITIONS.items() if region.startswith(prefix)), "aws")
        self._region, self._account = region, account

    def of(self, service: str, resource: str) -> str:
        return f"arn:{self.partition}:{service}:{self._region}:{self._account}:{resource}"

    def sagemaker(self, kind: str, name: str) -> str:
        return self.of("sagemaker", f"{kind}/{name.lower()}")

    def iam(self, resource: str) -> str:
        return f"arn:{self.partition}:iam::{self._account}:{resource}"

    def logs(self, groups: Iterable[str]) -> list[str]:
        return [self.of("logs", f"log-group:{group}:*") for group in groups]


def _statement(
    sid: str, actions: Sequence[str], resources: Sequence[str], condition: JsonObject | None = None
) -> JsonObject:
    statement: JsonObject = {
        "Sid": sid,
        "Effect": "Allow",
        "Action": sorted(actions),
        "Resource": sorted(resources),
    }
    return {**statement, "Condition": condition} if condition else statement


def _resources(plan_steps: Sequence[Step], endpoint: str, arns: _Arns) -> dict[str, list[str]]:
    """ARNs by kind. Models and configurations of later versions of the plan are meant too, hence the ``-*``."""
    found: dict[str, list[str]] = {}
    for step in plan_steps:
        if step.operation in _CREATING:
            kind = _CREATING[step.operation][0]
            digested = kind in {"model", "endpoint-config"}
            name = f"{names.stem(endpoint)}-*" if digested else step.resource
            found.setdefault(kind, [])
            arn = arns.sagemaker(kind, name)
            if arn not in found[kind]:
                found[kind].append(arn)
    return found


def _lifecycle(plan_steps: Sequence[Step], endpoint: str, arns: _Arns) -> Iterator[JsonObject]:
    resources = _resources(plan_steps, endpoint, arns)
    every = [arn for group in resources.values() for arn in group]
    used = dict.fromkeys(step.operation for step in plan_steps if step.operation in _CREATING)
    creating = [f"sagemaker:{action}" for operation in used for action in _CREATING[operation][1]]
    yield _statement("Deploy", [*creating, "sagemaker:AddTags", "sagemaker:ListTags"], every)
    lasting = [arn for kind in ("endpoint", "inference-component") for arn in resources.get(kind, [])]
    yield _statement("Untag", ["sagemaker:DeleteTags"], lasting)
    yield _statement("Delete", [f"sagemaker:{_DELETING[kind]}" for kind in resources], every)


def _invocation(plan_steps: Sequence[Step], arns: _Arns, output: str | None) -> Iterator[JsonObject]:
    kinds = {"CreateEndpoint": "endpoint", "CreateInferenceComponent": "inference-component"}
    called = [arns.sagemaker(kinds[step.operation], step.resource) for step in plan_steps if step.operation in kinds]
    if output is None:
        actions = ["sagemaker:InvokeEndpoint", "sagemaker:InvokeEndpointWithResponseStream"]
        yield _statement("Invoke", actions, called)
        return
    yield _statement("Invoke", ["sagemaker:InvokeEndpointAsync"], called)
    bucket, _, prefix = output.removeprefix("s3://").partition("/")
    objects = f"arn:{arns.partition}:s3:::{bucket}/{prefix.rstrip('/') + '/' if prefix else ''}*"
    yield _statement("Answers", ["s3:GetObject"], [objects])
    yield _statement("AnswersListed", ["s3:ListBucket"], [f"arn:{arns.partition}:s3:::{bucket}"])


def _endpoint_logs(plan_steps: Sequence[Step]) -> Iterator[str]:
    groups = {"CreateEndpoint": "Endpoints", "CreateInferenceComponent": "InferenceComponents"}
    for step in plan_steps:
        if step.operation in groups:
            yield f"/aws/sagemaker/{groups[step.operation]}/{step.resource}"


def _pass_role(role: str) -> JsonObject:
    condition = {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}
    return _statement("PassExecutionRole", ["iam:PassRole"], [role], condition)


def _catalogue(region: str, arns: _Arns, hub: str | None) -> Iterator[JsonObject]:
    public = f"arn:{arns.partition}:sagemaker:{region}:aws:"
    resources = [f"{public}hub/SageMakerPublicHub", f"{public}hub-content/SageMakerPublicHub/*"]
    if hub is not None:
        resources += [hub, hub.replace(":hub-content/", ":hub/").split("/")[0] + "/" + hub.split("/")[1]]
    actions = ["sagemaker:DescribeHubContent", "sagemaker:ListHubContentVersions", "sagemaker:ListHubContents"]
    yield _statement("Hub", actions, resources)
    objects = f"arn:{arns.partition}:s3:::jumpstart-cache-prod-{region}/*"
    yield _statement("Catalogue", ["s3:GetObject"], [objects])


def _scaling(plan_steps: Sequence[Step], arns: _Arns) -> Iterator[JsonObject]:
    if not any(step.service == "application-autoscaling" for step in plan_steps):
        return
    targets = arns.of("application-autoscaling", "scalable-target/*")
    yield _statement("Scale", [f"application-autoscaling:{action}" for action in _SCALING], [targets])
    alarms = [step.resource for step in plan_steps if step.operation == "PutMetricAlarm"]
    watched = [arns.of("cloudwatch", f"alarm:{name}") for name in ["TargetTracking-*", *alarms]]
    yield _statement(
        "Alarms", ["cloudwatch:DeleteAlarms", "cloudwatch:PutMetricAlarm", "cloudwatch:TagResource"], watched
    )
    condition = {"StringLike": {"iam:AWSServiceName": _SCALING_SERVICE}}
    yield _statement("ScalingRole", ["iam:CreateServiceLinkedRole"], [arns.iam(f"role/{_SCALING_ROLE}")], condition)


def _key(kms: str | None, arns: _Arns) -> Iterator[JsonObject]:
    """The key itself; of an alias, whatever key it stands for: IAM takes no alias as a resource of these actions."""
    if kms is None:
        return
    found = kms if kms.startswith("arn:") else arns.of("kms", kms if kms.startswith("alias/") else f"key/{kms}")
    base, _, alias = found.partition(":alias/")
    key = f"{base}:key/*" if alias else found
    named: JsonObject = {"ForAnyValue:StringEquals": {"kms:ResourceAliases": f"alias/{alias}"}} if alias else {}
    yield _statement("Key", ["kms:DescribeKey"], [key], named)
    granted = {**named, "Bool": {"kms:GrantIsForAWSResource": "true"}}
    yield _statement("KeyGrant", ["kms:CreateGrant"], [key], granted)
