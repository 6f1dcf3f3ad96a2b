"""SageMaker's control plane offline, asked by boto3: from a hub document to an endpoint that answers, to nothing."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import jmespath
import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

import awsllm
from awsllm.errors import ConfigurationError
from awsllm.server.account import hub
from awsllm.server.account.containers import Cutter
from awsllm.server.account.plane import ControlPlane
from awsllm.server.work import Incoming
from awsllm.testing import MockAws, mock_aws
from tests.support.aws_bridge import bridge
from tests.support.data import DATA

DOCUMENTS = DATA / "jumpstart"
GATED = "example-gated-lmi-chat"
ROLE = "arn:aws:iam::123456789012:role/sagemaker"
ARN = "arn:aws:sagemaker:us-east-1:123456789012"
PUBLIC: Any = {"HubName": "SageMakerPublicHub", "HubContentType": "Model"}
VLLM = {"Image": "763104351884.dkr.ecr.us-east-1.amazonaws.com/vllm:0.9.2"}
CHAT = json.dumps({"messages": [{"role": "user", "content": "Hello"}]})
STREAM = json.dumps({"messages": [{"role": "user", "content": "Hello"}], "stream": True})


@functools.cache
def client(service: str, region: str = "us-east-1") -> Any:
    """A client takes longer to make than a test to run."""
    return boto3.Session(aws_access_key_id="a", aws_secret_access_key="b").client(service, region)


def refusal(call: Any, **arguments: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def document(name: str, region: str = "us-east-1") -> dict[str, Any]:
    described = client("sagemaker", region).describe_hub_content(**PUBLIC, HubContentName=name)
    content: dict[str, Any] = json.loads(described["HubContentDocument"])
    return content


def variant(**members: Any) -> dict[str, Any]:
    return {"VariantName": "AllTraffic", "InstanceType": "ml.g5.2xlarge", "InitialInstanceCount": 1, **members}


def host(name: str, *, container: Any = VLLM, config: str | None = None, **members: Any) -> Any:
    """A model and an endpoint configuration of this name, and with no other ``config`` the endpoint."""
    sagemaker = client("sagemaker")
    sagemaker.create_model(ModelName=config or name, ExecutionRoleArn=ROLE, PrimaryContainer=container)
    sagemaker.create_endpoint_config(
        EndpointConfigName=config or name, ProductionVariants=[variant(ModelName=config or name, **members)]
    )
    if config is None:
        sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    return sagemaker


def status(name: str) -> str:
    return str(client("sagemaker").describe_endpoint(EndpointName=name)["EndpointStatus"])


def say(name: str, **arguments: Any) -> str:
    """What an endpoint with OpenAI's format answers."""
    reply = client("sagemaker-runtime").invoke_endpoint(EndpointName=name, **{"Body": CHAT, **arguments})
    return str(json.loads(reply["Body"].read())["choices"][0]["message"]["content"])


def parts(**arguments: Any) -> list[bytes]:
    reply = client("sagemaker-runtime").invoke_endpoint_with_response_stream(**arguments)
    return [event["PayloadPart"]["Bytes"] for event in reply["Body"]]


# --- the whole way ---------------------------------------------------------------------------------------------------


def gated_model(content: dict[str, Any], **access: Any) -> Any:
    source = {"S3Uri": content["HostingArtifactUri"], "S3DataType": "S3Prefix", "CompressionType": "None", **access}
    environment = {one["Name"]: str(one["Default"]) for one in content["InferenceEnvironmentVariables"]}
    container = {
        "Image": content["HostingEcrUri"],
        "Environment": environment,
        "ModelDataSource": {"S3DataSource": source},
    }
    return client("sagemaker").create_model(ModelName="m", ExecutionRoleArn=ROLE, PrimaryContainer=container)


