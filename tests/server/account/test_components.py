"""Inference components: their copies, their adapters, the endpoint under them."""

from __future__ import annotations

from typing import Any

from awsllm.testing import mock_aws
from tests.support.sagemaker_account import (
    DOCUMENTS,
    GATED,
    client,
    component,
    document,
    empty_endpoint,
    gated_model,
    host,
    refusal,
    say,
)


def watch_for_requests() -> None:
    """The step policy and the alarm that bring a component back from zero."""
    target: Any = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": "inference-component/ic",
        "ScalableDimension": "sagemaker:inference-component:DesiredCopyCount",
    }
    scaling = client("application-autoscaling")
    scaling.register_scalable_target(**target, MinCapacity=0, MaxCapacity=2)
    steps = {
        "AdjustmentType": "ChangeInCapacity",
        "StepAdjustments": [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}],
    }
    policy = scaling.put_scaling_policy(
        **target, PolicyName="wake", PolicyType="StepScaling", StepScalingPolicyConfiguration=steps
    )
    client("cloudwatch").put_metric_alarm(
        AlarmName="wake",
        AlarmActions=[policy["PolicyARN"]],
        Namespace="AWS/SageMaker",
        MetricName="NoCapacityInvocationFailures",
        Dimensions=[{"Name": "InferenceComponentName", "Value": "ic"}],
        Statistic="Maximum",
        Period=30,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
    )


def test_to_zero_and_back() -> None:
    with mock_aws(reply="Awake.", documents=DOCUMENTS, transitions={"component-update": 1}):
        gated_model(document(GATED), ModelAccessConfig={"AcceptEula": True})
        sagemaker = empty_endpoint()
        component()
        zero = {"InferenceComponentName": "ic", "DesiredRuntimeConfig": {"CopyCount": 0}}
        sagemaker.update_inference_component_runtime_config(**zero)
        runtime = [sagemaker.describe_inference_component(InferenceComponentName="ic") for _ in range(2)][1]
        assert runtime["RuntimeConfig"] == {"DesiredCopyCount": 0, "CurrentCopyCount": 0}
        for _ in range(3):  # nobody watches: it sleeps on
            code, message = refusal(say, name="e", InferenceComponentName="ic")
            assert code == "ValidationError"
            assert "Inference Component has no capacity" in message
        watch_for_requests()
        assert refusal(say, name="e", InferenceComponentName="ic")[0] == "ValidationError"
        assert refusal(say, name="e", InferenceComponentName="ic")[0] == "ValidationError"
        assert say("e", InferenceComponentName="ic") == "Awake."


def test_an_endpoint_with_components_stays() -> None:
    with mock_aws(reply="x"):
        host("m", config="m")
        sagemaker = empty_endpoint()
        component()
        assert "inference component associated" in refusal(sagemaker.delete_endpoint, EndpointName="e")[1]
        assert "Could not find endpoint" in refusal(sagemaker.create_inference_component, **on("nowhere"))[1]
        sagemaker.delete_inference_component(InferenceComponentName="ic")
        sagemaker.delete_endpoint(EndpointName="e")


def on(endpoint: str) -> dict[str, Any]:
    return {"InferenceComponentName": "x", "EndpointName": endpoint, "Specification": {"ModelName": "m"}}


def test_an_adapter_has_its_bases_copies() -> None:
    with mock_aws(reply="x"):
        host("m", config="m")
        sagemaker = empty_endpoint()
        component()
        adapter = {"BaseInferenceComponentName": "ic", "Container": {"ArtifactUrl": "s3://bucket/lora.tar.gz"}}
        sagemaker.create_inference_component(
            InferenceComponentName="lora", EndpointName="e", Specification=adapter, RuntimeConfig={"CopyCount": 1}
        )
        assert say("e", InferenceComponentName="lora") == "x"
        assert "lora" in refusal(sagemaker.delete_inference_component, InferenceComponentName="ic")[1]
        listed = sagemaker.list_inference_components(EndpointNameEquals="e")["InferenceComponents"]
        assert {one["InferenceComponentName"] for one in listed} == {"ic", "lora"}
        for name in ("lora", "ic"):
            sagemaker.delete_inference_component(InferenceComponentName=name)
