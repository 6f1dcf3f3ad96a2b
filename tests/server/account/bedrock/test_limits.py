"""What jobs that make and judge models are refused for: bounds, names, tags, tokens, quotas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from awsllm.testing import mock_aws
from tests.support.bedrock_account import CLAUDE, NOVA, ROLE, bedrock, put
from tests.support.sagemaker_account import refusal

LLAMA, TITAN = "meta.llama3-2-1b-instruct-v1:0", "amazon.titan-text-express-v1"
PAIR = {"prompt": "Hello", "completion": "Hi"}
MANY = [{"key": f"k{n}", "value": ""} for n in range(51)]
TRAIN, OUT = {"s3Uri": "s3://data/train.jsonl"}, {"s3Uri": "s3://data/out/"}


def customize(name: str = "job", **more: Any) -> Any:
    made = {
        "customModelName": f"{name}-model", "baseModelIdentifier": NOVA, "trainingDataConfig": TRAIN,
        "outputDataConfig": OUT, "roleArn": ROLE,
    }  # fmt: skip
    return bedrock().create_model_customization_job(**{**made, "jobName": name, **more})


def import_model(name: str = "job", **more: Any) -> Any:
    made = {
        "importedModelName": f"{name}-model", "roleArn": ROLE,
        "modelDataSource": {"s3DataSource": {"s3Uri": "s3://data/m/"}},
    }  # fmt: skip
    return bedrock().create_model_import_job(**{**made, "jobName": name, **more})


def evaluate(name: str = "job", **more: Any) -> Any:
    dataset = {"name": "d", "datasetLocation": {"s3Uri": "s3://data/train.jsonl"}}
    metrics = [{"taskType": "Generation", "dataset": dataset, "metricNames": ["Builtin.Accuracy"]}]
    made: dict[str, Any] = {
        "roleArn": ROLE, "evaluationConfig": {"automated": {"datasetMetricConfigs": metrics}},
        "inferenceConfig": {"models": [{"bedrockModel": {"modelIdentifier": NOVA}}]}, "outputDataConfig": OUT,
    }  # fmt: skip
    return bedrock().create_evaluation_job(**{**made, "jobName": name, **more})


@pytest.mark.parametrize(
    ("base", "given", "words"),
    [
        (NOVA, {"epochCount": "6"}, "epochCount=6 is not from 1 to 5"),
        (NOVA, {"epochCount": "0"}, "epochCount=0 is not from 1 to 5"),
        (NOVA, {"epochCount": "2.5"}, "epochCount=2.5 is no whole number"),
        (NOVA, {"epochCount": "many"}, "epochCount='many' is no number"),
        (NOVA, {"epochCount": "nan"}, "epochCount=nan is not from"),
        (NOVA, {"learningRate": "inf"}, "learningRate=inf is not from"),
        (NOVA, {"batchSize": "1"}, "batchSize is none of epochCount"),
        (CLAUDE, {"batchSize": "2"}, "batchSize=2 is not from 4 to 256"),
        (CLAUDE, {"learningRateMultiplier": "3"}, "is not from 0.1 to 2"),
        (LLAMA, {"batchSize": "2"}, "batchSize=2 is not from 1 to 1"),
        (TITAN, {"learningRateWarmupSteps": "251"}, "is not from 0 to 250"),
        ("amazon.titan-image-generator-v1", {"stepCount": "5"}, "is not from 10 to 40000"),
    ],
)
def test_hyperparameters_out_of_bounds(base: str, given: dict[str, str], words: str) -> None:
    with mock_aws(reply="x"):
        code, message = refusal(customize, baseModelIdentifier=base, hyperParameters=given)
    assert code == "ValidationException"
    assert words in message


def test_hyperparameters_within_them() -> None:
    with mock_aws(reply="x"):
        put("train.jsonl", PAIR)
        for number, (base, given) in enumerate(
            [
                (NOVA, {"epochCount": "5", "learningRate": "1e-6", "learningRateWarmupSteps": "0"}),
                (CLAUDE, {"epochCount": "2.0", "earlyStoppingThreshold": "0.05"}),
                ("amazon.titan-embed-image-v1", {"epochCount": "Auto"}),
                ("meta.llama3-3-70b-instruct-v1:0", {"epochCount": "99"}),  # whose bounds no page tells
            ]
        ):
            customize(f"job{number}", baseModelIdentifier=base, hyperParameters=given)
        assert len(bedrock().list_model_customization_jobs()["modelCustomizationJobSummaries"]) == 4


@pytest.mark.parametrize(
    ("make", "changed", "code"),
    [
        (customize, {"jobTags": MANY}, "TooManyTagsException"),
        (customize, {"customModelTags": MANY}, "TooManyTagsException"),
        (import_model, {"jobTags": MANY}, "TooManyTagsException"),
        (import_model, {"importedModelTags": MANY}, "TooManyTagsException"),
        (evaluate, {"jobTags": MANY}, "ValidationException"),  # which has no code for it
        (customize, {"jobName": "a b"}, "ValidationException"),
        (customize, {"customModelName": "-a"}, "ValidationException"),
        (import_model, {"jobName": "x" * 64}, "ValidationException"),
        (import_model, {"importedModelName": "a--b"}, "ValidationException"),
        (evaluate, {"jobName": "Upper"}, "ValidationException"),
        (evaluate, {"clientRequestToken": "-a"}, "ValidationException"),
        (evaluate, {"roleArn": "me"}, "ValidationException"),
        (customize, {"jobTags": [{"key": "a\x00", "value": ""}]}, "ValidationException"),
    ],
)
def test_names_and_tags(make: Callable[..., Any], changed: dict[str, Any], code: str) -> None:
    with mock_aws(reply="x"):
        put("train.jsonl", PAIR)
        assert refusal(make, **changed)[0] == code
        for listed in ("model_customization_jobs", "model_import_jobs", "evaluation_jobs"):
            found = getattr(bedrock(), f"list_{listed}")()
            assert not any(found[member] for member in found if member.endswith("ummaries"))


@pytest.mark.parametrize("make", [customize, import_model, evaluate])
def test_a_token_is_of_one_request(make: Callable[..., Any]) -> None:
    with mock_aws(reply="x"):
        put("train.jsonl", PAIR)
        first = make(clientRequestToken="t1")["jobArn"]
        assert make(clientRequestToken="t1")["jobArn"] == first
        assert refusal(make, name="other", clientRequestToken="t1")[0] == "ConflictException"
        assert refusal(make, clientRequestToken="t2")[0] == "ConflictException"  # of the name
        assert make("third", clientRequestToken="t2")["jobArn"] != first  # a refusal uses no token up


def test_quotas() -> None:
    with mock_aws(reply="x", quotas={"custom-models": 0, "imported-models": 0}):
        assert refusal(customize)[0] == "ServiceQuotaExceededException"
        assert refusal(import_model)[0] == "ServiceQuotaExceededException"


def test_a_name_that_was_taken_while_the_job_ran() -> None:
    """Two imports of one name: the second is refused, though the first has made nothing yet."""
    with mock_aws(reply="x", transitions={"model-import": 3}):
        put("train.jsonl", PAIR)
        import_model("first", importedModelName="m")
        assert refusal(import_model, name="second", importedModelName="m")[0] == "ConflictException"


def test_a_name_that_is_taken_while_a_customisation_runs() -> None:
    with mock_aws(reply="x", transitions={"model-customization": 3}):
        put("train.jsonl", PAIR)
        customize("first", customModelName="m")
        assert refusal(customize, name="second", customModelName="m")[0] == "ConflictException"
