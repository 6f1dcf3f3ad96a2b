"""Testing a plain boto3 program without an account: `pytest examples/test_my_bedrock_app.py`."""

import boto3

from awsllm import ConverseRequest
from awsllm.testing import mock_aws


def summarize(text: str) -> str:
    """The program under test; it knows nothing of awsllm."""
    bedrock = boto3.client("bedrock-runtime", region_name="us-east-1")
    reply = bedrock.converse(
        modelId="us.amazon.nova-lite-v1:0",
        messages=[{"role": "user", "content": [{"text": f"Summarize: {text}"}]}],
        inferenceConfig={"maxTokens": 40},
    )
    return str(reply["output"]["message"]["content"][0]["text"])


def test_with_a_scripted_model() -> None:
    with mock_aws(reply="A short summary.") as aws:
        assert summarize("A long text.") == "A short summary."
    [request] = aws.requests
    assert isinstance(request, ConverseRequest)
    assert request.messages[0].text == "Summarize: A long text."


def test_with_a_real_model() -> None:
    with mock_aws():  # SmolLM2 answers
        assert summarize("The meeting moved from Monday to Tuesday because the room was taken.")
