"""Bedrock's jobs over the offline AWS: requests judged by botocore's model, data put to S3, models that answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.validate import ParamValidator

from awsllm.client import Client
from awsllm.errors import (
    ConfigurationError,
    DeploymentError,
    RequestError,
    UnsupportedError,
    ValidationError,
)
from awsllm.jobs.bedrock.copying import COPY, plan_copy
from awsllm.jobs.bedrock.customization import (
    CUSTOMIZATION,
    CustomizationJob,
    CustomizationPlan,
    lay_down,
    plan_customization,
)
from awsllm.jobs.bedrock.importing import IMPORT, lay_files, plan_import
from awsllm.jobs.bedrock.serving import serve
from awsllm.jobs.data.training import TrainingData, read_training_data
from awsllm.jobs.job import JobPlan, follow, resume, start
from awsllm.jumpstart.deploy.progress import Pace, Progress
from awsllm.testing import mock_aws
from tests.support.bedrock_account import CLAUDE, NOVA, ROLE, get, keys
from tests.support.sagemaker_account import client

PACE = Pace(sleep=lambda seconds: None)
DATA = read_training_data([{"prompt": f"{n}?", "completion": "yes"} for n in range(4)])
QUESTIONS = read_training_data([{"prompt": "Why?"}])
REGION = "us-east-1"
TITAN, LLAMA = "amazon.titan-text-express-v1", "meta.llama3-1-8b-instruct-v1:0"
MODEL = boto3.Session("a", "b", region_name=REGION).client("bedrock").meta.service_model
LAMBDA = "arn:aws:lambda:us-east-1:123456789012:function:grader"


def clients(service: str) -> Any:
    return client(service, REGION)


def plan(base: str = NOVA, data: TrainingData = DATA, **options: Any) -> CustomizationPlan:
    made = plan_customization(base, data, REGION, options_of(**options))
    check("CreateModelCustomizationJob", made)
    return made


def options_of(**options: Any) -> Any:
    return {"output": "s3://data/out", "role": ROLE, **options}


def check(operation: str, made: JobPlan) -> None:
    shape = MODEL.operation_model(operation).input_shape
    report = ParamValidator().validate(made.request, shape)
    assert not report.has_errors(), report.generate_report()


def begin(made: CustomizationPlan, data: TrainingData = DATA, **options: Any) -> CustomizationJob:
    clients("s3").create_bucket(Bucket="data")
    lay_down(clients, made, data, options_of(**options))
    return follow(CustomizationJob(clients, made.name, pace=PACE, deploy=made.deploy), made)


# --- plans -----------------------------------------------------------------------------------------------------------


def test_the_request_and_what_it_needs() -> None:
    made = plan(epochs=2, learning_rate=1e-5, warm_up=3, evaluate=0.25, kms="alias/mine", tags={"team": "a"})
    request = made.request
    assert request["hyperParameters"] == {
        "epochCount": "2",
        "learningRate": "1e-05",
        "learningRateWarmupSteps": "3",
    }
    assert request["customizationType"] == "FINE_TUNING"
    learned = request["trainingDataConfig"]["s3Uri"]
    assert learned.startswith("s3://data/out/awsllm/")
    assert len(request["validationDataConfig"]["validators"]) == 1
    assert request["clientRequestToken"] == f"awsllm-{made.digest}"
    assert {"key": "team", "value": "a"} in request["jobTags"]
    granted = {action for one in made.permissions["Statement"] for action in one["Action"]}
    assert {"bedrock:CreateModelCustomizationJob", "bedrock:CreateCustomModelDeployment", "iam:PassRole"} <= granted
    assert "tokens x 2 epochs" in made.cost.note
    assert made.role_trust["Statement"][0]["Condition"]["StringEquals"] == {"aws:SourceAccount": "123456789012"}
    assert CustomizationPlan.from_json(made.to_json()) == made


def test_the_same_call_is_the_same_job() -> None:
    names = {
        plan().name,
        plan(epochs=1).name,
        plan(attempt=2).name,
        plan(CLAUDE).name,
        plan(data=DATA.split(0.5)[0]).name,
    }
    assert len(names) == 5
    assert plan() == plan()
    assert plan(tags={"team": "a"}).name == plan().name


@pytest.mark.parametrize(
    ("base", "data", "options", "kind"),
    [
        (TITAN, read_training_data([{"text": "words"}]), {}, "CONTINUED_PRE_TRAINING"),
        (LLAMA, QUESTIONS, {"teacher": "meta.llama3-1-70b-instruct-v1:0", "max_response": 500}, "DISTILLATION"),
        (NOVA, QUESTIONS, {"grader": LAMBDA, "batch_size": 16}, "REINFORCEMENT_FINE_TUNING"),
    ],
)
def test_other_ways(base: str, data: TrainingData, options: dict[str, Any], kind: str) -> None:
    made = plan(base, data, **options)
    assert made.request["customizationType"] == kind
    if kind == "REINFORCEMENT_FINE_TUNING":
        assert made.request["customizationConfig"]["rftConfig"]["hyperParameters"] == {"batchSize": 16}
        assert any(one["Sid"] == "Grade" for one in made.role_permissions["Statement"])
    if kind == "DISTILLATION":
        assert any(one["Sid"] == "Teach" for one in made.role_permissions["Statement"])


@pytest.mark.parametrize(
    ("base", "options", "said"),
    [
        (NOVA, {"epochs": 9}, "epochCount=9 is not from 1 to 5: a hyperparameter of amazon.nova-lite-v1:0"),
        (CLAUDE, {"batch_size": 1}, "batchSize=1"),
        (CLAUDE, {"hyperparameters": {"learningRateMultiplier": 3.0}}, "learningRateMultiplier=3"),
        (NOVA, {"output": "out"}, "not an S3 URI"),
        (NOVA, {"output": None}, "needs output="),
        (NOVA, {"role": "me"}, "not the ARN of a role"),
        (NOVA, {"outputs": "x"}, "has no option outputs"),
        (NOVA, {"deploy": "magic"}, "deploy='magic'"),
        (NOVA, {"customization": "magic"}, "customization='magic'"),
        (NOVA, {"customization": "continued-pre-training"}, "takes texts; the data has conversations"),
        (NOVA, {"customization": "distillation"}, "teacher= belongs"),
        (NOVA, {"grader": LAMBDA, "customization": "fine-tuning"}, "grader= belongs"),
        (NOVA, {"validation": QUESTIONS}, "validation= takes conversations"),
        (NOVA, {"name": "a b"}, "the job's name"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_sent(base: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises((ValidationError, ConfigurationError, UnsupportedError), match=said):
        plan(base, **options)


def test_texts_are_not_for_every_base() -> None:
    with pytest.raises(UnsupportedError, match="not customised by continued-pre-training"):
        plan(NOVA, read_training_data([{"text": "words"}]))


def test_a_role_may_be_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWSLLM_BEDROCK_ROLE", ROLE)
    assert plan(role=None).request["roleArn"] == ROLE
    monkeypatch.delenv("AWSLLM_BEDROCK_ROLE")
    with pytest.raises(ConfigurationError, match="AWSLLM_BEDROCK_ROLE"):
        plan(role=None)


# --- jobs ------------------------------------------------------------------------------------------------------------


def test_from_data_to_a_model_that_answers() -> None:
    seen: list[Progress] = []
    with mock_aws(reply="trained", transitions={"model-customization": 3, "custom-model-deployment": 2}) as aws:
        made = plan()
        job = begin(made)
        job = CustomizationJob(clients, made.name, seen.append, PACE, deploy="on-demand")
        tuned = job.result()
        assert ":custom-model-deployment/" in tuned.model
        assert (tuned.base, tuned.where, tuned.name) == (f"bedrock:{NOVA}", "bedrock", made.name)
        assert Client(region=REGION).converse(tuned.model, "Hello").text == "trained"
        states = [one.state for one in seen]
        assert states == ["validating", "processing", "training", "completed", "creating"]
        again = begin(made)  # taken up, not made twice; nor is the deployment
        assert again.result() == tuned
        made_once = [name for name, _ in aws.plane.calls if name.startswith("Create")]
        assert sorted(made_once) == ["CreateCustomModelDeployment", "CreateModelCustomizationJob"]
        found = [key for key in keys("out/awsllm") if key.endswith("train.jsonl")]
        first = json.loads(get(found[0]).splitlines()[0])
        assert first["schemaVersion"] == "bedrock-conversation-2024"
        assert [one.name for one in CUSTOMIZATION.list(clients, contains=made.name)] == [made.name]


@pytest.mark.parametrize(("base", "members"), [(CLAUDE, {"messages"}), (LLAMA, {"prompt", "completion"})])
def test_each_base_gets_its_form(base: str, members: set[str]) -> None:
    with mock_aws(reply="x"):
        begin(plan(base)).wait()
        record = json.loads(get(keys("out/awsllm")[0]).splitlines()[0])
        assert record.keys() == members


def test_provisioned_or_not_at_all() -> None:
    with mock_aws(reply="x"):
        tuned = begin(plan(deploy="provisioned")).result()
        assert ":provisioned-model/" in tuned.model
        job = begin(plan(deploy=False, attempt=2))
        with pytest.raises(ConfigurationError, match="nothing serves"):
            _ = job.result().model
        assert ":custom-model-deployment/" in job.deploy().model


def test_stopped_failed_and_resumed() -> None:
    with mock_aws(reply="x", transitions={"model-customization": 50}) as aws:
        job = begin(plan())
        assert job.stop()
        with pytest.raises(DeploymentError, match="was stopped"):
            job.result()
        aws.plane.fail(plan(attempt=2).name, "The data are too few.")
        aws.plane.transitions.clear()
        failing = begin(plan(attempt=2))
        with pytest.raises(DeploymentError, match="failed: The data are too few"):
            resume(CUSTOMIZATION, failing.name, clients, pace=PACE).result()
        with pytest.raises(ConfigurationError, match="there is no customization job"):
            resume(CUSTOMIZATION, "never-made", clients)


def test_a_deployment_that_is_refused_or_fails_says_so() -> None:
    with mock_aws(reply="x") as aws:
        job = begin(plan())
        aws.plane.refuse("CreateCustomModelDeployment", "ValidationException", "Not on demand.")
        with pytest.raises(RequestError, match="Not on demand") as caught:
            job.result()
        assert "deploy='provisioned'" in "\n".join(caught.value.__notes__)
        arn = CUSTOMIZATION.result(job.state(), {}).artifacts
        assert arn is not None
        aws.plane.transitions["custom-model-deployment"] = 1
        aws.plane.fail(serving_name(arn), "Broken.")
        with pytest.raises(DeploymentError, match="failed: Broken"):
            serve(clients, arn, "mine", "on-demand", pace=PACE)


def serving_name(arn: str) -> str:
    from awsllm.jumpstart import names

    return names.fitted("mine", f"-{names.digest([arn, 'on-demand'], 8)}")


def test_a_bucket_elsewhere_or_nowhere() -> None:
    with mock_aws(reply="x"):
        with pytest.raises(ConfigurationError, match="there is no bucket data"):
            lay_down(clients, plan(), DATA, {"output": "s3://data/out", "role": ROLE})
        there = {"LocationConstraint": "eu-west-1"}
        client("s3", "eu-west-1").create_bucket(Bucket="data", CreateBucketConfiguration=there)
        with pytest.raises(ConfigurationError, match="is in eu-west-1, and the job would run in us-east-1"):
            lay_down(clients, plan(), DATA, {"output": "s3://data/out", "role": ROLE})


# --- import and copies -----------------------------------------------------------------------------------------------


def write_model(folder: Path) -> Path:
    folder.mkdir()
    for name, content in (
        ("config.json", '{"model_type": "llama"}'),
        ("model.safetensors", "weights"),
        ("tokenizer.json", "{}"),
        ("notes.exe", "not sent"),
    ):
        (folder / name).write_text(content)
    return folder


def test_a_local_model_is_imported(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "mine")
    made = plan_import(f"local:{folder}", REGION, output="s3://data/models", role=ROLE)
    check("CreateModelImportJob", made)
    assert made == plan_import(folder, REGION, output="s3://data/models", role=ROLE)
    with mock_aws(reply="imported", transitions={"model-import": 2}):
        clients("s3").create_bucket(Bucket="data")
        lay_files(clients, made)
        tuned = start(IMPORT, made, clients, pace=PACE).result()
        assert ":imported-model/" in tuned.model
        assert sorted(key.rpartition("/")[2] for key in keys("models")) == [
            "config.json",
            "model.safetensors",
            "tokenizer.json",
        ]
        assert Client(region=REGION).converse(tuned.model, "Hello").text == "imported"
        assert start(IMPORT, made, clients, pace=PACE).result() == tuned
        another = plan_import(folder, REGION, output="s3://data/models", role=ROLE, name="another")
        assert start(IMPORT, another, clients, pace=PACE).result().model != tuned.model
        with pytest.raises(UnsupportedError, match="cannot be stopped"):
            IMPORT.stop(clients, made.name)


def test_what_cannot_be_imported(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "mine")
    with pytest.raises(ConfigurationError, match="give output="):
        plan_import(folder, REGION, role=ROLE)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ValidationError, match=r"has no tokenizer\.json"):
        plan_import(folder, REGION, output="s3://data/models", role=ROLE)
    with pytest.raises(ConfigurationError, match="a GGUF file is not"):
        plan_import(folder / "config.json", REGION, output="s3://data/models", role=ROLE)


def test_a_copy_to_another_region() -> None:
    with mock_aws(reply="x"):
        arn = begin(plan(deploy=False)).result().artifacts
        assert arn is not None
        made = plan_copy(arn, "us-west-2", name="copied")
        check("CreateModelCopyJob", made)

        def there(service: str) -> Any:
            return client(service, "us-west-2")

        copied = start(COPY, made, there, pace=PACE).result()
        assert copied.artifacts is not None
        assert copied.artifacts.startswith("arn:aws:bedrock:us-west-2:")
        assert start(COPY, made, there, pace=PACE).result() == copied
        again = start(COPY, plan_copy(arn, "us-west-2", name="another"), there, pace=PACE).result()
        assert again.artifacts != copied.artifacts
        assert sorted(one.name for one in COPY.list(there)) == ["another", "copied"]
    with pytest.raises(ValidationError, match="of another region than us-east-1"):
        plan_copy(arn, "us-east-1")
