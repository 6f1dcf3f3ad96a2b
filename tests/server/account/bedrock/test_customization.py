"""Customisation jobs: they read and check their data, write their files, and make a model."""

from __future__ import annotations

import json
from typing import Any

import pytest

from awsllm.testing import mock_aws
from tests.support.bedrock_account import CLAUDE, FOUNDATION, NOVA, ROLE, WHERE, bedrock, get, keys, names, put
from tests.support.sagemaker_account import refusal

PAIR = {"prompt": "Hello", "completion": "Hi"}
CONVERSATION = {
    "schemaVersion": "bedrock-conversation-2024",
    "system": [{"text": "Be kind."}],
    "messages": [{"role": "user", "content": [{"text": "a"}]}, {"role": "assistant", "content": [{"text": "b"}]}],
}


def start(source: str, name: str = "job", **more: Any) -> str:
    wanted = {
        "customModelName": f"model-of-{name}",
        "baseModelIdentifier": CLAUDE,
        "trainingDataConfig": {"s3Uri": source},
        "outputDataConfig": {"s3Uri": "s3://data/out/"},
        **more,
    }
    return str(bedrock().create_model_customization_job(jobName=name, roleArn=ROLE, **wanted)["jobArn"])


def look(job: str) -> Any:
    return bedrock().get_model_customization_job(jobIdentifier=job)


def test_a_job_to_its_end() -> None:
    """Probe 16."""
    with mock_aws(reply="x", transitions={"model-customization": 3}):
        source = put("train.jsonl", PAIR, "", CONVERSATION)
        job = start(
            source,
            hyperParameters={"epochCount": "2"},
            validationDataConfig={"validators": [{"s3Uri": put("check.jsonl", PAIR)}]},
            customModelTags=[{"key": "a", "value": "b"}],
            jobTags=[{"key": "c", "value": "d"}],
        )
        assert job.startswith(f"{WHERE}:model-customization-job/{CLAUDE}/")
        seen = [look(name) for name in (job, "job", job, job)]
        assert [one["status"] for one in seen] == ["InProgress"] * 3 + ["Completed"]
        details = [[part["status"] for part in one["statusDetails"].values()] for one in seen]
        assert details == [
            ["InProgress", "NotStarted", "NotStarted"],
            ["Completed", "InProgress", "NotStarted"],
            ["Completed", "Completed", "InProgress"],
            ["Completed", "Completed", "Completed"],
        ]
        found = seen[-1]
        assert found["baseModelArn"] == FOUNDATION + CLAUDE
        assert found["customizationType"] == "FINE_TUNING"
        assert (found["outputModelName"], found["hyperParameters"]) == ("model-of-job", {"epochCount": "2"})
        assert "trainingMetrics" not in found
        model = bedrock().get_custom_model(modelIdentifier=found["outputModelArn"])
        assert (model["jobArn"], model["modelStatus"]) == (job, "Active")
        assert model["trainingDataConfig"] == {"s3Uri": source}
        for arn, tags in ((job, {"key": "c", "value": "d"}), (model["modelArn"], {"key": "a", "value": "b"})):
            assert bedrock().list_tags_for_resource(resourceARN=arn)["tags"] == [tags]
        place = f"out/model-customization-job-{job.rpartition('/')[2]}"
        assert keys("out") == [
            f"{place}/training_artifacts/step_wise_training_metrics.csv",
            f"{place}/validation_artifacts/post_fine_tuning_validation/validation_metrics.csv",
        ]
        assert get(keys("out")[0]) == b"step_number,epoch_number,training_loss,perplexity\n"  # no loss is made up


@pytest.mark.parametrize("record", [PAIR, CONVERSATION, {"input": "text"}, {"image-ref": "s3://a/b.png"}])
def test_forms_of_data(record: dict[str, Any]) -> None:
    with mock_aws(reply="x"):
        assert look(start(put("train.jsonl", record)))["status"] == "Completed"


