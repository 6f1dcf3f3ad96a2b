"""Planning and deploying: the change set as a value, nothing left behind, failures explained."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace as struct_replace

from awsllm import infra
from awsllm.errors import AccessDeniedError, AwsllmError, DeploymentError, ModelTimeoutError, ValidationError
from awsllm.infra import deployment, stacks
from awsllm.infra.change_sets import ResourceChange, StackPlan, StackRequest
from awsllm.infra.code import CodePackage, place, upload
from awsllm.infra.costs import cost_lines
from awsllm.infra.deployment import Site
from awsllm.infra.drift import detect
from awsllm.infra.failures import read_event
from awsllm.infra.parameters import HIDDEN
from awsllm.infra.templates import read_template
from awsllm.jumpstart.deploy.progress import Progress
from awsllm.testing import mock_aws
from tests.support.data import DATA
from tests.support.pace import Time
from tests.support.scripted_aws import ACCOUNT, REGION, ScriptedAws, Stacks, mocked_session, refusal

WORKER = DATA / "infra" / "worker.yaml"
GIVEN = {"CodeBucket": "b", "CodeKey": "k", "ModelId": "m", "ModelArns": "arn:x"}
QUEUE = "Resources:\n  Queue:\n    Type: AWS::SQS::Queue\n"
NO_CHANGES = "The submitted information didn't contain changes. Submit different information to create a change set."


def request(text: str | None = QUEUE, **options: Any) -> StackRequest:
    template = infra.template(WORKER) if text is None else read_template(text, name="queue")
    return StackRequest(stack="chat", template=template, **options)


def site(fake: Stacks, told: list[Progress] | None = None) -> Site:
    return Site(fake.aws.clients, REGION, Time().pace(5), None if told is None else told.append)


def change(action: str = "Add", resource: str = "Queue", **members: Any) -> dict[str, Any]:
    known = {"Action": action, "LogicalResourceId": resource, "ResourceType": "AWS::SQS::Queue"}
    return {"Type": "Resource", "ResourceChange": {**known, **members}}


DONE = [
    [("chat", "CREATE_IN_PROGRESS", ""), ("Queue", "CREATE_IN_PROGRESS", "")],
    [],
    [("Queue", "CREATE_COMPLETE", "")],
]
CREATED = [*DONE, [("chat", "CREATE_COMPLETE", "")]]
UPDATED = [[("chat", "UPDATE_IN_PROGRESS", "")], [("chat", "UPDATE_COMPLETE", "")]]
DENIED = "API: iam:CreateRole User: me is not authorized to perform: iam:CreateRole on resource: r"
FAILED = [
    [("chat", "CREATE_IN_PROGRESS", ""), ("Role", "CREATE_IN_PROGRESS", ""), ("Function", "CREATE_IN_PROGRESS", "")],
    [
        (
            "Role",
            "CREATE_FAILED",
            "API: iam:CreateRole User: me is not authorized to perform: iam:CreateRole on resource: r",
        )
    ],
    [("Function", "CREATE_FAILED", "Resource creation cancelled")],
    [("chat", "ROLLBACK_IN_PROGRESS", "The following resource(s) failed to create: [Role, Function].")],
    [("chat", "ROLLBACK_COMPLETE", "")],
]


# --- plan ------------------------------------------------------------------------------------------------------------


def test_a_plan_of_a_new_stack_leaves_nothing_behind() -> None:
    fake = Stacks(changes=[change()])
    found = deployment.plan(site(fake), request())
    assert (found.action, found.change_set) == ("create", None)
    assert found.changes == (ResourceChange(action="add", resource="Queue", type="AWS::SQS::Queue"),)
    assert fake.status is None
    assert len(fake.aws.requests("cloudformation.delete_change_set")) == 1
    assert fake.aws.requests("cloudformation.delete_stack") == [{"StackName": fake.id}]


def test_an_empty_stack_with_somebody_elses_change_set_is_let_be() -> None:
    fake = Stacks(changes=[change()], status="REVIEW_IN_PROGRESS")
    fake.aws.answers["cloudformation.list_change_sets"] = {"Summaries": [{"ChangeSetId": "arn:theirs"}]}
    deployment.plan(site(fake), request())
    assert fake.status == "REVIEW_IN_PROGRESS"
    assert fake.aws.requests("cloudformation.delete_stack") == []


def test_a_plan_of_changes_says_what_and_why() -> None:
    details = [
        {
            "Target": {
                "Attribute": "Properties",
                "Name": "QueueName",
                "Path": "/Properties/QueueName",
                "RequiresRecreation": "Always",
                "BeforeValue": "old",
                "AfterValue": "new " * 40,
            },
            "ChangeSource": "ParameterReference",
            "CausingEntity": "QueueName",
        },
        {"Target": {"Attribute": "Tags", "RequiresRecreation": "Never"}, "ChangeSource": "DirectModification"},
    ]
    changes = [
        change("Modify", Replacement="True", PolicyAction="ReplaceAndRetain", Details=details),
        change("Modify", "Other", Replacement="Conditional"),
        change("Remove", "Table", PolicyAction="Retain"),
        change("Remove", "Disk", PolicyAction="Snapshot"),
        change("Remove", "Gone", PolicyAction="Delete"),
    ]
    fake = Stacks(status="CREATE_COMPLETE", changes=changes, Tags=[{"Key": "awsllm:template", "Value": "queue"}])
    found = deployment.plan(site(fake), request())
    (first, tags) = found.changes[0].properties
    assert (first.path, first.before, first.recreates, first.cause) == (
        "QueueName",
        "old",
        "always",
        "parameter QueueName",
    )
    assert (tags.path, tags.cause) == ("Tags", "the template")
    text = str(found)
    assert "~ Queue  AWS::SQS::Queue  is replaced (the old one is retained)" in text
    assert "QueueName: old -> new new" in text
    assert max(map(len, text.splitlines())) < 140
    assert "~ Other  AWS::SQS::Queue  may be replaced" in text
    assert "- Table  AWS::SQS::Queue  is let go, not deleted" in text
    assert "- Disk  AWS::SQS::Queue  leaves a snapshot" in text
    assert text.splitlines()[-1].startswith("  idle cost")
    assert fake.aws.requests("cloudformation.delete_stack") == []


def test_changes_come_in_pages() -> None:
    fake = Stacks()
    pages = {None: ([change(resource="A")], "2"), "2": ([change(resource="B")], None)}

    def describe(asked: dict[str, Any]) -> dict[str, Any]:
        assert asked["IncludePropertyValues"] is True
        changes, token = pages[asked.get("NextToken")]
        return {"Status": "CREATE_COMPLETE", "Changes": changes, **({"NextToken": token} if token else {})}

    fake.aws.answers["cloudformation.describe_change_set"] = describe
    assert [each.resource for each in deployment.plan(site(fake), request()).changes] == ["A", "B"]


def test_it_waits_until_the_change_set_is_made() -> None:
    fake = Stacks(changes=[change()])
    states = iter(["CREATE_PENDING", "CREATE_IN_PROGRESS", "CREATE_COMPLETE"])
    fake.aws.answers["cloudformation.describe_change_set"] = lambda _: {"Status": next(states), "Changes": [change()]}
    assert len(deployment.plan(site(fake), request()).changes) == 1


def test_no_changes_are_no_failure() -> None:
    fake = Stacks(status="UPDATE_COMPLETE", change_set=("FAILED", NO_CHANGES))
    found = deployment.plan(site(fake), request())
    assert found.action == "nothing"
    assert str(found) == f"queue as chat in {REGION}: no changes"
    assert len(fake.aws.requests("cloudformation.delete_change_set")) == 1


def test_a_change_set_that_fails_says_why_and_is_removed() -> None:
    reason = "Template error: resource Queue does not support attribute type Foo in Fn::GetAtt"
    fake = Stacks(change_set=("FAILED", reason))
    with pytest.raises(DeploymentError, match="made no change set of chat: Template error") as caught:
        deployment.plan(site(fake), request())
    assert caught.value.reason == reason
    assert fake.status is None


@pytest.mark.parametrize("broken", ["create_change_set", "describe_change_set"])
@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        refusal("AccessDenied", "User: me is not authorized to perform: cloudformation:CreateChangeSet", 403),
    ],
)
def test_whatever_ends_a_plan_leaves_no_empty_stack(broken: str, error: BaseException) -> None:
    fake = Stacks()
    made = fake.aws.answers[f"cloudformation.{broken}"]

    def answer(asked: dict[str, Any]) -> Any:
        made(asked)
        return error

    fake.aws.answers[f"cloudformation.{broken}"] = answer
    with pytest.raises((KeyboardInterrupt, AccessDeniedError)):
        deployment.plan(site(fake), request())
    assert fake.status is None


def test_the_request_is_cloudformations() -> None:
    """Botocore judges its shape; here is what it says."""
    role = "arn:aws:iam::123456789012:role/deployer"
    known = [{"ParameterKey": "Level", "ParameterValue": "high"}, {"ParameterKey": "Gone", "ParameterValue": "x"}]
    fake = Stacks(
        status="CREATE_COMPLETE",
        Parameters=[*known, *({"ParameterKey": k, "ParameterValue": v} for k, v in GIVEN.items())],
    )
    found = deployment.plan(
        site(fake), request(None, parameters={"Size": 3, "Secret": "very secret"}, tags={"a": "b"}, role=role)
    )
    (sent,) = fake.aws.requests("cloudformation.create_change_set")
    parameters = {each["ParameterKey"]: each.get("ParameterValue") for each in sent["Parameters"]}
    assert parameters == {**dict.fromkeys([*GIVEN, "Level"]), "Size": "3", "Secret": "very secret"}
    assert all(each["UsePreviousValue"] for each in sent["Parameters"] if "ParameterValue" not in each)
    assert (sent["ChangeSetType"], sent["RoleARN"], sent["Capabilities"]) == ("UPDATE", role, ["CAPABILITY_IAM"])
    assert sent["Tags"] == [{"Key": "a", "Value": "b"}, {"Key": "awsllm:template", "Value": "worker"}]
    assert sent["TemplateBody"] == WORKER.read_text()
    assert found.parameters["Level"] == "high"
    assert found.parameters["Secret"] == HIDDEN
    assert "very secret" not in repr(found)
    assert any("was not made by awsllm" in warning for warning in found.warnings)


def test_parameters_are_checked_before_anything_is_made() -> None:
    fake = Stacks()
    with pytest.raises(ValidationError, match="CodeBucket is missing"):
        deployment.plan(site(fake), request(None))
    assert fake.aws.operations() == ["cloudformation.describe_stacks"]


def test_a_long_template_goes_as_json_and_a_longer_one_is_refused() -> None:
    comments = QUEUE + "# comment\n" * 6000
    fake = Stacks(changes=[change()])
    deployment.plan(site(fake), request(comments))
    assert fake.aws.requests("cloudformation.create_change_set")[0]["TemplateBody"].startswith('{"Resources"')
    many = "Resources:\n" + "".join(f"  {'Q' * 60}{n}:\n    Type: AWS::SQS::Queue\n" for n in range(600))
    with pytest.raises(ValidationError, match="split it into stacks"):
        deployment.plan(site(fake), request(many))


@pytest.mark.parametrize(
    ("status", "match"),
    [
        ("ROLLBACK_COMPLETE", "can only be deleted"),
        ("CREATE_FAILED", "can only be deleted"),
        ("DELETE_FAILED", "can only be deleted"),
        ("UPDATE_ROLLBACK_FAILED", "undoing a change got stuck"),
        ("UPDATE_IN_PROGRESS", "something else is changing it"),
        ("DELETE_IN_PROGRESS", "something else is changing it"),
    ],
)
def test_a_stack_in_no_state_to_be_changed_is_told(status: str, match: str) -> None:
    fake = Stacks(status=status)
    for act in (deployment.plan, deployment.deploy):
        with pytest.raises(DeploymentError, match=match):
            act(site(fake), request())
    assert fake.aws.requests("cloudformation.create_change_set") == []


# --- deploy ----------------------------------------------------------------------------------------------------------


def test_a_stack_is_made_and_its_events_are_told_as_they_come() -> None:
    fake = Stacks(changes=[change()], steps=CREATED, Outputs=[{"OutputKey": "Url", "OutputValue": "https://x"}])
    told: list[Progress] = []
    shown: list[StackPlan] = []

    def agree(plan: StackPlan) -> bool:
        shown.append(plan)
        return True

    made = deployment.deploy(site(fake, told), request(), approve=agree)
    assert made is not None
    assert (made.status, made.outputs) == ("CREATE_COMPLETE", {"Url": "https://x"})
    assert shown[0].change_set == fake.arn
    assert [(each.resource, each.state) for each in told] == [
        ("chat", "create_in_progress"),
        ("Queue", "create_in_progress"),
        ("Queue", "create_complete"),
        ("chat", "create_complete"),
    ]
    assert fake.aws.requests("cloudformation.delete_change_set") == []


def test_the_old_status_is_not_taken_for_the_end() -> None:
    """For a moment after the request the stack still says what it said before."""
    fake = Stacks(status="UPDATE_COMPLETE", changes=[change("Modify")], steps=[[], [], *UPDATED])
    told: list[Progress] = []
    made = deployment.deploy(site(fake, told), request())
    assert made is not None
    assert [each.state for each in told] == ["update_in_progress", "update_complete"]


def test_what_is_not_agreed_to_is_not_made() -> None:
    fake = Stacks(changes=[change()])
    assert deployment.deploy(site(fake), request(), approve=lambda plan: False) is None
    assert fake.status is None
    assert fake.aws.requests("cloudformation.execute_change_set") == []


def test_ctrl_c_while_it_asks_removes_the_change_set() -> None:
    def leave(plan: StackPlan) -> bool:
        raise KeyboardInterrupt

    fake = Stacks(changes=[change()])
    with pytest.raises(KeyboardInterrupt):
        deployment.deploy(site(fake), request(), approve=leave)
    assert fake.status is None


def test_deploying_what_is_there_is_a_success() -> None:
    fake = Stacks(status="CREATE_COMPLETE", change_set=("FAILED", NO_CHANGES))
    made = deployment.deploy(site(fake), request())
    assert made is not None
    assert made.status == "CREATE_COMPLETE"
    assert fake.aws.requests("cloudformation.execute_change_set") == []


def test_the_first_failure_is_the_one_told() -> None:
    fake = Stacks(changes=[change()], steps=FAILED)
    with pytest.raises(DeploymentError) as caught:
        deployment.deploy(site(fake), request())
    told = caught.value.message
    assert told.startswith("create of chat failed. Role (AWS::IAM::Role) failed: API: iam:CreateRole")
    assert "Whoever deploys lacks iam:CreateRole" in told
    assert "The stack is in ROLLBACK_COMPLETE" in told
    assert caught.value.reason is not None
    assert "Function" not in caught.value.reason


def test_a_nested_stacks_own_failure_is_looked_for() -> None:
    fake = Stacks(status="UPDATE_ROLLBACK_COMPLETE")
    nested = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/inner/2"
    inner = {**fake._events[0], "StackId": nested, "LogicalResourceId": "Table", "PhysicalResourceId": "t"}
    inner |= {
        "ResourceType": "AWS::DynamoDB::Table",
        "ResourceStatus": "CREATE_FAILED",
        "ResourceStatusReason": "taken",
    }
    fake.aws.answers["cloudformation.describe_stack_events"] = {"StackEvents": [inner]}
    outer = read_event({**fake._events[0], "LogicalResourceId": "Inner", "PhysicalResourceId": nested})
    outer = type(outer)(id="1", resource="Inner", type=outer.type, status="CREATE_FAILED", physical_id=nested)
    found = stacks.why_failed(fake.aws.clients, (outer,))
    assert found is not None
    assert (found.resource, found.reason) == ("Table", "taken")


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        refusal("ExpiredToken", "The security token included in the request is expired", 403),
    ],
)
def test_what_ends_the_waiting_says_that_the_deployment_goes_on(error: BaseException) -> None:
    fake = Stacks(changes=[change()], steps=CREATED)
    listed, looks = fake.aws.answers["cloudformation.describe_stack_events"], []

    def answer(asked: dict[str, Any]) -> Any:
        looks.append(1)
        return error if len(looks) == 3 else listed(asked)

    fake.aws.answers["cloudformation.describe_stack_events"] = answer
    with pytest.raises((KeyboardInterrupt, AccessDeniedError)) as caught:
        deployment.deploy(site(fake), request())
    assert caught.value.__notes__ == [
        "CloudFormation goes on with chat; follow it with: awsllm infra status chat --wait",
    ]
    assert fake.status == "CREATE_IN_PROGRESS"


def test_what_may_not_be_executed_leaves_nothing_behind() -> None:
    fake = Stacks(changes=[change()])
    text = "User: me is not authorized to perform: cloudformation:ExecuteChangeSet"
    fake.aws.answers["cloudformation.execute_change_set"] = refusal("AccessDenied", text, 403)
    with pytest.raises(AccessDeniedError, match="cloudformation:ExecuteChangeSet") as caught:
        deployment.deploy(site(fake), request())
    assert not hasattr(caught.value, "__notes__")
    assert fake.status is None


@pytest.mark.parametrize("operation", ["describe_stacks", "describe_stack_events"])
def test_what_ends_a_deployment_before_it_is_executed_leaves_nothing_behind(operation: str) -> None:
    fake = Stacks(changes=[change()])
    known = fake.aws.answers[f"cloudformation.{operation}"]

    def agree(plan: StackPlan) -> bool:
        def answer(asked: dict[str, Any]) -> Any:
            fake.aws.answers[f"cloudformation.{operation}"] = known
            return KeyboardInterrupt()

        fake.aws.answers[f"cloudformation.{operation}"] = answer
        return True

    with pytest.raises(KeyboardInterrupt):
        deployment.deploy(site(fake), request(), approve=agree)
    assert fake.status is None


def test_a_change_set_that_cannot_be_deleted_is_told_with_what_came_before() -> None:
    def leave(plan: StackPlan) -> bool:
        raise KeyboardInterrupt

    fake = Stacks(changes=[change()])
    fake.aws.answers["cloudformation.delete_change_set"] = refusal("Throttling", "Rate exceeded", 400)
    with pytest.raises(KeyboardInterrupt) as caught:
        deployment.deploy(site(fake), request(), approve=leave)
    assert "may be left" in caught.value.__notes__[0]


def test_a_request_shows_no_values() -> None:
    assert "very secret" not in repr(request(parameters={"Secret": "very secret"}))


def test_a_throttled_look_is_repeated() -> None:
    fake = Stacks(changes=[change()], steps=CREATED)
    listed, looks = fake.aws.answers["cloudformation.describe_stack_events"], []

    def answer(asked: dict[str, Any]) -> Any:
        looks.append(1)
        return refusal("Throttling", "Rate exceeded") if len(looks) == 3 else listed(asked)

    fake.aws.answers["cloudformation.describe_stack_events"] = answer
    made = deployment.deploy(site(fake), request())
    assert made is not None


def test_what_a_failed_creation_left_is_deleted_on_request() -> None:
    steps = [[("chat", "DELETE_IN_PROGRESS", "")], [("chat", "DELETE_COMPLETE", "")], *CREATED]
    fake = Stacks(status="ROLLBACK_COMPLETE", changes=[change()], steps=steps)
    made = deployment.deploy(site(fake), request(), recover=True)
    assert made is not None
    assert made.status == "CREATE_COMPLETE"
    assert fake.aws.requests("cloudformation.create_change_set")[0]["ChangeSetType"] == "CREATE"


def test_a_rollback_that_is_stuck_goes_on_on_request() -> None:
    steps = [[("chat", "UPDATE_ROLLBACK_IN_PROGRESS", "")], [("chat", "UPDATE_ROLLBACK_COMPLETE", "")], *UPDATED]
    fake = Stacks(status="UPDATE_ROLLBACK_FAILED", changes=[change("Modify")], steps=steps)
    made = deployment.deploy(site(fake), request(), recover=True)
    assert made is not None
    assert made.status == "UPDATE_COMPLETE"
    assert fake.aws.operations().index("cloudformation.continue_update_rollback") < fake.aws.operations().index(
        "cloudformation.create_change_set"
    )


def test_a_rollback_that_stays_stuck_is_told() -> None:
    steps = [
        [("chat", "UPDATE_ROLLBACK_IN_PROGRESS", ""), ("Queue", "UPDATE_FAILED", "it is gone")],
        [("chat", "UPDATE_ROLLBACK_FAILED", "")],
    ]
    fake = Stacks(status="UPDATE_ROLLBACK_FAILED", steps=steps)
    with pytest.raises(DeploymentError, match=r"Queue \(AWS::SQS::Queue\) failed: it is gone"):
        deployment.deploy(site(fake), request(), recover=True)


# --- status and drift ------------------------------------------------------------------------------------------------


def test_the_last_failure_is_that_of_the_last_operation() -> None:
    fake = Stacks(status="CREATE_COMPLETE")
    for event in [
        ("chat", "UPDATE_IN_PROGRESS", ""),
        ("Queue", "UPDATE_FAILED", "an old story"),
        ("chat", "UPDATE_ROLLBACK_COMPLETE", ""),
        ("chat", "UPDATE_IN_PROGRESS", ""),
        ("Function", "UPDATE_FAILED", "Error occurred while GetObject. S3 Error Code: NoSuchKey."),
        ("chat", "UPDATE_ROLLBACK_COMPLETE", ""),
    ]:
        fake._add(*event)
    found = stacks.last_failure(fake.aws.clients, stacks.get(fake.aws.clients, "chat"))
    assert found is not None
    assert found.resource == "Function"
    assert "The code is not where CodeBucket and CodeKey say" in str(found)


def test_drift_is_told_property_by_property() -> None:
    difference = {"PropertyPath": "/Delay", "ExpectedValue": "30", "ActualValue": "60", "DifferenceType": "NOT_EQUAL"}
    known = {"StackId": Stacks().id, "Timestamp": datetime(2026, 11, 26, tzinfo=UTC)}

    def resource(name: str, status: str, **more: Any) -> dict[str, Any]:
        named = {"LogicalResourceId": name, "ResourceType": "AWS::SQS::Queue", "StackResourceDriftStatus": status}
        return {**known, **named, **more}

    drifts = [
        resource("Queue", "MODIFIED", PropertyDifferences=[difference]),
        resource("Role", "DELETED"),
        resource("Fine", "IN_SYNC"),
        resource("Odd", "NOT_CHECKED"),
    ]
    asked = {"StackDriftDetectionId": "d" * 36}
    looks = iter(["DETECTION_IN_PROGRESS", "DETECTION_COMPLETE"])
    aws = ScriptedAws(
        {
            "cloudformation.detect_stack_drift": asked,
            "cloudformation.describe_stack_drift_detection_status": lambda _: {
                **known,
                **asked,
                "DetectionStatus": next(looks),
                "StackDriftStatus": "DRIFTED",
            },
            "cloudformation.describe_stack_resource_drifts": {"StackResourceDrifts": drifts},
        }
    )
    found = detect(aws.clients, "chat", Time().pace(5))
    assert (found.status, found.unchecked) == ("drifted", ("Odd",))
    assert [(each.resource, each.status) for each in found.resources] == [("Queue", "modified"), ("Role", "deleted")]
    (changed,) = found.resources[0].properties
    assert (changed.path, changed.difference, changed.expected, changed.actual) == ("/Delay", "not_equal", "30", "60")


def test_drift_that_cannot_be_told_says_why() -> None:
    told = {"StackId": Stacks().id, "StackDriftDetectionId": "d" * 36, "Timestamp": datetime(2026, 11, 26, tzinfo=UTC)}
    why = {"DetectionStatus": "DETECTION_FAILED", "DetectionStatusReason": "no right to read"}
    aws = ScriptedAws(
        {
            "cloudformation.detect_stack_drift": {"StackDriftDetectionId": "d" * 36},
            "cloudformation.describe_stack_drift_detection_status": {**told, **why},
        }
    )
    with pytest.raises(DeploymentError, match="no right to read"):
        detect(aws.clients, "chat", Time().pace(5))


# --- cost ------------------------------------------------------------------------------------------------------------

HOSTED = """
Parameters:
  Kind: {Type: String, Default: ml.g5.xlarge}
