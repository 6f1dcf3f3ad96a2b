"""Endpoints: how they change, what Describe shows of them."""

from __future__ import annotations

from typing import Any

import pytest

from awsllm.testing import mock_aws
from tests.support.sagemaker_account import ARN, ROLE, VLLM, client, host, refusal, say, status, variant


def test_an_endpoint_takes_as_many_looks_as_the_test_says() -> None:
    with mock_aws(reply="x", transitions={"endpoint": 2, "endpoint-delete": 1}):
        sagemaker = host("e")
        assert [status("e") for _ in range(3)] == ["Creating", "Creating", "InService"]
        sagemaker.delete_endpoint(EndpointName="e")
        assert status("e") == "Deleting"
        assert refusal(status, name="e")[0] == "ValidationException"


def test_an_endpoint_takes_as_long_as_the_clock_says() -> None:
    now = [1000.0]
    with mock_aws(reply="x", transitions={"endpoint": 60.0}, clock=lambda: now[0]):
        host("e")
        assert [status("e"), status("e")] == ["Creating", "Creating"]
        now[0] += 60
        assert client("sagemaker").list_endpoints()["Endpoints"][0]["EndpointStatus"] == "InService"


def test_boto3s_waiters_end() -> None:
    with mock_aws(reply="x", transitions={"endpoint": 2, "endpoint-delete": 2}):
        sagemaker, pace = host("e"), {"Delay": 0, "MaxAttempts": 5}
        sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="e", WaiterConfig=pace)
        sagemaker.delete_endpoint(EndpointName="e")
        sagemaker.get_waiter("endpoint_deleted").wait(EndpointName="e", WaiterConfig=pace)


def test_what_describe_endpoint_tells() -> None:
    capture: Any = {
        "EnableCapture": True,
        "InitialSamplingPercentage": 10,
        "DestinationS3Uri": "s3://bucket/capture",
        "CaptureOptions": [{"CaptureMode": "Input"}],
    }
    with mock_aws(reply="x"):
        sagemaker = client("sagemaker")
        sagemaker.create_model(ModelName="m", ExecutionRoleArn=ROLE, PrimaryContainer=VLLM)
        sagemaker.create_endpoint_config(
            EndpointConfigName="c", ProductionVariants=[variant(ModelName="m")], DataCaptureConfig=capture
        )
        sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")
        described = sagemaker.describe_endpoint(EndpointName="e")
    (deployed,) = described["ProductionVariants"]
    assert deployed["CurrentInstanceCount"] == 1
    assert deployed["DeployedImages"][0]["SpecifiedImage"] == VLLM["Image"]
    assert described["DataCaptureConfig"]["CaptureStatus"] == "Started"
    assert described["EndpointArn"] == f"{ARN}:endpoint/e"


def test_a_failed_endpoint_says_why_and_can_be_deleted() -> None:
    with mock_aws(reply="x") as aws:
        aws.plane.fail("e", "The instance type has insufficient capacity.")
        sagemaker = host("e")
        described = sagemaker.describe_endpoint(EndpointName="e")
        assert (described["EndpointStatus"], described["FailureReason"]) == (
            "Failed",
            "The instance type has insufficient capacity.",
        )
        assert refusal(say, name="e")[0] == "ValidationError"
        sagemaker.delete_endpoint(EndpointName="e")
        assert "endpoint/e" not in aws.plane.left("us-east-1")


def test_an_update_keeps_answering() -> None:
    with mock_aws(reply="x", transitions={"endpoint-update": 2}):
        sagemaker = host("e")
        host("e", config="e2")
        sagemaker.update_endpoint(EndpointName="e", EndpointConfigName="e2")
        described = sagemaker.describe_endpoint(EndpointName="e")
        assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("Updating", "e")
        assert described["PendingDeploymentSummary"]["EndpointConfigName"] == "e2"
        for call in (sagemaker.delete_endpoint, sagemaker.update_endpoint):
            arguments = {"EndpointConfigName": "e"} if call == sagemaker.update_endpoint else {}
            assert "in-progress endpoint" in refusal(call, EndpointName="e", **arguments)[1]
        assert say("e") == "x"
        described = sagemaker.describe_endpoint(EndpointName="e")
        assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", "e2")


def test_a_failed_update_is_rolled_back() -> None:
    with mock_aws(reply="x") as aws:
        sagemaker = host("e")
        host("e", config="e2")
        aws.plane.fail("e", "no machines")
        sagemaker.update_endpoint(EndpointName="e", EndpointConfigName="e2")
        described = sagemaker.describe_endpoint(EndpointName="e")
        assert (described["EndpointStatus"], described["EndpointConfigName"], described["FailureReason"]) == (
            "InService",
            "e",
            "no machines",
        )


def test_an_update_needs_the_configuration_that_runs() -> None:
    with mock_aws(reply="x"):
        sagemaker = host("e")
        host("e", config="e2")
        sagemaker.delete_endpoint_config(EndpointConfigName="e")
        _, message = refusal(sagemaker.update_endpoint, EndpointName="e", EndpointConfigName="e2")
        assert message == f'Could not find endpoint configuration "{ARN}:endpoint-config/e".'


@pytest.mark.parametrize(("retain", "count"), [(True, 3), (False, 1)])
def test_counts_over_an_update(retain: bool, count: int) -> None:
    with mock_aws(reply="x"):
        sagemaker = host("e")
        wanted = [{"VariantName": "AllTraffic", "DesiredInstanceCount": 3}]
        sagemaker.update_endpoint_weights_and_capacities(EndpointName="e", DesiredWeightsAndCapacities=wanted)
        host("e", config="e2")
        sagemaker.update_endpoint(EndpointName="e", EndpointConfigName="e2", RetainAllVariantProperties=retain)
        assert sagemaker.describe_endpoint(EndpointName="e")["ProductionVariants"][0]["CurrentInstanceCount"] == count


def test_starting_containers_write_to_the_log() -> None:
    with mock_aws(reply="x"):
        host("e")
        logs = client("logs").filter_log_events(
            logGroupName="/aws/sagemaker/Endpoints/e", logStreamNamePrefix="AllTraffic/"
        )
    assert any(VLLM["Image"] in event["message"] for event in logs["events"])