def component(name: str = "ic", **specification: Any) -> None:
    needs = {"MinMemoryRequiredInMb": 1024, "NumberOfAcceleratorDevicesRequired": 1}
    asked = {"ModelName": "m", "ComputeResourceRequirements": needs, **specification}
    client("sagemaker").create_inference_component(
        InferenceComponentName=name,
        EndpointName="e",
        VariantName="AllTraffic",
        Specification=asked,
        RuntimeConfig={"CopyCount": 1},
    )


def empty_endpoint() -> Any:
    """An endpoint for components."""
    sagemaker = client("sagemaker")
    sagemaker.create_endpoint_config(EndpointConfigName="c", ExecutionRoleArn=ROLE, ProductionVariants=[variant()])
    sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")
    return sagemaker


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


def test_from_discovery_to_nothing_left() -> None:
    with mock_aws(reply="Grüße.", documents=DOCUMENTS, transitions={"endpoint": 1, "component": 1}) as aws:
        content = document(GATED)
        code, message = refusal(gated_model, content=content)
        assert code == "ValidationException"
        assert "AcceptEula" in message
        assert content["HostingArtifactUri"] in message
        gated_model(content, ModelAccessConfig={"AcceptEula": True})
        sagemaker = empty_endpoint()
        assert refusal(say, name="e", InferenceComponentName="ic")[0] == "ValidationError"
        assert [status("e"), status("e")] == ["InService", "InService"]  # the invocation was the first look
        component()
        seen = [sagemaker.describe_inference_component(InferenceComponentName="ic") for _ in range(2)]
        assert [one["InferenceComponentStatus"] for one in seen] == ["Creating", "InService"]
        image = seen[1]["Specification"]["Container"]["DeployedImage"]
        assert image["SpecifiedImage"] == content["HostingEcrUri"]
        assert say("e", InferenceComponentName="ic") == "Grüße."
        assert b"Gr\xc3\xbc\xc3\x9fe." in b"".join(parts(EndpointName="e", InferenceComponentName="ic", Body=STREAM))
        sagemaker.delete_inference_component(InferenceComponentName="ic")
        sagemaker.delete_endpoint(EndpointName="e")
        sagemaker.delete_endpoint_config(EndpointConfigName="c")
        sagemaker.delete_model(ModelName="m")
        assert aws.plane.left("us-east-1") == []
        assert refusal(status, name="e") == ("ValidationException", f'Could not find endpoint "{ARN}:endpoint/e".')


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


def test_awsllm_calls_what_was_deployed() -> None:
    with mock_aws(reply="Grüße aus Ulm.", documents=DOCUMENTS), awsllm.Client(region="us-east-1") as caller:
        gated_model(document(GATED), ModelAccessConfig={"AcceptEula": True})
        empty_endpoint()
        component()
        assert caller.converse("sagemaker:e/ic", "Hello").text == "Grüße aus Ulm."
        with caller.converse_stream("sagemaker:e/ic", "Hello") as stream:
            assert "".join(stream.text_stream) == "Grüße aus Ulm."


# --- endpoints -------------------------------------------------------------------------------------------------------


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
        told = sagemaker.describe_endpoint(EndpointName="e")
    (deployed,) = told["ProductionVariants"]
    assert deployed["CurrentInstanceCount"] == 1
    assert deployed["DeployedImages"][0]["SpecifiedImage"] == VLLM["Image"]
    assert told["DataCaptureConfig"]["CaptureStatus"] == "Started"
    assert told["EndpointArn"] == f"{ARN}:endpoint/e"


