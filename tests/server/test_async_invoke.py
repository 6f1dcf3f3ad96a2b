"""Asynchronous invocations asked of a server that has no account: a typed refusal."""

import boto3
import pytest
from botocore.exceptions import ClientError

from awsllm.server import running
from awsllm.testing import AsyncScriptedBackend


def test_a_server_without_s3_says_so() -> None:
    with running(AsyncScriptedBackend("unused"), account=False) as url:
        keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
        runtime = boto3.client("bedrock-runtime", "us-east-1", endpoint_url=url, **keys)
        place = {"s3OutputDataConfig": {"s3Uri": "s3://films"}}
        with pytest.raises(ClientError, match="S3, which this server does not reach; in tests") as caught:
            runtime.start_async_invoke(modelId="luma.ray-v2:0", modelInput={"prompt": "a"}, outputDataConfig=place)
        assert caught.value.response["Error"]["Code"] == "ValidationException"
        with pytest.raises(ClientError, match="mock_aws"):
            runtime.list_async_invokes()
