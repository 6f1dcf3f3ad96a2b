"""boto3, with the retries that ``settings`` name."""

import boto3
from botocore.config import Config

MODEL = "anthropic.claude-sonnet-4-20250514-v1:0"


def make(settings):
    client = boto3.client("bedrock-runtime", config=Config(max_pool_connections=50, retries=settings["retries"]))

    def ask(number, prompt, max_tokens):
        reply = client.converse(
            modelId=MODEL,
            messages=[{"role": "user", "content": [{"text": prompt}]}],
            inferenceConfig={"maxTokens": max_tokens},
        )
        assert f"#{number}#" in reply["output"]["message"]["content"][0]["text"]

    return ask