def test_a_failed_endpoint_says_why_and_can_be_deleted() -> None:
    with mock_aws(reply="x") as aws:
        aws.plane.fail("e", "The instance type has insufficient capacity.")
        sagemaker = host("e")
        told = sagemaker.describe_endpoint(EndpointName="e")
        assert (told["EndpointStatus"], told["FailureReason"]) == (
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
        told = sagemaker.describe_endpoint(EndpointName="e")
        assert (told["EndpointStatus"], told["EndpointConfigName"]) == ("Updating", "e")
        assert told["PendingDeploymentSummary"]["EndpointConfigName"] == "e2"
        for call in (sagemaker.delete_endpoint, sagemaker.update_endpoint):
            arguments = {"EndpointConfigName": "e"} if call == sagemaker.update_endpoint else {}
            assert "in-progress endpoint" in refusal(call, EndpointName="e", **arguments)[1]
        assert say("e") == "x"
        told = sagemaker.describe_endpoint(EndpointName="e")
        assert (told["EndpointStatus"], told["EndpointConfigName"]) == ("InService", "e2")


def test_a_failed_update_is_rolled_back() -> None:
    with mock_aws(reply="x") as aws:
        sagemaker = host("e")
        host("e", config="e2")
        aws.plane.fail("e", "no machines")
        sagemaker.update_endpoint(EndpointName="e", EndpointConfigName="e2")
        told = sagemaker.describe_endpoint(EndpointName="e")
        assert (told["EndpointStatus"], told["EndpointConfigName"], told["FailureReason"]) == (
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


def test_variants_share_the_traffic_by_weight() -> None:
    with mock_aws(reply="x"):
        sagemaker = client("sagemaker")
        sagemaker.create_model(ModelName="m", ExecutionRoleArn=ROLE, PrimaryContainer=VLLM)
        shares = {"a": 3.0, "b": 1.0}
        variants = [
            variant(VariantName=name, ModelName="m", InitialVariantWeight=weight) for name, weight in shares.items()
        ]
        sagemaker.create_endpoint_config(EndpointConfigName="c", ProductionVariants=variants)
        sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")
        runtime = client("sagemaker-runtime")

        def served(**target: str) -> str:
            return str(runtime.invoke_endpoint(EndpointName="e", Body=CHAT, **target)["InvokedProductionVariant"])

        assert sorted(served() for _ in range(8)) == [*"aaaaaa", *"bb"]
        assert served(TargetVariant="b") == "b"
        assert refusal(served, TargetVariant="z")[0] == "ValidationError"


def test_starting_containers_write_to_the_log() -> None:
    with mock_aws(reply="x"):
        host("e")
        logs = client("logs").filter_log_events(
            logGroupName="/aws/sagemaker/Endpoints/e", logStreamNamePrefix="AllTraffic/"
        )
    assert any(VLLM["Image"] in event["message"] for event in logs["events"])


# --- refusals --------------------------------------------------------------------------------------------------------


def test_names_are_unique_and_known() -> None:
    with mock_aws(reply="x"):
        sagemaker = host("e")
        code, message = refusal(sagemaker.create_endpoint, EndpointName="e", EndpointConfigName="e")
        assert (code, message) == (
            "ValidationException",
            f'Cannot create already existing endpoint "{ARN}:endpoint/e".',
        )
        missing = refusal(sagemaker.create_endpoint, EndpointName="f", EndpointConfigName="nope")
        assert missing[1] == f'Could not find endpoint configuration "{ARN}:endpoint-config/nope".'
        assert refusal(sagemaker.delete_model, ModelName="nope")[1] == f'Could not find model "{ARN}:model/nope".'
        assert refusal(sagemaker.delete_inference_component, InferenceComponentName="nope")[0] == "ValidationException"
        assert (
            refusal(sagemaker.create_model, ModelName="under_score", ExecutionRoleArn=ROLE)[0] == "ValidationException"
        )


def test_quotas() -> None:
    with mock_aws(reply="x", quotas={"ml.g5.2xlarge": 1}):
        sagemaker = host("e")
        code, message = refusal(host, name="f")
        assert code == "ResourceLimitExceeded"
        assert "'ml.g5.2xlarge for endpoint usage' is 1 Instances, with current utilization of 1" in message
        sagemaker.delete_endpoint(EndpointName="e")
        sagemaker.create_endpoint(EndpointName="f", EndpointConfigName="f")


def test_a_refusal_that_the_test_wants() -> None:
    with mock_aws(reply="x") as aws:
        aws.plane.refuse("CreateEndpoint", "AccessDeniedException", "not you")
        assert refusal(host, name="e") == ("AccessDeniedException", "not you")
        client("sagemaker").create_endpoint(EndpointName="e", EndpointConfigName="e")
        assert [operation for operation, _ in aws.plane.calls] == [
            "CreateModel",
            "CreateEndpointConfig",
            "CreateEndpoint",
        ]


def test_an_endpoint_with_components_stays() -> None:
    with mock_aws(reply="x"):
        host("m", config="m")
        sagemaker = empty_endpoint()
        component()
        assert "ic" in refusal(sagemaker.delete_endpoint, EndpointName="e")[1]
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


# --- lists and tags --------------------------------------------------------------------------------------------------


def test_lists_come_in_pages() -> None:
    with mock_aws(reply="x"):
        sagemaker = client("sagemaker")
        names = [f"m{number:02}" for number in range(23)]
        for name in names:
            sagemaker.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=VLLM)
        pages = list(sagemaker.get_paginator("list_models").paginate(SortBy="Name", SortOrder="Ascending"))
        assert [len(page["Models"]) for page in pages] == [10, 10, 3]
        assert [model["ModelName"] for page in pages for model in page["Models"]] == names
        assert len(sagemaker.list_models(NameContains="M1", MaxResults=100)["Models"]) == 10
        assert refusal(sagemaker.list_models, NextToken="nonsense")[0] == "ValidationException"


def test_tags() -> None:
    with mock_aws(reply="x"):
        sagemaker = host("e")
        arn = f"{ARN}:endpoint/e"
        sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "a", "Value": "1"}, {"Key": "awsllm:plan", "Value": "x é"}])
        sagemaker.delete_tags(ResourceArn=arn, TagKeys=["a"])
        assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "awsllm:plan", "Value": "x é"}]


