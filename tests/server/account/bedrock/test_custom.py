"""Custom models, their deployments, copies and provisioned throughput."""

from __future__ import annotations

from typing import Any

import pytest

import awsllm
from awsllm.testing import MockAws, mock_aws
from tests.support.bedrock_account import FOUNDATION, MESSAGES, NOVA, ROLE, bedrock, names, put, runtime
from tests.support.sagemaker_account import refusal


def custom(name: str = "mine", base: str = NOVA, **more: Any) -> str:
    """A custom model, by a customisation job. Returns its ARN."""
    data = put("train.jsonl", {"prompt": "Hello", "completion": "Hi"})
    job = bedrock().create_model_customization_job(
        jobName=f"job-of-{name}",
        customModelName=name,
        roleArn=ROLE,
        baseModelIdentifier=base,
        trainingDataConfig={"s3Uri": data},
        outputDataConfig={"s3Uri": "s3://data/out"},
        **more,
    )["jobArn"]
    return str(bedrock().get_model_customization_job(jobIdentifier=job)["outputModelArn"])


def say(model: str) -> str:
    reply = runtime().converse(modelId=model, messages=MESSAGES)
    return str(reply["output"]["message"]["content"][0]["text"])


def test_a_model_of_files() -> None:
    with mock_aws(reply="x", transitions={"custom-model": 1}):
        put("model/manifest.json", {})
        make, get = bedrock().create_custom_model, bedrock().get_custom_model
        arn = make(modelName="mine", modelSourceConfig={"s3DataSource": {"s3Uri": "s3://data/model/"}})["modelArn"]
        assert ":custom-model/imported/" in arn
        assert [get(modelIdentifier=name)["modelStatus"] for name in ("mine", arn)] == ["Creating", "Active"]
        lost = make(modelName="lost", modelSourceConfig={"s3DataSource": {"s3Uri": "s3://data/no/"}})["modelArn"]
        get(modelIdentifier=lost)
        failed = get(modelIdentifier=lost)
        assert (failed["modelStatus"], "s3://data/no/" in failed["failureMessage"]) == ("Failed", True)
        assert refusal(make, modelName="neither")[0] == "ValidationException"
        assert names(bedrock().list_custom_models(modelStatus="Failed")["modelSummaries"], "modelName") == ["lost"]
        assert refusal(get, modelIdentifier="unknown")[0] == "ResourceNotFoundException"


def test_the_list_of_models() -> None:
    with mock_aws(reply="x"):
        first, second = custom("first"), custom("second", "amazon.nova-micro-v1:0")
        listed = bedrock().list_custom_models()["modelSummaries"]
        assert names(listed, "modelArn") == [second, first]
        assert listed[1]["baseModelArn"] == FOUNDATION + NOVA
        assert listed[1]["baseModelName"] == "amazon.nova-lite-v1"
        assert listed[1]["customizationType"] == "FINE_TUNING"
        assert listed[1]["ownerAccountId"] == "123456789012"
        for filters in ({"nameContains": "irs"}, {"baseModelArnEquals": FOUNDATION + NOVA}):
            assert names(bedrock().list_custom_models(**filters)["modelSummaries"], "modelArn") == [first]
        assert names(bedrock().list_custom_models(sortOrder="Ascending")["modelSummaries"], "modelArn") == [
            first,
            second,
        ]
        assert bedrock().list_custom_models(isOwned=False)["modelSummaries"] == []
        bedrock().delete_custom_model(modelIdentifier="first")
        assert names(bedrock().list_custom_models()["modelSummaries"], "modelArn") == [second]


def test_a_deployment_answers() -> None:
    with mock_aws(reply="Hello.", transitions={"custom-model-deployment": 1}) as aws:
        model, other = custom(), custom("other")
        make = bedrock().create_custom_model_deployment
        arn = make(modelDeploymentName="d", modelArn=model, description="a test")["customModelDeploymentArn"]
        assert refusal(say, model=arn)[0] == "ModelNotReadyException"
        assert say(arn) == "Hello."  # the invocation before was a look
        get = bedrock().get_custom_model_deployment
        found = get(customModelDeploymentIdentifier="d")
        assert (found["status"], found["modelArn"], found["description"]) == ("Active", model, "a test")
        assert refusal(make, modelDeploymentName="d", modelArn=model)[0] == "ValidationException"
        assert refusal(bedrock().delete_custom_model, modelIdentifier=model)[0] == "ConflictException"
        bedrock().update_custom_model_deployment(customModelDeploymentIdentifier="d", modelArn=other)
        seen = [get(customModelDeploymentIdentifier=arn) for _ in range(2)]
        assert [one["updateDetails"]["updateStatus"] for one in seen] == ["Updating", "UpdateCompleted"]
        assert [one["modelArn"] for one in seen] == [model, other]
        listed = bedrock().list_custom_model_deployments(modelArnEquals=other)["modelDeploymentSummaries"]
        assert names(listed, "customModelDeploymentName") == ["d"]
        bedrock().delete_custom_model_deployment(customModelDeploymentIdentifier=arn)
        assert refusal(get, customModelDeploymentIdentifier=arn)[0] == "ResourceNotFoundException"
        bedrock().delete_custom_model(modelIdentifier=other)
        aws.plane.strict_models = True
        assert refusal(say, model=arn) == ("ValidationException", "The provided model identifier is invalid.")


