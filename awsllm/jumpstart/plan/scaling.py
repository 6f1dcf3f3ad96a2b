"""Autoscaling as requests: the scalable target, what it follows, how it wakes from zero, and its schedules.

Target tracking scales in to zero but never out of it, so whatever may go to zero gets a second policy: a step on an
alarm that the first request without capacity sets off (public documentation of SageMaker, 2024-2026).

What scales is one of four kinds: ``component`` (copies), ``variant`` and ``asynchronous`` (instances), ``serverless``
(provisioned concurrency). The tables below hold what differs.
"""

from __future__ import annotations

from collections.abc import Iterator

from awsllm.jumpstart.plan.options import Autoscaling, Schedule
from awsllm.jumpstart.plan.plan import Step
from awsllm.jumpstart.plan.requests import lowest
from awsllm.types import JsonObject, Value

SERVICE = "application-autoscaling"
NAMESPACE = "AWS/SageMaker"
DIMENSIONS = {
    "component": "sagemaker:inference-component:DesiredCopyCount",
    "variant": "sagemaker:variant:DesiredInstanceCount",
    "asynchronous": "sagemaker:variant:DesiredInstanceCount",
    "serverless": "sagemaker:variant:DesiredProvisionedConcurrency",
}
# The predefined metric of a kind and the caller's word for it (botocore's service model, 1.44).
METRICS = {
    ("component", "concurrency"): "SageMakerInferenceComponentConcurrentRequestsPerCopyHighResolution",
    ("component", "invocations"): "SageMakerInferenceComponentInvocationsPerCopy",
    ("variant", "concurrency"): "SageMakerVariantConcurrentRequestsPerModelHighResolution",
    ("variant", "invocations"): "SageMakerVariantInvocationsPerInstance",
    ("asynchronous", "invocations"): "SageMakerVariantInvocationsPerInstance",
    ("serverless", "concurrency"): "SageMakerVariantProvisionedConcurrencyUtilization",
}
TARGETS = {"concurrency": 5.0, "invocations": 60.0}
UTILIZATION = 0.7  # of the provisioned concurrency, a share
# The metric that says that a request waits for capacity, the name of its dimension, its statistic, period and count.
WAKING = {
    "component": ("NoCapacityInvocationFailures", "InferenceComponentName", "Maximum", 30, 1),
    "asynchronous": ("HasBacklogWithoutCapacity", "EndpointName", "Average", 60, 2),
}


class ScalableTarget(Value, frozen=True, kw_only=True):
    """What scales: ``name`` is that of the component, or of the endpoint whose ``variant`` scales. ``suffix`` tells the
    steps of several variants apart."""

    kind: str
    name: str
    variant: str | None = None
    suffix: str = ""

    @property
    def resource(self) -> str:
        if self.kind == "component":
            return f"inference-component/{self.name}"
        return f"endpoint/{self.name}/variant/{self.variant}"

    @property
    def label(self) -> str:
        """What the names of its policies and alarms begin with."""
        return self.name + (f"-{self.variant}" if self.suffix else "")

    @property
    def key(self) -> JsonObject:
        return {
            "ServiceNamespace": "sagemaker",
            "ResourceId": self.resource,
            "ScalableDimension": DIMENSIONS[self.kind],
        }


def action_name(label: str, schedule: str) -> str:
    """The name of a schedule's action: it begins with the label of what scales, once."""
    return schedule if schedule.startswith(f"{label}-") else f"{label}-{schedule}"


def labels(resource: str) -> tuple[str, ...]:
    """What the names of a scalable target's policies, alarms and actions may begin with, from its ``ResourceId``."""
    kind, _, name = resource.partition("/")
    if kind == "inference-component":
        return (name,)
    endpoint, _, variant = name.partition("/variant/")
    return (f"{endpoint}-{variant}", endpoint)


_ENDINGS = {"scaling policy": ("load", "wake"), "alarm": ("wake",)}


def is_planned(noun: str, name: str, resource: str) -> bool:
    """Whether ``name`` is one that a plan gives to a policy, alarm or scheduled action of the target ``resource``."""
    if noun == "scheduled action":
        return any(name.startswith(f"{label}-") for label in labels(resource))
    return any(name == f"{label}-{ending}" for label in labels(resource) for ending in _ENDINGS[noun])


