"""The least rights of jobs: those of the plans, of every job of a kind; enough for a job's whole life, and nothing
more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from awsllm import infra
from awsllm.aws.authorization import Policies, Right
from awsllm.cli import infra_policy
from awsllm.errors import ValidationError
from awsllm.infra.job_permissions import JOBS
from awsllm.infra.permissions import Permissions
from tests.jobs import test_rights as of_sagemaker
from tests.jobs.bedrock import test_rights as of_bedrock
from tests.jobs.bedrock.test_bedrock_jobs import write_model
from tests.support import tiny_chat
from tests.support.bedrock_account import NOVA
from tests.support.bedrock_account import ROLE as BEDROCK_ROLE
from tests.support.command_line import Run, runner
from tests.support.rights import REGION, SPARE, check_rights
from tests.support.sagemaker_account import DOCUMENTS, ROLE

ACCOUNT = ROLE.split(":")[4]
HUB = frozenset(
    ("sagemaker:DescribeHubContent", "sagemaker:ListHubContentVersions", "sagemaker:ListHubContents", "s3:GetObject")
)
"""Of ``client.fine_tune``, which reads the model's document before it plans."""
UPLOAD = frozenset(("s3:PutObject", "s3:ListBucket"))
"""Of data that are not in S3 yet."""


def derived(*models: str, job: str, **uses: Any) -> Permissions:
    role: Any = {} if "job_role" in uses else {"job_role": BEDROCK_ROLE}
    return infra.policy(*models, job=job, offline=True, account=ACCOUNT, region=REGION, **role, **uses)


def sagemaker(*models: str, job: str, **uses: Any) -> Permissions:
    return derived(*models, job=job, job_role=ROLE, **{"job_output": "s3://data/out", **uses})


# The plans and lives of tests/jobs, by kind, and what `awsllm infra policy` has for them.
BEDROCK: dict[str, Any] = {
    "customization": lambda: derived(f"bedrock:{NOVA}", job="fine-tuning", job_output="s3://data/out"),
    "provisioned": lambda: derived(
        f"bedrock:{NOVA}", job="fine-tuning", job_output="s3://data/out", served="provisioned"
    ),
    "not served": lambda: derived(f"bedrock:{NOVA}", job="fine-tuning", job_output="s3://data/out", served="no"),
    "import": lambda: derived(job="import", job_output="s3://data/models"),
    "evaluation": lambda: derived(
        f"bedrock:us.{NOVA}", job="evaluation", job_output="s3://data/out", judge=f"bedrock:{NOVA}"
    ),
}
MODEL = f"sagemaker:{of_sagemaker.MODEL}"
SAGEMAKER: dict[str, Any] = {
    "jumpstart": lambda: sagemaker(MODEL, job="fine-tuning", job_input="s3://data/train/"),
    "serverless": lambda: sagemaker(MODEL, job="serverless"),
    "transform": lambda: sagemaker(
        "sagemaker:served", job="transform", job_input="s3://data/records/", job_output="s3://data/answers"
    ),
}


def rights_of(document: Any) -> list[Right]:
    """Each action of a policy on each of its resources, as a request that it allows."""
    found = []
    for one in document["Statement"]:
        values = {key: value for pairs in one.get("Condition", {}).values() for key, value in pairs.items()}
        context = {key: [value] if isinstance(value, str) else value for key, value in values.items()}
        found += [Right(action, resource, context) for action in one["Action"] for resource in one["Resource"]]
    return found


def check_plan(found: Permissions, plan: Any) -> None:
    assert Policies([found.policy]).first_missing(rights_of(plan.permissions)) is None
    assert Policies([found.role_policy]).first_missing(rights_of(plan.role_permissions)) is None
    assert found.trust == plan.role_trust


