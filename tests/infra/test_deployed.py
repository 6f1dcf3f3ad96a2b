"""Every template deployed into moto as it is, changed and deleted again.

moto makes what it knows and has stand-ins for the rest, so what a stack lists and its outputs are compared with what
the template says; behind which of them there is something, the tests of their services say.
"""

from __future__ import annotations

import ast
import json
from typing import Any

import boto3
import pytest

import awsllm
from awsllm import infra
from awsllm.infra.templates import Template
from awsllm.testing import mock_aws
from tests.support.stacks import CASES, FilledIn, filled, walk
from tests.support.stacks_in_moto import STACK, deploy, expected, made, prepared

_CHANGES = {
    "chat-api": {"FrontDoor": "both", "SystemPrompt": "Be brief."},
    "documents": {"SourcePrefix": "in/"},
    "gateway": {"KillSwitch": "true", "FrontDoor": "both"},
    "guardrails": {"Enforcement": "account"},
    "knowledge-base": {"SyncSchedule": "rate(1 day)"},
    "logging": {"Prompts": "true"},
    "shared": {"AlarmEmail": "ops@example.com", "CreateKey": "false"},
}
"""A change of a stack, by template: something more or less is made, or what is there is made otherwise."""


@pytest.mark.parametrize(("name", "most"), CASES)
def test_a_stack_comes_and_goes(name: str, most: bool) -> None:
    with mock_aws(reply="x"):
        stack = prepared(filled(name, most=most))
        outputs = deploy(stack)
        assert made() == expected(stack)
        assert outputs.keys() == _outputs(stack).keys()
        assert all(value and "${" not in value for value in outputs.values()), outputs
        retained = [key for key, each in stack.resources.items() if "Retain" in each.get("DeletionPolicy", "")]
        gone = infra.destroy(STACK, region="us-east-1")
        assert gone is not None
        assert sorted(each.resource for each in gone.retained) == sorted(retained)
        assert infra.list_stacks(region="us-east-1") == ()
        buckets = {each["Name"] for each in boto3.client("s3", "us-east-1").list_buckets()["Buckets"]}
        assert buckets >= {each.physical_id for each in gone.retained if each.type == "AWS::S3::Bucket"}


def _outputs(stack: FilledIn) -> dict[str, Any]:
    return {name: each for name, each in stack.template["Outputs"].items() if stack._made(each)}


@pytest.mark.parametrize("name", sorted(_CHANGES))
def test_a_stack_changes(name: str) -> None:
    with mock_aws(reply="x"):
        deploy(prepared(filled(name)))
        before = made()
        changed = filled(name, _CHANGES[name])
        plan = infra.plan(name, stack=STACK, parameters=changed.given, region="us-east-1")
        outputs = deploy(changed)
        assert made() == expected(changed)
        assert outputs.keys() == _outputs(changed).keys()
        told = {
            action: {each.resource for each in plan.changes if each.action == action} for action in ("add", "remove")
        }
        assert told == {"add": made().keys() - before.keys(), "remove": before.keys() - made().keys()}
        assert len(plan.changes) < len(before), "what does not change is not told to change"


def test_functions_come_with_their_environment_and_roles_with_their_rights() -> None:
    """As moto's Lambda and IAM have them."""
    stack = filled("chat-api")
    with mock_aws(reply="x"):
        outputs = deploy(prepared(stack))
        client = boto3.client("lambda", "us-east-1")
        (function,) = client.list_functions()["Functions"]
        assert function["Environment"]["Variables"]["AWSLLM_MODEL"] == stack.environment()["AWSLLM_MODEL"]
        assert function["Environment"]["Variables"]["AWSLLM_SESSIONS_TABLE"].startswith("stack-SessionsTable")
        url = client.get_function_url_config(FunctionName=function["FunctionName"])
        assert (url["FunctionUrl"], url["AuthType"]) == (outputs["Url"], "AWS_IAM")
        assert outputs["Url"].endswith(".lambda-url.us-east-1.on.aws/")
        iam = boto3.client("iam", "us-east-1")
        (role,) = iam.list_roles()["Roles"]
        document = iam.get_role_policy(RoleName=role["RoleName"], PolicyName="chat")["PolicyDocument"]
        document = ast.literal_eval(document)  # moto answers with what Python shows of a dictionary
        (models,) = [each for each in walk(document) if each.get("Sid") == "Models"]
        assert models["Resource"] == stack.given["ModelArns"].split(",")