# --- the hub ---------------------------------------------------------------------------------------------------------


def test_the_hub_lists_the_newest_version_of_each() -> None:
    given = [
        {"HubContentName": "m", "HubContentVersion": v, "HubContentDocument": {"Url": v}} for v in ("1.9.0", "1.10.0")
    ]
    with mock_aws(reply="x", documents=given):
        sagemaker = client("sagemaker")
        (summary,) = sagemaker.list_hub_contents(**PUBLIC)["HubContentSummaries"]
        assert summary["HubContentVersion"] == "1.10.0"
        versions = sagemaker.list_hub_content_versions(**PUBLIC, HubContentName="m")["HubContentSummaries"]
        assert [one["HubContentVersion"] for one in versions] == ["1.10.0", "1.9.0"]
        old = sagemaker.describe_hub_content(**PUBLIC, HubContentName="m", HubContentVersion="1.9.0")
        assert json.loads(old["HubContentDocument"]) == {"Url": "1.9.0"}
        assert refusal(sagemaker.describe_hub_content, **PUBLIC, HubContentName="x")[0] == "ResourceNotFound"


def test_the_hub_comes_in_pages() -> None:
    with mock_aws(reply="x", documents=DOCUMENTS):
        sagemaker, names, token = client("sagemaker"), [], {}
        while True:
            page = sagemaker.list_hub_contents(**PUBLIC, MaxResults=4, **token)
            names += [one["HubContentName"] for one in page["HubContentSummaries"]]
            if "NextToken" not in page:
                break
            token = {"NextToken": page["NextToken"]}
    assert sorted(names) == sorted(path.stem for path in DOCUMENTS.glob("*.json"))


def test_a_document_is_served_in_every_region() -> None:
    with mock_aws(reply="x", documents=DOCUMENTS):
        content = document(GATED, "eu-west-1")
    assert "jumpstart-private-cache-prod-eu-west-1" in content["HostingArtifactUri"]
    assert "us-east-1" not in json.dumps(content)


