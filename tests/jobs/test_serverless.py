"""Serverless customisation in SageMaker: requests judged by botocore's model, data by AWS's pages, runs offline."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.validate import ParamValidator

from awsllm.client import Client
from awsllm.errors import AwsllmError, ConfigurationError, EulaNotAcceptedError, UnsupportedError, ValidationError
from awsllm.jobs.data.training import read_training_data
from awsllm.jobs.data.written import serverless_lines
from awsllm.jobs.serverless import plan_serverless
from awsllm.jobs.serverless_job import ServerlessJob, _make_group
from awsllm.testing import mock_aws
from tests.support import tiny_chat
from tests.support.bedrock_account import get, keys
from tests.support.jumpstart_documents import document
from tests.support.sagemaker_account import DOCUMENTS, ROLE
from tests.support.sagemaker_account import client as boto

MODEL = "example-finetune-llm"
REGION = "us-east-1"
CHATS: Any = [{"prompt": f"What is the capital of Atlantia? {n}", "completion": "Merrow"} for n in range(8)]
CHOICES: Any = [{"prompt": one["prompt"], "chosen": "Merrow", "rejected": "I say"} for one in CHATS]
EVALUATOR = f"arn:aws:sagemaker:{REGION}:123456789012:hub-content/mine/JsonDoc/judge/1.0.0"
GROUP = f"arn:aws:sagemaker:{REGION}:123456789012:model-package-group/tuned"
LAMBDA = f"arn:aws:lambda:{REGION}:123456789012:function:judge"
OPTIONS: Any = {"output": "s3://data/out", "role": ROLE, "accept_eula": True}


def plan(records: Any = CHATS, changed: Any = None, **options: Any) -> Any:
    wanted: Any = OPTIONS | options
    return plan_serverless(document(MODEL, **(changed or {})), read_training_data(records), wanted)


def check(operation: str, request: Any, service: str = "sagemaker") -> None:
    shape = boto(service).meta.service_model.operation_model(operation).input_shape
    report = ParamValidator().validate(request, shape)
    assert not report.has_errors(), report.generate_report()


def line(technique: Any, record: Any, *, nova: bool = False) -> Any:
    return json.loads(serverless_lines(read_training_data([record]), technique, nova=nova))


# --- the plan --------------------------------------------------------------------------------------------------------


def test_the_request() -> None:
    made = plan(
        epochs=3.0,
        learning_rate=1e-4,
        length=2048,
        evaluate=0.25,
        mlflow=f"arn:aws:sagemaker:{REGION}:123456789012:mlflow-app/app-1",
        max_runtime=600,
        kms="key",
    )
    check("CreateTrainingJob", made.request)
    config = made.request["ServerlessJobConfig"]
    assert config.pop("BaseModelArn").endswith(f":aws:hub-content/SageMakerPublicHub/Model/{MODEL}/1.3.0")
    assert config == {
        "JobType": "FineTuning",
        "CustomizationTechnique": "SFT",
        "Peft": "LORA",
        "AcceptEula": True,
        "SequenceLength": "2K",
    }
    assert made.request["HyperParameters"] == {"max_epochs": "3", "learning_rate": "0.0001"}
    assert [one["ChannelName"] for one in made.request["InputDataConfig"]] == ["train", "validation"]
    assert made.request["ModelPackageConfig"]["ModelPackageGroupArn"] == made.group
    assert made.group.endswith(f":model-package-group/awsllm-{MODEL}")
    assert "unknown" in made.cost.note
    assert made.tokens > 0
    actions = json.dumps(made.permissions)
    assert all(
        one in actions for one in ("CreateTrainingJob", "CreateModelPackageGroup", "iam:PassRole", "s3:PutObject")
    )
    assert "CreateModelPackage" in json.dumps(made.role_permissions)
    assert made.role_trust["Statement"][0]["Principal"] == {"Service": "sagemaker.amazonaws.com"}
    assert "no recipes" in made.warnings[0]
    assert plan(epochs=3.0).name == plan(epochs=3.0).name != plan(epochs=2.0).name


@pytest.mark.parametrize(
    ("records", "options", "technique"),
    [
        (CHATS, {}, "SFT"),
        (CHATS, {"method": "full"}, "SFT"),
        (CHOICES, {}, "DPO"),
        ([{"prompt": "2+2?"}], {"grader": EVALUATOR}, "RLVR"),
        (CHATS, {"technique": "rlaif", "grader": EVALUATOR}, "RLAIF"),
    ],
)
def test_the_technique_follows(records: Any, options: Any, technique: str) -> None:
    made = plan(records, **options)
    check("CreateTrainingJob", made.request)
    config = made.request["ServerlessJobConfig"]
    assert config["CustomizationTechnique"] == technique
    assert ("Peft" in config) == ("method" not in options)
    assert config.get("EvaluatorArn") == options.get("grader")


@pytest.mark.parametrize(
    ("records", "options", "said"),
    [
        (CHATS, {"technique": "magic"}, "technique='magic' is none of SFT"),
        (CHATS, {"technique": "dpo"}, "takes pairs of answers"),
        (CHATS, {"technique": "rlvr"}, "grader= belongs to"),
        (CHATS, {"grader": EVALUATOR, "technique": "sft"}, "grader= belongs to"),
        ([{"prompt": "a"}], {"grader": LAMBDA}, "evaluator of SageMaker's hub"),
        (CHATS, {"length": 1000}, "whole thousands"),
        (CHATS, {"hyperparameters": {"x": "a;b"}}, "characters"),
        (CHATS, {"instance_type": "ml.g5.2xlarge"}, "has no option instance_type"),
        (CHATS, {"output": "here"}, "is not an S3 URI"),
        (CHATS, {"attempt": 0}, "attempt counts from 1"),
    ],
)  # fmt: skip
def test_what_is_refused(records: Any, options: Any, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        plan(records, **options)


def test_recipes_say_what_a_model_can() -> None:
    recipes = {"RecipeCollection": [{"Name": "a", "CustomizationTechnique": "SFT", "Peft": "LoRA"}]}
    assert plan(changed=recipes).warnings == ()
    with pytest.raises(UnsupportedError, match="has no recipe for DPO; it has for SFT"):
        plan(CHOICES, recipes)


def test_a_licence_is_accepted_before_anything_is_sent() -> None:
    gated = document(MODEL, HostingEulaUri="s3://jumpstart-cache-prod-us-east-1/eula.txt", GatedBucket=True)
    made = plan_serverless(gated, read_training_data(CHATS), OPTIONS | {"accept_eula": False})
    assert "AcceptEula" not in made.request["ServerlessJobConfig"]
    with pytest.raises(EulaNotAcceptedError, match="accept_eula=True"):
        made.check()


# --- data ------------------------------------------------------------------------------------------------------------


def test_the_forms_of_each_technique() -> None:
    system = {"role": "system", "content": "Be brief."}
    asked = {"role": "user", "content": "2+2?"}
    chat = {"messages": [system, asked, {"role": "assistant", "content": "4"}]}
    assert line("SFT", chat) == chat
    assert line("SFT", chat, nova=True)["schemaVersion"] == "bedrock-conversation-2024"
    pair = {"prompt": [system, asked], "chosen": "4", "rejected": "5"}
    assert line("DPO", pair) == {
        "chosen": [system, asked, {"role": "assistant", "content": "4"}],
        "rejected": [system, asked, {"role": "assistant", "content": "5"}],
    }
    nova = line("DPO", pair, nova=True)
    assert [one["preferenceLabel"] for one in nova["messages"][-1]["candidates"]] == ["preferred", "non-preferred"]
    assert read_training_data([nova]).examples[0].chosen == "4"
    assert line("RLVR", chat)["reward_model"] == {"ground_truth": "4", "style": "rule"}
    assert line("RLVR", {"prompt": [asked], "reference_answer": {"x": 4}})["reward_model"]["ground_truth"] == {"x": 4}
    given = {
        "data_source": "gsm8k",
        "prompt": [asked],
        "ability": "math",
        "reward_model": {"ground_truth": "4", "style": "rule"},
    }
    assert line("RLVR", given) == given
    assert line("RLAIF", chat)["reward_model"]["style"] == "llmj"
    with pytest.raises(UnsupportedError, match="line 1: calls of tools"):
        line("SFT", {**chat, "tools": [{"type": "function"}]})


# --- runs ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_chat.write(tmp_path_factory.mktemp("base"))


@pytest.fixture
def client(tiny: str) -> Iterator[tuple[Client, Any]]:
    quotas = {"customization-steps": 4}
    with mock_aws(models={"*": tiny}, documents=DOCUMENTS, quotas=quotas) as aws, Client(region=REGION) as made:
        boto("s3").create_bucket(Bucket="data")
        yield made, aws


def test_from_data_to_an_endpoint_that_answers(client: tuple[Client, Any]) -> None:
    made, aws = client
    options: Any = {**OPTIONS, "technique": "sft", "deploy": True}
    job = made.fine_tune(f"sagemaker:{MODEL}", CHATS, **options)
    tuned = job.result()
    assert tuned.model.startswith("sagemaker:")
    assert tuned.artifacts.endswith("/output/model/checkpoints/hf_merged/")
    assert 0 < tuned.metrics["train_loss"] < 10
    assert made.converse(tuned.model, "Where?", max_tokens=2).usage.output_tokens
    assert any("model/" in name for name in aws.models.trained)
    assert made.fine_tune(f"sagemaker:{MODEL}", CHATS, **options).name == job.name
    assert len([key for key in keys("out/awsllm") if key.endswith("train.jsonl")]) == 1
    assert any("train_loss=" in one.text for one in job.logs())


def test_pairs_and_bedrock_serves(client: tuple[Client, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    made, aws = client
    monkeypatch.setenv("AWSLLM_BEDROCK_ROLE", "arn:aws:iam::123456789012:role/bedrock")
    options: Any = {"deploy": "bedrock", **OPTIONS}
    told: Any = made.jobs.plan_fine_tune(f"sagemaker:{MODEL}", CHOICES, options=options)
    assert told.role_trust["Statement"][0]["Principal"] == {"Service": "sagemaker.amazonaws.com"}
    assert told.import_role_trust["Statement"][0]["Principal"] == {"Service": "bedrock.amazonaws.com"}
    assert told.import_role_permissions["Statement"][0]["Resource"] == ["arn:aws:s3:::data/out/*"]
    job = made.fine_tune(f"sagemaker:{MODEL}", CHOICES, deploy="bedrock", **OPTIONS)
    tuned = made.jobs.load(job.to_json()).result()  # another process has it served as well
    assert ":imported-model/" in tuned.model
    assert job.result() == tuned
    [key] = [key for key in keys("out/awsllm") if key.endswith("train.jsonl")]
    assert set(json.loads(get(key).splitlines()[0])) == {"chosen", "rejected"}
    assert made.converse(tuned.model, "Where?", max_tokens=2).usage.output_tokens
    assert tuned.model.removeprefix("bedrock:") in aws.models.trained


def test_left_in_s3(client: tuple[Client, Any]) -> None:
    made, _ = client
    job = made.fine_tune(f"sagemaker:{MODEL}", CHATS, technique="sft", deploy=False, **OPTIONS)
    tuned = job.result()
    assert made.jobs.load(job.to_json()).result() == tuned
    with pytest.raises(ConfigurationError, match=r"client\.jobs\.get\('example-finetune-llm-.*'\)\.deploy\(\)"):
        _ = tuned.model
    with pytest.raises(ValidationError, match="deploy='on-demand' is no way to serve"):
        made.fine_tune(f"sagemaker:{MODEL}", CHATS, technique="sft", deploy="on-demand", **OPTIONS)


def test_amazons_own_are_served_by_bedrock(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a custom model of the package, and a deployment of it."""
    monkeypatch.setenv("AWSLLM_BEDROCK_ROLE", "arn:aws:iam::123456789012:role/bedrock")
    with mock_aws(reply="tuned") as aws, Client(region=REGION) as client:
        boto("s3").create_bucket(Bucket="data")
        boto("s3").put_object(Bucket="data", Key="train.jsonl", Body=b'{"prompt": "a", "completion": "b"}')
        base = f"arn:aws:sagemaker:{REGION}:aws:hub-content/SageMakerPublicHub/Model/nova-textgeneration-lite/1.0.0"
        group = f"arn:aws:sagemaker:{REGION}:123456789012:model-package-group/g"
        source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://data/train.jsonl"}}
        boto("sagemaker").create_training_job(
            TrainingJobName="nova",
            RoleArn=ROLE,
            OutputDataConfig={"S3OutputPath": "s3://data/out"},
            InputDataConfig=[{"ChannelName": "train", "DataSource": source}],
            ServerlessJobConfig={"JobType": "FineTuning", "BaseModelArn": base, "CustomizationTechnique": "SFT"},
            ModelPackageConfig={"ModelPackageGroupArn": group},
        )
        job = ServerlessJob(boto, "nova", served="on-demand")
        tuned = job.result()
        assert tuned.artifacts == f"arn:aws:sagemaker:{REGION}:123456789012:model-package/g/1"
        assert ":custom-model-deployment/" in tuned.model
        assert client.converse(tuned.model, "Hello").text == "tuned"
        [asked] = [request for name, request in aws.plane.calls if name == "CreateCustomModel"]
        check("CreateCustomModel", asked, "bedrock")
    with pytest.raises(ValidationError, match="deploy=True is no way to serve nova-lite"):
        client.fine_tune("sagemaker:nova-lite", CHATS, technique="sft", deploy=True, **OPTIONS)