def test_a_deployment_that_fails() -> None:
    with mock_aws(reply="x") as aws:
        model = custom()
        aws.plane.fail("d", "no capacity")
        bedrock().create_custom_model_deployment(modelDeploymentName="d", modelArn=model)
        found = bedrock().get_custom_model_deployment(customModelDeploymentIdentifier="d")
        assert (found["status"], found["failureMessage"]) == ("Failed", "no capacity")
        assert refusal(say, model=found["customModelDeploymentArn"])[0] == "ModelNotReadyException"


# --- provisioned throughput ------------------------------------------------------------------------------------------


def provision(name: str = "fast", model: str = NOVA, units: int = 1, **more: Any) -> str:
    made = bedrock().create_provisioned_model_throughput(
        provisionedModelName=name, modelId=model, modelUnits=units, **more
    )
    return str(made["provisionedModelArn"])


def test_throughput_of_a_foundation_model() -> None:
    with mock_aws(reply="Hello.", transitions={"provisioned-throughput": 2}):
        arn = provision()
        get = bedrock().get_provisioned_model_throughput
        seen = [get(provisionedModelId=name)["status"] for name in ("fast", arn, arn)]
        assert seen == ["Creating", "Creating", "InService"]
        found = get(provisionedModelId=arn)
        assert found["modelArn"] == found["desiredModelArn"] == found["foundationModelArn"] == FOUNDATION + NOVA
        assert (found["modelUnits"], "commitmentDuration" in found) == (1, False)
        assert say(arn) == "Hello."
        update, delete = bedrock().update_provisioned_model_throughput, bedrock().delete_provisioned_model_throughput
        assert refusal(update, provisionedModelId=arn, desiredModelId="amazon.nova-pro-v1:0")[0] == (
            "ValidationException"
        )
        update(provisionedModelId=arn, desiredProvisionedModelName="faster")
        listed = bedrock().list_provisioned_model_throughputs(statusEquals="InService", nameContains="faster")
        assert names(listed["provisionedModelSummaries"], "provisionedModelArn") == [arn]
        delete(provisionedModelId="faster")
        assert refusal(get, provisionedModelId=arn)[0] == "ResourceNotFoundException"


def test_a_commitment_is_kept() -> None:
    now = [1000.0]
    with mock_aws(reply="x", clock=lambda: now[0]):
        arn = provision(commitmentDuration="OneMonth")
        delete = bedrock().delete_provisioned_model_throughput
        assert refusal(delete, provisionedModelId=arn)[0] == "ConflictException"
        now[0] = (
            bedrock().get_provisioned_model_throughput(provisionedModelId=arn)["commitmentExpirationTime"].timestamp()
        )
        delete(provisionedModelId=arn)


def test_throughput_of_a_custom_model_moves() -> None:
    with mock_aws(reply="x", transitions={"provisioned-throughput-update": 1}):
        first, second, third = custom("first"), custom("second"), custom("third", "amazon.nova-micro-v1:0")
        arn = provision(model=first)
        update, get = bedrock().update_provisioned_model_throughput, bedrock().get_provisioned_model_throughput
        assert refusal(update, provisionedModelId=arn, desiredModelId=third)[0] == "ValidationException"
        update(provisionedModelId=arn, desiredModelId=second)
        delete = bedrock().delete_provisioned_model_throughput
        assert refusal(delete, provisionedModelId=arn)[0] == "ConflictException"
        assert refusal(update, provisionedModelId=arn, desiredModelId=first)[0] == "ValidationException"
        seen = [get(provisionedModelId=arn) for _ in range(2)]
        assert [(one["status"], one["modelArn"], one["desiredModelArn"]) for one in seen] == [
            ("Updating", first, second),
            ("InService", second, second),
        ]


def test_units_and_names_of_throughput() -> None:
    with mock_aws(reply="x", quotas={"model-units": 3}):
        provision(units=2)
        assert refusal(provision, name="more", units=2)[0] == "ServiceQuotaExceededException"
        assert refusal(provision)[0] == "ValidationException"
        assert refusal(provision, name="none", model="no.such-model-v9:9")[0] == "ResourceNotFoundException"


# --- copies and routers ----------------------------------------------------------------------------------------------