def test_a_private_hub_refers_to_the_public_one() -> None:
    with mock_aws(reply="x", documents=DOCUMENTS):
        sagemaker = client("sagemaker")
        sagemaker.create_hub(HubName="ours", HubDescription="x")
        public = f"arn:aws:sagemaker:us-east-1:aws:hub-content/SageMakerPublicHub/Model/{GATED}"
        arn = sagemaker.create_hub_content_reference(HubName="ours", SageMakerPublicHubContentArn=public)
        assert f":hub-content/ours/ModelReference/{GATED}/" in arn["HubContentArn"]
        asked: Any = {"HubName": "ours", "HubContentType": "ModelReference"}
        told = sagemaker.describe_hub_content(**asked, HubContentName=GATED)
        assert told["SageMakerPublicHubContentArn"] == public
        assert len(sagemaker.list_hub_contents(**asked)["HubContentSummaries"]) == 1
        assert refusal(sagemaker.delete_hub, HubName="ours")[0] == "ResourceInUse"
        sagemaker.delete_hub_content_reference(**asked, HubContentName=GATED)
        sagemaker.delete_hub(HubName="ours")
        assert [one["HubName"] for one in sagemaker.list_hubs()["HubSummaries"]] == ["SageMakerPublicHub"]


def test_a_file_that_is_no_document(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[1]")
    with pytest.raises(ConfigurationError, match="hub document"):
        hub.load([tmp_path])
    with pytest.raises(ConfigurationError, match="nowhere"):
        hub.load([tmp_path / "nowhere.json"])


# --- containers ------------------------------------------------------------------------------------------------------


def deploy(name: str) -> dict[str, Any]:
    """The document's own image, environment and artifact, or its package, as an endpoint. Returns the document."""
    content = document(name)
    content |= next(iter(content.get("InferenceConfigComponents", {}).values()), {})
    package = content.get("HostingModelPackageArn") or next(iter(_packages(content)), None)
    if package:
        container: dict[str, Any] = {"ModelPackageName": package}
    else:
        access = {"ModelAccessConfig": {"AcceptEula": True}}
        uri = content["HostingArtifactUri"]
        source = {"S3Uri": uri, "S3DataType": "S3Prefix", "CompressionType": "None", **access}
        environment = {one["Name"]: str(one["Default"]) for one in content.get("InferenceEnvironmentVariables", ())}
        container = {
            "Image": content.get("HostingEcrUri") or VLLM["Image"],
            "Environment": environment,
            "ModelDataSource": {"S3DataSource": source},
        }
    host("e", container=container)
    return content


def _packages(content: dict[str, Any]) -> list[str]:
    variants = content.get("HostingInstanceTypeVariants", {}).get("Variants", {}).values()
    return [one["Properties"]["ModelPackageArn"] for one in variants if "ModelPackageArn" in one.get("Properties", {})]


TEXTUAL = sorted(path.stem for path in DOCUMENTS.glob("*.json") if "textclassification" not in path.stem)


@pytest.mark.parametrize("name", TEXTUAL)
def test_a_container_answers_its_documents_own_payloads(name: str) -> None:
    with mock_aws(reply="Hello.", documents=DOCUMENTS):
        content = deploy(name)
        for example in content["DefaultPayloads"].values():
            body = example["Body"] if isinstance(example["Body"], str) else json.dumps(example["Body"])
            headers = {"ContentType": example.get("ContentType", "application/json"), "Accept": "application/json"}
            if "dialogs" in name:
                headers["CustomAttributes"] = "accept_eula=true"
            reply = client("sagemaker-runtime").invoke_endpoint(EndpointName="e", Body=body, **headers)
            value = json.loads(reply["Body"].read())
            paths = [path for path in (example.get("OutputKeys") or {}).values() if "details" not in path]
            for path in paths:
                assert jmespath.search(path, value) is not None, (path, value)


def test_a_container_of_dialogs_wants_its_licence_accepted_in_every_call() -> None:
    with mock_aws(reply="x", formats={"e": "dialogs"}):
        host("e")
        body = json.dumps({"inputs": [[{"role": "user", "content": "Hello"}]]})
        runtime = client("sagemaker-runtime")
        code, message = refusal(runtime.invoke_endpoint, EndpointName="e", Body=body)
        assert code == "ModelError"
        assert "accept_eula=true" in message
        reply = runtime.invoke_endpoint(EndpointName="e", Body=body, CustomAttributes="accept_eula=true")
        assert json.loads(reply["Body"].read())[0]["generation"]["content"] == "x"


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"messages": [{"role": "user", "content": "Hello"}]}, "choices[0].message.content"),
        ({"inputs": "Hello", "parameters": {"max_new_tokens": 5}}, "generated_text"),
    ],
)
def test_an_image_that_routes_by_body(body: dict[str, Any], path: str) -> None:
    image = {"Image": "763104351884.dkr.ecr.us-east-1.amazonaws.com/djl-inference:0.34.0-lmi16.0.0-cu128"}
    with mock_aws(reply="Hi."):
        host("e", container=image)
        reply = client("sagemaker-runtime").invoke_endpoint(EndpointName="e", Body=json.dumps(body))
        assert jmespath.search(path, json.loads(reply["Body"].read())) == "Hi."


