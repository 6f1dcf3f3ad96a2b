"""`awsllm infra` on stacks, as a shell runs it: from nothing to deployed to gone, in moto's account."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from awsllm import infra
from awsllm.aws import control
from awsllm.cli import terminal
from awsllm.infra import api
from awsllm.jumpstart.deploy.progress import Pace
from awsllm.testing import mock_aws
from tests.support.command_line import Run, runner
from tests.support.data import DATA
from tests.support.scripted_aws import REGION, Stacks, refusal

WORKER = str(DATA / "infra" / "worker.yaml")
Script = Callable[[Stacks], Stacks]
NOVA = "us.amazon.nova-lite-v1:0"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "made-up",
        "AWS_DEFAULT_REGION": REGION,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(api, "Pace", lambda poll: Pace(poll=0, sleep=lambda seconds: None))
    return runner(monkeypatch, capsys)


@pytest.fixture
def account() -> Iterator[boto3.Session]:
    with mock_aws(reply="hi"):
        yield boto3.Session(region_name=REGION)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Script:
    """A CloudFormation of the test's own in the account's place; Bedrock may not be asked in it."""

    def use(fake: Stacks) -> Stacks:
        fake.aws.answers["bedrock.get_inference_profile"] = refusal("AccessDeniedException", "no", 403)
        for name in ("client", "brief"):
            monkeypatch.setattr(control, name, lambda service, session=None: fake.aws.clients(service))
        return fake

    return use


@pytest.fixture
def package(tmp_path: Path) -> str:
    with zipfile.ZipFile(tmp_path / "worker.zip", "w") as archive:
        archive.writestr("handler.py", "x")
    return str(tmp_path / "worker.zip")


def test_from_nothing_to_deployed_to_gone(run: Run, account: boto3.Session, package: str) -> None:
    words = [WORKER, "--stack", "work", "--model", f"bedrock:{NOVA}", "--code", package]
    planned = run("infra", "plan", *words)
    assert (planned.code, planned.out.splitlines()[0]) == (0, f"worker as work in {REGION}: a new stack")
    assert "+ Function  AWS::Lambda::Function" in planned.out
    assert run("infra", "status", "work").code == 1  # a plan leaves nothing

    made = run("infra", "deploy", *words, "--yes", "--tag", "team=a")
    assert (made.code, made.out.splitlines()[0]) == (0, "work is in CREATE_COMPLETE")
    assert "idle cost  $1.10 a month" in made.err
    assert "uploaded" in made.err
    assert "create_complete" in made.err

    stack = infra.status("work", session=account)
    assert stack.parameters["ModelId"] == NOVA
    profile = f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/{NOVA}"
    assert stack.parameters["ProfileArn"] == profile
    assert stack.parameters["ModelArns"].count("foundation-model/amazon.nova-lite-v1:0") == 3
    assert (stack.tags["team"], stack.template) == ("a", "worker")
    (code,) = account.client("s3").list_objects_v2(Bucket=stack.parameters["CodeBucket"])["Contents"]
    assert code["Key"] == stack.parameters["CodeKey"]

    shown = run("infra", "status", "work").out
    assert "Function" in shown
    assert [each["name"] for each in json.loads(run("infra", "list", "--stacks", "--json").out)] == ["work"]
    assert "work" in run("infra", "list", "--stacks").out

    gone = run("infra", "destroy", "work", "--yes")
    assert gone.out.splitlines()[0] == "work is deleted"
    assert "Bucket" in gone.out  # it is retained, and told
    assert run("infra", "destroy", "work", "--yes").err.strip() == "awsllm: there is no stack work"


def test_a_program_reads_json(run: Run, scripted: Script, tmp_path: Path) -> None:
    (tmp_path / "queue.yaml").write_text(QUEUE)
    words = [str(tmp_path / "queue.yaml"), "--stack", "chat", "--json"]
    steps = [[("chat", "CREATE_IN_PROGRESS", "")], [("chat", "CREATE_COMPLETE", "")]]
    added = {"Action": "Add", "LogicalResourceId": "Queue", "ResourceType": "AWS::SQS::Queue"}
    scripted(Stacks(steps=steps, changes=[{"Type": "Resource", "ResourceChange": added}]))
    plan = json.loads(run("infra", "plan", *words).out)
    assert (plan["action"], plan["changes"]) == (
        "create",
        [{"action": "add", "resource": "Queue", "type": "AWS::SQS::Queue"}],
    )
    assert json.loads(run("infra", "deploy", *words, "--yes").out)["status"] == "CREATE_COMPLETE"
    assert json.loads(run("infra", "status", "chat", "--json").out)["name"] == "chat"
    scripted(Stacks(status="CREATE_COMPLETE", steps=[[("chat", "DELETE_COMPLETE", "")]]))
    assert json.loads(run("infra", "destroy", "chat", "--yes", "--json").out)["deleted"] is True


def test_without_code_a_plan_says_that_it_is_built(run: Run, scripted: Script) -> None:
    scripted(Stacks())
    plan = json.loads(run("infra", "plan", WORKER, "--model", f"bedrock:{NOVA}", "--json").out)
    assert plan["parameters"]["CodeKey"] == "awsllm/worker/built-when-deployed.zip"


def test_code_is_built_where_none_is_given(
    run: Run, scripted: Script, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def build(output: Path, **options: Any) -> Any:
        asked.update(options)
        output.write_bytes(Path(package).read_bytes())
        options["progress"]("fetching msgspec")
        return type("Built", (), {"path": output})

    monkeypatch.setattr("awsllm.lambdas.packaging.build.build", build)
    steps = [[("awsllm-worker", "CREATE_IN_PROGRESS", "")], [("awsllm-worker", "CREATE_COMPLETE", "")]]
    fake = scripted(Stacks(name="awsllm-worker", steps=steps))
    fake.aws.answers |= {"s3.head_bucket": {}, "s3.head_object": {}}
    result = run("infra", "deploy", WORKER, "--model", f"bedrock:{NOVA}", "--yes")
    assert result.code == 0
    assert "fetching msgspec" in result.err
    assert asked["handlers"] == ("awsllm.lambdas.sqs.handler", "awsllm.lambdas.documents.handler")
    assert asked["arch"] == "arm64"


def test_a_model_id_among_the_parameters_is_enough(run: Run, scripted: Script, package: str) -> None:
    scripted(Stacks())
    words = ["infra", "plan", WORKER, "--code", package, "--json"]
    plan = json.loads(run(*words, "-p", f"ModelId={NOVA}").out)
    assert plan["parameters"]["ModelArns"].count("foundation-model") == 3
    both = run(*words, "--model", "bedrock:a.b", "--model", "bedrock:c.d")
    assert "takes one model, not 2" in both.err
    assert "takes no model" in run("infra", "plan", "shared", "--model", "bedrock:a.b").err
    own = run(*words, "--model", "arn:aws:bedrock:us-east-1:123456789012:imported-model/x")
    assert "give the parameters ModelId, ModelArns, ProfileArn themselves" in own.err


def test_wrong_parameters_are_told_with_their_fix(run: Run, scripted: Script, package: str) -> None:
    scripted(Stacks())
    result = run("infra", "deploy", WORKER, "--code", package, "-p", "Sizes=3", "--yes")
    assert result.code == 1
    assert "did you mean Size?" in result.err
    assert "ModelId is missing (The model that is called)" in result.err
    assert run("infra", "deploy", WORKER, "--tag", "x").code == 2


# --- against a CloudFormation that fails, or says more than moto's ---------------------------------------------------


QUEUE = "Resources:\n  Queue:\n    Type: AWS::SQS::Queue\n"
OUTPUTS = [
    {"OutputKey": "FunctionUrl", "OutputValue": "https://x?a=b&c", "Description": "Ask here"},
    {"OutputKey": "APIKey", "OutputValue": "it's"},
]


def test_outputs_for_people_programs_and_shells(run: Run, scripted: Script) -> None:
    scripted(Stacks(status="CREATE_COMPLETE", Outputs=OUTPUTS))
    assert "FunctionUrl  https://x?a=b&c  Ask here" in run("infra", "outputs", "chat").out
    assert json.loads(run("infra", "outputs", "chat", "--json").out) == {
        "FunctionUrl": "https://x?a=b&c",
        "APIKey": "it's",
    }
    lines = run("infra", "outputs", "chat", "--env").out.splitlines()
    assert lines == ["export FUNCTION_URL='https://x?a=b&c'", "export API_KEY='it'\"'\"'s'"]
    scripted(Stacks(status="CREATE_COMPLETE"))
    assert "has no outputs" in run("infra", "outputs", "chat").err


def test_a_failure_is_one_line_with_its_fix(run: Run, scripted: Script, tmp_path: Path) -> None:
    steps = [
        [("chat", "CREATE_IN_PROGRESS", "")],
        [("Role", "CREATE_FAILED", "User: me is not authorized to perform: iam:CreateRole")],
        [("chat", "ROLLBACK_IN_PROGRESS", "")],
        [("chat", "ROLLBACK_COMPLETE", "")],
    ]
    fake = Stacks(steps=steps)
    scripted(fake)
    (tmp_path / "queue.yaml").write_text(QUEUE)
    words = ["infra", "deploy", str(tmp_path / "queue.yaml"), "--stack", "chat", "--yes"]
    result = run(*words)
    last = result.err.splitlines()[-1]
    assert result.code == 1
    assert last.startswith("awsllm: create of chat failed. Role (AWS::IAM::Role) failed")
    assert "Whoever deploys lacks iam:CreateRole: allow it, or deploy with a role that has it (--role)" in last
    assert "ROLLBACK_COMPLETE" in last
    again = run(*words)
    assert "deploy with --recover, which deletes it first" in again.err
    shown = run("infra", "status", "chat").out
    assert "why      Role (AWS::IAM::Role) failed" in shown


def test_a_stack_is_protected_when_it_is_made(run: Run, scripted: Script, tmp_path: Path) -> None:
    (tmp_path / "queue.yaml").write_text(QUEUE)
    words = ["infra", "deploy", str(tmp_path / "queue.yaml"), "--stack", "chat", "--yes", "--protect"]
    steps = [[("chat", "CREATE_IN_PROGRESS", "")], [("chat", "CREATE_COMPLETE", "")]]
    scripted(fake := Stacks(steps=steps))
    assert run(*words).code == 0
    assert fake.stack["EnableTerminationProtection"] is True
    assert "protected  from deletion" in run("infra", "status", "chat").out
    refused = run("infra", "destroy", "chat", "--yes")
    assert (refused.code, "give --unprotect" in refused.err) == (1, True)
    scripted(fake := Stacks(steps=steps))
    denied = refusal("AccessDenied", "not authorized to perform: cloudformation:UpdateTerminationProtection", 403)
    fake.aws.answers["cloudformation.update_termination_protection"] = denied
    result = run(*words)
    assert result.code == 1
    assert "chat is in CREATE_COMPLETE; only its protection was not changed" in result.err


def test_what_runs_keeps_its_code_and_its_parameters(run: Run, scripted: Script) -> None:
    known = {"CodeBucket": "b", "CodeKey": "k", "ModelId": "m", "ModelArns": "arn:x"}
    there = [{"ParameterKey": key, "ParameterValue": value} for key, value in known.items()]
    steps = [[("chat", "UPDATE_IN_PROGRESS", "")], [("chat", "UPDATE_COMPLETE", "")]]
    scripted(fake := Stacks(status="CREATE_COMPLETE", steps=steps, Parameters=there))
    assert run("infra", "deploy", WORKER, "--stack", "chat", "-p", "Size=2", "--yes").code == 0
    (sent,) = fake.aws.requests("cloudformation.create_change_set")
    kept = [each["ParameterKey"] for each in sent["Parameters"] if each.get("UsePreviousValue")]
    assert sorted(kept) == sorted(known)


def test_ctrl_c_leaves_the_stack_deploying_and_says_how_to_go_on(run: Run, scripted: Script, tmp_path: Path) -> None:
    fake = Stacks(steps=[[("chat", "CREATE_IN_PROGRESS", "")]])
    listed, looks = fake.aws.answers["cloudformation.describe_stack_events"], []  # type: tuple[Any, list[int]]

    def answer(asked: dict[str, Any]) -> Any:
        looks.append(1)
        return KeyboardInterrupt() if len(looks) == 3 else listed(asked)

    fake.aws.answers["cloudformation.describe_stack_events"] = answer
    scripted(fake)
    (tmp_path / "queue.yaml").write_text(QUEUE)
    result = run("infra", "deploy", str(tmp_path / "queue.yaml"), "--stack", "chat", "--yes")
    assert result.code == 130
    assert "follow it with: awsllm infra status chat --wait" in result.err
    assert fake.status == "CREATE_IN_PROGRESS"


def test_on_a_terminal_it_is_asked_about(
    run: Run, scripted: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def agreed(question: str) -> bool:
        asked.append(question)
        return False

    monkeypatch.setattr(terminal, "is_agreed", agreed)
    (tmp_path / "queue.yaml").write_text(QUEUE)
    fake = Stacks()
    scripted(fake)
    assert run("infra", "deploy", str(tmp_path / "queue.yaml"), "--stack", "chat").code == 1
    assert fake.status is None
    fake = Stacks(status="CREATE_COMPLETE")
    scripted(fake)
    assert run("infra", "destroy", "chat").code == 1
    assert fake.status == "CREATE_COMPLETE"
    assert asked == ["Make it, for unknown while idle?", "Delete chat?"]


def test_drift_is_shown(run: Run, scripted: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    from awsllm.infra.drift import Drift, DriftedProperty, DriftedResource

    changed = DriftedProperty(path="/Delay", difference="not_equal", expected="30", actual="60")
    resources = (
        DriftedResource(resource="Queue", type="AWS::SQS::Queue", status="modified", properties=(changed,)),
        DriftedResource(resource="Role", type="AWS::IAM::Role", status="deleted"),
    )
    drifted = Drift(status="drifted", resources=resources, unchecked=("Odd",))
    monkeypatch.setattr("awsllm.infra.drift.detect", lambda *_: drifted)
    scripted(Stacks(status="CREATE_COMPLETE"))
    result = run("infra", "status", "chat", "--drift")
    assert "drift: drifted" in result.out
    assert "Queue     modified  /Delay    30        60" in result.out
    assert "Role      deleted" in result.out
    assert "cannot check Odd" in result.err
    assert json.loads(run("infra", "status", "chat", "--drift", "--json").out)["drift"]["status"] == "drifted"


def test_without_a_region_that_is_the_first_thing_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    assert "--region" in run("infra", "plan", "shared").err


def test_what_goes_on_can_be_followed(run: Run, scripted: Script) -> None:
    steps = [[], [("Queue", "CREATE_COMPLETE", "")], [], [("chat", "CREATE_COMPLETE", "")]]
    fake = Stacks(status="CREATE_IN_PROGRESS", steps=steps)
    fake.runs()
    scripted(fake)
    result = run("infra", "status", "chat", "--wait")
    assert "chat  CREATE_COMPLETE" in result.out
    assert "Queue  create_complete" in result.err
    assert run("infra", "status", "chat", "--wait").code == 0  # what is over is not waited for


def test_code_is_built_anew_when_that_is_said(run: Run, scripted: Script) -> None:
    known = {"CodeBucket": "b", "CodeKey": "k", "ModelId": "m", "ModelArns": "arn:x"}
    there = [{"ParameterKey": key, "ParameterValue": value} for key, value in known.items()]
    scripted(Stacks(status="CREATE_COMPLETE", Parameters=there))
    words = ["infra", "plan", WORKER, "--stack", "chat", "--json"]
    assert json.loads(run(*words).out)["parameters"]["CodeKey"] == "k"
    assert json.loads(run(*words, "--build").out)["parameters"]["CodeKey"].endswith("built-when-deployed.zip")
