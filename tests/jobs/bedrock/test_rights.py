"""What a plan says that its caller needs of IAM, against an account that judges by it: enough, and nothing more.

Whoever has just the plan's ``permissions`` goes through the whole life of the job. What was judged on the way is kept;
each action of the plan is among it, and without any one statement of the plan something is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from awsllm.errors import AwsllmError
from awsllm.jobs.bedrock.copying import COPY, plan_copy
from awsllm.jobs.bedrock.customization import CUSTOMIZATION, CustomizationJob, lay_down, plan_customization
from awsllm.jobs.bedrock.importing import IMPORT, lay_files, plan_import
from awsllm.jobs.data.training import read_training_data
from awsllm.jobs.job import JobKind, JobPlan, follow, start
from awsllm.jumpstart.deploy.progress import Pace
from awsllm.testing import mock_aws
from tests.jobs.bedrock.test_bedrock_jobs import write_model
from tests.support.bedrock_account import NOVA, ROLE
from tests.support.rights import REGION, Clients, check_rights, role_of
from tests.support.sagemaker_account import client as boto_client

PACE = Pace(sleep=lambda seconds: None)
DATA = read_training_data([{"prompt": f"{n}?", "completion": "yes"} for n in range(4)])
Life = Callable[[Any, Any], None]


# --- the kinds -------------------------------------------------------------------------------------------------------


def follow_to_its_end(kind: JobKind[Any], clients: Clients, made: JobPlan) -> None:
    """As ``start`` does it, with what the life cycle beside it asks of the service."""
    start(kind, made, clients, pace=PACE).result()
    assert start(kind, made, clients, pace=PACE).result()
    assert made.name in [one.name for one in kind.list(clients)]


def customize(way: Any) -> tuple[Callable[[], Any], Life]:
    def plan() -> Any:
        return plan_customization(NOVA, DATA, REGION, {"output": "s3://data/out", "role": ROLE, "deploy": way})

    def life(clients: Clients, made: Any) -> None:
        lay_down(clients, made, DATA, {"output": "s3://data/out", "role": ROLE, "deploy": way})
        job = follow(CustomizationJob(clients, made.name, pace=PACE, deploy=made.deploy), made)
        assert bool(job.result().reference) == bool(way)
        assert job.losses() == ()  # a script trains nothing; its files are read
        follow(CustomizationJob(clients, made.name, pace=PACE, deploy=made.deploy), made)
        assert made.name in [one.name for one in CUSTOMIZATION.list(clients)]
        stopped_or_over(lambda: CUSTOMIZATION.stop(clients, made.name))

    return plan, life


def stopped_or_over(stop: Callable[[], object]) -> None:
    """A stop that is refused because the job is over was allowed."""
    with pytest.raises(AwsllmError, match="cannot be stopped"):
        stop()


def evaluate() -> tuple[Callable[[], Any], Life]:
    from awsllm.evaluation import bedrock
    from awsllm.jobs.bedrock.evaluation import EVALUATION
    from awsllm.jobs.bedrock.uploads import check_region, put, read_object

    lines = b'{"prompt": "Hi", "referenceResponse": "Hello"}\n'

    def plan() -> Any:
        config = bedrock.evaluation_config(
            ["Builtin.Correctness"], [], NOVA, None, "s3://data/out/awsllm/x/cases.jsonl"
        )
        options = {"role": ROLE, "output": "s3://data/out"}
        return bedrock.plan_evaluation(f"us.{NOVA}", lines, config, region=REGION, options=options)

    def life(clients: Clients, made: Any) -> None:
        check_region(clients, made.dataset, REGION)
        put(clients, made.dataset, lines)
        follow_to_its_end(EVALUATION, clients, made)
        stopped_or_over(lambda: EVALUATION.stop(clients, made.name))
        found = clients("s3").list_objects_v2(Bucket="data", Prefix="out/")["Contents"]
        written = next(one["Key"] for one in found if one["Key"].endswith("_output.jsonl"))
        assert read_object(clients, f"s3://data/{written}")

    return plan, life


def importing(folder: Path) -> tuple[Callable[[], Any], Life]:
    def life(clients: Clients, made: Any) -> None:
        lay_files(clients, made)
        follow_to_its_end(IMPORT, clients, made)

    return lambda: plan_import(folder, REGION, output="s3://data/models", role=ROLE), life


KINDS: dict[str, Any] = {
    "customization": lambda folder: customize("on-demand"),
    "provisioned": lambda folder: customize("provisioned"),
    "not served": lambda folder: customize(False),
    "evaluation": lambda folder: evaluate(),
    "import": importing,
}


def answer(request: Any) -> str:
    return json.dumps({"reason": "So.", "verdict": "5"})


@pytest.mark.parametrize("kind", KINDS)
def test_the_plan_s_rights_are_enough_and_all_needed(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, life = KINDS[kind](write_model(tmp_path / "mine"))
    made = plan()
    check_rights(monkeypatch, made.permissions, lambda clients: life(clients, made), reply=answer)


def test_a_copy_needs_its_source() -> None:
    with mock_aws(reply="x", iam=True):
        boto_client("s3").create_bucket(Bucket="data")
        plan, life = customize(False)
        life(lambda service: boto_client(service, REGION), plan())
        arn = next(iter(boto_client("bedrock", REGION).list_custom_models()["modelSummaries"]))["modelArn"]
        made = plan_copy(arn, "us-west-2", name="copied")
        follow_to_its_end(COPY, role_of(made.permissions, "us-west-2"), made)


def test_another_model_or_role_is_not_handed_over() -> None:
    """The plan's rights are those of its base and its role alone."""
    plan, _ = customize(False)
    made = plan()
    with mock_aws(reply="x", iam=True):
        boto_client("s3").create_bucket(Bucket="data")
        bedrock = role_of(made.permissions)("bedrock")
        for change, right in (
            (
                {"baseModelIdentifier": "amazon.nova-pro-v1:0"},
                "bedrock:CreateModelCustomizationJob on resource: arn:aws",
            ),
            ({"roleArn": "arn:aws:iam::123456789012:role/other"}, "iam:PassRole"),
        ):
            with pytest.raises(bedrock.exceptions.AccessDeniedException, match=right):
                bedrock.create_model_customization_job(**{**made.request, **change})


