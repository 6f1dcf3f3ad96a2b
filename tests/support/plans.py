"""Plans written by hand, small, and shaped as the planner shapes them: digests in names, the plan's digest in tags."""

from typing import Any

from awsllm.jumpstart.plan.plan import Cost, Plan, Step

REGION = "us-east-1"
ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/a-role"


def plan(
    name: str = "chat",
    *,
    version: str = "1",
    instances: int = 1,
    components: bool = False,
    wake: bool = False,
    eula: str | None = None,
    ttl: float | None = None,
    copies: int = 1,
) -> Plan:
    """One model on one endpoint: in its variant, or with ``components`` in a component that has an adapter; ``wake``
    adds what scales the component from zero."""
    digest = f"{version}{instances}{int(components)}{int(wake)}{copies}".ljust(8, "0")
    tags = [{"Key": "awsllm:plan", "Value": digest}, {"Key": "awsllm:model-id", "Value": "a-model"}]
    model, config = f"{name}-m{version}", f"{name}-c{version}{instances}{int(components)}"
    variant: dict[str, Any] = {
        "VariantName": "AllTraffic", "InstanceType": "ml.g5.xlarge", "InitialInstanceCount": instances,
    }  # fmt: skip
    if not components:
        variant |= {"ModelName": model, "InitialVariantWeight": 1.0}
    role = {"ExecutionRoleArn": ROLE} if components else {}  # a model's own is not known here
    container = {"Image": "djl-inference:1", "Environment": {"OPTION_X": version, "HF_TOKEN": "hf_secret"}}
    steps = [
        _step("model", "CreateModel", model, {
            "ModelName": model, "PrimaryContainer": container, "ExecutionRoleArn": ROLE, "Tags": tags}),
        _step("config", "CreateEndpointConfig", config, {
            "EndpointConfigName": config, "ProductionVariants": [variant], **role, "Tags": tags}),
        _step("endpoint", "CreateEndpoint", name, {
            "EndpointName": name, "EndpointConfigName": config, "Tags": tags}, wait="endpoint_in_service"),
    ]  # fmt: skip
    component = f"{name}-ic" if components else None
    if component is not None:
        steps += _component_steps(name, component, model, tags, wake=wake, copies=copies)
    return Plan(
        model_id="a-model", model_version=version, region=REGION, endpoint=name, component=component,
        steps=tuple(steps), digest=digest, cost=Cost(per_hour=1.4), permissions={}, eula_url=eula, expires_after=ttl,
    )  # fmt: skip


def _step(id: str, operation: str, resource: str, request: dict[str, Any], *, wait: str | None = None) -> Step:
    service = SERVICES.get(operation, "sagemaker")
    return Step(id=id, service=service, operation=operation, request=request, resource=resource, wait=wait)


SERVICES = {
    "RegisterScalableTarget": "application-autoscaling",
    "PutScalingPolicy": "application-autoscaling",
    "PutScheduledAction": "application-autoscaling",
    "PutMetricAlarm": "cloudwatch",
}


def _component_steps(
    name: str, component: str, model: str, tags: list[dict[str, str]], *, wake: bool, copies: int
) -> list[Step]:
    needs = {"MinMemoryRequiredInMb": 1024, "NumberOfAcceleratorDevicesRequired": 1}
    steps = [
        _step("component", "CreateInferenceComponent", component, {
            "InferenceComponentName": component, "EndpointName": name, "VariantName": "AllTraffic",
            "Specification": {"ModelName": model, "ComputeResourceRequirements": needs},
            "RuntimeConfig": {"CopyCount": copies}, "Tags": tags}, wait="component_in_service"),
        _step("adapter", "CreateInferenceComponent", f"{component}-lora", {
            "InferenceComponentName": f"{component}-lora", "EndpointName": name, "VariantName": "AllTraffic",
            "Specification": {"BaseInferenceComponentName": component, "Container": {"ArtifactUrl": "s3://b/l.tar.gz"}},
            "RuntimeConfig": {"CopyCount": 1}, "Tags": tags}, wait="component_in_service"),
    ]  # fmt: skip
    target = {
        "ServiceNamespace": "sagemaker", "ResourceId": f"inference-component/{component}",
        "ScalableDimension": "sagemaker:inference-component:DesiredCopyCount",
    }  # fmt: skip
    policy = {
        "AdjustmentType": "ChangeInCapacity", "MetricAggregationType": "Maximum", "Cooldown": 60,
        "StepAdjustments": [{"MetricIntervalLowerBound": 0.0, "ScalingAdjustment": 1}],
    }  # fmt: skip
    if wake:
        steps += [
            _step("target", "RegisterScalableTarget", target["ResourceId"], {
                **target, "MinCapacity": 0, "MaxCapacity": 2}),
            _step("wake", "PutScalingPolicy", f"{component}-wake", {
                **target, "PolicyName": f"{component}-wake", "PolicyType": "StepScaling",
                "StepScalingPolicyConfiguration": policy}),
            _step("alarm", "PutMetricAlarm", f"{component}-wake", {
                "AlarmName": f"{component}-wake", "AlarmActions": ["${wake.PolicyARN}"], "Namespace": "AWS/SageMaker",
                "MetricName": "NoCapacityInvocationFailures", "Statistic": "Maximum", "Period": 30,
                "Dimensions": [{"Name": "InferenceComponentName", "Value": component}], "EvaluationPeriods": 1,
                "Threshold": 1.0, "ComparisonOperator": "GreaterThanOrEqualToThreshold"}),
            _step("night", "PutScheduledAction", f"{component}-night", {
                **target, "ScheduledActionName": f"{component}-night", "Schedule": "cron(0 20 * * ? *)",
                "ScalableTargetAction": {"MinCapacity": 0, "MaxCapacity": 0}}),
        ]  # fmt: skip
    return steps