def test_what_a_container_refuses_is_in_its_own_words() -> None:
    with mock_aws(reply="x", formats={"e": "tgi"}):
        host("e")
        with pytest.raises(ClientError) as caught:
            client("sagemaker-runtime").invoke_endpoint(EndpointName="e", Body=b"{}")
    response: Any = caught.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert response["OriginalStatusCode"] == 422
    assert "error_type" in json.loads(response["OriginalMessage"])


@pytest.mark.parametrize("cuts", [(), (1,), (1, 3, 7, 64), (5000,)])
def test_parts_are_cut_anywhere(cuts: tuple[int, ...]) -> None:
    with mock_aws(reply="Grüße, 世界!", cuts=cuts, formats={"e": "tgi"}):
        host("e")
        found = parts(EndpointName="e", Body=json.dumps({"inputs": "Hello", "stream": True}))
    text = b"".join(found).decode()
    assert "Grüße, 世界!" in text
    if cuts:
        assert {len(part) for part in found[:-1]} <= set(cuts)


@given(st.lists(st.binary(max_size=40)), st.lists(st.integers(1, 20), max_size=4))
def test_a_cutter_loses_nothing(pieces: list[bytes], sizes: list[int]) -> None:
    cutter = Cutter(sizes)
    found = [part for piece in pieces for part in cutter.push(piece)]
    assert b"".join([*found, *cutter.rest()]) == b"".join(pieces)
    assert all(found)


# --- beside moto -----------------------------------------------------------------------------------------------------


TEMPLATE = {
    "Resources": {
        "Model": {
            "Type": "AWS::SageMaker::Model",
            "Properties": {"ModelName": "cf", "ExecutionRoleArn": ROLE, "PrimaryContainer": VLLM},
        },
        "Config": {
            "Type": "AWS::SageMaker::EndpointConfig",
            "DependsOn": "Model",
            "Properties": {
                "EndpointConfigName": "cf",
                "ProductionVariants": [
                    {
                        "VariantName": "v",
                        "ModelName": {"Fn::GetAtt": ["Model", "ModelName"]},
                        "InitialInstanceCount": 1,
                        "InitialVariantWeight": 1,
                        "InstanceType": "ml.m5.large",
                    }
                ],
            },
        },
        "Endpoint": {
            "Type": "AWS::SageMaker::Endpoint",
            "DependsOn": "Config",
            "Properties": {
                "EndpointName": "cf",
                "EndpointConfigName": {"Fn::GetAtt": ["Config", "EndpointConfigName"]},
            },
        },
    }
}