# --- the group of the versions ---------------------------------------------------------------------------------------


class Refusing:
    """A SageMaker that answers each describing by the next of ``described``, and making by ``made``: codes of errors,
    empty for none. What was asked is kept."""

    def __init__(self, described: list[str], made: str) -> None:
        self._described, self._made = described, made
        self.asked: list[str] = []

    def describe_model_package_group(self, **request: Any) -> Any:
        self._answer("describe", self._described.pop(0))
        return {}

    def create_model_package_group(self, **request: Any) -> Any:
        self._answer("create", self._made)
        return {}

    def _answer(self, word: str, code: str) -> None:
        self.asked.append(word)
        if code:
            raise ClientError({"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {}}, word)


@pytest.mark.parametrize(
    ("described", "made", "asked"),
    [
        ([""], "", ["describe"]),
        (["ValidationException"], "", ["describe", "create"]),
        (["ValidationException", ""], "ValidationException", ["describe", "create", "describe"]),  # of another caller
        (["AccessDeniedException"] * 2, "ValidationException", ["describe", "create", "describe"]),
    ],
)
def test_a_group_that_is_there_is_known_by_codes(described: list[str], made: str, asked: list[str]) -> None:
    service = Refusing(list(described), made)
    _make_group(lambda name: service, GROUP)
    assert service.asked == asked


@pytest.mark.parametrize(
    ("described", "made"),
    [
        (["ValidationException"] * 2, "ValidationException"),
        (["ValidationException"], "AccessDeniedException"),
        (["ValidationException"], "ResourceLimitExceeded"),
        (["InternalFailure"], ""),
    ],
)
def test_a_group_that_cannot_be_made_is_told(described: list[str], made: str) -> None:
    service = Refusing(list(described), made)
    with pytest.raises(AwsllmError):
        _make_group(lambda name: service, GROUP)
