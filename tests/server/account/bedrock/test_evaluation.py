"""Evaluation jobs: boto3 starts one over S3, and what it wrote is there."""

from __future__ import annotations

import json
from typing import Any

import pytest

from awsllm.errors import ThrottlingError
from awsllm.testing import mock_aws
from awsllm.types import ConverseRequest
from tests.support.bedrock_account import CLAUDE, NOVA, ROLE, bedrock, keys, lines, put
from tests.support.sagemaker_account import refusal

FRANCE = {"prompt": "Capital of France?", "referenceResponse": "Paris", "category": "Europe"}
PERU = {"prompt": "Capital of Peru?", "referenceResponse": "Lima"}
SOURCE = {"models": [{"precomputedInferenceSource": {"inferenceSourceIdentifier": "mine"}}]}
JUDGE: Any = {"evaluatorModelConfig": {"bedrockEvaluatorModels": [{"modelIdentifier": CLAUDE}]}}
SCALE = [{"definition": "Poor", "value": {"floatValue": 0}}, {"definition": "Good", "value": {"stringValue": "good"}}]


def config(*metrics: str, task: str = "QuestionAndAnswer", uri: str = "s3://data/in.jsonl", **more: Any) -> Any:
    dataset = {"name": "capitals", "datasetLocation": {"s3Uri": uri}}
    one = {"taskType": task, "dataset": dataset, "metricNames": list(metrics)}
    return {"automated": {"datasetMetricConfigs": [one], **more}}


def start(evaluation: Any, models: Any = None, name: str = "job", **more: Any) -> str:
    made = bedrock().create_evaluation_job(
        jobName=name,
        roleArn=ROLE,
        evaluationConfig=evaluation,
        inferenceConfig=models or {"models": [{"bedrockModel": {"modelIdentifier": NOVA}}]},
        outputDataConfig={"s3Uri": "s3://data/out/"},
        **more,
    )
    return str(made["jobArn"])


def look(job: str) -> Any:
    return bedrock().get_evaluation_job(jobIdentifier=job)


def written() -> list[dict[str, Any]]:
    (key,) = keys("out")
    return lines(key)


def knows(request: ConverseRequest) -> str:
    return "It is Paris." if "France" in request.messages[-1].text else "No idea"


def test_accuracy() -> None:
    asked: list[ConverseRequest] = []

    def reply(request: ConverseRequest) -> str:
        asked.append(request)
        return knows(request)

    with mock_aws(reply=reply):
        put("in.jsonl", FRANCE, "", PERU)
        model = {"modelIdentifier": NOVA, "inferenceParams": '{"inferenceConfig": {"maxTokens": 7}, "top_k": 3}'}
        job = start(config("Builtin.Accuracy"), {"models": [{"bedrockModel": model}]})
        found = look(job)
        assert (found["status"], found["jobType"], found["applicationType"]) == (
            "Completed",
            "Automated",
            "ModelEvaluation",
        )
        assert "failureMessages" not in found
        first, second = written()
        assert first["inputRecord"] == FRANCE
        assert first["modelResponses"] == [{"response": "It is Paris.", "modelIdentifier": NOVA}]
        assert first["automatedEvaluationResult"]["scores"] == [{"metricName": "Accuracy", "result": 0.5}]
        assert second["automatedEvaluationResult"]["scores"][0]["result"] == 0
        (key,) = keys("out/job")
        assert f"/models/{NOVA}/taskTypes/QuestionAndAnswer/datasets/capitals/" in key
        assert (asked[0].inference_config.max_tokens, asked[0].extra) == (7, {"top_k": 3})


@pytest.mark.parametrize(("task", "result"), [("Generation", 1.0), ("Classification", 0.0)])
def test_what_accuracy_is(task: str, result: float) -> None:
    with mock_aws(reply=knows):
        put("in.jsonl", FRANCE)
        look(start(config("Builtin.Accuracy", task=task)))
        assert written()[0]["automatedEvaluationResult"]["scores"][0]["result"] == result


def test_a_model_that_judges() -> None:
    """By a metric of the service's and one of the caller's; an answer that speaks of variables is no template."""

    def reply(request: ConverseRequest) -> str:
        asked = request.messages[-1].text
        if request.model == NOVA:
            return "Paris, says {{ground_truth}}"
        if "Correctness" in asked:
            assert "Expected answer: Paris" in asked
            return 'So: {"reason": "Right.", "verdict": "4"}'
        assert "Brief? Capital of France? -> Paris, says {{ground_truth}}" in asked
        return '{"reason": "Brief.", "verdict": "Good"}'

    metric = {"name": "brevity", "instructions": "Brief? {{prompt}} -> {{prediction}}", "ratingScale": SCALE}
    custom = {"customMetrics": [{"customMetricDefinition": metric}], **JUDGE}
    with mock_aws(reply=reply):
        put("in.jsonl", FRANCE)
        names = ("Builtin.Correctness", "brevity")
        job = start(config(*names, task="General", customMetricConfig=custom, **JUDGE))
        assert look(job)["status"] == "Completed"
        correct, brief = written()[0]["automatedEvaluationResult"]["scores"]
        assert (correct["metricName"], correct["result"]) == ("Builtin.Correctness", 0.75)
        assert correct["evaluatorDetails"] == [{"modelIdentifier": CLAUDE, "explanation": "Right."}]
        assert (brief["metricName"], brief["result"]) == ("brevity", "good")
        (row,) = bedrock().list_evaluation_jobs()["jobSummaries"]
        assert (row["evaluatorModelIdentifiers"], row["modelIdentifiers"]) == ([CLAUDE], [NOVA])
        assert row["evaluationTaskTypes"] == ["General"]


