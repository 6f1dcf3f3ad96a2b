"""Model packages and their groups, whoever makes them, by boto3 alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from awsllm.server.account import protocols
from awsllm.server.shapes import faults, service_model
from awsllm.testing import mock_aws
from tests.server.account.test_trained_jobs import GROUP, PAIRS, jumpstart, serverless, weights
from tests.server.account.test_trained_jobs import channel as of_channel
from tests.support import tiny_chat
from tests.support.bedrock_account import put
from tests.support.sagemaker_account import ARN, DOCUMENTS, ROLE, VLLM, client, host, refusal

PLACE = {"S3DataSource": {"S3Uri": "s3://data/m/", "S3DataType": "S3Prefix", "CompressionType": "None"}}
SPECIFICATION: Any = {"Containers": [{**VLLM, "ModelDataSource": PLACE}]}


_NOT_YET = "Value null at 'ModelArtifacts'"  # of a training job that has written none, though the model has it


@pytest.fixture(autouse=True)
def judged(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """botocore's service model judges every response."""
    found: list[str] = []
    write = protocols.write

    def judge(meant: protocols.Meant, response: Any) -> Any:
        reply = write(meant, response)
        shape = service_model(meant.service).operation_model(meant.operation).output_shape
        if shape is not None:
            told = [fault for fault in faults(shape, json.loads(reply.body)) if not fault.startswith(_NOT_YET)]
            found.extend(f"{meant.operation}: {fault}" for fault in told)
        return reply

    monkeypatch.setattr(protocols, "write", judge)
    yield
    assert found == []


@pytest.fixture
def aws() -> Iterator[Any]:
    with mock_aws(reply="x") as mock:
        yield mock


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_chat.write(tmp_path_factory.mktemp("base"))


@pytest.fixture
def training(tiny: str) -> Iterator[Any]:
    with mock_aws(models={"*": tiny}, documents=DOCUMENTS, quotas={"customization-steps": 2}) as mock:
        yield mock


def versions(**wanted: Any) -> list[int]:
    listed = client("sagemaker").list_model_packages(ModelPackageGroupName="group", **wanted)
    return [one["ModelPackageVersion"] for one in listed["ModelPackageSummaryList"]]


def test_what_a_customisation_made_is_approved_tagged_and_deleted_with_its_group(training: Any) -> None:
    sagemaker = client("sagemaker")
    made = serverless("job", put("train.jsonl", *PAIRS))["OutputModelPackageArn"]
    sagemaker.update_model_package(
        ModelPackageArn=made, ModelApprovalStatus="Approved", ApprovalDescription="good",
        CustomerMetadataProperties={"a": "1", "b": "2"},
    )  # fmt: skip
    sagemaker.update_model_package(ModelPackageArn=made, CustomerMetadataPropertiesToRemove=["a"])
    told = sagemaker.describe_model_package(ModelPackageName=made)
    assert (told["ModelApprovalStatus"], told["ApprovalDescription"]) == ("Approved", "good")
    assert told["CustomerMetadataProperties"] == {"b": "2"}
    assert told["LastModifiedTime"] >= told["CreationTime"]
    assert sagemaker.add_tags(ResourceArn=made, Tags=[{"Key": "a", "Value": "b"}])["Tags"]
    assert sagemaker.list_tags(ResourceArn=made)["Tags"] == [{"Key": "a", "Value": "b"}]
    assert sagemaker.describe_model_package_group(ModelPackageGroupName="tuned")["ModelPackageGroupArn"] == GROUP
    assert refusal(sagemaker.delete_model_package_group, ModelPackageGroupName="tuned")[0] == "ConflictException"
    sagemaker.delete_model_package(ModelPackageName=made)
    sagemaker.delete_model_package_group(ModelPackageGroupName=GROUP)
    assert sagemaker.list_model_package_groups()["ModelPackageGroupSummaryList"] == []
    assert "does not exist" in refusal(sagemaker.describe_model_package, ModelPackageName=made)[1]


def test_a_caller_s_own_version_of_what_was_trained_answers_with_its_weights(training: Any) -> None:
    sagemaker = client("sagemaker")
    put("data/train.jsonl", *PAIRS)
    artifact = jumpstart("job", of_channel("train", "s3://data/data/"))["ModelArtifacts"]["S3ModelArtifacts"]
    sagemaker.create_model_package_group(ModelPackageGroupName="mine")
    arn = sagemaker.create_model_package(
        ModelPackageGroupName="mine",
        InferenceSpecification={"Containers": [{**VLLM, "ModelDataUrl": artifact}]},
        ModelApprovalStatus="Approved",
    )["ModelPackageArn"]
    assert arn == f"{ARN}:model-package/mine/1"
    host("e", container={**VLLM, "ModelPackageName": arn})
    assert Path(weights(training, "e")).exists()


def test_a_version_is_deployed_once_it_is_approved(aws: Any) -> None:
    sagemaker = client("sagemaker")
    sagemaker.create_model_package_group(ModelPackageGroupName="group")
    made = sagemaker.create_model_package(
        ModelPackageGroupName="group", InferenceSpecification=SPECIFICATION, ModelApprovalStatus="Rejected"
    )["ModelPackageArn"]
    model = {"ModelName": "m", "ExecutionRoleArn": ROLE, "PrimaryContainer": {"ModelPackageName": made}}
    assert refusal(sagemaker.create_model, **model) == (
        "ValidationException",
        f"ModelPackage {made} is Rejected: it must be Approved to be deployed.",
    )
    sagemaker.update_model_package(ModelPackageArn=made, ModelApprovalStatus="Approved")
    assert sagemaker.create_model(**model)["ModelArn"].endswith("model/m")
    sagemaker.create_model_package(ModelPackageName="alone", InferenceSpecification=SPECIFICATION)
    unversioned = {**model, "ModelName": "n", "PrimaryContainer": {"ModelPackageName": "alone"}}
    assert sagemaker.create_model(**unversioned)["ModelArn"].endswith("model/n")