Resources:
  Config:
    Type: AWS::SageMaker::EndpointConfig
    Properties:
      ProductionVariants:
        - {VariantName: a, InstanceType: !Ref Kind, InitialInstanceCount: 2, ModelName: m}
"""


def test_an_endpoints_instances_have_their_price() -> None:
    template = read_template(HOSTED, name="hosted")
    known = cost_lines(template, {"Kind": "ml.g5.xlarge"}, REGION)
    assert known.usd_per_month is not None
    assert known.usd_per_month > 1000
    assert known.items[0].what == "2 x ml.g5.xlarge"
    assert known.date
    assert known.source
    unknown = cost_lines(template, {"Kind": "ml.moon.large"}, REGION)
    assert unknown.usd_per_month is None
    assert "no price is known" in unknown.items[0].what


def test_a_plan_shows_what_idles() -> None:
    fake = Stacks(changes=[change()])
    text = str(deployment.plan(site(fake), request(None, parameters=GIVEN)))
    assert "idle cost  $1.10 a month  (https://aws.amazon.com/kms/pricing/, 2026-11)" in text
    assert "      a key  $1.00" in text
    assert "      nothing else" in text
    assert "acknowledges  CAPABILITY_IAM" in text


# --- code ------------------------------------------------------------------------------------------------------------


def package(path: Path, text: str = "x") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo("handler.py"), text)
    return path


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "made-up")
    with mock_aws(reply="hi"):
        yield mocked_session().client


def test_code_is_named_by_its_content(tmp_path: Path) -> None:
    aws = ScriptedAws({"sts.get_caller_identity": {"Account": ACCOUNT}})
    worker = infra.template(WORKER)
    first = place(aws.clients, worker, package(tmp_path / "a.zip"), None, REGION)
    same = place(aws.clients, worker, package(tmp_path / "b.zip"), None, REGION)
    other = place(aws.clients, worker, package(tmp_path / "c.zip", "y"), "mine", REGION)
    assert first.parameters == same.parameters
    assert first.bucket == f"awsllm-code-{ACCOUNT}-{REGION}"
    assert (other.bucket, other.own) == ("mine", False)
    assert other.key != first.key


def test_what_is_no_package_is_refused(tmp_path: Path) -> None:
    aws = ScriptedAws({})
    (tmp_path / "x.zip").write_text("no zip")
    worker = infra.template(WORKER)
    with pytest.raises(ValidationError, match=r"awsllm lambda package --output x\.zip"):
        place(aws.clients, worker, tmp_path / "x.zip", None, REGION)
    with pytest.raises(ValidationError, match="cannot be read"):
        place(aws.clients, worker, tmp_path / "none.zip", None, REGION)
    with pytest.raises(ValidationError, match="takes no code"):
        place(aws.clients, read_template(QUEUE, name="queue"), package(tmp_path / "a.zip"), None, REGION)


def test_the_own_bucket_is_made_closed_and_filled_once(account: Callable[[str], Any], tmp_path: Path) -> None:
    made = place(account, infra.template(WORKER), package(tmp_path / "a.zip"), None, REGION)
    assert upload(account, made, REGION)
    assert not upload(account, made, REGION)
    s3 = account("s3")
    assert s3.get_object(Bucket=made.bucket, Key=made.key)["Body"].read() == (tmp_path / "a.zip").read_bytes()
    blocked = s3.get_public_access_block(Bucket=made.bucket)["PublicAccessBlockConfiguration"]
    assert set(blocked.values()) == {True}


def test_a_bucket_of_somebody_else_gets_no_code(tmp_path: Path) -> None:
    denied = refusal("403", "Forbidden", 403)
    aws = ScriptedAws({"s3.head_bucket": denied})
    made = CodePackage(path=str(package(tmp_path / "a.zip")), bucket="awsllm-code", key="k", account=ACCOUNT, own=True)
    with pytest.raises(AccessDeniedError, match="not this account's"):
        upload(aws.clients, made, REGION)
    assert aws.requests("s3.head_bucket") == [{"Bucket": "awsllm-code", "ExpectedBucketOwner": ACCOUNT}]
    assert "s3.put_object" not in aws.operations()


def test_code_is_uploaded_between_agreement_and_execution(tmp_path: Path) -> None:
    fake = Stacks(changes=[change()], steps=CREATED)
    fake.aws.answers |= {"s3.head_object": refusal("404", "Not Found", 404), "s3.put_object": {}}
    made = CodePackage(path=str(package(tmp_path / "a.zip")), bucket="b", key="k", account=ACCOUNT, own=False)
    deployment.deploy(site(fake), request(), package=made)
    order = [name for name in fake.aws.operations() if name.endswith(("put_object", "execute_change_set"))]
    assert order == ["s3.put_object", "cloudformation.execute_change_set"]
    again = Stacks(changes=[change()])
    deployment.deploy(site(again), request(), package=made, approve=lambda plan: False)
    assert "s3.put_object" not in again.aws.operations()


def test_a_failed_upload_leaves_no_stack(tmp_path: Path) -> None:
    fake = Stacks(changes=[change()])
    fake.aws.answers |= {
        "s3.head_object": refusal("404", "Not Found", 404),
        "s3.put_object": refusal("NoSuchBucket", "no", 404),
    }
    made = CodePackage(path=str(package(tmp_path / "a.zip")), bucket="b", key="k", account=ACCOUNT, own=False)
    with pytest.raises(AwsllmError):
        deployment.deploy(site(fake), request(), package=made)
    assert fake.status is None


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "1chat", "chat_1", "chat/1", "c" * 129, "chät", "chat 1", "-chat"])
def test_bad_names_of_stacks_are_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="is no name of a stack"):
        stacks.check_name(name)


def test_a_second_plan_leaves_nothing_behind_where_all_change_sets_are_listed(tmp_path: Path) -> None:
    """moto lists the change sets of every stack, whichever is asked for."""
    queue = tmp_path / "queue.yaml"
    queue.write_text(QUEUE, encoding="utf-8")
    with mock_aws(reply="x"):
        infra.deploy(queue, stack="first", region=REGION)
        infra.plan(queue, stack="second", region=REGION)
        assert [stack.name for stack in infra.list_stacks(region=REGION)] == ["first"]
        made = infra.deploy(queue, stack="second", region=REGION)
    assert made is not None
    assert made.status == "CREATE_COMPLETE"


def test_following_ends_after_its_time_and_names_what_is_under_way() -> None:
    fake = Stacks(
        steps=[[("chat", "CREATE_IN_PROGRESS", ""), ("Endpoint", "CREATE_IN_PROGRESS", "")]], changes=[change()]
    )
    bounded = replace(site(fake), timeout=600.0)
    with pytest.raises(ModelTimeoutError, match=r"CREATE_IN_PROGRESS after 600 seconds; under way: Endpoint") as raised:
        deployment.deploy(bounded, request())
    assert "awsllm infra status chat --wait" in raised.value.__notes__[0]


def test_a_change_set_that_is_never_made_is_given_up_and_removed() -> None:
    fake = Stacks(change_set=("CREATE_IN_PROGRESS", ""))
    with pytest.raises(ModelTimeoutError, match="the change set of chat is in CREATE_IN_PROGRESS after 900 seconds"):
        deployment.plan(site(fake), request())
    assert fake.aws.requests("cloudformation.delete_change_set")


@pytest.mark.parametrize("status", [None, "CREATE_COMPLETE"])
def test_a_plan_says_that_functions_keep_their_package(status: str | None) -> None:
    fake = Stacks(status=status, changes=[change()])
    found = deployment.plan(site(fake), struct_replace(request(), keeps_code=True))
    assert ("keep the package" in str(found)) == (status is not None)


def test_that_nothing_changes_says_so_of_the_package_too() -> None:
    fake = Stacks(status="CREATE_COMPLETE", change_set=("FAILED", NO_CHANGES))
    found = deployment.plan(site(fake), struct_replace(request(), keeps_code=True))
    assert (found.action, "keep the package" in str(found)) == ("nothing", True)
