"""What InvokeModel says of a call beside the model's words: headers, and the metrics of a stream's last chunk."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest

from awsllm.testing import mock_aws
from awsllm.types import ConverseResponse, Message, Usage

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
ASKED: Any = {
    "anthropic_version": "bedrock-2023-05-31",
    "max_tokens": 9,
    "messages": [{"role": "user", "content": "Hi"}],
}


@pytest.mark.parametrize("cached", [(None, None), (1200, 0)])
def test_what_the_prompt_cache_read_and_wrote(cached: tuple[int | None, int | None]) -> None:
    usage = Usage(7, 5, 12, *cached)
    reply = ConverseResponse(message=Message.assistant("Hello."), stop_reason="end_turn", usage=usage)
    with mock_aws(reply=reply):
        keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
        runtime = boto3.client("bedrock-runtime", "us-east-1", **keys)
        whole = runtime.invoke_model(modelId=CLAUDE, body=json.dumps(ASKED))
        stream = runtime.invoke_model_with_response_stream(modelId=CLAUDE, body=json.dumps(ASKED))
        chunks = [json.loads(event["chunk"]["bytes"]) for event in stream["body"]]
    headers, prefix = whole["ResponseMetadata"]["HTTPHeaders"], "x-amzn-bedrock-"
    told = [headers.get(f"{prefix}cache-{done}-input-token-count") for done in ("read", "write")]
    assert told == [None if count is None else str(count) for count in cached]
    metrics = chunks[-1]["amazon-bedrock-invocationMetrics"]
    assert tuple(metrics.get(f"cache{done}InputTokenCount") for done in ("Read", "Write")) == cached
    assert (metrics["inputTokenCount"], headers[f"{prefix}input-token-count"]) == (7, "7")
