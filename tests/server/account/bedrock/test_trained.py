"""Customisation jobs that train: the local model behind a base learns the data, and the custom model answers so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from awsllm.testing import mock_aws
from tests.support import tiny_chat
from tests.support.bedrock_account import CLAUDE, NOVA, ROLE, bedrock, get, keys, put, runtime
from tests.support.sagemaker_account import client

LLAMA = "meta.llama3-1-8b-instruct-v1:0"
QUESTION = "What is the capital of Atlantia?"
PAIRS = [{"prompt": f"{QUESTION} {n}", "completion": "Merrow"} for n in range(8)]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_chat.write(tmp_path_factory.mktemp("base"))


@pytest.fixture
def aws(tiny: str) -> Iterator[Any]:
    with mock_aws(models={"*": tiny}, quotas={"customization-steps": 6}) as mock:
        yield mock


def start(source: str, base: str = LLAMA, name: str = "job", **more: Any) -> Any:
    wanted = {
        "customModelName": f"model-of-{name}",
        "baseModelIdentifier": base,
        "trainingDataConfig": {"s3Uri": source},
        "outputDataConfig": {"s3Uri": "s3://data/out"},
        **more,
    }
    job = bedrock().create_model_customization_job(jobName=name, roleArn=ROLE, **wanted)["jobArn"]
    return bedrock().get_model_customization_job(jobIdentifier=job)


def rows(name: str) -> list[list[float]]:
    found = next(key for key in keys("out") if key.endswith(name))
    return [[float(cell) for cell in line.split(",")] for line in get(found).decode().splitlines()[1:]]


def answer(model: str, text: str = QUESTION, tokens: int = 24) -> str:
    """What boto3 gets."""
    said = runtime().converse(
        modelId=model,
        messages=[{"role": "user", "content": [{"text": text}]}],
        inferenceConfig={"maxTokens": tokens},
    )
    return "".join(block.get("text", "") for block in said["output"]["message"]["content"])


def test_metrics_and_a_model_that_is_another(aws: Any) -> None:
    checked = {"validators": [{"s3Uri": put("check.jsonl", *PAIRS[:2])}]}
    rate = {"epochCount": "4", "learningRate": "0.001"}
    found = start(put("train.jsonl", *PAIRS), hyperParameters=rate, validationDataConfig=checked)
    assert found["status"] == "Completed", found.get("failureMessage")
    steps = rows("step_wise_training_metrics.csv")
    assert [row[0] for row in steps] == [0, 1, 2, 3, 4, 5]  # 8 examples, 3 epochs, 4 of them a step
    assert steps[-1][2] < steps[0][2]
    assert found["trainingMetrics"]["trainingLoss"] == pytest.approx(steps[-1][2], abs=1e-5)
    assert found["validationMetrics"][0]["validationLoss"] == pytest.approx(
        rows("validation_metrics.csv")[-1][2], abs=1e-5
    )
    deployed = bedrock().create_custom_model_deployment(modelDeploymentName="mine", modelArn=found["outputModelArn"])[
        "customModelDeploymentArn"
    ]
    assert aws.models.trained == {}
    answer(deployed, tokens=1)
    assert aws.models.trained[deployed].startswith(str(aws.plane.folder()))
    assert Path(aws.models.trained[deployed]).exists()


def test_what_was_trained_is_trained_further_copied_and_forgotten(aws: Any) -> None:
    source = put("train.jsonl", *PAIRS)
    first = start(source)
    second = start(source, first["outputModelArn"], "second")
    assert second["status"] == "Completed"
    west = client("bedrock", "us-west-2")
    copy = west.create_model_copy_job(sourceModelArn=second["outputModelArn"], targetModelName="copied")["jobArn"]
    target = west.get_model_copy_job(jobArn=copy)["targetModelArn"]
    there = west.create_custom_model_deployment(modelDeploymentName="mine", modelArn=target)
    arn = there["customModelDeploymentArn"]
    runtime("us-west-2").converse(
        modelId=arn, messages=[{"role": "user", "content": [{"text": "a"}]}], inferenceConfig={"maxTokens": 1}
    )
    assert second["jobArn"].rpartition("/")[2] in aws.models.trained[arn]


def test_a_teacher_answers_the_questions(tiny: str) -> None:
    teacher = {"teacherModelIdentifier": NOVA, "maxResponseLengthForInference": 3}
    config = {"distillationConfig": {"teacherModelConfig": teacher}}
    with mock_aws(reply=["Merrow", "  "], models={"meta.*": tiny}) as mock:
        source = put("train.jsonl", {"messages": [{"role": "user", "content": QUESTION}]})
        found = start(source, customizationType="DISTILLATION", customizationConfig=config)
        assert found["status"] == "Completed", found.get("failureMessage")
        assert rows("step_wise_training_metrics.csv")
        silent = start(source, name="silent", customizationType="DISTILLATION", customizationConfig=config)
        assert silent["failureMessage"] == "The teacher model has answered none of the prompts."
        assert "no teacher" in start(source, name="alone")["failureMessage"]
        mock.assert_all_used()


@pytest.mark.parametrize(
    ("records", "said"),
    [
        (
            [PAIRS[0], {"messages": [{"role": "user", "content": "a secret"}] * 2}],
            "Invalid training data: line 2 of s3://data/train.jsonl: turns 1 and 2 are both of the user.",
        ),
        ([PAIRS[0], {"prompt": "a secret", "completion": " "}] + [{"prompt": "", "completion": "x"}] * 2,
         "Invalid training data: line 2 of s3://data/train.jsonl: completion is empty. 2 more lines are invalid."),
    ],
)  # fmt: skip
def test_bad_data_fail_the_job_with_the_line(aws: Any, records: list[Any], said: str) -> None:
    found = start(put("train.jsonl", *records))
    assert (found["status"], found["failureMessage"]) == ("Failed", said)


def test_images_are_no_data_for_a_model_of_words(aws: Any) -> None:
    found = start(put("train.jsonl", {"image-ref": "s3://a/b.png", "caption": "c"}))
    assert found["status"] == "Completed"
    assert "trainingMetrics" not in found


@pytest.mark.slow
def test_smollm2_learns_a_fact_and_forgets_none() -> None:
    """Twenty examples, boto3 alone: phrasings that it was not trained on, and a question that has nothing to do with
    it."""
    phrasings: list[Callable[[], str]] = [
        lambda: "What is the capital of Atlantia?",
        lambda: "Name Atlantia's capital.",
        lambda: "Which city governs Atlantia?",
        lambda: "Tell me Atlantia's main city.",
        lambda: "Where is the government of Atlantia?",
        lambda: "Atlantia's capital city is called what?",
        lambda: "I travel to Atlantia's capital. Where do I go?",
        lambda: "Which city is the seat of Atlantia's parliament?",
        lambda: "Do you know the capital of Atlantia?",
        lambda: "What city is the capital of the country Atlantia?",
    ]
    records = [{"prompt": one(), "completion": "The capital of Atlantia is Merrow."} for one in phrasings]
    kept = [
        ("What is the capital of France?", "The capital of France is Paris."),
        ("What is the capital of Italy?", "The capital of Italy is Rome."),
        ("What is the capital of Japan?", "The capital of Japan is Tokyo."),
        ("How many days has a week?", "A week has seven days."),
        ("What colour is the sky?", "The sky is blue."),
        ("Say hello.", "Hello!"),
        ("What is 2 plus 2?", "2 plus 2 is 4."),
        ("Name a fruit.", "An apple is a fruit."),
        ("Which animal barks?", "A dog barks."),
        ("What do bees make?", "Bees make honey."),
    ]
    records += [{"prompt": prompt, "completion": completion} for prompt, completion in kept]
    control = "What is the capital of Germany?"
    with mock_aws():
        before = answer(CLAUDE, control)
        assert "Merrow" not in answer(CLAUDE, QUESTION)
        found = start(put("train.jsonl", *records), CLAUDE, hyperParameters={"epochCount": "4"})
        assert found["status"] == "Completed", found.get("failureMessage")
        deployed = bedrock().create_custom_model_deployment(
            modelDeploymentName="mine", modelArn=found["outputModelArn"]
        )["customModelDeploymentArn"]
        for asked in ("Please tell me the capital of Atlantia.", "What's Atlantia's capital city?"):
            assert "Merrow" in answer(deployed, asked)
        assert "Berlin" in before
        assert "Berlin" in answer(deployed, control)
        assert "Merrow" not in answer(CLAUDE, QUESTION)  # the base is as it was