def test_what_cloudformation_makes_is_motos_and_answers() -> None:
    with mock_aws(reply="Hi."):
        client("cloudformation").create_stack(StackName="s", TemplateBody=json.dumps(TEMPLATE))
        (endpoint,) = client("sagemaker").list_endpoints()["Endpoints"]
        name = endpoint["EndpointName"]
        assert say(name) == "Hi."
        assert status(name) == "InService"
        sagemaker = host("e")
        assert {one["EndpointName"] for one in sagemaker.list_endpoints()["Endpoints"]} == {name, "e"}
        assert len(sagemaker.list_models()["Models"]) == 2
        assert len(sagemaker.list_endpoint_configs()["EndpointConfigs"]) == 2
        sagemaker.delete_endpoint(EndpointName=name)
        assert refusal(status, name=name)[0] == "ValidationException"


def test_motos_list_of_dimensions_is_as_it_was() -> None:
    from moto.applicationautoscaling import models, responses

    before = models.ScalableDimensionValueSet
    with mock_aws(reply="x"), mock_aws(reply="y"):
        assert models.ScalableDimensionValueSet is not before
    assert models.ScalableDimensionValueSet is before is responses.ScalableDimensionValueSet


def test_regions_and_entries_are_apart() -> None:
    aws: MockAws = mock_aws(reply="x")
    with pytest.raises(RuntimeError, match="inside"):
        _ = aws.plane
    with aws:
        host("e")
        assert client("sagemaker", "eu-west-1").list_endpoints()["Endpoints"] == []
    with aws:
        assert aws.plane.left("us-east-1") == []


def test_a_plane_without_moto() -> None:
    plane = ControlPlane()
    headers = {"x-amz-target": "SageMaker.DescribeEndpoint"}
    reply = plane.answer(Incoming("POST", "/", headers, b'{"EndpointName": "e"}'), "us-east-1")
    assert reply is not None
    assert json.loads(reply.body)["__type"] == "ValidationException"
    for body in (b"{", b"[]"):
        reply = plane.answer(Incoming("POST", "/", headers, body), "us-east-1")
        assert reply is not None
        assert reply.headers["x-amzn-ErrorType"] == "SerializationException"
    assert plane.answer(Incoming("POST", "/", {"x-amz-target": "SageMaker.CreateDomain"}, b"{}"), "us-east-1") is None


CHILD = """
import json, boto3
sagemaker, runtime = boto3.client("sagemaker"), boto3.client("sagemaker-runtime")
print(sagemaker.describe_endpoint(EndpointName="e")["EndpointStatus"])
body = json.dumps({"messages": [{"role": "user", "content": "Hello"}], "stream": True})
reply = runtime.invoke_endpoint_with_response_stream(EndpointName="e", Body=body)
print(len([event for event in reply["Body"]]) > 3)
s3 = boto3.client("s3")
s3.create_bucket(Bucket="bucket")
s3.put_object(Bucket="bucket", Key="a b", Body=b"data")
found = s3.get_object(Bucket="bucket", Key="a b")
print(found["Body"].read(), s3.head_object(Bucket="bucket", Key="a b")["ContentLength"])
print(boto3.client("sts").get_caller_identity()["Account"])
try:
    sagemaker.describe_endpoint(EndpointName="nope")
except Exception as error:
    print(error.response["Error"]["Code"])
"""


def test_another_process_reaches_the_account() -> None:
    seen: list[tuple[str, str]] = []
    with mock_aws(reply="Hello there."), bridge(lambda service, operation: seen.append((service, operation))) as url:
        host("e")
        keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
        child = subprocess.run(
            [sys.executable, "-c", CHILD],
            env={**os.environ, **keys, "AWS_ENDPOINT_URL": url},
            capture_output=True,
            text=True,
            check=False,
        )
        assert client("s3").list_objects_v2(Bucket="bucket")["KeyCount"] == 1
    assert child.stdout.split("\n") == ["InService", "True", "b'data' 4", "123456789012", "ValidationException", ""], (
        child.stderr
    )
    assert seen[0] == ("sagemaker", "DescribeEndpoint")
