"""The end of a stack: what goes, what stays, and data only when that is said."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest

from awsllm import infra
from awsllm.errors import DeploymentError
from awsllm.infra import deployment, removal
from awsllm.infra.deployment import Site
from awsllm.infra.removal import Removal
from awsllm.infra.templates import read_template
from awsllm.jumpstart.deploy.progress import Progress
from awsllm.testing import mock_aws
from tests.support.pace import Time, at
from tests.support.scripted_aws import REGION, Stacks, mocked_session

GONE = [[("chat", "DELETE_IN_PROGRESS", ""), ("Queue", "DELETE_COMPLETE", "")], [("chat", "DELETE_COMPLETE", "")]]
TEMPLATE = """
Resources:
  Kept: {Type: AWS::S3::Bucket, DeletionPolicy: Retain}
  Bucket: {Type: AWS::S3::Bucket}
  Table:
    Type: AWS::DynamoDB::Table
    DeletionPolicy: Retain
    Properties:
      BillingMode: PAY_PER_REQUEST
      AttributeDefinitions: [{AttributeName: id, AttributeType: S}]
      KeySchema: [{AttributeName: id, KeyType: HASH}]
  Key: {Type: AWS::KMS::Key, DeletionPolicy: Retain, Properties: {KeyPolicy: {}}}
  Queue: {Type: AWS::SQS::Queue}