def test_a_role_is_handed_to_bedrock_alone() -> None:
    plan, _ = customize(False)
    passing = next(one for one in plan().permissions["Statement"] if one["Action"] == ["iam:PassRole"])
    assert passing["Condition"] == {"StringEquals": {"iam:PassedToService": "bedrock.amazonaws.com"}}
    with mock_aws(reply="x", iam=True):
        everything = {"Effect": "Allow", "Action": ["sagemaker:*", "bedrock:*"], "Resource": "*"}
        sagemaker = role_of({"Version": "2012-10-17", "Statement": [everything, passing]})("sagemaker")
        with pytest.raises(Exception, match="iam:PassRole"):
            sagemaker.create_model(
                ModelName="m", ExecutionRoleArn=ROLE, PrimaryContainer={"Image": "i", "ModelDataUrl": "s3://a/b"}
            )


def test_an_action_without_resources_takes_a_star() -> None:
    """AWS judges it on ``*`` alone: a policy that names ARNs allows nothing."""
    narrow = {"Effect": "Allow", "Action": "bedrock:ListModelImportJobs", "Resource": "arn:aws:bedrock:*:*:*"}
    with mock_aws(reply="x", iam=True):
        bedrock = role_of({"Version": "2012-10-17", "Statement": [narrow]})("bedrock")
        with pytest.raises(bedrock.exceptions.AccessDeniedException, match="ListModelImportJobs"):
            bedrock.list_model_import_jobs()


def test_tags_are_a_right_of_their_own() -> None:
    with mock_aws(reply="x", iam=True):
        boto_client("s3").create_bucket(Bucket="data")
        allowed = {"Effect": "Allow", "Action": ["bedrock:CreateModelImportJob", "iam:PassRole"], "Resource": "*"}
        bedrock = role_of({"Version": "2012-10-17", "Statement": [allowed]})("bedrock")
        made: Any = {
            "jobName": "a", "importedModelName": "a", "roleArn": ROLE,
            "modelDataSource": {"s3DataSource": {"s3Uri": "s3://data/m/"}},
        }  # fmt: skip
        with pytest.raises(bedrock.exceptions.AccessDeniedException, match="bedrock:TagResource"):
            bedrock.create_model_import_job(**made, jobTags=[{"key": "a", "value": "b"}])
        bedrock.create_model_import_job(**made)


def test_a_name_is_judged_as_what_it_names() -> None:
    """A right to one job is none to another, whatever the request calls it."""
    with mock_aws(reply="x", iam=True):
        boto_client("s3").create_bucket(Bucket="data")
        own = boto_client("bedrock", REGION)
        made = {
            name: own.create_model_import_job(
                jobName=name, importedModelName=name, roleArn=ROLE,
                modelDataSource={"s3DataSource": {"s3Uri": "s3://data/m/"}},
            )["jobArn"]
            for name in ("mine", "theirs")
        }  # fmt: skip
        right = {"Effect": "Allow", "Action": "bedrock:GetModelImportJob", "Resource": made["mine"]}
        bedrock = role_of({"Version": "2012-10-17", "Statement": [right]})("bedrock")
        assert bedrock.get_model_import_job(jobIdentifier="mine")["jobArn"] == made["mine"]
        for other in ("theirs", made["theirs"], "nobodys"):
            with pytest.raises(bedrock.exceptions.AccessDeniedException, match="GetModelImportJob"):
                bedrock.get_model_import_job(jobIdentifier=other)
