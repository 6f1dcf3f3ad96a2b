"""boto3 as its documentation shows it; threads for many calls at once."""

import boto3
from botocore.config import Config

MODEL = "anthropic.claude-3-haiku-20240307-v1:0"
REQUEST = {
    "modelId": MODEL,
    "messages": [{"role": "user", "content": [{"text": "Hello"}]}],
    "inferenceConfig": {"maxTokens": 64},
}


def make():
    return boto3.client("bedrock-runtime", config=Config(max_pool_connections=256))


def call(client):
    assert client.converse(**REQUEST)["output"]["message"]["content"][0]["text"]


def stream(client):
    return sum(1 for _ in client.converse_stream(**REQUEST)["stream"])


def many(client, calls, in_flight):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(in_flight) as pool:
        list(pool.map(lambda _: call(client), range(calls)))
