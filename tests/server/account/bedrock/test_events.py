"""EventBridge is told of jobs, in the form of Bedrock's user guide; moto brings it to a queue."""

from __future__ import annotations

import json
from typing import Any

from awsllm.testing import mock_aws
from tests.support.bedrock_account import CLAUDE, CLAUDE_BODY, ROLE, bedrock, put
from tests.support.sagemaker_account import client


def listen(pattern: dict[str, Any]) -> Any:
    """What reads the events that have come since, of those that match."""
    queue = client("sqs").create_queue(QueueName="events")["QueueUrl"]
    arn = client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    client("events").put_rule(Name="jobs", EventPattern=json.dumps({"source": ["aws.bedrock"], **pattern}))
    client("events").put_targets(Rule="jobs", Targets=[{"Id": "1", "Arn": arn}])

    def read() -> list[dict[str, Any]]:
        found = client("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", ())
        return [json.loads(message["Body"]) for message in found]

    return read


def test_a_batch_job() -> None:
    with mock_aws(reply="Hello.", quotas={"batch-records-min": 1}):
        read = listen({"detail-type": ["Batch Inference Job State Change"]})
        arn = bedrock().create_model_invocation_job(
            jobName="job",
            roleArn=ROLE,
            modelId=CLAUDE,
            inputDataConfig={"s3InputDataConfig": {"s3Uri": put("in.jsonl", {"modelInput": CLAUDE_BODY})}},
            outputDataConfig={"s3OutputDataConfig": {"s3Uri": "s3://data/out"}},
        )["jobArn"]
        begun, ended = read()
        assert (begun["detail"]["status"], ended["detail"]["status"]) == ("Submitted", "Completed")
        assert (ended["resources"], ended["region"]) == ([arn], "us-east-1")
        assert ended["detail"]["batchJobArn"] == arn
        assert ended["detail"]["batchJobName"] == "job"
        assert ended["detail"]["batchModelId"] == CLAUDE


def test_a_customisation_that_fails() -> None:
    with mock_aws(reply="x"):
        read = listen({"detail": {"jobStatus": ["Failed"]}})
        bedrock().create_model_customization_job(
            jobName="job",
            customModelName="mine",
            roleArn=ROLE,
            baseModelIdentifier=CLAUDE,
            trainingDataConfig={"s3Uri": "s3://data/no"},
            outputDataConfig={"s3Uri": "s3://data/out"},
        )
        (event,) = read()
        assert event["detail-type"] == "Model Customization Job State Change"
        assert event["detail"]["outputModelName"] == "mine"
        assert "s3://data/no" in event["detail"]["failureMessage"]


def test_a_target_that_is_gone_harms_nobody() -> None:
    with mock_aws(reply="x"):
        listen({})
        client("sqs").delete_queue(QueueUrl=client("sqs").get_queue_url(QueueName="events")["QueueUrl"])
        job = bedrock().create_model_customization_job(
            jobName="job",
            customModelName="mine",
            roleArn=ROLE,
            baseModelIdentifier=CLAUDE,
            trainingDataConfig={"s3Uri": put("train.jsonl", {"prompt": "a", "completion": "b"})},
            outputDataConfig={"s3Uri": "s3://data/out"},
        )["jobArn"]
        assert bedrock().get_model_customization_job(jobIdentifier=job)["status"] == "Completed"