def test_a_copy_in_another_region() -> None:
    with mock_aws(reply="Hello.", transitions={"model-copy": 1}):
        source = custom(customModelTags=[{"key": "a", "value": "b"}])
        west = bedrock("us-west-2")
        create = west.create_model_copy_job
        assert refusal(bedrock().create_model_copy_job, sourceModelArn=source, targetModelName="copy")[0] == (
            "ValidationException"
        )
        job = create(sourceModelArn=source, targetModelName="copy", targetModelTags=[{"key": "c", "value": "d"}])
        get = west.get_model_copy_job
        seen = [get(jobArn=job["jobArn"]) for _ in range(2)]
        assert [one["status"] for one in seen] == ["InProgress", "Completed"]
        assert seen[0]["targetModelArn"] == seen[1]["targetModelArn"]
        assert (seen[1]["sourceModelName"], seen[1]["sourceAccountId"]) == ("mine", "123456789012")
        copied = west.get_custom_model(modelIdentifier="copy")
        assert copied["modelArn"] == seen[1]["targetModelArn"]
        assert copied["baseModelArn"] == f"arn:aws:bedrock:us-west-2::foundation-model/{NOVA}"
        assert west.list_tags_for_resource(resourceARN=copied["modelArn"])["tags"] == [{"key": "c", "value": "d"}]
        listed = west.list_model_copy_jobs(sourceModelArnEquals=source, targetModelNameContains="op")
        assert names(listed["modelCopyJobSummaries"], "jobArn") == [job["jobArn"]]
        assert bedrock().list_model_copy_jobs()["modelCopyJobSummaries"] == []
        assert refusal(create, sourceModelArn=source, targetModelName="copy")[0] == "ValidationException"


def test_a_copy_of_what_is_gone() -> None:
    with mock_aws(reply="x", transitions={"model-copy": 1}):
        source, west = custom(), bedrock("us-west-2")
        job = west.create_model_copy_job(sourceModelArn=source, targetModelName="copy")["jobArn"]
        bedrock().delete_custom_model(modelIdentifier=source)
        west.get_model_copy_job(jobArn=job)
        found = west.get_model_copy_job(jobArn=job)
        assert (found["status"], "deleted" in found["failureMessage"]) == ("Failed", True)


def route(models: list[str], fallback: str, name: str = "r") -> str:
    made = bedrock().create_prompt_router(
        promptRouterName=name,
        models=[{"modelArn": arn} for arn in models],
        routingCriteria={"responseQualityDifference": 25.0},
        fallbackModel={"modelArn": fallback},
    )
    return str(made["promptRouterArn"])


def test_a_router() -> None:
    with mock_aws(reply="Hello."):
        models = [FOUNDATION + NOVA, FOUNDATION + "amazon.nova-pro-v1:0"]
        arn = route(models, models[1])
        found = bedrock().get_prompt_router(promptRouterArn=arn)
        assert (found["promptRouterName"], found["status"], found["type"]) == ("r", "AVAILABLE", "custom")
        assert found["fallbackModel"] == {"modelArn": models[1]}
        assert say(arn) == "Hello."
        assert refusal(route, models=models, fallback=models[0])[0] == "ConflictException"
        assert refusal(route, models=models[:1], fallback=models[0], name="s")[0] == "ValidationException"
        assert names(bedrock().list_prompt_routers(type="custom")["promptRouterSummaries"], "promptRouterArn") == [arn]
        assert bedrock().list_prompt_routers(type="default")["promptRouterSummaries"] == []
        bedrock().delete_prompt_router(promptRouterArn=arn)
        assert refusal(bedrock().get_prompt_router, promptRouterArn=arn)[0] == "ResourceNotFoundException"


# --- awsllm's own client ---------------------------------------------------------------------------------------------


@pytest.fixture
def aws() -> Any:
    with mock_aws(reply="Hello.") as entered:
        yield entered


def test_client_models(aws: MockAws) -> None:
    model = custom()
    deployment = bedrock().create_custom_model_deployment(modelDeploymentName="d", modelArn=model)
    profile = bedrock().create_inference_profile(
        inferenceProfileName="chat", modelSource={"copyFrom": FOUNDATION + NOVA}
    )
    provisioned = provision(model=model)
    with awsllm.Client(region="us-east-1") as caller:
        found = caller.models()
        assert found.warnings == ()
        kinds = {one.kind: one for one in found}
        assert {"foundation", "profile", "application_profile", "custom", "deployment", "provisioned"} == set(kinds)
        for kind, arn in (
            ("deployment", deployment["customModelDeploymentArn"]),
            ("application_profile", profile["inferenceProfileArn"]),
            ("provisioned", provisioned),
        ):
            assert kinds[kind].arn == arn
            reply = caller.converse(kinds[kind].reference, "Hello")
            assert reply.text == "Hello."
            assert reply.warnings == ()
        assert kinds["application_profile"].base == NOVA