# --- foreign templates -----------------------------------------------------------------------------------------------


def _foreign(resources: dict[str, Any], **members: Any) -> Template:
    document = {"Resources": resources, **members}
    return Template(name="foreign", path="", text=json.dumps(document), document=document)


def _deploy(template: Template, **parameters: str) -> infra.StackDescription:
    found = infra.deploy(template, stack="foreign", parameters=parameters, region="us-east-1")
    assert found is not None
    return found


def test_types_that_moto_does_not_make_have_names_and_attributes() -> None:
    pool = {"Type": "AWS::Cognito::UserPool", "Properties": {"UserPoolName": "people"}}
    custom = {"Type": "Custom::Thing", "Properties": {"ServiceToken": "arn:aws:lambda:us-east-1:1:function:f"}}
    alarm = {"Type": "AWS::CloudWatch::Alarm", "Properties": {"AlarmName": "late", "MetricName": {"Ref": "Pool"}}}
    wait = {"Type": "AWS::CloudFormation::WaitConditionHandle"}
    values = {
        "Pool": {"Fn::GetAtt": ["Pool", "Arn"]},
        "Provider": {"Fn::Sub": "${Pool.ProviderURL}"},
        "Alarm": {"Ref": "Alarm"},
        "AlarmArn": {"Fn::GetAtt": ["Alarm", "Arn"]},
        "Thing": {"Fn::GetAtt": ["Thing", "Answer"]},
        "Wait": {"Ref": "Wait"},
    }
    template = _foreign(
        {"Pool": pool, "Thing": custom, "Alarm": alarm, "Wait": wait},
        Outputs={name: {"Value": value} for name, value in values.items()},
    )
    with mock_aws(reply="x"):
        outputs = _deploy(template).outputs
        assert outputs["AlarmArn"] == "arn:aws:cloudwatch:us-east-1:123456789012:alarm:late"
        assert outputs["Alarm"] == "late"
        assert outputs["Pool"].startswith("arn:aws:cognito-idp:us-east-1:123456789012:userpool/")
        assert outputs["Provider"].startswith("https://")
        assert outputs["Thing"]
        assert outputs["Wait"]
        assert _deploy(template).outputs == outputs, "the same once more"


def test_nothing_and_numbers_are_as_cloudformation_has_them() -> None:
    """``AWS::NoValue`` in a list, and a number that is compared with text."""
    statement = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
    maybe = {"Fn::If": ["Zero", statement, {"Ref": "AWS::NoValue"}]}
    policy = {
        "Type": "AWS::IAM::ManagedPolicy",
        "Properties": {"PolicyDocument": {"Version": "2012-10-17", "Statement": [statement, maybe]}},
    }
    template = _foreign(
        {"Policy": policy, "Topic": {"Type": "AWS::SNS::Topic", "Condition": "Zero"}},
        Parameters={"Count": {"Type": "Number", "Default": 0}},
        Conditions={"Zero": {"Fn::Equals": [{"Ref": "Count"}, "0"]}},
    )
    with mock_aws(reply="x"):
        _deploy(template)
        assert {each.id for each in infra.status("foreign", region="us-east-1").resources} == {"Policy", "Topic"}
        assert len(_statements()) == 2
        _deploy(template, Count="1")
        assert {each.id for each in infra.status("foreign", region="us-east-1").resources} == {"Policy"}
        assert boto3.client("sns", "us-east-1").list_topics()["Topics"] == []
    with mock_aws(reply="x"):
        _deploy(template, Count="1")
        assert _statements() == [statement]


def _statements() -> Any:
    iam = boto3.client("iam", "us-east-1")
    (policy,) = iam.list_policies(Scope="Local")["Policies"]
    version = iam.get_policy_version(PolicyArn=policy["Arn"], VersionId=policy["DefaultVersionId"])["PolicyVersion"]
    return version["Document"]["Statement"]