"""


def site(fake: Stacks, told: list[Progress] | None = None) -> Site:
    return Site(fake.aws.clients, REGION, Time().pace(5), None if told is None else told.append)


# --- CloudFormation's part, scripted ---------------------------------------------------------------------------------


def test_a_stack_is_deleted_and_its_events_are_told() -> None:
    fake, told = Stacks(status="CREATE_COMPLETE", steps=GONE), []  # type: tuple[Stacks, list[Progress]]
    done = removal.destroy(site(fake, told), "chat")
    assert done is not None
    assert done.deleted
    assert [each.state for each in told] == ["delete_in_progress", "delete_complete", "delete_complete"]


def test_what_is_not_there_is_no_error() -> None:
    done = removal.destroy(site(Stacks()), "chat")
    assert done == Removal(stack="chat")


def test_a_protected_stack_is_refused_until_that_is_taken_away() -> None:
    fake = Stacks(status="CREATE_COMPLETE", steps=GONE, EnableTerminationProtection=True)
    with pytest.raises(DeploymentError, match="unprotect=True"):
        removal.destroy(site(fake), "chat")
    assert fake.aws.requests("cloudformation.delete_stack") == []
    done = removal.destroy(site(fake), "chat", unprotect=True)
    assert done is not None
    assert done.deleted
    assert fake.aws.requests("cloudformation.update_termination_protection")[0]["EnableTerminationProtection"] is False


def test_what_is_not_agreed_to_is_not_deleted() -> None:
    fake = Stacks(status="CREATE_COMPLETE", EnableTerminationProtection=True)
    assert removal.destroy(site(fake), "chat", unprotect=True, approve=lambda found: False) is None
    assert not {"cloudformation.delete_stack", "cloudformation.update_termination_protection"} & set(
        fake.aws.operations()
    )


def test_a_stack_that_is_being_changed_is_let_be() -> None:
    with pytest.raises(DeploymentError, match="wait until that is over"):
        removal.destroy(site(Stacks(status="UPDATE_IN_PROGRESS")), "chat")


def test_an_empty_stack_in_review_goes_at_once() -> None:
    fake = Stacks(status="REVIEW_IN_PROGRESS")
    done = removal.destroy(site(fake), "chat")
    assert done is not None
    assert done.deleted
    assert "cloudformation.get_template" not in fake.aws.operations()


def test_a_deletion_that_fails_says_why_and_what_is_left() -> None:
    reason = "Resource handler returned message: has a dependent object"
    steps = [
        [("chat", "DELETE_IN_PROGRESS", ""), ("Queue", "DELETE_FAILED", reason)],
        [("chat", "DELETE_FAILED", "The following resource(s) failed to delete: [Queue].")],
    ]
    with pytest.raises(DeploymentError) as caught:
        removal.destroy(site(Stacks(status="CREATE_COMPLETE", steps=steps)), "chat")
    assert "Queue (AWS::SQS::Queue) failed: Resource handler" in caught.value.message
    assert "Something outside the stack still uses it" in caught.value.message
    assert "the rest of the stack is still there" in caught.value.message


def test_ctrl_c_says_that_the_deletion_goes_on() -> None:
    fake = Stacks(status="CREATE_COMPLETE", steps=GONE)
    listed, looks = fake.aws.answers["cloudformation.describe_stack_events"], []  # type: tuple[Any, list[int]]

    def answer(asked: dict[str, Any]) -> Any:
        looks.append(1)
        return KeyboardInterrupt() if len(looks) == 2 else listed(asked)

    fake.aws.answers["cloudformation.describe_stack_events"] = answer
    with pytest.raises(KeyboardInterrupt) as caught:
        removal.destroy(site(fake), "chat")
    assert "awsllm infra status chat" in caught.value.__notes__[0]


# --- data, in moto's account -----------------------------------------------------------------------------------------


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[boto3.Session]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "made-up")
    with mock_aws(reply="hi"):
        yield mocked_session()


def made(account: boto3.Session) -> dict[str, str]:
    """The stack in moto; the names of what it made. Both buckets have two versions of an object."""
    client = account.client("cloudformation")
    client.create_stack(StackName="chat", TemplateBody=TEMPLATE)
    found = client.describe_stack_resources(StackName="chat")["StackResources"]
    names = {each["LogicalResourceId"]: each["PhysicalResourceId"] for each in found}
    s3 = account.client("s3")
    for bucket in (names["Bucket"], names["Kept"]):
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        for body in (b"1", b"2"):
            s3.put_object(Bucket=bucket, Key="x", Body=body)
        s3.delete_object(Bucket=bucket, Key="x")
    return names


def buckets(account: boto3.Session) -> set[str]:
    return {each["Name"] for each in account.client("s3").list_buckets()["Buckets"]}


def test_a_bucket_with_objects_keeps_the_stack_alive(account: boto3.Session) -> None:
    names = made(account)
    with pytest.raises(DeploymentError, match="has objects") as caught:
        infra.destroy("chat", session=account, pace=at(0))
    assert names["Bucket"] in caught.value.message
    assert names["Kept"] not in caught.value.message
    assert "delete_data=True" in caught.value.message
    assert account.client("cloudformation").describe_stacks(StackName="chat")["Stacks"]


def test_what_is_retained_is_told_by_name(account: boto3.Session) -> None:
    names = made(account)
    shown: list[Removal] = []

    def look(found: Removal) -> bool:
        shown.append(found)
        return False

    infra.destroy("chat", session=account, pace=at(0), approve=look, delete_data=True)
    kept = {each.resource for each in shown[0].retained}
    assert kept == {"Key"}  # a bucket and a table go with their data
    text = str(shown[0])
    assert f"- Bucket  AWS::S3::Bucket  {names['Bucket']}  has objects  with its data" in text
    assert f"= Key  AWS::KMS::Key  {names['Key']}  stays" in text
    assert buckets(account) == {names["Bucket"], names["Kept"]}


def test_data_goes_when_that_is_said(account: boto3.Session) -> None:
    made(account)
    done = infra.destroy("chat", session=account, pace=at(0), delete_data=True)
    assert done is not None
    assert (done.deleted, done.left) == (True, ())
    assert buckets(account) == set()
    assert account.client("dynamodb").list_tables()["TableNames"] == []


def test_data_that_cannot_go_is_told(account: boto3.Session) -> None:
    names = made(account)
    table = account.client("dynamodb")
    table.update_table(TableName=names["Table"], DeletionProtectionEnabled=True)
    done = infra.destroy("chat", session=account, pace=at(0), delete_data=True)
    assert done is not None
    assert done.deleted
    (left,) = done.left
    assert left.startswith(names["Table"])


def test_objects_that_cannot_go_stop_before_the_stack_is_touched() -> None:
    fake = Stacks(status="CREATE_COMPLETE")
    fake.resources = [
        {
            "LogicalResourceId": "Bucket",
            "PhysicalResourceId": "b",
            "ResourceType": "AWS::S3::Bucket",
            "ResourceStatus": "CREATE_COMPLETE",
            "LastUpdatedTimestamp": datetime(2026, 11, 26, tzinfo=UTC),
        }
    ]
    version = {"Key": "x", "VersionId": "1"}
    fake.aws.answers["s3.list_object_versions"] = {"Versions": [version]}
    fake.aws.answers["s3.delete_objects"] = {"Errors": [{"Key": "x", "Code": "AccessDenied"}]}
    with pytest.raises(DeploymentError, match="AccessDenied for 1 objects, 'x' the first"):
        removal.destroy(site(fake), "chat", delete_data=True)
    assert fake.aws.requests("cloudformation.delete_stack") == []


def test_protection_is_set_and_taken_away() -> None:
    fake = Stacks(status="CREATE_COMPLETE")
    deployment.protect(site(fake), "chat", on=True)
    assert fake.stack["EnableTerminationProtection"] is True


@pytest.mark.parametrize("unprotect", [False, True])
def test_queues_and_protected_tables_go_with_the_data(unprotect: bool) -> None:
    template = """
Resources:
  Letters: {Type: "AWS::SQS::Queue", DeletionPolicy: Retain}
  Table:
    Type: AWS::DynamoDB::Table
    DeletionPolicy: Retain
    Properties:
      KeySchema: [{AttributeName: a, KeyType: HASH}]
      AttributeDefinitions: [{AttributeName: a, AttributeType: S}]
      BillingMode: PAY_PER_REQUEST
      DeletionProtectionEnabled: true
"""
    found = read_template(template, name="t")
    with mock_aws(reply="x"):
        infra.deploy(found, stack="t", region=REGION)
        boto3.client("sqs", REGION).send_message(QueueUrl=_queues()[0], MessageBody="given up")
        done = infra.destroy("t", region=REGION, delete_data=True, unprotect=unprotect)
        assert done is not None
        assert "has about 1 messages" in {each.holds for each in done.resources}
        assert _queues() == []
        left = boto3.client("dynamodb", REGION).list_tables()["TableNames"]
        assert (len(left), ["unprotect=True" in each for each in done.left]) == ((0, []) if unprotect else (1, [True]))


def _queues() -> list[str]:
    return boto3.client("sqs", REGION).list_queues().get("QueueUrls", [])
