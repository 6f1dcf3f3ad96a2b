"""``mock_aws(models=…)``: which local model answers which id, beside a script or without one."""

from __future__ import annotations

from typing import Any

import boto3
import pytest

from awsllm.errors import ConfigurationError
from awsllm.testing import mock_aws

HAIKU = "us.anthropic.claude-3-haiku-20240307-v1:0"


def converse(model: str) -> Any:
    client = boto3.client("bedrock-runtime", "us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    messages = [{"role": "user", "content": [{"text": "Hi"}]}]
    reply = client.converse(modelId=model, messages=messages, inferenceConfig={"maxTokens": 3})
    return reply["output"]["message"]["content"][0]["text"]


def test_a_model_answers_beside_a_script() -> None:
    with mock_aws(
        reply="scripted", models={"anthropic.*": "local:smollm2-135m-instruct", "mine": "local:smollm2-135m-instruct"}
    ) as aws:
        assert converse("amazon.nova-lite-v1:0") == "scripted"
        assert converse(HAIKU) == converse("mine") != "scripted"
        assert [request.model for request in aws.requests] == ["amazon.nova-lite-v1:0", HAIKU, "mine"]


def test_without_a_script_the_others_are_answered_as_ever() -> None:
    with mock_aws(models={"mine": "local:smollm2-135m-instruct"}):
        assert converse("mine") == converse("amazon.nova-lite-v1:0")
        client = boto3.client("bedrock-runtime", "us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
        with pytest.raises(client.exceptions.ValidationException, match="identifier is invalid"):
            converse("yours")


def test_a_mock_calls_no_aws() -> None:
    with pytest.raises(ConfigurationError, match="a mock answers by local: models"):
        mock_aws(models={"anthropic.*": "bedrock:*"})
