"""Invocation logging: what is called is in the bucket and in the log group, as AWS writes it."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from awsllm.errors import StreamError, ThrottlingError
from awsllm.testing import Broken, mock_aws
from tests.support.bedrock_account import CLAUDE, CLAUDE_BODY, MESSAGES, NOVA, ROLE, bedrock, get, keys, runtime
from tests.support.sagemaker_account import client, refusal

NOON = 1_767_268_800.0  # 2026-01-01T12:00:00Z
FOLDER = "pre/AWSLogs/123456789012/BedrockModelInvocationLogs"
S3 = {"s3Config": {"bucketName": "invocations", "keyPrefix": "pre"}}


def configure(**config: Any) -> None:
    client("s3").create_bucket(Bucket="invocations")
    bedrock().put_model_invocation_logging_configuration(loggingConfig=config or S3)


def logs() -> list[dict[str, Any]]:
    found = [key for key in keys(f"{FOLDER}/us-east-1/2026/01/01/12/", "invocations") if "/data/" not in key]
    return [json.loads(gzip.decompress(get(key, "invocations"))) for key in found]


def test_the_configuration() -> None:
    with mock_aws(reply="x"):
        put, read = (
            bedrock().put_model_invocation_logging_configuration,
            bedrock().get_model_invocation_logging_configuration,
        )
        assert "loggingConfig" not in read()
        assert refusal(put, loggingConfig=S3)[0] == "ValidationException"  # there is no such bucket
        assert refusal(put, loggingConfig={"textDataDeliveryEnabled": True})[0] == "ValidationException"
        configure()
        assert read()["loggingConfig"] == S3
        assert keys("", "invocations") == [f"{FOLDER}/amazon-bedrock-logs-permission-check"]
        assert "loggingConfig" not in bedrock("us-west-2").get_model_invocation_logging_configuration()
        bedrock().delete_model_invocation_logging_configuration()
        assert "loggingConfig" not in read()
        runtime().converse(modelId=CLAUDE, messages=MESSAGES)
        assert len(keys("", "invocations")) == 1


def test_converse() -> None:
    with mock_aws(reply="Hello.", clock=lambda: NOON):
        configure()
        reply = runtime().converse(modelId=f"us.{NOVA}", messages=MESSAGES, requestMetadata={"team": "a"})
        (log,) = logs()
        body = log["output"].pop("outputBodyJson")
        assert log == {
            "schemaType": "ModelInvocationLog",
            "schemaVersion": "1.0",
            "timestamp": "2026-01-01T12:00:00Z",
            "accountId": "123456789012",
            "identity": {"arn": "arn:aws:iam::123456789012:root"},
            "region": "us-east-1",
            "requestId": reply["ResponseMetadata"]["RequestId"],
            "operation": "Converse",
            "modelId": f"us.{NOVA}",
            "input": {
                "inputContentType": "application/json",
                "inputBodyJson": {"messages": MESSAGES, "requestMetadata": {"team": "a"}},
                "inputTokenCount": reply["usage"]["inputTokens"],
            },
            "output": {
                "outputContentType": "application/json",
                "outputTokenCount": reply["usage"]["outputTokens"],
            },
            "requestMetadata": {"team": "a"},
        }
        assert body["output"] == reply["output"]


def test_a_conversation_that_streams() -> None:
    with mock_aws(reply="Hello.", clock=lambda: NOON):
        configure()
        reply = runtime().converse_stream(modelId=NOVA, messages=MESSAGES)
        assert logs() == []  # it is not over
        list(reply["stream"])
        (log,) = logs()
        assert (log["operation"], log["requestId"]) == ("ConverseStream", reply["ResponseMetadata"]["RequestId"])
        assert log["output"]["outputBodyJson"]["output"]["message"]["content"] == [{"text": "Hello."}]
        assert log["output"]["outputTokenCount"] > 0


def test_invoke_model_and_its_stream() -> None:
    with mock_aws(reply="Hello.", clock=lambda: NOON):
        configure()
        body = json.dumps(CLAUDE_BODY)
        runtime().invoke_model(modelId=CLAUDE, body=body, requestMetadata='{"team": "a"}')
        chunks = [
            json.loads(event["chunk"]["bytes"])
            for event in runtime().invoke_model_with_response_stream(modelId=CLAUDE, body=body)["body"]
        ]
        found = {log["operation"]: log for log in logs()}
        assert found["InvokeModel"]["input"]["inputBodyJson"] == CLAUDE_BODY
        assert found["InvokeModel"]["output"]["outputBodyJson"]["content"][0]["text"] == "Hello."
        assert found["InvokeModel"]["requestMetadata"] == {"team": "a"}
        streamed = found["InvokeModelWithResponseStream"]
        assert streamed["output"]["outputBodyJson"] == chunks
        for log in found.values():
            assert log["input"]["inputTokenCount"] > 0
            assert log["output"]["outputTokenCount"] > 0


def test_embeddings_can_be_left_out() -> None:
    with mock_aws(reply="x", clock=lambda: NOON):
        configure(**S3, embeddingDataDeliveryEnabled=False, textDataDeliveryEnabled=True)
        model = "amazon.titan-embed-text-v2:0"
        runtime().invoke_model(modelId=model, body=json.dumps({"inputText": "Hello"}))
        runtime().converse(modelId=CLAUDE, messages=MESSAGES)
        found = {log["operation"]: log for log in logs()}
        assert "inputBodyJson" not in found["InvokeModel"]["input"]
        assert "outputBodyJson" not in found["InvokeModel"]["output"]
        assert found["Converse"]["input"]["inputBodyJson"] == {"messages": MESSAGES}


def test_a_large_body_is_an_object_of_its_own() -> None:
    long = [{"role": "user", "content": [{"text": "a" * 100_001}]}]
    with mock_aws(reply="Hello.", clock=lambda: NOON):
        group = {"logGroupName": "calls", "roleArn": ROLE}
        configure(**S3, cloudWatchConfig=group)
        runtime().converse(modelId=NOVA, messages=long)
        (log,) = logs()
        assert "inputBodyJson" not in log["input"]
        _, _, key = log["input"]["inputBodyS3Path"].removeprefix("s3://").partition("/")
        assert key.startswith(f"{FOLDER}/us-east-1/2026/01/01/12/data/")
        assert json.loads(gzip.decompress(get(key, "invocations"))) == {"messages": long}
        (event,) = client("logs").get_log_events(logGroupName="calls", logStreamName="aws/bedrock/modelinvocations")[
            "events"
        ]
        record = json.loads(event["message"])
        assert record["output"]["outputBodyJson"]["output"]["message"]["content"] == [{"text": "Hello."}]
        assert not {"inputBodyJson", "inputBodyS3Path"} & set(record["input"])  # no bucket was given for it


def test_what_is_refused() -> None:
    with mock_aws(reply="Hello.", clock=lambda: NOON):
        configure()
        unfit = [{"role": "assistant", "content": [{"text": "Hello"}]}]
        assert refusal(runtime().converse, modelId=NOVA, messages=unfit)[0] == "ValidationException"
        (log,) = logs()
        assert (log["errorCode"], "output" in log) == ("ValidationException", False)
        assert log["input"]["inputBodyJson"] == {"messages": unfit}


@pytest.mark.parametrize("method", ["converse", "converse_stream"])
def test_a_model_that_fails(method: str) -> None:
    with mock_aws(reply=ThrottlingError("slow down", status=429, code="ThrottlingException"), clock=lambda: NOON):
        configure()
        assert refusal(getattr(runtime(), method), modelId=NOVA, messages=MESSAGES)[0] == "ThrottlingException"
        (log,) = logs()
        assert (log["errorCode"], "output" in log) == ("ThrottlingException", False)


def test_a_stream_that_breaks() -> None:
    with mock_aws(reply=Broken("Hello.", error=StreamError("cut")), clock=lambda: NOON):
        configure()
        with pytest.raises(Exception, match="cut"):
            list(runtime().converse_stream(modelId=NOVA, messages=MESSAGES)["stream"])
        (log,) = logs()
        assert "output" not in log
        assert log["errorCode"] == "ModelStreamErrorException"


def test_in_the_background() -> None:
    with mock_aws(reply="Hello.", clock=lambda: NOON) as aws:
        configure()
        aws.plane.background = True
        runtime().converse(modelId=NOVA, messages=MESSAGES)
        assert aws.plane.join(60)
        assert len(logs()) == 1


def test_a_bucket_that_is_gone() -> None:
    with mock_aws(reply="Hello."):
        configure()
        client("s3").delete_object(Bucket="invocations", Key=f"{FOLDER}/amazon-bedrock-logs-permission-check")
        client("s3").delete_bucket(Bucket="invocations")
        assert runtime().converse(modelId=NOVA, messages=MESSAGES)["stopReason"] == "end_turn"