@pytest.mark.parametrize("line", ["{", "[]", '{"text": "secret"}', '{"messages": ["secret"]}', '{"messages": 1}'])
def test_data_of_no_form(line: str) -> None:
    with mock_aws(reply="x"):
        found = look(start(put("train.jsonl", PAIR, line)))
        assert found["status"] == "Failed"
        assert "line 2 of s3://data/train.jsonl" in found["failureMessage"]
        assert "secret" not in found["failureMessage"]
        assert "outputModelArn" not in found
        assert found["statusDetails"]["trainingDetails"]["status"] == "Failed"
        assert bedrock().list_custom_models()["modelSummaries"] == []
        assert keys("out") == []


def test_data_that_is_not_there_or_not_enough() -> None:
    with mock_aws(reply="x", quotas={"customization-records-min": 2}):
        assert "s3://data/no" in look(start("s3://data/no", "a"))["failureMessage"]
        source = put("train.jsonl", PAIR)
        assert "has 1 records" in look(start(source, "b"))["failureMessage"]
        checked = {"validators": [{"s3Uri": "s3://data/lost"}]}
        source = put("train.jsonl", PAIR, PAIR)
        assert "validation data" in look(start(source, "c", validationDataConfig=checked))["failureMessage"]


def test_logs_of_invocations_are_data() -> None:
    with mock_aws(reply="x"):
        put("logs/one.json", {"schemaType": "ModelInvocationLog"})
        source = {"invocationLogsConfig": {"invocationLogSource": {"s3Uri": "s3://data/logs/"}}}
        job = start("", trainingDataConfig=source, customizationType="DISTILLATION")
        assert look(job)["status"] == "Completed"


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"baseModelIdentifier": "amazon.titan-embed-text-v2:0"}, "ValidationException"),
        ({"baseModelIdentifier": "no.such-model-v9:9"}, "ResourceNotFoundException"),
        ({"baseModelIdentifier": "not-made"}, "ResourceNotFoundException"),
        ({"trainingDataConfig": {}}, "ValidationException"),
        ({"customizationType": "MAGIC"}, "ValidationException"),
        ({"customModelName": "model-of-first"}, "ConflictException"),
        ({"name": "first", "customModelName": "other"}, "ConflictException"),
    ],
)
def test_what_is_refused_at_once(changed: dict[str, Any], code: str) -> None:
    with mock_aws(reply="x"):
        source = put("train.jsonl", PAIR)
        start(source, "first")
        assert refusal(start, source=source, **{"name": "second", **changed})[0] == code
        assert len(bedrock().list_model_customization_jobs()["modelCustomizationJobSummaries"]) == 1


def test_a_custom_model_is_trained_further() -> None:
    with mock_aws(reply="x"):
        source = put("train.jsonl", PAIR)
        first = look(start(source, "first", baseModelIdentifier=f"{NOVA}:300k"))
        assert first["baseModelArn"] == f"{FOUNDATION}{NOVA}:300k"
        second = look(start(source, "second", baseModelIdentifier=first["outputModelArn"]))
        assert second["baseModelArn"] == first["baseModelArn"]


def test_stopped_listed_and_failed() -> None:
    with mock_aws(reply="x", transitions={"model-customization": 5}) as aws:
        source = put("train.jsonl", PAIR)
        stopped = start(source, "stopped")
        bedrock().stop_model_customization_job(jobIdentifier="stopped")
        assert [look(stopped)["status"] for _ in range(2)] == ["Stopping", "Stopped"]
        assert refusal(bedrock().stop_model_customization_job, jobIdentifier=stopped)[0] == "ConflictException"
        aws.plane.transitions.clear()
        aws.plane.fail("failed", "Internal error.")
        start(source, "failed")
        done = start(source, "done")
        for filters, there in (
            ({}, ["done", "failed", "stopped"]),
            ({"statusEquals": "Failed"}, ["failed"]),
            ({"nameContains": "on"}, ["done"]),
        ):
            found = bedrock().list_model_customization_jobs(**filters)["modelCustomizationJobSummaries"]
            assert names(found, "jobName") == there
        summary = bedrock().list_model_customization_jobs(nameContains="done")["modelCustomizationJobSummaries"][0]
        assert (summary["jobArn"], summary["customModelName"]) == (done, "model-of-done")
        assert summary["customModelArn"] == look(done)["outputModelArn"]
        assert json.dumps(look("failed")["failureMessage"]) == '"Internal error."'