@pytest.mark.parametrize("kind", BEDROCK)
def test_rights_of_bedrock_s_jobs_are_enough_and_all_needed(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, life = of_bedrock.KINDS[kind](write_model(tmp_path / "mine"))
    found, made = BEDROCK[kind](), plan()
    check_plan(found, made)
    check_rights(monkeypatch, found.policy, lambda clients: life(clients, made), reply=of_bedrock.answer)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_chat.write(tmp_path_factory.mktemp("base"))


@pytest.mark.parametrize("kind", SAGEMAKER)
def test_rights_of_sagemaker_s_jobs_are_enough_and_all_needed(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base: str
) -> None:
    made, live = of_sagemaker.KINDS[kind](tmp_path)
    found = SAGEMAKER[kind]()
    check_plan(found, made)
    trained: Any = {"reply": None, "models": {"*": base}, "quotas": {"customization-steps": 2}}
    more = {"transform": frozenset[str](), "serverless": HUB, "jumpstart": HUB | UPLOAD}[kind]
    spare, options = SPARE | of_sagemaker.LOGS | more, trained if kind == "serverless" else {}
    check_rights(monkeypatch, found.policy, live, spare, documents=DOCUMENTS, **options)


def test_a_script_s_plan_is_within_what_training_takes(tmp_path: Path) -> None:
    made, _ = of_sagemaker.script(tmp_path)
    image = made.request["AlgorithmSpecification"]["TrainingImage"]
    found = sagemaker("sagemaker:mine", job="fine-tuning", image=image)
    check_plan(found, made)
    assert not any("image" in note for note in found.notes)
    pulled = [{one["Sid"]: one for one in policy["Statement"]} for policy in (found.role_policy, made.role_permissions)]
    assert pulled[0]["Image"] == pulled[1]["Image"]
    anything = sagemaker("sagemaker:mine", job="fine-tuning")
    check_plan(anything, made)
    assert any("image=" in note for note in anything.notes)


def test_a_session_s_rights_are_those_that_its_life_takes() -> None:
    from awsllm.aws.iam import Arns, policy
    from awsllm.jobs.sessions.kind import SESSIONS

    found = sagemaker(job="session")  # lived in tests/jobs/test_rights.py
    live = policy(*SESSIONS.rights(ROLE, Arns(REGION, ACCOUNT)))
    assert found.policy == live
    assert any("training session" in note for note in found.notes)


def passing(found: Permissions) -> Any:
    return [one for one in found.policy["Statement"] if "iam:PassRole" in one["Action"]]


def test_a_role_is_handed_to_its_service_alone() -> None:
    for made, service, role in (
        *((make(), "bedrock", BEDROCK_ROLE) for make in BEDROCK.values()),
        *((SAGEMAKER[kind](), "sagemaker", ROLE) for kind in ("jumpstart", "serverless")),
        (sagemaker(job="session"), "sagemaker", ROLE),
    ):
        [one] = passing(made)
        assert one["Resource"] == [role]
        assert one["Condition"] == {"StringEquals": {"iam:PassedToService": f"{service}.amazonaws.com"}}
    assert passing(SAGEMAKER["transform"]()) == []  # the model has its role already


@pytest.mark.parametrize(
    ("kind", "service", "resource"),
    [
        ("customization", "bedrock", "model-customization-job/*"),
        ("import", "bedrock", "model-import-job/*"),
        ("evaluation", "bedrock", "evaluation-job/*"),
        ("jumpstart", "sagemaker", "*"),
        ("serverless", "sagemaker", "*"),
        ("transform", "sagemaker", "*"),
    ],
)
def test_who_may_be_the_role(kind: str, service: str, resource: str) -> None:
    [one] = (BEDROCK | SAGEMAKER)[kind]().trust["Statement"]
    assert (one["Principal"], one["Action"]) == ({"Service": f"{service}.amazonaws.com"}, "sts:AssumeRole")
    assert one["Condition"] == {
        "StringEquals": {"aws:SourceAccount": ACCOUNT},
        "ArnEquals": {"aws:SourceArn": f"arn:aws:{service}:{REGION}:{ACCOUNT}:{resource}"},
    }


def test_what_is_not_known_is_open_and_said() -> None:
    found = infra.policy(f"bedrock:{NOVA}", job="fine-tuning", job_output="s3://out", offline=True, region=REGION)
    assert passing(found)[0]["Resource"] == ["arn:aws:iam::*:role/*"]
    assert found.trust is not None
    assert list(found.trust["Statement"][0]["Condition"]) == ["ArnLike"]
    assert any("job_role=" in note for note in found.notes)
    assert any("account=" in note for note in found.notes)


def test_what_teaches_grades_and_judges_is_the_role_s() -> None:
    function = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:grade"
    output = {"job_output": "s3://data/out"}
    found = derived(f"bedrock:{NOVA}", job="fine-tuning", teacher="amazon.nova-pro-v1:0", grader=function, **output)
    role = {one["Sid"]: one for one in found.role_policy["Statement"]}
    assert role["Grade"]["Resource"] == [function]
    assert "arn:aws:bedrock:*::foundation-model/amazon.nova-pro-v1:0" in role["Teach"]["Resource"]
    evaluated = derived(f"bedrock:{NOVA}", job="evaluation", judge="bedrock:amazon.nova-pro-v1:0", **output)
    invoked = next(one for one in evaluated.role_policy["Statement"] if one["Sid"] == "Invoke")
    assert len(invoked["Resource"]) == 2


@pytest.mark.parametrize(
    ("models", "uses", "match"),
    [
        ((), {"job": "baking"}, "none of fine-tuning"),
        ((), {"job": "fine-tuning", "job_output": "s3://out"}, "name one"),
        (("local:x",), {"job": "evaluation", "job_output": "s3://out"}, "models of bedrock"),
        ((f"bedrock:{NOVA}",), {"job": "fine-tuning"}, "job_output="),
        ((f"bedrock:{NOVA}",), {"job": "fine-tuning", "job_output": "here"}, "s3://"),
        ((f"bedrock:{NOVA}",), {"job": "fine-tuning", "job_output": "s3://out", "served": "maybe"}, "on-demand"),
        (("sagemaker:m",), {"job": "transform", "job_output": "s3://out"}, "job_input="),
        ((), {"job": "import", "job_output": "s3://out", "job_role": "me"}, "ARN of a role"),
        ((f"bedrock:{NOVA}",), {"job": "import", "stream": True}, "stream"),
        ((f"bedrock:{NOVA}",), {"job_output": "s3://out"}, "job= says which"),
    ],
)
def test_bad_uses_are_refused(models: tuple[str, ...], uses: dict[str, Any], match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        infra.policy(*models, offline=True, region=REGION, **uses)


def test_cfn_lint_knows_every_action_and_condition() -> None:
    from cfnlint.api import ManualArgs, lint

    made = {name: make() for name, make in (BEDROCK | SAGEMAKER).items()}
    documents = {name.title().replace(" ", ""): one.policy for name, one in made.items()}
    documents |= {f"{name.title().replace(' ', '')}Role": one.role_policy for name, one in made.items()}
    resources = {
        name: {"Type": "AWS::IAM::ManagedPolicy", "Properties": {"PolicyDocument": document}}
        for name, document in documents.items()
    }
    text = json.dumps({"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources})
    found = lint(text, None, None, ManualArgs(regions=[REGION], include_checks=["I"]))
    told = [f"{match.rule.id} {match.message}" for match in found if match.rule.id != "I3042"]
    assert [one for one in told if "CreateTransformJob" not in one] == []  # judged on its model, too, in a statement


# --- the command line ------------------------------------------------------------------------------------------------


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    return runner(monkeypatch, capsys)


def test_each_document_is_printed(run: Run) -> None:
    words = ["infra", "policy", f"bedrock:{NOVA}", "--offline", "--account", ACCOUNT, "--job", "fine-tuning"]
    words += ["--job-role", BEDROCK_ROLE, "--job-output", "s3://data/out"]
    expected = BEDROCK["customization"]()
    assert json.loads(run(*words).out) == expected.policy
    assert json.loads(run(*words, "--document", "role").out) == expected.role_policy
    assert json.loads(run(*words, "--document", "trust").out) == expected.trust
    told = run(*words, "--explain").out
    assert "PassBedrockRole: the role that the jobs run as, for this service alone" in told


def test_the_command_line_names_every_job() -> None:
    assert tuple(JOBS) == infra_policy._JOBS