_BUCKET = {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": "mine"}, "DeletionPolicy": "RetainExceptOnCreate"}
_WRONG = {"Type": "AWS::Lambda::Permission", "Properties": {"FunctionName": "nobody"}}


def test_what_is_not_given_keeps_its_value() -> None:
    """Lists, too; what is secret is not shown."""
    names = {"Type": "CommaDelimitedList"}
    secret = {"Type": "String", "NoEcho": True, "Default": "hidden"}
    topic = {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": {"Fn::Select": [1, {"Ref": "Names"}]}}}
    template = _foreign(
        {"Topic": topic, "More": {"Type": "AWS::SQS::Queue", "Condition": "Both"}},
        Parameters={"Names": names, "Secret": secret, "Size": {"Type": "String", "Default": "one"}},
        Conditions={"Both": {"Fn::Equals": [{"Ref": "Size"}, "both"]}},
    )
    with mock_aws(reply="x"):
        _deploy(template, Names="a,b", Secret="s3cret")
        found = _deploy(template, Size="both")
        assert found.parameters == {"Names": "a,b", "Secret": "****", "Size": "both"}
        assert {each.id for each in infra.status("foreign", region="us-east-1").resources} == {"Topic", "More"}
        (topic,) = boto3.client("sns", "us-east-1").list_topics()["Topics"]
        assert topic["TopicArn"].endswith(":b")


def test_what_does_not_fit_is_told_before_anything_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> Any:
        raise AssertionError("a package was built")

    monkeypatch.setattr("awsllm.infra.code.build", never)
    with mock_aws(reply="x"), pytest.raises(awsllm.ValidationError, match="did you mean SessionDays"):
        infra.deploy("chat-api", parameters={"SessionDay": "1"}, region="us-east-1")


def test_a_creation_that_fails_is_rolled_back_with_its_reason() -> None:
    with mock_aws(reply="x"):
        with pytest.raises(
            awsllm.DeploymentError, match=r"Wrong \(AWS::Lambda::Permission\) failed.*nobody.*ROLLBACK_COMP"
        ):
            _deploy(_foreign({"Bucket": _BUCKET, "Wrong": _WRONG}))
        found = infra.status("foreign", region="us-east-1")
        assert (found.status, found.failure is not None) == ("ROLLBACK_COMPLETE", True)
        assert boto3.client("s3", "us-east-1").list_buckets()["Buckets"] == []
        with pytest.raises(awsllm.DeploymentError, match="recover"):
            _deploy(_foreign({"Bucket": _BUCKET}))
        again = infra.deploy(_foreign({"Bucket": _BUCKET}), stack="foreign", region="us-east-1", recover=True)
        assert again is not None
        assert again.status == "CREATE_COMPLETE"


def test_a_change_that_fails_leaves_what_was() -> None:
    with mock_aws(reply="x"):
        topic = {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": "news"}}
        _deploy(_foreign({"Bucket": _BUCKET, "Topic": topic}))
        with pytest.raises(awsllm.DeploymentError, match="everything is as it was before"):
            _deploy(_foreign({"Bucket": _BUCKET, "Wrong": _WRONG}))
        found = infra.status("foreign", region="us-east-1")
        assert found.status == "UPDATE_ROLLBACK_COMPLETE"
        assert {each.id for each in found.resources} == {"Bucket", "Topic"}
        assert boto3.client("sns", "us-east-1").list_topics()["Topics"]


def test_a_deletion_that_fails_and_a_protected_stack() -> None:
    with mock_aws(reply="x"):
        bucket = {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": "full"}}
        _deploy(_foreign({"Bucket": bucket}))
        formation, s3 = boto3.client("cloudformation", "us-east-1"), boto3.client("s3", "us-east-1")
        s3.put_object(Bucket="full", Key="a", Body=b"")
        formation.update_termination_protection(StackName="foreign", EnableTerminationProtection=True)
        with pytest.raises(formation.exceptions.ClientError, match="TerminationProtection"):
            formation.delete_stack(StackName="foreign")
        formation.update_termination_protection(StackName="foreign", EnableTerminationProtection=False)
        formation.delete_stack(StackName="foreign")
        found = infra.status("foreign", region="us-east-1")
        assert (found.status, "not empty" in str(found.failure)) == ("DELETE_FAILED", True)
        s3.delete_object(Bucket="full", Key="a")
        assert infra.destroy("foreign", region="us-east-1") is not None
        assert infra.list_stacks(region="us-east-1") == ()


def test_moto_is_as_it_was_afterwards() -> None:
    from moto.cloudformation import parsing

    original = parsing.clean_json
    with mock_aws(reply="x"):
        boto3.client("cloudformation", "us-east-1").list_stacks()
        assert parsing.clean_json is not original
    assert parsing.clean_json is original