def reaches_zero(kind: str) -> bool:
    """Whether what scales can go to zero and come back."""
    return kind in WAKING


def steps(scaling: Autoscaling, target: ScalableTarget) -> Iterator[Step]:
    """The requests, tags left out."""
    bounds = {"MinCapacity": scaling.min, "MaxCapacity": scaling.max}
    yield _step(
        target, "scalable-target", "RegisterScalableTarget", bounds, target.resource, f"{scaling.min} to {scaling.max}"
    )
    name = f"{target.label}-load"
    tracking = {
        "PolicyName": name,
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": _tracking(scaling, target),
    }
    held = f"hold {scaling.metric} at {_target_value(scaling, target):g}"
    yield _step(target, "scaling-policy", "PutScalingPolicy", tracking, name, held)
    if lowest(scaling) == 0 and reaches_zero(target.kind):
        yield from _waking(scaling, target)
    for schedule in scaling.schedules:
        yield _scheduled(schedule, target)


def _step(target: ScalableTarget, id: str, operation: str, members: JsonObject, resource: str, note: str) -> Step:
    return Step(
        id=id + target.suffix,
        service=SERVICE,
        operation=operation,
        request={**target.key, **members},
        resource=resource,
        note=note,
    )


def _target_value(scaling: Autoscaling, target: ScalableTarget) -> float:
    if scaling.target is not None:
        return scaling.target
    return UTILIZATION if target.kind == "serverless" else TARGETS[scaling.metric]


def _tracking(scaling: Autoscaling, target: ScalableTarget) -> JsonObject:
    followed = {
        "TargetValue": _target_value(scaling, target),
        "ScaleInCooldown": scaling.scale_in_cooldown,
        "ScaleOutCooldown": scaling.scale_out_cooldown,
    }
    metric = METRICS.get((target.kind, scaling.metric))
    if metric is not None:
        return {**followed, "PredefinedMetricSpecification": {"PredefinedMetricType": metric}}
    backlog = {
        "MetricName": "ApproximateBacklogSizePerInstance",
        "Namespace": NAMESPACE,
        "Dimensions": [{"Name": "EndpointName", "Value": target.name}],
        "Statistic": "Average",
    }
    return {**followed, "CustomizedMetricSpecification": backlog}


def _waking(scaling: Autoscaling, target: ScalableTarget) -> Iterator[Step]:
    name = f"{target.label}-wake"
    step = {"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}
    policy = {
        "PolicyName": name,
        "PolicyType": "StepScaling",
        "StepScalingPolicyConfiguration": {
            "AdjustmentType": "ChangeInCapacity",
            "MetricAggregationType": "Maximum",
            "Cooldown": scaling.scale_out_cooldown,
            "StepAdjustments": [step],
        },
    }
    yield _step(target, "wake-policy", "PutScalingPolicy", policy, name, "from zero to one")
    yield Step(
        id=f"wake-alarm{target.suffix}",
        service="cloudwatch",
        operation="PutMetricAlarm",
        request=_alarm(name, target),
        resource=name,
        note="the first request without capacity",
    )


def _alarm(name: str, target: ScalableTarget) -> JsonObject:
    metric, dimension, statistic, period, count = WAKING[target.kind]
    return {
        "AlarmName": name,
        "AlarmActions": [f"${{wake-policy{target.suffix}.PolicyARN}}"],
        "Namespace": NAMESPACE,
        "MetricName": metric,
        "Dimensions": [{"Name": dimension, "Value": target.name}],
        "Statistic": statistic,
        "Period": period,
        "EvaluationPeriods": count,
        "DatapointsToAlarm": count,
        "Threshold": 1,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        "TreatMissingData": "missing",
    }


def _scheduled(schedule: Schedule, target: ScalableTarget) -> Step:
    bounds = {"MinCapacity": schedule.min, "MaxCapacity": schedule.max}
    name = action_name(target.label, schedule.name)
    members = {
        "ScheduledActionName": name,
        "Schedule": schedule.expression,
        "Timezone": schedule.timezone,
        "ScalableTargetAction": {bound: value for bound, value in bounds.items() if value is not None},
    }
    return _step(
        target, f"schedule-{schedule.name}{target.suffix}", "PutScheduledAction", members, name, schedule.expression
    )