def test_versions_are_listed_by_what_is_asked(aws: Any) -> None:
    sagemaker = client("sagemaker")
    group = sagemaker.create_model_package_group(
        ModelPackageGroupName="group", ModelPackageGroupDescription="mine", Tags=[{"Key": "a", "Value": "b"}]
    )["ModelPackageGroupArn"]
    assert sagemaker.list_tags(ResourceArn=group)["Tags"]
    for status in ("Approved", "PendingManualApproval", "Approved"):
        sagemaker.create_model_package(
            ModelPackageGroupName=group, ModelApprovalStatus=status, InferenceSpecification=SPECIFICATION
        )
    sagemaker.create_model_package(ModelPackageName="alone", InferenceSpecification=SPECIFICATION)
    assert versions() == [1, 2, 3]  # the oldest first, as botocore's service model says
    assert versions(SortOrder="Descending", MaxResults=2) == [3, 2]
    assert versions(ModelApprovalStatus="Approved") == [1, 3]
    assert (versions(NameContains="GRO"), versions(NameContains="arn")) == ([1, 2, 3], [])
    pages = sagemaker.get_paginator("list_model_packages").paginate(
        ModelPackageGroupName="group", PaginationConfig={"PageSize": 2}
    )
    assert [len(page["ModelPackageSummaryList"]) for page in pages] == [2, 1]

    def names(**wanted: Any) -> list[str]:
        listed = sagemaker.list_model_packages(**wanted)["ModelPackageSummaryList"]
        return [one["ModelPackageArn"].partition("/")[2] for one in listed]

    assert (names(), names(ModelPackageType="Versioned")) == (["alone"], ["group/1", "group/2", "group/3"])
    assert len(names(ModelPackageType="Both")) == 4
    assert sagemaker.describe_model_package(ModelPackageName="alone")["ModelPackageName"] == "alone"


def test_what_cannot_be_is_refused(aws: Any) -> None:
    sagemaker = client("sagemaker")
    sagemaker.create_model_package_group(ModelPackageGroupName="group")
    sagemaker.create_model_package(ModelPackageName="alone", InferenceSpecification=SPECIFICATION)
    create, arn = sagemaker.create_model_package, f"{ARN}:model-package/alone"
    for call, members, code in (
        (sagemaker.create_model_package_group, {"ModelPackageGroupName": "group"}, "ValidationException"),
        (create, {"ModelPackageGroupName": "other"}, "ValidationException"),
        (create, {"ModelPackageGroupName": "group", "ModelPackageName": "two"}, "ValidationException"),
        (create, {"ModelPackageName": "alone"}, "ConflictException"),
        (
            sagemaker.update_model_package,
            {"ModelPackageArn": arn, "ModelApprovalStatus": "Approved"},
            "ValidationException",
        ),
        (sagemaker.delete_model_package, {"ModelPackageName": "none"}, "ValidationException"),
        (sagemaker.delete_model_package_group, {"ModelPackageGroupName": "none"}, "ValidationException"),
        (sagemaker.list_model_packages, {"ModelPackageGroupName": "none"}, "ValidationException"),
    ):
        assert refusal(call, **members)[0] == code, members


def test_training_jobs_are_listed_described_and_deleted(aws: Any) -> None:
    sagemaker, uri = client("sagemaker"), put("train.jsonl", *PAIRS)
    plan = f"{ARN}:training-plan/mine"
    machine = {"InstanceType": "ml.g5.2xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30}
    for name, more in (("first", {}), ("second", {"ResourceConfig": {**machine, "TrainingPlanArn": plan}})):
        jumpstart(name, of_channel("train", uri), **more)
    assert serverless("third", uri)["StoppingCondition"] == {"MaxRuntimeInSeconds": 86_400}

    def names(**wanted: Any) -> list[str]:
        found = sagemaker.list_training_jobs(**wanted)["TrainingJobSummaries"]
        return [one["TrainingJobName"] for one in found]

    assert names() == ["first", "second", "third"]
    assert names(SortOrder="Descending", MaxResults=1) == ["third"]
    assert (names(TrainingPlanArnEquals=plan), names(WarmPoolStatusEquals="Available")) == (["second"], [])
    sagemaker.delete_training_job(TrainingJobName="first")
    assert names() == ["second", "third"]
    assert refusal(sagemaker.delete_training_job, TrainingJobName="first")[0] == "ResourceNotFound"
    jumpstart("first", of_channel("train", uri))  # its name is free again


def test_a_job_that_runs_is_not_deleted() -> None:
    with mock_aws(reply="x", transitions={"training": 3}):
        uri = put("train.jsonl", *PAIRS)
        jumpstart("job", of_channel("train", uri), RoleArn=ROLE)
        assert refusal(client("sagemaker").delete_training_job, TrainingJobName="job")[0] == "ResourceInUse"