@pytest.mark.parametrize("said", ["I like it", '{"verdict": "9"}', "", ThrottlingError("slow")])
def test_what_is_no_verdict_is_no_score(said: Any) -> None:
    with mock_aws(reply=lambda request: "Paris" if request.model == NOVA else said):
        put("in.jsonl", FRANCE)
        assert look(start(config("Builtin.Helpfulness", task="General", **JUDGE)))["status"] == "Completed"
        assert written()[0]["automatedEvaluationResult"]["scores"][0]["result"] is None


def test_answers_that_are_there() -> None:
    with mock_aws(reply=lambda request: pytest.fail("nobody is asked")):
        answer = {"response": "Paris", "modelIdentifier": "mine"}
        put("in.jsonl", {**FRANCE, "modelResponses": [answer]})
        look(start(config("Builtin.Accuracy"), SOURCE))
        (line,) = written()
        assert (line["modelResponses"], line["automatedEvaluationResult"]["scores"][0]["result"]) == ([answer], 1.0)


def test_a_model_that_refuses() -> None:
    with mock_aws(reply=lambda request: ThrottlingError("slow")):
        put("in.jsonl", FRANCE)
        assert look(start(config("Builtin.Accuracy")))["status"] == "Completed"
        (line,) = written()
        assert line["modelResponses"][0]["response"] is None
        assert line["automatedEvaluationResult"] == {"scores": []}


@pytest.mark.parametrize(
    ("records", "evaluation", "models", "message"),
    [
        ([FRANCE, "[1]"], config("Builtin.Accuracy"), None, "Line 2 of the dataset is no JSON object"),
        ([], config("Builtin.Accuracy"), None, "has 0 prompts; it may have 1 to 1000"),
        ([FRANCE] * 1001, config("Builtin.Accuracy"), None, "has 1001 prompts"),
        ([FRANCE], config("Builtin.Accuracy", uri="s3://data/none.jsonl"), None, "There is no .jsonl file"),
        ([FRANCE], config("Builtin.Toxicity"), None, "Offline, Builtin.Toxicity of QuestionAndAnswer"),
        ([FRANCE], config("Builtin.Correctness"), None, "needs an evaluatorModelConfig"),
        ([FRANCE], config("mine", **JUDGE), None, "The metric mine is not defined"),
        ([FRANCE], config("Builtin.Accuracy"), SOURCE, "whose modelIdentifier is mine"),
    ],
)
def test_a_job_that_fails(records: list[Any], evaluation: Any, models: Any, message: str) -> None:
    with mock_aws(reply=knows):
        put("in.jsonl", *records)
        found = look(start(evaluation, models))
        assert found["status"] == "Failed"
        assert message in found["failureMessages"][0]


def test_refused() -> None:
    with mock_aws(reply=knows):
        put("in.jsonl", FRANCE)
        two = {"models": [{"bedrockModel": {"modelIdentifier": model}} for model in (NOVA, CLAUDE)]}
        assert "supports a single model" in refusal(lambda: start(config("Builtin.Accuracy"), two))[1]
        odd = {"models": [{"bedrockModel": {"modelIdentifier": "acme.none-v1:0"}}]}
        assert "model identifier is invalid" in refusal(lambda: start(config("Builtin.Accuracy"), odd))[1]
        start(config("Builtin.Accuracy"))
        assert "already exists" in refusal(lambda: start(config("Builtin.Accuracy")))[1]


def test_stopped_and_deleted() -> None:
    with mock_aws(reply=knows, transitions={"evaluation": 5}):
        put("in.jsonl", FRANCE)
        job = start(config("Builtin.Accuracy"), jobTags=[{"key": "team", "value": "a"}])
        assert look(job)["status"] == "InProgress"
        assert bedrock().list_tags_for_resource(resourceARN=job)["tags"] == [{"key": "team", "value": "a"}]
        (error,) = bedrock().batch_delete_evaluation_job(jobIdentifiers=[job])["errors"]
        assert (error["code"], "stop it first" in error["message"]) == ("409", True)
        bedrock().stop_evaluation_job(jobIdentifier=job)
        assert [look(job)["status"] for _ in range(2)][-1] == "Stopped"
        assert keys("out") == []
        deleted = bedrock().batch_delete_evaluation_job(jobIdentifiers=[job])
        assert deleted["evaluationJobs"] == [{"jobIdentifier": job, "jobStatus": "Deleting"}]
        assert refusal(lambda: look(job))[0] == "ResourceNotFoundException"
        assert bedrock().batch_delete_evaluation_job(jobIdentifiers=[job])["errors"][0]["code"] == "404"


def test_the_same_token_makes_one() -> None:
    with mock_aws(reply=knows):
        put("in.jsonl", FRANCE)
        made = {start(config("Builtin.Accuracy"), clientRequestToken="once") for _ in range(2)}
        assert len(made) == 1
        assert json.dumps(bedrock().list_evaluation_jobs()["jobSummaries"], default=str).count("evaluation-job/") == 1
